//! Good files, and good files with something to warn of.

use std::fmt::{Debug, Display};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::super::choice::Choice;
use super::super::{
    Config, FamilyRule, LeaseConfig, LeaseDrop, MacChoice, Mode, PaceConfig, Passphrase, PeerConfig,
    RealtimeConfig, Receive, Refused, VhostConfig,
};
use super::{
    CONFIG, FULL, GOOD, KEY, OLD_KEY, OLD_SECRET, SECRET, Site, addresses, changed, changed_in, peers,
};

#[test]
fn every_key_arrives_and_defaults_fill_the_rest() {
    let config = Site::new(GOOD).load().expect("a configuration");
    assert_eq!(config.node, "controller-a");
    assert_eq!(passphrases(&config), [SECRET.as_bytes()]);
    assert_eq!(config.auth.mode, Mode::Compat);
    assert_eq!(config.auth.clock_difference, Duration::from_secs(2));
    assert_eq!(config.warnings, [""; 0]);
    let data = VhostConfig {
        advbase: 2,
        advskew: 100,
        pace: PaceConfig::Fast { interval: Duration::from_millis(10), detect: 4 },
        preempt: true,
        ..vhost("data", "eth0", 10, &["10.77.0.100/24"])
    };
    assert_eq!(
        config.vhosts,
        [data, VhostConfig { index: 1, ..vhost("admin", "eth1", 11, &["10.78.0.1/24", "10.78.0.2/32"]) }]
    );
}

#[test]
fn the_keys_of_families_strict_mode_and_peers_arrive() {
    let config = Site::new(FULL).load().expect("a configuration");
    assert_eq!(passphrases(&config), [SECRET.as_bytes(), OLD_SECRET.as_bytes()]);
    assert_eq!(config.auth.mode, Mode::Strict);
    assert_eq!(config.auth.clock_difference, Duration::from_millis(500));
    assert_eq!(config.warnings, [""; 0]);
    let data = VhostConfig {
        pace: PaceConfig::Fast { interval: Duration::from_millis(2), detect: 3 },
        peers: ips(&["10.77.0.2", "fe80::2"]),
        refused: Refused::Pass,
        mac: MacChoice::Virtual,
        families: FamilyRule::Both,
        announce_every: Some(Duration::from_mins(1)),
        group: Some("clients".to_owned()),
        critical: false,
        ..vhost("data", "eth0", 10, &["10.77.0.100/24", "fe80::100/64"])
    };
    let admin = VhostConfig {
        unicast: ips(&["fe80::2"]),
        receive: Receive::Tcx,
        index: 1,
        ..vhost("admin", "eth1", 10, &["2001:db8::1/64", "fe80::100/64"])
    };
    assert_eq!(config.vhosts, [data, admin]);

    let [data, admin] = config.vhosts.as_slice() else { panic!("two virtual hosts") };
    assert_eq!(
        data.ipv4().map(IpNet::V4).chain(data.ipv6().map(IpNet::V6)).collect::<Vec<_>>(),
        data.addresses
    );
    assert_eq!((admin.ipv4().count(), admin.ipv6().count()), (0, 2));
}

#[test]
fn the_fast_thread_is_kept_on_time_unless_told_otherwise() {
    let realtime =
        |table: &str| Site::new(format!("{GOOD}{table}")).load().expect("a configuration").realtime;
    let default = RealtimeConfig { priority: Some(50), lock_memory: true, cpu_dma_latency: None };
    for table in
        ["", "[realtime]\n", "[realtime]\npriority = 50\nlock_memory = true\ncpu_dma_latency = \"leave\"\n"]
    {
        assert_eq!(realtime(table), default, "{table}");
    }
    let full = RealtimeConfig {
        priority: Some(10),
        lock_memory: false,
        cpu_dma_latency: Some(Duration::from_micros(20)),
    };
    assert_eq!(Site::new(FULL).load().expect("a configuration").realtime, full);
    for (text, priority) in [("1", Some(1)), ("0x63", Some(99)), ("\"off\"", None)] {
        assert_eq!(realtime(&format!("[realtime]\npriority = {text}\n")).priority, priority, "{text}");
    }
    for (text, latency) in [("0us", Duration::ZERO), ("10ms", Duration::from_millis(10))] {
        let latency = Some(latency);
        assert_eq!(realtime(&format!("[realtime]\ncpu_dma_latency = \"{text}\"\n")).cpu_dma_latency, latency);
    }
}

