//! That no snapshot, whatever is in it, and no size of a terminal breaks the view, and that nothing reaches the terminal that it
//! would act upon.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;

use super::super::app::{App, Front};
use super::{Status, cells, key, sample, showing, step};
use crate::cli::live::Input;
use crate::control::order::EndStatus;
use crate::core::pair::report::{End, Standing, Step};

#[test]
fn whatever_it_is_told_it_is_drawn_at_any_size() {
    let long = "x".repeat(10_000);
    let texts = [
        "",
        " ",
        "\n\r\n\t",
        "\x1b[2J\x1b]0;title\x07\x1b[?1049l",
        "\u{9b}31m\u{85}\u{0}",
        "\u{202e}txet\u{2066}\u{200b}\u{200d}",
        "\u{301}\u{301}e\u{301}",
        "漢字かな🧑‍🚀",
        &long,
    ];
    let many =
        [(0, 0.0), (1, -1.0), (2, 1.8e19), (300, 1e308)].map(|(count, number)| ("ordinary", count, number));
    for (text, count, number) in texts.map(|text| (text, 3, 1.0)).into_iter().chain(many) {
        for app in told(&spoiled(text, count, number), text) {
            for size in SIZES {
                harmless(&app, size);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_comes_it_is_drawn(
        text in prop_oneof![any::<String>(), "[\\x00-\\x20\\x7f-\\xa0]{0,200}", "\\PC{0,300}"],
        count in 0..20_usize,
        number in any::<f64>(),
        size in (0..=400_u16, 0..=100_u16),
    ) {
        for app in told(&spoiled(&text, count, number), &text) {
            harmless(&app, size);
        }
    }
}

/// Views of it: with each thing in front, with and without a plan, and old.
fn told(status: &Status, text: &str) -> Vec<App> {
    let now = Instant::now();
    let mut plain = showing(status.clone(), now);
    for mut event in sample::takeover() {
        event.about = Some(text.to_owned());
        event.sentence = text.to_owned();
        plain.take(Input::Event(Box::new(event)), now);
    }
    let mut all = Vec::new();
    for front in [Front::Help, Front::Filter, Front::Confirm] {
        let mut app = showing(status.clone(), now);
        (app.front, app.filter) = (front, text.chars().take(3).collect());
        all.push(app);
    }
    for ended in [
        Ok(EndStatus { end: End::Moved, after_ms: f64::MAX, sentence: text.to_owned() }),
        Err(text.to_owned()),
    ] {
        let mut planned = showing(status.clone(), now);
        planned.take(key('f'), now);
        planned.take(key('y'), now);
        let mut running = step(Step::Take, Standing::Running, f64::MAX);
        running.sentence = text.to_owned();
        planned.take(Input::Step(running), now);
        planned.take(Input::Ended(ended), now);
        all.push(planned);
    }
    let mut gone = showing(status.clone(), now);
    gone.take(Input::Gone(text.to_owned()), now);
    all.extend([plain, gone, App::default()]);
    all
}

fn harmless(app: &App, size: (u16, u16)) {
    for cell in cells(app, Instant::now() + Duration::from_secs(1), size) {
        let acts = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!cell.contains(acts), "{cell:?} at {size:?}");
    }
}

/// A status in which every text is this one and every number that one, as far as it still is a status then; of what there may be
/// many of, there are so many.
fn spoiled(text: &str, count: usize, number: f64) -> Status {
    let mut status = sample::blocked();
    status.vhosts.extend(sample::standby().vhosts);
    status.charge = Some(sample::taking());
    let mut value = serde_json::to_value(status).expect("it has a form");
    let mut places = Vec::new();
    find(&value, String::new(), &mut places);
    for place in places {
        let before = value.clone();
        let here = value.pointer_mut(&place).expect("found before");
        match here {
            Value::Array(list) => {
                let few = if ["/vhosts", "/reasons", "/charge/parts"].contains(&place.as_str()) {
                    count
                } else {
                    count.min(3)
                };
                *list = list.iter().cycle().take(if list.is_empty() { 0 } else { few }).cloned().collect();
            }
            Value::Object(fields) => {
                if let Some(first) = fields.values().next().cloned() {
                    fields.insert(text.to_owned(), first);
                }
            }
            Value::String(_) => *here = text.into(),
            Value::Number(_) => *here = number.into(),
            Value::Null | Value::Bool(_) => continue,
        }
        if serde_json::from_value::<Status>(value.clone()).is_err() {
            value = before;
        }
    }
    value["charge"]["doing"] = "taking".into();
    serde_json::from_value(value).expect("a status")
}

/// Each place in a value, what is in it before itself.
fn find(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, inner)| find(inner, format!("{place}/{index}"), places));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, inner)| find(inner, format!("{place}/{name}"), places));
        }
        Value::String(_) | Value::Number(_) | Value::Null | Value::Bool(_) => {}
    }
    places.push(place);
}

const SIZES: [(u16, u16); 6] = [(0, 0), (1, 1), (20, 5), (80, 24), (3, 100), (400, 100)];
