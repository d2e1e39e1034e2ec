//! The page of an agent: what it shows, how soon, to whom; and that nobody who connects harms the agent or the pair.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab::capture::now_ns;
use lab::http::Page;
use lab::introduction::{Linked, introduce};
use lab::paired::{settled, takes, until, wait_for_phase};
use lab::process::memory;
use lab::{Agent, AgentConfig, Pair};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

#[test]
fn the_page_its_parts_and_the_numbers_are_served() -> Result<()> {
    scenario("page", |pair| {
        let web = AgentConfig { web: Some(String::new()), ..AgentConfig::default() };
        let a = Agent::start(&pair.a, &web)?;
        a.wait_for_state(0, "MASTER")?;
        let page = Page::new(&pair.a.netns, LOCAL.parse()?);
        let index = page.get("/", "")?;
        ensure!(index.code == 200 && index.headers["content-type"].starts_with("text/html"), "{index:?}");
        let mut parts = parts_of(&index.body);
        ensure!(parts.len() >= 3, "{parts:?}");
        let mut seen = 0;
        while let Some(part) = parts.get(seen).cloned() {
            let answer = page.get(&part, "")?;
            ensure!(answer.code == 200 && !answer.body.is_empty(), "{part}: {answer:?}");
            for more in parts_of(&answer.body) {
                if !parts.contains(&more) {
                    parts.push(more);
                }
            }
            seen += 1;
        }
        println!("{seen} parts: {parts:?}");
        let status = page.get("/api/status", "")?.json()?;
        ensure!(status["node"] == "a" && status["vhosts"][0]["state"] == "MASTER", "{status}");
        ensure!(status["uptime_s"].as_f64() > Some(0.0), "{status}");
        let metrics = page.get("/metrics", "accept: application/openmetrics-text")?.body;
        ensure!(
            metrics.contains("ha_agent_role{role=\"SINGLE\"} 1") && metrics.ends_with("# EOF\n"),
            "{metrics}"
        );
        ensure!(page.get("/healthz", "")?.body == "ok\n");
        ensure!(page.get("/api/status", "host: elsewhere.example")?.code == 421);
        let order =
            page.post("/api/failover", "content-type: application/json\nsec-fetch-site: same-origin", "{}")?;
        ensure!(order.code == 403, "{order:?}");

        // Without the table, nothing listens.
        let b = Agent::start(&pair.b, &AgentConfig { advskew: 100, ..AgentConfig::default() })?;
        ensure!(Page::new(&pair.b.netns, LOCAL.parse()?).get("/", "").is_err(), "it listens");
        drop(b);
        Ok(())
    })
}

#[test]
fn a_change_is_seen_at_once() -> Result<()> {
    scenario("soon", |pair| {
        let standby = AgentConfig { advskew: 100, web: Some(String::new()), ..AgentConfig::default() };
        let (mut a, b) = pair.start(&AgentConfig::default(), &standby)?;
        let page = Page::new(&pair.b.netns, LOCAL.parse()?);
        for round in 0..3 {
            let mut events = page.events("")?;
            events.wait_for(|status| status["vhosts"][0]["state"] == "BACKUP")?;
            a.kill()?;
            let seen = events.wait_for(|status| status["vhosts"][0]["state"] == "MASTER")?;
            let now = now_ns();
            let at = seen["vhosts"][0]["last_change"]["at_ns"].as_u64().context("no change")?;
            let late = Duration::from_nanos(now.saturating_sub(at));
            println!("round {round}: seen {late:?} after the change");
            ensure!(late < Duration::from_millis(250), "{late:?}");
            // Its phases come by and by.
            events.wait_for(|status| status["vhosts"][0]["last_change"]["announced_ns"].is_u64())?;
            let on_b = b.mark();
            a.restart(&pair.a)?;
            a.wait_for_state(0, "BACKUP")?;
            b.tell("hold")?;
            b.wait_for_state(on_b, "BACKUP")?;
            b.tell("resume")?;
        }
        Ok(())
    })
}

