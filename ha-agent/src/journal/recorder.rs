//! Writes down what the machines are told and what they decide, for [`replay`](super::replay).
//!
//! The fast thread hands over each step and goes on: it neither writes nor waits, and what a slow disk leaves no room
//! for is counted, not kept. A thread of normal priority writes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TryRecvError, error::TrySendError};
use tokio::sync::oneshot;

use super::trace::{Header, Line, Step};
use crate::cli::exit::Exit;
use crate::core::Command;

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Nothing is written over.
    #[error("{} exists already; name a new file with --record, or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It can't be made.
    #[error("{} can't be made: {cause}; name a file in a directory that can be written with --record", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

impl RecordError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Create { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::Exists { .. } | Self::Create { .. } => Exit::CantCreate,
        }
    }
}

/// A recording that has not begun: a new file, empty, which only its owner may read. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Recording {
    file: File,
    unused: Unused,
}

impl Recording {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// If it exists, or can't be made.
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        let path = path.to_owned();
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Self { file, unused: Unused(Some(path)) }),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Err(RecordError::Exists { path }),
            Err(cause) => Err(RecordError::Create { path, cause }),
        }
    }

    /// Begins: what the recorder is given from now on is written. The receiver receives when all of it is, after the
    /// recorder is gone.
    ///
    /// # Errors
    ///
    /// If the writing thread can't be started.
    pub fn begin(mut self, header: Header) -> io::Result<(Recorder, oneshot::Receiver<()>)> {
        let path = self.unused.0.take().unwrap_or_default();
        let (steps, queue) = mpsc::channel(CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        let (written, all_written) = oneshot::channel();
        let writer = Writer { file: BufWriter::new(self.file), queue, lost: Arc::clone(&lost) };
        let thread = thread::Builder::new().name("ha-recorder".to_owned()).spawn(move || {
            match writer.run(&header) {
                Ok(_) => tracing::info!("recorded into {}", path.display()),
                Err(error) => {
                    tracing::error!("{} ends here, and nothing more is recorded: {error}", path.display());
                }
            }
            // The receiver is gone only if the agent ended without waiting.
            let _ = written.send(());
        })?;
        Ok((Recorder { steps, lost, writer: Waker(thread.thread().clone()) }, all_written))
    }
}

/// The fast thread's end.
#[derive(Debug)]
pub struct Recorder {
    // Dropped before the waker wakes: then the writer finds that nothing follows.
    steps: mpsc::Sender<Queued>,
    /// Steps since the last one for which there was room.
    lost: Arc<AtomicU64>,
    writer: Waker,
}

impl Recorder {
    /// Hands a step over. Never waits: without room it is counted only; and once a recording has failed, this does
    /// nothing.
    pub fn record(&self, step: Step) {
        let changes = step.commands.iter().any(|command| matches!(command, Command::Notify(_)));
        let lost = self.lost.load(Ordering::Relaxed);
        match self.steps.try_send(Queued { lost, step }) {
            Ok(()) if lost > 0 => self.lost.store(0, Ordering::Relaxed),
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lost.store(lost + 1, Ordering::Relaxed),
            Err(TrySendError::Closed(_)) => return,
        }
        // Else it wakes by itself: often enough, and without a system call of ours.
        if changes || self.steps.capacity() < CAPACITY / 2 {
            self.writer.0.unpark();
        }
    }
}

/// A step on its way, and how many before it were lost.
#[derive(Debug)]
struct Queued {
    lost: u64,
    step: Step,
}

/// Wakes the writer a last time when it is dropped.
#[derive(Debug)]
struct Waker(Thread);

impl Drop for Waker {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// Removes the file that nothing was written to.
#[derive(Debug)]
struct Unused(Option<PathBuf>);

impl Drop for Unused {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // If somebody else has removed it, all the better.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The writing thread.
struct Writer<W> {
    file: W,
    queue: mpsc::Receiver<Queued>,
    lost: Arc<AtomicU64>,
}

impl<W: Write> Writer<W> {
    /// Writes until the recorder is gone. Returns where to.
    fn run(mut self, header: &Header) -> io::Result<W> {
        self.write(header)?;
        loop {
            match self.queue.try_recv() {
                Ok(Queued { lost, step }) => {
                    self.write_lost(lost)?;
                    self.write(&Line::Step(step))?;
                }
                Err(TryRecvError::Empty) => {
                    self.file.flush()?;
                    thread::park_timeout(FLUSH);
                }
                Err(TryRecvError::Disconnected) => {
                    self.write_lost(self.lost.load(Ordering::Relaxed))?;
                    self.write(&Line::End)?;
                    self.file.flush()?;
                    return Ok(self.file);
                }
            }
        }
    }

    fn write_lost(&mut self, lost: u64) -> io::Result<()> {
        if lost > 0 { self.write(&Line::Lost(lost)) } else { Ok(()) }
    }

    fn write(&mut self, line: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }
}

/// Steps that wait for a slow disk: two minutes and a half of one virtual host at 10 ms, half a second of 255.
const CAPACITY: usize = 16_384;
/// The longest that a step waits to be written.
const FLUSH: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