#[test]
fn a_node_goes_quiet_after_two_seconds_unless_told_otherwise() {
    let lease = |table: &str| Site::new(format!("{GOOD}{table}")).load().expect("a configuration").lease;
    let default = LeaseConfig { length: Some(Duration::from_secs(2)), drop: LeaseDrop::All };
    for table in ["", "[lease]\n", "[lease]\nlength = \"2s\"\ndrop = \"all\"\n"] {
        assert_eq!(lease(table), default, "{table}");
    }
    let full = LeaseConfig { length: Some(Duration::from_millis(700)), drop: LeaseDrop::Requests };
    assert_eq!(Site::new(FULL).load().expect("a configuration").lease, full);
    assert_eq!(lease("[lease]\nlength = \"off\"\n"), LeaseConfig { length: None, ..default });
}

#[test]
fn the_link_to_the_peer_arrives_and_has_defaults() {
    let site = Site::new(FULL);
    let expected = PeerConfig {
        listen: endpoints(&["10.77.0.1:7780", "[2001:db8:7::1]:7780"]),
        connect: endpoints(&["10.77.0.2:7780"]),
        heartbeat: Duration::from_millis(100),
        dead_after: 3,
        directory: "/srv/link".into(),
        shared: None,
    };
    assert_eq!(site.load().expect("a configuration").peer, Some(expected));
    let relative = Site::new(changed_in(FULL, "/srv/link", "link"));
    let directory = relative.load().expect("a configuration").peer.map(|peer| peer.directory);
    assert_eq!(directory, Some(relative.path("link")));
    let peer = |table: &str| Site::new(format!("{GOOD}{table}")).load().expect("a configuration").peer;
    assert_eq!(peer(""), None);
    let least = "[peer]\nlisten = \"0.0.0.0:1\"\nconnect = [\"[2001:db8::2]:65535\", \"10.0.0.2:1\"]\n";
    let expected = PeerConfig {
        listen: endpoints(&["0.0.0.0:1"]),
        connect: endpoints(&["[2001:db8::2]:65535", "10.0.0.2:1"]),
        heartbeat: Duration::from_millis(200),
        dead_after: 2,
        directory: "/var/lib/ha-agent/peer".into(),
        shared: None,
    };
    assert_eq!(peer(least), Some(expected.clone()));
    for (line, heartbeat, dead_after) in
        [("heartbeat = \"50ms\"", 50, 2), ("heartbeat = \"10s\"", 10_000, 2), ("dead_after = 255", 200, 255)]
    {
        let heartbeat = Duration::from_millis(heartbeat);
        assert_eq!(
            peer(&format!("{least}{line}\n")),
            Some(PeerConfig { heartbeat, dead_after, ..expected.clone() })
        );
    }
}

fn endpoints(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address with a port")).collect()
}

#[test]
fn advertisements_leave_from_the_mac_of_the_addresses_unless_told() {
    for (text, expected) in [
        ("", (MacChoice::Interface, MacChoice::Interface)),
        ("mac = \"virtual\"\n", (MacChoice::Virtual, MacChoice::Virtual)),
        ("advertise_from = \"virtual\"\n", (MacChoice::Interface, MacChoice::Virtual)),
        ("mac = \"interface\"\nadvertise_from = \"virtual\"\n", (MacChoice::Interface, MacChoice::Virtual)),
    ] {
        let config = Site::new(changed("preempt = true\n", text)).load().expect("a configuration");
        assert_eq!((config.vhosts[0].mac, config.vhosts[0].advertise_from), expected, "{text}");
        assert_eq!(config.warnings, [""; 0], "{text}");
    }
}

