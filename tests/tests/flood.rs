//! A standby of ours that is flooded notices the loss of the active one, and only that: the bench in short.

#[path = "../benches/flood/frames.rs"]
mod frames;
#[path = "../benches/flood/peers.rs"]
mod peers;
#[path = "../benches/flood/row.rs"]
mod row;

use std::time::Duration;

use anyhow::{Result, ensure};
use frames::Flood;
use lab::pauses::undisturbed;
use peers::PEERS;
use row::Scale;

#[test]
fn a_flood_neither_hides_a_loss_nor_feigns_one() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let [ours, ..] = PEERS;
    for flood in Flood::ALL.into_iter().filter(|&flood| flood != Flood::None) {
        undisturbed(|| {
            let scale = Scale { rounds: 2, time: Duration::from_secs(4) };
            let row = row::measure(ours, flood, scale)?;
            println!("{row:?}");
            ensure!(row.detected == row.rounds, "a loss was not noticed: {row:#?}");
            // If the active one was late for everybody, or the cable lost its frames, the standby was right.
            let feigned = row.false_failovers > row.active_late && row.lost == 0;
            ensure!(!feigned, "a loss was feigned: {row:#?}");
            let worst = row.journal_overshoot_ms.max.unwrap_or(f64::INFINITY);
            ensure!(worst < TOLERANCE_MS, "it noticed {worst} ms after its deadline: {row:#?}");
            ensure!(row.cpu_fraction < SHARE, "the frames keep it busy: {row:#?}");
            ensure!(row.frames_per_s > AT_LEAST, "that was no flood: {row:#?}");
            ensure!(row.arrived_fraction.is_some_and(|arrived| arrived > 0.9), "it did not arrive: {row:#?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Less than a pause that would have the round repeated.
const TOLERANCE_MS: f64 = 10.0;
/// Of a processor: what is not meant for it stays in the kernel.
const SHARE: f64 = 0.1;
/// A debug build on a busy machine sends ten times as many.
const AT_LEAST: f64 = 10_000.0;
