//! What is below: what goes on, step by step; else what happened last.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::super::history;
use super::app::{App, Plan, standing};
use super::draw::{BAD, FAINT, GOOD, STRONG, WARNING, section};
use crate::config::quote::OneLine;
use crate::control::status::{ChargeStatus, PartStatus, Status};
use crate::core::pair::report::{End, Standing};
use crate::journal::history::Failover;

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, status: &Status, area: Rect) {
    let charge = status.charge.as_ref();
    let moving = charge.and_then(|charge| Some((title(charge)?, charge.parts.iter().map(part).collect())));
    match (&app.plan, moving) {
        (Some(plan), moving) => {
            let moving: Vec<_> = moving.map(|(_, steps)| steps).unwrap_or_default();
            draw_steps(frame, "planned failover", plan_steps(plan).into_iter().chain(moving).collect(), area);
        }
        (None, Some((title, steps))) => draw_steps(frame, title, steps, area),
        (None, None) => draw_failovers(frame, &app.failovers(), area),
    }
}

/// A line, and whether what it tells of is over.
type Told<'a> = (bool, Line<'a>);

/// `None` while nothing is taken or released.
fn title(charge: &ChargeStatus) -> Option<&'static str> {
    match charge.doing.as_str() {
        "taking" => Some("taking storage and services"),
        "releasing" => Some("releasing storage and services"),
        _ => None,
    }
}

fn part(part: &PartStatus) -> Told<'_> {
    let PartStatus { name, step, step_ms, faults, .. } = part;
    let style = match step.as_str() {
        "done" => GOOD,
        "running" => WARNING,
        "waiting" | "skipped" => FAINT,
        _ => BAD,
    };
    let time = step_ms.map_or(String::new(), |ms| format!("{ms:.2} ms"));
    let fault = faults.first().map_or(String::new(), |fault| format!(": {}", OneLine(&fault.sentence)));
    let spans = vec![
        Span::raw(format!("{time:>12}  ")),
        Span::styled(format!("{:<7}", OneLine(step).to_string()), style),
        Span::raw(format!("  {}", OneLine(name))),
        Span::styled(fault, BAD),
    ];
    (matches!(step.as_str(), "done" | "skipped"), Line::from(spans))
}

fn plan_steps(plan: &Plan) -> Vec<Told<'_>> {
    let mut steps: Vec<Told<'_>> = Vec::new();
    for step in &plan.steps {
        let style = match step.standing {
            Standing::Running => WARNING,
            Standing::Done => GOOD,
            Standing::Failed => BAD,
        };
        let spans = vec![
            Span::raw(format!("{:>9.2} ms  ", step.after_ms)),
            Span::styled(format!("{:<7}", standing(step.standing)), style),
            Span::raw(format!("  {}", OneLine(&step.sentence))),
        ];
        steps.push((step.standing == Standing::Done, Line::from(spans)));
    }
    let end = match &plan.ended {
        None if steps.is_empty() => Line::styled("ordered ...", FAINT),
        None => return steps,
        Some(Ok(end)) => {
            let style = if end.end == End::Moved { GOOD } else { BAD };
            let sentence = OneLine(&end.sentence);
            Line::styled(format!("{:>9.2} ms  {sentence}  (Esc closes)", end.after_ms), style)
        }
        Some(Err(cause)) => Line::styled(format!("{}  (Esc closes)", OneLine(cause)), BAD),
    };
    steps.push((true, end));
    steps
}

/// If there is no room for all, from the one before that which goes on.
fn draw_steps(frame: &mut Frame<'_>, title: &str, steps: Vec<Told<'_>>, area: Rect) {
    let room = usize::from(area.height.saturating_sub(1));
    let over = steps.iter().take_while(|(is_over, _)| *is_over).count();
    let skip = over.saturating_sub(1).min(steps.len().saturating_sub(room));
    let lines: Vec<_> = steps.into_iter().skip(skip).map(|(_, line)| line).collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(section(title)), area);
}

fn draw_failovers(frame: &mut Frame<'_>, failovers: &[Failover], area: Rect) {
    let mut lines = Vec::new();
    for failover in failovers {
        let text =
            anstream::adapter::strip_str(&history::text(failover, usize::from(area.width))).to_string();
        for (number, line) in text.lines().enumerate() {
            lines.push(Line::styled(line.to_owned(), if number == 0 { STRONG } else { Style::new() }));
        }
    }
    if lines.is_empty() {
        lines.push(Line::styled("none that is known", FAINT));
    }
    let lines = Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(lines.block(section("last failovers")), area);
}
