//! Lets machines that begin anew live through a recording, and demands that they decide as they did.
//!
//! The file may be anything: whatever is wrong with it is told in one line, and only one of its lines is in memory
//! at a time.

use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::trace::{FORMAT, Header, Line, Step, VERSION};
use crate::cli::exit::Exit;
use crate::config::quote::OneLine;
use crate::core::{Instant, Vhost};

/// A recording that is being replayed.
#[derive(Debug)]
pub struct Replay<R> {
    lines: Lines<R>,
    header: Header,
    machines: Vec<Vhost>,
    now: Instant,
}

/// What came next in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// A step: what is decided now, which is what was decided then.
    Step(Step),
    /// Nothing more.
    Ended(Ending),
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Orderly,
    /// Without saying so: the agent was killed, or could not write any more.
    Abrupt,
    /// In the middle of this line, which was not replayed.
    CutOff(usize),
}

/// Why a replay ends before the recording does. Displayed, it is one line: where, what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ReplayError {
    line: usize,
    #[source]
    problem: Problem,
}

impl ReplayError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.problem {
            Problem::Differs { .. } => Exit::Differs,
            Problem::Read(_) => Exit::Os,
            Problem::TooLong
            | Problem::NoHeader(_)
            | Problem::Version(_)
            | Problem::Empty
            | Problem::NoLine(_)
            | Problem::UnknownVhost { .. }
            | Problem::TimeGoesBack { .. }
            | Problem::Rewritten
            | Problem::Lost(_)
            | Problem::AfterEnd => Exit::Data,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("it can't be read: {0}; is it a file on a disk that works?")]
    Read(#[source] io::Error),
    #[error("it is longer than {LONGEST} bytes; is it a recording of `ha-agent run --record`?")]
    TooLong,
    #[error("the file is empty or ends in its first line; there is nothing to replay")]
    Empty,
    #[error("no header of a recording: {0}; name a file that `ha-agent run --record` has written")]
    NoHeader(String),
    #[error(
        "this recording has format version {0}, {VERSION} is known here; replay it with the ha-agent that recorded it"
    )]
    Version(u32),
    #[error("not understood: {0}; was the file changed, or recorded by another version?")]
    NoLine(String),
    #[error(
        "there is no virtual host {vhost}, the header has {vhosts}, counted from 0; was the file changed?"
    )]
    UnknownVhost { vhost: usize, vhosts: usize },
    #[error("time goes back, from {} ns to {} ns; was the file changed?", from.as_nanos(), to.as_nanos())]
    TimeGoesBack { from: Instant, to: Instant },
    #[error(
        "the decisions are the same, but the line is not written as ha-agent writes it; was the file changed?"
    )]
    Rewritten,
    #[error(
        "{0} steps are lost here, since they could not be written fast enough: no replay goes past such a gap; record onto a faster disk"
    )]
    Lost(u64),
    #[error("there is more after the end; was the file changed?")]
    AfterEnd,
    #[error("decided otherwise by {vhost}: recorded {recorded}, replayed {replayed}; this is ha-agent {}, recorded by {agent}: the same one must decide the same", env!("CARGO_PKG_VERSION"))]
    Differs { vhost: String, recorded: String, replayed: String, agent: String },
}

impl<R: BufRead> Replay<R> {
    /// Reads the header, and makes the machines.
    ///
    /// # Errors
    ///
    /// If there is none that is known here.
    pub fn open(input: R) -> Result<Self, ReplayError> {
        let mut lines = Lines { input, number: 0, line: Vec::new() };
        let header = match lines.next() {
            Ok(Next::Line) => header_of(&lines.line),
            Ok(Next::CutOff | Next::End) => Err(Problem::Empty),
            Err(problem) => Err(problem),
        };
        let header = header.map_err(|problem| ReplayError { line: 1, problem })?;
        let machines = header.vhosts.iter().map(|vhost| Vhost::new(vhost.settings)).collect();
        Ok(Self { lines, now: header.began_ns, header, machines })
    }

