//! What follows from what is known: looked at after each event, so it does not matter which of them told it.

use super::event::{Liveness, PeerVhosts, Timer, Vhosts};
use super::generation::Node;
use super::message::Role;
use super::report::{Claim, End, Story, Trigger, Wait, Why};
use super::{Instant, Pair, Phase, Purpose, Step};

impl Pair {
    /// Goes on as far as it can.
    pub(super) fn decide(&mut self, now: Instant) {
        // No way through the phases is longer, and none goes round in circles at one event.
        for _ in 0..8 {
            let before = self.phase;
            match self.phase {
                Phase::Standby | Phase::Resuming => self.consider(now),
                Phase::Promised { led } => self.keep_promise(now, led),
                Phase::Claiming { claim, quiet } => self.weigh_claim(now, claim, quiet),
                Phase::Taking { claim, taken } => self.go_on_taking(now, claim, taken),
                Phase::Active => self.go_on_serving(now),
                Phase::Offering => self.go_on_offering(now),
                Phase::Granting => self.go_on_granting(now),
                Phase::Releasing(purpose) => self.go_on_releasing(now, purpose),
                Phase::Granted => self.go_on_waiting(now),
                Phase::Ended => {}
            }
            if self.phase == before {
                return;
            }
        }
    }

    /// Whether a standby is to take over, and if not, why not.
    ///
    /// # Errors
    ///
    /// What it waits for.
    pub fn reason_to_take(&self) -> Result<Claim, Wait> {
        self.reason_of(self.record.generation.owner() == self.node())
    }

    fn reason_of(&self, ours: bool) -> Result<Claim, Wait> {
        if self.vhosts == Vhosts::Init {
            return Err(Wait::NotFit);
        }
        if self.timers.is_armed(Timer::Rest) {
            return Err(Wait::Resting);
        }
        let automatic =
            if ours { Ok(Claim::Resumed) } else { self.automatic().map(|()| Claim::NobodyActive) };
        if self.peer.answers() {
            let state = self.peer.fresh().ok_or(Wait::NotTold)?;
            return match state.role {
                Role::Active | Role::Taking => Err(Wait::PeerActive),
                Role::Resuming | Role::Claiming | Role::Releasing | Role::Other => Err(Wait::PeerBusy),
                Role::Standby if state.request.is_some() => Err(Wait::PeerBusy),
                // Who is not well serves rather than nobody.
                Role::Standby if (!ours || !self.ready) && state.fit => Err(Wait::PeersTurn),
                Role::Standby => automatic,
            };
        }
        match (self.peer.liveness, self.peer.vhosts) {
            (Liveness::Dead, PeerVhosts::Silent | PeerVhosts::Follows | PeerVhosts::Leads) => {
                if ours {
                    automatic
                } else {
                    self.automatic().map(|()| Claim::PeerDead)
                }
            }
            (Liveness::Alive, PeerVhosts::Follows) => automatic.and(Err(Wait::OurTurn)),
            (Liveness::Alive, PeerVhosts::Leads) => Err(Wait::PeerActive),
            (Liveness::Alive, PeerVhosts::Silent) => Err(Wait::PeerLives),
            (Liveness::Partitioned, _) => Err(Wait::Partitioned),
            (Liveness::Unknown, _) => Err(Wait::Unsure),
        }
    }

    /// Whether this node may take over by itself.
    pub(super) fn automatic(&self) -> Result<(), Wait> {
        if self.record.held {
            Err(Wait::Held)
        } else if self.record.shared.disabled {
            Err(Wait::Disabled)
        } else {
            Ok(())
        }
    }

    fn consider(&mut self, now: Instant) {
        let reason = self.reason_to_take();
        self.await_turn(now, reason == Err(Wait::OurTurn));
        match reason {
            Ok(claim) => self.claim(now, claim),
            Err(wait) => {
                let resumes = self.phase == Phase::Resuming;
                if resumes && (wait == Wait::PeerActive || self.record.generation.owner() != self.node()) {
                    self.release(now, Purpose::StepDown(Why::NewerGeneration));
                }
                // That the peer is active is as it should be, and what passes by itself needs no sentence.
                let told = Some(wait).filter(|wait| {
                    !matches!(wait, Wait::PeerActive | Wait::PeerBusy | Wait::PeersTurn | Wait::NotTold)
                });
                if told != self.wait {
                    self.wait = told;
                    if let Some(wait) = told {
                        self.journal(Story::Waits(wait));
                    }
                }
            }
        }
    }

    /// Nobody leads, and nobody can be asked: the nodes take turns, each at its own time, so that the other sees it.
    pub(super) fn await_turn(&mut self, now: Instant, waits: bool) {
        if !waits {
            self.timers.disarm(Timer::Turn);
        } else if !self.timers.is_armed(Timer::Turn) {
            let turns = match (self.record.generation.owner() == self.node(), self.node()) {
                (true, Node::A) => 1,
                (true, Node::B) => 2,
                (false, Node::A) => 3,
                (false, Node::B) => 4,
            };
            self.timers.arm(Timer::Turn, now + self.settings.turn * turns);
        }
    }

