//! What matters most: who is active, whether the pair is ready to fail over and if not why, what happened last.

use std::fmt::Write;

use super::super::history;
use super::super::paint::{self, BAD, FAINT, GOOD, In, PLAIN, STRONG, WARNING};
use crate::config::quote::OneLine;
use crate::control::status::{PeerFactsStatus, Status, SuspicionStatus, VhostStatus};
use crate::core::pair::Liveness;
use crate::core::reasons::{Action, Severity};
use crate::core::role::{FRESH, Role};
use crate::journal::history::Failover;

/// How ready a pair is to fail over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Ready {
    /// It is.
    Yes,
    /// It is, but something is not as it should be.
    Nearly,
    /// It is not.
    No,
}

/// For people, in so many columns.
pub(in crate::cli) fn text(status: &Status, last: Option<&Failover>, width: usize) -> String {
    let mut text = String::new();
    let maintenance = if status.maintenance { ", in maintenance" } else { "" };
    // Writing into a string does not fail.
    let _ = writeln!(
        text,
        "{}  {}{maintenance}  {}",
        In(STRONG, format!("node {}", OneLine(&status.node))),
        In(role_style(status.role), status.role),
        In(FAINT, format!("ha-agent {}, up for {}", status.version, long(status.uptime_s)))
    );
    let (well, active) = active(status);
    let _ = writeln!(text, "active    {}", In(if well { GOOD } else { BAD }, active));
    let (ready, sentence) = ready(status);
    let _ = writeln!(text, "failover  {}", In(ready_style(ready), sentence));
    for reason in &status.reasons {
        let (severity, sentence) = (reason.severity, OneLine(&reason.sentence).to_string());
        let style = paint::severity(severity);
        for (number, line) in wrap(&sentence, width.saturating_sub(10).max(20)).iter().enumerate() {
            let head = if number == 0 { severity.to_string() } else { String::new() };
            let _ = writeln!(text, "{}  {line}", In(style, format!("{head:<8}")));
        }
    }
    if let Some(last) = last {
        let entry = history::text(last, width.saturating_sub(10));
        for (number, line) in entry.lines().enumerate() {
            let _ = writeln!(text, "{}{}", if number == 0 { "last      " } else { "        " }, line);
        }
    }
    for vhost in &status.vhosts {
        let _ = writeln!(text, "{}", virtual_host(vhost));
    }
    if let Some(charge) = &status.charge {
        for part in charge.parts.iter().filter(|part| part.bad) {
            for fault in &part.faults {
                let _ = writeln!(text, "{}  {}", In(BAD, "FAULT   "), OneLine(&fault.sentence));
            }
        }
    }
    text.trim_end().to_owned()
}

/// Who is active, and whether that is well.
pub(in crate::cli) fn active(status: &Status) -> (bool, String) {
    // What it told before this node took over says nothing of now.
    let masters = status.vhosts.iter().filter(|vhost| vhost.state == "MASTER");
    let served_ms = masters.map(|vhost| vhost.since_s * 1e3).fold(f64::INFINITY, f64::min);
    let peer = told(status).filter(|peer| peer.role.serves() && peer.age_ms < served_ms);
    let heard = status.vhosts.iter().filter(|vhost| vhost.state == "BACKUP").find_map(|vhost| {
        let peer = vhost.peer.as_ref()?;
        (peer.age_ms < vhost.master_down_ms && peer.advbase < u8::MAX).then_some(peer.address)
    });
    let node = OneLine(&status.node);
    match (status.role.serves(), peer, heard) {
        (true, Some(peer), _) => (false, format!("BOTH NODES: {node} and {}", OneLine(&peer.node))),
        (true, None, _) => (true, format!("{node}, this node")),
        (false, Some(peer), _) => (true, format!("{}, the other node", OneLine(&peer.node))),
        (false, None, Some(address)) => (true, format!("another node, at {address}")),
        (false, None, None) => (false, "NOBODY that this node knows of".to_owned()),
    }
}

