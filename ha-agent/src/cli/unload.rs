//! `ha-agent unload`

use super::exit::Exit;
use super::{PinsArg, fail, say};
use crate::dataplane::Pins;

/// Arguments of `unload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pins: PinsArg,
}

pub(super) fn run(Args { pins: PinsArg { pins } }: &Args) -> Exit {
    match Pins::left(pins) {
        Ok(Some(left)) => {
            left.clear();
            say(format_args!("{} is removed, and what was attached is detached", pins.display()));
            Exit::Ok
        }
        Ok(None) => {
            say(format_args!("nothing is left: there is no {}", pins.display()));
            Exit::Ok
        }
        Err(error) => fail(&error, Exit::Unavailable),
    }
}
