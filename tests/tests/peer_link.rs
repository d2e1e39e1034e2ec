//! The link between two agents: introduced, cut, stopped, rotated, and besieged by strangers.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ha_agent::peer::identity::{Identity, NodeId};
use ha_agent::peer::tls::Tls;
use lab::introduction::{Host, Linked, command, introduce, run};
use lab::process::memory;
use lab::{Agent, Node};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn a_pair_is_introduced_by_a_code_and_linked_over_two_paths() -> Result<()> {
    let Some(site) = linked("intro")? else { return Ok(()) };
    let Linked { pair, interlink, a, b } = &site;
    for agent in [a, b] {
        agent.until_link(PATIENCE, |link| (link["state"] == "unpaired").then_some(()))?;
    }
    let mut host = Host::start(&pair.a, a, &[])?;
    let wrong = if host.code == "0000-0000" { "0000-0001" } else { "0000-0000" };
    let refused = run(&pair.b, command(b, "join")?.args([&host.address, "--code", wrong]));
    ensure!(format!("{:#}", refused.err().context("a wrong code pairs")?).contains("the code is wrong"));
    host.process.wait_for_line(0, "a wrong code from 10.99.0.2", PATIENCE)?;
    ensure!(!b.peer_directory().join("peer.pem").exists(), "something is left of a wrong code");
    let file = b.config().with_file_name("code");
    fs::write(&file, format!("{}\n", host.code.to_lowercase().replace('-', " ")))?;
    run(&pair.b, command(b, "join")?.arg(&host.address).arg("--code-file").arg(&file))?;
    ensure!(host.process.wait(PATIENCE)?.success(), "{:?}", host.process.lines());

    for (agent, own, peer) in [(a, "1", "2"), (b, "2", "1")] {
        up_via(agent, &format!("10.99.0.{peer}:7780"))?;
        agent.until_link(PATIENCE, |link| all_paths(link, "up").then_some(()))?;
        let shown = run(&pair.a, &command(agent, "show")?)?;
        ensure!(shown.contains("peer  ") && !shown.contains("not paired"), "{own}: {shown}");
    }
    let again = Host::start(&pair.a, a, &["--listen", "10.77.0.1:7781"]);
    ensure!(format!("{:#}", again.err().context("paired twice")?).contains("--replace"));

    // One path cut, the other goes on; and back.
    interlink.cut(&pair.b)?;
    for (agent, peer) in [(a, "2"), (b, "1")] {
        up_via(agent, &format!("10.77.0.{peer}:7780"))?;
        agent.until_link(PATIENCE, |link| (link["paths"][0]["state"] == "down").then_some(()))?;
    }
    interlink.mend(&pair.b)?;
    for (agent, peer) in [(a, "2"), (b, "1")] {
        up_via(agent, &format!("10.99.0.{peer}:7780"))?;
    }
    nothing_moved(&site)
}

#[test]
fn nodes_of_one_name_are_not_introduced_and_if_they_get_it_later_both_say_so() -> Result<()> {
    let Some(mut site) = linked("namesakes")? else { return Ok(()) };
    let name = fs::read_to_string(site.b.config())?;
    let namesake = name.replacen("node = \"b\"", "node = \"a\"", 1);
    ensure!(name != namesake, "{name}");
    fs::write(site.b.config(), &namesake)?;
    let Linked { pair, a, b, .. } = &site;
    let mut host = Host::start(&pair.a, a, &[])?;
    let refused = run(&pair.b, command(b, "join")?.args([&host.address, "--code", &host.code]));
    ensure!(format!("{:#}", refused.err().context("they are a pair")?).contains("both nodes are called 'a'"));
    ensure!(!host.process.wait(PATIENCE)?.success());
    ensure!(
        host.process.lines().join("\n").contains("both nodes are called 'a'"),
        "{:?}",
        host.process.lines()
    );

    fs::write(site.b.config(), name)?;
    introduce((&pair.a, a), (&pair.b, b))?;
    fs::write(site.b.config(), namesake)?;
    site.b.kill()?;
    site.b.restart(&site.pair.b)?;
    for agent in [&site.a, &site.b] {
        let said = agent.process.wait_for_line(0, "SAME_NAME", PATIENCE)?;
        ensure!(said > 0, "at once");
        let refused = agent.command("failover")?;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(5) && why.contains("SAME_NAME"), "{refused:?}");
    }
    Ok(())
}

