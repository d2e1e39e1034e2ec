//! A pool whose programs and kernel are stand-ins in a directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::label_tests::{MIRRORS, POOL};
use super::{Key, Pool, PoolSettings};
use crate::resource::{Cause, Finding, Resource};
use crate::storage::double::{Double, FAULTS, Fault, within};
use crate::storage::{Busy, Host};

/// A machine with the disks of a pool of two mirrors.
struct Lab {
    root: TempDir,
    programs: Arc<Double>,
}

impl Lab {
    fn new() -> Result<Self> {
        let root = TempDir::new()?;
        for directory in
            ["proc/self", "proc/spl/kstat/zfs", "dev/disk/by-id", "sys/class/block", "sys/module/zfs", "etc"]
        {
            fs::create_dir_all(root.path().join(directory))?;
        }
        fs::write(root.path().join("proc/self/mountinfo"), "")?;
        fs::write(root.path().join("etc/hostid"), "1234")?;
        fs::write(root.path().join("etc/key"), "secret")?;
        for section in MIRRORS.split("== ").filter(|section| !section.is_empty()) {
            let (name, label) = section.split_once('\n').context("a name")?;
            fs::write(root.path().join("dev").join(name), label)?;
            fs::create_dir_all(root.path().join("sys/class/block").join(name))?;
            symlink(Path::new("../..").join(name), root.path().join("dev/disk/by-id").join(name))?;
        }
        let at = root.path().to_owned();
        Ok(Self { root, programs: Arc::new(Double::new(move |line| act(&at, line))) })
    }

    fn settings() -> PoolSettings {
        PoolSettings {
            name: "ztest".to_owned(),
            guid: POOL,
            directories: vec!["/dev/disk/by-id".into()],
            disks: Vec::new(),
            settle: Duration::ZERO,
            missing_log: false,
            keys: vec![Key { data_set: "ztest/secret".to_owned(), file: "/etc/key".into() }],
            share: true,
            busy: Busy::Wait,
            force_export: false,
        }
    }

    fn pool(&self, settings: PoolSettings) -> Pool {
        Pool::new(settings, Host::new(self.programs.clone(), self.root.path()))
    }

    fn set(&self, what: &str) -> Result<()> {
        Ok(fs::write(self.root.path().join(what), "")?)
    }

