//! A master goes on advertising while the processor of its detector stands still.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::pair::A;
use lab::pauses::{go_before_others, undisturbed};
use lab::sender::processors;
use lab::{Agent, AgentConfig, Pair};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

#[test]
fn another_processor_advertises_for_one_that_stands_still() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let [processor, _, ..] = processors()?[..] else {
        eprintln!("skipped, because there is one processor");
        return Ok(());
    };
    undisturbed(|| {
        let pair = Pair::new("understudy")?;
        let standby = AgentConfig { advskew: 100, ..AgentConfig::default() };
        let (a, b) = pair.start(&AgentConfig::default(), &standby)?;
        let before = covered(&a)?;
        bind(&a, "ha-detector", processor)?;
        let (frames, lines) = (pair.capture.mark(), b.mark());
        let hog = thread::spawn(move || occupy(processor));
        hog.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
        pair.next_advertisements(3)?;
        ensure!(b.changes(lines).is_empty(), "{:?}", b.changes(lines));
        let seen = pair.capture.advertisements(frames);
        ensure!(seen.iter().all(|seen| seen.source == A), "the other one advertised");
        let gaps = seen.windows(2).map(|pair| Duration::from_nanos(pair[1].at_ns - pair[0].at_ns));
        let longest = gaps.max().context("no advertisements")?;
        ensure!(longest < LONGEST, "{longest:?} without an advertisement");
        let covered = covered(&a)? - before;
        ensure!(covered >= u64::from(TIMES) / 2, "{covered} of {TIMES}");
        eprintln!("{covered} advertisements in {TIMES} times {STILL:?}, longest gap {longest:?}");
        Ok(())
    })
}

/// Lets a processor do nothing else, again and again, at a priority above the detector's.
fn occupy(processor: usize) -> Result<()> {
    let mut own = CpuSet::new();
    own.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &own)?;
    go_before_others(60)?;
    for _ in 0..TIMES {
        let end = Instant::now() + STILL;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        // Others may have it meanwhile: that is what is waited for.
        thread::sleep(STILL * 3);
    }
    Ok(())
}

/// Keeps a thread of an agent on one processor.
fn bind(agent: &Agent, name: &str, processor: usize) -> Result<()> {
    let mut own = CpuSet::new();
    own.set(processor)?;
    for task in fs::read_dir(format!("/proc/{}/task", agent.process.pid()))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.trim() == name {
            let thread = task.file_name().to_string_lossy().parse()?;
            return Ok(sched_setaffinity(Pid::from_raw(thread), &own)?);
        }
    }
    anyhow::bail!("no thread is called {name}")
}

fn covered(agent: &Agent) -> Result<u64> {
    let status = agent.status()?;
    status.pointer("/detector/jitter/covered").and_then(serde_json::Value::as_u64).context("no such field")
}

const TIMES: u32 = 20;
/// An advertisement is due in each, at the interval of 10 ms, often two. Alone, the detector would advertise after up to
/// 25 ms.
const STILL: Duration = Duration::from_millis(15);
/// From the one that the understudy sends to the one that the detector sends next, at most 14.5 ms.
const LONGEST: Duration = Duration::from_millis(18);
