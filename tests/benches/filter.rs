//! What the kernel program costs a frame, next to a program that does nothing, in the same run.
//!
//! `cargo xtask bench filter [--json FILE]`. Every round runs every row once, so that a machine that slows
//! down slows all of them; the figure of a row is the median over the rounds.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use ha_agent::core::{Advertisement, Priority, Sources};
use ha_agent::dataplane::{Dataplane, Events, Loaded, Tables};
use ha_agent::net::advertise::Frames;
use ha_common::abi::{Address, FAMILY_IPV4, Keys, Patience, Watch, WatchKey};
use ha_common::auth::{Mac, Message, key};
use ha_common::fresh::Stamp;
use ha_common::wire::carp;

fn main() -> Result<()> {
    let json = arguments()?;
    ensure!(lab::available(), "run it as root");
    let Loaded { mut dataplane, mut tables, mut patiences, mut events, .. } = Dataplane::load()?;
    tell(&mut tables)?;
    // As in earnest: each authentic frame sets a timer back.
    for slot in 1..=3 {
        patiences.set(slot, Patience { dead_ns: 30_000_000_000, interval_ns: 10_000_000_000 })?;
    }

    let rows = rows();
    let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let empty = measure(dataplane.empty_program()?, &rows[0].frame, &mut events)?;
        times.entry(EMPTY).or_default().push(empty);
        for row in &rows {
            let time = measure(dataplane.program()?, &row.frame, &mut events)?;
            times.entry(row.name).or_default().push(time);
        }
    }
    report(&times, json)
}

/// One virtual host as it mostly is, one whose key is being rotated, and one in strict mode.
fn tell(tables: &mut Tables) -> Result<()> {
    for (host, (vhid, keys, flags)) in (0..).zip([(VHID, 1, 0), (ROTATED, 2, 0), (STRICT, 1, Watch::STRICT)])
    {
        let mut set = Keys { count: keys, ..Keys::NONE };
        // The one that signs comes last: the dearest case.
        set.macs[keys as usize - 1] = mac(vhid);
        tables.set_keys(host, &set)?;
        // Without a context of its own, the kernel runs the program as if for the loopback interface.
        let watched =
            WatchKey { ifindex: 1, outer_vlan: 0, vlan: 0, vhid, family: FAMILY_IPV4, reserved: [0; 2] };
        let watch = Watch {
            slot: host + 1,
            host: host + 1,
            keys: host,
            flags,
            tolerance_ms: u32::MAX,
            reserved: 0,
            group: Address::v4(carp::GROUP),
        };
        tables.watch(watched, watch)?;
    }
    // So that the counter below is of about now.
    tables.set_clock(0)?;
    Ok(())
}

struct Row {
    name: &'static str,
    frame: Vec<u8>,
}

fn rows() -> Vec<Row> {
    let authentic = advertisement(VHID);
    let mut damaged = authentic.clone();
    // A wrong checksum: refused after every check but that of the digest.
    damaged[60] ^= 1;
    // A wrong digest under a right checksum: two words are swapped.
    let mut forged = authentic.clone();
    forged.swap(60, 62);
    forged.swap(61, 63);
    let mut tcp = authentic.clone();
    tcp[23] = 6;
    let mut udp6 = authentic.clone();
    udp6[12..14].copy_from_slice(&[0x86, 0xdd]);
    udp6[14] = 0x60;
    udp6[20] = 17;
    let mut vrrp = authentic.clone();
    vrrp[34] = 0x31;
    vec![
        Row { name: "foreign_tcp_ns", frame: tcp },
        Row { name: "foreign_udp6_ns", frame: udp6 },
        Row { name: "vrrp_ns", frame: vrrp },
        Row { name: "other_vhid_ns", frame: advertisement(VHID + 100) },
        Row { name: "damaged_ns", frame: damaged },
        Row { name: "forged_ns", frame: forged },
        Row { name: "authentic_ns", frame: authentic },
        Row { name: "authentic_second_key_ns", frame: advertisement(ROTATED) },
        Row { name: "replayed_ns", frame: advertisement(STRICT) },
    ]
}

fn advertisement(vhid: u8) -> Vec<u8> {
    let priority = Priority { advbase: 1, advskew: 0 };
    let frames = Frames {
        hardware: [2, 0, 0, 0, 0, 1],
        sources: Sources { v4: Ipv4Addr::new(10, 77, 0, 1), v6: Ipv6Addr::UNSPECIFIED },
        vhid,
        mac: mac(vhid),
    };
    let counter = Stamp { ms: 1_000, advskew: 0, advbase: 1, demote: 0 }.to_counter();
    frames.emit_v4(carp::GROUP.into(), Advertisement { priority, demote: 0 }, counter).to_vec()
}

fn mac(vhid: u8) -> Mac {
    let message = Message { vhid, ipv4: &[[10, 77, 0, 100]], ipv6: &[], link_local: true, lladdr: None };
    Mac::new(&key(b"secret"), &message)
}

/// The kernel's own average over many runs, in ns.
fn measure(program: &Xdp, frame: &[u8], events: &mut Events) -> Result<u64> {
    let mut sum = 0;
    for _ in 0..BATCHES {
        let options = TestRunOptions { data_in: Some(frame), repeat: REPEAT, ..Default::default() };
        sum += program.test_run(options)?.duration.as_nanos();
        // The ring holds a batch; a full one would be another row.
        while events.next().is_some() {}
    }
    Ok(u64::try_from(sum / u128::from(BATCHES))?)
}

fn report(times: &BTreeMap<&str, Vec<u64>>, json: Option<PathBuf>) -> Result<()> {
    let medians: BTreeMap<&str, u64> = times.iter().map(|(name, times)| (*name, median(times))).collect();
    let floor = medians.get(EMPTY).copied().context("no floor")?;
    println!("{ROUNDS} rounds, each row {BATCHES} x {REPEAT} frames a round; ns a frame");
    println!("{:<18}{:>8}{:>16}{:>8}", "row", "median", "range", "ratio");
    let mut object = serde_json::Map::new();
    for (name, times) in times {
        let (low, high) = (times.iter().min().unwrap_or(&0), times.iter().max().unwrap_or(&0));
        let middle = median(times);
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds, far below 2^52")]
        let ratio = middle as f64 / floor.max(1) as f64;
        println!("{name:<18}{middle:>8}{:>16}{ratio:>8.2}", format!("{low}..{high}"));
        object.insert((*name).to_owned(), middle.into());
        object.insert(format!("{}_ratio", name.trim_end_matches("_ns")), ratio.into());
    }
    object.insert("rounds".to_owned(), ROUNDS.into());
    if let Some(path) = json {
        std::fs::write(&path, serde_json::to_string_pretty(&object)? + "\n")
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn median(times: &[u64]) -> u64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn arguments() -> Result<Option<PathBuf>> {
    // `cargo bench` adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, None, None) => Ok(None),
        (Some("--json"), Some(path), None) => Ok(Some(path.into())),
        _ => bail!("usage: [--json FILE]"),
    }
}

const VHID: u8 = 10;
const ROTATED: u8 = 11;
const STRICT: u8 = 12;
const EMPTY: &str = "empty_ns";
const ROUNDS: usize = 21;
const BATCHES: u32 = 34;
/// Fewer than a quarter of the ring holds: with more unread, each of them wakes the agent.
const REPEAT: u32 = 300;
