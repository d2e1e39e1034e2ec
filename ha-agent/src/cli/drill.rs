//! `ha-agent drill`

use std::fmt::Write;

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::client;
use crate::control::drill::{DrillPart, DrillReport};

/// Arguments of `drill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let report = match client::drill(&args.control.control) {
        Ok(report) => report,
        Err(error) => return fail(&error, error.exit()),
    };
    if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => say(json),
            Err(error) => return fail(&error, Exit::Software),
        }
    } else {
        say(text(&report).trim_end());
    }
    match (report.is_good(), report.is_perfect()) {
        (true, true) => Exit::Ok,
        (true, false) => Exit::Warning,
        (false, _) => Exit::Critical,
    }
}

/// For people.
fn text(report: &DrillReport) -> String {
    let mut text = String::new();
    for part in &report.parts {
        // Writing into a string does not fail.
        let _ = describe(&mut text, part);
    }
    let phases: Vec<_> = report.phases.iter().map(|it| format!("{} {:.0} ms", it.name, it.ms)).collect();
    let least = if report.at_least { "at least " } else { "about " };
    let _ =
        writeln!(text, "a takeover would take {least}{:.1} s: {}", report.total_ms / 1e3, phases.join(", "));
    let sentence = match (report.is_good(), report.is_perfect()) {
        (true, true) => "everything could be taken over",
        (true, false) => "everything could be taken over, but look at the warnings",
        (false, _) => "NOT everything could be taken over",
    };
    let _ = writeln!(text, "{sentence}");
    text
}

fn describe(text: &mut String, part: &DrillPart) -> std::fmt::Result {
    let DrillPart { name, phase, good, weak, bad, estimate_ms, basis } = part;
    let sign = if !bad.is_empty() {
        "BAD"
    } else if !weak.is_empty() {
        "warning"
    } else {
        "ok"
    };
    let basis = if basis == "taken" { "as the last time" } else { "or more: it was never taken here" };
    writeln!(text, "{sign:<8} {phase}: {name} ({estimate_ms:.0} ms, {basis})")?;
    for what in good {
        writeln!(text, "           {what}")?;
    }
    for fault in bad.iter().chain(weak) {
        writeln!(text, "           {}", fault.sentence)?;
    }
    Ok(())
}
