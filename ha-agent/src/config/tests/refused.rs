//! The text: each mistake, and the line that the operator reads.

use super::{GOOD, Site, addresses, assert_refused, changed};
use crate::cli::exit::Exit;

#[test]
fn each_mistake_in_a_file_has_its_line() {
    for (text, expected) in WHOLE_FILES {
        assert_refused(text, expected);
    }
}

#[test]
fn each_mistake_in_a_table_has_its_line() {
    for (from, to, expected) in CHANGES {
        assert_refused(&changed(from, to), expected);
    }
}

#[test]
fn each_mistake_in_a_value_has_its_line() {
    for (good, expected, values) in VALUES {
        for value in *values {
            assert_refused(&changed(good, value), &expected.replace("{}", value));
        }
    }
}

#[test]
fn each_number_has_its_range() {
    for (good, line, key, range, values) in NUMBERS {
        for value in *values {
            let expected = format!("{line}: {key} {value} is out of range; {range}");
            assert_refused(&changed(good, &format!("{key} = {value}\n")), &expected);
        }
    }
}

#[test]
fn what_is_no_real_time_is_refused() {
    for (line, expected) in [
        ("priority = 0", "priority 0 is out of range; priority is 1 to 99"),
        ("priority = 100", "priority 100 is out of range; priority is 1 to 99"),
        ("priority = -1", "priority -1 is out of range; priority is 1 to 99"),
        ("priority = \"high\"", "priority 'high' is unknown; write \"off\" or a number, 1 to 99"),
        ("priority = false", "priority must be an integer or a string, not a boolean; write priority = 50"),
        ("lock_memory = 1", "lock_memory must be true or false, not an integer; write lock_memory = true"),
        (
            "cpu_dma_latency = \"low\"",
            "cpu_dma_latency 'low' is not a duration; write for example '0us', '50us' or 'leave'",
        ),
        (
            "cpu_dma_latency = \"11ms\"",
            "cpu_dma_latency '11ms' is out of range; cpu_dma_latency is 0ns to 10ms",
        ),
        (
            "cpu_dma_latency = 0",
            "cpu_dma_latency must be a string, not an integer; write cpu_dma_latency = \"leave\"",
        ),
        ("priorty = 50", "unknown key 'priorty' in [realtime]; did you mean 'priority'?"),
        ("advskew = 1", "unknown key 'advskew' in [realtime]; it belongs in [[vhost]]"),
    ] {
        let line_number = GOOD.lines().count() + 2;
        assert_refused(&format!("{GOOD}[realtime]\n{line}\n"), &format!("{line_number}: {expected}"));
    }
}

