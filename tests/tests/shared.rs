//! The configuration that two agents share: a change of it is on both, or on none, whatever happens meanwhile.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::introduction::{Linked, introduce};
use lab::{Agent, AgentConfig, Random};
use serde_json::Value;

#[test]
fn a_change_on_either_node_is_on_both() -> Result<()> {
    let Some(lab) = linked("shared")? else { return Ok(()) };
    let Linked { a, b, .. } = &lab;
    settled(&lab, 1)?;

    // From a, what both can take up while they run.
    let marks = [a.mark(), b.mark()];
    let slower = TEXT.replace("\"2s\"", "\"3s\"");
    let checked = done(&apply(a, &slower, &["--dry-run"])?)?;
    ensure!(checked.contains("a: clock_difference changed to 3s"), "{checked}");
    ensure!(checked.contains("b: clock_difference changed to 3s"), "{checked}");
    settled(&lab, 1)?;
    let said = done(&apply(a, &slower, &[])?)?;
    ensure!(said.contains("version 2") && said.contains("b: clock_difference changed to 3s"), "{said}");
    for (agent, mark) in [a, b].into_iter().zip(marks) {
        agent.process.wait_for_line(mark, "reloaded: clock_difference changed to 3s", PATIENCE)?;
    }
    settled(&lab, 2)?;

    // From b.
    let open = format!("{slower}refused = \"pass\"\n");
    let said = done(&apply(b, &open, &[])?)?;
    ensure!(said.contains("a: refused of virtual host 'data' changed to pass"), "{said}");
    settled(&lab, 3)?;
    for agent in [a, b] {
        for more in [&[][..], &["--peer"][..]] {
            ensure!(
                done(&agent.command_with(&[&["config", "show"], more].concat())?)?.trim_end()
                    == open.trim_end()
            );
        }
        ensure!(done(&agent.command_with(&["config", "diff"])?)?.is_empty());
    }
    let said = done(&apply(b, &open, &[])?)?;
    ensure!(said.trim() == "nothing is new", "{said}");

    // What needs a restart is done only if that is said.
    let patient = open.replace("detect = 3", "detect = 5");
    let why = refused(&apply(a, &patient, &[])?)?;
    ensure!(
        why.contains("detect of virtual host 'data' changed from 3 to 5") && why.contains("--at-restart"),
        "{why}"
    );
    settled(&lab, 3)?;
    done(&apply(a, &patient, &["--at-restart"])?)?;
    settled(&lab, 4)?;
    let down = |agent: &Agent| anyhow::Ok(agent.vhost()?["master_down_ms"].as_f64().unwrap_or_default());
    let before = down(b)?;
    for agent in [a, b] {
        reason(agent, "CONFIG_WAITS")?.context("nothing waits")?;
    }
    let mut lab = lab;
    lab.b.kill()?;
    lab.b.restart(&lab.pair.b)?;
    ensure!(down(&lab.b)? > before && reason(&lab.b, "CONFIG_WAITS")?.is_none(), "b has not taken it up");
    Ok(())
}

#[test]
fn what_the_peer_cant_have_is_on_neither() -> Result<()> {
    let Some(lab) = linked("refuse")? else { return Ok(()) };
    let Linked { a, b, .. } = &lab;
    settled(&lab, 1)?;
    let before = [fs::read(a.shared())?, fs::read(b.shared())?];
    let more = format!("{TEXT}[[vhost]]\nname = \"more\"\nvhid = 11\naddresses = [\"10.77.0.101/24\"]\n");

    let why = refused(&apply(a, &more, &["--at-restart"])?)?;
    ensure!(why.contains("new.toml:12: vhost 'more' has no [[vhost]] in "), "{why}");
    let own = fs::read_to_string(a.config())?;
    fs::write(a.config(), format!("{own}[[vhost]]\nname = \"more\"\ninterface = \"eth0\"\n"))?;
    let why = refused(&apply(a, &more, &["--at-restart"])?)?;
    ensure!(why.contains("the peer: what a proposes:12: vhost 'more' has no [[vhost]] in "), "{why}");
    fs::write(a.config(), own)?;
    for wrong in ["", "[auth\n", "node = \"x\"\n", "x".repeat(48 * 1024).as_str()] {
        refused(&apply(b, wrong, &[])?)?;
    }
    ensure!([fs::read(a.shared())?, fs::read(b.shared())?] == before, "something was stored");
    settled(&lab, 1)
}

