//! The matrix of detection times and false failovers is as it was, and the documentation shows it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::run_original;

/// With `HA_BLESS=1` both are written anew instead.
#[test]
fn the_matrix_is_as_pinned_and_as_documented() -> Result<()> {
    let (pinned, documented) = (here("tests/matrix.md"), here("../../docs/detection.md"));
    let output = run_original(&["matrix"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8(output.stdout)?;
    let document = fs::read_to_string(&documented)?;
    let (before, shown, after) = marked(&document).with_context(|| {
        format!("{} lacks one of the lines {BEGIN:?} and {END:?} around the table", documented.display())
    })?;
    if std::env::var_os("HA_BLESS").is_some() {
        fs::write(&pinned, &found)?;
        fs::write(&documented, format!("{before}{found}{after}"))?;
        return Ok(());
    }
    let expected = fs::read_to_string(&pinned)?;
    ensure!(
        found == expected,
        "detection has changed (-: {}, +: now). If that is meant: HA_BLESS=1 cargo test -p virtual-lan --test optimised matrix\n{}",
        pinned.display(),
        difference(&expected, &found)
    );
    ensure!(shown == expected, "{}:\n{}", documented.display(), difference(&expected, shown));
    Ok(())
}

/// What comes before the table, the table, and what comes after.
fn marked(document: &str) -> Option<(&str, &str, &str)> {
    let begin = document.find(BEGIN)? + BEGIN.len();
    let end = begin + document[begin..].find(END)?;
    Some((&document[..begin], &document[begin..end], &document[end..]))
}

/// The lines that differ; the tables have the same lines in the same order.
fn difference(expected: &str, found: &str) -> String {
    let mut lines = Vec::new();
    let (mut expected, mut found) = (expected.lines(), found.lines());
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return lines.join("\n"),
            (expected, found) if expected == found => {}
            (expected, found) => {
                lines.extend(expected.map(|line| format!("-{line}")));
                lines.extend(found.map(|line| format!("+{line}")));
            }
        }
    }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

const BEGIN: &str = "<!-- the matrix begins -->\n";
const END: &str = "<!-- the matrix ends -->\n";
