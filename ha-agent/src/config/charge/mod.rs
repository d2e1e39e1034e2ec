//! What one node of a pair has at a time beside addresses: `[fence]`, `[[pool]]`, `[[mount]]`, `[[service]]`.

mod fence;
mod place;
mod service;
mod volume;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

pub(super) use self::place::placed;
use super::choice::{BusyChoice, FenceLevel, OnFailure, SelfFenceChoice, Strangers, WatchdogUse};
use super::document::Document;
use super::error::ConfigError;
use super::mistake::Mistake;
use super::quote::Excerpt;
use super::schema::{self, Key};
use super::table::Table;
use super::value;

/// What the node takes over and releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeConfig {
    /// How the other node is kept from writing. There is one wherever there is a volume.
    pub fence: Option<FenceConfig>,
    /// Pools and file systems, in the order of the file.
    pub volumes: Vec<VolumeConfig>,
    /// Services, in the order of the file.
    pub services: Vec<ServiceConfig>,
}

/// `[fence]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceConfig {
    /// The pair's number, the same on both nodes, 1 to 2^31 - 1: all reservation keys begin with it.
    pub pair: u32,
    /// What is tried, in this order. At least one.
    pub levels: Vec<FenceLevel>,
    /// What becomes of keys of neither node.
    pub strangers: Strangers,
    /// The program that turns the other node off, with its arguments. There is one if `levels` has it.
    pub command: Option<Vec<String>>,
    /// What it reads, beside what is to be done.
    pub options_file: Option<PathBuf>,
    /// How often the active node renews its keys, 50 ms to 10 s.
    pub disk_heartbeat: Duration,
    /// Whether the active node arms a watchdog.
    pub watchdog: WatchdogUse,
    /// Which.
    pub watchdog_device: PathBuf,
    /// How a node ends that may not go on.
    pub self_fence: SelfFenceChoice,
}

/// A `[[pool]]` or a `[[mount]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Its name, and its place in the plan.
    pub place: PlaceConfig,
    /// The disks that it is on, to be reserved. Never empty where `levels` has reservations, but for pools: theirs are
    /// found by their labels.
    pub disks: Vec<PathBuf>,
    /// What becomes of it when it is in use and is to be released.
    pub busy: BusyChoice,
    /// What it is.
    pub kind: VolumeKind,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeKind {
    /// A pool of ZFS, which has the volume's name.
    Pool {
        /// Its number.
        guid: u64,
        /// Where its devices are looked for. At least one.
        directories: Vec<PathBuf>,
        /// Whether it is imported without its log device.
        missing_log: bool,
        /// The directory with the keys of encrypted datasets.
        keys: Option<PathBuf>,
    },
    /// A file system.
    Mount {
        /// The device that it is on.
        device: PathBuf,
        /// Where it is mounted.
        at: PathBuf,
        /// Its type, as `mount -t` takes it.
        kind: String,
        /// Its options, as `mount -o` takes them.
        options: Option<String>,
        /// Its UUID: another one is not mounted.
        uuid: Option<String>,
    },
}

/// A `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Its name, and its place in the plan.
    pub place: PlaceConfig,
    /// Whether it comes after the addresses: nobody waits for it.
    pub rest: bool,
    /// What it is.
    pub kind: ServiceKind,
}

/// What a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Units of systemd, in the order in which they start. At least one.
    Units(Vec<String>),
    /// Programs. Each has at least its name.
    Command {
        /// Starts it.
        start: Vec<String>,
        /// Stops it.
        stop: Vec<String>,
        /// Says how it is, by its exit status.
        check: Vec<String>,
    },
    /// The kernel's NFS server.
    Nfs {
        /// Where clients are remembered: on a volume.
        state: PathBuf,
        /// What tells clients that both nodes are one server.
        scope: String,
    },
    /// The kernel's iSCSI target.
    Iscsi {
        /// The file that says what is served.
        targets: PathBuf,
        /// Where clients' reservations are kept: on a volume.
        state: Option<PathBuf>,
    },
}

/// A name and a place in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceConfig {
    /// The operator's name for it: 1 to 64 printable ASCII characters, no space.
    pub name: String,
    /// What must be there before, by name; `None`: all volumes, for a service.
    pub needs: Option<Vec<String>>,
    /// How long it may take to take it over, 1 s to 1 h.
    pub take: Duration,
    /// How long it may take to release it, 1 s to 1 h.
    pub release: Duration,
    /// What follows if it can't be taken over.
    pub on_failure: OnFailure,
}

