//! What happens to a pair.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{Gap, PACE, Side, Stage};
use crate::capture::now_ns;
use crate::peer::{Peer, Running};
use crate::random::Random;

/// A fault and its end. *Active* is whoever has the role when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The active one's cable is pulled and plugged in again.
    Cut,
    /// The same, for about a dead time.
    CutBriefly,
    /// The active one is parted from all others, without its noticing.
    Part,
    /// The same, for about a dead time.
    PartBriefly,
    /// The same twice in a row, within 200 ms.
    PartTwice,
    /// The active one's cable is pulled; when it has just come back, the other one's.
    CutBoth,
    /// What the active one sends is lost, while it hears everything.
    Mute,
    /// What is sent to the active one is lost, while it is heard: nobody else serves, and nobody reaches it.
    Deaf,
    /// What is sent to the standby is lost: it takes over, and nobody reaches it.
    DeafStandby,
    /// The two do not hear each other; the client reaches both.
    Quarrel,
    /// The active one's agent is killed; its kernel keeps the address. It is started again.
    Kill,
    /// The active one's agent is stopped for longer than the other waits; its kernel keeps the address.
    Stop,
    /// The same, for about a dead time.
    StopBriefly,
    /// The active one leaves in order, and is started again.
    Leave,
    /// The active one is told to give up the role, and then that it may have it again. Only ours can.
    Hold,
    /// The standby's cable is pulled and plugged in again.
    CutStandby,
    /// The standby is parted from all others, without its noticing.
    PartStandby,
    /// The standby's agent is stopped for longer than it waits.
    StopStandby,
}

/// Its [name](Fault::name).
impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Cut,
        Self::CutBriefly,
        Self::Part,
        Self::PartBriefly,
        Self::PartTwice,
        Self::CutBoth,
        Self::Mute,
        Self::Deaf,
        Self::DeafStandby,
        Self::Quarrel,
        Self::Kill,
        Self::Stop,
        Self::StopBriefly,
        Self::Leave,
        Self::Hold,
        Self::CutStandby,
        Self::PartStandby,
        Self::StopStandby,
    ];

    /// Whether a peer knows it.
    #[must_use]
    pub fn is_known_to(self, peer: Peer) -> bool {
        self != Self::Hold || peer == Peer::HaAgent
    }

    /// In `snake_case`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::CutBriefly => "cut_briefly",
            Self::Part => "part",
            Self::PartBriefly => "part_briefly",
            Self::PartTwice => "part_twice",
            Self::CutBoth => "cut_both",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
            Self::DeafStandby => "deaf_standby",
            Self::Quarrel => "quarrel",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::StopBriefly => "stop_briefly",
            Self::Leave => "leave",
            Self::Hold => "hold",
            Self::CutStandby => "cut_standby",
            Self::PartStandby => "part_standby",
            Self::StopStandby => "stop_standby",
        }
    }

    /// Whether the client may forget in its middle where the address is. Not where nobody could answer it then and
    /// nobody takes over after: no node learns that it asks in vain, until it does again, a second later.
    pub(super) fn lets_forget(self) -> bool {
        match self {
            Self::CutBriefly | Self::PartBriefly | Self::Deaf => false,
            Self::Cut
            | Self::Part
            | Self::PartTwice
            | Self::CutBoth
            | Self::Mute
            | Self::DeafStandby
            | Self::Quarrel
            | Self::Kill
            | Self::Stop
            | Self::StopBriefly
            | Self::Leave
            | Self::Hold
            | Self::CutStandby
            | Self::PartStandby
            | Self::StopStandby => true,
        }
    }

    /// How long it lasts this time.
    pub(super) fn lasts(self, random: &mut Random) -> Duration {
        let (least, most) = match self {
            Self::CutBriefly | Self::PartBriefly | Self::StopBriefly => (10, 45),
            Self::PartTwice | Self::CutBoth => (40, 80),
            Self::Stop | Self::StopStandby | Self::Kill | Self::Leave | Self::Hold => (50, 300),
            Self::Cut
            | Self::Part
            | Self::Mute
            | Self::Deaf
            | Self::DeafStandby
            | Self::Quarrel
            | Self::CutStandby
            | Self::PartStandby => (50, 500),
        };
        // In steps that fall on every phase of an interval.
        let steps = u64::try_from(random.below((most - least) * 10)).unwrap_or_default();
        Duration::from_millis(u64::try_from(least).unwrap_or_default()) + Duration::from_micros(steps * 100)
    }

    /// Whether the active one is silent to the other, so that it must take over by itself.
    pub(super) fn silences(self) -> bool {
        match self {
            Self::Cut
            | Self::Part
            | Self::PartTwice
            | Self::CutBoth
            | Self::Mute
            | Self::Kill
            | Self::Stop => true,
            Self::CutBriefly
            | Self::PartBriefly
            | Self::StopBriefly
            | Self::Deaf
            | Self::DeafStandby
            | Self::Quarrel
            | Self::Leave
            | Self::Hold
            | Self::CutStandby
            | Self::PartStandby
            | Self::StopStandby => false,
        }
    }

    /// Whether nobody but the active one should ever be heard by others.
    pub(super) fn spares_active(self, held: Duration) -> bool {
        match self {
            Self::CutStandby | Self::StopStandby | Self::Deaf => true,
            Self::PartBriefly | Self::StopBriefly => held < PACE.interval * 2,
            Self::Cut
            | Self::CutBriefly
            | Self::Part
            | Self::PartTwice
            | Self::CutBoth
            | Self::Mute
            | Self::DeafStandby
            | Self::Quarrel
            | Self::Kill
            | Self::Stop
            | Self::Leave
            | Self::Hold
            | Self::PartStandby => false,
        }
    }

    /// Lets it happen. Returns when the client could reach nobody who should have served it.
    pub(super) fn inflict(
        self,
        stage: &mut Stage,
        active: Side,
        held: Duration,
        forgets: bool,
    ) -> Result<Option<Gap>> {
        let standby = active.other();
        let middle = |stage: &Stage| {
            crate::pass(held / 2)?;
            if forgets && self.lets_forget() {
                stage.forget()?;
            }
            crate::pass(held / 2)
        };
        match self {
            Self::Cut | Self::CutBriefly => cut(stage, active, middle)?,
            Self::CutStandby => cut(stage, standby, middle)?,
            Self::Part | Self::PartBriefly => part(stage, active, middle)?,
            Self::PartStandby => part(stage, standby, middle)?,
            Self::PartTwice => {
                part(stage, active, middle)?;
                crate::pass(held / 2)?;
                part(stage, active, middle)?;
            }
            Self::CutBoth => {
                cut(stage, active, middle)?;
                // It must be back for longer than it listens at first.
                crate::pass(Duration::from_millis(60))?;
                cut(stage, standby, middle)?;
            }
            Self::Mute => {
                let port = stage.pair.lan.port(stage.node(active));
                lose(stage, &[&format!("iifname {port}")], middle)?;
            }
            Self::Deaf => {
                let port = stage.pair.lan.port(stage.node(active));
                let from_ns = now_ns();
                lose(stage, &[&format!("oifname {port}")], middle)?;
                return Ok(Some(Gap { from_ns, to_ns: now_ns() }));
            }
            Self::DeafStandby => {
                let port = stage.pair.lan.port(stage.node(standby));
                lose(stage, &[&format!("oifname {port}")], middle)?;
            }
            Self::Quarrel => {
                let [one, other] = [active, standby].map(|side| stage.pair.lan.port(stage.node(side)));
                let rules =
                    [format!("iifname {one} oifname {other}"), format!("iifname {other} oifname {one}")];
                lose(stage, &[&rules[0], &rules[1]], middle)?;
            }
            Self::Kill => {
                stage.actor(active).kill()?;
                middle(stage)?;
                stage.restart(active)?;
            }
            Self::Leave => {
                stage.actor(active).leave()?;
                middle(stage)?;
                stage.restart(active)?;
            }
            Self::Stop | Self::StopBriefly => stop(stage, active, middle)?,
            Self::StopStandby => stop(stage, standby, middle)?,
            Self::Hold => {
                hold(stage, active, "hold")?;
                middle(stage)?;
                hold(stage, active, "resume")?;
            }
        }
        Ok(None)
    }
}

