//! Units of systemd that run on the active node.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::systemd::{State, start, stop};
use crate::resource::{Cause, Failure, Finding, Resource, Taken, Within};
use crate::storage::Host;

/// Which units, and how long they may take.
#[derive(Clone, Debug)]
pub struct UnitSettings {
    /// What an operator calls them together: `units samba`.
    pub name: String,
    /// Their full names, in the order in which they are started; they are stopped in the opposite one. One at least.
    pub units: Vec<String>,
    /// How long each may take to start or stop, within the deadline of all. 30 s by default; 1 s to 10 min.
    pub each: Duration,
    /// How often a unit may be started again by systemd, within `window`, before it counts as dead. 3 by default; 1 to 100.
    pub restarts: u64,
    /// 10 min by default; 1 min to 1 day.
    pub window: Duration,
}

/// Units that run on the active node. They must not be enabled: systemd would start them on both nodes.
#[derive(Debug)]
pub struct Unit {
    settings: UnitSettings,
    host: Host,
    /// Since when its restarts are counted, and from which number on.
    counted: Mutex<BTreeMap<String, (Instant, u64)>>,
}

impl Unit {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: UnitSettings, host: Host) -> Self {
        Self { settings, host, counted: Mutex::default() }
    }

    /// How often it was started again since the window began.
    fn restarts(&self, unit: &str, state: &State) -> u64 {
        let now = Instant::now();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, from) = counted.entry(unit.to_owned()).or_insert((now, state.restarts));
        // systemd begins to count anew when somebody starts it.
        if now.duration_since(*since) > self.settings.window || state.restarts < *from {
            (*since, *from) = (now, state.restarts);
        }
        state.restarts - *from
    }
}

impl Resource for Unit {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        within.go_on(&self.settings.name)?;
        for unit in &self.settings.units {
            let state = start(&self.host, unit, &within.at_most(self.settings.each))?;
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.insert(unit.clone(), (Instant::now(), state.restarts));
        }
        Ok(Taken::default())
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        // One that does not stop is no reason to let the others run.
        let units = self.settings.units.iter().rev();
        let stopped = units.map(|unit| stop(&self.host, unit, &within.at_most(self.settings.each)));
        stopped.fold(Ok(()), Result::and)
    }

    fn is_here(&self, within: &Within) -> Result<bool, Failure> {
        for unit in &self.settings.units {
            if !State::of(&self.host, unit, within)?.is_down() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check(&self, within: &Within) -> Result<(), Failure> {
        for unit in &self.settings.units {
            let state = State::of(&self.host, unit, within)?;
            let restarts = self.restarts(unit, &state);
            let what = if !state.is_active() {
                format!("unit {unit} is {}", state.active)
            } else if restarts > self.settings.restarts {
                format!("unit {unit} has died {restarts} times in {} s", self.settings.window.as_secs())
            } else {
                continue;
            };
            return Err(Failure::new(Cause::ServiceDead, what, format!("see `journalctl -u {unit}`")));
        }
        Ok(())
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        self.settings.units.iter().map(|unit| examine(&self.host, unit, within)).collect()
    }
}

/// Whether a unit can be started here, and is not started by others.
pub(super) fn examine(host: &Host, unit: &str, within: &Within) -> Finding {
    match State::of(host, unit, within) {
        Err(failure) => Finding::Bad(failure),
        Ok(state) if state.load != "loaded" => {
            let what = format!("unit {unit} is {}", state.load);
            Finding::Bad(Failure::new(Cause::Misconfigured, what, "install it on both nodes"))
        }
        Ok(state) if state.file == "enabled" => {
            let what =
                format!("unit {unit} is enabled: systemd starts it though this node has not taken over");
            Finding::Weak(Failure::new(Cause::Misconfigured, what, format!("`systemctl disable {unit}`")))
        }
        Ok(state) if !state.is_down() => {
            let what = format!("unit {unit} is {} though this node has not taken over", state.active);
            Finding::Weak(Failure::new(
                Cause::Misconfigured,
                what,
                "find out who has started it, and stop it",
            ))
        }
        Ok(_) => Finding::Good(format!("unit {unit} is installed")),
    }
}
