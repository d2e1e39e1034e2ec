//! The program, loaded into the kernel and run on frames of one's own.

use std::collections::BTreeMap;

use aya::programs::{TestRun, TestRunOptions};
use ha_agent::dataplane::{Counters, Dataplane, Events, LoadError, Loaded, Memory, Tables};
use ha_common::abi::{self, Address, Advert, COMMON_SLOT, COUNTER_SLOTS, FAMILY_IPV4};
use ha_common::reason::Reason;
use lab::Site;
use lab::capture::now_ns;

use super::outcome::Outcome;
use super::packet::l3_offset;

/// The loaded program, with maps of its own and what they held before the next frame.
pub(crate) struct Kernel {
    dataplane: Dataplane,
    events: Events,
    tables: Tables,
    counters: Counters,
    memory: Memory,
    site: Site,
    /// Of the common slot and of every watch that there was.
    before: BTreeMap<u32, abi::Counters>,
}

/// What one run did.
pub(crate) struct Run {
    /// What the program returned.
    pub(crate) verdict: u32,
    /// What it counted, by slot, where that is not nothing.
    pub(crate) counted: Vec<(u32, abi::Counters)>,
    /// When it was started and when it had ended, in ns of `CLOCK_MONOTONIC`.
    pub(crate) time_ns: [u64; 2],
}

impl Kernel {
    /// Loads the program and lets it watch; `None` where that is not possible, with the reason printed.
    ///
    /// Where everything is said to be there (`HA_TEST_ROOT`), nothing is skipped.
    pub(crate) fn load(site: &Site) -> Option<Self> {
        if !lab::available() {
            return None;
        }
        let Loaded { dataplane, tables, events, counters, memory } = match Dataplane::load() {
            Ok(loaded) => loaded,
            Err(error @ (LoadError::NoObject | LoadError::NoPermission(_) | LoadError::NoBpf(_)))
                if std::env::var_os("HA_TEST_ROOT").is_none() =>
            {
                eprintln!("skipped, because of {error}");
                return None;
            }
            Err(error) => {
                if let LoadError::Refused { log, .. } = &error {
                    eprintln!("{log}");
                }
                panic!("{error}");
            }
        };
        let (nowhere, before) = (Site::default(), BTreeMap::from([(COMMON_SLOT, abi::Counters::default())]));
        let mut kernel = Self { dataplane, events, tables, counters, memory, site: nowhere, before };
        kernel.tell(site);
        Some(kernel)
    }

    /// Lets it watch for something else. What is remembered stays, and what the site has heard is added.
    pub(crate) fn tell(&mut self, site: &Site) {
        for (index, keys) in &site.keys {
            self.tables.set_keys(*index, keys).expect("a place for keys");
        }
        for (host, role) in self.site.lists.keys().filter(|list| !site.lists.contains_key(list)) {
            self.tables.list(*host, *role, &[]).expect("an empty list");
        }
        for ((host, role), list) in &site.lists {
            self.tables.list(*host, *role, &Vec::from_iter(list.iter().copied())).expect("room for a list");
        }
        for (key, heard) in site.heard.borrow().iter() {
            self.memory.restore(*key, *heard).expect("room for what was heard");
        }
        self.tables.set_clock(site.clock_offset_ns).expect("a clock");
        for key in self.site.watches.keys().filter(|key| !site.watches.contains_key(key)) {
            self.tables.unwatch(key);
        }
        for (key, watch) in &site.watches {
            self.tables.watch(*key, *watch).expect("room for a watch");
        }
        self.site = site.clone();
        for watch in site.watches.values() {
            self.before.entry(watch.slot).or_default();
        }
    }

    /// Demands an outcome for a frame: verdict, counters, record, and that the frame was left as it was.
    /// Returns the record.
    pub(crate) fn demand(&mut self, name: &str, frame: &[u8], outcome: Outcome) -> Option<Advert> {
        let run = self.run(frame, 1);
        let about = || format!("{name}: {frame:02x?}");
        assert_eq!(run.counted, Vec::from_iter(outcome.counted()), "counted for {}", about());
        assert_eq!(run.verdict, outcome.verdict(), "verdict for {}", about());
        let records = self.drain();
        let Outcome::Accepted(slot, signer) = outcome else {
            assert_eq!(records, [], "pushed for {}", about());
            if let Outcome::Refused(slot, reason) | Outcome::Passed(slot, reason) = outcome
                && slot != COMMON_SLOT
            {
                assert!(self.sighted(slot, reason), "nobody was seen for {}", about());
            }
            return None;
        };
        let &[advert] = records.as_slice() else {
            panic!("{} records for {}", records.len(), about());
        };
        assert_eq!(advert, self.expected(frame, slot, signer, &advert), "pushed for {}", about());
        let [from, to] = run.time_ns;
        assert!((from..=to).contains(&advert.stamp_ns), "stamped {} for {}", advert.stamp_ns, about());
        Some(advert)
    }

