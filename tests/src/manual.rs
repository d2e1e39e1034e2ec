//! The documents' code blocks, run as they are: each machine of the manual is a namespace with files of its own.
//!
//! A block runs if its fence says so: `console run=a`, and more:
//!
//! - `run=a`, `run=b`, `run=ab`: on which of the two nodes, on both in turn;
//! - `stop`: what goes on in the background there is interrupted first, as with Ctrl-C;
//! - `background`: its last command goes on, once it has said what is shown;
//! - `until`: what is shown comes within a while, so it is asked again;
//! - `exit=3`: how its commands may end as well;
//! - `capture=WORD`: what stands there is another word each time; the same word in later blocks means that one;
//! - `file=/etc/x`: the block is no console, but that file; `append=/etc/x`: its end.
//!
//! Lines that begin with `# ` or `$ ` are commands, those with `> ` go on with one; the others are what is said, in this order, with
//! `…` for anything.
//!
//! Not marked, because it can't run there: `cargo xtask`, which itself runs the tests and makes machines; what needs a terminal
//! (`top`, an editor); what goes to a network that the machines do not have; a second version of the agent.

mod block;
mod machine;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use self::block::{Block, Document};
use self::block::{Content, Step};
pub use self::machine::Machine;

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
            if block.stop {
                machine.interrupt().with_context(|| block.place.clone())?;
            }
            match &block.content {
                Content::File { path, append, text } => {
                    machine.write(path, *append, text).with_context(|| block.place.clone())?;
                }
                Content::Console(steps) => run_steps(block, steps, machine, &mut known)?,
            }
            println!("{} on {}: {:?}\n", block.place, machine.name(), began.elapsed());
        }
    }
    Ok(())
}

fn run_steps(
    block: &Block,
    steps: &[Step],
    machine: &Machine,
    known: &mut Vec<(String, String)>,
) -> Result<()> {
    for (index, step) in steps.iter().enumerate() {
        let goes_on = block.background && index + 1 == steps.len();
        let said = carry_out(block, step, goes_on, machine, known)
            .with_context(|| format!("{} on {}: {}", block.place, machine.name(), step.command))?;
        println!("{} {}# {}\n{said}", block.place, machine.name(), step.command);
        if let Some(word) = &block.capture
            && let Some(found) = captured(&step.shown, &said, word)
        {
            known.push((word.clone(), found));
        }
    }
    Ok(())
}

/// Does one command, and returns what it said.
fn carry_out(
    block: &Block,
    step: &Step,
    goes_on: bool,
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
    if goes_on {
        return machine.begin(&command, |said| fits(&shown, said));
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, said) = machine.run(&command)?;
        let is_well = fits(&shown, &said) && block.exit.contains(&code);
        if is_well {
            return Ok(said);
        }
        let is_asked_again = block.until && Instant::now() < deadline;
        ensure!(is_asked_again, "exit code {code}, and not as it is shown ({shown:#?}):\n{said}");
        thread::sleep(LOOK);
    }
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
