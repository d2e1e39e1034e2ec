//! A node: a mount namespace, programs that run in it, and a conductor with the plan of a real one.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ha_agent::core::pair::{Generation, Node as Name};
use ha_agent::core::plan::{Phase, Policy};
use ha_agent::exec::conductor::{Doing, Duties, From, Order, Part, Report, Shown};
use ha_agent::fence::emulated::Disk as Emulated;
use ha_agent::fence::heartbeat::{Heartbeat, Lost, Proof, Rhythm};
use ha_agent::fence::watchdog::{Health, Need, Terms as DogTerms, Watchdog};
use ha_agent::fence::{Disk, Enough, Fence, Identity, Reservation, all};
use ha_agent::resource::{Failure, Finding, Resource, Stop, Taken, Within};
use ha_agent::service::{Command as Service, CommandSettings};
use ha_agent::storage::{Busy, Host, Mount, MountSettings};
use tokio::sync::{mpsc, watch};

use crate::faults::{Fates, Programs, Toys};
use crate::shared::{Shared, is_mounted, run};

/// The steps of the plan, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Watchdog,
    Fence,
    Mount,
    Service,
}

/// How a node is to be.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) enough: Enough,
    pub(crate) policy: Policy,
    /// Of which not much time is lost.
    pub(crate) hurried: Option<Step>,
    /// The UUID of the file system, if it is another one.
    pub(crate) uuid: Option<String>,
}

/// One of the two.
pub(crate) struct Node {
    /// 1 or 2: also of its connections to the disks.
    pub(crate) number: u32,
    /// Lives in its mount namespace for as long as it has an input.
    holder: Child,
    pub(crate) fates: Arc<Fates>,
    duties: Duties,
    orders: mpsc::UnboundedSender<Order>,
    reports: mpsc::UnboundedReceiver<Report>,
    pub(crate) shown: watch::Receiver<Shown>,
    /// Whether it was reported that somebody else has taken over.
    pub(crate) has_lost: bool,
}

/// A fence whose keys are renewed while it is taken.
#[derive(Debug)]
struct Beating {
    fence: Fence,
    disks: Vec<Arc<Disk>>,
    number: u32,
    second: Emulated,
    fates: Arc<Fates>,
    lost: Hears,
    beat: Mutex<Option<Heartbeat>>,
}

struct Hears(Lost);

impl Step {
    pub(crate) const ALL: [Self; 4] = [Self::Watchdog, Self::Fence, Self::Mount, Self::Service];

    /// What it is called where it is looked for.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Watchdog => "watchdog",
            Self::Fence => "fence",
            Self::Mount => "mount",
            Self::Service => "service",
        }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self { enough: all(), policy: Policy::Undo, hurried: None, uuid: None }
    }
}

impl Node {
    /// A node that shares that; its conductor runs on this runtime.
    pub(crate) fn new(number: u32, shared: &Shared, terms: &Terms) -> Result<Self> {
        let (holder, root) = (house()?, shared.path(&format!("node-{number}")));
        let process = holder.id();
        furnish(&root, process)?;
        let fates = Arc::new(Fates::default());
        let host = Host::new(Arc::new(Programs { process, fates: Arc::clone(&fates) }), root);
        let (orders, queue) = mpsc::unbounded_channel();
        let health = Health::default();
        let parts = Parts { number, shared, terms, host, fates: &fates };
        let duties = parts.duties(&health, &orders)?;
        let (reporting, reports) = mpsc::unbounded_channel();
        let (shows, seen) = watch::channel(Shown::default());
        duties.clone().start(queue, reporting, shows)?;
        Ok(Self { number, holder, fates, duties, orders, reports, shown: seen, has_lost: false })
    }

    /// The process that lives in its mount namespace.
    pub(crate) fn process(&self) -> u32 {
        self.holder.id()
    }

    /// Gives an order, and waits for what is reported of it.
    pub(crate) async fn order(&mut self, order: Order) -> Result<Report> {
        self.orders.send(order)?;
        loop {
            match self.report().await? {
                Report::Condition(_) => {}
                // The peer did what it was to do.
                Report::Lost(_) => self.has_lost = true,
                report => return Ok(report),
            }
        }
    }

    pub(crate) async fn report(&mut self) -> Result<Report> {
        let report = tokio::time::timeout(PATIENCE, self.reports.recv()).await;
        report
            .with_context(|| format!("node {} does not report: {:?}", self.number, self.shown.borrow()))?
            .context("it has ended")
    }

