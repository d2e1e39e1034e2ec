//! That each event has one name, and that what was told is found again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Event, Events, Kind, What, file};
use crate::core::pair::report::{Claim, End, Standing, Step, Story, Trigger, Wait, Why};
use crate::core::pair::{Generation, Node};
use crate::core::reasons::{Code, Reason, Severity, Side};
use crate::core::role::Role;

#[test]
fn the_name_in_json_is_that_of_the_definition() -> Result<()> {
    let mut names = Vec::new();
    for what in all()? {
        let event = Event {
            number: 7,
            at: "2026-01-01T00:00:01Z".parse()?,
            at_ns: 5,
            severity: what.severity(),
            about: Some("data".to_owned()),
            sentence: what.to_string(),
            what,
        };
        let json = serde_json::to_value(&event)?;
        let name = event.what.kind().definition().name;
        ensure!(json["event"] == name && json["number"] == 7, "{json:#}");
        ensure!(!event.sentence.is_empty() && !event.sentence.contains('\n'), "{event:?}");
        ensure!(serde_json::from_value::<Event>(json)? == event, "{event:?}");
        names.push(name);
    }
    // All but the change of state, which is tested where it is made of.
    for kind in Kind::ALL {
        let name = kind.definition().name;
        ensure!(kind == Kind::StateChanged || names.contains(&name), "{name} is not tried");
    }
    Ok(())
}

#[test]
fn a_node_is_called_by_its_name_if_that_is_known() -> Result<()> {
    let sentence = |story, name: Option<&str>| What::of_pair(story, |_| name.map(str::to_owned)).to_string();
    let begun = Story::Begun { to: Node::B, trigger: Trigger::Operator };
    let prefers = Story::Prefers(Some(Node::B));
    for (name, called) in [(Some("controller-b"), "controller-b"), (None, "B")] {
        ensure!(sentence(begun, name) == format!("switchover to {called}: the operator wants it"));
        ensure!(sentence(prefers, name) == format!("the preferred node is {called}"));
    }
    // As an older agent has written it down.
    let old = r#"{"event":"switchover_began","to":"b","trigger":"operator"}"#;
    let what: What = serde_json::from_str(old)?;
    ensure!(what.to_string() == "switchover to B: the operator wants it", "{what}");
    Ok(())
}

#[tokio::test]
async fn what_was_told_is_there_after_a_restart_and_numbers_grow() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("made");
    let mut last = 0;
    for life in 1..=3_usize {
        let events = Events::start(&state);
        events.tell(Some("a"), What::Released);
        events.tell(None, What::FaultOver);
        events.finish(Duration::from_secs(10)).await;
        ensure!(events.unkept().is_none(), "{:?}", events.unkept());
        let after = events.after(last);
        ensure!(after.len() == 2 && after.iter().all(|event| event.number > last), "{after:?}");
        ensure!(events.after(0).len() == 2 * life, "what was before");
        last = after.last().map_or(0, |event| event.number);
        ensure!(*events.newest().borrow() == last);
        ensure!(read(&state).len() == 2 * life);
    }
    Ok(())
}

#[tokio::test]
async fn a_line_that_is_broken_is_left_out_and_no_other() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let first = Events::start(directory.path());
    first.tell(None, What::Released);
    first.tell(None, What::FaultOver);
    first.finish(Duration::from_secs(10)).await;
    let path = file::path(directory.path());
    let whole = fs::read(&path)?;
    for cut in 1..whole.len() {
        fs::write(&path, whole.get(..cut).unwrap_or_default())?;
        // The last one may lack nothing but its end.
        ensure!(read(directory.path()).len() <= 2, "{cut}");
    }
    // Killed in the middle: what comes after is on a line of its own.
    fs::write(&path, whole.get(..whole.len() - 10).unwrap_or_default())?;
    let second = Events::start(directory.path());
    second.tell(None, What::DemotionOver);
    second.finish(Duration::from_secs(10)).await;
    let kinds: Vec<_> = read(directory.path()).iter().map(|event| event.what.kind()).collect();
    ensure!(kinds == [Kind::Released, Kind::DemotionOver], "{kinds:?}");
    fs::write(&path, b"\xff\xfe{}\n[]\n{\"number\":1}\n")?;
    ensure!(read(directory.path()).is_empty());
    Ok(())
}

