//! The fast thread: reads what the kernel saw, lets the core decide, sends advertisements. Nothing else.
//!
//! It waits for the ring, for the timer and for inputs; whichever woke it, it drains the ring before any
//! deadline is judged, so that no advertisement that had arrived by then can be overlooked. The kernel program does not
//! wake it for an advertisement that says what the one before it said: such a one is read with the next, or after some
//! milliseconds.
//!
//! | what | decided by |
//! |---|---|
//! | that a master which was heard is silent | the kernel's timer, which its frames set back; told by the ring |
//! | that nobody is heard since we began to listen | our timer |
//! | the same after a frame that set the kernel's timer back without being followed, after a change of our own patience or place, and where the kernel gave no timer | our timer, until a frame is followed again |
//! | when it is our turn after a bow-out; advertising, announcing, releasing | our timer |
//!
//! Which of the two it is [`Vhost`](crate::core::Vhost) knows, and never both. What is late on our own side decides
//! nothing: the ring is drained first, and a frame in it that came after the silence takes it back. Nothing here
//! waits for anybody: orders and notes go into unbounded queues (the core bounds their number), sending never
//! blocks, and whoever wants to know something asks by a message.

mod agenda;
mod arrivals;
mod calm;
mod counter;
mod ears;
mod gate;
pub mod groups;
mod host;
mod input;
pub mod lease;
mod pairing;
pub mod partner;
mod peers;
mod roster;
mod sending;
mod snapshot;
pub mod timing;
mod vigil;
mod voice;
mod vouched;
mod words;
mod work;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ha_common::abi::{Advert, Record, Timeout, WatchKey};
use ha_common::auth::Mac;
use tokio::sync::{mpsc, oneshot};

use self::agenda::Agenda;
use self::ears::Ears;
use self::gate::Gate;
use self::groups::Groups;
use self::host::{Host, Kernel};
pub use self::input::Input;
use self::lease::Vouching;
use self::partner::{PairInput, PairOutput, Partner};
use self::roster::{Removal, Roster};
use self::sending::Sending;
pub use self::snapshot::{Peer, Snapshot, VhostSnapshot};
use self::timing::Timing;
use self::vigil::Vigil;
use crate::agent::realtime::Scheduling;
use crate::agent::understudy::Understudy;
use crate::config::Mode;
use crate::core::demotion;
use crate::core::pair::Stance;
use crate::core::{self, Demotions, Event, Instant, Link, Suspicion};
use crate::dataplane::{Events, Given, Patiences, Standings};
use crate::exec::Orders;
use crate::journal::recorder::Recorder;
use crate::sys::clock;
use crate::sys::readable::readable;
use crate::sys::realtime::touch_stack;
use crate::sys::timer::Timer;

/// What the detector tells others, to be logged: it does not write logs itself.
#[derive(Clone, Debug)]
pub enum Note {
    /// There is a new virtual host.
    Begun {
        /// Its index.
        vhost: usize,
        /// Its name.
        name: String,
    },
    /// There is no such virtual host any more.
    Ended {
        /// Its index.
        vhost: usize,
    },
    /// Something is suspicious.
    Suspicion {
        /// About which virtual host.
        vhost: usize,
        /// What.
        suspicion: Suspicion,
    },
    /// This node slept.
    Stalled {
        /// Which virtual host noticed.
        vhost: usize,
        /// For how long.
        lasted: Duration,
    },
    /// Nobody vouched for this node: it answered for no virtual address.
    Quiet {
        /// For how long.
        lasted: Duration,
    },
    /// The host's demotion level changed.
    Demoted {
        /// The new level; 0 is none.
        level: u8,
        /// Why.
        causes: Vec<demotion::Cause>,
    },
}

