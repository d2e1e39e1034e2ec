//! The table `[[notify]]`.

use super::charge::command;
use super::error::ConfigError;
use super::mistake::Mistake;
use super::quote::Excerpt;
use super::table::Table;
use super::{NotifyConfig, schema};
use crate::journal::events::Kind;

/// What the table says.
pub(super) fn read(table: &Table<'_>) -> Result<NotifyConfig, ConfigError> {
    let command = command(table, &schema::COMMAND)?.ok_or_else(|| table.missing(&schema::COMMAND))?;
    let on = table.list(&schema::ON, event)?;
    Ok(NotifyConfig { command, on: on.unwrap_or_else(|| TRANSITIONS.to_vec()) })
}

fn event(name: &str) -> Result<Kind, Mistake> {
    Kind::named(name).ok_or_else(|| {
        let (key, word, known) =
            (schema::ON.name, Excerpt::new(name), "one of those in docs/events.md".to_owned());
        match schema::nearest(Kind::ALL.map(|kind| kind.definition().name), name) {
            Some(nearest) => Mistake::MisspelledWord { key, word, known, nearest },
            None => Mistake::UnknownWord { key, word, known },
        }
    })
}

/// What is told of if nothing is said: who is what has changed.
const TRANSITIONS: [Kind; 3] = [Kind::RoleChanged, Kind::StateChanged, Kind::Serving];
