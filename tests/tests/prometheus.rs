//! A real Prometheus scrapes a pair, with the alerts that come with the agent.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::http::Page;
use lab::introduction::{Linked, introduce};
use lab::paired::settled;
use lab::{AgentConfig, Process};
use serde_json::Value;

#[test]
fn prometheus_scrapes_both_nodes_and_its_alerts_follow_the_pair() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    if Command::new("prometheus").arg("--version").output().is_err() {
        eprintln!("skipped, because prometheus is not installed");
        return Ok(());
    }
    let config = |advskew, host| AgentConfig {
        advskew,
        web: Some(format!("listen = [\"10.77.0.{host}:7781\"]\ntoken_file = \"web.token\"\n")),
        ..AgentConfig::default()
    };
    let mut lab = Linked::start_with("prometheus", &[99], [config(0, 1), config(100, 2)])?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    settled(&lab.a, &lab.b)?;

    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("prometheus.yml"), CONFIG.replace("TOKEN", AgentConfig::TOKEN))?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ha-agent/dist/prometheus/ha-agent.rules.yml");
    fs::copy(rules, directory.path().join("ha-agent.rules.yml"))?;
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
    command.args(["--web.listen-address=127.0.0.1:9090", "--log.level=warn"]);
    let netns = &lab.pair.witness.netns;
    let prometheus = netns.spawn(&command)?;
    let asked = Asked { page: Page::new(netns, "127.0.0.1:9090".parse()?), prometheus: &prometheus };

    asked.until("count(up == 1)", "2")?;
    asked.until(
        "count(ha_agent_role{role=\"MASTER\"} == 1 and on (instance) ha_agent_info{node=\"a\"})",
        "1",
    )?;
    asked.until(
        "count(ha_agent_role{role=\"BACKUP\"} == 1 and on (instance) ha_agent_info{node=\"b\"})",
        "1",
    )?;
    asked.until("count(rate(ha_agent_sent_advertisements_total[10s]) > 50)", "1")?;
    asked.until("count(ha_agent_detector_lateness_seconds_bucket{le=\"+Inf\"} > 0)", "2")?;
    let targets = asked.ask("/api/v1/targets")?;
    for target in targets["data"]["activeTargets"].as_array().context("no targets")? {
        ensure!(target["lastError"] == "" && target["health"] == "up", "{target:#}");
    }
    let rules = asked.ask("/api/v1/rules")?;
    let rules = rules["data"]["groups"][0]["rules"].as_array().context("no rules")?;
    ensure!(rules.len() > 10 && rules.iter().all(|rule| rule["health"] != "err"), "{rules:#?}");
    asked.until(
        "count(ALERTS{alertname=~\"HaAgentBothMasters|HaAgentStale|HaAgentNobodyMaster\"}) or vector(0)",
        "0",
    )?;

    // The other node serves, and whoever is on duty hears why.
    lab.a.kill()?;
    asked.until(
        "count(ha_agent_role{role=~\"MASTER|SINGLE\"} == 1 and on (instance) ha_agent_info{node=\"b\"})",
        "1",
    )?;
    asked.until("count(ALERTS{alertname=\"HaAgentStale\",instance=\"10.77.0.1:7781\"})", "1")?;
    asked.until("count(ALERTS{alertname=\"HaAgentNoPeer\",instance=\"10.77.0.2:7781\"})", "1")?;
    asked.until("count(ALERTS{alertname=\"HaAgentFailedOver\",alertstate=\"firing\"})", "1")?;
    asked.until("count(ALERTS{alertname=\"HaAgentBothMasters\"}) or vector(0)", "0")
}

/// Prometheus, asked over HTTP.
struct Asked<'a> {
    page: Page<'a>,
    prometheus: &'a Process,
}

impl Asked<'_> {
    /// Waits until a question has this answer. It scrapes once a second.
    fn until(&self, question: &str, wanted: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let path = format!("/api/v1/query?query={}", encoded(question));
        loop {
            // It takes a while until it listens.
            let answer = self.ask(&path);
            let value = answer.as_ref().ok().and_then(|it| it["data"]["result"][0]["value"][1].as_str());
            if value == Some(wanted) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{question} is {value:?}, not {wanted}: {answer:?}; {:?}",
                self.prometheus.lines()
            );
            thread::sleep(LOOK);
        }
    }

    fn ask(&self, path: &str) -> Result<Value> {
        self.page.get(path, "")?.json()
    }
}

/// As it may stand in a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

const CONFIG: &str = "\
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [ha-agent.rules.yml]
scrape_configs:
  - job_name: ha-agent
    authorization: { credentials: TOKEN }
    static_configs:
      - targets: ['10.77.0.1:7781', '10.77.0.2:7781']
        labels: { pair: lab }
";
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(200);
