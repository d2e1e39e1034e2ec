//! Strict mode: the vectors of `docs/strict-mode.md`, judged in user space one after the other, and by the loaded
//! program each in the state that it belongs to; and what vectors can't say.

mod support {
    pub(crate) mod hex;
    pub(crate) mod strict;
}

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use frames::outcome::Judged;
use frames::site::{TOLERANCE_MS, VHID_STRICT, VHID_STRICT_TWO_KEYS, site, slot, slot6};
use frames::{Advertisement, Kernel, Outcome, Packet, Packet6};
use ha_common::abi::{GivenKey, HeardKey, MAX_HEARD};
use ha_common::fresh::{Heard, Stamp};
use ha_common::judge::World;
use ha_common::reason::Reason;
use ha_common::wire::carp;
use lab::Site;
use lab::capture::now_ns;

use support::hex::Number;
use support::strict::{TRIES, Vector, vectors, windows};

#[test]
fn vectors_are_made_as_the_specification_says() -> Result<()> {
    let vectors = vectors()?;
    let (ipv4, ipv6) = vectors.families();
    for vector in &vectors.vectors {
        let Vector { id, stamp, open, counter: Number(counter), .. } = vector;
        let made = Stamp {
            ms: stamp.ms,
            advskew: stamp.copies.advskew,
            advbase: stamp.copies.advbase,
            demote: stamp.copies.demote,
        };
        assert_eq!(made.to_counter(), *counter, "{id}");
        assert_eq!(Stamp::from_counter(*counter), made, "{id}");
        let advertisement = Advertisement {
            passphrase: vector.passphrase.as_ref().unwrap_or(&vectors.passphrase),
            ipv4: &ipv4,
            ipv6: &ipv6,
            link_local: true,
            vhid: vectors.vhid,
            advskew: open.advskew,
            advbase: open.advbase,
            demote: open.demote,
            counter: *counter,
        };
        assert_eq!(advertisement.bytes(), vector.payload.0, "{id}");
        let payload: &[u8; carp::LEN] = vector.payload.0.as_slice().try_into()?;
        assert_eq!(carp::Header(payload).digest().as_slice(), vector.digest.0, "{id}");
    }
    Ok(())
}

#[test]
fn the_specification_has_the_same_vectors() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/strict-mode.md");
    let document = std::fs::read_to_string(path)?;
    let written: Vec<_> = document.lines().filter(|line| line.starts_with("| S")).collect();
    let in_block =
        document.split("```").find(|block| block.starts_with("text\nS01")).context("no payloads")?;
    let payloads: Vec<_> = in_block.lines().skip(1).collect();
    let vectors = vectors()?;
    assert_eq!(written, vectors.vectors.iter().map(Vector::row).collect::<Vec<_>>());
    assert_eq!(payloads, vectors.vectors.iter().map(Vector::payload_line).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn vectors_get_their_verdict_one_after_the_other() -> Result<()> {
    let vectors = vectors()?;
    assert_eq!(vectors.vectors.len(), VECTORS);
    let mut kernel = Kernel::load(&vectors.site());
    let mut site = vectors.site();
    for vector in &vectors.vectors {
        let before = site.heard.borrow().clone();
        vector.arrive(&mut site);
        let outcome = vector.outcome(vectors.vhid)?;
        assert_eq!(Judged::of(&vector.frame(), &site).outcome, outcome, "{}: in user space", vector.id);
        if let Some(kernel) = &mut kernel {
            let after = vector.arrive_in_kernel(kernel, &before, outcome);
            assert_eq!(after, windows(&site), "{}: what the kernel remembers", vector.id);
        }
    }
    kernel.iter().for_each(Kernel::demand_rest_untouched);
    Ok(())
}

#[test]
fn every_reason_of_strict_mode_has_a_vector() -> Result<()> {
    let vectors = vectors()?;
    let count = |verdict| vectors.vectors.iter().filter(|vector| vector.verdict == verdict).count();
    for (verdict, least) in [("accepted", 8), ("rewritten", 3), ("stale", 2), ("replay", 3), ("looped", 1)] {
        assert!(count(verdict) >= least, "{verdict}");
    }
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        assert!(vectors.vectors.iter().any(|vector| vector.verdict == "accepted" && family(&vector.source)));
    }
    Ok(())
}

