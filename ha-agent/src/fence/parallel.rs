//! Many disks at a time, of which some may hang.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::disk::Disk;
use crate::resource::{Cause, Failure, Within};

/// Does something with each disk, with [`WIDTH`] at a time, and gives the results in their order.
///
/// Who does not answer within `patience` is left alone: its thread goes on if it ever comes back, and finds its limits over.
pub(super) fn each<T: Send + 'static>(
    disks: &[Arc<Disk>],
    patience: Duration,
    within: &Within,
    job: impl Fn(&Disk, &Within) -> Result<T, Failure> + Clone + Send + 'static,
) -> Vec<Result<T, Failure>> {
    let (report, reports) = channel();
    let mut results: Vec<Option<Result<T, Failure>>> = disks.iter().map(|_| None).collect();
    // When each was begun that has not ended.
    let mut under_way: Vec<(usize, Instant)> = Vec::new();
    let mut waiting = disks.iter().enumerate();
    loop {
        while under_way.len() < WIDTH
            && !within.left().is_zero()
            && let Some((at, disk)) = waiting.next()
        {
            let (job, report, disk, limits) =
                (job.clone(), report.clone(), Arc::clone(disk), within.at_most(patience));
            let run = move || {
                // Nobody waits for who is late.
                let _ = report.send((at, job(&disk, &limits)));
            };
            let thread = thread::Builder::new().name("disk".to_owned()).stack_size(STACK).spawn(run);
            match thread {
                Ok(_) => under_way.push((at, Instant::now())),
                Err(error) => set(&mut results, at, Err(Failure::system("no thread for a disk", &error))),
            }
        }
        if under_way.is_empty() {
            break;
        }
        if let Ok((at, result)) = reports.recv_timeout(LOOK) {
            under_way.retain(|(other, _)| *other != at);
            set(&mut results, at, result);
        } else {
            // Who keeps its limits has answered by now.
            let is_over = within.left().is_zero();
            under_way.retain(|(_, began)| !is_over && began.elapsed() < patience + LOOK);
        }
    }
    let outcomes = disks.iter().zip(results);
    outcomes.map(|(disk, result)| result.unwrap_or_else(|| Err(hangs(disk, within)))).collect()
}

fn set<T>(results: &mut [Option<T>], at: usize, result: T) {
    if let Some(slot) = results.get_mut(at) {
        *slot = Some(result);
    }
}

fn hangs(disk: &Disk, within: &Within) -> Failure {
    if within.stop().is_given() {
        let what = format!("what was done with {} was broken off", disk.name());
        return Failure::new(Cause::Stopped, what, "something more urgent came between");
    }
    let what = format!("{} does not answer, or there was no time for it", disk.name());
    Failure::new(Cause::TimedOut, what, "check the disk and the way to it")
}

/// Disks at a time.
const WIDTH: usize = 32;
const STACK: usize = 128 << 10;
/// How often it is looked who is late, and whether to stop.
const LOOK: Duration = Duration::from_millis(50);
