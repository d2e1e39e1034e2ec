//! One guest: a QEMU, its control, and what runs in it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::lab::{is_interrupted, pass};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::{
    inside::{Inside, Output},
    qmp::{Event, Qmp},
    who::{Net, Who},
};
use crate::process::{last_lines, line, show, timed};

/// A guest, running or not.
pub(super) struct Guest {
    /// Which one.
    pub(super) who: Who,
    machine: Machine,
    inside: Inside,
    running: Mutex<Option<Running>>,
}

/// How it is started, each time again.
pub(super) struct Machine {
    /// QEMU with its arguments.
    pub(super) command: Box<dyn Fn() -> Command + Send + Sync>,
    /// Where its sockets and logs are.
    pub(super) dir: PathBuf,
}

struct Running {
    qemu: Child,
    qmp: Qmp,
}

impl Guest {
    /// The guest `who`, which is not started yet.
    pub(super) fn new(who: Who, machine: Machine) -> Self {
        let inside = Inside::new(socket(&machine.dir, who, "agent"));
        Self { who, machine, inside, running: Mutex::new(None) }
    }

    /// Starts it, as the power switch does. It is [`up`](Self::wait) later. To be called by the thread that holds the
    /// lab: the guest does not outlive the thread that started it.
    ///
    /// # Errors
    ///
    /// It runs already, or QEMU does not start.
    pub(super) fn start(&self) -> Result<()> {
        let mut place = self.running();
        ensure!(place.is_none(), "{} runs already", self.who);
        let said = self.machine.dir.join(format!("{}.qemu.log", self.who));
        let file = File::create(&said).with_context(|| format!("cannot write {}", said.display()))?;
        let mut command = (self.machine.command)();
        command.stdin(Stdio::null()).stdout(file.try_clone().context("QEMU's output")?).stderr(file);
        let mut qemu = command.spawn().with_context(|| format!("cannot run `{}`", line(&command)))?;
        match control(&mut qemu, &socket(&self.machine.dir, self.who, "qmp")) {
            Ok(qmp) => *place = Some(Running { qemu, qmp }),
            Err(error) => {
                end(&mut qemu);
                show(std::fs::read_to_string(&said).unwrap_or_default());
                return Err(error.context(format!("starting {}", self.who)));
            }
        }
        Ok(())
    }

    /// Starts it, and waits until it has booted.
    ///
    /// # Errors
    ///
    /// It runs already, or does not boot.
    pub(super) fn boot(&self) -> Result<()> {
        self.start()?;
        timed(&format!("boot of {}", self.who), || self.wait())
    }

    /// Waits until it has booted, and sets its clock by this machine's: its own came up to a second late.
    ///
    /// # Errors
    ///
    /// It does not within five minutes: then the end of its console is shown.
    pub(super) fn wait(&self) -> Result<()> {
        let waited = self.inside.wait(BOOT).and_then(|()| self.set_clock());
        if waited.is_err() && !is_interrupted() {
            let text = std::fs::read(self.console()).unwrap_or_default();
            show(last_lines(&String::from_utf8_lossy(&text), CONSOLE_LINES));
        }
        waited.with_context(|| format!("{}, whose whole console is {}", self.who, self.console().display()))
    }

    /// The file with all that its kernel has said.
    pub(super) fn console(&self) -> PathBuf {
        self.machine.dir.join(format!("{}.console.log", self.who))
    }

    /// Runs `command` by its shell, and returns what it printed. It has [`PATIENCE`].
    ///
    /// # Errors
    ///
    /// It fails, or takes longer, or the guest does not answer.
    pub(super) fn run(&self, command: &str) -> Result<String> {
        self.try_run(command, PATIENCE)?.ok().with_context(|| format!("`{command}` on {}", self.who))
    }

    /// The same, also if it fails.
    ///
    /// # Errors
    ///
    /// It takes longer than `patience`, or the guest does not answer.
    pub(super) fn try_run(&self, command: &str, patience: Duration) -> Result<Output> {
        self.inside.run(command, patience).with_context(|| self.who.to_string())
    }

    /// Runs `command` again and again until it succeeds, and returns what it printed then.
    ///
    /// # Errors
    ///
    /// It does not within `patience`.
    pub(super) fn until(&self, command: &str, patience: Duration) -> Result<String> {
        let began = Instant::now();
        loop {
            let output = self.try_run(command, patience)?;
            if output.code == 0 {
                return Ok(output.out);
            }
            if began.elapsed() > patience {
                return output.ok().with_context(|| format!("`{command}` on {}, for {patience:?}", self.who));
            }
            pass(LOOK)?;
        }
    }

