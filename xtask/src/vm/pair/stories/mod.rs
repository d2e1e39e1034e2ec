//! What happens in a lab.

mod better;
mod disks;
mod elsewhere;
mod faults;
mod fenced;
mod floor;
mod frozen;
mod nothing;
mod pair;
mod pool;
mod restarted;
mod sequences;
mod switchover;
mod takeover;
mod wrong;

use anyhow::{Context as _, Result};

use super::{lab::Lab, who::Who};

/// A story. It may be told again in the same lab, and leaves that as it found it, unless it fails.
pub(super) struct Story {
    /// As on the command line.
    pub(super) name: &'static str,
    /// In a few words.
    pub(super) about: &'static str,
    /// Who takes part.
    pub(super) guests: &'static [Who],
    /// Tells it.
    pub(super) tell: fn(&Lab, Turn) -> Result<()>,
}

/// Which time a story is told in the same lab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Counted from 1.
    pub(super) round: u32,
    /// Of what is left to chance.
    pub(super) seed: u64,
}

/// Those with the given names, in that order, or all.
///
/// # Errors
///
/// There is none of such a name.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Story>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let known = || ALL.iter().chain([&nothing::STORY]);
    let find = |name: &String| {
        known().find(|story| story.name == name).with_context(|| {
            let names: Vec<_> = known().map(|story| story.name).collect();
            format!("there is no story '{name}' for the pair; there are {}", names.join(", "))
        })
    };
    names.iter().map(find).collect()
}

const ALL: [Story; 14] = [
    disks::STORY,
    pool::STORY,
    floor::STORY,
    frozen::STORY,
    pair::STORY,
    faults::STORY,
    takeover::STORY,
    fenced::STORY,
    switchover::STORY,
    wrong::STORY,
    elsewhere::STORY,
    better::STORY,
    restarted::STORY,
    sequences::STORY,
];