#[test]
fn an_order_takes_the_token_and_is_told_step_by_step() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let web =
        "listen = [\"127.0.0.1:7781\", \"10.77.0.HOST:7781\"]\ntoken_file = \"web.token\"\nactions = true\n";
    let config = |advskew, host: &str| AgentConfig {
        advskew,
        web: Some(web.replace("HOST", host)),
        ..AgentConfig::default()
    };
    let lab = Linked::start_with("order", &[99], [config(0, "1"), config(100, "2")])?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    settled(&lab.a, &lab.b)?;
    let page = Page::new(&lab.pair.witness.netns, "10.77.0.1:7781".parse()?);
    let on_b = lab.b.mark();
    for headers in ["", "authorization: Bearer a-token-of-the-lax", "cookie: ha-agent=9999999999.00"] {
        for path in ["/api/status", "/api/events", "/metrics"] {
            ensure!(page.get(path, headers)?.code == 401, "{path} {headers}");
        }
        let json = format!("{headers}\ncontent-type: application/json");
        ensure!(page.post("/api/failover", &json, "{}")?.code == 401, "{headers}");
    }
    let bearer = format!("authorization: Bearer {}", AgentConfig::TOKEN);
    ensure!(page.get("/api/status", &bearer)?.json()?["node"] == "a");
    let json = format!("{bearer}\ncontent-type: application/json");
    let refused = [
        (format!("{json}\nsec-fetch-site: cross-site"), "{}", 403),
        (format!("{json}\norigin: http://evil.example"), "{}", 403),
        (format!("{bearer}\ncontent-type: application/x-www-form-urlencoded"), "{}", 415),
        (json.clone(), "{\"to\":\"c\"}", 409),
        (json.clone(), "nothing", 400),
    ];
    for (headers, body, code) in refused {
        let answer = page.post("/api/failover", &headers, body)?;
        ensure!(answer.code == code, "{headers} {body}: {answer:?}");
    }
    wait_for_phase(&lab.a, "active")?;
    ensure!(takes(&lab.b, on_b) == 0, "{:?}", lab.b.process.lines());

    let moved = page.post("/api/failover", &json, "{\"to\":\"b\"}")?;
    ensure!(moved.code == 200 && moved.headers["content-type"] == "application/x-ndjson", "{moved:?}");
    let lines: Vec<Value> = moved.body.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(lines.iter().any(|line| line["progress"]["step"] == "release"), "{lines:?}");
    ensure!(lines.last().is_some_and(|line| line["ended"]["end"] == "moved"), "{lines:?}");
    wait_for_phase(&lab.b, "active")
}

#[test]
fn who_is_slow_or_says_too_much_is_sent_away() -> Result<()> {
    scenario("slow", |pair| {
        let web = AgentConfig { web: Some(String::new()), ..AgentConfig::default() };
        let a = Agent::start(&pair.a, &web)?;
        let page = Page::new(&pair.a.netns, LOCAL.parse()?);
        until("the page", || Ok(page.connect().is_ok()))?;
        let mut half = page.connect()?;
        half.write_all(b"GET / HTTP/1.1\r\nhost: local")?;
        let mut silent = page.connect()?;
        let mut idle = page.connect()?;
        idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut slow = page.connect()?;
        slow.write_all(b"POST /login HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: same-origin\r\ncontent-length: 100\r\n\r\ntok")?;
        for (what, headers) in [
            ("a long header", format!("x: {}", "y".repeat(20_000))),
            ("many headers", (0..200).map(|n| format!("x-{n}: y")).collect::<Vec<_>>().join("\n")),
        ] {
            let answer = page.get("/", &headers).map(|answer| answer.code);
            ensure!(answer.as_ref().map_or(true, |code| *code == 431), "{what}: {answer:?}");
        }
        let long = page.post("/login", "sec-fetch-site: same-origin", &"x".repeat(10_000))?;
        ensure!(long.code == 413, "{long:?}");
        for (what, stream) in [
            ("half a head", &mut half),
            ("silence", &mut silent),
            ("idle", &mut idle),
            ("half a body", &mut slow),
        ] {
            let began = Instant::now();
            ends(stream, Duration::from_secs(20)).with_context(|| what.to_owned())?;
            println!("{what}: sent away {:?} later", began.elapsed());
        }
        ensure!(page.get("/healthz", "")?.code == 200);
        a.leave()
    })
}

