//! `docs/storage.md`

use anyhow::Result;
use ha_agent::core::plan::Phase;
use ha_agent::resource::Cause;

use crate::{Table, compare, table};

#[test]
fn causes_and_phases_are_as_documented() -> Result<()> {
    compare(
        "storage.md",
        &[Table { name: "the phases", text: phases() }, Table { name: "the causes", text: causes() }],
    )
}

fn phases() -> String {
    let names: Vec<_> = Phase::ALL.into_iter().map(|phase| format!("*{phase}*")).collect();
    format!("{}\n", names.join(" → "))
}

fn causes() -> String {
    let head = ["cause", "means"].map(str::to_owned);
    let rows = Cause::ALL.map(|cause| [format!("`{cause}`"), cause.sentence().to_owned()]);
    table([head].into_iter().chain(rows))
}
