//! `cargo xtask vm --pair`: two nodes with the same disks, and what happens to them, in guests (docs/lab.md).
//!
//! ```text
//! run ── stories       what happens, one file a story
//!     │  ├─ agents     the agents on both nodes
//!     │  ├─ served     what they have in charge: a pool, served by NFS
//!     │  ├─ fault      what befalls a node
//!     │  ├─ client     what a client does with what they serve
//!     │  └─ evidence   what the disks tell of who has written to them
//!     ├─ shell         what happens, typed by hand
//!     └─ lab           guests, networks and paths to disks that belong together
//!        ├─ who        their names and numbers
//!        ├─ guest      one guest: power, cables, commands
//!        │  ├─ boot    its QEMU's command line
//!        │  ├─ qmp     QEMU's control connection
//!        │  └─ inside  commands and files in the guest
//!        ├─ hub        a network
//!        ├─ relay      a path to a disk
//!        │  └─ login   its name
//!        ├─ initramfs  the guests' first root, with the lab's own files
//!        └─ root       the guests' root, in the cache
//!           ├─ zfs        OpenZFS for their kernel
//!           └─ bootstrap  a Debian in a directory
//! ```

mod agents;
mod boot;
mod bootstrap;
mod client;
mod evidence;
mod fault;
mod guest;
mod hub;
mod initramfs;
mod inside;
mod lab;
mod ledger;
mod login;
mod qmp;
mod relay;
mod root;
mod served;
mod shell;
mod stories;
mod units;
mod who;
mod zfs;

use std::path::Path;

use ::lab::is_interrupted;
use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

use crate::{
    agent, packages,
    process::{say, timed},
};
use initramfs::Put;
use lab::{Lab, Options, Parts};
use stories::{Story, Turn};

/// What is run, and how.
pub(super) struct Settings<'a> {
    /// The beginning of the kernel's version.
    pub(super) kernel: &'a str,
    /// Names of stories; all if there is none.
    pub(super) stories: &'a [String],
    /// How often each is told, in the same lab.
    pub(super) rounds: u32,
    /// Of what stories leave to chance.
    pub(super) seed: u64,
    /// Whether the lab stays, to be looked at, when a story has ended.
    pub(super) keep: bool,
    /// The agent, where it need not be built.
    pub(super) agent: Option<&'a Path>,
}

/// Tells the stories, each in a lab of its own.
///
/// # Errors
///
/// Something cannot be built or fetched, a guest does not boot, or a story does not end well.
pub(super) fn run(settings: &Settings<'_>) -> Result<()> {
    let stories = stories::chosen(settings.stories)?;
    if !geteuid().is_root() {
        bail!("the guests' Debian is installed into a directory, which only root may: run it as root");
    }
    packages::ensure(&["e2fsprogs", "perl", "util-linux", "xz-utils"])?;
    let agent = match settings.agent {
        Some(path) => std::path::absolute(path).with_context(|| format!("--agent {}", path.display()))?,
        None => agent::build_agent()?,
    };
    let parts = Parts::ready(settings.kernel)?;
    // From here on there is something to clean up.
    ::lab::interrupt_on_signals()?;
    let files = [
        Put { from: agent, to: "usr/local/sbin/ha-agent".to_owned() },
        Put { from: agent::build_test_program("records")?, to: "usr/local/bin/records".to_owned() },
    ];
    let mut failed = Vec::new();
    for story in stories {
        say(format_args!("{}: {}; Linux {}", story.name, story.about, parts.kernel.release));
        if let Err(error) = timed(story.name, || tell(&parts, &files, story, settings)) {
            say(format_args!("{}: {error:#}", story.name));
            failed.push(story.name);
        }
        if is_interrupted() {
            bail!("interrupted");
        }
    }
    if !failed.is_empty() {
        bail!("these did not end well: {}", failed.join(", "));
    }
    Ok(())
}

fn tell(parts: &Parts, files: &[Put], story: &Story, settings: &Settings<'_>) -> Result<()> {
    let lab = Lab::up(parts, &Options { guests: story.guests, files })?;
    let told = (1..=settings.rounds).try_for_each(|round| {
        let turn = Turn { round, seed: settings.seed };
        (story.tell)(&lab, turn).with_context(|| format!("in round {round} of {}", settings.rounds))
    });
    let told = if told.is_ok() || is_interrupted() {
        told
    } else {
        lab.keep_logs();
        told.with_context(|| format!("the guests' logs are in {}", lab.dir().display()))
    };
    if settings.keep && !is_interrupted() {
        if let Err(error) = &told {
            say(format_args!("{}: {error:#}", story.name));
        }
        shell::run(&lab);
    }
    told
}
