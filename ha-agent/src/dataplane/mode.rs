//! Where on their way frames are read, and what it costs.

use std::fmt;

use crate::config::Receive;
use crate::net::place::Stage;

/// Where an interface runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XDP, in the driver.
    Native,
    /// XDP, in the kernel's generic path, after the frame was copied into a socket buffer.
    Generic,
    /// Traffic control, behind XDP: beside other programs. Of kernels before 6.6 it is a filter, which can't be pinned.
    Tcx,
    /// A packet socket, which the agent reads.
    Packet,
}

impl Mode {
    /// The modes that a choice of the configuration allows for at a stage, the best first.
    #[must_use]
    pub fn allowed(receive: Receive, stage: Stage) -> &'static [Self] {
        match (receive, stage) {
            (Receive::Auto, Stage::Any) => &[Self::Native, Self::Generic, Self::Tcx, Self::Packet],
            (Receive::Auto, Stage::Generic) => &[Self::Generic, Self::Tcx, Self::Packet],
            (Receive::Native, Stage::Any) => &[Self::Native],
            (Receive::Native, Stage::Generic) => &[],
            (Receive::Generic, _) => &[Self::Generic],
            (Receive::Tcx, _) => &[Self::Tcx],
            (Receive::Packet, _) => &[Self::Packet],
        }
    }

    /// What is lost by it, against the driver; `None` if nothing is.
    #[must_use]
    pub fn lost(self) -> Option<&'static str> {
        match self {
            Self::Native => None,
            Self::Generic => Some("frames are stamped later, once the kernel has copied them"),
            Self::Tcx => Some(
                "frames are stamped later, behind XDP and packet sockets, and only those that another program has passed",
            ),
            Self::Packet => Some(
                "the agent reads the frames itself: its own timer tells a silence, what is refused reaches other programs, \
                 and the lease does not make this node quiet",
            ),
        }
    }

    /// Whether it is XDP, of which an interface has one program.
    #[must_use]
    pub fn is_xdp(self) -> bool {
        match self {
            Self::Native | Self::Generic => true,
            Self::Tcx | Self::Packet => false,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tcx => "tcx",
            Self::Packet => "packet",
        })
    }
}
