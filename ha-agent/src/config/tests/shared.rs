//! A configuration of which a part is shared with the peer.

use std::path::Path;

use proptest::prelude::*;

use super::super::shared::{self, LAYOUT, Shared, TEXT_LIMIT};
use super::super::{Change, FamilyRule, Mode, load, load_with, shared_file};
use super::{CONFIG, FULL, SHARED, Site, changed_in};
use crate::cli::exit::Exit;

/// `OWN` and this are together what `FULL` is.
const TEXT: &str = r#"# what both nodes have
[auth]
mode = "strict"
clock_difference = "500ms"

[[vhost]]
name = "admin"
vhid = 10
addresses = ["2001:db8::1/64", "fe80::100/64"]

[[vhost]]
name = "data"
vhid = 10
addresses = ["10.77.0.100/24", "fe80::100/64"]
interval = "2ms"
refused = "pass"
mac = "virtual"
advertise_from = "interface"
families = "both"
announce_every = "60s"
group = "clients"
critical = false
"#;

const OWN: &str = r#"node = "controller-a"

[auth]
passphrase_file = ["carp.key", "old.key"]

[[vhost]]
name = "data"
interface = "eth0"
peers = ["10.77.0.2", "fe80::2"]

[[vhost]]
name = "admin"
interface = "eth1"
unicast = ["fe80::2"]
receive = "tcx"

[realtime]
priority = 10
lock_memory = false
cpu_dma_latency = "20us"

[lease]
length = "700ms"
drop = "requests"

[peer]
listen = ["10.77.0.1:7780", "[2001:db8:7::1]:7780"]
connect = "10.77.0.2:7780"
heartbeat = "100ms"
dead_after = 3
directory = "/srv/link"
shared = "shared.json"
"#;

fn site(own: &str, text: &str) -> Site {
    let site = Site::new(own);
    let shared = Shared::first("controller-a".to_owned(), text.to_owned());
    shared::write(&site.path(SHARED), &shared).expect("a file");
    site
}

fn assert_refused(own: &str, text: &str, expected: &str) {
    let expected = format!("DIR/{expected}");
    assert_eq!(site(own, text).refusal(), (expected, Exit::Config), "own:\n{own}\nshared:\n{text}");
}

#[test]
fn both_parts_are_what_one_file_would_be() {
    let (whole, site) = (Site::new(FULL), site(OWN, TEXT));
    let (whole, merged) = (whole.load().expect("a whole"), site.load().expect("a merged one"));
    assert_eq!(merged.vhosts, whole.vhosts);
    assert_eq!((merged.auth, merged.realtime, merged.node), (whole.auth, whole.realtime, whole.node));
    assert_eq!(merged.vhosts[0].families, FamilyRule::Both);
    assert_eq!(merged.warnings.len(), whole.warnings.len());
    let peer = merged.peer.expect("a peer");
    assert_eq!(peer.shared, Some(site.path(SHARED)));
    let shared = merged.shared.expect("a document");
    assert_eq!((shared.text.as_str(), shared.version, shared.layout), (TEXT, 1, LAYOUT));
    assert_eq!(shared_file(&site.path(CONFIG)).expect("a file"), Some(site.path(SHARED)));
    assert_eq!(shared_file(&Site::new(FULL).path(CONFIG)).expect("a file"), None);
}

#[test]
fn another_shared_part_can_be_judged_before_it_is_there() {
    let site = site(OWN, TEXT);
    let running = site.load().expect("a configuration");
    let candidate = Shared::first("b".to_owned(), changed_in(TEXT, "\"500ms\"", "\"900ms\""));
    let new = load_with(&site.path(CONFIG), Path::new("new.toml"), candidate).expect("a configuration");
    let changes = running.changes_to(new).expect("a reload").changes;
    assert_eq!(changes, [Change::ClockDifference(std::time::Duration::from_millis(900))]);
    let wrong = Shared::first("b".to_owned(), changed_in(TEXT, "\"500ms\"", "\"900\""));
    let error = load_with(&site.path(CONFIG), Path::new("new.toml"), wrong).expect_err("a mistake");
    assert!(error.to_string().starts_with("new.toml:4: clock_difference '900' is not a duration"), "{error}");
    assert_eq!(load(&site.path(CONFIG)).expect("as it was").auth.mode, Mode::Strict);
}

