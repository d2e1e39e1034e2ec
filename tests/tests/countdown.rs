//! The kernel's watch for silence, in the loaded program: frames by `BPF_PROG_TEST_RUN`, timers as they are.

use std::time::Duration;

use frames::site::{LOOPBACK, VHID, VHID_PASSING, key, key6, slot, slot6};
use frames::{Advertisement, Kernel, Packet, Packet6, site};
use ha_common::abi::{Advert, FAMILY_IPV4, MOST_STALLS, Patience, RING_BYTES, Record, Timeout};
use lab::capture::now_ns;

#[test]
fn a_silence_is_told_after_the_patience_and_not_before() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    kernel.set_patience(slot(VHID), PATIENCE);
    let advert = heard(&mut kernel, &Packet::default().bytes());
    assert_eq!(advert.watched, 1);
    let silence = silence(&mut kernel);
    assert_eq!(silence.watch, key(LOOPBACK, 0, 0, VHID));
    assert_eq!((silence.last_ns, silence.deadline_ns), (advert.stamp_ns, advert.stamp_ns + DEAD_NS));
    assert!((silence.deadline_ns..=now_ns()).contains(&silence.fired_ns), "{silence:?}");
    // Once.
    assert_eq!(kernel.wait_for_record(WAIT), None);
}

#[test]
fn without_a_patience_nothing_counts_down() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    kernel.set_patience(slot(VHID), PATIENCE);
    kernel.set_patience(slot(VHID), Patience::default());
    assert_eq!(heard(&mut kernel, &Packet::default().bytes()).watched, 0);
    assert_eq!(kernel.wait_for_record(WAIT), None);
}

#[test]
fn an_authentic_frame_sets_it_back_and_no_other_does() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    kernel.set_patience(slot(VHID), PATIENCE);
    let frame = Packet::default().bytes();
    let forged = Packet {
        payload: Advertisement { passphrase: "wrong", ..Advertisement::of(VHID) }.bytes(),
        ..Packet::default()
    };
    let forged = forged.bytes();
    let mut last = heard(&mut kernel, &frame).stamp_ns;
    let mut records = Vec::new();
    for frames in [&frame, &forged] {
        let end = now_ns() + 4 * DEAD_NS;
        while now_ns() < end {
            kernel.run(frames, 1);
            // The ring does not hold as many as there are.
            records.extend(kernel.drain());
        }
    }
    records.extend(std::iter::from_fn(|| kernel.wait_for_record(WAIT)));
    let mut silences = Vec::new();
    for record in records {
        match record {
            Record::Advert(advert) => last = advert.stamp_ns,
            // A machine that stood still makes one between.
            Record::Silence(silence) => silences.push((silence.last_ns, last)),
            Record::Stall(stall) => assert_eq!(stall.last_ns, last),
            Record::Answer(_) | Record::Unanswered(_) => unreachable!("nobody asks"),
        }
    }
    assert!(!silences.is_empty(), "forged frames set it back");
    assert!(silences.iter().all(|(told, last)| told == last), "{silences:?}");
}

#[test]
fn a_timer_that_fires_late_is_not_believed_a_few_times_in_a_row() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    // Nobody is that punctual.
    kernel.set_patience(slot(VHID), Patience { dead_ns: DEAD_NS, interval_ns: 40 });
    let advert = heard(&mut kernel, &Packet::default().bytes());
    let mut deadline = advert.stamp_ns + DEAD_NS;
    for _ in 0..MOST_STALLS {
        let Some(Record::Stall(stall)) = kernel.wait_for_record(WAIT) else { panic!("no stall") };
        // It is the eve that it is late for first.
        assert_eq!((stall.last_ns, stall.deadline_ns), (advert.stamp_ns, deadline - 20));
        deadline = stall.fired_ns + 80;
    }
    let silence = silence(&mut kernel);
    assert_eq!((silence.last_ns, silence.deadline_ns), (advert.stamp_ns, deadline));

    // The next frame begins anew.
    heard(&mut kernel, &Packet::default().bytes());
    assert!(matches!(kernel.wait_for_record(WAIT), Some(Record::Stall(_))));
}

