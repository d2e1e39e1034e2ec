//! The program, loaded into the kernel and run on frames of one's own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use aya::programs::{TestRun, TestRunOptions};
use ha_agent::dataplane::{
    Counters, Dataplane, Echo, Events, Given, Interface, Lease, LoadError, Loaded, Memory, Mode, Packets,
    Patiences, Tables,
};
use ha_common::abi::{
    self, Address, Advert, COMMON_SLOT, COUNTER_SLOTS, FAMILY_IPV4, GivenKey, HeardKey, Patience, Record,
};
use ha_common::fresh::Heard;
use ha_common::reason::Reason;
use lab::Site;
use lab::capture::now_ns;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::hook::Hook;
use crate::outcome::{Judged, Outcome, XDP_TX};
use crate::packet::l3_offset;

/// The loaded program, with maps of its own and what they held before the next frame; beside it user space's
/// judge, which gets the same frames in the same order.
pub struct Kernel {
    dataplane: Dataplane,
    hook: Hook,
    events: Events,
    tables: Tables,
    counters: Counters,
    memory: Memory,
    given: Given,
    patiences: Patiences,
    lease: Lease,
    echo: Echo,
    /// What user space judges by, and what it has heard.
    site: Site,
    /// Of the common slot and of every watch that there was.
    before: BTreeMap<u32, abi::Counters>,
}

/// What one run did.
pub struct Run {
    /// What the program returned, as XDP says it.
    pub verdict: u32,
    /// What it counted, by slot, where that is not nothing.
    pub counted: Vec<(u32, abi::Counters)>,
    /// When it was started and when it had ended, in ns of `CLOCK_MONOTONIC`.
    pub time_ns: [u64; 2],
}

impl Kernel {
    /// Loads the XDP program and lets it watch: see [`Kernel::load_at`].
    #[must_use]
    pub fn load(site: &Site) -> Option<Self> {
        Self::load_at(Hook::Xdp, site)
    }

    /// Loads a program and lets it watch; `None` where that is not possible, with the reason printed.
    ///
    /// Where everything is said to be there (`HA_TEST_ROOT`), nothing is skipped.
    ///
    /// # Panics
    ///
    /// If the program can't be loaded for another reason.
    #[must_use]
    pub fn load_at(hook: Hook, site: &Site) -> Option<Self> {
        if !lab::available() {
            return None;
        }
        let loaded = match Dataplane::load() {
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
        let Loaded { dataplane, tables, events, counters, memory, given, patiences, lease, echo, .. } =
            loaded;
        let (nowhere, before) = (Site::default(), BTreeMap::from([(COMMON_SLOT, abi::Counters::default())]));
        let mut kernel = Self {
            dataplane,
            hook,
            events,
            tables,
            counters,
            memory,
            given,
            patiences,
            lease,
            echo,
            site: nowhere,
            before,
        };
        kernel.tell(site);
        Some(kernel)
    }

    /// Attaches the program to an interface of this thread's network namespace, where it watches what arrives there.
    ///
    /// # Panics
    ///
    /// If it can't be attached.
    pub fn attach(&mut self, interface: &str, index: u32) {
        let on = Interface { name: interface, index, occupant: None };
        let mode = match self.hook {
            Hook::Xdp => Mode::Native,
            Hook::Tc => Mode::Tcx,
        };
        self.dataplane.attach(on, &[mode]).expect("an interface to attach to");
    }

    /// Sees what leaves an interface of this thread's network namespace.
    ///
    /// # Panics
    ///
    /// If it can't.
    pub fn attach_out(&mut self, interface: &str, index: u32) {
        let on = Interface { name: interface, index, occupant: None };
        self.dataplane.attach_out(on).expect("an interface to attach to");
    }

    /// Receives from an interface of this thread's network namespace by a packet socket, with the same maps.
    ///
    /// # Panics
    ///
    /// If it can't, or does already.
    pub fn hear(&mut self, interface: &str, index: u32) -> Packets {
        let on = Interface { name: interface, index, occupant: None };
        self.dataplane.attach(on, &[Mode::Packet]).expect("an interface to listen to");
        self.dataplane.take_packets().expect("the first interface")
    }

    /// Lets it watch for something else. What is remembered stays, and what the site has heard is added.
    ///
    /// # Panics
    ///
    /// If there is no room.
    pub fn tell(&mut self, site: &Site) {
        for (index, keys) in &site.keys {
            self.tables.set_keys(*index, keys).expect("a place for keys");
        }
        for (host, role) in self.site.lists.keys().filter(|list| !site.lists.contains_key(list)) {
            self.tables.list(*host, *role, &[]).expect("an empty list");
        }
        for ((host, role), list) in &site.lists {
            let list: Vec<_> = list.iter().copied().collect();
            self.tables.list(*host, *role, &list).expect("room for a list");
        }
        for (key, heard) in site.heard.borrow().iter() {
            self.memory.restore(*key, *heard).expect("room for what was heard");
        }
        for key in &site.given {
            self.given.add(key.host, key.counter).expect("room for what was given");
        }
        self.tables.set_clock(site.clock_offset_ns).expect("a clock");
        for key in self.site.watches.keys().filter(|key| !site.watches.contains_key(key)) {
            self.tables.unwatch(key);
        }
        for (key, watch) in &site.watches {
            self.tables.watch(*key, *watch).expect("room for a watch");
        }
        let mut heard = self.site.heard.take();
        heard.extend(site.heard.borrow().iter());
        self.site = Site { heard: heard.into(), ..site.clone() };
        for watch in site.watches.values() {
            self.before.entry(watch.slot).or_default();
        }
    }

    /// Sets what the time of day is now, in ms since 2025.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn set_wall_ms(&mut self, ms: u64) {
        self.site.clock_offset_ns = (ms * 1_000_000).wrapping_sub(now_ns());
        self.tables.set_clock(self.site.clock_offset_ns).expect("a clock");
    }

