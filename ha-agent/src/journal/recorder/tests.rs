use std::os::unix::fs::PermissionsExt;

use super::super::trace::{FORMAT, VERSION};
use super::*;
use crate::core::{Cause, Event, Instant, State, Transition};

#[test]
fn what_is_recorded_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace");
    let (recorder, written) = Recording::create(&path).unwrap().begin(header()).unwrap();
    (0..3).for_each(|n| recorder.record(step(n)));
    drop(recorder);
    written.blocking_recv().unwrap();

    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    assert_eq!(serde_json::from_str::<Header>(first).unwrap(), header());
    assert_eq!(lines(rest), [Line::Step(step(0)), Line::Step(step(1)), Line::Step(step(2)), Line::End]);
}

#[test]
fn a_change_of_state_is_written_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace");
    let (recorder, _written) = Recording::create(&path).unwrap().begin(header()).unwrap();
    let transition = Transition {
        at: Instant::from_nanos(7),
        from: State::Init,
        to: State::Backup,
        cause: Cause::Started,
    };
    let begun = std::time::Instant::now();
    let mut shown = 0;
    // Each within a fraction of the longest wait: one alone could be lucky.
    for n in 0..8 {
        recorder.record(Step { commands: vec![Command::Notify(transition)], ..step(n) });
        while shown <= n {
            shown = std::fs::read_to_string(&path).unwrap().matches("notify").count() as u64;
            assert!(begun.elapsed() < 4 * FLUSH, "{shown} of {n} are written");
            thread::yield_now();
        }
    }
}

#[test]
fn nothing_is_written_over_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace");
    drop(Recording::create(&path).unwrap());
    assert!(!path.exists(), "a recording that never began");

    std::fs::write(&path, "precious").unwrap();
    let error = Recording::create(&path).unwrap_err();
    assert_eq!(error.exit(), Exit::CantCreate);
    assert!(error.to_string().contains("exists already; name a new file"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    let error = Recording::create(&directory.path().join("missing/trace")).unwrap_err();
    assert_eq!(error.exit(), Exit::CantCreate);
    assert!(error.to_string().contains("can't be made"), "{error}");
}

#[test]
fn what_there_is_no_room_for_is_counted_where_it_is_missing() {
    let (recorder, mut writer) = idle(Vec::new());
    let room = CAPACITY as u64;
    (0..room + 3).for_each(|n| recorder.record(step(n)));
    let first = writer.queue.try_recv().unwrap();
    assert_eq!((first.lost, first.step), (0, step(0)));
    (room + 3..room + 8).for_each(|n| recorder.record(step(n)));
    drop(recorder);

    let lines = written(writer);
    assert_eq!(lines.len(), CAPACITY + 3);
    let tail =
        [Line::Step(step(room - 1)), Line::Lost(3), Line::Step(step(room + 3)), Line::Lost(4), Line::End];
    assert_eq!(lines[CAPACITY - 2..], tail);
}

#[test]
fn a_full_disk_ends_the_recording_only() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (recorder, writer) = idle(BufWriter::new(full));
    recorder.record(step(0));
    let failed = writer.run(&header()).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    recorder.record(step(1));
    assert_eq!(recorder.lost.load(Ordering::Relaxed), 0, "what nobody waits for is not missing");
}

/// Both ends, with nobody writing.
fn idle<W: Write>(to: W) -> (Recorder, Writer<W>) {
    let (steps, queue) = mpsc::channel(CAPACITY);
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Writer { file: to, queue, lost: Arc::clone(&lost) };
    (Recorder { steps, lost, writer: Waker(thread::current()) }, writer)
}

fn written(writer: Writer<Vec<u8>>) -> Vec<Line> {
    let text = String::from_utf8(writer.run(&header()).unwrap()).unwrap();
    lines(text.split_once('\n').unwrap().1)
}

fn lines(text: &str) -> Vec<Line> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn step(n: u64) -> Step {
    let event = Event::Released { held: true };
    Step { vhost: 0, now: Instant::from_nanos(n), event, commands: Vec::new() }
}

fn header() -> Header {
    Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        agent: "0.1.0".to_owned(),
        node: "a".to_owned(),
        began: jiff::Timestamp::UNIX_EPOCH,
        began_ns: Instant::from_nanos(0),
        vhosts: Vec::new(),
    }
}
