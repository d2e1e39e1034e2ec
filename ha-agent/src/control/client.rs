//! Asking a running agent.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::drill::DrillReport;
use super::events::{Query, Told};
use super::order::{EndStatus, Failover, StepStatus};
use super::shared::{Apply, Document};
use super::status::Status;
use super::{Question, Reply, Request};
use crate::cli::exit::Exit;
use crate::journal::events::Event;
use crate::update;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no ha-agent answers on {}: {cause}; start one with `ha-agent run`, or name its socket with --control", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The connection broke.
    #[error("the agent on {} did not answer: {cause}; it may be stopped or overloaded", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The answer is not what was asked for.
    #[error("the agent on {} answered something else: {cause}; use the ha-agent of its version", .path.display())]
    Reply {
        /// The socket.
        path: PathBuf,
        /// What it is.
        cause: String,
    },
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

impl ClientError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Connect { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::Connect { .. } | Self::Io { .. } => Exit::Unavailable,
            Self::Reply { .. } => Exit::Software,
            Self::Refused(_) => Exit::Config,
        }
    }
}

/// Asks the agent on a socket for its status.
///
/// # Errors
///
/// See [`ClientError`].
pub fn status(path: &Path) -> Result<Status, ClientError> {
    match ask(path, Question::Status)? {
        Reply::Status(status) => Ok(*status),
        other @ (Reply::Done(_)
        | Reply::Error(_)
        | Reply::Progress(_)
        | Reply::Waiting
        | Reply::Ended(_)
        | Reply::Update(_)
        | Reply::Drill(_)
        | Reply::Shared(_)
        | Reply::Event(_)
        | Reply::Told(_)) => Err(unexpected(path, other)),
    }
}

/// Looks at the agent on a socket for as long as its iterator is asked: each item is the newest status, at once when something
/// happens, and twice a second.
///
/// # Errors
///
/// See [`ClientError`]; also of the items, of which no more come after one.
pub fn watch(path: &Path) -> Result<Watching, ClientError> {
    let mut stream = connect(path)?;
    send(&mut stream, Question::Watch).map_err(|cause| ClientError::Io { path: path.to_owned(), cause })?;
    Ok(Watching { path: path.to_owned(), lines: Lines::new(stream), ended: false })
}

/// See [`watch`].
#[derive(Debug)]
pub struct Watching {
    path: PathBuf,
    lines: Lines,
    ended: bool,
}

impl Iterator for Watching {
    type Item = Result<Status, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read();
        self.ended = next.is_err();
        Some(next)
    }
}

impl Watching {
    fn read(&mut self) -> Result<Status, ClientError> {
        let path = &self.path;
        loop {
            let line = self.lines.next().map_err(|cause| ClientError::Io { path: path.clone(), cause })?;
            match read(path, &line)? {
                Reply::Status(status) => return Ok(*status),
                Reply::Waiting => {}
                Reply::Error(cause) => return Err(ClientError::Refused(cause)),
                other @ (Reply::Done(_)
                | Reply::Progress(_)
                | Reply::Ended(_)
                | Reply::Update(_)
                | Reply::Drill(_)
                | Reply::Shared(_)
                | Reply::Event(_)
                | Reply::Told(_)) => return Err(unexpected(path, other)),
            }
        }
    }
}

/// Asks the agent on a socket to do something. Returns what it did.
///
/// # Errors
///
/// See [`ClientError`].
pub fn order(path: &Path, question: Question) -> Result<String, ClientError> {
    done(path, ask(path, question)?)
}

/// The same, for what may take its time.
///
/// # Errors
///
/// See [`ClientError`].
pub fn slow_order(path: &Path, question: Question) -> Result<String, ClientError> {
    done(path, ask_slowly(path, question)?)
}

/// Asks the agent on a socket to change what is shared. Returns what it did, which may take its time.
///
/// # Errors
///
/// See [`ClientError`].
pub fn apply(path: &Path, order: Apply) -> Result<String, ClientError> {
    done(path, ask_slowly(path, Question::Apply(order))?)
}

