//! Ours, keepalived and ucarp while their standby is flooded, in the same run.
//!
//! `cargo xtask bench flood [--json FILE] [--rounds N] [--seconds S] [--peer NAME]`. Every peer lives through the
//! same floods: a time in which nothing happens, and again one in which its active node is cut off now and then.

mod frames;
mod peer;
mod report;
mod row;
mod sender;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use frames::Flood;
use peer::Peer;
use report::Report;
use row::Scale;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let arguments = Arguments::parse()?;
    ensure!(lab::available(), "run it as root");
    lab::interrupt_on_signals()?;
    let report = match run(&arguments) {
        Err(_) if lab::is_interrupted() => bail!("interrupted; whatever was made is removed"),
        result => result?,
    };
    match arguments.json {
        Some(path) => std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("writing {}", path.display())),
        None => Ok(()),
    }
}

fn run(arguments: &Arguments) -> Result<Report> {
    let mut report = Report::begin(arguments.scale, &arguments.peers)?;
    for flood in Flood::ALL {
        for &peer in &arguments.peers {
            let row = row::measure(peer, flood, arguments.scale);
            report.add(row.with_context(|| format!("{peer}, flood: {flood}"))?);
        }
    }
    report.end();
    Ok(report)
}

struct Arguments {
    json: Option<PathBuf>,
    scale: Scale,
    peers: Vec<Peer>,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            json: None,
            scale: Scale { rounds: 20, time: Duration::from_secs(30) },
            peers: Peer::ALL.to_vec(),
        };
        // `cargo bench` adds `--bench`.
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(name) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{name} without a value\n{USAGE}"))?;
            let number = || value.parse().ok().filter(|&number: &u32| number > 0);
            let number = || number().with_context(|| format!("{name} {value}: it must be at least 1"));
            match name.as_str() {
                "--json" => parsed.json = Some(value.into()),
                "--rounds" => parsed.scale.rounds = number()?,
                "--seconds" => parsed.scale.time = Duration::from_secs(number()?.into()),
                "--peer" => {
                    parsed.peers.retain(|peer| peer.to_string() == value);
                    ensure!(!parsed.peers.is_empty(), "no peer {value}\n{USAGE}");
                }
                _ => bail!("{name}: {USAGE}"),
            }
        }
        Ok(parsed)
    }
}

const USAGE: &str = "usage: [--json FILE] [--rounds N] [--seconds S] [--peer ha-agent|keepalived|ucarp]";