#[tokio::test]
async fn there_are_two_files_at_most_and_neither_grows_for_ever() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let events = Events::start(directory.path());
    let long = "x".repeat(10_000);
    for _ in 0..30 {
        for _ in 0..10 {
            events.tell(None, What::FaultBegan { fault: long.clone() });
        }
        events.finish(Duration::from_secs(10)).await;
    }
    let sizes: Vec<_> =
        fs::read_dir(directory.path())?.map(|entry| Ok(entry?.metadata()?.len())).collect::<Result<_>>()?;
    ensure!(sizes.len() == 2 && sizes.iter().all(|size| *size < 1_500_000), "{sizes:?}");
    let kept = read(directory.path());
    ensure!(kept.len() > 100 && kept.len() < 300, "{}", kept.len());
    ensure!(kept.is_sorted_by_key(|event| event.number), "in their order");
    ensure!(events.after(0).len() <= 256);
    Ok(())
}

#[tokio::test]
async fn where_nothing_can_be_kept_it_is_in_memory_and_that_is_said() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let taken = directory.path().join("a file");
    fs::write(&taken, "")?;
    let events = Events::start(&taken);
    events.tell(None, What::Released);
    events.finish(Duration::from_secs(10)).await;
    ensure!(events.after(0).len() == 1);
    let unkept = events.unkept().map(|unkept| unkept.to_string()).unwrap_or_default();
    ensure!(unkept.contains("in memory only") && unkept.contains("a file"), "{unkept}");
    // It is kept once it can be.
    fs::remove_file(&taken)?;
    events.tell(None, What::FaultOver);
    events.finish(Duration::from_secs(10)).await;
    ensure!(events.unkept().is_none() && read(&taken).len() == 1);
    Ok(())
}

fn read(directory: &Path) -> Vec<Event> {
    let mut all = Vec::new();
    file::read(directory, |event| {
        all.push(event);
        true
    });
    all
}

/// One of each, but the change of state.
fn all() -> Result<Vec<What>> {
    let generation = Generation::new(4)?;
    let reason = Reason { code: Code::NoLink, side: Side::Remote, detail: Some("eth0".to_owned()) };
    let request = crate::core::pair::message::Request { node: Node::A, start: 1, number: 2 };
    let text = || "text".to_owned();
    let stories = [
        Story::Begun { to: Node::B, trigger: Trigger::Operator },
        Story::Promised { generation },
        Story::Ended(End::Returned(Why::TakeStuck)),
        Story::Takes { generation, claim: Claim::Returned(Why::NoAnswer) },
        Story::Serves { generation },
        Story::ServesUnstored { generation },
        Story::StepsDown(Why::Isolated),
        Story::Released,
        Story::TakeFailed(Why::TakeFailed),
        Story::EndsHard(Why::Fenced),
        Story::Waits(Wait::PeerActive),
        Story::Held(true),
        Story::Disabled(false),
        Story::Prefers(Some(Node::A)),
    ];
    ensure!(What::ReasonBegan { reason: reason.clone() }.severity() == Severity::Critical);
    let others = [
        What::AgentStarted { version: text(), pid: 1 },
        What::AgentEnded { how: text() },
        What::UpdateKept { version: text() },
        What::UpdateFailed { digest: text() },
        What::Reloaded { done: text() },
        What::NotReloaded { cause: text() },
        What::RoleChanged { from: Role::Backup, to: Role::Master },
        What::AddressesUp { address_up_ns: 1, announced_ns: 2 },
        What::AddressesPutBack { added: 2 },
        What::FaultBegan { fault: text() },
        What::FaultOver,
        What::Suspicious { name: text(), source: [10, 0, 0, 1].into(), count: 1, meaning: text() },
        What::Stalled { lasted_ms: 1.5 },
        What::LeaseLapsed { lasted_ms: 1.5 },
        What::Demoted { level: 240, causes: vec![text()] },
        What::DemotionOver,
        What::ReasonBegan { reason: reason.clone() },
        What::ReasonOver { reason },
        What::PeerLinkUp { via: text() },
        What::PeerLinkLost { cause: text() },
        What::SwitchoverStep { request, step: Step::Release, standing: Standing::Done, since_ns: 1 },
        What::TakeoverSteps { generation, steps: Vec::new() },
        What::TooManyFailovers,
        What::EventsLost { count: 3 },
    ];
    let mut all: Vec<What> =
        stories.into_iter().map(|story| What::of_pair(story, |_| Some(text()))).collect();
    all.extend(others);
    Ok(all)
}
