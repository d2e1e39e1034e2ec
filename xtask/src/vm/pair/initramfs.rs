//! The guests' first root: finds the disk, puts the lab's own files upon it, and goes over to it.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::super::{cpio::Archive, guest_dir, image::read, kernel::Kernel};

/// A file of this machine, and its place in the guests.
pub(super) struct Put {
    pub(super) from: PathBuf,
    pub(super) to: String,
}

/// Writes it to `path`, with `files` to be put upon the guests' root at each boot.
///
/// # Errors
///
/// A file cannot be read, or the archive not be written.
pub(super) fn write(path: &Path, kernel: &Kernel, busybox: &Path, files: &[Put]) -> Result<()> {
    let mut entries = vec![
        ("init".to_owned(), read(&dir().join("init"))?),
        ("bin/busybox".to_owned(), read(&busybox.join("bin/busybox"))?),
    ];
    let modules = kernel.modules(&MODULES)?;
    let order: Vec<_> = modules.iter().map(|module| format!("{}\n", module.name)).collect();
    entries.push(("modules/order".to_owned(), order.concat().into_bytes()));
    for module in modules {
        entries.push((format!("modules/{}.ko", module.name), module.contents));
    }
    for file in fs::read_dir(dir().join("units")).context("cannot read the guests' units")?.flatten() {
        let name = format!("lab/etc/systemd/system/{}", file.file_name().display());
        entries.push((name, read(&file.path())?));
    }
    for file in fs::read_dir(dir().join("bin")).context("cannot read the guests' programs")?.flatten() {
        entries.push((format!("lab/usr/local/bin/{}", file.file_name().display()), read(&file.path())?));
    }
    for Put { from, to } in files {
        entries.push((format!("lab/{}", to.trim_start_matches('/')), read(from)?));
    }

    let written = File::create(path).and_then(|file| {
        let mut archive = Archive::new(BufWriter::new(file));
        for (name, contents) in &entries {
            archive.file(name, contents)?;
        }
        for name in ["dev", "proc", "root", "sys"] {
            archive.directory(name)?;
        }
        archive.finish()
    });
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// What the guests of a lab run that is not Debian's.
fn dir() -> PathBuf {
    guest_dir().join("pair")
}

/// What it takes to mount the root.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];
