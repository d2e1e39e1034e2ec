//! What a virtual host does while it listens.

use super::{Settings, Vhost};
use crate::core::command::{Advert, Advertisement, Cause, Command, Silence, State};
use crate::core::election::Verdict;
use crate::core::family::{Family, Sources};
use crate::core::pair::Stance;
use crate::core::patience::{Ear, Guard, Patience, Word};
use crate::core::time::Instant;
use crate::core::timers::Timer;

/// The last word of one that had the addresses, to the master that has them now: an advertisement that loses to it,
/// once they are gone here. Neighbours may have believed us until then, or learned from our answers; on hearing
/// it, the master announces the addresses anew. Other implementations say it, too, but before (CARP specification
/// §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parting {
    /// Whether the addresses are gone.
    pub(super) gone: bool,
    /// What it advertises to whom we lost.
    pub(super) winner: Option<Advert>,
}

impl Vhost {
    pub(super) fn start(&mut self, now: Instant, sources: Sources) {
        if self.leave_asked {
            return;
        }
        self.sources = sources;
        let resumes = self.resumes(now);
        self.resumes = None;
        if resumes {
            return self.become_master(now, Cause::Resumed);
        }
        self.commands.push_back(Command::DropAddresses);
        self.parting = Some(Parting::default());
        self.follow(Patience::new(now));
        self.enter(State::Backup, now, Cause::Started);
    }

    /// A valid frame in BACKUP: the first rule that matches (CARP specification §5.3).
    ///
    /// The bow-out has a rule of its own and comes first. Elsewhere it works through preemption and B3, so
    /// all backups take over at once, and with `advbase` 0 none does; ours wait for their turn, so that the
    /// best one moves first.
    ///
    /// A demoted master is relieved whether we preempt or not (B2). We find nobody hopeless who is less demoted
    /// than we are: to such a one we would lose again at once.
    ///
    /// While a master is heard that we follow, all this is about that one only: what another says, who is about
    /// to lose to it, is no reason for a third to take over.
    ///
    /// Whoever is not heard has armed the kernel's timer all the same: until somebody is heard again, our own timer
    /// decides.
    pub(super) fn listen(&mut self, now: Instant, advert: Advert) {
        let Advert { source, priority, .. } = advert;
        let (word, ear) = (Word::of(advert), self.ear(Family::of(source)));
        let follows_another = self.patience.follows_another(word, self.master_down_time());
        let mut patience = self.patience;
        if priority.is_bow_out() {
            if follows_another {
                patience.distrust(ear);
            } else {
                patience.hear_bow_out(ear, word);
            }
            return self.follow(patience);
        }
        let cause = match self.judge(advert) {
            Verdict::MoreDemoted => Some(Cause::Demoted { source }),
            Verdict::Inferior if self.settings.preempt => Some(Cause::Preempt { source }),
            Verdict::Inferior if self.advertised().finds_hopeless(priority) => {
                Some(Cause::Hopeless { source })
            }
            Verdict::LessDemoted
            | Verdict::Superior
            | Verdict::TieTheyWin
            | Verdict::TieWeWin
            | Verdict::Inferior => None,
        };
        match cause {
            Some(_) if follows_another => {
                patience.distrust(ear);
                self.follow(patience);
            }
            Some(cause) => self.become_master(now, cause),
            None => {
                patience.hear(ear, word);
                self.follow(patience);
                self.part_from(advert);
            }
        }
    }

    /// The addresses are gone. If they were there, a master has to hear of it.
    pub(super) fn let_go(&mut self, held: bool) {
        self.parting = self.parting.filter(|_| held).map(|parting| Parting { gone: true, ..parting });
        self.speak_last();
    }

    fn part_from(&mut self, master: Advert) {
        if let Some(Parting { winner: winner @ None, .. }) = &mut self.parting {
            *winner = Some(master);
            self.speak_last();
        }
    }

