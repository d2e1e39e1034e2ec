//! Faults at random: several at a time, upon either node. A client writes all the time, and never do two nodes.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use ::lab::{Random, pass};
use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};

use super::{
    super::{
        agents::Agents,
        client::Writers,
        evidence,
        fault::Fault,
        served,
        who::{Net, Node},
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "sequences",
    about: "faults at random befall both nodes while a client writes; never do two nodes write to the disks",
    guests: &Who::ALL,
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    let agents = Agents::new(lab);
    if turn.round == 1 {
        served::begin(lab, &agents, [""; 2])?;
        served::mount(lab)?;
        agents.settled()?;
    }
    let seed = turn.seed.wrapping_mul(1_000_000).wrapping_add(u64::from(turn.round));
    let before = agents.active()?;
    let sequence = Sequence::random(&mut Random::new(seed), before);
    let writers = Writers::start(lab.guest(Who::Client)?)?;
    let earlier = lab.ledger().runs()?.len();

    let began = Instant::now();
    sequence.befall(lab)?;
    heal(lab, &agents).with_context(|| format!("seed {}: {}", turn.seed, sequence.text()))?;
    let after = agents.active()?;
    writers.go_on(20).with_context(|| format!("seed {}: {}", turn.seed, sequence.text()))?;
    served::locked(lab, after)?;
    say(format_args!(
        "sequences: {} of seed {}: {}; {before} before, {after} after, {} changes of who writes, well {:.0} s after the \
         first; {}",
        turn.round,
        turn.seed,
        sequence.text(),
        lab.ledger().runs()?.len() - earlier,
        began.elapsed().as_secs_f64(),
        writers.check()?
    ));
    evidence::one_importer(lab, after, "tank")?;
    // It finds what a second writer has left.
    let status = lab.node(after)?.run("zpool scrub -w tank && zpool status tank")?;
    ensure!(status.contains("No known data errors"), "{status}");
    Ok(())
}

/// What befalls the nodes, and when.
struct Sequence(Vec<Event>);

struct Event {
    node: Node,
    fault: Fault,
    /// Since the beginning.
    from: Duration,
    to: Duration,
}

impl Event {
    fn befall(&self, lab: &Lab, began: Instant) -> Result<()> {
        let Self { node, fault, from, to } = *self;
        // A cable hangs on a machine that is on: with the power, both come back.
        let can = || Ok::<_, Error>(!fault.is_of_machine() || lab.node(node)?.is_on());
        pass(from.saturating_sub(began.elapsed()))?;
        if can()? {
            fault.begin(lab, node)?;
        }
        pass(to.saturating_sub(began.elapsed()))?;
        if !fault.boots() && can()? {
            fault.end(lab, node)?;
        }
        Ok(())
    }
}

impl Sequence {
    /// One to three faults, most of them on the `active` node; of each kind one at most for each node.
    fn random(random: &mut Random, active: Node) -> Self {
        let mut events: Vec<Event> = Vec::new();
        for _ in 0..=random.below(3) {
            let node = if random.below(3) == 0 { active.peer() } else { active };
            let fault = random_fault(random);
            let from = Duration::from_millis(100 * random.below(40) as u64);
            let to = from + Duration::from_millis(500 + 100 * random.below(150) as u64);
            let kind = |fault: Fault| KINDS.iter().position(|kind| kind(fault));
            if events.iter().all(|event| event.node != node || kind(event.fault) != kind(fault)) {
                events.push(Event { node, fault, from, to });
            }
        }
        Self(events)
    }

    /// Has it happen. Who has no power at the end, or was reset, is left so. Each by itself: whoever is stopped or reset ends
    /// its requests to the disks first, and waits for a path that is held up.
    fn befall(&self, lab: &Lab) -> Result<()> {
        let began = Instant::now();
        thread::scope(|scope| {
            let threads: Vec<_> =
                self.0.iter().map(|event| scope.spawn(move || event.befall(lab, began))).collect();
            let ended =
                threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a fault panicked"))?);
            ended.collect()
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Event { node, fault, from, to } in &self.0 {
            let comma = if text.is_empty() { "" } else { ", " };
            let [from, to] = [from, to].map(Duration::as_secs_f64);
            let _ = write!(text, "{comma}{node} {fault} at {from:.1}");
            if !fault.boots() {
                let _ = write!(text, " to {to:.1} s");
            }
        }
        text
    }
}

fn random_fault(random: &mut Random) -> Fault {
    let net = if random.below(2) == 0 { Net::Service } else { Net::Interlink };
    let disk = served::DISKS[random.below(served::DISKS.len())];
    match random.below(9) {
        0 => Fault::Kill,
        1 => Fault::Reset,
        2 => Fault::Freeze,
        3 => Fault::Cable(net),
        4 => Fault::Silence(net),
        5 | 6 => Fault::Partition,
        7 => Fault::Path(disk),
        _ => Fault::Paths,
    }
}

/// Does what an operator does, until the pair is well.
fn heal(lab: &Lab, agents: &Agents<'_>) -> Result<()> {
    let began = Instant::now();
    loop {
        let mended = Node::ALL.iter().try_for_each(|&node| mend(lab, agents, node));
        // Whoever is reset meanwhile forgets what it was asked.
        let settled = mended.map_err(|error| format!("{error:#}")).and_then(|()| agents.is_settled());
        match settled {
            Ok(()) => return Ok(()),
            Err(why) if began.elapsed() > HEALED => bail!("the pair does not settle: {why}"),
            Err(_) => pass(Duration::from_secs(1))?,
        }
    }
}

fn mend(lab: &Lab, agents: &Agents<'_>, node: Node) -> Result<()> {
    let guest = lab.node(node)?;
    if !guest.is_on() {
        guest.boot()?;
    }
    guest.wait()?;
    // Whoever was reset has no agent; whoever took over often is held.
    if guest.try_run("systemctl is-active --quiet ha-agent", PATIENCE)?.code != 0 {
        served::start(lab, agents, node)?;
    }
    guest.try_run("ha-agent resume", PATIENCE)?;
    Ok(())
}

/// What cannot befall a node twice at the same time.
const KINDS: [fn(Fault) -> bool; 3] = [
    |fault| matches!(fault, Fault::Kill | Fault::Freeze | Fault::Reset),
    |fault| matches!(fault, Fault::Cable(_) | Fault::Silence(_) | Fault::Partition),
    |fault| matches!(fault, Fault::Path(_) | Fault::Paths),
];
const PATIENCE: Duration = Duration::from_mins(2);
/// Two boots, a takeover, and a grace period.
const HEALED: Duration = Duration::from_mins(6);
