//! The level that switches the other node off, by a program of the package `fence-agents`.
//!
//! Such a program reads `key=value` lines: an action, and the options that its manual names.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zeroize::Zeroizing;

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
    /// Its options: `("ip", "192.0.2.7")`. Not the action.
    pub options: Vec<(String, String)>,
    /// Options whose value is the first line of a file: `("password", "/etc/ha-agent/bmc")`.
    pub secrets: Vec<(String, PathBuf)>,
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
        let none: [&str; 0] = [];
        let invocation = Invocation::new(&self.agent.program, none).reading(self.agent.input(action)?);
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
        for (key, value) in &self.options {
            self.add(&mut input, key, value.as_bytes())?;
        }
        for (key, path) in &self.secrets {
            let contents = file::read(path, SECRET).map_err(|problem| {
                let what = format!("the secret of {} in {} {problem}", self.program, path.display());
                Failure::new(Cause::Misconfigured, what, "write it there, on one line")
            })?;
            let line = contents.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            self.add(&mut input, key, &Zeroizing::new(line.to_vec()))?;
        }
        Ok(input)
    }

    fn add(&self, input: &mut Vec<u8>, key: &str, value: &[u8]) -> Result<(), Failure> {
        let is_bad_key = key.is_empty() || key == "action" || key.contains(['=', '\n']);
        if is_bad_key || value.contains(&b'\n') {
            let what = format!("{key:?} is no option that {} can be given", self.program);
            return Err(Failure::new(Cause::Misconfigured, what, "see its manual"));
        }
        for part in [key.as_bytes(), b"=", value, b"\n"] {
            input.extend_from_slice(part);
        }
        Ok(())
    }
}

// What they end with when they are asked for the status.
const IS_ON: i32 = 0;
const IS_OFF: i32 = 2;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes in the file of a secret.
const SECRET: usize = 4096;

#[cfg(test)]
mod tests {
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
        Agent { program: "fence_x".to_owned(), options: Vec::new(), secrets: Vec::new() }
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
    fn secrets_come_from_files() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), "s3cret\nignored\n")?;
        let secrets = vec![("password".to_owned(), file.path().to_owned())];
        let agent = Agent { options: vec![("ip".to_owned(), "192.0.2.7".to_owned())], secrets, ..agent() };
        let (off, script) = power_off(&[0], agent.clone());
        assert!(matches!(off.examine(&within()?)[..], [Finding::Good(_)]));
        let told = script.0.lock().expect("not poisoned").1.concat();
        assert_eq!(told, "action=monitor\nip=192.0.2.7\npassword=s3cret\n");
        for option in [("action", "on"), ("ip", "x\naction=on")] {
            let options = vec![(option.0.to_owned(), option.1.to_owned())];
            let (off, _) = power_off(&[], Agent { options, ..agent.clone() });
            assert_eq!(off.take(&within()?).expect_err("refused").cause, Cause::Misconfigured);
        }
        let secrets = vec![("password".to_owned(), "/no/such/file".into())];
        let (off, _) = power_off(&[], Agent { secrets, ..agent });
        assert!(
            matches!(&off.examine(&within()?)[..], [Finding::Bad(failure)] if failure.cause == Cause::Misconfigured)
        );
        Ok(())
    }
}
