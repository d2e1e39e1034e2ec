//! Two nodes and one disk: whatever they do, only one writes.

use std::thread;

use proptest::prelude::*;

use super::super::emulated::{Fault, Operation};
use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    Release(usize),
    Beat(usize),
    Check(usize),
    /// Registers, and is killed before it comes any further.
    Register(usize),
    /// The next operation of this kind fails, and is done all the same or not.
    Fail(usize, Operation, bool),
    /// A new connection, and an agent that knows nothing.
    Restart(usize),
    /// The same connection, and an agent that knows nothing.
    Forget(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let operation = proptest::sample::select(&Operation::ALL);
    let step =
        (0_usize..8, 0_usize..2, operation, any::<bool>()).prop_map(|(what, node, operation, is_done)| {
            match what {
                0 => Step::Take(node),
                1 => Step::Release(node),
                2 => Step::Beat(node),
                3 => Step::Check(node),
                4 => Step::Restart(node),
                5 => Step::Forget(node),
                6 => Step::Register(node),
                _ => Step::Fail(node, operation, is_done),
            }
        });
    proptest::collection::vec(step, 1..40)
}

/// Whether the reservation is this connection's.
fn has(emulated: &Emulated, nexus: u32) -> bool {
    let holder = emulated.registrations().holder.and_then(|holder| holder.key);
    emulated.may_write(nexus) && holder.is_some_and(|key| identity(nexus).whose(key) == Whose::Own)
}

fn release(disk: &Disk) -> Result<(), TestCaseError> {
    disk.release(&long()).map_err(|failure| TestCaseError::fail(failure.to_string()))
}

proptest! {
    #[test]
    fn after_a_take_nobody_else_can_write(steps in steps(), abort: bool, persistent: bool, in_scsi: bool) {
        let emulated = Emulated::new("S", Features { abort, persistent, ..Features::default() });
        let mut nexuses = [A, B];
        let connect = if in_scsi { scsi_disk } else { disk };
        let mut nodes = [connect(&emulated, A), connect(&emulated, B)];
        let mut connected = vec![A, B];
        let mut owner: Option<usize> = None;
        let mut may_fail = false;
        let within = long();
        for step in steps {
            match step {
                Step::Take(node) => {
                    let taken = nodes[node].take(&within);
                    prop_assert!(taken.is_ok() || may_fail);
                    prop_assert!(!(nodes[node].lacks_abort() && abort));
                    owner = if taken.is_ok() { Some(node) } else { owner };
                    if taken.is_err() {
                        // It may have come so far that the other one is fenced, or no further than that both can write.
                        emulated.let_go();
                        release(&nodes[node])?;
                        prop_assert!(!is_registered(&emulated, nexuses[node]));
                        owner = owner.filter(|owner| *owner != node && nodes[*owner].check(&within).is_ok());
                    }
                }
                Step::Release(node) => {
                    let released = nodes[node].release(&within);
                    prop_assert!(released.is_ok() || may_fail);
                    emulated.let_go();
                    release(&nodes[node])?;
                    prop_assert!(!is_registered(&emulated, nexuses[node]));
                    owner = owner.filter(|owner| *owner != node);
                }
                Step::Beat(node) => {
                    let holds = nodes[node].beat(&within).unwrap_or(false);
                    prop_assert!(!holds || has(&emulated, nexuses[node]));
                }
                Step::Register(node) => {
                    emulated.let_go();
                    let key = identity(nexuses[node]).key_after(&emulated.registrations().keys);
                    let registered = emulated.connect(nexuses[node]).register(Old::Anything, Some(key), &within);
                    prop_assert_eq!(registered, Ok(()));
                    nodes[node] = connect(&emulated, nexuses[node]);
                    // Whoever has it, this one can write, too.
                    owner = None;
                }
                Step::Fail(node, operation, is_done) => {
                    let fault = if is_done { Fault::After } else { Fault::Before };
                    emulated.fail(nexuses[node], operation, fault(DeviceError::TimedOut));
                    may_fail = true;
                }
                Step::Check(node) => {
                    let holds = nodes[node].check(&within);
                    prop_assert!(holds.is_err() || has(&emulated, nexuses[node]), "{holds:?}");
                }
                Step::Restart(node) => {
                    nexuses[node] += 10;
                    connected.push(nexuses[node]);
                    nodes[node] = connect(&emulated, nexuses[node]);
                    // Its earlier connection is no more, though the disk does not know.
                    owner = owner.filter(|owner| *owner != node);
                }
                Step::Forget(node) => nodes[node] = connect(&emulated, nexuses[node]),
            }
            if let Some(owner) = owner {
                let who: Vec<u32> = connected.iter().copied().filter(|nexus| emulated.may_write(*nexus)).collect();
                prop_assert_eq!(who, [nexuses[owner]]);
            }
        }
    }
}

