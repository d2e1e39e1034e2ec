//! `ha-agent failover`

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::order::{Failover, StepStatus};
use crate::control::{Reply, client};
use crate::core::pair::report::{End, Standing};

/// Arguments of `failover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
    /// The node that is to be active; without it, the one that is not.
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// If the active node can't release by then, end it rather than go back, for example `30s`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    force_after: Option<Duration>,
    /// Also if the other node is not ready, if a reason stands against it, or if nothing shows whether the peer lives. Asks
    /// for this node's name on the terminal.
    #[arg(long)]
    force: bool,
    /// This node's name: for `--force` without a terminal.
    #[arg(long, value_name = "NODE", requires = "force")]
    confirm: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let socket = &args.control.control;
    if args.force {
        let node = match client::status(socket) {
            Ok(status) => status.node,
            Err(error) => return fail(&error, error.exit()),
        };
        if let Err(cause) = confirm(&node, args.confirm.as_deref()) {
            return fail(&cause, Exit::Usage);
        }
    }
    let force_after_ms = args.force_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let order = Failover { to: args.to.clone(), force: args.force, force_after_ms };
    let json = args.json;
    match client::failover(socket, order, |step| tell(step, json)) {
        Ok(ended) => {
            let exit = match ended.end {
                End::Moved => Exit::Ok,
                End::Refused(_) | End::Stayed(_) | End::Returned(_) | End::Left(_) | End::Hard(_) => {
                    Exit::NotMoved
                }
            };
            if json {
                say_json(&Reply::Ended(ended));
            } else {
                say(format!("{:>9.2} ms  {}", ended.after_ms, ended.sentence));
            }
            exit
        }
        Err(error @ client::ClientError::Refused(_)) => fail(&error, Exit::NotMoved),
        Err(error) => fail(&error, error.exit()),
    }
}

fn tell(step: &StepStatus, json: bool) {
    if json {
        return say_json(&Reply::Progress(step.clone()));
    }
    let standing = match step.standing {
        Standing::Running => "...",
        Standing::Done => "done",
        Standing::Failed => "failed",
    };
    say(format!("{:>9.2} ms  {standing:<6}  {}", step.after_ms, step.sentence));
}

fn say_json(reply: &Reply) {
    if let Ok(line) = serde_json::to_string(reply) {
        say(line);
    }
}

/// Whoever forces has to know on which node, and what that overrides.
fn confirm(node: &str, given: Option<&str>) -> Result<(), String> {
    let given = match given {
        Some(given) => given.to_owned(),
        None if io::stdin().is_terminal() => ask(node).map_err(|error| error.to_string())?,
        None => {
            return Err(format!(
                "--force without a terminal needs `--confirm {node}`, the name of this node"
            ));
        }
    };
    if given == node {
        Ok(())
    } else {
        Err(format!("'{given}' is not the name of this node, which is {node}: nothing was done"))
    }
}

fn ask(node: &str) -> io::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{OVERRIDES}\nType the name of this node ({node}) to go on: ")?;
    stderr.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| "a number and its unit, such as 30s".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "min" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(format!("'{unit}' is no unit of time; give ms, s or min, such as 30s")),
    }
}

const OVERRIDES: &str = "\
--force overrides: that the node which takes over is not ready; that a reason stands against it (see `ha-agent status`); that nothing
shows whether the peer lives: if it does live, BOTH nodes may then serve. It takes nothing from a peer that is seen to live.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        let table = [
            ("30s", Ok(Duration::from_secs(30))),
            ("250ms", Ok(Duration::from_millis(250))),
            ("2min", Ok(Duration::from_mins(2))),
            ("30", Err("'' is no unit of time; give ms, s or min, such as 30s")),
            ("s", Err("a number and its unit, such as 30s")),
            ("99999999999999999999s", Err("a number and its unit, such as 30s")),
            ("3 s", Err("' s' is no unit of time; give ms, s or min, such as 30s")),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn who_forces_names_the_node() {
        assert_eq!(confirm("a", Some("a")), Ok(()));
        assert!(confirm("a", Some("b")).is_err_and(|error| error.contains("nothing was done")));
    }
}