/// A virtual host's part that does not depend on the interface.
#[derive(Debug)]
pub struct VhostSetup {
    /// Its number, which no other has at the same time.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Priority, pace, preemption.
    pub settings: core::Settings,
    /// The interface's name, to be told with what goes wrong there.
    pub interface: String,
    /// Virtual host, 1 to 255.
    pub vhid: u8,
    /// Signs its advertisements.
    pub mac: Mac,
    /// A random number to count from, in compat mode.
    pub random: u64,
    /// Strict mode: the time of the last advertisement of an earlier life, in ms since 2025.
    pub stored_ms: Option<u64>,
    /// When the agent before this one advertised last, if it was master and did not leave.
    pub resumes: Option<Instant>,
    /// Where its orders go.
    pub orders: Orders,
}

/// What the detector is connected with.
#[derive(Debug)]
pub struct Channels {
    /// What the kernel saw.
    pub events: Events,
    /// Where the kernel is told of our own advertisements.
    pub given: Given,
    /// Where it is told of our patience.
    pub patiences: Patiences,
    /// Where is written down what the next agent is to know.
    pub standings: Standings,
    /// Who vouches for this node, if anybody is to.
    pub vouching: Option<Vouching>,
    /// What others tell the detector.
    pub inputs: mpsc::UnboundedReceiver<Input>,
    /// What it tells them.
    pub notes: mpsc::UnboundedSender<Note>,
    /// What the pair machine wants of them.
    pub pair: mpsc::UnboundedSender<PairOutput>,
    /// How the virtual hosts are grouped.
    pub groups: Groups,
    /// Whether this node is known to be one of a pair: then nothing is served before [`PairInput::Begin`].
    pub is_paired: bool,
    /// Where is written down what the machines are told and decide, if anywhere.
    pub recorder: Option<Recorder>,
}

/// Starts the thread, with a real-time priority of 1 to 99 if it gets one. It ends when it was told to leave and every
/// virtual host has: then the receiver receives how it was at the end. If it fails, the receiver's sender is gone.
///
/// # Errors
///
/// If the thread can't be started.
pub fn start(
    vhosts: Vec<VhostSetup>,
    mode: Mode,
    priority: Option<u8>,
    channels: Channels,
) -> io::Result<oneshot::Receiver<Snapshot>> {
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name("ha-detector".to_owned()).spawn(move || {
        let Channels {
            events,
            given,
            patiences,
            standings,
            vouching,
            inputs,
            notes,
            pair,
            groups,
            is_paired,
            recorder,
        } = channels;
        touch_stack();
        let scheduling = Scheduling::ask(priority);
        let kernel = Kernel { given, patiences, standings };
        let understudy = Understudy::start(scheduling.priority).unwrap_or_else(|error| {
            tracing::warn!(%error, "nobody advertises where the detector is late: no thread for it");
            None
        });
        let mut detector = Detector::new(mode, scheduling, kernel, understudy, recorder, notes);
        (detector.outputs, detector.vouching, detector.groups) = (Some(pair), vouching, groups);
        let now = clock::now();
        for setup in vhosts {
            detector.add(now, setup);
        }
        // Who serves goes on until it is known who is to.
        if is_paired && !detector.may_serve(clock::now()) {
            detector.shut();
        }
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .and_then(|runtime| runtime.block_on(detector.run(events, inputs)));
        match result {
            // The receiver is gone only if the agent ended without waiting.
            Ok(last) => drop(ended.send(last)),
            Err(error) => tracing::error!(%error, "the detector failed"),
        }
    })?;
    Ok(end)
}

/// What was read from the ring at once.
struct Read {
    /// Whether the ring is empty.
    all: bool,
    /// The moment of the first record that the thread is always woken for.
    oldest: Option<Instant>,
    records: u64,
}