#[test]
fn who_says_a_byte_now_and_then_is_sent_away() -> Result<()> {
    scenario("drip", |pair| {
        let web = AgentConfig { web: Some(String::new()), ..AgentConfig::default() };
        let a = Agent::start(&pair.a, &web)?;
        let page = Page::new(&pair.a.netns, LOCAL.parse()?);
        until("the page", || Ok(page.connect().is_ok()))?;
        let head = page.connect()?;
        let mut body = page.connect()?;
        body.write_all(b"POST /login HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: same-origin\r\ncontent-length: 100\r\n\r\n")?;
        thread::scope(|scope| {
            let parts = [("a head", "GET /", head, 10), ("a body", "token", body, 5)];
            let dripping =
                parts.map(|(what, text, stream, limit)| (what, limit, scope.spawn(|| drip(stream, text))));
            for (what, limit, dripping) in dripping {
                let (took, answer) = dripping.join().map_err(|_| anyhow!("{what}: a panic"))??;
                println!("{what}, a byte a second: sent away {took:?} later: {answer:?}");
                ensure!(took.as_secs().abs_diff(limit) <= 2, "{what}: {took:?}");
            }
            Ok(())
        })?;
        a.leave()
    })
}

#[test]
fn viewers_who_read_nothing_are_let_go_and_the_others_see_on() -> Result<()> {
    scenario("deaf", |pair| {
        let web = AgentConfig { web: Some(String::new()), ..AgentConfig::default() };
        let (a, b) = pair.start(&web, &AgentConfig { advskew: 100, ..AgentConfig::default() })?;
        let marks = [(&a, a.mark()), (&b, b.mark())];
        let page = Page::new(&pair.a.netns, LOCAL.parse()?);
        let mut viewer = page.events("")?;
        viewer.snapshot()?;
        let alone = (sockets(&a)?, memory(a.process.pid())?.resident);
        let mut deaf = (0..DEAF).map(|_| page.deaf_to_events()).collect::<Result<Vec<_>>>()?;
        until("the deaf ones", || Ok(sockets(&a)? == alone.0 + DEAF))?;
        let (began, mut most) = (Instant::now(), 0);
        // Snapshots come twice a second, also to who looks on.
        while sockets(&a)? > alone.0 {
            viewer.snapshot()?;
            most = most.max(memory(a.process.pid())?.resident);
            ensure!(began.elapsed() < Duration::from_secs(30), "{} sockets", sockets(&a)?);
        }
        let (took, more) = (began.elapsed(), most.saturating_sub(alone.1) / 1024);
        println!("{DEAF} viewers who read nothing: let go {took:?} later; {more} KiB meanwhile");
        ensure!(took > Duration::from_secs(10) && more < 4096, "{took:?}, {more} KiB");
        for stream in &mut deaf {
            ends(stream, Duration::from_secs(5))?;
        }
        viewer.snapshot()?;
        ensure_unmoved(&marks)
    })
}

#[test]
fn ten_thousand_connections_neither_take_it_down_nor_move_the_pair() -> Result<()> {
    scenario("many", |pair| {
        let web = AgentConfig { web: Some(String::new()), ..AgentConfig::default() };
        let (a, b) = pair.start(&web, &AgentConfig { advskew: 100, ..AgentConfig::default() })?;
        let marks = [(&a, a.mark()), (&b, b.mark())];
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        let page = Page::new(&pair.a.netns, LOCAL.parse()?);
        let mut events = page.events("")?;
        let began = Instant::now();
        // What is refused is closed by the other end at once: that takes descriptors here only.
        let mut held = Vec::new();
        for _ in 0..10_000 {
            held.push(page.connect()?);
        }
        println!("10,000 connections in {:?}", began.elapsed());
        // Whoever looked before goes on seeing it, and so does whoever has the control socket.
        events.snapshot()?;
        ensure!(a.status()?["vhosts"][0]["state"] == "MASTER");
        let refused = held.iter().filter(|stream| is_closed(stream)).count();
        println!("{refused} were refused");
        ensure!(refused >= 9_700, "{refused}");
        drop(held);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        until("the page", || Ok(page.get("/healthz", "").is_ok_and(|answer| answer.code == 200)))?;
        ensure_unmoved(&marks)
    })
}

