//! `ha-agent status --watch`: the same, again and again.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::super::exit::Exit;
use super::super::fail;
use super::super::live::{self, Input, STALE, TICK};
use super::super::paint::{self, BAD, FAINT, In};
use super::screen;
use crate::control::client;
use crate::control::status::Status;
use crate::journal::history::History;

pub(super) fn run(socket: &Path) -> Exit {
    // An agent that was never there is a mistake; one that goes is shown.
    if let Err(error) = client::status(socket) {
        return fail(&error, error.exit());
    }
    if !io::stdout().is_terminal() {
        plainly(socket);
        return Exit::Ok;
    }
    match on_terminal(socket) {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&format!("the terminal can't be used: {error}"), Exit::Os),
    }
}

/// One after the other, for whoever reads them.
fn plainly(socket: &Path) {
    let Ok(watching) = client::watch(socket) else { return };
    for status in watching.flatten() {
        if !paint::show(format_args!("{}\n", screen::text(&status, None, screen::WIDTH))) {
            return;
        }
    }
}

fn on_terminal(socket: &Path) -> io::Result<()> {
    let (_tell, inputs) = live::start(socket)?;
    let _screen = Screen::enter()?;
    let mut view = View::default();
    loop {
        view.draw(&mut io::stdout().lock())?;
        let mut next = inputs.recv_timeout(TICK);
        loop {
            match next {
                Ok(input) => {
                    if !view.take(input) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            // All that is there, before it is drawn once.
            next = inputs.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }
}

/// What is shown.
#[derive(Default)]
struct View {
    status: Option<(Box<Status>, Instant)>,
    gone: Option<String>,
    history: History,
}

impl View {
    /// Returns whether it is to go on.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Status(status) => (self.status, self.gone) = (Some((status, Instant::now())), None),
            Input::Gone(cause) => self.gone = Some(cause),
            Input::Event(event) => self.history.take(&event),
            Input::Key(key) => return !ends(key),
            Input::Resized | Input::Step(_) | Input::Ended(_) => {}
            Input::End => return false,
        }
        true
    }

    fn draw(&self, out: &mut impl Write) -> io::Result<()> {
        let (columns, rows) = size()?;
        let text = self.text(usize::from(columns));
        let colours = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let text = if colours { text } else { anstream::adapter::strip_str(&text).to_string() };
        let mut frame = Vec::new();
        queue!(frame, MoveTo(0, 0))?;
        for line in text.lines().take(usize::from(rows).saturating_sub(1)) {
            write!(frame, "{line}")?;
            queue!(frame, Clear(ClearType::UntilNewLine))?;
            write!(frame, "\r\n")?;
        }
        queue!(frame, Clear(ClearType::FromCursorDown))?;
        out.write_all(&frame)?;
        out.flush()
    }

    fn text(&self, columns: usize) -> String {
        let Some((status, at)) = &self.status else { return "waiting for the agent".to_owned() };
        let age = at.elapsed();
        let text = screen::text(status, self.history.last().as_ref(), columns);
        let when = paint::time(status.as_of);
        if self.gone.is_none() && age < STALE {
            let head = In(FAINT, format!("{when}, {:.1} s ago; q ends", age.as_secs_f64()));
            return format!("{head}\n\n{text}");
        }
        let why = self.gone.as_deref().unwrap_or("the agent tells nothing new");
        let head = In(BAD, format!("STALE: {when}, {:.0} s ago: {why}", age.as_secs_f64()));
        let plain = anstream::adapter::strip_str(&text).to_string();
        let faint = plain.lines().map(|line| In(FAINT, line).to_string()).collect::<Vec<_>>().join("\n");
        format!("{head}\n\n{faint}")
    }
}

fn ends(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// The terminal, as a view wants it; as it was when dropped.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone, there is nothing to restore.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