    /// All files but what the stand-ins remember of a pool that is not imported, and what is in them.
    fn all(&self) -> Result<BTreeMap<PathBuf, String>> {
        let mut all = BTreeMap::new();
        let mut directories = vec![self.root.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)?.flatten() {
                if entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                }
                all.insert(entry.path(), fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
        Ok(all)
    }
}

const DATA_SETS: [(&str, &str, &str); 5] = [
    ("ztest", "/srv", "on"),
    ("ztest/home", "/srv/home", "on"),
    ("ztest/none", "none", "on"),
    ("ztest/later", "/later", "noauto"),
    ("ztest/secret", "/srv/secret", "on"),
];

/// What the programs do. Files in the root tell them to behave otherwise.
fn act(root: &Path, line: &[String]) -> (i32, String, String) {
    let statistics = root.join("proc/spl/kstat/zfs/ztest");
    let mounts = root.join("proc/self/mountinfo");
    let told = |what: &str| root.join(what).exists();
    let list = || fs::read_to_string(&mounts).unwrap_or_default();
    let mounted = |name: &str| list().contains(&format!(" - zfs {name} "));
    let mount = |name: &str| {
        let Some((_, at, _)) = DATA_SETS.iter().find(|it| it.0 == name) else { return };
        if !mounted(name) {
            let line = format!("9 1 0:9 / {at} rw - zfs {name} rw\n");
            let _ = fs::write(&mounts, list() + &line);
        }
    };
    let key = root.join("key-loaded");
    let words: Vec<_> = line.iter().map(String::as_str).collect();
    let error = |text: &str| (1, String::new(), text.to_owned());
    let fine = (0, String::new(), String::new());
    match words.as_slice() {
        ["zpool", "import", .., guid] if guid.parse() == Ok(POOL) => {
            if told("io-error") {
                let _ = fs::remove_file(root.join("io-error"));
                return error("cannot import 'ztest': I/O error\n\tDestroy and re-create the pool from");
            }
            if told("marked") && !words.contains(&"-f") {
                return error("cannot import 'ztest': pool was previously in use from another system.");
            }
            let _ = fs::create_dir_all(&statistics);
            let _ = fs::write(statistics.join("state"), "ONLINE\n");
            fine
        }
        ["zpool", "status", ..] => (2, String::new(), "invalid option 'j'".to_owned()),
        ["zpool", "export", ..] if told("in-use") && !words.contains(&"-f") => {
            error("cannot export 'ztest': pool is busy")
        }
        ["zpool", "export", ..] => {
            let _ = (fs::remove_dir_all(&statistics), fs::remove_file(key), fs::write(&mounts, ""));
            fine
        }
        ["zdb", "-l", path] => (0, fs::read_to_string(path).unwrap_or_default(), String::new()),
        ["zfs", "list", ..] => {
            let lines = DATA_SETS.iter().map(|(name, at, can)| {
                let is = if mounted(name) { "yes" } else { "no" };
                let status = match *name {
                    "ztest/secret" if !key.exists() => "unavailable",
                    "ztest/secret" => "available",
                    _ => "-",
                };
                let share = if *name == "ztest/home" { "on" } else { "off" };
                format!("{name}\t{at}\t{can}\t{is}\t{status}\t{share}\toff\n")
            });
            (0, lines.collect(), String::new())
        }
        ["zfs", "load-key", ..] => {
            let _ = fs::write(key, "");
            fine
        }
        ["zfs", "mount", "-R", _] => (2, String::new(), "invalid option 'R'".to_owned()),
        ["zfs", "mount", name] => {
            mount(name);
            fine
        }
        ["zpool", "import", ..] | ["zfs", "share" | "unshare", _] => fine,
        ["umount", at] => {
            let rest = list()
                .lines()
                .filter(|line| !line.contains(&format!(" {at} ")))
                .fold(String::new(), |all, line| all + line + "\n");
            let _ = fs::write(&mounts, rest);
            fine
        }
        other => error(&format!("what is {other:?}?")),
    }
}

#[test]
fn it_is_taken_with_all_that_is_in_it_and_leaves_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    let before = lab.all()?;
    ensure!(!pool.is_here(&within(1000)?)?);
    let taken = pool.take(&within(5000)?)?;
    ensure!(taken.remarks.len() == 1, "{taken:?}");
    let mounted = fs::read_to_string(lab.root.path().join("proc/self/mountinfo"))?;
    let order: Vec<_> = mounted.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    ensure!(order == ["/srv", "/srv/home", "/srv/secret"], "{order:?}");
    ensure!(pool.is_here(&within(1000)?)?);
    pool.check(&within(1000)?)?;
    let calls = lab.programs.calls();
    ensure!(
        calls.first().is_some_and(|it| it.starts_with("zpool import -d ")
            && !it.contains(" -f")
            && !it.contains(" -m"))
    );
    ensure!(calls.contains(&"zfs load-key -L file:///etc/key ztest/secret".to_owned()), "{calls:#?}");
    ensure!(calls.contains(&"zfs share ztest/home".to_owned()), "{calls:#?}");
    let once = lab.all()?;
    pool.take(&within(5000)?)?;
    ensure!(lab.all()? == once, "twice is once");
    pool.release(&within(5000)?)?;
    ensure!(lab.all()? == before && !pool.is_here(&within(1000)?)?);
    pool.release(&within(5000)?)?;
    ensure!(lab.all()? == before);
    Ok(())
}

#[test]
fn whatever_goes_wrong_is_named_and_nothing_is_left() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    let before = lab.all()?;
    pool.take(&within(5000)?)?;
    let taking = lab.programs.calls().len();
    lab.programs.fail(None);
    pool.release(&within(5000)?)?;
    let releasing = lab.programs.calls().len();
    ensure!(taking > 8 && releasing > 4, "{taking} {releasing}");
    for (at, fault) in (0..taking).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
        lab.programs.fail(Some((at, fault)));
        if let Err(failure) = pool.take(&within(600)?) {
            ensure!(!failure.what.is_empty() && !failure.remedy.is_empty(), "{at} {fault:?}");
        } else {
            ensure!(pool.check(&within(1000)?).is_ok(), "{at} {fault:?}");
        }
        lab.programs.fail(None);
        pool.release(&within(5000)?)?;
        ensure!(lab.all()? == before, "{at} {fault:?}");
    }
    for (at, fault) in (0..releasing).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
        lab.programs.fail(None);
        pool.take(&within(5000)?)?;
        lab.programs.fail(Some((at, fault)));
        if pool.release(&within(600)?).is_ok() {
            ensure!(lab.all()? == before, "{at} {fault:?}");
        }
        lab.programs.fail(None);
        pool.release(&within(5000)?)?;
        ensure!(lab.all()? == before, "{at} {fault:?}");
    }
    Ok(())
}

