//! Any bytes as a recording.

use ha_agent::core::Vhost;
use ha_agent::journal::replay::{Ending, Replay, ReplayError, Replayed};
use ha_agent::journal::trace::{Header, Line, Step};

/// Replays bytes as a file, and as what follows a good header; and whatever in them can happen to a machine, with
/// what it decides then, which must replay to the same.
///
/// # Panics
///
/// If it does not, or a mistake is not told in one line.
pub fn replay(bytes: &[u8]) {
    let good = serde_json::to_string(&header()).expect("a form in JSON") + "\n";
    for input in [bytes, &[good.as_bytes(), bytes].concat()] {
        if let Err(error) = play(input) {
            let line = error.to_string();
            assert!(line.len() < 2000 && !line.contains(char::is_control), "{line:?}");
        }
    }
    let (recording, count) = lived(good, bytes);
    let (steps, ending) = play(recording.as_bytes()).unwrap_or_else(|error| panic!("{error}: {recording}"));
    assert_eq!((steps, ending), (count, Ending::Orderly), "{recording}");
}

/// To its end; returns how many steps, and what end.
fn play(input: &[u8]) -> Result<(usize, Ending), ReplayError> {
    let mut replay = Replay::open(input)?;
    let mut steps = 0;
    loop {
        match replay.step()? {
            Replayed::Step(_) => steps += 1,
            Replayed::Ended(ending) => return Ok((steps, ending)),
        }
    }
}

/// A recording of what happens in some lines, and how much that is.
fn lived(mut recording: String, lines: &[u8]) -> (String, usize) {
    let mut machines: Vec<_> = header().vhosts.iter().map(|vhost| Vhost::new(vhost.settings)).collect();
    let (mut latest, mut count) = (header().began_ns, 0);
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(Line::Step(Step { vhost, now, event, .. })) = serde_json::from_slice(line) else { continue };
        let Some(machine) = machines.get_mut(vhost).filter(|_| now >= latest) else { continue };
        machine.handle(now, event);
        let commands = std::iter::from_fn(|| machine.next_command()).collect();
        let step = Line::Step(Step { vhost, now, event, commands });
        recording += &(serde_json::to_string(&step).expect("a form in JSON") + "\n");
        (latest, count) = (now, count + 1);
    }
    (recording + "\"end\"\n", count)
}

fn header() -> Header {
    serde_json::from_str(HEADER).expect("a header")
}

const HEADER: &str = r#"{"format":"ha-agent trace","version":1,"agent":"0.1.0","node":"a",
"began":"2026-01-01T00:00:00Z","began_ns":0,"vhosts":[
{"name":"data","interface":"eth0","vhid":10,"settings":{"priority":{"advbase":1,"advskew":100},
"pace":{"fast":{"interval":10000000,"detect":3}},"preempt":true,
"families":{"v4":true,"v6":true,"rule":"both"},"announce_every":null}},
{"name":"web","interface":"eth0","vhid":11,"settings":{"priority":{"advbase":0,"advskew":0},
"pace":"classic","preempt":false,"families":{"v4":true,"v6":false,"rule":"either"},
"announce_every":60000000000}}]}"#;
