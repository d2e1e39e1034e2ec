//! The token by which whoever looks from outside is known.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use super::error::Cause;
use super::file::{self, Contents};
use super::mistake::Mistake;
use super::passphrase::{READABLE_BY_OTHERS, first_line};
use super::quote::ShellPath;

/// A token: 16 to 256 printable ASCII characters, no space. Zeroized on drop, as each clone of it, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<Box<[u8]>>);

impl Token {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self(Zeroizing::new(text.as_bytes().into()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Reads the first line of the file in `path`. Returns a warning too.
pub(super) fn read(path: &Path) -> Result<(Token, Option<String>), Cause> {
    let Contents { bytes, mode } =
        file::read(path, FILE_LIMIT).map_err(|problem| Cause::TokenFile { path: path.into(), problem })?;
    let line = first_line(&bytes);
    let is_printable = line.iter().all(u8::is_ascii_graphic);
    if !is_printable || !(LEAST..=MOST).contains(&line.len()) {
        return Err(Mistake::Token(path.into()).into());
    }
    let warning = (mode & READABLE_BY_OTHERS != 0).then(|| {
        let path = ShellPath(path);
        format!("token file {path} is world-readable (mode {mode:04o}); run: chmod 600 {path}")
    });
    Ok((Token(Zeroizing::new(line.into())), warning))
}

/// The remedy for a file without a token: the command that makes one.
pub(super) struct MakeToken<'a>(pub(super) &'a Path);

impl fmt::Display for MakeToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "make one with `(umask 077; head -c 24 /dev/urandom | base64 > {})`", ShellPath(self.0))
    }
}

/// Characters in a token: too many to be guessed,
pub(super) const LEAST: usize = 16;
/// and few enough for a header.
pub(super) const MOST: usize = 256;
/// Bytes in its file: room for comments below the first line.
const FILE_LIMIT: usize = 4096;
