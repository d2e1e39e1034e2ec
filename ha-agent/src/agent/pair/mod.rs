//! What the pair machine can't do on the fast thread: store, speak with the peer, tell the operator.
//!
//! ```text
//!   link ──conditions, messages──▶ detector (pair machine) ──records──▶ disk ──stored──▶ detector
//!     ▲                                     └──messages, questions, news──▶ here
//!     └──────────────────────────────────────────────────────────────────────┘
//! ```

mod charge;
mod record;
mod sides;
mod store;
mod witness;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub(super) use self::charge::ChargeHandle;
pub use self::charge::examine;
use self::charge::{Charge, Said, Times};
pub use self::record::RecordFileError;
use self::sides::sides;
use self::store::RecordStore;
use self::witness::Witness;
pub(super) use self::witness::{WitnessHandle, give_back};
use super::detector::Input;
use super::detector::partner::{Begin, LinkNow, PairInput, PairOutput};
use super::{AgentError, hosts};
use crate::config::{Config, FenceLevel, PeerConfig};
use crate::core::Priority;
use crate::core::pair::message::Request;
use crate::core::pair::report::{End, Progress, Story, Why};
use crate::core::pair::{Node, Record, Settings, Wish};
use crate::journal::events::{Events, What};
use crate::peer::link::status::{Condition, LinkStatus};
use crate::peer::link::{Link, Speaker};
use crate::peer::payload;
use crate::peer::store::{Part, Store};
use crate::witness::Terms;

/// What an operator may want to see of a switchover.
#[derive(Clone, Copy, Debug)]
pub(super) enum PairNews {
    /// A step goes on, or is over.
    Progress(Progress),
    /// It has ended.
    Ended(Request, End),
}

/// Where an operator sees how the pair is.
#[derive(Debug)]
pub(super) struct Shown {
    /// What happens in a switchover.
    pub(super) news: broadcast::Sender<PairNews>,
    /// Why what is to be stored is not, if so.
    pub(super) unstored: watch::Receiver<Option<String>>,
}

/// Whether nothing is served before this node knows that it is one of two: it was introduced to another one, or has more in
/// charge than addresses.
pub(super) fn is_paired(config: &Config) -> bool {
    !config.charge.is_empty()
        || config.peer.as_ref().is_some_and(|peer| Store::at(&peer.directory).path(Part::Peer).exists())
}

/// Serves the machine as long as the agent runs. Ends only if the node is to end, and says why.
pub(super) fn serve(
    secretary: Option<Secretary>,
    link: Option<&mut Link>,
) -> impl Future<Output = Why> + use<> {
    let run = secretary.zip(link).and_then(|(secretary, link)| {
        let messages = link.take_messages()?;
        Some(secretary.run(link.status(), messages, link.speaker()))
    });
    async move {
        match run {
            Some(run) => run.await,
            None => std::future::pending().await,
        }
    }
}

/// Whoever speaks for the machine; made before the detector starts, run once there is a link.
#[derive(Debug)]
pub(super) struct Secretary {
    detector: mpsc::UnboundedSender<Input>,
    outputs: mpsc::UnboundedReceiver<PairOutput>,
    store: RecordStore,
    news: broadcast::Sender<PairNews>,
    record: Record,
    peer: PeerConfig,
    name: String,
    witness: Option<Witness>,
    /// How long the virtual hosts wait for a silent master, at most.
    patience: Duration,
    charge: Option<Charge>,
    events: Events,
}