    /// Lets it watch for the silence of a slot.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn set_patience(&mut self, slot: u32, patience: Patience) {
        self.patiences.set(slot, patience).expect("a slot");
    }

    /// Grants the lease.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn grant(&mut self, lease: abi::Lease) {
        self.lease.grant(lease).expect("a lease");
    }

    /// Says which addresses it is about.
    ///
    /// # Panics
    ///
    /// If there is no room.
    pub fn guard(&mut self, addresses: &[IpAddr]) {
        self.tables.guard(addresses).expect("room for addresses");
    }

    /// How many frames were dropped because it was over.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    #[must_use]
    pub fn silenced(&self) -> u64 {
        self.counters.silenced().expect("a number")
    }

    /// Makes an advertisement one of our own.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn give(&mut self, key: GivenKey) {
        self.given.add(key.host, key.counter).expect("room for what was given");
        self.site.given.insert(key);
    }

    /// Sets what is remembered under a key, or forgets it.
    ///
    /// # Panics
    ///
    /// If there is no room.
    pub fn remember(&mut self, key: HeardKey, heard: Option<Heard>) {
        if let Some(heard) = heard {
            self.memory.restore(key, heard).expect("room for what was heard");
            self.site.heard.borrow_mut().insert(key, heard);
        } else {
            self.memory.forget(&key);
            self.site.heard.borrow_mut().remove(&key);
        }
    }

    /// Forgets everything that was heard.
    ///
    /// # Panics
    ///
    /// If program and user space did not remember the same.
    pub fn forget(&mut self) {
        let theirs: BTreeMap<_, _> = self.memory.all().into_iter().collect();
        let ours = self.site.heard.take();
        // When the newest came is known of what was accepted only: the program does not tell it of the rest.
        let told = |all: &BTreeMap<HeardKey, Heard>| {
            all.iter().map(|(key, heard)| (*key, heard.newest_ms, heard.seen)).collect::<Vec<_>>()
        };
        assert_eq!(told(&theirs), told(&ours), "what was heard");
        for key in theirs.keys() {
            self.memory.forget(key);
        }
    }

    /// What user space judges by, and what it has heard.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Demands an outcome for a frame: verdict, counters, record, and that the frame was left as it was.
    /// Returns the record.
    ///
    /// # Panics
    ///
    /// If it has another.
    pub fn demand(&mut self, name: &str, frame: &[u8], outcome: Outcome) -> Option<Advert> {
        let Judged { outcome: found, advert } = self.judge(name, frame);
        let about = || format!("{name}: {frame:02x?}");
        assert_eq!(found, outcome, "{}", about());
        match outcome {
            Outcome::Foreign | Outcome::Refused(COMMON_SLOT, _) | Outcome::Passed(COMMON_SLOT, _) => None,
            Outcome::Refused(slot, reason) | Outcome::Passed(slot, reason) => {
                assert!(self.sighted(slot, reason), "nobody was seen for {}", about());
                None
            }
            Outcome::Accepted(slot, signer) => {
                let advert = advert.expect("a record");
                assert_eq!(advert, self.expected(frame, slot, signer, &advert), "pushed for {}", about());
                Some(advert)
            }
        }
    }

    /// Gives a frame to the program and to user space, and demands that both do the same: verdict, counters,
    /// record, and that the frame was left as it was.
    ///
    /// # Panics
    ///
    /// If they do not.
    pub fn judge(&mut self, name: &str, frame: &[u8]) -> Judged {
        let run = self.run(frame, 1);
        let records = self.adverts();
        let about = || format!("{name}: {frame:02x?}");
        let [from, to] = run.time_ns;
        // An advertisement says when it was judged. Of the others, two moments are known between which it was.
        let times = records.first().map_or([from, to], |advert| [advert.stamp_ns; 2]);
        let counted = |judged: &Judged| Vec::from_iter(judged.outcome.counted());
        let heard = self.site.heard.clone();
        let mut judged = self.judge_at(times[0], frame);
        if counted(&judged) != run.counted && times[1] != times[0] {
            self.site.heard = heard;
            judged = self.judge_at(times[1], frame);
        }
        assert_eq!(run.counted, counted(&judged), "counted for {}", about());
        assert_eq!(run.verdict, judged.outcome.verdict(), "verdict for {}", about());
        assert_eq!(records, Vec::from_iter(judged.advert), "pushed for {}", about());
        assert!((from..=to).contains(&times[0]), "stamped {times:?} for {}", about());
        judged
    }

    /// What it answers to peers' probes.
    pub fn echo(&mut self) -> &mut Echo {
        &mut self.echo
    }

    /// Runs the program on a frame, `repeat` times. What it pushes stays in the ring.
    ///
    /// # Panics
    ///
    /// If it does not run, or changes the frame.
    pub fn run(&mut self, frame: &[u8], repeat: u32) -> Run {
        let (run, after) = self.run_once(frame, repeat);
        assert_eq!(after, frame, "it was changed");
        run
    }

    /// Runs the program on a frame, and returns what it sends back; `None` where it does not.
    ///
    /// # Panics
    ///
    /// If it does not run, or changes a frame that it does not send back.
    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (run, after) = self.run_once(frame, 1);
        if run.verdict == XDP_TX {
            return Some(after);
        }
        assert_eq!(after, frame, "it was changed");
        None
    }

    fn run_once(&mut self, frame: &[u8], repeat: u32) -> (Run, Vec<u8>) {
        let mut after = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut after),
            repeat,
            ..TestRunOptions::new()
        };
        let (result, time_ns) = match self.hook {
            Hook::Xdp => {
                let program = self.dataplane.program().expect("the loaded program");
                let started = now_ns();
                (program.test_run(options), [started, now_ns()])
            }
            Hook::Tc => {
                let program = self.dataplane.program_tc().expect("the program for traffic control");
                let started = now_ns();
                (program.test_run(options), [started, now_ns()])
            }
        };
        let result = result.unwrap_or_else(|error| panic!("BPF_PROG_TEST_RUN of {frame:02x?}: {error:?}"));
        assert_eq!(usize::try_from(result.data_size_out), Ok(frame.len()), "its length was changed");
        let verdict = self.hook.as_xdp(result.return_value);
        (Run { verdict, counted: self.counted(), time_ns }, after)
    }

    /// Everything that is in the ring, oldest first.
    ///
    /// # Panics
    ///
    /// If what is in the ring is no record.
    pub fn drain(&mut self) -> Vec<Record> {
        std::iter::from_fn(|| self.events.next()).map(|record| record.expect("a record")).collect()
    }

    /// The same, where there are nothing but advertisements.
    ///
    /// # Panics
    ///
    /// If there is something else.
    pub fn adverts(&mut self) -> Vec<Advert> {
        let advert = |record| match record {
            Record::Advert(advert) => advert,
            other => panic!("nobody counts down or asks: {other:?}"),
        };
        self.drain().into_iter().map(advert).collect()
    }

    /// The oldest record in the ring, waited for if there is none; `None` if none comes within the time.
    ///
    /// # Panics
    ///
    /// If what is in the ring is no record.
    pub fn wait_for_record(&mut self, time: Duration) -> Option<Record> {
        let until = Instant::now() + time;
        loop {
            if let Some(record) = self.events.next() {
                return Some(record.expect("a record"));
            }
            let left = PollTimeout::try_from(until.checked_duration_since(Instant::now())?);
            let ring = PollFd::new(self.events.as_fd(), PollFlags::POLLIN);
            poll(&mut [ring], left.expect("short")).expect("the ring can be waited for");
        }
    }

    /// Demands that nothing was counted in any slot but those of the watches.
    ///
    /// # Panics
    ///
    /// If something was.
    pub fn demand_rest_untouched(&self) {
        let slots = u32::try_from(COUNTER_SLOTS).expect("some thousand");
        for slot in (0..slots).filter(|slot| !self.before.contains_key(slot)) {
            assert_eq!(self.read(slot), abi::Counters::default(), "slot {slot}");
        }
    }

    /// User space's judgement at a time.
    fn judge_at(&mut self, now_ns: u64, frame: &[u8]) -> Judged {
        self.site.now_ns = Some(now_ns);
        Judged::of(frame, &self.site)
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
            watched: 0,
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
