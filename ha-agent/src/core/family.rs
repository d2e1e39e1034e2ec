//! The two families of addresses: a virtual host may have either or both.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family that `address` is of.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// `IPv4` or `IPv6`.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The families that a virtual host has addresses of. It advertises and listens in each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Families {
    /// Whether it has IPv4.
    pub v4: bool,
    /// Whether it has IPv6.
    pub v6: bool,
    /// What it takes to stay master; with one family, the rules are the same.
    pub rule: FamilyRule,
}

impl Families {
    /// One family alone.
    #[must_use]
    pub const fn only(family: Family) -> Self {
        let v4 = matches!(family, Family::V4);
        Self { v4, v6: !v4, rule: FamilyRule::Either }
    }

    /// Both families, under `rule`.
    #[must_use]
    pub const fn both(rule: FamilyRule) -> Self {
        Self { v4: true, v6: true, rule }
    }

    /// Whether a backup listens in each family for itself.
    #[must_use]
    pub fn are_apart(self) -> bool {
        match self.rule {
            FamilyRule::Either => false,
            FamilyRule::Both => self.v4 && self.v6,
        }
    }
}

/// When a master counts as alive that has both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FamilyRule {
    /// While its frames come in either of them.
    Either,
    /// While its frames come in both of them, as in OpenBSD (CARP specification §5.1). Where one family stays
    /// cut between two healthy nodes, they take the role from each other again and again.
    Both,
}

/// The addresses that our advertisements leave from; unspecified in a family that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sources {
    /// In IPv4.
    pub v4: Ipv4Addr,
    /// In IPv6.
    pub v6: Ipv6Addr,
}

impl Sources {
    /// None at all.
    pub const UNSPECIFIED: Self = Self { v4: Ipv4Addr::UNSPECIFIED, v6: Ipv6Addr::UNSPECIFIED };

    /// The one of `family`.
    #[must_use]
    pub fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }
}

/// Nothing in the other family.
impl From<Ipv4Addr> for Sources {
    fn from(v4: Ipv4Addr) -> Self {
        Self { v4, ..Self::UNSPECIFIED }
    }
}

/// Nothing in the other family.
impl From<Ipv6Addr> for Sources {
    fn from(v6: Ipv6Addr) -> Self {
        Self { v6, ..Self::UNSPECIFIED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_family_is_never_apart() {
        for rule in [FamilyRule::Either, FamilyRule::Both] {
            for (v4, v6) in [(true, false), (false, true), (true, true)] {
                let expected = v4 && v6 && rule == FamilyRule::Both;
                assert_eq!(Families { v4, v6, rule }.are_apart(), expected, "{v4} {v6} {rule:?}");
            }
        }
        assert_eq!(Families::only(Family::V6), Families { v4: false, v6: true, rule: FamilyRule::Either });
    }

    #[test]
    fn a_source_is_of_its_own_family() {
        let (v4, v6) = (Ipv4Addr::new(10, 77, 0, 1), Ipv6Addr::LOCALHOST);
        let sources = Sources { v4, v6 };
        for family in Family::ALL {
            assert_eq!(Family::of(sources.of(family)), family);
        }
        assert_eq!(Sources::from(v4).of(Family::V6), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        assert_eq!(Sources::from(v6).of(Family::V4), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
}
