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
use crate::net::address::{AddressError, Addresses};
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
    /// These addresses are on the interface now: if we hold ours and somebody took one off, put it on again.
    Keep(Vec<IpAddr>),
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

impl Executor {
    /// Runs until the last sender of orders is gone.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut target = None;
        let mut address_up = None;
        let mut announced = None;
        while let Some(order) = orders.recv().await {
            match order {
                Order::Use(new) => target = Some(new),
                Order::Take => {
                    announced = None;
                    address_up = self.report(take(target.as_ref()).await.map(drop)).then(clock::now);
                }
                Order::Drop => {
                    address_up = None;
                    let well = self.report(drop_addresses(target.as_ref()).await);
                    // It is gone only while the agent ends.
                    let _ = self.detector.send(Input::Dropped { vhost: self.vhost, well });
                }
                Order::Announce => {
                    // An address that is not there is not announced; it is tried again instead.
                    if address_up.is_none() {
                        address_up = self.report(take(target.as_ref()).await.map(drop)).then(clock::now);
                    }
                    if address_up.is_some() {
                        let done = self.report(announce(target.as_ref()));
                        announced = announced.or_else(|| done.then(clock::now));
                    }
                }
                Order::Keep(present) => {
                    if address_up.is_some() {
                        self.keep(target.as_ref(), &present).await;
                    }
                }
                Order::Record { transition, advertised } => {
                    self.record(transition, advertised, address_up, announced);
                }
            }
        }
    }

    async fn keep(&self, target: Option<&Target>, present: &[IpAddr]) {
        if target.is_none_or(|target| target.addresses.all_in(present)) {
            return;
        }
        match take(target).await {
            // What we were told was older than the address.
            Ok(0) => {}
            Ok(added) => {
                tracing::warn!(
                    vhost = self.name,
                    "{added} of our addresses had been taken off: put on again"
                );
                self.report(announce(target));
            }
            Err(error) => drop(self.report(Err(error))),
        }
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
        if let Some(fault) = &fault {
            tracing::error!(vhost = self.name, "{fault}");
        }
        let well = fault.is_none();
        self.fault.send_if_modified(|shown| {
            let changed = *shown != fault;
            *shown = fault;
            changed
        });
        well
    }
}

/// Returns how many addresses were not there before.
async fn take(target: Option<&Target>) -> Result<usize, StepError> {
    let Some(target) = target else { return Ok(0) };
    let work = async {
        if let Some(macvlan) = &target.macvlan {
            macvlan.raise().await?;
        }
        Ok(target.addresses.take().await?)
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(StepError::Deadline))
}

async fn drop_addresses(target: Option<&Target>) -> Result<(), StepError> {
    let Some(target) = target else { return Ok(()) };
    let work = async {
        if let Some(macvlan) = &target.macvlan {
            // First of all: what is down answers nothing.
            macvlan.lower().await?;
        }
        Ok(target.addresses.drop().await?)
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(StepError::Deadline))
}

fn announce(target: Option<&Target>) -> Result<(), StepError> {
    let Some(target) = target else { return Ok(()) };
    target.announcer.announce().map_err(StepError::Announce)
}

/// How long the kernel may take to move an address.
const DEADLINE: Duration = Duration::from_secs(2);
