//! Everything that a status says, for people.

use std::fmt::Write;

use super::screen::long;
use crate::control::status::{
    ChargeStatus, DetectorStatus, HistogramStatus, LeaseStatus, PairStatus, PeerConditionStatus,
    PeerFactsStatus, PeerLinkStatus, PeerStatus, SharedStatus, Status, StepTimeStatus, VhostStatus,
    WitnessStatus,
};
use ha_common::reason::Reason;

/// All of it.
pub(super) fn text(status: &Status) -> String {
    let mut text = format!("node {}  (ha-agent {})\n", status.node, status.version);
    let maintenance = if status.maintenance { ", in maintenance" } else { "" };
    // Writing into a string does not fail.
    let _ = writeln!(text, "role      {}{maintenance}", status.role);
    if let Some(peer) = &status.peer {
        let maintenance = if peer.maintenance { ", in maintenance" } else { "" };
        let PeerFactsStatus { node, version, uptime_s, role, age_ms, .. } = peer;
        let age_s = age_ms / 1e3;
        let up = uptime_s.map_or(String::new(), |uptime| format!(", up for {}", long(uptime)));
        let _ = writeln!(
            text,
            "peer      {node} {role}{maintenance}  (ha-agent {version}{up}; told {age_s:.1} s ago)"
        );
    }
    if let Some(pair) = &status.pair {
        // Writing into a string does not fail.
        let _ = describe_pair(&mut text, status, pair);
    }
    if let Some(charge) = &status.charge {
        // Writing into a string does not fail.
        let _ = describe_charge(&mut text, charge);
    }
    if let Some(witness) = &status.witness {
        // Writing into a string does not fail.
        let _ = describe_witness(&mut text, witness);
    }
    if let Some(shared) = &status.shared {
        let SharedStatus { version, agreed, .. } = shared;
        let agreed = if agreed == version { String::new() } else { format!(", the peer knows {agreed}") };
        let _ = writeln!(text, "shared    configuration of version {version}{agreed}");
    }
    if status.demotion.level > 0 {
        let causes = status.demotion.causes.iter().map(|cause| match &cause.detail {
            Some(detail) => format!("{} {detail}", cause.name),
            None => cause.name.clone(),
        });
        let causes: Vec<_> = causes.collect();
        let _ = writeln!(text, "DEMOTED, level {}: {}", status.demotion.level, causes.join(", "));
    }
    let _ = describe_detector(&mut text, &status.detector);
    if let Some(link) = &status.peer_link {
        // Writing into a string does not fail.
        let _ = describe_link(&mut text, link);
    }
    for vhost in &status.vhosts {
        // Writing into a string does not fail.
        let _ = describe(&mut text, vhost);
    }
    text
}

fn describe_pair(text: &mut String, status: &Status, pair: &PairStatus) -> std::fmt::Result {
    let PairStatus { side, phase, generation, held, disabled, preferred, .. } = pair;
    write!(text, "pair      this is {side}: {phase}, generation {generation}; the peer is {}", pair.verdict)?;
    if *held {
        write!(text, "; held")?;
    }
    if *disabled {
        write!(text, "; failover disabled")?;
    }
    if let Some(node) = preferred {
        let peer = status.peer.as_ref().map(|peer| &peer.node);
        let name = if node == side { Some(&status.node) } else { peer };
        write!(text, "; {} preferred", name.unwrap_or(&node.to_string()))?;
    }
    writeln!(text)?;
    if let Some(because) = &pair.waits_because {
        writeln!(text, "  waits     {because}")?;
    }
    if let Some(last) = &pair.last_sentence {
        writeln!(text, "  last      {last}")?;
    }
    Ok(())
}

