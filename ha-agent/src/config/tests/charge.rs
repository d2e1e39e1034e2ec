//! What is taken over beside addresses: `[fence]`, `[[pool]]`, `[[mount]]`, `[[service]]`.

use std::path::PathBuf;
use std::time::Duration;

use super::super::charge::{ChargeConfig, ServiceKind, VolumeKind};
use super::super::choice::{BusyChoice, FenceLevel, OnFailure, SelfFenceChoice, Strangers, WatchdogUse};
use super::{CONFIG, GOOD, Site, assert_refused, changed_in};

#[test]
fn every_key_is_read() {
    let site = Site::new(with(CHARGE));
    let ChargeConfig { fence, volumes, services } = site.load().expect("a configuration").charge;
    let fence = fence.expect("a fence");
    assert_eq!((fence.pair, fence.strangers), (4711, Strangers::Preempt));
    assert_eq!(fence.levels, [FenceLevel::Reservation, FenceLevel::Command]);
    assert_eq!(fence.command.as_deref(), Some(&["fence_dummy".to_owned(), "--x".to_owned()][..]));
    assert_eq!(fence.options_file, Some(site.path("fence.options")));
    assert_eq!((fence.watchdog, fence.watchdog_device), (WatchdogUse::Required, "/dev/watchdog1".into()));
    assert_eq!((fence.self_fence, fence.disk_heartbeat), (SelfFenceChoice::Exit, Duration::from_millis(100)));

    let [pool, mount] = &volumes[..] else { panic!("{volumes:?}") };
    let VolumeKind::Pool { guid, directories, missing_log, keys } = &pool.kind else { panic!("{pool:?}") };
    assert_eq!((*guid, *missing_log), (u64::MAX, true));
    assert_eq!((directories, keys), (&vec![PathBuf::from("/dev/mapper")], &Some(site.path("keys"))));
    assert_eq!((pool.busy, pool.place.on_failure), (BusyChoice::Kill, OnFailure::SelfFence));
    assert_eq!(pool.place.needs, Some(vec!["scratch".to_owned()]));
    assert_eq!((pool.place.take, pool.place.release), (Duration::from_secs(90), Duration::from_secs(5)));
    assert_eq!(mount.disks, [PathBuf::from("/dev/sdc")]);
    assert_eq!((mount.place.take, mount.place.needs.clone()), (Duration::from_secs(30), None));
    let VolumeKind::Mount { device, at, kind, options, uuid } = &mount.kind else { panic!("{mount:?}") };
    assert_eq!((device, at), (&PathBuf::from("/dev/sdc1"), &PathBuf::from("/srv/scratch")));
    assert_eq!((kind.as_str(), options.as_deref(), uuid.as_deref()), ("ext4", Some("noatime"), Some("1-2")));

    let kinds: Vec<_> = services.iter().map(|service| (service.place.name.as_str(), service.rest)).collect();
    assert_eq!(kinds, [("web", false), ("reports", true), ("nfs", false), ("iscsi", false)]);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(services[0].kind, ServiceKind::Units(words("a.service b.service")));
    let (start, stop, check) = (words("/bin/r on"), words("/bin/r off"), words("/bin/r status"));
    assert_eq!(services[1].kind, ServiceKind::Command { start, stop, check });
    assert_eq!(services[2].kind, ServiceKind::Nfs { state: "/tank/.nfs".into(), scope: "pair-1".to_owned() });
    let targets = site.path("targets.json");
    assert_eq!(services[3].kind, ServiceKind::Iscsi { targets, state: Some("/tank/.iscsi".into()) });
}

