//! `ha-agent config`: what the two nodes of a pair share.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use diffy::DiffOptions;

use super::exit::Exit;
use super::{ConfigArg, ControlArg, fail, say};
use crate::config::file::{self, FileProblem};
use crate::config::shared::{self, Shared, SharedFileError, TEXT_LIMIT};
use crate::config::{self, ConfigError};
use crate::control::client::{self, ClientError};
use crate::control::shared::{Apply, Document};

/// What there is to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print it, as it is on this node or on the peer.
    Show(ShowArgs),
    /// Show how it differs from the peer's, or from a file. Exits with 0 if it does not, with 1 if it does.
    Diff(DiffArgs),
    /// Change it on both nodes, or on none: both check it first.
    Apply(ApplyArgs),
    /// Make its first version from a file, before the agent runs. On both nodes, from the same file.
    Init(InitArgs),
}

/// Arguments of `config show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    control: ControlArg,
    /// The peer's.
    #[arg(long)]
    peer: bool,
    /// With its version and who changed it, as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `config diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    #[command(flatten)]
    control: ControlArg,
    /// Compare with this file, and not with the peer's; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Arguments of `config apply`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct ApplyArgs {
    #[command(flatten)]
    control: ControlArg,
    /// All of what is to be shared from now on; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// If the peer can't be asked: change it on this node alone. The peer takes it when it is back.
    #[arg(long)]
    alone: bool,
    /// Also what the agents can't take up while they run: store it on both nodes, for their next start.
    #[arg(long)]
    at_restart: bool,
    /// Replace what the peer has, though it was changed without this node.
    #[arg(long)]
    over: bool,
    /// Have it checked on both nodes, show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `config init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// What is to be shared; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(command: &Command) -> Exit {
    let done = match command {
        Command::Show(args) => show(args),
        Command::Diff(args) => diff(args),
        Command::Apply(args) => apply(args),
        Command::Init(args) => init(args),
    };
    done.unwrap_or_else(|error| fail(&error, error.exit()))
}

fn show(args: &ShowArgs) -> Result<Exit, ConfigCliError> {
    let document = client::shared(&args.control.control, args.peer)?;
    if args.json {
        say(serde_json::to_string_pretty(&document).map_err(io::Error::other)?);
    } else {
        say(document.shared.text.trim_end_matches('\n'));
    }
    Ok(Exit::Ok)
}

fn diff(args: &DiffArgs) -> Result<Exit, ConfigCliError> {
    let own = client::shared(&args.control.control, false)?;
    let (other, name) = if let Some(file) = &args.file {
        (text(file)?, file.display().to_string())
    } else {
        let peer = client::shared(&args.control.control, true)?;
        let name = title(&peer);
        (peer.shared.text, name)
    };
    if own.shared.text == other {
        return Ok(Exit::Ok);
    }
    let mut options = DiffOptions::new();
    options.set_original_filename(title(&own)).set_modified_filename(name);
    say(options.create_patch(&own.shared.text, &other).to_string().trim_end_matches('\n'));
    Ok(Exit::Differs)
}

fn title(document: &Document) -> String {
    format!("{}, version {} by {}", document.node, document.shared.version, document.shared.by)
}

fn apply(args: &ApplyArgs) -> Result<Exit, ConfigCliError> {
    let ApplyArgs { control, file, alone, at_restart, over, dry_run } = args;
    let order = Apply {
        name: file.display().to_string(),
        text: text(file)?,
        alone: *alone,
        at_restart: *at_restart,
        over: *over,
        dry_run: *dry_run,
    };
    say(client::apply(&control.control, order)?);
    Ok(Exit::Ok)
}

fn init(args: &InitArgs) -> Result<Exit, ConfigCliError> {
    let own = &args.config.config;
    let path = config::shared_file(own)?.ok_or_else(|| ConfigCliError::NothingShared(own.clone()))?;
    match shared::read(&path) {
        Ok(_) => return Err(ConfigCliError::Exists(path)),
        Err(SharedFileError::Missing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let first = Shared::first(String::new(), text(&args.file)?);
    let config = config::load_with(own, &args.file, first.clone())?;
    shared::write(&path, &Shared { by: config.node.clone(), ..first })?;
    say(format_args!("{}: version 1, by {}", path.display(), config.node));
    Ok(Exit::Ok)
}

/// The text of a file, or of standard input.
fn text(path: &Path) -> Result<String, ConfigCliError> {
    let unreadable = |problem| ConfigCliError::File { path: path.to_owned(), problem };
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().take(TEXT_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
        bytes
    } else {
        file::read(path, TEXT_LIMIT).map_err(unreadable)?.bytes.to_vec()
    };
    if bytes.len() > TEXT_LIMIT {
        return Err(unreadable(FileProblem::TooLarge { limit: TEXT_LIMIT }));
    }
    String::from_utf8(bytes).map_err(|_| ConfigCliError::NoText(path.to_owned()))
}

/// Why it was not done. Displayed, it is one line.
#[derive(Debug, thiserror::Error)]
enum ConfigCliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Shared(#[from] SharedFileError),
    #[error("the file {} {problem}; name another", path.display())]
    File { path: PathBuf, problem: FileProblem },
    #[error("the file {} is not UTF-8 text; name another", .0.display())]
    NoText(PathBuf),
    #[error("{}: nothing is shared; add shared = \"shared.json\" to [peer]", .0.display())]
    NothingShared(PathBuf),
    #[error("{} exists already; `ha-agent config apply FILE` changes it", .0.display())]
    Exists(PathBuf),
    #[error("{0}; look at where it comes from and goes to")]
    Io(#[from] io::Error),
}

impl ConfigCliError {
    fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => error.exit(),
            Self::Config(error) => error.exit(),
            Self::Shared(error) => error.exit(),
            Self::File { problem, .. } => problem.exit(),
            Self::NoText(_) => Exit::Data,
            Self::NothingShared(_) => Exit::Config,
            Self::Exists(_) => Exit::CantCreate,
            Self::Io(_) => Exit::Os,
        }
    }
}
