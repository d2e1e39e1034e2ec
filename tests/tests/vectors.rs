//! The published vectors and captures: each frame gets the verdict that is written there, from user space's
//! build of the decoder and from the loaded program. What stands in `data/` is read as it is.

mod support {
    pub(crate) mod hex;
    pub(crate) mod pcap;
    pub(crate) mod published;
}

use std::collections::BTreeSet;
use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};
use frames::outcome::Judged;
use frames::packet::{GROUP, GROUP6, sealed};
use frames::site::{LOOPBACK, key, slot, slot6, watch, watch_both};
use frames::{Kernel, Outcome, Packet, Packet6};
use ha_common::abi::{COMMON_SLOT, Keys};
use ha_common::auth::{self, Mac, Message};
use ha_common::decode::{Frame, decode};
use ha_common::reason::Reason;
use ha_common::wire::carp;
use lab::Site;

use support::hex::{Hex, Number};
use support::pcap;
use support::published::{Signed, Vector, crafted, data, vectors};

/// Accepted, or why not.
type Verdict = Result<(), Reason>;

#[test]
fn digests_are_those_of_the_vectors() -> Result<()> {
    let mut count = 0;
    for vector in &vectors()? {
        let Some(signed) = &vector.signed else { continue };
        let id = &vector.id;
        let Number(counter) = signed.counter;
        let digest = signed.mac().digest(counter);
        assert_eq!(signed.counter_dec.parse(), Ok(counter), "{id}: counter");
        assert_eq!(auth::key(&signed.passphrase_hex.0).as_slice(), signed.key20_hex.0, "{id}: key");
        assert_eq!(digest.as_slice(), signed.expected_digest_hex.0, "{id}: digest");
        let matches = vector.carp_payload_hex.0.ends_with(&digest);
        assert_eq!(matches, signed.digest_matches_packet, "{id}: the frame's own digest");
        count += 1;
    }
    assert_eq!(count, VECTORS - UNSIGNED, "signed vectors");
    Ok(())
}

