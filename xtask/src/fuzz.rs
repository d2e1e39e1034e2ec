//! `cargo xtask fuzz`: builds the fuzz targets for libFuzzer, and runs each for a while.
//!
//! What `cargo fuzz` does, with the compiler that is there: coverage is a pass of LLVM that stable compilers have,
//! too. The layout in `tests/fuzz` is cargo-fuzz's, for those who have it. What a run finds to be new is kept beside
//! the build; what is committed, `tests/fuzz/corpus`, is the small part of it that `--keep` chooses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

use crate::{
    agent, ebpf, packages, paths,
    process::{logged, output, say, shown, succeeds},
};

/// What is fuzzed, and for how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to fuzz; everything if nothing is named
    targets: Vec<Target>,
    /// How long each runs, in seconds
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Afterwards, choose anew what of each corpus is committed
    #[arg(long)]
    keep: bool,
}

/// What can be fuzzed.
#[derive(Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Target {
    /// Frames through the decoder and the judge
    Decode,
    /// Headers: views, and what they are made from
    CarpHeader,
    /// Configurations
    Config,
    /// What is said to the control socket
    Control,
    /// What is said to the page
    Http,
    /// What comes from the other end of the peer link
    PeerLink,
    /// Recordings
    Replay,
    /// Recordings of frames, and frames, as `sniff` reads them
    Sniff,
    /// Frames through the loaded BPF program and the judge in user space, which must agree (as root)
    Kernel,
}

/// Builds and runs.
///
/// # Errors
///
/// Something cannot be built, or a target finds something.
pub(crate) fn run(args: &Args) -> Result<()> {
    let targets = if args.targets.is_empty() { &ALL[..] } else { &args.targets };
    ebpf::build()?;
    let programs = build()?;
    for target in targets {
        if matches!(target, Target::Kernel) && !geteuid().is_root() {
            say("kernel: skipped, because only root loads BPF programs");
            continue;
        }
        let fuzzer = Fuzzer::new(*target, &programs)?;
        fuzzer.run(args.seconds)?;
        if args.keep {
            fuzzer.keep()?;
        }
    }
    Ok(())
}

/// Runs everything for a few seconds: for the tests.
///
/// # Errors
///
/// As for [`run`].
pub(crate) fn run_briefly() -> Result<()> {
    run(&Args { targets: Vec::new(), seconds: SECONDS_IN_TESTS, keep: false })
}

/// Builds the targets, and returns where they are.
fn build() -> Result<PathBuf> {
    if !succeeds(Command::new("c++").arg("--version")) {
        // libFuzzer comes as source.
        packages::ensure(&["g++"])?;
    }
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let target_dir = paths::target_dir()?.join("fuzz");
    say("building the fuzz targets (the first time about 3 minutes, then 5 seconds)");
    let mut cargo = agent::cargo()?;
    cargo
        .args(["build", "--quiet", "--release", "--manifest-path", "tests/fuzz/Cargo.toml"])
        // Named, so that the flags are not those of build scripts, too.
        .args(["--target", host, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    shown(&mut cargo)?;
    Ok(target_dir.join(host).join("release"))
}

/// One target.
struct Fuzzer {
    name: String,
    program: PathBuf,
    /// What is committed.
    kept: PathBuf,
    /// What earlier runs found to be new.
    corpus: PathBuf,
    /// What is not as it should be.
    findings: PathBuf,
}

impl Fuzzer {
    fn new(target: Target, programs: &Path) -> Result<Self> {
        let name = clap::ValueEnum::to_possible_value(&target).context("an unnamed target")?;
        let name = name.get_name().to_owned();
        let (source, built) = (paths::root().join("tests/fuzz"), paths::target_dir()?.join("fuzz"));
        let fuzzer = Self {
            program: programs.join(&name),
            kept: source.join("corpus").join(&name),
            corpus: built.join("corpus").join(&name),
            findings: source.join("artifacts").join(&name),
            name,
        };
        for dir in [&fuzzer.kept, &fuzzer.corpus, &fuzzer.findings] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(fuzzer)
    }

    fn run(&self, seconds: u32) -> Result<()> {
        let Self { name, kept, corpus, findings, .. } = self;
        let mut command = self.command();
        command
            .args([format!("-max_total_time={seconds}"), "-print_final_stats=1".to_owned()])
            .arg(format!("-artifact_prefix={}/", findings.display()));
        let dictionary = paths::root().join("tests/fuzz").join(name).with_extension("dict");
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        let log = paths::log_file(&format!("fuzz-{name}"))?;
        if logged(command.arg(corpus).arg(kept), &log).is_err() {
            bail!(
                "{name} found something; its input is in {}: copy it into {} as finding-WHAT, and `cargo test -p tests \
                 --test corpus` shows it",
                findings.display(),
                kept.display()
            );
        }
        let text = fs::read_to_string(&log).unwrap_or_default();
        let runs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        say(format_args!("{name}: {} inputs in {seconds} s, nothing found", runs.map_or("some", str::trim)));
        Ok(())
    }

    /// Puts the fewest inputs that reach everything into the committed corpus; findings stay there.
    fn keep(&self) -> Result<()> {
        let Self { name, kept, corpus, .. } = self;
        let chosen = corpus.with_extension("chosen");
        let _ = fs::remove_dir_all(&chosen);
        fs::create_dir_all(&chosen)?;
        let mut command = self.command();
        command.args(["-set_cover_merge=1", "-use_counters=0"]);
        logged(command.args([&chosen, kept, corpus]), &paths::log_file(&format!("fuzz-{name}-merge"))?)?;
        for entry in fs::read_dir(kept)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(FINDING) {
                fs::remove_file(entry.path())?;
            }
        }
        let mut count = 0;
        for entry in fs::read_dir(&chosen)? {
            let entry = entry?;
            fs::copy(entry.path(), kept.join(entry.file_name()))?;
            count += 1;
        }
        fs::remove_dir_all(&chosen)?;
        say(format_args!("{name}: kept {count} inputs in {}", kept.display()));
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-max_len=1024", "-timeout=10"]);
        command
    }
}

const ALL: [Target; 9] = [
    Target::Decode,
    Target::CarpHeader,
    Target::Config,
    Target::Control,
    Target::Http,
    Target::PeerLink,
    Target::Replay,
    Target::Sniff,
    Target::Kernel,
];
const SECONDS_IN_TESTS: u32 = 10;
/// How the names of inputs begin that once showed a mistake.
const FINDING: &str = "finding-";
/// What cargo-fuzz gives the compiler, without sanitizers: the code under test is safe Rust.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
