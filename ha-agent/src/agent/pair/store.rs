//! Puts the record on the disk, on a thread of its own: nobody waits for a disk but who has to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::record::{self, RecordFileError};
use crate::agent::detector::Input;
use crate::agent::detector::partner::PairInput;
use crate::core::pair::Record;

/// Where records are put.
#[derive(Debug)]
pub(super) struct RecordStore {
    records: mpsc::Sender<Record>,
    trouble: watch::Receiver<Option<String>>,
}

impl RecordStore {
    /// Writes what comes, in its order, and tells the detector of each that is on the disk. One that can't be written is
    /// tried again, until it can be or a newer one takes its place.
    ///
    /// # Errors
    ///
    /// If there is no thread, or the directory can't be made.
    pub(super) fn start(path: PathBuf, detector: UnboundedSender<Input>) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let (records, queue) = mpsc::channel();
        let (trouble, shown) = watch::channel(None);
        let run = move || keep(&path, &queue, &trouble, &detector);
        thread::Builder::new().name("ha-pair-store".to_owned()).spawn(run)?;
        Ok(Self { records, trouble: shown })
    }

    /// This is to be stored in place of what is there.
    pub(super) fn put(&self, record: Record) {
        // The thread is gone only while the agent ends.
        let _ = self.records.send(record);
    }

    /// Why the newest record is not stored, if so.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }
}

fn keep(
    path: &Path,
    queue: &mpsc::Receiver<Record>,
    trouble: &watch::Sender<Option<String>>,
    detector: &UnboundedSender<Input>,
) {
    let mut unstored = None;
    loop {
        let record = match unstored {
            None => queue.recv().ok(),
            // All in one: the newest has what the others had.
            Some(unstored) => match queue.recv_timeout(RETRY) {
                Ok(newer) => Some(queue.try_iter().last().unwrap_or(newer)),
                Err(RecvTimeoutError::Timeout) => Some(unstored),
                Err(RecvTimeoutError::Disconnected) => None,
            },
        };
        let Some(record) = record else { return };
        let cause = record::write(path, record).err();
        unstored = cause.is_some().then_some(record);
        show(path, cause, trouble);
        if unstored.is_none() {
            // It is gone only while the agent ends.
            let _ = detector.send(Input::Pair(PairInput::Stored(record)));
        }
    }
}

/// Says what is new about it, once.
fn show(path: &Path, cause: Option<io::Error>, trouble: &watch::Sender<Option<String>>) {
    let error = cause.map(|cause| RecordFileError::Io { path: path.to_owned(), verb: "written", cause });
    let cause = error.as_ref().map(RecordFileError::cause);
    let is_new = trouble.send_if_modified(|shown| {
        let is_new = *shown != cause;
        *shown = cause;
        is_new
    });
    match error {
        Some(error) if is_new => tracing::error!("{error}"),
        None if is_new => tracing::info!("{} is written again", path.display()),
        Some(_) | None => {}
    }
}

/// How often a disk is tried that refused.
const RETRY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result, ensure};

    use super::*;

    fn record(starts: u64) -> Record {
        Record { starts, ..Record::default() }
    }

    fn stored(input: Option<&Input>) -> Result<u64> {
        let Some(Input::Pair(PairInput::Stored(record))) = input else { anyhow::bail!("{input:?}") };
        Ok(record.starts)
    }

    #[tokio::test]
    async fn each_record_is_told_once_it_can_be_read() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = record::path(&directory.path().join("made"));
        let (detector, mut inputs) = tokio::sync::mpsc::unbounded_channel();
        let store = RecordStore::start(path.clone(), detector)?;
        for starts in 1..=3 {
            store.put(record(starts));
            let told = stored(inputs.recv().await.as_ref())?;
            assert_eq!((told, record::read(&path)?.starts), (starts, starts));
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_cant_be_written_is_tried_again_and_the_newest_is_stored() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = record::path(directory.path());
        // What is written first is in the way.
        let beside = path.with_extension("new");
        fs::create_dir(&beside)?;
        let (detector, mut inputs) = tokio::sync::mpsc::unbounded_channel();
        let store = RecordStore::start(path.clone(), detector)?;
        let mut trouble = store.trouble();
        store.put(record(1));
        trouble.wait_for(Option::is_some).await?;
        for starts in 2..=4 {
            store.put(record(starts));
        }
        ensure!(inputs.try_recv().is_err(), "it is told as stored");
        fs::remove_dir(&beside)?;
        let waited = tokio::time::timeout(Duration::from_secs(10), trouble.wait_for(Option::is_none));
        drop(waited.await.context("it is not tried again")??);
        let mut told = 0;
        while told < 4 {
            told = stored(inputs.recv().await.as_ref())?;
        }
        ensure!(record::read(&path)?.starts == 4);
        Ok(())
    }
}