    /// Runs the program on a frame, `repeat` times. What it pushes stays in the ring.
    pub(crate) fn run(&mut self, frame: &[u8], repeat: u32) -> Run {
        let mut after = vec![0; frame.len()];
        let program = self.dataplane.program().expect("the loaded program");
        let started = now_ns();
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut after),
            repeat,
            ..TestRunOptions::new()
        });
        let time_ns = [started, now_ns()];
        let result = result.unwrap_or_else(|error| panic!("BPF_PROG_TEST_RUN of {frame:02x?}: {error:?}"));
        assert_eq!(usize::try_from(result.data_size_out), Ok(frame.len()), "its length was changed");
        assert_eq!(after, frame, "it was changed");
        Run { verdict: result.return_value, counted: self.counted(), time_ns }
    }

    /// Everything that is in the ring, oldest first.
    pub(crate) fn drain(&mut self) -> Vec<Advert> {
        std::iter::from_fn(|| self.events.next()).map(|record| record.expect("a record")).collect()
    }

    /// Demands that nothing was counted in any slot but those of the watches.
    pub(crate) fn demand_rest_untouched(&self) {
        let slots = u32::try_from(COUNTER_SLOTS).expect("some thousand");
        for slot in (0..slots).filter(|slot| !self.before.contains_key(slot)) {
            assert_eq!(self.read(slot), abi::Counters::default(), "slot {slot}");
        }
    }

    /// What was counted since the last call, by slot.
    fn counted(&mut self) -> Vec<(u32, abi::Counters)> {
        let now: BTreeMap<_, _> = self.before.keys().map(|slot| (*slot, self.read(*slot))).collect();
        let before = std::mem::replace(&mut self.before, now.clone());
        let more = now.into_iter().zip(before.into_values()).filter(|((_, now), before)| now != before);
        more.map(|((slot, now), before)| (slot, difference(&now, &before))).collect()
    }

    fn read(&self, slot: u32) -> abi::Counters {
        self.counters.read(slot).expect("a slot")
    }

    /// Whether somebody was written down as refused for a reason.
    fn sighted(&self, slot: u32, reason: Reason) -> bool {
        let sightings = self.counters.sightings(slot).expect("a slot");
        sightings.0[reason as usize].at_ns > 0
    }

    /// The record that a frame is to make; the stamp is the one that it has. Its header has no options: such
    /// frames are refused.
    fn expected(&self, frame: &[u8], slot: u32, signer: u32, advert: &Advert) -> Advert {
        let mut watches = self.site.watches.iter();
        let (key, _) = watches.find(|(_, watch)| watch.slot == slot).expect("a watched slot");
        let packet = &frame[l3_offset(frame)..];
        let (source, carp) = if key.family == FAMILY_IPV4 {
            (Address::v4(packet[12..16].try_into().expect("4 bytes")), &packet[20..56])
        } else {
            (Address(packet[8..24].try_into().expect("16 bytes")), &packet[40..76])
        };
        Advert {
            header: abi::RecordHeader {
                kind: abi::Kind::Advert as u16,
                version: abi::VERSION,
                length: u32::try_from(Advert::LEN).expect("short"),
            },
            stamp_ns: advert.stamp_ns,
            watch: *key,
            source,
            signer,
            carp: carp.try_into().expect("36 bytes"),
            reserved: 0,
        }
    }
}

/// What came on top. Taken apart field by field: a new counter can't be forgotten.
fn difference(now: &abi::Counters, before: &abi::Counters) -> abi::Counters {
    let abi::Counters {
        received,
        accepted,
        notcarp,
        badver,
        badvhid,
        badopts,
        badfrag,
        badttl,
        badlen,
        baddst,
        badsum,
        looped,
        badsource,
        badauth,
        rewritten,
        stale,
        replay,
        noroom,
        ringfull,
    } = *now;
    abi::Counters {
        received: received - before.received,
        accepted: accepted - before.accepted,
        notcarp: notcarp - before.notcarp,
        badver: badver - before.badver,
        badvhid: badvhid - before.badvhid,
        badopts: badopts - before.badopts,
        badfrag: badfrag - before.badfrag,
        badttl: badttl - before.badttl,
        badlen: badlen - before.badlen,
        baddst: baddst - before.baddst,
        badsum: badsum - before.badsum,
        looped: looped - before.looped,
        badsource: badsource - before.badsource,
        badauth: badauth - before.badauth,
        rewritten: rewritten - before.rewritten,
        stale: stale - before.stale,
        replay: replay - before.replay,
        noroom: noroom - before.noroom,
        ringfull: ringfull - before.ringfull,
    }
}
