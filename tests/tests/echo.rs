//! The echo, in the loaded programs: what is answered, to whom, and what is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use frames::echo::{Answer, BOOT_OF_PEER, KEYS_OF_ANSWERS, KEYS_OF_PROBES, NAMES, PORT, Probe};
use frames::site::{LOOPBACK, site};
use frames::{Hook, Kernel};
use ha_agent::sys::clock;
use ha_common::abi::{Address, Asked, Lease, Oneself, Path, PathKey, Patience, family_of};
use ha_common::auth::Seal;
use ha_common::echo::{EchoCounters, NO_PATH, Refusal};
use ha_common::wire::echo::{NO_LEASE, Role};

#[test]
fn a_peers_probe_is_answered_where_it_came_from() {
    each(|kernel, [v4, v6]| {
        kernel.echo().set_role(0x0a00_0001, Role::Master).expect("room");
        kernel.echo().set_role(0x0a00_0002, Role::Backup).expect("room");
        let vlan: &[(u16, u16)] = &[(0x8100, VLAN)];
        let mut nonce = 0;
        for (probe, tags) in [(v4, &[] as &[_]), (v6, &[]), (v4, vlan), (v6, vlan)] {
            for (summed, key) in [(true, 0), (false, 0), (true, 1)] {
                // Where the checksum is left to a card, there is none yet.
                nonce += 1;
                let hosts = [0x0a00_0001, 0x0a00_0002, 0x0a00_0003];
                let frame = Probe {
                    nonce,
                    hosts,
                    count: 3,
                    summed,
                    name: NAMES[key],
                    key: KEYS_OF_PROBES[key],
                    ..probe
                }
                .frame(tags);
                let answer = kernel.answer(&frame).unwrap_or_else(|| panic!("no answer to {frame:02x?}"));
                let Answer { age_us: _, ref roles, .. } = Answer::to(&frame, &answer);
                assert_eq!(*roles, [2, 1, 0]);
                let expected = Answer {
                    sender: 0,
                    nonce,
                    boot: ONESELF.boot,
                    generation: ONESELF.generation,
                    lease_us: NO_LEASE,
                    gone: false,
                    ..Answer::to(&frame, &answer)
                };
                assert_eq!(Answer::to(&frame, &answer), expected);
            }
        }
        kernel.echo().set_role(0x0a00_0001, Role::Unknown).expect("room");
        let frame = Probe { nonce: nonce + 1, hosts: [0x0a00_0001; 3], count: 1, ..v4 }.frame(&[]);
        assert_eq!(Answer::to(&frame, &kernel.answer(&frame).expect("an answer")).roles, [0]);
    });
}

#[test]
fn what_is_no_peers_probe_is_refused_and_counted_by_its_reason() {
    each(|kernel, both| {
        for (family, probe) in both.into_iter().enumerate() {
            let stranger: IpAddr =
                if family == 0 { Ipv4Addr::new(10, 77, 0, 9).into() } else { V6[2].into() };
            let long = [probe.message(), vec![0]].concat();
            let table = [
                ("from a stranger", Probe { from: stranger, ..probe }.frame(&[]), Refusal::BadSource),
                ("on another VLAN", probe.frame(&[(0x8100, VLAN + 1)]), Refusal::BadSource),
                ("to somebody else", Probe { to: stranger, ..probe }.frame(&[]), Refusal::BadDst),
                ("from another link", Probe { hops: 254, ..probe }.frame(&[]), Refusal::BadTtl),
                ("from another port", Probe { ports: [1234, PORT], ..probe }.frame(&[]), Refusal::BadForm),
                ("of another kind", Probe { magic: *b"hF", ..probe }.frame(&[]), Refusal::BadForm),
                ("of another version", Probe { version: 2, ..probe }.frame(&[]), Refusal::BadForm),
                (
                    "an answer that nobody waits for",
                    Probe { kind_and_sender: 0x21, ..probe }.frame(&[]),
                    Refusal::Replay,
                ),
                ("of a third kind", Probe { kind_and_sender: 0x31, ..probe }.frame(&[]), Refusal::BadForm),
                ("too short", probe.carrying(&probe.message()[..71], &[]), Refusal::BadForm),
                ("too long", probe.carrying(&long, &[]), Refusal::BadForm),
                ("empty", probe.carrying(&[], &[]), Refusal::BadForm),
                ("our own", Probe { kind_and_sender: 0x10, ..probe }.frame(&[]), Refusal::Looped),
                ("forged", Probe { key: [9; 20], ..probe }.frame(&[]), Refusal::BadAuth),
                ("sealed by the other key", Probe { name: NAMES[1], ..probe }.frame(&[]), Refusal::BadAuth),
                ("sealed by an unknown key", Probe { name: 0, ..probe }.frame(&[]), Refusal::BadAuth),
                (
                    "sealed as an answer",
                    Probe { key: KEYS_OF_ANSWERS[0], ..probe }.frame(&[]),
                    Refusal::BadAuth,
                ),
            ];
            for (name, frame, reason) in table {
                refused(kernel, name, &frame, reason, slot_of(reason, family));
            }
            // Cut off: what is left is somebody else's, or refused; never answered.
            let whole = probe.frame(&[]);
            for end in 35..whole.len() {
                if Hook::Tc.takes(&whole[..end]) {
                    assert_eq!(kernel.answer(&whole[..end]), None, "cut off after {end}");
                }
            }
            assert!(kernel.answer(&whole).is_some(), "the true one");
            for bit in 42 * 8..whole.len() * 8 {
                let mut flipped = Probe { nonce: probe.nonce + 1, ..probe }.frame(&[]);
                flipped[bit / 8] ^= 1 << (bit % 8);
                let l4 = if family == 0 { 34 } else { 54 };
                // UDP's own checksum is the receiver's to look at, and the seal covers what it does.
                if !(l4 + 6..l4 + 8).contains(&(bit / 8)) {
                    assert_eq!(kernel.answer(&flipped), None, "bit {bit}");
                }
            }
        }
    });
}