#[test]
fn a_hundred_viewers_cost_little() -> Result<()> {
    scenario("viewers", |pair| {
        let web = AgentConfig { web: Some(String::new()), ..AgentConfig::default() };
        let (a, b) = pair.start(&web, &AgentConfig { advskew: 100, ..AgentConfig::default() })?;
        let page = Page::new(&pair.a.netns, LOCAL.parse()?);
        let on_b = b.mark();
        for viewers in [0, 100] {
            let mut all = (0..viewers).map(|_| page.events("")).collect::<Result<Vec<_>>>()?;
            let (began, used) = (Instant::now(), processor(&a)?);
            while began.elapsed() < Duration::from_secs(5) {
                all.iter_mut().try_for_each(|events| events.snapshot().map(drop))?;
                thread::sleep(Duration::from_millis(10));
            }
            let share = processor(&a)?.saturating_sub(used).as_secs_f64() / began.elapsed().as_secs_f64();
            let [with, without] = [resident(&a)?, resident(&b)?];
            println!(
                "{viewers} viewers: {:.1} % of a processor; {with}, without [web] {without}",
                share * 100.0
            );
            // Without optimisation it takes several times as much.
            ensure!(share < 0.5, "{share}");
        }
        ensure!(!b.process.lines().iter().skip(on_b).any(|line| line.contains("->")), "the standby moved");
        Ok(())
    })
}

/// No virtual host of these agents has changed its state since their marks.
fn ensure_unmoved(marks: &[(&Agent, usize)]) -> Result<()> {
    for (agent, mark) in marks {
        let lines = agent.process.lines();
        let moved = lines.iter().skip(*mark).find(|line| line.contains("->"));
        ensure!(moved.is_none(), "it moved: {moved:?}");
    }
    Ok(())
}

/// Says a text, and then a byte a second until the other end has closed it. Returns for how long, and what that answered.
fn drip(mut stream: TcpStream, text: &str) -> Result<(Duration, String)> {
    let began = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    while began.elapsed() < Duration::from_secs(30) {
        // What it answers is waited for in between.
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return Ok((began.elapsed(), String::from_utf8_lossy(&answer).into_owned())),
        }
        // If it is closed, that is read next.
        let _ = stream.write_all(b"x");
    }
    bail!("it goes on after {:?}", began.elapsed())
}

/// How many sockets an agent has.
fn sockets(agent: &Agent) -> Result<usize> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.process.pid()))?;
    // They come and go.
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(links.filter(|link| link.to_string_lossy().starts_with("socket:")).count())
}

/// How much memory an agent has, as proc(5) says it.
fn resident(agent: &Agent) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.unwrap_or_default().trim().to_owned())
}

/// The processor time of an agent so far.
fn processor(agent: &Agent) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.process.pid()))?;
    let fields: Vec<u64> =
        stat.rsplit(") ").next().unwrap_or_default().split(' ').map(|n| n.parse().unwrap_or(0)).collect();
    // In hundredths of a second: proc(5), utime and stime.
    Ok(Duration::from_millis(10 * (fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0))))
}

/// Whether the other end has closed it.
fn is_closed(mut stream: &TcpStream) -> bool {
    let waits = stream.set_read_timeout(Some(Duration::from_millis(1)));
    waits.is_ok() && !matches!(stream.read(&mut [0; 16]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Reads until the other end has closed it.
fn ends(stream: &mut TcpStream, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    while Instant::now() < deadline {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Ok(_) => {}
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    bail!("not within {patience:?}")
}

/// The parts that a part of the page names.
fn parts_of(text: &str) -> Vec<String> {
    let quoted = text.split('"').skip(1).step_by(2);
    let parts =
        quoted.filter_map(|name| match name.strip_prefix("./").and_then(|name| name.strip_suffix(".js")) {
            Some(script) => Some(format!("/assets/{script}.js")),
            None => name.starts_with("/assets/").then(|| name.to_owned()),
        });
    parts.collect()
}

fn scenario(label: &str, run: impl Fn(&Pair) -> Result<()>) -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    run(&Pair::new(label)?).with_context(|| label.to_owned())
}

/// Viewers who read nothing.
const DEAF: usize = 40;
const LOCAL: &str = "127.0.0.1:7781";