impl ChargeConfig {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.services.is_empty()
    }

    /// The places of all, volumes first.
    pub fn places(&self) -> impl Iterator<Item = &PlaceConfig> {
        let volumes = self.volumes.iter().map(|volume| &volume.place);
        volumes.chain(self.services.iter().map(|service| &service.place))
    }
}

/// The tables of a whole text.
pub(super) struct Tables<'a> {
    fence: Option<Table<'a>>,
    pools: Vec<Table<'a>>,
    mounts: Vec<Table<'a>>,
    services: Vec<Table<'a>>,
}

impl<'a> Tables<'a> {
    /// All of them, none with a key that it does not have.
    pub(super) fn new(document: &'a Document<'a>, root: &Table<'a>) -> Result<Self, ConfigError> {
        let fence = root.optional(&schema::FENCE)?;
        let fence = fence.map(|fence| Table::new(document, &schema::FENCE_TABLE, &fence)).transpose()?;
        let all = |key: &'static Key, kind: &'static schema::Schema| -> Result<Vec<Table<'a>>, ConfigError> {
            let tables = root.elements(key)?.map(Spanned::into_inner).unwrap_or_default();
            tables.iter().map(|table| Table::new(document, kind, table)).collect()
        };
        Ok(Self {
            fence,
            pools: all(&schema::POOL, &schema::POOL_TABLE)?,
            mounts: all(&schema::MOUNT, &schema::MOUNT_TABLE)?,
            services: all(&schema::SERVICE, &schema::SERVICE_TABLE)?,
        })
    }

    /// What they say.
    pub(super) fn read(&self, document: &Document<'_>, has_peer: bool) -> Result<ChargeConfig, ConfigError> {
        let Self { fence, pools, mounts, services } = self;
        let first_volumes = [("[[pool]]", pools.first()), ("[[mount]]", mounts.first())];
        let volume = first_volumes.into_iter().find_map(|(name, table)| Some((name, table?.start())));
        let service = services.first().map(|table| ("[[service]]", table.start()));
        let first = fence.as_ref().map(|table| ("[fence]", table.start())).or(volume).or(service);
        if let Some((table, at)) = first.filter(|_| !has_peer) {
            return Err(document.error(at, Mistake::ChargeWithoutPeer { table }));
        }
        if let (None, Some((table, at))) = (fence, volume) {
            return Err(document.error(at, Mistake::NoFence { table }));
        }
        let fence = fence.as_ref().map(|table| fence::read(document, table)).transpose()?;
        let mut names = place::Names::default();
        let mut volumes = Vec::new();
        for table in pools {
            volumes.push(volume::pool(document, table, &mut names)?);
        }
        for table in mounts {
            volumes.push(volume::mount(document, table, fence.as_ref(), &mut names)?);
        }
        let read = |table: &Table<'_>, names: &mut place::Names| service::read(document, table, names);
        let services = services.iter().map(|table| read(table, &mut names)).collect::<Result<_, _>>()?;
        names.check(document)?;
        Ok(ChargeConfig { fence, volumes, services })
    }
}

/// A path from the root.
fn absolute(key: &'static Key, text: &str) -> Result<PathBuf, Mistake> {
    let valid = text.starts_with('/') && !text.contains(char::is_control);
    let mistake = || Mistake::AbsolutePath { key: key.name, text: Excerpt::new(text), example: key.example };
    if valid { Ok(text.into()) } else { Err(mistake()) }
}

/// A file, by its name.
fn file(key: &'static Key, text: &str) -> Result<PathBuf, Mistake> {
    value::named_file(key, text)
}

/// A word for a command line.
fn word(key: &'static Key, text: &str) -> Result<String, Mistake> {
    let valid = (1..=WORD_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mistake = || Mistake::Word { key: key.name, text: Excerpt::new(text), limit: WORD_LIMIT };
    if valid { Ok(text.into()) } else { Err(mistake()) }
}

/// A program with its arguments, which may be anything but empty as a whole.
pub(super) fn command(table: &Table<'_>, key: &'static Key) -> Result<Option<Vec<String>>, ConfigError> {
    table.list(key, |text| {
        let valid = !text.is_empty() && !text.contains('\0');
        let mistake = || Mistake::Word { key: key.name, text: Excerpt::new(text), limit: WORD_LIMIT };
        if valid { Ok(text.to_owned()) } else { Err(mistake()) }
    })
}

fn beside(path: &Path, file: PathBuf) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(file)
}

const WORD_LIMIT: usize = 256;