#[test]
fn every_word_of_a_choice_is_accepted() {
    fn check<T: Choice + Debug + PartialEq + Display>(key: &str, read: impl Fn(&Config) -> T) {
        for &choice in T::ALL {
            let value = if key == "mode" { "strict\"\nclock_difference = \"500ms" } else { current(key) };
            let text = format!("{key} = \"{choice}\"");
            let config = Site::new(changed_in(FULL, &format!("{key} = \"{value}\""), &text)).load();
            assert_eq!(read(&config.expect("a configuration")), choice, "{text}");
        }
    }
    fn current(key: &str) -> &'static str {
        let value = FULL.split_once(&format!("\n{key} = \"")).expect("the key").1;
        value.split_once('"').expect("its end").0
    }
    check("mode", |config| config.auth.mode);
    check("receive", |config| config.vhosts[1].receive);
    check("refused", |config| config.vhosts[0].refused);
    check("mac", |config| config.vhosts[0].mac);
    check("advertise_from", |config| config.vhosts[0].advertise_from);
    check("families", |config| config.vhosts[0].families);
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
        ("[\"10.77.0.100/24\"]", "[\"2001:db8::100/1\"]".into()),
        ("[\"10.77.0.100/24\"]", "[\"2001:db8::100/128\", \"10.77.0.100/32\", \"FE80::1/64\"]".into()),
        // Networks of one or two addresses keep none for themselves.
        ("[\"10.77.0.100/24\"]", "[\"2001:db8::/127\", \"2001:db8:1::/128\", \"10.0.0.0/31\"]".into()),
        ("preempt = true", format!("peers = {}", peers(64))),
        ("preempt = true", format!("unicast = {}", peers(64))),
        ("preempt = true", "families = \"either\"".into()),
        ("preempt = true", "announce_every = \"1s\"".into()),
        ("preempt = true", "announce_every = \"1h\"".into()),
        ("\"carp.key\"", "[\"carp.key\"]".into()),
        ("\"carp.key\"", "\"carp.key\"\nmode = \"compat\"".into()),
        ("\"carp.key\"", "\"carp.key\"\nmode = \"strict\"\nclock_difference = \"100ms\"".into()),
        ("\"carp.key\"", "\"carp.key\"\nmode = \"strict\"\nclock_difference = \"60s\"".into()),
    ] {
        let warnings = Site::new(changed(from, &to)).warnings();
        assert_eq!(warnings, [""; 0], "{to}");
    }
}

