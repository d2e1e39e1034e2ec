//! `ha-agent sniff`: on every capture and vector that there is, on recordings of every form, and on a live segment.

#[path = "../support/pcap.rs"]
mod pcap;
#[path = "../support/recordings.rs"]
mod recordings;

mod live;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use frames::Packet;
use ha_agent::sniff::keys::Keys;
use ha_agent::sniff::recording::Recording;
use ha_agent::sniff::{Kind, Received, Sighting, Sniffer, Verdict};
use ha_common::reason::Reason;
use serde_json::Value;

use recordings::{FORMS, write};

/// What is seen of one sender: address (10.9.0.X), vhid, frames, of which authentic, and what is suspicious in how many.
type Seen = (u8, u8, usize, usize, &'static [(&'static str, usize)]);

/// A capture, the passphrase and the address that it is read with, and what is to be seen.
type Row = (&'static str, &'static str, &'static str, &'static [Seen]);

const CAPTURES: [Row; 12] = [
    ("t1_advbase1_skew0", "love", "10.9.0.100", &[(1, 1, 6, 6, &[])]),
    ("t2_advbase0_skew10", "love", "10.9.0.100", &[(1, 2, 98, 98, &[])]),
    ("t3_longpw_vhid255", "Tr0ub4dor&3-x9_Zq~!", "192.168.200.77", &[(1, 255, 4, 4, &[])]),
    ("t4_pair_failover", "s3cret", "10.9.0.100", &[(1, 7, 11, 11, &[]), (2, 7, 11, 11, &[])]),
    ("t5a_clash_skew", "s3cret", "10.9.0.100", &[(1, 8, 9, 9, &[]), (2, 8, 2, 2, &[])]),
    ("t6_multi_vhid", "alpha", "10.9.0.111", &[(1, 11, 7, 7, &[]), (1, 12, 4, 0, &[]), (2, 13, 2, 0, &[])]),
    ("t6_multi_vhid", "beta", "10.9.0.112", &[(1, 11, 7, 0, &[]), (1, 12, 4, 4, &[]), (2, 13, 2, 0, &[])]),
    ("t7_wrong_password", "right", "10.9.0.100", &[(1, 14, 4, 4, &[]), (2, 14, 3, 0, &[])]),
    ("t7_wrong_password", "wrong", "10.9.0.100", &[(1, 14, 4, 0, &[]), (2, 14, 3, 3, &[])]),
    (
        "t9a_depose_master",
        "hard2guess",
        "10.9.0.100",
        &[(1, 21, 5, 5, &[]), (3, 21, 6, 6, &[("sudden_priority", 6), ("two_sources", 6)])],
    ),
    (
        "t9b_bowout_spoof",
        "hard2guess",
        "10.9.0.100",
        &[
            (1, 22, 14, 14, &[("two_sources", 3)]),
            (2, 22, 6, 6, &[("repeated", 3)]),
            (3, 22, 3, 3, &[("sudden_priority", 3), ("two_sources", 3)]),
        ],
    ),
    (
        "t9c_replay_starve",
        "hard2guess",
        "10.9.0.100",
        &[(1, 23, 15, 15, &[("repeated", 12)]), (2, 23, 3, 3, &[])],
    ),
];

#[test]
fn every_capture_is_read_as_it_was_made() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let key = directory.path().join("key");
    for (name, passphrase, address, expected) in CAPTURES {
        fs::write(&key, passphrase)?;
        let file = data(&format!("{name}.pcap"));
        let mut command = sniff()?;
        command.arg("--read").arg(&file).arg("--passphrase-file").arg(&key).args(["--address", address]);
        let output = command.arg("--json").output()?;
        ensure!(output.status.success(), "{name}: {output:?}");
        ensure!(
            counted(&sightings(&output)?) == listed(expected),
            "{name}: {:#?}",
            counted(&sightings(&output)?)
        );

        // For people: a line for each, and the sum.
        let text = command_without_json(&file, &key, address)?;
        let lines: Vec<_> = text.lines().collect();
        let frames: usize = expected.iter().map(|(_, _, frames, ..)| frames).sum();
        ensure!(lines.len() == frames + 1, "{name}: {text}");
        let right: usize = expected.iter().map(|(.., right, _)| right).sum();
        let sum =
            format!("{frames} advertisements, digest right in {right} and wrong in {};", frames - right);
        ensure!(lines.last().is_some_and(|line| line.starts_with(&sum)), "{name}: {text}");
    }
    Ok(())
}

