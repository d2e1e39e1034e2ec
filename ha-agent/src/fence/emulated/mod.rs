//! A disk with reservations that is none: for tests, where faults can be had at will.
//!
//! One [`Disk`] is shared by any number of [`Initiator`]s, each of which is a connection (a *nexus*) of some node.

mod fault;
mod scsi;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::fault::{Fault, Operation};
use super::device::{Abilities, Device, DeviceError, Holder, Kind, Old, Registrations, go_on};
use super::key::Key;
use crate::resource::Within;

/// A disk. A copy is the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Inner>);

/// A connection to a disk.
#[derive(Debug)]
pub struct Initiator {
    disk: Disk,
    nexus: u32,
    name: String,
}

/// What a disk can do.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// PREEMPT AND ABORT.
    pub abort: bool,
    /// Remembering registrations without power.
    pub persistent: bool,
    /// How long each operation takes.
    pub latency: Duration,
}

#[derive(Debug)]
struct Inner {
    serial: String,
    features: Features,
    state: Mutex<State>,
    /// Somebody was let go.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    generation: u32,
    registered: BTreeMap<u32, Key>,
    holder: Option<u32>,
    faults: BTreeMap<(u32, Operation), Fault>,
    cut: Vec<u32>,
    /// Who hangs, or would.
    held: Vec<u32>,
    hanging: usize,
    /// Who is to be told something first, by SCSI.
    attention: Vec<u32>,
}

impl Default for Features {
    fn default() -> Self {
        Self { abort: true, persistent: true, latency: Duration::ZERO }
    }
}

impl Disk {
    /// A new one, without registrations.
    #[must_use]
    pub fn new(serial: &str, features: Features) -> Self {
        let state = Mutex::new(State::default());
        Self(Arc::new(Inner { serial: serial.to_owned(), features, state, changed: Condvar::new() }))
    }

    /// Connects. The same number is the same connection.
    #[must_use]
    pub fn connect(&self, nexus: u32) -> Initiator {
        Initiator { disk: self.clone(), nexus, name: format!("disk {}", self.0.serial) }
    }

    /// Whether the disk takes writes by this connection.
    #[must_use]
    pub fn may_write(&self, nexus: u32) -> bool {
        let state = self.state();
        state.holder.is_none() || state.registered.contains_key(&nexus)
    }

    /// What stands on it.
    #[must_use]
    pub fn registrations(&self) -> Registrations {
        self.state().registrations()
    }

    /// The next operation of this kind by this connection fails like that.
    pub fn fail(&self, nexus: u32, operation: Operation, fault: Fault) {
        self.state().faults.insert((nexus, operation), fault);
    }

    /// Cuts a connection off: nothing gets there any more.
    pub fn cut(&self, nexus: u32) {
        self.state().cut.push(nexus);
    }

    /// Cuts its power off and on again: what it does not remember then is gone.
    pub fn lose_power(&self) {
        let mut state = self.state();
        if !self.0.features.persistent {
            (state.holder, state.generation) = (None, 0);
            state.registered.clear();
        }
    }

    /// What a connection asks for from now on hangs in the kernel, whatever limits it has, until [let go](Self::let_go).
    pub fn hold(&self, nexus: u32) {
        self.state().held.push(nexus);
    }

    /// Ends what [`cut`](Self::cut), [`hold`](Self::hold) and [`fail`](Self::fail) did: what hangs is carried out now.
    pub fn let_go(&self) {
        let mut state = self.state();
        state.held.clear();
        state.cut.clear();
        state.faults.clear();
        self.0.changed.notify_all();
    }

