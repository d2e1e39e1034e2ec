//! The server, and who connects to it.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ha_agent::config::{self, WebConfig};
use ha_agent::control::http::{Handler, Visitor};
use ha_agent::control::status::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf, duplex, split};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answers::answers;
use super::script::{Step, Words};
use crate::fuzz::nobody::Nobody;

/// What there is to be visited, for as long as the process runs. Its time is virtual: whoever waits does so at once.
pub(super) struct Site {
    runtime: Runtime,
    /// Nobody else knows it, and no input that was kept has it.
    token: Vec<u8>,
    cookie: Vec<u8>,
    status: Status,
    /// By who connects.
    configs: [WebConfig; Who::ALL.len()],
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Does not know the token.
    Stranger,
    /// Is on loopback, where everybody may look at a page without a token, and nobody act.
    Neighbour,
    /// Knows the token.
    Friend,
    /// The same where nobody may act.
    Reader,
    /// Is a reverse proxy that may say who somebody is.
    Proxied,
}

/// What came of a visit.
pub(super) struct Heard {
    pub(super) bytes: Vec<u8>,
    pub(super) end: End,
    /// What the agent was told to do: to move the role,
    pub(super) failovers: usize,
    /// and anything else.
    pub(super) others: usize,
}

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server had enough.
    Closed,
    /// Nothing more was said for long, and it is still there.
    Late,
    /// The visitor had heard enough.
    Left,
}

impl Site {
    pub(super) fn start() -> Self {
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let (token, node) = (random(), format!("node-{}", random()));
        let mut status: Status = serde_json::from_str(SAMPLE).expect("a status");
        status.node = node;
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("web.token"), &token).expect("room for a token");
        fs::write(directory.path().join("carp.key"), "secret").expect("room for a key");
        let configs = Who::ALL.map(|who| configured(directory.path(), who.table()));
        let mut site = Self { runtime, token: token.into_bytes(), cookie: Vec::new(), status, configs };
        site.cookie = site.log_in();
        site
    }

    /// What some bytes stand for when somebody says them.
    pub(super) fn words(&self, who: Who) -> Words<'_> {
        if who.knows_token() {
            Words { token: &self.token, cookie: &self.cookie }
        } else {
            Words { token: b"another-token-of-the-lab", cookie: b"ha-agent=9999999999.00" }
        }
    }

    pub(super) fn token(&self) -> &[u8] {
        &self.token
    }

    /// The node's name: stands in the status, and nowhere else.
    pub(super) fn node(&self) -> &str {
        &self.status.node
    }

    /// Somebody connects, and says something in pieces of a size.
    pub(super) fn visit(&self, who: Who, steps: &[Step<'_>], size: usize) -> Heard {
        let source = Arc::new(Nobody::of(self.status.clone()));
        let handler = Handler::new(self.configs[who as usize].clone(), Arc::clone(&source));
        let (bytes, end) = self.runtime.block_on(async {
            let looking = {
                let source = Arc::clone(&source);
                tokio::spawn(async move { source.views.run(&*source).await })
            };
            let (ours, theirs) = duplex(PIPE);
            let server = tokio::spawn(handler.converse(theirs, who.visitor()));
            let heard = converse(ours, steps, size).await;
            let ended = timeout(SOON, server).await.expect("it ends when nobody is there any more");
            ended.expect("no panic");
            looking.abort();
            heard
        });
        Heard { bytes, end, failovers: source.failovers(), others: source.others() }
    }

    fn log_in(&self) -> Vec<u8> {
        let form = [b"token=", &self.token[..]].concat();
        let head = format!(
            "POST /login HTTP/1.1\r\nhost: a\r\nsec-fetch-site: same-origin\r\ncontent-length: {}\r\n\r\n",
            form.len()
        );
        let visit = self.visit(Who::Friend, &[Step::Say(head.as_bytes()), Step::Say(&form)], 1024);
        let answers = answers(&visit.bytes, false);
        let cookie = answers.first().and_then(|answer| answer.header("set-cookie")).expect("a session");
        cookie.split(';').next().unwrap_or_default().as_bytes().to_vec()
    }
}

impl Who {
    pub(super) const ALL: [Self; 5] =
        [Self::Stranger, Self::Neighbour, Self::Friend, Self::Reader, Self::Proxied];

