//! Answering on the socket.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::drill::DrillReport;
use super::events::Query;
use super::order::{Failover, PairWish};
use super::shared::{Apply, Document};
use super::status::Status;
use super::views::Views;
use super::{Question, REQUEST_MAX, Reply, Request};
use crate::cli::exit::Exit;
use crate::config::quote::OneLine;
use crate::update;

/// The socket; removed when dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket: a second agent can't take it over.
    _lock: Flock<File>,
}

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another agent answers there.
    #[error("another ha-agent answers on {}; stop it first, or name another socket with --control", .0.display())]
    InUse(PathBuf),
    /// The path is taken by something that is no socket.
    #[error("{} exists and is no socket; remove it, or name another path with --control", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("the control socket {} could not be made: {cause}; name a path in a directory that can be written with --control", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

impl ServerError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => Exit::NoPermission,
            Self::InUse(_) | Self::NoSocket(_) | Self::Io { .. } => Exit::Unavailable,
        }
    }
}

/// Whoever knows the status.
pub trait Source: Send + Sync + 'static {
    /// The status now, or why there is none.
    fn status(&self) -> impl Future<Output = Result<Status, String>> + Send;

    /// The same for those who go on looking.
    fn views(&self) -> &Views;

    /// Reads the configuration again. Returns what was done, or why nothing was.
    fn reload(&self) -> impl Future<Output = Result<String, String>> + Send;

    /// Lets another agent go on: at once, or once this one is ended `within` a time. Returns what is done.
    fn restart(&self, within: Option<Duration>) -> impl Future<Output = Result<String, String>> + Send;

    /// Lets the other nodes go first, or no longer. Returns what was done.
    fn hold(&self, hold: bool) -> impl Future<Output = Result<String, String>> + Send;

    /// Moves the active role of the pair. What happens comes line by line, [`Reply::Ended`] last.
    fn failover(&self, order: Failover)
    -> impl Future<Output = Result<mpsc::Receiver<Reply>, String>> + Send;

    /// The document of what is shared: this node's or the peer's.
    fn shared(&self, peer: bool) -> impl Future<Output = Result<Document, String>> + Send;

    /// Changes what is shared. Returns what was done.
    fn apply(&self, order: Apply) -> impl Future<Output = Result<String, String>> + Send;

    /// Takes in what an operator wants of the pair. Returns what was done.
    fn wish(&self, wish: PairWish) -> impl Future<Output = Result<String, String>> + Send;

    /// Finds out what would become of a takeover.
    fn drill(&self) -> impl Future<Output = Result<DrillReport, String>> + Send;

    /// Tells what happened, line by line.
    fn events(&self, query: Query) -> impl Future<Output = Result<mpsc::Receiver<Reply>, String>> + Send;

    /// Carries out a step of an update.
    fn update(&self, request: update::Request)
    -> impl Future<Output = Result<update::Answer, String>> + Send;
}

impl Server {
    /// Makes the socket, for its owner and group only. Replaces one that a dead agent left behind.
    ///
    /// # Errors
    ///
    /// See [`ServerError`].
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let failed = |cause| ServerError::Io { path: path.to_owned(), cause };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let lock = lock(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
                return Err(ServerError::NoSocket(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    /// Answers until it is dropped. Cancel-safe.
    pub async fn serve(&self, source: Arc<impl Source>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let source = Arc::clone(&source);
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, source).await {
                            tracing::debug!(%error, "a control connection failed");
                        }
                    });
                }
                // No descriptors left: they come back when connections end.
                Err(error) => {
                    tracing::warn!(%error, "a control connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket was gone already");
        }
        // The lock file stays: removing it would let two agents hold two locks of one name.
    }
}

/// Takes the lock beside the socket. The kernel gives it back when the process ends, in whatever way.
fn lock(path: &Path) -> Result<Flock<File>, ServerError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(name)
        .map_err(|cause| ServerError::Io { path: path.to_owned(), cause })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => ServerError::InUse(path.to_owned()),
        other => ServerError::Io { path: path.to_owned(), cause: other.into() },
    })
}

