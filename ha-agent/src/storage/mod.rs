//! What is stored: pools of ZFS, and file systems on shared disks.
//!
//! Both are [`Resource`](crate::resource::Resource)s. What is asked often is read from the kernel; what changes something is
//! done by the system's own programs, which can be killed.

pub mod disk;
mod holders;
mod host;
mod mount;
mod mountinfo;
mod unmount;
pub mod zfs;

#[cfg(test)]
pub(crate) mod double;
#[cfg(test)]
mod mount_tests;

pub use self::host::Host;
pub use self::mount::{Mount, MountSettings};
pub use self::mountinfo::{MountPoint, mounts};
pub use self::unmount::{Busy, unmount_all};
