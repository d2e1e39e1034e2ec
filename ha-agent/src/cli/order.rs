//! `ha-agent reload`, `restart`, `hold`, `resume`, `disable`, `enable` and `prefer`: what a running agent is told to do.

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::Question;
use crate::control::client::{self, ClientError};

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

/// Arguments of `restart`.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Do not restart: whoever ends the agent within so many seconds (1 to 600) will start another one, for which everything
    /// stays.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    announce: Option<u64>,
    #[command(flatten)]
    all: Args,
}

pub(super) fn restart(args: &RestartArgs) -> Exit {
    let within_ms = args.announce.map(|seconds| seconds * 1000);
    report(client::slow_order(&args.all.control.control, Question::Restart { within_ms }))
}

pub(super) fn prefer(args: &PreferArgs) -> Exit {
    let node = Some(args.node.clone()).filter(|node| node != "none");
    run(&args.all, Question::Prefer { node })
}

pub(super) fn run(args: &Args, question: Question) -> Exit {
    report(client::order(&args.control.control, question))
}

fn report(answer: Result<String, ClientError>) -> Exit {
    match answer {
        Ok(done) => {
            say(done);
            Exit::Ok
        }
        Err(error) => fail(&error, error.exit()),
    }
}