impl Secretary {
    /// Reads what was stored, if this node is to be one of two. What the machine wants done goes into the sender.
    ///
    /// # Errors
    ///
    /// If what was stored can't be used, or the system has no thread or place for it.
    pub(super) fn open(
        config: &Config,
        state: &Path,
        detector: mpsc::UnboundedSender<Input>,
        events: &Events,
    ) -> Result<(Option<Self>, mpsc::UnboundedSender<PairOutput>), AgentError> {
        let (wanted, outputs) = mpsc::unbounded_channel();
        let Some(peer) = config.peer.clone() else { return Ok((None, wanted)) };
        let path = record::path(state);
        let record = record::read(&path)?;
        let store = RecordStore::start(path, detector.clone())
            .map_err(|cause| AgentError::Os { what: "a place for the pair's record", cause })?;
        let news = broadcast::Sender::new(NEWS);
        let witness = config.witness.as_ref().map(|witness| Witness::open(witness, &peer)).transpose()?;
        let (name, patience, events) = (config.node.clone(), patience(config), events.clone());
        let charge = Charge::new(config, state, &events);
        let secretary =
            Self { detector, outputs, store, news, record, peer, name, witness, patience, charge, events };
        Ok((Some(secretary), wanted))
    }

    /// What is known of the witness, and how it is told that nothing is wanted any more; if there is one.
    pub(super) fn witness(&self) -> Option<WitnessHandle> {
        self.witness.as_ref().map(Witness::handle)
    }

    /// What the node has in charge beside addresses, if anything.
    pub(super) fn charge(&self) -> Option<ChargeHandle> {
        self.charge.as_ref().map(Charge::handle)
    }

    /// What operators may want to see, from now on.
    pub(super) fn shown(&self) -> Shown {
        Shown { news: self.news.clone(), unstored: self.store.trouble() }
    }

    /// Carries all this out. Ends only if the node is to end, and says why.
    async fn run(
        mut self,
        mut status: watch::Receiver<LinkStatus>,
        mut messages: mpsc::Receiver<Bytes>,
        speaker: Speaker,
    ) -> Why {
        let sides = loop {
            if status.borrow_and_update().peer.is_some() {
                if let Some(sides) = sides(&self.peer).await {
                    break sides;
                }
                tracing::warn!("which of the pair this node is can't be read from its files");
            }
            if status.changed().await.is_err() {
                return std::future::pending().await;
            }
        };
        let node = sides.node();
        if let Some(witness) = &mut self.witness {
            witness.begin(sides.own_to_witness(&self.name), self.detector.clone());
        }
        let terms = self.witness.as_ref().map(Witness::terms);
        let holding = match &mut self.charge {
            Some(charge) => charge.begin(node).await,
            None => false,
        };
        let times = self.charge.as_ref().map(Charge::times);
        let begin = Begin {
            settings: settings(&self.peer, self.patience, node, terms, times),
            record: self.record,
            least_start: wall_ms(),
            link_dead: self.peer.heartbeat * u32::from(self.peer.dead_after),
            conducted: self.charge.is_some(),
            holding,
        };
        tracing::info!("pair: this node is {node}");
        self.tell(PairInput::Begin(Box::new(begin)));
        let mut complaint = None;
        let mut link = None;
        loop {
            let now = link_now(&status.borrow_and_update());
            if link != Some(now) {
                link = Some(now);
                self.tell(PairInput::Link(now));
            }
            tokio::select! {
                biased;
                said = said(&mut self.charge) => match said {
                    Said::Tell(input) => self.tell(input),
                    Said::EndHard(why) => return self.end_hard(why),
                },
                output = self.outputs.recv() => match output {
                    Some(PairOutput::EndHard(why)) => return self.end_hard(why),
                    Some(PairOutput::Journal(story)) => {
                        let peer = status.borrow().peer.as_ref().map(|peer| peer.name.clone());
                        self.write_down(story, |of| if of == node { Some(self.name.clone()) } else { peer });
                    }
                    Some(output) => self.carry_out(output, &speaker, &mut complaint),
                    None => return std::future::pending().await,
                },
                message = messages.recv() => match message.as_deref().map(payload::decode) {
                    Some(Ok(message)) => self.tell(PairInput::Heard(message)),
                    Some(Err(error)) => tracing::warn!("the peer says what this version does not understand: {error}"),
                    None => return std::future::pending().await,
                },
                changed = status.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
            }
        }
    }

