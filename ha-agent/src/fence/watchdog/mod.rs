//! A hardware watchdog resets this machine unless it is fed, and it is fed only while somebody proves that the agent is well.
//!
//! So from the last proof to the reset pass at most the bound of the proof and the time of the watchdog together.

mod kernel;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub use self::kernel::KernelDog;
use crate::core::Instant;
use crate::resource::{Cause, Failure, Finding, Resource, Taken, Within};
use crate::sys::clock;

/// The proof that the agent is well, for all who have a copy of it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicU64>);

/// Whether there must be a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without one, nothing is taken.
    Required,
    /// It is used where there is one.
    IfPresent,
    /// It is not used.
    Off,
}

/// How a watchdog is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether there must be one.
    pub need: Need,
    /// How long it waits for food: whole seconds, 1 at least.
    pub timeout: Duration,
    /// How old the proof of health may be when it is fed.
    pub bound: Duration,
}

/// Where a watchdog is found.
pub trait Kennel: fmt::Debug + Send + Sync {
    /// What an operator calls it: `/dev/watchdog`.
    fn name(&self) -> String;

    /// Whether there is one. Must not start it.
    fn is_there(&self) -> bool;

    /// Opens it. It waits for food from now on.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, `EBUSY` if somebody else has it.
    fn open(&self) -> io::Result<Box<dyn Dog>>;
}

/// A watchdog that was opened.
pub trait Dog: fmt::Debug + Send {
    /// What it is.
    ///
    /// # Errors
    ///
    /// If it does not tell.
    fn about(&self) -> io::Result<About>;

    /// Sets how long it waits; returns how long it waits indeed. In whole seconds.
    ///
    /// # Errors
    ///
    /// If it can't be set.
    fn set_timeout(&self, timeout: Duration) -> io::Result<Duration>;

    /// Feeds it.
    ///
    /// # Errors
    ///
    /// If it does not take it.
    fn feed(&self) -> io::Result<()>;

    /// Lets it sleep. What is only dropped goes on waiting for food.
    ///
    /// # Errors
    ///
    /// If it can't.
    fn stop(self: Box<Self>) -> io::Result<()>;
}

/// What a watchdog says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub identity: String,
    /// Whether it can be stopped again.
    pub can_stop: bool,
}

/// A watchdog, as something that the active node has.
#[derive(Debug)]
pub struct Watchdog {
    terms: Terms,
    health: Health,
    kennel: Arc<dyn Kennel>,
    feeder: Mutex<Option<Feeder>>,
}

/// A thread that feeds.
#[derive(Debug)]
struct Feeder {
    order: Arc<Ordered>,
    ended: Receiver<io::Result<()>>,
    about: About,
    granted: Duration,
}

/// What it is to do, and what it has to report.
#[derive(Debug)]
struct Ordered {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    order: Order,
    fault: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// While the health is proven.
    Guard,
    /// In any case: it is not needed any more, and can't be stopped.
    Feed,
    /// Stop it.
    Stop,
}

impl Health {
    /// It is well at this moment.
    pub fn renew(&self) {
        self.0.store(clock::now().as_nanos(), Ordering::Relaxed);
    }

    /// How long ago it was renewed.
    #[must_use]
    pub fn age(&self) -> Duration {
        clock::now().saturating_since(Instant::from_nanos(self.0.load(Ordering::Relaxed)))
    }
}

impl Watchdog {
    /// A watchdog that is fed while `health` is renewed.
    #[must_use]
    pub fn new(terms: Terms, health: Health, kennel: Arc<dyn Kennel>) -> Self {
        Self { terms, health, kennel, feeder: Mutex::new(None) }
    }

