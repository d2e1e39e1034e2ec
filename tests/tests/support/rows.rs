//! What every bench of detection has to say.

use anyhow::{Context, Result, ensure};
use lab::Peer;
use serde_json::Value;

/// Demands just these rows, by peer, fault or load, and interval in ms; what each has to have; and that ours
/// notices every cut. Returns them.
pub(crate) fn judge<'a>(
    report: &'a Value,
    name: &str,
    expected: &[(Peer, String, f64)],
) -> Result<&'a [Value]> {
    let rows = report["rows"].as_array().context("no rows")?;
    ensure!(rows.len() == expected.len(), "{} rows instead of {}", rows.len(), expected.len());
    for (peer, what, interval) in expected {
        let is_it = |row: &&Value| {
            row["peer"] == peer.to_string()
                && row[name] == **what
                && row["interval_ms"].as_f64() == Some(*interval)
        };
        ensure!(rows.iter().any(|row| is_it(&row)), "no row: {peer}, {what}, {interval} ms");
        for row in rows.iter().filter(is_it) {
            judge_row(row, *peer)?;
        }
    }
    Ok(rows)
}

fn judge_row(row: &Value, peer: Peer) -> Result<()> {
    for field in ["dead_ms", "seconds"] {
        ensure!(row[field].is_f64(), "no {field}: {row:#}");
    }
    for field in ["rounds", "false_failovers", "false_in_pauses"] {
        ensure!(row[field].is_u64(), "no {field}: {row:#}");
    }
    ensure!(row["client_gap_ms"].is_null() != peer.has_address(), "{row:#}");
    if peer == Peer::HaAgent {
        ensure!(row["detected"] == row["rounds"], "a cut was not noticed: {row:#}");
        for field in ["overshoot_ms", "client_gap_ms"] {
            for figure in ["p50", "p99", "max"] {
                ensure!(row[field][figure].is_f64(), "no {figure} of {field}: {row:#}");
            }
        }
        let worst = row["overshoot_ms"]["max"].as_f64().unwrap_or(f64::INFINITY);
        ensure!(worst < TOLERANCE_MS, "it noticed {worst} ms after its deadline: {row:#}");
    }
    Ok(())
}

/// On a machine that the others keep busy.
const TOLERANCE_MS: f64 = 50.0;
