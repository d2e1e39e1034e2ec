//! What the operating system offers and no crate wraps as we need it.

pub mod capabilities;
pub mod claim;
pub mod clock;
pub mod ethtool;
pub mod hurry;
pub mod idle;
pub(crate) mod interface_name;
pub mod packet_listener;
pub mod packet_socket;
pub mod pidfd;
pub mod process;
pub mod raw_socket;
pub mod readable;
pub mod realtime;
pub(crate) mod replace;
pub mod rights;
pub mod sysctl;
pub mod timer;
