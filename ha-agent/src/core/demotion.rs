//! Why this host would rather not be master: one level for all its virtual hosts (CARP specification §5.4).

use std::collections::BTreeSet;

/// The causes at hand, and the level that they add up to.
///
/// Each is named and there once, so none can be counted twice or be left behind, as happens to bare counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demotions {
    causes: BTreeSet<Cause>,
}

/// Why a host is demoted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// An operator wants the others to be master.
    Hold,
    /// An interface of a virtual host does not work; its name.
    LinkDown(String),
    /// Advertisements do not leave through an interface; its name.
    SendErrors(String),
}

impl Demotions {
    /// Adds `cause`, or takes it away; returns the new level if that changed it.
    pub fn set(&mut self, cause: Cause, present: bool) -> Option<u8> {
        let before = self.level();
        if present {
            self.causes.insert(cause);
        } else {
            self.causes.remove(&cause);
        }
        Some(self.level()).filter(|level| *level != before)
    }

    /// The level, as it goes on the wire: the weights of all causes, at most 255; 0 without a cause.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.causes.iter().map(Cause::weight).fold(0, u8::saturating_add)
    }

    /// The causes at hand.
    pub fn causes(&self) -> impl Iterator<Item = &Cause> {
        self.causes.iter()
    }
}

impl Cause {
    /// A label for metrics and JSON, in `snake_case`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::LinkDown(_) => "link_down",
            Self::SendErrors(_) => "send_errors",
        }
    }

    /// What it is about: the interface, if it is about one.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Hold => None,
            Self::LinkDown(interface) | Self::SendErrors(interface) => Some(interface),
        }
    }

    /// An operator's word outweighs what is broken elsewhere: 128 is what OpenBSD adds while it boots.
    fn weight(&self) -> u8 {
        match self {
            Self::Hold => 128,
            Self::LinkDown(_) | Self::SendErrors(_) => 1,
        }
    }
}

/// Tells when sending fails for good, and when it works again: three of a kind in a row, as in the BSDs (CARP
/// specification §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendHealth {
    failing: bool,
    /// How many in a row contradict `failing`.
    against: u8,
}

impl SendHealth {
    /// Takes in whether an advertisement left; returns whether sending fails, if that changed.
    pub fn record(&mut self, left: bool) -> Option<bool> {
        if left != self.failing {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < IN_A_ROW {
            return None;
        }
        *self = Self { failing: !self.failing, against: 0 };
        Some(self.failing)
    }
}

const IN_A_ROW: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_counts_once_and_goes_as_a_whole() {
        let (eth0, eth1) = (Cause::LinkDown("eth0".to_owned()), Cause::LinkDown("eth1".to_owned()));
        let mut demotions = Demotions::default();
        assert_eq!(demotions.level(), 0);
        let steps = [
            (eth0.clone(), true, Some(1)),
            (eth0.clone(), true, None),
            (eth1.clone(), true, Some(2)),
            (Cause::SendErrors("eth0".to_owned()), true, Some(3)),
            (Cause::Hold, true, Some(131)),
            (Cause::Hold, true, None),
            (eth0.clone(), false, Some(130)),
            (eth0, false, None),
            (Cause::Hold, false, Some(2)),
            (Cause::SendErrors("eth0".to_owned()), false, Some(1)),
            (eth1, false, Some(0)),
        ];
        for (cause, present, expected) in steps {
            assert_eq!(demotions.set(cause.clone(), present), expected, "{cause:?} {present}");
        }
        assert_eq!(demotions, Demotions::default());
    }

    #[test]
    fn the_level_stops_at_255() {
        let mut demotions = Demotions::default();
        for interface in 0..300 {
            demotions.set(Cause::LinkDown(interface.to_string()), true);
        }
        assert_eq!(demotions.level(), 255);
        assert_eq!(demotions.set(Cause::Hold, true), None);
        assert_eq!(demotions.set(Cause::Hold, false), None);
    }

    #[test]
    fn causes_as_the_status_shows_them() {
        let mut demotions = Demotions::default();
        for cause in [Cause::SendErrors("eth1".to_owned()), Cause::LinkDown("eth0".to_owned()), Cause::Hold] {
            demotions.set(cause, true);
        }
        let shown: Vec<_> = demotions.causes().map(|cause| (cause.name(), cause.detail())).collect();
        assert_eq!(shown, [("hold", None), ("link_down", Some("eth0")), ("send_errors", Some("eth1"))]);
    }

    #[test]
    fn sending_fails_after_three_in_a_row_and_works_again_after_three() {
        let mut health = SendHealth::default();
        let steps = [
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(true)),
            (false, None),
            (true, None),
            (true, None),
            (false, None),
            (true, None),
            (true, None),
            (true, Some(false)),
            (true, None),
        ];
        for (number, (left, expected)) in steps.into_iter().enumerate() {
            assert_eq!(health.record(left), expected, "step {number}");
        }
    }
}
