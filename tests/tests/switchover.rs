//! The active role of a pair: moved by an operator under a client's requests, moved by failures, and not moved where it is not
//! to be.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::addresses::{Watch, never_on_both};
use lab::capture::now_ns;
use lab::client::{Client, Echo};
use lab::introduction::Linked;
use lab::pair::{Pair, VIRTUAL as ADDRESS};
use lab::paired::{
    PATIENCE, SETTLES, named, named_soon, paired, phase, quiet, settled, takes, until, wait, wait_for_phase,
};
use nix::sys::signal::Signal;

#[test]
fn a_planned_switchover_is_hardly_felt_and_the_address_is_never_on_two_nodes() -> Result<()> {
    let Some(lab) = paired("switch")? else { return Ok(()) };
    let Linked { a, b, pair, .. } = &lab;
    let echoes = [Echo::start(&pair.a.netns, ADDRESS)?, Echo::start(&pair.b.netns, ADDRESS)?];
    let mut watch = Watch::start(pair)?;
    let client = Client::start(&pair.witness.netns, ADDRESS)?;
    until("an answer", || Ok(!client.answers().is_empty()))?;
    let mut gaps = Vec::new();
    for round in 0..rounds() {
        let (from, to) = if round % 2 == 0 { (a, b) } else { (b, a) };
        // At the one that has it, and at the one that is to have it.
        let at = if round % 4 < 2 { from } else { to };
        let began = now_ns();
        let output = at.command("failover")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.code() == Some(0), "round {round}: {output:?}");
        ensure!(printed.contains("the role has moved"), "{printed}");
        wait_for_phase(to, "active")?;
        wait_for_phase(from, "standby")?;
        let (answers, old) = (client.answers().len(), &echoes[round % 2]);
        let silent = old.answered();
        until("answers of the new one", || Ok(client.answers().len() > answers + 20))?;
        ensure!(old.answered() == silent, "round {round}: the old one answers");
        let (before, after) = client.longest_gap(began, now_ns()).context("no answers")?;
        gaps.push(Duration::from_nanos(after - before));
    }
    gaps.sort_unstable();
    let (median, least, most) = (gaps[gaps.len() / 2], gaps[0], gaps[gaps.len() - 1]);
    println!(
        "{} switchovers: without an answer {median:?} in the median ({least:?} to {most:?})",
        gaps.len()
    );
    ensure!(median <= Duration::from_millis(5), "{gaps:?}");
    drop(client);
    claimed_in_turn(pair, gaps.len())?;
    let changes = watch.catch_up()?;
    ensure!(changes.len() == 2 * gaps.len(), "{} switchovers, and {changes:#?}", gaps.len());
    never_on_both(&changes)?;
    // That it would have been seen.
    let standby = if phase(a)? == "standby" { &pair.a } else { &pair.b };
    standby.netns.ip(&format!("addr add {ADDRESS}/32 dev lo"))?;
    ensure!(never_on_both(&watch.catch_up()?).is_err(), "the address was on both, and nobody noticed");
    Ok(())
}

/// In ARP, as the clients' network heard it: each node says that it has the address, and falls silent before the other one does.
fn claimed_in_turn(pair: &Pair, switchovers: usize) -> Result<()> {
    let nodes = [pair.a.hardware("eth0")?, pair.b.hardware("eth0")?];
    let claims = pair.capture.frames(0).into_iter().filter(|frame| frame.claims() == Some(ADDRESS.into()));
    let mut turns: Vec<usize> =
        claims.filter_map(|frame| nodes.iter().position(|node| frame.hardware() == Some(*node))).collect();
    let frames = turns.len();
    turns.dedup();
    println!("{frames} ARP frames with the address, in {} turns", turns.len());
    // The first node may have said so before.
    let expected: Vec<usize> = (0..=switchovers).map(|turn| turn % 2).collect();
    ensure!(turns == expected || turns == expected[1..], "the address was claimed by turns: {turns:?}");
    Ok(())
}

