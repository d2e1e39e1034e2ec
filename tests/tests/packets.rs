//! Crafted packets through the loaded program (`BPF_PROG_TEST_RUN`), and the same through user space's build
//! of the decoder: one definition, one outcome.

mod support {
    pub(crate) mod table;
}

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::net::Ipv6Addr;

use frames::outcome::Judged;
use frames::packet::{l3_offset, mend_checksums, sealed};
use frames::site::{LOOPBACK, SLOT_VLAN, VHID, VHID_STRICT, key, slot};
use frames::{Advertisement, Hook, Kernel, Outcome, Packet, Packet6, site};
use ha_common::abi::{Advert, COMMON_SLOT, RING_BYTES};
use ha_common::judge::World;
use ha_common::reason::Reason;
use lab::capture::now_ns;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use support::table::{Case, cases, flavours};

#[test]
fn the_kernel_treats_every_packet_as_the_table_says() {
    for hook in Hook::ALL {
        let Some(mut kernel) = Kernel::load_at(hook, &site()) else { return };
        let cases: Vec<_> = cases().into_iter().filter(|case| hook.takes(&case.frame)).collect();
        for Case { name, frame, outcome } in &cases {
            kernel.demand(&format!("{name}, {hook:?}"), frame, *outcome);
        }
        kernel.demand_rest_untouched();
        // `tests/guest/packets.sh` reads it.
        eprintln!("{} packets as the table says", cases.len());
    }
}

#[test]
fn user_space_treats_every_packet_as_the_table_says() {
    let site = site();
    for Case { name, frame, outcome } in cases() {
        assert_eq!(Judged::of(&frame, &site).outcome, outcome, "{name}");
    }
}

#[test]
fn the_table_has_every_outcome_and_no_name_twice() {
    let cases = cases();
    assert!(cases.len() >= 250, "{} packets", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "a name is used twice");
    let labels: HashSet<_> = cases.iter().map(|case| case.outcome.label()).collect();
    assert_eq!(labels, HashSet::from(LABELS));
    // The rest hangs on what came before.
    let elsewhere = STRICT_LABELS.into_iter().chain(["noroom", "ringfull"]);
    let known: HashSet<_> = labels.into_iter().chain(elsewhere).collect();
    assert!(Reason::ALL.iter().all(|reason| known.contains(reason.label())), "a reason that no test gives");
}

#[test]
fn a_frame_truncated_at_any_byte_is_told_by_what_is_left() {
    let site = site();
    for Case { name, frame, outcome } in flavours() {
        for length in 0..frame.len() {
            let expected = truncated(&frame, outcome, length);
            assert_eq!(Judged::of(&frame[..length], &site).outcome, expected, "{name}, {length} bytes");
        }
    }
    for hook in Hook::ALL {
        let Some(mut kernel) = Kernel::load_at(hook, &site) else { return };
        for Case { name, frame, outcome } in flavours() {
            for length in (14..=frame.len()).filter(|length| hook.takes(&frame[..*length])) {
                let expected = truncated(&frame, outcome, length);
                kernel.demand(&format!("{name}, {length} bytes, {hook:?}"), &frame[..length], expected);
            }
        }
        kernel.demand_rest_untouched();
    }
}

#[test]
fn a_full_ring_loses_nothing_unseen() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    let frame = Packet::default().bytes();
    let in_vlan = Packet { tags: vec![(0x8100, 5)], ..Packet::default() }.bytes();

    let full = kernel.run(&frame, CAPACITY);
    assert_eq!(full.verdict, Outcome::Accepted(slot(VHID), 0).verdict());
    let &[(counted_in, counted)] = full.counted.as_slice() else { panic!("{:?}", full.counted) };
    let capacity = u64::from(CAPACITY);
    assert_eq!(counted_in, slot(VHID));
    assert_eq!((counted.received, counted.accepted, counted.ringfull), (capacity, capacity, 0));

    for (frame, slot) in [(&frame, slot(VHID)), (&in_vlan, SLOT_VLAN)] {
        let lost = Outcome::Refused(slot, Reason::RingFull);
        let run = kernel.run(frame, 1);
        assert_eq!(run.verdict, lost.verdict());
        assert_eq!(run.counted, Vec::from_iter(lost.counted()));
    }
    let refused = Packet { ttl: 64, ..Packet::default() }.bytes();
    let run = kernel.run(&refused, 1);
    assert_eq!(run.counted, Vec::from_iter(Outcome::Refused(slot(VHID), Reason::BadTtl).counted()));

    let records = kernel.adverts();
    assert_eq!(records.len(), usize::try_from(CAPACITY).expect("some thousand"));
    let watch = key(LOOPBACK, 0, 0, VHID);
    assert!(records.iter().all(|advert| advert.watch == watch), "what was lost is in the ring");
    assert!(records.is_sorted_by_key(|advert| advert.stamp_ns), "out of order");
    kernel.demand("after draining", &frame, Outcome::Accepted(slot(VHID), 0));
    kernel.demand("after draining, in a VLAN", &in_vlan, Outcome::Accepted(SLOT_VLAN, 0));
}

#[test]
fn mutated_frames_are_judged_alike_in_kernel_and_user_space() {
    for hook in Hook::ALL {
        let Some(kernel) = Kernel::load_at(hook, &site()) else { return };
        mutated_frames_are_judged_alike(hook, kernel);
    }
}

