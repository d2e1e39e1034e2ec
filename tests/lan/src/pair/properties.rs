//! What must hold between two nodes, whatever happens to them; [`Judge`] looks on and says when it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::bounds::Bounds;
use super::node::{LINK_DEAD, Services};
use super::world::{Watch, World};
use crate::core::Instant;
use crate::core::pair::message::{Request, Saying};
use crate::core::pair::report::{Claim, Standing, Story};
use crate::core::pair::{Command, Generation, Node as Name, Phase, Stance};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// Both nodes hold the services for [`Bounds::together`] at most, but for a time in which nothing reaches the other or
    /// one does not run; and never where nothing was disturbed.
    OneHolder,
    /// After the last fault, exactly one is active and serves within [`Bounds::settled`], and stays.
    Settled,
    /// Who is busy with a switchover names its end within [`Bounds::ended`]; who was started anew meanwhile, at once.
    NamesItsEnd,
    /// A node's generation on the disk never goes back, and it never serves twice in one, nor in one of the other's.
    Grows,
    /// What is said or done was stored before.
    StoredFirst,
    /// That nothing serves here is said only when nothing does.
    Verified,
    /// A node takes over as from a dead peer only if it is not to be heard.
    NoTheft,
    /// Nothing fails over by itself to a node that is held, or in a pair where that is disabled.
    Obedient,
    /// A switchover that nothing disturbs leaves the clients without service for [`Bounds::gap`] at most.
    Gap,
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub property: Property,
    /// What happened instead.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.property, self.what)
    }
}

/// Looks on, and keeps the first violation.
#[derive(Clone, Debug)]
pub struct Judge {
    bounds: Bounds,
    /// Nothing is disturbed.
    calm: bool,
    /// Since when both hold.
    together: Option<Instant>,
    /// Since when nobody serves.
    dark: Option<Instant>,
    has_served: bool,
    /// Until when something kept them apart, or one did not run.
    apart: Instant,
    /// Until when the link was not as it should be, or one did not run.
    unlinked: Instant,
    nodes: [Seen; 2],
    turned: Instant,
    story: Vec<String>,
    violation: Option<Violation>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    life: u64,
    open: BTreeMap<Request, Instant>,
    disk: Generation,
    served: BTreeSet<Generation>,
    phase: Option<Phase>,
}

impl Judge {
    /// Judges this world from its beginning.
    #[must_use]
    pub fn new(world: &World, bounds: Bounds, calm: bool) -> Self {
        let now = world.now();
        Self {
            bounds,
            calm,
            together: None,
            dark: None,
            has_served: false,
            apart: now,
            unlinked: now,
            nodes: [Seen::default(), Seen::default()],
            turned: now,
            story: Vec::new(),
            violation: None,
        }
    }

    /// The first violation.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// What was written down, by both nodes.
    #[must_use]
    pub fn story(&self) -> &[String] {
        &self.story
    }

    /// Notes something beside what the nodes say.
    pub fn note(&mut self, world: &World, what: &str) {
        self.story.push(format!("{:>9.3?} {what}", elapsed(world)));
    }

