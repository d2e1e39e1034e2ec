//! How text looks on a terminal: colours where it has some and nobody objects (`NO_COLOR`), as wide as it is.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::core::reasons::Severity;

/// What is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What may not be.
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What is not.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// A heading, or a name.
pub(super) const STRONG: Style = Style::new().bold();
/// What matters less.
pub(super) const FAINT: Style = Style::new().dimmed();
/// As it is.
pub(super) const PLAIN: Style = Style::new();

/// Text in a style.
pub(super) struct In<T>(pub(super) Style, pub(super) T);

impl<T: Display> Display for In<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.render())?;
        self.1.fmt(f)?;
        write!(f, "{}", self.0.render_reset())
    }
}

/// How something of that severity looks.
pub(super) fn severity(severity: Severity) -> Style {
    match severity {
        Severity::Note => PLAIN,
        Severity::Warning => WARNING,
        Severity::Critical => BAD,
    }
}

/// Prints text, without its styles where they would not be seen. Returns whether anybody still reads.
pub(super) fn show(text: impl Display) -> bool {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_ok()
}

/// How many columns there are, if it is a terminal.
pub(super) fn width() -> Option<usize> {
    let (columns, _) = io::stdout().is_terminal().then(crossterm::terminal::size)?.ok()?;
    Some(usize::from(columns))
}

/// A time of day where whoever reads is.
pub(super) fn clock(moment: Timestamp) -> impl Display {
    moment.to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S")
}

/// A moment where whoever reads is, to the millisecond.
pub(super) fn time(moment: Timestamp) -> impl Display {
    moment.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f")
}
