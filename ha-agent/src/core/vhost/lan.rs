//! Two machines on one cable and one virtual clock.

use super::*;

#[test]
fn one_master_after_a_common_start() {
    for preempt in [false, true] {
        for pace in PACES {
            for (first, second, winner) in [(STRONG, WEAK, 0), (WEAK, STRONG, 1), (STRONG, STRONG, 0)] {
                let mut pair = Pair::new([settings(first, pace, preempt), settings(second, pace, preempt)]);
                pair.link_up(0);
                pair.link_up(1);
                pair.run_for(pace.master_down_time(WEAK) * 2);
                let case = format!("{pace:?} {first} {second} preempt {preempt}");
                assert_eq!(pair.masters(), [winner], "{case}");

                let settled = pair.transitions.len();
                pair.run_for(pace.master_down_time(WEAK) * 10);
                assert_eq!(pair.masters(), [winner], "{case}");
                assert_eq!(pair.transitions.len(), settled, "{case} flaps");
            }
        }
    }
}

#[test]
fn a_better_latecomer_takes_over_only_by_preemption() {
    for pace in PACES {
        for (preempt, winner) in [(false, 1), (true, 0)] {
            let mut pair = Pair::new([settings(STRONG, pace, preempt), settings(WEAK, pace, preempt)]);
            pair.link_up(1);
            pair.run_for(pace.master_down_time(WEAK) * 3);
            assert_eq!(pair.masters(), [1]);
            pair.link_up(0);
            pair.run_for(pace.master_down_time(WEAK) * 10);
            assert_eq!(pair.masters(), [winner], "{pace:?} preempt {preempt}");
        }
    }
}

#[test]
fn a_dead_master_is_replaced_after_exactly_the_down_time() {
    for preempt in [false, true] {
        for pace in PACES {
            let mut pair = Pair::settled(pace, preempt);
            pair.run_for(pace.advertisement_interval(STRONG) * 7 / 2);
            pair.kill(0);
            let heard = pair.last_sent_by(0) + DELAY;
            pair.run_for(pace.master_down_time(WEAK) * 2);

            let deadline = heard + pace.master_down_time(WEAK);
            let cause = Cause::Silence { last_heard: Some(heard), deadline };
            let takeover = Transition { at: deadline, from: State::Backup, to: State::Master, cause };
            assert_eq!(pair.transitions.last(), Some(&(1, takeover)), "{pace:?} preempt {preempt}");
            assert_eq!(pair.masters(), [1]);
        }
    }
}

#[test]
fn a_bow_out_hands_over_faster_than_silence() {
    for preempt in [false, true] {
        for pace in PACES {
            let mut pair = Pair::settled(pace, preempt);
            let asked = pair.now;
            pair.feed(0, Event::Leave);
            pair.run_for(pace.master_down_time(WEAK) * 2);

            let at = asked + RELEASING + DELAY + pace.bow_out_wait(WEAK);
            let cause = Cause::BowOut { source: SOURCES[0] };
            let takeover = Transition { at, from: State::Backup, to: State::Master, cause };
            assert_eq!(pair.transitions.last(), Some(&(1, takeover)), "{pace:?} preempt {preempt}");
            assert!(pace.bow_out_wait(WEAK) < pace.master_down_time(WEAK));
            assert!(!pair.owned_twice, "both owned the addresses");
            assert!(pair.nodes[0].vhost.has_left());
        }
    }
}

#[test]
fn a_leave_while_the_release_hangs_keeps_the_backup_quiet() {
    for pace in PACES {
        let mut pair = Pair::settled(pace, true);
        pair.releasing = Duration::from_hours(1);
        let asked = pair.now;
        pair.feed(0, Event::Leave);
        pair.run_for(pace.master_down_time(WEAK) + RELEASE_TIME * 2);
        let takeover = pair.transitions.last().map(|(node, transition)| (*node, transition.at));
        assert_eq!(takeover, Some((1, asked + RELEASE_TIME + DELAY + pace.bow_out_wait(WEAK))), "{pace:?}");
    }
}

#[test]
fn a_healed_partition_ends_with_one_master() {
    for preempt in [false, true] {
        for pace in PACES {
            for (second, name) in [(STRONG, "tie"), (WEAK, "superior")] {
                let mut pair = Pair::new([settings(STRONG, pace, preempt), settings(second, pace, preempt)]);
                pair.connected = false;
                pair.link_up(0);
                pair.link_up(1);
                pair.run_for(pace.master_down_time(WEAK) * 2);
                assert_eq!(pair.masters(), [0, 1], "{pace:?} {second}");

                pair.connected = true;
                pair.run_for(pace.advertisement_interval(STRONG) + DELAY);
                assert_eq!(pair.masters(), [0], "{pace:?} {second} preempt {preempt}");
                let yielded =
                    pair.transitions.last().map(|(node, transition)| (*node, transition.cause.name()));
                assert_eq!(yielded, Some((1, name)));

                let settled = pair.transitions.len();
                pair.run_for(pace.master_down_time(WEAK) * 10);
                assert_eq!(pair.transitions.len(), settled, "{pace:?} {second} flaps");
            }
        }
    }
}

#[test]
fn losing_fewer_frames_than_detect_changes_nothing() {
    let interval = Duration::from_millis(10);
    let mut pair = Pair::settled(Pace::Fast { interval, detect: 3 }, false);
    let settled = pair.transitions.len();
    for _ in 0..20 {
        pair.connected = false;
        pair.run_for(interval * 2);
        pair.connected = true;
        pair.run_for(interval);
    }
    assert_eq!(pair.transitions.len(), settled);
}

