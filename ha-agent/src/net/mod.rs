//! The network's side: advertisements out, virtual addresses on and off, announcements, links watched.

pub mod address;
pub mod advertise;
pub mod announce;
pub mod link;
pub mod macvlan;
pub mod membership;
pub mod neighbour;
pub mod netlink;
pub mod place;
