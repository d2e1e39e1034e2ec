//! A real browser in a namespace: Chromium, driven as any program drives one (W3C `WebDriver`).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Page;
use crate::netns::Netns;
use crate::process::Process;

/// A browser with one window; ended when dropped, its files removed.
#[derive(Debug)]
pub struct Browser<'a> {
    driver: Page<'a>,
    session: String,
    process: Process,
    _profile: Profile,
}

/// The browser's files; whoever works with them is ended before they are removed, also where the driver is gone.
#[derive(Debug)]
struct Profile(TempDir);

impl Drop for Profile {
    fn drop(&mut self) {
        let name = self.0.path().as_os_str().as_encoded_bytes();
        let works_with_it = |process: &i32| {
            fs::read(format!("/proc/{process}/cmdline"))
                .is_ok_and(|line| line.windows(name.len()).any(|part| part == name))
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for process in processes.filter(works_with_it) {
            // It may have ended by now.
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
}

/// Whether there is a browser here; says so if not.
#[must_use]
pub fn available() -> bool {
    let found = ["chromium", "chromedriver"].iter().all(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    });
    if !found {
        eprintln!(
            "skipped, because chromium and chromium-driver are not installed: `cargo xtask test` does that"
        );
    }
    found
}

impl<'a> Browser<'a> {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start(netns: &'a Netns) -> Result<Self> {
        let profile = Profile(tempfile::Builder::new().prefix("ha-browser-").tempdir()?);
        let directory = profile.0.path();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={PORT}")).env("HOME", directory).env("TMPDIR", directory);
        let process = netns.spawn(&command)?;
        process.wait_for_line(0, "started successfully", PATIENCE)?;
        let driver = Page::new(netns, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))).patient(PATIENCE);
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--font-render-hinting=none",
            "--no-first-run",
            "--disable-background-networking",
        ];
        let profile_argument = format!("--user-data-dir={}", directory.join("profile").display());
        let arguments: Vec<&str> = arguments.into_iter().chain([profile_argument.as_str()]).collect();
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let begun = post(&driver, "/session", &wanted)?;
        let session = begun["sessionId"].as_str().context("no session")?.to_owned();
        Ok(Self { driver, session, process, _profile: profile })
    }

    /// Shows a page, and waits until it is loaded.
    ///
    /// # Errors
    ///
    /// If it can't.
    pub fn open(&self, url: &str) -> Result<()> {
        self.order("/url", &json!({ "url": url })).map(drop)
    }

    /// Runs a function's body in the page, and returns what it returns; a promise is waited for.
    ///
    /// # Errors
    ///
    /// If it throws.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.order("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs an expression until it is true.
    ///
    /// # Errors
    ///
    /// If it does not become true within some seconds.
    pub fn until(&self, expression: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({expression})"))? != true {
            if Instant::now() > deadline {
                let text = self.run("return document.body.innerText")?;
                bail!("not within {PATIENCE:?}: {expression}; the page says: {text}");
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Clicks on an element as a hand does: it must be seen, and nothing may cover it.
    ///
    /// # Errors
    ///
    /// If it can't be clicked on.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.order("/element", &json!({ "using": "css selector", "value": selector }))?;
        let element = element.as_object().and_then(|element| element.values().next()?.as_str());
        let element = element.with_context(|| format!("no {selector}"))?;
        self.order(&format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Types keys to whatever has the focus; `\u{e004}` is Tab, `\u{e007}` is Enter.
    ///
    /// # Errors
    ///
    /// If the browser does not take them.
    pub fn type_keys(&self, keys: &str) -> Result<()> {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let keyboard = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.order("/actions", &keyboard).map(drop)
    }

    /// Makes the window so wide and high, in pixels, and light or dark.
    ///
    /// # Errors
    ///
    /// If the browser does not.
    pub fn look(&self, (width, height): (u32, u32), is_dark: bool) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features })).map(drop)
    }

    /// A picture of the window, as PNG.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let picture =
            self.devtools("Page.captureScreenshot", &json!({ "format": "png", "optimizeForSpeed": false }))?;
        Ok(BASE64_STANDARD.decode(picture["data"].as_str().context("no picture")?)?)
    }

    /// What a screen reader is told of the page: role and name of each node.
    ///
    /// # Errors
    ///
    /// If the browser does not tell.
    pub fn accessible(&self) -> Result<Vec<(String, String)>> {
        self.devtools("Accessibility.enable", &json!({}))?;
        let tree = self.devtools("Accessibility.getFullAXTree", &json!({}))?;
        let nodes = tree["nodes"].as_array().context("no tree")?;
        let text = |node: &Value, what: &str| node[what]["value"].as_str().unwrap_or_default().to_owned();
        let seen = nodes.iter().filter(|node| node["ignored"] != true);
        Ok(seen.map(|node| (text(node, "role"), text(node, "name"))).collect())
    }

    /// Orders something by Chromium's own protocol.
    fn devtools(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.order("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn order(&self, path: &str, parameters: &Value) -> Result<Value> {
        post(&self.driver, &format!("/session/{}{path}", self.session), parameters)
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // In order; and whatever comes of that, all of it is ended.
        let _ = self.driver.ask("DELETE", &format!("/session/{}", self.session), "", "");
        let _ = self.process.kill();
    }
}

/// Keeps a picture with what tests leave (`target/pictures`); and one that the documentation shows also there
/// (`docs/pictures`), if that is asked for with `HA_BLESS=1`.
///
/// # Errors
///
/// If it can't be written, or is too large for the documentation.
pub fn keep_picture(name: &str, picture: &[u8]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let mut directories = vec![root.join("target/pictures")];
    if SHOWN.contains(&name) && std::env::var_os("HA_BLESS").is_some_and(|value| value == "1") {
        ensure!(picture.len() < 150_000, "{name} has {} bytes", picture.len());
        directories.push(root.join("docs/pictures"));
    }
    for directory in directories {
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("{name}.png")), picture)?;
    }
    Ok(())
}

fn post(driver: &Page<'_>, path: &str, parameters: &Value) -> Result<Value> {
    let answer = driver.ask("POST", path, "content-type: application/json", &parameters.to_string());
    let answer = answer.with_context(|| format!("{path} {parameters}"))?;
    let mut body = answer.json()?;
    ensure!(answer.code == 200, "{path}: {}", body["value"]["message"]);
    Ok(body["value"].take())
}

/// The pictures in the documentation.
const SHOWN: [&str; 5] =
    ["standby-desk", "progress", "failover-phone-dark", "blocked-desk", "stale-desk-dark"];
const PORT: u16 = 9515;
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);
