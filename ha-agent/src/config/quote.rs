//! How text that others wrote appears in a message: on one line, and not endless.

use std::fmt::{self, Write};
use std::path::Path;

/// A piece of the file, cut after [`EXCERPT_LIMIT`] characters.
#[derive(Debug)]
pub(super) struct Excerpt(String);

impl Excerpt {
    pub(super) fn new(text: &str) -> Self {
        let mut excerpt: String = text.chars().take(EXCERPT_LIMIT).collect();
        if excerpt.len() < text.len() {
            excerpt.push('…');
        }
        Self(excerpt)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OneLine(&self.0).fmt(f)
    }
}

/// Text without line breaks and without characters that a terminal would act upon.
#[derive(PartialEq)]
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                // Rust would escape these, but they do no harm here.
                '\'' | '"' | '\\' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// A path as a shell takes it, so that a command in a message can be copied.
pub(crate) struct ShellPath<'a>(pub(crate) &'a Path);

impl fmt::Display for ShellPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
        if path.chars().all(plain) {
            f.write_str(&path)
        } else {
            write!(f, "'{}'", OneLine(&path.replace('\'', r"'\''")))
        }
    }
}

/// Longer than every valid value, short enough for a line.
const EXCERPT_LIMIT: usize = 64;
