//! Disks with several paths that the device mapper holds together: what changes reservations goes through all of them by
//! the kernel (`IOC_PR_*`, linux/pr.h), what asks goes through one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::device::{Abilities, Device, DeviceError, Old, Registrations, go_on};
use super::key::Key;
use crate::resource::Within;

/// A disk with several paths.
#[derive(Debug)]
pub(super) struct MultipathDisk {
    name: String,
    file: File,
    paths: Vec<Box<dyn Device>>,
}

impl MultipathDisk {
    /// Opens the mapped block device, only for reading: the kernel wants `CAP_SYS_ADMIN` for reservations, and nothing else.
    /// `paths` are the disks that it is made of.
    ///
    /// # Errors
    ///
    /// If there is none, or this process may not.
    pub(super) fn open(name: &str, path: &Path, paths: Vec<Box<dyn Device>>) -> Result<Self, DeviceError> {
        let file = OpenOptions::new().read(true).open(path)?;
        Ok(Self { name: name.to_owned(), file, paths })
    }

    /// Asks by the first path that answers.
    fn ask<T>(&self, question: impl Fn(&dyn Device) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        let mut error = DeviceError::Gone;
        for path in &self.paths {
            match question(path.as_ref()) {
                Err(DeviceError::Gone) => {}
                Err(another @ DeviceError::TimedOut) => error = another,
                other => return other,
            }
        }
        Err(error)
    }

    fn order<T>(&self, request: libc::Ioctl, argument: &T, within: &Within) -> Result<(), DeviceError> {
        for _ in 0..ATTEMPTS {
            go_on(within)?;
            // SAFETY: each request is called with the structure that linux/pr.h names for it, which outlives the call; the
            // kernel only reads it.
            let result = unsafe { libc::ioctl(self.file.as_raw_fd(), request, std::ptr::from_ref(argument)) };
            match result {
                0 => return Ok(()),
                CONFLICT => return Err(DeviceError::Conflict),
                // The kernel does not hand on what the disk said: most often it has something to say first.
                CHECK_CONDITION | PATH_DISTURBED => {}
                PATH_FAST_FAILED | PATH_FAILED => return Err(DeviceError::Gone),
                -1 => return Err(io::Error::last_os_error().into()),
                other => return Err(DeviceError::Refused(format!("status {other:#x}"))),
            }
        }
        // It does not tell more, and what it does not support comes as this.
        Err(DeviceError::Unsupported("check condition".to_owned()))
    }
}

impl Device for MultipathDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn serial(&self, within: &Within) -> Result<String, DeviceError> {
        self.ask(|path| path.serial(within))
    }

    fn abilities(&self, within: &Within) -> Result<Abilities, DeviceError> {
        self.ask(|path| path.abilities(within))
    }

    fn read(&self, within: &Within) -> Result<Registrations, DeviceError> {
        self.ask(|path| path.read(within))
    }

    fn register(&self, old: Old, new: Option<Key>, within: &Within) -> Result<(), DeviceError> {
        let (old, flags) = match old {
            Old::Nothing => (0, 0),
            Old::Key(key) => (key.raw(), 0),
            Old::Anything => (0, IGNORE_KEY),
        };
        let argument = Registration { old, new: new.map_or(0, Key::raw), flags, pad: 0 };
        self.order(IOC_PR_REGISTER, &argument, within)
    }

    fn reserve(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.order(IOC_PR_RESERVE, &Reservation { key: own.raw(), kind: REGISTRANTS_ONLY, flags: 0 }, within)
    }

    fn preempt(&self, own: Key, victim: Key, abort: bool, within: &Within) -> Result<(), DeviceError> {
        let argument = Preempt { old: victim.raw(), new: own.raw(), kind: REGISTRANTS_ONLY, flags: 0 };
        self.order(if abort { IOC_PR_PREEMPT_ABORT } else { IOC_PR_PREEMPT }, &argument, within)
    }

    fn release(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.order(IOC_PR_RELEASE, &Reservation { key: own.raw(), kind: REGISTRANTS_ONLY, flags: 0 }, within)
    }

    fn clear(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.order(IOC_PR_CLEAR, &Clear { key: own.raw(), flags: 0, pad: 0 }, within)
    }
}

/// `struct pr_registration`
#[repr(C)]
struct Registration {
    old: u64,
    new: u64,
    flags: u32,
    pad: u32,
}

/// `struct pr_reservation`
#[repr(C)]
struct Reservation {
    key: u64,
    kind: u32,
    flags: u32,
}

/// `struct pr_preempt`
#[repr(C)]
struct Preempt {
    /// The victim's key.
    old: u64,
    new: u64,
    kind: u32,
    flags: u32,
}

/// `struct pr_clear`
#[repr(C)]
struct Clear {
    key: u64,
    flags: u32,
    pad: u32,
}

// linux/pr.h
const IOC_PR_REGISTER: libc::Ioctl = 0x4018_70c8;
const IOC_PR_RESERVE: libc::Ioctl = 0x4010_70c9;
const IOC_PR_RELEASE: libc::Ioctl = 0x4010_70ca;
const IOC_PR_PREEMPT: libc::Ioctl = 0x4018_70cb;
const IOC_PR_PREEMPT_ABORT: libc::Ioctl = 0x4018_70cc;
const IOC_PR_CLEAR: libc::Ioctl = 0x4010_70cd;
const _: () = assert!(size_of::<Registration>() == 0x18 && size_of::<Reservation>() == 0x10);
const _: () = assert!(size_of::<Preempt>() == 0x18 && size_of::<Clear>() == 0x10);
/// Write Exclusive, Registrants Only, by the kernel's own numbers.
const REGISTRANTS_ONLY: u32 = 3;
const IGNORE_KEY: u32 = 1;
// What the calls return if the disk refuses.
const CHECK_CONDITION: i32 = 0x2;
const CONFLICT: i32 = 0x18;
const PATH_DISTURBED: i32 = 0xe_0000;
const PATH_FAST_FAILED: i32 = 0xf_0000;
const PATH_FAILED: i32 = 0x1_0000;

const ATTEMPTS: usize = 12;
