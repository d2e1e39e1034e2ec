//! The code blocks of a document, and which of them run.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// A document.
#[derive(Clone, Debug)]
pub struct Document {
    /// The blocks that run.
    pub blocks: Vec<Block>,
    /// How many of them are console blocks.
    pub run: usize,
    /// How many console blocks it has.
    pub consoles: usize,
}

/// A code block that runs.
#[derive(Clone, Debug)]
pub struct Block {
    /// Where it is: `manual.md:17`.
    pub place: String,
    pub(super) nodes: Vec<usize>,
    pub(super) background: bool,
    pub(super) stop: bool,
    pub(super) until: bool,
    pub(super) exit: Vec<i32>,
    pub(super) capture: Option<String>,
    pub(super) content: Content,
}

/// What a block is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Console(Vec<Step>),
    /// What the file is to be, or what comes after what it is.
    File {
        path: PathBuf,
        append: bool,
        text: String,
    },
}

/// A command, and what it says.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    pub(super) command: String,
    pub(super) shown: Vec<String>,
}

impl Document {
    /// Finds the blocks of a document.
    ///
    /// # Errors
    ///
    /// If a fence says what is not known, or a block begins with no command.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut document = Self { blocks: Vec::new(), run: 0, consoles: 0 };
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(info) = line.strip_prefix("```") else { continue };
            let body: Vec<_> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let is_console = info.split_whitespace().next() == Some("console");
            document.consoles += usize::from(is_console);
            let place = format!("{name}:{}", number + 1);
            if let Some(block) = Block::parse(&place, info, &body).with_context(|| place.clone())? {
                document.run += usize::from(is_console);
                document.blocks.push(block);
            }
        }
        Ok(document)
    }
}

impl Block {
    /// The block, if it runs.
    fn parse(place: &str, info: &str, body: &[&str]) -> Result<Option<Self>> {
        let mut words = info.split_whitespace().skip(1).peekable();
        if words.peek().is_none() {
            return Ok(None);
        }
        let (mut file, mut append) = (None, false);
        let mut block = Self {
            place: place.to_owned(),
            nodes: Vec::new(),
            background: false,
            stop: false,
            until: false,
            exit: vec![0],
            capture: None,
            content: Content::Console(Vec::new()),
        };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("run", nodes) => block.nodes = nodes.bytes().map(|node| usize::from(node == b'b')).collect(),
                ("background", "") => block.background = true,
                ("stop", "") => block.stop = true,
                ("until", "") => block.until = true,
                ("exit", code) => block.exit.push(code.parse()?),
                ("capture", word) => block.capture = Some(word.to_owned()),
                ("file", path) => file = Some(PathBuf::from(path)),
                ("append", path) => (file, append) = (Some(PathBuf::from(path)), true),
                _ => bail!("'{word}' means nothing"),
            }
        }
        ensure!(!block.nodes.is_empty(), "it does not say where it runs");
        block.content = match file {
            Some(path) => Content::File { path, append, text: body.join("\n") + "\n" },
            None => Content::Console(steps(body)?),
        };
        Ok(Some(block))
    }
}

/// Commands, each with what it says.
fn steps(body: &[&str]) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for line in body {
        if let Some(command) = line.strip_prefix("# ").or_else(|| line.strip_prefix("$ ")) {
            steps.push(Step { command: command.to_owned(), shown: Vec::new() });
            continue;
        }
        let step = steps.last_mut().context("it begins with no command")?;
        match line.strip_prefix("> ") {
            Some(more) if step.shown.is_empty() => step.command = format!("{}\n{more}", step.command),
            Some(_) | None => step.shown.push((*line).to_owned()),
        }
    }
    Ok(steps)
}