    fn carry_out(&self, output: PairOutput, speaker: &Speaker, complaint: &mut Option<String>) {
        match output {
            PairOutput::Store(record) => self.store.put(record),
            PairOutput::Send(message) => {
                let bytes = payload::encode(&message).map_err(|error| error.to_string());
                let sent = bytes.and_then(|bytes| speaker.send(bytes).map_err(|error| error.to_string()));
                // It is said again with the next heartbeat; the link's own state is shown elsewhere.
                let error = sent.err();
                if let Some(error) = error.as_ref().filter(|_| *complaint != error) {
                    tracing::debug!("a message about the pair was not sent: {error}");
                }
                *complaint = error;
            }
            PairOutput::Ask => speaker.ask(),
            PairOutput::Progress(progress) => {
                let Progress { request, step, since, standing } = progress;
                let since_ns = since.as_nanos();
                self.events.tell(None, What::SwitchoverStep { request, step, standing, since_ns });
                // Nobody may be looking.
                let _ = self.news.send(PairNews::Progress(progress));
            }
            PairOutput::Ended(request, end) => drop(self.news.send(PairNews::Ended(request, end))),
            PairOutput::Alarm => self.events.tell(None, What::TooManyFailovers),
            PairOutput::Lease(wanted) => {
                if let Some(witness) = &self.witness {
                    witness.want(wanted);
                }
            }
            PairOutput::Conduct(order) => {
                if let Some(charge) = &self.charge {
                    charge.order(order);
                }
            }
            // Both are carried out where more is known.
            PairOutput::Journal(_) | PairOutput::EndHard(_) => {}
        }
    }

    fn write_down(&self, story: Story, name: impl FnOnce(Node) -> Option<String>) {
        self.events.tell(None, What::of_pair(story, name));
    }

    /// Where this node may still write, its machine ends with it.
    fn end_hard(&self, why: Why) -> Why {
        if let Some(charge) = &self.charge {
            charge.fence_self(why);
        }
        why
    }

    fn tell(&self, input: PairInput) {
        // It is gone only while the agent ends.
        let _ = self.detector.send(Input::Pair(input));
    }
}

/// Hands the role over to the peer, if this node has it and the peer is there to take it; so that a node that ends in order
/// leaves no gap. Returns when that is over, or has taken too long, and whether the role has moved. `more` is what it may take
/// beside addresses.
pub(super) async fn hand_over(
    detector: &mpsc::UnboundedSender<Input>,
    news: &broadcast::Sender<PairNews>,
    node: Node,
    more: Duration,
) -> bool {
    let mut news = news.subscribe();
    let wish = Wish::Failover { to: node.other(), forced: false, force_after: None };
    let handed = async {
        let (reply, answer) = oneshot::channel();
        detector.send(Input::Pair(PairInput::Wish(wish, reply))).ok()?;
        let request = answer.await.ok()??;
        loop {
            match news.recv().await.ok()? {
                PairNews::Ended(ended, end) if ended == request => return Some(end),
                PairNews::Ended(..) | PairNews::Progress(_) => {}
            }
        }
    };
    if let Ok(Some(end)) = tokio::time::timeout(HAND_OVER + more, handed).await {
        tracing::info!("pair: before this node ends: {end}");
        end == End::Moved
    } else {
        tracing::warn!("pair: the role was not handed over in time");
        false
    }
}

/// The next that is said of what the node has in charge.
async fn said(charge: &mut Option<Charge>) -> Said {
    match charge {
        Some(charge) => charge.next().await,
        None => std::future::pending().await,
    }
}

fn link_now(status: &LinkStatus) -> LinkNow {
    match status.condition {
        Condition::Unpaired | Condition::Down { .. } => LinkNow::Down,
        Condition::NotAnswering { .. } => LinkNow::NotAnswering,
        Condition::Up { heard, .. } => LinkNow::Up(heard),
    }
}

