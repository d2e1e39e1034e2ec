//! The other receivers: for an interface whose XDP is somebody else's, or because the configuration says so.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use frames::site::{LOOPBACK, site};
use frames::{Hook, Kernel, Packet};
use ha_common::abi::{Record, WatchKey};
use lab::capture::{now_ns, sending_socket};
use lab::netns::run;
use lab::pair::{A, B, VIRTUAL, at_once};
use lab::pauses::undisturbed;
use lab::refusal::{self, Files};
use lab::{Agent, AgentConfig, Client, Echo, Lan, Node, Pair, Ucarp, UcarpConfig, foreign};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};

#[test]
fn beside_a_foreign_xdp_program_the_agent_serves_by_tcx() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| {
        let pair = Pair::new("foreign")?;
        foreign::attach(&pair.b)?;
        let program = refusal::program(&pair.b)?.context("the other program is not attached")?;
        let (mut a, b) = pair.start(&config("auto", 0), &config("auto", 100))?;
        heard(&b, "tcx")?;
        ensure!(
            a.vhost()?["receive"] == "native" && a.vhost()?["receive_lost"].is_null(),
            "{:#}",
            a.vhost()?
        );
        let warned = |line: &String| {
            line.contains("WARN") && line.contains("bpftool prog show id") && line.contains("tcx")
        };
        ensure!(b.process.lines().iter().any(warned), "no warning of it: {:#?}", b.process.lines());

        let mark = b.mark();
        a.kill()?;
        b.wait_for_state(mark, "MASTER")?;
        pair.only_master(B, 20)?;
        let gap = pair.gap(A, B)?;
        ensure!(gap < Duration::from_millis(60), "it took {gap:?}");
        ensure!(b.vhost()?["last_change"]["cause"] == "silence", "{:#}", b.vhost()?);

        second_is_refused(&pair.b, &b)?;
        ensure!(refusal::program(&pair.b)? == Some(program), "the other program is gone");
        b.leave()?;
        ensure!(refusal::program(&pair.b)? == Some(program), "the other program is gone");
        ensure!(filters(&pair.b)? == 0, "it left something");
        Ok(())
    })
}

#[test]
fn what_is_chosen_serves_and_nothing_else() -> Result<()> {
    at_once(&[
        ("generic", |pair| chosen(pair, "generic")),
        ("tcx", |pair| chosen(pair, "tcx")),
        ("packet", |pair| chosen(pair, "packet")),
    ])
}

fn chosen(pair: &Pair, receive: &str) -> Result<()> {
    let (mut a, b) = pair.start(&config(receive, 0), &config(receive, 100))?;
    heard(&b, receive)?;
    for native in [config("native", 0), config("auto", 0)] {
        // By whatever way the first one receives.
        let files = Files::new()?;
        fs::write(files.config(), native.toml("b"))?;
        let error = refusal::refusal(&pair.b, &files.run()?, 69, || Ok(()))?;
        ensure!(error.contains("another ha-agent already serves eth0"), "{error}");
    }
    let mark = b.mark();
    a.kill()?;
    b.wait_for_state(mark, "MASTER")?;
    pair.only_master(B, 20)
}

#[test]
fn what_the_driver_can_not_do_is_refused_where_only_that_is_wanted() -> Result<()> {
    at_once(&[("refused", |pair| {
        pair.a.netns.ip("link add br1 type bridge")?;
        foreign::attach(&pair.b)?;
        let cases = [
            (&pair.a, "br1", "native", "no driver"),
            (&pair.b, "eth0", "native", "another XDP program"),
            (&pair.b, "eth0", "generic", "another XDP program"),
        ];
        for (node, interface, receive, word) in cases {
            let files = Files::new()?;
            let config = AgentConfig { interface: interface.to_owned(), ..config(receive, 0) };
            fs::write(files.config(), config.toml("a"))?;
            let error = refusal::refusal(node, &files.run()?, 69, || Ok(()))?;
            ensure!(error.contains(word) && error.contains("receive = \"auto\""), "{receive}: {error}");
        }
        Ok(())
    })])
}

#[test]
fn it_hears_ucarp() -> Result<()> {
    at_once(&[
        ("by-tcx", |pair| beside_ucarp(pair, "tcx")),
        ("by-packet", |pair| beside_ucarp(pair, "packet")),
    ])
}

fn beside_ucarp(pair: &Pair, receive: &str) -> Result<()> {
    let mut ucarp = Ucarp::start(&pair.b, &UcarpConfig::default())?;
    ucarp.wait_for_state(0, "MASTER")?;
    let ours = AgentConfig { interval: None, detect: None, ..config(receive, 100) };
    let ours = Agent::start(&pair.a, &ours)?;
    ours.wait_for_state(0, "BACKUP")?;
    ours.until(PATIENCE, |vhost| (vhost["accepted"].as_u64() > Some(2)).then_some(()))?;
    let mark = ours.mark();
    ucarp.process.kill()?;
    ours.wait_for_state(mark, "MASTER").map(drop)
}