#[test]
fn a_silence_of_one_path_moves_nothing_and_has_a_name_on_both() -> Result<()> {
    let Some(lab) = paired("paths")? else { return Ok(()) };
    let Linked { a, b, pair, interlink } = &lab;
    let marks = [a.mark(), b.mark()];
    // The interlink cut, CARP goes on.
    interlink.cut(&pair.b)?;
    named_soon([a, b], "NO_PONG")?;
    named(b, "NO_CARRIER_ON_HEARTBEAT")?;
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role moved");
    let refused = b.command("failover")?;
    ensure!(refused.status.code() == Some(5), "{refused:?}");
    interlink.mend(&pair.b)?;
    for agent in [a, b] {
        quiet(agent)?;
    }
    // CARP cut, the interlink goes on.
    pair.lan.isolate(&pair.b)?;
    named_soon([a, b], "SAME_STATE_MASTER")?;
    named(b, "PARTITIONED")?;
    named(a, "REM_PARTITIONED")?;
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role moved");
    ensure!(pair.a.has_address(ADDRESS)? && !pair.b.has_address(ADDRESS)?, "the address moved");
    for agent in [a, b] {
        let refused = agent.command("failover")?;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(5) && why.contains("SAME_STATE"), "{refused:?}");
    }
    pair.lan.rejoin(&pair.b)?;
    for agent in [a, b] {
        quiet(agent)?;
    }
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role moved");
    ensure!(takes(a, marks[0]) + takes(b, marks[1]) == 0, "it moved to and fro");
    // Both cut, and no third opinion: both serve, and the lower generation yields afterwards.
    interlink.cut(&pair.b)?;
    pair.lan.isolate(&pair.b)?;
    wait_for_phase(b, "active")?;
    ensure!(phase(a)? == "active", "{:#}", a.status()?["pair"]);
    interlink.mend(&pair.b)?;
    wait_for_phase(a, "standby")?;
    ensure!(phase(b)? == "active" && !pair.a.has_address(ADDRESS)?, "who has the newer generation keeps it");
    pair.lan.rejoin(&pair.b)?;
    for agent in [a, b] {
        quiet(agent)?;
    }
    Ok(())
}

#[test]
fn an_agent_that_dies_or_stops_is_replaced_and_comes_back_as_the_standby() -> Result<()> {
    let Some(mut lab) = paired("dies")? else { return Ok(()) };
    // Before, nothing shows that a peer is dead (docs/switchover.md, Times); and nothing tells of that moment.
    lab::pass(SETTLES)?;
    let killed = Instant::now();
    lab.a.kill()?;
    wait_for_phase(&lab.b, "active")?;
    let took = killed.elapsed();
    ensure!(lab.pair.b.has_address(ADDRESS)?, "no address");
    println!("killed: the other one is active after {took:?}");
    ensure!(took < SILENCE + SLACK, "it took {took:?}");
    lab.a.restart(&lab.pair.a)?;
    wait_for_phase(&lab.a, "standby")?;
    ensure!(!lab.pair.a.has_address(ADDRESS)? && phase(&lab.b)? == "active", "the role moved");
    quiet(&lab.b)?;
    // Stopped, and gone on with.
    lab.b.process.signal(Signal::SIGSTOP)?;
    let taken = wait_for_phase(&lab.a, "active");
    lab.b.process.signal(Signal::SIGCONT)?;
    taken?;
    wait_for_phase(&lab.b, "standby")?;
    ensure!(!lab.pair.b.has_address(ADDRESS)? && phase(&lab.a)? == "active", "the role moved");
    quiet(&lab.a)?;
    // In order: the other one has it before this one is gone.
    let mark = lab.b.mark();
    lab.a.leave()?;
    wait_for_phase(&lab.b, "active")?;
    let told = lab.b.process.lines().split_off(mark).join("\n");
    ensure!(told.contains("switchover ended: the role has moved"), "{told}");
    Ok(())
}

