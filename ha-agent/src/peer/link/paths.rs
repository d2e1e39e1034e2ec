//! Which connection is on which path. One alone stands on each: of two, both nodes keep the same.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::sync::oneshot;

use super::calls::CallError;
use super::outbox::Outbox;
use super::status::{Condition, LinkStatus, PathStatus, Peer};
use crate::peer::identity::NodeId;
use crate::peer::message::{Hello, Message};

/// All paths to the peer, best first.
#[derive(Debug, Default)]
pub(super) struct Paths {
    all: Vec<Path>,
    /// What the link is where no path says it: unpaired, or its files are not in order.
    trouble: Option<Condition>,
    peer: Option<Peer>,
    rotating: bool,
    /// The newest state of this node.
    state: Option<Message>,
    /// Where it was sent.
    best: Option<Ticket>,
    tickets: u64,
}

/// Tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct Path {
    address: SocketAddr,
    /// Whether it is in the configuration, and stays.
    is_configured: bool,
    standing: Option<Standing>,
    condition: Condition,
}

#[derive(Debug)]
struct Standing {
    ticket: Ticket,
    /// Whether this node has dialed it.
    is_ours: bool,
    /// Of the peer's agent.
    life: u64,
    /// Of the protocol, as both know it.
    version: u16,
    outbox: Arc<Outbox>,
    /// The peer's, and this node's.
    certificates: [CertificateDer<'static>; 2],
    end: oneshot::Sender<&'static str>,
}

/// A connection whose other end is the peer.
pub(super) struct Candidate<'a> {
    /// Where the peer is.
    pub(super) remote: SocketAddr,
    /// Whether this node has dialed it.
    pub(super) is_ours: bool,
    /// What the peer says of itself.
    pub(super) hello: &'a Hello,
    /// The version of the protocol that both speak.
    pub(super) version: u16,
    /// This node, and the peer.
    pub(super) ids: [NodeId; 2],
    /// The peer's, and this node's.
    pub(super) certificates: [CertificateDer<'static>; 2],
}

/// A connection that stands.
pub(super) struct Admitted {
    pub(super) ticket: Ticket,
    /// That of its path.
    pub(super) address: SocketAddr,
    pub(super) outbox: Arc<Outbox>,
    /// Receives why it is to end.
    pub(super) end: oneshot::Receiver<&'static str>,
}

impl Paths {
    /// Paths to the addresses of the configuration.
    pub(super) fn new(configured: &[SocketAddr]) -> Self {
        let path = |address: &SocketAddr| Path::new(*address, true);
        Self { all: configured.iter().map(path).collect(), ..Self::default() }
    }

