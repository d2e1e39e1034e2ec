//! What the others have to know of how this node is: the disk, the virtual hosts, the witness, and the peer.

use super::event::{Command, Link, Stance};
use super::message::{Message, Role, Saying, Sequence, State, Word};
use super::{Generation, Handover, Pair, Phase, Purpose};

impl Pair {
    /// Says what else follows from how we are now: what is to be stored, how the virtual hosts are to advertise, whether we
    /// want the lease, and what the peer has to know.
    pub(super) fn settle(&mut self) {
        if self.record != self.storing {
            self.storing = self.record;
            self.commands.push_back(Command::Store(self.record));
        }
        let stance = self.stance_wanted();
        if stance != self.stance {
            self.stance = stance;
            self.commands.push_back(Command::Stance(stance));
        }
        let lease = self.lease_wanted();
        if lease != self.wanted_lease {
            self.wanted_lease = lease;
            self.commands.push_back(Command::Lease(lease));
        }
        let news = (self.state(), self.word());
        if self.told != Some(news) {
            self.send(news.1);
            self.told = Some(news);
        }
    }

    fn stance_wanted(&self) -> Stance {
        match self.phase {
            Phase::Standby | Phase::Promised { .. } | Phase::Granted => Stance::Follow,
            Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(_) => Stance::Lead,
            Phase::Claiming { .. } | Phase::Ended => self.stance,
        }
    }

    fn lease_wanted(&self) -> Option<Generation> {
        match self.phase {
            Phase::Taking { .. } | Phase::Active | Phase::Offering | Phase::Granting => Some(self.term),
            Phase::Claiming { .. } if self.stored.generation >= self.term => Some(self.term),
            // Not given back before nothing serves any more.
            Phase::Claiming { .. } | Phase::Releasing(_) | Phase::Resuming | Phase::Ended => {
                self.wanted_lease
            }
            Phase::Standby | Phase::Promised { .. } | Phase::Granted => None,
        }
        .filter(|_| self.settings.witness.is_some())
    }

    /// How we are, for the peer to know.
    fn state(&self) -> State {
        let busy = match self.phase {
            Phase::Standby
            | Phase::Promised { .. }
            | Phase::Offering
            | Phase::Granting
            | Phase::Releasing(Purpose::Handover)
            | Phase::Granted => self.handover,
            Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Releasing(Purpose::StepDown(_) | Purpose::Undo(_))
            | Phase::Ended => None,
        };
        State {
            start: self.record.starts,
            number: Sequence::default(),
            boot: self.settings.boot,
            role: match self.phase {
                Phase::Standby | Phase::Promised { .. } | Phase::Granted => Role::Standby,
                Phase::Claiming { .. } => Role::Claiming,
                Phase::Taking { .. } => Role::Taking,
                Phase::Resuming => Role::Resuming,
                Phase::Active | Phase::Offering | Phase::Granting => Role::Active,
                Phase::Releasing(_) | Phase::Ended => Role::Releasing,
            },
            request: busy.map(|handover| handover.request),
            generation: self.stored.generation,
            fit: self.is_fit(),
            held: self.record.held,
            shared: self.record.shared,
        }
    }

    /// What we have to say until it is answered.
    fn word(&self) -> Option<Word> {
        let Handover { request, generation, forced, force_after } = self.handover?;
        let saying = match self.phase {
            Phase::Standby => Saying::Ask { forced, force_after },
            Phase::Promised { .. } if self.stored.promised >= generation => Saying::Ready,
            Phase::Offering => Saying::Prepare { forced },
            Phase::Granted => Saying::Commit,
            Phase::Promised { .. }
            | Phase::Claiming { .. }
            | Phase::Taking { .. }
            | Phase::Resuming
            | Phase::Active
            | Phase::Granting
            | Phase::Releasing(_)
            | Phase::Ended => return None,
        };
        Some(Word { request, generation, saying })
    }

    /// Says this once; `word()` is what is repeated.
    pub(super) fn say(&mut self, Word { request, generation, .. }: Word, saying: Saying) {
        self.send(Some(Word { request, generation, saying }));
    }

    fn send(&mut self, word: Option<Word>) {
        // Before our start is stored, the next start could have the same number.
        if self.peer.link != Link::Down && self.stored.starts == self.record.starts {
            self.number.0 = self.number.0.saturating_add(1);
            let state = State { number: self.number, ..self.state() };
            self.commands.push_back(Command::Send(Message { state, word }));
        }
    }
}
