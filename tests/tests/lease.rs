//! The lease, in the loaded program: what it drops where the lease is over, and who puts an end to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use frames::site::{VHID, VHID_STRICT, site};
use frames::{Advertisement, Kernel, Packet};
use ha_agent::sys::clock;
use ha_common::abi::Lease;
use ha_common::wire::{arp, ethernet};
use lab::capture::now_ns;

#[test]
fn a_node_whose_lease_is_over_answers_for_no_virtual_address() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    kernel.guard(&GUARDED);
    let frames = frames();
    let over = Lease { until_ns: clock::boot_ns(), sure_ns: u64::MAX, ..good() };
    let table = [
        ("nothing was granted", Lease::default(), [false; 7]),
        ("granted", good(), [false; 7]),
        ("over", over, [true, false, true, false, true, true, false]),
        ("over, for requests", without(over, Lease::ALL), [true, false, false, false, true, false, false]),
        ("over, without effect", without(over, Lease::GUARDS), [false; 7]),
    ];
    for (name, lease, dropped) in table {
        kernel.grant(lease);
        let before = kernel.silenced();
        let found = frames.each_ref().map(|(_, frame)| kernel.run(frame, 1).verdict == DROP);
        assert_eq!(found, dropped, "{name}: {:?}", frames.each_ref().map(|(what, _)| what));
        let silenced = dropped.iter().filter(|dropped| **dropped).count();
        assert_eq!(kernel.silenced() - before, silenced as u64, "{name}");
    }
    // What is guarded no more is answered for.
    kernel.grant(over);
    kernel.guard(&[]);
    assert!(frames.iter().all(|(_, frame)| kernel.run(frame, 1).verdict == PASS));
}

#[test]
fn advertisements_are_heard_all_the_same() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    kernel.guard(&["10.0.0.99".parse().expect("an address"), Ipv4Addr::from([224, 0, 0, 18]).into()]);
    kernel.grant(Lease { until_ns: 1, ..good() });
    assert_eq!(kernel.run(&Packet::default().bytes(), 1).verdict, PASS);
    assert_eq!(kernel.adverts().len(), 1);
}

#[test]
fn another_one_who_serves_puts_an_end_to_it_until_the_agent_is_sure_anew() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    kernel.guard(&GUARDED);
    let (_, request) = &frames()[0];
    let ms = now_ns() / 1_000_000;
    kernel.set_wall_ms(ms);
    let strict = Advertisement { demote: 0, ..Advertisement::of(VHID_STRICT) };
    let bow_out = Advertisement { advskew: 255, advbase: 255, ..strict };
    let stands_by = Advertisement { demote: 128, ..strict };
    let table = [
        ("serves", strict.made_at(ms + 1).bytes(), true),
        ("the same again", strict.made_at(ms + 1).bytes(), false),
        ("of long ago", strict.made_at(ms - 60_000).bytes(), false),
        ("of the future: our clock stood still", strict.made_at(ms + 60_000).bytes(), true),
        ("stands by", stands_by.made_at(ms + 2).bytes(), false),
        ("leaves", bow_out.made_at(ms + 3).bytes(), false),
        ("forged", Advertisement { passphrase: "wrong", ..strict }.made_at(ms + 4).bytes(), false),
        ("of a mode in which it may be recorded", Advertisement::of(VHID).bytes(), false),
        ("serves, a little demoted", Advertisement { demote: 127, ..strict }.made_at(ms + 5).bytes(), true),
    ];
    for (name, payload, ends) in table {
        kernel.grant(Lease { sure_ns: clock::boot_ns(), ..good() });
        assert_eq!(kernel.run(request, 1).verdict, PASS, "before: {name}");
        kernel.run(&Packet { payload, ..Packet::default() }.bytes(), 1);
        assert_eq!(kernel.run(request, 1).verdict == DROP, ends, "{name}");
    }
    // It is the disks' word that counts, and not when it was passed on.
    let before = clock::boot_ns();
    kernel.run(&Packet { payload: strict.made_at(ms + 6).bytes(), ..Packet::default() }.bytes(), 1);
    kernel.grant(Lease { sure_ns: before, ..good() });
    assert_eq!(kernel.run(request, 1).verdict, DROP);
    kernel.grant(without(Lease { sure_ns: before, ..good() }, Lease::DOUBTS));
    assert_eq!(kernel.run(request, 1).verdict, PASS, "a node without disks");
}

/// Two that ask, three that are sent, and two of IPv6, by turns for a guarded address and for another.
fn frames() -> [(&'static str, Vec<u8>); 7] {
    let ask = |address| arp::Announcement { hardware: [2, 0, 0, 0, 0, 7], address }.emit().to_vec();
    let sent = |destination| Packet { protocol: 6, destination, ..Packet::default() }.bytes();
    let neighbour = |kind: u8, to: u8, target: u8| {
        let address = |last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last).octets();
        let header = [&[0x60, 0, 0, 0, 0, 24, 58, 255], address(9).as_slice(), &address(to.into())].concat();
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], address(target.into()).as_slice()].concat();
        let ethernet = ethernet::Repr { destination: [2; 6], source: [4; 6], ethertype: ethernet::IPV6 };
        [ethernet.emit().as_slice(), &header, &message].concat()
    };
    [
        ("who has it", ask([10, 0, 0, 99])),
        ("who has another", ask([10, 0, 0, 98])),
        ("to it", sent([10, 0, 0, 99])),
        ("to another", sent([10, 0, 0, 98])),
        ("who has it, IPv6", neighbour(135, 9, 1)),
        ("to it, IPv6", neighbour(136, 1, 9)),
        ("to another, IPv6", neighbour(136, 9, 1)),
    ]
}

/// Granted for an hour.
fn good() -> Lease {
    Lease {
        until_ns: clock::boot_ns() + 3_600_000_000_000,
        sure_ns: clock::boot_ns(),
        flags: Lease::GUARDS | Lease::ALL | Lease::DOUBTS,
        follows: 128,
        ..Lease::default()
    }
}

fn without(lease: Lease, flag: u32) -> Lease {
    Lease { flags: lease.flags & !flag, ..lease }
}

const GUARDED: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];
/// `XDP_DROP`, `XDP_PASS` (`linux/bpf.h`).
const DROP: u32 = 1;
const PASS: u32 = 2;
