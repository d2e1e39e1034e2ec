//! `ha-agent man` and `ha-agent completions`: made of the same definitions as the command line itself.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Exit;
use super::{Cli, fail};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write all pages, one for each subcommand, into this directory, which must be there.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For which shell.
    shell: Shell,
}

pub(super) fn man(args: &ManArgs) -> Exit {
    let written = pages().and_then(|pages| match &args.to {
        Some(directory) => {
            pages.iter().try_for_each(|(name, page)| fs::write(directory.join(format!("{name}.8")), page))
        }
        None => pages.first().map_or(Ok(()), |(_, page)| print(page)),
    });
    match written {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&format!("the pages can't be written: {error}"), Exit::CantCreate),
    }
}

pub(super) fn completions(args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    match print(&script) {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&error, Exit::Os),
    }
}

/// All pages by name, that of the program first.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command().name(NAME).display_name(NAME);
    command.build();
    let mut pages = Vec::new();
    add(&command, NAME.to_owned(), &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, name: String, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone()).title(&name).section("8").render(&mut page)?;
    let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    let below: Vec<_> = subcommands.map(|sub| (sub.clone(), format!("{name}-{}", sub.get_name()))).collect();
    pages.push((name, page));
    below.into_iter().try_for_each(|(sub, name)| add(&sub, name, pages))
}

/// A reader that went away (`| head`) has what it wanted.
fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

const NAME: &str = "ha-agent";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subcommand_has_a_page() {
        let pages = pages().expect("written to memory");
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["ha-agent", "ha-agent-run", "ha-agent-status", "ha-agent-pair-init"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert!(!names.contains(&"ha-agent-guard"), "what is hidden");
        for (name, page) in pages {
            let page = String::from_utf8(page).expect("text");
            assert!(page.contains(&format!(".TH {name} 8")), "{name}: {page}");
        }
    }
}