    pub(super) fn knows_token(self) -> bool {
        match self {
            Self::Stranger | Self::Neighbour | Self::Proxied => false,
            Self::Friend | Self::Reader => true,
        }
    }

    /// The table `[web]` of the agent that is visited.
    fn table(self) -> &'static str {
        match self {
            Self::Stranger | Self::Friend | Self::Proxied => {
                "token_file = \"web.token\"\nactions = true\ntrust_header = \"X-Remote-User\"\n\
                 trusted_proxies = [\"10.77.0.8\"]"
            }
            Self::Neighbour => "hosts = [\"ha.example.org\"]",
            Self::Reader => "token_file = \"web.token\"",
        }
    }

    fn visitor(self) -> Visitor {
        let [from, to] = match self {
            Self::Stranger | Self::Friend | Self::Reader => [[10, 77, 0, 9], [10, 77, 0, 1]],
            Self::Neighbour => [[127, 0, 0, 1]; 2],
            Self::Proxied => [[10, 77, 0, 8], [10, 77, 0, 1]],
        };
        Visitor { from: SocketAddr::from((from, 40000)), to: SocketAddr::from((to, 7781)) }
    }
}

/// Says it all, and hears what is answered, until the server or the visitor has enough.
async fn converse(stream: DuplexStream, steps: &[Step<'_>], size: usize) -> (Vec<u8>, End) {
    let (mut ear, mouth) = split(stream);
    let mut saying = pin!(say(mouth, steps, size));
    // Nothing that is said takes longer.
    let mut until = Instant::now() + LONGEST;
    let (mut heard, mut mouth) = (Vec::new(), None);
    loop {
        tokio::select! {
            read = ear.read_buf(&mut heard) => match read {
                Ok(0) | Err(_) => return (heard, End::Closed),
                Ok(_) if heard.len() > MOST => return (heard, End::Left),
                Ok(_) => {}
            },
            // It stays open.
            said = &mut saying, if mouth.is_none() => {
                mouth = Some(said);
                until = Instant::now() + PATIENCE;
            }
            () = sleep_until(until) => return (heard, End::Late),
        }
    }
}

/// Until the other end hears no more.
async fn say(mut mouth: WriteHalf<DuplexStream>, steps: &[Step<'_>], size: usize) -> WriteHalf<DuplexStream> {
    for step in steps {
        let said = match *step {
            Step::Say(bytes) => say_all(&mut mouth, bytes, size).await,
            Step::Repeat(byte, times) => {
                let block = [byte; PIPE];
                let mut said = Ok(());
                for begun in (0..times).step_by(PIPE) {
                    said = said.and(mouth.write_all(&block[..PIPE.min(times - begun)]).await);
                }
                said
            }
            Step::Wait(tenths) => {
                sleep(Duration::from_millis(100) * u32::from(tenths)).await;
                Ok(())
            }
        };
        if said.is_err() {
            break;
        }
    }
    mouth
}

async fn say_all(mouth: &mut WriteHalf<DuplexStream>, bytes: &[u8], size: usize) -> std::io::Result<()> {
    for piece in bytes.chunks(size) {
        mouth.write_all(piece).await?;
        // It may be read as it is.
        yield_now().await;
    }
    Ok(())
}

fn configured(directory: &Path, table: &str) -> WebConfig {
    let path = directory.join("ha-agent.toml");
    fs::write(&path, format!("{CONFIG}[web]\n{table}\n")).expect("room for a small file");
    config::load(&path).expect("a configuration").web.expect("a page")
}

/// Not to be guessed.
fn random() -> String {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random bytes");
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

const SAMPLE: &str = include_str!("../../../../../ha-agent/src/control/metrics/sample.json");
const CONFIG: &str = "node = \"a\"\n[auth]\npassphrase_file = \"carp.key\"\n[[vhost]]\nname = \"data\"\n\
                      interface = \"eth0\"\nvhid = 10\naddresses = [\"10.77.0.100/24\"]\n";
/// Bytes on their way.
const PIPE: usize = 4096;
/// Bytes that a visitor hears before it has enough.
const MOST: usize = 128 << 10;
/// Longer than a body and then the next head may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same after all pauses.
const LONGEST: Duration = Duration::from_mins(1);
/// How long a visit may go on that the visitor has ended.
const SOON: Duration = Duration::from_secs(1);
