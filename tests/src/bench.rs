//! What the benches of the lab have in common: a command line, an end, and the machine that they ran on.

use std::fmt::{self, Display, Formatter};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::utsname::uname;
use serde::Serialize;

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

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kernel, processors, load_average } = self;
        write!(f, "kernel {kernel}, {processors} processors, load {load_average}")
    }
}
