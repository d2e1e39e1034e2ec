//! What ZFS writes on each of its disks, as `zdb -l` shows it: to whom the disk belongs, and how the pool is built around it.

/// The newest label of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// What the device is for.
    pub(super) state: State,
    /// The device itself.
    pub(super) guid: u64,
    /// Zero for a cache or spare device: it does not say where it belongs.
    pub(super) pool: u64,
    pub(super) pool_name: String,
    /// When it was written, in transaction groups.
    pub(super) txg: u64,
    /// Who had the pool last.
    pub(super) host_name: String,
    /// How many devices the pool has at its top, and which of these are holes that a removed log has left.
    pub(super) tops: u64,
    pub(super) holes: usize,
    /// The one at the top that this one is part of.
    pub(super) top: Option<Vdev>,
}

/// What the pool was when the label was written: `pool_state_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Imported somewhere, or was when its host died.
    Active,
    Exported,
    Destroyed,
    Spare,
    Cache,
}

/// A disk, or a group of them: one node of a pool's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vdev {
    pub(super) kind: Kind,
    pub(super) guid: u64,
    /// Where its host had it; it may be elsewhere here.
    pub(super) path: String,
    pub(super) is_log: bool,
    /// The pool itself counts it as broken, taken away or offline, and does not write to it.
    pub(super) is_out: bool,
    /// It is still being filled: it is written to, but what was there before can't be read from it.
    pub(super) is_filling: bool,
    pub(super) children: Vec<Vdev>,
}

/// How a node of the tree depends on its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is a disk, a partition or a file.
    Leaf,
    /// One of them is enough: a mirror, a replacement under way, a spare in use.
    Any,
    /// All but this many are needed: raidz and draid.
    AllBut(usize),
    /// It has no disks of its own, or is of a kind that is not known here.
    Unknown,
}

/// The newest of the labels that `zdb -l` has printed; `None` if there is none.
pub(super) fn parse(text: &str) -> Option<Label> {
    let mut sections = vec![Vec::new()];
    for line in text.lines() {
        if line.starts_with("LABEL") {
            sections.push(Vec::new());
        } else if let (Some(section), Some((key, value))) = (sections.last_mut(), line.split_once(':')) {
            let indent = line.len() - line.trim_start().len();
            section.push(Line { indent, key: key.trim(), value: value.trim() });
        }
    }
    sections.iter().filter_map(|lines| label(&Block { lines })).max_by_key(|label| label.txg)
}

fn label(block: &Block<'_>) -> Option<Label> {
    let state = match block.number("state")? {
        0 => State::Active,
        1 => State::Exported,
        2 => State::Destroyed,
        3 => State::Spare,
        4 => State::Cache,
        _ => return None,
    };
    Some(Label {
        state,
        guid: block.number("guid")?,
        pool: block.number("pool_guid").unwrap_or(0),
        pool_name: block.text("name"),
        txg: block.number("txg").unwrap_or(0),
        host_name: block.text("hostname"),
        tops: block.number("vdev_children").unwrap_or(0),
        holes: block.own().filter(|line| line.key.starts_with("hole_array[")).count(),
        top: block.below("vdev_tree").and_then(|tree| vdev(&tree, DEPTH)),
    })
}

fn vdev(block: &Block<'_>, depth: usize) -> Option<Vdev> {
    let parity = || usize::try_from(block.number("nparity").unwrap_or(0)).unwrap_or(0);
    let kind = match block.text("type").as_str() {
        "disk" | "file" => Kind::Leaf,
        "mirror" | "replacing" | "spare" => Kind::Any,
        "raidz" | "draid" => Kind::AllBut(parity()),
        _ => Kind::Unknown,
    };
    let depth = depth.checked_sub(1)?;
    let names = block.own().filter(|line| line.key.starts_with("children[")).map(|line| line.key);
    Some(Vdev {
        kind,
        guid: block.number("guid")?,
        path: block.text("path"),
        is_log: block.number("is_log") == Some(1),
        is_out: ["offline", "faulted", "removed", "not_present"]
            .iter()
            .any(|key| block.number(key) == Some(1)),
        is_filling: block.number("resilver_txg").is_some_and(|txg| txg > 0),
        children: names.map(|name| vdev(&block.below(name)?, depth)).collect::<Option<_>>()?,
    })
}

/// A line `key: value`, and how far it is indented.
#[derive(Clone, Copy)]
struct Line<'t> {
    indent: usize,
    key: &'t str,
    value: &'t str,
}

/// Lines that belong together: those that are indented as the first one is, with what is below each.
struct Block<'t> {
    lines: &'t [Line<'t>],
}

impl<'t> Block<'t> {
    fn own(&self) -> impl Iterator<Item = &'t Line<'t>> + use<'t> {
        let indent = self.lines.first().map_or(0, |line| line.indent);
        self.lines.iter().filter(move |line| line.indent == indent)
    }

    fn find(&self, key: &str) -> Option<&'t Line<'t>> {
        self.own().find(|line| line.key == key)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.find(key)?.value.parse().ok()
    }

    /// Empty if it is not there.
    fn text(&self, key: &str) -> String {
        self.find(key).map_or("", |line| line.value.trim_matches('\'')).to_owned()
    }

    fn below(&self, key: &str) -> Option<Self> {
        let indent = self.lines.first()?.indent;
        let start = self.lines.iter().position(|line| line.indent == indent && line.key == key)? + 1;
        let rest = self.lines.get(start..)?;
        let end = rest.iter().position(|line| line.indent <= indent).unwrap_or(rest.len());
        Some(Block { lines: rest.get(..end)? })
    }
}

/// How deep a tree can be: the top, a raidz, a replacement, a spare in it, and some more.
const DEPTH: usize = 8;
