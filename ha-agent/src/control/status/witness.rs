//! What is known of the witness.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{WitnessConfig, WitnessKind};
use crate::core::Instant;
use crate::witness::{Holder, WitnessNow};

/// The witness, as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// `etcd` or `gateway`.
    pub kind: String,
    /// Which of its addresses answered last; `null` if none has.
    pub via: Option<String>,
    /// How long ago that was, in ms.
    pub age_ms: Option<f64>,
    /// Which other node has the lease, by its name.
    pub holder: Option<String>,
    /// For how long this node may rest on the lease, or on the gateway's answer, in ms; `null` if it may not.
    pub vouches_ms: Option<f64>,
    /// Why it does not answer; `null` if it does.
    pub error: Option<String>,
}

impl WitnessStatus {
    pub(crate) fn new(
        config: Option<&WitnessConfig>,
        seen: &WitnessNow,
        lease: Option<Duration>,
        now: Instant,
    ) -> Self {
        let WitnessNow { answered, via, holder, error } = seen;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            kind: match config.map(|config| &config.kind) {
                Some(WitnessKind::Gateway(_)) => "gateway",
                Some(WitnessKind::Etcd { .. }) | None => "etcd",
            }
            .to_owned(),
            via: via.clone(),
            age_ms: answered.map(|at| ms(now.saturating_since(at))),
            holder: match holder {
                Holder::Nobody | Holder::This => None,
                Holder::Other(name) => Some(name.clone()),
            },
            vouches_ms: lease.map(ms),
            error: error.clone(),
        }
    }
}
