//! Two links on the loopback interface, and a peer that does as the test wants.

use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;
use tokio_util::codec::Framed;

use super::super::codec::Codec;
use super::super::identity::{Identity, NodeId};
use super::super::message::Answer;
use super::super::pairing::ceremony;
use super::super::store::{Part, Store};
use super::super::tls::Tls;
use super::*;

/// Two nodes that are paired, with their files.
struct Pair {
    directory: TempDir,
    ports: [u16; 2],
}

impl Pair {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Free now, and taken by nobody who does not ask for this very one.
        let ports = [(); 2].map(|()| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        });
        let pair = Self { directory, ports };
        let identities = ["a", "b"].map(|name| Identity::generate(name, NodeId::random().unwrap()).unwrap());
        for (own, peer) in [(0, 1), (1, 0)] {
            let store = pair.store(own);
            store.create().unwrap();
            let lock = store.lock().unwrap();
            store.write(&lock, Part::Node, &identities[own].to_pem()).unwrap();
            store.write(&lock, Part::Peer, &identities[peer].certificate().to_pem()).unwrap();
        }
        pair
    }

    fn store(&self, node: usize) -> Store {
        Store::at(&self.directory.path().join(["a", "b"][node]))
    }

    fn start(&self, node: usize) -> Link {
        Link::start(settings(["a", "b"][node], self.store(node).directory(), self.ports, node)).unwrap()
    }

    /// How the other node would do it.
    fn tls(&self, node: usize) -> Tls {
        let store = self.store(node);
        let identity = store.identity(Part::Node).unwrap().unwrap();
        Tls::new(&identity, &[store.certificate(Part::Peer).unwrap().unwrap()]).unwrap()
    }

    /// Says hello to `a` as `b`, and hears it.
    async fn greet_as_b(&self) -> Framed<TlsStream<TcpStream>, Codec> {
        let stream = TcpStream::connect(("127.0.0.1", self.ports[0])).await.unwrap();
        let mut frames = Framed::new(self.tls(1).connect(stream).await.unwrap(), Codec::new());
        frames.send(Message::Hello(hello(1))).await.unwrap();
        assert!(matches!(frames.next().await, Some(Ok(Message::Hello(hello))) if hello.node == "a"));
        frames
    }
}

fn settings(node: &str, directory: &Path, ports: [u16; 2], own: usize) -> Settings {
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    Settings {
        node: node.to_owned(),
        listen: vec![address(ports[own])],
        connect: vec![address(ports[1 - own])],
        heartbeat: Duration::from_millis(50),
        dead_after: 4,
        directory: directory.to_owned(),
    }
}

fn hello(life: u64) -> Hello {
    Hello { version: VERSION, oldest: OLDEST, node: "b".to_owned(), agent: "test".to_owned(), life }
}

async fn until(link: &Link, what: &str, wanted: impl FnMut(&LinkStatus) -> bool) -> LinkStatus {
    let mut status = link.status();
    let found = timeout(PATIENCE, status.wait_for(wanted)).await;
    found.unwrap_or_else(|_| panic!("not {what}: {:?}", link.status().borrow())).unwrap().clone()
}

fn is_up(status: &LinkStatus) -> bool {
    matches!(status.condition, Condition::Up { .. })
}

fn is_not_answering(status: &LinkStatus) -> bool {
    matches!(status.condition, Condition::NotAnswering { .. })
}

fn down(status: &LinkStatus) -> &str {
    match &status.condition {
        Condition::Down { why } => why,
        Condition::Unpaired | Condition::NotAnswering { .. } | Condition::Up { .. } => "",
    }
}