#[test]
fn what_was_answered_is_not_answered_again_until_its_sender_starts_anew() {
    each(|kernel, [probe, _]| {
        let at = |nonce| Probe { nonce, ..probe };
        assert!(kernel.answer(&at(100).frame(&[])).is_some());
        refused(kernel, "the same", &at(100).frame(&[]), Refusal::Replay, 0);
        refused(kernel, "an older one", &at(99).frame(&[]), Refusal::Replay, 0);
        // One that is forged stops no true one.
        let forged = Probe { key: [9; 20], ..at(u64::MAX) };
        refused(kernel, "forged", &forged.frame(&[]), Refusal::BadAuth, 0);
        assert!(kernel.answer(&at(101).frame(&[])).is_some());
        let anew = Probe { boot: BOOT_OF_PEER + 1, ..at(1) };
        assert!(kernel.answer(&anew.frame(&[])).is_some());
        refused(kernel, "the same", &anew.frame(&[]), Refusal::Replay, 0);
    });
}

#[test]
fn a_peer_may_not_ask_without_end_and_nobody_else_uses_that_up() {
    each(|kernel, [probe, _]| {
        kernel.echo().tell(Oneself { pace_ns: 3_600_000_000_000, ..ONESELF }).expect("told");
        for _ in 0..1000 {
            let forged = Probe { key: [9; 20], ..probe };
            assert_eq!(kernel.answer(&forged.frame(&[])), None);
        }
        for nonce in 1..=Asked::BURST {
            let frame = Probe { nonce, ..probe }.frame(&[]);
            assert!(kernel.answer(&frame).is_some(), "{nonce}");
            assert_eq!(kernel.answer(&frame), None, "a repeated one");
        }
        let more = Probe { nonce: Asked::BURST + 1, ..probe };
        refused(kernel, "one more", &more.frame(&[]), Refusal::Limited, 0);
    });
}

#[test]
fn an_answer_says_how_long_the_agent_still_vouches_for_its_node() {
    each(|kernel, [probe, _]| {
        let mut nonce = 0;
        let mut ask = |kernel: &mut Kernel, lease| {
            kernel.grant(lease);
            nonce += 1;
            let frame = Probe { nonce, ..probe }.frame(&[]);
            Answer::to(&frame, &kernel.answer(&frame).expect("an answer"))
        };
        let now_ns = clock::boot_ns();
        let good = Lease {
            until_ns: now_ns + 60_000_000_000,
            alive_ns: now_ns - 5_000_000_000,
            flags: Lease::GUARDS,
            ..Lease::default()
        };
        let found = ask(kernel, good);
        assert!((1..=60_000_000).contains(&found.lease_us), "{found:?}");
        assert!((5_000_000..60_000_000).contains(&found.age_us) && !found.gone, "{found:?}");
        // Its sign of life and what is left add up, whenever that was.
        let sum = u64::from(found.lease_us) + u64::from(found.age_us);
        assert!((64_999_998..=65_000_000).contains(&sum), "{found:?}");
        let over = ask(kernel, Lease { until_ns: now_ns, ..good });
        assert_eq!(over.lease_us, 0);
        let free = ask(kernel, Lease { flags: 0, ..good });
        assert_eq!(free.lease_us, NO_LEASE);
        let long = ask(kernel, Lease { until_ns: u64::MAX, ..good });
        assert_eq!(long.lease_us, NO_LEASE - 1);
        let ended = ask(kernel, Lease { flags: Lease::GUARDS | Lease::ENDED, ..good });
        assert!(ended.gone);
    });
}

