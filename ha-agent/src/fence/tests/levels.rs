//! Several ways to fence, and what the reservation of disks tells.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// Does as it is told.
#[derive(Debug, Default)]
struct Toy {
    fails: Option<Cause>,
    is_here: AtomicBool,
    released: AtomicUsize,
}

impl Resource for Arc<Toy> {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn take(&self, _: &Within) -> Result<Taken, Failure> {
        if let Some(cause) = self.fails {
            return Err(Failure::new(cause, "no", "never"));
        }
        self.is_here.store(true, Ordering::SeqCst);
        Ok(Taken { remarks: vec!["slowly".to_owned()] })
    }

    fn release(&self, _: &Within) -> Result<(), Failure> {
        self.released.fetch_add(1, Ordering::SeqCst);
        self.is_here.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn is_here(&self, _: &Within) -> Result<bool, Failure> {
        Ok(self.is_here.load(Ordering::SeqCst))
    }

    fn examine(&self, _: &Within) -> Vec<Finding> {
        let bad = |cause| Finding::Bad(Failure::new(cause, "no", "never"));
        vec![self.fails.map_or_else(|| Finding::Good("yes".to_owned()), bad)]
    }
}

fn toys(fails: &[Option<Cause>]) -> (Fence, Vec<Arc<Toy>>) {
    let toys: Vec<Arc<Toy>> =
        fails.iter().map(|fails| Arc::new(Toy { fails: *fails, ..Toy::default() })).collect();
    (
        Fence::new("fence", toys.iter().map(|toy| Box::new(Arc::clone(toy)) as Box<dyn Resource>).collect()),
        toys,
    )
}

#[test]
fn levels_are_tried_in_order() {
    let within = long();
    let (fence, toys) = toys(&[Some(Cause::NoReservation), None, None]);
    assert!(matches!(&fence.examine(&within)[..], [Finding::Weak(_), Finding::Good(_), Finding::Good(_)]));
    let taken = fence.take(&within).expect("the second one can");
    assert_eq!(
        taken.remarks,
        ["toy does not fence: NO_RESERVATION: no; never", "toy fences instead", "slowly"]
    );
    assert!(fence.is_here(&within).expect("they tell") && fence.check(&within).is_ok());
    assert!(!toys[2].is_here.load(Ordering::SeqCst), "one is enough");
    fence.release(&within).expect("all can");
    // At first, all are released: nobody knows what an earlier agent has left.
    let released = || toys.iter().map(|toy| toy.released.load(Ordering::SeqCst)).collect::<Vec<_>>();
    assert_eq!(released(), [1, 1, 1]);
    fence.take(&within).expect("the second one can");
    fence.release(&within).expect("all can");
    assert_eq!(released(), [2, 2, 1], "the third one was not touched");
    fence.release(&within).expect("nothing to do");
    assert_eq!(released(), [2, 2, 1]);
    assert!(fence.check(&within).is_err());
}

#[test]
fn who_is_fenced_tries_no_other_way() {
    let (fence, toys) = toys(&[Some(Cause::Fenced), None]);
    assert_eq!(fence.take(&long()).expect_err("fenced").cause, Cause::Fenced);
    assert!(!toys[1].is_here.load(Ordering::SeqCst));
    let (fence, _) = self::toys(&[Some(Cause::NoReservation), Some(Cause::TimedOut)]);
    let failure = fence.take(&long()).expect_err("none can");
    assert!(failure.cause == Cause::TimedOut && failure.what.contains("NO_RESERVATION"), "{failure}");
    assert!(fence.examine(&long()).iter().all(|finding| matches!(finding, Finding::Bad(_))));
    let (none, _) = self::toys(&[]);
    assert_eq!(none.take(&long()).expect_err("none").cause, Cause::Misconfigured);
}

#[test]
fn a_disk_without_abort_is_preempted_with_a_remark() {
    let features = Features { abort: false, persistent: false, ..Features::default() };
    let disks = [Emulated::new("S1", features), emulated("S2")];
    level(&disks, B, all()).take(&long()).expect("free");
    let a = level(&disks, A, all());
    assert!(matches!(a.examine(&long())[..], [Finding::Good(_)]), "{:?}", a.examine(&long()));
    assert!(!disks.iter().any(|disk| is_registered(disk, A)), "the standby has registered");
    let remarks = a.take(&long()).expect("the other one is fenced").remarks;
    assert!(
        matches!(&remarks[..], [remark] if remark.starts_with("1 of 2 disks (disk S1 is one)")),
        "{remarks:?}"
    );
    assert!(disks.iter().all(|disk| disk.may_write(A) && !disk.may_write(B)));
    let failure = level(&disks, B, all()).check(&long()).expect_err("it has nothing");
    assert_eq!(failure.cause, Cause::Gone);
}

#[test]
fn who_lost_one_of_many_disks_is_fenced_and_who_can_not_reach_one_is_not() {
    let disks: Vec<Emulated> = (0..5).map(|at| emulated(&format!("S{at}"))).collect();
    let a = level(&disks, A, percent(80));
    a.take(&long()).expect("free");
    disks[1].cut(A);
    a.check(&long()).expect("four of five");
    disk(&disks[4], B).take(&long()).expect("fences");
    let failure = a.check(&long()).expect_err("one is lost");
    assert!(failure.cause == Cause::Fenced && failure.what.contains("1 more of 5"), "{failure}");
    disks[1].let_go();
    a.release(&long()).expect("what is left");
    assert!(!disks.iter().any(|disk| is_registered(disk, A)) && is_registered(&disks[4], B));
}
