//! Tables of what a single node answers; what two of them make of it is for the virtual pair.

use super::message::{Role, Shared};
use super::report::Refusal;
use super::*;

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const MS: Duration = Duration::from_millis(1);

fn settings(node: Node) -> Settings {
    Settings {
        node,
        boot: 0,
        repeat: MS * 20,
        answer: MS * 200,
        release: MS * 300,
        take: MS * 300,
        turn: MS * 100,
        rest: MS * 400,
        shares_disks: false,
        witness: None,
    }
}

/// B, fit to serve, whose record says that A was active; stored as it goes.
fn standby(record: Record, link: Link, liveness: Liveness, peer: PeerVhosts) -> Pair {
    standby_of(settings(Node::B), record, link, liveness, peer)
}

fn standby_of(settings: Settings, record: Record, link: Link, liveness: Liveness, peer: PeerVhosts) -> Pair {
    let mut pair = Pair::new(NOW, settings, record, 0, false);
    tell(&mut pair, Event::Carp(Carp { own: Vhosts::Backup, peer }));
    tell(&mut pair, Event::Ready(true));
    tell(&mut pair, Event::Link(link));
    tell(&mut pair, Event::Peer(liveness));
    pair
}

/// What it does, with whatever it stores on the disk at once.
fn tell(pair: &mut Pair, event: Event) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front() {
        pair.handle(NOW, event);
        while let Some(command) = pair.next_command() {
            if let Command::Store(record) = command {
                events.push_back(Event::Stored(record));
            }
            commands.push(command);
        }
    }
    commands
}

fn refusal(commands: &[Command]) -> Option<Refusal> {
    commands.iter().find_map(|command| match command {
        Command::Ended { end: End::Refused(refusal), .. } => Some(*refusal),
        Command::Ended { .. }
        | Command::Store(_)
        | Command::Send(_)
        | Command::Release(_)
        | Command::Take(_)
        | Command::Stance(_)
        | Command::Lease(_)
        | Command::Progress(_)
        | Command::Journal(_)
        | Command::EndHard(_) => None,
    })
}

#[test]
fn force_takes_nothing_from_a_peer_that_lives() {
    let failover = |forced| Event::Wish(Wish::Failover { to: Node::B, forced, force_after: None });
    // (verdict, what is heard of the peer's virtual hosts, forced, refused because)
    let table = [
        (Liveness::Alive, PeerVhosts::Leads, true, Some(Refusal::PeerLives)),
        (Liveness::Alive, PeerVhosts::Silent, true, Some(Refusal::PeerLives)),
        (Liveness::Unknown, PeerVhosts::Silent, false, Some(Refusal::Unsure)),
        (Liveness::Unknown, PeerVhosts::Silent, true, None),
        (Liveness::Partitioned, PeerVhosts::Silent, false, Some(Refusal::Unsure)),
        (Liveness::Partitioned, PeerVhosts::Silent, true, None),
    ];
    for (liveness, vhosts, forced, expected) in table {
        let mut pair = standby(Record::default(), Link::NotAnswering, liveness, vhosts);
        let commands = tell(&mut pair, failover(forced));
        assert_eq!(refusal(&commands), expected, "{liveness:?} {vhosts:?} {forced}");
        let takes = commands.iter().any(|command| matches!(command, Command::Take(_)));
        assert_eq!(takes, expected.is_none(), "{liveness:?} {vhosts:?} {forced}");
    }
}

#[test]
fn a_dead_peer_is_replaced_unless_an_operator_is_against_it() {
    let shared = |disabled| Shared { version: 1, by: Node::A, disabled, preferred: None };
    // Ours is the record in which we were active ourselves: to take that up again is no failover.
    let ours = Generation::default().next_for(Node::B);
    let table = [
        (Record::default(), Ok(())),
        (Record { held: true, ..Record::default() }, Err(Wait::Held)),
        (Record { shared: shared(true), ..Record::default() }, Err(Wait::Disabled)),
        (Record { held: true, shared: shared(true), generation: ours, ..Record::default() }, Ok(())),
    ];
    for (record, expected) in table {
        let pair = standby(record, Link::Down, Liveness::Dead, PeerVhosts::Silent);
        match expected {
            Ok(()) => assert!(matches!(pair.phase(), Phase::Taking { .. }), "{record:?}"),
            Err(wait) => assert_eq!(pair.reason_to_take(), Err(wait), "{record:?}"),
        }
    }
}

