//! From one configuration to another while the agent runs.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::super::schema::SCHEMAS;
use super::super::{Change, Config, Mode, Refused};
use super::sample::TABLES;
use super::{FULL, GOOD, KEY, OLD_KEY, OLD_SECRET, SECRET, Site, changed_in, charge, web, witness};

#[test]
fn what_is_the_same_is_no_change() {
    for text in [GOOD, FULL] {
        let config = load(text);
        let reload = config.changes_to(config.clone()).expect("a reload");
        assert_eq!(reload.changes, []);
        assert_eq!(reload.config.vhosts, config.vhosts);
        assert_eq!(reload.config.auth, config.auth);
    }
}

#[test]
fn what_can_be_applied_is_told() {
    for (from, to, change, sentence) in applied() {
        let new = changed_in(FULL, from, to);
        let reload = load(FULL).changes_to(load(&new)).expect("a reload");
        assert_eq!(reload.changes, [change], "{to}");
        assert_eq!(reload.changes[0].to_string(), sentence);
        assert_eq!(reload.config.vhosts, load(&new).vhosts);
        assert_eq!(reload.config.auth, load(&new).auth);
    }
}

#[test]
fn changes_come_together_in_the_order_of_the_file() {
    let mut new = FULL.to_owned();
    for (from, to, ..) in applied() {
        if new.matches(from).count() == 1 {
            new = new.replace(from, to);
        }
    }
    // Without strict, clock_difference has no meaning; with it, it has.
    let reload = load(FULL).changes_to(load(&new)).expect("a reload");
    assert_eq!(
        reload.changes,
        [
            Change::Passphrases,
            Change::Mode(Mode::Compat),
            Change::Peers { index: 0, vhost: "data".into() },
            Change::Refused { index: 0, vhost: "data".into(), refused: Refused::Drop },
        ]
    );
    let back = load(&new).changes_to(load(FULL)).expect("a reload");
    assert_eq!(back.changes.len(), 5);
    assert_eq!(back.changes[1], Change::Mode(Mode::Strict));
    assert_eq!(
        back.changes[1].to_string(),
        "mode changed to strict: from now on, what nodes in compat mode send is refused; change the passphrase, too, for \
         what was recorded in compat mode may pass for new one day"
    );
    assert_eq!(back.changes[2], Change::ClockDifference(Duration::from_millis(500)));
}

#[test]
fn other_passphrases_in_the_same_files_are_a_change() {
    let site = Site::new(FULL);
    let config = site.load().expect("a configuration");
    site.write(OLD_KEY, "another");
    let reload = config.changes_to(site.load().expect("a configuration")).expect("a reload");
    assert_eq!(reload.changes, [Change::Passphrases]);

    // Which one signs matters too.
    site.write(KEY, OLD_SECRET);
    site.write(OLD_KEY, SECRET);
    let reload = config.changes_to(site.load().expect("a configuration")).expect("a reload");
    assert_eq!(reload.changes, [Change::Passphrases]);
    let debug = format!("{reload:?} {:?}", reload.changes[0].to_string());
    assert!(!debug.contains(SECRET) && !debug.contains(OLD_SECRET), "{debug}");

    // Where they stand does not.
    let elsewhere = Site::new(changed_in(FULL, "\"carp.key\"", "\"new.key\""));
    elsewhere.write("new.key", SECRET);
    let reload = config.changes_to(elsewhere.load().expect("a configuration")).expect("a reload");
    assert_eq!(reload.changes, []);
}

#[test]
fn the_order_of_virtual_hosts_and_addresses_means_nothing() {
    let vhosts: Vec<_> = FULL.split("[[vhost]]\n").collect();
    let new = [vhosts[0], vhosts[2], "\n", vhosts[1]]
        .join("[[vhost]]\n")
        .replace("[[vhost]]\n\n[[vhost]]", "[[vhost]]");
    let new = changed_in(&new, "\"10.77.0.2\", \"fe80::2\"", "\"fe80::2\", \"10.77.0.2\"");
    let new =
        changed_in(&new, "\"10.77.0.100/24\", \"fe80::100/64\"", "\"fe80::100/64\", \"10.77.0.100/24\"");
    let new = changed_in(&new, "refused = \"pass\"", "refused = \"drop\"");
    assert_eq!(load(&new).vhosts[0].name, "admin");
    let reload = load(FULL).changes_to(load(&new)).expect("a reload");
    // The index is the running one's.
    assert_eq!(reload.changes, [Change::Refused { index: 0, vhost: "data".into(), refused: Refused::Drop }]);
    assert_eq!(names(&reload.config), [("admin", 1), ("data", 0)]);
}

