//! `docs/metrics.md`

use anyhow::{Context, Result, ensure};
use ha_agent::control::metrics::{self, Format};

use super::{Table, compare, table};

#[test]
fn each_metric_is_in_its_table() -> Result<()> {
    let sample = include_str!("../../src/control/metrics/sample.json");
    let text = metrics::text(&serde_json::from_str(sample)?, Format::Openmetrics);
    let mut rows = vec![["metric", "kind", "what it says"].map(str::to_owned)];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        let kind = kind.with_context(|| format!("{name} has no type"))?;
        let ending = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        rows.push([format!("`{name}{ending}`"), kind.to_owned(), help.to_owned()]);
    }
    ensure!(rows.len() > 40, "{rows:?}");
    compare("metrics.md", &[Table { name: "the metrics", text: table(rows) }])
}
