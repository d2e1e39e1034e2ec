//! From the configuration to what is taken over.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::fencing::{Terms, VolumeFence};
use crate::config::{
    BusyChoice, ChargeConfig, FenceConfig, FenceLevel, OnFailure, PlaceConfig, SelfFenceChoice,
    ServiceConfig, ServiceKind, Strangers as StrangersChoice, VolumeConfig, VolumeKind, WatchdogUse,
};
use crate::core::pair::Node;
use crate::core::pair::report::Why;
use crate::core::plan::{Phase, Policy};
use crate::exec::conductor::{Duties, Part};
use crate::fence::command::{Agent, PowerOff};
use crate::fence::heartbeat::{Lost, Proof, Rhythm};
use crate::fence::reset::SelfFence;
use crate::fence::watchdog::{Health, KernelDog, Need, Terms as DogTerms, Watchdog};
use crate::fence::{Identity, Strangers};
use crate::resource::{Cause, Failure, Resource, System};
use crate::service::{Command, CommandSettings, Iscsi, IscsiSettings, Nfs, NfsSettings, Unit, UnitSettings};
use crate::storage::zfs::{Key, Pool, PoolSettings};
use crate::storage::{Busy, Host, Mount, MountSettings};

/// All that the node has in charge, and what is to be looked at beside.
pub(super) struct Charged {
    pub(super) duties: Duties,
    pub(super) fences: Vec<Arc<VolumeFence>>,
    pub(super) volumes: Vec<Volume>,
}

/// A volume, to be asked for its disks.
#[derive(Clone, Debug)]
pub(super) enum Volume {
    Pool(Arc<Pool>),
    Mount(Arc<Mount>),
}

/// Makes it all, for this node of the pair. `name` is the node's; `lost` is called when somebody else has taken a disk, and
/// `proof` learns as of when nobody has.
pub(super) fn charged(
    config: &ChargeConfig,
    name: &str,
    node: Node,
    lost: &Lost,
    proof: &Proof,
) -> Result<Charged, Failure> {
    let mut builder = Builder::default();
    if let Some(fence) = config.fence.as_ref().filter(|_| !config.volumes.is_empty()) {
        builder.watchdog(fence);
        let terms = terms(fence, node, lost, proof);
        for volume in &config.volumes {
            builder.volume(volume, &terms);
        }
    }
    for service in &config.services {
        builder.service(service, name);
    }
    builder.finish(config)
}

/// What everything is put together in.
#[derive(Default)]
struct Builder {
    parts: Vec<Part>,
    /// The index of each that has a name in the configuration.
    places: Vec<(String, usize)>,
    fences: Vec<Arc<VolumeFence>>,
    volumes: Vec<Volume>,
    health: Health,
}

impl Builder {
    fn watchdog(&mut self, fence: &FenceConfig) {
        let need = match fence.watchdog {
            WatchdogUse::Off => return,
            WatchdogUse::IfPresent => Need::IfPresent,
            WatchdogUse::Required => Need::Required,
        };
        let terms = DogTerms { need, timeout: DOG, bound: HEALTHY };
        let kennel = Arc::new(KernelDog::new(fence.watchdog_device.clone()));
        let resource = Arc::new(Watchdog::new(terms, self.health.clone(), kennel));
        let policy = if need == Need::Required { Policy::Undo } else { Policy::GoOn };
        self.add(resource, Phase::Watchdog, policy, (SHORT, SHORT));
    }

