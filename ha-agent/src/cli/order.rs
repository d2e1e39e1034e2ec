//! `ha-agent reload`, `hold`, `resume`, `disable`, `enable` and `prefer`: what a running agent is told to do.

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::{Question, client};

/// Arguments of all of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
}

/// Arguments of `prefer`.
#[derive(Debug, clap::Args)]
pub struct PreferArgs {
    /// The name of the node, or `none`.
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    all: Args,
}

pub(super) fn prefer(args: &PreferArgs) -> Exit {
    let node = Some(args.node.clone()).filter(|node| node != "none");
    run(&args.all, Question::Prefer { node })
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