#[test]
fn a_stopped_peer_is_not_answering_within_two_heartbeats() -> Result<()> {
    let Some(site) = linked("stopped")? else { return Ok(()) };
    let Linked { pair, a, b, .. } = &site;
    introduce((&pair.a, a), (&pair.b, b))?;
    for agent in [a, b] {
        agent.until_link(PATIENCE, |link| all_paths(link, "up").then_some(()))?;
    }
    for _ in 0..3 {
        b.process.signal(Signal::SIGSTOP)?;
        let stopped = Instant::now();
        let noticed = a.until_link(PATIENCE, |link| (link["state"] == "not_answering").then(Instant::now));
        // It is asked every 10 ms.
        let took = noticed.map(|noticed| noticed - stopped);
        let while_stopped = a.status()?["peer_link"].clone();
        b.process.signal(Signal::SIGCONT)?;
        let took = took?;
        ensure!(took < 2 * HEARTBEAT + Duration::from_millis(100), "noticed after {took:?}");
        ensure!(all_paths(&while_stopped, "not_answering"), "TCP is up: {while_stopped:#}");
        for agent in [a, b] {
            agent.until_link(PATIENCE, |link| all_paths(link, "up").then_some(()))?;
        }
    }
    Ok(())
}

#[test]
fn keys_are_changed_while_the_agents_run_and_old_ones_are_refused() -> Result<()> {
    let Some(site) = linked("rotation")? else { return Ok(()) };
    let Linked { pair, a, b, .. } = &site;
    let before = run(&pair.a, command(a, "rotate")?.args(["--wait", "0"]));
    ensure!(format!("{:#}", before.err().context("rotated unpaired")?).contains("not paired"));
    introduce((&pair.a, a), (&pair.b, b))?;
    a.until_link(PATIENCE, |link| all_paths(link, "up").then_some(()))?;
    let old = fs::read(a.peer_directory().join("node.pem"))?;
    run(&pair.a, &command(a, "rotate")?)?;
    ensure!(fs::read(a.peer_directory().join("node.pem"))? != old, "the same key");
    let done = |name: &str, agent: &Agent| !agent.peer_directory().join(name).exists();
    b.until_link(PATIENCE, |_| done("peer-next.pem", b).then_some(()))?;
    ensure!(done("node-next.pem", a));
    for agent in [a, b] {
        agent.until_link(PATIENCE, |link| all_paths(link, "up").then_some(()))?;
    }
    let pinned = fs::read_to_string(b.peer_directory().join("peer.pem"))?;
    let own = fs::read_to_string(a.peer_directory().join("node.pem"))?;
    ensure!(own.ends_with(&pinned), "another certificate is pinned than the new one");
    ensure!(!is_let_in(&pair.witness, &Identity::from_pem(&old)?, b)?, "the old certificate is let in");
    ensure!(
        is_let_in(&pair.witness, &Identity::from_pem(own.as_bytes())?, b)?,
        "the new certificate is not let in"
    );
    nothing_moved(&site)
}

#[test]
fn strangers_change_nothing_and_cost_little() -> Result<()> {
    let Some(site) = linked("strangers")? else { return Ok(()) };
    let Linked { pair, a, b, .. } = &site;
    introduce((&pair.a, a), (&pair.b, b))?;
    for agent in [a, b] {
        agent.until_link(PATIENCE, |link| all_paths(link, "up").then_some(()))?;
    }
    let (mark, before) = (a.mark(), memory(a.process.pid())?.resident);

    let stranger = Identity::generate("a", NodeId::random()?)?;
    ensure!(!is_let_in(&pair.witness, &stranger, a)?, "a stranger's certificate is let in");
    let record = [&[0x16, 3, 1, 0xff, 0xff][..], &vec![1; 1 << 20]].concat();
    let table: [(&str, Vec<u8>); 5] = [
        ("nothing", Vec::new()),
        ("words", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a huge frame of ours", [&u32::MAX.to_be_bytes()[..], &vec![0x81; 1 << 20]].concat()),
        ("a huge record of TLS", record),
        ("half a record of TLS", vec![0x16, 3, 1, 2, 0, 1]),
    ];
    for (what, bytes) in table {
        let lasted = pair.witness.netns.run(move || say(&bytes, Duration::ZERO))??;
        ensure!(lasted < DEADLINE + SLACK, "{what}: closed after {lasted:?}");
    }
    let trickle =
        pair.witness.netns.run(|| say(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 9, 9, 9], DEADLINE / 5))??;
    ensure!(trickle < DEADLINE + SLACK, "a trickle was closed after {trickle:?}");
    up(a)?;

    let crowd = pair.witness.netns.run(|| crowd(CROWD))??;
    ensure!(crowd.len() == CROWD, "only {} of {CROWD} came", crowd.len());
    up(a)?;
    drop(crowd);
    thread::sleep(DEADLINE);
    up(a)?;
    let after = memory(a.process.pid())?;
    let cost = after.peak.saturating_sub(before);
    println!(
        "{CROWD} connections cost {} KiB at most, {} KiB lasting",
        cost >> 10,
        after.resident.saturating_sub(before) >> 10
    );
    ensure!(cost < 20 << 20, "it cost {} MiB", cost >> 20);
    let mut lines = a.process.lines().split_off(mark);
    lines.retain(|line| line.contains("WARN"));
    ensure!(lines.len() <= 3 && lines.iter().all(|line| line.contains("turned away")), "{lines:#?}");
    nothing_moved(&site)
}