    /// Takes it all, and serves it.
    pub(crate) async fn serve(&mut self, term: Generation, from: From, shared: &Shared) -> Result<()> {
        let report = self.order(Order::Take(term, from)).await?;
        ensure!(report == Report::Prepared(term), "{report:?}: {:?}", self.shown.borrow().parts);
        self.orders.send(Order::Serve(term))?;
        let served = self.shown.wait_for(|shown| shown.doing == Doing::Serving(term));
        tokio::time::timeout(PATIENCE, served).await.context("it does not serve")??;
        self.is_well(shared)
    }

    /// It has all there is, and its service has written last.
    pub(crate) fn is_well(&self, shared: &Shared) -> Result<()> {
        let within = Within::new(PATIENCE, Stop::new()?);
        for part in self.duties.parts() {
            part.resource.check(&within).with_context(|| format!("node {}", self.number))?;
        }
        ensure!(is_mounted(self.process(), &shared.at()) && shared.may_write(self.number));
        let served = format!("/proc/{}/root{}/served", self.process(), shared.at().display());
        let written = fs::read_to_string(&served).context(served)?;
        ensure!(written.lines().last() == Some(&self.number.to_string()), "{written:?}");
        Ok(())
    }

    /// What of it is here, as an operator would find it.
    pub(crate) fn left(&self, shared: &Shared) -> Vec<&'static str> {
        let identity = identity(self.number);
        let has_key = shared.keys().into_iter().any(|key| identity.whose(key) == ha_agent::fence::Whose::Own);
        let is_here = |step: &Step| match step {
            Step::Watchdog => self.fates.awake() > 0,
            Step::Fence => has_key,
            Step::Mount => is_mounted(self.process(), &shared.at()),
            Step::Service => here(self.number, shared).exists(),
        };
        Step::ALL.into_iter().filter(is_here).map(Step::name).collect()
    }

    /// Whether it could change what is shared: it has it mounted, and the disks take it.
    pub(crate) fn can_write(&self, shared: &Shared) -> bool {
        is_mounted(self.process(), &shared.at()) && shared.may_write(self.number)
    }

    /// Mounts it here, without any plan.
    pub(crate) fn mount(&self, shared: &Shared) -> Result<()> {
        self.run(&["mount", &shared.device.display().to_string(), &shared.at().display().to_string()])
    }

    /// Leaves no room where the mount point is to be made.
    pub(crate) fn fill(&self, shared: &Shared) -> Result<()> {
        let srv = shared.path("srv").display().to_string();
        self.run(&["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", &srv])
    }

    fn run(&self, line: &[&str]) -> Result<()> {
        let process = self.process().to_string();
        run(&[&["nsenter", "--mount", "--target", &process, "--"], line].concat()).map(drop)
    }

    /// What is said to be wrong with a step.
    pub(crate) fn faults(&self, step: Step) -> (String, Vec<Failure>) {
        let shown = self.shown.borrow();
        shown
            .parts
            .get(step as usize)
            .map(|part| (part.name.clone(), part.faults.clone()))
            .unwrap_or_default()
    }
}

/// What hangs is let go, so that its thread ends; what is mounted there goes with the last process.
impl Drop for Node {
    fn drop(&mut self) {
        self.fates.mend();
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// What the parts of a node are made of.
struct Parts<'a> {
    number: u32,
    shared: &'a Shared,
    terms: &'a Terms,
    host: Host,
    fates: &'a Arc<Fates>,
}

impl Parts<'_> {
    fn duties(self, health: &Health, orders: &mpsc::UnboundedSender<Order>) -> Result<Duties> {
        let resources: [(Arc<dyn Resource>, Phase); 4] = [
            (Arc::new(self.watchdog(health)), Phase::Watchdog),
            (Arc::new(self.fence(orders)), Phase::Fence),
            (Arc::new(self.mount()), Phase::Mount),
            (Arc::new(self.service()), Phase::Services),
        ];
        let parts = resources.into_iter().zip(Step::ALL).map(|((resource, phase), step)| {
            let time = if self.terms.hurried == Some(step) { HURRY } else { PATIENCE / 2 };
            // As it follows from a configuration.
            let below = (step as usize).checked_sub(1);
            let (needs, after) = if step == Step::Fence { (None, below) } else { (below, None) };
            let [needs, after] = [needs, after].map(|it| it.into_iter().collect());
            let policy = self.terms.policy;
            Part { resource, phase, needs, after, take: time, release: time, policy }
        });
        Ok(Duties::new(parts.collect())?.with_health(health.clone()))
    }

    fn watchdog(&self, health: &Health) -> Watchdog {
        let terms = DogTerms { need: Need::Required, timeout: DOG, bound: DOG };
        Watchdog::new(terms, health.clone(), Arc::new(Toys(Arc::clone(self.fates))))
    }