/// Asks the agent on a socket for the document of what is shared: its own, or the peer's.
///
/// # Errors
///
/// See [`ClientError`].
pub fn shared(path: &Path, peer: bool) -> Result<Document, ClientError> {
    match ask_slowly(path, Question::Shared { peer })? {
        Reply::Shared(document) => Ok(document),
        Reply::Error(cause) => Err(ClientError::Refused(cause)),
        other @ (Reply::Status(_)
        | Reply::Done(_)
        | Reply::Progress(_)
        | Reply::Waiting
        | Reply::Ended(_)
        | Reply::Drill(_)
        | Reply::Event(_)
        | Reply::Told(_)
        | Reply::Update(_)) => Err(unexpected(path, other)),
    }
}

/// Asks the agent on a socket what would become of a takeover, which may take its time.
///
/// # Errors
///
/// See [`ClientError`].
pub fn drill(path: &Path) -> Result<DrillReport, ClientError> {
    match ask_slowly(path, Question::Drill)? {
        Reply::Drill(report) => Ok(report),
        Reply::Error(cause) => Err(ClientError::Refused(cause)),
        other @ (Reply::Status(_)
        | Reply::Done(_)
        | Reply::Progress(_)
        | Reply::Waiting
        | Reply::Ended(_)
        | Reply::Update(_)
        | Reply::Shared(_)
        | Reply::Event(_)
        | Reply::Told(_)) => Err(unexpected(path, other)),
    }
}

fn done(path: &Path, reply: Reply) -> Result<String, ClientError> {
    match reply {
        Reply::Done(done) => Ok(done),
        Reply::Error(cause) => Err(ClientError::Refused(cause)),
        other @ (Reply::Status(_)
        | Reply::Progress(_)
        | Reply::Waiting
        | Reply::Ended(_)
        | Reply::Update(_)
        | Reply::Drill(_)
        | Reply::Shared(_)
        | Reply::Event(_)
        | Reply::Told(_)) => Err(unexpected(path, other)),
    }
}

/// Has the active role moved. `tell` is called for each step as it happens; returns how it ended.
///
/// # Errors
///
/// See [`ClientError`].
pub fn failover(
    path: &Path,
    order: Failover,
    mut tell: impl FnMut(&StepStatus),
) -> Result<EndStatus, ClientError> {
    let io = |cause| ClientError::Io { path: path.to_owned(), cause };
    let mut stream = connect(path)?;
    send(&mut stream, Question::Failover(order)).map_err(io)?;
    let mut lines = Lines::new(stream);
    loop {
        match read(path, &lines.next().map_err(io)?)? {
            Reply::Progress(step) => tell(&step),
            Reply::Waiting => {}
            Reply::Ended(end) => return Ok(end),
            Reply::Error(cause) => return Err(ClientError::Refused(cause)),
            other @ (Reply::Status(_)
            | Reply::Done(_)
            | Reply::Update(_)
            | Reply::Shared(_)
            | Reply::Event(_)
            | Reply::Told(_)
            | Reply::Drill(_)) => {
                return Err(unexpected(path, other));
            }
        }
    }
}

