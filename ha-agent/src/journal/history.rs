//! Each failover as one entry, put together from the events that tell of it.
//!
//! A node tells what it did itself: who takes over knows since when nobody was heard, and who hands over knows how long its
//! steps took.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::events::{Event, What};
use crate::control::status::{Change, StepTimeStatus};
use crate::core::pair::report::{Claim, End, Standing, Step};

/// A failover, as this node saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failover {
    /// When it began, as far as this node knows.
    pub at: Timestamp,
    /// By whom it was decided.
    pub kind: Kind,
    /// What this node did in it.
    pub part: Part,
    /// This node, if it told its name.
    pub node: Option<String>,
    /// The other one, if it is known.
    pub peer: Option<String>,
    /// Whether it took the role from nobody, as far as it knows: so it is when a pair is new.
    #[serde(default)]
    pub from_nobody: bool,
    /// Why.
    pub why: String,
    /// Why it did not come to its end, if so.
    pub failed: Option<String>,
    /// The virtual hosts that moved.
    pub vhosts: Vec<String>,
    /// What happened, one after the other, and how long it took from what was before.
    pub phases: Vec<Phase>,
    /// How long the steps took beside addresses.
    pub steps: Vec<StepTimeStatus>,
    /// For how long clients had nobody, at most, in ms; `None` if this node can't know.
    pub nobody_ms: Option<f64>,
}

/// By whom a failover was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// By this node of a pair alone.
    Takeover,
    /// By both nodes of a pair.
    Switchover,
    /// By a virtual host of a node that is not one of a pair.
    Carp,
}

/// What this node did in a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// It took the role.
    Took,
    /// It gave it away, or lost it.
    Gave,
}

/// Something that happened in a failover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What: `last_heard`, `deadline`, `decided`, `advertised`, `address_up`, `announced`; with a pair `asked`, `promised`,
    /// `granted`, `released`, `confirmed`, `serving`.
    pub name: String,
    /// The moment on `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// From what happened before, in ms; 0 for the first.
    pub took_ms: f64,
}

/// Puts failovers together.
#[derive(Clone, Debug, Default)]
pub struct History {
    node: Option<String>,
    peer: Option<String>,
    /// Became master, without addresses yet: a standby that waits for what the pair decides.
    masters: Vec<(String, Change)>,
    open: Option<Draft>,
    /// Ended, but its addresses may still be told of.
    ended: Option<Draft>,
    done: Vec<Failover>,
}

/// One that goes on.
#[derive(Clone, Debug)]
struct Draft {
    failover: Failover,
    /// When it was told of last, in ns.
    told_ns: u64,
    moments: Vec<(&'static str, u64)>,
}

impl History {
    /// The failovers of events in their order, the oldest first.
    pub fn of<E: std::borrow::Borrow<Event>>(events: impl IntoIterator<Item = E>) -> Vec<Failover> {
        let mut history = Self::default();
        for event in events {
            history.take(event.borrow());
        }
        history.into_failovers()
    }

    /// Takes in the next event.
    pub fn take(&mut self, event: &Event) {
        let about = event.about.as_deref();
        match &event.what {
            What::AgentStarted { .. } => {
                // What was before has no times that could be compared.
                self.close();
                self.masters.clear();
                self.node = about.map(str::to_owned);
            }
            What::PeerLinkUp { .. } => self.peer = about.map(str::to_owned),
            What::StateChanged { change } => self.changed(event, about.unwrap_or_default(), change),
            What::AddressesUp { address_up_ns, announced_ns } => {
                if let Some(draft) = self.told_of(event) {
                    draft.see("address_up", *address_up_ns);
                    draft.see("announced", *announced_ns);
                }
            }
            What::SwitchoverBegan { .. } => {
                let draft = self.draft(event, Kind::Switchover, Part::Gave, &event.sentence);
                self.begin(draft, Some(("asked", event.at_ns)));
            }
            What::SwitchoverPromised { .. } => {
                let draft = self.draft(event, Kind::Switchover, Part::Took, "as agreed with the peer");
                self.begin(draft, Some(("promised", event.at_ns)));
            }
            What::SwitchoverStep { step, standing, .. } => self.step(event, *step, *standing),
            What::SwitchoverEnded { end } => self.switched(event, *end),
            What::TakeoverBegan { claim, .. } => self.claims(event, *claim),
            What::TakeoverSteps { steps, .. } => {
                if let Some(draft) = self.told_of(event) {
                    draft.failover.steps.clone_from(steps);
                }
            }
            What::TakeoverFailed { .. } => {
                if let Some(draft) = &mut self.open {
                    draft.failover.failed = Some(event.sentence.clone());
                }
                self.end();
            }
            What::Serving { .. } => {
                let serves_here =
                    |draft: &&mut Draft| draft.failover.part == Part::Took || draft.failover.failed.is_some();
                if let Some(draft) = self.open.as_mut().filter(serves_here) {
                    draft.see("serving", event.at_ns);
                    self.end();
                }
            }
            What::SteppingDown { .. } => {
                let draft = self.draft(event, Kind::Takeover, Part::Gave, &event.sentence);
                self.begin(draft, Some(("decided", event.at_ns)));
            }
            What::Released => {
                if let Some(draft) = self.open.as_mut().filter(|draft| draft.failover.part == Part::Gave) {
                    draft.see("released", event.at_ns);
                    // Whoever hands over waits until the other one serves.
                    if draft.failover.kind == Kind::Takeover {
                        self.end();
                    }
                }
            }
            What::AgentEnded { .. }
            | What::UpdateKept { .. }
            | What::UpdateFailed { .. }
            | What::Reloaded { .. }
            | What::NotReloaded { .. }
            | What::RoleChanged { .. }
            | What::AddressesPutBack { .. }
            | What::FaultBegan { .. }
            | What::FaultOver
            | What::Suspicious { .. }
            | What::Stalled { .. }
            | What::LeaseLapsed { .. }
            | What::Demoted { .. }
            | What::DemotionOver
            | What::ReasonBegan { .. }
            | What::ReasonOver { .. }
            | What::PeerLinkLost { .. }
            | What::EndsHard { .. }
            | What::Waiting { .. }
            | What::Wished { .. }
            | What::TooManyFailovers
            | What::EventsLost { .. } => {}
        }
    }

