//! The table `[lease]`.

use std::time::Duration;

use toml::Spanned;

use super::error::ConfigError;
use super::table::Table;
use super::{LeaseConfig, LeaseDrop, schema, value};

/// What the table says; what it leaves out is as if there were none.
pub(super) fn read(table: &Table<'_>) -> Result<LeaseConfig, ConfigError> {
    let default = LeaseConfig::default();
    let length = table.optional_text(&schema::LENGTH, |text| match text {
        "off" => Ok(None),
        length => value::duration(length, &value::LENGTH).map(Some),
    })?;
    let drop = table.choice(&schema::DROP)?;
    Ok(LeaseConfig {
        length: length.map_or(default.length, Spanned::into_inner),
        drop: drop.map_or(default.drop, Spanned::into_inner),
    })
}

impl Default for LeaseConfig {
    /// Longer than an agent takes to start anew, shorter than CARP waits for a master that says nothing of its pace.
    fn default() -> Self {
        Self { length: Some(Duration::from_secs(2)), drop: LeaseDrop::All }
    }
}
