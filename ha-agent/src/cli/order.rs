//! `ha-agent reload`, `hold` and `resume`: what a running agent is told to do.

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::{Question, client};

/// Arguments of all of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
}

pub(super) fn run(args: &Args, question: Question) -> Exit {
    match client::order(&args.control.control, question) {
        Ok(done) => {
            say(done);
            Exit::Ok
        }
        Err(error) => fail(&error, error.exit()),
    }
}
