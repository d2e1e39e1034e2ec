use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::trace::Recorded;
use super::*;
use crate::core::{
    Advert, Advertisement, Cause, Command, Event, Families, Family, FamilyRule, Link, LinkDown, Pace,
    Priority, Settings, Silence, Sources, Stall, State, Timer, Transition,
};

/// The names are the format: whoever changes one makes a new [`VERSION`].
#[test]
fn events_as_they_are_written() {
    let (at, later) = (Instant::from_nanos(7), Instant::from_nanos(9));
    let sources = Sources { v4: Ipv4Addr::new(10, 77, 0, 1), v6: Ipv6Addr::LOCALHOST };
    let priority = Priority { advbase: 1, advskew: 100 };
    let advert =
        Advert { stamp: at, source: IpAddr::from([10, 77, 0, 2]), priority, demote: 3, watched: true };
    let silence = Silence { family: Family::V4, last_heard: at, deadline: later, fired: later };
    let stall = Stall { family: Family::V6, deadline: at, fired: later };
    let table = [
        (Event::Link(Link::Up { sources }), r#"{"link":{"up":{"sources":{"v4":"10.77.0.1","v6":"::1"}}}}"#),
        (Event::Link(Link::Down(LinkDown::AdminDown)), r#"{"link":{"down":"admin_down"}}"#),
        (
            Event::Advert(advert),
            r#"{"advert":{"stamp":7,"source":"10.77.0.2","priority":{"advbase":1,"advskew":100},"demote":3,"watched":true}}"#,
        ),
        (Event::Silence(silence), r#"{"silence":{"family":"v4","last_heard":7,"deadline":9,"fired":9}}"#),
        (Event::Stall(stall), r#"{"stall":{"family":"v6","deadline":7,"fired":9}}"#),
        (Event::Unwatched(Family::V6), r#"{"unwatched":"v6"}"#),
        (Event::Demote(240), r#"{"demote":240}"#),
        (Event::Deadline(Timer::MasterDownV6), r#"{"deadline":"master_down_v6"}"#),
        (Event::Resume { advertised: at }, r#"{"resume":{"advertised":7}}"#),
        (Event::Released { held: true }, r#"{"released":{"held":true}}"#),
        (Event::Leave, r#""leave""#),
    ];
    for (event, written) in table {
        assert_eq!(json(&event), written);
        assert_eq!(serde_json::from_str::<Event>(written).unwrap(), event);
    }
}

#[test]
fn decisions_as_they_are_written() {
    let (at, source) = (Instant::from_nanos(7), IpAddr::from([10, 77, 0, 2]));
    let priority = Priority { advbase: 1, advskew: 100 };
    let silence = Cause::Silence { family: None, last_heard: Some(at), deadline: at, fired: None };
    let notify = |cause| Command::Notify(Transition { at, from: State::Backup, to: State::Master, cause });
    let table = [
        (
            Command::Advertise(Advertisement { priority, demote: 0 }),
            r#"{"advertise":{"priority":{"advbase":1,"advskew":100},"demote":0}}"#,
        ),
        (Command::TakeAddresses, r#""take_addresses""#),
        (Command::DropAddresses, r#""drop_addresses""#),
        (Command::Announce, r#""announce""#),
        (Command::Stalled { lasted: Duration::from_millis(3) }, r#"{"stalled":{"lasted":3000000}}"#),
        (
            notify(silence),
            r#"{"notify":{"at":7,"from":"backup","to":"master","cause":{"silence":{"family":null,"last_heard":7,"deadline":7,"fired":null}}}}"#,
        ),
        (
            notify(Cause::LessDemoted { source }),
            r#"{"notify":{"at":7,"from":"backup","to":"master","cause":{"less_demoted":{"source":"10.77.0.2"}}}}"#,
        ),
    ];
    for (command, written) in table {
        assert_eq!(json(&command), written);
        assert_eq!(serde_json::from_str::<Command>(written).unwrap(), command);
    }
}

#[test]
fn settings_as_they_are_written() {
    let table = [
        (
            settings(Pace::Classic, Some(Duration::from_mins(1))),
            r#"{"priority":{"advbase":1,"advskew":100},"pace":"classic","preempt":true,"families":{"v4":true,"v6":true,"rule":"either"},"announce_every":60000000000}"#,
        ),
        (
            settings(FAST, None),
            r#"{"priority":{"advbase":1,"advskew":100},"pace":{"fast":{"interval":10000000,"detect":3}},"preempt":true,"families":{"v4":true,"v6":true,"rule":"either"},"announce_every":null}"#,
        ),
    ];
    for (settings, written) in table {
        assert_eq!(json(&settings), written);
        assert_eq!(serde_json::from_str::<Settings>(written).unwrap(), settings);
    }
}

#[test]
fn a_recording_replays_to_the_same() {
    let text = recording(&story());
    let (steps, end) = replay(text.as_bytes());
    assert_eq!(end.unwrap(), Ending::Orderly);
    assert_eq!(steps, story().len());
    assert!(
        text.contains(r#""to":"master""#) && text.contains(r#"{"stalled":"#),
        "it tells too little: {text}"
    );
}

#[test]
fn wherever_it_is_cut_off_it_replays_up_to_there() {
    let text = recording(&story());
    let bytes = text.as_bytes();
    for length in 0..bytes.len() {
        let whole = text[..length].matches('\n').count();
        let (steps, end) = replay(&bytes[..length]);
        match end {
            Err(error) => assert!(whole == 0 && error.exit() == Exit::Data, "cut after {length}: {error}"),
            Ok(Ending::Abrupt) => assert!(text[..length].ends_with('\n'), "cut after {length}"),
            Ok(Ending::CutOff(line)) => assert_eq!(line, whole + 1, "cut after {length}"),
            Ok(Ending::Orderly) => panic!("it has no end after {length}"),
        }
        assert_eq!(steps, whole.saturating_sub(1), "cut after {length}");
    }
}

#[test]
fn another_decision_is_told() {
    let text = recording(&story());
    let changes: [(&str, &str, &str); 4] = [
        // Recorded decisions: changed, missing, too many.
        (
            r#""commands":["drop_addresses","#,
            r#""commands":["announce","#,
            r#"recorded "announce", replayed "drop_addresses""#,
        ),
        (
            r#"["drop_addresses",{"notify":{"at":1000,"from":"init","to":"backup","cause":"started"}}]"#,
            r#"["drop_addresses"]"#,
            "recorded nothing, replayed {",
        ),
        (
            r#""event":{"released":{"held":false}},"commands":[]"#,
            r#""event":{"released":{"held":false}},"commands":["announce"]"#,
            r#"recorded "announce", replayed nothing"#,
        ),
        // What it was made from.
        (r#""interval":10000000"#, r#""interval":30000000"#, "replayed nothing"),
    ];
    for (from, to, expected) in changes {
        assert!(text.contains(from), "{from} is not in {text}");
        let error = replay(text.replacen(from, to, 1).as_bytes()).1.unwrap_err();
        assert_eq!(error.exit(), Exit::Differs, "{error}");
        let shown = error.to_string();
        for part in [expected, "decided otherwise by data", "recorded by 0.0.9", "line "] {
            assert!(shown.contains(part), "{part} is not in: {shown}");
        }
    }
}

#[test]
fn files_that_are_no_recording() {
    let text = recording(&story());
    let (header, rest) = text.split_once('\n').unwrap();
    let (first, _) = rest.split_once('\n').unwrap();
    let after = |line: &str| format!("{header}\n{first}\n{line}\n{first}\n");
    let table = [
        ("empty", String::new(), "line 1: the file is empty"),
        ("no JSON", "no trace\n".to_owned(), "line 1: no header of a recording: expected ident at column 2"),
        ("no header", format!("{first}\n"), "missing field `format`"),
        ("of something else", header.replace(FORMAT, r"\u001b[2J") + "\n", r"its format is '\u{1b}[2J'"),
        (
            "of another version",
            header.replace(r#""version":1"#, r#""version":2"#) + "\n",
            "format version 2, 1 is known",
        ),
        ("header without settings", header.replace(r#""pace""#, r#""pase""#) + "\n", "missing field `pace`"),
        ("no line", after("{"), "line 3: not understood: EOF while parsing an object at column 1;"),
        ("no UTF-8", after("\u{fffd}"), "line 3: not understood"),
        ("unknown kind of line", after(r#"{"stop":1}"#), "unknown variant `stop`, expected one of `step`"),
        (
            "unknown event",
            after(&first.replace(r#""link""#, r#""lynk""#)),
            "unknown variant `lynk`, expected one of `link`",
        ),
        (
            "unknown virtual host",
            after(&first.replace(r#""vhost":0"#, r#""vhost":2"#)),
            "line 3: there is no virtual host 2, the header has 2",
        ),
        (
            "time goes back",
            after(&first.replace(r#""now":1000"#, r#""now":999"#)),
            "line 3: time goes back, from 1000 ns to 999 ns",
        ),
        ("with a gap", after(r#"{"lost":12}"#), "line 3: 12 steps are lost here"),
        ("after the end", after(r#""end""#), "line 4: there is more after the end"),
        (
            "in another writing",
            format!("{header}\n{}\n", first.replacen('{', "{ ", 1)),
            "line 2: the decisions are the same, but the line",
        ),
        ("huge", after(&"x".repeat(2 << 20)), "line 3: it is longer than 1048576 bytes"),
        ("huge name", after(&format!(r#"{{"{}":1}}"#, "\\u001bx".repeat(1000))), r"unknown variant `\u{1b}x"),
    ];
    for (what, text, expected) in table {
        let error = replay(text.as_bytes()).1.unwrap_err();
        assert_eq!(error.exit(), Exit::Data, "{what}: {error}");
        assert!(error.to_string().contains(expected), "{what}: {error}");
        demand_line(&error);
    }
}

/// What may become of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
    /// Lines.
    Swap(usize, usize),
    /// The next number becomes another.
    Number(usize, u64),
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let at = move |place: usize| place % length;
        match self {
            Self::Set(place, value) => bytes[at(place)] = value,
            Self::Insert(place, value) => bytes.insert(at(place), value),
            Self::Remove(place, count) => {
                let from = at(place);
                bytes.drain(from..(from + count % 64).min(length));
            }
            Self::Repeat(place, count) => {
                let (from, to) = (at(place), (at(place) + count % 512).min(length));
                let part = bytes[from..to].to_vec();
                bytes.splice(to..to, part);
            }
            Self::Swap(one, other) => {
                let mut lines: Vec<_> =
                    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let count = lines.len();
                lines.swap(one % count, other % count);
                *bytes = lines.concat();
            }
            Self::Number(place, value) => {
                let Some(from) = bytes.iter().skip(at(place)).position(u8::is_ascii_digit) else { return };
                let from = from + at(place);
                let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                bytes.splice(from..from + length, value.to_string().into_bytes());
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = 0..16_384_usize;
    prop_oneof![
        (place.clone(), any::<u8>()).prop_map(|(place, value)| Damage::Set(place, value)),
        (place.clone(), prop::sample::select(b"{}[]\":,0129e-\n\\".to_vec()))
            .prop_map(|(place, value)| Damage::Insert(place, value)),
        (place.clone(), any::<usize>()).prop_map(|(place, count)| Damage::Remove(place, count)),
        (place.clone(), any::<usize>()).prop_map(|(place, count)| Damage::Repeat(place, count)),
        (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Damage::Swap(one, other)),
        (place, prop_oneof![any::<u64>(), 0..300_u64, Just(u64::MAX)])
            .prop_map(|(place, value)| Damage::Number(place, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever becomes of a recording: no panic, and one line that says what is wrong.
    #[test]
    fn any_damage_is_told_in_one_line(damages in prop::collection::vec(damage(), 1..6)) {
        let mut bytes = recording(&story()).into_bytes();
        for damage in damages {
            damage.apply(&mut bytes);
        }
        if let Err(error) = replay(&bytes).1 {
            demand_line(&error);
        }
    }

}

proptest! {
    /// Whatever happens in whatever order.
    #[test]
    fn any_story_replays_to_the_same(
        happened in prop::collection::vec((0..2_usize, 0..50_000_000_u64, 0..24_u8, any::<u8>()), 0..200),
    ) {
        let mut now = 1000;
        let steps: Vec<_> = happened.into_iter().map(|(vhost, wait, kind, detail)| {
            now += wait;
            (vhost, now, any_event(now, kind, detail))
        }).collect();
        let (count, end) = replay(recording(&steps).as_bytes());
        prop_assert_eq!(end.map_err(|error| TestCaseError::fail(error.to_string()))?, Ending::Orderly);
        prop_assert_eq!(count, steps.len());
    }
}

fn any_event(now: u64, kind: u8, detail: u8) -> Event {
    let (at, earlier) = (Instant::from_nanos(now), Instant::from_nanos(now - 1000));
    let family = Family::ALL[usize::from(detail % 2)];
    let source = match family {
        Family::V4 => IpAddr::from([10, 77, 0, detail]),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let priority = Priority { advbase: 1, advskew: detail };
    match kind {
        0 | 1 => Event::Link(Link::Up { sources: SOURCES }),
        2 => Event::Link(Link::Down(LinkDown::Carrier)),
        3 => Event::Silence(Silence { family, last_heard: earlier, deadline: at, fired: at }),
        4 => Event::Stall(Stall { family, deadline: earlier, fired: at }),
        5 => Event::Unwatched(family),
        6 => Event::Demote(detail % 3),
        7 if detail > 250 => Event::Resume { advertised: earlier },
        7 => Event::Released { held: detail > 99 },
        8 if detail > 250 => Event::Leave,
        8..=13 => Event::Advert(Advert { stamp: earlier, source, priority, demote: 0, watched: detail > 99 }),
        _ => Event::Deadline(Timer::ALL[usize::from(detail) % Timer::ALL.len()]),
    }
}

/// A takeover after a silence, a stall, and a better one that comes back; beside it a second virtual host.
fn story() -> Vec<(usize, u64, Event)> {
    let other = IpAddr::from([10, 77, 0, 2]);
    let advert = |now: u64, advskew| {
        let priority = Priority { advbase: 1, advskew };
        Event::Advert(Advert {
            stamp: Instant::from_nanos(now),
            source: other,
            priority,
            demote: 0,
            watched: true,
        })
    };
    let ms = |n: u64| 1000 + n * 1_000_000;
    let silence = Silence {
        family: Family::V4,
        last_heard: Instant::from_nanos(ms(20)),
        deadline: Instant::from_nanos(ms(54)),
        fired: Instant::from_nanos(ms(54)),
    };
    vec![
        (0, ms(0), Event::Link(Link::Up { sources: SOURCES })),
        (1, ms(0), Event::Link(Link::Up { sources: SOURCES })),
        (0, ms(10), advert(ms(10), 0)),
        (0, ms(20), advert(ms(20), 0)),
        (0, ms(54), Event::Silence(silence)),
        (0, ms(54), Event::Deadline(Timer::MasterDown)),
        (0, ms(54), Event::Released { held: false }),
        (0, ms(64), Event::Deadline(Timer::Advertise)),
        (1, ms(64), advert(ms(64), 200)),
        (0, ms(164), Event::Deadline(Timer::Advertise)),
        (0, ms(174), Event::Deadline(Timer::Advertise)),
        (0, ms(180), advert(ms(180), 0)),
        (1, ms(190), Event::Leave),
        (0, ms(200), Event::Leave),
    ]
}

/// What the recorder would write.
fn recording(events: &[(usize, u64, Event)]) -> String {
    let vhosts = ["data", "web"].map(|name| Recorded {
        name: name.to_owned(),
        interface: "eth0".to_owned(),
        vhid: 10,
        settings: settings(FAST, None),
    });
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        agent: "0.0.9".to_owned(),
        node: "a".to_owned(),
        began: Timestamp::UNIX_EPOCH,
        began_ns: Instant::from_nanos(900),
        vhosts: vhosts.to_vec(),
    };
    let mut machines = vhosts.map(|vhost| Vhost::new(vhost.settings));
    let mut text = json(&header) + "\n";
    for &(vhost, now, event) in events {
        let now = Instant::from_nanos(now);
        machines[vhost].handle(now, event);
        let commands = std::iter::from_fn(|| machines[vhost].next_command()).collect();
        text += &json(&Line::Step(Step { vhost, now, event, commands }));
        text.push('\n');
    }
    text + &json(&Line::End) + "\n"
}

/// Replays all of it; returns how many steps, and how that ended.
fn replay(bytes: &[u8]) -> (usize, Result<Ending, ReplayError>) {
    let mut replay = match Replay::open(bytes) {
        Ok(replay) => replay,
        Err(error) => return (0, Err(error)),
    };
    let mut steps = 0;
    loop {
        match replay.step() {
            Ok(Replayed::Step(_)) => steps += 1,
            Ok(Replayed::Ended(ending)) => return (steps, Ok(ending)),
            Err(error) => return (steps, Err(error)),
        }
    }
}

fn demand_line(error: &ReplayError) {
    let line = error.to_string();
    assert!(line.len() < 2000 && !line.contains(char::is_control), "{line:?}");
}

fn settings(pace: Pace, announce_every: Option<Duration>) -> Settings {
    let priority = Priority { advbase: 1, advskew: 100 };
    let families = Families::both(FamilyRule::Either);
    Settings { priority, pace, preempt: true, families, announce_every }
}

const FAST: Pace = Pace::Fast { interval: Duration::from_millis(10), detect: 3 };
const SOURCES: Sources = Sources { v4: Ipv4Addr::new(10, 77, 0, 1), v6: Ipv6Addr::UNSPECIFIED };
