//! How it looks in a few states, at 80 columns and wide; and what keys do.

mod anything;
mod panicking;

use std::path::Path;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use super::app::{App, Front, Next};
use super::draw;
use crate::cli::live::Input;
use crate::cli::sample;
use crate::control::order::{EndStatus, StepStatus};
use crate::control::status::Status;
use crate::core::pair::report::{End, Standing, Step};

#[test]
fn it_looks_as_it_should() {
    let now = Instant::now();
    let ago = |ms| now.checked_sub(Duration::from_millis(ms)).expect("a while after the start");
    let mut failing_over = showing(sample::standby(), ago(100));
    failing_over.take(key('f'), now);
    failing_over.take(key('y'), now);
    failing_over.take(Input::Step(step(Step::Ask, Standing::Done, 1.5)), now);
    failing_over.take(Input::Step(step(Step::Promise, Standing::Running, 2.25)), now);
    let mut after = showing(sample::standby(), ago(100));
    for event in sample::takeover() {
        after.take(Input::Event(Box::new(event)), now);
    }
    let mut moving = sample::standby();
    moving.charge = Some(sample::taking());
    let mut gone = showing(sample::standby(), ago(5000));
    gone.take(Input::Gone("no ha-agent answers".to_owned()), now);
    let states = [
        ("standby", showing(sample::standby(), ago(100))),
        ("blocked", showing(sample::blocked(), ago(100))),
        ("failing_over", failing_over),
        ("after", after),
        ("taking", showing(moving, ago(100))),
        ("stale", gone),
    ];
    for (name, app) in states {
        compare(name, &text(&app, now, (80, 24)));
        compare(&format!("{name}_wide"), &text(&app, now, (140, 40)));
    }
}

#[test]
fn it_can_be_drawn_at_any_size() {
    let mut app = showing(sample::blocked(), Instant::now());
    for front in [Front::Nothing, Front::Help, Front::Filter, Front::Confirm] {
        app.front = front;
        for size in [(1, 1), (10, 3), (20, 50), (300, 2), (80, 12)] {
            text(&app, Instant::now(), size);
        }
    }
}

#[test]
fn where_there_is_no_room_the_step_that_goes_on_is_seen() {
    let mut status = sample::standby();
    let mut charge = sample::taking();
    let done = charge.parts.first().expect("a part").clone();
    (0..20).for_each(|_| charge.parts.insert(0, done.clone()));
    status.charge = Some(charge);
    let shown = text(&showing(status, Instant::now()), Instant::now(), (80, 24));
    assert!(shown.contains("running  pool tank") && shown.contains("waiting  service nfs"), "{shown}");
}

#[test]
fn what_is_too_old_is_grey_and_what_is_new_is_not() {
    let now = Instant::now();
    for (age, stale) in [(Duration::ZERO, false), (Duration::from_secs(3), true)] {
        let app = showing(sample::standby(), now.checked_sub(age).expect("a while after the start"));
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
        terminal.draw(|frame| draw::draw(frame, &app, now)).expect("drawn");
        let buffer = terminal.backend().buffer().clone();
        let below = buffer.content.iter().skip(80).filter(|cell| cell.symbol() != " ");
        let colours: Vec<_> = below.map(|cell| cell.fg).collect();
        assert_eq!(colours.iter().all(|colour| *colour == Color::DarkGray), stale, "{age:?}");
        let head = buffer.content.iter().take(80).any(|cell| cell.fg == Color::Red);
        assert_eq!(head, stale, "{age:?}");
        assert!(buffer.content.iter().any(|cell| cell.modifier.contains(Modifier::BOLD)));
    }
}

#[test]
fn a_failover_begins_only_after_a_yes() {
    let now = Instant::now();
    let mut app = showing(sample::standby(), now);
    for no in [KeyCode::Char('n'), KeyCode::Enter, KeyCode::Esc, KeyCode::Char('f')] {
        assert_eq!(app.take(key('f'), now), Next::GoOn);
        assert_eq!(app.front, Front::Confirm);
        assert_eq!(app.take(code(no), now), Next::GoOn, "{no:?}");
        assert!(app.front == Front::Nothing && app.plan.is_none(), "{no:?}");
    }
    assert_eq!(app.take(key('y'), now), Next::GoOn, "nobody asked");
    app.take(key('f'), now);
    assert_eq!(app.take(key('y'), now), Next::FailOver);
    app.take(key('f'), now);
    assert_eq!(app.front, Front::Nothing, "one at a time");
    app.take(code(KeyCode::Esc), now);
    assert!(app.is_failing_over(), "what goes on is not hidden");
    let end = EndStatus { end: End::Moved, after_ms: 5.0, sentence: End::Moved.to_string() };
    app.take(Input::Ended(Ok(end)), now);
    app.take(code(KeyCode::Esc), now);
    assert!(app.plan.is_none());
}

#[test]
fn a_filter_is_written_and_keys_in_it_do_nothing_else() {
    let now = Instant::now();
    let mut app = showing(sample::standby(), now);
    for typed in ["/", "q", "f"] {
        typed.chars().for_each(|c| assert_eq!(app.take(key(c), now), Next::GoOn));
    }
    assert_eq!((app.filter.as_str(), app.vhosts().count()), ("qf", 0));
    app.take(code(KeyCode::Backspace), now);
    app.take(code(KeyCode::Backspace), now);
    for c in "eth0".chars() {
        app.take(key(c), now);
    }
    app.take(code(KeyCode::Enter), now);
    assert_eq!((app.front, app.vhosts().count()), (Front::Nothing, 1));
    assert_eq!(app.take(key('q'), now), Next::End);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.take(Input::Key(control_c), now), Next::End);
}

fn showing(status: Status, at: Instant) -> App {
    let mut app = App::default();
    app.take(Input::Status(Box::new(status)), at);
    app
}

fn step(step: Step, standing: Standing, after_ms: f64) -> StepStatus {
    StepStatus { step, standing, after_ms, sentence: step.to_string() }
}

fn key(c: char) -> Input {
    code(KeyCode::Char(c))
}

fn code(code: KeyCode) -> Input {
    Input::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn text(app: &App, now: Instant, (columns, rows): (u16, u16)) -> String {
    let cells = cells(app, now, (columns, rows));
    let lines = cells.chunks(usize::from(columns)).map(|row| format!("{}\n", row.concat().trim_end()));
    sample::anywhere(&lines.collect::<String>())
}

/// What is in each place of the terminal.
fn cells(app: &App, now: Instant, (columns, rows): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
    terminal.draw(|frame| draw::draw(frame, app, now)).expect("drawn");
    terminal.backend().buffer().content.iter().map(|cell| cell.symbol().to_owned()).collect()
}

/// With `HA_BLESS=1` it is written anew instead.
fn compare(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/screens").join(format!("{name}.txt"));
    if std::env::var_os("HA_BLESS").is_some() {
        return std::fs::write(path, found).expect("it can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, found, "{} differs; if that is meant: HA_BLESS=1", path.display());
}