/// How long the virtual hosts wait for a silent master, at most.
pub(super) fn patience(config: &Config) -> Duration {
    let patience = config.vhosts.iter().map(|vhost| {
        let priority = Priority { advbase: vhost.advbase, advskew: vhost.advskew };
        hosts::pace(vhost.pace).master_down_time(priority.demoted(1))
    });
    patience.max().unwrap_or_default()
}

/// How long it takes to know that the peer is dead, by the last of the paths that show it.
pub(super) fn silence(config: &Config) -> Duration {
    let link = config.peer.as_ref().map(|peer| peer.heartbeat * u32::from(peer.dead_after));
    let disks = config.charge.fence.as_ref().filter(|fence| fence.levels.contains(&FenceLevel::Reservation));
    let disks = disks.map(|fence| fence.disk_heartbeat * charge::STILL);
    [Some(patience(config)), link, disks].into_iter().flatten().max().unwrap_or_default()
}

/// The link's and the virtual hosts' times say what the pair's must be.
fn settings(
    peer: &PeerConfig,
    patience: Duration,
    node: Node,
    witness: Option<Terms>,
    charge: Option<Times>,
) -> Settings {
    let take = STEP + charge.map_or(Duration::ZERO, |times| times.take);
    let release = STEP + charge.map_or(Duration::ZERO, |times| times.release);
    Settings {
        node,
        boot: boot(),
        repeat: peer.heartbeat,
        answer: peer.heartbeat * 5,
        // Within what is left when it may not rest on the lease any more.
        release: witness.map_or(release, |terms| terms.release().min(release)),
        take,
        turn: patience * 2 + LEAST_TURN,
        rest: REST,
        shares_disks: charge.is_some_and(|times| times.data),
        witness: witness.map(|terms| terms.quiet()),
    }
}

/// This boot of the machine, by a random number of the kernel's; 0 where there is none.
fn boot() -> u64 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// News that nobody has read yet.
const NEWS: usize = 64;
/// How long a release or a takeover may take: addresses are a matter of milliseconds.
const STEP: Duration = Duration::from_secs(5);
/// How long a node rests that failed by itself.
const REST: Duration = Duration::from_secs(5);
/// From one turn to the next, beside what the virtual hosts wait.
const LEAST_TURN: Duration = Duration::from_millis(200);
/// How long an agent that ends waits for the peer to take addresses over.
const HAND_OVER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Instant;
    use crate::core::pair::Generation;
    use crate::core::pair::message::{Message, Role, Saying, Sequence, Shared, State, Word};

    #[test]
    fn a_message_comes_back_as_it_was_and_what_is_cut_off_is_refused() {
        let generation = Generation::new(5).expect("small");
        let request = Request { node: Node::B, start: u64::MAX, number: 1 };
        let state = State {
            start: 3,
            number: Sequence(9),
            boot: 7,
            role: Role::Active,
            request: Some(request),
            generation,
            fit: true,
            held: false,
            shared: Shared::default(),
        };
        let saying = Saying::Ask { forced: true, force_after: Some(Duration::from_secs(30)) };
        let message = Message { state, word: Some(Word { request, generation, saying }) };
        let payload = payload::encode(&message).expect("can be written");
        assert_eq!(payload::decode::<Message>(&payload).expect("can be read"), message);
        for end in 0..payload.len() {
            assert!(payload::decode::<Message>(&payload[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn when_the_link_is_up_it_counts_from_when_the_peer_was_heard() {
        let heard = Instant::from_nanos(5);
        let via = ([10, 0, 0, 1], 7780).into();
        let up = Condition::Up { via, round_trip: Duration::ZERO, heard };
        let table = [
            (Condition::Unpaired, LinkNow::Down),
            (Condition::Down { why: String::new() }, LinkNow::Down),
            (Condition::NotAnswering { heard: None }, LinkNow::NotAnswering),
            (up, LinkNow::Up(heard)),
        ];
        for (condition, expected) in table {
            let status = LinkStatus { condition, peer: None, rotating: false, paths: Vec::new() };
            assert_eq!(link_now(&status), expected);
        }
    }
}