#[test]
fn header_fields_are_those_of_the_vectors() -> Result<()> {
    for vector in &vectors()? {
        let Vector { id, carp_payload_hex: Hex(payload), signed, .. } = vector;
        let Some(Signed { header, carp_checksum_ok, counter: Number(counter), .. }) = signed else {
            continue;
        };
        let bytes: &[u8; carp::LEN] = payload.as_slice().try_into().with_context(|| id.clone())?;
        let view = carp::Header(bytes);
        assert_eq!([bytes[0], bytes[3]], [header.version << 4 | header.r#type, header.authlen], "{id}");
        assert_eq!(
            (view.vhid(), view.advskew(), view.demote(), view.advbase()),
            (header.vhid, header.advskew, header.demote, header.advbase),
            "{id}"
        );
        assert_eq!(view.counter(), *counter, "{id}");
        assert_eq!(bytes[6..8], header.checksum.0.to_be_bytes()[6..], "{id}");
        assert_eq!(view.checksum_ok(), *carp_checksum_ok, "{id}");
        let repr = carp::Repr {
            vhid: view.vhid(),
            advbase: view.advbase(),
            advskew: view.advskew(),
            demote: view.demote(),
            counter: view.counter(),
            digest: *view.digest(),
        };
        let ours = (header.version, header.r#type, header.authlen) == (2, 1, 7) && *carp_checksum_ok;
        assert_eq!(repr.emit() == *bytes, ours, "{id}: sent again");
    }
    Ok(())
}

#[test]
fn vectors_get_their_verdict_in_either_family() -> Result<()> {
    let vectors = vectors()?;
    let names: BTreeSet<_> = vectors.iter().map(|vector| &vector.id).collect();
    assert_eq!((vectors.len(), names.len()), (VECTORS, VECTORS));
    let mut kernel = Kernel::load(&Site::default());
    for vector in &vectors {
        let verdict = written(vector)?;
        let site = site(vector.vhid(), vector.group(), &keys(vector.signed.as_ref().map(Signed::mac)));
        demand(kernel.as_mut(), &vector.id, &vector.frame(), &site, verdict);
        let payload = vector.carp_payload_hex.0.clone();
        let in_ipv6 = Packet6 { payload, ..Packet6::default() }.bytes();
        demand(kernel.as_mut(), &format!("{} in IPv6", vector.id), &in_ipv6, &site, verdict);
    }
    kernel.iter().for_each(Kernel::demand_rest_untouched);
    Ok(())
}

#[test]
fn every_changed_bit_of_a_vector_s_digest_is_refused() -> Result<()> {
    let vectors = vectors()?;
    let mut kernel = Kernel::load(&Site::default());
    for vector in vectors.iter().filter(|vector| ["V02", "V19", "V23"].contains(&vector.id.as_str())) {
        let site = site(vector.vhid(), GROUP, &keys(vector.signed.as_ref().map(Signed::mac)));
        for bit in 0..160 {
            let mut payload = vector.carp_payload_hex.0.clone();
            payload[16 + bit / 8] ^= 1 << (bit % 8);
            let payload = sealed(payload);
            let (id, verdict) = (&vector.id, Err(Reason::BadAuth));
            let frame = Packet { payload: payload.clone(), ..Packet::default() }.bytes();
            demand(kernel.as_mut(), &format!("{id}, bit {bit}"), &frame, &site, verdict);
            let frame = Packet6 { payload, ..Packet6::default() }.bytes();
            demand(kernel.as_mut(), &format!("{id} in IPv6, bit {bit}"), &frame, &site, verdict);
        }
    }
    Ok(())
}

#[test]
fn one_watch_takes_both_forms_of_openbsd_s_digest_and_two_passphrases() -> Result<()> {
    let vectors = vectors()?;
    let find = |id: &str| vectors.iter().find(|vector| vector.id == id).context("a vector is missing");
    let (with, without) = (find("V23")?, find("V24")?);
    let macs = [with, without].map(|vector| vector.signed.as_ref().map_or(Mac::UNUSED, Signed::mac));
    let [mac_with, mac_without] = macs;
    let stranger = Sender { vhid: 9, ..CAPTURES[0].2[0] }.mac("another");
    let table = [
        ("one form", 1, vec![mac_with], [Some(0), None]),
        ("the other form", 1, vec![mac_without], [None, Some(0)]),
        ("both forms", 2, vec![mac_with, mac_without], [Some(0), Some(0)]),
        ("both forms, turned", 2, vec![mac_without, mac_with], [Some(0), Some(0)]),
        ("the older passphrase", 2, vec![stranger, stranger, mac_with, mac_without], [Some(1), Some(1)]),
        ("two passphrases of one form", 1, vec![mac_with, mac_without], [Some(0), Some(1)]),
        ("none", 2, vec![stranger, stranger], [None, None]),
    ];
    let mut kernel = Kernel::load(&Site::default());
    for (name, forms, macs, signers) in table {
        let mut keys = Keys { count: u32::try_from(macs.len())?, forms, ..Keys::NONE };
        keys.macs[..macs.len()].copy_from_slice(&macs);
        let site = site(9, GROUP, &keys);
        for (vector, signer) in [with, without].into_iter().zip(signers) {
            let about = format!("{name}: {}", vector.id);
            let verdict = signer.ok_or(Reason::BadAuth);
            demand_signer(kernel.as_mut(), &about, &vector.frame(), &site, verdict);
        }
    }
    Ok(())
}

#[test]
fn captured_frames_are_accepted_with_the_sender_s_passphrase_and_no_other() -> Result<()> {
    let files: BTreeSet<_> = std::fs::read_dir(data(""))?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| path.as_ref().map_or(true, |path| path.extension() == Some(OsStr::new("pcap"))))
        .collect::<Result<_>>()?;
    assert_eq!(files, CAPTURES.map(|(name, ..)| data(name)).into());

    let passphrases: BTreeSet<_> =
        CAPTURES.iter().flat_map(|(_, _, senders)| *senders).map(|sender| sender.passphrase).collect();
    let mut kernel = Kernel::load(&Site::default());
    for (name, others, expected) in CAPTURES {
        let frames = pcap::frames(&std::fs::read(data(name))?).context(name)?;
        let (advertisements, rest): (Vec<_>, Vec<_>) =
            frames.iter().partition(|frame| is_protocol_112(frame));
        assert_eq!(rest.len(), others, "{name}: other frames");
        for frame in rest {
            assert!(matches!(decode(&frame.as_slice()), Frame::Foreign), "{name}: {frame:02x?}");
            if let Some(kernel) = &mut kernel {
                kernel.demand(name, frame, Outcome::Foreign);
            }
        }
        let mut counts = vec![0; expected.len()];
        for frame in advertisements {
            let index = expected.iter().position(|sender| sender.sent(frame));
            let index = index.with_context(|| format!("{name}: an unknown sender: {frame:02x?}"))?;
            counts[index] += 1;
            let sender = &expected[index];
            for passphrase in &passphrases {
                let site = site(sender.vhid, GROUP, &keys(Some(sender.mac(passphrase))));
                let right = *passphrase == sender.passphrase;
                let verdict = if right { Ok(()) } else { Err(Reason::BadAuth) };
                demand(kernel.as_mut(), &format!("{name} with '{passphrase}'"), frame, &site, verdict);
            }
        }
        assert_eq!(counts, expected.iter().map(|sender| sender.frames).collect::<Vec<_>>(), "{name}");
    }
    kernel.iter().for_each(Kernel::demand_rest_untouched);
    Ok(())
}

#[test]
fn vectors_are_in_the_captures_that_they_name() -> Result<()> {
    let mut count = 0;
    for vector in vectors()? {
        let (Some(Hex(frame)), Some((_, place))) = (&vector.frame_hex, vector.source.split_once("pcap/"))
        else {
            continue;
        };
        let (name, index) = place.split_once(", CARP frame index ").unwrap_or((place, ""));
        if !CAPTURES.iter().any(|(known, ..)| *known == name) {
            continue;
        }
        let mut frames = pcap::frames(&std::fs::read(data(name))?)?;
        frames.retain(|frame| is_protocol_112(frame));
        let found = match index.parse::<usize>() {
            Ok(index) => frames.get(index) == Some(frame),
            Err(_) => frames.contains(frame),
        };
        assert!(found, "{}: not in {place}", vector.id);
        count += 1;
    }
    assert_eq!(count, VECTORS_IN_CAPTURES);
    Ok(())
}

#[test]
fn captures_of_either_byte_order_are_read() -> Result<()> {
    let little = std::fs::read(data("t1_advbase1_skew0.pcap"))?;
    let frames = pcap::frames(&little)?;
    let mut big = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65535, 1].map(u32::to_be_bytes).concat();
    for frame in &frames {
        let length = u32::try_from(frame.len())?;
        big.extend([1, 2, length, length].map(u32::to_be_bytes).as_flattened());
        big.extend(frame);
    }
    assert_eq!(pcap::frames(&big)?, frames);
    for length in [0, 23, 25, 40, big.len() - 1] {
        assert!(pcap::frames(&big[..length]).is_err(), "{length} bytes");
    }
    Ok(())
}

#[test]
fn crafted_frames_are_judged_as_ucarp_does_or_better() -> Result<()> {
    let crafted = crafted()?;
    // The passphrase was not published: what is good otherwise has a digest that we can't make.
    let site = site(51, GROUP, &keys(Some(CAPTURES[0].2[0].mac("not theirs"))));
    let mut kernel = Kernel::load(&site);
    assert_eq!(crafted.len(), CRAFTED.len());
    for (case, verdict, ucarp) in CRAFTED {
        let frame = crafted.iter().find(|crafted| crafted.case == case).context(case)?;
        let theirs = match ucarp {
            Ucarp::Agrees => verdict.is_ok(),
            Ucarp::IsLaxer => true,
            Ucarp::HasTheKey => false,
        };
        assert_eq!(frame.ucarp_result == "ACCEPTED", theirs, "{case}: ucarp: {}", frame.ucarp_result);
        let verdict = verdict.and(Err(Reason::BadAuth));
        demand(kernel.as_mut(), case, &frame.frame_hex.0, &site, verdict);
    }
    kernel.iter().for_each(Kernel::demand_rest_untouched);
    Ok(())
}

/// The verdict that is written in a vector; the reason is ours.
fn written(vector: &Vector) -> Result<Verdict> {
    let refused = REFUSED.iter().find(|(id, _)| *id == vector.id).map(|(_, reason)| *reason);
    let verdict = refused.map_or(Ok(()), Err);
    let text = vector.expected_result.as_str();
    let agrees = match verdict {
        Ok(()) => text.starts_with("accept"),
        Err(Reason::NotCarp) => text == "not CARP" || text == "reject",
        Err(_) => text == "reject",
    };
    ensure!(agrees, "{}: '{text}' is written there, {verdict:?} here", vector.id);
    Ok(verdict)
}

/// Demands a verdict in user space and, if it is loaded, from the program.
fn demand(kernel: Option<&mut Kernel>, name: &str, frame: &[u8], site: &Site, verdict: Verdict) {
    demand_signer(kernel, name, frame, site, verdict.map(|()| 0));
}

/// The same, saying which of the passphrases signed.
fn demand_signer(
    kernel: Option<&mut Kernel>,
    name: &str,
    frame: &[u8],
    site: &Site,
    verdict: Result<u32, Reason>,
) {
    let slot = site.watches.keys().next().map_or(COMMON_SLOT, |key| slot(key.vhid));
    let slot = if frame[12..14] == [0x86, 0xdd] { slot6(slot) } else { slot };
    let outcome = match verdict {
        Ok(signer) => Outcome::Accepted(slot, signer),
        Err(reason @ (Reason::NotCarp | Reason::BadVer | Reason::BadVhid)) => {
            Outcome::Refused(COMMON_SLOT, reason)
        }
        Err(reason) => Outcome::Refused(slot, reason),
    };
    assert_eq!(Judged::of(frame, site).outcome, outcome, "{name}: in user space");
    if let Some(kernel) = kernel {
        kernel.tell(site);
        kernel.demand(name, frame, outcome);
    }
}

/// One passphrase's; where a vector names none, nobody's.
fn keys(mac: Option<Mac>) -> Keys {
    let mut keys = Keys { count: 1, ..Keys::NONE };
    keys.macs[0] = mac.unwrap_or(Mac::UNUSED);
    keys
}

/// Untagged watches of both families.
fn site(vhid: u8, group: [u8; 4], keys: &Keys) -> Site {
    let mut site = Site { keys: [(vhid.into(), *keys)].into(), ..Site::default() };
    watch_both(&mut site, key(LOOPBACK, 0, 0, vhid), watch(slot(vhid), vhid.into(), 0, group), GROUP6);
    site
}

fn is_protocol_112(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&112)
}

