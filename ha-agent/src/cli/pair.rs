//! `ha-agent pair`: introduces this node and its peer to each other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::exit::Exit;
use super::{ConfigArg, fail, say};
use crate::config::{self, PeerConfig};
use crate::peer::identity::Certificate;
use crate::peer::link;
use crate::peer::pairing::ceremony::{self, CeremonyError, Ready, VALIDITY};
use crate::peer::pairing::code::{Code, CodeError};
use crate::peer::store::{Part, Store, StoreError};

/// What there is to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// On the first node: show a code, and wait for `pair join` on the other one.
    Init(InitArgs),
    /// On the other node: pair with the one that shows the code.
    Join(JoinArgs),
    /// Show who this node is, and with whom it is paired.
    Show(ShowArgs),
    /// Let this node go over to a new key. Its agent and the peer's carry it out.
    Rotate(RotateArgs),
}

/// Arguments of `pair init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Where to wait for the other node; the first address of `listen` in the configuration if it is not said.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Pair anew, though the node is paired.
    #[arg(long)]
    replace: bool,
}

/// Arguments of `pair join`.
#[derive(Debug, clap::Args)]
pub struct JoinArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Where the first node waits, as `pair init` says it.
    #[arg(value_name = "ADDR:PORT")]
    address: SocketAddr,
    /// The code that `pair init` shows; read from standard input if neither this nor --code-file is there.
    #[arg(long, conflicts_with = "code_file")]
    code: Option<String>,
    /// A file with the code in its first line; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// Pair anew, though the node is paired.
    #[arg(long)]
    replace: bool,
}

/// Arguments of `pair show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    config: ConfigArg,
}

/// Arguments of `pair rotate`.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// For how long to wait until it is carried out, in seconds; 0: only begin it.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

/// Why it is not done. Displayed, it is one line with the remedy.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error("{}: no [peer] in this file; add [peer] with listen and connect", .0.display())]
    NoPeer(PathBuf),
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error("the code could not be read from {from}: {cause}; write it into the first line")]
    ReadCode { from: String, cause: io::Error },
    #[error("{what}: {cause}; look at the limits of the process (`ulimit -a`)")]
    Os { what: &'static str, cause: io::Error },
    #[error(
        "the new key is made, but not in use after {0} s: it will be as soon as this node's agent runs and is linked to its \
         peer; look at `ha-agent status`"
    )]
    Rotating(u64),
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(error) => error.exit(),
            Self::Ceremony(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::NoPeer(_) => Exit::Config,
            Self::Code(_) => Exit::Usage,
            Self::Os { .. } => Exit::Os,
            Self::ReadCode { .. } | Self::Rotating(_) => Exit::Unavailable,
        }
    }
}

pub(super) fn run(command: &Command) -> Exit {
    let done = match command {
        Command::Init(args) => init(args),
        Command::Join(args) => join(args),
        Command::Show(args) => show(args),
        Command::Rotate(args) => rotate(args),
    };
    match done {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&error, error.exit()),
    }
}

fn init(args: &InitArgs) -> Result<(), Error> {
    let Site { node, peer, store } = Site::load(&args.config)?;
    let ready = Ready::new(store, &node, args.replace)?;
    let first = peer.listen.first().copied();
    let address = args.listen.or(first).ok_or_else(|| Error::NoPeer(args.config.config.clone()))?;
    let code = Code::random().map_err(|cause| Error::Os { what: "no random numbers", cause })?;
    block_on(async {
        let listener = link::bind(address).map_err(|cause| CeremonyError::Listen { address, cause })?;
        // Where the system chose the port.
        let address = listener.local_addr().unwrap_or(address);
        say(format_args!("code {code}, valid for {} minutes and one pair", VALIDITY.as_secs() / 60));
        say(format_args!("on the other node: ha-agent pair join {address} --code {code}"));
        let complain = |line: &str| {
            // Where nobody can read it, the exit code remains.
            let _ = writeln!(io::stderr(), "{line}");
        };
        paired(&ready.host(&listener, &code, complain).await?);
        Ok(())
    })
}

fn join(args: &JoinArgs) -> Result<(), Error> {
    let Site { node, store, .. } = Site::load(&args.config)?;
    let ready = Ready::new(store, &node, args.replace)?;
    let code = read_code(args)?;
    block_on(async {
        paired(&ready.join(args.address, &code).await?);
        Ok(())
    })
}

fn show(args: &ShowArgs) -> Result<(), Error> {
    let Site { node, store, .. } = Site::load(&args.config)?;
    say(format_args!("files      {}", store.directory().display()));
    match store.identity(Part::Node)? {
        Some(own) => describe("node", own.certificate()),
        None => say(format_args!("node       {node}, without a key yet")),
    }
    if let Some(next) = store.identity(Part::NodeNext)? {
        describe("next", next.certificate());
    }
    match store.certificate(Part::Peer)? {
        Some(peer) => describe("peer", &peer),
        None => say("peer       none: not paired"),
    }
    if let Some(next) = store.certificate(Part::PeerNext)? {
        describe("peer next", &next);
    }
    Ok(())
}

fn rotate(args: &RotateArgs) -> Result<(), Error> {
    let Site { node, store, .. } = Site::load(&args.config)?;
    let next = ceremony::rotate(&store, &node)?;
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    loop {
        // The agents change the files.
        let own = store.identity(Part::Node)?;
        if own.is_some_and(|own| *own.certificate() == next) {
            say("this node has a new key, which the peer accepts");
            describe("node", &next);
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Rotating(args.wait));
        }
        thread::sleep(LOOK);
    }
}

fn paired(peer: &Certificate) {
    say(format_args!("paired with {}", peer.name()));
    describe("peer", peer);
}

fn describe(what: &str, certificate: &Certificate) {
    say(format_args!("{what:<10} {}", certificate.name()));
    say(format_args!("  id       {}", certificate.id()));
    say(format_args!("  sha256   {}", certificate.fingerprint()));
}

/// The code, from wherever it is.
fn read_code(args: &JoinArgs) -> Result<Code, Error> {
    if let Some(code) = &args.code {
        return Ok(code.parse()?);
    }
    let file = args.code_file.as_deref().filter(|path| *path != Path::new("-"));
    let from = file.map_or("standard input".to_owned(), |path| path.display().to_string());
    let mut line = Zeroizing::new(String::new());
    let read = if let Some(path) = file {
        File::open(path).and_then(|file| BufReader::new(file.take(LINE)).read_line(&mut line))
    } else {
        if io::stdin().is_terminal() {
            // Where nobody can read it, nobody types.
            let _ = write!(io::stderr(), "code: ").and_then(|()| io::stderr().flush());
        }
        io::stdin().lock().take(LINE).read_line(&mut line)
    };
    read.map_err(|cause| Error::ReadCode { from, cause })?;
    Ok(line.lines().next().unwrap_or_default().parse()?)
}

/// What the configuration says.
struct Site {
    node: String,
    peer: PeerConfig,
    store: Store,
}

impl Site {
    fn load(args: &ConfigArg) -> Result<Self, Error> {
        let config = config::load(&args.config)?;
        let peer = config.peer.ok_or_else(|| Error::NoPeer(args.config.clone()))?;
        let store = Store::at(&peer.directory);
        Ok(Self { node: config.node, peer, store })
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|cause| Error::Os { what: "no runtime", cause })?.block_on(work)
}

/// Bytes that are read of a line with a code.
const LINE: u64 = 256;
/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(100);
