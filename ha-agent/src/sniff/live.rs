//! Frames as they pass an interface.

use std::io;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::{Kind, Received};
use crate::sys::packet_listener::{PacketListener, SNAP};
use crate::sys::readable::{Readable, readable};

/// Hears protocol 112, ARP and neighbour advertisements on an interface, whoever sends it.
#[derive(Debug)]
pub struct Tap(AsyncFd<Readable<PacketListener>>);

impl Tap {
    /// Begins to hear the interface with this index. Must be called on a tokio runtime with I/O.
    ///
    /// # Errors
    ///
    /// As [`PacketListener::tap`].
    pub fn open(ifindex: u32) -> io::Result<Self> {
        Ok(Self(readable(PacketListener::tap(ifindex)?)?))
    }

    /// Gives each frame to `see`, until that returns false. Cancel-safe.
    ///
    /// # Errors
    ///
    /// If the kernel refuses: `ENETDOWN` when the interface goes down.
    pub async fn hear(&self, mut see: impl FnMut(&Received<'_>) -> bool) -> io::Result<()> {
        let mut buffer = [0; SNAP];
        loop {
            let mut ready = self.0.readable().await?;
            for _ in 0..BATCH {
                let Some(frame) = self.0.get_ref().0.receive(&mut buffer)? else {
                    ready.clear_ready();
                    break;
                };
                let received = Received {
                    bytes: frame.bytes,
                    kind: Kind::Ethernet,
                    length: frame.length,
                    at_ns: frame.wall_ns,
                    tag: frame.tag,
                    outgoing: frame.outgoing,
                };
                if !see(&received) {
                    return Ok(());
                }
            }
            // In a flood, others have their turn all the same.
            yield_now().await;
        }
    }

    /// The same for a time.
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn hear_for(&self, time: Duration, mut see: impl FnMut(&Received<'_>)) -> io::Result<()> {
        let hear = self.hear(|received| {
            see(received);
            true
        });
        // The end is what is waited for.
        timeout(time, hear).await.unwrap_or(Ok(()))
    }
}

const BATCH: usize = 64;