#[test]
fn a_mistake_in_the_shared_part_is_told_with_its_line_there() {
    for (from, to, expected) in [
        (
            "mode = \"strict\"",
            "mode = \"strct\"",
            "shared.json:3: mode 'strct' is unknown; did you mean \"strict\"? It is \"compat\" or \"strict\"",
        ),
        (
            "\"60s\"\n",
            "\"60s\"\nadress = 1\n",
            "shared.json:21: unknown key 'adress' in [[vhost]] of the shared configuration; did you mean 'addresses'?",
        ),
        ("\"60s\"\n", "\"60s\"\nx = \n", "shared.json:21:5: not valid TOML: "),
        (
            "vhid = 10\naddresses = [\"10.",
            "addresses = [\"10.",
            "shared.json:11: missing key 'vhid' in [[vhost]]; add vhid = 10",
        ),
        (
            "[auth]\n",
            "node = \"b\"\n[auth]\n",
            "shared.json:2: node at the top of the shared configuration can't be shared, because each node has its own; write it at the top of the file of each node's own file",
        ),
        (
            "vhid = 10\naddresses = [\"10.",
            "vhid = 10\nadvskew = 7\naddresses = [\"10.",
            "shared.json:14: advskew in [[vhost]] of the shared configuration can't be shared, because each node has its own; write it in [[vhost]] of each node's own file",
        ),
        (
            "\"admin\"",
            "\"data\"",
            "shared.json:12: the name 'data' is taken by the [[vhost]] at line 6; give each its own name",
        ),
        (
            "\"admin\"",
            "\"spare\"",
            "ha-agent.toml:12: vhost 'admin' is not in the shared configuration; add it there with `ha-agent config apply`, or remove it here",
        ),
        (
            "[auth]",
            "[[vhost]]\nname = \"spare\"\nvhid = 9\naddresses = [\"10.1.1.1/24\"]\n[auth]",
            "shared.json:2: vhost 'spare' has no [[vhost]] in DIR/ha-agent.toml; add one there with name = \"spare\" and its interface, or remove it here",
        ),
        (
            "2001:db8::1/64",
            "10.77.0.2/24",
            "ha-agent.toml:9: peer '10.77.0.2' is a virtual address of vhost 'admin' at line 6 of DIR/shared.json; give the peer's own address",
        ),
        (
            "2001:db8::1/64",
            "10.77.0.100/24",
            "shared.json:9: address '10.77.0.100' is taken by vhost 'data' at line 11; an address belongs to one virtual host",
        ),
    ] {
        let (line, exit) = site(OWN, &changed_in(TEXT, from, to)).refusal();
        let expected = format!("DIR/{expected}");
        assert!(
            line == expected || expected.ends_with(": ") && line.starts_with(&expected),
            "{line}\n{expected}"
        );
        assert_eq!(exit, Exit::Config);
    }
}

#[test]
fn each_key_has_one_home() {
    for (from, to, expected) in [
        (
            "\"old.key\"]\n",
            "\"old.key\"]\nmode = \"strict\"\n",
            "ha-agent.toml:5: mode in [auth] is shared with the peer, and stands at line 3 of DIR/shared.json, too; remove it here, and change it there with `ha-agent config apply`",
        ),
        (
            "interface = \"eth0\"\n",
            "interface = \"eth0\"\nvhid = 10\n",
            "ha-agent.toml:9: vhid in [[vhost]] is shared with the peer, and stands at line 13 of DIR/shared.json, too; remove it here, and change it there with `ha-agent config apply`",
        ),
        (
            "interface = \"eth0\"\n",
            "interface = \"eth0\"\npreempt = true\n",
            "ha-agent.toml:9: preempt in [[vhost]] is to be shared with the peer; move it into the shared configuration with `ha-agent config apply`",
        ),
        (
            "name = \"admin\"",
            "name = \"data\"",
            "ha-agent.toml:12: the name 'data' is taken by the [[vhost]] at line 6; give each its own name",
        ),
        (
            "interface = \"eth1\"\n",
            "",
            "ha-agent.toml:11: missing key 'interface' in [[vhost]]; add interface = \"eth0\"",
        ),
        ("name = \"admin\"\n", "", "ha-agent.toml:11: missing key 'name' in [[vhost]]; add name = \"data\""),
        (
            "\"shared.json\"",
            "\"\"",
            "ha-agent.toml:32: shared '' is not a file name; write shared = \"shared.json\"",
        ),
        (
            "\"shared.json\"",
            "7",
            "ha-agent.toml:32: shared must be a string, not an integer; write shared = \"shared.json\"",
        ),
    ] {
        assert_refused(&changed_in(OWN, from, to), TEXT, expected);
    }
}

