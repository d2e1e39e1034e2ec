//! What is asked of systemd, by `systemctl`.

use crate::resource::{Cause, Failure, Invocation, Within};
use crate::storage::Host;

/// What systemd says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// `loaded`, `not-found`, `masked`, …
    pub(super) load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading`.
    pub(super) active: String,
    /// `enabled`, `disabled`, `static`, …
    pub(super) file: String,
    /// How often it was started again by itself since it was started.
    pub(super) restarts: u64,
}

impl State {
    pub(super) fn of(host: &Host, unit: &str, within: &Within) -> Result<Self, Failure> {
        let line = ["show", "--property", "LoadState,ActiveState,UnitFileState,NRestarts", "--", unit];
        let output = host.must(("systemctl", line), within, (Cause::Other, "see whether systemd runs"))?;
        let mut state = Self::default();
        for (key, value) in output.stdout.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "LoadState" => value.clone_into(&mut state.load),
                "ActiveState" => value.clone_into(&mut state.active),
                "UnitFileState" => value.clone_into(&mut state.file),
                "NRestarts" => state.restarts = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        Ok(state)
    }

    pub(super) fn is_active(&self) -> bool {
        self.active == "active"
    }

    /// Nothing of it runs, and nothing is about to.
    pub(super) fn is_down(&self) -> bool {
        ["inactive", "failed"].contains(&self.active.as_str())
    }
}

/// Starts a unit, and verifies it. One that runs already is left alone.
pub(super) fn start(host: &Host, unit: &str, within: &Within) -> Result<State, Failure> {
    let state = State::of(host, unit, within)?;
    if state.is_active() {
        return Ok(state);
    }
    if state.load != "loaded" {
        let what = format!("unit {unit} is {}", state.load);
        return Err(Failure::new(Cause::Misconfigured, what, "install it on both nodes"));
    }
    let remedy = format!("see `journalctl -u {unit}`");
    host.must(("systemctl", ["start", "--", unit]), within, (Cause::ServiceDead, &remedy))?;
    let state = State::of(host, unit, within)?;
    if state.is_active() {
        return Ok(state);
    }
    let what = format!("unit {unit} was started, and is {}", state.active);
    Err(Failure::new(Cause::ServiceDead, what, remedy))
}

/// Stops a unit, and verifies it. One that is not installed does not run.
pub(super) fn stop(host: &Host, unit: &str, within: &Within) -> Result<(), Failure> {
    if State::of(host, unit, within)?.is_down() {
        return Ok(());
    }
    let invocation = Invocation::new("systemctl", ["stop", "--", unit]);
    let output = host.run(&invocation, within)?;
    let state = State::of(host, unit, within)?;
    if state.is_down() {
        return Ok(());
    }
    output.success(&invocation, Cause::Busy, &format!("see `journalctl -u {unit}`"))?;
    let what = format!("unit {unit} was stopped, and is {}", state.active);
    Err(Failure::new(Cause::Busy, what, format!("see `journalctl -u {unit}`")))
}