#[test]
fn by_a_packet_socket_a_silence_is_noticed_in_time_and_what_is_refused_is_told() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| {
        let pair = Pair::new("socket")?;
        let config = |advskew, passphrase: &str| AgentConfig {
            mode: Some("strict".to_owned()),
            passphrases: vec![passphrase.to_owned()],
            ..config("packet", advskew)
        };
        let (mut a, b) = pair.start(&config(0, "secret"), &config(100, "secret"))?;
        heard(&b, "packet")?;
        let stranger = Agent::start(&pair.witness, &config(50, "another"))?;
        b.until(PATIENCE, |vhost| (vhost["refused"]["badauth"].as_u64() > Some(5)).then_some(()))?;
        stranger.leave()?;
        let mark = b.mark();
        a.kill()?;
        b.wait_for_state(mark, "MASTER")?;
        let gap = pair.gap(A, B)?;
        ensure!(gap < Duration::from_millis(60), "it took {gap:?}");
        second_is_refused(&pair.b, &b)?;
        b.leave()
    })
}

#[test]
fn where_the_kernel_refuses_the_programs_a_packet_socket_serves() -> Result<()> {
    at_once(&[("verifier", |pair| {
        let directory = tempfile::tempdir()?;
        let program = Some(spoilt(directory.path())?);
        let refused = AgentConfig { program, ..config("auto", 100) };
        let (mut a, b) = pair.start(&config("auto", 0), &refused)?;
        heard(&b, "packet")?;
        let warned =
            |line: &String| line.contains("WARN") && line.contains("the kernel refuses the BPF program");
        ensure!(b.process.lines().iter().any(warned), "no warning of it: {:#?}", b.process.lines());
        let mark = b.mark();
        a.kill()?;
        b.wait_for_state(mark, "MASTER").map(drop)
    })])
}

/// An agent whose programs for interfaces no verifier takes: both begin with an instruction that is none.
fn spoilt(directory: &Path) -> Result<PathBuf> {
    let object = ha_agent::dataplane::embedded().context("built without its BPF program")?;
    let mut agent = fs::read(lab::agent_binary()?)?;
    let base = agent.windows(object.len()).position(|bytes| bytes == object).context("another object")?;
    let number = |at: usize, length: usize| {
        let bytes = object.get(at..at + length).unwrap_or_default();
        bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    // elf.h: where the headers of sections are, how long one is, how many, and which has the names.
    let section = |index: usize| number(0x28, 8) + index * number(0x3a, 2);
    let names = number(section(number(0x3e, 2)) + 0x18, 8);
    for index in 0..number(0x3c, 2) {
        let name = object.get(names + number(section(index), 4)..).unwrap_or_default();
        if name.starts_with(b"xdp\0") || name.starts_with(b"classifier\0") {
            let code = base + number(section(index) + 0x18, 8);
            agent.get_mut(code..code + 8).context("no code")?.fill(0xff);
        }
    }
    let path = directory.join("ha-agent");
    fs::write(&path, agent)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// In a socket buffer the first tag lies beside the frame, and only a second one in it.
#[test]
fn tags_are_read_where_they_lie() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    for by_socket in [false, true] {
        let lan = Lan::new("tags")?;
        let node = lan.node("node", A)?;
        let adverts = node.netns.run(move || tags(by_socket))??;
        ensure!(adverts == [(0, 0), (0, 5), (100, 5)], "by a socket: {by_socket}, {adverts:?}");
    }
    Ok(())
}

/// The tags of the advertisements that are heard of those that are sent.
fn tags(by_socket: bool) -> Result<Vec<(u16, u16)>> {
    run("ip", "link add in0 type veth peer name out0")?;
    for name in ["in0", "out0"] {
        run("ip", &format!("link set {name} addrgenmode none up"))?;
    }
    let index = nix::net::if_::if_nametoindex("in0")?;
    let mut site = site();
    for (key, watch) in std::mem::take(&mut site.watches) {
        let ifindex = if key.ifindex == LOOPBACK { index } else { key.ifindex };
        site.watches.insert(WatchKey { ifindex, ..key }, watch);
    }
    let Some(mut kernel) = Kernel::load_at(Hook::Tc, &site) else { return Ok(Vec::new()) };
    let mut packets = by_socket.then(|| kernel.hear("in0", index));
    if !by_socket {
        kernel.attach("in0", index);
    }
    let (socket, began) = (sending_socket("out0")?, now_ns());
    for tags in [vec![], vec![(0x8100, 5)], vec![(0x88a8, 100), (0x8100, 5)], vec![(0x8100, 6)]] {
        send(socket.as_raw_fd(), &Packet { tags, ..Packet::default() }.bytes(), MsgFlags::empty())?;
    }
    let records: Vec<_> = match &mut packets {
        Some(packets) => std::iter::from_fn(|| packets.next()).collect(),
        None => std::iter::from_fn(|| kernel.wait_for_record(Duration::from_millis(200))).collect(),
    };
    let tags = records.into_iter().map(|record| match record {
        Record::Advert(advert) if (began..now_ns()).contains(&advert.stamp_ns) => {
            Ok((advert.watch.outer_vlan, advert.watch.vlan))
        }
        other => Err(anyhow!("{other:?}, begun at {began}")),
    });
    tags.collect()
}

#[test]
fn what_a_killed_agent_has_attached_stays_goes_quiet_and_is_taken_over() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("pinned")?;
    let (mut a, b) = pair.start(&config("tcx", 0), &config("auto", 100))?;
    let _client = Client::start(&pair.witness.netns, VIRTUAL)?;
    ensure!(pair.claims([VIRTUAL.into()], 20)? == [[true, false]], "only the master answers");
    let mark = b.mark();
    a.kill()?;
    b.wait_for_state(mark, "MASTER")?;
    ensure!(pair.a.has_address(VIRTUAL)?, "its kernel has the address still");
    thread::sleep(DEFAULT_LEASE + GRACE);
    ensure!(filters(&pair.a)? == 1, "the program does not outlive the agent");
    ensure!(pair.claims([VIRTUAL.into()], 20)? == [[false, true]], "the one that was killed");

    // Another one goes on with what is there.
    a.restart(&pair.a)?;
    a.process.wait_for_line(0, "answered for no virtual address", PATIENCE)?;
    ensure!(filters(&pair.a)? == 1, "not in its place");
    heard(&a, "tcx")?;
    // And one that is to receive otherwise does not leave it there.
    a.kill()?;
    a.rewrite(&pair.a, &config("auto", 0))?;
    a.restart(&pair.a)?;
    heard(&a, "native")?;
    ensure!(filters(&pair.a)? == 0, "both are attached");
    a.leave()?;
    b.leave()
}

