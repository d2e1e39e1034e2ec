//! The command line: one file a subcommand.

pub mod bpf;
pub mod check;
pub mod config;
pub mod drill;
pub mod events;
pub mod exit;
pub mod failover;
pub mod guard;
pub mod history;
pub mod init;
mod live;
mod logging;
mod machine;
pub mod metrics;
pub mod order;
pub mod pages;
mod paint;
pub mod pair;
pub mod replay;
pub mod run;
#[cfg(test)]
pub(crate) mod sample;
pub mod sniff;
pub mod status;
pub mod top;
pub mod unload;
pub mod update;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use self::exit::Exit;
use crate::control::Question;

/// A failover agent for pairs of Linux controllers, with its detector in the kernel.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the virtual hosts of a configuration, in the foreground, until SIGTERM or SIGINT; SIGHUP reloads it.
    Run(run::Args),
    /// Show what a running agent knows, and exit by the worst of it.
    Status(status::Args),
    /// Show both controllers on the terminal, live: virtual hosts, paths, failovers; and order one.
    Top(top::Args),
    /// Show what happened: changes of state and role, failovers step by step, reasons, suspicions, starts and ends.
    Events(events::Args),
    /// Show each failover that a running agent knows of, with the time of each phase.
    History(history::Args),
    /// Print what a running agent counts, for a monitoring system: for one that reads files, and not this format,
    /// with `--format prometheus`.
    Metrics(metrics::Args),
    /// Let a running agent read its configuration again: passphrases, mode, peers. Nothing else may differ.
    Reload(order::Args),
    /// Let the program of a running agent begin anew, maybe a new version of it, with everything that it serves.
    Restart(order::RestartArgs),
    /// Move the active role of a pair to the other node, in order, and show each step.
    Failover(failover::Args),
    /// Say what would become of a takeover by this node, which stands by: what is in its way, and how long it would take.
    /// Nothing is touched.
    Drill(drill::Args),
    /// Until `resume`: in a pair, nothing fails over to this node by itself; alone, it is demoted, and the others go first.
    Hold(order::Args),
    /// End a `hold`.
    Resume(order::Args),
    /// Let nothing fail over in the pair by itself, until `enable`.
    Disable(order::Args),
    /// End a `disable`.
    Enable(order::Args),
    /// Say which node of the pair is to be active if both could be, or `none`.
    Prefer(order::PreferArgs),
    /// Replace the agents of a pair by those of a package, one after the other, without an outage.
    Update(update::Args),
    /// Decide anew what an agent decided that ran with `--record`, show it, and demand that it is the same.
    Replay(replay::Args),
    /// Introduce this node and its peer to each other, for the link between their agents.
    #[command(subcommand)]
    Pair(pair::Command),
    /// Show and change the configuration that the two nodes of a pair share.
    #[command(subcommand)]
    Config(config::Command),
    /// Detach what an agent has left in the kernel that was killed, and remove it: the node answers for its addresses again,
    /// if it has any.
    Unload(unload::Args),
    /// Write a configuration, after a look at this machine, and a few questions.
    Init(init::Args),
    /// Show all CARP on an interface or in a recording, decoded, and whether it may be believed and why not.
    Sniff(sniff::Args),
    /// Check a configuration and this machine, without changing anything.
    Check(check::Args),
    /// Show what agents have in the kernel, as bpftool does; or load the program on its own.
    Bpf(bpf::Args),
    /// Print the manual page, or write those of all subcommands.
    Man(pages::ManArgs),
    /// Print what lets a shell complete the command line.
    Completions(pages::CompletionsArgs),
    /// Start the agent before again, if a new one does not prove itself.
    #[command(hide = true)]
    Guard(guard::Args),
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub struct ConfigArg {
    /// The configuration file.
    #[arg(short, long, default_value = "/etc/ha-agent/ha-agent.toml", value_name = "FILE")]
    pub config: PathBuf,
}

/// Where is kept what outlives the agent's process.
#[derive(Debug, clap::Args)]
pub struct PinsArg {
    /// What of the kernel program outlives the agent: a directory on a bpffs.
    #[arg(long, default_value = "/sys/fs/bpf/ha-agent", value_name = "DIR")]
    pub pins: PathBuf,
}

/// Where the control socket is.
#[derive(Debug, clap::Args)]
pub struct ControlArg {
    /// The agent's control socket.
    #[arg(long, default_value = crate::control::DEFAULT_SOCKET, value_name = "SOCKET")]
    pub control: PathBuf,
}

impl Cli {
    /// Runs the subcommand.
    #[must_use]
    pub fn run(self) -> Exit {
        logging::begin();
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Top(args) => top::run(&args),
            Command::Events(args) => events::run(&args),
            Command::History(args) => history::run(&args),
            Command::Metrics(args) => metrics::run(&args),
            Command::Reload(args) => order::run(&args, Question::Reload),
            Command::Restart(args) => order::restart(&args),
            Command::Hold(args) => order::run(&args, Question::Hold),
            Command::Resume(args) => order::run(&args, Question::Resume),
            Command::Failover(args) => failover::run(&args),
            Command::Drill(args) => drill::run(&args),
            Command::Disable(args) => order::run(&args, Question::Disable),
            Command::Enable(args) => order::run(&args, Question::Enable),
            Command::Prefer(args) => order::prefer(&args),
            Command::Replay(args) => replay::run(&args),
            Command::Pair(command) => pair::run(&command),
            Command::Config(command) => config::run(&command),
            Command::Unload(args) => unload::run(&args),
            Command::Init(args) => init::run(&args),
            Command::Sniff(args) => sniff::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Update(args) => update::run(&args),
            Command::Bpf(args) => bpf::run(&args),
            Command::Man(args) => pages::man(&args),
            Command::Completions(args) => pages::completions(&args),
            Command::Guard(args) => guard::run(&args),
        }
    }
}

/// Prints a line. A reader that went away (`| head`) has what it wanted.
fn say(line: impl Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Says in one line what went wrong.
fn fail(error: &impl Display, exit: Exit) -> Exit {
    // Where nobody can read it, the exit code remains.
    let _ = writeln!(io::stderr(), "ha-agent: {error}");
    exit
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 a replay decides otherwise, or configurations differ; 2 wrong command line; 3 the status, a drill or a check shows a warning; 4 something critical; 5 the active role did not move; 6 an update was halted; 65 no recording that can be read; 69 something needed is not there (interface, BPF, a running agent); \
70 an error in this program; 71 the system failed; 73 a file can't be made; 77 no permission; 78 wrong configuration.

HA_AGENT_LOG sets what is logged: error, warn, info (the default), debug, trace.";