#[test]
fn what_is_left_out_has_its_default() {
    let least = "[fence]\npair = 1\n[[pool]]\nname = \"tank\"\nguid = \"7\"\n";
    let ChargeConfig { fence, volumes, services } = load(least).charge;
    let fence = fence.expect("a fence");
    assert_eq!(fence.levels, [FenceLevel::Reservation]);
    assert_eq!((fence.strangers, fence.watchdog), (Strangers::Refuse, WatchdogUse::IfPresent));
    assert_eq!(
        (fence.self_fence, fence.disk_heartbeat),
        (SelfFenceChoice::Reset, Duration::from_millis(200))
    );
    assert_eq!(fence.watchdog_device, PathBuf::from("/dev/watchdog"));
    let [pool] = &volumes[..] else { panic!("{volumes:?}") };
    assert_eq!((pool.place.take, pool.place.release), (Duration::from_mins(1), Duration::from_secs(30)));
    assert_eq!((pool.busy, pool.place.on_failure), (BusyChoice::Wait, OnFailure::Undo));
    assert!(pool.disks.is_empty() && services.is_empty());
    // Services need no fence.
    assert!(load("[[service]]\nname = \"web\"\nunits = \"a\"\n").charge.fence.is_none());
    assert!(Site::new(GOOD).load().expect("a configuration").charge.is_empty());
}

#[test]
fn each_mistake_has_its_line() {
    let lines = with("").lines().count();
    for (from, to, line, expected) in MISTAKES {
        assert_refused(&with(&changed_in(CHARGE, from, to)), &format!("{}: {expected}", lines + line));
    }
    for (tables, line, expected) in ALONE {
        assert_refused(&with(tables), &format!("{}: {expected}", lines + line));
    }
    let lonely = format!("{GOOD}{CHARGE}");
    let lines = GOOD.lines().count() + 2;
    assert_refused(
        &lonely,
        &format!(
            "{lines}: [fence] needs [peer], because one of two nodes has it at a time; add [peer], or remove [fence]"
        ),
    );
}

#[test]
fn every_change_needs_a_restart() {
    for (from, to, expected) in RESTARTS {
        let site = Site::new(with(CHARGE));
        let running = site.load().expect("a configuration");
        site.write(CONFIG, with(&changed_in(CHARGE, from, to)));
        let error = running.changes_to(site.load().expect("a configuration")).expect_err("a refusal");
        let remedy = "`ha-agent restart` applies it, the running configuration stays";
        assert_eq!(error.to_string(), format!("{expected} changed; {remedy}"), "{to}");
    }
}

fn with(tables: &str) -> String {
    format!("{GOOD}\n[peer]\nlisten = \"10.0.0.1:7780\"\nconnect = \"10.0.0.2:7780\"\n{tables}")
}

fn load(tables: &str) -> super::Config {
    Site::new(with(tables)).load().expect("a configuration")
}

const CHARGE: &str = r#"
[fence]
pair = 4711
levels = ["reservation", "command"]
strangers = "preempt"
command = ["fence_dummy", "--x"]
options_file = "fence.options"
disk_heartbeat = "100ms"
watchdog = "required"
watchdog_device = "/dev/watchdog1"
self_fence = "exit"

[[pool]]
name = "tank"
guid = "18446744073709551615"
directories = "/dev/mapper"
missing_log = true
keys = "keys"
busy = "kill"
needs = "scratch"
take = "90s"
release = "5s"
on_failure = "self-fence"

[[mount]]
name = "scratch"
device = "/dev/sdc1"
at = "/srv/scratch"
type = "ext4"
options = "noatime"
uuid = "1-2"
disks = ["/dev/sdc"]

[[service]]
name = "web"
units = ["a.service", "b.service"]

[[service]]
name = "reports"
start = ["/bin/r", "on"]
stop = ["/bin/r", "off"]
check = ["/bin/r", "status"]
rest = true

[[service]]
name = "nfs"
nfs_state = "/tank/.nfs"
nfs_scope = "pair-1"

[[service]]
name = "iscsi"
iscsi_targets = "targets.json"
iscsi_state = "/tank/.iscsi"
"#;

