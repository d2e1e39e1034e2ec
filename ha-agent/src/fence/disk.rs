//! One disk of the pair: taken, held, and released.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::device::{Device, DeviceError, Holder, Kind, Old, Registrations};
use super::key::{Identity, Key, Whose};
use super::turn;
use crate::resource::{Cause, Failure, Finding, Within};

/// A disk that both nodes of a pair reach, as one of them sees it.
///
/// What goes on with it goes on one after the other: if one operation hangs in the kernel, the others do not begin.
#[derive(Debug)]
pub struct Disk {
    device: Box<dyn Device>,
    identity: Identity,
    expected: Option<String>,
    strangers: Strangers,
    held: Mutex<Held>,
    no_abort: AtomicBool,
}

/// What is done about the keys of strangers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strangers {
    /// The disk is not taken.
    #[default]
    Refuse,
    /// They are removed like the peer's.
    Preempt,
}

/// What this node has registered.
#[derive(Debug, Default)]
struct Held {
    key: Option<Key>,
    /// What it may be instead: the answer to the attempt to move it there was lost.
    perhaps: Option<Key>,
}

/// What is to be done next to have a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Reserve,
    Preempt(Key),
    /// Release what we hold of another kind.
    Release,
    Refuse(Option<Key>),
}

impl Disk {
    /// The disk behind a device, for this node.
    #[must_use]
    pub fn new(device: Box<dyn Device>, identity: Identity) -> Self {
        Self {
            device,
            identity,
            expected: None,
            strangers: Strangers::Refuse,
            held: Mutex::default(),
            no_abort: AtomicBool::new(false),
        }
    }

    /// The same, but taken only if it has this serial number.
    #[must_use]
    pub fn expecting(self, serial: impl Into<String>) -> Self {
        Self { expected: Some(serial.into()), ..self }
    }

    /// The same, but with another way to treat strangers' keys.
    #[must_use]
    pub fn with_strangers(self, strangers: Strangers) -> Self {
        Self { strangers, ..self }
    }