    fn volume(&mut self, config: &VolumeConfig, terms: &Terms) {
        let host = Host::system();
        let name = &config.place.name;
        let busy = match config.busy {
            BusyChoice::Wait => Busy::Wait,
            BusyChoice::Kill => Busy::Kill(config.place.release / 2),
        };
        let (volume, resource, phase): (_, Arc<dyn Resource>, _) = match &config.kind {
            VolumeKind::Pool { guid, directories, missing_log, keys } => {
                let pool = Arc::new(Pool::new(
                    PoolSettings {
                        name: name.clone(),
                        guid: *guid,
                        directories: directories.clone(),
                        disks: config.disks.clone(),
                        settle: SETTLE,
                        missing_log: *missing_log,
                        keys: keys.as_deref().map(keys_in).unwrap_or_default(),
                        share: true,
                        busy,
                        force_export: false,
                    },
                    host,
                ));
                (Volume::Pool(Arc::clone(&pool)), pool, Phase::Import)
            }
            VolumeKind::Mount { device, at, kind, options, uuid } => {
                let mount = Arc::new(Mount::new(
                    MountSettings {
                        device: device.clone(),
                        uuid: uuid.clone(),
                        at: at.clone(),
                        kind: kind.clone(),
                        options: options.clone().unwrap_or_default(),
                        check: false,
                        busy,
                    },
                    host,
                ));
                (Volume::Mount(Arc::clone(&mount)), mount, Phase::Mount)
            }
        };
        let pool = match &volume {
            Volume::Pool(pool) => Some(Arc::clone(pool)),
            Volume::Mount(_) => None,
        };
        let fence = Arc::new(VolumeFence::new(name, terms.clone(), config.disks.clone(), pool));
        let policy = policy(config.place.on_failure);
        let times = (FENCE, SHORT);
        let below = self.add(Arc::<VolumeFence>::clone(&fence), Phase::Fence, policy, times);
        let index = self.add(resource, phase, policy, (config.place.take, config.place.release));
        if let Some(part) = self.parts.get_mut(index) {
            part.needs.push(below);
        }
        // Whether there is a watchdog or not, nothing is fenced before it is armed.
        let dog = self.parts.iter().position(|part| part.phase == Phase::Watchdog);
        if let (Some(dog), Some(part)) = (dog, self.parts.get_mut(below)) {
            part.after.push(dog);
        }
        self.places.push((name.clone(), index));
        self.fences.push(fence);
        self.volumes.push(volume);
    }

    fn service(&mut self, config: &ServiceConfig, node: &str) {
        let host = Host::system();
        let PlaceConfig { name, take, release, .. } = &config.place;
        let resource: Arc<dyn Resource> = match &config.kind {
            ServiceKind::Units(units) => Arc::new(Unit::new(
                UnitSettings {
                    name: format!("units {name}"),
                    units: units.clone(),
                    each: (*take).max(*release),
                    restarts: RESTARTS,
                    window: WINDOW,
                },
                host,
            )),
            ServiceKind::Command { start, stop, check } => Arc::new(Command::new(
                CommandSettings {
                    name: format!("service {name}"),
                    node: node.to_owned(),
                    start: start.clone(),
                    stop: stop.clone(),
                    check: check.clone(),
                },
                host,
            )),
            ServiceKind::Nfs { state, scope } => Arc::new(Nfs::new(
                NfsSettings {
                    state: state.clone(),
                    scope: scope.clone(),
                    lease: NFS_LEASE,
                    grace: NFS_GRACE,
                    exports: Vec::new(),
                },
                host,
            )),
            ServiceKind::Iscsi { targets, state } => {
                let settings = IscsiSettings { document: targets.clone(), reservations: state.clone() };
                Arc::new(Iscsi::new(settings, host))
            }
        };
        let phase = if config.rest { Phase::Rest } else { Phase::Services };
        let index = self.add(resource, phase, policy(config.place.on_failure), (*take, *release));
        self.places.push((name.clone(), index));
    }

    fn add(
        &mut self,
        resource: Arc<dyn Resource>,
        phase: Phase,
        policy: Policy,
        (take, release): (Duration, Duration),
    ) -> usize {
        let (needs, after) = (Vec::new(), Vec::new());
        self.parts.push(Part { resource, phase, needs, after, take, release, policy });
        self.parts.len() - 1
    }

