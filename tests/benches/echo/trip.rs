//! How long an answer takes, from the moment at which the question left: by the kernel program, by the kernel's own ICMP echo, and
//! by a process; idle, and beside more busy processes than there are processors.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use frames::Hook;
use frames::asking::{Asker, Scene, paths};
use ha_common::abi::Record;
use lab::bench::Paused;
use lab::capture::{Captured, now_ns};
use lab::client::{Echo, PORT as PROCESS_PORT};
use lab::load::Load;
use lab::pair::A;
use lab::pauses::Pauses;
use lab::peer::milliseconds;
use lab::sender::processors;
use lab::{Capture, Spread};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

/// Who answers, and under what load.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) answers: &'static str,
    pub(crate) load: &'static str,
    pub(crate) asked: usize,
    /// Without an answer until the next round.
    pub(crate) lost: usize,
    /// From its departure to the answer's arrival, by the kernel's stamps, in µs.
    pub(crate) us: Spread,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Trips {
    pub(crate) rows: Vec<Row>,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) pauses: Paused,
}

/// Asks all three in turn, every millisecond, in rounds of which every other one is beside the load.
pub(crate) fn measure(rounds: u32, time: Duration) -> Result<Trips> {
    let pauses = Pauses::of_machine(Duration::from_millis(1))?;
    let began_ns = now_ns();
    let mut scene = Scene::new("echo-bench", Hook::Xdp)?.context("run it as root")?;
    let _process = Echo::start(&scene.asked.netns, A)?;
    let mut course = Course::new(&scene)?;
    let mut figures = HashMap::<_, (usize, Vec<f64>)>::new();
    for round in 0..rounds {
        for (load, busy) in LOADS {
            let _load = if busy { Some(Load::cpu(BUSY * processors()?.len())?) } else { None };
            let found = course.round(&mut scene, time).with_context(|| format!("round {round}, {load}"))?;
            for (answers, (asked, took)) in ANSWERS.into_iter().zip(found) {
                let (all, figures) = figures.entry((answers, load)).or_default();
                *all += asked;
                figures.extend(took);
            }
        }
    }
    let rows = ANSWERS.into_iter().flat_map(|answers| LOADS.map(|(load, _)| (answers, load)));
    let rows = rows.map(|(answers, load)| {
        let (asked, took) = figures.remove(&(answers, load)).unwrap_or_default();
        Row { answers, load, asked, lost: asked - took.len(), us: Spread::of(took) }
    });
    Ok(Trips {
        rows: rows.collect(),
        rounds,
        seconds: time.as_secs_f64(),
        pauses: Paused::between(&pauses, began_ns, now_ns()),
    })
}

/// Who asks.
struct Course {
    asker: Asker,
    icmp: Socket,
    process: UdpSocket,
    capture: Capture,
    number: u64,
}

/// How many were asked, and how long the answers took, in µs.
type Found = (usize, Vec<f64>);

impl Course {
    fn new(scene: &Scene) -> Result<Self> {
        let [[from, to], _] = paths(&scene.asking);
        let icmp =
            scene.asking.netns.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)))??;
        let process = scene.asking.netns.run(move || UdpSocket::bind((from, 0)))??;
        process.connect((to, PROCESS_PORT))?;
        // What comes is seen by the capture alone.
        process.set_nonblocking(true)?;
        icmp.set_nonblocking(true)?;
        Ok(Self {
            asker: Asker::new(&scene.asking, from, to)?,
            icmp,
            process,
            capture: Capture::on(&scene.asking.netns, "eth0")?,
            number: 0,
        })
    }

    fn round(&mut self, scene: &mut Scene, time: Duration) -> Result<[Found; 3]> {
        let (mark, first, began) = (self.capture.mark(), self.number + 1, Instant::now());
        let (mut asked, mut took) = (0, Vec::new());
        while began.elapsed() < time {
            let next = Instant::now() + EVERY;
            self.number += 1;
            asked += 1;
            self.asker.send()?;
            self.icmp.send_to(&echo_request(self.number), &std::net::SocketAddr::from((A, 0)).into())?;
            self.process.send(&marked(self.number))?;
            self.empty();
            while let Some(left) = next.checked_duration_since(Instant::now()) {
                if let Some(Record::Answer(answer)) = scene.own.wait_for_record(left) {
                    took.push(microseconds(answer.stamp_ns, answer.departed_ns));
                }
            }
        }
        // Those that are still on their way.
        while let Some(record) = scene.own.wait_for_record(LAST) {
            if let Record::Answer(answer) = record {
                took.push(microseconds(answer.stamp_ns, answer.departed_ns));
            }
        }
        let frames = self.capture.frames(mark);
        let seen = |number: fn(&Captured) -> Option<(u64, bool)>| {
            let mut left = HashMap::new();
            let mut took = Vec::new();
            for frame in &frames {
                match number(frame) {
                    Some((number, _)) if number < first => {}
                    Some((number, true)) => drop(left.insert(number, frame.at_ns)),
                    Some((number, false)) => {
                        took.extend(left.remove(&number).map(|at_ns| microseconds(frame.at_ns, at_ns)));
                    }
                    None => {}
                }
            }
            took
        };
        Ok([(asked, took), (asked, seen(icmp)), (asked, seen(process))])
    }

    /// Throws away what the sockets have received.
    fn empty(&self) {
        let mut buffer = [0; 256];
        while self.process.recv(&mut buffer).is_ok() {}
        while std::io::Read::read(&mut &self.icmp, &mut buffer).is_ok() {}
    }
}

/// From one moment to a later one, both in ns.
fn microseconds(later_ns: u64, from_ns: u64) -> f64 {
    milliseconds(later_ns, from_ns) * 1e3
}

/// A number that tells ours from whatever else passes.
fn marked(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(MARK);
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn number(payload: &[u8]) -> Option<u64> {
    let (mark, number) = payload.get(..16)?.split_at(8);
    (mark == MARK).then(|| u64::from_be_bytes(number.try_into().unwrap_or_default()))
}

/// RFC 792: type 8, code 0, checksum, identifier, sequence, data.
fn echo_request(number: u64) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(marked(number));
    let sum = frames::packet::checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The number of an ICMP echo, and whether it asks.
fn icmp(captured: &Captured) -> Option<(u64, bool)> {
    let frame = &captured.frame;
    let is_icmp = frame.get(12..15)? == [8, 0, 0x45] && *frame.get(23)? == 1;
    let asks = match frame.get(34)? {
        8 => true,
        0 => false,
        _ => return None,
    };
    is_icmp.then_some((number(frame.get(42..)?)?, asks))
}

/// The same of what the process is asked.
fn process(captured: &Captured) -> Option<(u64, bool)> {
    let frame = &captured.frame;
    let is_udp = frame.get(12..15)? == [8, 0, 0x45] && *frame.get(23)? == 17;
    let port = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let asks = port(36)? == PROCESS_PORT;
    let is_it = is_udp && (asks || port(34)? == PROCESS_PORT);
    is_it.then_some((number(frame.get(42..)?)?, asks))
}

/// The kernel program first.
pub(crate) const ANSWERS: [&str; 3] = ["kernel program", "ICMP echo", "process (UDP)"];
pub(crate) const LOADS: [(&str, bool); 2] = [("idle", false), ("busy", true)];
/// Busy processes for each processor.
const BUSY: usize = 2;
const EVERY: Duration = Duration::from_millis(1);
const LAST: Duration = Duration::from_millis(100);
const MARK: &[u8; 8] = b"ha-echo:";
