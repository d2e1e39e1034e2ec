//! Each operation fails in each way: what is left then is either all ours, or goes with the release.

use std::time::Instant;

use super::super::emulated::{Fault, Operation};
use super::*;

fn faults() -> Vec<Fault> {
    let errors = [
        DeviceError::Conflict,
        DeviceError::Unsupported("x".to_owned()),
        DeviceError::NotReady("x".to_owned()),
        DeviceError::TimedOut,
        DeviceError::Stopped,
        DeviceError::Gone,
        DeviceError::Refused("x".to_owned()),
        DeviceError::System(libc::EIO),
    ];
    let both = errors.into_iter().flat_map(|error| [Fault::Before(error.clone()), Fault::After(error)]);
    both.chain([Fault::Hang]).collect()
}

/// With and without a holder before.
fn taken_by_b(is_taken: bool) -> Emulated {
    let emulated = emulated("S");
    if is_taken {
        disk(&emulated, B).take(&long()).expect("free");
    }
    emulated
}

#[test]
fn a_take_that_meets_a_fault_is_whole_or_can_be_undone() {
    for (operation, fault, is_taken) in all_of() {
        let emulated = taken_by_b(is_taken);
        let what = format!("{operation:?} {fault:?} {is_taken}");
        let level = level(std::slice::from_ref(&emulated), A, all());
        emulated.fail(A, operation, fault.clone());
        let limit = if fault == Fault::Hang { Duration::from_millis(60) } else { Duration::from_mins(1) };
        match level.take(&within(limit)) {
            Ok(_) => {
                assert!(emulated.may_write(A) && !emulated.may_write(B), "{what}");
                level.check(&long()).expect(&what);
            }
            Err(failure) => {
                assert!(!failure.what.is_empty() && !failure.remedy.is_empty(), "{what}: {failure}");
            }
        }
        if emulated.hanging() > 0 {
            let hangs = level.release(&within(Duration::from_millis(60))).expect_err("it hangs");
            assert_eq!(hangs.cause, Cause::TimedOut, "{what}: {hangs}");
        }
        emulated.let_go();
        level.release(&long()).expect(&what);
        assert!(!is_registered(&emulated, A) && !level.is_here(&long()).expect(&what), "{what}");
        level.take(&long()).expect(&what);
        assert!(emulated.may_write(A) && !emulated.may_write(B), "{what}");
    }
}

#[test]
fn a_release_that_meets_a_fault_says_so_or_is_whole() {
    for (operation, fault, _) in all_of().filter(|(_, _, is_taken)| !is_taken) {
        let emulated = emulated("S");
        let what = format!("{operation:?} {fault:?}");
        let level = level(std::slice::from_ref(&emulated), A, all());
        level.take(&long()).expect(&what);
        emulated.fail(A, operation, fault.clone());
        let limit = if fault == Fault::Hang { Duration::from_millis(60) } else { Duration::from_mins(1) };
        // That the disk knows no reservations is believed: then nobody can have registered. And to one that is gone, nobody
        // can write.
        let is_believed = match &fault {
            Fault::Before(DeviceError::Unsupported(_)) | Fault::After(DeviceError::Unsupported(_)) => {
                operation == Operation::Read
            }
            Fault::Before(error) | Fault::After(error) => *error == DeviceError::Gone,
            Fault::Hang => false,
        };
        if level.release(&within(limit)).is_ok() && !is_believed {
            assert!(!is_registered(&emulated, A), "{what}");
        }
        emulated.let_go();
        level.release(&long()).expect(&what);
        assert_eq!(emulated.registrations().keys, [], "{what}");
        assert_eq!(emulated.registrations().holder, None, "{what}");
    }
}

fn all_of() -> impl Iterator<Item = (Operation, Fault, bool)> {
    let faults = faults();
    Operation::ALL.into_iter().flat_map(move |operation| {
        faults
            .clone()
            .into_iter()
            .flat_map(move |fault| [false, true].map(|taken| (operation, fault.clone(), taken)))
    })
}

