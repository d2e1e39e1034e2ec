//! The files that show how to write a configuration.

use toml::{Table, Value};

use super::super::schema::SCHEMAS;
use super::{KEY, OLD_KEY, Site, changed_in};

#[test]
fn the_sample_is_a_good_configuration_with_every_key() {
    let site = Site::new(SAMPLE);
    assert_eq!(site.warnings(), [""; 0]);
    assert_has_every_key(&with_gateway(SAMPLE).replace("\n# shared =", "\nshared ="));
    assert!(SAMPLE.lines().all(|line| line.len() <= 120), "a line is longer than a screen");
}

#[test]
fn the_sample_explains_every_key() {
    let sample = with_gateway(SAMPLE);
    let paragraphs = sample.split("\n\n");
    for key in keys(&sample) {
        let assignment = format!("\n{key} = ");
        let explained = paragraphs.clone().any(|paragraph| {
            format!("\n{paragraph}").find(&assignment).is_some_and(|at| paragraph[..at].contains("# "))
        });
        assert!(explained || TABLES.contains(&key.as_str()), "{key}");
    }
}

#[test]
fn the_example_in_the_documentation_is_a_good_configuration_with_every_key() {
    let example = include_str!("../mod.rs").split("//! ```toml\n").nth(1).expect("an example");
    let example = example.split("//! ```").next().expect("its end").replace("//! ", "").replace("//!", "");
    let example = changed_in(&example, "\"new.key\"", &format!("\"{OLD_KEY}\""));
    let example = changed_in(&example, "[\"old.key\", \"old.key\"]", &format!("[\"{OLD_KEY}\", \"{KEY}\"]"));
    assert_eq!(Site::new(&example).warnings(), [""; 0]);
    // Peers and unicast exclude each other.
    let unicast = example.replace("peers =", "# peers =").replace("# unicast =", "unicast =");
    assert_eq!(Site::new(&unicast).warnings(), [""; 0]);
    let example = example.replace("# unicast =", "unicast =").replace("# shared =", "shared =");
    assert_has_every_key(&with_gateway(&example));
}

/// It and etcd exclude each other, so a good configuration has it in a comment.
fn with_gateway(text: &str) -> String {
    changed_in(text, "# gateway =", "gateway =")
}

fn assert_has_every_key(text: &str) {
    let keys = keys(text);
    for key in SCHEMAS.iter().flat_map(|schema| schema.names()) {
        assert!(keys.iter().any(|written| written == key), "{key} is not there");
    }
}

/// The names of all keys in all tables.
fn keys(text: &str) -> Vec<String> {
    fn collect(table: &Table, keys: &mut Vec<String>) {
        for (key, value) in table {
            keys.push(key.clone());
            match value {
                Value::Table(table) => collect(table, keys),
                Value::Array(elements) => {
                    elements.iter().filter_map(Value::as_table).for_each(|table| collect(table, keys));
                }
                _ => {}
            }
        }
    }
    let mut keys = Vec::new();
    collect(&text.parse().expect("TOML"), &mut keys);
    keys
}

/// The keys that are tables.
pub(super) const TABLES: [&str; 12] = [
    "auth", "realtime", "lease", "peer", "witness", "web", "vhost", "fence", "pool", "mount", "service",
    "notify",
];
const SAMPLE: &str = include_str!("../../../../docs/ha-agent.toml");
