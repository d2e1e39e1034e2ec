//! `ha-agent bpf`: the kernel program without the agent, for those who work on it.

use std::io;

use aya::programs::ProgramInfo;
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use super::{fail, say};
use crate::dataplane::{Dataplane, Loaded};
use crate::net::link::Monitor;
use crate::net::place::Stage;

/// Arguments of `bpf`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load the program and attach it to one interface, until SIGINT or SIGTERM.
    Load {
        /// The interface.
        interface: String,
    },
}

pub(super) fn run(args: &Args) -> Exit {
    let Command::Load { interface } = &args.command;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::Os),
    };
    runtime.block_on(load(interface))
}

async fn load(interface: &str) -> Exit {
    let Loaded { mut dataplane, tables: _tables, events: _events, .. } = match Dataplane::load() {
        Ok(loaded) => loaded,
        Err(error) => {
            if let Some(log) = error.verifier_log() {
                say(log);
            }
            return fail(&error, error.exit());
        }
    };
    let interfaces = match Monitor::open() {
        Ok(monitor) => monitor.interfaces().await,
        Err(error) => return fail(&error, Exit::Os),
    };
    let found = match &interfaces {
        Ok(interfaces) => interfaces.get(interface),
        Err(error) => return fail(error, Exit::Unavailable),
    };
    let Some(found) = found else {
        let error = format!("interface {interface} does not exist; `ip link` lists those that do");
        return fail(&error, Exit::Unavailable);
    };
    let mode = match dataplane.attach(interface, found.index, found.program, Stage::Any) {
        Ok(mode) => mode,
        Err(error) => return fail(&error, error.exit()),
    };
    match dataplane.program().map(|program| program.info()) {
        Ok(Ok(info)) => show(&info),
        Ok(Err(error)) => return fail(&error, Exit::Unavailable),
        Err(error) => return fail(&error, error.exit()),
    }
    say(format_args!("attached to {interface}(ifindex {}), {mode}; Ctrl-C detaches", found.index));
    match ended().await {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&error, Exit::Os),
    }
}

/// What `bpftool prog show` and `bpftool map show` would say.
fn show(program: &ProgramInfo) {
    let tag = program.tag();
    let name = program.name_as_str().unwrap_or_default();
    say(format_args!("{}: xdp  name {name}  tag {tag:016x}  gpl", program.id()));
    say(format_args!(
        "\txlated {}B  jited {}B  memlock {}B  verified_insns {}",
        program.size_translated().unwrap_or_default(),
        program.size_jitted(),
        program.memory_locked().unwrap_or_default(),
        program.verified_instruction_count().unwrap_or_default(),
    ));
    let ids = program.map_ids().ok().flatten().unwrap_or_default();
    for map in aya::maps::loaded_maps().flatten().filter(|map| ids.contains(&map.id())) {
        say(format_args!(
            "{}: {}  name {}  key {}B  value {}B  max_entries {}",
            map.id(),
            map.map_type().map_or_else(|_| "unknown".to_owned(), |kind| format!("{kind:?}").to_lowercase()),
            map.name_as_str().unwrap_or_default(),
            map.key_size(),
            map.value_size(),
            map.max_entries(),
        ));
    }
}

async fn ended() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