    /// Lets a connection stand, in the place of another if need be.
    ///
    /// # Errors
    ///
    /// Why it is not to stand: to be said to the peer.
    pub(super) fn admit(&mut self, candidate: Candidate<'_>) -> Result<Admitted, &'static str> {
        let Candidate { remote, is_ours, hello, version, ids, certificates } = candidate;
        let index = self.index(remote).ok_or("too many paths")?;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let Some(path) = self.all.get_mut(index) else { return Err("too many paths") };
        if let Some(standing) = &path.standing {
            let is_new_kept = !matches!(path.condition, Condition::Up { .. })
                || standing.life != hello.life
                || standing.is_ours == is_ours
                || dialer_counts(is_ours, ids);
            if !is_new_kept {
                return Err(DUPLICATE);
            }
        }
        let address = path.address;
        let outbox = Arc::new(Outbox::default());
        let (end, ended) = oneshot::channel();
        let life = hello.life;
        let standing =
            Standing { ticket, is_ours, life, version, outbox: Arc::clone(&outbox), certificates, end };
        if let Some(replaced) = path.standing.replace(standing) {
            // It may be over already.
            let _ = replaced.end.send(DUPLICATE);
        }
        if let Some(peer) = &mut self.peer {
            peer.name.clone_from(&hello.node);
            peer.agent = Some(hello.agent.clone());
        }
        Ok(Admitted { ticket, address, outbox, end: ended })
    }

    /// Notes how a connection is. One that was replaced has no say.
    pub(super) fn report(&mut self, ticket: Ticket, condition: Condition) {
        if let Some(path) = self.of(ticket) {
            path.condition = condition;
        }
    }

    /// Sends a heartbeat beside the others; its answer counts as being heard only.
    pub(super) fn ask(&self) {
        for standing in self.all.iter().filter_map(|path| path.standing.as_ref()) {
            standing.outbox.heartbeat(0);
        }
    }

    /// A connection is no more.
    pub(super) fn release(&mut self, ticket: Ticket, why: String) {
        let Some(path) = self.of(ticket) else { return };
        path.standing = None;
        path.condition = Condition::Down { why };
        self.all.retain(|path| path.is_configured || path.standing.is_some());
    }

    /// Dialing an address did not lead to a connection.
    pub(super) fn fail(&mut self, address: SocketAddr, condition: Condition) {
        let path = self.all.iter_mut().find(|path| path.address == address);
        if let Some(path) = path.filter(|path| path.standing.is_none()) {
            path.condition = condition;
        }
    }

    /// Whether a connection stands on the path to an address.
    pub(super) fn is_taken(&self, address: SocketAddr) -> bool {
        self.all.iter().any(|path| is_same(path.address, address) && path.standing.is_some())
    }

    /// Whether the peer has shown a certificate on a connection that stands.
    pub(super) fn is_used(&self, theirs: &CertificateDer<'_>) -> bool {
        let standing = self.all.iter().filter_map(|path| path.standing.as_ref());
        standing.map(|standing| &standing.certificates).any(|[shown, _]| shown == theirs)
    }

    /// Ends all connections but those between two certificates; `None` for all.
    pub(super) fn end_others(
        &mut self,
        own: Option<&CertificateDer<'_>>,
        pinned: &[CertificateDer<'_>],
        why: &'static str,
    ) {
        for path in &mut self.all {
            let stays = path.standing.as_ref().is_some_and(|standing| {
                let [theirs, ours] = &standing.certificates;
                own == Some(ours) && pinned.contains(theirs)
            });
            if let Some(standing) = path.standing.take_if(|_| !stays) {
                let _ = standing.end.send(why);
                path.condition = Condition::Down { why: why.to_owned() };
            }
        }
        self.all.retain(|path| path.is_configured || path.standing.is_some());
    }

    /// What the link is as a whole while it can't be anything else.
    pub(super) fn set_trouble(&mut self, trouble: Option<Condition>) {
        self.trouble = trouble;
    }

    /// Who the peer is, by its certificate, and whether this node waits for it.
    pub(super) fn set_peer(&mut self, peer: Option<(NodeId, &str)>, rotating: bool) {
        self.rotating = rotating;
        if self.peer.as_ref().map(|peer| peer.id) != peer.map(|(id, _)| id) {
            self.peer = peer.map(|(id, name)| Peer { id, name: name.to_owned(), agent: None });
        }
    }

    /// This node's state from now on.
    pub(super) fn set_state(&mut self, sequence: u64, payload: Bytes) {
        self.state = Some(Message::State { sequence, payload });
        self.best = None;
    }

    /// Lets the newest state go to the peer on the best path, if it did not yet.
    pub(super) fn settle(&mut self) {
        let best = self.best().map(|standing| standing.ticket);
        if best.is_some() && best != self.best {
            if let (Some(standing), Some(state)) = (self.best(), &self.state) {
                standing.outbox.state(state.clone());
            }
            self.best = best;
        }
    }

    /// Sends a message on the best path: `None` if there is none, `Some(false)` if too much waits there.
    pub(super) fn send(&self, message: Message) -> Option<bool> {
        self.best().map(|standing| standing.outbox.push(message))
    }

    /// The same for a message that is known since a version of the protocol.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub(super) fn call(&self, message: Message, since: u16) -> Result<(), CallError> {
        let standing = self.best().ok_or(CallError::NotUp)?;
        if standing.version < since {
            return Err(CallError::TooOld);
        }
        if standing.outbox.push(message) { Ok(()) } else { Err(CallError::Full) }
    }

    /// Sends a message on all paths.
    pub(super) fn send_to_all(&self, message: &Message) {
        for standing in self.all.iter().filter_map(|path| path.standing.as_ref()) {
            // What does not fit comes with the next connection.
            let _ = standing.outbox.push(message.clone());
        }
    }

    /// What is known of them.
    pub(super) fn status(&self) -> LinkStatus {
        let path = |path: &Path| PathStatus { address: path.address, condition: path.condition.clone() };
        LinkStatus {
            condition: self.trouble.clone().unwrap_or_else(|| self.condition()),
            peer: self.peer.clone(),
            rotating: self.rotating,
            paths: self.all.iter().map(path).collect(),
        }
    }

    /// That of the best path.
    fn condition(&self) -> Condition {
        let rank = |condition: &Condition| match condition {
            Condition::Up { .. } => 0,
            Condition::NotAnswering { .. } => 1,
            Condition::Down { .. } => 2,
            Condition::Unpaired => 3,
        };
        // The first of those that are equally good.
        let best = self.all.iter().map(|path| &path.condition).min_by_key(|condition| rank(condition));
        best.cloned().unwrap_or_else(|| Condition::Down { why: NO_CONNECTION.to_owned() })
    }

    /// The first that is up.
    fn best(&self) -> Option<&Standing> {
        let mut up = self.all.iter().filter(|path| matches!(path.condition, Condition::Up { .. }));
        up.find_map(|path| path.standing.as_ref())
    }

    fn of(&mut self, ticket: Ticket) -> Option<&mut Path> {
        let has = |path: &&mut Path| path.standing.as_ref().is_some_and(|standing| standing.ticket == ticket);
        self.all.iter_mut().find(has)
    }

    /// The path that a peer is on; a new one if it comes from elsewhere.
    fn index(&mut self, remote: SocketAddr) -> Option<usize> {
        if let Some(index) = self.all.iter().position(|path| is_same(path.address, remote)) {
            return Some(index);
        }
        if self.all.len() >= PATHS_LIMIT {
            return None;
        }
        self.all.push(Path::new(remote, false));
        Some(self.all.len() - 1)
    }
}

impl Path {
    fn new(address: SocketAddr, is_configured: bool) -> Self {
        let condition = Condition::Down { why: NO_CONNECTION.to_owned() };
        Self { address, is_configured, standing: None, condition }
    }
}

/// A path is where the peer is, whatever port it comes from.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let canonical = |address: SocketAddr| -> IpAddr { address.ip().to_canonical() };
    canonical(one) == canonical(other)
}

/// The rule that both nodes know: of two connections, that one counts which the node with the smaller number has
/// dialed.
fn dialer_counts(is_ours: bool, [own, peer]: [NodeId; 2]) -> bool {
    is_ours == (own < peer)
}

/// Paths in all: the peer may have more addresses than it is dialed at.
const PATHS_LIMIT: usize = 32;
const DUPLICATE: &str = "another connection on this path is kept";
const NO_CONNECTION: &str = "no connection yet";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::Instant;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn id(digit: char) -> NodeId {
        String::from(digit).repeat(32).parse().unwrap()
    }

