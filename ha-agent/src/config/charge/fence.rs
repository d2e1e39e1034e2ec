//! The table `[fence]`.

use std::time::Duration;

use toml::Spanned;

use super::super::choice::{FenceLevel, choose};
use super::super::document::Document;
use super::super::error::ConfigError;
use super::super::mistake::Mistake;
use super::super::table::Table;
use super::super::{schema, value};
use super::{FenceConfig, absolute, command, file};

/// What the table says.
pub(super) fn read(document: &Document<'_>, table: &Table<'_>) -> Result<FenceConfig, ConfigError> {
    let pair = table.whole(&schema::PAIR, "a pair's number", 1..=PAIR_LIMIT)?;
    let pair = pair.ok_or_else(|| table.missing(&schema::PAIR))?.into_inner();
    let level = |text: &str| choose::<FenceLevel>(schema::LEVELS.name, text);
    let levels = table.list(&schema::LEVELS, level)?;
    let levels = levels.unwrap_or_else(|| vec![FenceLevel::Reservation]);
    let command = command(table, &schema::COMMAND)?;
    let options_file =
        table.optional_text(&schema::OPTIONS_FILE, |text| file(&schema::OPTIONS_FILE, text))?;
    let options_file = options_file.map(Spanned::into_inner);
    match (levels.contains(&FenceLevel::Command), &command, &options_file) {
        (true, None, _) => return Err(document.error(table.start(), Mistake::LevelWithoutCommand)),
        (false, Some(_), _) => {
            let key = schema::COMMAND.name;
            return Err(document.error(table.start(), Mistake::CommandWithoutLevel { key }));
        }
        (false, None, Some(_)) => {
            let key = schema::OPTIONS_FILE.name;
            return Err(document.error(table.start(), Mistake::CommandWithoutLevel { key }));
        }
        (true, Some(_), _) | (false, None, None) => {}
    }
    let disk_heartbeat = table.duration(&schema::DISK_HEARTBEAT, &value::DISK_HEARTBEAT)?;
    let device = |text: &str| absolute(&schema::WATCHDOG_DEVICE, text);
    let watchdog_device = table.optional_text(&schema::WATCHDOG_DEVICE, device)?;
    Ok(FenceConfig {
        pair,
        levels,
        strangers: table.choice(&schema::STRANGERS)?.map(Spanned::into_inner).unwrap_or_default(),
        command,
        options_file,
        disk_heartbeat: disk_heartbeat.map_or(DEFAULT_HEARTBEAT, Spanned::into_inner),
        watchdog: table.choice(&schema::WATCHDOG)?.map(Spanned::into_inner).unwrap_or_default(),
        watchdog_device: watchdog_device.map_or_else(|| "/dev/watchdog".into(), Spanned::into_inner),
        self_fence: table.choice(&schema::SELF_FENCE)?.map(Spanned::into_inner).unwrap_or_default(),
    })
}

/// A key has 31 bits for it.
const PAIR_LIMIT: u32 = (1 << 31) - 1;
const DEFAULT_HEARTBEAT: Duration = Duration::from_millis(200);
