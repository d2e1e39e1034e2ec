//! Puts the status together from those who know, and passes on what is asked for.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ha_common::abi::COMMON_SLOT;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::clerk::Faults;
use super::detector::partner::PairInput;
use super::detector::{Input, Snapshot};
use super::exchange::Known;
use super::follow_events;
use super::follow_switchover::{self, Standing};
use super::interfaces::Modes;
use super::manager;
use super::notices::Suspected;
use super::pair::{self, ChargeHandle, Shown, WitnessHandle};
use super::realtime::Granted;
use super::restarts::Restarts;
use super::shared::Sharing;
use super::updates::Updates;
use super::{PATIENCE, Reload, hosts};
use crate::config::{Config, Mode};
use crate::control::Reply;
use crate::control::drill::DrillReport;
use crate::control::events::Query;
use crate::control::order::{Failover, PairWish};
use crate::control::server::Source;
use crate::control::shared::{Apply, Document};
use crate::control::status::{
    self, ChargeStatus, Clocks, DemotionStatus, DetectorStatus, PairStatus, Parts, PeerFactsStatus,
    PeerLinkStatus, ReasonStatus, SharedStatus, Status, Surroundings, VhostStatus, WitnessStatus, by_reason,
};
use crate::control::views::Views;
use crate::core::pair::message::Request;
use crate::core::pair::{Node, Phase, Wish};
use crate::core::reasons::{Action, Facts, Heartbeat, NodeFacts, reasons};
use crate::core::{Family, Instant};
use crate::dataplane::Counters;
use crate::journal::Journal;
use crate::journal::events::Events;
use crate::peer::link::Speaker;
use crate::peer::link::status::LinkStatus;
use crate::sys::clock;
use crate::update;

/// Whoever knows.
#[derive(Debug)]
pub(super) struct Reporter {
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) counters: Arc<Counters>,
    pub(super) journal: Arc<Journal>,
    pub(super) modes: Modes,
    pub(super) faults: Faults,
    pub(super) suspected: Suspected,
    pub(super) granted: Granted,
    pub(super) started: Instant,
    pub(super) detector: mpsc::UnboundedSender<Input>,
    pub(super) reloads: mpsc::Sender<Reload>,
    /// How the link to the peer is, if there is to be one.
    pub(super) link: Option<watch::Receiver<LinkStatus>>,
    /// How the interface of that link is.
    pub(super) interlink: watch::Receiver<Heartbeat>,
    /// Who speaks to the peer over it.
    pub(super) speaker: Option<Speaker>,
    /// What is known of the other node.
    pub(super) pair: watch::Receiver<Known>,
    /// What is seen of the pair, if this node may be one of two.
    pub(super) shown: Option<Shown>,
    /// What is known of the witness, if there is one.
    pub(super) witness: Option<WitnessHandle>,
    /// What the node has in charge beside addresses, if anything.
    pub(super) charge: Option<ChargeHandle>,
    /// Who keeps what is shared with the other node, if anything is.
    pub(super) sharing: Option<Arc<Sharing>>,
    /// Where is told what happens.
    pub(super) events: Events,
    /// Whoever puts another agent in the place of this one.
    pub(super) updates: Updates,
    /// Whoever ends this one for another.
    pub(super) restarts: Restarts,
    /// What is seen by those who go on looking.
    pub(super) views: Views,
}

impl Reporter {
    /// The node's name.
    pub(super) fn node(&self) -> String {
        self.config.borrow().node.clone()
    }

    /// The mode now.
    pub(super) fn mode(&self) -> Mode {
        self.config.borrow().auth.mode
    }

