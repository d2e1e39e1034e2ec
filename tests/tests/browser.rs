//! The page in a real browser: each state is looked at, on a desk and on a phone, by day and by night; a planned failover is
//! clicked through, and done with the keyboard alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::AgentConfig;
use lab::browser::{Browser, keep_picture};
use lab::introduction::{Linked, introduce};
use lab::paired::{settled, wait, wait_for_phase};
use lab::shared::Sharing;
use nix::sys::signal::Signal;

#[test]
fn each_state_is_seen_and_a_failover_is_clicked_through() -> Result<()> {
    if !lab::available() || !lab::browser::available() {
        return Ok(());
    }
    let web = Some("token_file = \"web.token\"\nactions = true\n".to_owned());
    let config = |node: &str, advskew| AgentConfig {
        node: Some(node.to_owned()),
        addresses: vec!["10.77.0.100/24".to_owned(), "2001:db8:77::100/64".to_owned()],
        advskew,
        web: web.clone(),
        ..AgentConfig::strict()
    };
    let configs = [config("controller-a", 0), config("controller-b", 100)];
    let lab = Linked::start_with("see", &[99], configs)?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    settled(&lab.a, &lab.b)?;

    // On the standby, which takes over.
    let browser = Browser::start(&lab.pair.b.netns)?;
    browser.look(DESK, false)?;
    browser.open(PAGE)?;
    log_in(&browser)?;
    browser.until(&level("good"))?;
    ensure!(
        sentence(&browser)? == "controller-a is active, controller-b is ready to take over.",
        "{}",
        sentence(&browser)?
    );
    heard_in_time(&browser)?;
    pictures(&browser, "standby")?;
    accessible(&browser)?;

    clicked_through(&lab, &browser)?;
    typed_through(&lab, &browser)?;
    blocked(&lab, &browser)?;
    stale(&lab, &browser)?;
    alone(&lab, &browser)
}

/// The steps of a takeover are there as they go on, each with its time; with real disks, so to speak.
#[test]
fn a_takeover_of_storage_is_seen_step_by_step() -> Result<()> {
    if !lab::available() || !lab::browser::available() {
        return Ok(());
    }
    let Some(mut sharing) = Sharing::shown("see-disk", "")? else { return Ok(()) };
    let netns = &sharing.linked.pair.b.netns;
    let browser = Browser::start(netns)?;
    browser.look(DESK, false)?;
    browser.open(PAGE)?;
    browser.until(&said("a is active, b is ready to take over."))?;
    sharing.fate("b", "start", "wait")?;
    sharing.linked.a.kill()?;
    browser.until(&said("b is taking over from a."))?;
    let service = "[...document.querySelectorAll('.panel-charge tbody tr')].find((row) => row.dataset.key.includes('writer'))";
    let running = format!("{service}?.querySelector('.state').textContent === 'running'");
    browser.until(&running)?;
    // Its time goes on.
    let time = format!("{service}.cells[2].textContent");
    let first = browser.run(&format!("return {time}"))?;
    browser.until(&format!("{running} && {time} !== {first}"))?;
    let before = browser.run(ROWS)?;
    for done in ["fence data", "file system"] {
        let row = before
            .as_array()
            .into_iter()
            .flatten()
            .find(|row| row[0].as_str().is_some_and(|name| name.contains(done)));
        let row = row.with_context(|| format!("no '{done}' in {before:#}"))?;
        ensure!(row[1] == "done" && row[2].as_str().is_some_and(|time| time.ends_with('s')), "{row}");
    }
    pictures(&browser, "taking")?;
    sharing.fate("b", "start", "")?;
    browser.until(&said("b is active, but a can’t take over."))?;
    browser.until("document.querySelectorAll('.panel-charge .steps li').length >= 4")?;
    let steps = browser.run(
        "return [...document.querySelectorAll('.panel-charge .steps li')].map((step) => [step.dataset.key, step.querySelector('b').textContent, \
         step.querySelector('svg').getAttribute('aria-label')])",
    )?;
    println!("{steps}");
    let is_told = |step: &serde_json::Value| {
        let words = [&step[1], &step[2]].map(|word| word.as_str().unwrap_or_default());
        words[0].ends_with('s') && words[1].starts_with("began after")
    };
    ensure!(steps.as_array().is_some_and(|steps| steps.iter().all(is_told)), "{steps:#}");
    pictures(&browser, "taken")
}

