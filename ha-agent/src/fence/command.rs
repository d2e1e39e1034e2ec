//! The level that switches the other node off, by a program of the package `fence-agents`.
//!
//! Such a program reads `key=value` lines: an action, and the options that its manual names.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::turn;
use crate::config::file;
use crate::resource::{Cause, Failure, Finding, Invocation, Output, Resource, Run, Taken, Within};

/// Switches the other node off. Shared by all who need that: done once, it is done for all of them, until one releases it.
#[derive(Debug)]
pub struct PowerOff {
    name: String,
    agent: Agent,
    run: Arc<dyn Run>,
    is_off: Mutex<bool>,
}

/// The program, and what it is told.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name or path: `fence_ipmilan`.
    pub program: String,
    /// Its arguments: none, for most.
    pub arguments: Vec<String>,
    /// The file with its options, which may be secret: `ip=192.0.2.7`, one a line, without the action. It is read anew each
    /// time. Empty lines and those that begin with `#` are left out.
    pub options_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Off,
    Status,
    Monitor,
}

impl PowerOff {
    /// By this program, which is run by `run`.
    #[must_use]
    pub fn new(agent: Agent, run: Arc<dyn Run>) -> Arc<Self> {
        let name = format!("power off by {}", agent.program);
        Arc::new(Self { name, agent, run, is_off: Mutex::new(false) })
    }

    fn ask(&self, action: Action, within: &Within) -> Result<(Invocation, Output), Failure> {
        let Agent { program, arguments, .. } = &self.agent;
        let invocation = Invocation::new(program, arguments).reading(self.agent.input(action)?);
        let output = self.run.run(&invocation, within)?;
        Ok((invocation, output))
    }

    /// Switches it off, and waits until it is.
    fn switch_off(&self, within: &Within) -> Result<(), Failure> {
        let remedy = "see whether the other node is off; try the program by hand";
        let (invocation, output) = self.ask(Action::Off, within)?;
        output.success(&invocation, Cause::Other, remedy)?;
        loop {
            let (invocation, output) = self.ask(Action::Status, within)?;
            match output.status.code() {
                Some(IS_OFF) => return Ok(()),
                Some(IS_ON) => {}
                Some(_) | None => drop(output.success(&invocation, Cause::Other, remedy)?),
            }
            if !within.pause(PAUSE) {
                within.go_on(&format!("{}: waiting until it is off", self.name))?;
            }
        }
    }
}

impl Resource for Arc<PowerOff> {
    fn name(&self) -> &str {
        &self.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        if within.is_handed_over() {
            return Ok(Taken { remarks: vec!["the other node has released, so it is left on".to_owned()] });
        }
        let mut is_off = turn::wait(&self.is_off, &self.name, within)?;
        if !*is_off {
            self.switch_off(within)?;
            *is_off = true;
        }
        Ok(Taken::default())
    }

    /// Does not switch it on again: whoever released it does not know why it was off.
    fn release(&self, within: &Within) -> Result<(), Failure> {
        *turn::wait(&self.is_off, &self.name, within)? = false;
        Ok(())
    }

    fn is_here(&self, within: &Within) -> Result<bool, Failure> {
        Ok(*turn::wait(&self.is_off, &self.name, within)?)
    }

    /// What it did is done: there is nothing that could be lost.
    fn check(&self, _: &Within) -> Result<(), Failure> {
        Ok(())
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        let remedy = "check the options, and the way to the device";
        let monitored = self.ask(Action::Monitor, within).and_then(|(invocation, output)| {
            let good = format!("{} reaches its device", self.agent.program);
            output.success(&invocation, Cause::Other, remedy).map(|_| good)
        });
        vec![monitored.map_or_else(Finding::Bad, Finding::Good)]
    }
}

impl Agent {
    /// What it reads.
    fn input(&self, action: Action) -> Result<Vec<u8>, Failure> {
        let action = match action {
            Action::Off => "off",
            Action::Status => "status",
            Action::Monitor => "monitor",
        };
        let mut input = format!("action={action}\n").into_bytes();
        let Some(path) = &self.options_file else { return Ok(input) };
        let misconfigured = |what: String| {
            let what = format!("the options of {} in {} {what}", self.program, path.display());
            Failure::new(Cause::Misconfigured, what, "write `key=value` lines there; see its manual")
        };
        let contents = file::read(path, OPTIONS).map_err(|problem| misconfigured(problem.to_string()))?;
        if contents.mode & 0o077 != 0 {
            return Err(misconfigured(format!("may be read by others: mode {:o}, not 600", contents.mode)));
        }
        for line in contents.bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let key = line.split(|byte| *byte == b'=').next().unwrap_or_default();
            if key.len() == line.len() || key.is_empty() || key == b"action" {
                return Err(misconfigured("have a line that is no `key=value`, or is the action".to_owned()));
            }
            input.extend_from_slice(line);
            input.push(b'\n');
        }
        Ok(input)
    }
}