    pub(super) fn take_turn(&mut self, now: Instant) {
        match self.phase {
            Phase::Standby | Phase::Resuming if self.reason_to_take() == Err(Wait::OurTurn) => {
                self.claim(now, Claim::OurTurn);
            }
            Phase::Granted if self.is_orphaned() => self.go_back(now, Why::Unconfirmed),
            Phase::Standby
            | Phase::Resuming
            | Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Active
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(_)
            | Phase::Granted
            | Phase::Ended => {}
        }
    }

    /// The peer lives, can't be asked, and does not lead.
    pub(super) fn is_orphaned(&self) -> bool {
        !self.peer.answers() && self.peer.liveness == Liveness::Alive && self.peer.vhosts != PeerVhosts::Leads
    }

    /// Whether the peer serves, or begins to, in a newer generation than ours.
    pub(super) fn is_overtaken(&self) -> bool {
        self.peer.fresh().is_some_and(|state| state.role.leads() && state.generation > self.term)
    }

    /// Why we should not go on serving, if that is so.
    pub(super) fn reason_to_stop(&self) -> Option<Why> {
        if self.is_overtaken() {
            Some(Why::NewerGeneration)
        } else if !self.is_permitted() {
            Some(Why::NoPermit)
        } else {
            None
        }
    }

    /// Why we may soon have to stop serving, if that does not pass.
    fn doubt(&self) -> Option<Why> {
        match (self.vhosts, self.peer.vhosts) {
            _ if self.peer.answers() => None,
            (Vhosts::Init, _) => Some(Why::Isolated),
            (Vhosts::Backup, PeerVhosts::Leads) => Some(Why::VhostsLost),
            (Vhosts::Backup, PeerVhosts::Silent | PeerVhosts::Follows) | (Vhosts::Master, _) => None,
        }
    }

    /// Stops serving at once if it must, and soon if a doubt does not pass; returns whether it goes on.
    pub(super) fn may_go_on(&mut self, now: Instant) -> bool {
        if let Some(why) = self.reason_to_stop() {
            self.step_down(now, why);
            return false;
        }
        if self.doubt().is_none() {
            self.timers.disarm(Timer::Doubt);
        } else if !self.timers.is_armed(Timer::Doubt) {
            self.timers.arm(Timer::Doubt, now + self.settings.turn);
        }
        true
    }

    pub(super) fn end_doubt(&mut self, now: Instant) {
        if let Some(why) = self.doubt() {
            self.stop_serving(now, why);
        }
    }

    pub(super) fn stop_serving(&mut self, now: Instant, why: Why) {
        match self.phase {
            Phase::Taking { .. } | Phase::Active | Phase::Offering | Phase::Granting => {
                self.step_down(now, why);
            }
            Phase::Releasing(Purpose::Handover) => self.release_after_all(now, why),
            Phase::Standby
            | Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Resuming
            | Phase::Releasing(Purpose::StepDown(_) | Purpose::Undo(_))
            | Phase::Granted
            | Phase::Ended => {}
        }
    }

    /// What was released for the peer is released because we may not have it.
    fn release_after_all(&mut self, now: Instant, why: Why) {
        self.finish(End::Left(why));
        self.enter(now, Phase::Releasing(Purpose::StepDown(why)), Some(self.settings.release));
    }

    fn step_down(&mut self, now: Instant, why: Why) {
        if let Phase::Taking { .. } = self.phase {
            return self.undo(now, why);
        }
        self.finish(End::Left(why));
        self.release(now, Purpose::StepDown(why));
    }

    fn go_on_serving(&mut self, now: Instant) {
        if !self.may_go_on(now) {
            return;
        }
        let disputed = self.peer.state.is_some_and(|peer| peer.role.leads() && peer.generation > self.term);
        if self.highest() > self.term && !disputed {
            // What was not taken after all. Who serves has the highest.
            self.term = self.highest().next_for(self.node());
            self.record.generation = self.term;
        }
        if let Some(trigger) = self.reason_to_give() {
            let request = self.next_request();
            self.begin(now, request, trigger, false, None);
        }
    }

    /// Whether an active node gives the role away by itself.
    fn reason_to_give(&self) -> Option<Trigger> {
        let peer = self.peer.fresh()?;
        let possible = peer.role == Role::Standby && peer.request.is_none() && peer.fit && !peer.held;
        let trigger = if !self.is_able() {
            Trigger::Unfit
        } else if self.record.shared.preferred == Some(self.node().other()) {
            Trigger::Preferred
        } else {
            return None;
        };
        (possible && !self.record.shared.disabled && !self.timers.is_armed(Timer::Rest)).then_some(trigger)
    }

    fn go_on_releasing(&mut self, now: Instant, purpose: Purpose) {
        if purpose == Purpose::Handover
            && let Some(why) = self.reason_to_stop()
        {
            self.release_after_all(now, why);
        }
    }

    /// Nothing serves any more.
    pub(super) fn released(&mut self, now: Instant) {
        let Phase::Releasing(purpose) = self.phase else { return };
        self.journal(Story::Released);
        self.serving = false;
        match purpose {
            Purpose::Handover => {
                self.progress(now, Step::Confirm);
                let limit = self.settings.take + self.settings.release + self.settings.answer * 2;
                self.enter(now, Phase::Granted, Some(limit));
            }
            Purpose::StepDown(_) => self.enter(now, Phase::Standby, None),
            Purpose::Undo(why) => self.undone(now, why),
        }
    }
}