/// How regularly the standby hears the active one, how near a takeover was, and since when both agents run.
fn heard_in_time(browser: &Browser<'_>) -> Result<()> {
    let sum = "[...document.querySelectorAll('.panel-heard figure title')].reduce((sum, bar) => sum + Number(bar.textContent.split(': ')[1]), 0)";
    browser.until(&format!("{sum} === 64"))?;
    let chart = browser.run(
        "const figure = document.querySelector('.panel-heard figure');
         return [figure.querySelector('h3').textContent, figure.querySelector('svg').getAttribute('aria-label'),
             [...figure.querySelectorAll('dt, dd')].map((word) => word.textContent).join(' ')]",
    )?;
    let [name, label, numbers] = [0, 1, 2].map(|at| chart[at].as_str().unwrap_or_default().to_owned());
    ensure!(name == "data" && label.starts_with("data on eth0: of the last 64 advertisements"), "{chart:#}");
    ensure!(
        label.contains("takeover after 33.9 ms, least margin ") && numbers.contains("least margin "),
        "{chart:#}"
    );
    // Each bar is within the drawing, and below the table says the same.
    let margin = browser
        .run("return document.querySelector('.panel-vhosts tbody').textContent.includes('least margin')")?;
    ensure!(margin == true, "the virtual host's row has no margin");
    browser.until("[...document.querySelectorAll('.node')].every((node) => /Up.*since \\d\\d:\\d\\d/.test(node.textContent))")
}

fn log_in(browser: &Browser<'_>) -> Result<()> {
    browser.until("location.pathname === '/login' && document.activeElement.id === 'token'")?;
    browser.type_keys("another-token-of-the-lab\u{e007}")?;
    browser.until("location.search === '?wrong'")?;
    browser.type_keys(&format!("{}\u{e007}", AgentConfig::TOKEN))?;
    browser.until("location.pathname === '/'")
}

/// With the mouse: from `a` to `b`.
fn clicked_through(lab: &Linked, browser: &Browser<'_>) -> Result<()> {
    browser.click("#act button")?;
    browser.until("document.getElementById('dialog').open")?;
    // Whoever is led here by mistake can only leave it.
    browser.until("document.activeElement.value === 'cancel'")?;
    keep_picture("dialog", &browser.picture()?)?;
    browser.click("#dialog [value=cancel]")?;
    browser.until("!document.getElementById('dialog').open")?;
    wait_for_phase(&lab.a, "active")?;

    browser.click("#act button")?;
    browser.click("#confirm")?;
    browser.until("document.querySelector('#dialog .result')?.dataset.level === 'good'")?;
    wait_for_phase(&lab.b, "active")?;
    let steps = browser.run("return document.querySelectorAll('#dialog .progress li').length")?;
    ensure!(steps.as_u64() >= Some(1), "no steps");
    keep_picture("progress", &browser.picture()?)?;
    browser.click("#dialog .buttons button")?;
    browser.until(&format!(
        "{} && {}",
        level("good"),
        said("controller-b is active, controller-a is ready to take over.")
    ))?;
    browser.until("document.querySelectorAll('.takeovers > li').length > 0")?;
    pictures(browser, "failover")
}