#[test]
fn what_an_earlier_connection_left_goes_with_the_release() {
    let emulated = emulated("S");
    disk(&emulated, A).take(&long()).expect("free");
    let later = disk(&emulated, A + 10);
    assert!(later.is_registered(&long()).expect("readable"));
    later.release(&long()).expect("swept");
    assert_eq!(emulated.registrations().keys, []);
    assert_eq!(emulated.registrations().holder, None);
    // While the other one has it, too.
    disk(&emulated, A).take(&long()).expect("free");
    let b = disk(&emulated, B);
    disk(&emulated, A + 20).release(&long()).expect("swept");
    b.take(&long()).expect("free");
    later.release(&long()).expect("nothing to do");
    b.check(&long()).expect("untouched");
}

#[test]
fn a_disk_that_forgets_without_power_is_not_taken_for_a_takeover() {
    for persistent in [true, false] {
        let emulated = Emulated::new("S", Features { persistent, ..Features::default() });
        let a = scsi_disk(&emulated, A);
        a.take(&long()).expect("free");
        emulated.lose_power();
        let checked = a.check(&long());
        assert_eq!(
            checked.map_err(|failure| failure.cause),
            if persistent { Ok(()) } else { Err(Cause::Gone) }
        );
        a.take(&long()).expect("again");
        a.check(&long()).expect("ours again");
        disk(&emulated, B).take(&long()).expect("fences");
        assert_eq!(a.check(&long()).expect_err("fenced").cause, Cause::Fenced);
    }
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_else() {
    let disks: Vec<Emulated> = (0..40).map(|at| emulated(&format!("S{at}"))).collect();
    let level = level(&disks, A, at_least(39));
    disks[3].hold(A);
    let began = Instant::now();
    let taken = level.take(&within(Duration::from_millis(1500)));
    // It was looked at and given up; there was no time left.
    assert!(taken.is_err() && began.elapsed() < Duration::from_secs(10), "{taken:?}");
    let patient = Reservation::new("disks", level.disks().to_vec(), at_least(39), Duration::from_secs(2));
    let taken = patient.take(&long()).expect("39 are enough");
    assert!(matches!(&taken.remarks[..], [remark] if remark.contains("disk S3")), "{taken:?}");
    assert!(disks.iter().filter(|disk| is_registered(disk, A)).count() == 39);
    assert_eq!(patient.release(&long()).expect_err("it hangs").cause, Cause::TimedOut);
    disks[3].let_go();
    patient.release(&long()).expect("it answers again");
    assert!(disks.iter().all(|disk| disk.registrations().keys.is_empty()));
}

#[test]
fn a_stop_ends_it_at_once() {
    let disks = [emulated("S1"), emulated("S2")];
    disks[0].hold(A);
    let within = long();
    let stop = within.stop().clone();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        stop.give();
    });
    let began = Instant::now();
    let failure = level(&disks, A, all()).take(&within).expect_err("stopped");
    assert!(failure.cause == Cause::Stopped && began.elapsed() < Duration::from_secs(20), "{failure}");
    stopper.join().expect("it gives");
    disks[0].let_go();
}

#[test]
fn hundreds_of_disks_take_much_less_than_one_after_the_other() {
    let latency = Duration::from_millis(5);
    let features = Features { latency, ..Features::default() };
    let disks: Vec<Emulated> = (0..200).map(|at| Emulated::new(&format!("S{at}"), features)).collect();
    let began = Instant::now();
    level(&disks, A, all()).take(&long()).expect("free");
    let elapsed = began.elapsed();
    // Serial number, read; read, register, read, reserve, read.
    let serial = latency * 7 * 200;
    println!("200 disks, {latency:?} for each operation: {elapsed:?}, one after the other {serial:?}");
    assert!(elapsed < serial / 4, "{elapsed:?}");
    assert!(disks.iter().all(|disk| disk.may_write(A) && !disk.may_write(B)));
}
