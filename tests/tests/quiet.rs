//! A master whose agent does not run any more: its kernel still has the addresses, and answers for them no more.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::pair::{Pair, VIRTUAL};
use lab::{Agent, AgentConfig, Client};
use nix::sys::signal::Signal;

#[test]
fn a_master_whose_agent_is_stopped_answers_no_more_once_its_lease_is_over() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    for (lease, quiet) in [("length = \"300ms\"", true), ("length = \"off\"", false)] {
        let pair = Pair::new("quiet")?;
        let start = |node, advskew| {
            let config = AgentConfig { advskew, ..AgentConfig::default() };
            let toml = format!("{}\n[lease]\n{lease}\n", config.toml("node"));
            Agent::launch(node, &toml, "secret")
        };
        let a = start(&pair.a, 0)?;
        a.wait_for_state(0, "MASTER")?;
        let b = start(&pair.b, 100)?;
        b.wait_for_state(0, "BACKUP")?;
        let _client = Client::start(&pair.witness.netns, VIRTUAL)?;
        ensure!(claims(&pair, 20)? == [true, false], "only the master answers");

        let mark = b.mark();
        a.process.signal(Signal::SIGSTOP)?;
        b.wait_for_state(mark, "MASTER")?;
        thread::sleep(LEASE + GRACE);
        ensure!(claims(&pair, 20)? == [!quiet, true], "{lease}: the one that is stopped");

        let mark = a.mark();
        a.process.signal(Signal::SIGCONT)?;
        a.process.wait_for_line(mark, "this node", PATIENCE)?;
        let lease = &a.status()?["detector"]["lease"];
        ensure!((lease["lapses"] == 1) == quiet, "{lease:#}");
        ensure!((lease["silenced"].as_u64() > Some(0)) == quiet, "{lease:#}");
        // They agree again, and whoever serves answers.
        let agreed = Instant::now();
        while let found = claims(&pair, 5)?
            && found[0] == found[1]
        {
            ensure!(agreed.elapsed() < PATIENCE, "both answer, or neither: {found:?}");
        }
        a.leave()?;
        b.leave()?;
    }
    Ok(())
}

/// Which of the two nodes answers a client that has forgotten who has the address, so many times.
fn claims(pair: &Pair, times: u32) -> Result<[bool; 2]> {
    let from = pair.capture.mark();
    for _ in 0..times {
        pair.witness.netns.ip("neigh flush dev eth0")?;
        thread::sleep(Duration::from_millis(20));
    }
    let frames = pair.capture.frames(from);
    let hardware = [pair.a.hardware("eth0")?, pair.b.hardware("eth0")?];
    Ok(hardware.map(|hardware| {
        let mut claims = frames.iter().filter(|frame| frame.claims() == Some(VIRTUAL));
        claims.any(|frame| frame.hardware() == Some(hardware))
    }))
}

const LEASE: Duration = Duration::from_millis(300);
const GRACE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);
