//! A stand-in for the system's programs, which can fail at any call.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::resource::{CommandError, Invocation, Output, Run, Stop, Within};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does nothing, and says that it has failed.
    Fails,
    /// It does nothing, and is killed at the deadline.
    Hangs,
    /// It does what it is told, but does not come back.
    HangsAfterwards,
    /// It is not installed.
    Missing,
}

pub(crate) const FAULTS: [Fault; 4] = [Fault::Fails, Fault::Hangs, Fault::HangsAfterwards, Fault::Missing];

/// What a program does: its exit code, and what it says on its two outputs.
type Act = dyn Fn(&[String]) -> (i32, String, String) + Send + Sync;

/// Programs that `act` stands in for.
pub(crate) struct Double {
    act: Box<Act>,
    fault: Mutex<Option<(usize, Fault)>>,
    calls: Mutex<Vec<String>>,
}

impl Double {
    pub(crate) fn new(act: impl Fn(&[String]) -> (i32, String, String) + Send + Sync + 'static) -> Self {
        Self { act: Box::new(act), fault: Mutex::default(), calls: Mutex::default() }
    }

    /// From now on, this goes wrong at the call of this number (the next one is 0), or nothing does.
    pub(crate) fn fail(&self, fault: Option<(usize, Fault)>) {
        *hold(&self.fault) = fault;
        hold(&self.calls).clear();
    }

    /// The calls since then.
    pub(crate) fn calls(&self) -> Vec<String> {
        hold(&self.calls).clone()
    }
}

impl Run for Double {
    fn run(&self, invocation: &Invocation, _: &Within) -> Result<Output, CommandError> {
        let command = invocation.to_string();
        let number = hold(&self.calls).len();
        hold(&self.calls).push(command.clone());
        let fault = hold(&self.fault).filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let over = || CommandError::Over { command: command.clone(), after: Duration::ZERO, stopped: false };
        let mut line = vec![invocation.program.to_string_lossy().into_owned()];
        line.extend(invocation.arguments.iter().map(|it| it.to_string_lossy().into_owned()));
        let (code, stdout, stderr) = match fault {
            Some(Fault::Fails) => (1, String::new(), "it has failed".to_owned()),
            Some(Fault::Hangs) => return Err(over()),
            Some(Fault::HangsAfterwards) => {
                (self.act)(&line);
                return Err(over());
            }
            Some(Fault::Missing) => return Err(CommandError::Missing(line.swap_remove(0))),
            None => (self.act)(&line),
        };
        Ok(Output { status: ExitStatus::from_raw(code << 8), stdout, stderr })
    }
}

impl fmt::Debug for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Double").finish_non_exhaustive()
    }
}

/// So many milliseconds.
pub(crate) fn within(time: u64) -> anyhow::Result<Within> {
    Ok(Within::new(Duration::from_millis(time), Stop::new()?))
}

fn hold<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
