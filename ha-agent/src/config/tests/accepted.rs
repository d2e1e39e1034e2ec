//! Good files, and good files with something to warn of.

use std::time::Duration;

use super::super::{PaceConfig, VhostConfig};
use super::{CONFIG, GOOD, KEY, SECRET, Site, addresses, changed};

#[test]
fn every_key_arrives_and_defaults_fill_the_rest() {
    let config = Site::new(GOOD).load().expect("a configuration");
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
    assert_eq!(config.node, "controller-a");
    assert_eq!(config.auth.passphrases[0].as_bytes(), SECRET.as_bytes());
    assert_eq!(config.warnings, [""; 0]);
    let data = VhostConfig {
        name: "data".into(),
        interface: "eth0".into(),
        vhid: 10,
        addresses: networks(&["10.77.0.100/24"]),
        advbase: 2,
        advskew: 100,
        pace: PaceConfig::Fast { interval: Duration::from_millis(10), detect: 4 },
        preempt: true,
    };
    let admin = VhostConfig {
        name: "admin".into(),
        interface: "eth1".into(),
        vhid: 11,
        addresses: networks(&["10.78.0.1/24", "10.78.0.2/32"]),
        advbase: 1,
        advskew: 0,
        pace: PaceConfig::Classic,
        preempt: false,
    };
    assert_eq!(config.vhosts, [data, admin]);
}

#[test]
fn values_at_their_limits_are_accepted() {
    let name = "n".repeat(64);
    for (from, to) in [
        ("\"controller-a\"", format!("\"{name}\"")),
        ("\"eth0\"", "\"a-name-of-15-by\"".into()),
        ("vhid = 10\n", "vhid = 1\n".into()),
        ("vhid = 10\n", "vhid = 0xff\n".into()),
        // On another interface the same vhid is another virtual host.
        ("vhid = 10\n", "vhid = 11\n".into()),
        ("advbase = 2", "advbase = 0".into()),
        ("advbase = 2\nadvskew = 100", "advbase = 0\nadvskew = 0".into()),
        ("advbase = 2", "advbase = 254".into()),
        ("advskew = 100", "advskew = 0".into()),
        ("advskew = 100", "advskew = 254".into()),
        ("\"10ms\"", "\"1000us\"".into()),
        ("\"10ms\"", "\"2s\"".into()),
        ("detect = 4", "detect = 2".into()),
        ("detect = 4", "detect = 255".into()),
        ("\"10.77.0.100/24\"", "\"10.77.0.100/1\"".into()),
        ("[\"10.77.0.100/24\"]", addresses(64)),
    ] {
        let warnings = Site::new(changed(from, &to)).warnings();
        assert_eq!(warnings, [""; 0], "{to}");
    }
}

#[test]
fn an_interval_has_a_unit_and_detect_a_default() {
    for (text, microseconds) in [("1ms", 1_000), ("1500us", 1_500), ("1s", 1_000_000), ("060s", 60_000_000)] {
        let config = changed("\"10ms\"\ndetect = 4", &format!("\"{text}\""));
        let config = Site::new(config).load().expect("a configuration");
        let interval = Duration::from_micros(microseconds);
        assert_eq!(config.vhosts[0].pace, PaceConfig::Fast { interval, detect: 3 }, "{text}");
    }
}

#[test]
fn the_passphrase_is_the_first_line() {
    let files: [(&[u8], &[u8]); 7] = [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n# and more\n", b"secret"),
        (b" with spaces \n", b" with spaces "),
        (b"\xff\xfe\r\r\n", b"\xff\xfe\r"),
        (b"exactly 19 bytes...\n", b"exactly 19 bytes..."),
    ];
    for (file, passphrase) in files {
        let site = Site::new(GOOD);
        site.write(KEY, file);
        assert_eq!(site.load().expect("a configuration").auth.passphrases[0].as_bytes(), passphrase);
    }
}

#[test]
fn the_passphrase_file_may_have_an_absolute_path() {
    let site = Site::new("");
    let elsewhere = Site::new("");
    elsewhere.write("other.key", "elsewhere");
    let absolute = elsewhere.path("other.key");
    site.write(CONFIG, changed("carp.key", absolute.to_str().expect("UTF-8")));
    assert_eq!(site.load().expect("a configuration").auth.passphrases[0].as_bytes(), b"elsewhere");
}

#[test]
fn the_passphrase_is_not_in_debug_output() {
    let config = Site::new(GOOD).load().expect("a configuration");
    let debug = format!("{config:?}");
    assert!(debug.contains("redacted") && !debug.contains(SECRET), "{debug}");
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    for (from, to, warning) in [
        (
            "10.77.0.100/24",
            "10.77.0.0/24",
            "DIR/ha-agent.toml:10: address 10.77.0.0/24 is its network's own, not a host's; is it meant?",
        ),
        (
            "10.77.0.100/24",
            "10.77.0.255/24",
            "DIR/ha-agent.toml:10: address 10.77.0.255/24 is its network's own, not a host's; is it meant?",
        ),
        (
            "[\"10.77.0.100/24\"]",
            "[\n\"10.77.0.100/24\",\n\"10.77.0.100/16\",\n]",
            "DIR/ha-agent.toml:12: address 10.77.0.100 is listed twice in vhost 'data'; remove one of the two",
        ),
        (
            "detect = 4",
            "detect = 1",
            "DIR/ha-agent.toml:14: detect 1 takes over after a single lost or late advertisement; 2 or more is safer",
        ),
        (
            "\"10ms\"",
            "\"3s\"",
            "DIR/ha-agent.toml:13: interval 3s is longer than the 2.390625s of advbase and advskew; other CARP \
             implementations may take this node for dead, so make interval shorter or advbase larger",
        ),
    ] {
        assert_eq!(Site::new(changed(from, to)).warnings(), [warning]);
    }
}

#[test]
fn an_address_that_is_listed_twice_is_kept_once() {
    let twice =
        changed("[\"10.77.0.100/24\"]", "[\"10.77.0.100/24\", \"10.77.0.101/24\", \"10.77.0.100/16\"]");
    let config = Site::new(twice).load().expect("a configuration");
    let addresses: Vec<_> = config.vhosts[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.77.0.100/24", "10.77.0.101/24"]);
}

#[test]
fn a_passphrase_file_that_everybody_can_read_is_warned_of() {
    let site = Site::new(GOOD);
    for mode in [0o600, 0o400, 0o640, 0o660] {
        site.chmod(KEY, mode);
        assert_eq!(site.warnings(), [""; 0], "{mode:o}");
    }
    for mode in [0o644, 0o604, 0o666] {
        site.chmod(KEY, mode);
        let warning = format!(
            "DIR/ha-agent.toml:4: passphrase file DIR/carp.key is world-readable (mode {mode:04o}); \
             run: chmod 600 DIR/carp.key"
        );
        assert_eq!(site.warnings(), [warning]);
    }
}
