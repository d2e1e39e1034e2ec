//! Labels that `zdb -l` of ZFS 2.3.2 has printed: `testdata/mirrors.txt` is of a pool of two mirrors, in which one disk was
//! replaced and has kept its old label; `testdata/draid.txt` is of a draid2 of five disks.

use anyhow::{Context, Result, ensure};

use super::import::{ill_disks, refused};
use super::label::{Kind, Label, State, parse};
use super::layout::Layout;
use super::status::Status;
use crate::resource::{Cause, Output};

pub(super) const MIRRORS: &str = include_str!("testdata/mirrors.txt");
const DRAID: &str = include_str!("testdata/draid.txt");
pub(super) const POOL: u64 = 12_301_755_953_205_088_709;

fn labels(text: &str) -> Vec<Label> {
    text.split("== ").filter_map(parse).collect()
}

fn layout(text: &str) -> Result<Layout> {
    let labels = labels(text);
    let pool = labels.first().context("a label")?.pool;
    Layout::new(pool, &labels, false).context("a layout")
}

/// All sets of these disks.
fn subsets(guids: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    (0..1_u32 << guids.len()).map(|bits| {
        guids.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1).map(|(_, guid)| *guid).collect()
    })
}

#[test]
fn a_label_is_read() -> Result<()> {
    let labels = labels(MIRRORS);
    ensure!(labels.len() == 5 && labels.iter().all(|it| it.pool == POOL && it.state == State::Active));
    let [old, new, ..] = labels.as_slice() else { anyhow::bail!("five labels") };
    ensure!((old.txg, new.txg, new.tops, new.holes) == (0, 1349, 2, 0));
    ensure!((new.pool_name.as_str(), new.host_name.as_str()) == ("ztest", "vm"));
    let top = new.top.as_ref().context("a tree")?;
    ensure!(top.kind == Kind::Any && !top.is_log && top.children.len() == 2);
    ensure!(
        top.children.iter().all(|leaf| leaf.kind == Kind::Leaf && leaf.path.starts_with("/dev/disk/by-id/"))
    );
    ensure!(old.top.as_ref().is_some_and(|top| top.children[0].children.len() == 2), "replacing");
    let cache =
        "LABEL 0\n----\n    version: 5000\n    state: 4\n    guid: 77\n    ashift: 9\n    labels = 0 1 2 3\n";
    let cache = parse(cache).context("a cache label")?;
    ensure!((cache.state, cache.guid, cache.pool) == (State::Cache, 77, 0) && cache.top.is_none());
    ensure!(parse("failed to unpack label 0\nfailed to unpack label 1\n").is_none());
    Ok(())
}

#[test]
fn nothing_that_is_printed_upsets_the_reading() {
    for end in 0..MIRRORS.len() {
        let _ = parse(MIRRORS.get(..end).unwrap_or_default());
    }
    let mut deep = "LABEL 0\nstate: 0\nguid: 1\nvdev_tree:\n".to_owned();
    for depth in 1..2000 {
        for line in ["type: 'mirror'\n", "guid: 1\n", "children[0]:\n"] {
            deep.extend([&" ".repeat(depth), line]);
        }
    }
    assert!(parse(&deep).is_some_and(|label| label.top.is_none()));
}

#[test]
fn a_mirror_is_safe_only_if_all_its_disks_are_fenced() -> Result<()> {
    let layout = layout(MIRRORS)?;
    ensure!(layout.pool_name() == "ztest" && layout.active_on() == Some("vm"));
    let guids: Vec<_> = layout.leaves().into_iter().map(|(guid, _)| guid).collect();
    ensure!(guids.len() == 4, "the one that was replaced does not count");
    for set in subsets(&guids) {
        ensure!(layout.suffices(|guid| set.contains(&guid)).is_ok() == (set.len() == 4), "{set:?}");
    }
    let one_each = [14_587_032_169_770_250_509, 2_772_607_440_029_351_626];
    layout.can_run(|guid| one_each.contains(&guid))?;
    let failure = layout.suffices(|guid| one_each.contains(&guid)).expect_err("not safe");
    ensure!(failure.what.contains("could still write") && failure.what.contains("ztest.1a"), "{failure}");
    ensure!(layout.can_run(|guid| guid == one_each[0]).is_err_and(|it| it.what.contains("ztest.2a")));
    Ok(())
}

