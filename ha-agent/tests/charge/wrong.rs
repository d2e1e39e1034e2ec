//! Wrong use, and what befalls who serves: each has its name, and nothing is done by halves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ha_agent::exec::conductor::{Condition, From, Order, Report};
use ha_agent::fence::emulated::{Disk, Fault, Operation};
use ha_agent::fence::{Device, DeviceError, Key, Old, percent};
use ha_agent::resource::{Cause, Failure, Stop, Within};

use crate::faults::Fate;
use crate::matrix::term;
use crate::node::{Node, PATIENCE, Step, Terms};
use crate::run;
use crate::shared::{Lookout, Shared};

/// Two nodes, and what they share.
struct Pair {
    // In the order in which they go.
    first: Node,
    second: Node,
    lookout: Lookout,
    shared: Shared,
}

impl Pair {
    /// None, if this machine can't.
    fn new(first: &Terms, second: &Terms) -> Result<Option<Self>> {
        if !Shared::is_possible("ext4") {
            return Ok(None);
        }
        let shared = Shared::new("ext4")?;
        let (first, second) = (Node::new(1, &shared, first)?, Node::new(2, &shared, second)?);
        let lookout = Lookout::start(&shared, [(1, first.process()), (2, second.process())]);
        Ok(Some(Self { first, second, lookout, shared }))
    }

    /// The first node can't take it, for this cause.
    async fn is_refused(&mut self, step: Step, cause: Cause) -> Result<()> {
        let report = self.first.order(Order::Take(term(1)?, From::Dead)).await?;
        ensure!(report == Report::TakeFailed(term(1)?), "{report:?}");
        let (name, faults) = self.first.faults(step);
        let fault = faults.first().with_context(|| format!("no fault of {name}"))?;
        ensure!(fault.cause == cause, "{name}: {fault}");
        Ok(())
    }

    /// It lets go of all, the second one takes it, and lets go of it.
    async fn goes_over(mut self) -> Result<()> {
        let report = self.first.order(Order::Release(term(1)?)).await?;
        ensure!(report == Report::Released(term(1)?), "{report:?}: {:?}", self.first.shown.borrow());
        ensure!(self.first.left(&self.shared).is_empty(), "{:?}", self.first.left(&self.shared));
        self.second.serve(term(2)?, From::Released, &self.shared).await?;
        let report = self.second.order(Order::Release(term(2)?)).await?;
        ensure!(report == Report::Released(term(2)?), "{report:?}");
        ensure!(self.second.left(&self.shared).is_empty());
        self.lookout.end()
    }
}

