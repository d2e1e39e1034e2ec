//! The one executor: carries out what the core orders, one virtual host after its own orders, in their
//! order, away from the fast thread. It has no opinion.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::agent::detector::Input;
use crate::core::{Instant, State, Transition};
use crate::journal::{Entry, Journal};
use crate::net::address::{AddressError, Addresses, Taken};
use crate::net::advertise::Advertiser;
use crate::net::announce::Announcer;
use crate::net::macvlan::{Macvlan, MacvlanError};
use crate::sys::clock;

/// Something to be done for one virtual host.
#[derive(Debug)]
pub enum Order {
    /// Act on this interface from now on.
    Use(Target),
    /// Put the addresses on.
    Take,
    /// Take the addresses off, and report it to the detector.
    Drop,
    /// Announce the addresses.
    Announce,
    /// See that what is on the interface is as ordered: put on again what somebody took off, and take off what is
    /// there though it should not be.
    Keep {
        /// The addresses that are there now.
        present: Vec<IpAddr>,
        /// Whether its link is up. If not, nothing is put on: the order to drop is about to come.
        up: bool,
    },
    /// Close this, which the fast thread uses no longer: the kernel takes its time for that.
    Discard(Advertiser),
    /// Write a transition into the journal, once all orders before it are carried out.
    Record {
        /// The transition.
        transition: Transition,
        /// When the advertisement that went with it had left.
        advertised: Option<Instant>,
    },
}

/// What orders act on.
#[derive(Debug)]
pub struct Target {
    /// The addresses on their interface.
    pub addresses: Addresses,
    /// What announces them there.
    pub announcer: Announcer,
    /// The interface with the virtual hardware address, if the addresses live on one.
    pub macvlan: Option<Arc<Macvlan>>,
}