// What they end with when they are asked for the status.
const IS_ON: i32 = 0;
const IS_OFF: i32 = 2;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes in the file of options.
const OPTIONS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::resource::{CommandError, Stop};

    /// Says these exit codes, one after the other, and keeps what it was told.
    #[derive(Debug)]
    struct Script(Mutex<(Vec<i32>, Vec<String>)>);

    impl Run for Script {
        fn run(&self, invocation: &Invocation, _: &Within) -> Result<Output, CommandError> {
            let (codes, told) = &mut *self.0.lock().expect("not poisoned");
            told.push(String::from_utf8_lossy(&invocation.input).into_owned());
            let status = ExitStatus::from_raw(codes.remove(0) << 8);
            Ok(Output { status, stdout: String::new(), stderr: String::new() })
        }
    }

    fn power_off(codes: &[i32], agent: Agent) -> (Arc<PowerOff>, Arc<Script>) {
        let script = Arc::new(Script(Mutex::new((codes.to_vec(), Vec::new()))));
        (PowerOff::new(agent, Arc::clone(&script) as Arc<dyn Run>), script)
    }

    fn agent() -> Agent {
        Agent { program: "fence_x".to_owned(), arguments: Vec::new(), options_file: None }
    }

    fn within() -> anyhow::Result<Within> {
        Ok(Within::new(Duration::from_secs(30), Stop::new()?))
    }

    #[test]
    fn it_is_off_only_when_the_status_says_so_and_once_for_all() -> anyhow::Result<()> {
        let within = within()?;
        let (off, script) = power_off(&[0, 0, 2, 0, 2], agent());
        let other = Arc::clone(&off);
        off.take(&within)?;
        other.take(&within)?;
        assert!(other.is_here(&within)?);
        other.release(&within)?;
        assert!(!off.is_here(&within)?);
        off.take(&within)?;
        let told: Vec<String> = script.0.lock().expect("not poisoned").1.clone();
        let actions = ["off", "status", "status", "off", "status"].map(|action| format!("action={action}\n"));
        assert_eq!(told, actions);
        Ok(())
    }

    #[test]
    fn who_has_released_is_left_on() -> anyhow::Result<()> {
        let (power, script) = power_off(&[], agent());
        power.take(&within()?.handed_over())?;
        assert!(script.0.lock().expect("not poisoned").1.is_empty() && !power.is_here(&within()?)?);
        Ok(())
    }

    #[test]
    fn what_fails_is_not_off() -> anyhow::Result<()> {
        for codes in [&[1][..], &[0, 1]] {
            let (off, _) = power_off(codes, agent());
            assert_eq!(off.take(&within()?).expect_err("it failed").cause, Cause::Other);
            assert!(!off.is_here(&within()?)?);
        }
        let (off, _) = power_off(&[0; 99], agent());
        let soon = within()?.at_most(Duration::from_millis(1));
        assert_eq!(off.take(&soon).expect_err("it stays on").cause, Cause::TimedOut);
        Ok(())
    }

    #[test]
    fn options_come_from_a_file_that_is_ones_own() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let agent = Agent { options_file: Some(file.path().to_owned()), ..agent() };
        std::fs::write(file.path(), "# the board\n\n ip=192.0.2.7\npassword=s3=cret \n")?;
        let (off, script) = power_off(&[0], agent.clone());
        assert!(matches!(off.examine(&within()?)[..], [Finding::Good(_)]));
        let told = script.0.lock().expect("not poisoned").1.concat();
        assert_eq!(told, "action=monitor\nip=192.0.2.7\npassword=s3=cret\n");
        let refused = |agent: &Agent| -> anyhow::Result<String> {
            let (off, _) = power_off(&[], agent.clone());
            let failure = off.take(&within()?).expect_err("refused");
            assert_eq!(failure.cause, Cause::Misconfigured);
            assert!(matches!(&off.examine(&within()?)[..], [Finding::Bad(bad)] if *bad == failure));
            Ok(failure.to_string())
        };
        for text in ["action=on\n", "ip\n", "=x\n"] {
            std::fs::write(file.path(), text)?;
            assert!(refused(&agent)?.contains("no `key=value`"), "{text}");
        }
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644))?;
        assert!(refused(&agent)?.contains("may be read by others: mode 644"));
        let agent = Agent { options_file: Some("/no/such/file".into()), ..agent };
        assert!(refused(&agent)?.contains("does not exist"));
        Ok(())
    }
}
