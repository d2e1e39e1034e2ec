//! The standby's side: promises, makes sure that it may, and takes over.

use super::event::Settings;
use super::event::{Command, Liveness, PeerVhosts, Timer};
use super::message::{Role, Saying, Word};
use super::report::{Claim, End, Refusal, Step, Story, Why};
use super::{Handover, Instant, Pair, Phase, Purpose};

impl Pair {
    pub(super) fn hear_prepare(&mut self, now: Instant, word: Word, forced: bool) {
        let free = self.handover.is_none() || self.is_about(word);
        match self.phase {
            Phase::Standby if free && word.generation.owner() == self.node() => {
                if self.is_fit() || forced {
                    self.promise(now, word, forced);
                } else {
                    self.say(word, Saying::Refuse(Refusal::NotFit));
                    self.finish(End::Refused(Refusal::NotFit));
                }
            }
            Phase::Promised { .. } if self.is_about(word) => self.told = None,
            Phase::Standby
            | Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(_)
            | Phase::Granted
            | Phase::Ended => self.say(word, Saying::Refuse(Refusal::Busy)),
        }
    }

    fn promise(&mut self, now: Instant, Word { request, generation, .. }: Word, forced: bool) {
        self.end_step(super::Standing::Done);
        self.handover = Some(Handover { request, generation, forced, force_after: None });
        self.record.handover = Some(request);
        self.record.promised = self.record.promised.max(generation);
        self.journal(Story::Promised { generation });
        self.progress(now, Step::Promise);
        self.enter(now, Phase::Promised { led: false }, Some(self.promise_lasts()));
    }

    /// From the peer's last word about it.
    fn promise_lasts(&self) -> std::time::Duration {
        self.settings.release + self.settings.answer * 2
    }

    pub(super) fn keep_promise(&mut self, now: Instant, led: bool) {
        let Some(Handover { request, .. }) = self.handover else {
            return self.enter(now, Phase::Standby, None);
        };
        if let Some(peer) = self.peer.fresh() {
            if peer.request == Some(request) {
                self.timers.arm(Timer::Step, now + self.promise_lasts());
            } else {
                return self.break_promise(now, Why::Withdrawn);
            }
        }
        match self.peer.vhosts {
            // Its leave: it says so only when nothing serves there any more.
            PeerVhosts::Follows if led => self.take_as_agreed(now, Claim::Yielded),
            _ if self.peer.liveness == Liveness::Dead => self.claim(now, Claim::PeerDead),
            PeerVhosts::Leads => self.phase = Phase::Promised { led: true },
            PeerVhosts::Silent | PeerVhosts::Follows => {}
        }
    }

    pub(super) fn break_promise(&mut self, now: Instant, why: Why) {
        if let Some(Handover { request, generation, .. }) = self.handover {
            self.backed = Some((request, why));
            let saying = Saying::Back(why);
            self.say(Word { request, generation, saying }, saying);
        }
        self.let_go(now, End::Stayed(why));
    }

    pub(super) fn hear_abort(&mut self, now: Instant, word: Word, why: Why) {
        if !self.is_about(word) {
            return;
        }
        match self.phase {
            Phase::Standby | Phase::Promised { .. } => self.let_go(now, End::Stayed(why)),
            Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(_)
            | Phase::Granted
            | Phase::Ended => {}
        }
    }

    pub(super) fn hear_commit(&mut self, now: Instant, word: Word) {
        let ours = word.generation.owner() == self.node();
        match self.phase {
            Phase::Promised { .. } if self.is_about(word) => self.take_as_agreed(now, Claim::Committed),
            // We had begun to, before our agent was started anew.
            Phase::Resuming if ours && word.generation >= self.record.generation => {
                self.term = word.generation;
                self.take(now, Claim::Committed);
            }
            Phase::Active if word.generation <= self.term => self.say(word, Saying::Taken),
            Phase::Standby | Phase::Promised { .. } => {
                let known = self.backed.filter(|(request, _)| *request == word.request);
                self.say(word, Saying::Back(known.map_or(Why::NotPromised, |(_, why)| why)));
            }
            // Our state tells.
            Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(_)
            | Phase::Granted
            | Phase::Ended => {}
        }
    }