/// Two nodes; everything takes the same time at each run.
struct Pair {
    nodes: [Node; 2],
    now: Instant,
    /// Steps since time last went on.
    steps_at_once: u32,
    /// Events on their way, with the node they are for.
    under_way: VecDeque<(Instant, usize, Event)>,
    /// Frames sent while this is false are lost.
    connected: bool,
    /// How long a node takes to remove its addresses.
    releasing: Duration,
    /// Every transition, with the node.
    transitions: Vec<(usize, Transition)>,
    /// Whether ever both had the addresses at once.
    owned_twice: bool,
}

struct Node {
    vhost: Vhost,
    alive: bool,
    owns_addresses: bool,
    last_sent: Option<Instant>,
}

impl Pair {
    fn new(settings: [Settings; 2]) -> Self {
        let nodes = settings.map(|settings| Node {
            vhost: Vhost::new(settings),
            alive: true,
            owns_addresses: false,
            last_sent: None,
        });
        Self {
            nodes,
            now: Instant::from_nanos(1_000_000_000_000),
            steps_at_once: 0,
            under_way: VecDeque::new(),
            connected: true,
            releasing: RELEASING,
            transitions: Vec::new(),
            owned_twice: false,
        }
    }

    /// Node 0, the better one, is master, and node 1 its backup.
    fn settled(pace: Pace, preempt: bool) -> Self {
        let mut pair = Self::new([settings(STRONG, pace, preempt), settings(WEAK, pace, preempt)]);
        pair.link_up(0);
        pair.link_up(1);
        pair.run_for(pace.master_down_time(WEAK) * 2);
        assert_eq!(pair.masters(), [0]);
        pair
    }

    fn link_up(&mut self, node: usize) {
        self.feed(node, Event::Link(Link::Up { source: SOURCES[node] }));
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
    }

    fn masters(&self) -> Vec<usize> {
        let serves =
            |node: &usize| self.nodes[*node].alive && self.nodes[*node].vhost.state() == State::Master;
        (0..2).filter(serves).collect()
    }

    fn last_sent_by(&self, node: usize) -> Instant {
        self.nodes[node].last_sent.expect("it has been master")
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Does the next thing up to `end`. What is under way comes before a deadline of the same moment: the
    /// driver's promise.
    fn step(&mut self, end: Instant) -> bool {
        let arrival = (0..self.under_way.len()).min_by_key(|index| self.under_way[*index].0);
        let arrives = arrival.map(|index| self.under_way[index].0);
        let deadline = (0..2)
            .filter(|node| self.nodes[*node].alive)
            .filter_map(|node| self.nodes[node].vhost.poll_timeout().map(|(at, timer)| (at, node, timer)))
            .min_by_key(|(at, ..)| *at);
        let next = arrives.into_iter().chain(deadline.map(|(at, ..)| at)).min();
        let Some(next) = next.filter(|at| *at <= end) else { return false };
        self.steps_at_once = if next > self.now { 1 } else { self.steps_at_once + 1 };
        assert!(self.steps_at_once < 100, "no progress at {next:?}");
        self.now = self.now.max(next);
        if arrives == Some(next) {
            let (_, node, event) =
                arrival.and_then(|index| self.under_way.remove(index)).expect("it arrives");
            self.feed(node, event);
        } else if let Some((_, node, timer)) = deadline {
            self.feed(node, Event::Deadline(timer));
        }
        true
    }

    fn feed(&mut self, node: usize, event: Event) {
        if !self.nodes[node].alive {
            return;
        }
        if event == Event::Released {
            self.nodes[node].owns_addresses = false;
        }
        self.nodes[node].vhost.handle(self.now, event);
        while let Some(command) = self.nodes[node].vhost.next_command() {
            self.execute(node, command);
        }
        self.owned_twice |= self.nodes.iter().all(|node| node.alive && node.owns_addresses);
    }

    fn execute(&mut self, node: usize, command: Command) {
        match command {
            Command::Advertise(priority) => {
                self.nodes[node].last_sent = Some(self.now);
                if self.connected {
                    let stamp = self.now + DELAY;
                    let advert = Advert { stamp, source: SOURCES[node], priority, demote: 0 };
                    self.under_way.push_back((stamp, 1 - node, Event::Advert(advert)));
                }
            }
            Command::TakeAddresses => self.nodes[node].owns_addresses = true,
            Command::DropAddresses => {
                self.under_way.push_back((self.now + self.releasing, node, Event::Released));
            }
            Command::Announce => {}
            Command::Notify(transition) => self.transitions.push((node, transition)),
        }
    }
}

fn settings(priority: Priority, pace: Pace, preempt: bool) -> Settings {
    Settings { priority, pace, preempt }
}

const STRONG: Priority = Priority { advbase: 1, advskew: 10 };
const WEAK: Priority = Priority { advbase: 1, advskew: 100 };
/// Node 0 wins a tie.
const SOURCES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];
const DELAY: Duration = Duration::from_micros(100);
/// Shorter than any interval here.
const RELEASING: Duration = Duration::from_micros(300);
const PACES: [Pace; 3] = [
    Pace::Classic,
    Pace::Fast { interval: Duration::from_millis(10), detect: 3 },
    Pace::Fast { interval: Duration::from_millis(1), detect: 2 },
];
