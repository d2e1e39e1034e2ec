//! What a network card does with frames before anybody sees them.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Whether the interface takes 802.1Q tags off received frames (`rx-vlan-offload` in `ethtool -k`), so that no
/// XDP program sees them. One that knows no such thing does not.
///
/// # Errors
///
/// `ENODEV` if there is no such interface.
pub fn strips_vlan_tags(interface: &str) -> io::Result<bool> {
    match ask(interface, Value { command: GET_FLAGS, data: 0 }) {
        Ok(value) => Ok(value.data & RX_VLAN != 0),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How long a card holds received frames back before it interrupts anybody (`ethtool -c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalescing {
    /// At most so long.
    pub rx: Duration,
    /// Or as long as the driver finds right for the traffic of the moment.
    pub adaptive: bool,
}

/// How long the interface holds received frames back.
///
/// # Errors
///
/// `EOPNOTSUPP` if it does not tell, `ENODEV` if there is no such interface.
pub fn coalescing(interface: &str) -> io::Result<Coalescing> {
    let told = ask(interface, Coalesce { command: GET_COALESCE, ..Coalesce::default() })?;
    Ok(Coalescing { rx: Duration::from_micros(told.rx_us.into()), adaptive: told.adaptive_rx != 0 })
}

/// Lets the driver fill in a request.
fn ask<T: Question>(interface: &str, mut question: T) -> io::Result<T> {
    let name = CString::new(interface)?;
    let mut request = Request { name: [0; libc::IFNAMSIZ], value: &raw mut question, rest: [0; REST] };
    let bytes = name.as_bytes_with_nul();
    let room = request.name.get_mut(..bytes.len());
    let room = room.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    for (to, from) in room.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    // SAFETY: the request has the layout of `struct ifreq`, its name ends with a zero, and it points to a value
    // with the layout that its command stands for; both outlive the call, which writes to nothing else.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(question) } else { Err(io::Error::last_os_error()) }
}

/// Types with the layout of the structure that goes with their command, which is their first field.
trait Question {}

impl Question for Value {}
impl Question for Coalesce {}

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_coalesce`
#[derive(Default)]
#[repr(C)]
struct Coalesce {
    command: u32,
    rx_us: u32,
    _to_statistics: [u32; 8],
    adaptive_rx: u32,
    _to_sampling: [u32; 12],
}
const _: () = assert!(size_of::<Coalesce>() == 23 * size_of::<u32>());

/// `struct ifreq`, with the pointer that is meant here.
#[repr(C)]
struct Request<T> {
    name: [libc::c_char; libc::IFNAMSIZ],
    value: *mut T,
    rest: [u8; REST],
}

/// What the union of `struct ifreq` has besides a pointer.
const REST: usize = size_of::<libc::ifreq>() - libc::IFNAMSIZ - size_of::<*mut Value>();
const _: () = assert!(size_of::<Request<Value>>() == size_of::<libc::ifreq>());

// linux/ethtool.h
const GET_COALESCE: u32 = 0x0e;
const GET_FLAGS: u32 = 0x25;
const RX_VLAN: u32 = 1 << 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_loopback_interface_and_no_other() {
        assert!(!strips_vlan_tags("lo").unwrap());
        let error = coalescing("lo").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "it interrupts nobody");
        for name in ["no-such-if", "a-name-longer-than-15"] {
            let errors = [strips_vlan_tags(name).unwrap_err(), coalescing(name).unwrap_err()];
            assert!(errors.iter().all(|error| error.raw_os_error() == Some(libc::ENODEV)), "{errors:?}");
        }
        assert!(strips_vlan_tags("a\0b").is_err());
    }
}
