//! The page behind nginx, which is configured as the document shows.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::capture::now_ns;
use lab::http::Page;
use lab::introduction::{Linked, introduce};
use lab::manual::Machine;
use lab::netns::Netns;
use lab::paired::{settled, takes, wait_for_phase};
use lab::{Agent, AgentConfig, Pair};
use serde_json::Value;

#[test]
fn users_of_the_proxy_are_known_and_see_and_do_what_they_may() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let Shown { nginx, web } = shown()?;
    let configs =
        [0, 100].map(|advskew| AgentConfig { advskew, web: Some(web.clone()), ..AgentConfig::default() });
    let lab = Linked::start_with("nginx", &[99], configs)?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    settled(&lab.a, &lab.b)?;
    let on_b = lab.b.mark();
    let proxy = Proxy::start(&lab.pair, &nginx)?;

    for known in ["", "user ann:guessed", "user root:a-word"] {
        for path in ["/", "/api/status", "/api/events", "/api/failover"] {
            let code = proxy.ask(path, &format!("{known}\nheader X-Remote-User: ann"))?.code;
            ensure!(code == 401, "{path} as '{known}': {code}");
        }
    }
    // Nor is anybody let in who does not come through it.
    let direct = Page::new(&lab.pair.a.netns, "127.0.0.1:7781".parse()?);
    ensure!(direct.get("/api/status", "")?.code == 401);

    let index = proxy.ask("/", ANN)?;
    ensure!(
        index.code == 200 && index.text.contains("content-security-policy: default-src 'none'"),
        "{index:?}"
    );
    ensure!(
        index.text.contains("/assets/app.js") && proxy.ask("/assets/app.js", ANN)?.code == 200,
        "{index:?}"
    );
    for says in ["", "header X-Remote-User: root", "header X-Remote-User;"] {
        let session = proxy.ask("/api/session", &format!("{ANN}\n{says}"))?;
        ensure!(
            session.text.contains(r#""name":"ann""#) && session.text.contains(r#""may_act":true"#),
            "{session:?}"
        );
    }
    for (from, body, code) in [
        ("", "{}", 403),
        ("header Sec-Fetch-Site: cross-site", "{}", 403),
        ("header Origin: https://evil.example", "{}", 403),
        ("header Sec-Fetch-Site: same-origin", "nothing", 400),
    ] {
        let answer = proxy.order(&format!("{ANN}\n{from}"), body)?;
        ensure!(answer.code == code, "{from}: {answer:?}");
    }
    ensure!(takes(&lab.b, on_b) == 0, "{:?}", lab.b.process.lines());

    // What happens is there at once, through the proxy too.
    let events = proxy.netns.spawn(&proxy.curl("/api/events", ANN))?;
    let mut seen = 0;
    for _ in 0..5 {
        seen = 1 + events.wait_for_line(seen, "data: ", PATIENCE)?;
        let late = Duration::from_nanos(now_ns().saturating_sub(as_of(&events.lines()[seen - 1])?));
        println!("a snapshot was {late:?} old");
        ensure!(late < Duration::from_millis(250), "{late:?}");
    }
    let moved = proxy.order(&format!("{ANN}\nheader Sec-Fetch-Site: same-origin"), "{\"to\":\"b\"}")?;
    ensure!(moved.code == 200 && moved.text.contains(r#""end":"moved""#), "{moved:?}");
    events.wait_for_line(seen, r#""role":"BACKUP""#, PATIENCE)?;
    wait_for_phase(&lab.b, "active")
}

#[test]
fn the_token_is_enough_behind_a_proxy_that_knows_nobody() -> Result<()> {
    if !available() {
        return Ok(());
    }
    // As the document says it below.
    let mut nginx = shown()?.nginx;
    nginx = nginx
        .lines()
        .filter(|line| !line.contains("auth_basic") && !line.contains("X-Remote-User"))
        .fold(String::new(), |text, line| text + line + "\n");
    let pair = Pair::new("nginx-token")?;
    let web = "token_file = \"web.token\"\nactions = true\nhosts = [\"ha-a.example.org\"]\n";
    let a = Agent::start(&pair.a, &AgentConfig { web: Some(web.to_owned()), ..AgentConfig::default() })?;
    a.wait_for_state(0, "MASTER")?;
    let proxy = Proxy::start(&pair, &nginx)?;
    let bearer = format!("header Authorization: Bearer {}", AgentConfig::TOKEN);
    for round in ["", "with the client's name of it"] {
        let index = proxy.ask("/", "")?;
        ensure!(index.code == 303 && index.text.contains("location: /login"), "{round}: {index:?}");
        ensure!(proxy.ask("/api/status", "header X-Remote-User: ann")?.code == 401, "{round}");
        ensure!(proxy.ask("/api/status", &bearer)?.code == 200, "{round}");
        // It is no pair: that is all that stands in the way.
        let alone = proxy.order(&bearer, "{}")?;
        ensure!(alone.code == 409, "{round}: {alone:?}");
        ensure!(proxy.order("", "{}")?.code == 401, "{round}");

        let form = format!("header Sec-Fetch-Site: same-origin\ndata token={}", AgentConfig::TOKEN);
        let login = proxy.ask("/login", &form)?;
        let cookie = login.text.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookie.with_context(|| format!("{round}: {login:?}"))?;
        ensure!(cookie.starts_with("__Host-ha-agent=") && cookie.contains("; Secure;"), "{cookie}");
        let session = format!("header Cookie: {}", cookie.split(';').next().unwrap_or_default());
        ensure!(proxy.ask("/api/status", &session)?.code == 200, "{round}");
        let with = |origin: &str| {
            Ok::<_, anyhow::Error>(proxy.order(&format!("{session}\nheader {origin}"), "{}")?.code)
        };
        ensure!(
            with("Sec-Fetch-Site: same-origin")? == 409 && with("Sec-Fetch-Site: none")? == 403,
            "{round}"
        );
        ensure!(with("Origin: https://evil.example")? == 403, "{round}");
        if round.is_empty() {
            proxy.configure(&nginx.replace("proxy_pass", "proxy_set_header Host $host;\nproxy_pass"))?;
            proxy.run("nginx -s reload")?;
            lab::paired::until("its new configuration", || {
                Ok(with("Origin: https://ha-a.example.org")? == 409)
            })?;
        }
    }
    a.leave()
}

/// nginx on the node `a`, and who asks it from the witness.
struct Proxy<'a> {
    machine: Machine,
    netns: &'a Netns,
    directory: tempfile::TempDir,
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    code: u16,
    /// With its head.
    text: String,
}

impl<'a> Proxy<'a> {
    /// Starts it with files of its own.
    fn start(pair: &'a Pair, nginx: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ha-nginx-").tempdir()?;
        let machine = Machine::new(&pair.a, "controller-a", directory.path())?;
        let proxy = Self { machine, netns: &pair.witness.netns, directory };
        proxy.run("rm -f /etc/nginx/sites-enabled/*; mkdir -p /var/log/nginx /var/lib/nginx")?;
        proxy.run(CERTIFICATE)?;
        proxy.run("echo \"ann:$(openssl passwd -apr1 a-word)\" >/etc/nginx/ha-users")?;
        proxy.configure(nginx)?;
        proxy.run("nginx")?;
        Ok(proxy)
    }

    fn configure(&self, nginx: &str) -> Result<()> {
        self.run(&format!("cat >/etc/nginx/conf.d/ha-a.conf <<'END'\n{nginx}\nEND"))?;
        self.run("nginx -t")
    }

    /// Runs a command beside it, which must end well.
    fn run(&self, command: &str) -> Result<()> {
        let (code, said) = self.machine.run(command)?;
        ensure!(code == 0, "{command}: {said}");
        Ok(())
    }

    fn order(&self, options: &str, body: &str) -> Result<Answer> {
        let json = "header Content-Type: application/json";
        self.ask("/api/failover", &format!("{options}\n{json}\ndata {body}"))
    }

    fn ask(&self, path: &str, options: &str) -> Result<Answer> {
        let mut process =
            self.netns.spawn(self.curl(path, options).args(["--include", "--max-time", "15"]))?;
        let status = process.wait(Duration::from_secs(20))?;
        let text = process.lines().join("\n");
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Answer { code: code.with_context(|| format!("{status}: {text}"))?, text })
    }

    /// Asks, with options of curl's, each a line.
    fn curl(&self, path: &str, options: &str) -> Command {
        let certificate = self.directory.path().join("controller-a/upper/etc/ssl/ha-a.pem");
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--no-buffer", "--http1.1", "--cacert"]).arg(certificate);
        command.args(["--resolve", "ha-a.example.org:443:10.77.0.1"]);
        for (option, value) in options.lines().filter_map(|line| line.split_once(' ')) {
            command.args([&format!("--{option}"), value]);
        }
        command.arg(format!("https://ha-a.example.org{path}"));
        command
    }
}

/// What the document shows.
struct Shown {
    /// A server of nginx's,
    nginx: String,
    /// and the table `[web]` of the agent behind it, without its head.
    web: String,
}

fn shown() -> Result<Shown> {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/web.md"))?;
    let block = |text: &str, kind: &str| -> Result<(String, String)> {
        let (_, rest) = text.split_once(&format!("```{kind}\n")).with_context(|| kind.to_owned())?;
        let (block, rest) = rest.split_once("```\n").context("no end")?;
        Ok((block.to_owned(), rest.to_owned()))
    };
    let (nginx, rest) = block(&document, "nginx")?;
    let (web, _) = block(&rest, "toml")?;
    let web = web.strip_prefix("[web]\n").context("no table [web]")?.to_owned();
    Ok(Shown { nginx, web })
}

/// When a snapshot in the stream was made.
fn as_of(line: &str) -> Result<u64> {
    let status: Value = serde_json::from_str(line.trim_start_matches("data: "))?;
    status["as_of_monotonic_ns"].as_u64().context("no time")
}

/// Whether the tests can run, with a message if not.
fn available() -> bool {
    let missing = ["nginx -v", "curl --version"].iter().find(|command| {
        let (program, argument) = command.split_once(' ').unwrap_or_default();
        Command::new(program).arg(argument).output().is_err()
    });
    if let Some(missing) = missing {
        eprintln!("skipped, because {missing} fails: `cargo xtask test` installs it");
    }
    lab::available() && missing.is_none()
}

const CERTIFICATE: &str = "mkdir -p /etc/ssl/private && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
                           -nodes -days 2 -subj /CN=ha-a.example.org -addext subjectAltName=DNS:ha-a.example.org \
                           -keyout /etc/ssl/private/ha-a.key -out /etc/ssl/ha-a.pem";
const ANN: &str = "user ann:a-word";
const PATIENCE: Duration = Duration::from_secs(10);
