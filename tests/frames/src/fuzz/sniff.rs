//! Recordings of frames, and what is said of the frames.

use std::io::Cursor;
use std::net::IpAddr;

use ha_agent::sniff::keys::Keys;
use ha_agent::sniff::recording::Recording;
use ha_agent::sniff::{Kind, Received, Sniffer, Verdict};

/// Any bytes: as a recording, and as one frame of each kind. Whatever is seen can be shown, and is consistent.
///
/// # Panics
///
/// If it is not.
pub fn sniff(bytes: &[u8]) {
    let mut sniffer = sniffer();
    if let Ok(mut recording) = Recording::open(Cursor::new(bytes.to_vec())) {
        let mut frames = 0;
        while let Ok(Some(())) = recording.next(|received| look(&mut sniffer, received)) {
            frames += 1;
            assert!(frames <= bytes.len(), "more frames than bytes");
        }
    }
    for kind in [Kind::Ethernet, Kind::Cooked, Kind::Cooked2, Kind::Ip] {
        let outgoing = kind.is_outgoing(bytes);
        let tag = bytes.first().filter(|first| **first & 1 == 1).map(|first| u16::from(*first));
        look(&mut sniffer, &Received { bytes, kind, length: bytes.len(), at_ns: Some(1), tag, outgoing });
    }
}

fn look(sniffer: &mut Sniffer, received: &Received<'_>) {
    let Some(seen) = sniffer.see(received) else { return };
    let line = seen.to_string();
    assert!(line.contains(&seen.source.to_string()) && !line.contains('\n'), "{line}");
    let json = serde_json::to_string(&seen).expect("it has a form in JSON");
    assert!(!json.contains('\n'), "{json}");
    assert_eq!(seen.verdict == Verdict::Refused, seen.reason.is_some(), "{seen:?}");
    assert!(seen.authentic.is_none() || seen.carp.is_some(), "{seen:?}");
    if seen.verdict == Verdict::Accepted {
        assert_eq!(seen.authentic, Some(true), "{seen:?}");
    }
}

fn sniffer() -> Sniffer {
    Sniffer::new(Keys::default().with_passphrase(b"love").with_addresses(&[IpAddr::from([10, 9, 0, 100])]))
}