/// With the keyboard alone, and back again.
fn typed_through(lab: &Linked, browser: &Browser<'_>) -> Result<()> {
    browser.run("document.activeElement.blur()")?;
    for _ in 0..10 {
        browser.type_keys("\u{e004}")?;
        if browser.run("return document.activeElement.matches('#act button')")? == true {
            break;
        }
    }
    let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")?;
    ensure!(outline == "solid", "what has the focus is not seen: {outline}");
    browser.type_keys("\u{e007}")?;
    browser.until("document.activeElement.value === 'cancel'")?;
    browser.type_keys("\u{e004}\u{e007}")?;
    browser.until("document.querySelector('#dialog .result')?.dataset.level === 'good'")?;
    wait_for_phase(&lab.a, "active")?;
    browser.until("document.activeElement.closest('dialog')")?;
    browser.type_keys("\u{e00c}")?;
    browser.until("!document.getElementById('dialog').open")
}

/// An operator holds the standby, and its link is cut.
fn blocked(lab: &Linked, browser: &Browser<'_>) -> Result<()> {
    settled(&lab.a, &lab.b)?;
    lab.b.tell("hold")?;
    wait(&lab.b, PATIENCE, |status| status["maintenance"] == true)?;
    browser.until(&said("controller-a is active, but controller-b can’t take over."))?;
    browser.until("document.querySelectorAll('#why .remedy').length > 0")?;
    pictures(browser, "blocked")?;
    lab.b.tell("resume")?;
    browser.until(&level("good"))
}

/// The agent stands still: what is shown is old, and says so.
fn stale(lab: &Linked, browser: &Browser<'_>) -> Result<()> {
    lab.b.process.signal(Signal::SIGSTOP)?;
    let seen = browser.until("document.body.classList.contains('stale')");
    let shown = seen.and_then(|()| pictures(browser, "stale"));
    lab.b.process.signal(Signal::SIGCONT)?;
    shown?;
    browser.until("!document.body.classList.contains('stale')")?;
    browser.until(&level("good"))
}

/// The active node's agent dies: what it said before does not count any more.
fn alone(lab: &Linked, browser: &Browser<'_>) -> Result<()> {
    settled(&lab.a, &lab.b)?;
    let watch = "window.both = false; window.watch = setInterval(() => { \
                 window.both ||= document.getElementById('sentence').innerText.includes('Both'); }, 5)";
    browser.run(watch)?;
    lab.a.process.signal(Signal::SIGKILL)?;
    wait_for_phase(&lab.b, "active")?;
    browser.until(&said("controller-b is active, but controller-a can’t take over."))?;
    browser.until(&level("bad"))?;
    ensure!(browser.run("return window.both")? == false, "for a while, both were said to be active");
    Ok(())
}

/// By day on a desk, and by night on a phone; nothing may hang over the edge.
fn pictures(browser: &Browser<'_>, name: &str) -> Result<()> {
    for (size, is_dark, kind) in [
        (DESK, false, "desk"),
        (DESK, true, "desk-dark"),
        (PHONE, false, "phone"),
        (PHONE, true, "phone-dark"),
    ] {
        browser.look(size, is_dark)?;
        browser.run("scrollTo(0, 0)")?;
        let wide = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
        ensure!(wide.as_i64() <= Some(0), "{name} {kind}: {wide} pixels hang over the edge");
        contrasts(browser).with_context(|| format!("{name} {kind}"))?;
        keep_picture(&format!("{name}-{kind}"), &browser.picture()?)?;
        for below in ["charge", "heard"] {
            if browser.run(&format!("{INTO_VIEW}; return into('.panel-{below}')"))? == true {
                keep_picture(&format!("{name}-{below}-{kind}"), &browser.picture()?)?;
            }
        }
    }
    browser.look(DESK, false)
}

