//! `ha-agent bpf`: what an agent has in the kernel, as `bpftool` shows it; and the programs without the agent, for those who
//! work on them.

use std::io;

use aya::programs::{ProgramInfo, loaded_links, loaded_programs};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use super::{fail, say};
use crate::config::Receive;
use crate::dataplane::{self, Dataplane, EXIT, Loaded, Mode, PROGRAM, PROGRAM_TC, Verified};
use crate::net::link::{Interfaces, Monitor};
use crate::net::place::Stage;

/// Arguments of `bpf`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the programs of all agents on this machine, with their attachments and maps.
    Show,
    /// Have the kernel's verifier check each program of this binary, and show what it says. Nothing is attached.
    Verify,
    /// Load the program and attach it to one interface, until SIGINT or SIGTERM.
    Load {
        /// The interface.
        interface: String,
        /// The one for traffic control, not for XDP
        #[arg(long)]
        tcx: bool,
    },
}

pub(super) fn run(args: &Args) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::Os),
    };
    runtime.block_on(async {
        match &args.command {
            Command::Show => show_all().await,
            Command::Verify => verify_all(),
            Command::Load { interface, tcx } => {
                load(interface, if *tcx { Receive::Tcx } else { Receive::Auto }).await
            }
        }
    })
}

/// Whoever has no right sees none, and is told so.
async fn show_all() -> Exit {
    // One that ends meanwhile is no error.
    let (mut programs, mut refused) = (Vec::new(), None);
    for program in loaded_programs() {
        match program {
            Ok(program) => programs.push(program),
            Err(error) => refused = Some(error),
        }
    }
    if let Some(error) = refused.filter(|_| programs.is_empty()) {
        let rights =
            format!("the kernel's programs can't be listed ({error}); run as root, or with CAP_SYS_ADMIN");
        return fail(&rights, Exit::NoPermission);
    }
    programs.retain(|program| program.name_as_str().is_some_and(|name| OURS.contains(&name)));
    if programs.is_empty() {
        return fail(&"no program of an ha-agent is loaded; is one running?", Exit::Unavailable);
    }
    let interfaces = match Monitor::open() {
        Ok(monitor) => monitor.interfaces().await.ok(),
        Err(_) => None,
    };
    for program in &programs {
        show(program);
        for link in loaded_links().flatten().filter(|link| link.program_id() == program.id()) {
            let kind = link
                .link_type()
                .map_or_else(|_| "unknown".to_owned(), |kind| format!("{kind:?}").to_lowercase());
            say(format_args!("\tlink {}: {kind}", link.id()));
        }
        let on = interfaces.iter().flat_map(Interfaces::iter);
        for interface in on.filter(|interface| {
            interface.program == Some(program.id()) || dataplane::runs(&interface.name, program.id())
        }) {
            say(format_args!("\tattached to {}(ifindex {})", interface.name, interface.index));
        }
    }
    Exit::Ok
}

/// One line a program, and the verifier's log before one that is refused.
fn verify_all() -> Exit {
    let all = match dataplane::verify() {
        Ok(all) => all,
        Err(error) => return fail(&error, error.exit()),
    };
    let mut exit = Exit::Ok;
    for Verified { name, outcome } in &all {
        match outcome {
            // The kernel counts since 5.16.
            Ok(info) => say(format_args!(
                "{name}: verified_insns {}  xlated {}B  jited {}B",
                info.verified_instruction_count().unwrap_or_default(),
                info.size_translated().unwrap_or_default(),
                info.size_jitted(),
            )),
            Err(error) => {
                if let Some(log) = error.verifier_log() {
                    say(log);
                }
                exit = fail(&format_args!("{name}: {error}"), error.exit());
            }
        }
    }
    exit
}

async fn load(interface: &str, receive: Receive) -> Exit {
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
    let on = dataplane::Interface { name: interface, index: found.index, occupant: found.program };
    let mode = match dataplane.attach(on, Mode::allowed(receive, Stage::Any)) {
        Ok(mode) => mode,
        Err(error) => return fail(&error, error.exit()),
    };
    let info = match mode {
        Mode::Native | Mode::Generic => dataplane.program().map(|program| program.info()),
        Mode::Tcx | Mode::Packet => dataplane.program_tc().map(|program| program.info()),
    };
    match info {
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
    let kind = match name {
        EXIT => "raw_tracepoint",
        PROGRAM_TC => "sched_cls",
        _ => "xdp",
    };
    say(format_args!("{}: {kind}  name {name}  tag {tag:016x}  gpl", program.id()));
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

/// What an agent loads.
const OURS: [&str; 3] = [PROGRAM, PROGRAM_TC, EXIT];
