//! What a network card does with frames before anybody sees them.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// Whether the interface takes 802.1Q tags off received frames (`rx-vlan-offload` in `ethtool -k`), so that no
/// XDP program sees them. One that knows no such thing does not.
///
/// # Errors
///
/// `ENODEV` if there is no such interface.
pub fn strips_vlan_tags(interface: &str) -> io::Result<bool> {
    let name = CString::new(interface)?;
    let mut value = Value { command: GET_FLAGS, data: 0 };
    let mut request = Request { name: [0; libc::IFNAMSIZ], value: &raw mut value, rest: [0; REST] };
    let bytes = name.as_bytes_with_nul();
    let room = request.name.get_mut(..bytes.len());
    let room = room.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    for (to, from) in room.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    // SAFETY: the request has the layout of `struct ifreq`, its name ends with a zero, and it points to a value
    // with the layout of `struct ethtool_value`; both outlive the call, which writes to nothing else.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 {
        return Ok(value.data & RX_VLAN != 0);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        error => Err(error),
    }
}

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`, with the pointer that is meant here.
#[repr(C)]
struct Request {
    name: [libc::c_char; libc::IFNAMSIZ],
    value: *mut Value,
    rest: [u8; REST],
}

/// What the union of `struct ifreq` has besides a pointer.
const REST: usize = size_of::<libc::ifreq>() - libc::IFNAMSIZ - size_of::<*mut Value>();
const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

// linux/ethtool.h
const GET_FLAGS: u32 = 0x25;
const RX_VLAN: u32 = 1 << 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_loopback_interface_and_no_other() {
        assert!(!strips_vlan_tags("lo").unwrap());
        let error = strips_vlan_tags("no-such-if").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let error = strips_vlan_tags("a-name-longer-than-15").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        assert!(strips_vlan_tags("a\0b").is_err());
    }
}
