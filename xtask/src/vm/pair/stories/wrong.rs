//! Something is wrong on the standby: a drill names it, and where nothing could be served there, the role is not moved.

use std::time::{Duration, Instant};

use ::lab::pass;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    super::{
        agents::Agents,
        guest::{Guest, PATIENCE},
        served,
        who::Disk,
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "wrong",
    about: "what is wrong on the standby is named by a drill, and the role is not moved there",
    guests: &[Who::Target, Who::A, Who::B],
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    let agents = Agents::new(lab);
    if turn.round == 1 {
        served::begin(lab, &agents, [""; 2])?;
    }
    for wrong in wrongs() {
        agents.settled()?;
        let active = agents.active()?;
        let guests = [lab.node(active)?, lab.node(active.peer())?];
        befall(guests, &wrong).with_context(|| wrong.name)?;
        ensure!(agents.active()? == active, "{}: the role has moved", wrong.name);
        guests[0].run("test \"$(zpool list -H -o health tank)\" != SUSPENDED && touch /tank/data/alive")?;
    }
    agents.settled()
}

/// Something that is wrong on the standby.
struct Wrong {
    name: &'static str,
    /// Where it comes to pass.
    side: Side,
    begin: String,
    end: String,
    /// What the drill calls it.
    cause: &'static str,
    /// Whether nothing could be served there.
    bad: bool,
}

/// Whose fault it is.
enum Side {
    Active,
    Standby,
}

fn wrongs() -> [Wrong; 7] {
    let sg = format!("sg_persist --no-inquiry --out $(lab-sg {})", Disk::Data0.device());
    let gone = |disks: &[Disk]| {
        let gone = |disk: &Disk| {
            format!("echo 1 >/sys/block/$(basename $(readlink -f {}))/device/delete; ", disk.device())
        };
        disks.iter().map(gone).collect::<String>()
    };
    // As its label says.
    let half = format!("$(zdb -l {}-part1 | sed -n 's/^    guid: //p' | head -n 1)", Disk::Data1.device());
    let scan = "for host in /sys/class/scsi_host/*; do echo '- - -' >$host/scan; done; udevadm settle";
    [
        Wrong {
            name: "a stranger's key",
            side: Side::Standby,
            begin: format!("{sg} --register-ignore --param-sark=0xdead"),
            end: format!("{sg} --register --param-rk=0xdead --param-sark=0"),
            cause: "KEY_FOREIGN",
            bad: true,
        },
        Wrong {
            name: "half of a mirror is not seen",
            side: Side::Standby,
            begin: gone(&[Disk::Data1]),
            end: scan.to_owned(),
            cause: "DISK_MISSING",
            bad: false,
        },
        Wrong {
            name: "a mirror is not seen",
            side: Side::Standby,
            begin: gone(&[Disk::Data0, Disk::Data1]),
            end: scan.to_owned(),
            cause: "DISK_MISSING",
            bad: true,
        },
        Wrong {
            name: "the log is not seen",
            side: Side::Standby,
            begin: gone(&[Disk::Log]),
            end: scan.to_owned(),
            cause: "DISK_MISSING",
            bad: true,
        },
        Wrong {
            name: "a tool is missing",
            side: Side::Standby,
            begin: "mv /usr/sbin/exportfs /root/".to_owned(),
            end: "mv /root/exportfs /usr/sbin/".to_owned(),
            cause: "NO_TOOL",
            bad: true,
        },
        Wrong {
            name: "the root file system is full",
            side: Side::Standby,
            begin: "fallocate -l $(($(stat --file-system --format='%a * %S' /) - 4096)) /var/full".to_owned(),
            end: "rm /var/full".to_owned(),
            cause: "NO_SPACE",
            bad: true,
        },
        Wrong {
            name: "the pool is degraded",
            side: Side::Active,
            begin: format!("zpool offline tank {half}"),
            end: format!("zpool online tank {half} && zpool wait -t resilver tank"),
            cause: "POOL_DEGRADED",
            bad: false,
        },
    ]
}

fn befall([active, standby]: [&Guest; 2], wrong: &Wrong) -> Result<()> {
    let guest = match wrong.side {
        Side::Active => active,
        Side::Standby => standby,
    };
    guest.run(&wrong.begin)?;
    let began = Instant::now();
    let found = loop {
        let drill = standby.try_run("ha-agent drill --json", PATIENCE)?;
        let report: Value = serde_json::from_str(&drill.out).with_context(|| format!("{drill:?}"))?;
        if let Some(found) = found(&report, wrong) {
            break found;
        }
        ensure!(began.elapsed() < PATIENCE, "the drill does not name it: {report}");
        pass(LOOK)?;
    };
    say(format_args!("wrong: {}: {found}", wrong.name));
    if wrong.bad {
        // The active node learns of it with the standby's next look.
        standby.until("ha-agent status --json | grep --quiet RESOURCE_FAULT", PATIENCE)?;
        active.until("ha-agent status --json | grep --quiet REM_RESOURCE_FAULT", PATIENCE)?;
        let output = active.try_run("ha-agent failover", PATIENCE)?;
        ensure!(output.code != 0, "the role was moved: {}", output.out);
        say(format_args!(
            "wrong: {}: {}",
            wrong.name,
            (output.out + &output.errors).trim().replace('\n', "; ")
        ));
    }
    if let Side::Active = wrong.side {
        // It is seen there as well, twice in a row, and moves nothing: the other one would be no better off.
        active.until(&format!("ha-agent status --json | grep --quiet {}", wrong.cause), PATIENCE)?;
        pass(LOOKS)?;
    }
    guest.run(&wrong.end)?;
    Ok(())
}

/// The sentence with which it is named, if it is, and as bad as it is.
fn found(report: &Value, wrong: &Wrong) -> Option<String> {
    let which = if wrong.bad { "bad" } else { "weak" };
    let parts = report["parts"].as_array().into_iter().flatten();
    let mut faults = parts.flat_map(|part| part[which].as_array().into_iter().flatten());
    let fault = faults.find(|fault| fault["cause"] == wrong.cause)?;
    Some(fault["sentence"].as_str().unwrap_or_default().to_owned())
}

/// Longer than the agent takes to look four times at what it serves, and to move it.
const LOOKS: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_secs(1);
