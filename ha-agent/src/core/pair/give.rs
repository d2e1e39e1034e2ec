//! The active node's side of a switchover: asks whether the other one is ready, grants it the next generation, releases,
//! and waits until the other one serves.

use std::time::Duration;

use super::event::{Liveness, PeerVhosts, Timer};
use super::message::{Request, Role, Saying, Word};
use super::report::{Claim, End, Refusal, Step, Story, Trigger, Why};
use super::{Handover, Instant, Pair, Phase, Purpose};

impl Pair {
    pub(super) fn hear_ask(&mut self, now: Instant, word: Word, forced: bool, force_after: Option<Duration>) {
        let refusal = match self.phase {
            Phase::Active => self.reason_to_refuse(Some(word.request), forced),
            Phase::Offering | Phase::Granting | Phase::Releasing(Purpose::Handover) | Phase::Granted
                if self.is_about(word) =>
            {
                return;
            }
            Phase::Standby | Phase::Promised { .. } => Some(Refusal::NobodyActive),
            Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(_)
            | Phase::Granted
            | Phase::Ended => Some(Refusal::Busy),
        };
        match refusal {
            Some(refusal) => self.say(word, Saying::Refuse(refusal)),
            None => self.begin(now, word.request, Trigger::Operator, forced, force_after),
        }
    }

    /// Why the role can't be given away now; the peer may be busy with this very request.
    pub(super) fn reason_to_refuse(&self, request: Option<Request>, forced: bool) -> Option<Refusal> {
        let Some(peer) = self.peer.fresh() else { return Some(Refusal::NoLink) };
        match peer.role {
            Role::Active | Role::Taking => Some(Refusal::SameState),
            Role::Standby if peer.request.is_some() && peer.request != request => Some(Refusal::Busy),
            Role::Standby if !peer.fit && !forced => Some(Refusal::NotFit),
            Role::Standby => None,
            Role::Resuming | Role::Claiming | Role::Releasing | Role::Other => Some(Refusal::Busy),
        }
    }

    pub(super) fn begin(
        &mut self,
        now: Instant,
        request: Request,
        trigger: Trigger,
        forced: bool,
        force_after: Option<Duration>,
    ) {
        let to = self.node().other();
        let generation = self.highest().next_for(to);
        self.handover = Some(Handover { request, generation, forced, force_after });
        self.record.handover = Some(request);
        self.journal(Story::Begun { to, trigger });
        self.progress(now, Step::Prepare);
        if let Some(force_after) = force_after {
            self.timers.arm(Timer::Force, now + force_after);
        }
        self.enter(now, Phase::Offering, Some(self.settings.answer));
    }

    /// Whether a word belongs to the switchover that we are busy with.
    pub(super) fn is_about(&self, word: Word) -> bool {
        self.handover.is_some_and(|handover| handover.request == word.request)
    }

    pub(super) fn go_on_offering(&mut self, now: Instant) {
        if self.may_go_on(now) && !self.peer.answers() {
            self.stay(now, Why::NoAnswer);
        }
    }

    pub(super) fn hear_ready(&mut self, now: Instant, word: Word) {
        if self.phase == Phase::Offering
            && let Some(handover) = self.handover
            && (word.request, word.generation) == (handover.request, handover.generation)
        {
            self.record.generation = self.record.generation.max(handover.generation);
            self.progress(now, Step::Grant);
            self.enter(now, Phase::Granting, Some(self.settings.answer));
        }
    }

    pub(super) fn go_on_granting(&mut self, now: Instant) {
        if !self.may_go_on(now) {
            return;
        }
        if !self.peer.answers() {
            return self.stay(now, Why::NoAnswer);
        }
        if self.handover.is_some_and(|handover| self.stored.generation >= handover.generation) {
            self.progress(now, Step::Release);
            self.release(now, Purpose::Handover);
            if self.timers.is_armed(Timer::Force) {
                // It ends hard instead.
                self.timers.disarm(Timer::Step);
            }
        }
    }

