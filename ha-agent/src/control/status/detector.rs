//! How the thread that watches and advertises is doing.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::detector::Snapshot;
use crate::agent::detector::timing::{Histogram, Timing};
use crate::agent::realtime::{Granted, Scheduling};
use crate::sys::realtime;

/// How the thread that watches and advertises is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectorStatus {
    /// What keeps it on time.
    pub realtime: RealtimeStatus,
    /// How late it ran.
    pub lateness: LatenessStatus,
    /// How late its advertisements left.
    pub jitter: JitterStatus,
    /// How often this node went quiet; an older agent does not say.
    #[serde(default)]
    pub lease: LeaseStatus,
    /// Advertisements sent, of all virtual hosts.
    pub sent: u64,
    /// Advertisements of others that it read.
    pub received: u64,
    /// The processor time that it has used, in s.
    pub cpu_s: f64,
    /// The same by advertisements sent and received, in µs; `null` if there were none.
    pub cpu_us_per_advertisement: Option<f64>,
}

/// What the system grants, so that the detector is on time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealtimeStatus {
    /// Its priority in `SCHED_FIFO`, 1 to 99; `null` if it is scheduled like any other thread.
    pub priority: Option<u8>,
    /// Whether all memory stays where it is.
    pub memory_locked: bool,
    /// How long an idle processor may take to wake up, in µs; `null` if the system decides.
    pub cpu_dma_latency_us: Option<u64>,
    /// What was refused, with cause and remedy.
    pub refused: Vec<String>,
    /// How much of each period the kernel leaves to real-time threads, in µs; -1: all; `null` if it does not say.
    pub rt_runtime_us: Option<i64>,
    /// The period, in µs.
    pub rt_period_us: Option<u64>,
}

/// How late the detector ran: for how long the first thing had waited that it ran for, a deadline or a record of the
/// kernel program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatenessStatus {
    /// Each time that it ran.
    #[serde(flatten)]
    pub histogram: HistogramStatus,
    /// How often that was longer than `interval_ms`.
    pub late: u64,
    /// Records that were read then, before any deadline was judged.
    pub late_records: u64,
    /// From one advertisement to the next, of the fastest virtual host, in ms.
    pub interval_ms: f64,
}

/// How often this node went quiet, because nobody vouched for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// How often the lease ran out, because the detector did not run.
    pub lapses: u64,
    /// Frames that the kernel program has dropped because of that, or because another node said that it serves.
    pub silenced: u64,
}

/// How late advertisements left after their time had come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JitterStatus {
    /// Each that left.
    #[serde(flatten)]
    pub histogram: HistogramStatus,
    /// How often the next one was due already.
    pub missed: u64,
    /// How often the understudy sent one, because the detector was late.
    pub covered: u64,
}

/// How many durations lay in each of a few ranges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramStatus {
    /// How many there were.
    pub count: u64,
    /// All of them together, in ms.
    pub sum_ms: f64,
    /// An estimate of what half of them did not exceed, in ms.
    pub p50_ms: f64,
    /// The same for 99 %.
    pub p99_ms: f64,
    /// The same for 99.9 %.
    pub p999_ms: f64,
    /// The longest, in ms.
    pub max_ms: f64,
    /// The ranges, from the shortest.
    pub buckets: Vec<Bucket>,
}

/// One range of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Up to here, in ms, that included, from where the one before ends; `null`: without an end.
    pub le_ms: Option<f64>,
    /// How many lay in it.
    pub count: u64,
}

impl DetectorStatus {
    /// What process and thread know of it.
    #[must_use]
    pub fn new(granted: &Granted, snapshot: &Snapshot, silenced: u64) -> Self {
        let Timing { lateness, late, late_records, jitter, missed, received, interval } = &snapshot.timing;
        let sent = snapshot.vhosts.values().map(|vhost| vhost.sent).sum();
        let covered = snapshot.vhosts.values().map(|vhost| vhost.covered).sum();
        let advertisements = sent + received;
        let cpu_s = snapshot.processor.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a mean that is shown")]
        let each = (advertisements > 0).then(|| cpu_s * 1e6 / advertisements as f64);
        Self {
            realtime: RealtimeStatus::new(granted, &snapshot.scheduling),
            lateness: LatenessStatus {
                histogram: HistogramStatus::new(lateness),
                late: *late,
                late_records: *late_records,
                interval_ms: ms(*interval),
            },
            jitter: JitterStatus { histogram: HistogramStatus::new(jitter), missed: *missed, covered },
            lease: LeaseStatus { lapses: snapshot.lapses, silenced },
            sent,
            received: *received,
            cpu_s,
            cpu_us_per_advertisement: each,
        }
    }
}

impl RealtimeStatus {
    fn new(granted: &Granted, Scheduling { priority, refusal }: &Scheduling) -> Self {
        let throttling = realtime::throttling(Path::new("/proc"));
        let us = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        Self {
            priority: *priority,
            memory_locked: granted.memory_locked(),
            cpu_dma_latency_us: granted.dma_latency.map(us),
            refused: granted.refusals().into_iter().chain(refusal.clone()).collect(),
            rt_runtime_us: throttling.map(|throttling| throttling.runtime_us),
            rt_period_us: throttling.map(|throttling| throttling.period_us),
        }
    }
}

impl HistogramStatus {
    fn new(histogram: &Histogram) -> Self {
        let bucket = |(end, count): (Option<Duration>, u64)| Bucket { le_ms: end.map(ms), count };
        let quantile = |thousandths| ms(histogram.quantile(thousandths));
        Self {
            count: histogram.count(),
            sum_ms: ms(histogram.sum()),
            p50_ms: quantile(500),
            p99_ms: quantile(990),
            p999_ms: quantile(999),
            max_ms: ms(histogram.max()),
            buckets: histogram.ranges().map(bucket).collect(),
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
