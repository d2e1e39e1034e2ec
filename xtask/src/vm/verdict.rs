//! The guest's report: a line for each test that ended, `NAME CODE SECONDS`, one for each fact that they found out, `fact
//! NAME VALUE`, and at last `end`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::process::say;

/// Says how each of `tests` went.
///
/// # Errors
///
/// One of them failed, or is not in the report.
pub(super) fn judge(report: &str, tests: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    for test in tests {
        let ended = report.lines().find_map(|line| line.strip_prefix(test.as_str())?.strip_prefix(' '));
        let (code, seconds) = ended.and_then(|line| line.split_once(' ')).unwrap_or(("missing", "?"));
        let outcome = match code {
            "0" => "passed".to_owned(),
            TIMED_OUT => "ended after its limit".to_owned(),
            code => format!("failed, exit code {code}"),
        };
        say(format_args!("{test}: {outcome}, {seconds} s of the guest's time"));
        if code != "0" {
            failed.push(test.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("failed in the guest: {}", failed.join(", "));
    }
    Ok(())
}

/// What the tests found out, by name.
pub(super) fn facts(report: &str) -> BTreeMap<String, String> {
    let fact = |line: &str| {
        let (name, value) = line.strip_prefix("fact ")?.split_once(' ')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    report.lines().filter_map(fact).collect()
}

/// The exit code of timeout(1).
const TIMED_OUT: &str = "124";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_must_have_passed() {
        let tests = ["bond", "vlan"].map(str::to_owned);
        let table = [
            ("bond 0 1.2\nvlan 0 3.4\nend\n", None),
            ("bond 0 1.2\nvlan 1 3.4\nend\n", Some("vlan")),
            ("bond 124 180.0\nvlan 0 3.4\nend\n", Some("bond")),
            ("bond 0 1.2\nend\n", Some("vlan")),
            ("bonding 0 1.2\nvlan 0 1.0\n", Some("bond")),
            ("bond\nvlan 0", Some("bond, vlan")),
            ("", Some("bond, vlan")),
        ];
        for (report, failed) in table {
            let error = judge(report, &tests).err().map(|error| error.to_string());
            assert_eq!(error, failed.map(|names| format!("failed in the guest: {names}")), "{report:?}");
        }
    }

    #[test]
    fn facts_have_a_name_and_a_value() {
        let report = "bond 0 1.2\nfact lacks a b, c\nfact empty\nfact programs x 1 \nend\n";
        let expected = [("lacks", "a b, c"), ("programs", "x 1")];
        assert_eq!(facts(report), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}