    /// What an operator calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.device.name()
    }

    /// Its serial number: the one that it should have, else what it says itself.
    ///
    /// # Errors
    ///
    /// If it can't be asked.
    pub fn serial(&self, within: &Within) -> Result<String, Failure> {
        self.expected.clone().map_or_else(|| self.ask_serial(within), Ok)
    }

    /// Whether it is there, is the one that it should be, and has no key of a stranger; and its serial number. Changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// What stands against taking it.
    pub fn look(&self, within: &Within) -> Result<String, Failure> {
        let serial = self.ask_serial(within)?;
        if let Some(expected) = self.expected.as_ref().filter(|expected| **expected != serial) {
            let what = format!("{} is the disk {serial}, not {expected}", self.name());
            return Err(Failure::new(Cause::DiskForeign, what, "put the right disk in, or name this one"));
        }
        let seen = self.read(within)?;
        let refused = seen.keys.iter().copied().find(|key| self.refuses(*key));
        refused.map_or(Ok(serial), |key| Err(self.foreign(Some(key))))
    }

    /// Takes it: afterwards this node can write to it, and nobody else. That was read back then.
    ///
    /// # Errors
    ///
    /// Why not. What was done until then stands.
    pub fn take(&self, within: &Within) -> Result<(), Failure> {
        let mut held = self.lock(within)?;
        let seen = self.read(within)?;
        if let Some(key) = seen.keys.iter().copied().find(|key| self.refuses(*key)) {
            return Err(self.foreign(Some(key)));
        }
        let own = self.identity.key_after(&seen.keys);
        *held = Held { key: Some(own), perhaps: None };
        self.device
            .register(Old::Anything, Some(own), within)
            .map_err(|error| self.failed("takes no registration", &error))?;
        loop {
            let seen = self.read(within)?;
            if !seen.keys.contains(&own) {
                *held = Held::default();
                return Err(self.fenced());
            }
            let done = match self.next(&seen, own) {
                Next::Nothing => return Ok(()),
                Next::Refuse(key) => return Err(self.foreign(key)),
                Next::Reserve => self.device.reserve(own, within),
                Next::Release => self.device.release(own, within),
                Next::Preempt(victim) => self.preempt(own, victim, within),
            };
            match done {
                // The other one was quicker: it moved its key, or reserved. What stands there now decides.
                Ok(()) | Err(DeviceError::Conflict) => {}
                Err(error) => return Err(self.failed("can't be reserved", &error)),
            }
            within.go_on(&format!("reserving {}", self.name()))?;
        }
    }

    /// Removes every key of this node from it, and the reservation if it is this node's. If there is none, that is success.
    ///
    /// # Errors
    ///
    /// Why one may be left.
    pub fn release(&self, within: &Within) -> Result<(), Failure> {
        let mut held = self.lock(within)?;
        loop {
            let seen = match self.device.read(within) {
                Ok(seen) => seen,
                // Where nobody can register, nobody has.
                Err(DeviceError::Unsupported(_)) => Registrations::default(),
                Err(error) => return Err(self.failed("can't be read", &error)),
            };
            let mut ours: Vec<Key> =
                seen.keys.iter().copied().filter(|key| self.identity.whose(*key) == Whose::Own).collect();
            if ours.is_empty() {
                *held = Held::default();
                return Ok(());
            }
            ours.sort_by_key(|key| held.key != Some(*key));
            if !self.unregister(&seen, &ours, within)? {
                self.sweep(&seen, &ours, &mut held, within)?;
            }
            within.go_on(&format!("releasing {}", self.name()))?;
        }
    }

    /// Whether this node still has it.
    ///
    /// # Errors
    ///
    /// [`Cause::Fenced`] if somebody else has, [`Cause::Gone`] if nobody has: the disk has forgotten it.
    pub fn check(&self, within: &Within) -> Result<(), Failure> {
        let held = self.lock(within)?;
        let Some(key) = held.key else {
            return Err(Failure::gone(&format!("the reservation of {}", self.name())));
        };
        let seen = self.read(within)?;
        let is_ours = |key: Key| Some(key) == held.key || Some(key) == held.perhaps;
        let holds = seen.holder.and_then(|holder| holder.key).is_some_and(is_ours);
        if seen.keys.iter().any(|key| is_ours(*key)) && holds {
            return Ok(());
        }
        tracing::debug!(disk = self.name(), %key, ?seen, "lost");
        if seen.holder.is_none() && seen.keys.iter().all(|key| self.identity.whose(*key) == Whose::Own) {
            let what = format!(
                "{} has forgotten the reservation of this node, and nobody else has one",
                self.name()
            );
            return Err(Failure::new(Cause::Gone, what, "see whether it lost power; it can be taken again"));
        }
        Err(self.fenced())
    }

    /// Whether a key of this node stands on it.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub fn is_registered(&self, within: &Within) -> Result<bool, Failure> {
        let seen = self.read(within)?;
        Ok(seen.keys.iter().any(|key| self.identity.whose(*key) == Whose::Own))
    }

    /// What would stand in the way of taking it. Changes nothing.
    pub fn examine(&self, within: &Within) -> Vec<Finding> {
        let mut findings = match self.look(within) {
            Ok(serial) => vec![Finding::Good(format!("{}: disk {serial} is there", self.name()))],
            Err(failure) => return vec![Finding::Bad(failure)],
        };
        match self.device.abilities(within).map(|abilities| abilities.registrants_only) {
            Ok(Some(false)) => {
                let error = DeviceError::Unsupported("Write Exclusive, Registrants Only".to_owned());
                findings.push(Finding::Bad(self.failed("can't be reserved", &error)));
            }
            // It need not tell.
            Ok(Some(true) | None) | Err(DeviceError::Unsupported(_)) => {}
            Err(error) => findings.push(Finding::Bad(self.failed("does not tell what it can do", &error))),
        }
        if self.is_registered(within).is_ok_and(|it_is| it_is) {
            let what = format!("{} has a key of this node, which is not active", self.name());
            findings.push(Finding::Weak(Failure::new(Cause::Other, what, "it goes with the next release")));
        }
        findings
    }

    /// Whether commands of a fenced node may still be on their way to it: it can't end them.
    #[must_use]
    pub fn lacks_abort(&self) -> bool {
        self.no_abort.load(Ordering::Relaxed)
    }

    /// Moves this node's key on. `false` if it holds none now.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Conflict`] if somebody has removed it.
    pub fn beat(&self, within: &Within) -> Result<bool, DeviceError> {
        let mut held = self.lock(within).map_err(|_| DeviceError::TimedOut)?;
        let Some(key) = held.key else { return Ok(false) };
        let mut next = held.perhaps.unwrap_or_else(|| key.next());
        let mut result = self.device.register(Old::Key(key), Some(next), within);
        if result == Err(DeviceError::Conflict)
            && let Some(done) = held.perhaps.take()
        {
            held.key = Some(done);
            next = done.next();
            result = self.device.register(Old::Key(done), Some(next), within);
        }
        match result {
            Ok(()) => *held = Held { key: Some(next), perhaps: None },
            Err(DeviceError::Conflict) => {}
            // Whether it was done shows when it is tried again.
            Err(_) => held.perhaps = Some(next),
        }
        result.map(|()| true)
    }

    /// The keys of the other node.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub fn peers_keys(&self, within: &Within) -> Result<Vec<Key>, DeviceError> {
        let keys = self.device.read(within)?.keys.into_iter();
        Ok(keys.filter(|key| self.identity.whose(*key) == Whose::Peers).collect())
    }

    /// What it takes to have it alone.
    fn next(&self, seen: &Registrations, own: Key) -> Next {
        let act_on = |key| if self.refuses(key) { Next::Refuse(Some(key)) } else { Next::Preempt(key) };
        match seen.holder {
            None => Next::Reserve,
            // Whose it is can't be said.
            Some(Holder { key: None, .. }) => Next::Refuse(None),
            Some(Holder { key: Some(key), .. }) if key != own => act_on(key),
            Some(Holder { kind: Kind::Other(_), .. }) => Next::Release,
            Some(Holder { kind: Kind::Ours, .. }) => {
                seen.keys.iter().copied().find(|key| *key != own).map_or(Next::Nothing, act_on)
            }
        }
    }

    fn preempt(&self, own: Key, victim: Key, within: &Within) -> Result<(), DeviceError> {
        if !self.lacks_abort() {
            match self.device.preempt(own, victim, true, within) {
                Err(DeviceError::Unsupported(_)) => self.no_abort.store(true, Ordering::Relaxed),
                result => return result,
            }
        }
        self.device.preempt(own, victim, false, within)
    }

    /// Removes that key of ours which belongs to our connection; `false` if none does.
    fn unregister(&self, seen: &Registrations, ours: &[Key], within: &Within) -> Result<bool, Failure> {
        for key in ours {
            if seen.holder.and_then(|holder| holder.key) == Some(*key) {
                // Without this it would end with the registration. If it is another connection's, it stays.
                match self.device.release(*key, within) {
                    Ok(()) | Err(DeviceError::Conflict) => {}
                    Err(error) => return Err(self.failed("can't be released", &error)),
                }
            }
            match self.device.register(Old::Key(*key), None, within) {
                Ok(()) => return Ok(true),
                Err(DeviceError::Conflict) => {}
                Err(error) => return Err(self.failed("can't be released", &error)),
            }
        }
        Ok(false)
    }

    /// Removes keys of ours that an earlier connection has left: only who is registered can.
    fn sweep(
        &self,
        seen: &Registrations,
        ours: &[Key],
        held: &mut Held,
        within: &Within,
    ) -> Result<(), Failure> {
        let own = self.identity.key_after(&seen.keys);
        *held = Held { key: Some(own), perhaps: None };
        for result in std::iter::once_with(|| self.device.register(Old::Nothing, Some(own), within))
            .chain(ours.iter().map(|key| self.preempt(own, *key, within)))
        {
            match result {
                // Gone by itself in between; or not ours to remove, which the next look shows.
                Ok(()) | Err(DeviceError::Conflict) => {}
                Err(error) => return Err(self.failed("can't be released", &error)),
            }
        }
        Ok(())
    }

    fn refuses(&self, key: Key) -> bool {
        match self.strangers {
            Strangers::Refuse => self.identity.whose(key) == Whose::Strangers,
            Strangers::Preempt => false,
        }
    }

    fn ask_serial(&self, within: &Within) -> Result<String, Failure> {
        self.device
            .serial(within)
            .map_err(|error| self.failed("can't be asked for its serial number", &error))
    }

    fn read(&self, within: &Within) -> Result<Registrations, Failure> {
        self.device.read(within).map_err(|error| self.failed("can't be read", &error))
    }

    /// Waits for its turn.
    fn lock(&self, within: &Within) -> Result<MutexGuard<'_, Held>, Failure> {
        turn::wait(&self.held, &format!("an earlier operation on {}", self.name()), within)
    }

    fn failed(&self, what: &str, error: &DeviceError) -> Failure {
        error.failure(self.name(), what)
    }

    fn fenced(&self) -> Failure {
        let what = format!("the key of this node is gone from {}", self.name());
        Failure::new(Cause::Fenced, what, "the other node has taken over: look there")
    }

    fn foreign(&self, key: Option<Key>) -> Failure {
        let whose = key.map_or_else(|| "all who have registered".to_owned(), |key| format!("the key {key}"));
        let what = format!("{} is reserved or registered by {whose}, not of this pair", self.name());
        let remedy = "find out who uses the disk; if nobody does, remove the key with `sg_persist`";
        Failure::new(Cause::KeyForeign, what, remedy)
    }
}
