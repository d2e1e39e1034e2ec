//! Services whose systemd and kernel are stand-ins, and commands that are real.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::{Command, CommandSettings, Export, Nfs, NfsSettings, Unit, UnitSettings};
use crate::resource::{Cause, Finding, Resource, System};
use crate::storage::Host;
use crate::storage::double::{Double, FAULTS, within};

/// A machine with systemd: `run/UNIT` has the state of each unit.
struct Lab {
    root: TempDir,
    programs: Arc<Double>,
}

impl Lab {
    fn new() -> Result<Self> {
        let root = TempDir::new()?;
        for directory in ["proc/self", "proc/fs/nfsd", "run"] {
            fs::create_dir_all(root.path().join(directory))?;
        }
        for (file, is) in [
            ("proc/self/mountinfo", ""),
            ("proc/fs/nfsd/threads", "0"),
            ("proc/fs/nfsd/nfsv4leasetime", "90"),
            ("proc/fs/nfsd/nfsv4gracetime", "90"),
            ("proc/fs/nfsd/v4_end_grace", "N"),
            ("run/scope", "storage.example\n"),
        ] {
            fs::write(root.path().join(file), is)?;
        }
        let at = root.path().to_owned();
        Ok(Self { root, programs: Arc::new(Double::new(move |line| act(&at, line))) })
    }

    fn host(&self) -> Host {
        Host::new(self.programs.clone(), self.root.path())
    }

    fn units(&self) -> Unit {
        let settings = UnitSettings {
            name: "units".to_owned(),
            units: vec!["a.service".to_owned(), "b.service".to_owned()],
            each: Duration::from_secs(5),
            restarts: 3,
            window: Duration::from_mins(10),
        };
        Unit::new(settings, self.host())
    }

    fn nfs(&self) -> Nfs {
        let export = Export {
            path: "/srv".into(),
            client: "2001:db8::/64".to_owned(),
            options: "rw,fsid=7".to_owned(),
        };
        let settings = NfsSettings {
            state: "/srv/.nfs".into(),
            scope: "storage.example".to_owned(),
            lease: 15,
            grace: 20,
            exports: vec![export],
        };
        Nfs::new(settings, self.host())
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.path().join(file)).unwrap_or_default()
    }

    fn set(&self, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.root.path().join(file), text)?)
    }
}

fn act(root: &Path, line: &[String]) -> (i32, String, String) {
    let words: Vec<_> = line.iter().map(String::as_str).collect();
    let write = |file: &str, text: &str| drop(fs::write(root.join(file), text));
    let state = |unit: &str| {
        fs::read_to_string(root.join("run").join(unit)).unwrap_or_else(|_| "inactive".to_owned())
    };
    let mut stdout = String::new();
    match words.as_slice() {
        ["systemctl", "show", .., unit] => {
            let restarts = fs::read_to_string(root.join("run/restarts")).unwrap_or_else(|_| "0".to_owned());
            let load = if *unit == "none.service" { "not-found" } else { "loaded" };
            let active = state(unit);
            stdout = format!(
                "LoadState={load}\nActiveState={active}\nUnitFileState=disabled\nNRestarts={restarts}\n"
            );
        }
        ["systemctl", "start", .., "bad.service"] => write("run/bad.service", "failed"),
        ["systemctl", "start", .., unit] => {
            write(&format!("run/{unit}"), "active");
            if *unit == "nfs-server.service" {
                write("proc/fs/nfsd/threads", "8");
            }
        }
        ["systemctl", "stop", .., unit] => {
            write(&format!("run/{unit}"), "inactive");
            if *unit == "nfs-server.service" {
                write("proc/fs/nfsd/threads", "0");
            }
        }
        ["mount", "--bind", _, at] => {
            write("proc/self/mountinfo", &format!("9 1 0:9 / {at} rw - zfs tank rw\n"));
        }
        ["umount", _] => write("proc/self/mountinfo", ""),
        ["nfsconf", ..] => stdout = fs::read_to_string(root.join("run/scope")).unwrap_or_default(),
        ["exportfs", ..] => {}
        other => return (1, String::new(), format!("what is {other:?}?")),
    }
    (0, stdout, String::new())
}