#[test]
fn virtual_hosts_come_and_go_and_the_others_keep_their_numbers() {
    let new = |names: &[(&str, u8)]| {
        let head = FULL.split("[[vhost]]").next().expect("a head");
        let vhost = |(name, vhid): &(&str, u8)| {
            format!(
                "[[vhost]]\nname = {name:?}\ninterface = \"eth0\"\nvhid = {vhid}\naddresses = [\"10.77.1.{vhid}/24\"]\n"
            )
        };
        load(&(head.to_owned() + &names.iter().map(vhost).collect::<String>()))
    };
    let running = new(&[("a", 1), ("b", 2), ("c", 3)]);
    let reload = running.changes_to(new(&[("x", 2), ("a", 1), ("c", 3), ("y", 5)])).expect("a reload");
    let (added, removed) = (
        |index, vhost: &str| Change::Added { index, vhost: vhost.into() },
        Change::Removed { index: 1, vhost: "b".into() },
    );
    assert_eq!(reload.changes, [removed, added(3, "x"), added(4, "y")]);
    assert_eq!(names(&reload.config), [("x", 3), ("a", 0), ("c", 2), ("y", 4)]);
    // What is free is taken first.
    let again = reload.config.changes_to(new(&[("a", 1), ("z", 9)])).expect("a reload");
    assert_eq!(names(&again.config), [("a", 0), ("z", 1)]);
}

#[test]
fn addresses_come_and_go() {
    let addresses = |list: &str| changed_in(GOOD, "\"10.77.0.100/24\"", list);
    let reload =
        load(GOOD).changes_to(load(&addresses("\"10.77.0.101/24\", \"10.77.0.100/24\""))).expect("a reload");
    let net = |text: &str| text.parse().expect("an address");
    let (added, removed) = (vec![net("10.77.0.101/24")], vec![]);
    assert_eq!(reload.changes, [Change::Addresses { index: 0, vhost: "data".into(), added, removed }]);
    let reload = load(GOOD).changes_to(load(&addresses("\"10.77.0.100/25\""))).expect("a reload");
    assert_eq!(
        reload.changes[0].to_string(),
        "addresses of virtual host 'data' changed (+10.77.0.100/25 -10.77.0.100/24): reload its other nodes, too"
    );
    let refusal = load(GOOD).changes_to(load(&addresses("\"2001:db8::1/64\""))).expect_err("a refusal");
    let sentence =
        "virtual host 'data' had addresses of IPv4 only, and now has of IPv6 only; `ha-agent restart`";
    assert!(refusal.to_string().starts_with(sentence), "{refusal}");
    // Two passphrases, each in two forms, leave no room.
    let new = changed_in(FULL, "\"fe80::100/64\"]\nunicast", "\"fe80::101/64\"]\nunicast");
    let refusal = load(FULL).changes_to(load(&new)).expect_err("a refusal").to_string();
    assert!(
        refusal.starts_with("addresses of virtual host 'admin' changed while there are two passphrases"),
        "{refusal}"
    );
}

#[test]
fn what_needs_a_restart_is_refused_in_one_line() {
    for (text, from, to, expected) in RESTARTS {
        let new = changed_in(text, from, to);
        let refusal = load(text).changes_to(load(&new)).expect_err("a refusal").to_string();
        let expected = format!("{expected}; `ha-agent restart` applies it, the running configuration stays");
        assert_eq!(refusal, expected, "{to}");
        // And so is the way back.
        load(&new).changes_to(load(text)).expect_err("a refusal");
    }
}