/// What to replace, by what, in which line, and what is said then.
const MISTAKES: &[(&str, &str, usize, &str)] = &[
    ("pair = 4711", "pair = 0", 3, "pair 0 is out of range; a pair's number is 1 to 2147483647"),
    (
        "pair = 4711",
        "pair = 2147483648",
        3,
        "pair 2147483648 is out of range; a pair's number is 1 to 2147483647",
    ),
    ("pair = 4711\n", "", 2, "missing key 'pair' in [fence]; add pair = 4711"),
    (
        "[\"reservation\", \"command\"]",
        "[]",
        4,
        "levels is empty; write levels = [\"reservation\", \"command\"]",
    ),
    (
        "\"reservation\", \"command\"",
        "\"reservations\"",
        4,
        "levels 'reservations' is unknown; did you mean \"reservation\"? It is \"reservation\" or \"command\"",
    ),
    (
        "command = [\"fence_dummy\", \"--x\"]\n",
        "",
        2,
        "the level \"command\" needs command; add command = [\"fence_ipmilan\"]",
    ),
    (
        "\"reservation\", \"command\"",
        "\"reservation\"",
        2,
        "command is given, but levels has no \"command\"; add it there, or remove command",
    ),
    (
        "watchdog_device = \"/dev/watchdog1\"",
        "watchdog_device = \"watchdog\"",
        10,
        "watchdog_device 'watchdog' is not an absolute path; write watchdog_device = \"/dev/watchdog\"",
    ),
    (
        "guid = \"18446744073709551615\"",
        "guid = \"tank\"",
        15,
        "guid 'tank' is not a pool's number; `zpool get -H -o value guid NAME` prints it",
    ),
    (
        "guid = \"18446744073709551615\"\n",
        "",
        13,
        "missing key 'guid' in [[pool]]; add guid = \"5312087265214137852\"",
    ),
    (
        "needs = \"scratch\"",
        "needs = \"scrap\"",
        20,
        "needs 'scrap' is none of the names of [[pool]], [[mount]] and [[service]]; known are iscsi, nfs, reports, \
         scratch, tank, web",
    ),
    (
        "uuid = \"1-2\"",
        "needs = \"tank\"",
        26,
        "'scratch' needs something that needs 'scratch' itself; remove one of the two from needs",
    ),
    (
        "disks = [\"/dev/sdc\"]\n",
        "",
        25,
        "the level \"reservation\" needs the disks that 'scratch' is on; add disks = [\"/dev/disk/by-id/…\"]",
    ),
    (
        "name = \"scratch\"",
        "name = \"tank\"",
        26,
        "the name 'tank' is taken at line 39; give each its own name",
    ),
    (
        "units = [\"a.service\", \"b.service\"]\n",
        "",
        34,
        "[[service]] 'web' says nothing of what it is; it takes one of units, start (with stop), nfs_state and \
         iscsi_targets",
    ),
    (
        "nfs_scope = \"pair-1\"",
        "nfs_scope = \"pair-1\"\nunits = \"x\"",
        45,
        "[[service]] 'nfs' says more than one thing; it takes one of units, start (with stop), nfs_state and \
         iscsi_targets",
    ),
    (
        "stop = [\"/bin/r\", \"off\"]\n",
        "",
        38,
        "missing key 'stop' in [[service]]; add stop = [\"/usr/local/sbin/export\", \"off\"]",
    ),
    (
        "check = [\"/bin/r\", \"status\"]\n",
        "",
        38,
        "missing key 'check' in [[service]]; add check = [\"/usr/local/sbin/export\", \"status\"]",
    ),
    (
        "nfs_state = \"/tank/.nfs\"\nnfs_scope = \"pair-1\"",
        "units = \"x\"\nnfs_scope = \"pair-1\"",
        45,
        "nfs_scope belongs to nfs_state; add nfs_state, or remove nfs_scope",
    ),
    (
        "units = [\"a.service\", \"b.service\"]",
        "units = [\"a b\"]",
        36,
        "units 'a b' is not valid; use printable ASCII characters, no space, at most 256",
    ),
    (
        "take = \"90s\"",
        "take = \"0s\"",
        21,
        "take '0s' is out of range; the time to take it over is 1s to 3600s",
    ),
    ("rest = true", "rest = 1", 43, "rest must be true or false, not an integer; write rest = true"),
];