#[test]
fn without_a_passphrase_nothing_is_said_of_digests() -> Result<()> {
    for name in CAPTURES.map(|(name, ..)| name) {
        let output = sniff()?.arg("--read").arg(data(&format!("{name}.pcap"))).arg("--json").output()?;
        for seen in sightings(&output)? {
            ensure!(seen["authentic"].is_null() && seen["verdict"] == "unchecked", "{name}: {seen:#}");
        }
    }
    let directory = tempfile::tempdir()?;
    let key = directory.path().join("key");
    fs::write(&key, "love")?;
    let output = sniff()?
        .arg("--read")
        .arg(data("t1_advbase1_skew0.pcap"))
        .arg("--passphrase-file")
        .arg(&key)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.matches("not checked").count() == 6 && text.contains("--address"), "{text}");
    Ok(())
}

/// Who is seen, whether it is authentic, when, and how long it was.
type Found = (IpAddr, Option<bool>, Option<u64>, usize);

/// The same frames in every form of file and with every kind of header: what is seen is the same.
#[test]
fn every_form_of_recording_is_read() -> Result<()> {
    let frames = pcap::frames(&fs::read(data("t4_pair_failover.pcap"))?)?;
    let keys = || Keys::default().with_passphrase(b"s3cret").with_addresses(&[IpAddr::from([10, 9, 0, 100])]);
    let mut first: Option<Vec<Found>> = None;
    for form in FORMS {
        let bytes = write(form, &frames);
        let found = look(&bytes, keys()).with_context(|| format!("{form:?}"))?;
        let found: Vec<_> =
            found.iter().map(|seen| (seen.source, seen.authentic, seen.at_ns, seen.length)).collect();
        ensure!(found.len() == 22 && found.iter().all(|seen| seen.1 == Some(true)), "{form:?}: {found:?}");
        ensure!(found.iter().all(|seen| seen.2.is_some()), "{form:?}: {found:?}");
        let first = first.get_or_insert_with(|| found.clone());
        ensure!(*first == found, "{form:?}: {found:?}\ninstead of {first:?}");
        // Cut off anywhere, what is whole is read, and nothing breaks.
        for length in (0..bytes.len().min(600)).step_by(7) {
            let mut count = 0;
            let cut = bytes.get(..length).unwrap_or_default().to_vec();
            if let Ok(mut recording) = Recording::open(std::io::Cursor::new(cut)) {
                while let Ok(Some(())) = recording.next(|_| ()) {
                    count += 1;
                }
            }
            ensure!(count <= 10, "{form:?} at {length}: {count}");
        }
    }
    Ok(())
}

#[test]
fn what_is_no_recording_is_named() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    let frames = pcap::frames(&fs::read(data("t1_advbase1_skew0.pcap"))?)?;
    let whole = write(FORMS[0], &frames);
    let mut other = whole.clone();
    // LINKTYPE_PPP
    other[20] = 9;
    let cut = whole[..whole.len() - 1].to_vec();
    let mut long = whole.clone();
    long[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    let table: [(&[u8], &str, usize); 6] = [
        (b"", "no recording of frames; name a file", 0),
        (b"<html>", "no recording of frames; name a file", 0),
        (&whole[..20], "no recording of frames; name a file", 0),
        (&other, "frames of the kind 9", 0),
        (&cut, "it ends within frame 8", 5),
        (&long, "it is damaged after frame 0", 0),
    ];
    for (bytes, expected, lines) in table {
        fs::write(&file, bytes)?;
        let output = sniff()?.arg("--read").arg(&file).output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(65) && errors.contains(expected), "{expected}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.lines().count() == lines + 1, "{expected}: {text}");
    }
    let output = sniff()?.arg("--read").arg(directory.path().join("none")).output()?;
    ensure!(output.status.code() == Some(69), "{output:?}");
    let output = sniff()?.output()?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    Ok(())
}

