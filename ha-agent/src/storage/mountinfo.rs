//! What is mounted, as the kernel says.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::host::Host;

/// A mount, as in `/proc/self/mountinfo`: proc(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Major and minor number of what is mounted. btrfs and ZFS have numbers of their own.
    pub device: (u32, u32),
    /// Where it is.
    pub at: PathBuf,
    /// ext4, zfs and so on.
    pub kind: String,
    /// The device or the data set.
    pub source: PathBuf,
    /// Whether this mount can only be read.
    pub read_only: bool,
    /// Whether the whole file system can only be read.
    pub all_read_only: bool,
}

/// All mounts that a process sees (`self`, or its number), in the order in which they were made.
///
/// # Errors
///
/// If the kernel does not say. That the process has ended is an error as well.
pub fn mounts(host: &Host, process: &str) -> io::Result<Vec<MountPoint>> {
    let bytes = fs::read(host.path(format!("/proc/{process}/mountinfo")))?;
    Ok(bytes.split(|&byte| byte == b'\n').filter_map(parse).collect())
}

fn parse(line: &[u8]) -> Option<MountPoint> {
    let fields: Vec<_> = line.split(|&byte| byte == b' ').collect();
    // Any number of optional fields, then a hyphen.
    let hyphen = fields.iter().position(|field| *field == b"-")?;
    let (&[_, _, device, _, at, options, ..], &[kind, source, all_options, ..]) =
        (fields.get(..hyphen)?, fields.get(hyphen + 1..)?)
    else {
        return None;
    };
    let (major, minor) = str::from_utf8(device).ok()?.split_once(':')?;
    let path = |field| PathBuf::from(OsString::from_vec(plain(field)));
    let says_ro =
        |options: &[u8]| options.split(|&byte| byte == b',').any(|it| it == b"ro" || it == b"emergency_ro");
    Some(MountPoint {
        device: (major.parse().ok()?, minor.parse().ok()?),
        at: path(at),
        kind: String::from_utf8_lossy(kind).into_owned(),
        source: path(source),
        read_only: says_ro(options),
        all_read_only: says_ro(all_options),
    })
}

/// White space and backslashes are written as a backslash and three octal digits.
fn plain(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'\\'
            && let Some((digits, after)) = after.split_at_checked(3)
            && let Some(code) = str::from_utf8(digits).ok().and_then(|it| u8::from_str_radix(it, 8).ok())
        {
            plain.push(code);
            rest = after;
        } else {
            plain.push(byte);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = br"36 35 98:0 /mnt1 /mnt/a\040b\134c rw,noatime master:1 shared:2 - ext3 /dev/root ro,errors=continue";
        let mount = parse(line).expect("a mount");
        assert_eq!(mount.device, (98, 0));
        assert_eq!(mount.at, PathBuf::from("/mnt/a b\\c"));
        assert_eq!((mount.kind.as_str(), mount.source), ("ext3", PathBuf::from("/dev/root")));
        assert!(!mount.read_only && mount.all_read_only);
        assert_eq!(parse(b"36 35 98:0 / /x rw"), None);
        assert_eq!(parse(b""), None);
        assert_eq!(plain(br"\9\12"), br"\9\12");
    }
}
