//! Disks that speak SCSI, by whatever transport.

pub mod codec;
mod sense;
mod sg;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::codec::{In, Out, Parameters};
use self::sense::Verdict;
pub use self::sense::{Ended, Sense};
pub use self::sg::SgIo;
use super::device::{Abilities, Device, DeviceError, Old, Registrations, go_on};
use super::key::Key;
use crate::resource::Within;

/// Carries commands to a logical unit.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Has one command executed, within `timeout` if it can.
    ///
    /// # Errors
    ///
    /// If it did not get there, or no answer came. What the unit itself says is in [`Ended`].
    fn execute(&self, command: &[u8], data: Data<'_>, timeout: Duration) -> Result<Ended, DeviceError>;
}

/// What goes with a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// Room for what comes from the device. It may fill less of it.
    In(&'a mut [u8]),
    /// What goes to the device.
    Out(&'a [u8]),
}

/// A logical unit behind a transport.
#[derive(Debug)]
pub struct ScsiDisk {
    name: String,
    transport: Box<dyn Transport>,
    /// It does not remember anything without power, as it said.
    forgets: AtomicBool,
}

impl ScsiDisk {
    /// The logical unit at the end of this transport.
    pub fn new(name: impl Into<String>, transport: Box<dyn Transport>) -> Self {
        Self { name: name.into(), transport, forgets: AtomicBool::new(false) }
    }

    /// Asks, and gives the answer with zeros behind it up to `length`.
    fn ask(&self, command: &[u8], length: usize, within: &Within) -> Result<Vec<u8>, DeviceError> {
        let mut answer = vec![0; length];
        persist(within, |timeout| self.transport.execute(command, Data::In(&mut answer), timeout))?;
        Ok(answer)
    }

    fn order(&self, order: Out, parameters: Parameters, within: &Within) -> Result<(), DeviceError> {
        let (command, bytes) = (order.command(), parameters.to_bytes());
        persist(within, |timeout| self.transport.execute(&command, Data::Out(&bytes), timeout))
    }

    fn keys(&self, within: &Within) -> Result<(u32, Vec<Key>), DeviceError> {
        let mut length = KEYS;
        loop {
            let room = u16::try_from(length).map_err(|_| nonsense("READ KEYS"))?;
            let answer = self.ask(&In::Keys.command(room), length, within)?;
            match codec::keys(&answer).ok_or_else(|| nonsense("READ KEYS"))? {
                Ok(keys) => return Ok(keys),
                // More than fits into any answer, or no more than there was room for, is no length.
                Err(needed) if needed > length => length = needed,
                Err(_) => return Err(nonsense("READ KEYS")),
            }
        }
    }
}

impl Device for ScsiDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn serial(&self, within: &Within) -> Result<String, DeviceError> {
        let page = |page| self.ask(&codec::inquiry(page, u8::MAX), u8::MAX.into(), within);
        match page(codec::SERIAL) {
            Ok(answer) if let Some(serial) = codec::serial(&answer) => return Ok(serial),
            Ok(_) | Err(DeviceError::Unsupported(_)) => {}
            Err(error) => return Err(error),
        }
        let names = page(codec::IDENTIFICATION)?;
        codec::worldwide_name(&names)
            .ok_or_else(|| DeviceError::Unsupported("it has no serial number".to_owned()))
    }

    fn abilities(&self, within: &Within) -> Result<Abilities, DeviceError> {
        let answer = self.ask(&In::Capabilities.command(8), 8, within)?;
        codec::abilities(&answer).ok_or_else(|| nonsense("REPORT CAPABILITIES"))
    }

    fn read(&self, within: &Within) -> Result<Registrations, DeviceError> {
        // Two questions: what changes in between shows in the generation, or in a holder that is not registered.
        for _ in 0..ATTEMPTS {
            let (generation, keys) = self.keys(within)?;
            let answer = self.ask(&In::Reservation.command(24), 24, within)?;
            let (then, holder) = codec::reservation(&answer).ok_or_else(|| nonsense("READ RESERVATION"))?;
            if then == generation {
                return Ok(Registrations { generation, keys, holder });
            }
        }
        Err(DeviceError::NotReady("its registrations change all the time".to_owned()))
    }

    fn register(&self, old: Old, new: Option<Key>, within: &Within) -> Result<(), DeviceError> {
        let (order, own) = match old {
            Old::Nothing => (Out::Register, 0),
            Old::Key(key) => (Out::Register, key.raw()),
            Old::Anything => (Out::RegisterAnyway, 0),
        };
        let persistent = new.is_some() && !self.forgets.load(Ordering::Relaxed);
        let parameters = Parameters { own, other: new.map_or(0, Key::raw), persistent };
        match self.order(order, parameters, within) {
            Err(DeviceError::Unsupported(_)) if persistent => {
                self.order(order, Parameters { persistent: false, ..parameters }, within)?;
                self.forgets.store(true, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    fn reserve(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.order(Out::Reserve, Parameters { own: own.raw(), ..Parameters::default() }, within)
    }

    fn preempt(&self, own: Key, victim: Key, abort: bool, within: &Within) -> Result<(), DeviceError> {
        let order = if abort { Out::PreemptAndAbort } else { Out::Preempt };
        self.order(order, Parameters { own: own.raw(), other: victim.raw(), persistent: false }, within)
    }

    fn release(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.order(Out::Release, Parameters { own: own.raw(), ..Parameters::default() }, within)
    }

    fn clear(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.order(Out::Clear, Parameters { own: own.raw(), ..Parameters::default() }, within)
    }
}

/// Tries until the device has nothing else to say first.
fn persist(
    within: &Within,
    mut attempt: impl FnMut(Duration) -> Result<Ended, DeviceError>,
) -> Result<(), DeviceError> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        go_on(within)?;
        match attempt(within.left().min(PATIENCE))?.verdict() {
            Verdict::Done => return Ok(()),
            Verdict::Failed(error) => return Err(error),
            Verdict::Again { at_once, why } => {
                last = why;
                if !at_once && !within.pause(PAUSE) {
                    break;
                }
            }
        }
    }
    Err(DeviceError::NotReady(last))
}

fn nonsense(command: &str) -> DeviceError {
    DeviceError::Refused(format!("it answers {command} with nonsense"))
}

/// How often a device may say something else first: one word for each of its events.
const ATTEMPTS: usize = 12;
const PAUSE: Duration = Duration::from_millis(50);
/// For one command. A disk that is spoken to by several paths may take long; longer than this is a fault.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room for 62 keys, in bytes.
const KEYS: usize = 504;
