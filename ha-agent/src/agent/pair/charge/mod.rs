//! What a node of a pair has in charge beside addresses, as the pair machine sees it.

mod drill;
mod fencing;
mod history;
mod parts;
mod watching;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;

use self::parts::Charged;
use self::watching::Watched;
use super::super::detector::partner::PairInput;
use crate::config::{ChargeConfig, Config, FenceLevel};
use crate::control::drill::DrillReport;
use crate::core::liveness::DiskKeys;
use crate::core::pair::report::Why;
use crate::core::pair::{Generation, Node};
use crate::core::plan::Phase;
use crate::core::reasons::Storage;
use crate::exec::conductor::{Condition, Doing, Duties, Order, PartShown, Report, Shown};
use crate::fence::heartbeat::{Lost, Proof};
use crate::journal::events::Events;
use crate::resource::{Cause, Failure, Stop};

/// What is in charge, and whoever carries it out.
#[derive(Debug)]
pub(in crate::agent) struct Charge {
    config: ChargeConfig,
    /// The node's name.
    name: String,
    handle: ChargeHandle,
    shows: watch::Sender<Shown>,
    /// Taken by the conductor when it begins.
    queue: Option<mpsc::UnboundedReceiver<Order>>,
    reports: mpsc::UnboundedReceiver<Report>,
    reporting: mpsc::UnboundedSender<Report>,
    times: watch::Sender<Times>,
    disks: watch::Sender<Disks>,
    /// What was told of the peer's keys.
    keys: DiskKeys,
    duties: watch::Sender<Option<Duties>>,
    /// When this node ends, since somebody else has what it served.
    lost: Option<Pin<Box<Sleep>>>,
    events: Events,
}

/// Where others see it, and tell it to let go.
#[derive(Clone, Debug)]
pub(in crate::agent) struct ChargeHandle {
    orders: mpsc::UnboundedSender<Order>,
    shown: watch::Receiver<Shown>,
    times: watch::Receiver<Times>,
    disks: watch::Receiver<Disks>,
    duties: watch::Receiver<Option<Duties>>,
    takeovers: PathBuf,
    proof: Proof,
}

/// What is seen of the shared disks.
#[derive(Clone, Debug, Default)]
struct Disks {
    /// What the peer's keys on them say.
    keys: DiskKeys,
    /// Their serial numbers.
    serials: BTreeSet<String>,
}

/// How long it all may take.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::agent) struct Times {
    pub(super) take: Duration,
    pub(super) release: Duration,
    /// Whether any of it holds data.
    pub(super) data: bool,
}

/// What is said of it.
#[derive(Debug)]
pub(super) enum Said {
    /// To be told to the machine.
    Tell(PairInput),
    /// This node is to end.
    EndHard(Why),
}

impl Charge {
    /// What the configuration gives this node; `None` if that is addresses only.
    pub(in crate::agent) fn new(config: &Config, state: &Path, events: &Events) -> Option<Self> {
        if config.charge.is_empty() {
            return None;
        }
        let (orders, queue) = mpsc::unbounded_channel();
        let (reporting, reports) = mpsc::unbounded_channel();
        let (shows, seen) = watch::channel(Shown::default());
        let (times, known_times) = watch::channel(Times::default());
        let (disks, known_disks) = watch::channel(Disks::default());
        let (duties, known_duties) = watch::channel(None);
        Some(Self {
            config: config.charge.clone(),
            name: config.node.clone(),
            handle: ChargeHandle {
                orders,
                shown: seen,
                times: known_times,
                disks: known_disks,
                duties: known_duties,
                takeovers: history::path(state),
                proof: Proof::default(),
            },
            shows,
            queue: Some(queue),
            reports,
            reporting,
            times,
            disks,
            keys: DiskKeys::None,
            duties,
            lost: None,
            events: events.clone(),
        })
    }

    /// Where others see it.
    pub(in crate::agent) fn handle(&self) -> ChargeHandle {
        self.handle.clone()
    }