/// Tables that lack others.
const ALONE: &[(&str, usize, &str)] = &[
    (
        "[[pool]]\nname = \"tank\"\nguid = \"7\"\n",
        1,
        "[[pool]] needs [fence], because the other node must be kept from writing to it; add [fence] with pair = 4711",
    ),
    (
        "[[mount]]\nname = \"m\"\n",
        1,
        "[[mount]] needs [fence], because the other node must be kept from writing to it; add [fence] with pair = 4711",
    ),
];

/// What to replace, by what, and what that changes.
pub(super) const RESTARTS: &[(&str, &str, &str)] = &[
    ("pair = 4711", "pair = 4712", "[fence]"),
    ("levels = [\"reservation\", \"command\"]", "levels = [\"command\", \"reservation\"]", "[fence]"),
    ("strangers = \"preempt\"", "strangers = \"refuse\"", "[fence]"),
    ("command = [\"fence_dummy\", \"--x\"]", "command = [\"fence_dummy\"]", "[fence]"),
    ("options_file = \"fence.options\"", "options_file = \"other\"", "[fence]"),
    ("disk_heartbeat = \"100ms\"", "disk_heartbeat = \"1s\"", "[fence]"),
    ("watchdog = \"required\"", "watchdog = \"off\"", "[fence]"),
    ("watchdog_device = \"/dev/watchdog1\"", "watchdog_device = \"/dev/watchdog\"", "[fence]"),
    ("self_fence = \"exit\"", "self_fence = \"reset\"", "[fence]"),
    ("guid = \"18446744073709551615\"", "guid = \"7\"", TANK),
    ("directories = \"/dev/mapper\"", "directories = \"/dev\"", TANK),
    ("missing_log = true", "missing_log = false", TANK),
    ("keys = \"keys\"", "keys = \"other\"", TANK),
    ("busy = \"kill\"", "busy = \"wait\"", TANK),
    ("needs = \"scratch\"", "needs = []", TANK),
    ("take = \"90s\"", "take = \"91s\"", TANK),
    ("release = \"5s\"", "release = \"6s\"", TANK),
    ("on_failure = \"self-fence\"", "on_failure = \"go-on\"", TANK),
    ("device = \"/dev/sdc1\"", "device = \"/dev/sdc2\"", SCRATCH),
    ("at = \"/srv/scratch\"", "at = \"/srv\"", SCRATCH),
    ("type = \"ext4\"", "type = \"xfs\"", SCRATCH),
    ("options = \"noatime\"", "options = \"ro\"", SCRATCH),
    ("uuid = \"1-2\"", "uuid = \"1-3\"", SCRATCH),
    ("disks = [\"/dev/sdc\"]", "disks = [\"/dev/sdd\"]", SCRATCH),
    ("units = [\"a.service\", \"b.service\"]", "units = \"a.service\"", "what is to be taken over ('web')"),
    ("start = [\"/bin/r\", \"on\"]", "start = [\"/bin/r\"]", REPORTS),
    ("stop = [\"/bin/r\", \"off\"]", "stop = [\"/bin/r\"]", REPORTS),
    ("check = [\"/bin/r\", \"status\"]", "check = [\"/bin/r\"]", REPORTS),
    ("rest = true", "rest = false", REPORTS),
    ("nfs_state = \"/tank/.nfs\"", "nfs_state = \"/tank/nfs\"", "what is to be taken over ('nfs')"),
    ("nfs_scope = \"pair-1\"", "nfs_scope = \"pair-2\"", "what is to be taken over ('nfs')"),
    ("iscsi_targets = \"targets.json\"", "iscsi_targets = \"t.json\"", "what is to be taken over ('iscsi')"),
    ("iscsi_state = \"/tank/.iscsi\"\n", "", "what is to be taken over ('iscsi')"),
];

const TANK: &str = "what is to be taken over ('tank')";
const SCRATCH: &str = "what is to be taken over ('scratch')";
const REPORTS: &str = "what is to be taken over ('reports')";
