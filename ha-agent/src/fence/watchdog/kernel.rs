//! The watchdog of the machine (linux/watchdog.h).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{About, Dog, Kennel};

/// The watchdog at a path.
#[derive(Clone, Debug)]
pub struct KernelDog(PathBuf);

/// One that was opened.
#[derive(Debug)]
struct Opened {
    file: File,
    /// Whether the kernel refuses to stop it, if it tells.
    no_way_out: Option<bool>,
}

impl KernelDog {
    /// The one at this path: `/dev/watchdog` for the first.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Kennel for KernelDog {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn is_there(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|metadata| metadata.file_type().is_char_device())
    }

    fn open(&self) -> io::Result<Box<dyn Dog>> {
        // Anything else would not notice, and would not reset the machine.
        if fs::metadata(&self.0).is_ok() && !self.is_there() {
            return Err(io::Error::other("it is no character device"));
        }
        let file = OpenOptions::new().write(true).open(&self.0)?;
        let no_way_out = no_way_out(Path::new("/sys"), &file);
        Ok(Box::new(Opened { file, no_way_out }))
    }
}

impl Dog for Opened {
    fn about(&self) -> io::Result<About> {
        let mut info = Info { options: 0, firmware: 0, identity: [0; 32] };
        // SAFETY: the structure has the layout of `struct watchdog_info`, which the kernel fills in; it outlives the call.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), GET_SUPPORT, &raw mut info) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let identity = info.identity.split(|byte| *byte == 0).next().unwrap_or_default();
        let can_stop = self.no_way_out.map_or(info.options & MAGIC_CLOSE != 0, |no_way_out| !no_way_out);
        Ok(About { identity: String::from_utf8_lossy(identity).into_owned(), can_stop })
    }

    fn set_timeout(&self, timeout: Duration) -> io::Result<Duration> {
        let seconds = libc::c_int::try_from(timeout.as_secs().max(1)).unwrap_or(libc::c_int::MAX);
        self.number(SET_TIMEOUT, seconds)?;
        let seconds = self.number(GET_TIMEOUT, 0)?;
        Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    }

    fn feed(&self) -> io::Result<()> {
        self.number(KEEP_ALIVE, 0).map(drop)
    }

    fn stop(mut self: Box<Self>) -> io::Result<()> {
        // The kernel takes a close for the end of whoever should feed it, unless this was written before.
        self.file.write_all(b"V")
    }
}

impl Opened {
    fn number(&self, request: libc::Ioctl, mut number: libc::c_int) -> io::Result<libc::c_int> {
        // SAFETY: all requests that come here read or write an int, which outlives the call.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), request, &raw mut number) };
        if result == 0 { Ok(number) } else { Err(io::Error::last_os_error()) }
    }
}

/// Whether the kernel would refuse to stop it, as `/sys` has it; `None` if that does not tell.
fn no_way_out(sys: &Path, file: &File) -> Option<bool> {
    let device = file.metadata().ok()?.rdev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    // The old name stands for the first one.
    let directory =
        if (major, minor) == OLD { "class/watchdog/watchdog0" } else { &format!("dev/char/{major}:{minor}") };
    let word = fs::read_to_string(sys.join(directory).join("nowayout")).ok()?;
    Some(word.trim() != "0")
}

/// `struct watchdog_info`
#[repr(C)]
struct Info {
    options: u32,
    firmware: u32,
    identity: [u8; 32],
}
const _: () = assert!(size_of::<Info>() == 40);

// linux/watchdog.h
const GET_SUPPORT: libc::Ioctl = 0x8028_5700;
const KEEP_ALIVE: libc::Ioctl = 0x8004_5705;
const SET_TIMEOUT: libc::Ioctl = 0xc004_5706;
const GET_TIMEOUT: libc::Ioctl = 0x8004_5707;
const MAGIC_CLOSE: u32 = 0x0100;
/// `/dev/watchdog`, major and minor number.
const OLD: (u32, u32) = (10, 130);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_watchdog_is_none() -> anyhow::Result<()> {
        let none = KernelDog::new("/dev/no-such-watchdog".into());
        assert!(!none.is_there());
        assert_eq!(none.open().expect_err("none").kind(), io::ErrorKind::NotFound);
        let null = KernelDog::new("/dev/null".into()).open()?;
        assert_eq!(null.about().expect_err("none").raw_os_error(), Some(libc::ENOTTY));
        assert!(null.set_timeout(Duration::from_secs(5)).is_err() && null.feed().is_err());
        let file = tempfile::NamedTempFile::new()?;
        let file = KernelDog::new(file.path().to_owned());
        assert!(!file.is_there() && file.open().is_err());
        Ok(())
    }

    #[test]
    fn sys_tells_whether_it_can_be_stopped() -> anyhow::Result<()> {
        let (sys, null) = (tempfile::tempdir()?, File::open("/dev/null")?);
        assert_eq!(no_way_out(sys.path(), &null), None);
        let directory = sys.path().join("dev/char/1:3");
        fs::create_dir_all(&directory)?;
        for (word, expected) in [("0\n", false), ("1\n", true)] {
            fs::write(directory.join("nowayout"), word)?;
            assert_eq!(no_way_out(sys.path(), &null), Some(expected));
        }
        Ok(())
    }
}
