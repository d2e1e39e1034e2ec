//! `ha-agent top`: both controllers on one screen, as they are now.

mod app;
mod below;
mod draw;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use ratatui::DefaultTerminal;

use self::app::{App, Next};
use super::exit::Exit;
use super::live::{self, Input, TICK};
use super::{ControlArg, fail};
use crate::control::client;

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
}

pub(super) fn run(args: &Args) -> Exit {
    let socket = &args.control.control;
    if !io::stdout().is_terminal() {
        return fail(
            &"`top` needs a terminal; use `ha-agent status --watch` or `events --follow`",
            Exit::Usage,
        );
    }
    // An agent that was never there is a mistake; one that goes is shown.
    if let Err(error) = client::status(socket) {
        return fail(&error, error.exit());
    }
    let shown = live::start(socket)
        .and_then(|(tell, inputs)| on_terminal(|terminal| show(terminal, socket, &tell, &inputs)));
    match shown {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&format!("the terminal can't be used: {error}"), Exit::Os),
    }
}

/// Has the whole terminal, which is as it was when that is over, or panics.
fn on_terminal(show: impl FnOnce(&mut DefaultTerminal) -> io::Result<()>) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal);
    ratatui::try_restore()?;
    shown
}

fn show(
    terminal: &mut DefaultTerminal,
    socket: &Path,
    tell: &Sender<Input>,
    inputs: &Receiver<Input>,
) -> io::Result<()> {
    let mut app = App::default();
    loop {
        terminal.draw(|frame| draw::draw(frame, &app, Instant::now()))?;
        let mut next = inputs.recv_timeout(TICK);
        loop {
            match next {
                Ok(input) => match app.take(input, Instant::now()) {
                    Next::GoOn => {}
                    Next::FailOver => live::fail_over(socket, tell)?,
                    Next::End => return Ok(()),
                },
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            // All that is there, before it is drawn once.
            next = inputs.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }
}
