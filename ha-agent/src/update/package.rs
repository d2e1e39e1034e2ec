//! What a package is, and whether it can run here: found out by running it, while the old agent goes on.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::cli::exit::Exit;
use crate::config::quote::OneLine;
use crate::sys::pidfd::Pidfd;

/// Why a package can't be the agent of this node.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The system refuses.
    #[error("the package {} can't be {verb}: {cause}", .path.display())]
    Io {
        /// The package.
        path: PathBuf,
        /// What was to be done with it.
        verb: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// No program.
    #[error("the package is not an executable file (ELF); give the executable of an ha-agent")]
    NoProgram,
    /// For other machines.
    #[error(
        "the package is a program for another kind of machine; give the executable that was built for this one"
    )]
    OtherMachine,
    /// Another program.
    #[error("the package is not an ha-agent: asked for its version, it says '{0}'")]
    NoAgent(String),
    /// It can't go on with what is here.
    #[error("the package's ha-agent refuses this node's configuration, or this machine: {0}")]
    Refuses(String),
    /// It hangs.
    #[error("the package, run with `{0}`, did not end within {limit} s and was killed; is it an ha-agent?", limit = PATIENCE.as_secs())]
    Hangs(String),
}

/// Where the agent of this node has its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Its configuration.
    pub config: PathBuf,
    /// Its control socket.
    pub control: PathBuf,
    /// What outlives its process, on a bpffs.
    pub pins: PathBuf,
    /// What it remembers.
    pub state: PathBuf,
}

/// Finds out whether the program in `path` can be the agent of this node, and returns its version.
///
/// # Errors
///
/// See [`PackageError`].
pub fn inspect(path: &Path, places: &Places) -> Result<String, PackageError> {
    let own = kind_of_program(Path::new("/proc/self/exe"))?;
    match kind_of_program(path)? {
        None => return Err(PackageError::NoProgram),
        kind if kind != own => return Err(PackageError::OtherMachine),
        Some(_) => {}
    }
    let (_, printed) = run(path, &["--version".as_ref()])?;
    let version = printed.strip_prefix("ha-agent ").map(str::trim).filter(|version| is_version(version));
    let version = version.ok_or_else(|| PackageError::NoAgent(excerpt(&printed)))?.to_owned();
    let Places { config, control, pins, state } = places;
    let check: [&OsStr; 10] = [
        "check".as_ref(),
        "--config".as_ref(),
        config.as_ref(),
        "--no-listen".as_ref(),
        "--control".as_ref(),
        control.as_ref(),
        "--pins".as_ref(),
        pins.as_ref(),
        "--state".as_ref(),
        state.as_ref(),
    ];
    let (mut code, mut printed) = run(path, &check)?;
    // An older one looks at no files and listens to nobody, and does not know the options.
    if code == Some(Exit::Usage.code().into()) {
        (code, printed) = run(path, &check[..3])?;
    }
    // A warning is no harm.
    if [Exit::Ok, Exit::Warning].iter().any(|good| code == Some(good.code().into())) {
        Ok(version)
    } else {
        Err(PackageError::Refuses(excerpt(&errors(&printed))))
    }
}

/// What must be the same in two programs for one machine: word size, byte order, processor. `None` if it is no program.
fn kind_of_program(path: &Path) -> Result<Option<[u8; 4]>, PackageError> {
    let failed = |cause| PackageError::Io { path: path.to_owned(), verb: "read", cause };
    let mut head = Vec::with_capacity(20);
    File::open(path).map_err(failed)?.take(20).read_to_end(&mut head).map_err(failed)?;
    Ok(match head[..] {
        [0x7f, b'E', b'L', b'F', class, order, _, _, _, _, _, _, _, _, _, _, _, _, low, high] => {
            Some([class, order, low, high])
        }
        _ => None,
    })
}

/// Of what `check` prints, what is wrong; else all of it.
fn errors(printed: &str) -> String {
    let errors: Vec<_> = printed.lines().filter(|line| line.starts_with("error ")).collect();
    if errors.is_empty() { printed.to_owned() } else { errors.join("\n") }
}

/// Runs it to its end. Returns its exit code, if it has one, and the beginning of what it printed.
fn run(path: &Path, arguments: &[&OsStr]) -> Result<(Option<i32>, String), PackageError> {
    let failed = |cause: io::Error| PackageError::Io { path: path.to_owned(), verb: "run", cause };
    // Not a pipe: what it leaves running could hold that open.
    let mut printed = File::from(memfd_create("printed", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?);
    let output = |file: &File| file.try_clone().map_err(failed);
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(output(&printed)?).stderr(output(&printed)?);
    let mut child = command.spawn().map_err(failed)?;
    let watched = Pidfd::open(child.id()).and_then(|pidfd| match pidfd {
        Some(pidfd) => pidfd.wait(PATIENCE),
        None => Ok(true),
    });
    if !matches!(watched, Ok(true)) {
        // It may have ended just now.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    if !watched.map_err(failed)? {
        let line: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        return Err(PackageError::Hangs(line.join(" ")));
    }
    let mut bytes = Vec::new();
    printed.rewind().and_then(|()| printed.take(PRINTED_LIMIT).read_to_end(&mut bytes)).map_err(failed)?;
    Ok((status.code(), String::from_utf8_lossy(&bytes).into_owned()))
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The last lines count: they say what was wrong.
fn excerpt(printed: &str) -> String {
    let lines: Vec<_> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join("; ");
    OneLine(&last).to_string().chars().take(600).collect()
}

/// How long it may take to say anything about itself.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of what it prints that are read.
const PRINTED_LIMIT: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::Result;

    use super::*;

    fn nowhere() -> Places {
        let nothing = PathBuf::from("/dev/null");
        Places { config: nothing.clone(), control: nothing.clone(), pins: nothing.clone(), state: nothing }
    }

    #[test]
    fn what_is_no_agent_is_named() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let text = directory.path().join("text");
        fs::write(&text, "#!/bin/sh\necho ha-agent 1.0.0\n")?;
        let other = directory.path().join("other");
        let mut head = fs::read("/proc/self/exe")?;
        head[18] ^= 1;
        fs::write(&other, &head[..64])?;
        for (path, expected) in [
            (text, "not an executable file"),
            (other, "another kind of machine"),
            (directory.path().join("none"), "No such file"),
            ("/bin/true".into(), "not an ha-agent: asked for its version"),
        ] {
            let error = inspect(&path, &nowhere()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        Ok(())
    }

    #[test]
    fn what_it_prints_and_how_it_ends_is_seen() -> Result<()> {
        let shell = |script: &str| run(Path::new("/bin/sh"), &["-c".as_ref(), script.as_ref()]);
        assert_eq!(shell("echo out; echo err >&2")?, (Some(0), "out\nerr\n".to_owned()));
        assert_eq!(shell("exit 3")?, (Some(3), String::new()));
        assert_eq!(errors("ok       a\nerror    b; c\nwarning  d\n"), "error    b; c");
        assert_eq!(errors("ha-agent: b; c\n"), "ha-agent: b; c\n");
        // What it leaves behind is not waited for.
        assert_eq!(shell("sleep 30 & echo left")?.1, "left\n");
        assert_eq!(excerpt("a\n\nb\nc\nd\u{1b}\n"), "b; c; d\\u{1b}");
        Ok(())
    }
}
