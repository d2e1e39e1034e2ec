//! Watching interfaces and their addresses by netlink.

mod interface;
mod parse;
#[cfg(test)]
mod tests;

use std::io;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::mpsc;

pub use interface::{Interface, Interfaces, Kind, Tag};
pub(super) use parse::interface_of;

/// Asks the kernel for the interfaces, and says when they may have changed.
#[derive(Debug)]
pub struct Monitor {
    /// For requests, by a connection of its own: when the kernel has more news than their socket holds, it drops
    /// what is on that socket, and answers are among it.
    netlink: Handle,
    /// Keeps the connection for news.
    _news: Handle,
    changes: mpsc::Receiver<()>,
}

impl Monitor {
    /// Begins to watch. Must be called on a tokio runtime with I/O.
    ///
    /// # Errors
    ///
    /// If the netlink sockets can't be had.
    pub fn open() -> io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, news, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        // One pending change says as much as many: the whole state is read afterwards.
        let (notify, changes) = mpsc::channel(1);
        tokio::spawn(async move {
            while messages.next().await.is_some() {
                if matches!(notify.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                    break;
                }
            }
        });
        Ok(Self { netlink, _news: news, changes })
    }

    /// Waits for the next change. Cancel-safe. Returns `false` if netlink was closed.
    pub async fn changed(&mut self) -> bool {
        self.changes.recv().await.is_some()
    }

    /// Reads the interfaces.
    ///
    /// # Errors
    ///
    /// If the kernel does not answer.
    pub async fn interfaces(&self) -> Result<Interfaces, rtnetlink::Error> {
        let links: Vec<LinkMessage> = self.netlink.link().get().execute().try_collect().await?;
        let mut interfaces: Interfaces = links.iter().filter_map(interface_of).collect();
        let mut messages = self.netlink.address().get().execute();
        let mut addresses = Vec::new();
        while let Some(message) = messages.try_next().await? {
            if let Some((address, rank)) = parse::address(&message) {
                addresses.push((rank, message.header.index, address));
            }
        }
        // Stable: those of one rank stay in the kernel's order.
        addresses.sort_by_key(|(rank, ..)| *rank);
        for (_, index, address) in addresses {
            if let Some(interface) = interfaces.by_index_mut(index) {
                interface.addresses.push(address);
            }
        }
        Ok(interfaces)
    }

    /// The connection for requests.
    #[must_use]
    pub fn netlink(&self) -> Handle {
        self.netlink.clone()
    }
}
