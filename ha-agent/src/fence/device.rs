//! What every disk with reservations can do, however it is cabled.

use std::fmt;
use std::io;

use thiserror::Error;

use super::key::Key;
use crate::resource::{Cause, Failure, Within};

/// The persistent reservations of one disk, as this node reaches it.
///
/// The only kind that is ever reserved here is *Write Exclusive, Registrants Only*: who has registered a key may write, all
/// may read. What the disk only wants to say first (unit attention, busy) is retried inside. Every call may hang in the
/// kernel for longer than its limits say.
pub trait Device: fmt::Debug + Send + Sync {
    /// What an operator calls it: the path in the configuration.
    fn name(&self) -> &str;

    /// Its serial number, or, if it has none, its worldwide name: the same from both nodes.
    ///
    /// # Errors
    ///
    /// If it can't be asked.
    fn serial(&self, within: &Within) -> Result<String, DeviceError>;

    /// What it can do.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Unsupported`] if it does not tell, which says little: it may be able to reserve all the same.
    fn abilities(&self, within: &Within) -> Result<Abilities, DeviceError>;

    /// Who has registered, and who holds the reservation.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    fn read(&self, within: &Within) -> Result<Registrations, DeviceError>;

    /// Registers a new key for this node's connection in place of an old one; none is to unregister. A reservation that it
    /// holds goes with the key, and ends with the registration.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Conflict`] if the old one is another.
    fn register(&self, old: Old, new: Option<Key>, within: &Within) -> Result<(), DeviceError>;

    /// Reserves it.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Conflict`] if another one holds a reservation, or this key is not registered.
    fn reserve(&self, own: Key, within: &Within) -> Result<(), DeviceError>;

    /// Removes all registrations of a key but this node's own, and takes over the reservation if it was held with that key.
    /// With `abort`, ends the commands that the disk still has of them.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Conflict`] if nobody has registered that key, or this node not its own; and
    /// [`DeviceError::Unsupported`] where commands can't be ended.
    fn preempt(&self, own: Key, victim: Key, abort: bool, within: &Within) -> Result<(), DeviceError>;

    /// Gives the reservation back, if this node holds it.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Conflict`] if this key is not registered.
    fn release(&self, own: Key, within: &Within) -> Result<(), DeviceError>;

    /// Removes all registrations, of whomever, and the reservation.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Conflict`] if this key is not registered.
    fn clear(&self, own: Key, within: &Within) -> Result<(), DeviceError>;
}

/// What is registered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// Nothing.
    Nothing,
    /// This key.
    Key(Key),
    /// Whatever it is.
    Anything,
}

/// What stands on a disk at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registrations {
    /// How often the registrations have changed.
    pub generation: u32,
    /// The registered keys. One that is registered through several paths stands there as often.
    pub keys: Vec<Key>,
    /// Who holds the reservation.
    pub holder: Option<Holder>,
}

/// Who holds a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// With what key; none if all who have registered hold it together.
    pub key: Option<Key>,
    /// Of what kind it is.
    pub kind: Kind,
}

/// The kinds of reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Write Exclusive, Registrants Only: the one that is used here.
    Ours,
    /// Another one, by its number in the standard of the disk.
    Other(u8),
}

/// What a disk says that it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it knows Write Exclusive, Registrants Only; `None` if it does not tell.
    pub registrants_only: Option<bool>,
    /// Whether registrations can be kept when it loses power.
    pub persistent: bool,
}

/// Why a disk did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// Somebody's reservation or registration is in the way, or one of ours is missing.
    #[error("a reservation conflict")]
    Conflict,
    /// It does not know the command, or not in this form.
    #[error("the disk does not support it ({0})")]
    Unsupported(String),
    /// It wants to say something first, again and again.
    #[error("the disk is not ready, again and again ({0})")]
    NotReady(String),
    /// No answer came in time.
    #[error("the disk does not answer")]
    TimedOut,
    /// It was told to stop before it was done.
    #[error("it was broken off")]
    Stopped,
    /// There is no such disk, or no path to it any more.
    #[error("the disk is not there")]
    Gone,
    /// It refuses for another reason.
    #[error("the disk refuses ({0})")]
    Refused(String),
    /// The system refuses; its error number.
    #[error("the system refuses ({})", io::Error::from_raw_os_error(*.0))]
    System(i32),
}

impl DeviceError {
    /// What follows for the disk of this name.
    #[must_use]
    pub fn failure(&self, name: &str, what: &str) -> Failure {
        let (cause, remedy) = match self {
            Self::Conflict => (Cause::Fenced, "find out who else reserves it"),
            Self::Unsupported(_) => {
                (Cause::NoReservation, "use a disk with persistent reservations, or another way to fence")
            }
            Self::NotReady(_) | Self::Refused(_) => (Cause::Other, "see what the disk reports, and its log"),
            Self::TimedOut => (Cause::TimedOut, "check the disk and the way to it"),
            Self::Stopped => (Cause::Stopped, "something more urgent came between"),
            Self::Gone => (Cause::DiskMissing, "check the disk and its cables"),
            Self::System(libc::EPERM | libc::EACCES) => (Cause::NotPermitted, "run ha-agent as root"),
            Self::System(_) => (Cause::Other, "see the kernel's log"),
        };
        Failure::new(cause, format!("{name} {what}: {self}"), remedy)
    }
}

/// As the system says it.
impl From<io::Error> for DeviceError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO | libc::ENOENT) => Self::Gone,
            Some(libc::ETIMEDOUT) => Self::TimedOut,
            Some(libc::EBADE) => Self::Conflict,
            Some(libc::EOPNOTSUPP | libc::ENOTTY) => Self::Unsupported(error.to_string()),
            Some(number) => Self::System(number),
            None => Self::Refused(error.to_string()),
        }
    }
}

/// The limits of a call are over before it began.
pub(super) fn go_on(within: &Within) -> Result<(), DeviceError> {
    if within.stop().is_given() {
        Err(DeviceError::Stopped)
    } else if within.left().is_zero() {
        Err(DeviceError::TimedOut)
    } else {
        Ok(())
    }
}
