//! The socket with whoever may be at either end of it.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::client::{self, ClientError};
use super::drill::DrillReport;
use super::events::{Query, Told};
use super::metrics;
use super::order::{EndStatus, Failover, PairWish, StepStatus};
use super::server::{Server, Source};
use super::shared::{Apply, Document};
use super::status::Status;
use super::views::Views;
use super::{REQUEST_MAX, Reply};
use crate::config::shared::Shared;
use crate::core::pair::report::{End, Standing, Step, Why};
use crate::core::role::Role;
use crate::update;

#[tokio::test]
async fn each_question_is_understood_and_answered() -> Result<()> {
    let agent = Agent::start()?;
    let none = json!({"done": "Prefer(None)"});
    let table = [
        (json!("reload"), json!({"done": "reload"})),
        (json!("hold"), json!({"done": "hold true"})),
        (json!("resume"), json!({"done": "hold false"})),
        (json!("disable"), json!({"done": "Disable"})),
        (json!("enable"), json!({"done": "Enable"})),
        (json!({"prefer": {"node": "a"}}), json!({"done": "Prefer(Some(\"a\"))"})),
        (json!({"prefer": {"node": null}}), none),
        (json!({"update": {"of": "this", "order": "identify"}}), json!({"update": "done"})),
        (
            json!({"shared": {"peer": true}}),
            json!({"shared": {"node": "a", "layout": 1, "version": 1, "agreed": 0, "by": "a", "text": TEXT}}),
        ),
        (json!({"events": {}}), json!({"told": {"unkept": null}})),
        (json!({"events": {"after": 7, "follow": true}}), json!({"told": {"unkept": null}})),
        (json!({"failover": {}}), json!({"progress": step()})),
        (json!({"failover": {"to": "b", "force": true, "force_after_ms": 5}}), json!({"progress": step()})),
    ];
    for (question, expected) in table {
        let answer = agent.ask(&json!({"request": question}).to_string()).await?;
        ensure!(answer == expected, "{question}: {answer}");
    }
    let status = agent.ask(r#"{"request": "status"}"#).await?;
    ensure!(status["status"]["node"] == "a", "{status}");
    let orders = agent.known.orders.lock().unwrap_or_else(PoisonError::into_inner);
    let all = Failover { to: Some("b".to_owned()), force: true, force_after_ms: Some(5) };
    ensure!(*orders == [Failover { to: None, force: false, force_after_ms: None }, all], "{orders:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_question_is_refused_and_does_nothing() -> Result<()> {
    let agent = Agent::start()?;
    let long = format!(r#"{{"request":"reload"{}}}"#, " ".repeat(REQUEST_MAX));
    let table = [
        "",
        "reload",
        "\0\u{fffd}",
        "{}",
        r#"{"request":"#,
        r#"{"request":"stop"}"#,
        r#"{"request":"status","more":1}"#,
        r#"{"request":{"status":{}}}"#,
        r#"{"request":{"failover":{"too":"b"}}}"#,
        r#"{"request":{"failover":{"force":"yes"}}}"#,
        // Who mistypes a key did not say that no node is preferred.
        r#"{"request":"prefer"}"#,
        r#"{"request":{"prefer":null}}"#,
        r#"{"request":{"prefer":{}}}"#,
        r#"{"request":{"prefer":{"nod":"a"}}}"#,
        r#"{"request":{"prefer":{"node":"a","nod":"b"}}}"#,
        r#"{"request":{"prefer":{"node":7}}}"#,
        &long,
    ];
    for text in table {
        let answer = agent.ask(text).await?;
        let error = answer["error"].as_str().unwrap_or_default();
        ensure!(error.starts_with("not a request: "), "{text}: {answer}");
    }
    let done = agent.known.done.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(done.is_empty(), "{done:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_says_half_a_line_and_nothing_more_is_sent_away() -> Result<()> {
    let agent = Agent::start()?;
    let mut stream = UnixStream::connect(agent.path()).await?;
    stream.write_all(br#"{"request":"#).await?;
    let began = tokio::time::Instant::now();
    ensure!(stream.read(&mut [0; 64]).await? == 0, "an answer to half a question");
    let took = began.elapsed();
    ensure!((1..10).contains(&took.as_secs()), "{took:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_sent_away_and_hinders_nobody() -> Result<()> {
    let agent = Agent::start_with(Known { words: 4 << 20, ..Known::default() })?;
    let mut deaf = UnixStream::connect(agent.path()).await?;
    deaf.write_all(b"{\"request\":\"reload\"}\n").await?;
    ensure!(agent.ask(r#"{"request":"hold"}"#).await?["done"] == "hold true");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut answer = Vec::new();
    deaf.read_to_end(&mut answer).await?;
    ensure!(!answer.is_empty() && answer.len() < agent.known.words, "{} bytes", answer.len());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_leaves_a_switchover_is_told_no_more_of_it() -> Result<()> {
    let agent = Agent::start()?;
    let mut stream = UnixStream::connect(agent.path()).await?;
    stream.write_all(b"{\"request\":{\"failover\":{}}}\n").await?;
    ensure!(stream.read(&mut [0; 1]).await? == 1, "nothing about the switchover");
    drop(stream);
    let replies = agent.replies()?;
    let told = async { while replies.send(Reply::Waiting).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), told).await.context("it goes on for nobody")
}

#[tokio::test]
async fn a_switchover_is_told_step_by_step_to_its_end() -> Result<()> {
    let agent = Agent::start()?;
    let path = agent.path();
    let order = Failover { to: None, force: false, force_after_ms: None };
    let asking = tokio::task::spawn_blocking(move || {
        let mut steps = Vec::new();
        client::failover(&path, order, |step| steps.push(step.clone())).map(|end| (end, steps))
    });
    while agent.replies().is_err() {
        tokio::task::yield_now().await;
    }
    let end = EndStatus::new(End::Returned(Why::TakeStuck), Duration::from_millis(7));
    let done = StepStatus { standing: Standing::Done, ..step() };
    for reply in [Reply::Waiting, Reply::Progress(done.clone()), Reply::Ended(end.clone())] {
        agent.replies()?.send(reply).await?;
    }
    let told = asking.await??;
    ensure!(told == (end, vec![step(), done]), "{told:?}");
    Ok(())
}

#[test]
fn an_agent_that_ends_in_a_switchover_is_said_to_have_broken_off() -> Result<()> {
    let line = serde_json::to_string(&Reply::Progress(step()))?;
    for rest in ["", "{\"progr"] {
        let fake = FakeAgent::start(format!("{line}\n{rest}"), Afterwards::Hangup)?;
        let order = Failover { to: None, force: false, force_after_ms: None };
        let mut steps = 0;
        let error = client::failover(&fake.path, order, |_| steps += 1).err().context("an end")?;
        ensure!(steps == 1, "{steps} steps");
        let broken = match &error {
            ClientError::Io { .. } => rest.is_empty(),
            ClientError::Reply { .. } => !rest.is_empty(),
            ClientError::Connect { .. } | ClientError::Refused(_) => false,
        };
        ensure!(broken, "{error}");
    }
    Ok(())
}

#[test]
fn an_agent_that_answers_nothing_is_not_waited_for() -> Result<()> {
    for then in [Afterwards::Silence, Afterwards::Drip] {
        let fake = FakeAgent::start(String::new(), then)?;
        let began = Instant::now();
        let error = client::status(&fake.path).err().context("a status")?;
        ensure!(matches!(error, ClientError::Io { .. }), "{error}");
        ensure!(error.to_string().contains("timed out"), "{error}");
        ensure!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_looks_sees_a_change_at_once_and_costs_little() -> Result<()> {
    let agent = Agent::start()?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    ensure!(agent.looks() == 0, "{} looks for nobody", agent.looks());
    let mut viewers = Vec::new();
    for _ in 0..100 {
        viewers.push(agent.watch().await?);
    }
    let began = tokio::time::Instant::now();
    let mut seen = 0;
    while began.elapsed() < Duration::from_secs(10) {
        for viewer in &mut viewers {
            let status = viewer.next().await?;
            ensure!(status["node"] == "a", "{status}");
        }
        seen += 1;
    }
    let looks = agent.looks();
    ensure!((19..=30).contains(&seen) && looks <= 200, "{seen} snapshots were seen, of {looks}");

    *agent.known.role.lock().unwrap_or_else(PoisonError::into_inner) = Some(Role::Error);
    let changed = tokio::time::Instant::now();
    while viewers[0].next().await?["role"] != "ERROR" {}
    ensure!(changed.elapsed() <= Duration::from_millis(110), "{:?}", changed.elapsed());

    drop(viewers);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let looks = agent.looks();
    tokio::time::sleep(Duration::from_secs(10)).await;
    ensure!(agent.looks() == looks, "it looks though nobody does");
    Ok(())
}

#[tokio::test]
async fn the_client_shows_one_snapshot_after_the_other() -> Result<()> {
    let agent = Agent::start()?;
    let path = agent.path();
    let seen = tokio::task::spawn_blocking(move || -> Result<Vec<u64>> {
        let seen = client::watch(&path)?.take(4).map(|status| Ok(status?.detector.sent));
        seen.collect()
    });
    let seen = seen.await??;
    ensure!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    Ok(())
}

/// An agent without anything behind its socket.
struct Agent {
    known: Arc<Known>,
    directory: tempfile::TempDir,
    serving: tokio::task::JoinHandle<()>,
}

/// What it says, and what it was told to do.
#[derive(Default)]
pub(in crate::control) struct Known {
    /// So many bytes it has to say of a reload, if not 0.
    words: usize,
    done: Mutex<Vec<String>>,
    pub(in crate::control) orders: Mutex<Vec<Failover>>,
    replies: Mutex<Option<mpsc::Sender<Reply>>>,
    pub(in crate::control) views: Views,
    /// How often it was asked for its status, which has this many advertisements sent.
    looks: AtomicU64,
    /// What its role is, if not the usual.
    role: Mutex<Option<Role>>,
}

impl Agent {
    fn start() -> Result<Self> {
        Self::start_with(Known::default())
    }

    fn start_with(known: Known) -> Result<Self> {
        let (known, directory) = (Arc::new(known), tempfile::tempdir()?);
        let server = Server::bind(&directory.path().join("socket"))?;
        let source = Arc::clone(&known);
        let serving = tokio::spawn(async move {
            tokio::join!(server.serve(Arc::clone(&source)), source.views.run(&*source));
        });
        Ok(Self { known, directory, serving })
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Says a line, and reads the first one of the answer.
    async fn ask(&self, text: &str) -> Result<Value> {
        let mut stream = UnixStream::connect(self.path()).await?;
        stream.write_all(format!("{text}\n").as_bytes()).await?;
        let mut answer = tokio::io::BufReader::new(stream);
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut answer, &mut line).await?;
        serde_json::from_str(&line).with_context(|| format!("{text}: {line:?}"))
    }

    /// Begins to look.
    async fn watch(&self) -> Result<Viewer> {
        let mut stream = UnixStream::connect(self.path()).await?;
        stream.write_all(b"{\"request\":\"watch\"}\n").await?;
        Ok(Viewer(tokio::io::BufReader::new(stream)))
    }

    fn looks(&self) -> u64 {
        self.known.looks.load(Ordering::Relaxed)
    }

    /// Where the switchover is told that was ordered last.
    fn replies(&self) -> Result<mpsc::Sender<Reply>> {
        let replies = self.known.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.clone().context("no switchover was ordered")
    }
}

/// Somebody who looks.
struct Viewer(tokio::io::BufReader<UnixStream>);

impl Viewer {
    async fn next(&mut self) -> Result<Value> {
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut self.0, &mut line).await?;
        let mut reply: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        Ok(reply["status"].take())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Known {
    fn did(&self, what: String) -> String {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(what.clone());
        what
    }
}

impl Source for Known {
    fn views(&self) -> &Views {
        &self.views
    }

    async fn drill(&self) -> Result<DrillReport, String> {
        Err("nothing to take over".to_owned())
    }

    async fn events(&self, query: Query) -> Result<mpsc::Receiver<Reply>, String> {
        let (replies, queue) = mpsc::channel(4);
        self.did(format!("{query:?}"));
        replies.try_send(Reply::Told(Told { unkept: None })).map_err(|error| error.to_string())?;
        Ok(queue)
    }

    async fn status(&self) -> Result<Status, String> {
        let mut status = metrics::tests::status();
        status.detector.sent = self.looks.fetch_add(1, Ordering::Relaxed);
        status.role = self.role.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(status.role);
        Ok(status)
    }

    async fn reload(&self) -> Result<String, String> {
        Ok(self.did(if self.words > 0 { "x".repeat(self.words) } else { "reload".to_owned() }))
    }

    async fn restart(&self, within: Option<Duration>) -> Result<String, String> {
        Ok(self.did(format!("restart {within:?}")))
    }

    async fn hold(&self, hold: bool) -> Result<String, String> {
        Ok(self.did(format!("hold {hold}")))
    }

    async fn failover(&self, order: Failover) -> Result<mpsc::Receiver<Reply>, String> {
        let (replies, queue) = mpsc::channel(4);
        replies.try_send(Reply::Progress(step())).map_err(|error| error.to_string())?;
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        *self.replies.lock().unwrap_or_else(PoisonError::into_inner) = Some(replies);
        Ok(queue)
    }

    async fn wish(&self, wish: PairWish) -> Result<String, String> {
        Ok(self.did(format!("{wish:?}")))
    }

    async fn shared(&self, peer: bool) -> Result<Document, String> {
        self.did(format!("shared {peer}"));
        Ok(Document { node: "a".to_owned(), shared: Shared::first("a".to_owned(), TEXT.to_owned()) })
    }

    async fn apply(&self, order: Apply) -> Result<String, String> {
        Ok(self.did(format!("{order:?}")))
    }

    async fn update(&self, request: update::Request) -> Result<update::Answer, String> {
        self.did(format!("{request:?}"));
        Ok(update::Answer::Done)
    }
}

const TEXT: &str = "# nothing\n";

/// An agent that reads a question, says something, and then does what no agent should.
struct FakeAgent {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

#[derive(Clone, Copy)]
enum Afterwards {
    Hangup,
    Silence,
    /// A byte now and then: each read of the client's gets something.
    Drip,
}

impl FakeAgent {
    fn start(says: String, then: Afterwards) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        thread::spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            BufReader::new(stream.try_clone()?).read_line(&mut String::new())?;
            stream.write_all(says.as_bytes())?;
            let until = Instant::now() + Duration::from_secs(8);
            while Instant::now() < until {
                match then {
                    Afterwards::Hangup => break,
                    Afterwards::Silence => {}
                    Afterwards::Drip => stream.write_all(b" ")?,
                }
                thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        Ok(Self { path, _directory: directory })
    }
}

fn step() -> StepStatus {
    let sentence = Step::Release.to_string();
    StepStatus { step: Step::Release, standing: Standing::Running, after_ms: 0.0, sentence }
}
