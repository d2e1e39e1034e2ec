//! Whom the node can reach.

use std::io;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};

use super::netlink::Netlink;

/// Lets the kernel ask anew for those neighbours on an interface that have not answered yet.
///
/// A question that was lost, because the link had just gone or come, is repeated only after a second. As long, a
/// client would wait for its answers.
///
/// # Errors
///
/// The kernel's. What it has forgotten by then stays forgotten.
pub fn forget_unanswered(netlink: &mut Netlink, ifindex: u32) -> io::Result<()> {
    let mut question = NeighbourMessage::default();
    question.attributes.push(NeighbourAttribute::IfIndex(ifindex));
    for found in netlink.list(RouteNetlinkMessage::GetNeighbour(question))? {
        if let RouteNetlinkMessage::NewNeighbour(neighbour) = found
            && neighbour.header.state == NeighbourState::Incomplete
        {
            forget(netlink, neighbour)?;
        }
    }
    Ok(())
}

fn forget(netlink: &mut Netlink, mut neighbour: NeighbourMessage) -> io::Result<()> {
    neighbour.attributes.retain(|attribute| matches!(attribute, NeighbourAttribute::Destination(_)));
    match netlink.order(RouteNetlinkMessage::DelNeighbour(neighbour), 0) {
        // It was given up meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