    fn hello(life: u64) -> Hello {
        Hello { version: 1, oldest: 1, node: "b".to_owned(), agent: "0".to_owned(), life }
    }

    fn certificate(byte: u8) -> CertificateDer<'static> {
        vec![byte].into()
    }

    fn admit(
        paths: &mut Paths,
        remote: &str,
        is_ours: bool,
        ids: [NodeId; 2],
        life: u64,
    ) -> Result<Admitted, &'static str> {
        let certificates = [certificate(2), certificate(1)];
        let (remote, hello) = (address(remote), &hello(life));
        paths.admit(Candidate { remote, is_ours, hello, version: 1, ids, certificates })
    }

    fn up(via: &str) -> Condition {
        Condition::Up { via: address(via), round_trip: Duration::ZERO, heard: Instant::from_nanos(0) }
    }

    #[test]
    fn both_nodes_keep_the_same_of_two_connections() {
        // One was dialed by `a`, the other by `b`, and each node sees them in either order.
        for (a, b) in [(id('1'), id('2')), (id('2'), id('1'))] {
            for orders in
                [[0, 1], [1, 0]].into_iter().flat_map(|one| [[0, 1], [1, 0]].map(|other| [one, other]))
            {
                let kept = [(a, b), (b, a)].into_iter().zip(orders).map(|((own, peer), order)| {
                    let mut paths = Paths::new(&[address("10.0.0.9:7780")]);
                    let mut kept = None;
                    for connection in order {
                        let is_ours = (connection == 0) == (own == a);
                        if let Ok(admitted) = admit(&mut paths, "10.0.0.9:5", is_ours, [own, peer], 7) {
                            paths.report(admitted.ticket, up("10.0.0.9:5"));
                            kept = Some(connection);
                        }
                    }
                    kept
                });
                let kept: Vec<_> = kept.collect();
                assert_eq!(kept, [Some(usize::from(b < a)); 2]);
            }
        }
    }

    #[test]
    fn who_is_not_up_or_lived_before_makes_room() {
        let ids = [id('1'), id('2')];
        for (life, is_up, expected) in [(7, true, false), (8, true, true), (7, false, true)] {
            let mut paths = Paths::new(&[address("10.0.0.2:7780")]);
            let mut first = admit(&mut paths, "10.0.0.2:7780", true, ids, 7).ok().unwrap();
            if is_up {
                paths.report(first.ticket, up("10.0.0.2:7780"));
            }
            let second = admit(&mut paths, "10.0.0.2:40000", false, ids, life);
            assert_eq!(second.is_ok(), expected, "life {life}, up: {is_up}");
            assert_eq!(first.end.try_recv().is_ok(), expected);
            // Whoever was replaced has no say any more.
            if expected {
                paths.release(first.ticket, "gone".to_owned());
                assert!(paths.is_taken(address("10.0.0.2:7780")));
            }
        }
    }

    #[test]
    fn the_best_path_is_the_first_that_is_up() {
        let (one, two) = ("10.0.0.2:7780", "10.1.0.2:7780");
        let mut paths = Paths::new(&[address(one), address(two)]);
        let down = |why: &str| Condition::Down { why: why.to_owned() };
        assert_eq!(paths.status().condition, down(NO_CONNECTION));
        assert_eq!(paths.send(Message::Bye { why: String::new() }), None);
        let ids = [id('1'), id('2')];
        let second = admit(&mut paths, two, true, ids, 7).ok().unwrap();
        paths.report(second.ticket, up(two));
        assert_eq!(paths.status().condition, up(two));
        let first = admit(&mut paths, one, true, ids, 7).ok().unwrap();
        paths.report(first.ticket, up(one));
        assert_eq!(paths.status().condition, up(one));
        paths.report(first.ticket, Condition::NotAnswering { heard: None });
        assert_eq!(paths.status().condition, up(two));
        paths.release(second.ticket, "cut".to_owned());
        assert_eq!(paths.status().condition, Condition::NotAnswering { heard: None });
        paths.release(first.ticket, "pulled".to_owned());
        assert_eq!(paths.status().condition, down("pulled"));
        paths.fail(address(one), down("refused"));
        assert_eq!(paths.status().condition, down("refused"));
        paths.set_trouble(Some(Condition::Unpaired));
        assert_eq!(paths.status().condition, Condition::Unpaired);
    }

    #[tokio::test]
    async fn the_newest_state_follows_the_best_path() {
        let (one, two) = ("10.0.0.2:7780", "10.1.0.2:7780");
        let mut paths = Paths::new(&[address(one), address(two)]);
        let ids = [id('1'), id('2')];
        let state = |number: u8| Message::State { sequence: number.into(), payload: vec![number].into() };
        paths.set_state(1, vec![1].into());
        paths.settle();
        let second = admit(&mut paths, two, true, ids, 7).ok().unwrap();
        paths.report(second.ticket, up(two));
        paths.settle();
        assert_eq!(second.outbox.next().await, state(1));
        let first = admit(&mut paths, one, true, ids, 7).ok().unwrap();
        paths.report(first.ticket, up(one));
        paths.settle();
        assert_eq!(first.outbox.next().await, state(1));
        paths.set_state(2, vec![2].into());
        paths.settle();
        paths.settle();
        assert_eq!(first.outbox.next().await, state(2));
        paths.release(first.ticket, "cut".to_owned());
        paths.settle();
        assert_eq!(second.outbox.next().await, state(2));
    }

    #[test]
    fn paths_that_are_not_configured_come_and_go() {
        let mut paths = Paths::new(&[address("10.0.0.2:7780")]);
        let ids = [id('1'), id('2')];
        let admitted: Vec<_> = (0..100)
            .filter_map(|host| admit(&mut paths, &format!("10.9.0.{host}:1"), false, ids, 7).ok())
            .collect();
        assert_eq!(admitted.len(), PATHS_LIMIT - 1);
        let same = admit(&mut paths, "[::ffff:10.0.0.2]:4", false, ids, 7).ok().unwrap();
        for admitted in admitted {
            paths.release(admitted.ticket, String::new());
        }
        assert_eq!(paths.status().paths.len(), 1);
        assert!(paths.is_taken(address("10.0.0.2:7780")));
        paths.release(same.ticket, String::new());
        assert_eq!(paths.status().paths.len(), 1);
    }

    #[test]
    fn connections_with_other_certificates_end() {
        let mut paths = Paths::new(&[address("10.0.0.2:7780")]);
        let ids = [id('1'), id('2')];
        let (own, theirs, other) = (certificate(1), certificate(2), certificate(3));
        for (own, pinned, stays) in [
            (Some(&own), &[theirs.clone()][..], true),
            (Some(&own), &[other.clone(), theirs.clone()], true),
            (Some(&own), std::slice::from_ref(&other), false),
            (Some(&other), std::slice::from_ref(&theirs), false),
            (None, &[], false),
        ] {
            let mut admitted = admit(&mut paths, "10.0.0.2:7780", true, ids, 7).ok().unwrap();
            paths.end_others(own, pinned, "other certificates");
            assert_eq!(admitted.end.try_recv().is_err(), stays);
            assert_eq!(paths.is_taken(address("10.0.0.2:7780")), stays);
        }
    }
}
