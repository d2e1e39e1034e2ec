//! SCSI commands through the kernel (`SG_IO`, scsi/sg.h).

use std::ffi::{c_int, c_uint, c_ushort, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use super::super::device::DeviceError;
use super::sense::{Ended, Sense};
use super::{Data, Transport};

/// A SCSI device of this machine. Commands for reservations take `CAP_SYS_RAWIO`.
#[derive(Debug)]
pub struct SgIo(File);

impl SgIo {
    /// Opens the generic node of a device, such as `/dev/sg3`. That tells nobody that the disk might have changed, as opening
    /// its block device for writing does.
    ///
    /// # Errors
    ///
    /// If there is none, or this process may not.
    pub fn generic(path: &Path) -> Result<Self, DeviceError> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(Self(file))
    }

    /// Opens a block device, only for reading.
    ///
    /// # Errors
    ///
    /// If there is none, or this process may not.
    pub fn block(path: &Path) -> Result<Self, DeviceError> {
        Ok(Self(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?))
    }
}

impl Transport for SgIo {
    fn execute(&self, command: &[u8], data: Data<'_>, timeout: Duration) -> Result<Ended, DeviceError> {
        let (direction, pointer, length) = match data {
            Data::In(room) => (FROM_DEVICE, room.as_mut_ptr().cast::<c_void>(), room.len()),
            Data::Out(bytes) => (TO_DEVICE, bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len()),
        };
        let mut sense = [0_u8; 64];
        let mut request = Request {
            interface_id: c_int::from(b'S'),
            direction,
            command_length: u8::try_from(command.len()).map_err(|_| too_long())?,
            sense_room: 64,
            iovec_count: 0,
            length: c_uint::try_from(length).map_err(|_| too_long())?,
            data: pointer,
            command: command.as_ptr().cast_mut(),
            sense: sense.as_mut_ptr(),
            // 0 would be as long as it likes.
            timeout_ms: c_uint::try_from(timeout.as_millis()).unwrap_or(c_uint::MAX).max(1),
            flags: 0,
            pack_id: 0,
            user: ptr::null_mut(),
            status: 0,
            masked_status: 0,
            message_status: 0,
            sense_length: 0,
            host_status: 0,
            driver_status: 0,
            residual: 0,
            duration: 0,
            info: 0,
        };
        // SAFETY: the request has the layout of `struct sg_io_hdr`. It points to command, data and room for sense data of the
        // lengths that stand beside them, which all outlive the call; the kernel writes only to the data if they come from
        // the device, which are borrowed mutably then, to the sense data, and to the request.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), SG_IO, &raw mut request) };
        if result < 0 {
            return Err(io::Error::last_os_error().into());
        }
        match request.host_status {
            0 => {}
            NO_CONNECT | BAD_TARGET => return Err(DeviceError::Gone),
            BUS_BUSY | TIME_OUT | TRANSPORT_DISRUPTED | TRANSPORT_FAILFAST => {
                return Err(DeviceError::TimedOut);
            }
            other => return Err(DeviceError::Refused(format!("host status {other:#04x}"))),
        }
        let written = sense.get(..request.sense_length.into()).unwrap_or_default();
        Ok(Ended { status: request.status, sense: Sense::parse(written) })
    }
}

fn too_long() -> DeviceError {
    DeviceError::Refused("the command is too long".to_owned())
}

/// `struct sg_io_hdr`
#[repr(C)]
struct Request {
    interface_id: c_int,
    direction: c_int,
    command_length: u8,
    sense_room: u8,
    iovec_count: c_ushort,
    length: c_uint,
    data: *mut c_void,
    command: *mut u8,
    sense: *mut u8,
    timeout_ms: c_uint,
    flags: c_uint,
    pack_id: c_int,
    user: *mut c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_length: u8,
    host_status: c_ushort,
    driver_status: c_ushort,
    residual: c_int,
    duration: c_uint,
    info: c_uint,
}
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Request>() == 88);

const SG_IO: libc::Ioctl = 0x2285;
const TO_DEVICE: c_int = -2;
const FROM_DEVICE: c_int = -3;
// scsi/scsi_status.h
const NO_CONNECT: c_ushort = 0x01;
const BUS_BUSY: c_ushort = 0x02;
const TIME_OUT: c_ushort = 0x03;
const BAD_TARGET: c_ushort = 0x04;
const TRANSPORT_DISRUPTED: c_ushort = 0x0e;
const TRANSPORT_FAILFAST: c_ushort = 0x0f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_scsi_device_says_so() {
        let command = [0; 6];
        let zero = SgIo::block(Path::new("/dev/zero")).expect("/dev/zero is there");
        let error = zero.execute(&command, Data::Out(&[]), Duration::from_secs(1)).expect_err("no disk");
        assert!(matches!(error, DeviceError::Unsupported(_)), "{error}");
        assert_eq!(SgIo::generic(Path::new("/dev/no-such-sg")).expect_err("none"), DeviceError::Gone);
    }
}
