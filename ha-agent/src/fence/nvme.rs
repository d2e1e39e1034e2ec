//! Reservations of namespaces (NVM Express Base Specification, Reservations), through the kernel's passthrough.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use super::device::{Abilities, Device, DeviceError, Holder, Kind, Old, Registrations, go_on};
use super::key::Key;
use crate::resource::Within;

/// A namespace.
#[derive(Debug)]
pub(super) struct NvmeDisk {
    name: String,
    serial: String,
    file: File,
    namespace: u32,
}

impl NvmeDisk {
    /// Opens a node of a namespace, only for reading: its generic one (`/dev/ng0n1`), or the block device where there is no
    /// such thing. Commands that change something take `CAP_SYS_ADMIN`. `serial` is what `/sys` calls its `wwid`.
    ///
    /// # Errors
    ///
    /// If there is none, or this process may not.
    pub(super) fn open(name: &str, serial: &str, path: &Path) -> Result<Self, DeviceError> {
        let file = OpenOptions::new().read(true).open(path)?;
        // SAFETY: this asks for the number of the namespace, and takes no argument.
        let namespace = unsafe { libc::ioctl(file.as_raw_fd(), NVME_IOCTL_ID) };
        let namespace = u32::try_from(namespace).map_err(|_| io::Error::last_os_error())?;
        Ok(Self { name: name.to_owned(), serial: serial.to_owned(), file, namespace })
    }

    fn execute(&self, command: Command, data: &mut [u8], within: &Within) -> Result<(), DeviceError> {
        go_on(within)?;
        let timeout = within.left().min(PATIENCE);
        let mut request = Request {
            opcode: command.opcode,
            namespace: self.namespace,
            data: data.as_mut_ptr() as u64,
            length: u32::try_from(data.len()).unwrap_or_default(),
            dword10: command.dword10,
            dword11: command.dword11,
            timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1),
            ..Request::default()
        };
        // SAFETY: the request has the layout of `struct nvme_passthru_cmd`. It points to data of the length that stands
        // beside it, borrowed mutably, which outlive the call; the kernel writes only to them and to the request.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), NVME_IOCTL_IO_CMD, &raw mut request) };
        match u16::try_from(result) {
            Ok(status) => judge(status),
            Err(_) => Err(io::Error::last_os_error().into()),
        }
    }

    fn try_register(&self, old: Old, new: Option<Key>, within: &Within) -> Result<(), DeviceError> {
        let (command, mut data) = Command::register(old, new, true);
        match self.execute(command, &mut data, within) {
            // It forgets without power.
            Err(DeviceError::Unsupported(_)) => {
                let (command, mut data) = Command::register(old, new, false);
                self.execute(command, &mut data, within)
            }
            result => result,
        }
    }

    fn report(&self, within: &Within) -> Result<Registrations, DeviceError> {
        let mut length = REPORT;
        loop {
            let mut answer = vec![0; length];
            let extended = match self.execute(Command::report(length, true), &mut answer, within) {
                Ok(()) => true,
                // Hosts have short identifiers here.
                Err(DeviceError::Unsupported(_)) => {
                    self.execute(Command::report(length, false), &mut answer, within)?;
                    false
                }
                Err(error) => return Err(error),
            };
            match registrations(&answer, extended) {
                Ok(registrations) => return Ok(registrations),
                Err(needed) if needed > length => length = needed,
                Err(_) => return Err(DeviceError::Refused("its report is nonsense".to_owned())),
            }
        }
    }
}

impl Device for NvmeDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn serial(&self, _: &Within) -> Result<String, DeviceError> {
        Ok(self.serial.clone())
    }

    fn abilities(&self, within: &Within) -> Result<Abilities, DeviceError> {
        // Whoever reports reservations has them, of all kinds but for what it says in a structure that is not asked here.
        self.report(within)?;
        Ok(Abilities { registrants_only: None, persistent: true })
    }

    fn read(&self, within: &Within) -> Result<Registrations, DeviceError> {
        self.report(within)
    }

    fn register(&self, old: Old, new: Option<Key>, within: &Within) -> Result<(), DeviceError> {
        // Not every controller replaces the key of a host that has none.
        if old == Old::Anything && new.is_some() {
            match self.try_register(Old::Nothing, new, within) {
                Err(DeviceError::Conflict) => {}
                result => return result,
            }
        }
        self.try_register(old, new, within)
    }

    fn reserve(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.execute(Command::acquire(0), &mut keys(own.raw(), 0), within)
    }

    fn preempt(&self, own: Key, victim: Key, abort: bool, within: &Within) -> Result<(), DeviceError> {
        let action = if abort { 2 } else { 1 };
        self.execute(Command::acquire(action), &mut keys(own.raw(), victim.raw()), within)
    }

    fn release(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.execute(Command::release(0), &mut own.raw().to_le_bytes(), within)
    }

    fn clear(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.execute(Command::release(1), &mut own.raw().to_le_bytes(), within)
    }
}

