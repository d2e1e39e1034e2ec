//! What can go wrong with an emulated disk.

use super::super::device::DeviceError;

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// For its serial number.
    Serial,
    /// For what it can do.
    Abilities,
    /// For what stands on it.
    Read,
    /// To register a key.
    Register,
    /// To remove one's own.
    Unregister,
    /// To reserve it.
    Reserve,
    /// To remove another's.
    Preempt,
    /// To give the reservation back.
    Release,
    /// To remove all.
    Clear,
}

/// How it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done.
    Before(DeviceError),
    /// It is done, and the answer says otherwise.
    After(DeviceError),
    /// It hangs in the kernel until it is let go, and is carried out then. So does what else is asked by this connection.
    Hang,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Serial,
        Self::Abilities,
        Self::Read,
        Self::Register,
        Self::Unregister,
        Self::Reserve,
        Self::Preempt,
        Self::Release,
        Self::Clear,
    ];
}
