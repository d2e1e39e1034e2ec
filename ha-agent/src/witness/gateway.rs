//! The modest form of a witness: an address that answers an echo request (ICMP). It does not know of the pair.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::error::WitnessError;
use crate::sys::readable::readable;

/// Asks once, and waits for the answer.
pub(crate) async fn ask(address: IpAddr, limit: Duration) -> Result<(), WitnessError> {
    let not_sent = |cause| WitnessError::NotSent { address, cause };
    let nonce = getrandom::u64().map_err(|error| not_sent(io::Error::other(error)))?;
    // One a question: what comes late belongs to nobody.
    let socket = open(address).map_err(not_sent)?;
    socket.send(&request(address, nonce)).map_err(not_sent)?;
    let answered = async {
        let mut socket = readable(socket)?;
        loop {
            let mut ready = socket.readable_mut().await?;
            let mut packet = [0; PACKET];
            // Else there was nothing after all.
            if let Ok(read) = ready.try_io(|socket| socket.get_mut().0.read(&mut packet))
                && is_answer(address, &packet[..read?], nonce)
            {
                return Ok(());
            }
        }
    };
    match tokio::time::timeout(limit, answered).await {
        Ok(answered) => answered.map_err(not_sent),
        Err(_) => Err(WitnessError::NoEcho { address, limit }),
    }
}

fn open(address: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    // A raw one: those that any user may open are for groups that most systems leave empty.
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // Only what comes from there.
    socket.connect(&SocketAddr::new(address, 0).into())?;
    Ok(socket)
}

/// An echo request (RFC 792, RFC 4443) with a number that nobody else knows.
fn request(address: IpAddr, nonce: u64) -> [u8; REQUEST] {
    let mut packet = [0; REQUEST];
    packet[0] = match address {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 128,
    };
    packet[8..].copy_from_slice(&nonce.to_be_bytes());
    // In IPv6 it covers addresses as well, and the kernel fills it in.
    if address.is_ipv4() {
        let sum: u32 = packet.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let [.., high, low] = (!(folded + (folded >> 16))).to_be_bytes();
        (packet[2], packet[3]) = (high, low);
    }
    packet
}

/// Whether a packet, as the kernel gives it to a raw socket, is the answer.
fn is_answer(address: IpAddr, packet: &[u8], nonce: u64) -> bool {
    let (message, kind) = match address {
        // With its header, whose length is in its first byte, in units of four.
        IpAddr::V4(_) => {
            let length = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
            (packet.get(length..), 0)
        }
        IpAddr::V6(_) => (Some(packet), 129),
    };
    let Some(message) = message else { return false };
    message.starts_with(&[kind, 0]) && message.get(8..REQUEST) == Some(&nonce.to_be_bytes())
}

/// Bytes of a request: a header of eight, and the number.
const REQUEST: usize = 16;
/// Bytes of an answer that are looked at: the longest header of IPv4, and an answer.
const PACKET: usize = 60 + REQUEST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_very_request_counts() {
        for (address, header, kind) in
            [(IpAddr::from([10, 0, 0, 1]), 20, 0), (IpAddr::from([1_u16; 8]), 0, 129)]
        {
            let mut packet = vec![0_u8; header];
            if header > 0 {
                packet[0] = 0x45;
            }
            packet.extend(request(address, 7));
            assert!(!is_answer(address, &packet, 7), "a request");
            packet[header] = kind;
            assert!(is_answer(address, &packet, 7));
            assert!(!is_answer(address, &packet, 8));
            for length in 0..packet.len() {
                assert!(!is_answer(address, &packet[..length], 7), "{length}");
            }
        }
    }

    #[test]
    fn the_checksum_of_a_request_is_right() {
        for nonce in [0, 1, u64::MAX, 0xffff_0001_fffe_1234] {
            let packet = request(IpAddr::from([10, 0, 0, 1]), nonce);
            let sum: u32 = packet.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{nonce:x}");
        }
    }

    #[tokio::test]
    async fn the_loopback_interface_answers_in_both_families() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        for address in [IpAddr::from([127, 0, 0, 1]), "::1".parse().expect("an address")] {
            ask(address, Duration::from_secs(2)).await.expect("an answer");
        }
    }
}
