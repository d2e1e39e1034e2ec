//! What a view that goes on is told: what the agent knows, what happens, which keys are pressed. Each comes from a thread of its
//! own, all through one queue.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crossterm::event::{self, KeyEvent, KeyEventKind};
use nix::sys::signal::{SigSet, Signal};

use crate::control::client::{self, Happened};
use crate::control::events::Query;
use crate::control::order::{EndStatus, Failover, StepStatus};
use crate::control::status::Status;
use crate::journal::events::Event;

/// What a view is told.
#[derive(Debug)]
pub(super) enum Input {
    /// What the agent knows now.
    Status(Box<Status>),
    /// It does not answer.
    Gone(String),
    /// Something happened, or had happened before.
    Event(Box<Event>),
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// A failover that was ordered here goes on.
    Step(StepStatus),
    /// It has ended; or why it did not begin.
    Ended(Result<EndStatus, String>),
    /// The view is to end.
    End,
}

/// Begins to tell.
///
/// # Errors
///
/// If the system has no thread.
pub(super) fn start(socket: &Path) -> io::Result<(Sender<Input>, Receiver<Input>)> {
    let mut ends = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ends.add(signal);
    }
    // Before there are other threads: one of them would be ended instead.
    ends.thread_block()?;
    let (tell, inputs) = channel();
    let spawn = |work: Box<dyn FnOnce(Sender<Input>) + Send>| {
        let tell = tell.clone();
        thread::Builder::new().spawn(move || work(tell)).map(drop)
    };
    let (watched, followed) = (socket.to_owned(), socket.to_owned());
    spawn(Box::new(move |tell| watch(&watched, &tell)))?;
    spawn(Box::new(move |tell| follow(&followed, &tell)))?;
    spawn(Box::new(|tell| read_keys(&tell)))?;
    spawn(Box::new(move |tell| {
        let _ = ends.wait();
        // It is gone only while the view ends.
        let _ = tell.send(Input::End);
    }))?;
    Ok((tell, inputs))
}

/// Has the active role moved, and tells of it.
///
/// # Errors
///
/// If the system has no thread.
pub(super) fn fail_over(socket: &Path, tell: &Sender<Input>) -> io::Result<()> {
    let (socket, tell) = (PathBuf::from(socket), tell.clone());
    let work = move || {
        let order = Failover { to: None, force: false, force_after_ms: None };
        // It is gone only while the view ends.
        let told = client::failover(&socket, order, |step| drop(tell.send(Input::Step(step.clone()))));
        let _ = tell.send(Input::Ended(told.map_err(|error| error.to_string())));
    };
    thread::Builder::new().spawn(work).map(drop)
}

/// Until the view has gone. An agent that is not there is looked for.
fn watch(socket: &Path, tell: &Sender<Input>) {
    loop {
        let watching = match client::watch(socket) {
            Ok(watching) => watching,
            Err(error) => {
                if tell.send(Input::Gone(error.to_string())).is_err() {
                    return;
                }
                thread::sleep(AGAIN);
                continue;
            }
        };
        for status in watching {
            let input = match status {
                Ok(status) => Input::Status(Box::new(status)),
                Err(error) => Input::Gone(error.to_string()),
            };
            if tell.send(input).is_err() {
                return;
            }
        }
    }
}

/// The same for events, each once.
fn follow(socket: &Path, tell: &Sender<Input>) {
    let mut query = Query { follow: true, ..Query::default() };
    loop {
        let mut last = query.after;
        let mut reads = true;
        // Why it is gone, the other thread tells.
        let _ = client::events(socket, query.clone(), |happened| {
            if let Happened::Event(event) = happened {
                last = Some(event.number);
                reads = tell.send(Input::Event(event)).is_ok();
            }
            reads
        });
        if !reads {
            return;
        }
        query.after = last;
        thread::sleep(AGAIN);
    }
}

fn read_keys(tell: &Sender<Input>) {
    loop {
        let input = match event::read() {
            Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => Input::Key(key),
            Ok(event::Event::Resize(..)) => Input::Resized,
            Ok(
                event::Event::Key(_)
                | event::Event::FocusGained
                | event::Event::FocusLost
                | event::Event::Mouse(_)
                | event::Event::Paste(_),
            ) => continue,
            // The terminal is gone.
            Err(_) => Input::End,
        };
        let ends = matches!(input, Input::End);
        if tell.send(input).is_err() || ends {
            return;
        }
    }
}

/// How often an agent that is gone is looked for.
const AGAIN: Duration = Duration::from_millis(200);
/// A view is redrawn at least so often, since what it shows gets old.
pub(super) const TICK: Duration = Duration::from_millis(200);
/// What is older than that is not shown as if it were so.
pub(super) const STALE: Duration = Duration::from_secs(2);
