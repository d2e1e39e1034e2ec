//! `ha-agent status`

mod details;
pub(super) mod screen;
mod watch;

use super::exit::Exit;
use super::paint;
use super::{ControlArg, fail, history};
use crate::control::client;
use crate::control::status::Status;
use crate::core::reasons::Severity;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
    /// Everything that is known, after what matters most.
    #[arg(short, long)]
    all: bool,
    /// Go on, and show each change, until `q` or Ctrl-C.
    #[arg(short, long, conflicts_with = "json")]
    watch: bool,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let socket = &args.control.control;
    if args.watch {
        return watch::run(socket);
    }
    let status = match client::status(socket) {
        Ok(status) => status,
        Err(error) => return fail(&error, error.exit()),
    };
    if args.json {
        match serde_json::to_string_pretty(&status) {
            Ok(json) => paint::show(json),
            Err(error) => return fail(&error, Exit::Software),
        };
    } else {
        // An agent that can't tell its history can tell its status.
        let last = history::read(socket).unwrap_or_default().pop();
        let width = paint::width().unwrap_or(screen::WIDTH);
        paint::show(screen::text(&status, last.as_ref(), width));
        if args.all {
            paint::show(format_args!("\n{}", details::text(&status).trim_end()));
        }
    }
    exit(&status)
}

/// By the worst reason.
fn exit(status: &Status) -> Exit {
    match status.reasons.iter().map(|reason| reason.severity).max() {
        None | Some(Severity::Note) => Exit::Ok,
        Some(Severity::Warning) => Exit::Warning,
        Some(Severity::Critical) => Exit::Critical,
    }
}
