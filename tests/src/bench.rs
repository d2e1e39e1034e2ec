//! What the benches of the lab have in common: a command line, an end, the machine that they ran on, its pauses.

use std::fmt::{self, Display, Formatter};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::utsname::uname;
use serde::{Serialize, Serializer};

use crate::pauses::Pauses;
use crate::peer::{Contest, Takeover, milliseconds, nanos};

/// Options of a command line, each with a value.
#[derive(Debug)]
pub struct Options {
    given: Vec<(String, String)>,
    usage: &'static str,
}

/// What a run took place on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// Processors that we may use.
    pub processors: usize,
    /// Of the last minute, when the run began: what else the machine did.
    pub load_average: f64,
}

/// How the machine stood still for some time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Paused {
    /// What is called a pause, in ms.
    pub longer_than_ms: f64,
    /// Whether nothing could have run meanwhile: else it was only a thread of usual priority that did not.
    pub real_time: bool,
    /// Pauses of single processors.
    pub count: usize,
    /// The longest of them, in ms.
    pub longest_ms: f64,
    /// The longest time, in ms, in which all processors paused.
    pub longest_of_all_ms: f64,
}

/// A takeover from an active one that was alive and connected.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FalseFailover {
    /// After the pair was left alone, in s.
    pub at_s: f64,
    /// How long the witness had not heard the active one, in ms.
    pub silence_ms: f64,
    /// Whether that was as long as the standby's patience: then it was the active one that was late.
    pub active_late: bool,
    /// The longest pause of the whole machine in that silence, in ms.
    pub machine_pause_ms: f64,
    /// The longest pause of any processor in it, in ms.
    pub processor_pause_ms: f64,
    /// Whether the whole machine paused for an interval or longer.
    pub in_pause: bool,
}

/// Runs a bench, which takes its options and returns its report, and writes that into the file that `--json` names.
pub fn run<R: Serialize>(usage: &'static str, bench: impl FnOnce(Options) -> Result<R>) -> ExitCode {
    let run = || -> Result<()> {
        let mut options = Options::parse(usage)?;
        let json = options.take("--json");
        ensure!(crate::available(), "run it as root");
        crate::interrupt_on_signals()?;
        let report = match bench(options) {
            Err(_) if crate::is_interrupted() => bail!("interrupted; whatever was made is removed"),
            result => result?,
        };
        match json {
            Some(path) => std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
                .with_context(|| format!("writing {path}")),
            None => Ok(()),
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Of so many, how many are of a kind, if there are any.
#[must_use]
pub fn with_part(all: usize, part: usize) -> String {
    if part == 0 { all.to_string() } else { format!("{all} ({part})") }
}

/// Serialises what is printed as a text.
///
/// # Errors
///
/// If the serialiser fails.
pub fn as_text<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

impl Options {
    fn parse(usage: &'static str) -> Result<Self> {
        let mut given = Vec::new();
        // `cargo bench` adds `--bench`.
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(name) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{name} without a value\n{usage}"))?;
            given.push((name, value));
        }
        Ok(Self { given, usage })
    }

    /// The value of an option, if it is there.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let index = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.remove(index).1)
    }

    /// The value of an option that is a number of at least 1.
    ///
    /// # Errors
    ///
    /// If it is anything else.
    pub fn number(&mut self, name: &str) -> Result<Option<u32>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.parse().ok().filter(|&number: &u32| number > 0);
        number.map(Some).with_context(|| format!("{name} {value}: it must be at least 1"))
    }

    /// Of several things, those that an option names; all, if it is not there.
    ///
    /// # Errors
    ///
    /// If it names none of them.
    pub fn only<T: Display>(&mut self, name: &str, mut all: Vec<T>) -> Result<Vec<T>> {
        if let Some(value) = self.take(name) {
            all.retain(|one| one.to_string() == value);
            ensure!(!all.is_empty(), "{name} {value}: there is none\n{}", self.usage);
        }
        Ok(all)
    }

    /// After the last option that there is.
    ///
    /// # Errors
    ///
    /// If there are others.
    pub fn end(self) -> Result<()> {
        match self.given.first() {
            Some((name, _)) => bail!("{name}: {}", self.usage),
            None => Ok(()),
        }
    }
}

impl Machine {
    /// This one, now.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn here() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/loadavg")?;
        let load_average = text.split_whitespace().next().and_then(|first| first.parse().ok());
        Ok(Self {
            kernel: uname()?.release().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism()?.get(),
            load_average: load_average.context("/proc/loadavg")?,
        })
    }
}

impl Paused {
    /// The pauses between two moments, in ns of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn between(pauses: &Pauses, from_ns: u64, to_ns: u64) -> Self {
        let found = pauses.between(from_ns, to_ns);
        let longest = found.iter().map(|pause| pause.late).max().unwrap_or_default();
        Self {
            longer_than_ms: pauses.tolerated().as_secs_f64() * 1e3,
            real_time: pauses.is_real_time(),
            count: found.len(),
            longest_ms: longest.as_secs_f64() * 1e3,
            longest_of_all_ms: pauses.of_all(from_ns, to_ns).as_secs_f64() * 1e3,
        }
    }
}

impl FalseFailover {
    /// Of a pair that was left alone since a moment, in ns of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn new(takeover: Takeover, since_ns: u64, contest: &Contest, pauses: &Pauses) -> Self {
        let Takeover { last_ns, first_ns } = takeover;
        // It is 0 if nothing was heard of the active one since.
        let last_ns = last_ns.max(since_ns);
        // Who had slept until just before may have heard the other one since, too late to take it back.
        let from_ns = last_ns.min(first_ns.saturating_sub(nanos(contest.dead_time()))).max(since_ns);
        let of_all = pauses.of_all(from_ns, first_ns);
        let longest = pauses.between(from_ns, first_ns).into_iter().map(|pause| pause.late).max();
        Self {
            at_s: milliseconds(first_ns, since_ns) / 1e3,
            silence_ms: milliseconds(first_ns, last_ns),
            active_late: milliseconds(first_ns, last_ns) >= contest.dead_time().as_secs_f64() * 1e3,
            machine_pause_ms: of_all.as_secs_f64() * 1e3,
            processor_pause_ms: longest.unwrap_or_default().as_secs_f64() * 1e3,
            in_pause: of_all >= contest.pace.interval,
        }
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kernel, processors, load_average } = self;
        write!(f, "kernel {kernel}, {processors} processors, load {load_average}")
    }
}

impl Display for Paused {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { longer_than_ms, real_time, count, longest_ms, longest_of_all_ms } = self;
        write!(
            f,
            "single processors paused {count} times for more than {longer_than_ms} ms, at most for {longest_ms:.1} ms; \
             all of them at once at most for {longest_of_all_ms:.1} ms"
        )?;
        if *real_time {
            Ok(())
        } else {
            write!(f, " (seen by threads of usual priority, as real-time priority was refused)")
        }
    }
}