#[test]
fn every_key_is_either_applied_or_needs_a_restart() {
    for key in SCHEMAS.iter().flat_map(|schema| schema.names()) {
        let changed = |from: &str| from.starts_with(&format!("{key} ="));
        let restart = RESTARTS.iter().any(|(_, from, ..)| changed(from))
            || witness::RESTARTS.iter().any(|(_, from, ..)| changed(from))
            || web::RESTARTS.iter().any(|(from, ..)| changed(from))
            || charge::RESTARTS.iter().any(|(from, ..)| changed(from));
        let live =
            applied().iter().any(|(from, ..)| changed(from)) || ["addresses", "name", "on"].contains(&key);
        assert!(restart != live || TABLES.contains(&key) || key == "shared", "{key}: {restart} {live}");
    }
}

proptest! {
    #[test]
    fn any_two_configurations_are_compared_in_one_line(
        texts in [text(), text()],
    ) {
        let [Ok(running), Ok(new)] = texts.map(|text| Site::new(text).load()) else { return Ok(()) };
        match running.changes_to(new.clone()) {
            Ok(reload) => {
                // Applied, nothing is left to change.
                prop_assert_eq!(reload.config.changes_to(new).expect("a reload").changes, []);
            }
            Err(error) => {
                let line = error.to_string();
                prop_assert!(line.contains("; `ha-agent restart`"), "{}", line);
                prop_assert!(!line.contains(char::is_control), "{:?}", line);
                prop_assert!(!line.contains(SECRET) && !line.contains(OLD_SECRET), "{}", line);
            }
        }
    }
}

/// The virtual hosts in the order of the file, with their numbers.
fn names(config: &Config) -> Vec<(&str, usize)> {
    config.vhosts.iter().map(|vhost| (vhost.name.as_str(), vhost.index)).collect()
}

/// `FULL` with some of the changes of this file.
fn text() -> impl Strategy<Value = String> {
    let restart = RESTARTS.iter().filter(|(text, ..)| *text == FULL).map(|(_, from, to, _)| (*from, *to));
    let changes: Vec<_> = applied().into_iter().map(|(from, to, ..)| (from, to)).chain(restart).collect();
    prop::collection::vec(select(changes), 0..3).prop_map(|changes| {
        changes.into_iter().fold(FULL.to_owned(), |text, (from, to)| text.replace(from, to))
    })
}

fn load(text: &str) -> Config {
    Site::new(text).load().expect("a configuration")
}

