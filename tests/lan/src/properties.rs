//! What must hold on the LAN, whatever happens to it; [`Judge`] looks on and says when it does not.

use std::fmt;

use crate::bounds::Bounds;
use crate::core::{Advertisement, Cause, Family, Instant, State, Transition};
use crate::kernel::Role;
use crate::lan::{Fact, Lan, Watch};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// Whoever takes over because of silence has heard nothing for as long as it is to wait, up to the moment when it
    /// last looked at the clock, and by the stamps of its kernel. So however late it reads, no peer is declared silent
    /// whose frames reached the card in time; and none that was heard again since.
    NoFalseSilence,
    /// Two nodes that run and reach each other are not master at once for longer than [`Bounds::two_masters`].
    OneMaster,
    /// While a backup runs, there is a master, but for [`Bounds::no_master`] at most.
    SomeMaster,
    /// Whoever did not run for longer than its peers wait listens for an interval before it advertises again.
    ListenFirst,
    /// After the last fault, exactly one is master within [`Bounds::settled`], and stays.
    Settled,
    /// Once that is so, within [`Bounds::told`] the master has the addresses and nobody else does.
    OneOwner,
    /// And it has announced them since, and after everybody else had taken them off; but for those who could not say that
    /// they did: their machine or their link was down by then, or frames got lost.
    LastWord,
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
    nodes: Vec<Seen>,
    /// Since when the two are master at once.
    together: Vec<Vec<Option<Instant>>>,
    /// Since when there is no master that runs.
    masterless: Option<Instant>,
    /// Until when frames got lost.
    ill_until: Instant,
    /// The last step.
    before: Instant,
    /// The last transition of any node.
    turned: Instant,
    violation: Option<Violation>,
}

/// What was seen of a node.
#[derive(Clone, Debug)]
struct Seen {
    /// What its kernel took in, by sender.
    heard: Vec<Heard>,
    /// The same when its agent last looked at the clock.
    looked: Vec<Heard>,
    /// When its agent looked at the clock: the last time but one, and the last.
    looks: [Instant; 2],
    /// Since when it listens, at least.
    listens: Instant,
    /// Until when it had not begun to.
    deaf: Instant,
    /// When it heard anything.
    newest: Instant,
    /// Whom it heard last, by family.
    voice: [Option<usize>; 2],
    /// When it heard the farewell of the only master that it had heard lately.
    farewell: Option<Instant>,
    /// When it looked at the clock and then advertised.
    sent: Option<Instant>,
    /// When it looked at the clock after it had slept.
    woke: Option<Instant>,
    /// When its state changed.
    turned: Instant,
    /// When it announced the addresses.
    announced: Option<Instant>,
    /// When its addresses were taken off.
    off: Option<Instant>,
    /// When it has said something since, and all frames came through.
    told: Option<Instant>,
}

/// When the newest frames of a sender arrived, by family.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Of a master.
    alive: [Option<Instant>; 2],
    /// Of one that goes, or has lost.
    parting: [Option<Instant>; 2],
}

impl Judge {
    /// Judges this LAN from its beginning.
    #[must_use]
    pub fn new(lan: &Lan, bounds: Bounds) -> Self {
        let (count, now) = (lan.nodes().len(), lan.now());
        let seen = Seen {
            heard: vec![Heard::default(); count],
            looked: vec![Heard::default(); count],
            looks: [now; 2],
            listens: now,
            deaf: now,
            newest: now,
            voice: [None; 2],
            farewell: None,
            sent: None,
            woke: None,
            turned: now,
            announced: None,
            off: None,
            told: None,
        };
        Self {
            bounds,
            nodes: vec![seen; count],
            together: vec![vec![None; count]; count],
            masterless: None,
            ill_until: now,
            before: now,
            turned: now,
            violation: None,
        }
    }

