//! Plans carried out on resources that fail, hang and vanish as they are told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use super::*;
use crate::core::plan::Standing;
use crate::resource::{Cause, Finding, Taken};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Well,
    /// It fails, and nothing was done.
    Fails,
    /// It fails, and half of it was done.
    FailsHalfDone,
    /// It takes until it is told to stop, or its time is over.
    Dawdles,
    /// It does not come back, whatever it is told.
    Hangs,
}

/// A resource that writes down what is done with it.
#[derive(Debug)]
struct Fake {
    name: String,
    take: Fate,
    release: Fate,
    here: AtomicBool,
    degraded: AtomicBool,
    log: Arc<Mutex<Vec<String>>>,
    let_go: Arc<(Mutex<bool>, Condvar)>,
}

impl Fake {
    fn call(&self, what: &str, fate: Fate, here: bool, within: &Within) -> Result<(), Failure> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{what} {}", self.name));
        let failed = |cause| Err(Failure::new(cause, "it was told to", "tell it otherwise"));
        match fate {
            Fate::Well => self.here.store(here, Ordering::SeqCst),
            Fate::Fails => return failed(Cause::Other),
            Fate::FailsHalfDone => {
                self.here.store(true, Ordering::SeqCst);
                return failed(Cause::Other);
            }
            Fate::Dawdles => {
                self.here.store(true, Ordering::SeqCst);
                while within.pause(Duration::from_secs(1)) {}
                within.go_on(&self.name)?;
            }
            Fate::Hangs => {
                self.here.store(true, Ordering::SeqCst);
                let (lock, changed) = &*self.let_go;
                let free = lock.lock().unwrap_or_else(PoisonError::into_inner);
                drop(changed.wait_while(free, |free| !*free));
                return failed(Cause::TimedOut);
            }
        }
        Ok(())
    }
}

impl Resource for Fake {
    fn name(&self) -> &str {
        &self.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        self.call("take", self.take, true, within).map(|()| Taken::default())
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        self.call("release", self.release, false, within)
    }

    fn is_here(&self, _: &Within) -> Result<bool, Failure> {
        Ok(self.here.load(Ordering::SeqCst))
    }

    fn check(&self, _: &Within) -> Result<(), Failure> {
        if self.degraded.load(Ordering::SeqCst) {
            return Err(Failure::new(Cause::PoolDegraded, "a disk is dead", "replace it"));
        }
        let here = self.here.load(Ordering::SeqCst);
        here.then_some(()).ok_or_else(|| Failure::gone(&self.name))
    }

    fn examine(&self, _: &Within) -> Vec<Finding> {
        Vec::new()
    }
}

/// A fence, a pool on it, a service on that, and a service that nobody waits for.
struct Stage {
    fakes: Vec<Arc<Fake>>,
    log: Arc<Mutex<Vec<String>>>,
    let_go: Arc<(Mutex<bool>, Condvar)>,
    orders: mpsc::UnboundedSender<Order>,
    shown: watch::Receiver<Shown>,
    reports: mpsc::UnboundedReceiver<Report>,
}

/// Longer than a busy machine takes to begin.
const TIME: Duration = Duration::from_millis(400);

impl Stage {
    fn new(fates: [(Fate, Fate); 4], policy: Policy) -> Result<Self> {
        let (log, let_go) = (Arc::default(), Arc::default());
        let names = ["fence", "pool", "nfs", "reports"];
        let fake = |(name, (take, release)): (&str, (Fate, Fate))| {
            let (log, let_go) = (Arc::clone(&log), Arc::clone(&let_go));
            let [here, degraded] = [false; 2].map(AtomicBool::new);
            Arc::new(Fake { name: name.to_owned(), take, release, here, degraded, log, let_go })
        };
        let made: Vec<_> = names.into_iter().zip(fates).map(fake).collect();
        let phases = [Phase::Fence, Phase::Import, Phase::Services, Phase::Rest];
        let parts = made.iter().zip(phases).enumerate().map(|(index, (fake, phase))| Part {
            resource: Arc::clone(fake) as Arc<dyn Resource>,
            phase,
            needs: (index > 0).then(|| index - 1).into_iter().collect(),
            after: Vec::new(),
            take: TIME,
            release: TIME,
            policy: if phase == Phase::Rest { Policy::GoOn } else { policy },
        });
        let (sender, reports) = mpsc::unbounded_channel();
        let (orders, queue) = mpsc::unbounded_channel();
        let (shows, seen) = watch::channel(Shown::default());
        Duties::new(parts.collect())?.start(queue, sender, shows)?;
        Ok(Self { fakes: made, log, let_go, orders, shown: seen, reports })
    }

