//! What two nodes agree on: which of them is active, and how that moves from one to the other.
//!
//! # Who decides what
//!
//! - **CARP** ([`Vhost`](super::Vhost)) decides that a master is silent, and where among those that advertise the
//!   addresses answer. It never decides who is active.
//! - **The verdict** (evidence of all paths) decides whether the peer is alive, dead, or can't be known.
//! - **The active node** decides to give the role away: because an operator wants it, or the other node is preferred, or it
//!   is itself not fit. The standby can only ask.
//! - **The standby** decides to take the role without being given it: when the verdict is that the peer is dead, or when
//!   neither node is active and it is its turn.
//! - **The generation number** decides between two that are active: the lower one steps down. Where the link can't carry it,
//!   the virtual hosts decide: whose have lost steps down.
//! - **The executor** decides nothing: it says what was done.
//!
//! So CARP's failover by silence goes on while a switchover is under way, and is never decided twice: silence is evidence
//! for the verdict, the verdict moves the role by a new generation, and whatever the switchover was about to do in the old
//! one is void. In turn the machine tells CARP by its [`Stance`] whom to let win: `Follow` is said only while nothing serves
//! here, and that is verified. It is the leave that the standby waits for, beside [`Saying::Commit`]; whichever of the two
//! comes first counts, and the other one finds it done.

pub mod brake;
mod decide;
mod event;
mod generation;
mod give;
pub mod message;
mod phase;
pub mod report;
mod take;
mod tell;
mod wish;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use super::time::Instant;
use event::Deadlines;
pub use event::{
    Carp, Command, Event, Link, Liveness, PeerVhosts, Record, Report, Settings, Stance, Timer, Vhosts, Wish,
};
pub use generation::{Generation, Node, TooLarge};
use message::{Message, Request, Saying, Sequence, State, Word};
use phase::{Handover, Peer};
pub use phase::{Phase, Purpose};
use report::{Claim, End, Progress, Standing, Step, Story, Wait, Why};

/// One node of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    settings: Settings,
    phase: Phase,
    /// The generation that we serve in, take, or release.
    term: Generation,
    /// What is to be stored, what the host was last told to store, and what is on the disk.
    record: Record,
    storing: Record,
    stored: Record,
    /// The switchover that we are busy with.
    handover: Option<Handover>,
    peer: Peer,
    vhosts: Vhosts,
    ready: bool,
    /// Something may serve here: it is not verified that nothing does.
    serving: bool,
    /// With a witness: whether we hold its lease, and what we last asked of it.
    lease: bool,
    wanted_lease: Option<Generation>,
    stance: Stance,
    timers: Deadlines,
    /// Of the last message, and of the last request of our own.
    number: Sequence,
    requests: u32,
    /// The switchover's step that goes on.
    step: Option<(Step, Instant)>,
    /// What was last said to the journal about our waiting.
    wait: Option<Wait>,
    /// What the peer was last told, but for the number.
    told: Option<(State, Option<Word>)>,
    /// The last request that we backed out of.
    backed: Option<(Request, Why)>,
    commands: VecDeque<Command>,
}

impl Pair {
    /// A node whose agent starts at `now`, with what it had stored.
    ///
    /// `serving` says whether anything is left here by an earlier agent: then it is not touched until it is known whether
    /// this node still may have it. The start's number is at least `least_start`, so that it grows even where the store was
    /// lost: a wall clock does.
    #[must_use]
    pub fn new(
        now: Instant,
        settings: Settings,
        mut record: Record,
        least_start: u64,
        serving: bool,
    ) -> Self {
        let interrupted = record.handover.take();
        let stored = record;
        record.starts = record.starts.saturating_add(1).max(least_start);
        let mut pair = Self {
            settings,
            phase: Phase::Standby,
            term: record.generation,
            record,
            storing: stored,
            stored,
            handover: None,
            peer: Peer::default(),
            vhosts: Vhosts::Init,
            ready: false,
            serving,
            lease: false,
            wanted_lease: None,
            stance: Stance::Follow,
            timers: Deadlines::default(),
            number: Sequence::default(),
            requests: 0,
            step: None,
            wait: None,
            told: None,
            backed: None,
            commands: VecDeque::new(),
        };
        if let Some(request) = interrupted {
            pair.conclude(request, End::Left(Why::Restarted));
        }
        pair.timers.arm(Timer::Repeat, now + settings.repeat);
        if serving && record.generation.owner() == settings.node {
            pair.enter(now, Phase::Resuming, Some(settings.answer));
        } else if serving {
            pair.release(now, Purpose::StepDown(Why::Restarted));
        }
        pair.settle();
        pair
    }

