//! An interface's settings in `/proc/sys/net`, of the network namespace that the calling thread is in.

use std::io;
use std::path::PathBuf;

use super::interface_name;

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `net.ipv4.conf`
    V4,
    /// `net.ipv6.conf`
    V6,
}

/// Reads a setting of the interface with this index, whatever its name is now.
///
/// # Errors
///
/// `ENODEV` if the interface is gone, `ENOENT` if it has no such setting (IPv6 may be missing),
/// `InvalidData` if it is no number.
pub fn read(family: Family, ifindex: u32, setting: &str) -> io::Result<i32> {
    parse(&std::fs::read_to_string(path(family, ifindex, setting)?)?)
}

fn parse(text: &str) -> io::Result<i32> {
    text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads a setting of the interface with this index of which the larger one counts, its own or that of all interfaces
/// (`rp_filter`, `arp_ignore`, `arp_announce`).
///
/// # Errors
///
/// As [`read`].
pub fn effective(family: Family, ifindex: u32, setting: &str) -> io::Result<i32> {
    let own = read(family, ifindex, setting)?;
    let all = parse(&std::fs::read_to_string(named(family, "all", setting))?)?;
    Ok(own.max(all))
}

/// Changes a setting of the interface with this index.
///
/// # Errors
///
/// The same, and `EACCES` or `EROFS` where `/proc/sys` can't be written, as in many containers.
pub fn write(family: Family, ifindex: u32, setting: &str, value: i32) -> io::Result<()> {
    std::fs::write(path(family, ifindex, setting)?, value.to_string())
}

fn path(family: Family, ifindex: u32, setting: &str) -> io::Result<PathBuf> {
    Ok(named(family, &interface_name::of(ifindex)?, setting))
}

fn named(family: Family, name: &str, setting: &str) -> PathBuf {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    ["/proc/sys/net", family, "conf", name, setting].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_loopback_interface() {
        // Whatever it is: a number.
        assert!(read(Family::V4, 1, "arp_ignore").unwrap() >= 0);
        assert_eq!(read(Family::V4, 1, "no_such_setting").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(Family::V4, u32::MAX, "arp_ignore").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
