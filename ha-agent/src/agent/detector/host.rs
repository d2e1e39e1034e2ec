//! One virtual host on the fast thread: its machine, its sender, what was heard.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ha_common::abi::{Advert, Patience, Standing, Timeout, WatchKey};
use ha_common::auth::Mac;
use ha_common::fresh::Stamp;
use ha_common::reason::Counters;
use ha_common::wire::{carp, ethernet};
use tokio::sync::mpsc;

use super::arrivals::Arrivals;
use super::counter::Counter;
use super::gate::{Addresses, Gate};
use super::peers::Peers;
use super::timing::Departure;
use super::voice::{Spoken, Voice};
use super::{Note, Peer, VhostSetup, VhostSnapshot};
use crate::agent::hosts;
use crate::agent::understudy::Understudy;
use crate::config::Mode;
use crate::core::vhost::FOLLOWING;
use crate::core::{
    self, Advertisement, Command, Event, Family, Heard, Instant, Link, Priority, Silence, Sources, Stall,
    State, Suspicions, Timer, Vhost,
};
use crate::dataplane::{Given, Patiences, Standings};
use crate::exec::{Order, Orders};
use crate::journal::recorder::Recorder;
use crate::journal::trace::Step;
use crate::net::advertise::{Advertiser, Frames, Path};
use crate::sys::clock;

/// One virtual host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) machine: Vhost,
    keys: Vec<WatchKey>,
    interface: Rc<str>,
    /// Of its interface; 0 before that is known.
    ifindex: u32,
    /// Whether the next agent would find that this node is master here.
    stands: bool,
    index: usize,
    vhid: u8,
    mac: Mac,
    mode: Mode,
    counter: Counter,
    suspicions: Suspicions,
    voice: Voice,
    sources: Sources,
    /// When the last advertisement left; `None` if it could not be sent.
    advertised: Option<Instant>,
    /// What the last one said.
    said: Option<Advertisement>,
    /// Whether advertisements left, one after the other, since this was last asked.
    outcomes: Vec<bool>,
    addresses: Addresses,
    /// When it began to listen last.
    listens: Instant,
    peers: Peers,
    arrivals: Arrivals,
    sent: u64,
    send_errors: u64,
    stalls: u64,
    late_timers: u64,
    looped: u64,
    kernel: Option<Rc<RefCell<Kernel>>>,
    recorder: Option<Rc<Recorder>>,
    orders: Orders,
    notes: mpsc::UnboundedSender<Note>,
}

/// What the kernel program is told from here.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) given: Given,
    pub(super) patiences: Patiences,
    pub(super) standings: Standings,
}

impl Host {
    pub(super) fn new(
        setup: VhostSetup,
        mode: Mode,
        kernel: Option<Rc<RefCell<Kernel>>>,
        recorder: Option<Rc<Recorder>>,
        understudy: Option<(Rc<Understudy>, usize)>,
        notes: mpsc::UnboundedSender<Note>,
    ) -> Self {
        let VhostSetup { index, name: _, settings, interface, vhid, mac, random, stored_ms, resumes, orders } =
            setup;
        let mut host = Self {
            machine: Vhost::new(settings),
            keys: Vec::new(),
            interface: interface.into(),
            ifindex: 0,
            stands: false,
            index,
            vhid,
            mac,
            mode,
            counter: Counter::new(mode, random, stored_ms),
            suspicions: Suspicions::default(),
            voice: Voice::new(understudy),
            sources: Sources::UNSPECIFIED,
            advertised: None,
            said: None,
            outcomes: Vec::new(),
            addresses: Addresses::default(),
            listens: Instant::from_nanos(0),
            peers: Peers::default(),
            arrivals: Arrivals::default(),
            sent: 0,
            send_errors: 0,
            stalls: 0,
            late_timers: 0,
            looped: 0,
            kernel,
            recorder,
            orders,
            notes,
        };
        host.tell_patience();
        if let Some(advertised) = resumes {
            host.handle(clock::now(), Event::Resume { advertised });
        }
        host
    }

