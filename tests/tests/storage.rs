//! Two agents with a disk between them: they mount it one after the other, never both, whatever becomes of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Agent;
use lab::introduction::Linked;
use lab::paired::{phase, reasons, until, wait, wait_for_phase};
use lab::shared::{Lookout, Sharing};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn who_dies_is_switched_off_and_the_other_one_serves_what_it_wrote() -> Result<()> {
    let Some(mut sharing) = Sharing::start("st-kill", [""; 2], [""; 2])? else { return Ok(()) };
    ensure!(sharing.served(&sharing.linked.a)? == ["a"]);
    let mark = sharing.linked.b.mark();
    sharing.linked.a.kill()?;
    until("b serves", || sharing.serves(&sharing.linked.b))?;
    ensure!(sharing.served(&sharing.linked.b)? == ["a", "b"]);
    ensure!(sharing.disk.log()? == ["start a", "off a", "start b"], "{:?}", sharing.disk.log()?);
    let b = &sharing.linked.b;
    let last = b.status()?["charge"]["last_takeover"].clone();
    let phases: Vec<&str> =
        last.as_array().into_iter().flatten().filter_map(|it| it["phase"].as_str()).collect();
    ensure!(phases == ["fence", "mount", "services", "addresses"], "{last:#}");
    println!(
        "{}",
        b.process.lines()[mark..].iter().find(|line| line.contains("takeover done")).context("no story")?
    );
    // It comes back, and stands by.
    sharing.restart("a")?;
    sharing.settled()?;
    ensure!(sharing.serves(&sharing.linked.b)?);
    ensure!(!sharing.has_mounted(&sharing.linked.a.process));
    Ok(())
}

#[test]
fn the_role_moves_there_and_back_and_nobody_is_switched_off() -> Result<()> {
    let Some(sharing) = Sharing::start("st-move", [""; 2], [""; 2])? else { return Ok(()) };
    let Linked { a, b, .. } = &sharing.linked;
    let lookout = Lookout::start(&sharing.disk.at, [&a.process, &b.process]);
    for (from, to) in [(a, b), (b, a), (a, b)] {
        moved(from)?;
        until("it serves", || sharing.serves(to))?;
        ensure!(!sharing.serves(from)? && !sharing.has_mounted(&from.process));
    }
    println!("looked {} times, never on both", lookout.end()?);
    let expected = ["start a", "stop a", "start b", "stop b", "start a", "stop a", "start b"];
    ensure!(sharing.disk.log()? == expected, "{:?}", sharing.disk.log()?);
    ensure!(sharing.served(b)? == ["a", "b", "a", "b"]);
    Ok(())
}

#[test]
fn who_is_frozen_is_switched_off_before_anything_is_mounted() -> Result<()> {
    let Some(sharing) = Sharing::start("st-frozen", [""; 2], [""; 2])? else { return Ok(()) };
    let Linked { a, b, .. } = &sharing.linked;
    let lookout = Lookout::start(&sharing.disk.at, [&a.process, &b.process]);
    a.process.signal(Signal::SIGSTOP)?;
    until("b serves", || sharing.serves(b))?;
    lookout.end()?;
    ensure!(sharing.disk.log()? == ["start a", "off a", "start b"], "{:?}", sharing.disk.log()?);
    Ok(())
}

#[test]
fn without_a_fence_nothing_is_mounted_and_that_is_said() -> Result<()> {
    let Some(mut sharing) = Sharing::start("st-unfenced", [""; 2], [""; 2])? else { return Ok(()) };
    std::fs::write(sharing.disk.file("fate-board"), "fail")?;
    let mark = sharing.linked.b.mark();
    sharing.linked.a.kill()?;
    let b = &sharing.linked.b;
    b.process.wait_for_line(mark, "fence data: OTHER: ", Duration::from_secs(10))?;
    b.process.wait_for_line(mark, "takeover failed", Duration::from_secs(10))?;
    ensure!(!sharing.has_mounted(&b.process));
    // Once it works, it is tried again.
    std::fs::write(sharing.disk.file("fate-board"), "")?;
    until("b serves", || sharing.serves(b))?;
    ensure!(sharing.disk.log()? == ["start a", "off a", "start b"], "{:?}", sharing.disk.log()?);
    Ok(())
}