    /// Everything has its place by now: what needs what can be said by it.
    fn finish(mut self, config: &ChargeConfig) -> Result<Charged, Failure> {
        let volumes: Vec<usize> = self
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| is_volume(part.phase))
            .map(|(index, _)| index)
            .collect();
        for place in config.places() {
            let find = |name: &String| self.places.iter().find(|(known, _)| known == name).map(|(_, at)| *at);
            let Some(index) = find(&place.name) else { continue };
            let needs: Option<Vec<usize>> =
                place.needs.as_ref().map(|needs| needs.iter().filter_map(find).collect());
            if let Some(part) = self.parts.get_mut(index) {
                let all = if is_volume(part.phase) { Vec::new() } else { volumes.clone() };
                part.needs.extend(needs.unwrap_or(all));
            }
        }
        let duties = Duties::new(self.parts).map_err(|error| {
            Failure::new(Cause::Misconfigured, error.to_string(), "change needs in the configuration")
        })?;
        let duties = duties.with_health(self.health);
        Ok(Charged { duties, fences: self.fences, volumes: self.volumes })
    }
}

/// Ends this node. Returns only if that failed, or is left to the end of the agent.
pub(super) fn fence_self(config: &ChargeConfig, why: Why) {
    let choice = config.fence.as_ref().map(|fence| fence.self_fence);
    match choice {
        Some(SelfFenceChoice::Reset) => {
            tracing::error!("this machine is reset: {why}");
            if let Err(failure) = SelfFence::Reset.carry_out(&System) {
                tracing::error!("{failure}");
            }
        }
        // The process ends by itself.
        Some(SelfFenceChoice::Exit) | None => {}
    }
}

fn terms(config: &FenceConfig, node: Node, lost: &Lost, proof: &Proof) -> Terms {
    let power_off =
        config.command.as_ref().and_then(|command| command.split_first()).map(|(program, rest)| {
            let agent = Agent {
                program: program.clone(),
                arguments: rest.to_vec(),
                options_file: config.options_file.clone(),
            };
            PowerOff::new(agent, Arc::new(System))
        });
    Terms {
        identity: Identity::new(config.pair, node),
        levels: config.levels.clone(),
        strangers: match config.strangers {
            StrangersChoice::Refuse => Strangers::Refuse,
            StrangersChoice::Preempt => Strangers::Preempt,
        },
        power_off: power_off.filter(|_| config.levels.contains(&FenceLevel::Command)),
        rhythm: rhythm(config),
        lost: Arc::clone(lost),
        proof: proof.clone(),
    }
}

/// How the keys on the disks are renewed, and watched.
pub(super) fn rhythm(config: &FenceConfig) -> Rhythm {
    Rhythm { interval: config.disk_heartbeat, patience: super::STILL }
}

/// A file for each encrypted dataset, called like it, with `:` for `/`.
fn keys_in(directory: &Path) -> Vec<Key> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let key = |file: fs::DirEntry| {
        let data_set = file.file_name().into_string().ok()?.replace(':', "/");
        Some(Key { data_set, file: file.path() })
    };
    files.filter_map(key).collect()
}

fn policy(choice: OnFailure) -> Policy {
    match choice {
        OnFailure::Undo => Policy::Undo,
        OnFailure::GoOn => Policy::GoOn,
        OnFailure::SelfFence => Policy::SelfFence,
    }
}

fn is_volume(phase: Phase) -> bool {
    matches!(phase, Phase::Import | Phase::Mount)
}

/// How long a watchdog waits for food, and how old the proof of health may be that it gets it.
const DOG: Duration = Duration::from_secs(5);
const HEALTHY: Duration = Duration::from_secs(5);
/// How long a fence may take: some boards turn a machine off slowly.
const FENCE: Duration = Duration::from_secs(30);
/// How long what only asks the kernel may take.
const SHORT: Duration = Duration::from_secs(10);
/// How long an import waits for disks that are not seen yet.
const SETTLE: Duration = Duration::from_secs(3);
/// How long clients of NFS keep locks without a word, in seconds.
const NFS_LEASE: u32 = 15;
/// How long they may reclaim them, in seconds. After an outage, TCP waits as long again before it sends anything: those who
/// tried in vain for 20 s may be heard 20 s later.
const NFS_GRACE: u32 = 45;
/// How often systemd may start a unit again within the window, before it counts as dead.
const RESTARTS: u64 = 3;
const WINDOW: Duration = Duration::from_mins(10);