/// Has the agent on a socket tell what happened. `tell` is called for each event, and once all that had happened was told;
/// it returns whether it wants more. Returns when it does not, or all is told.
///
/// # Errors
///
/// See [`ClientError`].
pub fn events(path: &Path, query: Query, mut tell: impl FnMut(Happened) -> bool) -> Result<(), ClientError> {
    let io = |cause| ClientError::Io { path: path.to_owned(), cause };
    let follow = query.follow;
    let mut stream = connect(path)?;
    send(&mut stream, Question::Events(query)).map_err(io)?;
    let mut lines = Lines::new(stream);
    loop {
        let goes_on = match read(path, &lines.next().map_err(io)?)? {
            Reply::Event(event) => tell(Happened::Event(event)),
            Reply::Told(told) => tell(Happened::Told(told)) && follow,
            Reply::Waiting => tell(Happened::Nothing),
            Reply::Error(cause) => return Err(ClientError::Refused(cause)),
            other @ (Reply::Status(_)
            | Reply::Done(_)
            | Reply::Progress(_)
            | Reply::Ended(_)
            | Reply::Update(_)
            | Reply::Shared(_)
            | Reply::Drill(_)) => return Err(unexpected(path, other)),
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// What is told by [`events`].
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// This.
    Event(Box<Event>),
    /// All that had happened has been told.
    Told(Told),
    /// Nothing; the agent is there.
    Nothing,
}

/// Has a step of an update done, which may take its time.
///
/// # Errors
///
/// See [`ClientError`].
pub fn update(path: &Path, request: update::Request) -> Result<update::Answer, ClientError> {
    match ask_slowly(path, Question::Update(request))? {
        Reply::Update(answer) => Ok(answer),
        Reply::Error(cause) => Err(ClientError::Refused(cause)),
        other @ (Reply::Status(_)
        | Reply::Done(_)
        | Reply::Progress(_)
        | Reply::Waiting
        | Reply::Ended(_)
        | Reply::Drill(_)
        | Reply::Shared(_)
        | Reply::Event(_)
        | Reply::Told(_)) => Err(unexpected(path, other)),
    }
}

fn unexpected(path: &Path, reply: Reply) -> ClientError {
    let cause = match reply {
        Reply::Error(cause) => cause,
        Reply::Status(_) => "a status".to_owned(),
        Reply::Shared(_) => "a shared configuration".to_owned(),
        Reply::Done(done) => done,
        Reply::Progress(_) | Reply::Waiting | Reply::Ended(_) => "a switchover".to_owned(),
        Reply::Update(_) => "an update".to_owned(),
        Reply::Drill(_) => "a drill".to_owned(),
        Reply::Event(_) | Reply::Told(_) => "what happened".to_owned(),
    };
    ClientError::Reply { path: path.to_owned(), cause }
}

fn ask(path: &Path, question: Question) -> Result<Reply, ClientError> {
    let mut stream = connect(path)?;
    let line = send(&mut stream, question)
        .and_then(|()| Lines::new(stream).next())
        .map_err(|cause| ClientError::Io { path: path.to_owned(), cause })?;
    read(path, &line)
}

/// Asks for what may take its time, as long as the agent says that it goes on.
fn ask_slowly(path: &Path, question: Question) -> Result<Reply, ClientError> {
    let io = |cause| ClientError::Io { path: path.to_owned(), cause };
    let mut stream = connect(path)?;
    send(&mut stream, question).map_err(io)?;
    let mut lines = Lines::new(stream);
    loop {
        let reply = read(path, &lines.next().map_err(io)?)?;
        if reply != Reply::Waiting {
            return Ok(reply);
        }
    }
}

fn connect(path: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(path).map_err(|cause| ClientError::Connect { path: path.to_owned(), cause })
}

fn send(stream: &mut UnixStream, question: Question) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = serde_json::to_vec(&Request { request: question })?;
    request.push(b'\n');
    stream.write_all(&request)
}

/// The lines of an answer.
#[derive(Debug)]
struct Lines {
    stream: UnixStream,
    /// What was read beyond the last line.
    read: Vec<u8>,
}

impl Lines {
    fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// The next one, or what came of it before the stream ended. It has its time as a whole: who says it byte by byte gets
    /// no more.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut chunk = [0; 4096];
        let mut looked = 0;
        loop {
            if let Some(end) = self.read.iter().skip(looked).position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(looked + end + 1);
                return Ok(std::mem::replace(&mut self.read, rest));
            }
            looked = self.read.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if looked > REPLY_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
            } else if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) if self.read.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(0) => return Ok(std::mem::take(&mut self.read)),
                Ok(length) => self.read.extend(chunk.iter().take(length)),
                // Its time is over, or a signal came.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn read(path: &Path, line: &[u8]) -> Result<Reply, ClientError> {
    serde_json::from_slice(line)
        .map_err(|error| ClientError::Reply { path: path.to_owned(), cause: error.to_string() })
}

/// How long the agent may take for a line of its answer. It gives a sign of life more often.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest line that is read, in bytes.
const REPLY_MAX: usize = 64 * 1024 * 1024;
