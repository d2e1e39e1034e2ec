//! The events on the disk: a JSON object a line, in a file and the one before it.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Event;

/// Where they are written.
#[must_use]
pub fn path(directory: &Path) -> PathBuf {
    directory.join("events.jsonl")
}

/// Reads all of them, the oldest first, until `take` wants no more. What can't be read is left out.
pub fn read(directory: &Path, mut take: impl FnMut(Event) -> bool) {
    for path in [older(directory), path(directory)] {
        let Ok(file) = fs::File::open(path) else { continue };
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut lines).take(LINE_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if let Ok(event) = serde_json::from_slice(&line)
                && !take(event)
            {
                return;
            }
        }
    }
}

/// The last so many, the oldest first; what is far from the end of the files is not looked at.
#[must_use]
pub fn newest(directory: &Path, count: usize) -> Vec<Event> {
    let tails = [older(directory), path(directory)].map(|path| tail(&path).unwrap_or_default());
    let lines = tails.iter().flat_map(|tail| tail.split(|byte| *byte == b'\n'));
    let mut newest: VecDeque<Event> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    newest.drain(..newest.len().saturating_sub(count));
    newest.into()
}

/// The end of a file; its first line may be cut off.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let begin = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Adds an event to what is to be written.
pub(super) fn write_line(text: &mut Vec<u8>, event: &Event) {
    let before = text.len();
    match serde_json::to_writer(&mut *text, event) {
        Ok(()) => text.push(b'\n'),
        Err(error) => {
            tracing::debug!(%error, "an event has no form in JSON");
            text.truncate(before);
        }
    }
}

/// The file that is written.
#[derive(Debug)]
pub(super) struct File {
    directory: PathBuf,
    open: Option<fs::File>,
    size: u64,
    /// The last line may have no end.
    torn: bool,
    /// Since when what was written may be nowhere but in memory.
    unsynced: Option<Instant>,
}

impl File {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), open: None, size: 0, torn: false, unsynced: None }
    }

    /// Opens it, if it is not open.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.opened().map(drop)
    }

    /// Adds lines. Where that fails, they are lost, and those that come later are tried anew.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let result = self.write(lines);
        if result.is_err() {
            (self.open, self.torn) = (None, true);
        }
        result
    }

    /// Puts what was written on the disk itself. Returns at once if nothing was.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match self.open.as_ref().filter(|_| self.unsynced.take().is_some()) {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }

    /// Since when there is something to [sync](Self::sync).
    pub(super) fn unsynced(&self) -> Option<Instant> {
        self.unsynced
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.size >= SIZE_MAX {
            fs::rename(path(&self.directory), older(&self.directory))?;
            self.open = None;
        }
        let torn = std::mem::take(&mut self.torn);
        let file = self.opened()?;
        if torn {
            file.write_all(b"\n")?;
        }
        file.write_all(lines)?;
        self.size += lines.len() as u64;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn opened(&mut self) -> io::Result<&mut fs::File> {
        if self.open.is_none() {
            fs::create_dir_all(&self.directory)?;
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .read(true)
                .mode(0o600)
                .open(path(&self.directory))?;
            self.size = file.metadata()?.len();
            if self.size > 0 {
                let mut last = [0];
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
                self.torn |= last != *b"\n";
            }
            self.open = Some(file);
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn older(directory: &Path) -> PathBuf {
    directory.join("events.1.jsonl")
}

/// From here on a new file is begun, in bytes.
const SIZE_MAX: u64 = 1 << 20;
/// Longest line that is read, in bytes.
const LINE_MAX: u64 = 1 << 20;
/// How much of the end of a file is read at the start, in bytes.
const TAIL: u64 = 64 << 10;