    /// The first violation.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    fn accuse(&mut self, property: Property, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { property, what: what() });
        }
    }

    /// All was to be settled by then, and [`Bounds::told`] has passed since.
    pub fn conclude(&mut self, lan: &Lan, settled: Instant) {
        let masters = lan.masters();
        let able = lan.nodes().iter().any(|node| node.state().is_some());
        if masters.len() != usize::from(able) || self.turned > settled {
            let turned = self.turned;
            self.accuse(Property::Settled, || {
                format!("masters {masters:?}; settled by {settled:?}, but the last change is of {turned:?}")
            });
        }
        let [master] = masters[..] else { return };
        for (number, node) in lan.nodes().iter().enumerate() {
            if node.has_addresses() != (number == master) {
                self.accuse(Property::OneOwner, || {
                    format!("{master} is master; that {number} has the addresses is {}", node.has_addresses())
                });
            }
        }
        // In strict mode a parting word may be refused: two losers, or two that leave, say the same, and share a window.
        let refused = |node: usize| {
            let heard = self.nodes[master].heard[node].parting.into_iter().max().flatten();
            lan.is_strict() && self.nodes[node].told.is_some_and(|told| heard < Some(told))
        };
        let others = (0..self.nodes.len()).filter(|node| *node != master && !refused(*node));
        let other =
            others.flat_map(|node| [self.nodes[node].announced, self.nodes[node].off]).flatten().max();
        let Seen { announced, turned, .. } = self.nodes[master];
        if announced < Some(turned).max(other) {
            self.accuse(Property::LastWord, || {
                format!(
                    "{master} is master since {turned:?} and announced the addresses at {announced:?}; another did, or \
                     took them off, at {other:?}"
                )
            });
        }
    }

    fn hear(&mut self, now: Instant, node: usize, from: usize, family: Family, role: Role) {
        let down = self.bounds.down;
        let seen = &mut self.nodes[node];
        let others = seen.heard.iter().enumerate().filter(|(other, _)| *other != from);
        let lately = others.flat_map(|(_, heard)| heard.alive).flatten().any(|heard| heard + down > now);
        let (known, family) = (&mut seen.heard[from], family as usize);
        match role {
            Role::Master => known.alive[family] = Some(now),
            Role::Leaving | Role::Loser => known.parting[family] = Some(now),
        }
        match role {
            Role::Master | Role::Loser => (seen.voice[family], seen.farewell) = (Some(from), None),
            Role::Leaving if seen.voice[family] == Some(from) && !lately => {
                seen.farewell.get_or_insert(now);
            }
            Role::Leaving => {}
        }
        seen.newest = now;
    }

    fn turn(&mut self, lan: &Lan, node: usize, Transition { at, from: _, to, cause }: Transition) {
        self.turned = lan.now();
        if let Cause::Silence { family, last_heard, deadline, .. } = cause {
            self.judge_silence(lan, node, at, (family, last_heard, deadline));
        }
        let seen = &mut self.nodes[node];
        (seen.sent, seen.woke, seen.turned) = (None, None, lan.now());
        if to == State::Backup {
            // Whoever yields listens from the frame that made it, which came after the last look but one. Whoever starts
            // has read what came before.
            (seen.listens, seen.deaf) =
                if cause == Cause::Started { (at, lan.now()) } else { (seen.looks[0], seen.looks[0]) };
            seen.farewell = None;
            seen.voice = [None; 2];
        }
    }

    fn judge_silence(
        &mut self,
        lan: &Lan,
        node: usize,
        at: Instant,
        (family, last_heard, deadline): (Option<Family>, Option<Instant>, Instant),
    ) {
        let Seen { looked, listens, deaf, .. } = &self.nodes[node];
        let newest = |heard: [Option<Instant>; 2]| match family {
            Some(family) => heard[family as usize],
            None => heard[0].max(heard[1]),
        };
        let down = lan.nodes()[node].master_down_time();
        let silent = if let Some(last) = last_heard {
            // The newest of somebody's: what others say may count for nothing, while one is followed, in each family for
            // itself; and so may what is said in parting.
            let ends = |heard: &Heard| match family {
                Some(family) => {
                    [heard.alive[family as usize], heard.parting[family as usize]].contains(&Some(last))
                }
                None => [heard.alive, heard.parting].concat().contains(&Some(last)),
            };
            last + down <= deadline && looked.iter().any(ends)
        } else {
            let heard = looked.iter().filter_map(|heard| newest(heard.alive)).filter(|heard| heard > deaf);
            heard.chain([*listens]).all(|heard| heard + down <= deadline)
        };
        if !silent || deadline > at {
            let (looked, listens) = (looked.clone(), *listens);
            self.accuse(Property::NoFalseSilence, || {
                format!(
                    "{node} took over at {at:?}, due at {deadline:?}, after {last_heard:?}; it listens since {listens:?} \
                     and had heard {looked:?}"
                )
            });
        }
    }

    /// Whoever looks at the clock again so late that it must notice has slept: between two looks, all that its peers wait
    /// has gone by since it was to advertise.
    fn look(&mut self, lan: &Lan, node: usize) {
        let now = lan.now();
        let Bounds { interval, dead, .. } = self.bounds;
        let seen = &mut self.nodes[node];
        seen.looked.clone_from(&seen.heard);
        seen.looks = [seen.looks[1], now];
        if let Some(sent) = seen.sent.filter(|_| lan.nodes()[node].serves())
            && seen.looks[0] < sent + dead
            && now >= sent + interval + dead
        {
            seen.woke = Some(now);
        }
    }

    fn judge_sent(&mut self, lan: &Lan, node: usize, advertisement: Advertisement) {
        let seen = &mut self.nodes[node];
        let looked = seen.looks[1];
        seen.told = seen.told.or_else(|| (!lan.network.is_ill()).then(|| lan.now()));
        let sent = seen.sent.replace(looked);
        // Who leaves has nothing to listen for.
        let stays = lan.nodes()[node].state() != Some(State::Leaving) && !advertisement.priority.is_bow_out();
        if let Some(woke) = seen.woke.take()
            && looked < woke + self.bounds.interval
            && stays
        {
            self.accuse(Property::ListenFirst, || {
                format!("{node} advertised at {looked:?} and woke at {woke:?}; its last one is of {sent:?}")
            });
        }
    }

    fn judge_pairs(&mut self, lan: &Lan, now: Instant) {
        let nodes = lan.nodes();
        let serves = |node: usize| nodes[node].serves() && nodes[node].is_awake(now);
        for one in 0..nodes.len() {
            for other in 0..one {
                if !(serves(one) && serves(other)) {
                    self.together[one][other] = None;
                    continue;
                }
                let since = *self.together[one][other].get_or_insert(self.before);
                let runs = nodes[one].runs_from().max(nodes[other].runs_from());
                let since = since.max(runs).max(self.ill_until);
                let lasted = now.saturating_since(since);
                if lasted > self.bounds.two_masters() {
                    self.accuse(Property::OneMaster, || {
                        format!("{one} and {other} are both master for {lasted:?} at {now:?}")
                    });
                }
            }
        }
    }

    fn judge_masterless(&mut self, lan: &Lan, now: Instant) {
        let nodes = lan.nodes();
        if nodes.iter().any(|node| node.serves() && node.is_awake(now)) {
            self.masterless = None;
            return;
        }
        let since = *self.masterless.get_or_insert(self.before);
        for (number, node) in nodes.iter().enumerate() {
            if node.state() != Some(State::Backup) || !node.is_awake(now) {
                continue;
            }
            let Seen { listens, newest, farewell, .. } = self.nodes[number];
            let runs = since.max(node.runs_from()).max(listens);
            let (from, most) = match farewell {
                Some(farewell) => (runs.max(farewell), self.bounds.no_master_after_farewell()),
                None => (runs.max(newest), self.bounds.no_master()),
            };
            let lasted = now.saturating_since(from);
            if lasted > most {
                self.accuse(Property::SomeMaster, || {
                    format!("{number} sees no master for {lasted:?} at {now:?}; farewell at {farewell:?}")
                });
            }
        }
    }
}

