//! One after the other, as long as one's limits allow.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::resource::{Failure, Within};

/// Waits until it is one's turn; `what` names what is being waited for.
///
/// # Errors
///
/// If it does not come within the limits: whoever has it may hang.
pub(super) fn wait<'a, T>(
    mutex: &'a Mutex<T>,
    what: &str,
    within: &Within,
) -> Result<MutexGuard<'a, T>, Failure> {
    loop {
        match mutex.try_lock() {
            Ok(value) => return Ok(value),
            Err(TryLockError::Poisoned(value)) => return Ok(PoisonError::into_inner(value)),
            Err(TryLockError::WouldBlock) => {
                within.go_on(&format!("waiting for {what}"))?;
                let _ = within.pause(LOOK);
            }
        }
    }
}

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(2);