/// Whether the other node would take over if the active one failed.
pub(in crate::cli) fn ready(status: &Status) -> (Ready, String) {
    let blocks = |action: Action| status.reasons.iter().filter(move |reason| reason.blocks.contains(&action));
    let blocking: Vec<_> = blocks(Action::AutomaticFailover).map(|reason| reason.name.as_str()).collect();
    // What keeps the peer from being handed the role keeps it from taking it, most of the time.
    let there: Vec<_> = blocks(Action::SwitchoverAway)
        .filter(|reason| reason.name.starts_with("REM_"))
        .map(|reason| reason.name.as_str())
        .collect();
    let serves = status.role.serves();
    if !blocking.is_empty() && !serves {
        return (Ready::No, format!("NOT READY: {}", blocking.join(", ")));
    }
    if serves && !there.is_empty() {
        return (Ready::No, format!("NOT READY: {}", there.join(", ")));
    }
    let worst = status.reasons.iter().map(|reason| reason.severity).max();
    let ready = if worst > Some(Severity::Note) { Ready::Nearly } else { Ready::Yes };
    let but = if ready == Ready::Nearly { ", but see below" } else { "" };
    let peer = told(status).map(|peer| (peer.role, OneLine(&peer.node).to_string()));
    match (serves, peer) {
        (true, Some((Role::Backup, peer))) => (ready, format!("ready: {peer} stands by{but}")),
        (true, Some((role, peer))) => (Ready::No, format!("NOT READY: {peer} is {role}")),
        (true, None) if status.pair.is_some() || status.peer.is_some() => {
            (Ready::No, "NOT READY: the peer tells nothing".to_owned())
        }
        (true, None) => (Ready::Nearly, "no other node is known to stand by".to_owned()),
        (false, _) if status.role == Role::Backup => {
            (ready, format!("ready: this node takes over if the active one fails{but}"))
        }
        (false, _) => (Ready::No, format!("NOT READY: this node is {}", status.role)),
    }
}

/// The other node, if it told of itself just now, and is not dead since: what it was before, it may be no longer.
fn told(status: &Status) -> Option<&PeerFactsStatus> {
    let lives = status.pair.as_ref().is_none_or(|pair| match pair.verdict {
        Liveness::Alive | Liveness::Partitioned | Liveness::Unknown => true,
        Liveness::Dead => false,
    });
    status.peer.as_ref().filter(|peer| lives && peer.age_ms < FRESH.as_secs_f64() * 1e3)
}

/// How a role looks.
pub(in crate::cli) fn role_style(role: Role) -> anstyle::Style {
    match role {
        Role::Master | Role::Single => GOOD,
        Role::Backup => STRONG,
        Role::Electing | Role::Importing => WARNING,
        Role::Error => BAD,
        Role::Unknown => PLAIN,
    }
}

fn ready_style(ready: Ready) -> anstyle::Style {
    match ready {
        Ready::Yes => GOOD,
        Ready::Nearly => WARNING,
        Ready::No => BAD,
    }
}

fn virtual_host(vhost: &VhostStatus) -> String {
    let VhostStatus { name, interface, vhid, addresses, state, since_s, peer, fault, .. } = vhost;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let style = if vhost.is_well() { PLAIN } else { BAD };
    let mut text = format!(
        "{}  {interface} vhid {vhid}  {}  {} for {}",
        In(STRONG, format!("{:<8}", OneLine(name).to_string())),
        addresses.join(" "),
        In(style, state),
        long(*since_s)
    );
    if let Some(peer) = peer {
        let _ = write!(text, "  {} heard {} ago", peer.address, long(peer.age_ms / 1e3));
    }
    if let Some(fault) = fault {
        let _ = write!(text, "\n{}  {}", In(BAD, "FAULT   "), OneLine(fault));
    }
    for suspicion in &vhost.suspicions {
        let SuspicionStatus { name, count, sentence, .. } = suspicion;
        let _ = write!(text, "\n{}  {count} {name}: {}", In(WARNING, "SUSPECT "), OneLine(sentence));
    }
    text
}

/// A time, in its largest units.
pub(in crate::cli) fn long(seconds: f64) -> String {
    match seconds {
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 120.0 => format!("{seconds:.1} s"),
        _ if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 172_800.0 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// Lines of at most so many characters, broken between words.
pub(in crate::cli) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Columns where nobody says how many there are: so that each reason stays on one line, for whoever looks for it.
pub(in crate::cli) const WIDTH: usize = 10_000;

#[cfg(test)]
mod tests;
