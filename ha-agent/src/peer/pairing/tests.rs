//! Pairs, guessers, and somebody in between.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::super::identity::{Identity, NodeId};
use super::*;

fn certificate(name: &str) -> Certificate {
    Identity::generate(name, NodeId::random().unwrap()).unwrap().certificate().clone()
}

fn code() -> Code {
    Code::random().unwrap()
}

async fn meet(
    host_code: &Code,
    guest_code: &Code,
    host_own: &Certificate,
    guest_own: &Certificate,
) -> (Result<Introduced<DuplexStream>, PairError>, Result<Introduced<DuplexStream>, PairError>) {
    let (near, far) = duplex(1 << 16);
    tokio::join!(host(near, host_code, host_own), join(far, guest_code, guest_own))
}

#[tokio::test]
async fn who_knows_the_code_learns_the_certificate() {
    let (code, a, b) = (code(), certificate("a"), certificate("b"));
    let (host, guest) = meet(&code, &code, &a, &b).await;
    let (mut host, mut guest) = (host.ok().unwrap(), guest.ok().unwrap());
    assert_eq!((&host.peer, &guest.peer), (&b, &a));
    host.say_pinned().await.unwrap();
    guest.hear_pinned().await.unwrap();
    guest.say_pinned().await.unwrap();
    host.hear_pinned().await.unwrap();
    drop(guest);
    assert!(host.hear_pinned().await.is_err());
}

#[tokio::test]
async fn who_does_not_is_told_so_and_no_more() {
    let (a, b) = (certificate("a"), certificate("b"));
    let (host, guest) = meet(&code(), &code(), &a, &b).await;
    assert!(matches!(host.err(), Some(PairError::WrongCode)));
    assert!(matches!(guest.err(), Some(PairError::WrongCode)));
}

#[tokio::test]
async fn a_node_does_not_pair_with_itself() {
    let (code, a) = (code(), certificate("a"));
    let (host, guest) = meet(&code, &code, &a, &a).await;
    assert!(matches!(guest.err(), Some(PairError::Itself)));
    assert!(matches!(host.err(), Some(PairError::Itself)));
}

#[tokio::test]
async fn a_node_does_not_pair_with_its_namesake_and_both_are_told() {
    let (code, a, other) = (code(), certificate("a"), certificate("a"));
    let (host, guest) = meet(&code, &code, &a, &other).await;
    assert!(matches!(guest.err(), Some(PairError::SameName(name)) if name == "a"));
    assert!(matches!(host.err(), Some(PairError::SameName(name)) if name == "a"));
}

/// Passes everything on, as `change` wants it, and keeps what it saw.
async fn between(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    seen: Arc<Mutex<Vec<u8>>>,
    change: impl Fn(usize, u8) -> u8,
) {
    let (mut at, mut chunk) = (0, [0; 512]);
    while let Ok(length) = from.read(&mut chunk).await {
        if length == 0 {
            break;
        }
        for byte in &mut chunk[..length] {
            *byte = change(at, *byte);
            at += 1;
        }
        seen.lock().unwrap().extend_from_slice(&chunk[..length]);
        if to.write_all(&chunk[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Pairs through somebody in between, who changes one byte on the way to the host or from it.
async fn pair_through(changed: Option<(bool, usize)>) -> (bool, bool, Vec<u8>) {
    let (code, a, b) = (code(), certificate("a"), certificate("b"));
    let (host_end, host_side) = duplex(1 << 16);
    let (guest_end, guest_side) = duplex(1 << 16);
    let (from_host, to_host) = tokio::io::split(host_side);
    let (from_guest, to_guest) = tokio::io::split(guest_side);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let change = |is_to_host: bool| {
        move |at: usize, byte: u8| if changed == Some((is_to_host, at)) { byte ^ 0x20 } else { byte }
    };
    let pair = async { tokio::join!(host(host_end, &code, &a), join(guest_end, &code, &b)) };
    let passing = async {
        tokio::join!(
            between(from_guest, to_host, Arc::clone(&seen), change(true)),
            between(from_host, to_guest, Arc::clone(&seen), change(false))
        )
    };
    let (host, guest) = tokio::select! {
        pair = pair => pair,
        () = async { passing.await; std::future::pending::<()>().await } => unreachable!("the pair ends"),
    };
    let right = |introduced: &Result<Introduced<DuplexStream>, PairError>, peer: &Certificate| {
        introduced.as_ref().is_ok_and(|introduced| introduced.peer == *peer)
    };
    assert!(host.is_err() || right(&host, &b), "a wrong certificate");
    assert!(guest.is_err() || right(&guest, &a), "a wrong certificate");
    let seen = seen.lock().unwrap().clone();
    (host.is_ok(), guest.is_ok(), seen)
}

#[tokio::test]
async fn who_listens_in_sees_no_certificate() {
    let (host, guest, seen) = pair_through(None).await;
    assert!(host && guest);
    for secret in [&b"\x06\x03\x55\x04\x03"[..], b"controller"] {
        assert!(!seen.windows(secret.len()).any(|part| part == secret), "{secret:x?} is seen");
    }
}

#[tokio::test(start_paused = true)]
async fn who_changes_a_byte_introduces_nobody() {
    // Lengths, greeting, exchange, proof, sealed certificate: each has a byte changed.
    for (is_to_host, positions) in
        [(true, [0, 3, 4, 25, 60, 100, 130, 400]), (false, [0, 3, 5, 30, 45, 70, 90, 400])]
    {
        for at in positions {
            let (host, guest, _) = pair_through(Some((is_to_host, at))).await;
            assert!(!host || !guest, "byte {at}, to the host: {is_to_host}");
            // The guest's last message is all that the host alone may see changed.
            assert!(!host, "byte {at}, to the host: {is_to_host}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_get_nothing_and_end_in_time() {
    let (code, own) = (code(), certificate("a"));
    let hello = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let table: [(&[u8], bool); 8] = [
        (b"", false),
        (b"", true),
        (b"GET / HTTP/1.1\r\n\r\n", true),
        (&[0xff; 64], true),
        (&hello(b"hello"), true),
        (&hello(GREETING), true),
        (&hello(&[GREETING, &[0x42; 33]].concat()), true),
        (&[&hello(&[GREETING, &Exchange::begin(Side::Guest, &code).sent].concat())[..], &[0]].concat(), true),
    ];
    for (row, (bytes, stays)) in table.into_iter().enumerate() {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(bytes).await.unwrap();
        if !stays {
            drop(far);
        }
        let began = tokio::time::Instant::now();
        let result = host(near, &code, &own).await.err();
        assert!(
            result.as_ref().is_some_and(|error| !matches!(error, PairError::WrongCode)),
            "row {row}: {result:?}"
        );
        assert!(began.elapsed() <= FIRST + REST, "row {row}");
    }
}
