//! The kernel's half: loads the program, attaches it to interfaces, tells it what to watch for and whom to
//! believe, reads what it saw, counted and remembers.
//!
//! There are several [receivers](Mode), of which each interface has one. All of them judge by the same code and the same maps,
//! and make the same records: that is all that the detector asks of a receiver.
//!
//! The program lives as long as the [`Dataplane`]. Where there are [`Pins`], it outlives a process that ends otherwise than in
//! order; where not, the kernel detaches it with the process.

mod attach;
mod echo;
mod error;
mod events;
mod exit;
mod lease;
mod log;
mod mode;
mod object;
mod packets;
mod pins;
mod standing;
mod tables;
mod verify;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::maps::{Map, MapData, MapError, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, SchedClassifier, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use attach::Link;
use packets::{Counted, Switch};

pub use attach::{Interface, Owner, runs};
pub use echo::Echo;
pub use error::{AttachError, LoadError};
pub use events::Events;
pub use exit::EXIT;
pub use lease::Lease;
pub use mode::Mode;
pub use object::embedded;
pub use packets::Packets;
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
    counted: Counted,
    packets: Option<Switch>,
    /// What is heard by them, until it is taken.
    heard: Option<Packets>,
    /// By the index of the interface. They end with this process.
    leaving: HashMap<u32, Link>,
}

/// An attachment to an interface.
#[derive(Debug)]
enum Attachment {
    /// It ends with this process.
    Ours(Link),
    /// It outlives it.
    Pinned { link: FdLink, path: PathBuf },
    /// There is none: a socket of this process receives.
    Packets,
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
    /// What it answers when a peer's kernel asks.
    pub echo: Echo,
}

impl Dataplane {
    /// Loads the XDP program that the build put into this binary. Attaches it to nothing yet.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]: no rights, a kernel without BPF, or one whose verifier refuses the program.
    pub fn load() -> Result<Loaded, LoadError> {
        Self::load_object(embedded().ok_or(LoadError::NoObject)?)
    }

