//! An advertisement that says something new wakes the agent at once, whatever was read just before.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ha_common::abi::UNREAD_NS;
use lab::pauses::undisturbed;
use lab::{AgentConfig, Pair};

#[test]
fn a_master_that_demotes_itself_is_relieved_at_once() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| {
        let pair = Pair::new("wake")?;
        let standby = AgentConfig { advskew: 10, ..AgentConfig::default() };
        let (a, b) = pair.start(&AgentConfig::default(), &standby)?;
        for round in 0..ROUNDS {
            let (old, new, source) =
                if round % 2 == 0 { (&a, &b, pair.a.address) } else { (&b, &a, pair.b.address) };
            let (frames, lines) = (pair.capture.mark(), new.mark());
            old.tell("hold")?;
            new.wait_for_state(lines, "MASTER")?;
            let demoted = pair.advertisement(frames, |seen| seen.source == source && seen.demotion > 0)?;
            let at_ns = new.vhost()?["last_change"]["at_ns"].as_u64().context("no change")?;
            let late = Duration::from_nanos(at_ns.saturating_sub(demoted.at_ns));
            ensure!(late < AT_ONCE, "round {round}: relieved after {late:?}");
            old.tell("resume")?;
            pair.only_master(if round % 2 == 0 { pair.b.address } else { pair.a.address }, SETTLED)?;
        }
        Ok(())
    })
}

/// If it were read with what is old, half of the rounds would take longer than [`AT_ONCE`].
const ROUNDS: u32 = 8;
const AT_ONCE: Duration = Duration::from_nanos(UNREAD_NS / 2);
/// So many advertisements of one master alone.
const SETTLED: usize = 5;
