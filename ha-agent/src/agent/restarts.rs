//! Restarts that nobody notices: who was master when the agent ended is master when the next one begins, where that takes
//! no longer than the peers wait.
//!
//! | end | what stays |
//! |---|---|
//! | killed | everything; the next agent goes on with it if it comes in time |
//! | SIGTERM, announced as a restart | everything |
//! | `ha-agent restart` | everything, and the next program begins in the same process |
//! | both of these at a pace that no restart keeps | what is attached: the other nodes serve meanwhile |
//! | SIGTERM | nothing |

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ha_common::abi::Standing;
use nix::net::if_::if_nametoindex;
use tokio::sync::mpsc;

use super::reporter::Reporter;
use super::{AgentError, Ended, Files, hosts};
use crate::config::{Config, VhostConfig};
use crate::core::Instant;
use crate::core::pair::Phase;
use crate::dataplane::Standings;
use crate::sys::clock;
use crate::update::package::{self, Places};

/// Ends this agent so that another one goes on.
#[derive(Debug)]
pub(super) struct Restarts {
    /// This program, as it was named when it started.
    program: PathBuf,
    places: Places,
    records: bool,
    ends: mpsc::Sender<Ended>,
    /// Until when whoever ends this agent starts another one.
    announced: Mutex<Option<Instant>>,
}

impl Restarts {
    /// `ends` receives how this agent is to end.
    ///
    /// # Errors
    ///
    /// If the system does not tell which program this is.
    pub(super) fn new(files: &Files, ends: mpsc::Sender<Ended>) -> Result<Self, AgentError> {
        let what = "the path of this program";
        let program = std::env::current_exe().map_err(|cause| AgentError::Os { what, cause })?;
        let (places, records) = (files.places(), files.record.is_some());
        Ok(Self { program, places, records, ends, announced: Mutex::new(None) })
    }

    /// How whoever ends this agent now finds it to end.
    pub(super) fn told(&self, config: &Config) -> Ended {
        let until = self.announced.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_announced = until.is_some_and(|until| clock::now() < until);
        if is_announced && keeps_pace(config) { Ended::Stays(None) } else { Ended::Told }
    }

    /// Whoever ends this agent `within` a time starts another one; without one, that is done at once. Returns what is done.
    pub(super) async fn restart(
        &self,
        reporter: &Reporter,
        within: Option<Duration>,
    ) -> Result<String, String> {
        if self.records {
            return Err("this agent makes a recording (--record), which a new one can't go on with; end it, and start it without"
                .to_owned());
        }
        let phase = reporter.snapshot().await?.pair.map(|pair| pair.phase);
        if reporter.charge.is_some() && !matches!(phase, None | Some(Phase::Standby)) {
            return Err(
                "this node serves more than addresses; move the role first: `ha-agent failover`".to_owned()
            );
        }
        let keeps_pace = keeps_pace(&reporter.config.borrow());
        if let Some(within) = within {
            *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now() + within);
            return Ok(if keeps_pace {
                format!(
                    "whoever ends this agent within {within:?} finds that everything stays for the next one"
                )
            } else {
                format!("noted; but {TOO_FAST}: it leaves in order all the same")
            });
        }
        let (program, places) = (self.program.clone(), self.places.clone());
        let fits = tokio::task::spawn_blocking(move || package::inspect(&program, &places));
        let version = fits.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let program = self.program.clone();
        let (end, how) = if keeps_pace {
            (Ended::Stays(Some(program)), "everything stays for the next one".to_owned())
        } else {
            (Ended::Succeeded(program), format!("{TOO_FAST}: the other nodes serve meanwhile"))
        };
        self.ends.try_send(end).map_err(|_| "this agent is ending already".to_owned())?;
        Ok(format!("restarting as {version}; {how}"))
    }
}

/// When an agent before this one last advertised each virtual host, if it was master of it and did not leave.
pub(super) fn resumed(standings: &mut Standings, vhosts: &[VhostConfig]) -> Vec<Option<Instant>> {
    let found = standings.take_found().unwrap_or_else(|error| {
        tracing::error!("who was master before can't be read, and counts for nothing: {error}");
        Vec::new()
    });
    let (now, boot_ns) = (clock::now(), clock::boot_ns());
    let when = |standing: &Standing| {
        Instant::from_nanos(now.as_nanos().saturating_sub(boot_ns.saturating_sub(standing.advertised_ns)))
    };
    let of = |config: &VhostConfig| {
        let ifindex = if_nametoindex(&*config.interface).ok()?;
        let is_its =
            |standing: &&Standing| (standing.ifindex, standing.vhid) == (ifindex, config.vhid.into());
        found.iter().find(is_its).map(when)
    };
    vhosts.iter().map(of).collect()
}

/// Whether a restart takes no longer than the peers of all virtual hosts wait.
#[must_use]
pub fn keeps_pace(config: &Config) -> bool {
    config
        .vhosts
        .iter()
        .map(hosts::settings)
        .all(|settings| settings.pace.dead_time(settings.priority) >= TAKES)
}

/// How long the peers must wait at least: a restart takes less than half of it on an idle machine.
const TAKES: Duration = Duration::from_millis(250);
const TOO_FAST: &str = "at this pace no restart goes unnoticed";
