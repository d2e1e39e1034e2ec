//! What the kernel program costs a frame, next to one that sends every frame back.

use anyhow::{Context, Result};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use frames::echo::{KEYS_OF_ANSWERS, KEYS_OF_PROBES, NAMES, PORT, Probe};
use ha_agent::dataplane::{Dataplane, Echo, Loaded};
use ha_common::abi::{Address, FAMILY_IPV4, Oneself, Path, PathKey, Patience};
use ha_common::auth::Seal;
use lab::Spread;
use lab::pair::{A, B};
use serde::Serialize;

/// A kind of frame, and what it costs.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) frame: &'static str,
    /// By round.
    pub(crate) ns: Spread,
    /// Of the medians, to that of the floor.
    pub(crate) ratio: f64,
}

/// Measures each kind in each of the rounds, in turn.
pub(crate) fn measure() -> Result<Vec<Cost>> {
    let Loaded { mut dataplane, mut echo, .. } = Dataplane::load()?;
    know(&mut echo)?;
    let good = Probe::between(B.into(), A.into(), 1);
    let mut nonce = 0;
    let mut figures = [const { Vec::new() }; KINDS.len()];
    for _ in 0..ROUNDS {
        let mut fresh = || {
            nonce += 1;
            Probe { nonce, ..good }
        };
        let probes: Vec<_> = (0..EACH).map(|_| fresh().frame(&[])).collect();
        let forged = Probe { key: [9; 20], ..fresh() }.frame(&[]);
        let other = Probe { ports: [PORT, 53], ..good }.frame(&[]);
        let floor = one_by_one(dataplane.returning_program()?, &probes)?;
        let program = dataplane.program()?;
        let answered = one_by_one(program, &probes)?;
        let repeated = one_by_one(program, &probes)?;
        let forged = one_by_one(program, &vec![forged; probes.len()])?;
        let others = one_by_one(program, &vec![other; probes.len()])?;
        for (figures, found) in figures.iter_mut().zip([floor, answered, forged, repeated, others]) {
            figures.push(found);
        }
    }
    let spreads = figures.map(Spread::of);
    let floor = spreads[0].p50.context("no floor")?;
    let cost = |(frame, ns): (_, Spread)| Cost { frame, ns, ratio: ns.p50.unwrap_or_default() / floor };
    Ok(KINDS.into_iter().zip(spreads).map(cost).collect())
}

fn know(echo: &mut Echo) -> Result<()> {
    echo.tell(Oneself { boot: 1, generation: 1, pace_ns: 1, port: PORT.into(), node: 0 })?;
    // Without a context of its own, the kernel runs the program as if for the loopback interface.
    let family = FAMILY_IPV4.into();
    let key = PathKey { ifindex: 1, outer_vlan: 0, vlan: 0, family, address: Address::v4(B.octets()) };
    let [[probe, next_probe], answers] =
        [KEYS_OF_PROBES, KEYS_OF_ANSWERS].map(|keys| keys.each_ref().map(Seal::new));
    let path = Path {
        slot: 0,
        peer: 1,
        own: Address::v4(A.octets()),
        patience: Patience::default(),
        names: NAMES.map(u32::from),
        theirs: [probe, next_probe, Seal::UNUSED, Seal::UNUSED],
        answers,
    };
    Ok(echo.know(key, &path)?)
}

/// The median of many single runs, in ns: a probe that was answered is another frame after it.
fn one_by_one(program: &Xdp, frames: &[Vec<u8>]) -> Result<f64> {
    let mut times = Vec::new();
    for frame in frames {
        let options = TestRunOptions { data_in: Some(frame), repeat: 1, ..Default::default() };
        times.push(program.test_run(options)?.duration.as_secs_f64() * 1e9);
    }
    Spread::of(times).p50.context("no run")
}

/// The floor first.
const KINDS: [&str; 5] = [
    "sent back as it is (the floor)",
    "a probe, answered",
    "a probe, forged",
    "a probe, repeated",
    "to another port",
];
const ROUNDS: usize = 21;
const EACH: usize = 500;
