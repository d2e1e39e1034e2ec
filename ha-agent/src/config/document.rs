//! The text of a configuration, which may be spread over two files: what stands where.

use std::fmt::{self, Display};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Cause, ConfigError, Position};
use super::mistake::Mistake;
use super::quote::OneLine;

/// Texts with their names. An offset of a byte means one of them: those of the second begin behind the first's end.
pub(super) struct Document<'a> {
    own: Part<'a>,
    shared: Option<Part<'a>>,
    /// Headers of tables in the first text, each with that of the table in the second one that it was merged with.
    twins: Vec<(usize, usize)>,
}

/// A file's name and text, and where its lines end.
struct Part<'a> {
    path: &'a Path,
    text: &'a str,
    /// What its first byte is called.
    start: usize,
    /// The byte offset of every line break, in the text.
    breaks: Vec<usize>,
}

/// A line, by its number; and its file, where that is another one than the reader looks at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    number: usize,
    file: Option<String>,
}

impl<'a> Document<'a> {
    /// `bytes` are what was read from `path`.
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self, ConfigError> {
        if bytes.is_empty() {
            return Err(ConfigError::new(path, None, Mistake::Empty));
        }
        let text = text_of(path, bytes)?;
        Ok(Self { own: Part::new(path, text, 0), shared: None, twins: Vec::new() })
    }

    /// The text as a tree of tables.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        self.own.parse()
    }

    /// Adds the text that is shared with the peer. Returns its tree.
    pub(super) fn share(&mut self, path: &'a Path, text: &'a str) -> Result<DeTable<'a>, ConfigError> {
        let part = Part::new(path, text_of(path, text.as_bytes())?, self.own.text.len() + 1);
        let tree = part.parse()?.into_inner();
        let start = part.start;
        self.shared = Some(part);
        Ok(moved_table(tree, start))
    }

    /// Notes that two tables are one: by the offsets of their headers, the own one's first.
    pub(super) fn merge(&mut self, own: usize, shared: usize) {
        self.twins.push((own, shared));
    }

    /// The header of the shared table that the one at `own` was merged with.
    pub(super) fn twin(&self, own: usize) -> Option<usize> {
        self.twins.iter().find(|(header, _)| *header == own).map(|(_, twin)| *twin)
    }

    /// The name of the file that is not shared.
    pub(super) fn own_path(&self) -> &'a Path {
        self.own.path
    }

    /// The line of the byte at `offset`, as it is said where the mistake at `from` is.
    pub(super) fn line(&self, offset: usize, from: usize) -> Line {
        let (part, reader) = (self.part(offset), self.part(from));
        let file = (part.start != reader.start).then(|| OneLine(&part.path.to_string_lossy()).to_string());
        Line { number: part.line(offset), file }
    }

    /// The error about what stands at `offset`.
    pub(super) fn error(&self, offset: usize, cause: impl Into<Cause>) -> ConfigError {
        let part = self.part(offset);
        ConfigError::new(part.path, Some(part.position(offset - part.start)), cause)
    }

    /// A line that warns about what stands at `offset`.
    pub(super) fn warning(&self, offset: usize, warning: impl Display) -> String {
        let part = self.part(offset);
        format!("{}:{}: {warning}", OneLine(&part.path.to_string_lossy()), part.line(offset))
    }

    fn part(&self, offset: usize) -> &Part<'a> {
        self.shared.as_ref().filter(|shared| offset >= shared.start).unwrap_or(&self.own)
    }
}

impl<'a> Part<'a> {
    fn new(path: &'a Path, text: &'a str, start: usize) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { path, text, start, breaks }
    }

    fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let position = error.span().map(|span| self.position_with_column(span.start));
            let message = OneLine(error.message()).to_string();
            ConfigError::new(self.path, position, Mistake::Syntax { message })
        })
    }

    /// The line of the byte at `offset` of the document, from 1.
    fn line(&self, offset: usize) -> usize {
        self.position(offset - self.start).line
    }

    /// The position of a byte of the text, without a column.
    fn position(&self, at: usize) -> Position {
        Position { line: self.breaks.partition_point(|line_break| *line_break < at) + 1, column: None }
    }

    fn position_with_column(&self, at: usize) -> Position {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |line_break| line_break + 1);
        let column = before[line_start..].chars().count() + 1;
        Position { column: Some(column), ..self.position(at) }
    }
}

/// For a sentence about something else.
impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.number)?;
        self.file.as_ref().map_or(Ok(()), |file| write!(f, " of {file}"))
    }
}

/// A tree whose places all lie `by` bytes further on.
fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let moved = |(key, value): (Spanned<_>, _)| (moved(key, by), moved_value(value, by));
    table.into_iter().map(moved).collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let mut value = moved(value, by);
    let inner = match std::mem::replace(value.get_mut(), DeValue::Boolean(false)) {
        DeValue::Array(array) => {
            DeValue::Array(array.into_iter().map(|element| moved_value(element, by)).collect::<DeArray<'_>>())
        }
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        plain => plain,
    };
    *value.get_mut() = inner;
    value
}

fn moved<T>(spanned: Spanned<T>, by: usize) -> Spanned<T> {
    let span = spanned.span();
    Spanned::new(span.start + by..span.end + by, spanned.into_inner())
}

/// The bytes as text, unless there is one that can't be in TOML.
fn text_of<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, ConfigError> {
    let control = bytes.iter().position(|byte| byte.is_ascii_control() && !b"\t\n\r".contains(byte));
    let text = str::from_utf8(&bytes[..control.unwrap_or(bytes.len())]).map_err(|e| e.valid_up_to());
    text.and_then(|text| control.map_or(Ok(text), Err)).map_err(|offset| {
        let breaks = bytes[..offset].split(|byte| *byte == b'\n').count();
        ConfigError::new(path, Some(Position { line: breaks, column: None }), Mistake::NotText { offset })
    })
}
