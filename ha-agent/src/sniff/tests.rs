//! What a configuration in strict mode adds, and that no number of senders fills the memory.

use std::fs;

use ha_common::auth::{Mac, Message, key};
use ha_common::fresh::EPOCH_S;
use ha_common::wire::{ethernet, ipv4};

use super::*;
use crate::config;

#[test]
fn in_strict_mode_what_is_rewritten_stale_or_replayed_is_refused() {
    let mut sniffer = Sniffer::new(strict_keys());
    let at = |ms: u64| (EPOCH_S * 1000 + ms) * 1_000_000;
    let table = [
        ("good", 5_000, 0, 5_000, Ok(())),
        ("the next", 5_010, 0, 5_012, Ok(())),
        ("heard before", 5_010, 0, 5_020, Err(Reason::Replay)),
        ("another priority than was signed", 5_030, 9, 5_030, Err(Reason::Rewritten)),
        ("too old", 5_040, 0, 7_041, Err(Reason::Stale)),
        ("of the future", 9_100, 0, 7_099, Err(Reason::Stale)),
        ("as far as is allowed", 9_100, 0, 7_100, Ok(())),
    ];
    for (what, made, skew, seen, verdict) in table {
        let frame = signed(stamp(made), skew, [10, 0, 0, 2]);
        let found = sniffer.see(&received(&frame, Some(at(seen)))).expect("it is CARP");
        assert_eq!(found.authentic, Some(true), "{what}");
        assert_eq!(found.reason, verdict.err(), "{what}: {found}");
        assert_eq!(found.is_refused(), verdict.is_err(), "{what}");
        if verdict != Err(Reason::Rewritten) {
            let ahead = i64::try_from(made).unwrap() - i64::try_from(seen).unwrap();
            let strict = found.carp.and_then(|carp| carp.strict).expect("it is of strict mode");
            assert_eq!(strict.ahead_ms, Some(ahead), "{what}");
        }
    }
}

#[test]
fn many_senders_are_forgotten_again() {
    let mut sniffer = Sniffer::new(strict_keys());
    for host in 0..10_000_u64 {
        let [.., high, low] = host.to_be_bytes();
        let frame = signed(stamp(5_000 + host), 0, [10, 1, high, low]);
        let at_ns = (EPOCH_S * 1000 + 5_000 + host) * 1_000_000;
        let found = sniffer.see(&received(&frame, Some(at_ns))).expect("it is CARP");
        assert_eq!(found.verdict, Verdict::Accepted, "{found}");
        assert_eq!(found.since_last_ns, None);
    }
    assert!(sniffer.last.len() <= REMEMBERED);
}

#[test]
fn between_two_of_a_sender_it_is_told_how_long() {
    let mut sniffer = Sniffer::new(Keys::default());
    for (at_ns, since) in [(1_000, None), (4_000, Some(3_000)), (4_000, Some(0)), (3_000, None)] {
        let frame = signed(7, 0, [10, 0, 0, 2]);
        let found = sniffer.see(&received(&frame, Some(at_ns))).expect("it is CARP");
        assert_eq!(found.since_last_ns, since, "{at_ns}");
    }
}

/// A configuration in strict mode, whose clocks may differ by 2 s.
fn strict_keys() -> Keys {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("key"), "secret").expect("a file");
    let file = directory.path().join("ha-agent.toml");
    let text = "node = \"a\"\n[auth]\npassphrase_file = \"key\"\nmode = \"strict\"\n[[vhost]]\nname = \"data\"\n\
                interface = \"eth0\"\nvhid = 10\naddresses = [\"10.0.0.100/24\"]\n";
    fs::write(&file, text).expect("a file");
    Keys::default().with_config(&config::load(&file).expect("it is correct"), |_| true)
}

fn stamp(ms: u64) -> u64 {
    Stamp { ms, advskew: 0, advbase: 1, demote: 0 }.to_counter()
}

fn signed(counter: u64, advskew: u8, source: [u8; 4]) -> Vec<u8> {
    let message = Message { vhid: 10, ipv4: &[[10, 0, 0, 100]], ipv6: &[], link_local: true, lladdr: None };
    let digest = Mac::new(&key(b"secret"), &message).digest(counter);
    let said = carp::Repr { vhid: 10, advbase: 1, advskew, demote: 0, counter, digest };
    let packet = ipv4::Repr { source, destination: carp::GROUP, payload_len: 36 };
    let destination = ethernet::multicast(carp::GROUP);
    let header = ethernet::Repr { destination, source: [2, 0, 0, 0, 0, 1], ethertype: ethernet::IPV4 };
    [&header.emit()[..], &packet.emit(), &said.emit()].concat()
}

fn received(bytes: &[u8], at_ns: Option<u64>) -> Received<'_> {
    Received { bytes, kind: Kind::Ethernet, length: bytes.len(), at_ns, tag: None, outgoing: false }
}
