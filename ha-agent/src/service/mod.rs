//! What clients talk to: units of systemd, NFS, iSCSI, and anything else by a command.
//!
//! Each is a [`Resource`](crate::resource::Resource) that is taken after the storage below it, and released before.

mod command;
pub mod iscsi;
mod nfs;
mod systemd;
mod unit;

#[cfg(test)]
mod tests;

pub use self::command::{Command, CommandSettings};
pub use self::iscsi::{Iscsi, IscsiSettings};
pub use self::nfs::{Export, Nfs, NfsSettings};
pub use self::unit::{Unit, UnitSettings};
