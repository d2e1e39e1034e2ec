//! Waiting until a descriptor can be read.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Something that owns a descriptor, in the form that tokio waits for.
#[derive(Debug)]
pub struct Readable<T>(pub T);

impl<T: AsFd> AsRawFd for Readable<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Lets the current runtime wait until the descriptor can be read.
///
/// # Errors
///
/// If the runtime can't watch it.
pub(crate) fn readable<T: AsFd + Owner>(owner: T) -> io::Result<AsyncFd<Readable<T>>> {
    // SAFETY: an `Owner` has one descriptor, open and the same for as long as it lives, and the `AsyncFd`
    // keeps it alive for as long as it is registered.
    let registered = unsafe { AsyncFd::register_with_interest(Readable(owner), Interest::READABLE) };
    Ok(registered?)
}

/// Types that own one descriptor for their whole life and always lend that one.
pub(crate) trait Owner {}

impl Owner for nix::sys::timerfd::TimerFd {}
impl Owner for socket2::Socket {}
impl Owner for crate::dataplane::Events {}
impl Owner for crate::dataplane::Packets {}
impl Owner for super::packet_listener::PacketListener {}
impl<T> Owner for aya_log::EbpfLogger<T> {}
