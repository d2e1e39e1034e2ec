//! Runs the operator's commands when something happens. Each has a thread and a queue of its own, and nobody waits for any of them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::config::quote::OneLine;
use crate::config::{Config, NotifyConfig};
use crate::journal::events::{Event, Events};
use crate::resource::{Invocation, Run, Stop, System, Within};

/// Hands each event to the commands that are to be told of it, for ever.
pub(super) async fn run(config: watch::Receiver<Arc<Config>>, events: Events) {
    let mut newest = events.newest();
    let mut told = 0;
    let mut commands: Vec<Command> = Vec::new();
    loop {
        if newest.changed().await.is_err() {
            return std::future::pending().await;
        }
        newest.borrow_and_update();
        let now = Arc::clone(&config.borrow());
        if !commands.iter().map(|command| &command.config).eq(&now.notify) {
            // Those before finish what they have.
            commands = now.notify.iter().map(|config| Command::start(config, &now.node)).collect();
        }
        for event in events.after(told.max(events.before())) {
            told = event.number;
            for command in &mut commands {
                command.tell(&event);
            }
        }
    }
}

/// A command, and where it gets its events.
struct Command {
    config: NotifyConfig,
    /// `None` if there is no thread for it.
    queue: Option<SyncSender<Arc<Event>>>,
    /// Whether it was said that it is too slow.
    late: bool,
}

impl Command {
    fn start(config: &NotifyConfig, node: &str) -> Self {
        let (queue, events) = sync_channel(ROOM);
        let (line, node) = (config.command.clone(), node.to_owned());
        let started = thread::Builder::new()
            .name("ha-notify".to_owned())
            .spawn(move || carry_out(&line, &node, &events))
            .inspect_err(|error| tracing::warn!("no thread for a [[notify]]: {error}; look at `ulimit -a`"));
        Self { config: config.clone(), queue: started.ok().map(|_| queue), late: false }
    }

    fn tell(&mut self, event: &Arc<Event>) {
        let Some(queue) = self.queue.as_ref().filter(|_| self.config.on.contains(&event.what.kind())) else {
            return;
        };
        match queue.try_send(Arc::clone(event)) {
            Ok(()) => self.late = false,
            Err(TrySendError::Full(_)) if !self.late => {
                self.late = true;
                tracing::warn!(
                    "{} does not keep up: it is not told of all events",
                    program(&self.config.command)
                );
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// Runs the command for each event, until there are no more.
fn carry_out(line: &[String], node: &str, events: &Receiver<Arc<Event>>) {
    let Ok(stop) = Stop::new() else {
        return tracing::warn!("{} can't be run: no descriptors; look at `ulimit -a`", program(line));
    };
    while let Ok(event) = events.recv() {
        let json = serde_json::to_value(&*event).unwrap_or_default();
        let mut environment = vec![format!("HA_NODE={node}")];
        add_facts("HA", &json, &mut environment);
        let invocation = Invocation::new("env", environment.iter().chain(line)).reading(format!("{json}\n"));
        let trouble = match System.run(&invocation, &Within::new(LIMIT, stop.clone())) {
            Ok(output) if output.status.success() => continue,
            Ok(output) => {
                let said = output.stderr.lines().next().unwrap_or_default().to_owned();
                format!("{} {said}", output.status)
            }
            Err(error) => error.to_string(),
        };
        let name = event.what.kind().definition().name;
        tracing::warn!("{} on {name}: {}", program(line), OneLine(trouble.trim()));
    }
}

/// Each as an assignment; what is in others with the names of those before its own.
fn add_facts(prefix: &str, value: &Value, environment: &mut Vec<String>) {
    let text = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                add_facts(&format!("{prefix}_{}", name.to_uppercase()), value, environment);
            }
            return;
        }
        Value::String(text) => text.replace('\0', ""),
        Value::Null => String::new(),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    environment.push(format!("{prefix}={text}"));
}

fn program(line: &[String]) -> String {
    OneLine(line.first().map_or("", String::as_str)).to_string()
}

/// Events that wait for a command.
const ROOM: usize = 64;
/// How long it may take for one.
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_have_names() {
        let mut environment = Vec::new();
        let event = json!({ "event": "state_changed", "about": null, "change": { "to": "MASTER", "at_ns": 7 }, "n": [1] });
        add_facts("HA", &event, &mut environment);
        environment.sort();
        let expected =
            ["HA_ABOUT=", "HA_CHANGE_AT_NS=7", "HA_CHANGE_TO=MASTER", "HA_EVENT=state_changed", "HA_N=[1]"];
        assert_eq!(environment, expected);
    }
}
