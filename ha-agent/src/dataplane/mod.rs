//! The kernel's half: loads the program, attaches it to interfaces, tells it what to watch, reads what it
//! saw and what it counted.
//!
//! The program lives as long as the [`Dataplane`]: when the process ends, in whatever way, the kernel
//! detaches it.

mod attach;
mod error;
mod events;
mod log;
mod object;

use std::collections::HashMap;
use std::fmt;
use std::io;

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel, maps};
use ha_common::abi::{Counters as Counts, Watch, WatchKey};

pub use attach::{Mode, Owner, Process};
pub use error::{AttachError, LoadError};
pub use events::Events;
pub use object::embedded;

/// The loaded program, its attachments and what it watches.
#[derive(Debug)]
pub struct Dataplane {
    bpf: Ebpf,
    watches: maps::HashMap<MapData, WatchKey, Watch>,
    attached: HashMap<u32, XdpLinkId>,
}

/// What the program counted; outlives a look at anything else.
pub struct Counters(PerCpuArray<MapData, Counts>);

impl Dataplane {
    /// Loads the program that the build put into this binary. Attaches it to nothing yet.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]: no rights, a kernel without BPF, or one whose verifier refuses the program.
    pub fn load() -> Result<(Self, Events, Counters), LoadError> {
        Self::load_object(embedded().ok_or(LoadError::NoObject)?)
    }

    /// Loads a program from an object's bytes.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn load_object(object: &[u8]) -> Result<(Self, Events, Counters), LoadError> {
        let mut bpf = EbpfLoader::new()
            .verifier_log_level(VerifierLogLevel::STATS)
            .load(object)
            .map_err(LoadError::from_ebpf)?;
        let program: &mut Xdp = bpf
            .program_mut(PROGRAM)
            .ok_or(LoadError::Missing(PROGRAM))?
            .try_into()
            .map_err(LoadError::from_program)?;
        program.load().map_err(LoadError::from_program)?;
        let watches = take(&mut bpf, "HA_WATCH")?;
        let counters = take(&mut bpf, "HA_COUNTERS")?;
        let events: RingBuf<MapData> = take(&mut bpf, "HA_EVENTS")?;
        let dataplane = Self { bpf, watches, attached: HashMap::new() };
        Ok((dataplane, Events::new(events), Counters(counters)))
    }

    /// Attaches the program to an interface: in the driver, else in the kernel's generic path.
    ///
    /// `occupant` is the number of the program that the interface runs already, where netlink showed one:
    /// it serves to name its owner.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; a program that is already there is never replaced.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        occupant: Option<u32>,
    ) -> Result<Mode, AttachError> {
        let (mode, link) = attach::attach(self.program()?, interface, ifindex, occupant)?;
        self.attached.insert(ifindex, link);
        Ok(mode)
    }

    /// Detaches the program from an interface, which may be gone already.
    pub fn detach(&mut self, ifindex: u32) {
        if let Some(link) = self.attached.remove(&ifindex)
            && let Ok(program) = self.program()
            && let Err(error) = program.detach(link)
        {
            tracing::debug!(ifindex, %error, "already detached");
        }
    }

    /// Watches for a virtual host's advertisements.
    ///
    /// # Errors
    ///
    /// If the map is full.
    pub fn watch(&mut self, key: WatchKey, watch: Watch) -> Result<(), LoadError> {
        self.watches.insert(key, watch, 0).map_err(LoadError::from_map)
    }

    /// Watches no longer. No harm if it was not watched.
    pub fn unwatch(&mut self, key: &WatchKey) {
        if let Err(error) = self.watches.remove(key) {
            tracing::debug!(?key, %error, "was not watched");
        }
    }

    /// The program itself: to run it on packets of one's own, or to ask the kernel about it.
    ///
    /// # Errors
    ///
    /// Never, once it was loaded.
    pub fn program(&mut self) -> Result<&mut Xdp, AttachError> {
        let program = self.bpf.program_mut(PROGRAM).ok_or(AttachError::Missing)?;
        program.try_into().map_err(|_| AttachError::Missing)
    }

    /// The program that does nothing, loaded when first asked for: what measurements compare the real one
    /// with.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn empty_program(&mut self) -> Result<&mut Xdp, LoadError> {
        let program = self.bpf.program_mut(EMPTY).ok_or(LoadError::Missing(EMPTY))?;
        let program: &mut Xdp = program.try_into().map_err(LoadError::from_program)?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(error) => Err(LoadError::from_program(error)),
        }
    }

    /// Passes what the program says on to the agent's log; the future does it, for ever.
    ///
    /// # Errors
    ///
    /// If it was taken already. Must be called on a tokio runtime with I/O.
    pub fn log(&mut self) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        log::forward(&mut self.bpf)
    }
}

impl Counters {
    /// What all processors together counted in a slot: see [`ha_common::abi::Watch::slot`].
    ///
    /// # Errors
    ///
    /// If the slot is out of range.
    pub fn read(&self, slot: u32) -> Result<Counts, LoadError> {
        let values = self.0.get(&slot, 0).map_err(LoadError::from_map)?;
        let mut sum = Counts::default();
        values.iter().for_each(|counts| sum.add(counts));
        Ok(sum)
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("slots", &self.0.len()).finish()
    }
}

fn take<M: TryFrom<Map, Error = maps::MapError>>(bpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError> {
    let map = bpf.take_map(name).ok_or(LoadError::Missing(name))?;
    map.try_into().map_err(LoadError::from_map)
}

/// The program's name, as `bpftool prog show` prints it.
pub const PROGRAM: &str = "ha_carp";
const EMPTY: &str = "ha_empty";
