//! Watching the shared disks: whether the peer renews its keys on them, and which they are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, interval};

use super::Disks;
use super::fencing::VolumeFence;
use super::parts::Volume;
use crate::fence::Disk;
use crate::fence::heartbeat::{Rhythm, Watcher};
use crate::resource::{Stop, Within};

/// What is watched.
pub(super) struct Watched {
    pub(super) fences: Vec<Arc<VolumeFence>>,
    pub(super) volumes: Vec<Volume>,
    /// How the peer renews its keys; `None` if nothing is reserved.
    pub(super) rhythm: Option<Rhythm>,
}

/// Disks as they were found last.
struct Found {
    serials: BTreeSet<String>,
    /// Those that keys are renewed on.
    disks: Vec<Arc<Disk>>,
}

/// Watches as long as anybody wants to know.
pub(super) async fn watch(watched: Watched, shown: watch::Sender<Disks>) {
    let watched = Arc::new(watched);
    let often = watched.rhythm.map_or(SURVEY, |rhythm| rhythm.interval / 2);
    let mut ticks = interval(often.max(LEAST));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut reader, mut names, mut surveyed) = (None, Vec::new(), None::<Instant>);
    let mut survey = None;
    while !shown.is_closed() {
        if survey.is_none() && surveyed.is_none_or(|at| at.elapsed() >= SURVEY) {
            let watched = Arc::clone(&watched);
            survey = Some(tokio::task::spawn_blocking(move || find(&watched)));
        }
        if survey.as_ref().is_some_and(tokio::task::JoinHandle::is_finished)
            && let Some(done) = survey.take()
            && let Ok(found) = done.await
        {
            surveyed = Some(Instant::now());
            shown.send_if_modified(|shown| {
                let is_new = shown.serials != found.serials;
                shown.serials = found.serials;
                is_new
            });
            let new: Vec<String> = found.disks.iter().map(|disk| disk.name().to_owned()).collect();
            if let Some(rhythm) = watched.rhythm.filter(|_| names != new) {
                names = new;
                reader = Watcher::start(&found.disks, rhythm)
                    .inspect_err(|error| tracing::error!("the keys on the disks can't be watched: {error}"))
                    .ok();
            }
        }
        if let Some(word) = reader.as_ref().map(Watcher::word) {
            shown.send_if_modified(|shown| {
                let is_new = shown.keys != word.keys;
                shown.keys = word.keys;
                is_new
            });
        }
        ticks.tick().await;
    }
}

fn find(watched: &Watched) -> Found {
    let mut found = Found { serials: BTreeSet::new(), disks: Vec::new() };
    if let Ok(stop) = Stop::new() {
        let within = Within::new(TIME, stop);
        for fence in &watched.fences {
            // What is wrong with it, the fence itself says when it is looked at.
            if let Err(failure) = fence.survey(&within) {
                tracing::debug!("{failure}");
            }
            found.disks.extend(fence.chosen());
        }
    }
    for volume in &watched.volumes {
        let disks = match volume {
            Volume::Pool(pool) => pool.disks(),
            Volume::Mount(mount) => mount.disks(),
        };
        found.serials.extend(disks.into_iter().filter_map(|disk| disk.serial));
    }
    found
}

/// How often the disks are looked for.
const SURVEY: Duration = Duration::from_secs(10);
/// How long that may take.
const TIME: Duration = Duration::from_secs(30);
/// The word of the keys is asked for no more often than this.
const LEAST: Duration = Duration::from_millis(20);