#[test]
fn each_vector_has_its_verdict() -> Result<()> {
    let file: Value = serde_json::from_slice(&fs::read(data("vectors.json"))?)?;
    let vectors = file["vectors"].as_array().context("no vectors")?;
    for vector in vectors {
        let id = vector["id"].as_str().unwrap_or_default();
        let bytes = |key: &str| vector[key].as_str().and_then(from_hex);
        let addresses: Vec<IpAddr> = ["vips_v4", "vips_v6"]
            .iter()
            .flat_map(|key| vector[key].as_array().into_iter().flatten())
            .filter_map(|address| address.as_str()?.parse().ok())
            .collect();
        let mut keys = Keys::default();
        if let Some(passphrase) = bytes("passphrase_hex") {
            keys = keys.with_passphrase(&passphrase).with_addresses(&addresses);
        }
        let payload = bytes("carp_payload_hex").context("no payload")?;
        let frame = bytes("frame_hex").unwrap_or_else(|| Packet { payload, ..Packet::default() }.bytes());
        let found = Sniffer::new(keys).see(&ethernet(&frame)).with_context(|| id.to_owned())?;
        let (reason, authentic) = VECTORS
            .iter()
            .find(|(known, ..)| *known == id)
            .map_or((None, Some(true)), |(_, reason, authentic)| (Some(*reason), *authentic));
        ensure!((found.reason, found.authentic) == (reason, authentic), "{id}: {found:#?}");
    }
    ensure!(vectors.len() == 31, "{} vectors", vectors.len());
    Ok(())
}

/// The vectors that are refused, and whether their digest is right; all others are accepted.
const VECTORS: [(&str, Reason, Option<bool>); 9] = [
    ("V16", Reason::BadDst, Some(true)),
    // A hardware address is hashed, too, which nobody but its sender knows.
    ("V26", Reason::BadAuth, Some(false)),
    ("V33", Reason::BadAuth, Some(false)),
    // Another vhid than the one that was signed.
    ("V35", Reason::BadAuth, Some(false)),
    ("V36", Reason::BadSum, Some(true)),
    ("V37", Reason::NotCarp, None),
    ("V38", Reason::BadVer, None),
    ("V40", Reason::NotCarp, None),
    ("V42", Reason::NotCarp, None),
];

/// What it is, the frame, and what is said of it.
type Odd<'a> = (&'a str, Vec<u8>, Verdict, Option<Reason>, &'a [&'a str]);

/// VLANs, options, fragments, wrong groups, cut frames, VRRP and others: each is a line with its reason.
#[test]
fn what_is_odd_is_shown_as_what_it_is() -> Result<()> {
    let good = pcap::frames(&fs::read(data("t1_advbase1_skew0.pcap"))?)?;
    let good = good.iter().find(|frame| frame.get(23) == Some(&112)).context("no advertisement")?;
    let tagged = |tags: &[u8]| [&good[..12], tags, &good[12..]].concat();
    let changed = |at: usize, to: &[u8]| {
        let mut frame = good.clone();
        frame.splice(at..at + to.len(), to.iter().copied());
        frame
    };
    let options = {
        let mut frame = good.clone();
        frame[14] = 0x46;
        frame[17] = 60;
        frame.splice(34..34, [0x94, 4, 0, 0]);
        frame
    };
    let vrrp = |version: u8, count: u8, payload: usize| {
        let mut frame = good[..34].to_vec();
        frame[17] = u8::try_from(20 + payload).unwrap_or_default();
        frame.extend([version << 4 | 1, 42, 100, count]);
        frame.resize(34 + payload, 0);
        frame
    };
    let table: [Odd; 17] = [
        (
            "good",
            good.clone(),
            Verdict::Accepted,
            None,
            &["CARP vhid 1, advbase 1, advskew 0", "digest right"],
        ),
        ("a tag", tagged(&[0x81, 0, 0x20, 7]), Verdict::Accepted, None, &["vlan 7 10.9.0.1 > 224.0.0.18"]),
        (
            "two tags",
            tagged(&[0x88, 0xa8, 0, 9, 0x81, 0, 0, 7]),
            Verdict::Accepted,
            None,
            &["vlan 9.7 10.9.0.1 > 224.0.0.18"],
        ),
        ("options", options, Verdict::Refused, Some(Reason::BadOpts), &["CARP vhid 1", "badopts"]),
        ("first fragment", changed(20, &[0x20, 0]), Verdict::Refused, Some(Reason::BadFrag), &["a fragment"]),
        ("later fragment", changed(20, &[0, 1]), Verdict::Refused, Some(Reason::NotCarp), &["a fragment"]),
        ("TTL", changed(22, &[254]), Verdict::Refused, Some(Reason::BadTtl), &["badttl", "digest right"]),
        ("group", changed(33, &[19]), Verdict::Refused, Some(Reason::BadDst), &["> 224.0.0.19"]),
        ("checksum", changed(40, &[0, 0]), Verdict::Refused, Some(Reason::BadSum), &["wrong checksum"]),
        ("digest", changed(69, &[good[69] ^ 1]), Verdict::Refused, Some(Reason::BadSum), &["digest wrong"]),
        ("cut", good[..60].to_vec(), Verdict::Refused, Some(Reason::BadLen), &["CARP vhid 1, cut", "badlen"]),
        ("cut short", good[..36].to_vec(), Verdict::Refused, Some(Reason::NotCarp), &["protocol 112"]),
        ("type 2", changed(34, &[0x22]), Verdict::Refused, Some(Reason::BadVer), &["badver"]),
        (
            "VRRP 2",
            vrrp(2, 1, 20),
            Verdict::Refused,
            Some(Reason::NotCarp),
            &["VRRP version 2, router 42, priority 100"],
        ),
        (
            "VRRP 3",
            vrrp(3, 2, 16),
            Verdict::Refused,
            Some(Reason::NotCarp),
            &["VRRP version 3, router 42, priority 100"],
        ),
        (
            "VRRP 3 as long",
            vrrp(3, 7, 36),
            Verdict::Refused,
            Some(Reason::NotCarp),
            &["VRRP version 3, router 42"],
        ),
        ("foreign", vrrp(9, 0, 30), Verdict::Refused, Some(Reason::NotCarp), &["protocol 112, 64 bytes"]),
    ];
    for (what, frame, verdict, reason, words) in table {
        let keys = Keys::default().with_passphrase(b"love").with_addresses(&[IpAddr::from([10, 9, 0, 100])]);
        let found =
            Sniffer::new(keys).see(&ethernet(&frame)).with_context(|| format!("{what}: nothing seen"))?;
        ensure!((found.verdict, found.reason) == (verdict, reason), "{what}: {found:#?}");
        for word in words {
            ensure!(found.to_string().contains(word), "{what}: no '{word}' in: {found}");
        }
        // Cut anywhere, it is something or nothing, and never breaks.
        for length in 0..frame.len() {
            let cut = frame.get(..length).unwrap_or_default();
            drop(Sniffer::new(Keys::default()).see(&Received { length: frame.len(), ..ethernet(cut) }));
        }
    }
    Ok(())
}

