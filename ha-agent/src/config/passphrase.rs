//! The secret that all nodes of a virtual host share (CARP specification §3.1).

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use super::error::Cause;
use super::file::{self, Contents};
use super::mistake::Mistake;
use super::quote::ShellPath;

/// A CARP passphrase: 1 to 19 bytes, none of them NUL. Zeroized on drop, as each clone of it, and never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Box<[u8]>>);

impl Passphrase {
    /// The bytes, without padding: 1 to 19.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// In a time that tells nothing of where two passphrases differ.
impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        // Without a NUL in them, they are equal if they are so when padded with NULs.
        let byte = |passphrase: &Self, at| passphrase.0.get(at).copied().unwrap_or(0);
        let difference = (0..PASSPHRASE_LIMIT).fold(0, |sum, at| sum | (byte(self, at) ^ byte(other, at)));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for Passphrase {}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(redacted)")
    }
}

/// What a passphrase file gave.
#[derive(Debug)]
pub(super) struct KeyFile {
    pub(super) passphrase: Passphrase,
    pub(super) warning: Option<String>,
}

/// Reads the first line of the file in `path`.
pub(super) fn read(path: &Path) -> Result<KeyFile, Cause> {
    let Contents { bytes, mode } = file::read(path, KEY_FILE_LIMIT)
        .map_err(|problem| Cause::PassphraseFile { path: path.into(), problem })?;
    let line = first_line(&bytes);
    if line.is_empty() {
        return Err(Mistake::PassphraseEmpty(path.into()).into());
    }
    if line.len() > PASSPHRASE_LIMIT {
        return Err(Mistake::PassphraseTooLong { path: path.into(), length: line.len() }.into());
    }
    if line.contains(&0) {
        return Err(Mistake::PassphraseNul(path.into()).into());
    }
    let warning = (mode & READABLE_BY_OTHERS != 0).then(|| {
        let path = ShellPath(path);
        format!("passphrase file {path} is world-readable (mode {mode:04o}); run: chmod 600 {path}")
    });
    Ok(KeyFile { passphrase: Passphrase(Zeroizing::new(line.into())), warning })
}

/// The remedy for a file without a passphrase: the command that makes one.
pub(super) struct MakeOne<'a>(pub(super) &'a Path);

impl fmt::Display for MakeOne<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 12 random bytes are 16 characters: within the limit, without padding.
        let path = ShellPath(self.0);
        write!(
            f,
            "make one with `(umask 077; head -c 12 /dev/urandom | base64 > {path})` and copy it to every node"
        )
    }
}

pub(super) fn first_line(bytes: &[u8]) -> &[u8] {
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]),
        None => bytes,
    }
}

/// Bytes in a passphrase. The key has 20, but peers keep one for a NUL and cut the rest off silently.
pub(super) const PASSPHRASE_LIMIT: usize = 19;

/// Bytes in a passphrase file: room for comments below the first line.
const KEY_FILE_LIMIT: usize = 4096;

/// A bit of `chmod`.
pub(super) const READABLE_BY_OTHERS: u32 = 0o004;