struct Detector {
    hosts: Roster,
    /// Those that are about to leave, and to be no more.
    removals: Vec<Removal>,
    by_key: HashMap<WatchKey, usize>,
    agenda: Agenda,
    demotions: Demotions,
    sending: Sending,
    scheduling: Scheduling,
    timing: Timing,
    vigil: Vigil,
    vouching: Option<Vouching>,
    /// Whether addresses may have come or gone since it was last seen who has any: to look at all hosts takes its time.
    stirred: bool,
    /// Whether it ends once all have left.
    leaves: bool,
    /// Whether it ends without leaving.
    stays: bool,
    /// How a virtual host begins that comes now.
    mode: Mode,
    gate: Gate,
    stance: Stance,
    kernel: Option<Rc<RefCell<Kernel>>>,
    recorder: Option<Rc<Recorder>>,
    understudy: Option<Rc<Understudy>>,
    groups: Groups,
    notes: mpsc::UnboundedSender<Note>,
    /// The pair machine, where this node is one of two, and where its wants go.
    partner: Option<Partner>,
    outputs: Option<mpsc::UnboundedSender<PairOutput>>,
    /// What is heard by a packet socket, where no program receives.
    ears: Ears,
}

impl Detector {
    /// Without a virtual host.
    fn new(
        mode: Mode,
        scheduling: Scheduling,
        kernel: Kernel,
        understudy: Option<Understudy>,
        recorder: Option<Recorder>,
        notes: mpsc::UnboundedSender<Note>,
    ) -> Self {
        Self {
            hosts: Roster::default(),
            removals: Vec::new(),
            by_key: HashMap::new(),
            agenda: Agenda::default(),
            demotions: Demotions::default(),
            sending: Sending::default(),
            scheduling,
            timing: Timing::new(Duration::MAX),
            vigil: Vigil::default(),
            vouching: None,
            stirred: true,
            leaves: false,
            stays: false,
            mode,
            gate: Gate::Open,
            stance: Stance::Lead,
            kernel: Some(Rc::new(RefCell::new(kernel))),
            recorder: recorder.map(Rc::new),
            understudy: understudy.map(Rc::new),
            groups: Groups::default(),
            notes,
            partner: None,
            outputs: None,
            ears: Ears::default(),
        }
    }

    async fn run(
        mut self,
        events: Events,
        mut inputs: mpsc::UnboundedReceiver<Input>,
    ) -> io::Result<Snapshot> {
        let mut events = readable(events)?;
        let mut timer = Timer::new()?;
        let mut emptied = true;
        while !self.has_ended() {
            let mut input = None;
            if emptied {
                tokio::select! {
                    guard = events.readable_mut() => guard?.clear_ready(),
                    heard = self.ears.wait() => heard?,
                    expired = timer.expired() => expired?,
                    received = inputs.recv() => match received {
                        Some(received) => input = Some(received),
                        None => return Err(io::Error::other("the agent ended without leaving")),
                    },
                }
            } else {
                // The kernel announces nothing in a ring that was not emptied: look again at once.
                input = inputs.try_recv().ok();
            }
            // Taken before the ring is drained: what is judged against it has been read.
            let mut now = clock::now();
            let asked = self.next_deadline();
            let mut read = self.drain(&mut events.get_mut().0, now);
            self.timing.ran(asked.into_iter().chain(read.oldest).min(), now, read.records);
            let silences = self.hosts.iter().filter_map(|host| host.machine.expected_silence());
            if let Some(until) = self.vigil.watch_until(now, silences) {
                while read.records == 0 && now < until {
                    std::hint::spin_loop();
                    now = clock::now();
                    read = self.drain(&mut events.get_mut().0, now);
                }
            }
            emptied = read.all;
            if let Some(input) = input {
                self.input(now, input);
            }
            self.judge(now);
            self.judge_sending(now);
            self.take_out(now);
            self.judge_pair(now);
            if let Some(vouching) = &mut self.vouching
                && (std::mem::take(&mut self.stirred) || vouching.is_due(now))
            {
                let serves = self.hosts.iter().any(|host| host.addresses().may_be_present());
                let decided = |host: &Host| !host.is_undecided() && host.addresses().are_known();
                let over = vouching.renew(now, serves, || self.hosts.iter().all(decided));
                // It is gone only while the agent ends.
                over.map(|lasted| self.notes.send(Note::Quiet { lasted }));
            }
            timer.set(self.next_deadline())?;
        }
        Ok(self.snapshot(clock::now()))
    }

