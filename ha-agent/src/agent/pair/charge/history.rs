//! The takeovers of this node, kept over restarts: how long each step took.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::control::status::StepTimeStatus;
use crate::core::pair::Generation;
use crate::exec::conductor::{Doing, Shown, StepTime};
use crate::journal::events::{Events, What};
use crate::sys::replace::replace;

/// A takeover that came to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Takeover {
    /// When it ended.
    pub(super) at: Timestamp,
    pub(super) generation: Generation,
    pub(super) steps: Vec<StepTime>,
}

/// Where the file is.
pub(super) fn path(state: &Path) -> PathBuf {
    state.join("takeovers.json")
}

/// What it says, the oldest first; nothing if there is none, or if it can't be read: it is there to be looked at.
pub(super) fn read(path: &Path) -> Vec<Takeover> {
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Adds each takeover, as long as there is something that takes over.
pub(super) async fn keep(path: PathBuf, mut shown: watch::Receiver<Shown>, events: Events) {
    let mut before = None;
    loop {
        let is_new = |shown: &Shown| term(shown).is_some_and(|term| Some(term) != before);
        let takeover = match shown.wait_for(is_new).await {
            Ok(shown) => term(&shown).map(|generation| Takeover {
                at: Timestamp::now(),
                generation,
                steps: shown.last.clone(),
            }),
            Err(_) => return,
        };
        let Some(takeover) = takeover else { continue };
        before = Some(takeover.generation);
        let steps: Vec<_> = takeover.steps.iter().map(StepTimeStatus::new).collect();
        if !steps.is_empty() {
            events.tell(None, What::TakeoverSteps { generation: takeover.generation, steps });
        }
        let file = path.clone();
        let added = tokio::task::spawn_blocking(move || add(&file, takeover)).await;
        if let Ok(Err(error)) = added {
            tracing::warn!(
                "{} can't be written: {error}; how long this takeover took is not kept",
                path.display()
            );
        }
    }
}

fn term(shown: &Shown) -> Option<Generation> {
    match shown.doing {
        Doing::Serving(term) => Some(term),
        Doing::Nothing | Doing::Taking(..) | Doing::Releasing(..) | Doing::Unclear(_) => None,
    }
}

fn add(path: &Path, takeover: Takeover) -> io::Result<()> {
    let mut all = read(path);
    all.push(takeover);
    let oldest = all.len().saturating_sub(KEPT);
    replace(path, &serde_json::to_vec(&all.get(oldest..).unwrap_or_default())?)
}

const KEPT: usize = 50;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::plan::Phase;

    #[tokio::test]
    async fn each_takeover_is_kept_once_and_the_oldest_go() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = path(directory.path());
        let (shows, seen) = watch::channel(Shown::default());
        let keeping = tokio::spawn(keep(file.clone(), seen, Events::start(directory.path())));
        let step = StepTime {
            name: "pool tank".to_owned(),
            phase: Phase::Import,
            began: Duration::ZERO,
            took: Duration::from_millis(1500),
            well: true,
        };
        let terms = || (1..=KEPT as u64 + 2).map(Generation::new).collect::<Result<Vec<_>, _>>();
        for term in terms()? {
            shows.send_modify(|shown| {
                (shown.doing, shown.last) = (Doing::Serving(term), vec![step.clone()]);
            });
            // The same once more.
            shows.send_modify(|_| {});
            while read(&file).last().is_none_or(|last| last.generation != term) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let kept = read(&file);
        let generations: Vec<_> = kept.iter().map(|takeover| takeover.generation).collect();
        anyhow::ensure!(generations == terms()?[2..], "{generations:?}");
        anyhow::ensure!(kept.iter().all(|takeover| takeover.steps == [step.clone()]));
        drop(shows);
        keeping.await?;
        fs::write(&file, "{")?;
        anyhow::ensure!(read(&file).is_empty());
        Ok(())
    }
}