    /// What the first line says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number of the line that was read last, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.lines.number
    }

    /// Replays the next step.
    ///
    /// # Errors
    ///
    /// If something else is decided than was, or the file is not what it should be. There is nothing to go on with
    /// then.
    pub fn step(&mut self) -> Result<Replayed, ReplayError> {
        self.replay().map_err(|problem| ReplayError { line: self.lines.number, problem })
    }

    fn replay(&mut self) -> Result<Replayed, Problem> {
        let recorded = match self.lines.next()? {
            Next::Line => match parsed(&self.lines.line).map_err(Problem::NoLine)? {
                Line::Step(step) => step,
                Line::Lost(count) => return Err(Problem::Lost(count)),
                Line::End => return self.end(),
            },
            Next::CutOff => return Ok(Replayed::Ended(Ending::CutOff(self.lines.number))),
            Next::End => return Ok(Replayed::Ended(Ending::Abrupt)),
        };
        let Step { vhost, now, event, .. } = recorded;
        let vhosts = self.machines.len();
        let machine = self.machines.get_mut(vhost).ok_or(Problem::UnknownVhost { vhost, vhosts })?;
        if now < self.now {
            return Err(Problem::TimeGoesBack { from: self.now, to: now });
        }
        self.now = now;
        machine.handle(now, event);
        let commands = std::iter::from_fn(|| machine.next_command()).collect();
        let replayed = Step { vhost, now, event, commands };
        self.compare(&recorded, &replayed)?;
        Ok(Replayed::Step(replayed))
    }

    fn end(&mut self) -> Result<Replayed, Problem> {
        match self.lines.next()? {
            Next::End => Ok(Replayed::Ended(Ending::Orderly)),
            Next::Line | Next::CutOff => Err(Problem::AfterEnd),
        }
    }

    /// Byte for byte; but what differs is told by the first decision that does.
    fn compare(&self, recorded: &Step, replayed: &Step) -> Result<(), Problem> {
        if json(&Line::Step(replayed.clone())).as_bytes() == self.lines.line {
            return Ok(());
        }
        let count = recorded.commands.len().max(replayed.commands.len());
        let differs = |index: &usize| recorded.commands.get(*index) != replayed.commands.get(*index);
        let Some(index) = (0..count).find(differs) else { return Err(Problem::Rewritten) };
        let told = |step: &Step| step.commands.get(index).map_or_else(|| "nothing".to_owned(), json);
        let name = self.header.vhosts.get(replayed.vhost).map(|vhost| excerpt(&vhost.name));
        Err(Problem::Differs {
            vhost: name.unwrap_or_default(),
            recorded: told(recorded),
            replayed: told(replayed),
            agent: excerpt(&self.header.agent),
        })
    }
}

/// Lines of bounded length.
#[derive(Debug)]
struct Lines<R> {
    input: R,
    /// Of the line that was read last, from 1.
    number: usize,
    /// Without its end.
    line: Vec<u8>,
}

enum Next {
    Line,
    /// The last line has no end.
    CutOff,
    End,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Next, Problem> {
        self.line.clear();
        self.number += 1;
        let mut bounded = (&mut self.input).take(LONGEST + 1);
        let length = bounded.read_until(b'\n', &mut self.line).map_err(Problem::Read)?;
        if self.line.pop_if(|last| *last == b'\n').is_some() {
            Ok(Next::Line)
        } else if length as u64 > LONGEST {
            Err(Problem::TooLong)
        } else if length > 0 {
            Ok(Next::CutOff)
        } else {
            Ok(Next::End)
        }
    }
}

fn header_of(line: &[u8]) -> Result<Header, Problem> {
    /// What every version begins with.
    #[derive(Deserialize)]
    struct Beginning {
        format: String,
        version: u32,
    }
    let Beginning { format, version } = parsed(line).map_err(Problem::NoHeader)?;
    if format != FORMAT {
        return Err(Problem::NoHeader(format!("its format is '{}'", excerpt(&format))));
    }
    if version != VERSION {
        return Err(Problem::Version(version));
    }
    parsed(line).map_err(Problem::NoHeader)
}

fn parsed<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        // For the parser each line is the first.
        let cause = text.rsplit_once(" at line ").map_or(&*text, |(cause, _)| cause);
        format!("{} at column {}", excerpt(cause), error.column())
    })
}

/// What others wrote, on one line and not endless.
fn excerpt(text: &str) -> String {
    let start: String = text.chars().take(EXCERPT).collect();
    format!("{}{}", OneLine(&start), if start.len() < text.len() { "…" } else { "" })
}

fn json(value: &impl serde::Serialize) -> String {
    // Everything that is recorded has a form in JSON.
    serde_json::to_string(value).unwrap_or_default()
}

/// Bytes of a line: more than 1024 virtual hosts in a header have.
const LONGEST: u64 = 1 << 20;
/// Characters: more than any of our own names has.
const EXCERPT: usize = 200;

#[cfg(test)]
mod tests;
