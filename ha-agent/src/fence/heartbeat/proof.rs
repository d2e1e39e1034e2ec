//! What the heartbeats prove: as of when the disks were still this node's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::sys::clock;

/// As of when the disks of everything that is taken have shown that they are this node's: for each volume, the last of its
/// disks that did. Reading it waits for nobody.
#[derive(Clone, Debug, Default)]
pub struct Proof(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// In ns of `CLOCK_BOOTTIME`; 0 while nothing is taken.
    since_ns: AtomicU64,
    volumes: Mutex<Vec<Weak<AtomicU64>>>,
}

/// One volume's part, for as long as it is taken.
#[derive(Debug)]
pub(super) struct Volume {
    proof: Proof,
    since_ns: Arc<AtomicU64>,
}

impl Proof {
    /// When that was, in ns of `CLOCK_BOOTTIME`; `None` while nothing is taken.
    #[must_use]
    pub fn since_ns(&self) -> Option<u64> {
        Some(self.0.since_ns.load(Ordering::Acquire)).filter(|since| *since > 0)
    }

    /// A volume has been taken just now.
    pub(super) fn volume(&self) -> Arc<Volume> {
        let since_ns = Arc::new(AtomicU64::new(clock::boot_ns()));
        self.sum_up(Some(Arc::downgrade(&since_ns)));
        Arc::new(Volume { proof: self.clone(), since_ns })
    }

    fn sum_up(&self, new: Option<Weak<AtomicU64>>) {
        let mut volumes = self.0.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        volumes.extend(new);
        volumes.retain(|volume| volume.strong_count() > 0);
        let since = volumes.iter().filter_map(Weak::upgrade).map(|volume| volume.load(Ordering::Acquire));
        self.0.since_ns.store(since.min().unwrap_or(0), Ordering::Release);
    }
}

impl Volume {
    /// One of its disks has shown it, asked at this moment, in ns of `CLOCK_BOOTTIME`.
    pub(super) fn show(&self, asked_ns: u64) {
        self.since_ns.fetch_max(asked_ns, Ordering::AcqRel);
        self.proof.sum_up(None);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // It counts no more.
        self.since_ns = Arc::default();
        self.proof.sum_up(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_old_as_that_of_the_volume_that_showed_nothing_for_longest() {
        let proof = Proof::default();
        assert_eq!(proof.since_ns(), None);
        let (one, two) = (proof.volume(), proof.volume());
        let at = clock::boot_ns();
        one.show(at + 50);
        assert!(proof.since_ns().is_some_and(|since| since <= at), "the other one has shown nothing");
        two.show(at + 20);
        assert_eq!(proof.since_ns(), Some(at + 20));
        two.show(at + 10);
        assert_eq!(proof.since_ns(), Some(at + 20), "an answer that was overtaken");
        drop(two);
        assert_eq!(proof.since_ns(), Some(at + 50));
        drop(one);
        assert_eq!(proof.since_ns(), None);
    }
}