#[test]
fn units_start_in_order_and_stop_the_other_way() -> Result<()> {
    let lab = Lab::new()?;
    let units = lab.units();
    ensure!(!units.is_here(&within(1000)?)?);
    units.take(&within(5000)?)?;
    units.take(&within(5000)?)?;
    let acts = |lab: &Lab| -> Vec<String> {
        let acts = lab.programs.calls().into_iter().filter(|it| !it.contains(" show "));
        acts.map(|it| it.replace("systemctl ", "").replace("-- ", "")).collect()
    };
    ensure!(acts(&lab) == ["start a.service", "start b.service"], "{:?}", acts(&lab));
    units.check(&within(1000)?)?;
    lab.programs.fail(None);
    units.release(&within(5000)?)?;
    units.release(&within(5000)?)?;
    ensure!(acts(&lab) == ["stop b.service", "stop a.service"], "{:?}", acts(&lab));
    ensure!(!units.is_here(&within(1000)?)?);
    Ok(())
}

#[test]
fn a_unit_that_dies_again_and_again_is_dead() -> Result<()> {
    let lab = Lab::new()?;
    let units = lab.units();
    units.take(&within(5000)?)?;
    for (restarts, is_dead) in [(1, false), (3, false), (4, true), (0, false), (3, false), (4, true)] {
        lab.set("run/restarts", &restarts.to_string())?;
        let failure = units.check(&within(1000)?).err();
        ensure!(failure.as_ref().is_some_and(|it| it.cause == Cause::ServiceDead) == is_dead, "{failure:?}");
    }
    lab.set("run/restarts", "0")?;
    lab.set("run/b.service", "failed")?;
    ensure!(units.check(&within(1000)?).is_err_and(|it| it.what.contains("b.service is failed")));
    units.release(&within(1000)?)?;
    Ok(())
}

#[test]
fn a_unit_that_does_not_start_or_is_not_there_is_named() -> Result<()> {
    let lab = Lab::new()?;
    for (unit, cause) in [("bad.service", Cause::ServiceDead), ("none.service", Cause::Misconfigured)] {
        let settings = UnitSettings {
            name: "units".to_owned(),
            units: vec![unit.to_owned()],
            each: Duration::from_secs(5),
            restarts: 3,
            window: Duration::from_mins(10),
        };
        let units = Unit::new(settings, lab.host());
        let failure = units.take(&within(1000)?).expect_err("no");
        ensure!(failure.cause == cause && failure.what.contains(unit), "{failure}");
        units.release(&within(1000)?)?;
    }
    Ok(())
}

/// Takes it and releases it with each fault at each call.
fn with_each_fault(lab: &Lab, resource: &dyn Resource, is_clean: impl Fn() -> bool) -> Result<()> {
    lab.programs.fail(None);
    resource.take(&within(5000)?)?;
    let taking = lab.programs.calls().len();
    lab.programs.fail(None);
    resource.release(&within(5000)?)?;
    let releasing = lab.programs.calls().len();
    for (at, fault) in (0..taking).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
        lab.programs.fail(Some((at, fault)));
        match resource.take(&within(600)?) {
            Err(failure) => ensure!(!failure.what.is_empty() && !failure.remedy.is_empty(), "{at} {fault:?}"),
            Ok(_) => ensure!(resource.is_here(&within(1000)?)?, "{at} {fault:?}"),
        }
        lab.programs.fail(None);
        resource.release(&within(5000)?)?;
        ensure!(is_clean(), "{at} {fault:?}");
    }
    for (at, fault) in (0..releasing).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
        lab.programs.fail(None);
        resource.take(&within(5000)?)?;
        lab.programs.fail(Some((at, fault)));
        if resource.release(&within(600)?).is_ok() {
            ensure!(is_clean(), "{at} {fault:?}");
        }
        lab.programs.fail(None);
        resource.release(&within(5000)?)?;
        ensure!(is_clean(), "{at} {fault:?}");
    }
    Ok(())
}

#[test]
fn whatever_goes_wrong_is_named_and_nothing_runs_on() -> Result<()> {
    let lab = Lab::new()?;
    let down = |unit: &str| ["", "inactive", "failed"].contains(&lab.read(&format!("run/{unit}")).as_str());
    with_each_fault(&lab, &lab.units(), || down("a.service") && down("b.service"))?;
    with_each_fault(&lab, &lab.nfs(), || {
        down("nfs-server.service")
            && lab.read("proc/fs/nfsd/threads") == "0"
            && lab.read("proc/self/mountinfo").is_empty()
    })
}