fn mutated_frames_are_judged_alike(hook: Hook, kernel: Kernel) {
    let kernel = RefCell::new(kernel);
    let seen = RefCell::new(HashSet::new());
    let mut runner = TestRunner::new(Config { cases: 4096, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&mutated(), |frame| {
        if hook.takes(&frame) {
            let Judged { outcome, .. } = kernel.borrow_mut().judge("mutated", &frame);
            seen.borrow_mut().insert(outcome.label());
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let labels = LABELS.into_iter().chain(STRICT_LABELS).collect::<HashSet<_>>();
    assert_eq!(*seen.borrow(), labels, "what came about");
    kernel.borrow_mut().forget();
    kernel.borrow().demand_rest_untouched();
}

/// What is to become of the first `length` bytes of a good frame, from the lengths of its headers alone.
fn truncated(frame: &[u8], whole: Outcome, length: usize) -> Outcome {
    let (Outcome::Accepted(slot, _) | Outcome::Refused(slot, _)) = whole else { panic!("a foreign flavour") };
    let network = l3_offset(frame);
    let ipv4 = frame[network] >> 4 == 4;
    let behind_header = network + if ipv4 { 20 } else { 40 };
    let carp = frame.len() - 36;
    if length == frame.len() {
        whole
    } else if length < behind_header {
        Outcome::Foreign
    } else if length < carp + 4 {
        Outcome::Refused(COMMON_SLOT, Reason::NotCarp)
    } else if carp > behind_header {
        Outcome::Refused(slot, Reason::BadOpts)
    } else {
        Outcome::Refused(slot, Reason::BadLen)
    }
}

/// Valid frames, those of the table and random bytes, some of them changed.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let frames = |cases: Vec<Case>| cases.into_iter().map(|case| case.frame).collect::<Vec<_>>();
    let frame = prop_oneof![
        3 => prop::sample::select(frames(flavours())),
        3 => strict(),
        2 => prop::sample::select(frames(cases())),
        1 => prop::collection::vec(any::<u8>(), 14..120),
    ];
    let mutations = prop::collection::vec(Mutation::any(), 0..4);
    (frame, mutations, any::<bool>()).prop_map(|(mut frame, mutations, mend)| {
        for mutation in &mutations {
            mutation.apply(&mut frame);
        }
        if mend {
            mend_checksums(&mut frame);
        }
        frame
    })
}

/// Advertisements of strict mode, made within seconds of now, of a few senders.
fn strict() -> impl Strategy<Value = Vec<u8>> {
    let differences = prop_oneof![-100..100i64, -5_000..5_000i64];
    (differences, 1..4u8, 0..3u8, any::<bool>(), prop::option::weighted(0.1, any::<u8>())).prop_map(
        |(difference, sender, advskew, ipv6, rewritten)| {
            let ms = site().wall_ms(now_ns()).saturating_add_signed(difference);
            let mut payload = Advertisement { advskew, ..Advertisement::of(VHID_STRICT) }.made_at(ms).bytes();
            if let Some(advskew) = rewritten {
                payload[2] = advskew;
                payload = sealed(payload);
            }
            if ipv6 {
                let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, sender.into());
                Packet6 { source, payload, ..Packet6::default() }.bytes()
            } else {
                Packet { source: [10, 77, 0, sender], payload, ..Packet::default() }.bytes()
            }
        },
    )
}

/// One change.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let interesting = prop::sample::select(vec![0, 1, 5, 7, 10, 20, 0x21, 0x45, 0x46, 0x70, 0x81, 0xff]);
        let at = any::<prop::sample::Index>;
        prop_oneof![
            4 => (at(), 0..8u32).prop_map(|(at, bit)| Self::Flip(at, 1 << bit)),
            2 => (at(), prop_oneof![any::<u8>(), interesting]).prop_map(|(at, byte)| Self::Set(at, byte)),
            1 => (at(), any::<u8>()).prop_map(|(at, byte)| Self::Insert(at, byte)),
            1 => at().prop_map(Self::Remove),
            1 => at().prop_map(Self::Truncate),
        ]
    }

    /// Leaves an Ethernet header, without which no frame arrives.
    fn apply(&self, frame: &mut Vec<u8>) {
        let headers = frame.len().min(72);
        match self {
            Self::Flip(at, bits) => frame[at.index(headers)] ^= bits,
            Self::Set(at, byte) => frame[at.index(headers)] = *byte,
            Self::Insert(at, byte) => frame.insert(at.index(frame.len()), *byte),
            Self::Remove(at) if frame.len() > 14 => drop(frame.remove(at.index(frame.len()))),
            Self::Remove(_) => {}
            Self::Truncate(at) => frame.truncate(at.index(frame.len()).max(14)),
        }
    }
}

/// What can become of a frame by itself while the ring has room.
const LABELS: [&str; 15] = [
    "foreign",
    "accepted",
    "passed",
    "notcarp",
    "badver",
    "badvhid",
    "badopts",
    "badfrag",
    "badttl",
    "badlen",
    "baddst",
    "badsum",
    "looped",
    "badsource",
    "badauth",
];
/// And in strict mode, by what was heard before.
const STRICT_LABELS: [&str; 3] = ["rewritten", "stale", "replay"];
/// Records that fit into the ring: the kernel keeps 8 bytes with each.
#[expect(clippy::cast_possible_truncation, reason = "some thousand")]
const CAPACITY: u32 = (RING_BYTES / (8 + Advert::LEN)) as u32;