fn cut(stage: &Stage, side: Side, middle: impl Fn(&Stage) -> Result<()>) -> Result<()> {
    stage.pair.lan.cut(stage.node(side))?;
    middle(stage)?;
    stage.pair.lan.mend(stage.node(side))?;
    // A switch takes its time until it forwards what comes from a cable.
    stage.pair.lan.wait_until_forwarding(stage.node(side))
}

/// Not by taking its interface off the bridge: that locks all interfaces of this kernel for long, those of the other
/// nodes, too, which a takeover needs just then.
fn part(stage: &Stage, side: Side, middle: impl Fn(&Stage) -> Result<()>) -> Result<()> {
    stage.pair.lan.block(stage.node(side))?;
    middle(stage)?;
    stage.pair.lan.unblock(stage.node(side))
}

fn lose(stage: &Stage, rules: &[&str], middle: impl Fn(&Stage) -> Result<()>) -> Result<()> {
    stage.pair.lan.drop_frames_of(rules)?;
    middle(stage)?;
    stage.pair.lan.drop_nothing()
}

fn stop(stage: &mut Stage, side: Side, middle: impl Fn(&Stage) -> Result<()>) -> Result<()> {
    stage.actor(side).signal(Signal::SIGSTOP)?;
    let passed = middle(stage);
    // Whatever happened: a stopped process could not even be ended in order.
    stage.actor(side).signal(Signal::SIGCONT)?;
    passed
}

fn hold(stage: &mut Stage, side: Side, command: &str) -> Result<()> {
    match stage.actor(side) {
        Running::HaAgent(agent) => agent.tell(command),
        Running::Keepalived(_) | Running::Frr(_) | Running::Ucarp(_) => Ok(()),
    }
}
