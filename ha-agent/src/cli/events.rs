//! `ha-agent events`

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

use super::exit::Exit;
use super::paint::{self, FAINT, In, STRONG};
use super::{ControlArg, fail};
use crate::config::quote::OneLine;
use crate::control::client::{self, ClientError, Happened};
use crate::control::events::Query;
use crate::journal::events::Event;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
    /// Go on with what happens, also over restarts of the agent, until it is interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Begin at this time: `1h` (ago), `03:10`, `2026-02-28 03:10`, `2026-02-28T03:10:00Z`.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only the last so many of those that have happened; with `--follow` alone, the last ten.
    #[arg(short = 'n', long, value_name = "COUNT")]
    number: Option<usize>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let mut out = Out { json: args.json, last: None, held: None, said: false };
    if let Some(count) = args.number.or((args.follow && args.since.is_none()).then_some(FOLLOWED)) {
        out.held = Some((count, VecDeque::new()));
    }
    let path = &args.control.control;
    let mut query = Query { after: None, since: args.since, follow: args.follow };
    let mut answered = false;
    loop {
        let told = client::events(path, query.clone(), |happened| {
            answered = true;
            out.take(happened)
        });
        match told {
            Err(ClientError::Connect { .. } | ClientError::Io { .. }) if args.follow && answered => {
                out.wait(path);
                query.after = out.last.or(query.after);
                thread::sleep(AGAIN);
            }
            Ok(()) => return Exit::Ok,
            Err(error) => return fail(&error, error.exit()),
        }
    }
}

/// What is printed.
struct Out {
    json: bool,
    /// The number of the last.
    last: Option<u64>,
    /// The last so many, until all that had happened is known.
    held: Option<(usize, VecDeque<Box<Event>>)>,
    /// Whether it was said that the agent is gone.
    said: bool,
}

impl Out {
    /// Returns whether anybody still reads.
    fn take(&mut self, happened: Happened) -> bool {
        self.said = false;
        match happened {
            Happened::Event(event) => {
                self.last = Some(event.number);
                match &mut self.held {
                    Some((count, held)) => {
                        held.push_back(event);
                        if held.len() > *count {
                            held.pop_front();
                        }
                        true
                    }
                    None => self.print(&event),
                }
            }
            Happened::Told(told) => {
                let held = self.held.take().map(|(_, held)| held).unwrap_or_default();
                if let Some(cause) = told.unkept {
                    // Where nobody can read it, the events are there all the same.
                    let _ = writeln!(io::stderr(), "ha-agent: {}", OneLine(&cause));
                }
                held.iter().all(|event| self.print(event))
            }
            // Notices that nobody reads any more, though nothing happens.
            Happened::Nothing => !is_closed(),
        }
    }

    fn print(&self, event: &Event) -> bool {
        if self.json {
            paint::show(serde_json::to_string(event).unwrap_or_default())
        } else {
            paint::show(line(event))
        }
    }

    /// The agent is gone.
    fn wait(&mut self, path: &Path) {
        if !std::mem::replace(&mut self.said, true) {
            let _ = writeln!(io::stderr(), "ha-agent: no agent answers on {}: waiting", path.display());
        }
    }
}

/// Whether whoever read the output has gone.
fn is_closed() -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && fds.iter().any(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLERR)))
}

/// For people.
pub(super) fn line(event: &Event) -> String {
    let Event { at, severity, about, sentence, .. } = event;
    let about = about.as_deref().unwrap_or("-");
    let (about, sentence) = (format!("{:<12}", OneLine(about).to_string()), OneLine(sentence).to_string());
    let style = paint::severity(*severity);
    let (time, bad) = (In(FAINT, paint::time(*at)), In(style, format!("{severity:<8}")));
    format!("{time}  {bad}  {}  {}", In(STRONG, about), In(style, sentence))
}

/// A moment, in one of a few forms.
fn since(text: &str) -> Result<Timestamp, String> {
    let now = ZonedDateTime::now();
    if let Ok(ago) = text.parse::<SignedDuration>() {
        return now.timestamp().checked_sub(ago.abs()).map_err(|error| error.to_string());
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    let civil = match (text.parse::<DateTime>(), text.parse::<Time>()) {
        (Ok(civil), _) => civil,
        (Err(_), Ok(time)) => {
            let today = now.date().to_datetime(time);
            // 23:50 at ten past midnight was yesterday.
            if today > now.datetime() { today.saturating_sub(jiff::Span::new().days(1)) } else { today }
        }
        (Err(_), Err(_)) => {
            return Err("no time: give for example 1h (ago), 03:10, or \"2026-02-28 03:10\"".to_owned());
        }
    };
    civil
        .to_zoned_datetime(TimeZone::system())
        .map(|zoned| zoned.timestamp())
        .map_err(|error| error.to_string())
}

/// So many are shown before what happens.
const FOLLOWED: usize = 10;
/// How often an agent that is gone is looked for.
const AGAIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_many_forms() {
        let now = Timestamp::now();
        let near = |text: &str, ago: i64| {
            let found = since(text).expect(text);
            let expected = now.as_second() - ago;
            assert!((found.as_second() - expected).abs() < 5, "{text}: {found}");
        };
        near("1h", 3600);
        near("90s", 90);
        near("2h 30m", 9000);
        assert_eq!(since("2026-02-28T03:10:00Z").expect("a timestamp").to_string(), "2026-02-28T03:10:00Z");
        let civil = since("2026-02-28 03:10").expect("a date");
        assert_eq!(civil.to_zoned_datetime(TimeZone::system()).datetime().to_string(), "2026-02-28T03:10:00");
        for clock in ["00:00", "23:59:59"] {
            let found = since(clock).expect(clock);
            assert!(
                found <= Timestamp::now() && now.as_second() - found.as_second() <= 90_000,
                "{clock}: {found}"
            );
        }
        for wrong in ["", "yesterday", "25:00", "1"] {
            assert!(since(wrong).is_err_and(|error| error.contains("for example")), "{wrong}");
        }
    }
}