/// What differs between the commands for reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Command {
    opcode: u8,
    dword10: u32,
    dword11: u32,
}

impl Command {
    /// Reservation Report, with identifiers of hosts of 128 bits if `extended`.
    fn report(length: usize, extended: bool) -> Self {
        let dwords = u32::try_from(length / 4).unwrap_or(u32::MAX);
        Self { opcode: 0x0e, dword10: dwords.saturating_sub(1), dword11: extended.into() }
    }

    /// Reservation Register, and its data.
    fn register(old: Old, new: Option<Key>, persistent: bool) -> (Self, [u8; 16]) {
        let (register, unregister, replace, ignore) = (0, 1, 2, 1 << 3);
        let (action, old) = match (old, new) {
            (Old::Nothing, _) => (register, 0),
            (Old::Key(key), Some(_)) => (replace, key.raw()),
            (Old::Key(key), None) => (unregister, key.raw()),
            (Old::Anything, Some(_)) => (replace | ignore, 0),
            (Old::Anything, None) => (unregister | ignore, 0),
        };
        let through_power_loss = if persistent && new.is_some() { 3 << 30 } else { 0 };
        let command = Self { opcode: 0x0d, dword10: action | through_power_loss, dword11: 0 };
        (command, keys(old, new.map_or(0, Key::raw)))
    }

    /// Reservation Acquire: 0 to acquire, 1 to preempt, 2 to preempt and abort.
    fn acquire(action: u32) -> Self {
        Self { opcode: 0x11, dword10: action | u32::from(REGISTRANTS_ONLY) << 8, dword11: 0 }
    }

    /// Reservation Release: 0 to release, 1 to clear.
    fn release(action: u32) -> Self {
        let kind = if action == 0 { u32::from(REGISTRANTS_ONLY) << 8 } else { 0 };
        Self { opcode: 0x15, dword10: action | kind, dword11: 0 }
    }
}

fn keys(own: u64, other: u64) -> [u8; 16] {
    let mut data = [0; 16];
    data[..8].copy_from_slice(&own.to_le_bytes());
    data[8..].copy_from_slice(&other.to_le_bytes());
    data
}

