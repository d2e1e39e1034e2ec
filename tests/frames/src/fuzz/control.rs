//! Any bytes from whoever connects to the control socket.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ha_agent::control::server::Server;
use ha_agent::control::{Question, Reply, Request};

use super::nobody::Nobody;

/// Says them to the server, and demands that it answers by lines that are replies; that a request stays the same when it is
/// written anew; and that what is none is told in one line.
///
/// # Panics
///
/// If something does not hold.
pub fn control(bytes: &[u8]) {
    thread_local! {
        static SERVER: Listening = Listening::start();
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let request = serde_json::from_slice::<Request>(line);
    // It would never end.
    if request.as_ref().is_ok_and(|asked| asked.request == Question::Watch) {
        return;
    }
    let answer = SERVER.with(|server| server.ask(bytes));
    let replies: Vec<Reply> =
        answer.lines().map(|line| serde_json::from_str(line).expect("a reply")).collect();
    if let Ok(request) = request {
        let again = serde_json::to_vec(&request).expect("can be written");
        assert_eq!(serde_json::from_slice::<Request>(&again).expect("a request"), request);
        assert!(!replies.is_empty());
    } else {
        let [Reply::Error(cause)] = &replies[..] else { panic!("{replies:?}") };
        assert!(cause.starts_with("not a request") && cause.len() < 6000, "{cause:?}");
        assert!(!cause.contains(char::is_control), "{cause:?}");
    }
}

/// A server, for as long as the process runs.
struct Listening {
    path: PathBuf,
    _directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Listening {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let server = runtime.block_on(async { Server::bind(&path) }).expect("a server");
        runtime.spawn(async move { server.serve(Arc::new(Nobody::default())).await });
        Self { path, _directory: directory, _runtime: runtime }
    }

    fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.path).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        // Whoever has its answer reads no more.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in time");
        answer
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