    /// Writes `contents` to its file `path`.
    ///
    /// # Errors
    ///
    /// It cannot.
    pub(super) fn put(&self, path: &str, contents: &[u8]) -> Result<()> {
        self.inside.put(path, contents).with_context(|| format!("{path} on {}", self.who))
    }

    /// The contents of its file `path`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.inside.get(path).with_context(|| format!("{path} on {}", self.who))
    }

    /// Cuts its power: QEMU is killed. Nothing if it does not run.
    pub(super) fn kill(&self) {
        if let Some(mut running) = self.running().take() {
            end(&mut running.qemu);
        }
    }

    /// Whether it has power.
    pub(super) fn is_on(&self) -> bool {
        self.running().is_some()
    }

    /// Stops its processor and its clock.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub(super) fn freeze(&self) -> Result<()> {
        self.control("stop", &json!({}))
    }

    /// Has it go on.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub(super) fn thaw(&self) -> Result<()> {
        self.control("cont", &json!({}))
    }

    /// Presses its reset button.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub(super) fn reset(&self) -> Result<()> {
        self.control("system_reset", &json!({}))
    }

    /// Pulls its cable to `net`: it loses its carrier.
    ///
    /// # Errors
    ///
    /// It does not run, or has none.
    pub(super) fn cut_link(&self, net: Net) -> Result<()> {
        self.control("set_link", &json!({ "name": net.to_string(), "up": false }))
    }

    /// Plugs it in again.
    ///
    /// # Errors
    ///
    /// It does not run, or has none.
    pub(super) fn join_link(&self, net: Net) -> Result<()> {
        self.control("set_link", &json!({ "name": net.to_string(), "up": true }))
    }

    /// What QEMU has said of it since it was started: `RESET`, `STOP`, `GUEST_PANICKED` and the like.
    pub(super) fn events(&self) -> Vec<Event> {
        self.running().as_ref().map(|running| running.qmp.events()).unwrap_or_default()
    }

    /// Waits for an event `name` that comes at or after `since`.
    ///
    /// # Errors
    ///
    /// None comes within `patience`.
    pub(super) fn wait_event(&self, name: &str, since: Instant, patience: Duration) -> Result<Event> {
        let began = Instant::now();
        loop {
            let events = self.events();
            if let Some(event) = events.into_iter().find(|event| event.name == name && event.at >= since) {
                return Ok(event);
            }
            ensure!(began.elapsed() < patience, "no {name} of {} within {patience:?}", self.who);
            pass(Duration::from_millis(20))?;
        }
    }

    fn set_clock(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock")?;
        self.run(&format!("date --set=@{}.{:03}", now.as_secs(), now.subsec_millis()))?;
        Ok(())
    }

    fn control(&self, name: &str, arguments: &serde_json::Value) -> Result<()> {
        let mut place = self.running();
        let running = place.as_mut().with_context(|| format!("{} does not run", self.who))?;
        running.qmp.command(name, arguments).with_context(|| self.who.to_string())?;
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The socket of a guest's QEMU for `what`: `agent`, `console` or `qmp`.
pub(super) fn socket(dir: &Path, who: Who, what: &str) -> PathBuf {
    dir.join(format!("{who}.{what}"))
}

/// Waits until QEMU listens.
fn control(qemu: &mut Child, socket: &Path) -> Result<Qmp> {
    let began = Instant::now();
    loop {
        match Qmp::connect(socket) {
            Ok(qmp) => return Ok(qmp),
            Err(error) => {
                ensure!(began.elapsed() < PATIENCE && !is_interrupted(), error);
            }
        }
        if let Some(status) = qemu.try_wait().context("QEMU")? {
            bail!("QEMU has ended ({status})");
        }
        pass(Duration::from_millis(20))?;
    }
}

fn end(qemu: &mut Child) {
    // It may have ended by itself.
    let _ = qemu.kill();
    let _ = qemu.wait();
}

/// Long enough for whatever does not hang, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// Long enough for a guest to boot while others do.
const BOOT: Duration = Duration::from_mins(5);
const LOOK: Duration = Duration::from_millis(100);
const CONSOLE_LINES: usize = 40;