/// Reads the answer to a report; or how many bytes it takes if these are too few.
fn registrations(answer: &[u8], extended: bool) -> Result<Registrations, usize> {
    let (head, entry, key_at) = if extended { (64, 64, 8) } else { (24, 24, 16) };
    let number = |at: usize, length: usize| {
        let bytes = answer.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let small = |at, length| number(at, length).and_then(|number| u32::try_from(number).ok());
    let count = small(5, 2).ok_or(head)?;
    let needed = usize::try_from(count).unwrap_or_default() * entry + head;
    let entries = answer.get(head..needed).ok_or(needed)?.chunks_exact(entry).zip((head..).step_by(entry));
    let (mut keys, mut holds) = (Vec::new(), None);
    for (entry, at) in entries {
        let Some(key) = number(at + key_at, 8).and_then(Key::new) else { continue };
        keys.push(key);
        if entry.get(2).is_some_and(|status| status & 1 != 0) {
            holds = Some(key);
        }
    }
    let holder = match answer.get(4).copied().unwrap_or(0) {
        0 => None,
        REGISTRANTS_ONLY => Some(Holder { key: holds, kind: Kind::Ours }),
        // All registrants hold these.
        kind @ (5 | 6) => Some(Holder { key: None, kind: Kind::Other(kind) }),
        kind => Some(Holder { key: holds, kind: Kind::Other(kind) }),
    };
    Ok(Registrations { generation: small(0, 4).ok_or(head)?, keys, holder })
}

/// What a completion says: its status without the phase bit.
fn judge(status: u16) -> Result<(), DeviceError> {
    let told = || format!("status {:#05x}", status & 0x7ff);
    match status & 0x7ff {
        0 => Ok(()),
        0x083 => Err(DeviceError::Conflict),
        // Invalid opcode, invalid field, host identifier of another format.
        0x001 | 0x002 | 0x018 => Err(DeviceError::Unsupported(told())),
        // No such namespace.
        0x00b => Err(DeviceError::Gone),
        // Aborted, and the ways to it are disturbed.
        0x007 | 0x008 | 0x082 | 0x300..=0x3ff => Err(DeviceError::NotReady(told())),
        _ => Err(DeviceError::Refused(told())),
    }
}

/// `struct nvme_passthru_cmd`
#[derive(Default)]
#[repr(C)]
struct Request {
    opcode: u8,
    flags: u8,
    _reserved: u16,
    namespace: u32,
    dword2: u32,
    dword3: u32,
    metadata: u64,
    data: u64,
    metadata_length: u32,
    length: u32,
    dword10: u32,
    dword11: u32,
    dword12: u32,
    dword13: u32,
    dword14: u32,
    dword15: u32,
    timeout_ms: u32,
    result: u32,
}
const _: () = assert!(size_of::<Request>() == 72);

// linux/nvme_ioctl.h
const NVME_IOCTL_ID: libc::Ioctl = 0x4e40;
const NVME_IOCTL_IO_CMD: libc::Ioctl = 0xc048_4e43;
/// Write Exclusive, Registrants Only: another number than in SCSI.
const REGISTRANTS_ONLY: u8 = 3;
/// For one command.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room for a report of 63 registrations, in bytes.
const REPORT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(raw: u64) -> Key {
        Key::new(raw).expect("not zero")
    }

    #[test]
    fn commands_as_the_specification_writes_them() {
        let (a, b) = (key(0x0102_0304_0506_0708), key(0xb));
        let table = [
            (Old::Nothing, Some(b), 0xc000_0000, [0, 0xb]),
            (Old::Key(a), Some(b), 0xc000_0002, [a.raw(), 0xb]),
            (Old::Key(a), None, 1, [a.raw(), 0]),
            (Old::Anything, Some(b), 0xc000_000a, [0, 0xb]),
            (Old::Anything, None, 9, [0, 0]),
        ];
        for (old, new, dword10, [own, other]) in table {
            let (command, data) = Command::register(old, new, true);
            assert_eq!((command.opcode, command.dword10), (0x0d, dword10), "{old:?} {new:?}");
            assert_eq!(data, keys(own, other));
        }
        assert_eq!(keys(a.raw(), 0)[..9], [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(Command::register(Old::Nothing, Some(a), false).0.dword10, 0);
        assert_eq!(Command::acquire(2), Command { opcode: 0x11, dword10: 0x302, dword11: 0 });
        assert_eq!(Command::release(0), Command { opcode: 0x15, dword10: 0x300, dword11: 0 });
        assert_eq!(Command::release(1).dword10, 1);
        assert_eq!(Command::report(4096, true), Command { opcode: 0x0e, dword10: 1023, dword11: 1 });
    }

    #[test]
    fn reports_are_read_in_both_formats() {
        for extended in [false, true] {
            let (head, entry, key_at) = if extended { (64, 64, 8) } else { (24, 24, 16) };
            let mut answer = vec![0; head + 2 * entry];
            (answer[0], answer[1], answer[4], answer[5]) = (7, 1, 3, 2);
            answer[head + key_at] = 0xa;
            answer[head + entry + 2] = 1;
            answer[head + entry + key_at + 1] = 0xb;
            let read = registrations(&answer, extended).expect("complete");
            assert_eq!((read.generation, read.keys), (0x107, vec![key(0xa), key(0xb00)]));
            assert_eq!(read.holder, Some(Holder { key: Some(key(0xb00)), kind: Kind::Ours }));
            assert_eq!(registrations(&answer[..answer.len() - 1], extended), Err(answer.len()));
            answer[4] = 5;
            let all = registrations(&answer, extended).expect("complete").holder;
            assert_eq!(all, Some(Holder { key: None, kind: Kind::Other(5) }));
            answer[4] = 0;
            assert_eq!(registrations(&answer, extended).expect("complete").holder, None);
        }
        assert_eq!(registrations(&[0; 3], true), Err(64));
    }

    #[test]
    fn completions_are_judged() {
        assert_eq!(judge(0), Ok(()));
        // With "do not retry" and "more".
        assert_eq!(judge(0x6083), Err(DeviceError::Conflict));
        assert!(matches!(judge(0x4002), Err(DeviceError::Unsupported(_))));
        assert!(matches!(judge(0x371), Err(DeviceError::NotReady(_))), "a path error");
        assert!(matches!(judge(0x286), Err(DeviceError::Refused(_))));
        let missing = NvmeDisk::open("x", "s", Path::new("/dev/no-such-ng")).expect_err("none");
        assert_eq!(missing, DeviceError::Gone);
        assert!(matches!(NvmeDisk::open("x", "s", Path::new("/dev/zero")), Err(DeviceError::Unsupported(_))));
    }
}
