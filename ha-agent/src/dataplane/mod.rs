//! The kernel's half: loads the program, attaches it to interfaces, tells it what to watch for and whom to
//! believe, reads what it saw, counted and remembers.
//!
//! The program lives as long as the [`Dataplane`]. Where there are [`Pins`], it outlives a process that ends otherwise than in
//! order; where not, the kernel detaches it with the process.

mod attach;
mod error;
mod events;
mod exit;
mod lease;
mod log;
mod object;
mod pins;
mod standing;
mod tables;
mod verify;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapError, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use crate::net::place::Stage;

pub use attach::{Mode, Owner, Process};
pub use error::{AttachError, LoadError};
pub use events::Events;
pub use exit::EXIT;
pub use lease::Lease;
pub use object::embedded;
pub use pins::{PinError, Pins};
pub use standing::Standings;
pub use tables::{Counters, Given, Memory, Patiences, Tables};
pub use verify::{Verified, verify};

/// The loaded program and its attachments.
#[derive(Debug)]
pub struct Dataplane {
    bpf: Ebpf,
    attached: HashMap<u32, Attachment>,
    pins: Option<Pins>,
}

/// An attachment to an interface.
#[derive(Debug)]
enum Attachment {
    /// It ends with this process.
    Ours(XdpLinkId),
    /// It outlives it.
    Pinned { link: FdLink, path: PathBuf },
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
    /// What the next agent is to know.
    pub standings: Standings,
}

impl Dataplane {
    /// Loads the program that the build put into this binary. Attaches it to nothing yet.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]: no rights, a kernel without BPF, or one whose verifier refuses the program.
    pub fn load() -> Result<Loaded, LoadError> {
        Self::load_pinned(None)
    }

    /// The same, with what outlives the process there.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn load_pinned(pins: Option<Pins>) -> Result<Loaded, LoadError> {
        Self::load_object(embedded().ok_or(LoadError::NoObject)?, pins)
    }

    /// Loads a program from an object's bytes.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn load_object(object: &[u8], pins: Option<Pins>) -> Result<Loaded, LoadError> {
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::STATS);
        if let Some(pins) = &pins {
            for name in OUTLIVES {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut bpf = loader.load(object).map_err(LoadError::from_ebpf)?;
        let program: &mut Xdp = bpf
            .program_mut(PROGRAM)
            .ok_or(LoadError::Missing(PROGRAM))?
            .try_into()
            .map_err(LoadError::from_program)?;
        program.load().map_err(LoadError::from_program)?;
        if let Some(pins) = &pins {
            // Of a kernel without it, the lease ends as it was granted.
            if let Err(error) = exit::watch(&mut bpf, pins) {
                tracing::info!("the end of this process is no news to the kernel: {error}");
            }
        }
        let tables = Tables::take(&mut bpf)?;
        let counters = Counters::take(&mut bpf)?;
        let memory = Memory::take(&mut bpf)?;
        let given = Given::take(&mut bpf)?;
        let patiences = Patiences::take(&mut bpf)?;
        let lease = Lease::take(&mut bpf)?;
        let standings = Standings::take(&mut bpf)?;
        let events: RingBuf<MapData> = take(&mut bpf, "HA_EVENTS")?;
        let dataplane = Self { bpf, attached: HashMap::new(), pins };
        let events = Events::new(events);
        Ok(Loaded { dataplane, tables, events, counters, memory, given, patiences, lease, standings })
    }

    /// Attaches the program to an interface: in the driver if the stage allows, else in the kernel's generic path.
    ///
    /// `occupant` is the number of the program that the interface runs already, where netlink showed one:
    /// it serves to name its owner, and to find out whether it is what an earlier agent has left, in whose place it is put.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; no other program that is there is ever replaced.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        occupant: Option<u32>,
        stage: Stage,
    ) -> Result<Mode, AttachError> {
        let program = self.bpf.program_mut(PROGRAM).ok_or(AttachError::Missing)?;
        let program: &mut Xdp = program.try_into().map_err(|_| AttachError::Missing)?;
        let left = self.pins.as_ref().and_then(|pins| pins.attachment(ifindex, occupant, stage));
        let (mode, attachment) = match left {
            Some((mode, link)) => (mode, attach::replace(program, interface, link)?),
            None => attach::attach(program, interface, ifindex, occupant, stage)?,
        };
        let attachment = match &self.pins {
            Some(pins) => attach::pin(program, interface, attachment, &pins.link(ifindex, mode))?,
            None => Attachment::Ours(attachment),
        };
        self.attached.insert(ifindex, attachment);
        Ok(mode)
    }

    /// Detaches the program from an interface, which may be gone already.
    pub fn detach(&mut self, ifindex: u32) {
        let detached = match self.attached.remove(&ifindex) {
            Some(Attachment::Ours(link)) => self.program().is_ok_and(|program| program.detach(link).is_ok()),
            Some(Attachment::Pinned { link, path }) => {
                // It ends with the last of the two.
                drop(link);
                std::fs::remove_file(path).is_ok()
            }
            None => return,
        };
        if !detached {
            tracing::debug!(ifindex, "already detached");
        }
    }

    /// Detaches what an earlier agent has left on other interfaces than those that are attached now.
    pub fn forget_others(&self) {
        let is_ours = |path: &Path| {
            let pinned = |attachment: &Attachment| matches!(attachment, Attachment::Pinned { path: pin, .. } if pin == path);
            self.attached.values().any(pinned)
        };
        if let Some(pins) = &self.pins {
            pins.retain(is_ours);
        }
    }

    /// Leaves what is pinned where it is: another program goes on with it.
    pub fn leave(mut self) {
        self.pins = None;
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

/// Whoever ends in order leaves nothing.
impl Drop for Dataplane {
    fn drop(&mut self) {
        if let Some(pins) = &self.pins {
            pins.clear();
        }
    }
}

fn take<M: TryFrom<Map, Error = MapError>>(bpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError> {
    let map = bpf.take_map(name).ok_or(LoadError::Missing(name))?;
    map.try_into().map_err(LoadError::from_map)
}

/// The program's name, as `bpftool prog show` prints it.
pub const PROGRAM: &str = "ha_carp";
const EMPTY: &str = "ha_empty";
/// The maps that outlive the agent.
const OUTLIVES: [&str; 5] = ["HA_LEASE", "HA_GUARDED", "HA_DOUBT", "HA_SILENCED", "HA_STANDING"];
