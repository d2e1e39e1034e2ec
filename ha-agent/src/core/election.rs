//! Who is the better master.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// `advbase` and `advskew` as on the wire, in s and 1/256 s: the lower number wins.
///
/// Deliberately not `Ord`: "greater" would mean "worse". Ask [`beats`](Self::beats).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Priority {
    /// Seconds, 0 to 255.
    pub advbase: u8,
    /// 1/256 s, 0 to 254; 255 only in a bow-out.
    pub advskew: u8,
}

impl Priority {
    /// What a leaving master advertises, once (CARP specification §5.3).
    pub const BOW_OUT: Self = Self { advbase: 255, advskew: 255 };

    /// Whether this is the farewell of a leaving master.
    #[must_use]
    pub fn is_bow_out(self) -> bool {
        self == Self::BOW_OUT
    }

    /// What a host of this demotion level advertises instead: `advskew` at least 240, for those that ignore the
    /// level itself; the same with level 0 (CARP specification §5.4).
    ///
    /// 240 is where FreeBSD stops too. `advbase` stays, so that nobody finds a demoted master hopeless.
    #[must_use]
    pub fn demoted(self, level: u8) -> Self {
        match level {
            0 => self,
            1.. => Self { advskew: self.advskew.max(DEMOTED_ADVSKEW), ..self },
        }
    }

    /// The 16-bit number that is compared: `advbase * 256 + advskew` (CARP specification §2).
    #[must_use]
    pub fn wire(self) -> u16 {
        u16::from_be_bytes([self.advbase, self.advskew])
    }

    /// Whether this one is strictly better than `other`.
    #[must_use]
    pub fn beats(self, other: Self) -> bool {
        self.wire() < other.wire()
    }

    /// The best of those that are worse; `None` if there is none.
    #[must_use]
    pub fn next_worse(self) -> Option<Self> {
        match self {
            Self { advbase, advskew: advskew @ ..WORST_ADVSKEW } => {
                Some(Self { advbase, advskew: advskew + 1 })
            }
            Self { advbase, advskew: WORST_ADVSKEW.. } => {
                Some(Self { advbase: advbase.checked_add(1)?, advskew: 0 })
            }
        }
    }

    /// Whether a backup of this priority would time out between two advertisements of `master` (rule B3, CARP
    /// specification §5.3): waiting for such a master is hopeless.
    ///
    /// Never with `advbase` 0, as in OpenBSD: otherwise such a backup would find every classic master
    /// hopeless, which is preemption by the back door.
    #[must_use]
    pub fn finds_hopeless(self, master: Self) -> bool {
        let patience = CLASSIC_DETECT * 256 * u32::from(self.advbase) + u32::from(self.advskew);
        self.advbase > 0 && patience < u32::from(master.wire())
    }
}

/// `advbase/advskew`.
impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.advbase, self.advskew)
    }
}

/// One side of the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contender {
    /// Demotion level, as advertised; it counts before the priority.
    pub demote: u8,
    /// As advertised.
    pub priority: Priority,
    /// Where the advertisements leave from; unspecified is legal. Both sides are of one family.
    pub source: IpAddr,
}

impl Contender {
    /// Judges the `other` side, seen from this one.
    ///
    /// The demotion level comes first, as in OpenBSD (CARP specification §5.3). The others send 0: to them, a
    /// demoted one of ours always loses.
    ///
    /// On equal priority the numerically lower source address wins (CARP specification §9.3, point 13). Other
    /// implementations differ: the BSDs always yield, so beside one of them never two masters remain; ucarp
    /// compares in host byte order. With equal addresses nothing tells the two apart, and we yield like the
    /// BSDs.
    #[must_use]
    pub fn judge(self, other: Self) -> Verdict {
        if other.demote > self.demote {
            Verdict::MoreDemoted
        } else if other.demote < self.demote {
            Verdict::LessDemoted
        } else if other.priority.beats(self.priority) {
            Verdict::Superior
        } else if self.priority.beats(other.priority) {
            Verdict::Inferior
        } else if self.source < other.source {
            Verdict::TieWeWin
        } else {
            Verdict::TieTheyWin
        }
    }
}

/// What a received advertisement is, compared with our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is less demoted, whatever its priority.
    LessDemoted,
    /// As demoted, and its priority is better.
    Superior,
    /// Equal, and their address is lower or the same.
    TieTheyWin,
    /// Equal, and our address is lower.
    TieWeWin,
    /// As demoted, and its priority is worse.
    Inferior,
    /// It is more demoted, whatever its priority.
    MoreDemoted,
}

/// 255 only in a bow-out.
const WORST_ADVSKEW: u8 = 254;