#[tokio::test]
async fn two_nodes_find_each_other_and_tell() {
    let pair = Pair::new();
    let (a, mut b) = (pair.start(0), pair.start(1));
    assert_eq!(a.speaker().send(Bytes::new()), Err(SendError::NotUp));
    a.publish("older".into()).unwrap();
    a.publish("newer".into()).unwrap();
    let status = until(&a, "up", is_up).await;
    until(&b, "up", is_up).await;
    assert_eq!(status.peer.as_ref().map(|peer| peer.name.as_str()), Some("b"));
    assert_eq!(status.paths.len(), 1);
    let mut state = b.peer_state();
    let told = timeout(PATIENCE, state.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
    assert_eq!(told.unwrap().payload, "newer");
    let mut messages = b.take_messages().unwrap();
    for number in 0..10u8 {
        a.speaker().send(vec![number; 1000].into()).unwrap();
    }
    for number in 0..10u8 {
        let message = timeout(PATIENCE, messages.recv()).await.unwrap().unwrap();
        assert_eq!(message, vec![number; 1000]);
    }
    let large = Bytes::from(vec![0; PAYLOAD_LIMIT + 1]);
    assert_eq!(
        (a.speaker().send(large.clone()), a.publish(large)),
        (Err(SendError::TooLarge), Err(SendError::TooLarge))
    );
    // Together: what is told is soon replaced by what comes of dialing anew.
    tokio::join!(a.close(), until(&b, "told why", |status| down(status).contains(LEAVING)));
    // And again.
    let _a = pair.start(0);
    until(&b, "up again", is_up).await;
}

#[tokio::test]
async fn a_node_is_unpaired_until_it_is_not_and_again() {
    let pair = Pair::new();
    let aside = pair.directory.path().join("aside");
    std::fs::rename(pair.store(0).path(Part::Peer), &aside).unwrap();
    let (a, b) = (pair.start(0), pair.start(1));
    until(&a, "unpaired", |status| status.condition == Condition::Unpaired).await;
    until(&b, "refused", |status| down(status).contains("refused")).await;
    std::fs::rename(&aside, pair.store(0).path(Part::Peer)).unwrap();
    until(&a, "up", is_up).await;
    until(&b, "up", is_up).await;
    std::fs::remove_file(pair.store(0).path(Part::Peer)).unwrap();
    until(&a, "unpaired", |status| status.condition == Condition::Unpaired && status.peer.is_none()).await;
    until(&b, "down", |status| !is_up(status)).await;
}

#[tokio::test]
async fn files_that_are_open_to_others_are_told_and_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let pair = Pair::new();
    let path = pair.store(0).path(Part::Node);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let (a, _b) = (pair.start(0), pair.start(1));
    until(&a, "told", |status| down(status).contains("chmod 600")).await;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    until(&a, "up", is_up).await;
}

