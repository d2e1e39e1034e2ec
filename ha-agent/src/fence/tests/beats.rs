//! The heartbeat in real time, with waits that may be as long as they need.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use super::super::emulated::{Fault, Operation};
use super::super::heartbeat::{Heartbeat, Lost, Proof, Rhythm, Watcher};
use super::*;
use crate::core::liveness::DiskKeys;

const RHYTHM: Rhythm = Rhythm { interval: Duration::from_millis(20), patience: 3 };

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn lost() -> (Lost, std::sync::mpsc::Receiver<Failure>) {
    let (send, receive) = channel();
    let send = Mutex::new(send);
    (Arc::new(move |failure| drop(send.lock().expect("not poisoned").send(failure))), receive)
}

#[test]
fn the_standby_sees_the_keys_move_and_stop_and_the_holder_notices_that_it_lost() {
    let disks: Vec<Emulated> = (0..3).map(|at| emulated(&format!("S{at}"))).collect();
    let holder: Vec<_> = disks.iter().map(|it| disk(it, A)).collect();
    let standby: Vec<_> = disks.iter().map(|it| disk(it, B)).collect();
    for disk in &holder {
        disk.take(&long()).expect("free");
    }
    let watcher = Watcher::start(&standby, RHYTHM).expect("threads");
    until("keys that stand are still", || watcher.word().keys == DiskKeys::Still);
    assert_eq!(watcher.word().moved, None);
    let (lost, losses) = lost();
    let heartbeat = Heartbeat::start(&holder, RHYTHM, &lost, &Proof::default()).expect("threads");
    until("they move", || watcher.word().keys == DiskKeys::Moving);
    // One disk hangs for both, another one for the holder: what is left still tells.
    disks[0].hold(A);
    disks[0].hold(B);
    disks[1].hold(A);
    until("they hang", || disks[0].hanging() == 2 && disks[1].hanging() == 1);
    let moved = watcher.word().moved;
    until("the third one moves", || watcher.word().moved > moved);
    disks.iter().for_each(Emulated::let_go);
    // An answer that is lost is no loss of the key.
    for disk in &disks {
        disk.fail(A, Operation::Register, Fault::After(DeviceError::TimedOut));
    }
    thread::sleep(RHYTHM.interval * 5);
    assert!(losses.try_recv().is_err(), "nothing was lost");
    standby[2].take(&long()).expect("fences");
    let failure = losses.recv_timeout(Duration::from_secs(30)).expect("it is noticed");
    assert!(failure.cause == Cause::Fenced && failure.what.contains("disk S2"), "{failure}");
    assert!(losses.try_recv().is_err(), "the others are not lost");
    drop(heartbeat);
    until("they are still", || watcher.word().keys == DiskKeys::Still);
    for disk in &disks {
        disk.cut(B);
    }
    until("they can't be read", || watcher.word().keys == DiskKeys::Unreadable);
}

#[test]
fn what_was_released_is_no_loss_and_proves_nothing() {
    let emulated = emulated("S");
    let holder = disk(&emulated, A);
    holder.take(&long()).expect("free");
    let (lost, losses) = lost();
    let (proof, since) = (Proof::default(), |proof: &Proof| proof.since_ns().unwrap_or_default());
    let heartbeat = Heartbeat::start(&[Arc::clone(&holder)], RHYTHM, &lost, &proof).expect("threads");
    let generation = || emulated.registrations().generation;
    let before = generation();
    until("it moves", || generation() > before + 2);
    let proven = since(&proof);
    until("it proves that it is ours", || since(&proof) > proven);
    holder.release(&long()).expect("ours");
    thread::sleep(RHYTHM.interval * 5);
    assert_eq!(emulated.registrations().keys, []);
    let proven = since(&proof);
    thread::sleep(RHYTHM.interval * 2);
    assert_eq!(since(&proof), proven);
    assert!(losses.try_recv().is_err());
    holder.take(&long()).expect("free");
    let before = generation();
    until("it moves again", || generation() > before + 2);
    drop(heartbeat);
    assert_eq!(proof.since_ns(), None);
}

#[test]
fn both_nodes_choose_the_same_disks_spread_over_all() {
    let choose = |number, order: &[usize]| -> Vec<String> {
        let disks: Vec<Emulated> = order.iter().map(|at| emulated(&format!("S{at}"))).collect();
        level(&disks, A, all()).spread(number, &long()).iter().map(|disk| disk.name().to_owned()).collect()
    };
    assert_eq!(choose(3, &[0, 1, 2, 3, 4]), ["disk S0", "disk S2", "disk S4"]);
    assert_eq!(choose(3, &[4, 2, 0, 1, 3]), choose(3, &[0, 1, 2, 3, 4]));
    assert_eq!(choose(3, &[1, 0]), ["disk S0", "disk S1"]);
    assert_eq!(choose(1, &[0, 1, 2]), ["disk S0"]);
    assert!(choose(3, &[]).is_empty() && choose(0, &[1]).is_empty());
}
