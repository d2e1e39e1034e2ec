//! How a pool is built, and which of its disks are enough.

use std::collections::BTreeMap;

use super::label::{Kind, Label, State, Vdev};
use crate::resource::{Cause, Failure};

/// How a pool is built, as far as the disks that are seen tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    name: String,
    host_name: String,
    is_active: bool,
    /// The newest word on each device at the top.
    tops: BTreeMap<u64, (u64, Vdev)>,
    /// How many more there are, of which no disk is seen.
    unseen: u64,
}

impl Layout {
    /// What these labels say of this pool; `None` if none of them is of it. `all_seen` says that there are no other disks, even
    /// if more devices were counted: one that was removed from a pool is counted for ever.
    pub(super) fn new<'l>(
        pool: u64,
        labels: impl IntoIterator<Item = &'l Label>,
        all_seen: bool,
    ) -> Option<Self> {
        let mut layout = Self::default();
        let mut newest: Option<&Label> = None;
        for label in labels.into_iter().filter(|label| label.pool == pool) {
            if newest.is_none_or(|newest| newest.txg < label.txg) {
                newest = Some(label);
            }
            let Some(top) = &label.top else { continue };
            let known = layout.tops.entry(top.guid).or_insert_with(|| (label.txg, top.clone()));
            if known.0 < label.txg {
                *known = (label.txg, top.clone());
            }
        }
        let newest = newest?;
        layout.name.clone_from(&newest.pool_name);
        layout.host_name.clone_from(&newest.host_name);
        layout.is_active = newest.state == State::Active;
        let known = layout.tops.len() + newest.holes;
        let known = u64::try_from(known).unwrap_or(u64::MAX);
        layout.unseen = if all_seen { 0 } else { newest.tops.saturating_sub(known) };
        Some(layout)
    }

    /// What the pool was called by the host that had it last.
    #[must_use]
    pub fn pool_name(&self) -> &str {
        &self.name
    }

    /// The name of the host that has it, or had it when it died; `None` if the pool was exported.
    #[must_use]
    pub fn active_on(&self) -> Option<&str> {
        self.is_active.then_some(self.host_name.as_str())
    }

    /// The GUID and the former path of each disk that holds data or the log. Cache and spare disks are not among them: the
    /// labels do not say to which pool those belong.
    #[must_use]
    pub fn leaves(&self) -> Vec<(u64, &str)> {
        self.all_leaves().into_iter().map(|leaf| (leaf.guid, leaf.path.as_str())).collect()
    }

    /// Whether the pool could be imported with the disks for which `present`, told by their GUID.
    ///
    /// # Errors
    ///
    /// [`Cause::DiskMissing`]: what is not enough.
    pub fn can_run(&self, present: impl Fn(u64) -> bool) -> Result<(), Failure> {
        self.all_tops(|top| {
            if runs(top, &|leaf| present(leaf.guid) && !leaf.is_out && !leaf.is_filling, false) {
                return Ok(());
            }
            let lacking = lacking(top, &|leaf| present(leaf.guid));
            let what = format!("pool {} can't run without {lacking}", self.name);
            Err(Failure::new(Cause::DiskMissing, what, "look at these disks and their cables"))
        })
    }

    /// Whether it is enough that the disks for which `fenced`, told by their GUID, take no more writes from the other node.
    ///
    /// The rule holds for each device at the top of the pool, the log included:
    ///
    /// 1. what is fenced is enough to run it: as many disks as it needs have been taken;
    /// 2. what is not fenced is not enough to write to it: of a mirror no disk may be left, of a raidz fewer than it needs.
    ///
    /// One device that is left to the other node would do harm, though the pool as a whole could not go on there: a write that
    /// a client waits for goes to one device only and is acknowledged, and a transaction group may have nothing for the
    /// devices that are lost. What is written to single disks of a raidz by a node that can't complete the write is what
    /// checksums and parity repair.
    ///
    /// A disk that the pool itself counts as broken or offline is neither needed nor feared. One that is still being filled is
    /// feared, but of no use. Cache and spare disks do not
    /// count: nothing is believed that stands there alone.
    ///
    /// # Errors
    ///
    /// [`Cause::DiskMissing`]: what is not enough.
    pub fn suffices(&self, fenced: impl Fn(u64) -> bool) -> Result<(), Failure> {
        self.can_run(&fenced)?;
        self.all_tops(|top| {
            if !runs(top, &|leaf| !fenced(leaf.guid) && !leaf.is_out, true) {
                return Ok(());
            }
            let lacking = lacking(top, &|leaf| fenced(leaf.guid) || leaf.is_out);
            let what = format!("the other node could still write to pool {} by {lacking}", self.name);
            Err(Failure::new(
                Cause::DiskMissing,
                what,
                "reserve these disks too, or take them out of the pool",
            ))
        })
    }

    fn all_tops(&self, rule: impl Fn(&Vdev) -> Result<(), Failure>) -> Result<(), Failure> {
        if self.unseen > 0 {
            let what = format!("of {} devices of pool {} no disk is seen", self.unseen, self.name);
            let remedy = "look at the disks and their cables, or name all of them in the configuration";
            return Err(Failure::new(Cause::DiskMissing, what, remedy));
        }
        self.tops.values().try_for_each(|(_, top)| rule(top))
    }

    pub(super) fn all_leaves(&self) -> Vec<&Vdev> {
        let mut found = Vec::new();
        for (_, top) in self.tops.values() {
            leaves(top, &mut found);
        }
        found
    }
}

/// Whether a device runs with the leaves for which `has`. `otherwise`: what is not known here.
fn runs(vdev: &Vdev, has: &dyn Fn(&Vdev) -> bool, otherwise: bool) -> bool {
    let running = || vdev.children.iter().filter(|child| runs(child, has, otherwise)).count();
    match vdev.kind {
        Kind::Leaf => has(vdev),
        Kind::Any => running() > 0,
        Kind::AllBut(parity) => running() >= vdev.children.len().saturating_sub(parity).max(1),
        Kind::Unknown => otherwise,
    }
}

fn leaves<'v>(vdev: &'v Vdev, into: &mut Vec<&'v Vdev>) {
    if vdev.kind == Kind::Leaf {
        into.push(vdev);
    }
    for child in &vdev.children {
        leaves(child, into);
    }
}

/// The former paths of the leaves that are not among those for which `has`.
fn lacking(top: &Vdev, has: &dyn Fn(&Vdev) -> bool) -> String {
    let mut all = Vec::new();
    leaves(top, &mut all);
    let names: Vec<_> = all.into_iter().filter(|leaf| !has(leaf)).map(|leaf| leaf.path.as_str()).collect();
    let log = if top.is_log { " (the log)" } else { "" };
    format!("{}{log}", names.join(", "))
}