    /// Its index.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// It is over with it: whatever is in the way of nobody else is given up.
    pub(super) fn end(&mut self) {
        if let Some(old) = self.voice.end() {
            self.orders.give(Order::Discard(old));
        }
    }

    /// The keys of its records.
    pub(super) fn keys(&self) -> &[WatchKey] {
        &self.keys
    }

    /// The name of its interface.
    pub(super) fn interface(&self) -> &str {
        &self.interface
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.machine.poll_timeout().map(|(deadline, _)| deadline)
    }

    pub(super) fn snapshot(&self) -> VhostSnapshot {
        VhostSnapshot {
            state: self.machine.state(),
            peers: self.peers.all().copied().collect(),
            sent: self.sent + self.voice.covered(),
            covered: self.voice.covered(),
            send_errors: self.send_errors,
            stalls: self.stalls,
            watched: self.machine.is_watched(),
            late_timers: self.late_timers,
            refused: Counters { looped: self.looped, ..Counters::default() },
            suspicions: self.suspicions.list().copied().collect(),
            given: self.counter.last(),
            arrivals: self.arrivals.list(),
        }
    }

    /// Its records have these keys from now on. What the kernel's timers stand for is not known until then.
    pub(super) fn watch(&mut self, now: Instant, keys: Vec<WatchKey>) {
        if self.keys != keys {
            self.keys = keys;
            for family in Family::ALL {
                self.handle(now, Event::Unwatched(family));
            }
        }
    }

    /// Sends through this from now on.
    pub(super) fn equip(&mut self, ifindex: u32, path: Path, hardware: ethernet::Mac) {
        self.ifindex = ifindex;
        let frames = Frames { hardware, sources: self.sources, vhid: self.vhid, mac: self.mac };
        if let Some(old) = self.voice.replace(Advertiser::new(path, frames)) {
            // To close its sockets takes the kernel longer than an advertisement may be late.
            self.orders.give(Order::Discard(old));
        }
    }

    /// Signs with another key from now on.
    pub(super) fn sign(&mut self, mac: Mac) {
        self.mac = mac;
        self.voice.set_mac(mac);
    }