async fn answer(mut stream: UnixStream, source: Arc<impl Source>) -> io::Result<()> {
    let request = in_time(read_line(&mut stream)).await?;
    let done = |result: Result<String, String>| result.map_or_else(Reply::Error, Reply::Done);
    let reply = match serde_json::from_slice(&request) {
        Ok(Request { request }) => match request {
            Question::Status => match source.status().await {
                Ok(status) => Reply::Status(Box::new(status)),
                Err(cause) => Reply::Error(cause),
            },
            Question::Watch => return show(&mut stream, source.views()).await,
            Question::Reload => done(source.reload().await),
            Question::Restart { within_ms } if may_update(&stream) => {
                let within = within_ms.map(Duration::from_millis);
                let restart = async move { source.restart(within).await.map(Reply::Done) };
                return answer_slowly(&mut stream, restart).await;
            }
            Question::Hold => done(source.hold(true).await),
            Question::Resume => done(source.hold(false).await),
            Question::Disable => done(source.wish(PairWish::Disable).await),
            Question::Enable => done(source.wish(PairWish::Enable).await),
            Question::Prefer { node } => done(source.wish(PairWish::Prefer(node)).await),
            Question::Update(request) if may_update(&stream) => {
                let update = async move { source.update(request).await.map(Reply::Update) };
                return answer_slowly(&mut stream, update).await;
            }
            Question::Restart { .. } | Question::Update(_) => Reply::Error(NOT_ALLOWED.to_owned()),
            Question::Shared { peer } => {
                let shared = async move { source.shared(peer).await.map(Reply::Shared) };
                return answer_slowly(&mut stream, shared).await;
            }
            Question::Apply(order) => {
                let apply = async move { source.apply(order).await.map(Reply::Done) };
                return answer_slowly(&mut stream, apply).await;
            }
            Question::Drill => {
                let drill = async move { source.drill().await.map(Reply::Drill) };
                return answer_slowly(&mut stream, drill).await;
            }
            Question::Failover(order) => match source.failover(order).await {
                Ok(replies) => return pass_on(&mut stream, replies, PATIENCE).await,
                Err(cause) => Reply::Error(cause),
            },
            Question::Events(query) => match source.events(query).await {
                Ok(replies) => return pass_on(&mut stream, replies, VIEWER_PATIENCE).await,
                Err(cause) => Reply::Error(cause),
            },
        },
        Err(error) => Reply::Error(no_request(&error)),
    };
    in_time(write_line(&mut stream, &reply)).await?;
    stream.shutdown().await
}

/// It may quote what was said, which is anything.
fn no_request(error: &serde_json::Error) -> String {
    let cause: String = error.to_string().chars().take(CAUSE_LIMIT).collect();
    format!("not a request: {}", OneLine(&cause))
}

/// What runs with the agent's rights is chosen by those who have them.
fn may_update(stream: &UnixStream) -> bool {
    let user = stream.peer_cred().map(|user| user.uid());
    user.is_ok_and(|user| user == 0 || user == Uid::effective().as_raw())
}

/// Answers with what may take its time, and says that it goes on meanwhile.
async fn answer_slowly(
    stream: &mut UnixStream,
    work: impl Future<Output = Result<Reply, String>> + Send + 'static,
) -> io::Result<()> {
    // It is done to its end, whether or not anybody still reads.
    let mut work = tokio::spawn(work);
    let reply = loop {
        match tokio::time::timeout(SIGN_OF_LIFE, &mut work).await {
            Ok(Ok(Ok(reply))) => break reply,
            Ok(Ok(Err(cause))) => break Reply::Error(cause),
            Ok(Err(error)) => break Reply::Error(error.to_string()),
            Err(_) => in_time(write_line(stream, &Reply::Waiting)).await?,
        }
    };
    in_time(write_line(stream, &reply)).await?;
    stream.shutdown().await
}

/// Tells what comes, to its end.
async fn pass_on(
    stream: &mut UnixStream,
    mut replies: mpsc::Receiver<Reply>,
    patience: Duration,
) -> io::Result<()> {
    while let Some(reply) = replies.recv().await {
        let written = tokio::time::timeout(patience, write_line(stream, &reply)).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    }
    stream.shutdown().await
}

/// Tells each snapshot until nobody reads any more.
async fn show(stream: &mut UnixStream, views: &Views) -> io::Result<()> {
    let mut watching = views.watch();
    loop {
        match tokio::time::timeout(SIGN_OF_LIFE, watching.next()).await {
            Ok(Some(view)) => {
                let mut line = Bytes::from_static(br#"{"status":"#).chain(&view.json[..]).chain(&b"}\n"[..]);
                let written = tokio::time::timeout(VIEWER_PATIENCE, stream.write_all_buf(&mut line)).await;
                written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            }
            Ok(None) => return stream.shutdown().await,
            Err(_) => in_time(write_line(stream, &Reply::Waiting)).await?,
        }
    }
}

/// Whoever neither writes nor reads is not waited for.
async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn write_line(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = BytesMut::new().writer();
    serde_json::to_writer(&mut line, reply)?;
    let mut line = line.into_inner();
    line.put_u8(b'\n');
    stream.write_all_buf(&mut line).await
}

/// The first line without its end, or what came of it before the stream ended or the line became too long.
async fn read_line(stream: &mut UnixStream) -> io::Result<BytesMut> {
    let mut line = BytesMut::with_capacity(USUAL);
    loop {
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
        let room = REQUEST_MAX.saturating_sub(line.len()) as u64;
        // Without room, nothing is read either.
        if (&mut *stream).take(room).read_buf(&mut line).await? == 0 {
            return Ok(line);
        }
    }
}

/// How much of a mistake is told, in characters.
const CAUSE_LIMIT: usize = 500;
/// Bytes of a request that carries no document.
const USUAL: usize = 4096;
/// How long whoever asks may take to write, and to read an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same for whoever looks at what happens, and may be stopped at a terminal for a while.
const VIEWER_PATIENCE: Duration = Duration::from_mins(1);
/// How often is said that the agent is there, while something takes its time.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
const NOT_ALLOWED: &str =
    "refused: this chooses what runs with the agent's rights; run it as the agent's user";