    /// Breaks it off where nothing was released yet.
    pub(super) fn stay(&mut self, now: Instant, why: Why) {
        self.abort(why);
        self.finish(End::Stayed(why));
        self.timers.arm(Timer::Rest, now + self.settings.rest);
        self.enter(now, Phase::Active, None);
    }

    fn abort(&mut self, why: Why) {
        if let Some(Handover { request, generation, .. }) = self.handover {
            self.say(Word { request, generation, saying: Saying::Abort(why) }, Saying::Abort(why));
        }
    }

    pub(super) fn hear_refusal(&mut self, now: Instant, word: Word, refusal: Refusal) {
        if !self.is_about(word) {
            return;
        }
        match self.phase {
            Phase::Standby => {
                self.finish(End::Refused(refusal));
                self.timers.disarm(Timer::Step);
            }
            Phase::Offering => {
                self.finish(End::Refused(refusal));
                self.timers.arm(Timer::Rest, now + self.settings.rest);
                self.enter(now, Phase::Active, None);
            }
            Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Granting
            | Phase::Releasing(_)
            | Phase::Granted
            | Phase::Ended => {}
        }
    }

    pub(super) fn release_failed(&mut self, now: Instant) {
        match self.phase {
            // It was to end hard then.
            Phase::Releasing(Purpose::Handover) if self.timers.is_armed(Timer::Force) => {}
            Phase::Releasing(Purpose::Handover) => self.go_back(now, Why::ReleaseFailed),
            Phase::Releasing(Purpose::StepDown(_) | Purpose::Undo(_)) => {
                self.end_hard(now, Why::ReleaseFailed);
            }
            Phase::Standby
            | Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Offering
            | Phase::Granting
            | Phase::Granted
            | Phase::Ended => {}
        }
    }

    pub(super) fn force(&mut self, now: Instant) {
        match self.phase {
            Phase::Releasing(Purpose::Handover) => self.end_hard(now, Why::ReleaseStuck),
            // Before, the other one was not ready: then this node is the only one. After, nothing serves here.
            Phase::Standby
            | Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(Purpose::StepDown(_) | Purpose::Undo(_))
            | Phase::Granted
            | Phase::Ended => {}
        }
    }

    /// Takes back what was to be given away.
    pub(super) fn go_back(&mut self, now: Instant, why: Why) {
        self.abort(why);
        self.timers.arm(Timer::Rest, now + self.settings.rest);
        self.claim(now, Claim::Returned(why));
    }

    pub(super) fn hear_back(&mut self, now: Instant, word: Word, why: Why) {
        if !self.is_about(word) {
            return;
        }
        match self.phase {
            Phase::Offering | Phase::Granting => self.stay(now, why),
            Phase::Releasing(Purpose::Handover) | Phase::Granted => self.go_back(now, why),
            Phase::Standby
            | Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Releasing(Purpose::StepDown(_) | Purpose::Undo(_))
            | Phase::Ended => {}
        }
    }

    pub(super) fn go_on_waiting(&mut self, now: Instant) {
        let Some(handover) = self.handover else { return self.let_go(now, End::Left(Why::Other)) };
        if let Some(peer) = self.peer.fresh() {
            if peer.role == Role::Active && peer.generation >= handover.generation {
                self.let_go(now, End::Moved);
            }
        } else if self.peer.liveness == Liveness::Dead {
            self.go_back(now, Why::PeerDead);
        } else if !self.peer.answers() && self.peer.vhosts == PeerVhosts::Leads {
            self.let_go(now, End::Moved);
        }
        let orphaned = self.phase == Phase::Granted && self.is_orphaned();
        self.await_turn(now, orphaned);
    }

    pub(super) fn hear_taken(&mut self, now: Instant, word: Word) {
        if self.phase == Phase::Granted && self.is_about(word) {
            self.let_go(now, End::Moved);
        }
    }

    /// Becomes a standby like any other, once nothing serves here.
    pub(super) fn let_go(&mut self, now: Instant, end: End) {
        self.finish(end);
        if self.serving {
            self.release(now, Purpose::StepDown(Why::NewerGeneration));
        } else {
            self.enter(now, Phase::Standby, None);
        }
    }
}