#[test]
fn any_open_field_that_differs_from_its_copy_is_refused_and_nothing_is_remembered() {
    let mut judges = Judges::load();
    let good = Advertisement::of(VHID_STRICT);
    for (offset, field) in [(2, good.advskew), (4, good.demote), (5, good.advbase)] {
        for value in (0..=255).filter(|value| *value != field) {
            let mut payload = good.made_at(judges.wall_ms()).bytes();
            payload[offset] = value;
            let payload = frames::packet::sealed(payload);
            judges.demand("rewritten, IPv4", &ipv4(1, payload.clone()), refused(Reason::Rewritten));
            judges.demand("rewritten, IPv6", &ipv6(1, payload), refused6(Reason::Rewritten));
        }
    }
    assert!(judges.remembered().is_empty(), "{:?}", judges.remembered());
}

#[test]
fn what_is_refused_for_its_digest_is_not_remembered() {
    let mut judges = Judges::load();
    let ms = judges.wall_ms();
    let forged = Advertisement { passphrase: "wrong", ..Advertisement::of(VHID_STRICT) }.made_at(ms).bytes();
    judges.demand("forged", &ipv4(1, forged), refused(Reason::BadAuth));
    judges.demand("too old", &ipv4(1, made_at(ms - 3_000)), refused(Reason::Stale));
    assert!(judges.remembered().is_empty(), "{:?}", judges.remembered());
    judges.demand("the true one", &ipv4(1, made_at(ms)), accepted());
}

#[test]
fn what_was_heard_is_not_taken_again_whoever_sends_it_and_however_it_is_wrapped() {
    let mut judges = Judges::load();
    let ms = judges.wall_ms();
    judges.demand("first", &ipv4(1, made_at(ms)), accepted());
    for sender in 1..=20 {
        judges.demand("again, IPv4", &ipv4(sender, made_at(ms)), refused(Reason::Replay));
        judges.demand("again, IPv6", &ipv6(sender, made_at(ms)), refused6(Reason::Replay));
    }
    judges.demand("the next, IPv6", &ipv6(1, made_at(ms + 1)), accepted6());
    judges.demand("the next, again in IPv4", &ipv4(1, made_at(ms + 1)), refused(Reason::Replay));
    judges.demand("the one after, IPv4", &ipv4(1, made_at(ms + 2)), accepted());
}

#[test]
fn our_own_is_ours_in_whosever_name_it_comes_and_moves_no_window() {
    let mut judges = Judges::load();
    let ms = judges.wall_ms();
    let ours = Advertisement { advskew: 77, ..Advertisement::of(VHID_STRICT) };
    for at in [ms, ms + 1] {
        let counter = Stamp { ms: at, advskew: ours.advskew, advbase: ours.advbase, demote: ours.demote };
        judges.give(GivenKey { counter: counter.to_counter(), host: VHID_STRICT.into(), reserved: 0 });
        judges.demand("ours, IPv4", &ipv4(1, ours.made_at(at).bytes()), refused(Reason::Looped));
        judges.demand("ours, IPv6", &ipv6(1, ours.made_at(at).bytes()), refused6(Reason::Looped));
    }
    assert!(judges.remembered().is_empty(), "{:?}", judges.remembered());
    judges.demand("the peer's", &ipv4(1, made_at(ms)), accepted());
    // Another virtual host's is not ours here.
    let counter = Stamp { ms: ms + 2, advskew: 77, advbase: ours.advbase, demote: ours.demote };
    judges.give(GivenKey { counter: counter.to_counter(), host: 1, reserved: 0 });
    judges.demand("like one of another", &ipv4(1, ours.made_at(ms + 2).bytes()), accepted());
}

#[test]
fn frames_that_overtake_each_other_are_taken_once_each() {
    let mut judges = Judges::load();
    let ms = judges.wall_ms();
    for late in [1, 0, 3, 2, 70, 7, 69] {
        judges.demand("overtaken", &ipv4(1, made_at(ms + late)), accepted());
        judges.demand("overtaken, again", &ipv4(1, made_at(ms + late)), refused(Reason::Replay));
    }
    judges.demand("older than the window", &ipv4(1, made_at(ms + 6)), refused(Reason::Replay));
    // The window of the sender refuses it, too, with fields that nobody had yet.
    let other_fields = Advertisement { advskew: 7, ..Advertisement::of(VHID_STRICT) }.made_at(ms + 6).bytes();
    judges.demand("older, other fields", &ipv4(1, other_fields), refused(Reason::Replay));
}

