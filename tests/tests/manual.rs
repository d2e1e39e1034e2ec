//! What the documents show is so: every code block that says that it runs, runs, and says what is shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use lab::Lan;
use lab::manual::{Document, Machine, run};
use lab::pair::{A, B};

#[test]
fn the_readme_does_what_it_says() -> Result<()> {
    on_two_machines("readme", &[root().join("README.md")], 14)
}

/// The other documents begin with the pair that the manual leaves.
#[test]
fn the_manual_does_what_it_says_and_the_others_do() -> Result<()> {
    let manual = root().join("docs/manual.md");
    let mut others: Vec<PathBuf> =
        fs::read_dir(root().join("docs"))?.map(|it| Ok(it?.path())).collect::<Result<_>>()?;
    others.retain(|path| path.extension().is_some_and(|end| end == "md") && *path != manual);
    others.sort();
    others.insert(0, manual);
    on_two_machines("manual", &others, 28)
}

/// Runs documents one after the other, from two machines on that know of nothing.
fn on_two_machines(label: &str, documents: &[PathBuf], at_least: usize) -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    // `bpftool` shows what all machines of this kernel have.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let files = tempfile::Builder::new().prefix("ha-manual-").tempdir()?;
    let lan = Lan::new(label)?;
    let (a, b) = (lan.node("a", A)?, lan.node("b", B)?);
    let machine = |node, name| Machine::new(node, name, files.path());
    let machines = [machine(&a, "controller-a")?, machine(&b, "controller-b")?];
    let (mut ran, mut consoles) = (0, 0);
    for path in documents {
        let name = path.file_name().context("no name")?.to_string_lossy();
        let document = Document::parse(&name, &fs::read_to_string(path)?)?;
        run(&document.blocks, &machines)?;
        if document.consoles > 0 {
            println!("{name}: {} of {} console blocks ran", document.run, document.consoles);
        }
        ran += document.run;
        consoles += document.consoles;
    }
    println!("{label}: {ran} of {consoles} console blocks ran");
    ensure!(ran >= at_least, "only {ran} of {consoles} console blocks run");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

static ALONE: Mutex<()> = Mutex::new(());