    /// How many operations hang.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.state().hanging
    }

    /// Gives the state for one operation, with all that may come before it.
    fn enter(&self, nexus: u32, operation: Operation) -> Result<Entered<'_>, DeviceError> {
        if !self.0.features.latency.is_zero() {
            std::thread::sleep(self.0.features.latency);
        }
        let mut state = self.state();
        let fault = state.faults.remove(&(nexus, operation));
        if fault == Some(Fault::Hang) {
            state.held.push(nexus);
        }
        state.hanging += 1;
        while state.held.contains(&nexus) {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.hanging -= 1;
        if state.cut.contains(&nexus) {
            return Err(DeviceError::Gone);
        }
        match fault {
            Some(Fault::Before(error)) => Err(error),
            Some(Fault::After(error)) => Ok(Entered { state, after: Some(error) }),
            Some(Fault::Hang) | None => Ok(Entered { state, after: None }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Entered<'a> {
    state: MutexGuard<'a, State>,
    /// It is done, and the answer is lost.
    after: Option<DeviceError>,
}

impl Entered<'_> {
    fn end<T>(self, result: Result<T, DeviceError>) -> Result<T, DeviceError> {
        self.after.map_or(result, Err)
    }
}

impl State {
    fn registrations(&self) -> Registrations {
        let key = self.holder.and_then(|nexus| self.registered.get(&nexus)).copied();
        Registrations {
            generation: self.generation,
            keys: self.registered.values().copied().collect(),
            holder: self.holder.map(|_| Holder { key, kind: Kind::Ours }),
        }
    }

    fn register(&mut self, nexus: u32, old: Old, new: Option<Key>) -> Result<(), DeviceError> {
        let registered = self.registered.get(&nexus).copied();
        match old {
            Old::Anything => {}
            Old::Key(key) if registered == Some(key) => {}
            Old::Nothing if registered.is_none() => {}
            Old::Key(_) | Old::Nothing => return Err(DeviceError::Conflict),
        }
        if let Some(new) = new {
            self.registered.insert(nexus, new);
        } else if registered.is_some() {
            self.registered.remove(&nexus);
            // That ends a reservation of this kind.
            self.holder = self.holder.filter(|holder| *holder != nexus);
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    fn reserve(&mut self, nexus: u32, own: Key) -> Result<(), DeviceError> {
        self.known(nexus, own)?;
        if self.holder.is_some_and(|holder| holder != nexus) {
            return Err(DeviceError::Conflict);
        }
        self.holder = Some(nexus);
        Ok(())
    }

    fn preempt(&mut self, nexus: u32, own: Key, victim: Key) -> Result<(), DeviceError> {
        self.known(nexus, own)?;
        if !self.registered.values().any(|key| *key == victim) {
            return Err(DeviceError::Conflict);
        }
        let is_victims = |holder: u32| self.registered.get(&holder) == Some(&victim);
        if self.holder.is_some_and(is_victims) {
            self.holder = Some(nexus);
        }
        let gone: Vec<u32> = self
            .registered
            .iter()
            .filter(|(at, key)| **at != nexus && **key == victim)
            .map(|(at, _)| *at)
            .collect();
        for nexus in gone {
            self.registered.remove(&nexus);
            self.attention.push(nexus);
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    fn release(&mut self, nexus: u32, own: Key) -> Result<(), DeviceError> {
        self.known(nexus, own)?;
        self.holder = self.holder.filter(|holder| *holder != nexus);
        Ok(())
    }

    fn clear(&mut self, nexus: u32, own: Key) -> Result<(), DeviceError> {
        self.known(nexus, own)?;
        self.attention.extend(self.registered.keys().filter(|at| **at != nexus));
        self.registered.clear();
        self.holder = None;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    fn known(&self, nexus: u32, own: Key) -> Result<(), DeviceError> {
        if self.registered.get(&nexus) == Some(&own) { Ok(()) } else { Err(DeviceError::Conflict) }
    }
}

impl Device for Initiator {
    fn name(&self) -> &str {
        &self.name
    }

    fn serial(&self, within: &Within) -> Result<String, DeviceError> {
        go_on(within)?;
        let entered = self.disk.enter(self.nexus, Operation::Serial)?;
        entered.end(Ok(self.disk.0.serial.clone()))
    }

    fn abilities(&self, within: &Within) -> Result<Abilities, DeviceError> {
        go_on(within)?;
        let entered = self.disk.enter(self.nexus, Operation::Abilities)?;
        let persistent = self.disk.0.features.persistent;
        entered.end(Ok(Abilities { registrants_only: Some(true), persistent }))
    }

    fn read(&self, within: &Within) -> Result<Registrations, DeviceError> {
        go_on(within)?;
        let entered = self.disk.enter(self.nexus, Operation::Read)?;
        let read = entered.state.registrations();
        entered.end(Ok(read))
    }

    fn register(&self, old: Old, new: Option<Key>, within: &Within) -> Result<(), DeviceError> {
        go_on(within)?;
        let operation = if new.is_some() { Operation::Register } else { Operation::Unregister };
        let mut entered = self.disk.enter(self.nexus, operation)?;
        let result = entered.state.register(self.nexus, old, new);
        entered.end(result)
    }

    fn reserve(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        go_on(within)?;
        let mut entered = self.disk.enter(self.nexus, Operation::Reserve)?;
        let result = entered.state.reserve(self.nexus, own);
        entered.end(result)
    }

    fn preempt(&self, own: Key, victim: Key, abort: bool, within: &Within) -> Result<(), DeviceError> {
        go_on(within)?;
        if abort && !self.disk.0.features.abort {
            return Err(DeviceError::Unsupported("illegal request".to_owned()));
        }
        let mut entered = self.disk.enter(self.nexus, Operation::Preempt)?;
        let result = entered.state.preempt(self.nexus, own, victim);
        entered.end(result)
    }

    fn release(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        go_on(within)?;
        let mut entered = self.disk.enter(self.nexus, Operation::Release)?;
        let result = entered.state.release(self.nexus, own);
        entered.end(result)
    }

    fn clear(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        go_on(within)?;
        let mut entered = self.disk.enter(self.nexus, Operation::Clear)?;
        let result = entered.state.clear(self.nexus, own);
        entered.end(result)
    }
}
