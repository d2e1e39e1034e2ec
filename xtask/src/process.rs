//! Running other programs: one line is said beforehand, the output is kept aside and shown when it matters.
//!
//! Children stay in our process group, so that Ctrl-C reaches them as it reaches us.

use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// Says one line on standard error.
pub(crate) fn say(line: impl Display) {
    show(format_args!("xtask: {line}"));
}

/// Shows `text` as it is on standard error.
pub(crate) fn show(text: impl Display) {
    // A closed standard error is no reason to stop working.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Runs `command` with our standard output and error.
///
/// # Errors
///
/// It cannot be started, or fails.
pub(crate) fn shown(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_run(command))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs `command` with its output in the file `log`, and shows the end of it on failure.
///
/// # Errors
///
/// It cannot be started, or fails, or the log cannot be written.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .with_context(|| cannot_run(command))?;
    if !status.success() {
        let text = fs::read(log).unwrap_or_default();
        show(last_lines(&String::from_utf8_lossy(&text), LINES_SHOWN));
        bail!("`{}` failed ({status}); its whole output: {}", line(command), log.display());
    }
    Ok(())
}

/// Runs `command` and returns its standard output.
///
/// # Errors
///
/// It cannot be started, or fails: then its standard error is in the message.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_run(command))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", line(command), output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `command` runs and succeeds; its output goes nowhere.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Does `work`, named `what`, and says how long it took.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "failed" };
    say(format_args!("{what}: {outcome} after {:.1} s", start.elapsed().as_secs_f64()));
    result
}

/// `command` as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run {}", command.get_program().display())
}

/// The last `count` lines of `text`.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// How much of a failed program's output is shown.
const LINES_SHOWN: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/env");
        command.args(["LC_ALL=C", "-Z", "a b", "it's", ""]);
        assert_eq!(line(&command), r"/usr/bin/env LC_ALL=C -Z 'a b' 'it'\''s' ''");
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let table = [("", 2, ""), ("a\n", 2, "a"), ("a\nb\nc\n", 2, "b\nc"), ("a\nb", 2, "a\nb")];
        for (text, count, expected) in table {
            assert_eq!(last_lines(text, count), expected, "{text:?}");
        }
    }

    #[test]
    fn a_failure_names_the_command_its_status_and_its_words() {
        let error = output(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3") && text.contains("no luck"), "{text}");
        assert!(shown(&mut Command::new("false")).is_err());
        assert!(output(&mut Command::new("/nonexistent")).is_err());
    }
}