#[test]
fn a_busy_mount_goes_back_or_is_freed_as_the_policy_says() -> Result<()> {
    let busy = |policy: &str| format!("busy = \"{policy}\"\nrelease = \"2s\"");
    let (wait, kill) = (busy("wait"), busy("kill"));
    let Some(sharing) = Sharing::start("st-busy", [&wait, &kill], [""; 2])? else { return Ok(()) };
    let Linked { a, b, .. } = &sharing.linked;
    let occupy = |agent| {
        sharing.on(agent, &format!("cd {} && echo here && exec sleep 300", sharing.disk.at.display()))
    };
    let mut held = occupy(a)?;
    held.wait_for_line(0, "here", Duration::from_secs(5))?;
    let mark = a.mark();
    let output = a.command("failover")?;
    ensure!(output.status.code() == Some(5), "{output:?}");
    a.process.wait_for_line(mark, "BUSY", Duration::from_secs(1)).context("it is not said why")?;
    wait_for_phase(a, "active")?;
    until("a serves again", || sharing.serves(a))?;
    ensure!(sharing.disk.log()? == ["start a", "stop a", "start a"], "{:?}", sharing.disk.log()?);
    held.kill()?;
    // It rests after that.
    until("it moves", || Ok(a.command("failover")?.status.success()))?;
    until("b serves", || sharing.serves(b))?;
    let mut held = occupy(b)?;
    held.wait_for_line(0, "here", Duration::from_secs(5))?;
    // The other one still rests.
    until("it moves back", || Ok(b.command("failover")?.status.success()))?;
    until("a serves", || sharing.serves(a))?;
    ensure!(!held.wait(Duration::from_secs(5))?.success(), "who held it was left alone");
    ensure!(!sharing.has_mounted(&b.process));
    Ok(())
}

#[test]
fn a_service_that_does_not_start_or_hangs_brings_the_role_back() -> Result<()> {
    let Some(sharing) = Sharing::start("st-undo", [""; 2], ["", "take = \"1s\""])? else { return Ok(()) };
    let Linked { a, b, .. } = &sharing.linked;
    let lookout = Lookout::start(&sharing.disk.at, [&a.process, &b.process]);
    for (fate, cause) in [("fail", "told to fail"), ("hang", "TIMED_OUT")] {
        sharing.fate("b", "start", fate)?;
        let mark = b.mark();
        let output = until_not_resting(a)?;
        ensure!(output == Some(5), "{output:?}");
        b.process.wait_for_line(mark, cause, Duration::from_secs(5))?;
        until("a serves again", || sharing.serves(a))?;
        ensure!(!sharing.has_mounted(&b.process), "it is left mounted");
    }
    lookout.end()?;
    let log = sharing.disk.log()?;
    ensure!(!log.iter().any(|line| line == "start b" || line.starts_with("off")), "{log:?}");
    Ok(())
}

#[test]
fn a_service_that_dies_is_started_again_and_at_last_the_role_moves() -> Result<()> {
    let Some(sharing) = Sharing::start("st-dies", [""; 2], [""; 2])? else { return Ok(()) };
    let Linked { a, b, .. } = &sharing.linked;
    std::fs::remove_file(sharing.disk.file("here-a"))?;
    until("it is started again", || Ok(sharing.disk.log()? == ["start a", "start a"]))?;
    sharing.fate("a", "check", "fail")?;
    wait(a, Duration::from_secs(30), |status| status["charge"]["doing"] == "nothing")?;
    until("b serves", || sharing.serves(b))
}