    async fn report(&mut self) -> Result<Report> {
        loop {
            let report = tokio::time::timeout(Duration::from_secs(20), self.reports.recv()).await?;
            match report.context("it has ended")? {
                Report::Condition(_) => {}
                report => return Ok(report),
            }
        }
    }

    async fn order(&mut self, order: Order) -> Result<Report> {
        self.orders.send(order)?;
        self.report().await
    }

    fn here(&self) -> Vec<&str> {
        let here = self.fakes.iter().filter(|fake| fake.here.load(Ordering::SeqCst));
        here.map(|fake| fake.name.as_str()).collect()
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn until(&mut self, is: impl Fn(&Shown) -> bool) -> Result<()> {
        let shown = &mut self.shown;
        tokio::time::timeout(Duration::from_secs(20), shown.wait_for(|shown| is(shown))).await??;
        Ok(())
    }
}

/// What hangs is let go, so that its thread ends.
impl Drop for Stage {
    fn drop(&mut self) {
        let (lock, changed) = &*self.let_go;
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}

const WELL: (Fate, Fate) = (Fate::Well, Fate::Well);

fn term(number: u64) -> Generation {
    Generation::new(number).expect("small")
}

#[tokio::test]
async fn what_is_taken_in_order_is_released_in_the_other() -> Result<()> {
    let mut stage = Stage::new([WELL; 4], Policy::Undo)?;
    ensure!(stage.order(Order::Take(term(3), From::Dead)).await? == Report::Prepared(term(3)));
    ensure!(stage.here() == ["fence", "pool", "nfs"], "{:?}", stage.here());
    stage.orders.send(Order::Serve(term(3)))?;
    stage.until(|shown| shown.doing == Doing::Serving(term(3))).await?;
    ensure!(stage.here().len() == 4);
    let last: Vec<_> = stage.shown.borrow().last.iter().map(|time| time.name.clone()).collect();
    ensure!(last == ["fence", "pool", "nfs", "addresses", "reports"], "{last:?}");
    ensure!(stage.order(Order::Release(term(3))).await? == Report::Released(term(3)));
    ensure!(stage.here().is_empty());
    let expected = ["take fence", "take pool", "take nfs", "take reports"].into_iter();
    let expected = expected.chain(["release reports", "release nfs", "release pool", "release fence"]);
    ensure!(stage.log().iter().eq(expected), "{:?}", stage.log());
    Ok(())
}

/// Every step of the takeover meets every fate, under every policy; then everything is released.
#[tokio::test]
async fn whatever_becomes_of_a_takeover_the_release_leaves_nothing() -> Result<()> {
    for fate in [Fate::Fails, Fate::FailsHalfDone, Fate::Dawdles] {
        for place in 0..3 {
            for policy in [Policy::Undo, Policy::SelfFence, Policy::GoOn] {
                let mut fates = [WELL; 4];
                fates[place].0 = fate;
                let mut stage = Stage::new(fates, policy)?;
                let report = stage.order(Order::Take(term(5), From::Dead)).await?;
                let expected = match policy {
                    Policy::Undo => Report::TakeFailed(term(5)),
                    Policy::SelfFence => Report::SelfFence(term(5)),
                    Policy::GoOn => Report::Prepared(term(5)),
                };
                ensure!(report == expected, "{fate:?} at {place}, {policy:?}: {report:?}");
                // Nothing is built upon what is not there.
                let begun = stage.log();
                ensure!(begun.len() == place + 1, "{fate:?} at {place}, {policy:?}: {begun:?}");
                let fault = stage.shown.borrow().parts[place].faults.first().cloned();
                let cause = fault.context("no fault is shown")?.cause;
                ensure!(cause == if fate == Fate::Dawdles { Cause::TimedOut } else { Cause::Other });
                let released = stage.order(Order::Release(term(5))).await?;
                ensure!(released == Report::Released(term(5)), "{fate:?} at {place}: {released:?}");
                ensure!(stage.here().is_empty(), "{fate:?} at {place}: {:?}", stage.here());
            }
        }
    }
    Ok(())
}

/// What can't be released keeps all that it stands on, and that is said; a service that does not stop keeps nothing.
#[tokio::test]
async fn what_is_not_released_is_told_and_keeps_its_fence() -> Result<()> {
    for fate in [Fate::Fails, Fate::FailsHalfDone, Fate::Dawdles, Fate::Hangs] {
        for (place, here) in [(0, vec!["fence"]), (1, vec!["fence", "pool"]), (2, vec!["nfs"])] {
            let mut fates = [WELL; 4];
            fates[place].1 = fate;
            let mut stage = Stage::new(fates, Policy::Undo)?;
            ensure!(stage.order(Order::Take(term(7), From::Dead)).await? == Report::Prepared(term(7)));
            let report = stage.order(Order::Release(term(7))).await?;
            ensure!(report == Report::ReleaseFailed(term(7)), "{fate:?} at {place}: {report:?}");
            let stands = stage.here();
            ensure!(stands == here, "{fate:?} at {place}: {stands:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_take_that_hangs_is_named_and_keeps_its_release_waiting() -> Result<()> {
    let mut fates = [WELL; 4];
    fates[1].0 = Fate::Hangs;
    let mut stage = Stage::new(fates, Policy::Undo)?;
    ensure!(stage.order(Order::Take(term(9), From::Dead)).await? == Report::TakeFailed(term(9)));
    let fault = stage.shown.borrow().parts[1].faults.first().cloned().context("no fault")?;
    ensure!(fault.what == "pool hangs: it can't be taken", "{fault}");
    // It can't be shown that it is not here.
    ensure!(stage.order(Order::Release(term(9))).await? == Report::ReleaseFailed(term(9)));
    ensure!(stage.here().contains(&"fence"));
    ensure!(!stage.log().contains(&"release pool".to_owned()));
    Ok(())
}

#[tokio::test]
async fn what_dawdles_makes_way_at_once_for_a_newer_order() -> Result<()> {
    let mut fates = [WELL; 4];
    fates[1].0 = Fate::Dawdles;
    let mut stage = Stage::new(fates, Policy::Undo)?;
    stage.orders.send(Order::Take(term(2), From::Dead))?;
    stage.until(|shown| matches!(shown.parts[1].standing, Standing::Running { .. })).await?;
    ensure!(stage.order(Order::Release(term(2))).await? == Report::Released(term(2)));
    ensure!(stage.here().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_service_that_is_gone_is_started_again_and_a_pool_that_is_gone_is_told() -> Result<()> {
    let mut stage = Stage::new([WELL; 4], Policy::Undo)?;
    stage.order(Order::Take(term(3), From::Dead)).await?;
    stage.orders.send(Order::Serve(term(3)))?;
    stage.until(|shown| shown.doing == Doing::Serving(term(3))).await?;
    stage.fakes[2].here.store(false, Ordering::SeqCst);
    stage.fakes[1].here.store(false, Ordering::SeqCst);
    let told = tokio::time::timeout(Duration::from_secs(20), stage.reports.recv()).await?;
    ensure!(told == Some(Report::Condition(Condition::Bad)), "{told:?}");
    ensure!(stage.fakes[2].here.load(Ordering::SeqCst), "the service was not started again");
    let fault = stage.shown.borrow().parts[1].faults.first().cloned().context("no fault")?;
    ensure!(fault.cause == Cause::Gone, "{fault}");
    Ok(())
}

#[tokio::test]
async fn a_pool_that_is_degraded_is_served_and_weak_until_it_is_mended() -> Result<()> {
    let mut stage = Stage::new([WELL; 4], Policy::Undo)?;
    stage.order(Order::Take(term(3), From::Dead)).await?;
    stage.fakes[1].degraded.store(true, Ordering::SeqCst);
    stage.orders.send(Order::Serve(term(3)))?;
    for (degraded, condition) in [(true, Condition::Weak), (false, Condition::Well)] {
        stage.fakes[1].degraded.store(degraded, Ordering::SeqCst);
        let told = tokio::time::timeout(Duration::from_secs(20), stage.reports.recv()).await?;
        ensure!(told == Some(Report::Condition(condition)), "{told:?}");
        ensure!(!stage.shown.borrow().parts[1].bad);
    }
    Ok(())
}
