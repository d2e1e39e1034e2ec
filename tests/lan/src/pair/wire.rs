//! What is between the two nodes: the peer link, and the network that CARP runs on.

use std::time::Duration;

use crate::core::pair::message::Message;
use crate::core::{Advertisement, Instant};
use crate::network::between;
use crate::random::Random;

/// What goes from one node to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parcel {
    /// On the CARP network.
    Advert(Advertisement),
    /// On the link: are you there? `echo` is the newest that was heard of the other.
    Beat {
        /// When it left.
        sent: Instant,
        /// When the newest one left that was heard from there.
        echo: Option<Instant>,
    },
    /// On the link: the end of the connection, told by the other machine.
    Reset,
    /// On the link.
    Message(Message),
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// The link is cut.
    pub link_cut: bool,
    /// The CARP network is cut.
    pub carp_cut: bool,
    /// Of 1,000 parcels on the link, so many are lost.
    pub lost: u64,
    /// So many of its messages come twice, the second time late.
    pub doubled: u64,
    /// So many of its messages are late.
    pub late: u64,
    /// By how much, at most.
    pub latest: Duration,
}

impl Wire {
    /// Nothing that either says reaches the other.
    #[must_use]
    pub fn is_parted(&self) -> bool {
        self.link_cut && self.carp_cut
    }

    /// How long this one takes; twice if it comes twice, not at all if it is lost.
    #[must_use]
    pub fn ways(&self, parcel: Parcel, random: &mut Random) -> Vec<Duration> {
        let happens = |of_1000: u64, random: &mut Random| of_1000 > 0 && random.number() % 1000 < of_1000;
        let way = between(WAY / 10, WAY, random);
        match parcel {
            Parcel::Advert(_) if self.carp_cut => Vec::new(),
            Parcel::Beat { .. } | Parcel::Reset | Parcel::Message(_)
                if self.link_cut || happens(self.lost, random) =>
            {
                Vec::new()
            }
            Parcel::Advert(_) | Parcel::Beat { .. } | Parcel::Reset => vec![way],
            Parcel::Message(_) => {
                let late = |random: &mut Random| way + between(Duration::ZERO, self.latest, random);
                let mut ways = vec![if happens(self.late, random) { late(random) } else { way }];
                if happens(self.doubled, random) {
                    ways.push(late(random));
                }
                ways
            }
        }
    }
}

/// The longest way of what is not late.
pub const WAY: Duration = Duration::from_millis(1);
