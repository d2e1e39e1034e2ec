//! What an operator wants.

use std::time::Duration;

use super::event::{Link, Liveness, PeerVhosts, Timer, Wish};
use super::generation::{Generation, Node};
use super::message::{Request, Shared};
use super::report::{Claim, End, Refusal, Step, Story, Trigger, Why};
use super::{Handover, Instant, Pair, Phase, Purpose};

impl Pair {
    pub(super) fn wish(&mut self, now: Instant, wish: Wish) {
        match wish {
            Wish::Failover { to, forced, force_after } => self.fail_over(now, to, forced, force_after),
            Wish::Hold => self.hold(true),
            Wish::Resume => self.hold(false),
            Wish::Disable => self.share(|shared| shared.disabled = true),
            Wish::Enable => self.share(|shared| shared.disabled = false),
            Wish::Prefer(node) => self.share(|shared| shared.preferred = node),
        }
    }

    pub(super) fn next_request(&mut self) -> Request {
        self.requests = self.requests.wrapping_add(1);
        Request { node: self.node(), start: self.record.starts, number: self.requests }
    }

    fn hold(&mut self, held: bool) {
        self.record.held = held;
        self.journal(Story::Held(held));
    }

    fn share(&mut self, change: impl FnOnce(&mut Shared)) {
        let shared = &mut self.record.shared;
        change(shared);
        (shared.version, shared.by) = (shared.version.saturating_add(1), self.settings.node);
        let shared = *shared;
        self.journal(Story::Disabled(shared.disabled));
        self.journal(Story::Prefers(shared.preferred));
    }

    fn fail_over(&mut self, now: Instant, to: Node, forced: bool, force_after: Option<Duration>) {
        let ours = to == self.node();
        let request = self.next_request();
        let refusal = match self.phase {
            Phase::Active if ours => Some(Refusal::AlreadyThere),
            Phase::Active => match self.reason_to_refuse(None, forced) {
                None => return self.begin(now, request, Trigger::Operator, forced, force_after),
                refusal => refusal,
            },
            // The newest intention wins.
            Phase::Offering | Phase::Granting if ours => {
                self.stay(now, Why::Cancelled);
                None
            }
            Phase::Releasing(Purpose::Handover) if ours => {
                self.go_back(now, Why::Cancelled);
                None
            }
            Phase::Standby if self.handover.is_some() => Some(Refusal::Busy),
            Phase::Standby if ours => match self.reason_to_leave_it(forced) {
                None => return self.take_by_order(now, request, forced, force_after),
                refusal => refusal,
            },
            Phase::Standby => Some(match self.peer.fresh() {
                Some(peer) if peer.role.leads() => Refusal::AlreadyThere,
                Some(_) => Refusal::NobodyActive,
                None => Refusal::NoLink,
            }),
            Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(_)
            | Phase::Granted
            | Phase::Ended => Some(Refusal::Busy),
        };
        if let Some(refusal) = refusal {
            self.conclude(request, End::Refused(refusal));
        }
    }

    /// Why a standby does not take over although an operator wants it.
    fn reason_to_leave_it(&self, forced: bool) -> Option<Refusal> {
        if !self.is_able() && !forced {
            return Some(Refusal::NotFit);
        }
        match (self.peer.liveness, self.peer.vhosts) {
            _ if self.peer.answers() => self.peer.fresh().is_none().then_some(Refusal::NoLink),
            (Liveness::Dead, _) => None,
            (Liveness::Alive, PeerVhosts::Leads | PeerVhosts::Silent | PeerVhosts::Follows) => {
                Some(Refusal::PeerLives)
            }
            (Liveness::Unknown | Liveness::Partitioned, _) => (!forced).then_some(Refusal::Unsure),
        }
    }

    /// From an active peer, by asking it; else by itself.
    fn take_by_order(&mut self, now: Instant, request: Request, forced: bool, force_after: Option<Duration>) {
        self.timers.disarm(Timer::Rest);
        self.handover = Some(Handover { request, generation: Generation::default(), forced, force_after });
        self.record.handover = Some(request);
        self.journal(Story::Begun { to: self.node(), trigger: Trigger::Operator });
        if self.peer.link == Link::Up && self.peer.fresh().is_some_and(|peer| peer.role.leads()) {
            self.progress(now, Step::Ask);
            self.timers.arm(Timer::Step, now + self.settings.answer);
        } else {
            self.claim(now, Claim::Operator);
        }
    }
}
