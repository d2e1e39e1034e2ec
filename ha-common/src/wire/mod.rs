//! One file per header.
//!
//! A *view* borrows the header's fixed number of bytes and reads fields from it; a *repr* is the header as
//! values, with `emit` to write it. Views are over arrays, not slices, so no access can be out of bounds:
//! the caller proves the length once, where it takes the array from the frame.

pub mod arp;
pub mod carp;
pub mod checksum;
pub mod echo;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod udp;