/// What to replace in the full file, by what, and what that changes.
fn applied() -> [(&'static str, &'static str, Change, &'static str); 7] {
    let peers = || Change::Peers { index: 0, vhost: "data".into() };
    [
        (
            "passphrase_file = [\"carp.key\", \"old.key\"]",
            "passphrase_file = [\"carp.key\"]",
            Change::Passphrases,
            "the passphrases changed",
        ),
        (
            "mode = \"strict\"\nclock_difference = \"500ms\"",
            "mode = \"compat\"",
            Change::Mode(Mode::Compat),
            "mode changed to compat",
        ),
        (
            "clock_difference = \"500ms\"",
            "clock_difference = \"1s\"",
            Change::ClockDifference(Duration::from_secs(1)),
            "clock_difference changed to 1s",
        ),
        (
            "peers = [\"10.77.0.2\", \"fe80::2\"]",
            "peers = [\"10.77.0.2\", \"10.77.0.3\", \"fe80::2\"]",
            peers(),
            "peers of virtual host 'data' changed",
        ),
        (
            "peers = [\"10.77.0.2\", \"fe80::2\"]",
            "peers = [\"10.77.0.3\", \"fe80::2\"]",
            peers(),
            "peers of virtual host 'data' changed",
        ),
        ("peers = [\"10.77.0.2\", \"fe80::2\"]\n", "", peers(), "peers of virtual host 'data' changed"),
        (
            "refused = \"pass\"",
            "refused = \"drop\"",
            Change::Refused { index: 0, vhost: "data".into(), refused: Refused::Drop },
            "refused of virtual host 'data' changed to drop",
        ),
    ]
}

/// A file, what to replace in it, by what, and the refusal without its remedy.
const RESTARTS: &[(&str, &str, &str, &str)] = &[
    (FULL, "node = \"controller-a\"", "node = \"b\"", "node changed from controller-a to b"),
    (FULL, "priority = 10", "priority = \"off\"", "priority in [realtime] changed from 10 to off"),
    (FULL, "lock_memory = false\n", "", "lock_memory in [realtime] changed from false to true"),
    (
        FULL,
        "cpu_dma_latency = \"20us\"",
        "cpu_dma_latency = \"leave\"",
        "cpu_dma_latency in [realtime] changed from 20µs to leave",
    ),
    (FULL, "\"700ms\"", "\"off\"", "length in [lease] changed from 700ms to off"),
    (FULL, "drop = \"requests\"\n", "", "drop in [lease] changed from requests to all"),
    (
        FULL,
        "listen = [\"10.77.0.1:7780\", ",
        "listen = [",
        "listen in [peer] changed from 10.77.0.1:7780, [2001:db8:7::1]:7780 to [2001:db8:7::1]:7780",
    ),
    (
        FULL,
        "connect = \"10.77.0.2:7780\"",
        "connect = \"10.77.0.2:7781\"",
        "connect in [peer] changed from 10.77.0.2:7780 to 10.77.0.2:7781",
    ),
    (FULL, "heartbeat = \"100ms\"\n", "", "heartbeat in [peer] changed from 100ms to 200ms"),
    (FULL, "dead_after = 3\n", "", "dead_after in [peer] changed from 3 to 2"),
    (
        FULL,
        "directory = \"/srv/link\"",
        "directory = \"/a\"",
        "directory in [peer] changed from /srv/link to /a",
    ),
    (
        GOOD,
        "node = \"controller-a\"\n",
        "node = \"controller-a\"\n[peer]\nlisten = \"10.0.0.1:7780\"\nconnect = \"10.0.0.2:7780\"\n",
        "[peer] was added",
    ),
    (
        FULL,
        "interface = \"eth0\"",
        "interface = \"eth7\"",
        "interface of virtual host 'data' changed from eth0 to eth7",
    ),
    (GOOD, "vhid = 10\n", "vhid = 12\n", "vhid of virtual host 'data' changed from 10 to 12"),
    (GOOD, "advbase = 2", "advbase = 3", "advbase of virtual host 'data' changed from 2 to 3"),
    (GOOD, "advskew = 100", "advskew = 0", "advskew of virtual host 'data' changed from 100 to 0"),
    (
        GOOD,
        "interval = \"10ms\"",
        "interval = \"1500us\"",
        "interval of virtual host 'data' changed from 10ms to 1.5ms",
    ),
    (
        GOOD,
        "interval = \"10ms\"\ndetect = 4\n",
        "",
        "interval of virtual host 'data' changed from 10ms to none",
    ),
    (GOOD, "detect = 4\n", "", "detect of virtual host 'data' changed from 4 to 3"),
    (GOOD, "preempt = true", "preempt = false", "preempt of virtual host 'data' changed from true to false"),
    (
        FULL,
        "unicast = [\"fe80::2\"]",
        "unicast = [\"fe80::3\", \"fe80::2\"]",
        "fe80::3 was added to unicast of virtual host 'admin'",
    ),
    (FULL, "unicast = [\"fe80::2\"]\n", "", "fe80::2 was removed from unicast of virtual host 'admin'"),
    (
        FULL,
        "receive = \"tcx\"",
        "receive = \"auto\"",
        "receive of virtual host 'admin' changed from tcx to auto",
    ),
    (
        FULL,
        "mac = \"virtual\"",
        "mac = \"interface\"",
        "mac of virtual host 'data' changed from virtual to interface",
    ),
    (
        FULL,
        "advertise_from = \"interface\"",
        "advertise_from = \"virtual\"",
        "advertise_from of virtual host 'data' changed from interface to virtual",
    ),
    (
        FULL,
        "families = \"both\"",
        "families = \"either\"",
        "families of virtual host 'data' changed from both to either",
    ),
    (
        FULL,
        "announce_every = \"60s\"",
        "announce_every = \"61s\"",
        "announce_every of virtual host 'data' changed from 60s to 61s",
    ),
    (
        FULL,
        "announce_every = \"60s\"\n",
        "",
        "announce_every of virtual host 'data' changed from 60s to none",
    ),
    (
        FULL,
        "group = \"clients\"",
        "group = \"all\"",
        "group of virtual host 'data' changed from clients to all",
    ),
    (FULL, "group = \"clients\"\n", "", "group of virtual host 'data' changed from clients to data"),
    (
        FULL,
        "critical = false",
        "critical = true",
        "critical of virtual host 'data' changed from false to true",
    ),
];