#[test]
fn what_is_no_link_to_a_peer_is_refused() {
    let both = "listen = \"10.0.0.1:7780\"\nconnect = \"10.0.0.2:7780\"\n";
    let listen = |value: &str| format!("listen = {value}\nconnect = \"10.0.0.2:7780\"\n");
    let connect = |value: &str| format!("listen = \"10.0.0.1:7780\"\nconnect = {value}\n");
    let many: Vec<_> = (10..19).map(|host| format!("\"10.0.0.{host}:1\"")).collect();
    for (table, line, expected) in [
        (String::new(), 0, "missing key 'listen' in [peer]; add listen = [\"10.0.0.1:7780\"]".to_owned()),
        ("listen = \"10.0.0.1:7780\"\n".to_owned(), 0, "missing key 'connect' in [peer]; add connect = [\"10.0.0.2:7780\"]".to_owned()),
        (listen("[]"), 1, "listen is empty; list addresses with their ports, the interlink first".to_owned()),
        (connect(&format!("[{}]", many.join(", "))), 2, "connect has 9 addresses, at most 8 are allowed; list fewer".to_owned()),
        (listen("7780"), 1, "listen must be a string or an array of strings, not an integer; write listen = [\"10.0.0.1:7780\"]".to_owned()),
        (connect("\"0.0.0.0:7780\""), 2, "connect '0.0.0.0' is the unspecified address; give the peer's own address".to_owned()),
        (connect("\"[ff02::1]:7780\""), 2, "connect 'ff02::1' is a multicast address; give the peer's own address".to_owned()),
        (connect("\"[fe80::1]:7780\""), 2, "connect 'fe80::1' is a link-local address, which is none without its interface; give the peer's own address".to_owned()),
        (listen("\"127.0.0.1:7780\""), 1, "listen '127.0.0.1' is a loopback address; give an address of this node, or 0.0.0.0 or [::] for all".to_owned()),
        (connect("\"[::ffff:10.0.0.2]:7780\""), 2, "connect '[::ffff:10.0.0.2]:7780' is an IPv4-mapped address; write it as IPv4, '10.0.0.2'".to_owned()),
        (connect("[\"10.0.0.2:1\", \"10.0.0.2:2\"]"), 2, "connect has the address '10.0.0.2' twice, but an address is one path, whatever the port; remove one of the two".to_owned()),
        (connect("\"10.0.0.1:7780\""), 2, "connect '10.0.0.1:7780' is where this node itself listens; give the peer's own address".to_owned()),
        (connect("\"10.78.0.2:7780\""), 2, "connect '10.78.0.2' is a virtual address of vhost 'admin', which moves; give the node's own address".to_owned()),
        (format!("{both}heartbeat = \"49ms\"\n"), 3, "heartbeat '49ms' is out of range; heartbeat is 50ms to 10s".to_owned()),
        (format!("{both}dead_after = 1\n"), 3, "dead_after 1 is out of range; dead_after is 2 to 255".to_owned()),
        (format!("{both}directory = \"\"\n"), 3, "directory '' is not a path; write directory = \"/var/lib/ha-agent/peer\"".to_owned()),
        (format!("{both}heartbaet = \"1s\"\n"), 3, "unknown key 'heartbaet' in [peer]; did you mean 'heartbeat'?".to_owned()),
    ] {
        let start = GOOD.lines().count() + 1;
        assert_refused(&format!("{GOOD}[peer]\n{table}"), &format!("{}: {expected}", start + line));
    }
    for text in [
        "",
        "10.0.0.2",
        "10.0.0.2:0",
        "10.0.0.2:65536",
        "host:7780",
        "2001:db8::1:7780",
        "[fe80::1%eth0]:1",
        ":7780",
    ] {
        let expected = format!(
            "{}: connect '{text}' is not an address with a port; write for example '10.0.0.1:7780' or '[2001:db8::1]:7780'",
            GOOD.lines().count() + 3
        );
        assert_refused(&format!("{GOOD}[peer]\n{}", connect(&format!("\"{text}\""))), &expected);
    }
}

#[test]
fn more_addresses_than_the_digest_covers_are_refused() {
    let text = changed("[\"10.77.0.100/24\"]", &addresses(65));
    let expected = "10: 65 addresses are too many for one [[vhost]]; it has at most 64, so add another";
    assert_refused(&text, expected);
}

#[test]
fn bytes_that_are_not_text_are_refused_with_their_offset() {
    for byte in [0xff, 0xc3, 0x00, 0x1b, 0x7f] {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[30] = byte;
        bytes[40] = 0;
        bytes[50] = 0xff;
        let expected = "DIR/ha-agent.toml:4: byte 30 is not UTF-8 text; is it a configuration? \
                        name another with --config FILE";
        assert_eq!(Site::new(bytes).refusal(), (expected.into(), Exit::Config), "{byte:#x}");
    }
}

#[test]
fn long_values_are_cut() {
    let (line, _) = Site::new(changed("controller-a", &"é".repeat(10_000))).refusal();
    assert!(line.contains(&format!("'{}…'", "é".repeat(64))), "{line}");
    assert!(line.len() < 400, "{line}");
}