    fn has_ended(&self) -> bool {
        self.stays || (self.leaves && self.hosts.iter().all(|host| host.machine.has_left()))
    }

    /// Reads records until the ring is empty, or one is newer than `now`: so that deadlines are judged however
    /// fast records come.
    fn drain(&mut self, events: &mut Events, now: Instant) -> Read {
        let mut read = Read { all: true, oldest: None, records: 0 };
        while let Some(record) = events.next().or_else(|| self.ears.next().map(Ok)) {
            match record {
                Ok(record) => {
                    self.record(now, &record);
                    let at = Instant::from_nanos(record.at_ns());
                    if !matches!(record, Record::Advert(_)) {
                        read.oldest.get_or_insert(at);
                    }
                    read.records += 1;
                    if at > now {
                        read.all = false;
                        break;
                    }
                }
                Err(error) => tracing::error!("the kernel program pushed {error}"),
            }
        }
        read
    }

    fn record(&mut self, now: Instant, record: &Record) {
        let (Record::Advert(Advert { watch, .. })
        | Record::Silence(Timeout { watch, .. })
        | Record::Stall(Timeout { watch, .. })) = record
        else {
            // Of the echo, which nobody asks for yet.
            return;
        };
        self.timing.received += u64::from(matches!(record, Record::Advert(_)));
        // A record of an interface that went away in the meantime belongs to nobody.
        let Some(&vhost) = self.by_key.get(watch) else { return };
        self.host(now, vhost, |host| match record {
            Record::Advert(advert) => host.advert(now, advert),
            Record::Silence(timeout) => host.silence(now, timeout),
            Record::Stall(timeout) => host.stall(now, timeout),
            Record::Answer(_) | Record::Unanswered(_) => {}
        });
    }

