//! `ha-agent status`

use std::fmt::Write;

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::client;
use crate::control::status::{Status, VhostStatus};
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
    for vhost in &status.vhosts {
        // Writing into a string does not fail.
        let _ = describe(&mut text, vhost);
    }
    text
}

fn describe(text: &mut String, vhost: &VhostStatus) -> std::fmt::Result {
    let addresses: Vec<String> = vhost.addresses.iter().map(ToString::to_string).collect();
    writeln!(text, "\n{}  {} vhid {}  {}", vhost.name, vhost.interface, vhost.vhid, addresses.join(" "))?;
    writeln!(text, "  state     {}, for {:.1} s", vhost.state, vhost.since_s)?;
    if let Some(change) = &vhost.last_change {
        writeln!(text, "  because   {} ({} -> {})", change.sentence, change.from, change.to)?;
    }
    match &vhost.peer {
        Some(peer) => writeln!(
            text,
            "  peer      {}, last heard {:.1} ms ago, priority {}/{}",
            peer.address, peer.age_ms, peer.advbase, peer.advskew
        )?,
        None => writeln!(text, "  peer      never heard")?,
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
    writeln!(text, "  receive   {receive}, {} accepted, {} sent", vhost.accepted, vhost.sent)?;
    if vhost.send_errors > 0 {
        writeln!(text, "  not sent  {} advertisements", vhost.send_errors)?;
    }
    for reason in Reason::ALL {
        let count = vhost.refused.get(reason.label()).copied().unwrap_or_default();
        if count > 0 {
            writeln!(text, "  refused   {count} {}: {}", reason.label(), reason.sentence())?;
        }
    }
    if let Some(fault) = &vhost.fault {
        writeln!(text, "  FAULT     {fault}")?;
    }
    Ok(())
}
