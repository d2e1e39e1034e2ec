//! Anything else: three commands with a contract.

use crate::resource::{Cause, Failure, Finding, Invocation, Output, Resource, Taken, Within};
use crate::storage::Host;

/// The commands. Each is a program and its arguments, run without a shell.
///
/// The contract:
///
/// - `HA_NODE` is the name of this node, and `HA_ACTION` is `start`, `stop` or `check`.
/// - `start` returns 0 when the service is here and ready for clients. It is 0 too if it was here already.
/// - `stop` returns 0 when nothing of it is here any more. It is 0 too if nothing was here.
/// - `check` returns 0 if it is here and well, and 3 if it is not here. Any other number means that it, or a part of it, is
///   here and not well. It is run often, on both nodes, and changes nothing.
/// - The first line that a command writes to its standard error, or else to its output, says what went wrong.
/// - Each is killed with all that it has started, if it misses the step's deadline. What is to stay must leave its process
///   group (`setsid`) and close its outputs.
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// What an operator calls it.
    pub name: String,
    /// The name of this node.
    pub node: String,
    /// Starts it: not empty.
    pub start: Vec<String>,
    /// Stops it: not empty.
    pub stop: Vec<String>,
    /// Tells how it is: not empty.
    pub check: Vec<String>,
}

/// A service that commands start and stop.
#[derive(Debug)]
pub struct Command {
    settings: CommandSettings,
    host: Host,
}

impl Command {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: CommandSettings, host: Host) -> Self {
        Self { settings, host }
    }

    fn run(&self, action: &str, line: &[String], within: &Within) -> Result<(Invocation, Output), Failure> {
        let environment = [format!("HA_NODE={}", self.settings.node), format!("HA_ACTION={action}")];
        let invocation = Invocation::new("env", environment.iter().chain(line));
        let output = self.host.run(&invocation, within)?;
        match (output.status.code(), line.first()) {
            // So says `env`.
            (Some(126 | 127), Some(program)) => {
                let what = format!("there is no program {program} that can be run");
                Err(Failure::new(Cause::NoTool, what, "install it on both nodes"))
            }
            _ => Ok((invocation, output)),
        }
    }
}

impl Resource for Command {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        within.go_on(&self.settings.name)?;
        let (invocation, output) = self.run("start", &self.settings.start, within)?;
        output.success(&invocation, Cause::ServiceDead, "run it by hand")?;
        Ok(Taken::default())
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        let (invocation, output) = self.run("stop", &self.settings.stop, within)?;
        output.success(&invocation, Cause::Busy, "run it by hand")?;
        if self.is_here(within)? {
            let what = format!("{} was stopped, and is here still", self.settings.name);
            return Err(Failure::new(Cause::Busy, what, "find out what of it still runs"));
        }
        Ok(())
    }

    fn is_here(&self, within: &Within) -> Result<bool, Failure> {
        let (_, output) = self.run("check", &self.settings.check, within)?;
        Ok(output.status.code() != Some(NOT_HERE))
    }

    fn check(&self, within: &Within) -> Result<(), Failure> {
        let (invocation, output) = self.run("check", &self.settings.check, within)?;
        if output.status.code() == Some(NOT_HERE) {
            return Err(Failure::gone(&self.settings.name));
        }
        output.success(&invocation, Cause::ServiceDead, "run it by hand").map(|_| ())
    }

    fn examine(&self, _: &Within) -> Vec<Finding> {
        let CommandSettings { start, stop, check, .. } = &self.settings;
        let mut programs: Vec<_> =
            [start, stop, check].into_iter().filter_map(|line| line.first()).map(String::as_str).collect();
        programs.sort_unstable();
        programs.dedup();
        self.host.examine_tools(&programs)
    }
}

/// What `check` returns then: as the Linux Standard Base says of `status`.
const NOT_HERE: i32 = 3;