#[tokio::test]
async fn both_nodes_change_their_keys_while_they_are_linked() {
    let pair = Pair::new();
    let (a, b) = (pair.start(0), pair.start(1));
    until(&a, "up", is_up).await;
    let (old_a, old_b) = (pair.tls(0), pair.tls(1));
    let next = [0, 1].map(|node| ceremony::rotate(&pair.store(node), "a").unwrap());
    for (own, peer) in [(0, 1), (1, 0)] {
        let done = async {
            loop {
                let identity = pair.store(own).identity(Part::Node).unwrap().unwrap();
                let pinned = pair.store(peer).certificate(Part::Peer).unwrap().unwrap();
                if *identity.certificate() == next[own] && pinned == next[own] {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, done).await.expect("a new key");
        assert!(pair.store(own).identity(Part::NodeNext).unwrap().is_none());
    }
    for link in [&a, &b] {
        until(link, "up", |status| is_up(status) && !status.rotating).await;
    }
    // Who has the old ones stays outside.
    for (tls, port) in [(old_a, pair.ports[1]), (old_b, pair.ports[0])] {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert!(tls.connect(stream).await.is_err());
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_more_is_not_answering() {
    let pair = Pair::new();
    let a = pair.start(0);
    until(&a, "refused", |status| down(status).contains("refused")).await;
    let mut frames = pair.greet_as_b().await;
    let Some(Ok(Message::Heartbeat { sequence })) = frames.next().await else { panic!("no heartbeat") };
    frames.send(Message::HeartbeatAck { sequence }).await.unwrap();
    until(&a, "up", is_up).await;
    let silent = tokio::time::Instant::now();
    until(&a, "not answering", is_not_answering).await;
    // Four heartbeats after the last answer, which came a little earlier.
    assert!(silent.elapsed() < Duration::from_millis(400), "{:?}", silent.elapsed());
    // What it says of itself is no answer.
    for sequence in 0..10 {
        frames.send(Message::Heartbeat { sequence }).await.unwrap();
    }
    assert_eq!(a.speaker().send(Bytes::new()), Err(SendError::NotUp));
    let answers = async {
        loop {
            match frames.next().await {
                Some(Ok(Message::Heartbeat { sequence })) => {
                    frames.send(Message::HeartbeatAck { sequence }).await.unwrap();
                }
                Some(Ok(Message::HeartbeatAck { sequence: 9 })) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::select! {
        () = answers => {}
        _ = until(&a, "up again", is_up) => {}
    }
}

#[tokio::test]
async fn what_the_peer_must_not_send_ends_the_connection_with_a_word() {
    let pair = Pair::new();
    let a = pair.start(0);
    until(&a, "refused", |status| down(status).contains("refused")).await;
    let prefixed = |frame: &[u8]| [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat();
    for (bytes, expected) in [
        (prefixed(b"\x81\xa5regal\x80"), "unknown kind 'regal'"),
        (prefixed(b"nonsense"), "no message"),
        (vec![0x00, 0x01, 0x00, 0x01], "more than 65536 bytes"),
        (
            prefixed(&super::super::codec::encode(&Message::Hello(hello(1))).unwrap()),
            "'hello' where it should not",
        ),
    ] {
        let mut frames = pair.greet_as_b().await;
        tokio::io::AsyncWriteExt::write_all(frames.get_mut(), &bytes).await.unwrap();
        tokio::io::AsyncWriteExt::flush(frames.get_mut()).await.unwrap();
        let said = async {
            loop {
                match frames.next().await {
                    Some(Ok(Message::Bye { why })) => return why,
                    Some(Ok(_)) => {}
                    other => panic!("{expected}: {other:?}"),
                }
            }
        };
        let why = timeout(PATIENCE, said).await.unwrap();
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn an_older_state_never_replaces_a_newer_one() {
    let pair = Pair::new();
    let a = pair.start(0);
    until(&a, "refused", |status| down(status).contains("refused")).await;
    let mut frames = pair.greet_as_b().await;
    let mut states = a.peer_state();
    for (sequence, kept) in [(5, 5), (3, 5), (5, 5), (6, 6)] {
        let payload = Bytes::from(vec![u8::try_from(sequence).unwrap()]);
        frames.send(Message::State { sequence, payload }).await.unwrap();
        frames.send(Message::Heartbeat { sequence: 100 + sequence }).await.unwrap();
        // Answered behind it: so it was read.
        loop {
            match timeout(PATIENCE, frames.next()).await.unwrap() {
                Some(Ok(Message::HeartbeatAck { sequence: answered })) if answered == 100 + sequence => break,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(states.borrow_and_update().as_ref().map(|state| state.sequence), Some(kept));
    }
}

#[tokio::test]
async fn what_is_called_for_is_answered_or_refused() {
    let pair = Pair::new();
    let (a, mut b) = (pair.start(0), pair.start(1));
    let speaker = a.speaker();
    let call = |payload: Bytes| speaker.call("sum", payload, PATIENCE);
    assert_eq!(call(Bytes::new()).await, Err(CallError::NotUp));
    until(&a, "up", is_up).await;
    until(&b, "up", is_up).await;
    let largest = Bytes::from(vec![1; PAYLOAD_LIMIT - 3]);
    assert_eq!(call(vec![0; PAYLOAD_LIMIT - 2].into()).await, Err(CallError::TooLarge));
    let mut calls = b.take_calls().unwrap();
    let served = tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            assert_eq!(call.topic, "sum");
            match &call.payload[..] {
                [] => call.refuse("there\nis nothing to add"),
                [0] => drop(call),
                [255, ..] => call.answer(vec![0; PAYLOAD_LIMIT + 1].into()),
                bytes => {
                    let sum: u64 = bytes.iter().copied().map(u64::from).sum();
                    call.answer(sum.to_string().into());
                }
            }
        }
    });
    let refused = |why: &str| Err(CallError::Refused(why.to_owned()));
    assert_eq!(call(Bytes::from_static(&[1, 2])).await, Ok("3".into()));
    assert_eq!(call(Bytes::new()).await, refused("there\nis nothing to add"));
    assert_eq!(call(Bytes::from_static(&[0])).await, refused("the agent is ending"));
    assert_eq!(call(Bytes::from_static(&[255])).await, refused(&CallError::TooLarge.to_string()));
    assert_eq!(call(largest).await, Ok((PAYLOAD_LIMIT - 3).to_string().into()));
    // Many at once, each with its own answer.
    let sums = (1..=8u8).map(|number| call(vec![number].into()));
    let sums = futures_util::future::join_all(sums).await;
    assert_eq!(sums, (1..=8u8).map(|number| Ok(number.to_string().into())).collect::<Vec<_>>());
    served.abort();
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_peer_that_does_not_take_up_calls() {
    let pair = Pair::new();
    let (a, b) = (pair.start(0), pair.start(1));
    until(&a, "up", is_up).await;
    until(&b, "up", is_up).await;
    let short = Duration::from_millis(20);
    let speaker = a.speaker();
    let call = || speaker.call("sum", Bytes::new(), short);
    // Nobody reads them at b: eight wait there, the others are refused at once.
    let results = futures_util::future::join_all((0..10).map(|_| call())).await;
    assert_eq!(results.iter().filter(|result| **result == Err(CallError::TimedOut(short))).count(), 8);
    assert_eq!(results.iter().filter(|result| **result == Err(CallError::Full)).count(), 2);
    let busy = speaker.call("sum", Bytes::new(), PATIENCE).await;
    assert!(matches!(&busy, Err(CallError::Refused(why)) if why.contains("busy")), "{busy:?}");
}

#[tokio::test]
async fn a_peer_of_an_older_version_is_not_called_and_an_answer_without_a_call_is_nothing() {
    let pair = Pair::new();
    let a = pair.start(0);
    until(&a, "refused", |status| down(status).contains("refused")).await;
    for (version, expected) in [(1, CallError::TooOld), (2, CallError::TimedOut(Duration::from_millis(20)))] {
        let stream = TcpStream::connect(("127.0.0.1", pair.ports[0])).await.unwrap();
        let mut frames = Framed::new(pair.tls(1).connect(stream).await.unwrap(), Codec::new());
        frames.send(Message::Hello(Hello { version, ..hello(u64::from(version)) })).await.unwrap();
        assert!(matches!(frames.next().await, Some(Ok(Message::Hello(_)))));
        let answer = Answer::Done(Bytes::new());
        frames.send(Message::Answer { number: 0, answer }).await.unwrap();
        let answered = async {
            while let Some(Ok(message)) = frames.next().await {
                match message {
                    Message::Heartbeat { sequence } => {
                        frames.send(Message::HeartbeatAck { sequence }).await.unwrap();
                    }
                    Message::Bye { why } => panic!("{why}"),
                    _ => {}
                }
            }
        };
        let called = async {
            until(&a, "up", is_up).await;
            a.speaker().call("sum", Bytes::new(), Duration::from_millis(20)).await
        };
        tokio::select! {
            () = answered => panic!("the connection ended"),
            called = called => assert_eq!(called, Err(expected)),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