    fn accuse(&mut self, world: &World, property: Property, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation =
                Some(Violation { property, what: format!("at {:.3?}: {}", elapsed(world), what()) });
        }
    }

    /// All was to be settled by then.
    pub fn conclude(&mut self, world: &World, settled: Instant) {
        let now = world.now();
        let active =
            |node: usize| world.nodes[node].phase() == Some(Phase::Active) && world.nodes[node].serves(now);
        let idle = |node: usize| {
            world.nodes[node].phase() == Some(Phase::Standby) && world.nodes[node].services == Services::Off
        };
        let right = (active(0) && idle(1)) || (active(1) && idle(0));
        if !right || self.turned > settled {
            let phases = [0, 1].map(|node| (world.nodes[node].phase(), world.nodes[node].services));
            let turned = self.turned;
            self.accuse(world, Property::Settled, || {
                format!("{phases:?}; settled by {settled:?}, the last change is of {turned:?}")
            });
        }
    }

    fn judge_story(&mut self, world: &World, node: usize, story: Story) {
        match story {
            Story::Takes { claim, .. } => self.judge_claim(world, node, claim),
            Story::Serves { generation } => {
                if world.nodes[node].disk.generation < generation {
                    self.accuse(world, Property::StoredFirst, || {
                        format!("{node} serves in {generation}, which is not stored")
                    });
                }
                let name = if node == 0 { Name::A } else { Name::B };
                let last = self.nodes[node].served.last().copied();
                if !self.nodes[node].served.insert(generation)
                    || last > Some(generation)
                    || generation.owner() != name
                {
                    self.accuse(world, Property::Grows, || {
                        format!("{node} serves in {generation}, and did in {last:?} before")
                    });
                }
            }
            Story::Begun { .. }
            | Story::Promised { .. }
            | Story::Ended(_)
            | Story::ServesUnstored { .. }
            | Story::StepsDown(_)
            | Story::Released
            | Story::TakeFailed(_)
            | Story::EndsHard(_)
            | Story::Waits(_)
            | Story::Held(_)
            | Story::Disabled(_)
            | Story::Prefers(_) => {}
        }
    }

    fn judge_claim(&mut self, world: &World, node: usize, claim: Claim) {
        // What was said after it was last stored, it may not have read by then.
        let record = world.nodes[node].disk;
        let by_itself = match claim {
            Claim::PeerDead | Claim::NobodyActive | Claim::OurTurn => true,
            Claim::Committed | Claim::Yielded | Claim::Resumed | Claim::Returned(_) | Claim::Operator => {
                false
            }
        };
        // In a switchover that an operator wanted, the promise counts.
        if by_itself && (record.held || record.shared.disabled) && record.handover.is_none() {
            self.accuse(world, Property::Obedient, || format!("{node} took over by itself: {claim:?}"));
        }
        // What has just happened to the peer was not passed yet.
        self.look_between(world);
        let linked = world.now().saturating_since(self.unlinked);
        if claim == Claim::PeerDead && linked > LINK_DEAD + self.bounds.met() {
            self.accuse(world, Property::NoTheft, || {
                format!("{node} took over from a peer that answers, since {linked:?}")
            });
        }
    }

    /// Whether both run now, and what is between them.
    fn look_between(&mut self, world: &World) {
        let awake = world.nodes.iter().all(super::node::Node::is_awake);
        if !awake || world.wire.is_parted() {
            self.apart = world.now();
        }
        if !awake || world.wire.link_cut || world.wire.lost > 0 {
            self.unlinked = world.now();
        }
    }

    fn judge_sent(&mut self, world: &World, node: usize, command: Command) {
        let it = &world.nodes[node];
        let (property, wrong) = match command {
            Command::Send(message) => {
                let stored =
                    message.state.start == it.disk.starts && message.state.generation <= it.disk.generation;
                match message.word.map(|word| (word.saying, word.generation)) {
                    Some((Saying::Commit, generation)) if it.disk.generation < generation => {
                        (Property::StoredFirst, true)
                    }
                    Some((Saying::Ready, generation)) if it.disk.promised < generation => {
                        (Property::StoredFirst, true)
                    }
                    Some((Saying::Commit | Saying::Back(_), _)) if stored => {
                        (Property::Verified, it.services != Services::Off)
                    }
                    Some(_) | None => (Property::StoredFirst, !stored),
                }
            }
            Command::Stance(Stance::Follow) => (Property::Verified, it.services != Services::Off),
            Command::Stance(Stance::Lead)
            | Command::Store(_)
            | Command::Release(_)
            | Command::Take(_)
            | Command::Lease(_)
            | Command::Progress(_)
            | Command::Ended { .. }
            | Command::Journal(_)
            | Command::EndHard(_) => return,
        };
        if wrong {
            self.accuse(world, property, || {
                format!("{node} said {command:?} with {:?} on its disk and {:?}", it.disk, it.services)
            });
        }
    }

    fn judge_ends(&mut self, world: &World) {
        let now = world.now();
        for node in 0..2 {
            let it = &world.nodes[node];
            let seen = &mut self.nodes[node];
            if it.life != seen.life || !it.is_awake() {
                seen.life = it.life;
                let left = it.agent.is_none();
                if left {
                    // The next one says what became of what was stored.
                    seen.open = it.disk.handover.into_iter().map(|request| (request, now)).collect();
                } else {
                    seen.open.values_mut().for_each(|since| *since = now);
                }
            }
            if !it.is_awake() {
                continue;
            }
            let late =
                seen.open.iter().find(|(_, since)| now.saturating_since(**since) > self.bounds.ended());
            if let Some((request, since)) = late {
                let what = format!("{node} is busy with {request:?} since {since:?}");
                self.accuse(world, Property::NamesItsEnd, || what);
            }
        }
    }
}

impl Watch for Judge {
    fn see(&mut self, world: &World, node: usize, command: Command) {
        match command {
            Command::Progress(progress) if progress.standing == Standing::Running => {
                self.nodes[node].open.entry(progress.request).or_insert(world.now());
            }
            Command::Ended { request, .. } => {
                self.nodes[node].open.remove(&request);
            }
            Command::Journal(story) => {
                self.note(world, &format!("{node}: {story}"));
                self.judge_story(world, node, story);
            }
            Command::Progress(_)
            | Command::Store(_)
            | Command::Send(_)
            | Command::Release(_)
            | Command::Take(_)
            | Command::Stance(_)
            | Command::Lease(_)
            | Command::EndHard(_) => {}
        }
        self.judge_sent(world, node, command);
    }

    fn pass(&mut self, world: &World) {
        let now = world.now();
        self.look_between(world);
        if world.nodes.iter().all(|node| node.holds(now)) {
            let since = *self.together.get_or_insert(now);
            let lasted = now.saturating_since(since.max(self.apart));
            if lasted > self.bounds.together() || self.calm {
                self.accuse(world, Property::OneHolder, || {
                    format!("both hold the services, since {since:?}")
                });
            }
        } else {
            self.together = None;
        }
        if world.nodes.iter().any(|node| node.serves(now)) {
            (self.dark, self.has_served) = (None, true);
        } else {
            let since = *self.dark.get_or_insert(now);
            let lasted = now.saturating_since(since);
            if self.calm && self.has_served && lasted > self.bounds.gap() {
                self.accuse(world, Property::Gap, || format!("nobody serves for {lasted:?}"));
            }
        }
        for node in 0..2 {
            let it = &world.nodes[node];
            let seen = &mut self.nodes[node];
            if it.phase() != seen.phase {
                (seen.phase, self.turned) = (it.phase(), now);
            }
            let before = std::mem::replace(&mut seen.disk, it.disk.generation);
            if before > it.disk.generation {
                self.accuse(world, Property::Grows, || {
                    format!("{node} stored {} after {before}", it.disk.generation)
                });
            }
        }
        self.judge_ends(world);
    }
}

fn elapsed(world: &World) -> std::time::Duration {
    world.now().saturating_since(Instant::from_nanos(1_000_000_000))
}