    /// What the detector knows.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, String> {
        snapshot(&self.detector).await
    }

    /// Tells the detector something of the pair.
    pub(super) fn tell_of_pair(&self, input: PairInput) {
        // It is gone only while the agent ends.
        let _ = self.detector.send(Input::Pair(input));
    }

    /// Lets the peer take over before this node ends. Returns whether it has.
    pub(super) async fn hand_over(&self) -> bool {
        let Ok(Snapshot { pair: Some(pair), .. }) = self.snapshot().await else { return false };
        match self.shown.as_ref().filter(|_| pair.phase == Phase::Active && pair.peer.is_some()) {
            Some(shown) => {
                let more = self.charge.as_ref().map(ChargeHandle::move_limit).unwrap_or_default();
                pair::hand_over(&self.detector, &shown.news, pair.settings.node, more).await
            }
            None => false,
        }
    }

    /// What an operator wants of the pair; answered by the last request of this node.
    async fn wish_of_pair(&self, wish: Wish) -> Result<Option<Request>, String> {
        let (reply, answer) = oneshot::channel();
        let asked = self.detector.send(Input::Pair(PairInput::Wish(wish, reply)));
        match (asked, tokio::time::timeout(PATIENCE, answer).await) {
            (Ok(()), Ok(Ok(request))) => Ok(request),
            _ => Err(NO_PAIR.to_owned()),
        }
    }

    /// Which node of the pair has this name.
    fn node_named(&self, name: &str, own: Node) -> Result<Node, String> {
        let this = self.node();
        let other = self.link.as_ref().and_then(|link| Some(link.borrow().peer.as_ref()?.name.clone()));
        let other = other.unwrap_or_default();
        match name {
            _ if name == this => Ok(own),
            _ if name == other => Ok(own.other()),
            _ => Err(format!("no node of the pair is called '{name}'; they are {this} and {other}")),
        }
    }

    /// What this node knows of itself.
    pub(super) async fn facts(&self) -> Result<NodeFacts, String> {
        let snapshot = self.snapshot().await?;
        Ok(self.facts_at(&snapshot))
    }

    /// What it knows of both nodes.
    pub(super) async fn all_facts(&self) -> Result<Facts, String> {
        let own = self.facts().await?;
        Ok(self.pair.borrow().facts(clock::now(), own))
    }

    fn facts_at(&self, snapshot: &Snapshot) -> NodeFacts {
        let link = self.link.as_ref().map(|link| link.borrow().condition.clone());
        let around = Surroundings {
            uptime: snapshot.at.saturating_since(self.started),
            link: link.as_ref(),
            interlink: *self.interlink.borrow(),
            unstored: self.shown.as_ref().and_then(|shown| shown.unstored.borrow().clone()),
            witness_lost: self
                .witness
                .as_ref()
                .is_some_and(|witness| witness.now().is_lost(snapshot.at, &witness.terms())),
            storage: self.charge.as_ref().and_then(ChargeHandle::storage),
            faults: self.charge.as_ref().map(ChargeHandle::faults).unwrap_or_default(),
            disk_keys: self.charge.as_ref().map(ChargeHandle::disk_keys).unwrap_or_default(),
            shared: self.sharing.as_ref().map(|sharing| sharing.told()),
        };
        status::facts(&self.config.borrow(), snapshot, around)
    }
}

impl Source for Reporter {
    fn views(&self) -> &Views {
        &self.views
    }

    async fn status(&self) -> Result<Status, String> {
        let snapshot = self.snapshot().await?;
        let config = Arc::clone(&self.config.borrow());
        let clocks = Clocks { wall: Timestamp::now(), monotonic: clock::now() };
        let read = |slot| self.counters.read(slot).map_err(|error| error.to_string());
        let silenced = self.counters.silenced().map_err(|error| error.to_string())?;
        let modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut vhosts = Vec::new();
        for vhost_config in &config.vhosts {
            let vhost = vhost_config.index;
            // One that goes just now is not to be seen any more.
            let Some(detector) = snapshot.vhosts.get(&vhost) else { continue };
            let mut kernel = read(hosts::slot(vhost, Family::V4))?;
            kernel.add(&read(hosts::slot(vhost, Family::V6))?);
            let parts = Parts {
                config: vhost_config,
                auth: &config.auth,
                detector,
                kernel,
                suspected: self.suspected.of(vhost),
                journal: self.journal.of(vhost),
                started: self.started,
                receive: modes.get(&vhost_config.interface).cloned(),
                fault: self.faults.of(vhost),
            };
            vhosts.push(VhostStatus::new(clocks, &parts));
        }
        let facts = self.pair.borrow().facts(clocks.monotonic, self.facts_at(&snapshot));
        Ok(Status {
            node: config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            as_of: clocks.wall,
            as_of_monotonic_ns: clocks.monotonic.as_nanos(),
            uptime_s: clocks.monotonic.saturating_since(self.started).as_secs_f64(),
            role: facts.own.role,
            maintenance: facts.own.maintenance,
            reasons: ReasonStatus::all(&facts, self.link.is_some()),
            peer: facts.peer.as_ref().map(PeerFactsStatus::new),
            pair: snapshot.pair.as_ref().map(PairStatus::new),
            charge: self.charge.as_ref().map(|charge| ChargeStatus::new(clocks.monotonic, &charge.shown())),
            witness: self.witness.as_ref().map(|witness| {
                let lease = snapshot.pair.as_ref().and_then(|pair| pair.lease);
                WitnessStatus::new(config.witness.as_ref(), &witness.now(), lease, clocks.monotonic)
            }),
            shared: facts.own.shared.as_ref().map(SharedStatus::new),
            demotion: DemotionStatus::new(&snapshot.demotions),
            detector: DetectorStatus::new(&self.granted, &snapshot, silenced),
            peer_link: self.link.as_ref().map(|link| PeerLinkStatus::new(clocks, &link.borrow())),
            vhosts,
            other_frames: by_reason(&read(COMMON_SLOT)?),
        })
    }

    async fn drill(&self) -> Result<DrillReport, String> {
        let pair = self.snapshot().await?.pair.ok_or(NO_PAIR)?;
        if pair.phase != Phase::Standby {
            return Err(NOT_BY.to_owned());
        }
        let charge = self.charge.as_ref().ok_or(NO_CHARGE)?;
        let silence = pair::silence(&self.config.borrow());
        charge.drill(silence).await
    }

    async fn restart(&self, within: Option<Duration>) -> Result<String, String> {
        self.restarts.restart(self, within).await
    }