#[test]
fn the_mark_of_another_host_is_respected_until_it_is_fenced() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    lab.set("marked")?;
    let failure = pool.take(&within(5000)?).expect_err("elsewhere");
    ensure!(failure.cause == Cause::PoolElsewhere && !pool.is_here(&within(1000)?)?, "{failure}");
    pool.set_forced(true);
    pool.take(&within(5000)?)?;
    pool.release(&within(5000)?)?;
    ensure!(pool.take(&within(5000)?).is_err(), "a fence counts once");
    Ok(())
}

#[test]
fn half_a_pool_is_tried_again() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    lab.set("io-error")?;
    pool.take(&within(5000)?)?;
    pool.release(&within(5000)?)?;
    lab.set("io-error")?;
    let failure = pool.take(&within(300)?).expect_err("no time");
    ensure!(failure.cause == Cause::PoolBroken && failure.remedy.contains("all its disks"), "{failure}");
    Ok(())
}

#[test]
fn who_uses_it_is_waited_for_and_then_forced_out_if_that_is_wanted() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    pool.take(&within(5000)?)?;
    lab.set("in-use")?;
    let failure = pool.release(&within(700)?).expect_err("busy");
    ensure!(failure.cause == Cause::Busy && failure.what.contains("the kernel itself"), "{failure}");
    lab.pool(PoolSettings { force_export: true, ..Lab::settings() }).release(&within(1500)?)?;
    ensure!(!pool.is_here(&within(1000)?)?);
    Ok(())
}

#[test]
fn what_the_kernel_says_of_it_is_believed() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    ensure!(pool.check(&within(1000)?).is_err_and(|failure| failure.cause == Cause::Gone));
    pool.take(&within(5000)?)?;
    let state = lab.root.path().join("proc/spl/kstat/zfs/ztest/state");
    for (text, cause) in [
        ("DEGRADED\n", Cause::PoolDegraded),
        ("UNAVAIL\n", Cause::PoolBroken),
        ("SUSPENDED\n", Cause::PoolSuspended),
    ] {
        fs::write(&state, text)?;
        ensure!(pool.check(&within(1000)?).is_err_and(|failure| failure.cause == cause), "{text}");
    }
    lab.programs.fail(None);
    ensure!(pool.release(&within(1000)?).is_err_and(|failure| failure.cause == Cause::PoolSuspended));
    ensure!(lab.programs.calls().is_empty(), "what hangs is not called");
    Ok(())
}

#[test]
fn an_import_that_hangs_in_the_kernel_counts_as_here() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    let process = lab.root.path().join("proc/77");
    fs::create_dir(&process)?;
    fs::write(process.join("cmdline"), format!("/sbin/zpool\0import\0-N\0{POOL}\0"))?;
    ensure!(pool.is_here(&within(1000)?)?);
    ensure!(pool.release(&within(200)?).is_err_and(|failure| failure.cause == Cause::TimedOut));
    fs::write(process.join("cmdline"), "")?;
    pool.release(&within(200)?)?;
    Ok(())
}

#[test]
fn the_standby_sees_the_disks() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    let bad = |pool: &Pool| -> Result<Vec<(bool, Cause, String)>> {
        let findings = pool.examine(&within(5000)?).into_iter();
        Ok(findings
            .filter_map(|finding| match finding {
                Finding::Good(_) => None,
                Finding::Weak(failure) => Some((false, failure.cause, failure.what)),
                Finding::Bad(failure) => Some((true, failure.cause, failure.what)),
            })
            .filter(|(_, cause, _)| *cause != Cause::NoTool)
            .collect())
    };
    ensure!(bad(&pool)?.is_empty(), "{:?}", bad(&pool)?);
    let disks = pool.disks();
    ensure!(
        disks.len() == 4 && disks.iter().all(|disk| disk.device != Path::new("/dev/ztest.0a")),
        "{disks:?}"
    );
    let layout = pool.layout().context("a layout")?;
    layout.suffices(|guid| disks.iter().any(|disk| disk.guid == Some(guid)))?;
    // One disk after the other goes.
    fs::remove_file(lab.root.path().join("dev/ztest.3a"))?;
    let found = bad(&pool)?;
    ensure!(
        matches!(found.as_slice(), [(false, Cause::DiskMissing, what)] if what.contains("ztest.3a")),
        "{found:?}"
    );
    fs::remove_file(lab.root.path().join("dev/ztest.2a"))?;
    let found = bad(&pool)?;
    ensure!(matches!(found.as_slice(), [(true, Cause::DiskMissing, _)]), "{found:?}");
    Ok(())
}

