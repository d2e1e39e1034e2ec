//! From the configuration to what is taken over.

use crate::config::{ChargeConfig, SelfFenceChoice};
use crate::core::pair::Node;
use crate::core::pair::report::Why;
use crate::exec::conductor::Duties;
use crate::resource::{Cause, Failure};

/// All that the node has in charge.
pub(super) fn duties(config: &ChargeConfig, _node: Node) -> Result<Duties, Failure> {
    let _ = config;
    let parts = Vec::new();
    Duties::new(parts).map_err(|error| Failure::new(Cause::Misconfigured, error.to_string(), "change needs"))
}

/// Ends this node.
pub(super) fn fence_self(config: &ChargeConfig, why: Why) {
    let choice = config.fence.as_ref().map(|fence| fence.self_fence);
    match choice {
        Some(SelfFenceChoice::Reset) => tracing::error!("resetting this machine: {why}"),
        Some(SelfFenceChoice::Exit) | None => {}
    }
}
