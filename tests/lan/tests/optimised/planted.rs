//! Faults planted in the core on purpose: the properties must find each of them, and nothing in the core as it is.

use std::process::Output;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::{run, run_original};

/// A fault: where it is planted, and which properties may find it.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) found_by: &'static [&'static str],
}

pub(crate) const FAULTS: [Fault; 9] = [
    // Judged when it is read, and not when everything has been read that came after it.
    Fault {
        name: "silence_judged_at_once",
        file: "vhost.rs",
        from: "(State::Backup, Event::Silence(silence)) => self.listen_in_vain(silence),",
        to: "(State::Backup, Event::Silence(silence)) => {
                self.listen_in_vain(silence);
                self.succeed(now, Timer::MasterDown);
            }",
        found_by: &["NoFalseSilence"],
    },
    // The one family is silent, the other is heard.
    Fault {
        name: "silence_after_an_older_frame_believed",
        file: "patience.rs",
        from: "if self.guards[ear as usize] == Guard::Kernel && *newest <= Some(last_heard) {",
        to: "if self.guards[ear as usize] == Guard::Kernel {",
        found_by: &["NoFalseSilence"],
    },
    // So that a late reader would wait for longer, and a frame is always newer than what the kernel says about it.
    Fault {
        name: "patience_from_the_reading",
        file: "vhost/backup.rs",
        from: "let (word, ear) = (Word::of(advert), self.ear(Family::of(source)));",
        to: "let (word, ear) = (Word { stamp: now, ..Word::of(advert) }, self.ear(Family::of(source)));",
        found_by: &["SomeMaster", "Settled"],
    },
    Fault {
        name: "farewell_taken_for_a_sign_of_life",
        file: "vhost/backup.rs",
        from: "patience.hear_bow_out(ear, word);",
        to: "patience.hear(ear, word);",
        found_by: &["SomeMaster"],
    },
    Fault {
        name: "tie_that_both_lose",
        file: "election.rs",
        from: "} else if self.source < other.source {",
        to: "} else if false {",
        found_by: &["SomeMaster", "Settled"],
    },
    Fault {
        name: "tie_that_both_win",
        file: "election.rs",
        from: "} else if self.source < other.source {",
        to: "} else if true {",
        found_by: &["OneMaster"],
    },
    Fault {
        name: "stalled_master_goes_on",
        file: "vhost/master.rs",
        from: "self.state = State::Stalled;",
        to: "self.push_advertisement();",
        found_by: &["ListenFirst"],
    },
    Fault {
        name: "loser_keeps_the_addresses",
        file: "vhost/master.rs",
        from: "cause: Cause, since: Instant) {
        self.commands.push_back(Command::DropAddresses);",
        to: "cause: Cause, since: Instant) {",
        found_by: &["OneOwner"],
    },
    // So that the master does not announce them once more.
    Fault {
        name: "loser_does_not_say_that_the_addresses_are_gone",
        file: "vhost.rs",
        from: "(State::Backup, Event::Released { held }) => self.let_go(held),",
        to: "(State::Backup, Event::Released { .. }) => {}",
        found_by: &["LastWord"],
    },
];

#[test]
fn the_core_as_it_is_passes() -> Result<()> {
    // Builds it, which is not counted.
    run_original(&["0", SEED])?;
    let began = Instant::now();
    let output = run_original(&[SCHEDULES, SEED])?;
    eprintln!("the core as it is {} in {:.1?}", verdict(&output), began.elapsed());
    ensure!(output.status.success(), "the core as it is: {}", said(&output));
    Ok(())
}

#[test]
fn each_planted_fault_is_found() -> Result<()> {
    for Fault { name, found_by, .. } in &FAULTS {
        let output = run(name, &[SCHEDULES, SEED])?;
        let verdict = verdict(&output);
        eprintln!("{name}: {}", verdict.split(':').next().unwrap_or_default());
        ensure!(
            output.status.code() == Some(1) && found_by.iter().any(|property| verdict.starts_with(property)),
            "{name}, which one of {found_by:?} should find: {}",
            said(&output)
        );
    }
    Ok(())
}

/// The first line that a program said.
pub(crate) fn verdict(output: &Output) -> String {
    said(output).lines().next().unwrap_or_default().to_owned()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

const SCHEDULES: &str = "100000";
const SEED: &str = "1";
