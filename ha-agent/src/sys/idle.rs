//! How the machine's processors rest and what clock they read, by `/sys`.
//!
//! Each function takes the directory that `/sys` is mounted on. What a machine does not tell is `None`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A state in which a processor rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleState {
    /// As the kernel calls it: `C6`.
    pub name: String,
    /// How long it takes to wake up.
    pub latency: Duration,
}

/// The deepest state that any processor may rest in.
#[must_use]
pub fn deepest_state(sys: &Path) -> Option<IdleState> {
    let states = processors(sys).flat_map(|processor| entries(&processor.join("cpuidle"), "state"));
    let enabled = states.filter(|state| word(&state.join("disable")).is_none_or(|word| word == "0"));
    let read = enabled.filter_map(|state| {
        let latency = Duration::from_micros(word(&state.join("latency"))?.parse().ok()?);
        Some(IdleState { name: word(&state.join("name"))?, latency })
    });
    read.max_by_key(|state| state.latency)
}

/// Who sets the frequency of the processors: each governor that any of them has. Empty if nobody does.
#[must_use]
pub fn governors(sys: &Path) -> BTreeSet<String> {
    processors(sys).filter_map(|processor| word(&processor.join("cpufreq/scaling_governor"))).collect()
}

/// What the time is read from: `tsc`.
#[must_use]
pub fn clock_source(sys: &Path) -> Option<String> {
    word(&sys.join("devices/system/clocksource/clocksource0/current_clocksource"))
}

fn processors(sys: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    entries(&sys.join("devices/system/cpu"), "cpu")
}

/// What is in a directory under a name that is `prefix` and a number.
fn entries(directory: &Path, prefix: &'static str) -> impl Iterator<Item = PathBuf> + use<> {
    let is_numbered = move |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.strip_prefix(prefix)).is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_numbered)
}

/// The first line of a file, if there is anything in it.
fn word(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let word = text.lines().next()?.trim();
    (!word.is_empty()).then(|| word.to_owned())
}