    /// The last that was told of, as far as it is known.
    #[must_use]
    pub fn last(&self) -> Option<Failover> {
        let draft = self.open.clone().or_else(|| self.ended.clone()).map(Draft::finish);
        draft.or_else(|| self.done.last().cloned())
    }

    /// All that were told of so far, the oldest first.
    #[must_use]
    pub fn into_failovers(mut self) -> Vec<Failover> {
        self.close();
        self.done
    }

    fn draft(&self, event: &Event, kind: Kind, part: Part, why: &str) -> Draft {
        Draft {
            failover: Failover {
                at: event.at,
                kind,
                part,
                node: self.node.clone(),
                peer: self.peer.clone(),
                from_nobody: false,
                why: why.to_owned(),
                failed: None,
                vhosts: Vec::new(),
                phases: Vec::new(),
                steps: Vec::new(),
                nobody_ms: None,
            },
            told_ns: event.at_ns,
            moments: Vec::new(),
        }
    }

    /// The one that an event belongs to which comes in no order with the others: what ended long ago is over.
    fn told_of(&mut self, event: &Event) -> Option<&mut Draft> {
        let is_recent = |ended: &&mut Draft| event.at_ns.saturating_sub(ended.told_ns) < TOGETHER_NS;
        self.open.as_mut().or(self.ended.as_mut().filter(is_recent))
    }

    fn begin(&mut self, mut draft: Draft, first: Option<(&'static str, u64)>) {
        self.close();
        draft.moments.extend(first);
        self.open = Some(draft);
    }

    /// It is over, but for what comes late.
    fn end(&mut self) {
        if let Some(ended) = std::mem::replace(&mut self.ended, self.open.take()) {
            self.keep(ended);
        }
    }

    fn close(&mut self) {
        let drafts = [self.ended.take(), self.open.take()];
        drafts.into_iter().flatten().for_each(|draft| self.keep(draft));
    }

    /// The oldest goes when there are too many.
    fn keep(&mut self, draft: Draft) {
        if self.done.len() == CAPACITY {
            self.done.remove(0);
        }
        self.done.push(draft.finish());
    }

    fn changed(&mut self, event: &Event, vhost: &str, change: &Change) {
        let part = match (change.from.as_str(), change.to.as_str()) {
            (_, "MASTER") => Part::Took,
            ("MASTER", _) => Part::Gave,
            _ => return,
        };
        if let Some(open) = &mut self.open {
            if open.failover.part == part {
                open.add(vhost, change);
            }
            return;
        }
        if part == Part::Took && change.address_up_ns.is_none() {
            self.masters.retain(|(name, _)| name != vhost);
            self.masters.push((vhost.to_owned(), change.clone()));
            return;
        }
        self.masters.retain(|(name, _)| name != vhost);
        // The virtual hosts of a pair follow what was decided.
        let follows = |ended: &Draft| {
            let since = event.at_ns.saturating_sub(ended.told_ns);
            ended.failover.part == part && since < TOGETHER_NS
        };
        match &mut self.ended {
            Some(ended) if follows(ended) => ended.add(vhost, change),
            Some(_) | None => {
                // Somebody who restarts within the dead time has failed over to nobody.
                if change.cause == "resumed" {
                    return;
                }
                let mut draft = self.draft(event, Kind::Carp, part, &change.sentence);
                draft.failover.from_nobody = part == Part::Took && change.cause == "silence";
                draft.add(vhost, change);
                self.begin(draft, None);
                self.end();
            }
        }
    }

    fn claims(&mut self, event: &Event, claim: Claim) {
        let agreed = match claim {
            Claim::Committed | Claim::Yielded => true,
            Claim::Resumed => {
                self.masters.clear();
                return;
            }
            Claim::PeerDead | Claim::NobodyActive | Claim::OurTurn | Claim::Returned(_) | Claim::Operator => {
                false
            }
        };
        if let (Claim::Returned(_), Some(open)) = (claim, &mut self.open)
            && open.failover.part == Part::Gave
        {
            // The other one never had it.
            open.failover.failed = Some(claim.to_string());
            return;
        }
        let is_promised = self.open.as_ref().is_some_and(|open| open.failover.part == Part::Took);
        if !(agreed && is_promised) {
            let kind = if agreed { Kind::Switchover } else { Kind::Takeover };
            let mut draft = self.draft(event, kind, Part::Took, &claim.to_string());
            draft.failover.from_nobody = matches!(claim, Claim::NobodyActive | Claim::OurTurn);
            self.begin(draft, None);
        }
        if let Some(open) = &mut self.open {
            open.see("decided", event.at_ns);
            for (vhost, change) in self.masters.drain(..) {
                // A promise is kept though the virtual hosts fell silent long ago.
                if event.at_ns.saturating_sub(change.at_ns) < LONG_NS {
                    open.add(&vhost, &change);
                }
            }
        }
    }

    fn step(&mut self, event: &Event, step: Step, standing: Standing) {
        let Some(open) = self.open.as_mut().filter(|open| open.failover.part == Part::Gave) else { return };
        let name = match step {
            Step::Prepare => "promised",
            Step::Grant => "granted",
            Step::Release => "released",
            Step::Confirm => "confirmed",
            Step::Ask | Step::Promise | Step::Take => return,
        };
        match standing {
            Standing::Done => open.see(name, event.at_ns),
            Standing::Running | Standing::Failed => {}
        }
    }

    fn switched(&mut self, event: &Event, end: End) {
        let Some(open) = &mut self.open else { return };
        match end {
            End::Moved => {}
            End::Refused(_) | End::Stayed(_) | End::Returned(_) | End::Left(_) | End::Hard(_) => {
                open.failover.failed = Some(event.sentence.clone());
            }
        }
        // Who takes over has its end when it serves.
        if open.failover.part == Part::Gave || open.failover.failed.is_some() {
            self.end();
        }
    }
}

impl Draft {
    /// Something happened at a moment; the last virtual host counts.
    fn see(&mut self, name: &'static str, at_ns: u64) {
        match self.moments.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = at_ns.max(*known),
            None => self.moments.push((name, at_ns)),
        }
        self.told_ns = self.told_ns.max(at_ns);
    }