#[test]
fn without_a_port_nothing_is_asked_for() {
    each(|kernel, both| {
        kernel.echo().tell(Oneself { port: 0, ..ONESELF }).expect("told");
        for probe in both {
            assert_eq!(kernel.run(&probe.frame(&[]), 1).verdict, PASS);
        }
        kernel.echo().tell(ONESELF).expect("told");
        for probe in both {
            // Another port is somebody else's, and so is another protocol on it.
            assert_eq!(kernel.run(&Probe { ports: [PORT, 53], ..probe }.frame(&[]), 1).verdict, PASS);
        }
    });
}

/// With each of the two programs, and a good probe in each family.
fn each(test: impl Fn(&mut Kernel, [Probe; 2])) {
    for hook in Hook::ALL {
        let Some(mut kernel) = Kernel::load_at(hook, &site()) else { return };
        kernel.echo().tell(ONESELF).expect("told");
        let probes = [(V4.map(IpAddr::from), 0), (V6.map(IpAddr::from), 1)].map(|([own, peer, _], slot)| {
            for vlan in [0, VLAN] {
                let family = u32::from(family_of(peer));
                let address = Address::from(peer);
                let key = PathKey { ifindex: LOOPBACK, outer_vlan: 0, vlan, family, address };
                let path = Path {
                    slot,
                    peer: 1,
                    own: Address::from(own),
                    patience: Patience::default(),
                    names: NAMES.map(u32::from),
                    theirs: seals(KEYS_OF_PROBES, KEYS_OF_ANSWERS_TO_US),
                    answers: KEYS_OF_ANSWERS.each_ref().map(Seal::new),
                };
                kernel.echo().know(key, &path).expect("room");
            }
            Probe::between(peer, own, 1)
        });
        test(&mut kernel, probes);
    }
}

/// Of the peer's probes and of its answers.
fn seals(probes: [[u8; 20]; 2], answers: [[u8; 20]; 2]) -> [Seal; 4] {
    let [[first, second], [third, fourth]] = [probes, answers].map(|keys| keys.each_ref().map(Seal::new));
    [first, second, third, fourth]
}

/// Demands that a frame is dropped and counted once, for a reason.
fn refused(kernel: &mut Kernel, name: &str, frame: &[u8], reason: Refusal, slot: u32) {
    let before = counted(kernel);
    assert_eq!(kernel.run(frame, 1).verdict, DROP, "{name}");
    for ((place, now), before) in counted(kernel).into_iter().zip(before) {
        let mut expected = before.1;
        if place == slot {
            expected.received += 1;
            expected.count(reason);
        }
        assert_eq!(now, expected, "{name}, in slot {place}");
    }
}

fn counted(kernel: &mut Kernel) -> [(u32, EchoCounters); 3] {
    [0, 1, NO_PATH].map(|slot| (slot, kernel.echo().counted(slot).expect("a slot")))
}

fn slot_of(reason: Refusal, family: usize) -> u32 {
    if reason == Refusal::BadSource { NO_PATH } else { u32::try_from(family).expect("0 or 1") }
}

const ONESELF: Oneself =
    Oneself { boot: 0x0102_0304_0506_0708, generation: 0x42, pace_ns: 1, port: PORT as u32, node: 0 };
const KEYS_OF_ANSWERS_TO_US: [[u8; 20]; 2] = [[0xb1; 20], [0xb2; 20]];
const VLAN: u16 = 7;
/// Ours, the peer's, and a stranger's.
const V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 9)];
const V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9),
];
const PASS: u32 = 2;
const DROP: u32 = 1;
