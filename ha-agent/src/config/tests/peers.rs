//! The keys of families, strict mode and peers: each mistake, and the line that the operator reads.

use super::{FULL, assert_refused, changed, changed_in, peers};

#[test]
fn each_mistake_about_families_strict_mode_and_peers_has_its_line() {
    for (from, to, expected) in FULL_CHANGES {
        assert_refused(&changed_in(FULL, from, to), expected);
    }
}

#[test]
fn each_list_of_peers_takes_only_addresses_of_others() {
    for (key, line, noun) in
        [("peers = [\"10.77.0.2\", \"", 14, "peer"), ("unicast = [\"", 28, "unicast peer")]
    {
        let good = format!("{key}fe80::2\"");
        for (value, expected) in PEERS {
            let text = changed_in(FULL, &good, &format!("{key}{value}\""));
            assert_refused(&text, &format!("{line}: {noun} '{}", expected.replace("{}", value)));
        }
    }
}

#[test]
fn more_peers_than_can_be_compared_are_refused() {
    for key in ["peers", "unicast"] {
        let text = changed("preempt = true", &format!("{key} = {}", peers(65)));
        let expected =
            format!("15: {key} has 65 addresses, at most 64 are allowed; list fewer, or remove {key}");
        assert_refused(&text, &expected);
    }
}

/// What to replace in the full file, by what, and what follows the file's name in the error.
const FULL_CHANGES: &[(&str, &str, &str)] = &[
    ("\"carp.key\", \"old.key\"", "", "4: passphrase_file is empty; write passphrase_file = \"carp.key\""),
    (
        "\"carp.key\", ",
        "\"carp.key\", \"new.key\", ",
        "4: passphrase_file lists 3 files; it takes one or two, the first signs and all verify, so remove the others",
    ),
    (
        "\"carp.key\", ",
        "\"carp.key\",\n7, ",
        "5: each element of passphrase_file must be a string, not an integer; write passphrase_file = \"carp.key\"",
    ),
    (
        "\"carp.key\", ",
        "\"carp.key\",\n\"\", ",
        // Three would be too many in any case, and are counted first.
        "4: passphrase_file lists 3 files; it takes one or two, the first signs and all verify, so remove the others",
    ),
    (
        "\"old.key\"",
        "\n\"\"",
        "5: passphrase_file '' is not a file name; write passphrase_file = \"carp.key\"",
    ),
    (
        "\"strict\"",
        "\"stict\"",
        "5: mode 'stict' is unknown; did you mean \"strict\"? It is \"compat\" or \"strict\"",
    ),
    (
        "\"strict\"",
        "\"STRICT\"",
        "5: mode 'STRICT' is unknown; did you mean \"strict\"? It is \"compat\" or \"strict\"",
    ),
    ("\"strict\"", "\"fast\"", "5: mode 'fast' is unknown; write \"compat\" or \"strict\""),
    ("\"strict\"", "\"\"", "5: mode '' is unknown; write \"compat\" or \"strict\""),
    ("\"strict\"", "true", "5: mode must be a string, not a boolean; write mode = \"compat\""),
    (
        "\"strict\"",
        "\"compat\"",
        "6: clock_difference needs mode = \"strict\", because only then the counter tells the time; add it or remove clock_difference",
    ),
    (
        "mode = \"strict\"\n",
        "",
        "5: clock_difference needs mode = \"strict\", because only then the counter tells the time; add it or remove clock_difference",
    ),
    ("\"500ms\"", "\"99ms\"", "6: clock_difference '99ms' is out of range; clock_difference is 100ms to 60s"),
    ("\"500ms\"", "\"61s\"", "6: clock_difference '61s' is out of range; clock_difference is 100ms to 60s"),
    ("\"500ms\"", "\"2\"", "6: clock_difference '2' is not a duration; write for example '500ms' or '2s'"),
    (
        "\"500ms\"",
        "2",
        "6: clock_difference must be a string, not an integer; write clock_difference = \"2s\"",
    ),
    (
        "\"2ms\"",
        "\"1999us\"",
        "13: interval 1.999ms is too short for strict mode with addresses of both families: two advertisements each time would let the counter run ahead of the clock; make it 2ms or longer",
    ),
    (
        "\"pass\"",
        "\"passs\"",
        "15: refused 'passs' is unknown; did you mean \"pass\"? It is \"drop\" or \"pass\"",
    ),
    ("mac = \"virtual\"", "mac = \"real\"", "16: mac 'real' is unknown; write \"interface\" or \"virtual\""),
    (
        "\"interface\"",
        "\"interfaec\"",
        "17: advertise_from 'interfaec' is unknown; did you mean \"interface\"? It is \"interface\" or \"virtual\"",
    ),
    ("\"both\"", "\"all\"", "18: families 'all' is unknown; write \"either\" or \"both\""),
    ("\"60s\"", "\"999ms\"", "19: announce_every '999ms' is out of range; announce_every is 1s to 3600s"),
    ("\"60s\"", "\"61min\"", "19: announce_every '61min' is out of range; announce_every is 1s to 3600s"),
    ("\"60s\"", "\"5m\"", "19: announce_every '5m' is not a duration; write for example '60s' or '5min'"),
    (
        "\"10.77.0.100/24\", ",
        "",
        "18: families \"both\" needs addresses of both families, but there is no IPv4 one; add one or remove families",
    ),
    (
        "\"10.77.0.100/24\", \"fe80::100/64\"",
        "\"10.77.0.100/24\"",
        "18: families \"both\" needs addresses of both families, but there is no IPv6 one; add one or remove families",
    ),
    (
        "[\"10.77.0.2\", \"fe80::2\"]",
        "[]",
        "14: peers is empty; list the addresses of the peers, or remove peers",
    ),
    ("[\"fe80::2\"]", "[]", "28: unicast is empty; list the addresses of the peers, or remove unicast"),
    (
        "[\"fe80::2\"]",
        "\"fe80::2\"",
        "28: unicast must be an array, not a string; write unicast = [\"10.77.0.2\"]",
    ),
    (
        "\"10.77.0.2\", ",
        "\"10.77.0.2\",\n7, ",
        "15: each element of peers must be a string, not an integer; write peers = [\"10.77.0.2\"]",
    ),
    (
        "[\"10.77.0.2\", ",
        "[",
        "14: families \"both\" needs peers of both families, but peers has no IPv4 one; add one or remove families",
    ),
    (
        "peers = [\"10.77.0.2\", \"fe80::2\"]",
        "unicast = [\"10.77.0.2\"]",
        "14: families \"both\" needs peers of both families, but unicast has no IPv6 one; add one or remove families",
    ),
    (
        "[\"fe80::2\"]",
        "[\"fe80::2\",\n\"10.77.0.2\"]",
        "29: unicast peer '10.77.0.2' is IPv4, but the [[vhost]] has no IPv4 address; remove it or add one",
    ),
    (
        "unicast = [\"fe80::2\"]",
        "unicast = [\"fe80::2\"]\npeers = [\"fe80::2\"]",
        "29: peers and unicast exclude each other, because with unicast only its addresses are heard; remove peers",
    ),
    (
        "[\"fe80::2\"]",
        "[\"fe80::100\"]",
        "28: unicast peer 'fe80::100' is a virtual address of vhost 'admin' at line 23; give the peer's own address",
    ),
    (
        // Of one that stands below.
        "\"10.77.0.2\", \"fe80::2\"",
        "\"10.77.0.2\", \"2001:db8::1\"",
        "14: peer '2001:db8::1' is a virtual address of vhost 'admin' at line 23; give the peer's own address",
    ),
    (
        "\"eth1\"\nvhid = 10",
        "\"eth0\"\nvhid = 11",
        "27: address 'fe80::100' is taken by vhost 'data' at line 8; an address belongs to one virtual host",
    ),
    (
        "2001:db8::1/64",
        "10.77.0.100/24",
        "27: address '10.77.0.100' is taken by vhost 'data' at line 8; an address belongs to one virtual host",
    ),
    ("unicast =", "unicats =", "28: unknown key 'unicats' in [[vhost]]; did you mean 'unicast'?"),
    (
        "refused = \"pass\"\n",
        "mode = \"strict\"\n",
        "15: unknown key 'mode' in [[vhost]]; it belongs in [auth]",
    ),
];

