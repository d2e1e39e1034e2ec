//! A terminal without anybody before it: a program runs in it, and what it shows is read off.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use crate::netns::Netns;
use crate::process::Process;

/// A program in a terminal; killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    /// Open here as well: so that it can be asked how it is once the program has ended.
    slave: OwnedFd,
    screen: Arc<Screen>,
}

struct Screen {
    parser: Mutex<vt100::Parser>,
    changed: Condvar,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Terminal {
    /// Starts a program in a terminal of this size.
    ///
    /// # Errors
    ///
    /// If there is no terminal, or the program can't be started.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).context("a pseudo-terminal")?;
        let end = || Ok::<_, std::io::Error>(Stdio::from(slave.try_clone()?));
        command
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR");
        let child = command.spawn()?;
        let parser = Mutex::new(vt100::Parser::new(rows, columns, 0));
        let screen = Arc::new(Screen { parser, changed: Condvar::new() });
        let master = File::from(master);
        let (mut output, shown) = (master.try_clone()?, Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.lock().process(bytes.get(..length).unwrap_or_default());
                shown.changed.notify_all();
            }
        });
        Ok(Self { child, master, slave, screen })
    }

    /// The same in a namespace, and as at a desk: `^C` is a signal there, and so is the end of the terminal.
    ///
    /// # Errors
    ///
    /// If there is no terminal, or the program can't be started.
    pub fn start_in(netns: &Netns, command: &Command, rows: u16, columns: u16) -> Result<Self> {
        let command = Process::run_by("setsid", &["--ctty"], &Process::tied(command));
        netns.run(move || Self::start(command, rows, columns))?
    }

    /// Presses keys.
    ///
    /// # Errors
    ///
    /// If nobody takes them.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// What it shows now.
    #[must_use]
    pub fn text(&self) -> String {
        self.screen.lock().screen().contents()
    }

    /// Waits until what it shows has this in it. Returns how long that was.
    ///
    /// # Errors
    ///
    /// After `patience`, with what it shows.
    pub fn wait_for(&self, text: &str, patience: Duration) -> Result<Duration> {
        let began = Instant::now();
        let mut parser = self.screen.lock();
        while !parser.screen().contents().contains(text) {
            let left = patience.saturating_sub(began.elapsed());
            ensure!(!left.is_zero(), "no '{text}' in\n{}", parser.screen().contents());
            parser = self.screen.changed.wait_timeout(parser, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(began.elapsed())
    }

    /// Sends the program a signal.
    ///
    /// # Errors
    ///
    /// If it has gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    ///
    /// If it does not end within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the program's end, and demands that the terminal is as it was before.
    ///
    /// # Errors
    ///
    /// If it does not end within `patience`, or leaves the terminal otherwise.
    pub fn end(mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        let status = self.wait(patience)?;
        let flags = tcgetattr(self.slave.as_fd())?.local_flags;
        ensure!(
            flags.contains(LocalFlags::ECHO | LocalFlags::ICANON),
            "keys are not shown any more: {flags:?}"
        );
        while self.screen.lock().screen().alternate_screen() || self.screen.lock().screen().hide_cursor() {
            ensure!(Instant::now() < deadline, "the screen is not as it was:\n{}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
        Ok(status)
    }
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, vt100::Parser> {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
