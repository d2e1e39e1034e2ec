//! `ha-agent init`: writes a configuration, after a look at the machine, and a few questions where there is somebody to answer.

mod ask;
mod look;
mod text;

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use ipnet::IpNet;
use zeroize::Zeroizing;

use self::ask::{Asked, Questions};
use self::look::Looked;
use self::text::Text;
use super::exit::Exit;
use super::{ConfigArg, fail, say};
use crate::agent::AgentError;
use crate::config::{self, ConfigError};

/// Arguments of `init`. What is not said is asked for on a terminal, and otherwise chosen where that can be done.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// This node's name; the machine's, if none is given.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The interface that the clients are on.
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// The virtual host's number, 1 to 255; one that is not heard there, if none is given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    vhid: Option<u8>,
    /// A virtual address with the length of its prefix. May be given more than once.
    #[arg(long = "address", value_name = "ADDRESS/LENGTH")]
    addresses: Vec<IpNet>,
    /// This node's priority among the two: lower wins.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=254))]
    advskew: u8,
    /// The other node's own address: the two agents are linked with one another.
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// The file with the passphrase. One is made where there is none.
    #[arg(long, default_value = "carp.key", value_name = "FILE")]
    passphrase_file: PathBuf,
    /// From one advertisement to the next, such as 10ms; `classic` is once a second, as other implementations have it.
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,
    /// Write the other node's configuration, too, into this file.
    #[arg(long, value_name = "FILE")]
    other: Option<PathBuf>,
    /// The other node's name.
    #[arg(long, value_name = "NAME")]
    other_node: Option<String>,
    /// The other node's interface; the same, if none is given.
    #[arg(long, value_name = "INTERFACE")]
    other_interface: Option<String>,
    /// Ask nothing.
    #[arg(long)]
    yes: bool,
    /// Write over files that are there. A passphrase is never written over.
    #[arg(long)]
    force: bool,
}

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("{} is there already; --force writes over it", .0.display())]
    There(PathBuf),
    #[error("not enough is known: {}; give these options", .0.join(", "))]
    Missing(Vec<String>),
    #[error("{} could not be written: {cause}; look at its directory, and run as root", path.display())]
    Write { path: PathBuf, cause: io::Error },
    #[error("no passphrase could be made: {0}; make one with `head -c 12 /dev/urandom | base64`")]
    Random(getrandom::Error),
    #[error("what was asked for makes no configuration: {0}")]
    Wrong(ConfigError),
    #[error(transparent)]
    Machine(#[from] AgentError),
}

impl InitError {
    fn exit(&self) -> Exit {
        match self {
            Self::Missing(_) => Exit::Usage,
            Self::Write { cause, .. } if cause.kind() == ErrorKind::PermissionDenied => Exit::NoPermission,
            Self::There(_) | Self::Write { .. } => Exit::CantCreate,
            Self::Random(_) => Exit::Os,
            Self::Wrong(error) => error.exit(),
            Self::Machine(error) => error.exit(),
        }
    }
}

pub(super) fn run(args: &Args) -> Exit {
    match init(args) {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&error, error.exit()),
    }
}

fn init(args: &Args) -> Result<(), InitError> {
    let path = &args.config.config;
    for file in [Some(path), args.other.as_ref()].into_iter().flatten() {
        if file.exists() && !args.force {
            return Err(InitError::There(file.clone()));
        }
    }
    let mut questions = Questions::new(args.yes);
    let looked = Looked::at(args.interface.as_deref(), &mut questions)?;
    let asked = Asked::of(args, &looked, &mut questions)?;
    let key = path.parent().unwrap_or(Path::new("")).join(&args.passphrase_file);
    let made = make_key(&key)?;
    let own = Text { asked: &asked, synchronised: looked.synchronised, other: false }.to_string();
    if let Err(error) = put(path, &own) {
        // Whoever tries again finds things as they were.
        if made {
            let _ = fs::remove_file(&key);
        }
        return Err(error);
    }
    say(format_args!("{} is written", path.display()));
    if made {
        say(format_args!("{} has a new passphrase", key.display()));
    }
    for note in &looked.notes {
        say(note);
    }
    let other = Text { asked: &asked, synchronised: looked.synchronised, other: true }.to_string();
    match &args.other {
        Some(file) => {
            write(file, &other)?;
            say(format_args!("{} is written, for the other node", file.display()));
        }
        None => say(
            "the other node's configuration is the same but for `node`, `interface` and `advskew`; --other writes it",
        ),
    }
    next_steps(args, &asked, path, &key);
    Ok(())
}

fn next_steps(args: &Args, asked: &Asked, path: &Path, key: &Path) {
    let (path, key) = (path.display(), key.display());
    let other = args.other.as_ref().map_or("its configuration".to_owned(), |file| file.display().to_string());
    say("next:");
    say(format_args!(
        "  copy {key} to the same place on the other node (readable by root only), and {other} to {path} there"
    ));
    say("  on both: ha-agent check, then ha-agent run (or the service)");
    if asked.peer.is_some() {
        say("  once: ha-agent pair init here, and ha-agent pair join on the other node");
    }
    say("  ha-agent status says how the two are");
}

/// Makes a passphrase file for its owner only, if there is none. Returns whether it did.
fn make_key(path: &Path) -> Result<bool, InitError> {
    let failed = |cause| InitError::Write { path: path.to_owned(), cause };
    directory_of(path)?;
    let mut bytes = Zeroizing::new([0; RANDOM]);
    getrandom::fill(&mut bytes[..]).map_err(InitError::Random)?;
    let text = Zeroizing::new(BASE64_STANDARD.encode(&bytes[..]) + "\n");
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Writes a configuration, if it is one.
fn put(path: &Path, text: &str) -> Result<(), InitError> {
    // Beside it, so that what it names is found.
    let new = path.with_extension("new");
    write(&new, text)?;
    let judged = config::load(&new).map_err(InitError::Wrong);
    let moved = judged.and_then(|_| {
        fs::rename(&new, path).map_err(|cause| InitError::Write { path: path.to_owned(), cause })
    });
    if moved.is_err() {
        // It is of no use to anybody.
        let _ = fs::remove_file(&new);
    }
    moved
}

fn write(path: &Path, text: &str) -> Result<(), InitError> {
    directory_of(path)?;
    fs::write(path, text).map_err(|cause| InitError::Write { path: path.to_owned(), cause })
}

fn directory_of(path: &Path) -> Result<(), InitError> {
    match path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        Some(directory) => fs::create_dir_all(directory)
            .map_err(|cause| InitError::Write { path: directory.to_owned(), cause }),
        None => Ok(()),
    }
}

/// Bytes of a passphrase: 16 characters.
const RANDOM: usize = 12;