    /// Begins, as this node of the pair. Returns whether any of it is here, left by an earlier agent.
    pub(super) async fn begin(&mut self, node: Node) -> bool {
        let Some(queue) = self.queue.take() else { return false };
        let orders = self.handle.orders.clone();
        let lost: Lost = Arc::new(move |failure| {
            tracing::error!("{failure}");
            // It is gone only while the agent ends.
            let _ = orders.send(Order::Lost);
        });
        let begun = match parts::charged(&self.config, &self.name, node, &lost, &self.handle.proof) {
            Ok(charged) => self.start(charged, queue).await,
            Err(failure) => {
                tokio::spawn(decline(queue, self.reporting.clone()));
                Err(failure)
            }
        };
        begun.unwrap_or_else(|failure| {
            tracing::error!("{failure}");
            false
        })
    }

    async fn start(
        &mut self,
        charged: Charged,
        queue: mpsc::UnboundedReceiver<Order>,
    ) -> Result<bool, Failure> {
        let Charged { duties, fences, volumes } = charged;
        let fence = self.config.fence.as_ref();
        let rhythm = fence.filter(|fence| fence.levels.contains(&FenceLevel::Reservation)).map(parts::rhythm);
        tokio::spawn(watching::watch(Watched { fences, volumes, rhythm }, self.disks.clone()));
        let [take, release] = [duties.take_limit(), duties.release_limit()];
        self.times.send_replace(Times { take, release, data: duties.hold_data() });
        let holding = survey(duties.clone()).await;
        self.duties.send_replace(Some(duties.clone()));
        tokio::spawn(history::keep(
            self.handle.takeovers.clone(),
            self.handle.shown.clone(),
            self.events.clone(),
        ));
        let started = duties.start(queue, self.reporting.clone(), self.shows.clone());
        started.map_err(|error| Failure::system("what is to be taken over can't be", &error))?;
        Ok(holding)
    }

    /// How long it may all take; known once it has begun.
    pub(super) fn times(&self) -> Times {
        *self.times.borrow()
    }

    /// Has something done.
    pub(super) fn order(&self, order: Order) {
        self.handle.order(order);
    }

    /// What is said next.
    pub(super) async fn next(&mut self) -> Said {
        loop {
            tokio::select! {
                biased;
                () = over(&mut self.lost) => return Said::EndHard(Why::Fenced),
                Ok(()) = self.handle.disks.changed() => {
                    let keys = self.handle.disks.borrow_and_update().keys;
                    if keys != self.keys {
                        self.keys = keys;
                        return Said::Tell(PairInput::Disks(keys));
                    }
                }
                report = self.reports.recv() => match report {
                    Some(Report::SelfFence(_)) => return Said::EndHard(Why::TakeFailed),
                    Some(report) => {
                        if let Report::Lost(_) = report {
                            tracing::error!("somebody else has taken over what this node serves: it ends");
                            self.lost = Some(Box::pin(tokio::time::sleep(LOST)));
                        }
                        return Said::Tell(PairInput::Conductor(report));
                    }
                    None => std::future::pending().await,
                },
            }
        }
    }

    /// Ends this node, as it was configured.
    pub(super) fn fence_self(&self, why: Why) {
        parts::fence_self(&self.config, why);
    }
}

/// What would stand in the way of taking it all, on a node where no agent runs. It blocks, and touches nothing.
///
/// # Errors
///
/// If the configuration makes no plan, or the system has no descriptors left.
pub fn examine(config: &Config) -> Result<DrillReport, Failure> {
    // Nothing is taken, so nothing is lost; and which of the two this node is makes no difference.
    let (lost, proof): (Lost, _) = (Arc::new(|_| {}), Proof::default());
    let charged = parts::charged(&config.charge, &config.node, Node::A, &lost, &proof)?;
    drill::drill(&charged.duties, &[], Duration::ZERO)
        .map_err(|error| Failure::system("what is to be taken over can't be looked at", &error))
}

impl ChargeHandle {
    /// How long it may take to move it all to the other node.
    pub(in crate::agent) fn move_limit(&self) -> Duration {
        let Times { take, release, data: _ } = *self.times.borrow();
        take + release
    }

    /// As of when the disks of what is taken are this node's.
    pub(in crate::agent) fn proof(&self) -> Proof {
        self.proof.clone()
    }

    /// How it all stands.
    pub(in crate::agent) fn shown(&self) -> Shown {
        self.shown.borrow().clone()
    }

