//! Every step meets every fault, when it is taken and when it is released.

use anyhow::{Context, Result, ensure};
use ha_agent::core::pair::Generation;
use ha_agent::core::plan::Policy;
use ha_agent::exec::conductor::{From, Order, Report};
use ha_agent::fence::DeviceError;
use ha_agent::fence::emulated::{Disk, Fault as DiskFault, Operation};
use ha_agent::resource::Cause;

use crate::faults::Fate;
use crate::node::{Node, Step, Terms};
use crate::shared::{Lookout, Shared};

/// What befalls the first node.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    kind: &'static str,
    way: Way,
    step: Step,
    fault: Fault,
    /// What is said of it.
    cause: Cause,
    policy: Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Take,
    Release,
}

#[derive(Clone, Debug)]
enum Fault {
    /// Of an action, by its name.
    Act(&'static str, Fate),
    /// Of the second of the two disks: the first one does what it is told.
    Disk(Operation, DiskFault),
}

impl Case {
    /// All of them with the first of these types of file system; with the others those above the fence, which knows of none.
    pub(crate) fn all(kinds: impl IntoIterator<Item = &'static str>) -> impl Iterator<Item = Self> {
        let is_told = |at, case: &Self| at == 0 || case.step > Step::Fence;
        let kinds = kinds.into_iter().enumerate();
        kinds.flat_map(move |(at, kind)| Self::with(kind).into_iter().filter(move |case| is_told(at, case)))
    }

    fn with(kind: &'static str) -> Vec<Self> {
        let acts = [
            (Way::Take, Step::Watchdog, "open", Cause::Other),
            (Way::Take, Step::Watchdog, "set", Cause::Other),
            (Way::Take, Step::Mount, "blkid", Cause::DiskForeign),
            (Way::Take, Step::Mount, "mount", Cause::FilesystemBroken),
            (Way::Take, Step::Service, "start", Cause::ServiceDead),
            (Way::Release, Step::Service, "stop", Cause::Busy),
            (Way::Release, Step::Service, "check", Cause::Busy),
            (Way::Release, Step::Mount, "umount", Cause::Other),
            (Way::Release, Step::Mount, "blockdev", Cause::Other),
            (Way::Release, Step::Watchdog, "sleep", Cause::Other),
        ];
        let acts = acts.into_iter().flat_map(|(way, step, action, failed)| {
            let fates = [
                (Fate::Fails, failed),
                (Fate::FailsDone, failed),
                (Fate::Dawdles, Cause::TimedOut),
                (Fate::Hangs, Cause::TimedOut),
                (Fate::HangsFirst, Cause::TimedOut),
                (Fate::Missing, Cause::NoTool),
            ];
            let may_be = move |fate| match (action, fate) {
                // What is done in this process is not killed, and is always there; what failed to open is not open.
                ("open", Fate::FailsDone) | ("open" | "set" | "sleep", Fate::Dawdles | Fate::Missing) => {
                    false
                }
                _ => true,
            };
            let fates = fates.into_iter().filter(move |(fate, _)| may_be(*fate));
            fates.map(move |(fate, cause)| (way, step, Fault::Act(action, fate), cause))
        });
        let operations = [
            (Way::Take, Operation::Serial),
            (Way::Take, Operation::Read),
            (Way::Take, Operation::Register),
            (Way::Take, Operation::Reserve),
            (Way::Release, Operation::Read),
            (Way::Release, Operation::Release),
            (Way::Release, Operation::Unregister),
        ];
        let disks = operations.into_iter().flat_map(|(way, operation)| {
            let faults = [
                (DiskFault::Before(DeviceError::Refused("x".to_owned())), Cause::Other),
                (DiskFault::After(DeviceError::TimedOut), Cause::TimedOut),
                (DiskFault::Before(DeviceError::Gone), Cause::DiskMissing),
                (DiskFault::Hang, Cause::TimedOut),
            ];
            faults.map(|(fault, cause)| (way, Step::Fence, Fault::Disk(operation, fault), cause))
        });
        let case = |policy| move |(way, step, fault, cause)| Self { kind, way, step, fault, cause, policy };
        let hard = acts.clone().filter(|(way, _, fault, _)| {
            *way == Way::Take && matches!(fault, Fault::Act(_, Fate::FailsDone | Fate::HangsFirst))
        });
        let soft = acts.clone().chain(disks);
        soft.map(case(Policy::Undo)).chain(hard.map(case(Policy::SelfFence))).collect()
    }

