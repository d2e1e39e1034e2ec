//! The alerts and the dashboard that come with the agent: they are correct, and ask for metrics that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::super::{Format, text};

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    for arguments in [["check", "rules", RULES], ["test", "rules", RULES_TEST]] {
        let Some(output) = promtool(&arguments) else { return };
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn each_alert_is_tested() {
    let (rules, tests) = (read(RULES), read(RULES_TEST));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} is not made to fire");
    }
}

#[test]
fn the_dashboard_asks_in_a_correct_way() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let notes = dashboard["annotations"]["list"].as_array().expect("annotations").iter();
    let asked: Vec<_> = targets.chain(notes).map(|it| it["expr"].as_str().expect("a question")).collect();
    assert!(asked.len() > 15, "{asked:?}");
    let rule = |(number, question): (usize, &&str)| {
        let question = question.replace("$__rate_interval", "5m").replace("$__interval", "1m");
        format!("  - record: question_{number}\n    expr: {}\n", Value::from(question))
    };
    let rules: String = asked.iter().enumerate().map(rule).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rules.yml");
    fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{rules}")).expect("a file");
    let Some(output) = promtool(&["check", "rules", file.to_str().expect("a name")]) else { return };
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_asked_for_is_there() {
    let text = text(&super::status(), Format::Prometheus);
    let there: BTreeSet<_> = text.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for file in [RULES, RULES_TEST, DASHBOARD] {
        let content = read(file);
        let names = content.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let asked: BTreeSet<_> = names.filter(|name| name.starts_with("ha_agent_")).collect();
        assert!(asked.len() > 10, "{file}: {asked:?}");
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}, which are not in\n{text}");
    }
}

fn promtool(arguments: &[&str]) -> Option<Output> {
    match Command::new("promtool").args(arguments).current_dir(dist()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped, because promtool can't be started: {error}");
            None
        }
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(dist().join(file)).expect("a file that comes with the agent")
}

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

const RULES: &str = "prometheus/ha-agent.rules.yml";
const RULES_TEST: &str = "prometheus/ha-agent.rules.test.yml";
const DASHBOARD: &str = "grafana/ha-agent.json";