#[test]
fn a_master_that_is_killed_and_started_again_goes_on() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("goes-on")?;
    let _echoes = [Echo::start(&pair.a.netns, VIRTUAL)?, Echo::start(&pair.b.netns, VIRTUAL)?];
    let slow = |advskew| AgentConfig { interval: Some("500ms".to_owned()), ..config("tcx", advskew) };
    let (mut a, b) = pair.start(&slow(0), &slow(100))?;
    let client = Client::start(&pair.witness.netns, VIRTUAL)?;
    let mark = b.mark();
    for _ in 0..3 {
        a.replace(&pair.a, Signal::SIGKILL)?;
        a.process.wait_for_line(0, "INIT -> MASTER: the agent before", PATIENCE)?;
        pair.advertisement(pair.capture.mark(), |_| true)?;
    }
    ensure!(b.changes(mark).is_empty(), "{:?}", b.changes(mark));
    ensure!(client.lost() == 0, "{} requests were lost", client.lost());
    Ok(())
}

/// Waits until an agent has heard the other one for a while, and judges how.
fn heard(agent: &Agent, receive: &str) -> Result<()> {
    let vhost =
        agent.until(PATIENCE, |vhost| (vhost["accepted"].as_u64() > Some(10)).then(|| vhost.clone()))?;
    ensure!(vhost["receive"] == receive, "{vhost:#}");
    ensure!(vhost["receive_lost"].is_null() == (receive == "native"), "{vhost:#}");
    // A kernel program has a timer; a socket does not.
    ensure!(vhost["watch"] == if receive == "packet" { "agent" } else { "kernel" }, "{vhost:#}");
    Ok(())
}

/// Another agent for the same interface is refused, and leaves the first one alone.
fn second_is_refused(node: &Node, first: &Agent) -> Result<()> {
    let files = Files::new()?;
    let error = refusal::refusal(node, &files.run()?, 69, || Ok(()))?;
    let process = format!("process {} (ha-agent)", first.process.pid());
    for word in ["another ha-agent", "eth0", &process, "stop it first"] {
        ensure!(error.contains(word), "no '{word}' in: {error}");
    }
    ensure!(first.vhost()?["receive"].is_string(), "{:#}", first.vhost()?);
    Ok(())
}

/// How many of our programs traffic control runs on a node's `eth0`.
fn filters(node: &Node) -> Result<usize> {
    let query = || {
        let kind = aya::programs::TcAttachType::Ingress;
        let (_, programs) = aya::programs::SchedClassifier::query_tcx("eth0", kind)?;
        anyhow::Ok(programs.iter().filter(|program| program.name_as_str() == Some("ha_carp_tc")).count())
    };
    node.netns.run(query)?
}

fn config(receive: &str, advskew: u8) -> AgentConfig {
    AgentConfig { receive: Some(receive.to_owned()), advskew, ..AgentConfig::default() }
}

const DEFAULT_LEASE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);