#[test]
fn the_tolerance_includes_its_ends() {
    let mut judges = Judges::load();
    let tolerance = i64::from(TOLERANCE_MS);
    let table = [(-tolerance - 1, false), (-tolerance, true), (tolerance, true), (tolerance + 1, false)];
    for (sender, (difference, taken)) in (1..).zip(table) {
        let frame = |ms: u64| {
            let fields = Advertisement { advskew: sender, ..Advertisement::of(VHID_STRICT) };
            ipv4(sender, fields.made_at(ms.saturating_add_signed(difference)).bytes())
        };
        judges.demand_at(
            &format!("{difference} ms"),
            frame,
            if taken { accepted() } else { refused(Reason::Stale) },
        );
    }
}

#[test]
fn a_known_sender_goes_on_after_a_clock_was_set_and_no_other() {
    let mut judges = Judges::load();
    let ms = judges.wall_ms();
    judges.demand("known", &ipv4(1, made_at(ms)), accepted());
    judges.set_wall_ms(ms + 3_600_000);
    judges.demand("goes on", &ipv4(1, made_at(ms + 10)), accepted());
    judges.demand("another sender", &ipv4(2, made_at(ms + 20)), refused(Reason::Stale));
    judges.demand("the same node in the other family", &ipv6(1, made_at(ms + 20)), refused6(Reason::Stale));
    judges.demand("known, by the new time", &ipv4(1, made_at(ms + 3_600_030)), accepted());
    judges.demand("known, back to the old time", &ipv4(1, made_at(ms + 40)), refused(Reason::Replay));
}

#[test]
fn what_was_heard_before_a_restart_stays_heard_but_is_continued_by_nothing() {
    let mut judges = Judges::load();
    let ms = judges.wall_ms();
    judges.demand("before", &ipv4(1, made_at(ms)), accepted());
    for (key, heard) in judges.remembered() {
        judges.remember(key, Heard { arrived_ns: 0, ..heard });
    }
    judges.demand("the same after", &ipv4(1, made_at(ms)), refused(Reason::Replay));
    judges.demand("from another after", &ipv4(2, made_at(ms)), refused(Reason::Replay));
    judges.set_wall_ms(ms + 3_600_000);
    judges.demand("the clock was set meanwhile", &ipv4(1, made_at(ms + 10)), refused(Reason::Stale));
    judges.set_wall_ms(ms);
    judges.demand("the clock is right", &ipv4(1, made_at(ms + 10)), accepted());
    judges.set_wall_ms(ms + 3_600_000);
    judges.demand("and continues", &ipv4(1, made_at(ms + 20)), accepted());
}

#[test]
fn where_there_is_no_room_known_senders_go_on() {
    let mut judges = Judges::load();
    let ms = judges.wall_ms();
    judges.demand("known", &ipv4(1, made_at(ms)), accepted());
    let room = MAX_HEARD - judges.remembered().len();
    for index in (0..u32::try_from(room).expect("some thousand")).rev() {
        let key = HeardKey::sender(1, 4, IpAddr::from(Ipv4Addr::from(index)).into());
        judges.remember(key, Heard { newest_ms: 1, seen: 1, arrived_ns: 0 });
    }
    let other_fields =
        |ms| Advertisement { advskew: 9, ..Advertisement::of(VHID_STRICT) }.made_at(ms).bytes();
    judges.demand("another sender", &ipv4(2, made_at(ms + 1)), refused(Reason::NoRoom));
    judges.demand("other fields", &ipv4(1, other_fields(ms + 2)), refused(Reason::NoRoom));
    judges.demand("known sender and fields", &ipv4(1, made_at(ms + 3)), accepted());
    judges.demand("and again", &ipv4(1, made_at(ms + 3)), refused(Reason::Replay));
}

#[test]
fn both_passphrases_share_one_memory() {
    let mut judges = Judges::load();
    let (slot, ms) = (slot(VHID_STRICT_TWO_KEYS), judges.wall_ms());
    let by = |passphrase, link_local, ms| {
        let fields = Advertisement { passphrase, link_local, ..Advertisement::of(VHID_STRICT_TWO_KEYS) };
        ipv4(1, fields.made_at(ms).bytes())
    };
    let (new, old) = (frames::advertisement::PASSPHRASE, frames::advertisement::OLD_PASSPHRASE);
    judges.demand("the new", &by(new, true, ms), Outcome::Accepted(slot, 0));
    judges.demand("the old, of the same time", &by(old, false, ms), Outcome::Refused(slot, Reason::Replay));
    judges.demand("the old", &by(old, false, ms + 1), Outcome::Accepted(slot, 1));
    judges.demand("the new, other form", &by(new, false, ms + 2), Outcome::Accepted(slot, 0));
}