#[test]
fn an_interval_has_a_unit_and_detect_a_default() {
    for (text, microseconds) in
        [("1ms", 1_000), ("1500us", 1_500), ("1s", 1_000_000), ("060s", 60_000_000), ("1min", 60_000_000)]
    {
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
    let config = Site::new(FULL).load().expect("a configuration");
    let debug = format!("{config:?}");
    assert_eq!(debug.matches("redacted").count(), 2, "{debug}");
    assert!(!debug.contains(SECRET) && !debug.contains(OLD_SECRET), "{debug}");
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
            "10.77.0.100/24",
            "2001:db8::/64",
            "DIR/ha-agent.toml:10: address 2001:db8::/64 is its network's own, not a host's; is it meant?",
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
    let twice = changed(
        "[\"10.77.0.100/24\"]",
        "[\"10.77.0.100/24\", \"2001:db8::1/64\", \"10.77.0.101/24\", \"10.77.0.100/16\", \"2001:DB8:0::1/128\"]",
    );
    let site = Site::new(twice);
    assert_eq!(
        site.load().expect("a configuration").vhosts[0].addresses,
        networks(&["10.77.0.100/24", "2001:db8::1/64", "10.77.0.101/24"])
    );
    assert_eq!(site.warnings().len(), 2);
}

#[test]
fn a_link_local_address_is_another_one_on_another_interface() {
    // 'admin' has it as a virtual address, on eth1.
    let text = changed_in(FULL, "\"fe80::100/64\"]\ninterval", "\"fe80::101/64\"]\ninterval");
    let text = changed_in(&text, "\"10.77.0.2\", \"fe80::2\"", "\"10.77.0.2\", \"fe80::100\"");
    assert_eq!(Site::new(text).warnings(), [""; 0]);
}

#[test]
fn a_peer_that_is_listed_twice_is_kept_once() {
    for (key, noun) in [("peers", "peer"), ("unicast", "unicast peer")] {
        let list = format!("{key} = [\"10.77.0.3\", \"10.77.0.2\", \"10.77.0.3\"]");
        let site = Site::new(changed("preempt = true", &list));
        let vhost = &site.load().expect("a configuration").vhosts[0];
        let kept = if key == "peers" { &vhost.peers } else { &vhost.unicast };
        assert_eq!(*kept, ips(&["10.77.0.3", "10.77.0.2"]));
        let warning = format!(
            "DIR/ha-agent.toml:15: {noun} 10.77.0.3 is listed twice in vhost 'data'; remove one of the two"
        );
        assert_eq!(site.warnings(), [warning]);
    }
}

#[test]
fn switches_that_would_forget_a_virtual_mac_are_warned_of() {
    let warning = |why| {
        format!(
            "DIR/ha-agent.toml:15: mac \"virtual\" with {why}: switches that see no advertisement from the virtual MAC \
             may forget it and flood its traffic; add announce_every = \"60s\", or write mac = \"interface\""
        )
    };
    let (unicast, from_interface) = ("unicast = [\"10.77.0.2\"]\n", "advertise_from = \"interface\"\n");
    for (rest, why) in [
        (unicast.to_owned(), Some("unicast")),
        (from_interface.to_owned(), Some("advertise_from \"interface\"")),
        (format!("{unicast}{from_interface}"), Some("unicast")),
        (format!("{unicast}announce_every = \"5min\"\n"), Some("unicast")),
        (format!("{unicast}announce_every = \"299s\"\n"), None),
        (format!("{from_interface}announce_every = \"1s\"\n"), None),
        (String::new(), None),
        ("peers = [\"10.77.0.2\"]\n".to_owned(), None),
    ] {
        let text = format!("mac = \"virtual\"\n{rest}");
        let expected: Vec<_> = why.map(warning).into_iter().collect();
        assert_eq!(Site::new(changed("preempt = true\n", &text)).warnings(), expected, "{text}");
    }
}

#[test]
fn a_family_that_is_not_heard_is_warned_of() {
    let list = |list| changed_in(FULL, "peers = [\"10.77.0.2\", \"fe80::2\"]", list);
    let either = |text: String| changed_in(&text, "families = \"both\"\n", "");
    let warning = |family, remedy| {
        format!(
            "DIR/ha-agent.toml:14: peers has no {family} address, so no {family} advertisement is heard; add those \
             of the peers{remedy}"
        )
    };
    assert_eq!(
        Site::new(either(list("peers = [\"10.77.0.2\"]"))).warnings(),
        [warning("IPv6", ", normally link-local")]
    );
    assert_eq!(Site::new(either(list("peers = [\"fe80::2\"]"))).warnings(), [warning("IPv4", "")]);
    // With unicast nothing is sent by that family either.
    let unicast = changed_in(&either(list("unicast = [\"10.77.0.2\"]")), "mac = \"virtual\"\n", "");
    assert_eq!(Site::new(unicast).warnings(), [""; 0]);
}

#[test]
fn in_strict_mode_two_families_have_an_interval_for_both_of_their_advertisements() {
    for (from, to) in [
        ("mode = \"strict\"\nclock_difference = \"500ms\"", "mode = \"compat\""),
        ("\"fe80::100/64\"]\ninterval", "\"10.77.0.101/24\"]\ninterval"),
    ] {
        let text = changed_in(FULL, from, to)
            .replace("\"2ms\"", "\"1ms\"")
            .replace("families = \"both\"\n", "")
            .replace(", \"fe80::2\"", "");
        Site::new(text).load().expect("a configuration");
    }
}

#[test]
fn passphrases_that_are_the_same_are_warned_of() {
    let site = Site::new(FULL);
    site.write(OLD_KEY, format!("{SECRET}\r\nand more"));
    assert_eq!(passphrases(&site.load().expect("a configuration")), [SECRET.as_bytes()]);
    assert_eq!(
        site.warnings(),
        [
            "DIR/ha-agent.toml:4: the passphrases in DIR/carp.key and DIR/old.key are the same; remove one of the two \
          from passphrase_file"
        ]
    );
}

#[test]
fn passphrases_are_equal_byte_by_byte() {
    let passphrase = |contents: &str| {
        let site = Site::new(GOOD);
        site.write(KEY, contents);
        site.load().expect("a configuration").auth.passphrases.remove(0)
    };
    let texts =
        ["a", "b", "ab", "ba", "aa", "exactly 19 bytes...", "exactly 19 bytes..,", "Exactly 19 bytes..."];
    for one in texts {
        for other in texts {
            assert_eq!(passphrase(one) == passphrase(other), one == other, "{one} {other}");
        }
        assert_eq!(passphrase(one).clone(), passphrase(one));
    }
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

/// With defaults in all but these.
fn vhost(name: &str, interface: &str, vhid: u8, addresses: &[&str]) -> VhostConfig {
    VhostConfig {
        name: name.into(),
        interface: interface.into(),
        receive: Receive::Auto,
        vhid,
        addresses: networks(addresses),
        advbase: 1,
        advskew: 0,
        pace: PaceConfig::Classic,
        preempt: false,
        peers: Vec::new(),
        unicast: Vec::new(),
        refused: Refused::Drop,
        mac: MacChoice::Interface,
        advertise_from: MacChoice::Interface,
        families: FamilyRule::Either,
        announce_every: None,
        group: None,
        critical: true,
        index: 0,
    }
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn passphrases(config: &Config) -> Vec<&[u8]> {
    config.auth.passphrases.iter().map(Passphrase::as_bytes).collect()
}
