//! What can befall a step: its programs and its watchdog, with faults at will. The disks have their own.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_agent::fence::emulated::{Disk, Fault as DiskFault, Operation};
use ha_agent::fence::watchdog::{About, Dog, Kennel};
use ha_agent::resource::{CommandError, Invocation, Output, Run, Stop, System, Within};

/// What becomes of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does nothing, and fails.
    Fails,
    /// It does what it is to do, and fails.
    FailsDone,
    /// It does what it is to do, and does not end until it is killed.
    Dawdles,
    /// It does what it is to do, and never comes back.
    Hangs,
    /// It hangs, and does only when it is let go what it is to do.
    HangsFirst,
    /// There is no such program.
    Missing,
}

/// The fates of a node's actions, by their names: programs, and `start`, `stop` and `check` of the service, and `open`,
/// `set` and `sleep` of the watchdog.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    fates: BTreeMap<&'static str, Fate>,
    /// Of the second disk, once the fence is taken or released.
    disk: Option<(Operation, DiskFault)>,
    /// Nothing hangs any more.
    is_let_go: bool,
    /// The watchdogs that wait for food.
    awake: usize,
}

impl Fates {
    pub(crate) fn set(&self, action: &'static str, fate: Fate) {
        self.state().fates.insert(action, fate);
    }

    /// The second disk fails like that when the fence is taken, or released: not for who only looks at it before.
    pub(crate) fn set_disk(&self, operation: Operation, fault: DiskFault) {
        self.state().disk = Some((operation, fault));
    }

    /// Now it is taken or released.
    pub(crate) fn befall(&self, disk: &Disk, node: u32) {
        if let Some((operation, fault)) = self.state().disk.take() {
            disk.fail(node, operation, fault);
        }
    }

    /// From now on all goes well, and what hangs goes on.
    pub(crate) fn mend(&self) {
        let mut state = self.state();
        state.fates.clear();
        state.is_let_go = true;
        self.changed.notify_all();
    }

    /// How many watchdogs wait for food.
    pub(crate) fn awake(&self) -> usize {
        self.state().awake
    }

    fn of(&self, action: &str) -> Option<Fate> {
        self.state().fates.get(action).copied()
    }

    fn hang(&self) {
        let state = self.state();
        drop(self.changed.wait_while(state, |state| !state.is_let_go));
    }

    /// Does something, or what else is its fate; what can't be killed hangs instead.
    fn act<T>(&self, action: &str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let refused = || io::Error::other("it was told to fail");
        match self.of(action) {
            None => act(),
            Some(Fate::Fails) => Err(refused()),
            Some(Fate::Missing) => Err(io::ErrorKind::NotFound.into()),
            Some(Fate::FailsDone) => act().and(Err(refused())),
            Some(Fate::Dawdles | Fate::Hangs) => {
                let done = act();
                self.hang();
                done
            }
            Some(Fate::HangsFirst) => {
                self.hang();
                act()
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The programs of one node, which run in its mount namespace.
#[derive(Debug)]
pub(crate) struct Programs {
    /// One of its processes.
    pub(crate) process: u32,
    pub(crate) fates: Arc<Fates>,
}

impl Programs {
    fn there(&self, invocation: &Invocation) -> Invocation {
        let process = self.process.to_string();
        let enter = ["--mount", "--target", &process, "--"].map(Into::into);
        let line = [invocation.program.clone()].into_iter().chain(invocation.arguments.clone());
        Invocation::new("nsenter", enter.into_iter().chain(line)).reading(invocation.input.clone())
    }
}

impl Run for Programs {
    fn run(&self, invocation: &Invocation, within: &Within) -> Result<Output, CommandError> {
        let action = invocation
            .arguments
            .iter()
            .find_map(|it| it.to_str()?.strip_prefix("HA_ACTION="))
            .or(invocation.program.to_str())
            .unwrap_or_default();
        let act = || System.run(&self.there(invocation), within);
        let failed = || Output {
            status: ExitStatus::from_raw(1 << 8),
            stdout: String::new(),
            stderr: "it was told to fail".to_owned(),
        };
        match self.fates.of(action) {
            None => act(),
            Some(Fate::Fails) => Ok(failed()),
            Some(Fate::FailsDone) => act().map(|_| failed()),
            Some(Fate::Dawdles) => {
                act()?;
                System.run(&self.there(&Invocation::new("sleep", ["600"])), within)
            }
            Some(Fate::Hangs) => {
                let done = act();
                self.fates.hang();
                done
            }
            Some(Fate::HangsFirst) => {
                self.fates.hang();
                // What has reached the kernel is done, whatever was wanted since.
                let stop =
                    Stop::new().map_err(|cause| CommandError::Io { program: action.to_owned(), cause })?;
                System.run(&self.there(invocation), &Within::new(LATE, stop))
            }
            // Whether `env` lacks the program, or it is lacking itself, is not the same.
            Some(Fate::Missing) if invocation.program == "env" => {
                Ok(Output { status: ExitStatus::from_raw(127 << 8), ..failed() })
            }
            Some(Fate::Missing) => System.run(&Invocation::new("/no/such/program", [""; 0]), within),
        }
    }
}

/// Where a node finds its watchdog.
#[derive(Debug)]
pub(crate) struct Toys(pub(crate) Arc<Fates>);

#[derive(Debug)]
struct Toy(Arc<Fates>);

impl Kennel for Toys {
    fn name(&self) -> String {
        "toy".to_owned()
    }

    fn is_there(&self) -> bool {
        true
    }

    fn open(&self) -> io::Result<Box<dyn Dog>> {
        self.0.act("open", || {
            self.0.state().awake += 1;
            Ok(Box::new(Toy(Arc::clone(&self.0))) as Box<dyn Dog>)
        })
    }
}

impl Dog for Toy {
    fn about(&self) -> io::Result<About> {
        Ok(About { identity: "Toy".to_owned(), can_stop: true })
    }

    fn set_timeout(&self, timeout: Duration) -> io::Result<Duration> {
        self.0.act("set", || Ok(timeout))
    }

    fn feed(&self) -> io::Result<()> {
        Ok(())
    }

    fn stop(self: Box<Self>) -> io::Result<()> {
        self.0.act("sleep", || {
            self.0.state().awake -= 1;
            Ok(())
        })
    }
}

const LATE: Duration = Duration::from_secs(20);