/// The loaded program with user space's judge beside it; that alone where the program can't be loaded.
enum Judges {
    Both(Box<Kernel>),
    UserSpace(Site),
}

impl Judges {
    fn load() -> Self {
        Kernel::load(&site()).map_or_else(|| Self::UserSpace(site()), |kernel| Self::Both(Box::new(kernel)))
    }

    fn site(&self) -> &Site {
        match self {
            Self::Both(kernel) => kernel.site(),
            Self::UserSpace(site) => site,
        }
    }

    /// The time of day.
    fn wall_ms(&self) -> u64 {
        self.site().wall_ms(now_ns())
    }

    fn set_wall_ms(&mut self, ms: u64) {
        match self {
            Self::Both(kernel) => kernel.set_wall_ms(ms),
            Self::UserSpace(site) => site.clock_offset_ns = (ms * 1_000_000).wrapping_sub(now_ns()),
        }
    }

    fn remembered(&self) -> BTreeMap<HeardKey, Heard> {
        self.site().heard.borrow().clone()
    }

    fn remember(&mut self, key: HeardKey, heard: Heard) {
        match self {
            Self::Both(kernel) => kernel.remember(key, Some(heard)),
            Self::UserSpace(site) => drop(site.heard.borrow_mut().insert(key, heard)),
        }
    }

    fn give(&mut self, key: GivenKey) {
        match self {
            Self::Both(kernel) => kernel.give(key),
            Self::UserSpace(site) => drop(site.given.insert(key)),
        }
    }

    fn demand(&mut self, name: &str, frame: &[u8], outcome: Outcome) {
        match self {
            Self::Both(kernel) => drop(kernel.demand(name, frame, outcome)),
            Self::UserSpace(site) => assert_eq!(Judged::of(frame, site).outcome, outcome, "{name}"),
        }
    }

    /// Demands an outcome that hangs on the millisecond. `frame` makes the frame for a time of day.
    fn demand_at(&mut self, name: &str, frame: impl Fn(u64) -> Vec<u8>, outcome: Outcome) {
        let before = self.remembered();
        for _ in 0..TRIES {
            let ms = self.wall_ms() + 1_000;
            let frame = frame(ms);
            self.set_wall_ms(ms);
            let found = match self {
                Self::Both(kernel) => kernel.judge(name, &frame).outcome,
                Self::UserSpace(site) => Judged::of(&frame, site).outcome,
            };
            if self.wall_ms() == ms {
                assert_eq!(found, outcome, "{name}");
                return;
            }
            // It was too late for its millisecond: as if it had not been.
            for key in self.remembered().into_keys().filter(|key| !before.contains_key(key)) {
                match self {
                    Self::Both(kernel) => kernel.remember(key, None),
                    Self::UserSpace(site) => drop(site.heard.borrow_mut().remove(&key)),
                }
            }
        }
        panic!("{name}: never within a millisecond in {TRIES} tries");
    }
}

fn made_at(ms: u64) -> Vec<u8> {
    Advertisement::of(VHID_STRICT).made_at(ms).bytes()
}

fn ipv4(sender: u8, payload: Vec<u8>) -> Vec<u8> {
    Packet { source: [10, 77, 0, 100 + sender], payload, ..Packet::default() }.bytes()
}

fn ipv6(sender: u8, payload: Vec<u8>) -> Vec<u8> {
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100 + u16::from(sender));
    Packet6 { source, payload, ..Packet6::default() }.bytes()
}

fn accepted() -> Outcome {
    Outcome::Accepted(slot(VHID_STRICT), 0)
}

fn accepted6() -> Outcome {
    Outcome::Accepted(slot6(slot(VHID_STRICT)), 0)
}

fn refused(reason: Reason) -> Outcome {
    Outcome::Refused(slot(VHID_STRICT), reason)
}

fn refused6(reason: Reason) -> Outcome {
    Outcome::Refused(slot6(slot(VHID_STRICT)), reason)
}

const VECTORS: usize = 25;
