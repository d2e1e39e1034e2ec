//! `docs/reasons.md`

use anyhow::Result;
use ha_agent::core::reasons::{Action, Code, Definition, Scope};

use crate::{Table, compare, table};

#[test]
fn reasons_are_as_documented() -> Result<()> {
    compare("reasons.md", &[Table { name: "the reasons", text: reasons() }])
}

fn reasons() -> String {
    let head = ["reason", "of", "severity", "means", "remedy", "blocks"].map(str::to_owned);
    let rows = Code::ALL.map(|code| {
        let Definition { name, scope, severity, sentence, remedy, blocks } = code.definition();
        let of = match scope {
            Scope::Node => "a node",
            Scope::Pair => "the pair",
        };
        let blocks = if **blocks == Action::ALL {
            "everything".to_owned()
        } else {
            blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        [
            format!("`{name}`"),
            of.to_owned(),
            severity.to_string(),
            (*sentence).to_owned(),
            (*remedy).to_owned(),
            blocks,
        ]
    });
    table([head].into_iter().chain(rows))
}