/// Carries out the orders for one virtual host.
#[derive(Debug)]
pub struct Executor {
    /// Index of the virtual host in the configuration.
    pub vhost: usize,
    /// Its name, for the log.
    pub name: String,
    /// The detector, which is told of what is done.
    pub detector: mpsc::UnboundedSender<Input>,
    /// Where transitions are written down.
    pub journal: Arc<Journal>,
    /// What went wrong last, until it is right again.
    pub fault: watch::Sender<Option<String>>,
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Macvlan(#[from] MacvlanError),
    #[error("the addresses could not be announced: {0}")]
    Announce(#[source] io::Error),
    #[error("the kernel did not answer within {} ms", DEADLINE.as_millis())]
    Deadline,
}

/// How far the orders are carried out.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, not one state")]
struct Progress {
    target: Option<Target>,
    /// Whether the last order was to take the addresses, not to drop them.
    wanted: bool,
    /// Those that were put on.
    up: Vec<IpAddr>,
    /// Since when all of them are there.
    address_up: Option<Instant>,
    announced: Option<Instant>,
    link_down: bool,
    /// The last step failed and is to be tried again.
    unfinished: bool,
    /// An order to drop failed, and the detector waits for it.
    drop_owed: bool,
}

impl Executor {
    /// Runs until the last sender of orders is gone.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut progress = Progress::default();
        loop {
            let order = if progress.unfinished {
                let Ok(order) = tokio::time::timeout(RETRY, orders.recv()).await else {
                    self.finish(&mut progress).await;
                    continue;
                };
                order
            } else {
                orders.recv().await
            };
            match order {
                Some(order) => self.carry_out(order, &mut progress).await,
                None => return,
            }
        }
    }

    async fn carry_out(&self, order: Order, progress: &mut Progress) {
        match order {
            Order::Use(new) => {
                progress.target = Some(new);
                progress.up.clear();
                progress.address_up = None;
                // Another interface, or another hardware address: everybody must learn that.
                if progress.wanted {
                    self.take(progress).await;
                    self.announce(progress);
                }
            }
            Order::Take => {
                (progress.wanted, progress.drop_owed) = (true, false);
                (progress.address_up, progress.announced) = (None, None);
                self.take(progress).await;
            }
            Order::Drop => {
                progress.wanted = false;
                let well = self.drop_addresses(progress).await;
                progress.drop_owed = !well;
                self.tell_dropped(well);
            }
            Order::Announce if progress.wanted => {
                // An address that is not there is not announced; it is tried again instead.
                if progress.address_up.is_none() {
                    self.take(progress).await;
                }
                self.announce(progress);
            }
            // Dropped in the meantime.
            Order::Announce => {}
            Order::Keep { present, up } => {
                progress.link_down = !up;
                self.keep(&present, progress).await;
            }
            Order::Discard(advertiser) => drop(advertiser),
            Order::Record { transition, advertised } => {
                self.record(transition, advertised, progress.address_up, progress.announced);
            }
        }
    }

    async fn keep(&self, present: &[IpAddr], progress: &mut Progress) {
        let Some(addresses) = progress.target.as_ref().map(|target| &target.addresses) else { return };
        if progress.wanted && !addresses.all_in(present) && !progress.link_down {
            let added = self.take(progress).await;
            // None, if what we were told was older than the address.
            if added > 0 {
                tracing::warn!(
                    vhost = self.name,
                    "{added} of our addresses had been taken off: put on again"
                );
                self.announce(progress);
            }
        } else if !progress.wanted && addresses.any_in(present) {
            self.drop_again(progress).await;
        }
    }

    /// Tries again what failed.
    async fn finish(&self, progress: &mut Progress) {
        if !progress.wanted {
            self.drop_again(progress).await;
        } else if !progress.link_down && self.take(progress).await > 0 {
            self.announce(progress);
        }
    }

    /// Returns how many addresses were not there before.
    async fn take(&self, progress: &mut Progress) -> usize {
        let Some(target) = &progress.target else { return 0 };
        let (taken, result) = match take(target).await {
            Ok(mut taken) => {
                let error = taken.error.take();
                (taken, error.map_or(Ok(()), |error| Err(error.into())))
            }
            Err(error) => (Taken::default(), Err(error)),
        };
        progress.up = taken.up;
        let well = self.report(result);
        progress.address_up = progress.address_up.filter(|_| well).or_else(|| well.then(clock::now));
        progress.unfinished = !well;
        taken.added
    }

    /// Announces what is there.
    fn announce(&self, progress: &mut Progress) {
        let Some(target) = progress.target.as_ref().filter(|_| !progress.up.is_empty()) else { return };
        let announced = target.announcer.announce_those(&progress.up).map_err(StepError::Announce);
        let well = announced.is_ok();
        // What failed before is still to be seen.
        if !(well && progress.unfinished) {
            self.report(announced);
        }
        progress.announced = progress.announced.or_else(|| well.then(clock::now));
    }

    async fn drop_addresses(&self, progress: &mut Progress) -> bool {
        progress.up.clear();
        progress.address_up = None;
        let Some(target) = &progress.target else { return true };
        let well = self.report(drop_addresses(target).await);
        progress.unfinished = !well;
        well
    }

    async fn drop_again(&self, progress: &mut Progress) {
        let well = self.drop_addresses(progress).await;
        if well && std::mem::take(&mut progress.drop_owed) {
            self.tell_dropped(true);
        }
    }

    fn tell_dropped(&self, well: bool) {
        // It is gone only while the agent ends.
        let _ = self.detector.send(Input::Dropped { vhost: self.vhost, well });
    }

    fn record(
        &self,
        transition: Transition,
        advertised: Option<Instant>,
        address_up: Option<Instant>,
        announced: Option<Instant>,
    ) {
        let Transition { from, to, cause, .. } = transition;
        let mastered = to == State::Master;
        self.journal.record(Entry {
            vhost: self.vhost,
            transition,
            advertised,
            address_up: address_up.filter(|_| mastered),
            announced: announced.filter(|_| mastered),
        });
        // Last: whoever reads this line finds the transition in the status.
        tracing::info!(vhost = self.name, "{from} -> {to}: {cause}");
    }

    /// Tells the log and the status how a step went, and returns whether well.
    fn report(&self, result: Result<(), StepError>) -> bool {
        let fault = result.err().map(|error| error.to_string());
        let well = fault.is_none();
        // Once, however often it is tried again.
        if let Some(fault) = fault.as_ref().filter(|_| *self.fault.borrow() != fault) {
            tracing::error!(vhost = self.name, "{fault}");
        }
        self.fault.send_if_modified(|shown| {
            let changed = *shown != fault;
            *shown = fault;
            changed
        });
        well
    }
}

async fn take(target: &Target) -> Result<Taken, StepError> {
    if let Some(macvlan) = &target.macvlan {
        in_time(macvlan.raise()).await?;
    }
    in_time(async { Ok::<_, StepError>(target.addresses.take().await) }).await
}

async fn drop_addresses(target: &Target) -> Result<(), StepError> {
    // First of all: what is down answers nothing.
    let lowered = match &target.macvlan {
        Some(macvlan) => in_time(macvlan.lower()).await,
        None => Ok(()),
    };
    let dropped = in_time(target.addresses.drop()).await;
    lowered.and(dropped)
}

async fn in_time<T, E: Into<StepError>>(step: impl Future<Output = Result<T, E>>) -> Result<T, StepError> {
    match tokio::time::timeout(DEADLINE, step).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(StepError::Deadline),
    }
}

/// How long the kernel may take for one step.
const DEADLINE: Duration = Duration::from_secs(2);
/// When a step that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