#[test]
fn of_a_draid_or_raidz_as_many_are_enough_as_it_needs() -> Result<()> {
    let layout = layout(DRAID)?;
    let guids: Vec<_> = layout.leaves().into_iter().map(|(guid, _)| guid).collect();
    for set in subsets(&guids) {
        ensure!(layout.suffices(|guid| set.contains(&guid)).is_ok() == (set.len() >= 3), "{set:?}");
    }
    Ok(())
}

#[test]
fn two_nodes_never_both_have_enough() -> Result<()> {
    for text in [MIRRORS, DRAID] {
        let layout = layout(text)?;
        let guids: Vec<_> = layout.leaves().into_iter().map(|(guid, _)| guid).collect();
        for set in subsets(&guids) {
            let ours = layout.suffices(|guid| set.contains(&guid)).is_ok();
            let theirs = layout.suffices(|guid| !set.contains(&guid)).is_ok();
            ensure!(!(ours && theirs), "{set:?}");
        }
    }
    Ok(())
}

#[test]
fn a_disk_that_the_pool_counts_as_broken_is_not_needed() -> Result<()> {
    let broken = "path: '/dev/disk/by-id/ztest.3a'\n            faulted: 1";
    let layout = layout(&MIRRORS.replace("path: '/dev/disk/by-id/ztest.3a'", broken))?;
    let out = 15_806_679_603_102_211_898;
    layout.suffices(|guid| guid != out)?;
    ensure!(
        layout.suffices(|guid| guid != 2_772_607_440_029_351_626).is_err(),
        "its brother is needed the more"
    );
    Ok(())
}

#[test]
fn a_disk_that_is_still_being_filled_is_of_no_use_but_feared() -> Result<()> {
    let filling = "path: '/dev/disk/by-id/ztest.3a'\n            resilver_txg: 1300";
    let layout = layout(&MIRRORS.replace("path: '/dev/disk/by-id/ztest.3a'", filling))?;
    let (full, filling) = (2_772_607_440_029_351_626, 15_806_679_603_102_211_898);
    ensure!(layout.can_run(|guid| guid != full).is_err() && layout.can_run(|guid| guid != filling).is_ok());
    ensure!(layout.suffices(|guid| guid != filling).is_err() && layout.suffices(|_| true).is_ok());
    Ok(())
}

#[test]
fn a_device_of_which_no_disk_is_seen_is_missed() -> Result<()> {
    let seen = MIRRORS.split("== ztest.2a").next().context("a part")?;
    let failure = layout(seen)?.suffices(|_| true).expect_err("half a pool");
    ensure!(failure.cause == Cause::DiskMissing && failure.what.starts_with("of 1 devices"), "{failure}");
    ensure!(Layout::new(POOL, &labels(seen), true).context("a layout")?.suffices(|_| true).is_ok());
    ensure!(Layout::new(1, &labels(MIRRORS), false).is_none());
    Ok(())
}

