//! `ha-agent history`

use std::fmt::Write;

use super::exit::Exit;
use super::paint::{self, BAD, FAINT, GOOD, In, STRONG};
use super::{ControlArg, fail};
use crate::config::quote::OneLine;
use crate::control::client::{self, Happened};
use crate::control::events::Query;
use crate::control::status::StepTimeStatus;
use crate::journal::history::{Failover, History, Kind, Part, Phase};

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
    /// Only the last so many.
    #[arg(short = 'n', long, value_name = "COUNT")]
    number: Option<usize>,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let mut failovers = match read(&args.control.control) {
        Ok(failovers) => failovers,
        Err(error) => return fail(&error, error.exit()),
    };
    let skipped = failovers.len().saturating_sub(args.number.unwrap_or(usize::MAX));
    failovers.drain(..skipped);
    if args.json {
        match serde_json::to_string_pretty(&failovers) {
            Ok(json) => paint::show(json),
            Err(error) => return fail(&error, Exit::Software),
        };
        return Exit::Ok;
    }
    let width = paint::width().unwrap_or(WIDTH);
    for failover in &failovers {
        if !paint::show(text(failover, width)) {
            break;
        }
    }
    if failovers.is_empty() {
        paint::show("no failover is known");
    }
    Exit::Ok
}

/// All failovers that an agent knows of, the oldest first.
pub(super) fn read(socket: &std::path::Path) -> Result<Vec<Failover>, client::ClientError> {
    let mut history = History::default();
    client::events(socket, Query::default(), |happened| {
        if let Happened::Event(event) = happened {
            history.take(&event);
        }
        true
    })?;
    Ok(history.into_failovers())
}

/// For people.
pub(super) fn text(failover: &Failover, width: usize) -> String {
    let mut text = headline(failover);
    // Writing into a string does not fail.
    let _ = write!(text, "\n  {}", OneLine(&failover.why));
    if !failover.vhosts.is_empty() {
        let _ = write!(text, "  {}", In(FAINT, OneLine(&failover.vhosts.join(", "))));
    }
    if let Some(failed) = &failover.failed {
        let _ = write!(text, "\n  {}", In(BAD, OneLine(failed)));
    }
    let phases = bar(&failover.phases, width.saturating_sub(4).clamp(10, BAR));
    if !phases.is_empty() {
        let _ = write!(text, "\n  {phases}\n  {}", legend(&failover.phases));
    }
    if !failover.steps.is_empty() {
        let step = |step: &StepTimeStatus| format!("{} {}", OneLine(&step.name), ms(step.took_ms));
        let steps: Vec<_> = failover.steps.iter().map(step).collect();
        let _ = write!(text, "\n  {} {}", In(FAINT, "steps:"), steps.join(", "));
    }
    text
}

/// When, what, from whom to whom if somebody had it, and for how long clients had nobody.
pub(super) fn headline(failover: &Failover) -> String {
    let Failover { at, kind, part, node, peer, from_nobody, failed, nobody_ms, .. } = failover;
    let name = |name: &Option<String>, otherwise: &str| {
        name.as_ref().map_or(otherwise.to_owned(), |name| OneLine(name).to_string())
    };
    let otherwise = match kind {
        Kind::Takeover | Kind::Switchover => "the other node",
        Kind::Carp => "another node",
    };
    let (this, other) = (name(node, "this node"), name(peer, otherwise));
    let moved = match part {
        Part::Took if *from_nobody => format!("{this}: nobody had it"),
        Part::Took => format!("{other} -> {this}"),
        Part::Gave => format!("{this} -> {other}"),
    };
    let kind = match kind {
        Kind::Takeover | Kind::Carp if *from_nobody && failed.is_none() => "took the role",
        Kind::Takeover if *part == Part::Gave => "stepped down",
        Kind::Takeover => "takeover",
        Kind::Switchover => "switchover",
        Kind::Carp => "failover",
    };
    let (style, did) = if failed.is_some() { (BAD, " failed") } else { (GOOD, "") };
    let mut text = format!(
        "{}  {}  {}",
        In(FAINT, paint::time(*at)),
        In(style, format!("{kind}{did}")),
        In(STRONG, moved)
    );
    if let Some(nobody) = nobody_ms {
        let _ = write!(text, "  {}", In(STRONG, format!("nobody for {}", ms(*nobody))));
    }
    text
}

/// The phases in a bar of so many columns, each with its own shade; at least one column each.
fn bar(phases: &[Phase], columns: usize) -> String {
    let total: f64 = phases.iter().map(|phase| phase.took_ms).sum();
    let shown = phases.iter().skip(1).zip(SHADES.chars().cycle());
    let mut text = String::new();
    for (phase, shade) in shown {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and the columns"
        )]
        let count = (phase.took_ms / total.max(f64::MIN_POSITIVE) * columns as f64).round() as usize;
        text.extend(std::iter::repeat_n(shade, count.clamp(1, columns)));
    }
    text
}

/// What each shade is, and how long it took.
fn legend(phases: &[Phase]) -> String {
    let mut words = vec![phases.first().map_or(String::new(), |phase| words(&phase.name))];
    let rest = phases.iter().skip(1).zip(SHADES.chars().cycle());
    words.extend(rest.map(|(phase, shade)| format!("{shade} {} {}", words_of(phase), ms(phase.took_ms))));
    words.join("  ")
}

fn words_of(phase: &Phase) -> String {
    words(&phase.name)
}

fn words(name: &str) -> String {
    OneLine(&name.replace('_', " ")).to_string()
}

/// A duration, with as many digits as one can look at.
pub(super) fn ms(ms: f64) -> String {
    match ms {
        _ if ms < 9.995 => format!("{ms:.2} ms"),
        _ if ms < 999.5 => format!("{ms:.1} ms"),
        _ => format!("{:.2} s", ms / 1e3),
    }
}

/// One for each phase; they differ also without colours.
const SHADES: &str = "░▒▓█▚▞";
/// Columns of the bar at most.
const BAR: usize = 72;
/// Columns where nobody says how many there are.
const WIDTH: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{anywhere, takeover};

    #[test]
    fn the_headline_names_who_had_the_role_and_who_has_it() {
        let failover = History::of(takeover()).pop().expect("a takeover");
        let said = |failover: &Failover| {
            let text = anstream::adapter::strip_str(&headline(failover)).to_string();
            anywhere(&text).split_once("00:00:00.000  ").expect("a time").1.to_owned()
        };
        let lost = Failover { nobody_ms: None, peer: None, ..failover.clone() };
        let of = |kind, part, from_nobody| Failover { kind, part, from_nobody, ..lost.clone() };
        for (failover, expected) in [
            (failover.clone(), "takeover  a -> b  nobody for 43.0 ms"),
            (of(Kind::Takeover, Part::Took, true), "took the role  b: nobody had it"),
            (of(Kind::Carp, Part::Took, true), "took the role  b: nobody had it"),
            (of(Kind::Takeover, Part::Took, false), "takeover  the other node -> b"),
            (of(Kind::Carp, Part::Took, false), "failover  another node -> b"),
            (of(Kind::Takeover, Part::Gave, false), "stepped down  b -> the other node"),
            (
                Failover { failed: Some("why".to_owned()), ..of(Kind::Takeover, Part::Took, true) },
                "takeover failed  b: nobody had it",
            ),
        ] {
            assert_eq!(said(&failover), expected);
        }
    }
}
