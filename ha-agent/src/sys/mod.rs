//! What the operating system offers and no crate wraps as we need it.

pub mod capabilities;
pub mod clock;
pub mod packet_socket;
pub mod readable;
pub mod timer;