    /// Makes the maps, of which some outlive the process there. A program is loaded when it is first attached: that takes a
    /// good tenth of a second, and one of the two is enough.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn load_pinned(pins: Option<Pins>) -> Result<Loaded, LoadError> {
        Self::make(embedded().ok_or(LoadError::NoObject)?, pins)
    }

    /// Loads the XDP program from an object's bytes.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn load_object(object: &[u8]) -> Result<Loaded, LoadError> {
        let mut loaded = Self::make(object, None)?;
        loaded.dataplane.program()?;
        Ok(loaded)
    }

    fn make(object: &[u8], pins: Option<Pins>) -> Result<Loaded, LoadError> {
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(LOG, LOG_BYTES);
        loader.verifier_log_level(VerifierLogLevel::STATS);
        if let Some(pins) = &pins {
            for name in OUTLIVES {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut bpf = loader.load(object).map_err(LoadError::from_ebpf)?;
        if let Some(pins) = &pins {
            // Of a kernel without it, the lease ends as it was granted.
            if let Err(error) = exit::watch(&mut bpf, pins) {
                tracing::info!("the end of this process is no news to the kernel: {error}");
            }
        }
        let tables = Tables::take(&mut bpf)?;
        let counted = Counted::default();
        let counters = Counters::take(&mut bpf, Arc::clone(&counted))?;
        let memory = Memory::take(&mut bpf)?;
        let given = Given::take(&mut bpf)?;
        let patiences = Patiences::take(&mut bpf)?;
        let lease = Lease::take(&mut bpf)?;
        let standings = Standings::take(&mut bpf)?;
        let echo = Echo::take(&mut bpf)?;
        let events: RingBuf<MapData> = take(&mut bpf, "HA_EVENTS")?;
        let dataplane = Self {
            bpf,
            attached: HashMap::new(),
            pins,
            counted,
            packets: None,
            heard: None,
            leaving: HashMap::new(),
        };
        let events = Events::new(events);
        Ok(Loaded { dataplane, tables, events, counters, memory, given, patiences, lease, standings, echo })
    }

    /// Attaches the program to an interface in the first of these modes that is possible there. What an earlier agent has
    /// left there is replaced in one step, if its mode is among them, and removed otherwise.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; no other program that is there is ever replaced.
    pub fn attach(&mut self, on: Interface<'_>, modes: &[Mode]) -> Result<Mode, AttachError> {
        let mut left =
            self.pins.as_ref().map(|pins| pins.attachments(on.index, on.occupant)).unwrap_or_default();
        // Somebody else's program is there to stay: nothing is loaded in vain.
        let mut refused = Self::foreign(on, &left)?;
        attach::remove_filter(on.name);
        // An interface has one XDP program: that of an earlier agent goes on where it is, or makes room. Whatever else is left
        // there stays until its successor is attached.
        let wants_xdp = modes.iter().any(|mode| mode.is_xdp());
        left.retain(|(mode, _)| {
            let stays = modes.contains(mode) || !(mode.is_xdp() && wants_xdp);
            if let Some(pins) = self.pins.as_ref().filter(|_| !stays) {
                pins.remove(on.index, *mode);
            }
            stays
        });
        let xdp_left = left.iter().map(|(mode, _)| *mode).find(|mode| mode.is_xdp() && wants_xdp);
        let order = xdp_left.into_iter().chain(modes.iter().copied().filter(|mode| Some(*mode) != xdp_left));
        for mode in order {
            let taken = matches!(refused, Some(AttachError::Foreign { .. }));
            if mode.is_xdp() && taken {
                continue;
            }
            let found = left.iter().position(|(found, _)| *found == mode).map(|index| left.remove(index).1);
            match self.attach_in(mode, on, found) {
                Ok(attachment) => {
                    if let Some(error @ (AttachError::Foreign { .. } | AttachError::Load(_))) = refused {
                        tracing::warn!(interface = on.name, "{error}; until then it receives by {mode}");
                    }
                    for (mode, _) in left {
                        self.pins.iter().for_each(|pins| pins.remove(on.index, mode));
                    }
                    self.attached.insert(on.index, attachment);
                    return Ok(mode);
                }
                Err(
                    error @ (AttachError::Foreign { .. }
                    | AttachError::Unsupported { .. }
                    | AttachError::Load(LoadError::Refused { .. })),
                ) => {
                    tracing::debug!(interface = on.name, %error, "not possible by {mode}");
                    // Who is there says more than what else is not possible.
                    if !taken {
                        refused = Some(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| AttachError::NoDriver { interface: on.name.to_owned() }))
    }

    /// Why the interface has no room for an XDP program of ours, if it has none.
    ///
    /// # Errors
    ///
    /// No interface has two agents, however they receive. What was `left` is this one's own.
    fn foreign(on: Interface<'_>, left: &[(Mode, FdLink)]) -> Result<Option<AttachError>, AttachError> {
        let interface = on.name.to_owned();
        let ours: Vec<u32> = left.iter().filter_map(|(_, link)| pins::program(link)).collect();
        let owner = on.occupant.filter(|program| !ours.contains(program)).map(Owner::of);
        let other = owner.clone().filter(Owner::is_agent).or_else(|| attach::other_agent(on, &ours));
        match (other, owner) {
            (Some(owner), _) => Err(AttachError::SecondAgent { interface, owner }),
            (None, Some(owner)) => Ok(Some(AttachError::Foreign { interface, owner: Some(owner) })),
            (None, None) => Ok(None),
        }
    }

    /// Attaches in one mode; in the place of what was left, if anything was.
    fn attach_in(
        &mut self,
        mode: Mode,
        on: Interface<'_>,
        left: Option<FdLink>,
    ) -> Result<Attachment, AttachError> {
        let link = match (mode, left) {
            (Mode::Native | Mode::Generic, Some(left)) => {
                attach::replace_xdp(self.program()?, on.name, left)?
            }
            (Mode::Native, None) => attach::xdp(self.program()?, on, XdpMode::Driver)?,
            (Mode::Generic, None) => attach::xdp(self.program()?, on, XdpMode::Skb)?,
            (Mode::Tcx, left) => return self.attach_tc(on, left),
            (Mode::Packet, _) => return self.hear(on),
        };
        self.keep(link, on, mode)
    }

    fn attach_tc(&mut self, on: Interface<'_>, left: Option<FdLink>) -> Result<Attachment, AttachError> {
        let program = self.program_tc()?;
        if let Some(left) = left {
            match attach::replace_tcx(program, on.name, left) {
                Ok(link) => return self.keep(link, on, Mode::Tcx),
                // It was left of an interface that is gone.
                Err(error) => tracing::debug!(interface = on.name, %error, "not replaced"),
            }
        }
        if let Some(pins) = &self.pins {
            pins.remove(on.index, Mode::Tcx);
        }
        let program = self.program_tc()?;
        let link = match attach::tcx(program, on) {
            Err(AttachError::Unsupported { .. }) => {
                return attach::filter(program, on).map(Attachment::Ours);
            }
            attached => attached?,
        };
        self.keep(link, on, Mode::Tcx)
    }

    /// Receives by a packet socket.
    fn hear(&mut self, on: Interface<'_>) -> Result<Attachment, AttachError> {
        let kernel = |cause| AttachError::Kernel { interface: on.name.to_owned(), cause };
        let switch = if let Some(switch) = &mut self.packets {
            switch
        } else {
            let opened = Packets::open(&mut self.bpf, Arc::clone(&self.counted));
            let (packets, switch) = opened.map_err(|error| kernel(Box::new(error)))?;
            self.heard = Some(packets);
            self.packets.insert(switch)
        };
        switch.add(on.index).map_err(|error| kernel(Box::new(error)))?;
        Ok(Attachment::Packets)
    }

    /// What is heard by a packet socket, once, after the first interface is received from in this way.
    pub fn take_packets(&mut self) -> Option<Packets> {
        self.heard.take()
    }

    /// Has an attachment outlive this process, where there are pins.
    fn keep(&mut self, link: Link, on: Interface<'_>, mode: Mode) -> Result<Attachment, AttachError> {
        let Some(path) = self.pins.as_ref().map(|pins| pins.link(on.index, mode)) else {
            return Ok(Attachment::Ours(link));
        };
        let kernel = |cause| AttachError::Kernel { interface: on.name.to_owned(), cause };
        let link = match link {
            Link::Xdp(id) => {
                let link = self.program()?.take_link(id).map_err(|error| kernel(Box::new(error)))?;
                FdLink::try_from(link)
            }
            Link::Tc(id) => {
                let link = self.program_tc()?.take_link(id).map_err(|error| kernel(Box::new(error)))?;
                FdLink::try_from(link)
            }
        };
        attach::pin(link.map_err(|error| kernel(Box::new(error)))?, on.name, &path)
    }

    /// Detaches the program from an interface, which may be gone already.
    pub fn detach(&mut self, ifindex: u32) {
        let detached = match self.attached.remove(&ifindex) {
            Some(Attachment::Ours(Link::Xdp(link))) => {
                self.program().is_ok_and(|program| program.detach(link).is_ok())
            }
            Some(Attachment::Ours(Link::Tc(link))) => {
                self.program_tc().is_ok_and(|program| program.detach(link).is_ok())
            }
            Some(Attachment::Pinned { link, path }) => {
                // It ends with the last of the two.
                drop(link);
                std::fs::remove_file(path).is_ok()
            }
            Some(Attachment::Packets) => {
                self.packets.iter().for_each(|switch| switch.remove(ifindex));
                true
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

    /// The XDP program itself, loaded when first asked for: to attach it, to run it on packets of one's own, or to ask the
    /// kernel about it.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        self.xdp(PROGRAM)
    }

    /// The program for traffic control, as [`program`](Self::program).
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn program_tc(&mut self) -> Result<&mut SchedClassifier, LoadError> {
        self.classifier(PROGRAM_TC)
    }

    /// Watches what leaves an interface: the time of our own probes begins there. Without `tcx` (before Linux 6.6), there is no
    /// such watch.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn attach_out(&mut self, on: Interface<'_>) -> Result<(), AttachError> {
        let program = self.classifier(PROGRAM_OUT).map_err(AttachError::Load)?;
        let link = attach::egress(program, on)?;
        self.leaving.insert(on.index, link);
        Ok(())
    }

    fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, LoadError> {
        let program = self.bpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let program: &mut SchedClassifier = program.try_into().map_err(LoadError::from_program)?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(error) => Err(LoadError::from_program(error)),
        }
    }

    /// The program that does nothing, loaded when first asked for: what measurements compare the real one
    /// with.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn empty_program(&mut self) -> Result<&mut Xdp, LoadError> {
        self.xdp(EMPTY)
    }

    /// The program that sends every frame back as it is, likewise.
    ///
    /// # Errors
    ///
    /// As [`Dataplane::load`].
    pub fn returning_program(&mut self) -> Result<&mut Xdp, LoadError> {
        self.xdp(RETURN)
    }

    fn xdp(&mut self, name: &'static str) -> Result<&mut Xdp, LoadError> {
        let program = self.bpf.program_mut(name).ok_or(LoadError::Missing(name))?;
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

/// A map, by a handle of its own: the program's stays open, for another program of the object to be loaded with it later.
fn take<M: TryFrom<Map, Error = MapError>>(bpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError> {
    let Some(
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::RingBuf(data),
    ) = bpf.map(name)
    else {
        return Err(LoadError::Missing(name));
    };
    let handle = data.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError);
    let map = handle.and_then(MapData::from_fd).and_then(Map::from_map_data);
    map.and_then(M::try_from).map_err(LoadError::from_map)
}

/// The program's name, as `bpftool prog show` prints it.
pub const PROGRAM: &str = "ha_carp";
/// The name of the one for traffic control.
pub const PROGRAM_TC: &str = "ha_carp_tc";
/// The name of the one that sees frames leave.
pub const PROGRAM_OUT: &str = "ha_echo_out";
const EMPTY: &str = "ha_empty";
const RETURN: &str = "ha_return";
/// The ring of aya-log, which is mapped as a whole: for the rare word, a page is enough.
const LOG: &str = "AYA_LOGS";
const LOG_BYTES: u32 = 4096;
/// The maps that outlive the agent.
const OUTLIVES: [&str; 5] = ["HA_LEASE", "HA_GUARDED", "HA_DOUBT", "HA_SILENCED", "HA_STANDING"];
