//! `docs/events.md`

use anyhow::Result;
use ha_agent::journal::events::{Definition, Kind};

use crate::{Table, compare, table};

#[test]
fn events_are_as_documented() -> Result<()> {
    compare("events.md", &[Table { name: "the events", text: events() }])
}

fn events() -> String {
    let head = ["event", "about", "severity", "means"].map(str::to_owned);
    let rows = Kind::ALL.map(|kind| {
        let Definition { name, about, severity, sentence } = kind.definition();
        let severity =
            if kind == Kind::ReasonBegan { "as the reason's".to_owned() } else { severity.to_string() };
        [format!("`{name}`"), about.name().to_owned(), severity, sentence.to_owned()]
    });
    table([head].into_iter().chain(rows))
}
