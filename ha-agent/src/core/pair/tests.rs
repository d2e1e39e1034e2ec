//! Tables of what a single node answers; what two of them make of it is for the virtual pair.

use super::message::Shared;
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
