//! How many disks are enough.

use std::sync::Arc;

use crate::resource::{Cause, Failure};

/// What became of one disk.
#[derive(Clone, Debug)]
pub struct DiskState {
    /// The path in the configuration.
    pub name: String,
    /// Its serial number, if it told.
    pub serial: Option<String>,
    /// Why it is not as it should be.
    pub outcome: Result<(), Failure>,
}

/// Says whether what became of the disks is enough; if not, why. Asked of those that were looked at before anything is done,
/// and of those that were taken after.
pub type Enough = Arc<dyn Fn(&[DiskState]) -> Result<(), Failure> + Send + Sync>;

/// All of them.
#[must_use]
pub fn all() -> Enough {
    Arc::new(|disks| judge(disks, disks.len()))
}

/// So many of them, or all if there are fewer.
#[must_use]
pub fn at_least(number: usize) -> Enough {
    Arc::new(move |disks| judge(disks, number.min(disks.len())))
}

/// So many in a hundred of them, rounded up.
#[must_use]
pub fn percent(percent: u8) -> Enough {
    Arc::new(move |disks| judge(disks, (disks.len() * usize::from(percent)).div_ceil(100).min(disks.len())))
}

fn judge(disks: &[DiskState], needed: usize) -> Result<(), Failure> {
    let mut failures = disks.iter().filter_map(|disk| disk.outcome.as_ref().err());
    let good = disks.len() - failures.clone().count();
    if good >= needed {
        return Ok(());
    }
    let Some(first) = failures.next() else {
        return Err(Failure::new(Cause::Misconfigured, "there are no disks", "name some"));
    };
    if disks.len() == 1 {
        return Err(first.clone());
    }
    let what = format!("{good} of {} disks, and {needed} are needed; the first: {}", disks.len(), first.what);
    Err(Failure::new(first.cause, what, first.remedy.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks(outcomes: &[bool]) -> Vec<DiskState> {
        let failure = || Failure::new(Cause::DiskMissing, "it is gone", "put it back");
        let state = |is_good: &bool| DiskState {
            name: "x".to_owned(),
            serial: None,
            outcome: if *is_good { Ok(()) } else { Err(failure()) },
        };
        outcomes.iter().map(state).collect()
    }

    #[test]
    fn some_are_enough_and_others_not() {
        let two_of_three = disks(&[true, false, true]);
        let table = [
            (all(), false),
            (at_least(2), true),
            (at_least(3), false),
            (percent(66), true),
            (percent(67), false),
        ];
        for (at, (enough, expected)) in table.into_iter().enumerate() {
            assert_eq!(enough(&two_of_three).is_ok(), expected, "{at}");
        }
        assert!(
            at_least(9)(&disks(&[true])).is_ok()
                && all()(&[]).is_ok()
                && percent(200)(&disks(&[true])).is_ok()
        );
        let failure = all()(&two_of_three).expect_err("one is gone");
        assert_eq!(
            failure.to_string(),
            "DISK_MISSING: 2 of 3 disks, and 3 are needed; the first: it is gone; put it back"
        );
        assert_eq!(all()(&disks(&[false])).expect_err("gone").what, "it is gone");
    }
}
