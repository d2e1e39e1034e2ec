//! The table `[web]`: what arrives, what is refused with which line, and that a change of it needs a restart.

use super::super::{Trust, WebConfig};
use super::{CONFIG, FULL, Site, TOKEN, assert_refused, changed_in};

#[test]
fn what_is_written_arrives_and_the_rest_has_defaults() {
    let web = load(WHOLE);
    assert_eq!(web.listen, ["127.0.0.1:7781", "[::]:80"].map(|address| address.parse().expect("an address")));
    assert_eq!(web.token.expect("a token").as_bytes(), "x".repeat(20).as_bytes());
    let trust = Trust { header: "X-Remote-User".to_owned(), proxies: vec![[10, 9, 0, 8].into()] };
    assert_eq!(web.trust, Some(trust));
    assert_eq!(web.hosts, ["ha.example.org"]);
    assert!(web.actions);

    let least = WebConfig {
        listen: vec![([127, 0, 0, 1], 7781).into()],
        token: None,
        trust: None,
        hosts: Vec::new(),
        actions: false,
    };
    assert_eq!(load(""), least);
    assert_eq!(Site::new(FULL).load().expect("a configuration").web, None);
}

#[test]
fn each_mistake_has_its_line() {
    for (table, expected) in MISTAKES {
        let line = FULL.lines().count() + 1;
        // The first line of the table is `[web]`; the places are counted from it.
        let (at, sentence) = expected.split_once(": ").expect("a place");
        let at: usize = at.parse().expect("a number");
        assert_refused(&with(table), &format!("{}: {sentence}", line + at));
    }
}

#[test]
fn a_token_is_long_and_only_its_file_is_named() {
    let least = "x".repeat(16);
    for (token, is_good) in [
        (least.as_str(), true),
        (&least[1..], false),
        (&"x".repeat(256), true),
        (&"x".repeat(257), false),
        ("", false),
        ("a token that has spaces", false),
        ("ein-langes-schönes-token", false),
    ] {
        let site = Site::new(with("token_file = \"web.token\"\n"));
        site.write(TOKEN, format!("{token}\r\nmore\n"));
        match site.load() {
            Ok(_) => assert!(is_good, "{token}"),
            Err(error) => {
                let error = site.anonymous(&error.to_string());
                assert!(
                    !is_good && error.contains("the first line of token file DIR/web.token is not 16"),
                    "{error}"
                );
                assert!(token.is_empty() || !error.contains(token), "{error}");
            }
        }
    }
    let site = Site::new(with("token_file = \"gone\"\n"));
    let error = site.anonymous(&site.load().expect_err("no token").to_string());
    let line = FULL.lines().count() + 2;
    let expected = format!(
        "DIR/{CONFIG}:{line}: token file DIR/gone does not exist; make one with `(umask 077; head -c 24 /dev/urandom | \
         base64 > DIR/gone)`"
    );
    assert_eq!(error, expected);
}

#[test]
fn a_change_needs_a_restart_and_is_named() {
    let whole = [
        (with(WHOLE), FULL.to_owned(), "[web] was removed"),
        (FULL.to_owned(), with(WHOLE), "[web] was added"),
    ];
    let rows = RESTARTS
        .iter()
        .map(|&(from, to, expected)| (with(WHOLE), with(&changed_in(WHOLE, from, to)), expected));
    for (from, to, expected) in whole.into_iter().chain(rows) {
        let site = Site::new(&from);
        let running = site.load().expect("a configuration");
        site.write(CONFIG, &to);
        site.write("other.token", "y".repeat(20));
        let error = running.changes_to(site.load().expect("a configuration")).expect_err("a refusal");
        let remedy = "`ha-agent restart` applies it, the running configuration stays";
        assert_eq!(error.to_string(), format!("{expected}; {remedy}"));
    }
}

fn with(table: &str) -> String {
    format!("{FULL}[web]\n{table}")
}

fn load(table: &str) -> WebConfig {
    Site::new(with(table)).load().expect("a configuration").web.expect("a page")
}

const WHOLE: &str = r#"listen = ["127.0.0.1:7781", "[::]:80"]
token_file = "web.token"
trust_header = "X-Remote-User"
trusted_proxies = "10.9.0.8"
hosts = "HA.example.org"
actions = true
"#;

/// What is replaced in it by what, and the sentence.
pub(super) const RESTARTS: &[(&str, &str, &str)] = &[
    ("[::]:80", "[::]:81", "listen in [web] changed from 127.0.0.1:7781, [::]:80 to 127.0.0.1:7781, [::]:81"),
    (
        "token_file = \"web.token\"",
        "token_file = \"other.token\"",
        "token_file in [web] changed from one token to another",
    ),
    (
        "trust_header = \"X-Remote-User\"",
        "trust_header = \"X-User\"",
        "trust_header in [web] changed from X-Remote-User to X-User",
    ),
    ("trusted_proxies = \"10.9.0.8\"\n", "", "trusted_proxies in [web] changed from 10.9.0.8 to none"),
    ("hosts = \"HA.", "hosts = \"hb.", "hosts in [web] changed from ha.example.org to hb.example.org"),
    ("actions = true", "actions = false", "actions in [web] changed from true to false"),
];

/// What stands in the table, and the line, counted from the table's, with what is said about it.
const MISTAKES: &[(&str, &str)] = &[
    ("listen = []\n", "1: listen is empty; write listen = [\"127.0.0.1:7781\"]"),
    (
        "listen = \"localhost:80\"\n",
        "1: listen 'localhost:80' is not an address with a port; write for example '10.0.0.1:7780' or \
         '[2001:db8::1]:7780'",
    ),
    (
        "listen = \"0.0.0.0:7781\"\n",
        "1: listen '0.0.0.0:7781' is not a loopback address, and without a token anybody there could look; add token_file = \
         \"web.token\", or listen at 127.0.0.1:7781 behind a reverse proxy",
    ),
    (
        "listen = \"10.77.0.100:7781\"\ntoken_file = \"web.token\"\n",
        "1: listen '10.77.0.100' is a virtual address of vhost 'data', which moves; give the node's own address",
    ),
    (
        "listen = \"224.0.0.1:7781\"\n",
        "1: listen '224.0.0.1' is a multicast address; give an address of this node, or 127.0.0.1 behind a reverse proxy",
    ),
    (
        "actions = true\n",
        "1: actions = true lets whoever can look act; add token_file = \"web.token\", or trust_header of a reverse proxy \
         that knows its users",
    ),
    (
        "trusted_proxies = \"10.9.0.8\"\n",
        "1: trusted_proxies belong to trust_header, the header that they set; add trust_header = \"X-Remote-User\"",
    ),
    (
        "trust_header = \"X Remote User\"\n",
        "1: trust_header 'X Remote User' is not the name of a header; write trust_header = \"X-Remote-User\"",
    ),
    (
        "hosts = \"ha.example.org:443\"\n",
        "1: hosts 'ha.example.org:443' is not a host name; write hosts = [\"ha.example.org\"], without a port",
    ),
    ("token_file = \"\"\n", "1: token_file '' is not a file name; write token_file = \"web.token\""),
    ("tokenfile = \"x\"\n", "1: unknown key 'tokenfile' in [web]; did you mean 'token_file'?"),
];