#[test]
fn nfs_comes_with_its_state_and_its_scope() -> Result<()> {
    let lab = Lab::new()?;
    // It runs with a state of its own.
    lab.set("run/nfs-server.service", "active")?;
    lab.set("run/nfsdcld.service", "active")?;
    lab.set("proc/fs/nfsd/threads", "8")?;
    let nfs = lab.nfs();
    let taken = nfs.take(&within(5000)?)?;
    ensure!(taken.remarks.len() == 1 && taken.remarks[0].contains("about 20 s"), "{taken:?}");
    let acts: Vec<_> = lab.programs.calls().into_iter().filter(|it| !it.contains(" show ")).collect();
    let expected = [
        "nfsconf --get nfsd scope",
        "systemctl stop -- nfs-server.service",
        "systemctl stop -- nfsdcld.service",
        "mount --bind /srv/.nfs /var/lib/nfs/nfsdcld",
        "systemctl start -- proc-fs-nfsd.mount",
        "systemctl start -- nfsdcld.service",
        "systemctl start -- nfs-server.service",
        "exportfs -i -o rw,fsid=7 [2001:db8::/64]:/srv",
    ];
    ensure!(acts == expected, "{acts:#?}");
    ensure!(
        lab.read("proc/fs/nfsd/nfsv4leasetime") == "15" && lab.read("proc/fs/nfsd/nfsv4gracetime") == "20"
    );
    nfs.check(&within(1000)?)?;
    lab.set("run/nfsdcld.service", "failed")?;
    ensure!(nfs.check(&within(1000)?).is_err_and(|failure| failure.cause == Cause::ServiceDead));
    nfs.release(&within(5000)?)?;
    ensure!(!nfs.is_here(&within(1000)?)?);

    lab.set("run/scope", "other\n")?;
    let failure = nfs.take(&within(5000)?).expect_err("scope");
    ensure!(failure.cause == Cause::Misconfigured && failure.what.contains("is other here"), "{failure}");
    ensure!(nfs.examine(&within(1000)?).iter().any(|it| matches!(it, Finding::Bad(_))));
    nfs.release(&within(5000)?)?;
    Ok(())
}

#[test]
fn a_command_keeps_the_contract() -> Result<()> {
    let directory = TempDir::new()?;
    let shell = |script: &str| ["sh", "-ec", script].map(str::to_owned).to_vec();
    let file = directory.path().join("here");
    let path = file.display();
    let settings = CommandSettings {
        name: "thing".to_owned(),
        node: "left".to_owned(),
        start: shell(&format!("echo \"$HA_NODE $HA_ACTION\" > {path}")),
        stop: shell(&format!("rm -f {path}")),
        check: shell(&format!(
            "test -e {path} || exit 3; ! grep -q ill {path} || {{ echo it is ill >&2; exit 1; }}"
        )),
    };
    let command = Command::new(settings.clone(), Host::system());
    let limits = within(20_000)?;
    ensure!(!command.is_here(&limits)?);
    ensure!(command.check(&limits).is_err_and(|failure| failure.cause == Cause::Gone));
    command.take(&limits)?;
    command.take(&limits)?;
    ensure!(fs::read_to_string(&file)? == "left start\n");
    ensure!(command.is_here(&limits)? && command.check(&limits).is_ok());
    fs::write(&file, "ill")?;
    let failure = command.check(&limits).expect_err("ill");
    ensure!(failure.cause == Cause::ServiceDead && failure.what.ends_with("it is ill"), "{failure}");
    ensure!(command.is_here(&limits)?);
    command.release(&limits)?;
    command.release(&limits)?;
    ensure!(!file.exists());

    let lazy = Command::new(CommandSettings { stop: shell("true"), ..settings.clone() }, Host::system());
    lazy.take(&limits)?;
    ensure!(lazy.release(&limits).is_err_and(|failure| failure.cause == Cause::Busy));
    command.release(&limits)?;

    let missing = vec!["/no/such/program".to_owned()];
    let missing = Command::new(CommandSettings { start: missing, ..settings.clone() }, Host::system());
    ensure!(missing.take(&limits).is_err_and(|failure| failure.cause == Cause::NoTool));
    ensure!(missing.examine(&limits).iter().any(|it| matches!(it, Finding::Bad(_))));

    let slow = Command::new(
        CommandSettings { start: shell("sleep 60"), ..settings },
        Host::new(Arc::new(System), "/"),
    );
    ensure!(slow.take(&within(200)?).is_err_and(|failure| failure.cause == Cause::TimedOut));
    Ok(())
}
