//! The table `[witness]`: what arrives, what is refused with which line, and that a change of it needs a restart.

use std::time::Duration;

use super::super::{TlsFiles, WitnessConfig, WitnessKind};
use super::{CONFIG, FULL, Site, assert_refused, changed_in};

#[test]
fn what_is_written_arrives_and_the_rest_has_defaults() {
    let site = Site::new(with(TLS));
    let kind = site.load().expect("a configuration").witness.expect("a witness").kind;
    let WitnessKind::Etcd { urls, key, tls } = kind else { panic!("{kind:?}") };
    let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["https://10.0.0.9:2379", "http://[2001:db8::9]:1"]);
    assert_eq!(key.as_deref(), Some("pairs/1"));
    let own = Some((site.path("client.pem"), "/etc/client.key".into()));
    assert_eq!(tls, Some(TlsFiles { ca: site.path("ca.pem"), own }));

    let least = load("etcd = \"http://127.0.0.1:2379/\"\n");
    assert_eq!(least.lease, Duration::from_secs(3));
    let WitnessKind::Etcd { urls, key: None, tls: None } = least.kind else { panic!("{least:?}") };
    assert_eq!(urls.len(), 1);
    let gateway = load("gateway = \"10.77.0.254\"\nlease = \"60s\"\n");
    let kind = WitnessKind::Gateway([10, 77, 0, 254].into());
    assert_eq!(gateway, WitnessConfig { kind, lease: Duration::from_mins(1) });
    assert_eq!(Site::new(FULL).load().expect("a configuration").witness, None);
}

#[test]
fn each_mistake_has_its_line() {
    for (table, expected) in MISTAKES {
        let line = FULL.lines().count() + 1;
        // The first line of the table is `[witness]`; the places are counted from it.
        let (at, sentence) = expected.split_once(": ").expect("a place");
        let at: usize = at.parse().expect("a number");
        assert_refused(&with(table), &format!("{}: {sentence}", line + at));
    }
    for url in [
        "https://etcd.example:2379",
        "10.0.0.9:2379",
        "ftp://10.0.0.9:1",
        "http://10.0.0.9:0",
        "http://10.0.0.9",
        "",
    ] {
        let line = FULL.lines().count() + 2;
        let expected = format!(
            "{line}: etcd '{url}' is not a URL with an address and a port; write for example 'https://10.0.0.9:2379' (not \
             a name: whoever resolves it may not answer when it matters)"
        );
        assert_refused(&with(&format!("etcd = {url:?}\n")), &expected);
    }
    let nine: Vec<String> = (0..9).map(|host| format!("\"http://10.9.0.{host}:1\"")).collect();
    let line = FULL.lines().count() + 2;
    let expected = format!("{line}: etcd has 9 URLs, at most 8 are allowed; list fewer");
    assert_refused(&with(&format!("etcd = [{}]\n", nine.join(", "))), &expected);
}

#[test]
fn a_witness_without_a_peer_has_nothing_to_decide() {
    let at = FULL.find("[peer]").expect("it has one");
    let text = format!("{}[witness]\ngateway = \"10.77.0.254\"\n", &FULL[..at]);
    let line = FULL[..at].lines().count() + 1;
    let sentence =
        "[witness] needs [peer], because it decides between two nodes; add [peer] or remove [witness]";
    assert_refused(&text, &format!("{line}: {sentence}"));
}

#[test]
fn a_change_needs_a_restart_and_is_named() {
    let whole = [
        (with(TLS), FULL.to_owned(), "[witness] was removed"),
        (FULL.to_owned(), with(TLS), "[witness] was added"),
    ];
    let rows = RESTARTS
        .iter()
        .map(|&(table, from, to, expected)| (with(table), with(&changed_in(table, from, to)), expected));
    for (from, to, expected) in whole.into_iter().chain(rows) {
        let site = Site::new(&from);
        let running = site.load().expect("a configuration");
        site.write(CONFIG, &to);
        let error = running.changes_to(site.load().expect("a configuration")).expect_err("a refusal");
        let remedy = "`ha-agent restart` applies it, the running configuration stays";
        assert_eq!(site.anonymous(&error.to_string()), format!("{expected}; {remedy}"));
    }
}

fn with(table: &str) -> String {
    format!("{FULL}[witness]\n{table}")
}

fn load(table: &str) -> WitnessConfig {
    Site::new(with(table)).load().expect("a configuration").witness.expect("a witness")
}

const TLS: &str = r#"etcd = ["https://10.0.0.9:2379", "http://[2001:db8::9]:1"]
key = "pairs/1"
ca_file = "ca.pem"
cert_file = "client.pem"
key_file = "/etc/client.key"
lease = "4s"
"#;

const GATEWAY: &str = "gateway = \"10.77.0.254\"\n";

