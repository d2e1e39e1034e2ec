//! What the readers of metrics make of them.

mod dist;

use std::io::Write;
use std::process::{Command, Stdio};

use super::{Format, text};
use crate::control::status::Status;

#[test]
fn everything_that_counts_is_there() {
    let text = text(&status(), Format::Openmetrics);
    for line in [
        r#"ha_agent_info{node="a",version="1.2.3"} 1"#,
        r#"ha_agent_role{role="MASTER"} 1.0"#,
        r#"ha_agent_role{role="BACKUP"} 0.0"#,
        "ha_agent_maintenance 0.0",
        r#"ha_agent_reason{reason="NO_LINK",severity="critical"} 1.0"#,
        r#"ha_agent_blocked{action="automatic_failover"} 1.0"#,
        r#"ha_agent_blocked{action="switchover_away"} 0.0"#,
        r#"ha_agent_peer_info{node="b",version="1.2.2"} 1"#,
        r#"ha_agent_peer_role{role="BACKUP"} 1.0"#,
        "ha_agent_peer_told_age_seconds 0.125",
        r#"ha_agent_pair_phase{phase="active"} 1.0"#,
        r#"ha_agent_peer_verdict{verdict="dead"} 0.0"#,
        "ha_agent_generation 7.0",
        "ha_agent_serving 1.0",
        "ha_agent_failover_disabled 1.0",
        r#"ha_agent_part_bad{part="pool tank"} 1.0"#,
        r#"ha_agent_takeover_step_seconds{step="import tank",phase="import"} 1.5"#,
        "ha_agent_witness_up 0.0",
        "ha_agent_witness_vouches_seconds 2.5",
        "ha_agent_shared_version 3.0",
        "ha_agent_shared_agreed_version 2.0",
        "ha_agent_demotion_level 240.0",
        r#"ha_agent_demotion_cause{cause="link_down",interface="eth1"} 1.0"#,
        "ha_agent_realtime_priority 50.0",
        "ha_agent_memory_locked 1.0",
        "ha_agent_detector_cpu_seconds_total 1.5",
        r#"ha_agent_detector_lateness_seconds_bucket{le="0.00002"} 7"#,
        r#"ha_agent_detector_lateness_seconds_bucket{le="1.0"} 10"#,
        r#"ha_agent_detector_lateness_seconds_bucket{le="+Inf"} 11"#,
        "ha_agent_detector_lateness_seconds_count 11",
        "ha_agent_detector_lateness_seconds_sum 2.5",
        "ha_agent_detector_late_total 4.0",
        "ha_agent_detector_late_records_total 5.0",
        r#"ha_agent_advertisement_jitter_seconds_bucket{le="+Inf"} 11"#,
        "ha_agent_missed_advertisements_total 6.0",
        "ha_agent_covered_advertisements_total 8.0",
        r#"ha_agent_state{vhost="da\"t\\a",interface="eth0",state="MASTER"} 1.0"#,
        r#"ha_agent_state{vhost="da\"t\\a",interface="eth0",state="BACKUP"} 0.0"#,
        r#"ha_agent_state_since_timestamp_seconds{vhost="da\"t\\a",interface="eth0"} 1767225600.5"#,
        r#"ha_agent_interval_seconds{vhost="da\"t\\a",interface="eth0"} 0.01"#,
        r#"ha_agent_fault{vhost="da\"t\\a",interface="eth0"} 1.0"#,
        r#"ha_agent_sent_advertisements_total{vhost="da\"t\\a",interface="eth0"} 1000.0"#,
        r#"ha_agent_refused_frames_total{vhost="da\"t\\a",interface="eth0",reason="badauth"} 3.0"#,
        r#"ha_agent_other_frames_total{reason="badvhid"} 9.0"#,
        r#"ha_agent_suspicions_total{vhost="da\"t\\a",interface="eth0",suspicion="regressed",source="10.77.0.9"} 2.0"#,
        r#"ha_agent_peer_clock_difference_seconds{vhost="da\"t\\a",interface="eth0",address="fe80::2"} -0.25"#,
        r#"ha_agent_peer_link_state{state="up"} 1.0"#,
        r#"ha_agent_peer_link_state{state="not_answering"} 0.0"#,
        r#"ha_agent_peer_path_up{address="10.0.0.2:7780"} 1.0"#,
        r#"ha_agent_peer_path_up{address="10.77.0.2:7780"} 0.0"#,
        r#"ha_agent_peer_path_round_trip_seconds{address="10.0.0.2:7780"} 0.0005"#,
        r#"ha_agent_peer_path_age_seconds{address="10.0.0.2:7780"} 0.02"#,
        "# EOF",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
}

/// As `node_exporter` does.
#[test]
fn promtool_finds_nothing_to_complain_of() {
    let Some(mut child) = start("promtool", &["check", "metrics"]) else { return };
    feed(&mut child, &text(&status(), Format::Prometheus));
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_reference_parser_reads_open_metrics() {
    let program = "import sys\n\
                   try:\n from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
                   except ImportError:\n print('skipped'); sys.exit()\n\
                   print(*sorted(family.name + ' ' + family.type for family in parse(sys.stdin.read())), sep='\\n')";
    let Some(mut child) = start("/usr/bin/python3", &["-c", program]) else { return };
    feed(&mut child, &text(&status(), Format::Openmetrics));
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout);
    if said.trim() == "skipped" {
        return eprintln!("skipped, because python3-prometheus-client is not installed");
    }
    assert!(output.status.success(), "{output:?}");
    for family in [
        "ha_agent info",
        "ha_agent_advertisement_jitter_seconds histogram",
        "ha_agent_sent_advertisements counter",
        "ha_agent_state gauge",
    ] {
        assert!(said.lines().any(|line| line == family), "no {family} in\n{said}");
    }
}

/// Starts a program that reads metrics, if it is installed.
fn start(program: &str, arguments: &[&str]) -> Option<std::process::Child> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            eprintln!("skipped, because {program} can't be started: {error}");
            None
        }
    }
}

fn feed(child: &mut std::process::Child, text: &str) {
    // It need not read to the end.
    let _ = child.stdin.take().expect("its input").write_all(text.as_bytes());
}

/// With something of everything that can be in a status.
pub(crate) fn status() -> Status {
    serde_json::from_str(include_str!("sample.json")).expect("a status")
}