    /// What is shared with the peer; `None` if nothing is.
    pub(in crate::agent) fn storage(&self) -> Option<Storage> {
        let shown = self.shown.borrow();
        let volumes = shown.parts.iter().filter(|part| matches!(part.phase, Phase::Import | Phase::Mount));
        let volumes = u32::try_from(volumes.count()).unwrap_or(u32::MAX);
        let fence = !shown.parts.iter().any(|part| part.phase == Phase::Fence && part.bad);
        (volumes > 0).then(|| Storage { disks: self.disks.borrow().serials.clone(), volumes, fence })
    }

    /// What would become of a takeover, and how long it would take; it takes `silence` to know that the peer is dead.
    pub(in crate::agent) async fn drill(&self, silence: Duration) -> Result<DrillReport, String> {
        let duties = self.duties.borrow().clone().ok_or(NOT_BEGUN)?;
        let takeovers = self.takeovers.clone();
        let drill = move || drill::drill(&duties, &history::read(&takeovers), silence);
        match tokio::task::spawn_blocking(drill).await {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(format!("the drill can't be done: {error}; look at `ulimit -a`")),
            Err(error) => Err(format!("the drill broke down: {error}")),
        }
    }

    /// What is not well, in a few words each.
    pub(in crate::agent) fn faults(&self) -> Vec<String> {
        let shown = self.shown.borrow();
        let cause = |part: &PartShown| part.faults.first().map_or("not well", |fault| fault.cause.name());
        let bad = shown.parts.iter().filter(|part| part.bad);
        bad.map(|part| format!("{}: {}", part.name, cause(part))).collect()
    }

    /// What the peer's keys on the shared disks say.
    pub(in crate::agent) fn disk_keys(&self) -> DiskKeys {
        self.disks.borrow().keys
    }

    fn order(&self, order: Order) {
        // It is gone only while the agent ends.
        let _ = self.orders.send(order);
    }

    /// Releases whatever is here, since the agent ends.
    pub(in crate::agent) async fn release(mut self) {
        let doing = self.shown.borrow().doing;
        if doing == Doing::Nothing {
            return;
        }
        let limit = self.times.borrow().release + LOST;
        self.order(Order::Release(Generation::default()));
        let released = self.shown.wait_for(|shown| match shown.doing {
            Doing::Nothing | Doing::Unclear(_) => shown.doing != doing,
            Doing::Taking(..) | Doing::Serving(_) | Doing::Releasing(..) => false,
        });
        match tokio::time::timeout(limit, released).await {
            Ok(Ok(shown)) if shown.doing == Doing::Nothing => tracing::info!("all is released"),
            Ok(_) | Err(_) => {
                tracing::error!(
                    "not all could be released: see above, and look before the other node is told to take over"
                );
            }
        }
    }
}

/// Takes nothing over, and says so.
async fn decline(mut queue: mpsc::UnboundedReceiver<Order>, reporting: mpsc::UnboundedSender<Report>) {
    let mut report = Some(Report::Condition(Condition::Bad));
    loop {
        // It is gone only while the agent ends.
        let _ = report.map(|report| reporting.send(report));
        report = match queue.recv().await {
            Some(Order::Take(term, _)) => Some(Report::TakeFailed(term)),
            Some(Order::Release(term)) => Some(Report::Released(term)),
            Some(Order::Serve(_) | Order::Lost) => None,
            None => return,
        };
    }
}

/// Whether anything is here.
async fn survey(duties: Duties) -> bool {
    let looked = tokio::task::spawn_blocking(move || {
        let stop = Stop::new().map_err(|error| Failure::system("nothing can be looked at", &error))?;
        duties.are_here(&stop)
    });
    match looked.await {
        Ok(Ok(here)) => here,
        Ok(Err(failure)) => {
            tracing::error!("what an earlier agent left can't be found out: {failure}");
            // What needs a tool that is not there is not here.
            !matches!(failure.cause, Cause::NoTool | Cause::DiskMissing)
        }
        Err(error) => {
            tracing::error!("what an earlier agent left can't be found out: {error}");
            true
        }
    }
}

async fn over(lost: &mut Option<Pin<Box<Sleep>>>) {
    match lost {
        Some(lost) => lost.await,
        None => std::future::pending().await,
    }
}

const NOT_BEGUN: &str =
    "this node does not know yet which of the pair it is; introduce it with `ha-agent pair`";
/// After how many of the holder's heartbeats without a change its keys are still.
pub(super) const STILL: u32 = 3;
/// How long the addresses of a node have to go that somebody else has taken over from.
const LOST: Duration = Duration::from_millis(500);
