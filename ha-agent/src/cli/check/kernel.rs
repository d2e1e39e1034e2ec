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
    // The maps are needed in any case.
    let mut dataplane = match Dataplane::load_pinned(None) {
        Ok(loaded) => loaded.dataplane,
        Err(error) => return vec![refused(&error)],
    };
    let asked: Vec<Receive> = config.vhosts.iter().map(|vhost| vhost.receive).collect();
    let mut findings = vec![judge(dataplane.program().map(drop), &asked)];
    if asked.contains(&Receive::Tcx)
        && let Err(error) = dataplane.program_tc()
    {
        findings.push(refused(&error));
    }
    findings
}

fn refused(error: &LoadError) -> Finding {
    Finding::told(Code::Kernel, KERNEL, error).ending(error.exit())
}

/// Whether the program can be had, and what becomes of those who ask for it if not.
fn judge(loaded: Result<(), LoadError>, asked: &[Receive]) -> Finding {
    let Err(error) = loaded else { return Finding::good(KERNEL, "takes the BPF program") };
    let needed = asked.iter().any(|receive| matches!(receive, Receive::Native | Receive::Generic));
    // On a kernel that is too old, the agent tries nothing else by itself.
    let too_old = matches!(error, LoadError::TooOld { .. }) && asked.contains(&Receive::Auto);
    if needed || too_old || matches!(error, LoadError::NoPermission(_)) {
        return refused(&error);
    }
    let told = error.to_string();
    if !asked.contains(&Receive::Auto) {
        // By traffic control or a packet socket.
        return Finding::good(KERNEL, format!("takes no XDP program, which is not asked for: {told}"));
    }
    let cause = told.split_once("; ").map_or(told.as_str(), |(cause, _)| cause);
    let sentence =
        format!("{cause}: with receive = \"auto\", advertisements will be received by a packet socket");
    Finding::new(Code::ProgramRefused, KERNEL, sentence)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_refused_matters_to_those_who_ask_for_it() {
        let table: [(&[Receive], Option<Code>); 6] = [
            (&[Receive::Auto], Some(Code::ProgramRefused)),
            (&[Receive::Auto, Receive::Packet], Some(Code::ProgramRefused)),
            (&[Receive::Native], Some(Code::Kernel)),
            (&[Receive::Generic, Receive::Auto], Some(Code::Kernel)),
            (&[Receive::Packet], None),
            (&[Receive::Tcx], None),
        ];
        for (asked, code) in table {
            let error = LoadError::Refused { cause: "invalid argument".into(), log: String::new() };
            let found = judge(Err(error), asked);
            assert_eq!(found.code, code, "{asked:?}: {found}");
            assert_eq!(judge(Ok(()), asked).code, None, "{asked:?}");
        }
        let denied = LoadError::NoPermission(std::io::ErrorKind::PermissionDenied.into());
        let found = judge(Err(denied), &[Receive::Packet]);
        assert_eq!((found.code, found.exit), (Some(Code::Kernel), Exit::NoPermission));
        let old = LoadError::TooOld { release: "5.10.0".to_owned(), cause: "invalid argument".into() };
        let found = judge(Err(old), &[Receive::Auto]);
        assert_eq!((found.code, found.exit), (Some(Code::Kernel), Exit::Unavailable));
    }
}
