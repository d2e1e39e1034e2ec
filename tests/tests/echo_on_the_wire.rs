//! The echo between two nodes: the kernel of one answers the other, whoever floods it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use frames::Hook;
use frames::asking::{Asker, DEAD, Scene, paths};
use frames::echo::Probe;
use ha_common::abi::Record;
use ha_common::echo::{NO_PATH, Refusal};
use lab::pauses::undisturbed;
use lab::sender::{Sender, processors};

#[test]
fn a_kernel_answers_its_peer_in_both_families_from_either_hook() -> Result<()> {
    for (label, hook) in [("echo", Hook::Xdp), ("echo-tc", Hook::Tc)] {
        let Some(mut scene) = Scene::new(label, hook)? else { return Ok(()) };
        for [from, to] in paths(&scene.asking) {
            let mut asker = Asker::new(&scene.asking, from, to)?;
            for _ in 0..100 {
                asker.ask(&mut scene.own)?.with_context(|| format!("{label}: no answer from {to}"))?;
            }
        }
        for slot in 0..2 {
            let counted = scene.kernel.echo().counted(slot)?;
            ensure!(counted.accepted == 100 && counted.received == 100, "{label}: {counted:?}");
        }
    }
    Ok(())
}

#[test]
fn a_flood_of_forged_and_of_repeated_probes_keeps_no_true_one_from_its_answer() -> Result<()> {
    let Some(mut scene) = Scene::new("echo-flood", Hook::Xdp)? else { return Ok(()) };
    let [[from, to], _] = paths(&scene.asking);
    let mut asker = Asker::new(&scene.asking, from, to)?;
    asker.ask(&mut scene.own)?.context("no answer before the flood")?;
    let last = asker.nonce;
    let forged = Probe { key: [9; 20], ..Probe::between(from, to, u64::MAX) };
    let repeated = Probe::between(from, to, last);
    let stranger = Probe { from: IpAddr::from([10, 77, 0, 200]), ..Probe::between(from, to, u64::MAX) };
    let to_it = |probe: Probe| {
        let mut frame = probe.frame(&[]);
        frame[..6].copy_from_slice(&scene.hardware);
        frame
    };
    let frames = [forged, repeated, stranger].map(to_it);
    let before = scene.kernel.echo().counted(0)?;
    let processor = processors()?.pop().context("no processor")?;
    let flood = Sender::start(&scene.lan, &scene.asked, frames.to_vec(), processor)?;
    let (began, mut asked_for, mut tries) = (Instant::now(), 0_u32, 0);
    while asked_for < ASKED || scene.kernel.echo().counted(0)?.refused(Refusal::BadAuth) < FORGED {
        tries += 1;
        // What waits in a full cable may be lost, as anything else is then.
        asked_for += u32::from(asker.ask(&mut scene.own)?.is_some());
        ensure!(tries < 2 * asked_for + 10, "{asked_for} answers for {tries} probes");
        ensure!(began.elapsed() < 20 * PATIENCE, "only {:?}", scene.kernel.echo().counted(0)?);
    }
    let (sent, took) = (flood.sent(), began.elapsed());
    drop(flood);
    let now = scene.kernel.echo().counted(0)?;
    let of = |reason| now.refused(reason) - before.refused(reason);
    println!(
        "{asked_for} answers for {tries} probes in {took:?}, beside {sent} others: {} forged, {} repeated",
        of(Refusal::BadAuth),
        of(Refusal::Replay)
    );
    ensure!(of(Refusal::Replay) > FORGED / 2, "{now:?}");
    ensure!(scene.kernel.echo().counted(NO_PATH)?.refused(Refusal::BadSource) > 1000, "from a stranger");
    ensure!(now.accepted - before.accepted <= u64::from(tries), "something else was answered: {now:?}");
    Ok(())
}

#[test]
fn whose_answers_stop_is_told_when_the_oldest_is_too_late_and_not_before() -> Result<()> {
    undisturbed(|| {
        for (label, hook) in [("unanswered", Hook::Xdp), ("unanswered-tc", Hook::Tc)] {
            let Some(mut scene) = Scene::new(label, hook)? else { return Ok(()) };
            let [[from, to], _] = paths(&scene.asking);
            let mut asker = Asker::new(&scene.asking, from, to)?;
            for _ in 0..50 {
                asker.ask(&mut scene.own)?.context("no answer")?;
            }
            // Nothing is on its way: nobody is missed.
            ensure!(scene.own.wait_for_record(5 * DEAD).is_none(), "nobody was asked");
            for _ in 0..3 {
                scene.lan.cut(&scene.asked)?;
                asker.send()?;
                asker.send()?;
                let Some(Record::Unanswered(told)) = scene.own.wait_for_record(PATIENCE) else {
                    bail!("nothing was told")
                };
                let [late, dead] = [told.fired_ns - told.deadline_ns, told.deadline_ns - told.last_ns];
                println!("{label}: told {:?} after its departure", Duration::from_nanos(late + dead));
                ensure!(dead == u64::try_from(DEAD.as_nanos())? && late < LATE_NS, "{told:?}");
                // Once: who asks on is told nothing more.
                asker.send()?;
                ensure!(scene.own.wait_for_record(5 * DEAD).is_none(), "told twice");
                scene.lan.mend(&scene.asked)?;
                scene.lan.wait_until_forwarding(&scene.asked)?;
                asker.ask(&mut scene.own)?.context("no answer after it")?;
            }
            let counted = scene.own.echo().counted(0)?;
            ensure!(counted.accepted == 53, "{counted:?}");
        }
        Ok(())
    })
}

/// So many true ones at least, and so many forged ones beside them.
const ASKED: u32 = 500;
const FORGED: u64 = 50_000;
/// A timer may be so late on a machine that does other things.
const LATE_NS: u64 = 2_000_000;
const PATIENCE: Duration = Duration::from_secs(1);
