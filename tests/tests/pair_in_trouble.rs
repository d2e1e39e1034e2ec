//! A pair with trouble from outside: a third node that takes the role, and a disk that is full.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::introduction::Linked;
use lab::pair::VIRTUAL as ADDRESS;
use lab::paired::{
    NAMED, PATIENCE, SETTLES, named_soon, paired, paired_with, phase, reasons, settled, takes, until, wait,
    wait_for_phase,
};
use lab::{Agent, AgentConfig};

#[test]
fn when_a_third_node_has_the_role_both_say_that_neither_serves_and_refuse_a_failover() -> Result<()> {
    let Some(lab) = paired_with("third", [10, 110])? else { return Ok(()) };
    let Linked { a, b, pair, .. } = &lab;
    let third = Agent::start(&pair.witness, &AgentConfig { preempt: true, ..AgentConfig::default() })?;
    third.wait_for_state(0, "MASTER")?;
    named_soon([a, b], "SAME_STATE_BACKUP")?;
    for (agent, node) in [(a, &pair.a), (b, &pair.b)] {
        ensure!(agent.vhost()?["state"] == "BACKUP" && !node.has_address(ADDRESS)?, "{}", node.name);
        let refused = agent.command("failover")?;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(5) && why.contains("SAME_STATE_BACKUP"), "{refused:?}");
    }
    third.leave()?;
    let left = Instant::now();
    settled(a, b)?;
    println!("resolved {:?} after the third one has left", left.elapsed());
    let has = [pair.a.has_address(ADDRESS)?, pair.b.has_address(ADDRESS)?];
    ensure!(has == [phase(a)? == "active", phase(b)? == "active"] && has[0] != has[1], "{has:?}");
    Ok(())
}

#[test]
fn who_is_alone_serves_though_its_disk_is_full() -> Result<()> {
    let Some(mut lab) = paired("full")? else { return Ok(()) };
    let disk = FullDisk::mount(&lab.b.state_directory())?;
    lab::pass(SETTLES)?;
    let mark = lab.b.mark();
    lab.a.kill()?;
    until("the address", || lab.pair.b.has_address(ADDRESS))?;
    wait(&lab.b, NAMED, |status| reasons(status).iter().any(|reason| reason == "NO_STORE"))?;
    // For longer than a takeover may take.
    let began = Instant::now();
    while began.elapsed() < LONGER {
        ensure!(lab.pair.b.has_address(ADDRESS)?, "it gave up: {:#}", lab.b.status()?["pair"]);
        thread::sleep(Duration::from_millis(20));
    }
    let told = lab.b.process.lines().split_off(mark).join("\n");
    ensure!(takes(&lab.b, mark) == 1, "{told}");
    ensure!(told.matches("pair.json can't be written: No space left").count() == 1, "{told}");
    ensure!(told.contains("though it can't be stored"), "{told}");
    let lives = lab.b.process.lines().len();
    disk.make_room()?;
    wait_for_phase(&lab.b, "active")?;
    wait(&lab.b, PATIENCE, |status| !reasons(status).iter().any(|reason| reason == "NO_STORE"))?;
    lab.b.process.wait_for_line(lives, "active in generation", PATIENCE)?;
    lab.a.restart(&lab.pair.a)?;
    wait_for_phase(&lab.a, "standby")?;
    ensure!(phase(&lab.b)? == "active" && !lab.pair.a.has_address(ADDRESS)?, "the role moved");
    Ok(())
}

#[test]
fn a_standby_that_is_cut_off_altogether_rests() -> Result<()> {
    let Some(lab) = paired("cut-off")? else { return Ok(()) };
    let Linked { b, interlink, pair, .. } = &lab;
    interlink.cut(&pair.b)?;
    pair.lan.cut(&pair.b)?;
    wait(b, PATIENCE, |status| {
        status["pair"]["verdict"] == "unknown" && status["vhosts"][0]["state"] == "INIT"
    })?;
    lab::pass(SETTLES)?;
    let used = |agent: &Agent| -> Result<f64> {
        agent.status()?["detector"]["cpu_s"].as_f64().context("no processor time")
    };
    let (began, before) = (Instant::now(), used(b)?);
    lab::pass(Duration::from_secs(1))?;
    let share = (used(b)? - before) / began.elapsed().as_secs_f64();
    println!("the detector of a node that is cut off uses {:.1} % of a processor", share * 100.0);
    ensure!(share < 0.1, "it does not rest: {share}");
    Ok(())
}

/// A small disk without room, over a directory whose files it has; gone when dropped.
struct FullDisk(PathBuf);

impl FullDisk {
    fn mount(directory: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            files.push((fs::read(&path)?, path));
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(directory);
        ensure!(mount.status()?.success(), "{mount:?}");
        let disk = Self(directory.to_owned());
        for (bytes, path) in files {
            fs::write(path, bytes)?;
        }
        let full = fs::write(disk.filler(), vec![0; 1 << 20]);
        ensure!(full.is_err_and(|error| error.kind() == ErrorKind::StorageFull), "it has room");
        Ok(disk)
    }

    fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        // What remains is seen by whoever removes the directory.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Than a takeover may take, which is 5 s.
const LONGER: Duration = Duration::from_secs(7);
