//! What cannot be saved: one system call a frame, by a bare loop.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Result, ensure};
use ha_common::wire::{carp, ethernet, ipv4};
use lab::Node;
use lab::capture::sending_socket;
use nix::sys::socket::{MsgFlags, send};
use nix::time::{ClockId, clock_gettime};

/// Processor time that a loop needs for a frame that is as long as an advertisement and goes to the same group, on the
/// same cable, and that nobody takes for one.
pub(crate) fn per_frame(node: &Node) -> Result<Duration> {
    node.netns.run(|| {
        let socket = sending_socket("eth0")?;
        // Warm.
        time(&socket, FRAMES / 10)?;
        time(&socket, FRAMES)
    })?
}

fn time(socket: &OwnedFd, frames: u32) -> Result<Duration> {
    let ethernet = ethernet::Repr {
        destination: ethernet::multicast(carp::GROUP),
        source: [2, 0, 0, 0, 0, 9],
        ethertype: ethernet::IPV4,
    };
    let ipv4 = ipv4::Repr { source: [10, 77, 0, 9], destination: carp::GROUP, payload_len: 36 };
    // VRRP by its first byte.
    let frame = [ethernet.emit().as_slice(), &ipv4.emit(), &[0x31; 36]].concat();
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let began = now()?;
    for _ in 0..frames {
        let sent = send(socket.as_raw_fd(), &frame, MsgFlags::empty())?;
        ensure!(sent == frame.len());
    }
    Ok(now()?.saturating_sub(began) / frames)
}

const FRAMES: u32 = 20_000;
