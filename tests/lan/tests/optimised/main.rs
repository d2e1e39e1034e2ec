//! What takes too long without optimisation: the properties over many schedules, faults planted in the core for them to
//! find, and the matrix.
//!
//! A core with a fault is a copy with one place changed. Each is built together with the LAN's own sources, and so is a
//! copy without a change.

mod matrix;
mod pair;
mod planted;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use anyhow::{Context, Result, anyhow, ensure};

use crate::planted::{FAULTS, Fault};

/// Runs the core as it is; see [`run`].
fn run_original(args: &[&str]) -> Result<Output> {
    run(ORIGINAL, args)
}

/// Runs a core's program, which has the name of its fault.
fn run(name: &str, args: &[&str]) -> Result<Output> {
    static BUILT: LazyLock<Result<PathBuf>> = LazyLock::new(build);
    let programs = BUILT.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let program = programs.join(name);
    Command::new(&program).args(args).output().with_context(|| format!("running {}", program.display()))
}

/// Plants them all in a workspace of their own, a crate for each, builds them, and returns where the programs are.
fn build() -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    let mut files = Files::new();
    let faults = FAULTS.iter().chain(&pair::FAULTS);
    let crates = faults.map(|fault| (fault.name, Some(fault))).chain([(ORIGINAL, None)]);
    for (name, fault) in crates.clone() {
        let krate = plant(&sources, name, fault).with_context(|| format!("planting {name}"))?;
        files.extend(krate.into_iter().map(|(path, text)| (Path::new(name).join(path), text)));
    }
    // What the LAN takes from another crate, from the same distance.
    files.insert("src/random.rs".into(), fs::read_to_string(sources.join("tests/src/random.rs"))?);
    lay(&root.join("crates"), &files)?;

    let members: Vec<_> = crates.map(|(name, _)| format!("\"crates/{name}\"")).collect();
    let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", members.join(", "));
    fs::write(root.join("Cargo.toml"), manifest)?;
    // Nothing is resolved or fetched anew.
    fs::copy(sources.join("Cargo.lock"), root.join("Cargo.lock"))?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--offline", "--quiet"]).current_dir(&root);
    cargo.env("CARGO_TARGET_DIR", root.join("target"));
    // Whatever is said about the workspace's own release is not said about these.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("RUSTFLAGS", "-A warnings");
    let output = cargo.output()?;
    ensure!(output.status.success(), "the cores do not build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(root.join("target/release"))
}

/// The files of a crate: the LAN around a copy of the core, with or without a fault.
fn plant(sources: &Path, name: &str, fault: Option<&Fault>) -> Result<Files> {
    let mut files = Files::new();
    gather(&sources.join("tests/lan/src"), Path::new("src"), &mut files)?;
    gather(&sources.join("ha-agent/src/core"), Path::new("src/core"), &mut files)?;
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         ha-common = {{ path = \"{}\" }}\nserde = {{ version = \"1.0\", features = [\"derive\"] }}\n",
        sources.join("ha-common").display()
    );
    files.insert("Cargo.toml".into(), manifest);
    replace(&mut files, "src/lib.rs", "pub use ha_agent::core;", "pub mod core;")?;
    replace(&mut files, "src/main.rs", "use virtual_lan::", &format!("use {name}::"))?;
    if let Some(Fault { file, from, to, .. }) = fault {
        replace(&mut files, &format!("src/core/{file}"), from, to)?;
    }
    Ok(files)
}

/// Takes in the files of a directory and of those in it.
fn gather(from: &Path, to: &Path, files: &mut Files) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            gather(&path, &to, files)?;
        } else {
            files.insert(to, fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Puts the files into a directory, and takes away what else is there. What is there already is left as it is: cargo goes
/// by the time of a file.
fn lay(root: &Path, files: &Files) -> Result<()> {
    let mut there = Files::new();
    if root.exists() {
        gather(root, Path::new(""), &mut there)?;
    }
    for path in there.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(root.join(path))?;
    }
    for (path, text) in files.iter().filter(|(path, text)| there.get(*path) != Some(*text)) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn replace(files: &mut Files, path: &str, from: &str, to: &str) -> Result<()> {
    let text = files.get_mut(Path::new(path)).with_context(|| format!("{path} is not there"))?;
    let count = text.matches(from).count();
    ensure!(count == 1, "{path}: {from:?} is there {count} times, not once");
    *text = text.replace(from, to);
    Ok(())
}

/// Texts, by their paths.
type Files = BTreeMap<PathBuf, String>;

const ORIGINAL: &str = "original";