    async fn reload(&self) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.reloads.send(reply).await.ok()?;
            answer.await.ok()
        };
        let answer = manager::reloading(tokio::time::timeout(PATIENCE, asked)).await.ok().flatten();
        answer.unwrap_or_else(|| Err("the agent is busy with its interfaces; try again".to_owned()))
    }

    async fn hold(&self, hold: bool) -> Result<String, String> {
        if self.snapshot().await?.pair.is_some() {
            self.wish_of_pair(if hold { Wish::Hold } else { Wish::Resume }).await?;
            return Ok(
                if hold { "held: nothing fails over to this node by itself" } else { "resumed" }.to_owned()
            );
        }
        self.detector.send(Input::Hold(hold)).map_err(|_| "the detector does not answer".to_owned())?;
        // Answered behind the order: so it is obeyed.
        self.snapshot().await?;
        Ok(if hold { "held: the other nodes go first" } else { "resumed" }.to_owned())
    }

    async fn failover(&self, order: Failover) -> Result<mpsc::Receiver<Reply>, String> {
        let snapshot = self.snapshot().await?;
        let pair = snapshot.pair.ok_or(NO_PAIR)?;
        let news = self.shown.as_ref().ok_or(NO_PAIR)?.news.subscribe();
        let own = pair.settings.node;
        let to = match &order.to {
            Some(name) => self.node_named(name, own)?,
            None if pair.serving => own.other(),
            None => own,
        };
        if !order.force {
            let facts = self.pair.borrow().facts(clock::now(), self.facts_at(&snapshot));
            let action = if to == own { Action::SwitchoverHere } else { Action::SwitchoverAway };
            if let Some(reason) = reasons(&facts).iter().find(|reason| reason.blocks(action)) {
                return Err(format!("refused: {reason}"));
            }
        }
        let force_after = order.force_after_ms.map(Duration::from_millis);
        let wish = Wish::Failover { to, forced: order.force, force_after };
        let request = self.wish_of_pair(wish).await?.ok_or("the order was not taken")?;
        let (replies, queue) = mpsc::channel(REPLIES);
        let detector = self.detector.clone();
        let look = move || standing(detector.clone(), request);
        tokio::spawn(follow_switchover::follow(news, request, look, replies));
        Ok(queue)
    }

    async fn shared(&self, peer: bool) -> Result<Document, String> {
        self.sharing.as_ref().ok_or(NOTHING_SHARED)?.document(peer).await
    }

    async fn apply(&self, order: Apply) -> Result<String, String> {
        self.sharing.as_ref().ok_or(NOTHING_SHARED)?.apply(order).await
    }

    async fn wish(&self, wish: PairWish) -> Result<String, String> {
        let own = self.snapshot().await?.pair.ok_or(NO_PAIR)?.settings.node;
        let (wish, done) = match wish {
            PairWish::Disable => {
                (Wish::Disable, "disabled: nothing fails over in the pair by itself".to_owned())
            }
            PairWish::Enable => (Wish::Enable, "enabled".to_owned()),
            PairWish::Prefer(None) => (Wish::Prefer(None), "no node is preferred".to_owned()),
            PairWish::Prefer(Some(name)) => {
                (Wish::Prefer(Some(self.node_named(&name, own)?)), format!("{name} is preferred"))
            }
        };
        self.wish_of_pair(wish).await?;
        Ok(done)
    }

    async fn events(&self, query: Query) -> Result<mpsc::Receiver<Reply>, String> {
        let (replies, queue) = mpsc::channel(REPLIES);
        tokio::spawn(follow_events::follow(self.events.clone(), query, replies));
        Ok(queue)
    }

    async fn update(&self, request: update::Request) -> Result<update::Answer, String> {
        self.updates.request(self, request).await
    }
}

async fn snapshot(detector: &mpsc::UnboundedSender<Input>) -> Result<Snapshot, String> {
    let (reply, answer) = oneshot::channel();
    let asked = detector.send(Input::Snapshot(reply));
    match (asked, tokio::time::timeout(PATIENCE, answer).await) {
        (Ok(()), Ok(Ok(snapshot))) => Ok(snapshot),
        _ => Err("the detector does not answer".to_owned()),
    }
}

/// How a switchover stands.
async fn standing(detector: mpsc::UnboundedSender<Input>, request: Request) -> Result<Standing, String> {
    let pair = snapshot(&detector).await?.pair.ok_or(NO_PAIR)?;
    Ok(Standing::of(request, &pair))
}

/// Lines that nobody has read yet.
const REPLIES: usize = 16;
const NOTHING_SHARED: &str = "this node does not share its configuration; set `shared` in [peer], and begin with `ha-agent config init FILE`";
const NOT_BY: &str =
    "this node does not stand by just now: a drill is for the node that would take over; run it there";
const NO_CHARGE: &str = "this node takes over addresses only; there is nothing to drill without [[pool]], [[mount]] or [[service]]";
const NO_PAIR: &str =
    "this node is not one of a pair yet: it has no [peer], or was not introduced to it; see `ha-agent pair`";