#[test]
fn a_link_that_flaps_moves_the_role_once_at_most() -> Result<()> {
    let Some(lab) = paired("flapping")? else { return Ok(()) };
    let Linked { pair, .. } = &lab;
    flap(&lab, "the network at the active one", || pair.lan.cut(&pair.a), || pair.lan.mend(&pair.a))
}

#[test]
fn all_links_that_flap_together_move_the_role_once_at_most() -> Result<()> {
    let Some(lab) = paired("flaps-all")? else { return Ok(()) };
    let Linked { pair, interlink, .. } = &lab;
    let cut = || pair.lan.isolate(&pair.a).and_then(|()| interlink.isolate(&pair.a));
    let mend = || pair.lan.rejoin(&pair.a).and_then(|()| interlink.rejoin(&pair.a));
    flap(&lab, "all between the nodes", cut, mend)
}

/// Ten times a second.
fn flap(lab: &Linked, what: &str, cut: impl Fn() -> Result<()>, mend: impl Fn() -> Result<()>) -> Result<()> {
    let Linked { a, b, .. } = lab;
    let marks = [a.mark(), b.mark()];
    let began = Instant::now();
    let until = flapping();
    while began.elapsed() < until {
        cut()?;
        thread::sleep(HALF);
        mend()?;
        thread::sleep(HALF);
    }
    let lasted = began.elapsed();
    settled(a, b)?;
    // What it led to once it was over counts, too.
    let changes = takes(a, marks[0]) + takes(b, marks[1]);
    println!("{what} flaps for {lasted:?}: the role moved {changes} times");
    ensure!(changes <= 1, "{changes} changes");
    Ok(())
}

#[test]
fn what_an_operator_forbids_does_not_happen() -> Result<()> {
    let Some(mut lab) = paired("forbids")? else { return Ok(()) };
    lab.a.tell("disable")?;
    wait(&lab.b, PATIENCE, |status| status["pair"]["disabled"] == true)?;
    lab.a.kill()?;
    wait(&lab.b, PATIENCE, |status| {
        status["pair"]["wait"] == "disabled" && status["pair"]["verdict"] == "dead"
    })?;
    ensure!(phase(&lab.b)? == "standby" && !lab.pair.b.has_address(ADDRESS)?, "it took over");
    lab.b.tell("enable")?;
    wait_for_phase(&lab.b, "active")?;
    // Against a peer of which nothing is known, by force only, and whoever forces names the node.
    let forced = lab.b.command_with(&["failover", "--force"])?;
    ensure!(forced.status.code() == Some(2), "{forced:?}");
    Ok(())
}

#[test]
fn nothing_fails_over_to_a_node_that_is_held_until_it_is_not() -> Result<()> {
    let Some(mut lab) = paired("held")? else { return Ok(()) };
    lab.b.tell("hold")?;
    wait(&lab.b, PATIENCE, |status| status["pair"]["held"] == true)?;
    let mark = lab.b.mark();
    lab.a.kill()?;
    // It says so only of a peer that it has found dead.
    wait(&lab.b, PATIENCE, |status| status["pair"]["wait"] == "held" && status["pair"]["verdict"] == "dead")?;
    ensure!(phase(&lab.b)? == "standby" && !lab.pair.b.has_address(ADDRESS)?, "it took over");
    ensure!(takes(&lab.b, mark) == 0, "it took over");
    lab.b.tell("resume")?;
    wait_for_phase(&lab.b, "active")?;
    ensure!(lab.pair.b.has_address(ADDRESS)?, "no address");
    Ok(())
}

/// Thirty in the long form.
fn rounds() -> usize {
    std::env::var("HA_SWITCHOVERS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8)
}

/// A minute in the long form.
fn flapping() -> Duration {
    let seconds = std::env::var("HA_FLAPPING_S").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

const HALF: Duration = Duration::from_millis(50);
/// Three intervals of the lab's virtual hosts, and the worse one's skew. The link of an agent that was killed is closed at once.
const SILENCE: Duration = Duration::from_millis(40);
/// On a machine that the others keep busy.
const SLACK: Duration = Duration::from_millis(200);
