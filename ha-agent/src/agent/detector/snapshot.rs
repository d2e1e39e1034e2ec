//! What the detector tells whoever asks it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ha_common::fresh::Stamp;
use ha_common::reason::Counters;

use super::partner::PairSnapshot;
use super::timing::Timing;
use crate::agent::realtime::Scheduling;
use crate::core::{Advertisement, Demotions, Instant, State, Suspicion};

/// What the detector knows of all virtual hosts.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Instant,
    /// Why this node would rather not be master.
    pub demotions: Demotions,
    /// How its thread is scheduled.
    pub scheduling: Scheduling,
    /// How late it was.
    pub timing: Timing,
    /// The processor time that it has used.
    pub processor: Duration,
    /// How often the lease ran out, since it did not run.
    pub lapses: u64,
    /// The virtual hosts, by their index.
    pub vhosts: BTreeMap<usize, VhostSnapshot>,
    /// How the pair looks, if this node is one of two.
    pub pair: Option<PairSnapshot>,
}

/// What the detector knows of one virtual host.
#[derive(Clone, Debug)]
pub struct VhostSnapshot {
    /// Its state.
    pub state: State,
    /// Who was heard.
    pub peers: Vec<Peer>,
    /// Advertisements that left.
    pub sent: u64,
    /// Of these, how many the understudy sent, because the detector was late.
    pub covered: u64,
    /// Advertisements that could not be sent.
    pub send_errors: u64,
    /// How often this node slept longer than its peers wait.
    pub stalls: u64,
    /// As a backup: whether the kernel watches for the master's silence, not we.
    pub watched: Option<bool>,
    /// How often the kernel's timer fired so late that it was not believed.
    pub late_timers: u64,
    /// What was refused here rather than in the kernel.
    pub refused: Counters,
    /// What is suspicious.
    pub suspicions: Vec<Suspicion>,
    /// As a backup: from one advertisement of a source to the next, the last of them, oldest first, in µs.
    pub arrivals: Vec<u32>,
    /// Strict mode: the times of the last advertisements sent.
    pub given: Vec<Stamp>,
}

/// Another node.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub source: IpAddr,
    /// What it advertises.
    pub advertisement: Advertisement,
    /// When its last advertisement arrived.
    pub heard: Instant,
    /// Which of our passphrases it signs with, counted from 0.
    pub signer: u32,
    /// Strict mode: how far its clock is ahead of ours, in ms, the way of the frame included.
    pub clock_difference_ms: Option<i64>,
}