fn sniff() -> Result<Command> {
    let mut command = Command::new(lab::agent_binary()?);
    command.arg("sniff");
    Ok(command)
}

fn command_without_json(file: &Path, key: &Path, address: &str) -> Result<String> {
    let mut command = sniff()?;
    command.arg("--read").arg(file).arg("--passphrase-file").arg(key).args(["--address", address]);
    Ok(String::from_utf8(command.output()?.stdout)?)
}

fn sightings(output: &Output) -> Result<Vec<Value>> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

type Counted = BTreeMap<(String, u64), (usize, usize, BTreeMap<String, usize>)>;

/// By sender and vhid.
fn counted(seen: &[Value]) -> Counted {
    let mut counted = Counted::new();
    for seen in seen {
        let key = (
            seen["source"].as_str().unwrap_or_default().to_owned(),
            seen["vhid"].as_u64().unwrap_or_default(),
        );
        let (frames, right, suspicious) = counted.entry(key).or_default();
        *frames += 1;
        *right += usize::from(seen["authentic"] == true && seen["verdict"] == "accepted");
        for name in seen["suspicious"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            *suspicious.entry(name.to_owned()).or_default() += 1;
        }
    }
    counted
}

fn listed(expected: &[Seen]) -> Counted {
    let entry = |&(host, vhid, frames, right, suspicious): &Seen| {
        let suspicious = suspicious.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        ((format!("10.9.0.{host}"), u64::from(vhid)), (frames, right, suspicious))
    };
    expected.iter().map(entry).collect()
}

fn look(bytes: &[u8], keys: Keys) -> Result<Vec<Sighting>> {
    let (mut sniffer, mut found) = (Sniffer::new(keys), Vec::new());
    let mut recording = Recording::open(std::io::Cursor::new(bytes.to_vec()))?;
    while let Some(seen) = recording.next(|received| sniffer.see(received))? {
        found.extend(seen);
    }
    Ok(found)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
    digits.collect()
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

fn ethernet(frame: &[u8]) -> Received<'_> {
    Received {
        bytes: frame,
        kind: Kind::Ethernet,
        length: frame.len(),
        at_ns: None,
        tag: None,
        outgoing: false,
    }
}