/// What is wrong in a list of peers, and what follows the place and the noun in the error; the value stands for `{}`.
const PEERS: &[(&str, &str)] = &[
    ("", "' is not an IP address; write for example '10.77.0.2' or 'fe80::2'"),
    ("gateway", "gateway' is not an IP address; write for example '10.77.0.2' or 'fe80::2'"),
    ("fe80::2/64", "{}' has a prefix length; a peer is one address, write 'fe80::2'"),
    ("10.77.0.2/", "{}' has a prefix length; a peer is one address, write '10.77.0.2'"),
    ("fe80::2%eth0", "{}' has a zone; leave '%eth0' out, the interface of the [[vhost]] is meant"),
    ("::ffff:10.0.0.2", "{}' is an IPv4-mapped address; write it as IPv4, '10.0.0.2'"),
    ("::", "{}' is the unspecified address; give the peer's own address"),
    ("0.0.0.0", "{}' is the unspecified address; give the peer's own address"),
    ("::1", "{}' is a loopback address; give the peer's own address"),
    ("ff02::12", "{}' is a multicast address; give the peer's own address"),
    ("224.0.0.18", "{}' is a multicast address; give the peer's own address"),
    ("255.255.255.255", "{}' is the broadcast address; give the peer's own address"),
    ("fe80:0:1::2", "{}' is a link-local address outside of fe80::/64; give the peer's own address"),
];
