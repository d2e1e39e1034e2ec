//! How it looks: from the top what matters most.

use std::fmt::Write;
use std::time::Instant;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph, Row, Table};

use super::super::history;
use super::super::paint;
use super::super::status::screen::{self, Ready, long};
use super::app::{App, Front};
use super::below;
use crate::config::quote::OneLine;
use crate::control::status::{PeerLinkStatus, Status, VhostStatus};
use crate::core::reasons::Severity;
use crate::core::role::{FRESH, Role};

pub(super) const GOOD: Style = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);
pub(super) const WARNING: Style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
pub(super) const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
pub(super) const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
/// What is too old to be believed.
const STALE: Style = Style::new().fg(Color::DarkGray);

/// Draws all of it, as of `now`.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, now: Instant) {
    let area = frame.area();
    let Some((status, _)) = &app.status else {
        return frame.render_widget(Paragraph::new("waiting for the agent; q ends"), area);
    };
    let summary = summary(status, usize::from(area.width));
    let summary_rows = rows(summary.len()).min(area.height / 5).max(2);
    let paths = rows(status.peer_link.as_ref().map_or(0, |link| link.paths.len()));
    let link_rows = if status.peer_link.is_some() { (1 + paths).min(3) } else { 0 };
    let bottom = if area.height > 30 { 12 } else { 7 };
    let [head, controllers, middle, vhosts, link, below] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(summary_rows),
        Constraint::Min(3),
        Constraint::Length(link_rows),
        Constraint::Length(bottom),
    ])
    .areas(area);
    draw_head(frame, app, status, now, head);
    draw_controllers(frame, status, controllers);
    frame.render_widget(Paragraph::new(summary), middle);
    draw_vhosts(frame, app, vhosts);
    if let Some(link_status) = &status.peer_link {
        frame.render_widget(Paragraph::new(link_lines(link_status)), link);
    }
    below::draw(frame, app, status, below);
    let (_, stale) = app.age(now);
    if stale {
        // All but the line that says so.
        let rest = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        frame.buffer_mut().set_style(rest, STALE.remove_modifier(Modifier::BOLD));
    }
    draw_front(frame, app, status);
    clean(frame.buffer_mut());
}

/// Whatever a text from elsewhere brought along, the terminal is not to act upon it.
fn clean(buffer: &mut Buffer) {
    let acts = |c: char| c.is_control() || BIDIRECTIONAL.iter().any(|range| range.contains(&c));
    for cell in buffer.content.iter_mut().filter(|cell| cell.symbol().contains(acts)) {
        cell.set_symbol("\u{fffd}");
    }
}

fn draw_head(frame: &mut Frame<'_>, app: &App, status: &Status, now: Instant, area: Rect) {
    let (age, stale) = app.age(now);
    let left = Line::from(vec![
        Span::styled("ha-agent top", STRONG),
        Span::raw(format!("  {}  ", paint::clock(status.as_of))),
        if stale {
            let why = app.gone.as_deref().unwrap_or("the agent tells nothing new");
            Span::styled(format!("STALE for {:.0} s: {}", age.as_secs_f64(), OneLine(why)), BAD)
        } else {
            Span::styled(format!("{:.1} s ago", age.as_secs_f64()), FAINT)
        },
    ]);
    frame.render_widget(Paragraph::new(left), area);
    if !stale {
        let filter =
            if app.filter.is_empty() { String::new() } else { format!("/{}  ", OneLine(&app.filter)) };
        let keys = format!("{filter}? help  f failover  q quit");
        frame.render_widget(Paragraph::new(Line::from(keys).style(FAINT)).right_aligned(), area);
    }
}

fn draw_controllers(frame: &mut Frame<'_>, status: &Status, area: Rect) {
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    let maintenance = if status.maintenance { ", in maintenance" } else { "" };
    let phase = status.pair.as_ref().map(|pair| format!("{}, generation {}", pair.phase, pair.generation));
    let this = vec![
        Line::from(vec![
            Span::styled(status.role.to_string(), role_style(status.role)),
            Span::raw(format!("{maintenance}  up for {}", long(status.uptime_s))),
        ]),
        Line::from(phase.unwrap_or_else(|| "not one of a pair".to_owned())),
        counters(status),
    ];
    card(frame, left, &format!("{} (this node), ha-agent {}", status.node, status.version), this);
    let peer = status.peer.as_ref();
    let (title, lines) = if let Some(peer) = peer {
        let maintenance = if peer.maintenance { ", in maintenance" } else { "" };
        let dead: Vec<_> =
            peer.interfaces.iter().filter(|(_, link)| !**link).map(|(name, _)| name.as_str()).collect();
        let no_link = if dead.is_empty() { String::new() } else { format!("no link: {}", dead.join(", ")) };
        let up = peer.uptime_s.map_or(String::new(), |uptime| format!("up for {}  ", long(uptime)));
        let lines = vec![
            Line::from(vec![
                Span::styled(peer.role.to_string(), role_style(peer.role)),
                Span::styled(
                    format!("{maintenance}  told {} ago", long(peer.age_ms / 1e3)),
                    if peer.age_ms < FRESH.as_secs_f64() * 1e3 { Style::new() } else { BAD },
                ),
            ]),
            Line::from(vec![Span::raw(up), Span::styled(no_link, BAD)]),
        ];
        (format!("{}, ha-agent {}", peer.node, peer.version), lines)
    } else {
        let heard = status
            .vhosts
            .iter()
            .filter_map(|vhost| vhost.peer.as_ref())
            .min_by(|one, other| one.age_ms.total_cmp(&other.age_ms));
        let line = heard.map_or("never heard".to_owned(), |peer| {
            format!("{} heard {} ago", peer.address, long(peer.age_ms / 1e3))
        });
        ("the other node".to_owned(), vec![Line::from(line), Line::styled("tells nothing", FAINT)])
    };
    card(frame, right, &title, lines);
}

