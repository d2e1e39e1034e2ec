//! How the process ends, told to the shell and to the service manager.

use std::process::ExitCode;

/// The exit code of every subcommand. Values from 64 up are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// 0: done as asked, or left in order after a signal.
    Ok = 0,
    /// 1: what is decided now is not what was recorded; or two configurations differ.
    Differs = 1,
    /// 2: the command line is wrong (the command-line parser's own code).
    Usage = 2,
    /// 3: the worst that `status`, `drill` or `check` shows is a warning.
    Warning = 3,
    /// 4: `status` is answered, and shows something critical.
    Critical = 4,
    /// 5: the active role did not move as it was asked for.
    NotMoved = 5,
    /// 6: an update was halted, and not all nodes run the new agent.
    Halted = 6,
    /// 65: a file that was named is not what it should be.
    Data = 65,
    /// 69: something that we need is not there: an interface, BPF in the kernel, a running agent.
    Unavailable = 69,
    /// 70: an error in this program.
    Software = 70,
    /// 71: the operating system failed: out of memory or descriptors, an I/O error.
    Os = 71,
    /// 73: a file can't be made.
    CantCreate = 73,
    /// 77: the user or its capabilities do not suffice.
    NoPermission = 77,
    /// 78: the configuration or the passphrase file is missing or wrong.
    Config = 78,
}

impl Exit {
    /// The number that the parent process sees, 0 to 78.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