/// How ucarp's verdict on a crafted frame compares to ours.
#[derive(Clone, Copy)]
enum Ucarp {
    Agrees,
    /// It accepts what we refuse.
    IsLaxer,
    /// It refuses the digest, which only it can judge here.
    HasTheKey,
}

/// Who sent how many advertisements in a capture.
#[derive(Clone, Copy)]
struct Sender {
    source: [u8; 4],
    vhid: u8,
    /// advbase and advskew.
    priority: [u8; 2],
    passphrase: &'static str,
    address: [u8; 4],
    frames: usize,
}

impl Sender {
    fn sent(&self, frame: &[u8]) -> bool {
        frame[26..30] == self.source
            && [frame[35], frame[39], frame[36]] == [self.vhid, self.priority[0], self.priority[1]]
    }

    fn mac(&self, passphrase: &str) -> Mac {
        let ipv4 = [self.address];
        let message = Message { vhid: self.vhid, ipv4: &ipv4, ipv6: &[], link_local: true, lladdr: None };
        Mac::new(&auth::key(passphrase.as_bytes()), &message)
    }
}

const fn sender(
    host: u8,
    vhid: u8,
    priority: [u8; 2],
    passphrase: &'static str,
    address: [u8; 4],
    frames: usize,
) -> Sender {
    Sender { source: [10, 9, 0, host], vhid, priority, passphrase, address, frames }
}