    fn input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Add(setup) => self.add(now, *setup),
            Input::Remove { vhost, done } => self.remove(now, vhost, done),
            Input::Groups(groups) => {
                self.groups = groups;
                if let Some(partner) = &mut self.partner {
                    partner.regroup(self.groups.clone());
                }
            }
            Input::Watch { vhost, keys } => self.watch(now, vhost, keys),
            Input::Hear(packets) => self.ears.open(*packets),
            Input::Equip { vhost, ifindex, path, hardware } => {
                self.host(now, vhost, |host| host.equip(ifindex, path, hardware));
            }
            Input::Link { vhost, link } => self.link(now, vhost, link),
            Input::Dropped { vhost, well, held } => {
                self.host(now, vhost, |host| host.dropped(now, well, held));
            }
            Input::Took { vhost, well } => self.host(now, vhost, |host| host.took(well)),
            Input::Claimed { vhost } => self.host(now, vhost, Host::claimed),
            Input::Pair(PairInput::Begin(begin)) => self.begin_pair(now, &begin),
            Input::Pair(input) => {
                if let Some(partner) = &mut self.partner {
                    partner.input(now, input);
                }
            }
            Input::Sign { vhost, mac } => self.host(now, vhost, |host| host.sign(mac)),
            Input::Mode(mode) => {
                self.mode = mode;
                self.hosts.iter_mut().for_each(|host| host.set_mode(mode));
            }
            Input::Hold(hold) => self.demote(now, demotion::Cause::Hold, hold),
            Input::Stay => {
                self.stays = true;
                self.hosts.iter_mut().for_each(Host::say_once_more);
                self.vouching.as_mut().map(Vouching::stay).unwrap_or_default();
            }
            Input::Leave => {
                self.leaves = true;
                self.each_host(now, |host| host.handle(now, Event::Leave));
            }
            // Who asked may have gone.
            Input::Snapshot(reply) => drop(reply.send(self.snapshot(now))),
        }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let vhosts = self.hosts.iter().map(|host| (host.index(), host.snapshot())).collect();
        let (demotions, scheduling) = (self.demotions.clone(), self.scheduling.clone());
        let (timing, processor) = (self.timing.clone(), clock::thread_time());
        let pair = self.partner.as_ref().map(|partner| partner.snapshot(now));
        let lapses = self.vouching.as_ref().map(Vouching::lapses).unwrap_or_default();
        Snapshot { at: now, demotions, scheduling, timing, processor, lapses, vhosts, pair }
    }

    /// Lets a virtual host do something, and notes what became of it.
    fn host(&mut self, now: Instant, vhost: usize, act: impl FnOnce(&mut Host)) {
        let Some(host) = self.hosts.get_mut(vhost) else { return };
        let before = host.addresses().may_be_present();
        act(host);
        self.stirred |= host.addresses().may_be_present() != before;
        self.agenda.set(vhost, host.next_deadline());
        self.vigil.expect(host.machine.expected_silence());
        let (interface, outcomes) = host.take_outcomes();
        for left in outcomes {
            self.sending.record(now, interface, left);
        }
    }

    fn each_host(&mut self, now: Instant, act: impl Fn(&mut Host)) {
        for vhost in self.hosts.indexes() {
            self.host(now, vhost, &act);
        }
    }

    fn watch(&mut self, now: Instant, vhost: usize, keys: Vec<WatchKey>) {
        let Some(host) = self.hosts.get(vhost) else { return };
        for old in host.keys() {
            self.by_key.remove(old);
        }
        self.by_key.extend(keys.iter().map(|key| (*key, vhost)));
        self.host(now, vhost, |host| host.watch(now, keys));
    }

    /// An interface that does not work demotes the whole host: what else it serves had better move, too.
    fn link(&mut self, now: Instant, vhost: usize, link: Link) {
        let Some(interface) = self.hosts.get(vhost).map(|host| host.interface().to_owned()) else { return };
        // What was found out about sending there is over.
        if self.sending.forget(&interface) {
            self.demote(now, demotion::Cause::SendErrors(interface.clone()), false);
        }
        let cause = demotion::Cause::LinkDown(interface);
        match link {
            Link::Up { .. } => {
                self.demote(now, cause, false);
                self.host(now, vhost, |host| host.link(now, link));
            }
            Link::Down(_) => {
                self.host(now, vhost, |host| host.link(now, link));
                self.demote(now, cause, true);
            }
        }
    }

    fn demote(&mut self, now: Instant, cause: demotion::Cause, present: bool) {
        let Some(level) = self.demotions.set(cause, present) else { return };
        self.each_host(now, |host| host.demote(now, level));
        let causes = self.demotions.causes().cloned().collect();
        self.note(Note::Demoted { level, causes });
    }

    fn note(&self, note: Note) {
        // It is gone only while the agent ends.
        let _ = self.notes.send(note);
    }

    /// Lets every deadline happen that has come by `now`.
    fn judge(&mut self, now: Instant) {
        while let Some(vhost) = self.agenda.due(now) {
            let mut departure = None;
            self.host(now, vhost, |host| departure = host.deadline(now));
            if let Some(departure) = departure {
                self.timing.sent(departure);
            }
        }
    }

    /// Whoever can't advertise through an interface had better not be master.
    fn judge_sending(&mut self, now: Instant) {
        self.sending.forgive(now);
        while let Some((interface, failing)) = self.sending.next_change() {
            self.demote(now, demotion::Cause::SendErrors(interface.to_string()), failing);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let pair = self.partner.as_ref().and_then(|partner| partner.next_deadline(&self.hosts));
        let vouches = self.vouching.as_ref().and_then(Vouching::next_deadline);
        let others = [self.sending.next_deadline(), self.vigil.next_deadline(), pair, vouches];
        self.agenda.next().into_iter().chain(others.into_iter().flatten()).min()
    }
}