    /// Goes over to another mode.
    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.voice.interrupt();
        self.counter.set_mode(mode);
    }

    pub(super) fn link(&mut self, now: Instant, link: Link) {
        if let Link::Up { sources } = link {
            self.sources = sources;
            self.voice.set_sources(sources);
        }
        self.handle(now, Event::Link(link));
    }

    pub(super) fn advert(&mut self, now: Instant, advert: &Advert) {
        let header = carp::Header(&advert.carp);
        let source = advert.source();
        // Whatever is our own comes from us, though it says otherwise.
        if self.counter.gave(header.counter()) || self.is_own(source) {
            self.looped += 1;
            // It set the kernel's timer back all the same.
            return self.handle(now, Event::Unwatched(Family::of(source)));
        }
        let priority = Priority { advbase: header.advbase(), advskew: header.advskew() };
        let (stamp, demote) = (Instant::from_nanos(advert.stamp_ns), header.demote());
        let peer = Peer {
            source,
            advertisement: Advertisement { priority, demote },
            heard: stamp,
            signer: advert.signer,
            clock_difference_ms: self.clock_difference_ms(stamp, header.counter()),
        };
        self.note_gap(source, stamp);
        self.peers.remember(peer);
        if self.mode == Mode::Compat {
            let heard =
                Heard { source, counter: header.counter(), digest: *header.digest(), priority, demote };
            self.counter.hear(header.counter());
            for suspicion in self.suspicions.hear(stamp, &heard) {
                if suspicion.log {
                    self.note(Note::Suspicion { vhost: self.index, suspicion });
                }
            }
        }
        let watched = advert.watched != 0;
        self.handle(now, Event::Advert(core::Advert { stamp, source, priority, demote, watched }));
    }

    /// Keeps how long it was since the same source was heard, while that is what a backup goes by.
    fn note_gap(&mut self, source: IpAddr, stamp: Instant) {
        let is_backup = self.machine.state() == State::Backup;
        if let Some(before) = self.peers.heard(source).filter(|before| is_backup && *before >= self.listens) {
            self.arrivals.record(stamp.saturating_since(before));
        }
    }

    /// The kernel's timer fired.
    pub(super) fn silence(&mut self, now: Instant, timeout: &Timeout) {
        let silence = Silence {
            family: hosts::family(timeout.watch.family),
            last_heard: Instant::from_nanos(timeout.last_ns),
            deadline: Instant::from_nanos(timeout.deadline_ns),
            fired: Instant::from_nanos(timeout.fired_ns),
        };
        self.handle(now, Event::Silence(silence));
    }

    /// The kernel's timer fired too late.
    pub(super) fn stall(&mut self, now: Instant, timeout: &Timeout) {
        self.late_timers += 1;
        let stall = Stall {
            family: hosts::family(timeout.watch.family),
            deadline: Instant::from_nanos(timeout.deadline_ns),
            fired: Instant::from_nanos(timeout.fired_ns),
        };
        self.handle(now, Event::Stall(stall));
    }

    /// The demotion level changed, and with it our patience.
    pub(super) fn demote(&mut self, now: Instant, level: u8) {
        self.handle(now, Event::Demote(level));
        self.tell_patience();
    }

    /// Its next deadline has come. Returns the advertisement that left for it, if one did.
    pub(super) fn deadline(&mut self, now: Instant) -> Option<Departure> {
        let (due, timer) = self.machine.poll_timeout()?;
        self.handle(now, Event::Deadline(timer));
        let left = self.advertised.filter(|left| timer == Timer::Advertise && *left >= due)?;
        let interval = self.machine.settings().advertisement_interval();
        Some(Departure { due, left, interval })
    }

    pub(super) fn dropped(&mut self, now: Instant, well: bool, held: bool) {
        if let Some(held) = self.addresses.dropped(well, held) {
            self.handle(now, Event::Released { held });
        }
    }

    /// What becomes of the addresses.
    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Lets the addresses on, or takes them off.
    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.addresses.set_gate(gate, &self.orders);
    }

    /// The addresses were ordered, and are there, or not.
    pub(super) fn took(&mut self, well: bool) {
        self.addresses.took(well);
    }

    /// Somebody else may have said that he has the addresses: who has them says so again.
    pub(super) fn claimed(&mut self) {
        if self.addresses.are_present()
            && let Some(order) = self.addresses.order(Command::Announce)
        {
            self.orders.give(order);
        }
    }

    /// Whether another node is heard, within our patience, and if so, whether it leads.
    pub(super) fn peer_leads(&self, now: Instant) -> Option<bool> {
        let newest = self.peers.newest()?;
        let is_fresh = match self.machine.state() {
            State::Init => false,
            // The machine is the judge.
            State::Backup => !self.is_undecided(),
            State::Master | State::Stalled | State::Leaving => now < self.forgotten(newest),
        };
        let Advertisement { priority, demote } = newest.advertisement;
        is_fresh.then_some(demote < FOLLOWING && !priority.is_bow_out())
    }

    /// When the one that is heard will have been heard for too long ago.
    pub(super) fn forgets_peer(&self) -> Option<Instant> {
        let newest = self.peers.newest()?;
        match self.machine.state() {
            State::Init | State::Backup => None,
            State::Master | State::Stalled | State::Leaving => Some(self.forgotten(newest)),
        }
    }

    fn forgotten(&self, peer: &Peer) -> Instant {
        peer.heard + self.machine.master_down_time()
    }

    /// Whether it still waits whether there is a master, or has slept.
    pub(super) fn is_undecided(&self) -> bool {
        match self.machine.state() {
            State::Init | State::Master | State::Leaving => false,
            State::Backup => self.peers.all().all(|peer| peer.heard < self.listens),
            State::Stalled => true,
        }
    }

    /// Gives the core an event, and carries out or passes on what it answers.
    pub(super) fn handle(&mut self, now: Instant, event: Event) {
        let due = match event {
            Event::Deadline(Timer::Advertise) => self.machine.next_advertisement(),
            Event::Deadline(
                Timer::MasterDown | Timer::MasterDownV6 | Timer::Turn | Timer::Announce | Timer::Release,
            )
            | Event::Link(_)
            | Event::Advert(_)
            | Event::Silence(_)
            | Event::Stall(_)
            | Event::Unwatched(_)
            | Event::Demote(_)
            | Event::Stance(_)
            | Event::Resume { .. }
            | Event::Released { .. }
            | Event::Leave => {
                self.voice.interrupt();
                None
            }
        };
        self.machine.handle(now, event);
        let mut commands = Vec::new();
        while let Some(command) = self.machine.next_command() {
            if self.recorder.is_some() {
                commands.push(command);
            }
            let order = match command {
                Command::Advertise(advertisement) => {
                    self.advertise(advertisement, due);
                    continue;
                }
                Command::Stalled { lasted } => {
                    self.stalls += 1;
                    self.note(Note::Stalled { vhost: self.index, lasted });
                    continue;
                }
                Command::TakeAddresses | Command::DropAddresses | Command::Announce => {
                    match self.addresses.order(command) {
                        Some(order) => order,
                        None => continue,
                    }
                }
                Command::Notify(transition) => {
                    if transition.to == State::Backup && transition.from == State::Init {
                        self.listens = now;
                    }
                    let advertised = self.advertised.filter(|_| transition.to == State::Master);
                    Order::Record { transition, advertised }
                }
            };
            self.orders.give(order);
        }
        self.step_down();
        if let Some(recorder) = &self.recorder {
            recorder.record(Step { vhost: self.index, now, event, commands });
        }
    }

    /// The interface, and whether advertisements left there since this was last asked.
    pub(super) fn take_outcomes(&mut self) -> (&Rc<str>, impl Iterator<Item = bool> + '_) {
        (&self.interface, self.outcomes.drain(..))
    }

    /// Lets the kernel's timers count down from our patience. Where it can't be told, our own timer does it.
    fn tell_patience(&self) {
        let Some(kernel) = &self.kernel else { return };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let patience = Patience {
            dead_ns: nanos(self.machine.master_down_time()),
            interval_ns: nanos(self.machine.settings().advertisement_interval()),
        };
        for family in Family::ALL {
            let told = kernel.borrow_mut().patiences.set(hosts::slot(self.index, family), patience);
            if let Err(error) = told {
                tracing::warn!(vhid = self.vhid, %error, "the kernel does not watch for silence");
            }
        }
    }

    /// Says at once what it said last, if it is master: the peers wait from now on.
    pub(super) fn say_once_more(&mut self) {
        if let Some(advertisement) = self.said.filter(|_| self.machine.state() == State::Master) {
            self.voice.interrupt();
            self.advertise(advertisement, None);
        }
    }

    fn advertise(&mut self, advertisement: Advertisement, due: Option<Instant>) {
        self.said = Some(advertisement);
        // Whatever left before is no witness for this one.
        self.advertised = None;
        let mut next_counter = Self::counters(
            &mut self.counter,
            &mut self.suspicions,
            self.kernel.as_deref(),
            (self.mode, hosts::number(self.index)),
            advertisement,
        );
        let Some(Spoken { sent, left, covered }) = self.voice.say(advertisement, due, &mut next_counter)
        else {
            return;
        };
        if let Some(next) = self.machine.next_advertisement().filter(|_| due.is_some()) {
            let settings = self.machine.settings();
            let interval = settings.advertisement_interval();
            // Who is that late must not seem alive for longer than it would wait itself.
            let twice = settings.pace.dead_time(settings.priority) >= interval * 3;
            self.voice.prepare_next(advertisement, next, interval, twice, &mut next_counter);
        }
        drop(next_counter);
        // Where one family is enough, one that left is enough.
        let apart = self.machine.settings().families.are_apart();
        let well = sent.error.is_none() || (sent.frames > 0 && !apart);
        self.outcomes.push(well);
        if well {
            self.sent += u64::from(!covered);
            self.advertised = Some(left);
            self.stand(left);
        }
        if let Some(error) = sent.error {
            // Counted and shown; the next one is due in an interval.
            self.send_errors += 1;
            tracing::debug!(vhid = self.vhid, %error, "an advertisement could not be sent");
        }
    }

    /// Writes down for the next agent that this node is master here.
    fn stand(&mut self, advertised: Instant) {
        if self.machine.state() == State::Master && self.ifindex != 0 {
            let ago = clock::now().saturating_since(advertised);
            let ago_ns = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
            let advertised_ns = clock::boot_ns().saturating_sub(ago_ns);
            self.write(Standing { advertised_ns, ifindex: self.ifindex, vhid: self.vhid.into() });
            self.stands = true;
        }
    }

    /// Writes down that it is not, once that is so. Who has only slept is.
    fn step_down(&mut self) {
        let is_master = match self.machine.state() {
            State::Init | State::Backup | State::Leaving => false,
            State::Master | State::Stalled => true,
        };
        if self.stands && !is_master {
            self.write(Standing::default());
            self.stands = false;
        }
    }

    fn write(&self, standing: Standing) {
        let Some(kernel) = &self.kernel else { return };
        if let Err(error) = kernel.borrow_mut().standings.write(self.index, standing) {
            tracing::debug!(vhid = self.vhid, %error, "the next agent will not know who is master");
        }
    }

    /// Gives counters for an advertisement that leaves at some moment.
    fn counters<'a>(
        counter: &'a mut Counter,
        suspicions: &'a mut Suspicions,
        kernel: Option<&'a RefCell<Kernel>>,
        (mode, number): (Mode, u32),
        advertisement: Advertisement,
    ) -> impl FnMut(Instant) -> u64 + use<'a> {
        move |at| {
            let now = clock::now();
            let ahead = at.saturating_since(now);
            let next = counter.next(now + ahead, clock::wall() + ahead, advertisement);
            match (mode, kernel) {
                (Mode::Compat, _) => suspicions.sent(at, next, advertisement),
                (Mode::Strict, None) => {}
                // Before it leaves: from then on others may send it back to us.
                (Mode::Strict, Some(kernel)) => {
                    if let Err(error) = kernel.borrow_mut().given.add(number, next) {
                        tracing::debug!(%error, "the kernel program does not know an advertisement of ours");
                    }
                }
            }
            next
        }
    }

    fn is_own(&self, source: IpAddr) -> bool {
        !source.is_unspecified() && self.sources.of(Family::of(source)) == source
    }

    /// How far a sender's clock was ahead of ours, in ms, when its advertisement arrived; in strict mode.
    fn clock_difference_ms(&self, stamp: Instant, counter: u64) -> Option<i64> {
        match self.mode {
            Mode::Compat => None,
            Mode::Strict => {
                let age = clock::now().saturating_since(stamp);
                let then = clock::wall().saturating_sub(age);
                let ours = i64::try_from(then.as_millis()).ok()?;
                let theirs = i64::try_from(Stamp::from_counter(counter).ms).ok()?;
                Some(theirs - ours)
            }
        }
    }

    fn note(&self, note: Note) {
        // It is gone only while the agent ends.
        let _ = self.notes.send(note);
    }
}
