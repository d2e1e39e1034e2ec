//! Two nodes carry out the plans of real ones: a watchdog, the reservation of emulated disks, a real file system on a loop
//! device that each mounts in a namespace of its own, and a service on it. Whatever befalls the first one, never both can
//! write, and nothing is left unsaid.

mod faults;
mod matrix;
mod node;
mod shared;
mod wrong;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::runtime::Builder;

use crate::matrix::Case;
use crate::shared::Shared;

#[test]
fn whatever_befalls_a_step_never_both_can_write_and_nothing_is_left_unsaid() -> Result<()> {
    let kinds = ["ext4", "btrfs"].into_iter().filter(|kind| Shared::is_possible(kind));
    // A part of what a case is called: only those are played.
    let wanted = std::env::var("HA_CASE").unwrap_or_default();
    let cases: VecDeque<_> = Case::all(kinds).filter(|case| case.to_string().contains(&wanted)).collect();
    let (began, number) = (Instant::now(), cases.len());
    let (cases, failed) = (Mutex::new(cases), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WIDTH {
            scope.spawn(|| {
                loop {
                    let case = cases.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(case) = case else { return };
                    if let Err(error) = run(case.play()) {
                        failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(format!("{case}: {error:#}"));
                    }
                }
            });
        }
    });
    println!("{number} cases in {:?}", began.elapsed());
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(failed.is_empty(), "{} of {number} cases:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// Runs something while the conductors go on by themselves.
fn run(story: impl Future<Output = Result<()>>) -> Result<()> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(story)
}

/// How many cases are played at a time: most of them wait.
const WIDTH: usize = 16;
