//! What runs in a guest: commands and files, by QEMU's guest agent over a virtual serial line, without a network
//! (<https://www.qemu.org/docs/master/interop/qemu-ga-ref.html>).

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use ::lab::{is_interrupted, pass};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

/// What came of a command.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// Its exit code; 128 and the number of the signal that ended it.
    pub(super) code: i64,
    /// Its standard output.
    pub(super) out: String,
    /// Its standard error.
    pub(super) errors: String,
}

/// The line to one guest. It may be used by several threads: a command that takes long does not keep others waiting.
pub(super) struct Inside {
    socket: PathBuf,
    line: Mutex<Option<Line>>,
}

impl Inside {
    /// The line at `socket`, where QEMU will listen.
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, line: Mutex::new(None) }
    }

    /// Waits until the guest has booted and answers.
    ///
    /// # Errors
    ///
    /// It does not within `patience`.
    pub(super) fn wait(&self, patience: Duration) -> Result<()> {
        let began = Instant::now();
        while let Err(error) = self.request_within("guest-ping", &json!({}), GREETING) {
            ensure!(!is_interrupted(), "interrupted");
            if began.elapsed() > patience {
                return Err(error.context(format!("the guest does not answer within {patience:?}")));
            }
            pass(LOOK)?;
        }
        Ok(())
    }

    /// Runs `command` by the guest's shell, to its end.
    ///
    /// # Errors
    ///
    /// The guest does not answer, or the command does not end within `patience`: then it goes on in the guest.
    pub(super) fn run(&self, command: &str, patience: Duration) -> Result<Output> {
        let began = Instant::now();
        let arguments = json!({
            "path": "/bin/sh",
            "arg": ["-c", command],
            "env": ENVIRONMENT,
            "capture-output": true,
        });
        let started = self.request("guest-exec", &arguments)?;
        let mut pause = Duration::from_millis(10);
        loop {
            let state = self.request("guest-exec-status", &json!({ "pid": started["pid"] }))?;
            if state["exited"] == true {
                let code = state["exitcode"].as_i64();
                let signal = state["signal"].as_i64().map(|number| 128 + number);
                return Ok(Output {
                    code: code.or(signal).context("a command ended without an exit code")?,
                    out: text(&state["out-data"])?,
                    errors: text(&state["err-data"])?,
                });
            }
            ensure!(began.elapsed() < patience, "`{command}` does not end within {patience:?}");
            pass(pause)?;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// Writes `contents` to the file `path` of the guest.
    ///
    /// # Errors
    ///
    /// The guest does not answer, or cannot write there.
    pub(super) fn put(&self, path: &str, contents: &[u8]) -> Result<()> {
        let handle = self.request("guest-file-open", &json!({ "path": path, "mode": "w" }))?;
        for chunk in contents.chunks(CHUNK) {
            let data = BASE64.encode(chunk);
            self.request("guest-file-write", &json!({ "handle": handle, "buf-b64": data }))?;
        }
        self.request("guest-file-close", &json!({ "handle": handle }))?;
        Ok(())
    }

    /// The contents of the file `path` of the guest.
    ///
    /// # Errors
    ///
    /// The guest does not answer, or cannot read it.
    pub(super) fn get(&self, path: &str) -> Result<Vec<u8>> {
        let handle = self.request("guest-file-open", &json!({ "path": path, "mode": "r" }))?;
        let mut contents = Vec::new();
        loop {
            let read = self.request("guest-file-read", &json!({ "handle": handle, "count": CHUNK }))?;
            contents.extend(bytes(&read["buf-b64"])?);
            if read["eof"] == true {
                break;
            }
        }
        self.request("guest-file-close", &json!({ "handle": handle }))?;
        Ok(contents)
    }

    fn request(&self, name: &str, arguments: &Value) -> Result<Value> {
        self.request_within(name, arguments, ANSWER)
    }

    fn request_within(&self, name: &str, arguments: &Value, patience: Duration) -> Result<Value> {
        let mut place = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = match place.take() {
            Some(line) => line,
            None => Line::open(&self.socket, patience)?,
        };
        let reply = line.request(name, arguments, patience)?;
        // One that did not answer may do so later: then it is opened anew.
        *place = Some(line);
        drop(place);
        match reply {
            Reply::Done(value) => Ok(value),
            Reply::Refused(why) => Err(anyhow!("the guest refuses {name}: {why}")),
        }
    }
}

impl Output {
    /// Its standard output.
    ///
    /// # Errors
    ///
    /// It failed.
    pub(super) fn ok(self) -> Result<String> {
        if self.code == 0 {
            return Ok(self.out);
        }
        let mut said = String::new();
        for text in [self.out.trim_end(), self.errors.trim_end()] {
            if !text.is_empty() {
                let _ = write!(said, "\n{text}");
            }
        }
        bail!("exit code {}{said}", self.code)
    }
}

enum Reply {
    Done(Value),
    Refused(String),
}

struct Line {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Line {
    /// Connects, and drops what is left of an earlier connection.
    fn open(socket: &Path, patience: Duration) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(LOOK)).context("the guest's line")?;
        let reader = BufReader::new(stream.try_clone().context("the guest's line")?);
        let mut line = Self { stream, reader };
        // Never one that was used before.
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        // The byte that no JSON has ends whatever was half said before.
        line.stream.write_all(&[0xff]).context("the guest's line")?;
        let deadline = Instant::now() + patience;
        line.say("guest-sync-delimited", &json!({ "id": id }))?;
        while line.read(deadline)?["return"] != id {}
        Ok(line)
    }

    fn request(&mut self, name: &str, arguments: &Value, patience: Duration) -> Result<Reply> {
        self.say(name, arguments)?;
        let mut reply =
            self.read(Instant::now() + patience).with_context(|| format!("the guest and {name}"))?;
        if let Some(why) = reply["error"]["desc"].as_str() {
            return Ok(Reply::Refused(why.to_owned()));
        }
        Ok(Reply::Done(reply["return"].take()))
    }

    fn say(&mut self, name: &str, arguments: &Value) -> Result<()> {
        let line = json!({ "execute": name, "arguments": arguments });
        writeln!(self.stream, "{line}").with_context(|| format!("sending {name} to the guest"))
    }

    /// The next line that is JSON.
    fn read(&mut self, deadline: Instant) -> Result<Value> {
        let mut line = Vec::new();
        loop {
            match self.reader.read_until(b'\n', &mut line) {
                Ok(0) => bail!("the guest's line has ended"),
                Ok(_) if line.last() == Some(&b'\n') => {
                    let start = line.iter().rposition(|&byte| byte == 0xff).map_or(0, |at| at + 1);
                    if let Ok(value) = serde_json::from_slice(&line[start..]) {
                        return Ok(value);
                    }
                    line.clear();
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    ensure!(!is_interrupted(), "interrupted");
                    ensure!(Instant::now() < deadline, "no answer in time");
                }
                Err(error) => return Err(error).context("the guest's line"),
            }
        }
    }
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    BASE64.decode(value.as_str().unwrap_or_default()).context("the guest's answer is not Base64")
}

fn text(value: &Value) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(value)?).into_owned())
}

static NEXT: AtomicU32 = AtomicU32::new(1);
const ENVIRONMENT: [&str; 3] =
    ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"];
/// A guest that is alive answers within this, however busy the machine is.
const ANSWER: Duration = Duration::from_mins(1);
/// One that boots is asked so often.
const GREETING: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);
/// Bytes: three quarters of it in Base64 are no more than the serial line takes at once.
const CHUNK: usize = 48 * 1024;