/// What all pages should be, for whoever does not see them.
fn accessible(browser: &Browser<'_>) -> Result<()> {
    let nodes = browser.accessible()?;
    let nameless: Vec<_> = nodes
        .iter()
        .filter(|(role, name)| {
            ["button", "link", "textbox", "img", "image", "table", "dialog"].contains(&role.as_str())
                && name.is_empty()
        })
        .filter(|(role, _)| role != "table")
        .collect();
    ensure!(nameless.is_empty(), "without a name: {nameless:?}");
    let has = |wanted: &str| nodes.iter().filter(|(role, _)| role == wanted).count();
    ensure!(has("main") == 1 && has("banner") == 1 && has("contentinfo") == 1, "landmarks: {nodes:?}");
    ensure!(has("columnheader") > 0 && has("rowheader") > 0, "headers of tables");
    let headings =
        browser.run("return [...document.querySelectorAll('h1,h2,h3')].map((h) => Number(h.tagName[1]))")?;
    let headings: Vec<i64> =
        headings.as_array().into_iter().flatten().filter_map(serde_json::Value::as_i64).collect();
    ensure!(headings.iter().filter(|level| **level == 1).count() == 1, "{headings:?}");
    ensure!(
        headings.windows(2).all(|pair| pair[1] <= pair[0] + 1),
        "a level of headings is left out: {headings:?}"
    );
    let ids = browser.run("const ids = [...document.querySelectorAll('[id]')].map((e) => e.id); return ids.length - new Set(ids).size")?;
    ensure!(ids == 0, "{ids} ids are there twice");
    // The first thing that Tab reaches leads past the bar.
    browser.run("document.activeElement.blur(); scrollTo(0, 0)")?;
    browser.type_keys("\u{e004}")?;
    ensure!(browser.run("return document.activeElement.className")? == "skip");
    browser.run("document.activeElement.blur()").map(drop)
}

/// Every text that is seen has a contrast of 4.5 at least (WCAG 2.2, 1.4.3), but where all is greyed out.
fn contrasts(browser: &Browser<'_>) -> Result<()> {
    let poor = browser.run(CONTRASTS)?;
    ensure!(poor.as_array().is_some_and(Vec::is_empty), "poor contrasts: {poor:#}");
    Ok(())
}

fn sentence(browser: &Browser<'_>) -> Result<String> {
    Ok(browser
        .run("return document.querySelector('h1').textContent")?
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn said(sentence: &str) -> String {
    format!("document.querySelector('h1').textContent === {sentence:?}")
}

fn level(level: &str) -> String {
    format!("document.getElementById('verdict').dataset.level === {level:?}")
}

/// The background is the nearest one that is not see-through; half-transparent ones are not used under text.
const CONTRASTS: &str = r"
const numbers = (color) => color.startsWith('color(srgb') ? color.match(/[\d.]+/g).map(Number).map((v, i) => (i < 3 ? v * 255 : v)) : color.match(/[\d.]+/g).map(Number);
const light = (color) => {
  const [r, g, b] = numbers(color).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if ((numbers(color)[3] ?? 1) === 1) return color;
  }
  return 'rgb(255, 255, 255)';
};
const poor = [];
for (const element of document.body.querySelectorAll('*')) {
  const text = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!text || !element.checkVisibility() || element.closest('svg, .stale .panels, .skip, title')) continue;
  const style = getComputedStyle(element);
  const [one, other] = [light(style.color), light(behind(element))].sort((a, b) => b - a);
  const contrast = (one + 0.05) / (other + 0.05);
  if (contrast < 4.5) poor.push(`${element.tagName} ${element.className}: ${contrast.toFixed(2)} (${element.textContent.slice(0, 40)})`);
}
return poor;
";
/// The parts of what is taken over: name, step, time.
const ROWS: &str = "return [...document.querySelectorAll('.panel-charge tbody tr')].map((row) => [row.dataset.key, row.cells[1].textContent, row.cells[2].textContent])";
const INTO_VIEW: &str = "const into = (what) => { const panel = document.querySelector(what); panel?.scrollIntoView(); return Boolean(panel); }";
const PAGE: &str = "http://127.0.0.1:7781/";
const DESK: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);
const PATIENCE: Duration = Duration::from_secs(10);
