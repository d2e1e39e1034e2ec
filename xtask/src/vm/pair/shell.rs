//! A lab by hand: a line of standard input each for a guest, or for the lab.

use std::{
    io::{self, BufRead as _},
    sync::{
        LazyLock, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use ::lab::is_interrupted;
use anyhow::{Context as _, Result, bail};

use super::{
    guest::PATIENCE,
    lab::Lab,
    relay::Flow,
    who::{Disk, Net, Node, Who},
};
use crate::process::{say, show};

/// Does what standard input says, until its end, `end`, or Ctrl-C.
pub(super) fn run(lab: &Lab) {
    say(format_args!(
        "the lab stays until the end of the input; its consoles: {}/*.console",
        lab.dir().display()
    ));
    show(HELP);
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    while !is_interrupted() {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) if line.trim() == "end" => break,
            Ok(line) => {
                if let Err(error) = obey(lab, line.trim()) {
                    say(format_args!("{error:#}"));
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
}

fn obey(lab: &Lab, line: &str) -> Result<()> {
    if line.is_empty() {
        return Ok(());
    }
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    if let Ok(who) = named(Who::ALL, first) {
        let output = lab.guest(who)?.try_run(rest, PATIENCE)?;
        for text in [&output.out, &output.errors] {
            if !text.is_empty() {
                show(text.trim_end());
            }
        }
        if output.code != 0 {
            say(format_args!("exit code {}", output.code));
        }
        return Ok(());
    }
    let mut words = rest.split_whitespace();
    let who = named(Who::ALL, words.next().unwrap_or_default());
    let what = words.next().unwrap_or_default();
    match first {
        "kill" => lab.guest(who?)?.kill(),
        "start" => lab.guest(who?)?.boot()?,
        "freeze" => lab.guest(who?)?.freeze()?,
        "thaw" => lab.guest(who?)?.thaw()?,
        "reset" => lab.guest(who?)?.reset()?,
        "cut" => lab.guest(who?)?.cut_link(named(Net::ALL, what)?)?,
        "join" => lab.guest(who?)?.join_link(named(Net::ALL, what)?)?,
        "lose" => lab.carry(named(Net::ALL, what)?, who?, false),
        "carry" => lab.carry(named(Net::ALL, what)?, who?, true),
        "hold" | "refuse" | "open" => {
            let flow = match first {
                "hold" => Flow::Held,
                "refuse" => Flow::Refused,
                _ => Flow::Open,
            };
            let who = who?;
            let node =
                Node::ALL.into_iter().find(|node| node.who() == who).context("only a and b have paths")?;
            match what {
                "" => lab.paths(node, flow),
                name => lab.path(node, named(Disk::ALL, name)?, flow),
            }
        }
        "events" => {
            for event in lab.guest(who?)?.events() {
                show(format_args!(
                    "{} {} ({:.1} s ago)",
                    event.name,
                    event.data,
                    event.at.elapsed().as_secs_f64()
                ));
            }
        }
        _ => show(HELP),
    }
    Ok(())
}

fn named<T: ToString, const N: usize>(all: [T; N], name: &str) -> Result<T> {
    let names = all.each_ref().map(T::to_string).join(", ");
    match all.into_iter().find(|one| one.to_string() == name) {
        Some(one) => Ok(one),
        None => bail!("there is no '{name}', only {names}"),
    }
}

/// Reading cannot be interrupted: so one thread does it for all labs.
static LINES: LazyLock<Mutex<Receiver<String>>> = LazyLock::new(|| {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    Mutex::new(lines)
});
const HELP: &str = "\
GUEST COMMAND...           run it there; guests: target client a b
kill|start|freeze|thaw|reset|events GUEST
cut|join GUEST NET         its cable; networks: service interlink
lose|carry GUEST NET       what it sends and receives there
hold|refuse|open NODE [DISK]   its path to a disk, or to all; disks: data0 data1 log cache spare
end                        of this lab";
