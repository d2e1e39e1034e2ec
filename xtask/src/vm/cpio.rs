//! The archive format that the kernel unpacks as its first root: cpio, "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

/// Writes an archive, entry by entry. Names are paths from the root; a `/` in front does not count.
pub(super) struct Archive<W> {
    to: W,
    entries: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, entries: 0, directories: BTreeSet::new() }
    }

    /// Adds a file that everybody may read and run, and the directories above it.
    ///
    /// # Errors
    ///
    /// It cannot be written, or the file is too large for the format (4 GiB).
    pub(super) fn file(&mut self, name: &str, contents: &[u8]) -> io::Result<()> {
        let name = name.trim_start_matches('/');
        if let Some((above, _)) = name.rsplit_once('/') {
            self.directory(above)?;
        }
        self.entry(name, FILE, contents)
    }

    /// Adds a directory and those above it, unless they are there.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn directory(&mut self, name: &str) -> io::Result<()> {
        let name = name.trim_start_matches('/');
        if !self.directories.insert(name.to_owned()) {
            return Ok(());
        }
        if let Some((above, _)) = name.rsplit_once('/') {
            self.directory(above)?;
        }
        self.entry(name, DIRECTORY, &[])
    }

    /// Ends the archive.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        let length =
            |bytes: usize| u32::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
        self.entries += 1;
        // Inode, mode, owner, group, links, time, size, device twice, device node twice, length of the name, check.
        let size = length(contents.len())?;
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length(name.len() + 1)?, 0];
        write!(self.to, "070701")?;
        for field in fields {
            write!(self.to, "{field:08X}")?;
        }
        write!(self.to, "{name}\0")?;
        self.pad(HEADER + name.len() + 1)?;
        self.to.write_all(contents)?;
        self.pad(contents.len())
    }

    /// Header with name, and contents, each take a multiple of 4 bytes.
    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.to.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

const HEADER: usize = 6 + 13 * 8;
const FILE: u32 = 0o100_755;
const DIRECTORY: u32 = 0o040_755;

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in an archive, with their contents.
    fn entries(mut archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        while !archive.is_empty() {
            assert_eq!(&archive[..6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&archive[6 + 8 * index..][..8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (size, name_size) = (field(6), field(11));
            let name = &archive[HEADER..][..name_size];
            assert_eq!(name.last(), Some(&0));
            let start = (HEADER + name_size).next_multiple_of(4);
            let name = String::from_utf8(name[..name_size - 1].to_vec()).unwrap();
            found.push((name, archive[start..][..size].to_vec()));
            archive = &archive[(start + size).next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut archive = Archive::new(Vec::new());
        let files: [(&str, &[u8]); 5] =
            [("/init", b"#!"), ("a/b/c", b""), ("/a/b/dd", b"123"), ("a/e", b"1234"), ("x", b"12345")];
        for (name, contents) in files {
            archive.file(name, contents).unwrap();
        }
        archive.directory("/a").unwrap();
        archive.directory("/a/f").unwrap();
        let found = entries(&archive.finish().unwrap());
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["init", "a", "a/b", "a/b/c", "a/b/dd", "a/e", "x", "a/f", "TRAILER!!!"]);
        for (name, contents) in files {
            let name = name.trim_start_matches('/');
            assert!(found.iter().any(|(found, bytes)| found == name && bytes == contents), "{name}");
        }
    }
}
