//! What the documents show is so: every code block that says that it runs, runs, and says what is shown.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::Lan;
use lab::manual::{Machine, blocks, run};
use lab::pair::{A, B};

#[test]
fn the_documents_do_what_they_say() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents: Vec<PathBuf> =
        fs::read_dir(root.join("docs"))?.map(|it| Ok(it?.path())).collect::<Result<_>>()?;
    documents.push(root.join("README.md"));
    documents.sort();
    let mut found = 0;
    for document in documents.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let name = document.file_name().context("no name")?.to_string_lossy();
        let blocks = blocks(&name, &fs::read_to_string(document)?)?;
        if blocks.is_empty() {
            continue;
        }
        found += blocks.len();
        // Each document begins on two machines that know of nothing.
        let files = tempfile::Builder::new().prefix("ha-manual-").tempdir()?;
        let lan = Lan::new("manual")?;
        let (a, b) = (lan.node("a", A)?, lan.node("b", B)?);
        let machine = |node, name| Machine::new(node, name, files.path());
        let machines = [machine(&a, "controller-a")?, machine(&b, "controller-b")?];
        run(&blocks, &machines)?;
    }
    ensure!(found >= 20, "only {found} blocks run");
    Ok(())
}