/// What stands in the table, what is replaced in it by what, and the sentence.
pub(super) const RESTARTS: &[(&str, &str, &str, &str)] = &[
    (
        TLS,
        "etcd = [\"https://10.0.0.9:2379\", ",
        "etcd = [\"https://10.0.0.8:2379\", ",
        "etcd in [witness] changed from https://10.0.0.9:2379, http://[2001:db8::9]:1 to https://10.0.0.8:2379, \
         http://[2001:db8::9]:1",
    ),
    (TLS, "key = \"pairs/1\"\n", "", "key in [witness] changed from pairs/1 to none"),
    (TLS, "ca_file = \"ca.pem\"", "ca_file = \"/a\"", "ca_file in [witness] changed from DIR/ca.pem to /a"),
    (
        TLS,
        "cert_file = \"client.pem\"",
        "cert_file = \"/b\"",
        "cert_file in [witness] changed from DIR/client.pem to /b",
    ),
    (
        TLS,
        "key_file = \"/etc/client.key\"",
        "key_file = \"/c\"",
        "key_file in [witness] changed from /etc/client.key to /c",
    ),
    (TLS, "lease = \"4s\"", "lease = \"5s\"", "lease in [witness] changed from 4s to 5s"),
    (
        GATEWAY,
        "gateway = \"10.77.0.254\"",
        "gateway = \"10.77.0.253\"",
        "gateway in [witness] changed from 10.77.0.254 to 10.77.0.253",
    ),
];

/// What stands in the table, and the line, counted from the table's, with what is said about it.
const MISTAKES: &[(&str, &str)] = &[
    (
        "lease = \"3s\"\n",
        "0: [witness] names none; add etcd = [\"https://10.0.0.9:2379\"] or gateway = \"10.77.0.254\"",
    ),
    (
        "etcd = \"http://10.0.0.9:1\"\ngateway = \"10.77.0.254\"\n",
        "2: etcd and gateway exclude each other, because one of them has to decide; remove gateway",
    ),
    ("gateway = \"10.77.0.254\"\nkey = \"x\"\n", "2: key belongs to etcd, not to gateway; remove key"),
    (
        "gateway = \"10.77.0.254\"\nca_file = \"x\"\n",
        "2: ca_file belongs to etcd, not to gateway; remove ca_file",
    ),
    ("etcd = []\n", "1: etcd is empty; list the URLs of its members"),
    (
        "etcd = \"http://224.0.0.1:1\"\n",
        "1: etcd '224.0.0.1' is a multicast address; give an address of a member of etcd",
    ),
    (
        "etcd = \"http://[fe80::1]:1\"\n",
        "1: etcd 'fe80::1' is a link-local address, which is none without its interface; give an address of a member of etcd",
    ),
    (
        "etcd = [\"http://10.0.0.9:1\",\n\"http://10.0.0.9:1/\"]\n",
        "2: etcd has the address '10.0.0.9:1' twice; remove one of the two",
    ),
    (
        "etcd = \"http://10.77.0.100:1\"\n",
        "1: etcd '10.77.0.100' is a virtual address of vhost 'data', which moves with the role; give one that does not",
    ),
    (
        "gateway = \"10.77.0.100\"\n",
        "1: gateway '10.77.0.100' is a virtual address of vhost 'data', which moves with the role; give one that does not",
    ),
    (
        "gateway = \"fe80::9\"\n",
        "1: gateway 'fe80::9' is a link-local address, which is none without its interface; give the address of a router that both nodes reach",
    ),
    (
        "gateway = \"router\"\n",
        "1: gateway 'router' is not an IP address; write for example '10.77.0.2' or 'fe80::2'",
    ),
    (
        "etcd = \"http://10.0.0.9:1\"\nkey = \"a b\"\n",
        "2: key 'a b' is not valid; use 1 to 256 printable ASCII characters, no space",
    ),
    (
        "etcd = \"https://10.0.0.9:1\"\n",
        "1: https needs ca_file, the certificate of who vouches for etcd; add ca_file = \"etcd-ca.pem\"",
    ),
    (
        "etcd = \"http://10.0.0.9:1\"\nca_file = \"ca.pem\"\n",
        "2: ca_file needs an https:// URL in etcd; write https:// there, or remove ca_file",
    ),
    (
        "etcd = \"https://10.0.0.9:1\"\nca_file = \"\"\n",
        "2: ca_file '' is not a file name; write ca_file = \"etcd-ca.pem\"",
    ),
    (
        "etcd = \"https://10.0.0.9:1\"\nca_file = \"a\"\ncert_file = \"b\"\n",
        "3: cert_file needs key_file, too, because a certificate is worth nothing without its key; add key_file",
    ),
    (
        "etcd = \"https://10.0.0.9:1\"\nca_file = \"a\"\nkey_file = \"b\"\n",
        "3: key_file needs cert_file, too, because a certificate is worth nothing without its key; add cert_file",
    ),
    ("gateway = \"10.77.0.254\"\nlease = \"1s\"\n", "2: lease '1s' is out of range; a lease is 2s to 60s"),
    (
        "gateway = \"10.77.0.254\"\nleese = \"1s\"\n",
        "2: unknown key 'leese' in [witness]; did you mean 'lease'?",
    ),
];
