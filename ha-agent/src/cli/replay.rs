//! `ha-agent replay`

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::exit::Exit;
use super::fail;
use crate::config::quote::OneLine;
use crate::core::pair::Stance;
use crate::core::{Advert, Advertisement, Command, Event, Instant, Link, Silence, Stall, Timer};
use crate::journal::replay::{Ending, Replay, ReplayError, Replayed};
use crate::journal::trace::{Header, Step};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `run --record` has written.
    file: PathBuf,
    /// Print every decision as a JSON value on a line of its own.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let path = args.file.display();
    let file = match File::open(&args.file) {
        Ok(file) => file,
        Err(error) => {
            let exit = match error.kind() {
                io::ErrorKind::PermissionDenied => Exit::NoPermission,
                _ => Exit::Unavailable,
            };
            return fail(&format!("{path}: {error}; name a file that `run --record` has written"), exit);
        }
    };
    let mut out = Out { json: args.json, to: BufWriter::new(io::stdout().lock()) };
    let replayed = replay(BufReader::new(file), &mut out);
    out.flush();
    match replayed {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&format!("{path}: {error}"), error.exit()),
    }
}

fn replay(file: BufReader<File>, out: &mut Out<impl Write>) -> Result<(), ReplayError> {
    let mut replay = Replay::open(file)?;
    out.header(replay.header());
    let (mut events, mut decisions) = (0, 0);
    loop {
        match replay.step()? {
            Replayed::Step(step) => {
                events += 1;
                decisions += step.commands.len();
                out.step(replay.header(), replay.line(), &step);
            }
            Replayed::Ended(ending) => {
                out.summary(events, decisions, ending);
                return Ok(());
            }
        }
    }
}

/// Where it is printed. A reader that goes away (`| head`) has what it wanted: the replay goes on for its exit code.
struct Out<W> {
    json: bool,
    to: W,
}

impl<W: Write> Out<W> {
    fn header(&mut self, header: &Header) {
        let Header { agent, node, began, vhosts, .. } = header;
        if !self.json {
            let (node, agent, count) = (OneLine(node), OneLine(agent), vhosts.len());
            let hosts = if count == 1 { "virtual host" } else { "virtual hosts" };
            self.line(format_args!("node {node}, ha-agent {agent}, from {began} on, {count} {hosts}"));
        }
    }

    fn step(&mut self, header: &Header, line: usize, step: &Step) {
        let Step { vhost, now, event, commands } = step;
        let name = header.vhosts.get(*vhost).map_or("", |vhost| &vhost.name);
        for command in commands {
            if self.json {
                let (decision, cause) = (Decision(command).to_string(), Because(event, command).to_string());
                let at = *now;
                self.json(&Told { line, at, vhost: name, event, command, decision, cause });
            } else {
                let since = now.saturating_since(header.began_ns);
                let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
                let (name, decision, cause) = (OneLine(name), Decision(command), Because(event, command));
                self.line(format_args!("{seconds:>5}.{nanos:09} s  {name}  {decision}: {cause}"));
            }
        }
    }

    fn summary(&mut self, events: usize, decisions: usize, ending: Ending) {
        if self.json {
            let ending = match ending {
                Ending::Orderly => "orderly",
                Ending::Abrupt => "abrupt",
                Ending::CutOff(_) => "cut_off",
            };
            return self.json(&Summary { events, decisions, ending });
        }
        self.line(format_args!("{events} events, {decisions} decisions: the same as recorded"));
        match ending {
            Ending::Orderly => {}
            Ending::Abrupt => self.line("the recording has no end: the agent was killed, or could not write"),
            Ending::CutOff(line) => self.line(format_args!(
                "the recording is cut off in the middle of line {line}: the agent was killed, or could not write"
            )),
        }
    }

    fn json(&mut self, value: &impl Serialize) {
        // What is told has a form in JSON.
        self.line(serde_json::to_string(value).unwrap_or_default());
    }

    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.to, "{line}");
    }

    fn flush(&mut self) {
        let _ = self.to.flush();
    }
}

/// A decision as JSON.
#[derive(Serialize)]
struct Told<'a> {
    line: usize,
    #[serde(rename = "at_ns")]
    at: Instant,
    vhost: &'a str,
    event: &'a Event,
    command: &'a Command,
    decision: String,
    cause: String,
}

/// The last line as JSON.
#[derive(Serialize)]
struct Summary {
    events: usize,
    decisions: usize,
    ending: &'static str,
}

/// What was decided.
struct Decision<'a>(&'a Command);

impl Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Command::Advertise(Advertisement { priority, demote: 0 }) => write!(f, "advertise {priority}"),
            Command::Advertise(Advertisement { priority, demote }) => {
                write!(f, "advertise {priority}, demoted {demote}")
            }
            Command::TakeAddresses => f.write_str("take the addresses"),
            Command::DropAddresses => f.write_str("drop the addresses"),
            Command::Announce => f.write_str("announce the addresses"),
            Command::Stalled { lasted } => write!(f, "tell of a stall of {lasted:?}"),
            Command::Notify(transition) => write!(f, "{} -> {}", transition.from, transition.to),
        }
    }
}

/// Why it was decided: what the machine says itself, else what happened.
struct Because<'a>(&'a Event, &'a Command);

impl Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Command::Notify(transition) = self.1 {
            return transition.cause.fmt(f);
        }
        match self.0 {
            Event::Link(Link::Up { .. }) => f.write_str("the link is up"),
            Event::Link(Link::Down(why)) => why.fmt(f),
            Event::Advert(Advert { source, priority, demote: 0, .. }) => {
                write!(f, "{source} advertised {priority}")
            }
            Event::Advert(Advert { source, priority, demote, .. }) => {
                write!(f, "{source} advertised {priority}, demoted {demote}")
            }
            Event::Silence(Silence { family, last_heard, fired, .. }) => {
                write!(
                    f,
                    "the kernel heard nothing in {family} for {:?}",
                    fired.saturating_since(*last_heard)
                )
            }
            Event::Stall(Stall { family, deadline, fired }) => {
                let late = fired.saturating_since(*deadline);
                write!(f, "the kernel's timer for {family} came {late:?} late")
            }
            Event::Unwatched(family) => write!(f, "the kernel's timer for {family} can't be relied on"),
            Event::Demote(level) => write!(f, "the demotion level is {level}"),
            Event::Stance(Stance::Lead) => f.write_str("the pair wants this node to lead"),
            Event::Stance(Stance::Follow) => f.write_str("the pair wants this node to follow"),
            Event::Deadline(timer) => f.write_str(match timer {
                Timer::Advertise => "an advertisement was due",
                Timer::MasterDown | Timer::MasterDownV6 => "patience ended",
                Timer::Turn => "our turn came",
                Timer::Announce => "an announcement was due",
                Timer::Release => "the addresses should be off by now",
            }),
            Event::Resume { advertised } => {
                write!(
                    f,
                    "an agent before this one was master, and advertised at {} ns",
                    advertised.as_nanos()
                )
            }
            Event::Released { held: true } => f.write_str("the addresses are off"),
            Event::Released { held: false } => f.write_str("the addresses are off, as they were before"),
            Event::Leave => f.write_str("we were asked to leave"),
        }
    }
}
