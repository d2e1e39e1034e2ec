//! A peer that comes and goes: the first loss is believed at once, one that follows soon upon its return must last.
//!
//! Else a network that flaps, and with it all that is between the nodes, would move the role with each cut.

use std::time::Duration;

use crate::core::Instant;

/// When the peer was lost, and when it returned.
#[derive(Debug, Default)]
pub(super) struct Calm {
    lost: Option<Instant>,
    returned: Option<Instant>,
    due: Option<Instant>,
}

impl Calm {
    /// Takes in whether the peer is `lost` now: nothing shows that it lives, though it should. Returns whether that is to be
    /// believed; soon upon its return it is if it lasts for `enough`.
    pub(super) fn believes(&mut self, now: Instant, lost: bool, enough: Duration) -> bool {
        if !lost {
            if self.lost.take().is_some() {
                self.returned = Some(now);
            }
            self.due = None;
            return false;
        }
        let since = *self.lost.get_or_insert(now);
        let is_soon = self.returned.is_some_and(|at| since.saturating_since(at) < SOON);
        self.due = (is_soon && now < since + enough).then(|| since + enough);
        self.due.is_none()
    }

    /// The peer did not hear this node, and took its place: to this node, that is a return as well.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.returned = Some(now);
    }

    /// When a loss that lasts is to be believed.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due
    }
}

/// After its return, for so long a peer that is lost is given time.
const SOON: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_loss_soon_upon_the_return_must_last() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let enough = Duration::from_millis(800);
        let mut calm = Calm::default();
        // When, whether it is lost, whether that is believed, and from when it would be.
        let table = [
            (0, false, false, None),
            (1_000, true, true, None),
            (1_050, false, false, None),
            // Again and again, and each return counts anew.
            (1_100, true, false, Some(1_900)),
            (1_150, false, false, None),
            (6_100, true, false, Some(6_900)),
            (6_899, true, false, Some(6_900)),
            (6_900, true, true, None),
            (60_000, true, true, None),
            (60_001, false, false, None),
            // It was back for long.
            (65_001, true, true, None),
            (66_000, false, false, None),
        ];
        for (now, lost, believed, due) in table {
            assert_eq!(calm.believes(at(now), lost, enough), believed, "{now}");
            assert_eq!(calm.next(), due.map(at), "{now}");
        }
        calm.doubt(at(80_000));
        assert!(!calm.believes(at(80_100), true, enough));
    }
}