#[test]
fn a_node_that_was_away_has_it_when_it_is_back() -> Result<()> {
    let Some(mut lab) = linked("away")? else { return Ok(()) };
    settled(&lab, 1)?;
    lab.b.kill()?;
    lab.a.until_link(PATIENCE, |link| (link["state"] != "up").then_some(()))?;
    let before = fs::read(lab.a.shared())?;
    let slower = TEXT.replace("\"2s\"", "\"3s\"");
    let why = refused(&apply(&lab.a, &slower, &[])?)?;
    ensure!(why.contains("nothing was changed") && why.contains("--alone"), "{why}");
    ensure!(fs::read(lab.a.shared())? == before, "something was stored");
    let slowest = TEXT.replace("\"2s\"", "\"4s\"");
    for (text, version) in [(&slower, 2), (&slowest, 3)] {
        done(&apply(&lab.a, text, &["--alone"])?)?;
        let shared = lab.a.status()?["shared"].clone();
        ensure!(shared["version"] == version && shared["agreed"] == 1, "{shared:#}");
    }
    lab.b.restart(&lab.pair.b)?;
    settled(&lab, 3)?;
    lab.b.process.wait_for_line(0, "reloaded: clock_difference changed to 4s", PATIENCE)?;
    ensure!(text_of(&lab.b)? == slowest);
    Ok(())
}

#[test]
fn what_a_node_cant_take_when_it_is_back_is_told_on_both_until_it_is_mended() -> Result<()> {
    let Some(mut lab) = linked("mended")? else { return Ok(()) };
    settled(&lab, 1)?;
    lab.b.kill()?;
    lab.a.until_link(PATIENCE, |link| (link["state"] != "up").then_some(()))?;
    let more = format!("{TEXT}[[vhost]]\nname = \"more\"\nvhid = 11\naddresses = [\"10.77.0.101/24\"]\n");
    let add = |agent: &Agent| {
        let own = fs::read_to_string(agent.config())?;
        fs::write(agent.config(), format!("{own}[[vhost]]\nname = \"more\"\ninterface = \"eth0\"\n"))
    };
    add(&lab.a)?;
    done(&apply(&lab.a, &more, &["--alone", "--at-restart"])?)?;
    lab.b.restart(&lab.pair.b)?;
    for agent in [&lab.a, &lab.b] {
        // Before, a may know of what b told last that it was not agreed on yet.
        let cause = "version 2 by a:12: vhost 'more' has no [[vhost]] in ";
        until(|| Ok(reason(agent, "CONFIG_DIFFERS")?.filter(|told| told.contains(cause))))?;
    }
    ensure!(text_of(&lab.b)? == TEXT, "b has taken it");
    add(&lab.b)?;
    settled(&lab, 2)?;
    for agent in [&lab.a, &lab.b] {
        until(|| Ok(reason(agent, "CONFIG_DIFFERS")?.is_none().then_some(())))?;
        reason(agent, "CONFIG_WAITS")?.context("it does not wait for a restart")?;
    }
    Ok(())
}

#[test]
fn of_changes_on_both_nodes_at_once_each_is_on_both_or_on_none() -> Result<()> {
    let Some(lab) = linked("once")? else { return Ok(()) };
    settled(&lab, 1)?;
    let mut counts = [0; 3];
    for round in 0..8 {
        let texts = [0, 1].map(|node| TEXT.replace("\"2s\"", &format!("\"{}ms\"", 3000 + 2 * round + node)));
        let before = text_of(&lab.a)?;
        let mut orders = Vec::new();
        for (agent, text) in [&lab.a, &lab.b].into_iter().zip(&texts) {
            orders.push(order(agent, text, &[])?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?);
        }
        let outputs = orders.into_iter().map(Child::wait_with_output).collect::<Result<Vec<_>, _>>()?;
        until(|| same(&lab))?;
        let after = text_of(&lab.a)?;
        ensure!(text_of(&lab.b)? == after, "round {round}: they differ");
        let done: Vec<_> = texts.iter().zip(&outputs).filter(|(_, output)| output.status.success()).collect();
        counts[done.len()] += 1;
        let allowed =
            if done.is_empty() { after == before } else { done.iter().any(|(text, _)| **text == after) };
        ensure!(allowed, "round {round}: {outputs:#?}\n{after}");
    }
    println!("of two changes at once, none, one, both were done: {counts:?} times");
    Ok(())
}

