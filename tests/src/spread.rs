//! How far apart figures of one kind are.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// Order statistics; nothing if there are no figures. Printed as median and worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// Of 100, one is greater.
    pub p99: Option<f64>,
    /// Of 1000, one is greater.
    #[serde(rename = "p99_9")]
    pub p999: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
}

impl Spread {
    /// That of some figures.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        // The least figure that so many of 1000 do not exceed; of few figures, the last ones are the greatest.
        let at = |permille: usize| {
            let rank = (sorted.len() * permille).div_ceil(1000);
            sorted.get(rank.max(1) - 1).copied()
        };
        Self { min: at(0), p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.p50, self.max) {
            (Some(p50), Some(max)) => f.pad(&format!("{p50:.2} / {max:.2}")),
            (None, _) | (_, None) => f.pad("-"),
        }
    }
}
