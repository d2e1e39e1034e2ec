//! `ha-agent metrics`

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::client;
use crate::control::metrics::{self, Format};

/// Arguments of `metrics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
    /// The format of the text.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(args: &Args) -> Exit {
    match client::status(&args.control.control) {
        Ok(status) => {
            say(metrics::text(&status, args.format).trim_end());
            Exit::Ok
        }
        Err(error) => fail(&error, error.exit()),
    }
}