    /// Takes in what happened; `now` is the moment of the call.
    ///
    /// The host keeps these promises:
    ///
    /// - *`now` never goes back.*
    /// - *What has run out comes first.* A link that has not answered for its dead time, a lease, and a verdict that rests on
    ///   what was heard before a pause are told as such before anything that is read at the same time: so an agent that was
    ///   stopped does not act on what was true before.
    /// - *A deadline comes last*, after everything that can be read.
    /// - *Stores are carried out in order*, and told by [`Event::Stored`] when they are on the disk, not before.
    ///
    /// ```text
    ///                            Prepare                           Abort, Back: no word came,
    ///        ┌────────────────────────────────────▶ PROMISED ────▶ we slept, the peer is busy with
    ///        │                                         │           something else
    ///   ┌─────────┐   peer dead, nobody active      Commit, or
    ///   │ STANDBY │ ───────────────┐                the peer's virtual hosts bow out
    ///   └─────────┘                ▼                   │
    ///     ▲  ▲  ▲             ┌──────────┐  stored,    ▼             Taken, stored
    ///     │  │  └──────────── │ CLAIMING │ ───────▶ ┌────────┐ ───────────────────▶ ┌────────┐
    ///     │  │   peer leads   └──────────┘  echoed   │ TAKING │                      │ ACTIVE │ ◀──────┐
    ///     │  │                     ▲                 └────────┘                      └────────┘        │
    ///     │  │ Released            │                      │ failed, stuck, overtaken     │             │
    ///     │  │                     │                      ▼                              │ Failover    │
    ///     │  └──────────────────── │ ───────────────  RELEASING ◀────────────────────────│             │ no answer,
    ///     │                        │                (undo, step down)  overtaken,        ▼             │ refused
    ///     │ the peer serves        │                              no permit, isolated  OFFERING ───────┤
    ///     │                        │                                                     │ Ready       │
    ///   ┌─────────┐  Back,         │                                                     ▼             │
    ///   │ GRANTED │ ─────────────▶─┤                                                  GRANTING ────────┘
    ///   └─────────┘  peer dead     │ failed, stuck, Back, cancelled                      │ stored
    ///        ▲                     │                                                     ▼
    ///        │                     └──────────────────────────────────────────────── RELEASING
    ///        └────────────────────────────────────────────────────────────────────── (handover)
    ///                           Released: Commit, bow out
    /// ```
    ///
    /// An agent that starts and finds its node serving begins in RESUMING: like STANDBY, but it leads until it has
    /// released. A release that gets stuck where there is no way back ends the node itself.
    pub fn handle(&mut self, now: Instant, event: Event) {
        if self.phase == Phase::Ended {
            return;
        }
        self.notice_sleep(now);
        match event {
            Event::Wish(wish) => self.wish(now, wish),
            Event::Heard(message) => self.hear(now, message),
            Event::Link(link) => self.see_link(link),
            Event::Peer(liveness) => self.peer.liveness = liveness,
            Event::Carp(Carp { own, peer }) => (self.vhosts, self.peer.vhosts) = (own, peer),
            Event::Ready(ready) => self.ready = ready,
            Event::Stored(record) => self.stored = record,
            Event::Executor(report) => self.hear_executor(now, report),
            Event::Lease(lease) => self.lease = lease,
            Event::Deadline(timer) => self.pass(now, timer),
        }
        self.decide(now);
        self.settle();
    }

    /// When to call [`handle`](Self::handle) with [`Event::Deadline`], and for which timer.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// All deadlines that are set.
    pub fn deadlines(&self) -> impl Iterator<Item = (Instant, Timer)> {
        self.timers.all()
    }

    /// The next thing to do; drain this after [`new`](Self::new) and after each [`handle`](Self::handle).
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// What it is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The generation that it serves in, takes or releases; in STANDBY, the last of these.
    #[must_use]
    pub fn term(&self) -> Generation {
        self.term
    }