fn describe_charge(text: &mut String, charge: &ChargeStatus) -> std::fmt::Result {
    let ChargeStatus { doing, parts, last_takeover } = charge;
    writeln!(text, "in charge {doing}")?;
    for part in parts {
        let time = part.step_ms.map_or(String::new(), |ms| format!(" ({ms:.0} ms)"));
        let bad = if part.bad { ", not well" } else { "" };
        writeln!(text, "  {:<9} {}: {}{time}{bad}", part.phase, part.name, part.step)?;
        for remark in &part.remarks {
            writeln!(text, "    note    {remark}")?;
        }
        for fault in &part.faults {
            writeln!(text, "    FAULT   {}", fault.sentence)?;
        }
    }
    if !last_takeover.is_empty() {
        let step = |step: &StepTimeStatus| format!("{} {:.0} ms", step.name, step.took_ms);
        writeln!(text, "  last      {}", last_takeover.iter().map(step).collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}

fn describe_witness(text: &mut String, witness: &WitnessStatus) -> std::fmt::Result {
    let WitnessStatus { kind, via, age_ms, holder, vouches_ms, error } = witness;
    write!(text, "witness   {kind}")?;
    if let (Some(via), Some(age_ms)) = (via, age_ms) {
        write!(text, " at {via}, answered {age_ms:.0} ms ago")?;
    }
    if let Some(vouches_ms) = vouches_ms {
        write!(text, "; vouches for this node for {vouches_ms:.0} ms more")?;
    }
    if let Some(holder) = holder {
        write!(text, "; {holder} has the lease")?;
    }
    writeln!(text)?;
    error.as_ref().map_or(Ok(()), |error| writeln!(text, "  error     {error}"))
}

fn describe_detector(text: &mut String, detector: &DetectorStatus) -> std::fmt::Result {
    let DetectorStatus { realtime, lateness, jitter, lease, cpu_us_per_advertisement, .. } = detector;
    let priority =
        realtime.priority.map_or("no real-time priority".to_owned(), |it| format!("real-time priority {it}"));
    let memory = if realtime.memory_locked { "memory locked" } else { "memory not locked" };
    write!(text, "detector  {priority}, {memory}")?;
    if let Some(latency) = realtime.cpu_dma_latency_us {
        write!(text, ", processors awake within {latency} µs")?;
    }
    if let Some(each) = cpu_us_per_advertisement {
        write!(text, ", {each:.1} µs of processor time an advertisement")?;
    }
    writeln!(text)?;
    for refusal in &realtime.refused {
        writeln!(text, "  refused   {refusal}")?;
    }
    write!(text, "  ran late  ")?;
    describe_histogram(text, &lateness.histogram)?;
    writeln!(text, "; {} times by more than {} ms", lateness.late, lateness.interval_ms)?;
    if jitter.histogram.count > 0 {
        write!(text, "  sent late ")?;
        describe_histogram(text, &jitter.histogram)?;
        write!(text, "; {} times when the next one was due", jitter.missed)?;
        writeln!(text, "; {} times by the understudy", jitter.covered)?;
    }
    if lease.lapses > 0 || lease.silenced > 0 {
        let LeaseStatus { lapses, silenced } = lease;
        writeln!(text, "  was quiet {lapses} times, since it did not run; {silenced} frames were dropped")?;
    }
    Ok(())
}

fn describe_link(text: &mut String, link: &PeerLinkStatus) -> std::fmt::Result {
    write!(text, "peer link ")?;
    if let Some(peer) = &link.peer {
        write!(text, " to {}", peer.name)?;
    }
    write!(text, " {}", link.condition.sentence)?;
    describe_ages(text, &link.condition)?;
    if link.rotating {
        write!(text, "; the peer does not accept this node's next certificate yet")?;
    }
    writeln!(text)?;
    for path in &link.paths {
        write!(text, "  path      {}  {}", path.address, path.condition.sentence)?;
        describe_ages(text, &path.condition)?;
        writeln!(text)?;
    }
    Ok(())
}

fn describe_ages(text: &mut String, condition: &PeerConditionStatus) -> std::fmt::Result {
    if let Some(round_trip) = condition.round_trip_ms {
        write!(text, ", round trip {round_trip:.2} ms")?;
    }
    if let Some(age) = condition.age_ms {
        write!(text, ", last heard {age:.1} ms ago")?;
    }
    Ok(())
}

fn describe_histogram(text: &mut String, histogram: &HistogramStatus) -> std::fmt::Result {
    let HistogramStatus { count, p50_ms, p99_ms, max_ms, .. } = histogram;
    write!(text, "{p50_ms:.2} ms (50 %), {p99_ms:.2} ms (99 %), {max_ms:.2} ms at most, of {count}")
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
    if let Some(lost) = &vhost.receive_lost {
        writeln!(text, "            {lost}")?;
    }
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