/// The least `advskew` that a demoted host advertises.
const DEMOTED_ADVSKEW: u8 = 240;

/// Advertisements that a backup at the classic pace waits for (CARP specification §5.1).
const CLASSIC_DETECT: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(advbase: u8, advskew: u8) -> Priority {
        Priority { advbase, advskew }
    }

    #[test]
    fn the_lower_wire_number_wins() {
        // (better, worse), CARP specification §2.
        let table = [
            (priority(0, 0), priority(0, 1)),
            (priority(0, 254), priority(1, 0)),
            (priority(1, 0), priority(1, 100)),
            (priority(1, 255), priority(2, 0)),
            (priority(254, 254), Priority::BOW_OUT),
        ];
        for (better, worse) in table {
            assert!(better.beats(worse), "{better} beats {worse}");
            assert!(!worse.beats(better), "{worse} does not beat {better}");
            assert!(!better.beats(better), "{better} does not beat itself");
        }
        assert_eq!(priority(1, 100).wire(), 356);
        assert_eq!(priority(1, 100).to_string(), "1/100");
    }

    #[test]
    fn only_255_255_is_a_bow_out() {
        for advbase in 0..=255 {
            for advskew in 0..=255 {
                let expected = advbase == 255 && advskew == 255;
                assert_eq!(priority(advbase, advskew).is_bow_out(), expected, "{advbase}/{advskew}");
            }
        }
    }

    #[test]
    fn a_demoted_host_advertises_at_least_240() {
        for advskew in 0..=255 {
            let own = priority(1, advskew);
            assert_eq!(own.demoted(0), own);
            for level in [1, 128, 255] {
                assert_eq!(own.demoted(level), priority(1, advskew.max(240)), "{own} at level {level}");
            }
        }
    }

    #[test]
    fn verdicts_and_ties() {
        let us = Contender { demote: 2, priority: priority(1, 100), source: [10, 9, 1, 1].into() };
        let table = [
            (2, priority(1, 99), [10, 9, 1, 2], Verdict::Superior),
            (2, priority(0, 255), [0, 0, 0, 0], Verdict::Superior),
            (2, priority(1, 101), [10, 9, 1, 0], Verdict::Inferior),
            (2, priority(1, 100), [10, 9, 1, 2], Verdict::TieWeWin),
            (2, priority(1, 100), [11, 0, 0, 0], Verdict::TieWeWin),
            (2, priority(1, 100), [10, 9, 1, 1], Verdict::TieTheyWin),
            (2, priority(1, 100), [0, 0, 0, 0], Verdict::TieTheyWin),
            // Lower in network order although its last octet is higher: the order of ucarp would say
            // otherwise.
            (2, priority(1, 100), [10, 9, 0, 2], Verdict::TieTheyWin),
            // The level counts before the priority and the address.
            (3, priority(0, 0), [0, 0, 0, 0], Verdict::MoreDemoted),
            (255, priority(1, 100), [10, 9, 1, 0], Verdict::MoreDemoted),
            (1, priority(254, 254), [11, 0, 0, 0], Verdict::LessDemoted),
            (0, priority(1, 100), [10, 9, 1, 2], Verdict::LessDemoted),
        ];
        for (demote, priority, source, expected) in table {
            let them = Contender { demote, priority, source: source.into() };
            assert_eq!(us.judge(them), expected, "{them:?}");
        }

        let nameless = Contender { source: [0; 4].into(), ..us };
        assert_eq!(nameless.judge(nameless), Verdict::TieTheyWin);
        let [lower, higher] =
            [1, 2].map(|last| Contender { source: [0xfe80, 0, 0, 0, 0, 0, 0, last].into(), ..us });
        assert_eq!((lower.judge(higher), higher.judge(lower)), (Verdict::TieWeWin, Verdict::TieTheyWin));
    }

    #[test]
    fn a_master_slower_than_our_patience_is_hopeless() {
        // (own, master, hopeless): rule B3 of CARP specification §5.3.
        let table = [
            (priority(1, 0), priority(3, 0), false),
            (priority(1, 0), priority(3, 1), true),
            (priority(1, 100), priority(3, 100), false),
            (priority(1, 100), priority(3, 101), true),
            (priority(1, 100), priority(2, 255), false),
            (priority(85, 254), priority(255, 254), false),
            (priority(85, 253), priority(255, 254), true),
            (priority(86, 0), priority(255, 254), false),
            (priority(0, 0), priority(255, 254), false),
            (priority(0, 254), priority(255, 254), false),
            (priority(255, 255), priority(255, 254), false),
        ];
        for (own, master, expected) in table {
            assert_eq!(own.finds_hopeless(master), expected, "{own} following {master}");
        }
    }
}
