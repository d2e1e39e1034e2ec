//! The tables in `docs/` that the code makes: they are as the code says.

mod check;
mod events;
mod metrics;
mod reasons;
mod roles;
mod storage;
mod verdict;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// A table, and the name by which the document marks its place.
struct Table {
    name: &'static str,
    text: String,
}

/// Compares the tables of a document; with `HA_BLESS=1` they are written anew instead.
///
/// The place of each is between the lines `<!-- NAME begins -->` and `<!-- NAME ends -->`.
fn compare(document: &str, tables: &[Table]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let mut text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let blessed = std::env::var_os("HA_BLESS").is_some();
    for table in tables {
        let (begin, end) = (marker(table.name, "begins"), marker(table.name, "ends"));
        let (before, rest) =
            text.split_once(&begin).with_context(|| format!("{document} lacks {begin:?}"))?;
        let (shown, after) = rest.split_once(&end).with_context(|| format!("{document} lacks {end:?}"))?;
        if blessed {
            text = format!("{before}{begin}{}{end}{after}", table.text);
        } else {
            ensure!(
                shown == table.text,
                "docs/{document} differs from the code (-: document, +: code). If that is meant: \
                 HA_BLESS=1 cargo test -p ha-agent --test documents\n{}",
                difference(shown, &table.text)
            );
        }
    }
    if blessed {
        fs::write(&path, text)?;
    }
    Ok(())
}

fn marker(name: &str, what: &str) -> String {
    format!("<!-- {name} {what} -->\n")
}

/// The lines that one has and the other lacks.
fn difference(expected: &str, found: &str) -> String {
    let lacking = |of: &str, sign: char, other: &str| -> Vec<String> {
        of.lines()
            .filter(|line| !other.lines().any(|it| it == *line))
            .map(|line| format!("{sign}{line}"))
            .collect()
    };
    [lacking(expected, '-', found), lacking(found, '+', expected)].concat().join("\n")
}

/// A value of an enum without fields, as it is written in JSON, but with spaces.
fn word(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("it is a word");
    json.trim_matches('"').replace('_', " ")
}

/// A table from its rows, the first of which is the head.
fn table<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines: Vec<String> = rows.into_iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
    lines.insert(1, format!("|{}\n", "---|".repeat(N)));
    lines.concat()
}