const VECTORS: usize = 31;
/// Without passphrase and digest: V40 and V42.
const UNSIGNED: usize = 2;
/// The other frames come from captures that were not published.
const VECTORS_IN_CAPTURES: usize = 11;

/// Every vector that is not to be accepted, and why.
const REFUSED: [(&str, Reason); 7] = [
    ("V33", Reason::BadAuth),
    ("V35", Reason::BadVhid),
    ("V36", Reason::BadSum),
    ("V37", Reason::NotCarp),
    ("V38", Reason::BadVer),
    ("V40", Reason::NotCarp),
    ("V42", Reason::NotCarp),
];

/// What is in the captures: other frames (ARP, ping), and advertisements by sender (CARP specification,
/// appendix B). The digests of the attacks are valid: what they change is not authenticated (§8.1).
const CAPTURES: [(&str, usize, &[Sender]); 10] = [
    ("t1_advbase1_skew0.pcap", 2, &[sender(1, 1, [1, 0], "love", VIP, 6)]),
    ("t2_advbase0_skew10.pcap", 2, &[sender(1, 2, [0, 10], "love", VIP, 98)]),
    ("t3_longpw_vhid255.pcap", 2, &[sender(1, 255, [1, 100], "Tr0ub4dor&3-x9_Zq~!", [192, 168, 200, 77], 4)]),
    (
        "t4_pair_failover.pcap",
        8,
        &[sender(1, 7, [1, 0], "s3cret", VIP, 11), sender(2, 7, [1, 50], "s3cret", VIP, 11)],
    ),
    (
        "t5a_clash_skew.pcap",
        6,
        &[sender(1, 8, [1, 0], "s3cret", VIP, 9), sender(2, 8, [1, 50], "s3cret", VIP, 2)],
    ),
    (
        "t6_multi_vhid.pcap",
        11,
        &[
            sender(1, 11, [1, 0], "alpha", [10, 9, 0, 111], 7),
            sender(1, 12, [1, 128], "beta", [10, 9, 0, 112], 4),
            sender(2, 13, [2, 0], "gamma", [10, 9, 0, 113], 2),
        ],
    ),
    (
        "t7_wrong_password.pcap",
        13,
        &[sender(1, 14, [1, 0], "right", VIP, 4), sender(2, 14, [1, 50], "wrong", VIP, 3)],
    ),
    (
        "t9a_depose_master.pcap",
        2,
        &[sender(1, 21, [1, 10], "hard2guess", VIP, 5), sender(3, 21, [0, 0], "hard2guess", VIP, 6)],
    ),
    (
        "t9b_bowout_spoof.pcap",
        17,
        &[
            sender(1, 22, [1, 10], "hard2guess", VIP, 14),
            sender(2, 22, [1, 60], "hard2guess", VIP, 6),
            sender(3, 22, [255, 255], "hard2guess", VIP, 3),
        ],
    ),
    (
        "t9c_replay_starve.pcap",
        4,
        &[sender(1, 23, [1, 10], "hard2guess", VIP, 15), sender(2, 23, [1, 60], "hard2guess", VIP, 3)],
    ),
];
const VIP: [u8; 4] = [10, 9, 0, 100];