    /// What it wants stored.
    #[must_use]
    pub fn record(&self) -> Record {
        self.record
    }

    /// How the peer is, if it can be asked.
    #[must_use]
    pub fn peer(&self) -> Option<State> {
        self.peer.fresh()
    }

    /// Whether it believes that this node may write: from when the executor is told to take over until it has released,
    /// or knows that it may not.
    #[must_use]
    pub fn may_write(&self) -> bool {
        match self.phase {
            Phase::Taking { .. }
            | Phase::Active
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(Purpose::Handover | Purpose::Undo(_)) => true,
            // What it was about to release.
            Phase::Claiming { claim: Claim::Returned(_), .. } => self.serving,
            Phase::Standby
            | Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Resuming
            | Phase::Releasing(Purpose::StepDown(_))
            | Phase::Granted
            | Phase::Ended => false,
        }
    }

    /// Whether this node could serve.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        self.is_able() && !self.timers.is_armed(Timer::Rest)
    }

    fn is_able(&self) -> bool {
        self.ready && self.vhosts != Vhosts::Init
    }

    fn node(&self) -> Node {
        self.settings.node
    }

    /// The greatest generation that we have met.
    fn highest(&self) -> Generation {
        let told = self.peer.state.map(|state| state.generation);
        self.record.generation.max(self.record.promised).max(self.term).max(told.unwrap_or_default())
    }

    /// Without a witness, we need no permit; with one, it or the peer has to vouch for us. The peer does if it has said how
    /// it is since the link last came back: it may have taken over meanwhile.
    fn is_permitted(&self) -> bool {
        self.settings.witness.is_none() || self.lease || self.peer.fresh().is_some()
    }

    fn enter(&mut self, now: Instant, phase: Phase, limit: Option<Duration>) {
        self.phase = phase;
        for timer in [Timer::Step, Timer::Turn, Timer::Doubt, Timer::Quiet] {
            self.timers.disarm(timer);
        }
        if let Some(limit) = limit {
            self.timers.arm(Timer::Step, now + limit);
        }
    }

    fn see_link(&mut self, link: Link) {
        if link != self.peer.link {
            // What was said before may be true no more; each says it again.
            self.peer.link = link;
            self.peer.is_fresh = false;
            self.told = None;
        }
    }

    fn hear(&mut self, now: Instant, Message { state, word }: Message) {
        let place = |state: State| (state.start, state.number);
        if self.peer.state.is_some_and(|known| place(state) <= place(known)) {
            return;
        }
        self.peer.state = Some(state);
        self.peer.is_fresh = true;
        self.adopt(state);
        if let Some(word) = word {
            self.listen(now, word);
        }
        if self.may_write() && state.role.leads() && state.generation < self.term {
            // It has to know, and soon.
            self.told = None;
        }
    }

    fn adopt(&mut self, State { generation, shared, .. }: State) {
        self.record.generation = self.record.generation.max(generation);
        if shared > self.record.shared {
            self.record.shared = shared;
            self.journal(Story::Disabled(shared.disabled));
            self.journal(Story::Prefers(shared.preferred));
        }
    }

    fn listen(&mut self, now: Instant, word: Word) {
        match word.saying {
            Saying::Ask { forced, force_after } => self.hear_ask(now, word, forced, force_after),
            Saying::Prepare { forced } => self.hear_prepare(now, word, forced),
            Saying::Ready => self.hear_ready(now, word),
            Saying::Refuse(refusal) => self.hear_refusal(now, word, refusal),
            Saying::Commit => self.hear_commit(now, word),
            Saying::Taken => self.hear_taken(now, word),
            Saying::Back(why) => self.hear_back(now, word, why),
            Saying::Abort(why) => self.hear_abort(now, word, why),
        }
    }

    fn hear_executor(&mut self, now: Instant, report: Report) {
        match report {
            Report::Released(term) if term == self.term => self.released(now),
            Report::ReleaseFailed(term) if term == self.term => self.release_failed(now),
            Report::Taken(term) if term == self.term => self.taken(),
            Report::TakeFailed(term) if term == self.term => self.take_failed(now),
            Report::Lost(term) if term == self.term => self.stop_serving(now, Why::Fenced),
            // Of an order that another one has broken off.
            Report::Released(_)
            | Report::ReleaseFailed(_)
            | Report::Taken(_)
            | Report::TakeFailed(_)
            | Report::Lost(_) => {}
        }
    }

    fn pass(&mut self, now: Instant, timer: Timer) {
        if !self.timers.take_due(timer, now) {
            return;
        }
        match timer {
            Timer::Repeat => {
                self.timers.arm(Timer::Repeat, now + self.settings.repeat);
                self.told = None;
            }
            Timer::Step => self.step_over(now),
            Timer::Force => self.force(now),
            Timer::Turn => self.take_turn(now),
            Timer::Doubt => self.end_doubt(now),
            Timer::Rest => {}
            Timer::Quiet => self.be_quiet(),
        }
    }

    fn step_over(&mut self, now: Instant) {
        match self.phase {
            Phase::Standby => self.finish(End::Stayed(Why::NoAnswer)),
            Phase::Resuming => self.release(now, Purpose::StepDown(Why::Restarted)),
            Phase::Promised { .. } => self.break_promise(now, Why::PromiseOver),
            Phase::Claiming { .. } => self.give_up_claim(now),
            Phase::Taking { claim, taken } => self.end_taking(now, claim, taken),
            Phase::Offering => self.stay(now, Why::NoAnswer),
            Phase::Granting => self.stay(now, Why::StoreStuck),
            Phase::Releasing(Purpose::Handover) => self.go_back(now, Why::ReleaseStuck),
            Phase::Releasing(Purpose::StepDown(_) | Purpose::Undo(_)) => {
                self.end_hard(now, Why::ReleaseStuck);
            }
            Phase::Granted => self.let_go(now, End::Left(Why::Unconfirmed)),
            Phase::Active | Phase::Ended => {}
        }
    }

    /// An agent that has not run for a while may have been given up by the peer: its word is not good any more.
    fn notice_sleep(&mut self, now: Instant) {
        let due = self.timers.next().map_or(now, |(due, _)| due);
        if now.saturating_since(due) > self.settings.repeat
            && let Phase::Promised { .. } = self.phase
        {
            self.break_promise(now, Why::Slept);
        }
    }

    fn release(&mut self, now: Instant, purpose: Purpose) {
        match purpose {
            Purpose::Handover => {}
            Purpose::StepDown(why) => self.journal(Story::StepsDown(why)),
            Purpose::Undo(why) => self.journal(Story::TakeFailed(why)),
        }
        self.commands.push_back(Command::Release(self.term));
        self.enter(now, Phase::Releasing(purpose), Some(self.settings.release));
    }

    fn end_hard(&mut self, now: Instant, why: Why) {
        self.finish(End::Hard(why));
        self.journal(Story::EndsHard(why));
        self.enter(now, Phase::Ended, None);
        self.commands.push_back(Command::EndHard(why));
    }

    /// Has the step before done, and this one begun.
    fn progress(&mut self, now: Instant, step: Step) {
        self.end_step(Standing::Done);
        if let Some(Handover { request, .. }) = self.handover {
            self.step = Some((step, now));
            self.commands.push_back(Command::Progress(Progress {
                request,
                step,
                since: now,
                standing: Standing::Running,
            }));
        }
    }

    fn end_step(&mut self, standing: Standing) {
        if let (Some((step, since)), Some(Handover { request, .. })) = (self.step.take(), self.handover) {
            self.commands.push_back(Command::Progress(Progress { request, step, since, standing }));
        }
    }

    /// Ends the switchover that we are busy with, if there is one.
    fn finish(&mut self, end: End) {
        if let Some(Handover { request, .. }) = self.handover {
            self.end_step(if end == End::Moved { Standing::Done } else { Standing::Failed });
            self.handover = None;
            self.record.handover = None;
            self.timers.disarm(Timer::Force);
            self.conclude(request, end);
        }
    }

    fn conclude(&mut self, request: Request, end: End) {
        self.commands.push_back(Command::Ended { request, end });
        self.journal(Story::Ended(end));
    }

    fn journal(&mut self, story: Story) {
        self.commands.push_back(Command::Journal(story));
    }
}
