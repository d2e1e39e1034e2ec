//! The one ordered stream: what the kernel saw, oldest first.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use ha_common::abi::{Record, RecordError};

/// The ring that the program pushes into. The program wakes whoever waits for it when it holds something that may make
/// him act, and else now and then.
pub struct Events(RingBuf<MapData>);

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// The oldest record, or `None` when the ring is empty.
    ///
    /// # Errors
    ///
    /// If the record is not of this version; it is consumed.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: more may follow after None")]
    pub fn next(&mut self) -> Option<Result<Record, RecordError>> {
        self.0.next().map(|bytes| Record::from_bytes(&bytes))
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.as_fd().as_raw_fd()).finish()
    }
}