#[test]
fn who_loses_its_keys_while_it_serves_says_so_and_can_not_write() -> Result<()> {
    let terms = Terms::default();
    run(async {
        let Some(mut pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
        pair.first.serve(term(1)?, From::Dead, &pair.shared).await?;
        pair.second.serve(term(2)?, From::Dead, &pair.shared).await?;
        ensure!(!pair.first.can_write(&pair.shared) && pair.second.can_write(&pair.shared));
        loop {
            match pair.first.report().await? {
                Report::Lost(lost) => break ensure!(lost == term(1)?, "{lost:?}"),
                Report::Condition(_) => {}
                other => anyhow::bail!("{other:?}"),
            }
        }
        // It goes, and leaves to the other one what is that one's.
        let report = pair.first.order(Order::Release(term(1)?)).await?;
        ensure!(report == Report::Released(term(1)?), "{report:?}");
        ensure!(pair.first.left(&pair.shared).is_empty());
        pair.second.is_well(&pair.shared)?;
        pair.lookout.end()
    })
}

/// Who can take over one of two disks only has taken that from the other one: that one notices, and takes it back.
#[test]
fn a_takeover_that_fails_half_way_is_noticed_by_who_serves() -> Result<()> {
    let faults = [
        Fault::Before(DeviceError::Refused("x".to_owned())),
        Fault::After(DeviceError::TimedOut),
        Fault::Hang,
    ];
    let terms = Terms::default();
    for fault in faults {
        run(async {
            let Some(mut pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
            pair.second.serve(term(2)?, From::Dead, &pair.shared).await?;
            pair.shared.disks[1].fail(1, Operation::Preempt, fault.clone());
            let cause = if matches!(fault, Fault::Before(_)) { Cause::Other } else { Cause::TimedOut };
            pair.is_refused(Step::Fence, cause).await?;
            pair.shared.disks.iter().for_each(Disk::let_go);
            let lost = async {
                while !matches!(pair.second.report().await?, Report::Lost(_)) {}
                anyhow::Ok(())
            };
            tokio::time::timeout(PATIENCE, lost).await.context("it has not noticed")??;
            for node in [&mut pair.first, &mut pair.second] {
                let report = node.order(Order::Release(term(3)?)).await?;
                ensure!(report == Report::Released(term(3)?), "{report:?}: {:?}", node.shown.borrow());
                ensure!(node.left(&pair.shared).is_empty());
            }
            ensure!(pair.shared.keys().is_empty(), "{:?}", pair.shared.registrations());
            pair.second.serve(term(4)?, From::Released, &pair.shared).await?;
            pair.goes_over().await
        })
        .with_context(|| format!("{fault:?}"))?;
    }
    Ok(())
}

#[test]
fn a_strangers_key_keeps_all_disks_as_they_are() -> Result<()> {
    let terms = Terms::default();
    run(async {
        let Some(mut pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
        let stranger = pair.shared.disks[1].connect(9);
        let within = Within::new(PATIENCE, Stop::new()?);
        let key = Key::new(0x5_7a4e).context("a key")?;
        stranger.register(Old::Nothing, Some(key), &within)?;
        let before = pair.shared.registrations();
        pair.is_refused(Step::Fence, Cause::KeyForeign).await?;
        let report = pair.first.order(Order::Release(term(1)?)).await?;
        ensure!(report == Report::Released(term(1)?), "{report:?}");
        ensure!(pair.shared.registrations() == before && pair.first.left(&pair.shared).is_empty());
        stranger.register(Old::Key(key), None, &within)?;
        pair.goes_over().await
    })
}

#[test]
fn of_missing_disks_as_many_may_be_as_was_agreed() -> Result<()> {
    for (share, is_enough) in [(100, false), (51, false), (50, true)] {
        let terms = Terms { enough: percent(share), ..Terms::default() };
        run(async {
            let Some(mut pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
            pair.shared.disks[1].cut(1);
            let before = pair.shared.registrations();
            if is_enough {
                pair.first.serve(term(1)?, From::Dead, &pair.shared).await?;
                let remarks = pair.first.shown.borrow().parts[Step::Fence as usize].remarks.clone();
                ensure!(remarks.iter().any(|it| it.contains("DISK_MISSING: disk S1")), "{remarks:?}");
            } else {
                pair.is_refused(Step::Fence, Cause::DiskMissing).await?;
                ensure!(pair.shared.registrations() == before, "{:?}", pair.shared.registrations());
            }
            pair.goes_over().await
        })
        .with_context(|| format!("{share} %"))?;
    }
    Ok(())
}

#[test]
fn another_file_system_is_not_mounted() -> Result<()> {
    let uuid = Some("00000000-1111-2222-3333-444444444444".to_owned());
    run(async {
        let Some(mut pair) = Pair::new(&Terms { uuid, ..Terms::default() }, &Terms::default())? else {
            return Ok(());
        };
        pair.is_refused(Step::Mount, Cause::DiskForeign).await?;
        pair.goes_over().await
    })
}

#[test]
fn where_there_is_no_room_for_the_mount_point_nothing_is_mounted() -> Result<()> {
    let terms = Terms::default();
    run(async {
        let Some(mut pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
        pair.first.fill(&pair.shared)?;
        pair.is_refused(Step::Mount, Cause::NoSpace).await?;
        pair.goes_over().await
    })
}

#[test]
fn a_missing_tool_is_named() -> Result<()> {
    for (step, action) in [(Step::Mount, "mount"), (Step::Mount, "blkid"), (Step::Service, "start")] {
        let terms = Terms::default();
        run(async {
            let Some(mut pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
            pair.first.fates.set(action, Fate::Missing);
            pair.is_refused(step, Cause::NoTool).await?;
            pair.goes_over().await
        })
        .with_context(|| action)?;
    }
    Ok(())
}

/// What serves is looked at: what it has lost is told, by name.
#[test]
fn a_service_that_dies_is_started_again_and_a_disk_that_goes_is_told() -> Result<()> {
    let terms = Terms::default();
    run(async {
        let Some(mut pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
        pair.first.serve(term(1)?, From::Dead, &pair.shared).await?;
        std::fs::remove_file(pair.shared.path("here-1"))?;
        let revived = async {
            while pair.first.left(&pair.shared).len() < Step::ALL.len() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, revived).await.context("it was not started again")?;
        pair.shared.disks[0].cut(1);
        let report = pair.first.report().await?;
        ensure!(report == Report::Condition(Condition::Bad), "{report:?}");
        let (name, faults) = pair.first.faults(Step::Fence);
        ensure!(faults.first().is_some_and(|it| it.cause == Cause::DiskMissing), "{name}: {faults:?}");
        pair.shared.disks[0].let_go();
        pair.goes_over().await
    })
}

#[test]
fn a_look_that_hangs_is_told_by_name_and_forgotten_when_it_comes_back() -> Result<()> {
    let terms = Terms { hurried: Some(Step::Service), ..Terms::default() };
    run(async {
        let Some(mut pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
        pair.first.serve(term(1)?, From::Dead, &pair.shared).await?;
        pair.first.fates.set("check", Fate::Hangs);
        let report = pair.first.report().await?;
        ensure!(report == Report::Condition(Condition::Bad), "{report:?}");
        let (name, faults) = pair.first.faults(Step::Service);
        let hangs = |it: &Failure| it.cause == Cause::TimedOut && it.what.starts_with("service writer hangs");
        ensure!(faults.first().is_some_and(hangs), "{name}: {faults:?}");
        pair.first.fates.mend();
        let report = pair.first.report().await?;
        ensure!(report == Report::Condition(Condition::Well), "{report:?}");
        pair.goes_over().await
    })
}

/// Without a reservation, whoever mounts can write.
#[test]
fn the_lookout_notices_when_both_can_write() -> Result<()> {
    let terms = Terms::default();
    run(async {
        let Some(pair) = Pair::new(&terms, &terms)? else { return Ok(()) };
        std::fs::create_dir(pair.shared.at())?;
        pair.first.mount(&pair.shared)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        ensure!(pair.first.can_write(&pair.shared) && !pair.second.can_write(&pair.shared));
        pair.second.mount(&pair.shared)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(pair.lookout.end().is_err());
        Ok(())
    })
}