    /// Opens it on the thread that feeds it: where there is no thread, it is not opened, since it could not be fed.
    fn start(&self, within: &Within) -> Result<Feeder, Failure> {
        let order = Arc::new(Ordered {
            state: Mutex::new(State { order: Order::Guard, fault: None }),
            changed: Condvar::new(),
        });
        let (opened, opening) = channel();
        let (end, ended) = channel();
        let (given, health, kennel, terms) =
            (Arc::clone(&order), self.health.clone(), Arc::clone(&self.kennel), self.terms);
        let run = move || match prepare(kennel.as_ref(), terms.timeout) {
            Ok((dog, about, granted)) => {
                drop(opened.send(Ok((about, granted))));
                let _ = end.send(feed(dog, &given, &health, terms.bound, granted / MEALS));
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        let thread = thread::Builder::new().name("watchdog".to_owned()).stack_size(STACK).spawn(run);
        thread.map_err(|error| self.refuses(&error))?;
        match opening.recv_timeout(within.left()) {
            Ok(Ok((about, granted))) => Ok(Feeder { order, ended, about, granted }),
            Ok(Err(error)) => Err(self.refuses(&error)),
            Err(_) => {
                // Whenever it is opened, it goes to sleep.
                order.set(Order::Stop);
                within.go_on("opening the watchdog")?;
                Err(self.refuses(&io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn refuses(&self, error: &io::Error) -> Failure {
        let name = self.kennel.name();
        if is_missing(error) {
            let remedy = "load the driver of the machine's watchdog, or `softdog`; or do not require one";
            return Failure::new(Cause::Misconfigured, format!("there is no watchdog at {name}"), remedy);
        }
        Failure::system(&format!("the watchdog {name} can't be used"), error)
    }

    fn feeder(&self) -> MutexGuard<'_, Option<Feeder>> {
        self.feeder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resource for Watchdog {
    fn name(&self) -> &'static str {
        "watchdog"
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        if self.terms.need == Need::Off {
            return Ok(Taken::default());
        }
        self.health.renew();
        let mut feeder = self.feeder();
        if let Some(feeder) = &*feeder {
            feeder.order.set(Order::Guard);
            return Ok(Taken::default());
        }
        match self.start(within) {
            Ok(new) => {
                let mut remarks = vec![format!("the watchdog is {}", new.about.identity)];
                if new.granted != self.terms.timeout {
                    remarks.push(format!(
                        "it waits {} s, not {} s",
                        new.granted.as_secs(),
                        self.terms.timeout.as_secs()
                    ));
                }
                if !new.about.can_stop {
                    remarks.push(
                        "it can't be stopped any more: it is fed until the agent ends, and then it resets"
                            .to_owned(),
                    );
                }
                *feeder = Some(new);
                Ok(Taken { remarks })
            }
            Err(failure) => match self.terms.need {
                Need::Required => Err(failure),
                Need::IfPresent | Need::Off => Ok(Taken { remarks: vec![failure.to_string()] }),
            },
        }
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        let mut slot = self.feeder();
        let Some(feeder) = &*slot else { return Ok(()) };
        if !feeder.about.can_stop {
            feeder.order.set(Order::Feed);
            return Ok(());
        }
        feeder.order.set(Order::Stop);
        let ended = feeder.ended.recv_timeout(within.left());
        match ended {
            Ok(result) => {
                *slot = None;
                result.map_err(|error| self.refuses(&error))
            }
            Err(_) => within.go_on("stopping the watchdog").and_then(|()| {
                *slot = None;
                Err(Failure::new(
                    Cause::Other,
                    "the watchdog is not fed any more",
                    "this machine is about to reset",
                ))
            }),
        }
    }

    fn is_here(&self, _: &Within) -> Result<bool, Failure> {
        Ok(self.feeder().as_ref().is_some_and(|feeder| feeder.order.get() == Order::Guard))
    }

    fn check(&self, _: &Within) -> Result<(), Failure> {
        let feeder = self.feeder();
        let fault = match &*feeder {
            Some(feeder) => feeder.order.state().fault.clone(),
            None if self.terms.need == Need::Required => return Err(Failure::gone(self.name())),
            None => None,
        };
        fault.map_or(Ok(()), |fault| Err(Failure::new(Cause::Other, fault, "this machine is about to reset")))
    }

    fn examine(&self, _: &Within) -> Vec<Finding> {
        let missing = || self.refuses(&io::ErrorKind::NotFound.into());
        match (self.terms.need, self.kennel.is_there()) {
            (Need::Off, _) => Vec::new(),
            (Need::Required | Need::IfPresent, true) => {
                vec![Finding::Good(format!("there is {}", self.kennel.name()))]
            }
            (Need::Required, false) => vec![Finding::Bad(missing())],
            (Need::IfPresent, false) => vec![Finding::Weak(missing())],
        }
    }
}

/// Opens it. If it can't be used then, it is not left behind hungry.
fn prepare(kennel: &dyn Kennel, timeout: Duration) -> io::Result<(Box<dyn Dog>, About, Duration)> {
    let dog = kennel.open()?;
    match dog.about().and_then(|about| Ok((about, dog.set_timeout(timeout)?))) {
        Ok((about, granted)) => Ok((dog, about, granted)),
        Err(error) => {
            dog.stop()?;
            Err(error)
        }
    }
}

/// Feeds until it is to stop.
fn feed(
    dog: Box<dyn Dog>,
    given: &Ordered,
    health: &Health,
    bound: Duration,
    period: Duration,
) -> io::Result<()> {
    loop {
        let mut state = given.state();
        let fault = match state.order {
            Order::Stop => break,
            Order::Guard if health.age() > bound => {
                Some(format!("the agent has not shown for {} ms that it is well", health.age().as_millis()))
            }
            Order::Guard | Order::Feed => {
                dog.feed().err().map(|error| format!("the watchdog can't be fed: {error}"))
            }
        };
        let was_well = state.fault.is_none();
        state.fault = fault;
        let news = state.fault.clone().filter(|_| was_well);
        drop(state);
        if let Some(fault) = news {
            tracing::error!("{fault}: the watchdog is about to reset this machine");
        }
        given.wait(period);
    }
    dog.stop()
}

impl Ordered {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> Order {
        self.state().order
    }

    fn set(&self, order: Order) {
        self.state().order = order;
        self.changed.notify_all();
    }

    /// Waits for a while, or until it is to stop.
    fn wait(&self, time: Duration) {
        let state = self.state();
        drop(self.changed.wait_timeout_while(state, time, |state| state.order != Order::Stop));
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}

const STACK: usize = 128 << 10;
/// How often it is fed while it would wait for one: some may be late.
const MEALS: u32 = 4;