/// Our verdict on the crafted frames if the digest is right, and ucarp's next to it.
const CRAFTED: [(&str, Verdict, Ucarp); 21] = [
    ("baseline valid", Ok(()), Ucarp::Agrees),
    ("exact duplicate (1/2)", Ok(()), Ucarp::Agrees),
    ("exact duplicate (2/2)", Ok(()), Ucarp::Agrees),
    ("advskew edited to 255", Ok(()), Ucarp::Agrees),
    ("demote/pad byte = 5", Ok(()), Ucarp::Agrees),
    ("dst 224.0.0.18, L2 broadcast", Ok(()), Ucarp::Agrees),
    ("dst 224.0.0.18, L2 unicast to us", Ok(()), Ucarp::Agrees),
    ("src 0.0.0.0", Ok(()), Ucarp::Agrees),
    ("src mac arbitrary", Ok(()), Ucarp::Agrees),
    ("CARP checksum wrong", Err(Reason::BadSum), Ucarp::Agrees),
    ("TTL 254", Err(Reason::BadTtl), Ucarp::Agrees),
    ("truncated carp 32 bytes", Err(Reason::NotCarp), Ucarp::Agrees),
    ("version 1 (0x11)", Err(Reason::BadVer), Ucarp::Agrees),
    ("version 3 (0x31)", Err(Reason::NotCarp), Ucarp::Agrees),
    // Only an advertisement (type 1) has a meaning.
    ("type 2 (0x22)", Err(Reason::BadVer), Ucarp::IsLaxer),
    // Seven words are what tells CARP from VRRP.
    ("authlen 0", Err(Reason::NotCarp), Ucarp::IsLaxer),
    // So is the length; FreeBSD refuses trailing bytes, too.
    ("4 trailing payload bytes (ip_len 60)", Err(Reason::NotCarp), Ucarp::IsLaxer),
    // No sender uses options: they would only make the kernel's way to the checks longer.
    ("IP options (router alert)", Err(Reason::BadOpts), Ucarp::IsLaxer),
    // 56 bytes are never fragmented.
    ("more-fragments flag set", Err(Reason::BadFrag), Ucarp::IsLaxer),
    ("hmac bit flipped", Ok(()), Ucarp::HasTheKey),
    ("counter edited", Ok(()), Ucarp::HasTheKey),
];