    /// It happens to the first node, which then releases what it has; the second one takes over; and when all is well
    /// again, the first one can release what is left.
    pub(crate) async fn play(&self) -> Result<()> {
        let shared = Shared::new(self.kind)?;
        let hurried = self.hangs().then_some(self.step);
        let terms = Terms { policy: self.policy, hurried, ..Terms::default() };
        let mut first = Node::new(1, &shared, &terms)?;
        let mut second = Node::new(2, &shared, &Terms::default())?;
        let lookout = Lookout::start(&shared, [(1, first.process()), (2, second.process())]);
        let has_released = match self.way {
            Way::Take => self.take(&mut first, &shared).await?,
            Way::Release => self.release(&mut first, &shared).await?,
        };
        let from = if has_released { From::Released } else { From::Dead };
        second.serve(term(2)?, from, &shared).await.context("the second node takes over")?;
        ensure!(!first.can_write(&shared), "the first node can write");

        first.fates.mend();
        shared.disks.iter().for_each(Disk::let_go);
        let report = first.order(Order::Release(term(3)?)).await?;
        ensure!(
            report == Report::Released(term(3)?),
            "when all is well: {report:?}, {:?}",
            first.shown.borrow()
        );
        let left = first.left(&shared);
        ensure!(left == self.left_for_good(), "when all is well, the first node has {left:?} still");
        second.is_well(&shared).context("after the first node is mended")?;
        let report = second.order(Order::Release(term(4)?)).await?;
        ensure!(report == Report::Released(term(4)?), "{report:?}");
        ensure!(second.left(&shared).is_empty() && shared.keys().is_empty(), "{:?}", shared.registrations());
        ensure!(shared.registrations().iter().all(|it| it.holder.is_none()));
        lookout.end()
    }

    /// Returns whether the first node has nothing any more.
    async fn take(&self, node: &mut Node, shared: &Shared) -> Result<bool> {
        self.befall(node);
        let report = node.order(Order::Take(term(1)?, From::Dead)).await?;
        let expected = match self.policy {
            Policy::Undo | Policy::GoOn => Report::TakeFailed(term(1)?),
            Policy::SelfFence => Report::SelfFence(term(1)?),
        };
        ensure!(report == expected, "taken: {report:?}");
        self.is_named(node).context("taken")?;
        let above = Step::ALL.iter().filter(|step| **step > self.step).map(|step| step.name());
        let left = node.left(shared);
        ensure!(!above.into_iter().any(|name| left.contains(&name)), "taken: {left:?}");

        let report = node.order(Order::Release(term(1)?)).await?;
        // As long as a take hangs, it is not released: what it does yet can't be known. A watchdog goes to sleep by itself.
        let hangs = match &self.fault {
            Fault::Act(_, fate) => self.step != Step::Watchdog && is_stuck(*fate),
            Fault::Disk(_, fault) => *fault == DiskFault::Hang,
        };
        if hangs {
            let expected = match self.policy {
                Policy::SelfFence if self.step == Step::Service => Report::SelfFence(term(1)?),
                Policy::Undo | Policy::GoOn | Policy::SelfFence => Report::ReleaseFailed(term(1)?),
            };
            ensure!(report == expected, "released: {report:?}");
            self.is_named(node).context("released")?;
            return Ok(false);
        }
        ensure!(report == Report::Released(term(1)?), "released: {report:?}, {:?}", node.shown.borrow());
        let left = node.left(shared);
        // One that was opened and does not answer goes to sleep when it does.
        let is_opened =
            matches!(self.fault, Fault::Act(_, fate) if self.step == Step::Watchdog && is_stuck(fate));
        ensure!(left.is_empty() || is_opened, "released: {left:?}");
        Ok(true)
    }

