//! The tables `[[pool]]` and `[[mount]]`.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::super::choice::FenceLevel;
use super::super::document::Document;
use super::super::error::ConfigError;
use super::super::mistake::Mistake;
use super::super::quote::Excerpt;
use super::super::schema::{self, Key};
use super::super::table::Table;
use super::place::Names;
use super::{FenceConfig, VolumeConfig, VolumeKind, absolute, file, word};

/// What a `[[pool]]` says.
pub(super) fn pool(
    document: &Document<'_>,
    table: &Table<'_>,
    names: &mut Names,
) -> Result<VolumeConfig, ConfigError> {
    let place = names.read(document, table, POOL_TAKE)?;
    let guid = table.text(&schema::GUID, |text| {
        text.parse().ok().filter(|guid| *guid != 0).ok_or_else(|| Mistake::Guid(Excerpt::new(text)))
    })?;
    let directories = paths(table, &schema::DIRECTORIES)?;
    let keys = table.optional_text(&schema::KEYS, |text| file(&schema::KEYS, text))?;
    let missing_log = table.optional::<bool>(&schema::MISSING_LOG)?;
    let kind = VolumeKind::Pool {
        guid: guid.into_inner(),
        directories: directories.unwrap_or_else(|| vec!["/dev/disk/by-id".into()]),
        missing_log: missing_log.is_some_and(Spanned::into_inner),
        keys: keys.map(Spanned::into_inner),
    };
    Ok(VolumeConfig {
        place,
        disks: paths(table, &schema::DISKS)?.unwrap_or_default(),
        busy: table.choice(&schema::BUSY)?.map(Spanned::into_inner).unwrap_or_default(),
        kind,
    })
}

/// What a `[[mount]]` says.
pub(super) fn mount(
    document: &Document<'_>,
    table: &Table<'_>,
    fence: Option<&FenceConfig>,
    names: &mut Names,
) -> Result<VolumeConfig, ConfigError> {
    let place = names.read(document, table, MOUNT_TAKE)?;
    let text = |key: &'static Key| table.optional_text(key, |text| word(key, text));
    let kind = VolumeKind::Mount {
        device: table.text(&schema::DEVICE, |text| absolute(&schema::DEVICE, text))?.into_inner(),
        at: table.text(&schema::AT, |text| absolute(&schema::AT, text))?.into_inner(),
        kind: table.text(&schema::TYPE, |text| word(&schema::TYPE, text))?.into_inner(),
        options: text(&schema::OPTIONS)?.map(Spanned::into_inner),
        uuid: text(&schema::UUID)?.map(Spanned::into_inner),
    };
    let disks = paths(table, &schema::DISKS)?.unwrap_or_default();
    let reserves = fence.is_some_and(|fence| fence.levels.contains(&FenceLevel::Reservation));
    if reserves && disks.is_empty() {
        return Err(document.error(table.start(), Mistake::NoDisks { name: place.name }));
    }
    Ok(VolumeConfig {
        place,
        disks,
        busy: table.choice(&schema::BUSY)?.map(Spanned::into_inner).unwrap_or_default(),
        kind,
    })
}

fn paths(table: &Table<'_>, key: &'static Key) -> Result<Option<Vec<PathBuf>>, ConfigError> {
    table.list(key, |text| absolute(key, text))
}

const POOL_TAKE: Duration = Duration::from_mins(1);
const MOUNT_TAKE: Duration = Duration::from_secs(30);
