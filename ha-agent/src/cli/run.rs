//! `ha-agent run`

use std::path::PathBuf;

use super::exit::Exit;
use super::{ConfigArg, ControlArg, PinsArg, fail};
use crate::agent::{self, Ended};
use crate::config::{self, Config};
use crate::sys::hurry::Hurry;
use crate::sys::rights::{self, Kept};
use crate::update::guard::become_program;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    control: ControlArg,
    /// Where strict mode keeps what it has heard.
    #[arg(long, default_value = "/var/lib/ha-agent", value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    pins: PinsArg,
    /// Record what the machines are told and what they decide into a new file, for `replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Exit {
    let config = match config::load(&args.config.config) {
        Ok(config) => config,
        Err(error) => return fail(&error, error.exit()),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    give_up_rights(&config);
    // Others may be waiting for what an agent before this one served; not where they have taken over by now.
    let hurry = Hurry::begin(config.realtime.priority.is_some() && agent::keeps_pace(&config));
    let (joins, leaves) = (hurry.clone(), hurry.clone());
    // Two threads: one may wait inside the kernel while the other answers.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || joins.join())
        .on_thread_stop(move || leaves.leave())
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}; look at `ulimit -a`"), Exit::Os),
    };
    let files = agent::Files {
        config: args.config.config.clone(),
        socket: args.control.control.clone(),
        state: args.state.clone(),
        pins: args.pins.pins.clone(),
        record: args.record.clone(),
    };
    let ended = runtime.block_on(agent::run(config, files, &hurry));
    // Before another program begins: its threads are gone.
    drop(runtime);
    match ended {
        Ok(Ended::Told | Ended::Stays(None)) => Exit::Ok,
        Ok(Ended::Succeeded(path) | Ended::Stays(Some(path))) => {
            let arguments: Vec<_> = std::env::args_os().skip(1).collect();
            let error = become_program(&path, &arguments);
            fail(&format!("{} can't be started: {error}", path.display()), Exit::Os)
        }
        Err(error) => {
            if let Some(log) = error.verifier_log() {
                tracing::debug!("the verifier's log:\n{log}");
            }
            fail(&error, error.exit())
        }
    }
}

/// Gives up what serving addresses does not take. What else is taken over needs other programs, with all rights.
fn give_up_rights(config: &Config) {
    if !config.charge.is_empty() {
        return;
    }
    let peer = config.peer.iter().flat_map(|peer| &peer.listen);
    let web = config.web.iter().flat_map(|web| &web.listen);
    let low_ports = peer.chain(web).any(|address| address.port() < 1024);
    if let Err(error) = rights::give_up_all_but(Kept::for_addresses(low_ports)) {
        tracing::warn!("this process keeps rights that it does not need: {error}");
    }
}
