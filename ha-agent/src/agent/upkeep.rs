//! Keeps everything in line with the interfaces and the configuration, as long as the agent runs.

use std::sync::Arc;
use std::time::Duration;

use ha_common::abi::MAX_HOSTS;
use tokio::sync::{mpsc, watch};

use super::interfaces::Follower;
use super::{AgentError, Files, PATIENCE, Reload, pair};
use crate::config::{self, Change, Config, PeerConfig};
use crate::core::reasons::Heartbeat;
use crate::journal::events::{Events, What};
use crate::net::link::{Interfaces, Monitor};

/// Follows the interfaces for the first time.
pub(super) async fn begin(monitor: &Monitor, follower: &mut Follower) -> Result<(), AgentError> {
    let interfaces = read(monitor).await?;
    match follower.apply(&interfaces).await.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Where the configuration is, and who sees which one is in force.
pub(super) struct Source<'a> {
    /// The files. A recording knows only the virtual hosts that it began with.
    pub(super) files: &'a Files,
    /// Where it is seen.
    pub(super) shown: &'a watch::Sender<Arc<Config>>,
    /// Where is told what became of it.
    pub(super) events: &'a Events,
}

/// Keeps everything in line with the interfaces and the configuration, for ever.
pub(super) async fn follow(
    mut monitor: Monitor,
    follower: &mut Follower,
    reloads: &mut mpsc::Receiver<Reload>,
    source: Source<'_>,
    heartbeat: &watch::Sender<Heartbeat>,
) {
    let mut complaints: Vec<String> = Vec::new();
    let mut applied = None;
    let mut clock = tokio::time::interval(CLOCK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut changed, mut due) = (false, true);
    loop {
        if changed || due {
            let read = read(&monitor).await;
            // What a try that failed has changed itself is no reason for the next one: that would never rest.
            let known = !due && !complaints.is_empty() && read.as_ref().ok() == applied.as_ref();
            if !known {
                let troubles = match &read {
                    Ok(interfaces) => apply(follower, interfaces).await,
                    Err(error) => vec![error.to_string()],
                };
                for trouble in troubles.iter().filter(|trouble| !complaints.contains(*trouble)) {
                    tracing::warn!("{trouble}");
                }
                if let Ok(interfaces) = &read {
                    heartbeat.send_replace(interlink(source.shown.borrow().peer.as_ref(), interfaces));
                }
                complaints = troubles;
                applied = read.ok();
            }
        }
        (changed, due) = (false, false);
        tokio::select! {
            more = monitor.changed() => if more { changed = true } else { return },
            // Also the pace at which an interface that could not be used is tried again.
            _ = clock.tick() => {
                follower.set_clock();
                follower.switch();
                due = !complaints.is_empty();
            }
            reload = reloads.recv() => if let Some(reply) = reload {
                let result = source.reload(follower, &monitor).await;
                // What is new is judged by how the interfaces are now; what failed is tried again.
                due = true;
                match &result {
                    Ok(done) => {
                        source.events.tell(None, What::Reloaded { done: done.clone() });
                    }
                    Err(cause) => {
                        source.events.tell(None, What::NotReloaded { cause: cause.clone() });
                    }
                }
                // Whoever asked may have gone.
                let _ = reply.send(result);
            },
        }
    }
}

/// The interface of the link to the peer: the one with the first address that this node listens at, which is the best path's.
fn interlink(peer: Option<&PeerConfig>, interfaces: &Interfaces) -> Heartbeat {
    let address = peer.and_then(|peer| peer.listen.first()).map(|address| address.ip().to_canonical());
    let Some(address) = address.filter(|address| !address.is_unspecified()) else { return Heartbeat::None };
    match interfaces.iter().find(|interface| interface.ips().any(|own| own == address)) {
        None => Heartbeat::Missing,
        Some(interface) if interface.running => Heartbeat::Up,
        Some(_) => Heartbeat::NoCarrier,
    }
}

/// Brings the follower in line with the interfaces. Returns what is wrong, in sentences.
async fn apply(follower: &mut Follower, interfaces: &Interfaces) -> Vec<String> {
    match tokio::time::timeout(PATIENCE, follower.apply(interfaces)).await {
        Ok(errors) => errors.iter().map(ToString::to_string).collect(),
        Err(_) => vec![AgentError::Silent.to_string()],
    }
}

impl Source<'_> {
    /// Reads the configuration again, and applies it whole or not at all.
    async fn reload(&self, follower: &mut Follower, monitor: &Monitor) -> Result<String, String> {
        let refused = |cause: String| format!("not reloaded, the running configuration stays: {cause}");
        let path = self.files.config.clone();
        let loaded = tokio::task::spawn_blocking(move || config::load(&path)).await;
        let new = loaded
            .map_err(|error| refused(error.to_string()))?
            .map_err(|error| refused(error.to_string()))?;
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        let running = Arc::clone(&self.shown.borrow());
        let reload = running.changes_to(new).map_err(|error| refused(error.to_string()))?;
        self.judge(&running, &reload).map_err(refused)?;
        let interfaces = read(monitor).await.map_err(|error| refused(error.to_string()))?;
        follower.make_ready(&reload, &interfaces).map_err(|error| refused(error.to_string()))?;
        let errors = follower.reload(&reload, &interfaces).await;
        self.shown.send_replace(Arc::new(reload.config));
        if !errors.is_empty() {
            return Err(format!("reloaded, but not all of it works yet: {}", errors.join("; ")));
        }
        let changes: Vec<_> = reload.changes.iter().map(ToString::to_string).collect();
        Ok(if changes.is_empty() {
            "reloaded: nothing is new".to_owned()
        } else {
            format!("reloaded: {}", changes.join("; "))
        })
    }

    /// What makes a sense of its own, and can't be had while this agent runs.
    fn judge(&self, running: &Config, reload: &config::Reload) -> Result<(), String> {
        let new = &reload.config;
        if new.vhosts.len() > MAX_HOSTS {
            return Err(AgentError::TooMany(new.vhosts.len()).to_string());
        }
        let comes_or_goes = |change: &Change| matches!(change, Change::Added { .. } | Change::Removed { .. });
        if !reload.changes.iter().any(comes_or_goes) {
            return Ok(());
        }
        if self.files.record.is_some() {
            return Err("this agent makes a recording (--record), in which virtual hosts can't come and go; end it, and start it \
                        without"
                .to_owned());
        }
        if new.peer.is_some() && pair::patience(new) > pair::patience(running) {
            return Err("the virtual host that was added waits longer for a silent master than all others, and the pair reckons with \
                        what was there when it began; `ha-agent restart` applies it"
                .to_owned());
        }
        Ok(())
    }
}

/// Reads the interfaces.
async fn read(monitor: &Monitor) -> Result<Interfaces, AgentError> {
    match tokio::time::timeout(PATIENCE, monitor.interfaces()).await {
        Ok(read) => read.map_err(AgentError::Netlink),
        Err(_) => Err(AgentError::Silent),
    }
}

/// How often the kernel program is told the time of day, and what went wrong is tried again.
const CLOCK: Duration = Duration::from_secs(1);