#[test]
fn of_two_that_take_at_once_one_has_it_while_the_other_beats() {
    for _ in 0..100 {
        let emulated = emulated("S");
        let nodes = [disk(&emulated, A), disk(&emulated, B)];
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| {
                let node = Arc::clone(node);
                thread::spawn(move || {
                    let within = long();
                    let taken = node.take(&within);
                    for _ in 0..20 {
                        let _ = node.beat(&within);
                    }
                    taken
                })
            })
            .collect();
        let taken: Vec<bool> =
            threads.into_iter().map(|thread| thread.join().expect("no panic").is_ok()).collect();
        assert!(taken.contains(&true), "nobody has it");
        let who: Vec<bool> = [A, B].map(|nexus| emulated.may_write(nexus)).to_vec();
        assert_eq!(who.iter().filter(|may| **may).count(), 1, "{taken:?} {who:?}");
        let has: Vec<bool> = nodes.iter().map(|node| node.check(&long()).is_ok()).collect();
        assert_eq!(has, who);
    }
}

#[test]
fn a_key_that_moves_all_the_time_is_preempted_all_the_same() {
    let emulated = emulated("S");
    let (a, b) = (disk(&emulated, A), disk(&emulated, B));
    a.take(&long()).expect("free");
    let beats = thread::spawn(move || while a.beat(&long()) == Ok(true) {});
    b.take(&long()).expect("moved or not");
    beats.join().expect("it ends");
    assert!(emulated.may_write(B) && !emulated.may_write(A));
}

#[test]
fn nothing_is_done_where_a_stranger_has_registered() {
    let disks = [emulated("S1"), emulated("S2")];
    let stranger = disks[1].connect(STRANGER);
    stranger.register(Old::Nothing, Some(key(0x12_3456)), &long()).expect("free");
    let level = level(&disks, A, all());
    let failure = level.take(&long()).expect_err("a stranger's");
    assert_eq!(failure.cause, Cause::KeyForeign, "{failure}");
    assert!(failure.what.contains("0x123456"), "{failure}");
    assert_eq!(disks[0].registrations(), Registrations::default(), "something was done with the other one");
    assert!(matches!(&level.examine(&long())[..], [Finding::Bad(it)] if it.cause == Cause::KeyForeign));
    let bold = Disk::new(Box::new(disks[1].connect(A)), identity(A)).with_strangers(Strangers::Preempt);
    bold.take(&long()).expect("told to");
    assert!(!is_registered(&disks[1], STRANGER) && !disks[1].may_write(STRANGER));
    bold.release(&long()).expect("ours");
    assert!(disks[1].registrations().keys.is_empty());
}

#[test]
fn another_disk_than_expected_is_refused() {
    let emulated = emulated("S1");
    let named = |serial: &str| Disk::new(Box::new(emulated.connect(A)), identity(A)).expecting(serial);
    assert_eq!(named("S1").look(&long()).expect("the right one"), "S1");
    assert_eq!(named("S2").look(&long()).expect_err("the wrong one").cause, Cause::DiskForeign);
}
