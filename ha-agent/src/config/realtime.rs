//! The table `[realtime]`.

use toml::Spanned;

use super::error::ConfigError;
use super::table::Table;
use super::{RealtimeConfig, schema, value};

/// What the table says; what it leaves out is as if there were none.
pub(super) fn read(table: &Table<'_>) -> Result<RealtimeConfig, ConfigError> {
    let default = RealtimeConfig::default();
    let priority = table.number_or_off(&schema::PRIORITY, "priority", 1..=99)?;
    let lock_memory = table.optional(&schema::LOCK_MEMORY)?;
    let cpu_dma_latency = table.optional_text(&schema::CPU_DMA_LATENCY, |text| match text {
        "leave" => Ok(None),
        latency => value::duration(latency, &value::CPU_DMA_LATENCY).map(Some),
    })?;
    Ok(RealtimeConfig {
        priority: priority.map_or(default.priority, Spanned::into_inner),
        lock_memory: lock_memory.map_or(default.lock_memory, Spanned::into_inner),
        cpu_dma_latency: cpu_dma_latency.map_or(default.cpu_dma_latency, Spanned::into_inner),
    })
}

impl Default for RealtimeConfig {
    /// The priority of those threads that handle interrupts, where a kernel has such.
    fn default() -> Self {
        Self { priority: Some(50), lock_memory: true, cpu_dma_latency: None }
    }
}