    fn take_as_agreed(&mut self, now: Instant, claim: Claim) {
        if let Some(Handover { generation, .. }) = self.handover
            && self.is_permitted()
            && generation >= self.record.generation
        {
            self.term = generation;
            self.take(now, claim);
        } else {
            self.claim(now, claim);
        }
    }

    /// Means to take over, in a generation of its own.
    pub(super) fn claim(&mut self, now: Instant, claim: Claim) {
        self.term = self.highest().next_for(self.node());
        self.record.generation = self.term;
        self.wait = None;
        self.enter(now, Phase::Claiming { claim, quiet: false }, Some(self.settings.answer));
    }

    /// Takes over if that is stored, and nobody else does or may.
    pub(super) fn weigh_claim(&mut self, now: Instant, claim: Claim, quiet: bool) {
        if self.stored.generation < self.term && !self.need_not_wait(claim) {
            return;
        }
        let by_itself = match claim {
            Claim::PeerDead | Claim::NobodyActive | Claim::OurTurn => true,
            Claim::Committed | Claim::Yielded | Claim::Returned(_) | Claim::Resumed | Claim::Operator => {
                false
            }
        };
        // In a switchover, the promise was asked for.
        if by_itself && self.handover.is_none() && self.automatic().is_err() {
            self.let_go(now, End::Stayed(Why::Cancelled));
        } else if self.serving && !self.is_permitted() {
            self.let_go(now, End::Left(Why::NoPermit));
        } else if let Some(peer) = self.peer.fresh() {
            let ours = peer.generation == self.term;
            match peer.role {
                Role::Active | Role::Taking => self.give_way(now, claim),
                _ if peer.generation > self.term => self.let_go(now, End::Left(Why::NewerGeneration)),
                // It has stored our generation: so it will not take over without seeing that we do.
                Role::Standby | Role::Claiming if ours => self.take(now, claim),
                Role::Standby | Role::Claiming | Role::Resuming | Role::Releasing | Role::Other => {}
            }
        } else if !self.peer.answers() {
            let agreed = match claim {
                Claim::Operator | Claim::Returned(_) | Claim::Yielded | Claim::Committed => true,
                // What it rests on is gone with the link, or with the silence.
                Claim::PeerDead | Claim::NobodyActive | Claim::Resumed => false,
                Claim::OurTurn => self.peer.liveness == Liveness::Alive,
            };
            match (self.peer.liveness, self.peer.vhosts) {
                (Liveness::Alive, PeerVhosts::Leads) => self.give_way(now, claim),
                (Liveness::Alive | Liveness::Unknown | Liveness::Partitioned, _) if !agreed => {
                    self.let_go(now, End::Left(Why::NoAnswer));
                }
                _ if self.settings.witness.is_none() || (self.lease && quiet) => self.take(now, claim),
                _ => self.await_quiet(now),
            }
        }
    }

    /// From a dead peer, where only addresses move: nobody is told before it is stored, and clients need not wait for a disk.
    fn need_not_wait(&self, claim: Claim) -> bool {
        self.may_precede_disk(claim) && !self.peer.answers()
    }

    fn may_precede_disk(&self, claim: Claim) -> bool {
        let Settings { shares_disks, witness, .. } = self.settings;
        let from_dead = match claim {
            Claim::PeerDead => true,
            Claim::Resumed => self.peer.liveness == Liveness::Dead,
            Claim::Committed
            | Claim::Yielded
            | Claim::NobodyActive
            | Claim::OurTurn
            | Claim::Returned(_)
            | Claim::Operator => false,
        };
        from_dead && !shares_disks && witness.is_none()
    }

    /// With the witness's lease, the peer still has to notice that it has none.
    fn await_quiet(&mut self, now: Instant) {
        match self.settings.witness {
            Some(quiet) if self.lease => {
                if !self.timers.is_armed(Timer::Quiet) {
                    self.timers.arm(Timer::Quiet, now + quiet);
                }
            }
            Some(_) | None => self.timers.disarm(Timer::Quiet),
        }
    }

    pub(super) fn be_quiet(&mut self) {
        if let Phase::Claiming { claim, .. } = self.phase {
            self.phase = Phase::Claiming { claim, quiet: self.lease };
        }
    }

