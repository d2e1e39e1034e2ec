//! A node that may not go on ends itself: at once, whatever still runs or hangs.

use std::fs;
use std::io;
use std::time::Duration;

use crate::resource::{Failure, Invocation, Run, Stop, Within};

/// How a node ends itself when it can't release what it may not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfFence {
    /// The machine is reset, without a word to anybody: nothing is written any more.
    Reset,
    /// The agent ends. What becomes of the machine is left to a watchdog that nobody feeds then.
    Exit,
    /// A program and its arguments.
    Command(Vec<String>),
}

impl SelfFence {
    /// Does it. Returns only if it failed, or if a command ended well and the machine goes on.
    ///
    /// # Errors
    ///
    /// Why it was not done.
    pub fn carry_out(&self, run: &dyn Run) -> Result<(), Failure> {
        match self {
            Self::Reset => Err(Failure::system("this machine can't be reset", &reset())),
            // SAFETY: this points nowhere. It ends the process without its last rites, any of which could hang.
            Self::Exit => unsafe { libc::_exit(EXIT) },
            Self::Command(line) => {
                let mut words = line.iter();
                let program = words.next().map_or("", String::as_str);
                let invocation = Invocation::new(program, words);
                let stop = Stop::new().map_err(|error| Failure::system("nothing can be run", &error))?;
                let output = run.run(&invocation, &Within::new(PATIENCE, stop))?;
                output.success(&invocation, crate::resource::Cause::Other, "see why it fails").map(drop)
            }
        }
    }
}

/// Resets the machine, or says why that failed.
fn reset() -> io::Error {
    // The first way needs no more of the kernel than that it writes a byte. Root may always write there.
    let by_key = fs::write("/proc/sysrq-trigger", "b");
    // SAFETY: this has no argument that points anywhere. It is not undone: that is what it is for.
    let result = unsafe { libc::reboot(libc::RB_AUTOBOOT) };
    let error = io::Error::last_os_error();
    match by_key {
        Err(by_key) if result != 0 => {
            io::Error::new(error.kind(), format!("{error}; /proc/sysrq-trigger: {by_key}"))
        }
        Ok(()) | Err(_) => error,
    }
}

/// What the agent ends with then: `EX_OSERR` of sysexits.h.
const EXIT: i32 = 71;
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Cause, System};

    // The other two are not tried in tests, for a reason.
    #[test]
    fn a_command_is_run_and_its_failure_told() {
        let command = |line: &[&str]| SelfFence::Command(line.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(command(&["true"]).carry_out(&System), Ok(()));
        let failed = command(&["sh", "-c", "echo no >&2; exit 1"]).carry_out(&System).expect_err("it fails");
        assert!(failed.what.ends_with("no"), "{failed}");
        assert_eq!(command(&["no-such-program"]).carry_out(&System).expect_err("none").cause, Cause::NoTool);
    }
}