    /// The same, of what it has served.
    async fn release(&self, node: &mut Node, shared: &Shared) -> Result<bool> {
        node.serve(term(1)?, From::Dead, shared).await?;
        self.befall(node);
        let report = node.order(Order::Release(term(1)?)).await?;
        let left = node.left(shared);
        let expected = self.left_by_release();
        ensure!(left == expected, "released: {left:?}, not {expected:?}; {report:?}");
        if matches!(self.fault, Fault::Disk(_, DiskFault::Before(DeviceError::Gone))) {
            // What is not there can't be written to.
            ensure!(report == Report::Released(term(1)?), "released: {report:?}");
            return Ok(true);
        }
        ensure!(report == Report::ReleaseFailed(term(1)?), "released: {report:?}, {left:?}");
        self.is_named(node).context("released")?;
        Ok(false)
    }

    fn befall(&self, node: &Node) {
        match &self.fault {
            Fault::Act(action, fate) => node.fates.set(action, *fate),
            Fault::Disk(operation, fault) => node.fates.set_disk(*operation, fault.clone()),
        }
    }

    fn is_named(&self, node: &Node) -> Result<()> {
        let (name, faults) = node.faults(self.step);
        let fault = faults.first().with_context(|| format!("no fault of {name}"))?;
        ensure!(fault.cause == self.cause, "{name}: {fault}");
        ensure!(!fault.what.is_empty() && !fault.remedy.is_empty(), "{name}: {fault:?}");
        Ok(())
    }

    /// What is left of it when its release has failed: all that what is not released stands on.
    fn left_by_release(&self) -> Vec<&'static str> {
        let (is_done, held): (bool, &[&'static str]) = match &self.fault {
            Fault::Act("check" | "blockdev", _) => (true, &["watchdog", "fence"]),
            Fault::Act(_, fate) => (is_done(*fate), &["watchdog", "fence"]),
            Fault::Disk(Operation::Unregister, DiskFault::After(_)) => (true, &["watchdog"]),
            Fault::Disk(_, DiskFault::Before(DeviceError::Gone)) => return vec!["fence"],
            Fault::Disk(..) => (false, &["watchdog"]),
        };
        let held = match self.step {
            // What does not stop holds nothing that could be seen from here.
            Step::Watchdog | Step::Service => &[],
            Step::Fence | Step::Mount => held,
        };
        let own = (!is_done).then_some(self.step.name());
        held.iter().copied().chain(own).collect()
    }

    /// A watchdog that can't be put to sleep resets the machine.
    fn left_for_good(&self) -> Vec<&'static str> {
        let is_awake = matches!(self.fault, Fault::Act("sleep", Fate::Fails));
        is_awake.then_some(Step::Watchdog.name()).into_iter().collect()
    }

    fn hangs(&self) -> bool {
        match &self.fault {
            Fault::Act(_, fate) => *fate == Fate::Dawdles || is_stuck(*fate),
            Fault::Disk(..) => false,
        }
    }
}

/// Whether it was done all the same.
fn is_done(fate: Fate) -> bool {
    match fate {
        Fate::FailsDone | Fate::Dawdles | Fate::Hangs => true,
        Fate::Fails | Fate::HangsFirst | Fate::Missing => false,
    }
}

/// Whether it does not even end when it is killed.
fn is_stuck(fate: Fate) -> bool {
    match fate {
        Fate::Hangs | Fate::HangsFirst => true,
        Fate::Fails | Fate::FailsDone | Fate::Dawdles | Fate::Missing => false,
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, way, step, fault, cause: _, policy } = self;
        write!(f, "{kind}, {way:?}, {step:?}: {fault:?}, {policy:?}")
    }
}

pub(crate) fn term(number: u64) -> Result<Generation> {
    Ok(Generation::new(number)?)
}