impl Watch for Judge {
    fn see(&mut self, lan: &Lan, node: usize, fact: Fact) {
        let now = lan.now();
        match fact {
            Fact::Heard { from, .. } if from == node => {}
            Fact::Heard { from, family, role } => self.hear(now, node, from, family, role),
            Fact::Looked => self.look(lan, node),
            Fact::Sent(advertisement) => self.judge_sent(lan, node, advertisement),
            Fact::Turned(transition) => self.turn(lan, node, transition),
            Fact::Stalled | Fact::Addresses(true) => {}
            Fact::Addresses(false) => (self.nodes[node].off, self.nodes[node].told) = (Some(now), None),
            Fact::Announced => self.nodes[node].announced = Some(now),
        }
    }

    fn pass(&mut self, lan: &Lan) {
        let now = lan.now();
        if lan.network.is_ill() {
            self.ill_until = now;
        }
        for (seen, node) in self.nodes.iter_mut().zip(lan.nodes()) {
            let can_tell =
                !lan.network.is_ill() && matches!(node.state(), Some(State::Backup | State::Leaving));
            if seen.off.is_some() && seen.told.is_none() && !can_tell {
                (seen.announced, seen.off) = (None, None);
            }
        }
        self.judge_pairs(lan, now);
        self.judge_masterless(lan, now);
        self.before = now;
    }
}