#[test]
fn each_slot_counts_for_itself() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    let longer = Patience { dead_ns: 3 * DEAD_NS, ..PATIENCE };
    for (slot, patience) in
        [(slot6(slot(VHID)), PATIENCE), (slot(VHID), longer), (slot(VHID_PASSING), PATIENCE)]
    {
        kernel.set_patience(slot, patience);
    }
    let four = heard(&mut kernel, &Packet::default().bytes());
    let six = heard(&mut kernel, &Packet6::default().bytes());
    let told = [silence(&mut kernel), silence(&mut kernel)].map(|told| (told.watch, told.last_ns));
    let expected = [(key6(LOOPBACK, 0, 0, VHID), six.stamp_ns), (key(LOOPBACK, 0, 0, VHID), four.stamp_ns)];
    assert_eq!(told, expected);
    assert_eq!(kernel.wait_for_record(WAIT), None, "of one that was never heard");
}

#[test]
fn another_patience_counts_from_the_next_frame() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    kernel.set_patience(slot(VHID), PATIENCE);
    let first = heard(&mut kernel, &Packet::default().bytes());
    kernel.set_patience(slot(VHID), Patience { dead_ns: 2 * DEAD_NS, ..PATIENCE });
    assert_eq!(silence(&mut kernel).deadline_ns, first.stamp_ns + DEAD_NS);
    let second = heard(&mut kernel, &Packet::default().bytes());
    assert_eq!(silence(&mut kernel).deadline_ns, second.stamp_ns + 2 * DEAD_NS);
}

#[test]
fn a_full_ring_delays_a_silence_and_loses_none() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    kernel.set_patience(slot(VHID), PATIENCE);
    // However many of these two silences come before the ring is full, what is left then has no room for a third one.
    for vhid in [VHID, VHID_PASSING] {
        kernel.set_patience(slot6(slot(vhid)), PATIENCE);
        kernel.run(&Packet6 { payload: Advertisement::of(vhid).bytes(), ..Packet6::default() }.bytes(), 1);
    }
    let more_than_fit = u32::try_from(RING_BYTES / Advert::LEN).expect("some thousand");
    kernel.run(&Packet::default().bytes(), more_than_fit);
    let full = now_ns();
    // Until it should have been told.
    while now_ns() < full + 3 * DEAD_NS {
        std::hint::spin_loop();
    }
    let room = now_ns();
    let records = std::iter::from_fn(|| kernel.wait_for_record(WAIT));
    let told: Vec<_> = records
        .filter_map(|record| match record {
            // A machine that stood still meanwhile makes one before.
            Record::Silence(told) if told.watch.family == FAMILY_IPV4 && told.fired_ns > full => Some(told),
            _ => None,
        })
        .collect();
    let [silence] = told.as_slice() else { panic!("told once: {told:?}") };
    assert!(silence.fired_ns > room && silence.deadline_ns < full + 2 * DEAD_NS, "{silence:?}, {room}");
}

/// An advertisement, and the record of it.
fn heard(kernel: &mut Kernel, frame: &[u8]) -> Advert {
    kernel.run(frame, 1);
    match kernel.wait_for_record(Duration::ZERO) {
        Some(Record::Advert(advert)) => advert,
        other => panic!("an advertisement, not {other:?}"),
    }
}

/// The next silence; a machine that stood still has stalls before it.
fn silence(kernel: &mut Kernel) -> Timeout {
    loop {
        match kernel.wait_for_record(WAIT) {
            Some(Record::Silence(silence)) => return silence,
            Some(Record::Stall(_)) => {}
            other => panic!("a silence, not {other:?}"),
        }
    }
}

const DEAD_NS: u64 = 20_000_000;
const PATIENCE: Patience = Patience { dead_ns: DEAD_NS, interval_ns: 10_000_000 };
/// Longer than any patience here.
const WAIT: Duration = Duration::from_millis(200);
