//! Reads the published files: test vectors, and the frames that ucarp judged.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use frames::Packet;
use frames::packet::GROUP;
use ha_common::auth::{self, Mac, Message};
use serde::Deserialize;

use super::hex::{Hex, Number};

/// The vectors of `vectors.json`.
///
/// # Errors
///
/// If the file can't be read, or is of another format.
pub(crate) fn vectors() -> Result<Vec<Vector>> {
    #[derive(Deserialize)]
    struct File {
        format: String,
        vectors: Vec<Vector>,
    }
    let file: File = serde_json::from_slice(&std::fs::read(data("vectors.json"))?)?;
    ensure!(file.format == "carp-test-vectors-1", "another format: {}", file.format);
    Ok(file.vectors)
}

/// The frames of `ucarp_acceptance.json`.
///
/// # Errors
///
/// If the file can't be read.
pub(crate) fn crafted() -> Result<Vec<Crafted>> {
    Ok(serde_json::from_slice(&std::fs::read(data("ucarp_acceptance.json"))?)?)
}

/// Where a published file lies.
pub(crate) fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// One vector.
#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) source: String,
    /// Not there where the frame is no advertisement at all.
    #[serde(flatten)]
    pub(crate) signed: Option<Signed>,
    pub(crate) carp_payload_hex: Hex,
    pub(crate) expected_result: String,
    pub(crate) frame_hex: Option<Hex>,
}

/// What a vector tells of its digest and header.
#[derive(Deserialize)]
pub(crate) struct Signed {
    hmac_mode: HmacMode,
    pub(crate) passphrase_hex: Hex,
    pub(crate) key20_hex: Hex,
    vhid_config: u8,
    vips_v4: Vec<Ipv4Addr>,
    vips_v6: Vec<Ipv6Addr>,
    pub(crate) counter: Number,
    pub(crate) counter_dec: String,
    pub(crate) header: Header,
    hmac_message_hex: Hex,
    pub(crate) expected_digest_hex: Hex,
    pub(crate) digest_matches_packet: bool,
    pub(crate) carp_checksum_ok: bool,
}

/// The header's fields.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) version: u8,
    pub(crate) r#type: u8,
    pub(crate) vhid: u8,
    pub(crate) advskew: u8,
    pub(crate) authlen: u8,
    pub(crate) demote: u8,
    pub(crate) advbase: u8,
    pub(crate) checksum: Number,
}

/// Which message is hashed (CARP specification §3.3).
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HmacMode {
    Common,
    WithLinkLocal,
    NoLinkLocal,
    OpenbsdCustomLladdr,
}

/// A frame that ucarp judged.
#[derive(Deserialize)]
pub(crate) struct Crafted {
    pub(crate) case: String,
    pub(crate) ucarp_result: String,
    pub(crate) frame_hex: Hex,
}

impl Vector {
    /// The configured virtual host.
    pub(crate) fn vhid(&self) -> u8 {
        self.signed.as_ref().map_or(self.carp_payload_hex.0[1], |signed| signed.vhid_config)
    }

    /// The group that it is sent to: one vector is about another.
    pub(crate) fn group(&self) -> [u8; 4] {
        if self.id == "V16" { [239, 192, 0, 5] } else { GROUP }
    }

    /// The captured frame, else one built around the payload.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let Hex(payload) = &self.carp_payload_hex;
        match &self.frame_hex {
            Some(Hex(frame)) => {
                assert!(frame.ends_with(payload), "{}: frame and payload differ", self.id);
                frame.clone()
            }
            None => Packet { payload: payload.clone(), ..Packet::default() }.bytes(),
        }
    }
}

impl Signed {
    /// Our HMAC with the vector's key and addresses.
    pub(crate) fn mac(&self) -> Mac {
        let ipv4: Vec<_> = self.vips_v4.iter().map(Ipv4Addr::octets).collect();
        let ipv6: Vec<_> = self.vips_v6.iter().map(Ipv6Addr::octets).collect();
        let (link_local, lladdr) = match self.hmac_mode {
            HmacMode::Common | HmacMode::WithLinkLocal => (true, None),
            HmacMode::NoLinkLocal => (false, None),
            // The six bytes stand between type and vhid.
            HmacMode::OpenbsdCustomLladdr => (true, self.hmac_message_hex.0[2..].first_chunk().copied()),
        };
        let message = Message { vhid: self.vhid_config, ipv4: &ipv4, ipv6: &ipv6, link_local, lladdr };
        Mac::new(&auth::key(&self.passphrase_hex.0), &message)
    }
}
