//! `docs/check.md`

use anyhow::Result;
use ha_agent::cli::check::Code;

use crate::{Table, compare, table};

#[test]
fn findings_are_as_documented() -> Result<()> {
    let head = ["code", "level", "means", "remedy"].map(str::to_owned);
    let rows = Code::ALL.iter().map(|code| {
        [
            format!("`{}`", code.name()),
            code.level().to_string(),
            code.means().to_owned(),
            code.remedy().to_owned(),
        ]
    });
    let text = table([head].into_iter().chain(rows));
    compare("check.md", &[Table { name: "the findings", text }])
}