/// The texts of the program for this outcome.
fn said(stderr: &str, stdout: &str) -> Output {
    let status = std::os::unix::process::ExitStatusExt::from_raw(1 << 8);
    Output { status, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

#[test]
fn what_the_import_says_is_understood() {
    let cases = [
        (
            "cannot import 'tank': pool was previously in use from another system.\n\
             Last accessed by b (hostid=2b) at Sat Nov 28 10:00:00 2026\n\
             The pool can be imported, use 'zpool import -f' to import the pool.\n",
            Cause::PoolElsewhere,
            false,
        ),
        (
            "cannot import 'tank': pool is imported on b (hostid: 0x2b)\n\
             Export the pool on the other system, then run 'zpool import'.\n",
            Cause::PoolElsewhere,
            false,
        ),
        ("cannot import '77': no such pool available\n", Cause::DiskMissing, true),
        (
            "cannot import 'tank': I/O error\n\tDestroy and re-create the pool from\n\ta backup source.\n",
            Cause::PoolBroken,
            true,
        ),
        ("cannot import 'tank': one or more devices is currently unavailable\n", Cause::DiskMissing, true),
        ("cannot import 'tank': invalid vdev configuration\n", Cause::PoolBroken, true),
        ("cannot import 'tank': a pool with that name already exists\n", Cause::Misconfigured, false),
        ("The ZFS modules cannot be auto-loaded.\nTry running 'modprobe zfs'\n", Cause::NoTool, false),
        ("", Cause::Other, false),
    ];
    for (text, cause, again) in cases {
        let (failure, worth) = refused("tank", &said(text, ""));
        assert_eq!((failure.cause, worth), (cause, again), "{failure}");
        assert!(!failure.to_string().contains('\n'), "{failure}");
    }
    let log = "The devices below are missing or corrupted, use '-m' to import the pool anyway:\n\t    sdd [log]\n\n";
    let unavailable = "cannot import 'tank': one or more devices is currently unavailable\n";
    let (failure, _) = refused("tank", &said(unavailable, log));
    assert!(failure.cause == Cause::DiskMissing && failure.remedy.contains("log device"), "{failure}");
}

#[test]
fn the_disks_to_blame_are_found_in_the_list() {
    let listing = "   pool: other\n     id: 5\n  state: UNAVAIL\n config:\n\n\tother  UNAVAIL  insufficient replicas\n\n   \
                   pool: tank\n     id: 77\n  state: DEGRADED\nstatus: One or more devices are missing from the system.\n \
                   config:\n\n\ttank        DEGRADED\n\t  mirror-0  DEGRADED\n\t    sdb     ONLINE\n\t    sdc     UNAVAIL  \
                   cannot open\n";
    assert_eq!(ill_disks(listing, 77), ["sdc UNAVAIL cannot open"]);
    assert!(ill_disks(listing, 6).is_empty() && ill_disks("", 77).is_empty());
}

#[test]
fn what_status_says_becomes_sentences() -> Result<()> {
    let text = r#"{"output_version":{"command":"zpool status","vers_major":0,"vers_minor":1},"pools":{"tank":{"name":"tank",
        "state":"DEGRADED","pool_guid":"77","txg":"9","spa_version":"5000","zpl_version":"5",
        "status":"One or more devices could not be used\n\tbecause the label is missing or invalid.",
        "vdevs":{"tank":{"name":"tank","alloc_space":"62.6G","read_errors":"0","vdevs":{"mirror-0":{"name":"mirror-0",
        "vdev_type":"mirror","guid":"1","state":"DEGRADED","vdevs":{"sdb":{"name":"sdb","vdev_type":"disk","guid":"2",
        "path":"/dev/sdb1","state":"ONLINE"},"sdc":{"name":"sdc","vdev_type":"disk","guid":"3","state":"CANT_OPEN",
        "not_present":"1","was":"/dev/sdc1"}}}}}},
        "logs":{"sdd":{"name":"sdd","vdev_type":"disk","class":"log","state":"ONLINE"}},
        "l2cache":{"sde":{"name":"sde","vdev_type":"disk","state":"FAULTED"}},
        "spares":{"sdf":{"name":"sdf","vdev_type":"disk","state":"AVAIL"}},
        "error_count":"0"}}}"#;
    let remarks = Status::parse(text, "tank").context("JSON")?.remarks("tank");
    let expected = [
        "pool tank is DEGRADED: One or more devices could not be used because the label is missing or invalid.",
        "disk sdc of pool tank is CANT_OPEN",
        "cache device sde of pool tank is FAULTED",
        "pool tank came with 1 log device and 1 cache device",
    ];
    ensure!(remarks == expected, "{remarks:#?}");
    ensure!(Status::parse(text, "other").is_none() && Status::parse("invalid option 'j'", "tank").is_none());
    Ok(())
}