    fn speak_last(&mut self) {
        if let Some(Parting { gone: true, winner: Some(winner) }) = self.parting {
            self.parting = None;
            self.commands.extend(self.last_word(winner).map(Command::Advertise));
        }
    }

    /// What loses to this master, whoever judges: also one that knows no demotion.
    fn last_word(&self, Advert { priority: theirs, demote, .. }: Advert) -> Option<Advertisement> {
        let own = self.advertised();
        let priority = if theirs.beats(own) { own } else { theirs.next_worse()? };
        Some(Advertisement { priority, demote: self.level().max(demote) })
    }

    /// The kernel says that a family is silent. Judged when the deadline is: whatever was heard since comes before.
    pub(super) fn listen_in_vain(&mut self, silence: Silence) {
        let mut patience = self.patience;
        patience.hear_silence(self.ear(silence.family), silence);
        self.follow(patience);
    }

    /// The kernel's timer of a family can't be relied on until an advertisement arms it again.
    pub(super) fn distrust(&mut self, family: Family) {
        let mut patience = self.patience;
        patience.distrust(self.ear(family));
        self.follow(patience);
    }

    pub(super) fn ear(&self, family: Family) -> Ear {
        match family {
            Family::V6 if self.settings.families.are_apart() => Ear::Second,
            Family::V4 | Family::V6 => Ear::First,
        }
    }

    /// Waits as `patience` and our own priority say.
    pub(super) fn follow(&mut self, patience: Patience) {
        let Settings { pace, families, .. } = self.settings;
        let down = self.master_down_time();
        for (ear, timer) in [(Ear::First, Timer::MasterDown), (Ear::Second, Timer::MasterDownV6)] {
            let end = patience.since(ear) + down;
            match patience.guard(ear) {
                _ if ear == Ear::Second && !families.are_apart() => {}
                Guard::Own => self.timers.arm(timer, end),
                Guard::Told { deadline, .. } => self.timers.arm(timer, end.max(deadline)),
                Guard::Kernel => self.timers.disarm(timer),
            }
        }
        match patience.bowed_out() {
            Some(farewell) => {
                self.timers.arm(Timer::Turn, farewell.stamp + pace.bow_out_wait(self.advertised()));
            }
            None => self.timers.disarm(Timer::Turn),
        }
        self.patience = patience;
    }

    pub(super) fn succeed(&mut self, now: Instant, timer: Timer) {
        let Some(deadline) = self.timers.take_due(timer, now) else { return };
        let ear = if timer == Timer::MasterDownV6 { Ear::Second } else { Ear::First };
        let cause = match self.patience.bowed_out() {
            Some(Word { source, .. }) => Cause::BowOut { source },
            None => Cause::Silence {
                family: self.settings.families.are_apart().then_some(match ear {
                    Ear::First => Family::V4,
                    Ear::Second => Family::V6,
                }),
                last_heard: self.patience.last_heard(ear),
                deadline,
                fired: match self.patience.guard(ear) {
                    Guard::Told { fired, .. } => Some(fired),
                    Guard::Own | Guard::Kernel => None,
                },
            },
        };
        self.become_master(now, cause);
    }

    /// The kernel's timers are armed for the patience of before.
    pub(super) fn demote_backup(&mut self, level: u8) {
        self.demote = level;
        let mut patience = self.patience;
        patience.distrust(Ear::First);
        patience.distrust(Ear::Second);
        self.follow(patience);
    }

    /// Who becomes the active one of a pair does not wait for an advertisement: the other one has let go.
    pub(super) fn place_backup(&mut self, now: Instant, stance: Stance) {
        let before = std::mem::replace(&mut self.stance, stance);
        match stance {
            Stance::Lead if before == Stance::Follow => self.become_master(now, Cause::Active),
            Stance::Lead | Stance::Follow => {}
        }
    }

    pub(super) fn leave_backup(&mut self, now: Instant) {
        self.leave_asked = true;
        self.stop(now, Cause::Leave);
    }
}
