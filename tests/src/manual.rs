//! The documents' code blocks, run as they are: each machine of the manual is a namespace with files of its own.
//!
//! A block runs if its fence says so: `console run=a`, and more:
//!
//! - `run=a`, `run=b`, `run=ab`: on which of the two nodes, on both in turn;
//! - `background`: its last command goes on, once it has said what is shown;
//! - `until`: what is shown comes within a while, so it is asked again;
//! - `exit=3`: how its last command may end as well;
//! - `capture=WORD`: what stands there is another word each time; the same word in later blocks means that one.
//!
//! Lines that begin with `# ` or `$ ` are commands, those with `> ` go on with one; the others are what is said, in this order, with
//! `…` for anything.

mod machine;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use self::machine::Machine;

/// A code block that runs.
#[derive(Clone, Debug)]
pub struct Block {
    /// Where it is: `manual.md:17`.
    pub place: String,
    nodes: Vec<usize>,
    background: bool,
    until: bool,
    exit: Vec<i32>,
    capture: Option<String>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Default)]
struct Step {
    command: String,
    shown: Vec<String>,
}

/// The blocks of a document that run.
///
/// # Errors
///
/// If a fence says what is not known, or a block begins with no command.
pub fn blocks(document: &str, text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let mut words = info.split_whitespace().skip(1).peekable();
        if words.peek().is_none() {
            continue;
        }
        let place = format!("{document}:{}", number + 1);
        let mut block = Block {
            place: place.clone(),
            nodes: Vec::new(),
            background: false,
            until: false,
            exit: vec![0],
            capture: None,
            steps: steps(&body).with_context(|| place.clone())?,
        };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("run", nodes) => block.nodes = nodes.bytes().map(|node| usize::from(node == b'b')).collect(),
                ("background", "") => block.background = true,
                ("until", "") => block.until = true,
                ("exit", code) => block.exit.push(code.parse().with_context(|| place.clone())?),
                ("capture", word) => block.capture = Some(word.to_owned()),
                _ => bail!("{place}: '{word}' means nothing"),
            }
        }
        ensure!(!block.nodes.is_empty(), "{place} does not say where it runs");
        blocks.push(block);
    }
    Ok(blocks)
}

/// Runs blocks in their order.
///
/// # Errors
///
/// The first one that does not do what is shown.
pub fn run(blocks: &[Block], machines: &[Machine; 2]) -> Result<()> {
    let mut known: Vec<(String, String)> = Vec::new();
    for block in blocks {
        for node in &block.nodes {
            let machine = machines.get(*node).context("no such node")?;
            let began = Instant::now();
            for (index, step) in block.steps.iter().enumerate() {
                let is_last = index + 1 == block.steps.len();
                let said = carry_out(block, step, is_last, machine, &known)
                    .with_context(|| format!("{} on {}: {}", block.place, machine.name(), step.command))?;
                println!("{} {}# {}\n{said}", block.place, machine.name(), step.command);
                if let Some(word) = &block.capture
                    && let Some(found) = captured(&step.shown, &said, word)
                {
                    known.push((word.clone(), found));
                }
            }
            println!("{} on {}: {:?}\n", block.place, machine.name(), began.elapsed());
        }
    }
    Ok(())
}

/// Does one command, and returns what it said.
fn carry_out(
    block: &Block,
    step: &Step,
    is_last: bool,
    machine: &Machine,
    known: &[(String, String)],
) -> Result<String> {
    let mut command = step.command.clone();
    for (word, found) in known {
        command = command.replace(word, found);
    }
    let wildcard = |line: &String| match &block.capture {
        Some(word) => line.replace(word, "…"),
        None => line.clone(),
    };
    let shown: Vec<String> = step.shown.iter().map(wildcard).collect();
    if block.background && is_last {
        return machine.begin(&command, |said| fits(&shown, said));
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, said) = machine.run(&command)?;
        let is_well = fits(&shown, &said) && (code == 0 || (is_last && block.exit.contains(&code)));
        if is_well {
            return Ok(said);
        }
        let goes_on = block.until && Instant::now() < deadline;
        ensure!(goes_on, "exit code {code}, and not as it is shown ({shown:#?}):\n{said}");
        thread::sleep(LOOK);
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

/// Whether these lines are among what was said, in this order.
fn fits(shown: &[String], said: &str) -> bool {
    let mut said = said.lines();
    shown
        .iter()
        .filter(|line| !line.trim().is_empty() && line.trim() != "…")
        .all(|line| said.any(|it| is_like(line, it)))
}

/// Whether a line is like another with `…` for anything; how many blanks there are does not matter.
fn is_like(shown: &str, said: &str) -> bool {
    let (shown, said) = (one_blank(shown), one_blank(said));
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn one_blank(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What was said where `word` is shown.
fn captured(shown: &[String], said: &str, word: &str) -> Option<String> {
    let (before, after) = shown.iter().find_map(|line| line.split_once(word))?;
    let rest = said.lines().find_map(|line| line.strip_prefix(before))?;
    let end = if after.is_empty() { rest.len() } else { rest.find(after)? };
    rest.get(..end).map(str::to_owned)
}

const PATIENCE: Duration = Duration::from_secs(20);
/// How often is asked again.
const LOOK: Duration = Duration::from_millis(100);
