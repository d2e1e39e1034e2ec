//! The table of kernels in `docs/kernels.md`: what the guest's tests found out on each. Nobody else writes it.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, bail};

use super::kernel::{self, Kernel};
use crate::paths;

/// The tests that find out what is in it.
pub(super) const TESTS: [&str; 3] = ["programs", "packets", "failover"];

/// One kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// As in `uname -r`.
    pub(super) release: String,
    /// Its version as a package, of which that in `uname -r` is a part.
    pub(super) package: String,
    /// The programs with how many instructions the verifier went through, or that they are refused.
    pub(super) programs: String,
    /// How many frames of the packet table were treated as it says.
    pub(super) packets: String,
    /// In ms of the guest's clock: the dead time, and what came on top.
    pub(super) failover: String,
    /// What newer kernels have.
    pub(super) lacks: String,
}

impl Row {
    /// What the tests have found out on `kernel`, by name.
    ///
    /// # Errors
    ///
    /// One of them was not found out.
    pub(super) fn new(kernel: &Kernel, facts: &BTreeMap<String, String>) -> Result<Self> {
        let fact = |name: &str| {
            let value = facts.get(name).cloned();
            value.with_context(|| format!("the tests found out nothing about {name} on {}", kernel.release))
        };
        Ok(Self {
            release: kernel.release.clone(),
            package: fact("package")?,
            programs: fact("programs")?,
            packets: fact("packets")?,
            failover: fact("failover")?,
            lacks: fact("lacks")?,
        })
    }

    fn cells(&self) -> [&str; 6] {
        let Self { release, package, programs, packets, failover, lacks } = self;
        [release, package, programs, packets, failover, lacks]
    }
}

/// Puts `row` into the documentation, in the place of that of the same kernel's earlier release.
///
/// # Errors
///
/// It cannot be read or written, or has no table that was written here.
pub(super) fn write(row: Row) -> Result<()> {
    let path = paths::root().join(PAGE);
    let _lock = paths::lock("vm-table")?;
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, table, after) = parts(&page)?;
    let rows = joined(read(table)?, row);
    fs::write(&path, [before, &text(&rows), after].concat())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Those that were there, and the new one, oldest kernel first.
fn joined(mut rows: Vec<Row>, new: Row) -> Vec<Row> {
    let series = |row: &Row| kernel::numbers(&row.release).into_iter().take(2).collect::<Vec<_>>();
    rows.retain(|row| series(row) != series(&new));
    rows.push(new);
    rows.sort_by_key(|row| kernel::numbers(&row.release));
    rows
}

/// The page before the table, the table, the page after it.
fn parts(page: &str) -> Result<(&str, &str, &str)> {
    let begin = page.find(BEGIN).map(|at| at + BEGIN.len());
    let (Some(begin), Some(end)) = (begin, page.find(END)) else {
        bail!("{PAGE} has no place for the table: it stands between `{BEGIN}` and `{END}`")
    };
    page.get(begin..end)
        .map(|table| (&page[..begin], table, &page[end..]))
        .context("its marks are in the wrong order")
}

fn text(rows: &[Row]) -> String {
    let line = |cells: [&str; 6]| format!("| {} |\n", cells.join(" | "));
    let rows = rows.iter().map(|row| line(row.cells()));
    [String::from("\n"), line(HEAD), line(["---"; 6])].into_iter().chain(rows).collect()
}

/// The rows of a table that [`text`] has written.
fn read(table: &str) -> Result<Vec<Row>> {
    let row = |line: &str| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::to_owned);
        let [release, package, programs, packets, failover, lacks] =
            cells.collect::<Vec<_>>().try_into().ok()?;
        Some(Row { release, package, programs, packets, failover, lacks })
    };
    // An empty line, the head, the line below it.
    let lines = table.lines().skip(3);
    lines.map(|line| row(line).with_context(|| format!("no row of {PAGE}: {line}"))).collect()
}

const PAGE: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- written by `cargo xtask vm --write-table` -->";
const END: &str = "<!-- end of the table -->";
const HEAD: [&str; 6] = [
    "Linux",
    "Debian package",
    "programs, instructions that the verifier went through",
    "packet table",
    "takeover, ms of an emulated clock",
    "lacks",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_documentation_is_what_is_written() {
        let page = fs::read_to_string(paths::root().join(PAGE)).unwrap();
        let (_, table, _) = parts(&page).unwrap();
        let rows = read(table).unwrap();
        assert_eq!(text(&rows), table, "it was written by hand");
        assert!(rows.len() > 1, "{rows:?}");
        assert!(rows.iter().all(|row| row.cells().iter().all(|cell| !cell.is_empty())), "{rows:?}");
    }

    #[test]
    fn a_row_needs_every_fact() {
        let kernel = Kernel {
            release: "6.1.0-50-cloud-amd64".to_owned(),
            image: "vmlinuz".into(),
            modules: "modules".into(),
        };
        let names = ["package", "programs", "packets", "failover", "lacks"];
        let facts: BTreeMap<_, _> = names.map(|name| (name.to_owned(), format!("of {name}"))).into();
        let row = Row::new(&kernel, &facts).unwrap();
        assert_eq!(
            row.cells(),
            ["6.1.0-50-cloud-amd64", "of package", "of programs", "of packets", "of failover", "of lacks"]
        );
        assert_eq!(read(&text(std::slice::from_ref(&row))).unwrap(), [row]);
        for missing in names {
            let mut facts = facts.clone();
            facts.remove(missing);
            let error = Row::new(&kernel, &facts).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn a_newer_release_of_a_kernel_takes_the_place_of_the_older_one() {
        let row = |release: &str, lacks: &str| Row {
            release: format!("{release}-cloud-amd64"),
            package: "x".to_owned(),
            programs: "x".to_owned(),
            packets: "x".to_owned(),
            failover: "x".to_owned(),
            lacks: lacks.to_owned(),
        };
        let before = ["6.1.0-50", "6.12.117+deb13"].map(|release| row(release, "old"));
        let new = ["6.18.15+deb13", "6.1.0-57", "5.10.0-32"].map(|release| row(release, "new"));
        let expected = [
            row("5.10.0-32", "new"),
            row("6.1.0-57", "new"),
            row("6.12.117+deb13", "old"),
            row("6.18.15+deb13", "new"),
        ];
        assert_eq!(new.into_iter().fold(before.into(), joined), expected);
    }

    #[test]
    fn the_table_stands_between_its_marks() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let (before, table, after) = parts(&page).unwrap();
        assert_eq!((before, table, after), (&*format!("a\n{BEGIN}"), "\nold\n", &*format!("{END}\nb\n")));
        for page in ["", BEGIN, END, &format!("{END}{BEGIN}")] {
            assert!(parts(page).is_err(), "{page}");
        }
    }
}
