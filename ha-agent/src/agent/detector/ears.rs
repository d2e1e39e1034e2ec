//! What is heard by a packet socket, where no kernel program receives.

use std::io;

use ha_common::abi::Record;
use tokio::io::unix::AsyncFd;

use crate::dataplane::Packets;
use crate::sys::readable::{Readable, readable};

/// The socket, if there is one.
#[derive(Default)]
pub(super) struct Ears(Option<AsyncFd<Readable<Packets>>>);

impl Ears {
    /// Hears by this one, too.
    pub(super) fn open(&mut self, packets: Packets) {
        match readable(packets) {
            Ok(packets) => self.0 = Some(packets),
            Err(error) => tracing::error!(%error, "the packet socket can't be waited for; restart ha-agent"),
        }
    }

    /// Waits until something is heard; for ever if there is no socket.
    pub(super) async fn wait(&self) -> io::Result<()> {
        match &self.0 {
            Some(packets) => {
                packets.readable().await?.clear_ready();
                Ok(())
            }
            None => std::future::pending().await,
        }
    }

    /// The oldest that was not read.
    pub(super) fn next(&mut self) -> Option<Record> {
        self.0.as_mut()?.get_mut().0.next()
    }
}
