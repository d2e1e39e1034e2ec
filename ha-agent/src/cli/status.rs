//! `ha-agent status`

use std::fmt::Write;

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::client;
use crate::control::status::{DetectorStatus, PeerStatus, RealtimeStatus, Status, VhostStatus};
use ha_common::reason::Reason;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let status = match client::status(&args.control.control) {
        Ok(status) => status,
        Err(error) => return fail(&error, error.exit()),
    };
    if args.json {
        match serde_json::to_string_pretty(&status) {
            Ok(json) => say(json),
            Err(error) => return fail(&error, Exit::Software),
        }
    } else {
        say(text(&status).trim_end());
    }
    Exit::Ok
}

/// For people.
fn text(status: &Status) -> String {
    let mut text = format!("node {}  (ha-agent {})\n", status.node, status.version);
    if status.demotion.level > 0 {
        let causes = status.demotion.causes.iter().map(|cause| match &cause.detail {
            Some(detail) => format!("{} {detail}", cause.name),
            None => cause.name.clone(),
        });
        let causes: Vec<_> = causes.collect();
        // Writing into a string does not fail.
        let _ = writeln!(text, "DEMOTED, level {}: {}", status.demotion.level, causes.join(", "));
    }
    let _ = describe_detector(&mut text, &status.detector);
    for vhost in &status.vhosts {
        // Writing into a string does not fail.
        let _ = describe(&mut text, vhost);
    }
    text
}

fn describe_detector(text: &mut String, detector: &DetectorStatus) -> std::fmt::Result {
    let RealtimeStatus { priority, memory_locked, cpu_dma_latency_us, refused, .. } = &detector.realtime;
    let priority =
        priority.map_or("no real-time priority".to_owned(), |it| format!("real-time priority {it}"));
    let memory = if *memory_locked { "memory locked" } else { "memory not locked" };
    write!(text, "detector  {priority}, {memory}")?;
    if let Some(latency) = cpu_dma_latency_us {
        write!(text, ", processors awake within {latency} µs")?;
    }
    writeln!(text)?;
    refused.iter().try_for_each(|refusal| writeln!(text, "  REFUSED   {refusal}"))
}

fn describe(text: &mut String, vhost: &VhostStatus) -> std::fmt::Result {
    let addresses: Vec<String> = vhost.addresses.iter().map(ToString::to_string).collect();
    writeln!(text, "\n{}  {} vhid {}  {}", vhost.name, vhost.interface, vhost.vhid, addresses.join(" "))?;
    writeln!(text, "  state     {}, for {:.1} s", vhost.state, vhost.since_s)?;
    if let Some(change) = &vhost.last_change {
        writeln!(text, "  because   {} ({} -> {})", change.sentence, change.from, change.to)?;
    }
    for peer in &vhost.peers {
        describe_peer(text, peer)?;
    }
    if vhost.peers.is_empty() {
        writeln!(text, "  peer      never heard")?;
    }
    writeln!(
        text,
        "  pace      every {} ms, down after {} ms, priority {}/{}{}",
        vhost.interval_ms,
        vhost.master_down_ms,
        vhost.advbase,
        vhost.advskew,
        if vhost.preempt { ", preempts" } else { "" }
    )?;
    let receive = vhost.receive.as_deref().unwrap_or("not attached");
    let VhostStatus { mode, accepted, sent, .. } = vhost;
    writeln!(text, "  receive   {receive}, {mode} mode, {accepted} accepted, {sent} sent")?;
    if vhost.stalls > 0 {
        writeln!(
            text,
            "  stalled   {} times: this node did not run for longer than its peers wait",
            vhost.stalls
        )?;
    }
    if vhost.send_errors > 0 {
        writeln!(text, "  not sent  {} advertisements", vhost.send_errors)?;
    }
    for reason in Reason::ALL {
        let count = vhost.refused.get(reason.label()).copied().unwrap_or_default();
        if count > 0 {
            writeln!(text, "  refused   {count} {}: {}", reason.label(), reason.sentence())?;
        }
    }
    for suspicion in &vhost.suspicions {
        writeln!(text, "  SUSPECT   {} {}: {}", suspicion.count, suspicion.name, suspicion.sentence)?;
    }
    if let Some(fault) = &vhost.fault {
        writeln!(text, "  FAULT     {fault}")?;
    }
    Ok(())
}

fn describe_peer(text: &mut String, peer: &PeerStatus) -> std::fmt::Result {
    let PeerStatus { address, age_ms, advbase, advskew, demote, .. } = peer;
    write!(text, "  peer      {address}, last heard {age_ms:.1} ms ago, priority {advbase}/{advskew}")?;
    if *demote > 0 {
        write!(text, ", demoted {demote}")?;
    }
    if let Some(difference) = peer.clock_difference_ms {
        write!(text, ", clock {difference:+} ms")?;
    }
    if peer.passphrase > 1 {
        write!(text, ", signs with passphrase {}", peer.passphrase)?;
    }
    writeln!(text)
}
