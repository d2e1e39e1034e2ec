//! What can befall a node, and how it ends.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;

use super::{
    lab::Lab,
    relay::Flow,
    who::{Disk, Net, Node},
};

/// Something that befalls one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its power is cut.
    Kill,
    /// Its processor stops, and its clock.
    Freeze,
    /// Its reset button is pressed: over at once.
    Reset,
    /// A cable is pulled: its carrier is lost.
    Cable(Net),
    /// A network loses what it sends and receives: the carrier stays.
    Silence(Net),
    /// Both networks do.
    Partition,
    /// Its path to a disk is held up.
    Path(Disk),
    /// All are.
    Paths,
}

impl Fault {
    /// Has it befall `node`.
    ///
    /// # Errors
    ///
    /// The node does not run.
    pub(super) fn begin(self, lab: &Lab, node: Node) -> Result<()> {
        let guest = lab.node(node)?;
        match self {
            Self::Kill => guest.kill(),
            Self::Freeze => guest.freeze()?,
            Self::Reset => guest.reset()?,
            Self::Cable(net) => guest.cut_link(net)?,
            Self::Silence(net) => lab.carry(net, node.who(), false),
            Self::Partition => Net::ALL.into_iter().for_each(|net| lab.carry(net, node.who(), false)),
            Self::Path(disk) => lab.path(node, disk, Flow::Held),
            Self::Paths => lab.paths(node, Flow::Held),
        }
        Ok(())
    }

    /// Has it end: the node is whole afterwards, and has booted, but what does not start by itself does not run.
    ///
    /// # Errors
    ///
    /// The node does not boot.
    pub(super) fn end(self, lab: &Lab, node: Node) -> Result<()> {
        let guest = lab.node(node)?;
        match self {
            Self::Kill => guest.boot()?,
            Self::Freeze => guest.thaw()?,
            Self::Reset => guest.wait()?,
            Self::Cable(net) => guest.join_link(net)?,
            Self::Silence(net) => lab.carry(net, node.who(), true),
            Self::Partition => Net::ALL.into_iter().for_each(|net| lab.carry(net, node.who(), true)),
            Self::Path(disk) => lab.path(node, disk, Flow::Open),
            Self::Paths => lab.paths(node, Flow::Open),
        }
        Ok(())
    }

    /// Whether the node itself is told, which it can't be without power.
    pub(super) const fn is_of_machine(self) -> bool {
        match self {
            Self::Freeze | Self::Reset | Self::Cable(_) => true,
            Self::Kill | Self::Silence(_) | Self::Partition | Self::Path(_) | Self::Paths => false,
        }
    }

    /// Whether nothing that ran on the node runs on.
    pub(super) const fn boots(self) -> bool {
        match self {
            Self::Kill | Self::Reset => true,
            Self::Freeze
            | Self::Cable(_)
            | Self::Silence(_)
            | Self::Partition
            | Self::Path(_)
            | Self::Paths => false,
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("power cut"),
            Self::Freeze => f.write_str("frozen"),
            Self::Reset => f.write_str("reset"),
            Self::Cable(net) => write!(f, "cable of {net} pulled"),
            Self::Silence(net) => write!(f, "{net} silent"),
            Self::Partition => f.write_str("both networks silent"),
            Self::Path(disk) => write!(f, "path to {disk} held up"),
            Self::Paths => f.write_str("paths to all disks held up"),
        }
    }
}