#[test]
fn of_two_changes_made_apart_an_operator_chooses_one() -> Result<()> {
    let Some(lab) = linked("apart")? else { return Ok(()) };
    let Linked { a, b, interlink, pair } = &lab;
    settled(&lab, 1)?;
    interlink.cut(&pair.b)?;
    for agent in [a, b] {
        agent.until_link(PATIENCE, |link| (link["state"] != "up").then_some(()))?;
    }
    let texts = ["\"3s\"", "\"4s\""].map(|time| TEXT.replace("\"2s\"", time));
    for (agent, text) in [a, b].into_iter().zip(&texts) {
        done(&apply(agent, text, &["--alone"])?)?;
    }
    interlink.mend(&pair.b)?;
    for agent in [a, b] {
        agent.until_link(PATIENCE, |link| (link["state"] == "up").then_some(()))?;
        let sentence = until(|| reason(agent, "CONFIG_DIFFERS"))?;
        ensure!(sentence.contains("each was changed without the other"), "{sentence}");
    }
    ensure!([text_of(a)?, text_of(b)?] == texts, "one was overwritten");
    let diff = a.command_with(&["config", "diff"])?;
    let shown = String::from_utf8_lossy(&diff.stdout);
    println!("{shown}");
    let errors = String::from_utf8_lossy(&diff.stderr);
    ensure!(diff.status.code() == Some(1), "{}: {errors}", diff.status);
    for line in [
        "--- a, version 2 by a",
        "+++ b, version 2 by b",
        "-clock_difference = \"3s\"",
        "+clock_difference = \"4s\"",
    ] {
        ensure!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    let why = refused(&apply(a, &texts[0], &[])?)?;
    ensure!(why.contains("--over"), "{why}");
    done(&apply(a, &texts[0], &["--over"])?)?;
    settled(&lab, 3)?;
    ensure!([text_of(a)?, text_of(b)?] == [&texts[0], &texts[0]].map(Clone::clone));
    for agent in [a, b] {
        until(|| Ok(reason(agent, "CONFIG_DIFFERS")?.is_none().then_some(())))?;
    }
    Ok(())
}

#[test]
fn a_newer_layout_is_never_overwritten() -> Result<()> {
    let Some(mut lab) = linked("layout")? else { return Ok(()) };
    settled(&lab, 1)?;
    let newer = fs::read_to_string(lab.a.shared())?.replace("\"layout\": 1", "\"layout\": 2");
    fs::write(lab.a.shared(), &newer)?;
    let changed = TEXT.replace("\"2s\"", "\"3s\"");
    for agent in [&lab.a, &lab.b] {
        for more in [&[][..], &["--over"], &["--alone"]] {
            let output = apply(agent, &changed, more)?;
            // A node whose peer has something that can't be read may go on alone, and then differs from it.
            if output.status.success() && agent.process.pid() == lab.b.process.pid() && more == ["--alone"] {
                continue;
            }
            let why = refused(&output)?;
            ensure!(why.contains("has layout 2, and this agent knows 1; update ha-agent"), "{why}");
        }
    }
    thread::sleep(Duration::from_secs(1));
    ensure!(fs::read_to_string(lab.a.shared())? == newer, "it was overwritten");
    lab.a.kill()?;
    let error =
        lab.a.restart(&lab.pair.a).map_or_else(|error| format!("{error:#}"), |()| "it runs".to_owned());
    ensure!(error.contains("has layout 2, and this agent knows 1; update ha-agent"), "{error}");
    ensure!(fs::read_to_string(lab.a.shared())? == newer, "it was overwritten");
    Ok(())
}

#[test]
fn killed_at_any_moment_both_come_to_the_same() -> Result<()> {
    let Some(mut lab) = linked("killed")? else { return Ok(()) };
    let seed = number("HA_SEED", 1);
    let rounds = number("HA_KILLED", 12);
    let mut random = Random::new(seed);
    settled(&lab, 1)?;
    let mut old = TEXT.replace("\"2s\"", "\"1s\"");
    let began = Instant::now();
    done(&apply(&lab.a, &old, &[])?)?;
    let (lasts, mut changed) = (began.elapsed(), 0);
    for round in 0..rounds {
        let at_a = random.number().is_multiple_of(2);
        let kills_a = random.number().is_multiple_of(2);
        let delay = lasts * u32::try_from(random.below(1200))? / 1000;
        let what = format!(
            "seed {seed}, round {round}: changed at {}, {} killed after {delay:?}",
            if at_a { "a" } else { "b" },
            if kills_a { "a" } else { "b" }
        );
        let new = TEXT.replace("\"2s\"", &format!("\"{}ms\"", 3000 + round));
        let order = order(if at_a { &lab.a } else { &lab.b }, &new, &[])?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        thread::sleep(delay);
        let (victim, node) = if kills_a { (&mut lab.a, &lab.pair.a) } else { (&mut lab.b, &lab.pair.b) };
        victim.kill()?;
        let said = order.wait_with_output()?;
        victim.restart(node)?;
        let version = until(|| same(&lab)).with_context(|| what.clone())?;
        let texts = [text_of(&lab.a)?, text_of(&lab.b)?];
        ensure!(texts[0] == texts[1], "{what}: version {version}, but {texts:#?}");
        ensure!(texts[0] == new || texts[0] == old, "{what}: {}", texts[0]);
        ensure!(texts[0] == new || !said.status.success(), "{what}: done, it said, and it is not");
        changed += u32::from(texts[0] == new);
        [old, _] = texts;
    }
    println!(
        "{rounds} changes, in each of which an agent was killed (seed {seed}): {changed} are on both, the others on neither"
    );
    Ok(())
}

/// Two agents that share `TEXT`, introduced to each other.
fn linked(label: &str) -> Result<Option<Linked>> {
    if !lab::available() {
        return Ok(None);
    }
    let configs = Linked::configs().map(|config| AgentConfig { shared: Some(TEXT.to_owned()), ..config });
    let lab = Linked::start_with(label, &[99], configs)?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    for agent in [&lab.a, &lab.b] {
        agent.until_link(PATIENCE, |link| (link["state"] == "up").then_some(()))?;
    }
    Ok(Some(lab))
}

fn order(agent: &Agent, text: &str, more: &[&str]) -> Result<Command> {
    let file = agent.shared().with_file_name("new.toml");
    fs::write(&file, text)?;
    let mut command = Command::new(lab::agent_binary()?);
    command.args(["config", "apply"]).arg(file).args(more).arg("--control").arg(agent.socket());
    command.stdin(Stdio::null());
    Ok(command)
}

fn apply(agent: &Agent, text: &str, more: &[&str]) -> Result<Output> {
    Ok(order(agent, text, more)?.output()?)
}

/// What it printed.
fn done(output: &Output) -> Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Why it was not done.
fn refused(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(!output.status.success(), "it was done: {said}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The version that both have and know that they have.
fn same(lab: &Linked) -> Result<Option<u64>> {
    let [a, b] = [lab.a.status()?["shared"].clone(), lab.b.status()?["shared"].clone()];
    let version = a["version"].as_u64();
    Ok(version.filter(|_| a == b && a["agreed"] == a["version"] && a["trouble"].is_null()))
}

fn settled(lab: &Linked, version: u64) -> Result<()> {
    until(|| Ok(same(lab)?.filter(|same| *same == version).map(drop)))
        .with_context(|| format!("version {version}: {:#} {:#}", shared(&lab.a), shared(&lab.b)))
}

fn shared(agent: &Agent) -> Value {
    agent.status().map(|status| status["shared"].clone()).unwrap_or_default()
}

/// The text in its file.
fn text_of(agent: &Agent) -> Result<String> {
    let shared: Value = serde_json::from_slice(&fs::read(agent.shared())?)?;
    Ok(shared["text"].as_str().unwrap_or_default().to_owned())
}

/// The sentence of a reason that it gives.
fn reason(agent: &Agent, name: &str) -> Result<Option<String>> {
    let status = agent.status()?;
    let reasons = status["reasons"].as_array().cloned().unwrap_or_default();
    let found = reasons.iter().find(|reason| reason["name"] == name);
    Ok(found.map(|reason| reason["sentence"].to_string()))
}

fn until<T>(mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            bail!("not within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

const TEXT: &str = r#"# on both nodes
[auth]
mode = "strict"
clock_difference = "2s"

[[vhost]]
name = "data"
vhid = 10
addresses = ["10.77.0.100/24"]
interval = "10ms"
detect = 3
"#;
const PATIENCE: Duration = Duration::from_secs(20);
