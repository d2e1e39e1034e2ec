//! The kernel's half: loads the program, attaches it to interfaces, tells it what to watch for and whom to
//! believe, reads what it saw, counted and remembers.
//!
//! The program lives as long as the [`Dataplane`]: when the process ends, in whatever way, the kernel
//! detaches it.

mod attach;
mod error;
mod events;
mod lease;
mod log;
mod object;
mod tables;

use std::collections::HashMap;
use std::io;

use aya::maps::{Map, MapData, MapError, RingBuf};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use crate::net::place::Stage;

pub use attach::{Mode, Owner, Process};
pub use error::{AttachError, LoadError};
pub use events::Events;
pub use lease::Lease;
pub use object::embedded;
pub use tables::{Counters, Given, Memory, Patiences, Tables};

/// The loaded program and its attachments.
#[derive(Debug)]
pub struct Dataplane {
    bpf: Ebpf,
    attached: HashMap<u32, XdpLinkId>,
}

/// A loaded program, in parts that live apart.
#[derive(Debug)]
pub struct Loaded {
    /// The program and its attachments.
    pub dataplane: Dataplane,
    /// What it is told.
    pub tables: Tables,
    /// What it saw.
    pub events: Events,
    /// What it counted.
    pub counters: Counters,
    /// What it remembers.
    pub memory: Memory,
    /// What it is told of our own advertisements.
    pub given: Given,
    /// What it is told of our patience.
    pub patiences: Patiences,
    /// Until when it lets this node answer.
    pub lease: Lease,
}

impl Dataplane {
    /// Loads the program that the build put into this binary. Attaches it to nothing yet.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]: no rights, a kernel without BPF, or one whose verifier refuses the program.
    pub fn load() -> Result<Loaded, LoadError> {
        Self::load_object(embedded().ok_or(LoadError::NoObject)?)
    }

    /// Loads a program from an object's bytes.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn load_object(object: &[u8]) -> Result<Loaded, LoadError> {
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
        let tables = Tables::take(&mut bpf)?;
        let counters = Counters::take(&mut bpf)?;
        let memory = Memory::take(&mut bpf)?;
        let given = Given::take(&mut bpf)?;
        let patiences = Patiences::take(&mut bpf)?;
        let lease = Lease::take(&mut bpf)?;
        let events: RingBuf<MapData> = take(&mut bpf, "HA_EVENTS")?;
        let dataplane = Self { bpf, attached: HashMap::new() };
        let events = Events::new(events);
        Ok(Loaded { dataplane, tables, events, counters, memory, given, patiences, lease })
    }

    /// Attaches the program to an interface: in the driver if the stage allows, else in the kernel's generic path.
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
        stage: Stage,
    ) -> Result<Mode, AttachError> {
        let (mode, link) = attach::attach(self.program()?, interface, ifindex, occupant, stage)?;
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

fn take<M: TryFrom<Map, Error = MapError>>(bpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError> {
    let map = bpf.take_map(name).ok_or(LoadError::Missing(name))?;
    map.try_into().map_err(LoadError::from_map)
}

/// The program's name, as `bpftool prog show` prints it.
pub const PROGRAM: &str = "ha_carp";
const EMPTY: &str = "ha_empty";