    fn add(&mut self, vhost: &str, change: &Change) {
        if !self.failover.vhosts.iter().any(|name| name == vhost) {
            self.failover.vhosts.push(vhost.to_owned());
        }
        if change.last_heard_ns.is_some() && self.failover.kind == Kind::Takeover {
            self.failover.why.clone_from(&change.sentence);
        }
        let decided = (self.failover.kind == Kind::Carp).then_some(change.at_ns);
        let moments = [
            ("deadline", change.deadline_ns),
            ("decided", decided),
            ("advertised", change.advertised_ns),
            ("address_up", change.address_up_ns),
            ("announced", change.announced_ns),
        ];
        for (name, at_ns) in moments {
            if let Some(at_ns) = at_ns {
                self.see(name, at_ns);
            }
        }
        // Of several the first: from then on somebody had nobody.
        if let Some(heard) = change.last_heard_ns {
            self.failover.from_nobody = false;
            match self.moments.iter_mut().find(|(known, _)| *known == "last_heard") {
                Some((_, known)) => *known = heard.min(*known),
                None => self.moments.push(("last_heard", heard)),
            }
        }
    }

    fn at(&self, name: &str) -> Option<u64> {
        self.moments.iter().find(|(known, _)| *known == name).map(|(_, at_ns)| *at_ns)
    }

    fn finish(mut self) -> Failover {
        let nobody = match self.failover.part {
            Part::Took => self.at("last_heard").zip(self.at("announced")),
            // From its last step before it released.
            Part::Gave => self.at("granted").zip(self.at("confirmed").or(self.at("serving"))),
        };
        self.moments.sort_by_key(|(_, at_ns)| *at_ns);
        let mut failover = self.failover;
        failover.nobody_ms = nobody.map(|(from, to)| ms(from, to));
        let mut before = None;
        for (name, at_ns) in self.moments {
            let took_ms = ms(before.unwrap_or(at_ns), at_ns);
            failover.phases.push(Phase { name: name.to_owned(), at_ns, took_ms });
            before = Some(at_ns);
        }
        failover
    }
}

impl Failover {
    /// From the first moment that is known to the last, in ms.
    #[must_use]
    pub fn total_ms(&self) -> f64 {
        match (self.phases.first(), self.phases.last()) {
            (Some(first), Some(last)) => ms(first.at_ns, last.at_ns),
            (_, None) | (None, _) => 0.0,
        }
    }
}

fn ms(from_ns: u64, to_ns: u64) -> f64 {
    std::time::Duration::from_nanos(to_ns.saturating_sub(from_ns)).as_secs_f64() * 1e3
}

/// So many are remembered.
const CAPACITY: usize = 500;
/// Virtual hosts that move within this time move together, in ns.
const TOGETHER_NS: u64 = 1_000_000_000;
/// A pair decides at most so long after its virtual hosts fell silent, in ns.
const LONG_NS: u64 = 60_000_000_000;