/// Files, and what follows the file's name in the error.
const WHOLE_FILES: &[(&str, &str)] = &[
    ("", " the file is empty; write node, [auth] and at least one [[vhost]] into it"),
    ("\n# nothing yet\n", "1: missing key 'node' at the top of the file; add node = \"controller-a\""),
    ("node = \"a\"\n\n[auth\n", "3:6: not valid TOML: unclosed table, expected `]`; see https://toml.io"),
    (
        "node = a\n",
        "1:8: not valid TOML: string values must be quoted, expected literal string; see https://toml.io",
    ),
    ("node = \"a\"\nnode = \"b\"\n", "2:1: not valid TOML: duplicate key; see https://toml.io"),
    (
        "# é\nnode = \"é\" x\n",
        "2:12: not valid TOML: unexpected key or value, expected newline, `#`; see https://toml.io",
    ),
    ("node = \"a\"\n", "1: no [auth] in this file; add [auth] with passphrase_file = \"carp.key\""),
    ("node = \"a\"\nauth = \"secret\"\n", "2: auth must be a table, not a string; write [auth]"),
    (
        "node = \"a\"\n\n[auth]\n",
        "3: missing key 'passphrase_file' in [auth]; add passphrase_file = \"carp.key\"",
    ),
    (
        "node = \"a\"\n[auth]\npassphrase = \"secret\"\n",
        "3: unknown key 'passphrase' in [auth]; did you mean 'passphrase_file'?",
    ),
    (
        "node = \"a\"\n[auth]\npassphrase_file = \"carp.key\"\n",
        "1: no [[vhost]] in this file; add one with name, interface, vhid and addresses",
    ),
    (
        "node = \"a\"\nvhost = []\n[auth]\npassphrase_file = \"carp.key\"\n",
        "1: no [[vhost]] in this file; add one with name, interface, vhid and addresses",
    ),
    (
        "node = \"a\"\nvhost = [1]\n[auth]\npassphrase_file = \"carp.key\"\n",
        "2: each element of vhost must be a table, not an integer; write [[vhost]]",
    ),
    (
        "node = \"a\"\n[auth]\npassphrase_file = \"carp.key\"\n[vhost]\nname = \"data\"\n",
        "4: vhost must be an array, not a table; write [[vhost]]",
    ),
    (
        "node = \"a\"\n[auth]\npassphrase_file = \"carp.key\"\n\n[[vhost]]\n",
        "5: missing key 'name' in [[vhost]]; add name = \"data\"",
    ),
];

/// What to replace in the good file, by what, and what follows the file's name in the error.
const CHANGES: &[(&str, &str, &str)] = &[
    ("node =", "nodes =", "1: unknown key 'nodes' at the top of the file; did you mean 'node'?"),
    (
        "node = \"controller-a\"\n",
        "",
        "1: missing key 'node' at the top of the file; add node = \"controller-a\"",
    ),
    (
        "[auth]",
        "[xyz]",
        "3: unknown key 'xyz' at the top of the file; known keys are node, auth, realtime, lease, peer, witness, web, \
         vhost, fence, pool, mount, service, notify",
    ),
    ("[auth]\n", "[auth]\nvhid = 1\n", "4: unknown key 'vhid' in [auth]; it belongs in [[vhost]]"),
    (
        "node = \"controller-a\"\n\n[auth]\n",
        "[auth]\nnode = \"controller-a\"\n",
        "2: unknown key 'node' in [auth]; it belongs at the top of the file",
    ),
    ("advskew", "advskw", "12: unknown key 'advskw' in [[vhost]]; did you mean 'advskew'?"),
    ("advskew", "\"Adv\\nskew\"", "12: unknown key 'Adv\\nskew' in [[vhost]]; did you mean 'advskew'?"),
    (
        "vhid = 10\n",
        "id = 10\nadvskw = 1\n",
        "9: unknown key 'id' in [[vhost]]; known keys are name, interface, receive, vhid, addresses, advbase, advskew, interval, detect, preempt, peers, unicast, refused, mac, advertise_from, families, announce_every, group, critical",
    ),
    (
        "interface = \"eth1\"\n",
        "interface = \"eth0\"\nreceive = \"tcx\"\n",
        "20: receive \"tcx\" on 'eth0' is not what vhost 'data' at line 6 has, \"auto\"; an interface has one receiver, so give both the same",
    ),
    ("name = \"data\"\n", "", "6: missing key 'name' in [[vhost]]; add name = \"data\""),
    ("interface = \"eth0\"\n", "", "6: missing key 'interface' in [[vhost]]; add interface = \"eth0\""),
    ("vhid = 10\n", "", "6: missing key 'vhid' in [[vhost]]; add vhid = 10"),
    (
        "addresses = [\"10.77.0.100/24\"]\n",
        "",
        "6: missing key 'addresses' in [[vhost]]; add addresses = [\"10.77.0.100/24\"]",
    ),
    (
        "interval = \"10ms\"\n",
        "",
        "13: detect needs interval; without it CARP's classic 3 × advbase holds, so add interval or remove detect",
    ),
    (
        "\"admin\"",
        "\"data\"",
        "18: the name 'data' is taken by the [[vhost]] at line 6; give each its own name",
    ),
    (
        "interface = \"eth1\"\nvhid = 11",
        "interface = \"eth0\"\nvhid = 10",
        "20: vhid 10 on 'eth0' is taken by vhost 'data' at line 6; use another vhid",
    ),
    (
        "10.78.0.2/32",
        "10.77.0.100/32",
        "21: address '10.77.0.100' is taken by vhost 'data' at line 6; an address belongs to one virtual host",
    ),
    (
        "[\"10.77.0.100/24\"]",
        "[\n\"10.77.0.100/24\",\n1979-05-27]",
        "12: each element of addresses must be a string, not a datetime; write addresses = [\"10.77.0.100/24\"]",
    ),
    ("vhid = 10\n", "vhid = \"10\"\n", "9: vhid must be an integer, not a string; write vhid = 10"),
    ("vhid = 10\n", "vhid = 10.0\n", "9: vhid must be an integer, not a float; write vhid = 10"),
    (
        "\"controller-a\"",
        "\"a\\u202eb\"",
        "1: node 'a\\u{202e}b' is not valid; use 1 to 64 printable ASCII characters, no space",
    ),
    (
        "\"controller-a\"",
        "\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\"",
        "1: node 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…' is not valid; use 1 to 64 printable ASCII characters, no space",
    ),
    (
        "\"carp.key\"",
        "\"a\\u0000b\"",
        "4: passphrase_file 'a\\0b' is not a file name; write passphrase_file = \"carp.key\"",
    ),
];