    fn fence(&self, orders: &mpsc::UnboundedSender<Order>) -> Beating {
        let disk =
            |disk: &Emulated| Arc::new(Disk::new(Box::new(disk.connect(self.number)), identity(self.number)));
        let disks: Vec<_> = self.shared.disks.iter().map(disk).collect();
        let level = Reservation::new("reservation", disks.clone(), Arc::clone(&self.terms.enough), ANSWER);
        let orders = orders.clone();
        Beating {
            fence: Fence::new("fence data", vec![Box::new(level)]),
            disks,
            number: self.number,
            second: self.shared.disks[1].clone(),
            fates: Arc::clone(self.fates),
            lost: Hears(Arc::new(move |_| {
                // The conductor may have ended.
                let _ = orders.send(Order::Lost);
            })),
            beat: Mutex::default(),
        }
    }

    fn mount(&self) -> Mount {
        let settings = MountSettings {
            device: self.shared.device.clone(),
            uuid: Some(self.terms.uuid.clone().unwrap_or_else(|| self.shared.uuid.clone())),
            at: self.shared.at(),
            kind: self.shared.kind.to_owned(),
            options: "noatime".to_owned(),
            check: false,
            busy: Busy::Wait,
        };
        Mount::new(settings, self.host.clone())
    }

    /// It writes its number onto the disk when it is started, which takes the mount.
    fn service(&self) -> Service {
        let (at, here) = (self.shared.at(), here(self.number, self.shared));
        let (at, here) = (at.display(), here.display());
        let shell = |script: String| ["sh", "-c", &script].map(str::to_owned).to_vec();
        let settings = CommandSettings {
            name: "service writer".to_owned(),
            node: self.number.to_string(),
            start: shell(format!(
                "grep -q ' {at} ' /proc/self/mountinfo && echo $HA_NODE >>{at}/served && : >{here}"
            )),
            stop: shell(format!("rm -f {here}")),
            check: shell(format!("[ -e {here} ] || exit 3")),
        };
        Service::new(settings, self.host.clone())
    }
}

impl Beating {
    fn set(&self, beat: Option<Heartbeat>) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = beat;
    }
}

impl Resource for Beating {
    fn name(&self) -> &str {
        self.fence.name()
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        self.fates.befall(&self.second, self.number);
        let taken = self.fence.take(within)?;
        let rhythm = Rhythm { interval: BEAT, patience: 3 };
        let beat = Heartbeat::start(&self.disks, rhythm, &self.lost.0, &Proof::default());
        self.set(Some(beat.map_err(|error| Failure::system("no heartbeat", &error))?));
        Ok(taken)
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        self.set(None);
        self.fates.befall(&self.second, self.number);
        self.fence.release(within)
    }

    fn is_here(&self, within: &Within) -> Result<bool, Failure> {
        self.fence.is_here(within)
    }

    fn check(&self, within: &Within) -> Result<(), Failure> {
        self.fence.check(within)
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        self.fence.examine(within)
    }
}

impl std::fmt::Debug for Hears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hears")
    }
}

/// A process that lives in a mount namespace of its own.
fn house() -> Result<Child> {
    let mut house = Command::new("unshare");
    house.args(["--mount", "--propagation", "private", "sh", "-c", "echo; exec cat"]);
    let mut house = house.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // It is there by the time it says something.
    house.stdout.as_mut().context("no output")?.read_exact(&mut [0])?;
    Ok(house)
}

/// Makes what a node sees of the machine: the files are those of its namespace, the only process is its own.
fn furnish(root: &std::path::Path, process: u32) -> Result<()> {
    fs::create_dir_all(root.join("proc"))?;
    for name in ["self", &process.to_string()] {
        symlink(format!("/proc/{process}"), root.join("proc").join(name))?;
    }
    for entry in fs::read_dir("/")? {
        let name = entry?.file_name();
        if name != "proc" {
            symlink(std::path::Path::new(&format!("/proc/{process}/root")).join(&name), root.join(&name))?;
        }
    }
    Ok(())
}

fn here(number: u32, shared: &Shared) -> std::path::PathBuf {
    shared.path(&format!("here-{number}"))
}

fn identity(number: u32) -> Identity {
    Identity::new(77, if number == 1 { Name::A } else { Name::B })
}

/// Longer than anything takes that ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// Time enough for what ends, on a busy machine.
const HURRY: Duration = Duration::from_millis(2500);
/// How long a disk may take.
const ANSWER: Duration = Duration::from_millis(1200);
const BEAT: Duration = Duration::from_millis(100);
/// Whole seconds.
const DOG: Duration = Duration::from_secs(5);
