//! Asking a running agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::order::{EndStatus, Failover, StepStatus};
use super::status::Status;
use super::{Question, Reply, Request};
use crate::cli::exit::Exit;
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
        | Reply::Update(_)) => Err(unexpected(path, other)),
    }
}

/// Asks the agent on a socket to do something. Returns what it did.
///
/// # Errors
///
/// See [`ClientError`].
pub fn order(path: &Path, question: Question) -> Result<String, ClientError> {
    match ask(path, question)? {
        Reply::Done(done) => Ok(done),
        Reply::Error(cause) => Err(ClientError::Refused(cause)),
        other @ (Reply::Status(_)
        | Reply::Progress(_)
        | Reply::Waiting
        | Reply::Ended(_)
        | Reply::Update(_)) => Err(unexpected(path, other)),
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
    let mut lines = BufReader::new(stream.take(REPLY_MAX));
    loop {
        match read(path, &next_line(&mut lines).map_err(io)?)? {
            Reply::Progress(step) => tell(&step),
            Reply::Waiting => {}
            Reply::Ended(end) => return Ok(end),
            Reply::Error(cause) => return Err(ClientError::Refused(cause)),
            other @ (Reply::Status(_) | Reply::Done(_) | Reply::Update(_)) => {
                return Err(unexpected(path, other));
            }
        }
    }
}

/// Has a step of an update done, which may take its time.
///
/// # Errors
///
/// See [`ClientError`].
pub fn update(path: &Path, request: update::Request) -> Result<update::Answer, ClientError> {
    let io = |cause| ClientError::Io { path: path.to_owned(), cause };
    let mut stream = connect(path)?;
    send(&mut stream, Question::Update(request)).map_err(io)?;
    let mut lines = BufReader::new(stream.take(REPLY_MAX));
    loop {
        match read(path, &next_line(&mut lines).map_err(io)?)? {
            Reply::Update(answer) => return Ok(answer),
            Reply::Waiting => {}
            Reply::Error(cause) => return Err(ClientError::Refused(cause)),
            other @ (Reply::Status(_) | Reply::Done(_) | Reply::Progress(_) | Reply::Ended(_)) => {
                return Err(unexpected(path, other));
            }
        }
    }
}

fn unexpected(path: &Path, reply: Reply) -> ClientError {
    let cause = match reply {
        Reply::Error(cause) => cause,
        Reply::Status(_) => "a status".to_owned(),
        Reply::Done(done) => done,
        Reply::Progress(_) | Reply::Waiting | Reply::Ended(_) => "a switchover".to_owned(),
        Reply::Update(_) => "an update".to_owned(),
    };
    ClientError::Reply { path: path.to_owned(), cause }
}

fn ask(path: &Path, question: Question) -> Result<Reply, ClientError> {
    let mut stream = connect(path)?;
    let line = send(&mut stream, question)
        .and_then(|()| next_line(&mut BufReader::new(stream.take(REPLY_MAX))))
        .map_err(|cause| ClientError::Io { path: path.to_owned(), cause })?;
    read(path, &line)
}

fn connect(path: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(path).map_err(|cause| ClientError::Connect { path: path.to_owned(), cause })
}

fn send(stream: &mut UnixStream, question: Question) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = serde_json::to_vec(&Request { request: question })?;
    request.push(b'\n');
    stream.write_all(&request)
}

fn next_line(lines: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    lines.read_until(b'\n', &mut line)?;
    if line.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
}

fn read(path: &Path, line: &[u8]) -> Result<Reply, ClientError> {
    serde_json::from_slice(line)
        .map_err(|error| ClientError::Reply { path: path.to_owned(), cause: error.to_string() })
}

const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const REPLY_MAX: u64 = 64 * 1024 * 1024;