/// What to replace in the good file, what follows the file's name in the error, and the values that it is replaced by:
/// they stand for `{}` in the error.
const VALUES: &[(&str, &str, &[&str])] = &[
    ("\"controller-a\"", "1: node must be a string, not an integer; write node = \"controller-a\"", &["1"]),
    (
        "\"carp.key\"",
        "4: passphrase_file must be a string or an array of strings, not a boolean; write passphrase_file = \"carp.key\"",
        &["true"],
    ),
    ("\"eth0\"", "8: interface must be a string, not an array; write interface = \"eth0\"", &["[\"eth0\"]"]),
    (
        "[\"10.77.0.100/24\"]",
        "10: addresses must be an array, not a string; write addresses = [\"10.77.0.100/24\"]",
        &["\"10.77.0.100/24\""],
    ),
    ("[\"10.77.0.100/24\"]", "10: addresses is empty; write addresses = [\"10.77.0.100/24\"]", &["[]"]),
    ("\"10ms\"", "13: interval must be a string, not a float; write interval = \"10ms\"", &["0.01"]),
    ("= true", "15: preempt must be true or false, not an integer; write preempt = false", &["= 1"]),
    (
        "controller-a",
        "1: node '{}' is not valid; use 1 to 64 printable ASCII characters, no space",
        &["", "controller a", "controller\\na", "kontrollør"],
    ),
    ("data", "7: name '{}' is not valid; use 1 to 64 printable ASCII characters, no space", &["", " "]),
    ("carp.key", "4: passphrase_file '{}' is not a file name; write passphrase_file = \"carp.key\"", &[""]),
    (
        "eth0",
        "8: interface '{}' is not valid; an interface name has 1 to 15 bytes, no '/', ':' or white space",
        &["", "sixteen-bytes-no", "eth/0", "eth0:1", "eth 0", ".", "..", "eth\\t0", "åäöåäöåä"],
    ),
    (
        "10.77.0.100/24",
        "10: address '{}' has no prefix length; write '{}/32', or the prefix length of its network",
        &["10.77.0.100"],
    ),
    (
        "10.77.0.100/24",
        "10: address '{}' is not an IP address with a prefix length; write for example '10.77.0.100/24' or '2001:db8::100/64'",
        &[
            "",
            "gateway",
            "10.77.0/24",
            "10.77.0.256/24",
            "10.77.0.100/",
            "10.77.0.100/x",
            "10.77.0.100/+4",
            "10.77.0.100 /24",
            "10.77.0.100/255.255.255.0",
            "10.77.0.100%eth0/24",
            "2001:db8:::1/64",
            "2001:db8::1/",
            "2001:db8::1/64/64",
            "[2001:db8::1]/64",
            "eth0%2001:db8::1/64",
        ],
    ),
    (
        "10.77.0.100/24",
        "10: address '{}': the prefix length is out of range; a prefix length is 1 to 32",
        &["10.77.0.100/0", "10.77.0.100/33", "10.77.0.100/256", "10.77.0.100/99999999999999999999"],
    ),
    (
        "10.77.0.100/24",
        "10: address '{}' has no prefix length; write '{}/128', or the prefix length of its network",
        &["2001:db8::100", "fe80::100"],
    ),
    (
        "10.77.0.100/24",
        "10: address '{}': the prefix length is out of range; a prefix length is 1 to 128",
        &["2001:db8::100/0", "fe80::1/129", "2001:db8::100/256", "2001:db8::100/99999999999999999999"],
    ),
    (
        "10.77.0.100/24",
        "10: address '{}' has a zone; leave '%eth0' out, the interface of the [[vhost]] is meant",
        &["fe80::1%eth0", "fe80::1%eth0/64", "2001:db8::1%eth0/64"],
    ),
    (
        "10.77.0.100/24",
        "10: address '{}' is an IPv4-mapped address; write it as IPv4, '10.0.0.1'",
        &["::ffff:10.0.0.1/128", "::ffff:a00:1/96", "::ffff:10.0.0.1"],
    ),
    (
        "10.77.0.100/24",
        "10: address '::' is the unspecified address; give an address that clients can talk to",
        &["::/0", "::/64", "::"],
    ),
    (
        "10.77.0.100/24",
        "10: address '::1' is a loopback address; give an address that clients can talk to",
        &["::1/128", "::1", "0:0::1/64"],
    ),
    (
        "10.77.0.100/24",
        "10: address 'ff02::12' is a multicast address; give an address that clients can talk to",
        &["ff02::12/16"],
    ),
    (
        "10.77.0.100/24",
        "10: address '::a00:1' is an IPv4-compatible address, which no host uses any more; give an address that clients can talk to",
        &["::10.0.0.1/96", "::a00:1/128"],
    ),
    (
        "10.77.0.100/24",
        "10: address 'fe80:2::1' is a link-local address outside of fe80::/64; give an address that clients can talk to",
        &["fe80:2::1/64"],
    ),
    (
        "10.77.0.100/24",
        "10: address '0.0.0.0' is the unspecified address; give an address that clients can talk to",
        &["0.0.0.0", "0.0.0.0/0"],
    ),
    (
        "10.77.0.100/24",
        "10: address '127.0.0.1' is a loopback address; give an address that clients can talk to",
        &["127.0.0.1/8"],
    ),
    (
        "10.77.0.100/24",
        "10: address '224.0.0.18' is a multicast address; give an address that clients can talk to",
        &["224.0.0.18/32"],
    ),
    (
        "10.77.0.100/24",
        "10: address '255.255.255.255' is the broadcast address; give an address that clients can talk to",
        &["255.255.255.255/32"],
    ),
    (
        "10ms",
        "13: interval '{}' is not a duration; write for example '10ms', '1500us' or '1s'",
        &["", "10", "ms", "10 ms", "10m", "1.5ms", "-1ms", "+1ms", "10MS"],
    ),
    (
        "10ms",
        "13: interval '{}' is out of range; an interval is 1ms to 60s",
        &["0ms", "999us", "61s", "60001ms", "2min", "1h", "18446744073709551615h", "99999999999999999999us"],
    ),
];

/// A line of the good file, its number, its key, the range in words, and values outside of it.
const NUMBERS: &[(&str, usize, &str, &str, &[&str])] = &[
    (
        "vhid = 10\n",
        9,
        "vhid",
        "a vhid is 1 to 255",
        &["0", "256", "-1", "0x100", "99999999999999999999999999999999"],
    ),
    ("advbase = 2\n", 11, "advbase", "advbase is 0 to 254", &["255", "-1"]),
    ("advskew = 100\n", 12, "advskew", "advskew is 0 to 254", &["255", "256", "-1"]),
    ("detect = 4\n", 14, "detect", "detect is 1 to 255", &["0", "256", "-1"]),
];
