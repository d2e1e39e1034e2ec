//! Without a watchdog: with a toy.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::resource::Stop;

/// What was done with it.
#[derive(Clone, Debug, Default)]
struct Toy(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    missing: bool,
    unstoppable: bool,
    opened: AtomicUsize,
    fed: AtomicUsize,
    stopped: AtomicUsize,
}

impl Kennel for Toy {
    fn name(&self) -> String {
        "toy".to_owned()
    }

    fn is_there(&self) -> bool {
        !self.0.missing
    }

    fn open(&self) -> io::Result<Box<dyn Dog>> {
        if self.0.missing {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(self.clone()))
    }
}

impl Dog for Toy {
    fn about(&self) -> io::Result<About> {
        Ok(About { identity: "Toy".to_owned(), can_stop: !self.0.unstoppable })
    }

    fn set_timeout(&self, timeout: Duration) -> io::Result<Duration> {
        Ok(timeout)
    }

    fn feed(&self) -> io::Result<()> {
        self.0.fed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn stop(self: Box<Self>) -> io::Result<()> {
        self.0.stopped.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn watchdog(need: Need, counts: Counts) -> (Watchdog, Arc<Counts>, Health) {
    let (toy, health) = (Toy(Arc::new(counts)), Health::default());
    let terms = Terms { need, timeout: Duration::from_millis(40), bound: Duration::from_millis(300) };
    let counts = Arc::clone(&toy.0);
    (Watchdog::new(terms, health.clone(), Arc::new(toy)), counts, health)
}

fn within() -> anyhow::Result<Within> {
    Ok(Within::new(Duration::from_secs(30), Stop::new()?))
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn it_is_fed_only_while_the_health_is_proven() -> anyhow::Result<()> {
    let within = within()?;
    let (dog, counts, health) = watchdog(Need::Required, Counts::default());
    assert!(matches!(dog.examine(&within)[..], [Finding::Good(_)]));
    assert_eq!(counts.opened.load(Ordering::SeqCst), 0, "to look starts it");
    assert_eq!(dog.take(&within)?.remarks, ["the watchdog is Toy"]);
    until(|| counts.fed.load(Ordering::SeqCst) > 3);
    assert!(dog.is_here(&within)?);
    until(|| dog.check(&within).is_err());
    let fed = counts.fed.load(Ordering::SeqCst);
    thread::sleep(Duration::from_millis(60));
    assert_eq!(counts.fed.load(Ordering::SeqCst), fed, "fed without a proof");
    health.renew();
    until(|| dog.check(&within).is_ok() && counts.fed.load(Ordering::SeqCst) > fed);
    dog.release(&within)?;
    dog.release(&within)?;
    assert_eq!(counts.stopped.load(Ordering::SeqCst), 1);
    assert!(!dog.is_here(&within)?);
    Ok(())
}

#[test]
fn one_that_can_not_be_stopped_is_fed_on() -> anyhow::Result<()> {
    let within = within()?;
    let (dog, counts, _) = watchdog(Need::Required, Counts { unstoppable: true, ..Counts::default() });
    assert_eq!(dog.take(&within)?.remarks.len(), 2);
    dog.release(&within)?;
    assert!(!dog.is_here(&within)?);
    let before = counts.fed.load(Ordering::SeqCst);
    thread::sleep(Duration::from_millis(400));
    until(|| counts.fed.load(Ordering::SeqCst) > before + 20);
    assert_eq!(dog.take(&within)?, Taken::default());
    assert_eq!((counts.opened.load(Ordering::SeqCst), counts.stopped.load(Ordering::SeqCst)), (1, 0));
    Ok(())
}

#[test]
fn a_missing_one_is_a_failure_only_where_it_is_required() -> anyhow::Result<()> {
    let within = within()?;
    let missing = |need| watchdog(need, Counts { missing: true, ..Counts::default() }).0;
    let required = missing(Need::Required);
    assert_eq!(required.take(&within).expect_err("missing").cause, Cause::Misconfigured);
    assert!(matches!(required.examine(&within)[..], [Finding::Bad(_)]) && required.check(&within).is_err());
    let if_present = missing(Need::IfPresent);
    assert_eq!(if_present.take(&within)?.remarks.len(), 1);
    assert!(matches!(if_present.examine(&within)[..], [Finding::Weak(_)]));
    if_present.check(&within)?;
    let off = missing(Need::Off);
    assert_eq!(off.take(&within)?, Taken::default());
    assert!(off.examine(&within).is_empty());
    Ok(())
}