#[test]
fn disks_that_are_named_must_be_those_of_the_pool() -> Result<()> {
    let lab = Lab::new()?;
    let disk = |name: &str| PathBuf::from("/dev/disk/by-id").join(name);
    let disks = ["ztest.0b", "ztest.1a", "ztest.2a", "ztest.3a"].map(disk).to_vec();
    let pool = lab.pool(PoolSettings { disks: disks.clone(), ..Lab::settings() });
    let foreign = |pool: &Pool| -> Result<Vec<String>> {
        let findings = pool.examine(&within(5000)?).into_iter();
        Ok(findings
            .filter_map(|it| match it {
                Finding::Bad(failure) if failure.cause == Cause::DiskForeign => Some(failure.what),
                Finding::Good(_) | Finding::Weak(_) | Finding::Bad(_) => None,
            })
            .collect())
    };
    ensure!(foreign(&pool)?.is_empty());
    let with_old = [disks, vec![disk("ztest.0a")]].concat();
    let pool = lab.pool(PoolSettings { disks: with_old, ..Lab::settings() });
    ensure!(foreign(&pool)?.iter().any(|what| what.contains("was taken out")), "{:?}", foreign(&pool)?);
    let path = lab.root.path().join("dev/ztest.0b");
    fs::write(&path, fs::read_to_string(&path)?.replace(&POOL.to_string(), "5"))?;
    ensure!(foreign(&pool)?.iter().any(|what| what.contains("is a disk of pool")), "{:?}", foreign(&pool)?);
    fs::write(&path, "")?;
    ensure!(foreign(&pool)?.iter().any(|what| what.contains("no label")), "{:?}", foreign(&pool)?);
    let other = lab.pool(PoolSettings { name: "tank".to_owned(), ..Lab::settings() });
    ensure!(foreign(&other)?.iter().any(|what| what.contains("is called ztest")));
    Ok(())
}

#[test]
fn a_disk_that_does_not_answer_in_time_is_not_called_foreign() -> Result<()> {
    let lab = Lab::new()?;
    let disk = |name: &str| PathBuf::from("/dev/disk/by-id").join(name);
    let disks = ["ztest.0b", "ztest.1a", "ztest.2a", "ztest.3a"].map(disk).to_vec();
    let pool = lab.pool(PoolSettings { disks, ..Lab::settings() });
    pool.survey(&within(5000)?)?;
    lab.programs.fail(Some((0, Fault::Hangs)));
    let findings = pool.examine(&within(5000)?);
    let causes: Vec<_> = findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Weak(failure) if failure.cause != Cause::NoTool => Some((false, failure.cause)),
            Finding::Bad(failure) if failure.cause != Cause::NoTool => Some((true, failure.cause)),
            Finding::Good(_) | Finding::Weak(_) | Finding::Bad(_) => None,
        })
        .collect();
    ensure!(causes == [(false, Cause::TimedOut)], "{findings:?}");
    ensure!(pool.disks().len() == 4, "what it said before is forgotten: {:?}", pool.disks());
    Ok(())
}

#[test]
fn several_who_ask_at_once_share_a_survey() -> Result<()> {
    let lab = Lab::new()?;
    let pool = lab.pool(Lab::settings());
    pool.survey(&within(5000)?)?;
    lab.programs.fail(None);
    pool.survey_if_older(Duration::from_mins(1), &within(5000)?)?;
    ensure!(lab.programs.calls().is_empty(), "{:?}", lab.programs.calls());
    pool.survey(&within(5000)?)?;
    ensure!(!lab.programs.calls().is_empty());
    Ok(())
}
