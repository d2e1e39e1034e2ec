//! The table `[[notify]]`.

use super::super::reload::Change;
use super::{GOOD, Site};
use crate::journal::events::Kind;

fn with(tables: &str) -> String {
    format!("{GOOD}\n{tables}")
}

#[test]
fn commands_are_told_of_what_they_name_or_of_transitions() {
    let text =
        with("[[notify]]\ncommand = \"a\"\n[[notify]]\ncommand = [\"b\", \"-x\"]\non = [\"stalled\"]\n");
    let config = Site::new(&text).load().expect("a configuration");
    let found: Vec<_> = config.notify.iter().map(|one| (one.command.join(" "), one.on.clone())).collect();
    let transitions = vec![Kind::RoleChanged, Kind::StateChanged, Kind::Serving];
    assert_eq!(found, [("a".to_owned(), transitions), ("b -x".to_owned(), vec![Kind::Stalled])]);
    let before = Site::new(GOOD).load().expect("a configuration");
    let reload = before.changes_to(config).expect("it is applied at once");
    assert_eq!(reload.changes, [Change::Notify]);
}

#[test]
fn mistakes_are_named() {
    let table = [
        ("[[notify]]\non = [\"stalled\"]\n".to_owned(), "command"),
        ("[[notify]]\ncommand = []\n".to_owned(), "command"),
        ("[[notify]]\ncommand = \"a\"\non = []\n".to_owned(), "on"),
        ("[[notify]]\ncommand = \"a\"\non = [\"stale\"]\n".to_owned(), "did you mean \"stalled\"?"),
        ("[[notify]]\ncommand = \"a\"\non = [\"xyz\"]\n".to_owned(), "docs/events.md"),
        ("[[notify]]\ncommand = \"a\"\n".repeat(9), "more than 8"),
    ];
    for (tables, expected) in table {
        let error = Site::new(with(&tables)).load().expect_err(&tables).to_string();
        assert!(error.contains(expected), "{tables}: {error}");
    }
}
