//! What the kernel and the file system give.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::finding::{Code, Finding};
use crate::cli::exit::Exit;
use crate::config::{Config, Receive};
use crate::dataplane::{Dataplane, LoadError, Pins};

/// Whether the kernel takes what is received with.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let refused = |error: &LoadError| Finding::told(Code::Kernel, KERNEL, error).ending(error.exit());
    // The maps are needed in any case.
    let mut dataplane = match Dataplane::load_pinned(None) {
        Ok(loaded) => loaded.dataplane,
        Err(error) => return vec![refused(&error)],
    };
    let asks = |wanted: &[Receive]| config.vhosts.iter().any(|vhost| wanted.contains(&vhost.receive));
    let mut findings = Vec::new();
    match dataplane.program() {
        Ok(_) => findings.push(Finding::good(KERNEL, "takes the BPF program")),
        Err(error @ LoadError::NoPermission(_)) => return vec![refused(&error)],
        Err(error) if asks(&[Receive::Native, Receive::Generic]) => findings.push(refused(&error)),
        Err(error) if asks(&[Receive::Auto]) => {
            let error = error.to_string();
            let cause = error.split_once("; ").map_or(error.as_str(), |(cause, _)| cause);
            let sentence = format!(
                "{cause}: with receive = \"auto\", advertisements will be received by a packet socket"
            );
            findings.push(Finding::new(Code::ProgramRefused, KERNEL, sentence));
        }
        // Only a packet socket is wanted.
        Err(error) => findings
            .push(Finding::good(KERNEL, format!("takes no BPF program, which is not asked for: {error}"))),
    }
    if asks(&[Receive::Tcx])
        && let Err(error) = dataplane.program_tc()
    {
        findings.push(refused(&error));
    }
    findings
}

/// Whether there is room for what an agent makes: its control socket, what outlives it, what it remembers.
pub(super) fn check_files(control: &Path, pins: &Path, state: &Path) -> Vec<Finding> {
    let socket = match fs::symlink_metadata(control) {
        Ok(found) if !found.file_type().is_socket() => {
            let sentence = format!("{} exists and is no socket", control.display());
            Finding::new(Code::NoSocket, FILES, sentence)
                .remedied("remove it, or name another path with --control")
        }
        Ok(_) => Finding::good(FILES, format!("the control socket {} is there", control.display())),
        Err(_) => match room(control.parent().unwrap_or(Path::new("."))) {
            Ok(()) => Finding::good(FILES, format!("the control socket {} can be made", control.display())),
            Err(cause) => {
                let sentence = format!("the control socket {} can't be made: {cause}", control.display());
                Finding::new(Code::NoSocket, FILES, sentence).ending(Exit::Unavailable)
            }
        },
    };
    let pins = match Pins::possible(pins) {
        Ok(()) => Finding::good(FILES, format!("{} can outlive the agent", pins.display())),
        Err(error) => Finding::told(Code::NoBpffs, FILES, &error),
    };
    let state = match room(state) {
        Ok(()) => {
            Finding::good(FILES, format!("what is to be remembered can be kept in {}", state.display()))
        }
        Err(cause) => {
            let sentence = format!("nothing can be kept in {}: {cause}", state.display());
            Finding::new(Code::NoState, FILES, sentence)
        }
    };
    vec![socket, pins, state]
}

/// Whether something can be made in a directory, or the directory itself, if it is not there yet.
fn room(directory: &Path) -> Result<(), String> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        return Err(format!("{} is no directory", existing.display()));
    }
    access(existing, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| format!("{} can't be written: {}", existing.display(), errno.desc()))
}

const KERNEL: &str = "kernel";
const FILES: &str = "files";
