//! Crafted frames, and what is to become of each.

mod hosts;
mod ipv4;
mod ipv6;

use frames::Outcome::{self, Accepted, Refused};
use frames::packet::{Packet, Packet6, sealed};
use frames::site::{SLOT_QINQ, SLOT_VLAN, VHID, slot6};
use ha_common::abi::COMMON_SLOT;
use ha_common::reason::Reason;

/// A frame with its name and its outcome.
#[derive(Clone)]
pub(crate) struct Case {
    /// What is special about it.
    pub(crate) name: &'static str,
    /// Its bytes.
    pub(crate) frame: Vec<u8>,
    /// What is to become of it.
    pub(crate) outcome: Outcome,
}

/// The good advertisement in different wrappings; the truncation of each is tested, too.
pub(crate) fn flavours() -> Vec<Case> {
    let (good, good6) = (Packet::default, Packet6::default);
    let (vlan, qinq) = (|| vec![(DOT1Q, 5)], || vec![(DOT1AD, 100), (DOT1Q, 5)]);
    let options = |options| Packet { options, ..good() };
    vec![
        case("plain", good(), Accepted(PLAIN, 0)),
        case("VLAN", Packet { tags: vlan(), ..good() }, Accepted(SLOT_VLAN, 0)),
        case("QinQ", Packet { tags: qinq(), ..good() }, Accepted(SLOT_QINQ, 0)),
        case("one word of options", options(ROUTER_ALERT.to_vec()), Refused(PLAIN, Reason::BadOpts)),
        case("ten words of options", options(vec![1; 40]), Refused(PLAIN, Reason::BadOpts)),
        case6("plain, IPv6", good6(), Accepted(slot6(PLAIN), 0)),
        case6("VLAN, IPv6", Packet6 { tags: vlan(), ..good6() }, Accepted(slot6(SLOT_VLAN), 0)),
        case6("QinQ, IPv6", Packet6 { tags: qinq(), ..good6() }, Accepted(slot6(SLOT_QINQ), 0)),
    ]
}

/// All the frames that are judged by themselves: nothing of what was heard before matters.
pub(crate) fn cases() -> Vec<Case> {
    [flavours(), ipv4::all(), ipv6::all(), hosts::all()].concat()
}

#[expect(clippy::needless_pass_by_value, reason = "the table reads better so")]
fn case(name: &'static str, packet: Packet, outcome: Outcome) -> Case {
    raw(name, packet.bytes(), outcome)
}

fn raw(name: &'static str, frame: Vec<u8>, outcome: Outcome) -> Case {
    Case { name, frame, outcome }
}

#[expect(clippy::needless_pass_by_value, reason = "the table reads better so")]
fn case6(name: &'static str, packet: Packet6, outcome: Outcome) -> Case {
    raw(name, packet.bytes(), outcome)
}

/// A frame of any kind.
fn ethernet(ethertype: u16, body: &[u8]) -> Vec<u8> {
    let addresses = [0x33, 0x33, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a];
    [&addresses[..], &ethertype.to_be_bytes(), body].concat()
}

/// An advertisement of VRRP version 2 for the number of a watched virtual host (RFC 3768 §5.1).
fn vrrp2(addresses: u8) -> Vec<u8> {
    let mut vrrp = vec![0x21, 10, 100, addresses, 0, 1, 0, 0];
    (0..addresses).for_each(|host| vrrp.extend([10, 77, 0, 100 + host]));
    vrrp.extend([0; 8]);
    sealed(vrrp)
}

/// An advertisement of VRRP version 3 for the number of a watched virtual host (RFC 5798 §5.1).
fn vrrp3(addresses: u8) -> Vec<u8> {
    let mut vrrp = vec![0x31, 10, 100, addresses, 0, 100, 0, 0];
    (0..addresses).for_each(|host| vrrp.extend([10, 77, 0, 100 + host]));
    sealed(vrrp)
}

const PLAIN: u32 = VHID as u32;

const NOT_CARP: Outcome = Refused(COMMON_SLOT, Reason::NotCarp);
const BAD_VERSION: Outcome = Refused(COMMON_SLOT, Reason::BadVer);
const UNKNOWN: Outcome = Refused(COMMON_SLOT, Reason::BadVhid);

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const DOT1Q: u16 = 0x8100;
const DOT1AD: u16 = 0x88a8;
const ROUTER_ALERT: [u8; 4] = [0x94, 0x04, 0x00, 0x00];