/// Those of all virtual hosts together.
fn counters(status: &Status) -> Line<'static> {
    let sum = |of: fn(&VhostStatus) -> u64| status.vhosts.iter().map(of).fold(0, u64::saturating_add);
    let (sent, read) = (sum(|vhost| vhost.sent), sum(|vhost| vhost.accepted));
    let refused = sum(refused);
    let style = if refused > 0 { WARNING } else { FAINT };
    Line::from(vec![
        Span::styled(format!("sent {}, read {}, ", count(sent), count(read)), FAINT),
        Span::styled(format!("refused {}", count(refused)), style),
    ])
}

fn card(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let title = Span::styled(format!(" {} ", OneLine(title)), STRONG);
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(FAINT).title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Who is active, whether the pair is ready to fail over, and if not, why.
fn summary(status: &Status, width: usize) -> Vec<Line<'static>> {
    let (well, active) = screen::active(status);
    let (ready, sentence) = screen::ready(status);
    let ready_style = match ready {
        Ready::Yes => GOOD,
        Ready::Nearly => WARNING,
        Ready::No => BAD,
    };
    let mut lines = vec![
        Line::from(vec![Span::raw("active    "), Span::styled(active, if well { GOOD } else { BAD })]),
        Line::from(vec![Span::raw("failover  "), Span::styled(sentence, ready_style)]),
    ];
    for reason in &status.reasons {
        let sentence = OneLine(&reason.sentence).to_string();
        for (number, text) in
            screen::wrap(&sentence, width.saturating_sub(10).max(20)).into_iter().enumerate()
        {
            let head = if number == 0 { reason.severity.to_string() } else { String::new() };
            let head = Span::styled(format!("{head:<10}"), severity_style(reason.severity));
            lines.push(Line::from(vec![head, Span::raw(text)]));
        }
    }
    lines
}

fn draw_vhosts(frame: &mut Frame<'_>, app: &App, area: Rect) {
    // Where there is little room, the strip is worth more; the counters of all stand above.
    let counters = area.width >= WIDE;
    let used = if counters { USED_WITH_COUNTERS } else { USED };
    let strip_width = usize::from(area.width.saturating_sub(used));
    let mut columns = vec![("VIRTUAL HOST", 16), ("STATE", 6), ("FOR", 8), ("HEARD", 7), ("MARGIN", 7)];
    if counters {
        columns.extend([("SENT", 7), ("READ", 7), ("REFUSED", 7)]);
    }
    let mut widths: Vec<_> = columns.iter().map(|(_, width)| Constraint::Length(*width)).collect();
    widths.push(Constraint::Fill(1));
    let header = columns.iter().map(|(name, _)| *name).chain(["ARRIVALS"]);
    let shown = app.vhosts().skip(app.scroll).take(usize::from(area.height));
    let rows = shown.map(|vhost| vhost_row(vhost, counters, strip_width));
    let table = Table::new(rows, widths).header(Row::new(header).style(FAINT)).column_spacing(1);
    frame.render_widget(table, area);
}

fn vhost_row(vhost: &VhostStatus, counters: bool, strip_width: usize) -> Row<'static> {
    let VhostStatus { name, interface, state, since_s, peer, sent, accepted, .. } = vhost;
    let backup = state == "BACKUP";
    let age = peer.as_ref().filter(|_| backup).map(|peer| peer.age_ms);
    let state_style = match state.as_str() {
        _ if vhost.fault.is_some() => BAD,
        "MASTER" => GOOD,
        "BACKUP" => STRONG,
        _ => BAD,
    };
    let margin = vhost.least_margin_ms.filter(|_| backup);
    let mut cells = vec![
        Line::from(OneLine(&format!("{name} {interface}")).to_string()),
        Line::styled(state.clone(), state_style),
        Line::from(long(*since_s)),
        Line::from(age.map_or("-".to_owned(), |age| long(age / 1e3))),
        Line::styled(
            margin.map_or("-".to_owned(), history::ms),
            margin.map_or(Style::new(), |margin| gap_style(1.0 - margin / vhost.master_down_ms)),
        ),
    ];
    if counters {
        let refused = refused(vhost);
        let style = if refused > 0 { WARNING } else { Style::new() };
        cells.extend([Line::from(count(*sent)), Line::from(count(*accepted))]);
        cells.push(Line::styled(count(refused), style));
    }
    cells.push(if backup { strip(vhost, strip_width) } else { Line::styled(faulty(vhost), BAD) });
    Row::new(cells)
}