#[test]
fn an_agent_that_ends_in_order_leaves_nothing_mounted() -> Result<()> {
    let Some(sharing) = Sharing::start("st-end", [""; 2], [""; 2])? else { return Ok(()) };
    let Sharing { linked: Linked { a, mut b, .. }, disk } = sharing;
    // Nobody is there to take over.
    b.kill()?;
    a.leave()?;
    ensure!(disk.log()? == ["start a", "stop a"], "{:?}", disk.log()?);
    Ok(())
}

#[test]
fn a_drill_names_what_is_in_the_way_and_touches_nothing() -> Result<()> {
    let strange = "uuid = \"00000000-0000-4000-8000-000000000000\"";
    let Some(sharing) = Sharing::introduced("st-drill", [""; 2], [""; 2])? else { return Ok(()) };
    // Whichever node starts first takes over first.
    let is_new = sharing.begin()?.iter().all(|it| it != "start b");
    let Linked { a, b, .. } = &sharing.linked;
    let output = a.command("drill")?;
    ensure!(output.status.code() == Some(78), "the active node was drilled: {output:?}");
    let (code, report) = drill(b)?;
    ensure!(code == Some(0), "{report:#}");
    ensure!(
        report["at_least"] == is_new && report["total_ms"].as_f64().is_some_and(|ms| ms > 0.0),
        "{report:#}"
    );
    // After a takeover, it is known how long one takes.
    moved(a)?;
    until("b serves", || sharing.serves(b))?;
    moved(b)?;
    until("a serves", || sharing.serves(a))?;
    let (_, report) = drill(b)?;
    ensure!(report["at_least"] == false, "{report:#}");
    println!("{}", String::from_utf8_lossy(&b.command("drill")?.stdout));
    ensure!(
        !sharing.has_mounted(&b.process) && sharing.disk.log()?.last().is_some_and(|last| last == "start a")
    );
    drop(sharing);

    let Some(sharing) = Sharing::introduced("st-strange", ["", strange], [""; 2])? else { return Ok(()) };
    until("a serves", || sharing.serves(&sharing.linked.a))?;
    let Linked { a, b, .. } = &sharing.linked;
    let (code, report) = drill(b)?;
    ensure!(code == Some(4), "{report:#}");
    let cause =
        report["parts"].as_array().into_iter().flatten().find_map(|part| part["bad"][0]["cause"].as_str());
    ensure!(cause == Some("DISK_FOREIGN"), "{report:#}");
    wait(b, Duration::from_secs(5), |status| reasons(status).iter().any(|it| it == "RESOURCE_FAULT"))?;
    wait(a, Duration::from_secs(5), |status| reasons(status).iter().any(|it| it == "REM_RESOURCE_FAULT"))?;
    let output = a.command("failover")?;
    ensure!(output.status.code() == Some(5), "{output:?}");
    ensure!(phase(a)? == "active" && sharing.serves(a)?, "nothing was to be given away");
    ensure!(sharing.disk.log()? == ["start a"], "{:?}", sharing.disk.log()?);
    Ok(())
}

fn drill(agent: &Agent) -> Result<(Option<i32>, Value)> {
    let output = agent.command_with(&["drill", "--json"])?;
    let report = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok((output.status.code(), report))
}

/// Has the role moved away from an agent.
fn moved(from: &Agent) -> Result<()> {
    let output = from.command("failover")?;
    let lines = || from.process.lines().join("\n");
    ensure!(output.status.success(), "{output:?}\n{}", lines());
    Ok(())
}

/// Orders a failover, again while it is refused at once because a node rests. Returns the exit code.
fn until_not_resting(from: &Agent) -> Result<Option<i32>> {
    let mut code = None;
    until("it begins", || {
        let mark = from.mark();
        code = from.command("failover")?.status.code();
        Ok(from
            .process
            .lines()
            .iter()
            .skip(mark)
            .any(|line| line.contains("stop serving") || line.contains("release")))
    })?;
    Ok(code)
}