    /// The peer serves, or begins to: as it was meant to, if we were about to take back what we had given.
    fn give_way(&mut self, now: Instant, claim: Claim) {
        self.let_go(
            now,
            match claim {
                Claim::Returned(_) => End::Moved,
                Claim::Committed
                | Claim::Yielded
                | Claim::PeerDead
                | Claim::NobodyActive
                | Claim::OurTurn
                | Claim::Resumed
                | Claim::Operator => End::Left(Why::NewerGeneration),
            },
        );
    }

    /// What was to be stored, or echoed, or granted by the witness, was not.
    pub(super) fn give_up_claim(&mut self, now: Instant) {
        let stored = self.stored.generation >= self.term;
        if stored && !self.peer.answers() {
            // The witness may still come to it.
            self.timers.arm(Timer::Step, now + self.settings.answer);
            return;
        }
        self.timers.arm(Timer::Rest, now + self.settings.rest);
        self.let_go(now, End::Left(if stored { Why::NoAnswer } else { Why::StoreStuck }));
    }

    fn take(&mut self, now: Instant, claim: Claim) {
        self.record.generation = self.record.generation.max(self.term);
        self.serving = true;
        self.wait = None;
        self.journal(Story::Takes { generation: self.term, claim });
        self.progress(now, Step::Take);
        self.commands.push_back(Command::Take(self.term));
        self.enter(now, Phase::Taking { claim, taken: false }, Some(self.settings.take));
    }

    pub(super) fn taken(&mut self) {
        if let Phase::Taking { claim, .. } = self.phase {
            self.phase = Phase::Taking { claim, taken: true };
        }
    }

    pub(super) fn go_on_taking(&mut self, now: Instant, claim: Claim, taken: bool) {
        if !self.may_go_on(now) || !taken {
            return;
        }
        if self.stored.generation < self.term {
            let is_disputed = self.peer.fresh().is_some_and(|peer| peer.role.leads());
            if is_disputed && self.serves_unstored(claim, taken) {
                // Its number is stored, ours is not: nothing but this tells who has the newer one.
                self.undo(now, Why::StoreStuck);
            }
            return;
        }
        let word = self.handover.map(|Handover { request, generation, .. }| Word {
            request,
            generation,
            saying: Saying::Taken,
        });
        self.journal(Story::Serves { generation: self.term });
        self.finish(match claim {
            Claim::Returned(why) => End::Returned(why),
            Claim::PeerDead => End::Left(Why::PeerDead),
            Claim::Committed
            | Claim::Yielded
            | Claim::NobodyActive
            | Claim::OurTurn
            | Claim::Resumed
            | Claim::Operator => End::Moved,
        });
        self.enter(now, Phase::Active, None);
        if let Some(word) = word {
            self.say(word, Saying::Taken);
        }
    }

    /// The time for the takeover is over.
    pub(super) fn end_taking(&mut self, now: Instant, claim: Claim, taken: bool) {
        if self.serves_unstored(claim, taken) {
            // Whoever is the only one to serve does not stop because its disk is full.
            self.journal(Story::ServesUnstored { generation: self.term });
            self.finish(End::Left(Why::PeerDead));
        } else {
            self.undo(now, Why::TakeStuck);
        }
    }

    /// Whether all that is missing is the disk, which a takeover from a dead peer has gone ahead of, and the time for it is over.
    fn serves_unstored(&self, claim: Claim, taken: bool) -> bool {
        taken && self.may_precede_disk(claim) && !self.timers.is_armed(Timer::Step)
    }

    pub(super) fn take_failed(&mut self, now: Instant) {
        if let Phase::Taking { .. } = self.phase {
            self.undo(now, Why::TakeFailed);
        }
    }

    /// Clears away what was taken; only then the peer is told.
    pub(super) fn undo(&mut self, now: Instant, why: Why) {
        self.release(now, Purpose::Undo(why));
    }

    pub(super) fn undone(&mut self, now: Instant, why: Why) {
        self.timers.arm(Timer::Rest, now + self.settings.rest);
        if let Some(Handover { request, generation, .. }) = self.handover {
            self.backed = Some((request, why));
            let saying = Saying::Back(why);
            self.say(Word { request, generation, saying }, saying);
        }
        self.let_go(now, End::Left(why));
    }
}