fn refused(vhost: &VhostStatus) -> u64 {
    vhost.refused.values().copied().fold(0, u64::saturating_add)
}

fn faulty(vhost: &VhostStatus) -> String {
    vhost.fault.as_deref().map_or(String::new(), |fault| OneLine(fault).to_string())
}

/// The last arrivals, the newest on the right: a column is as high as a gap was long; a full one is the end of patience.
fn strip(vhost: &VhostStatus, width: usize) -> Line<'static> {
    let skipped = vhost.arrivals_ms.len().saturating_sub(width);
    let column = |gap: &f64| {
        let share = (gap / vhost.master_down_ms.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
        let level = (share * 7.0).round() as usize;
        Span::styled(COLUMNS.chars().nth(level).unwrap_or('█').to_string(), gap_style(share))
    };
    vhost.arrivals_ms.iter().skip(skipped).map(column).collect::<Vec<_>>().into()
}

/// By how much of the patience a gap has used up.
fn gap_style(share: f64) -> Style {
    match share {
        _ if share > 0.8 => BAD,
        _ if share > 0.5 => WARNING,
        _ => Style::new().fg(Color::Green),
    }
}

fn link_lines(link: &PeerLinkStatus) -> Vec<Line<'static>> {
    let peer = link.peer.as_ref().map_or("nobody", |peer| peer.name.as_str());
    let style = if link.condition.state == "up" { GOOD } else { BAD };
    let mut lines = vec![Line::from(vec![
        Span::raw(format!("peer link to {}  ", OneLine(peer))),
        Span::styled(OneLine(&link.condition.sentence).to_string(), style),
    ])];
    for path in &link.paths {
        let up = path.condition.state == "up";
        // Writing into a string does not fail.
        let mut text = format!("  {}  {}", path.address, OneLine(&path.condition.state));
        if let Some(round_trip) = path.condition.round_trip_ms {
            let _ = write!(text, ", round trip {}", history::ms(round_trip));
        }
        if let Some(age) = path.condition.age_ms {
            let _ = write!(text, ", heard {} ago", long(age / 1e3));
        }
        lines.push(Line::styled(text, if up { Style::new() } else { WARNING }));
    }
    lines
}

pub(super) fn section(title: &str) -> Block<'_> {
    let title = format!("{title} ");
    Block::new()
        .borders(ratatui::widgets::Borders::TOP)
        .border_style(FAINT)
        .title(Span::styled(title, STRONG))
}

fn draw_front(frame: &mut Frame<'_>, app: &App, status: &Status) {
    let (title, lines) = match app.front {
        Front::Nothing => return,
        Front::Help => (" keys ", HELP.map(|(key, what)| format!("{key:<8} {what}")).to_vec()),
        Front::Filter => (
            " filter ",
            vec![format!("/{}_", OneLine(&app.filter)), "Enter keeps it, Esc clears it".to_owned()],
        ),
        Front::Confirm => {
            let (_, active) = screen::active(status);
            let question = format!("Active is {active}.");
            (
                " planned failover ",
                vec![question, "Move the role to the other one?".to_owned(), CONFIRM.to_owned()],
            )
        }
    };
    let area = frame.area();
    let width = rows(lines.iter().map(|line| line.chars().count()).max().unwrap_or_default() + 4);
    let (width, height) = (width.min(area.width), rows(lines.len() + 2).min(area.height));
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let block = Block::bordered().border_type(BorderType::Double).title(Span::styled(title, STRONG));
    let lines: Vec<_> = lines.into_iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn rows(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// A number in few characters.
fn count(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..100_000_000 => format!("{}k", number / 1000),
        _ => format!("{}M", number / 1_000_000),
    }
}

fn role_style(role: Role) -> Style {
    match role {
        Role::Master | Role::Single => GOOD,
        Role::Backup => STRONG,
        Role::Electing | Role::Importing => WARNING,
        Role::Error => BAD,
        Role::Unknown => Style::new(),
    }
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Note => Style::new(),
        Severity::Warning => WARNING,
        Severity::Critical => BAD,
    }
}

/// What turns the direction of the text around it, or can't be seen.
const BIDIRECTIONAL: [std::ops::RangeInclusive<char>; 3] =
    ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{2069}'];
const COLUMNS: &str = "▁▂▃▄▅▆▇█";
/// From here on there is room for the counters of each virtual host.
const WIDE: u16 = 120;
/// Columns of the table beside the strip.
const USED: u16 = 49;
/// The same with counters.
const USED_WITH_COUNTERS: u16 = USED + 24;
const CONFIRM: &str = "y: yes    any other key: no";
const HELP: [(&str, &str); 6] = [
    ("?", "this help"),
    ("/", "show only virtual hosts with a name, interface or address"),
    ("j, k", "scroll the virtual hosts"),
    ("f", "planned failover: asks before it begins"),
    ("Esc", "close the last failover, clear the filter"),
    ("q", "quit"),
];