#[test]
fn a_file_that_cant_be_used_is_refused_by_name() {
    let site = site(OWN, TEXT);
    let good = std::fs::read(site.path(SHARED)).expect("a file");
    for end in 0..good.len() - 1 {
        site.write(SHARED, &good[..end]);
        let (line, exit) = site.refusal();
        assert!(
            line.starts_with("DIR/ha-agent.toml: the shared configuration DIR/shared.json is damaged: "),
            "{line}"
        );
        assert_eq!(exit, Exit::Data);
    }
    let text = String::from_utf8(good).expect("text");
    for (from, to, expected, exit) in [
        (
            "\"layout\": 1",
            "\"layout\": 2",
            "has layout 2, and this agent knows 1; update ha-agent",
            Exit::Data,
        ),
        (
            "\"agreed\": 0",
            "\"agreed\": 2",
            "is damaged: version 1, of which 2 was agreed; copy the file of the other node",
            Exit::Data,
        ),
        (
            "\"version\": 1",
            "\"version\": 0",
            "is damaged: version 0, of which 0 was agreed; copy the file of the other node",
            Exit::Data,
        ),
    ] {
        site.write(SHARED, changed_in(&text, from, to));
        assert_eq!(
            site.refusal(),
            (format!("DIR/ha-agent.toml: the shared configuration DIR/shared.json {expected}"), exit)
        );
    }
    // Of a newer layout nothing else needs to be understood.
    site.write(SHARED, r#"{"layout": 9, "parts": []}"#);
    assert!(site.refusal().0.ends_with("has layout 9, and this agent knows 1; update ha-agent"));
    std::fs::remove_file(site.path(SHARED)).expect("to remove it");
    let (line, exit) = site.refusal();
    assert!(line.contains("does not exist; make it with `ha-agent config init FILE`"), "{line}");
    assert_eq!(exit, Exit::Config);
}

#[test]
fn what_is_too_large_for_a_message_is_refused() {
    let padded = |length: usize| format!("{TEXT}#{}", "x".repeat(length - TEXT.len() - 1));
    assert!(site(OWN, &padded(TEXT_LIMIT)).load().is_ok());
    assert_refused(
        OWN,
        &padded(TEXT_LIMIT + 1),
        "shared.json: the shared configuration has 49153 bytes, at most 49152 are allowed, so that it can be sent as one; shorten it",
    );
}

#[test]
fn another_file_needs_a_restart() {
    let site = site(OWN, TEXT);
    let running = site.load().expect("a configuration");
    std::fs::copy(site.path(SHARED), site.path("other.json")).expect("a copy");
    site.write(CONFIG, changed_in(OWN, "shared.json", "other.json"));
    let error = running.changes_to(site.load().expect("a configuration")).expect_err("a refusal");
    assert_eq!(
        site.anonymous(&error.to_string()),
        "shared in [peer] changed from DIR/shared.json to DIR/other.json; `ha-agent restart` applies it, the running \
         configuration stays"
    );
}

proptest! {
    #[test]
    fn whatever_is_shared_is_judged_in_one_line(
        text in "\\PC{0,64}(\n|\r\n|\t|\\PC{0,16}| = |\\[|\"){0,16}",
        cut in any::<prop::sample::Index>(),
        with in "\\PC{0,8}",
    ) {
        let at = TEXT.floor_char_boundary(cut.index(TEXT.len()));
        for text in [text, format!("{}{with}{}", &TEXT[..at], &TEXT[at..])] {
            if let Err(error) = site(OWN, &text).load() {
                prop_assert!(!error.to_string().contains(char::is_control), "{error:?}");
            }
        }
    }
}