/// Two agents with a link over two paths, not introduced yet.
fn linked(label: &str) -> Result<Option<Linked>> {
    lab::available().then(|| Linked::start(label, &[99, 77])).transpose()
}

/// Checks that the master is the one that it was all the time.
fn nothing_moved(Linked { a, b, .. }: &Linked) -> Result<()> {
    for (agent, state) in [(a, "MASTER"), (b, "BACKUP")] {
        let vhost = agent.vhost()?;
        ensure!(vhost["state"] == state, "{vhost:#}");
    }
    let masters = b.changes(0);
    ensure!(!masters.iter().any(|line| line.contains("-> MASTER")), "{masters:#?}");
    Ok(())
}

fn all_paths(link: &Value, state: &str) -> bool {
    link["paths"]
        .as_array()
        .is_some_and(|paths| paths.len() == 2 && paths.iter().all(|path| path["state"] == state))
}

fn up_via(agent: &Agent, address: &str) -> Result<()> {
    agent
        .until_link(PATIENCE, |link| (link["via"] == address).then_some(()))
        .with_context(|| format!("up via {address}"))
}

/// Checks that it is up now, and young.
fn up(agent: &Agent) -> Result<()> {
    let link = agent.status()?["peer_link"].clone();
    let age = link["age_ms"].as_f64().unwrap_or(f64::INFINITY);
    ensure!(link["state"] == "up" && age < 2e3 * HEARTBEAT.as_secs_f64(), "{link:#}");
    Ok(())
}

/// Says something byte by byte, or at once, and waits until it is sent away. Returns after how long.
fn say(bytes: &[u8], pause: Duration) -> Result<Duration> {
    let mut stream = TcpStream::connect(TARGET)?;
    let began = Instant::now();
    stream.set_read_timeout(Some(PATIENCE))?;
    let pieces = if pause.is_zero() { bytes.len().max(1) } else { 1 };
    for piece in bytes.chunks(pieces) {
        match stream.write_all(piece) {
            Err(error) if is_sent_away(error.kind()) => return Ok(began.elapsed()),
            result => result?,
        }
        thread::sleep(pause);
    }
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if !is_sent_away(error.kind()) => Err(error.into()),
        Ok(_) | Err(_) => Ok(began.elapsed()),
    }
}

fn is_sent_away(kind: ErrorKind) -> bool {
    [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted].contains(&kind)
}

/// So many connections at once, all kept open.
fn crowd(count: usize) -> Result<Vec<TcpStream>> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    ensure!(most > count as u64 + 1000, "only {most} files may be open");
    (0..count).map(|_| Ok(TcpStream::connect(TARGET)?)).collect()
}

/// Whether somebody with an identity gets a word from an agent, on `eth0`.
fn is_let_in(from: &Node, identity: &Identity, agent: &Agent) -> Result<bool> {
    let own = Identity::from_pem(&fs::read(agent.peer_directory().join("node.pem"))?)?;
    let target = if agent.status()?["node"] == "a" { TARGET } else { TARGET_B };
    let tls = Tls::new(identity, &[own.certificate().clone()])?;
    from.netns.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(target).await?;
            let Ok(mut stream) = tls.connect(stream).await else { return Ok(false) };
            let word = tokio::io::AsyncReadExt::read_u8(&mut stream);
            Ok(tokio::time::timeout(PATIENCE, word).await?.is_ok())
        })
    })?
}

/// Where `a` listens, and `b`.
const TARGET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1)), 7780);
const TARGET_B: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 2)), 7780);
const CROWD: usize = 10_000;
/// The default.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// How long a stranger may stay.
const DEADLINE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