#[test]
fn addresses_alone_are_taken_from_a_dead_peer_at_once_and_vouched_for_once_it_is_stored() {
    let mut pair = standby(Record::default(), Link::Down, Liveness::Unknown, PeerVhosts::Silent);
    pair.handle(NOW, Event::Peer(Liveness::Dead));
    assert!(matches!(pair.phase(), Phase::Taking { .. }));
    pair.handle(NOW, Event::Executor(Report::Taken(pair.term())));
    assert!(matches!(pair.phase(), Phase::Taking { taken: true, .. }));
    pair.handle(NOW, Event::Stored(pair.record()));
    assert_eq!(pair.phase(), Phase::Active);
}

/// Told of everything but the disk, with its time for the takeover over.
fn unstored(settings: Settings) -> Pair {
    let mut pair = standby_of(settings, Record::default(), Link::Down, Liveness::Unknown, PeerVhosts::Silent);
    pair.handle(NOW, Event::Peer(Liveness::Dead));
    pair.handle(NOW, Event::Executor(Report::Taken(pair.term())));
    let over = NOW + settings.take;
    pair.handle(over, Event::Deadline(Timer::Step));
    pair
}

#[test]
fn who_is_alone_serves_on_though_it_cannot_be_stored() {
    let mut pair = unstored(settings(Node::B));
    let over = NOW + MS * 400;
    assert!(matches!(pair.phase(), Phase::Taking { taken: true, .. }), "{:?}", pair.phase());
    assert!(pair.deadlines().all(|(_, timer)| timer != Timer::Step));
    let unstored = std::iter::from_fn(|| pair.next_command())
        .any(|command| matches!(command, Command::Journal(Story::ServesUnstored { .. })));
    assert!(unstored, "it does not say so");
    // A standby that comes back is no reason to stop; what is stored at last makes it active.
    pair.handle(over, Event::Peer(Liveness::Alive));
    pair.handle(over, Event::Stored(pair.record()));
    assert_eq!(pair.phase(), Phase::Active);
}

#[test]
fn who_serves_unstored_yields_to_a_peer_that_serves() {
    let mut pair = unstored(settings(Node::B));
    let over = NOW + MS * 400;
    let state = |role| State {
        start: 1,
        number: Sequence(if role == Role::Active { 2 } else { 1 }),
        boot: 0,
        role,
        request: None,
        generation: Generation::default(),
        fit: true,
        held: false,
        shared: Shared::default(),
    };
    pair.handle(over, Event::Link(Link::Up));
    pair.handle(over, Event::Peer(Liveness::Alive));
    pair.handle(over, Event::Heard(Message { state: state(Role::Standby), word: None }));
    assert!(matches!(pair.phase(), Phase::Taking { taken: true, .. }), "{:?}", pair.phase());
    pair.handle(over, Event::Heard(Message { state: state(Role::Active), word: None }));
    assert_eq!(pair.phase(), Phase::Releasing(Purpose::Undo(Why::StoreStuck)));
}

#[test]
fn nothing_that_is_shared_is_taken_before_it_is_stored() {
    let settings = Settings { shares_disks: true, ..settings(Node::B) };
    let mut pair = standby_of(settings, Record::default(), Link::Down, Liveness::Unknown, PeerVhosts::Silent);
    pair.handle(NOW, Event::Peer(Liveness::Dead));
    assert!(matches!(pair.phase(), Phase::Claiming { .. }));
    let record = pair.record();
    assert_eq!(record.generation.owner(), Node::B);
    pair.handle(NOW, Event::Stored(Record { generation: Generation::default(), ..record }));
    assert!(matches!(pair.phase(), Phase::Claiming { .. }), "something else was stored");
    pair.handle(NOW, Event::Stored(record));
    assert!(matches!(pair.phase(), Phase::Taking { .. }));
}
