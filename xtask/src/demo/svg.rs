//! The failovers as a drawing: one row a fault, one lane each for the controllers and the client.

use std::fmt::Write as _;

use super::{
    failover::{Failover, Pause, Step},
    report::Report,
    stage::{DETECT, INTERVAL_MS},
    wire::Sent,
};

/// Draws the failovers of the first round.
pub(crate) fn draw(report: &Report) -> String {
    let rows: Vec<&Failover> = report.rounds.iter().filter(|failover| failover.round == 1).collect();
    let end = rows.iter().map(|row| row.first_answer_ms.max(row.gap_to_ms)).fold(0.0, f64::max) + MARGIN_MS;
    let height = rows.iter().fold(HEAD, |height, _| height + ROW) + FOOT;
    let mut drawing = Drawing { text: String::new(), end_ms: (end / 10.0).ceil() * 10.0 };
    drawing.head(height);
    let mut top = HEAD;
    for row in rows {
        drawing.row(row, top);
        top += ROW;
    }
    drawing.legend(top);
    drawing.text + "</svg>\n"
}

/// A drawing that grows. All rows share its scale of time.
struct Drawing {
    text: String,
    end_ms: f64,
}

impl Drawing {
    fn head(&mut self, height: f64) {
        self.add(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12" fill="{INK}">"#
        ));
        self.add(format_args!(r#"<rect width="{WIDTH}" height="{height}" fill="white"/>"#));
        self.label((24.0, 34.0), "font-size=\"18\" font-weight=\"600\"", "Three failovers of a pair");
        let subtitle = format!(
            "An advertisement every {INTERVAL_MS} ms, of which {DETECT} may be missed; a request of the client every ms. \
             Time in ms after the last advertisement of the active controller."
        );
        self.label((24.0, 54.0), FAINT_TEXT, &subtitle);
    }

    fn row(&mut self, failover: &Failover, top: f64) {
        let Failover { fault, from, last_to_first_advert_ms, client_gap_ms, .. } = failover;
        let lanes = Lanes::new(failover, top);
        self.label((24.0, top + 14.0), "font-size=\"14\" font-weight=\"600\"", &fault.sentence(from));
        let figures = format!(
            "{last_to_first_advert_ms:.1} ms from last to first advertisement, {client_gap_ms:.1} ms without an answer"
        );
        self.label((RIGHT, top + 14.0), &format!("text-anchor=\"end\" {FAINT_TEXT}"), &figures);
        self.axis(top);
        for (name, y) in [("controller a", lanes.a), ("controller b", lanes.b), ("client", lanes.client)] {
            self.label((24.0, y + 4.0), "", name);
            self.line((LEFT, y), (RIGHT, y), RULE, 1.0);
        }
        self.pauses(failover, top);
        self.reign(failover, &lanes);
        self.advertisements(failover, &lanes);
        self.answers(failover, &lanes);
        self.gap(failover, &lanes);
        self.fault(self.x(failover.fault_ms), lanes.of(true));
        self.steps(&failover.steps(), top);
    }

    fn axis(&mut self, top: f64) {
        let (above, below) = ends(top);
        let mut at = START_MS;
        while at <= self.end_ms {
            let x = self.x(at);
            self.line((x, above), (x, below), GRID, if at == 0.0 { 2.0 } else { 1.0 });
            self.label((x, below + 14.0), &format!("text-anchor=\"middle\" {FAINT_TEXT}"), &format!("{at}"));
            at += 10.0;
        }
    }

    /// What is drawn while the machine stands still says nothing about the controllers.
    fn pauses(&mut self, failover: &Failover, top: f64) {
        for Pause { at_ms, late_ms } in &failover.pauses {
            let (from, to) =
                (at_ms.clamp(START_MS, self.end_ms), (at_ms + late_ms).clamp(START_MS, self.end_ms));
            self.pause(self.x(from), ends(top), self.x(to) - self.x(from));
        }
    }

    /// A band in the lane of whoever is master.
    fn reign(&mut self, failover: &Failover, lanes: &Lanes) {
        let ended = failover.bow_out_ms.unwrap_or(failover.fault_ms);
        for (old, from, to) in
            [(true, START_MS, ended), (false, failover.last_to_first_advert_ms, self.end_ms)]
        {
            let (x, width) = (self.x(from), self.x(to) - self.x(from));
            let y = lanes.of(old) - BAND / 2.0;
            self.add(format_args!(
                r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="{BAND}" fill="{}" fill-opacity="0.14"/>"#,
                lanes.colour(old)
            ));
        }
    }

    fn advertisements(&mut self, failover: &Failover, lanes: &Lanes) {
        for Sent { at, by_old } in &failover.wire.advertisements {
            let at = failover.milliseconds(*at);
            if let Some(x) = self.visible(at) {
                let y = lanes.of(*by_old);
                self.line((x, y - 8.0), (x, y + 8.0), lanes.colour(*by_old), 2.5);
            }
        }
        if let Some(x) = failover.bow_out_ms.and_then(|at| self.visible(at)) {
            self.bow_out(x, lanes.of(true), lanes.colour(true));
        }
    }

    fn answers(&mut self, failover: &Failover, lanes: &Lanes) {
        for Sent { at, by_old } in &failover.wire.answers {
            if let Some(x) = self.visible(failover.milliseconds(*at)) {
                let y = lanes.client;
                self.line((x, y - 6.0), (x, y + 6.0), lanes.colour(*by_old), 1.5);
            }
        }
    }

    fn gap(&mut self, failover: &Failover, lanes: &Lanes) {
        if failover.client_gap_ms < GAP_MS {
            return;
        }
        let (from, to) = (self.x(failover.gap_from_ms), self.x(failover.gap_to_ms));
        self.silence(from, lanes.client, to - from);
        let style = format!("text-anchor=\"middle\" font-weight=\"600\" fill=\"{ALARM}\"");
        // A narrow gap has its label above it.
        let y = if to - from > 60.0 { lanes.client + 4.0 } else { lanes.client - 14.0 };
        self.label((f64::midpoint(from, to), y), &style, &format!("{:.1} ms", failover.client_gap_ms));
    }

    /// Points at the lane from above.
    fn fault(&mut self, x: f64, y: f64) {
        let (left, right, above, tip) = (x - 6.0, x + 6.0, y - 17.0, y - 7.0);
        self.add(format_args!(
            r#"<path d="M{left:.1} {above} L{right:.1} {above} L{x:.1} {tip} Z" fill="{ALARM}"/>"#
        ));
    }

    fn bow_out(&mut self, x: f64, y: f64, colour: &str) {
        self.add(format_args!(
            r#"<circle cx="{x:.1}" cy="{y}" r="4.5" fill="white" stroke="{colour}" stroke-width="2"/>"#
        ));
    }

    fn pause(&mut self, x: f64, (above, below): (f64, f64), width: f64) {
        let height = below - above;
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{above}" width="{width:.1}" height="{height}" fill="{RULE}" fill-opacity="0.7"/>"#
        ));
    }

    fn silence(&mut self, x: f64, y: f64, width: f64) {
        let (top, height) = (y - BAND / 2.0, BAND);
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{top}" width="{width:.1}" height="{height}" fill="{ALARM}" fill-opacity="0.2"/>"#
        ));
    }

    fn steps(&mut self, steps: &[Step], top: f64) {
        let mut y = top + 14.0;
        for Step { at_ms, place, what } in steps {
            let time = format!("{at_ms:.2}");
            let figures = "text-anchor=\"end\" font-variant-numeric=\"tabular-nums\"";
            self.label((COLUMN, y), figures, &time);
            self.label((COLUMN + 10.0, y), FAINT_TEXT, &format!("{place}: {what}"));
            y += 15.0;
        }
    }

    fn legend(&mut self, top: f64) {
        let y = top + 14.0;
        self.line((30.0, y - 8.0), (30.0, y + 8.0), A, 2.5);
        self.line((152.0, y - 6.0), (152.0, y + 6.0), B, 1.5);
        self.silence(480.0, y, 12.0);
        self.fault(580.0, y + 12.0);
        self.bow_out(646.0, y, A);
        self.pause(716.0, (y - 9.0, y + 9.0), 12.0);
        let meanings = [
            (44.0, "advertisement"),
            (166.0, "answer to the client, in the colour of who gave it"),
            (500.0, "no answer"),
            (592.0, "fault"),
            (658.0, "bow-out"),
            (736.0, "the machine stood still"),
        ];
        for (x, meaning) in meanings {
            self.label((x, y + 4.0), FAINT_TEXT, meaning);
        }
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: f64) {
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1}" x2="{x2:.1}" y2="{y2}" stroke="{colour}" stroke-width="{width}"/>"#
        ));
    }

    fn label(&mut self, (x, y): (f64, f64), attributes: &str, text: &str) {
        self.add(format_args!(r#"<text x="{x:.1}" y="{y}" {attributes}>{text}</text>"#));
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "{element}");
    }

    fn x(&self, at_ms: f64) -> f64 {
        LEFT + (at_ms - START_MS) / (self.end_ms - START_MS) * (RIGHT - LEFT)
    }

    fn visible(&self, at_ms: f64) -> Option<f64> {
        (START_MS..=self.end_ms).contains(&at_ms).then(|| self.x(at_ms))
    }
}

/// Where the lanes of one row lie, and who is who.
struct Lanes {
    a: f64,
    b: f64,
    client: f64,
    old_is_a: bool,
}

impl Lanes {
    fn new(failover: &Failover, top: f64) -> Self {
        let first = top + TITLE + LANE / 2.0;
        Self { a: first, b: first + LANE, client: first + 2.0 * LANE, old_is_a: failover.from == "a" }
    }

    fn of(&self, old: bool) -> f64 {
        if old == self.old_is_a { self.a } else { self.b }
    }

    fn colour(&self, old: bool) -> &'static str {
        if old == self.old_is_a { A } else { B }
    }
}

/// The upper and the lower end of a row's lanes.
fn ends(top: f64) -> (f64, f64) {
    (top + TITLE - 2.0, top + TITLE + 3.0 * LANE + 2.0)
}

/// All times start here.
const START_MS: f64 = -20.0;
/// How much is drawn after the last event, at least.
const MARGIN_MS: f64 = 15.0;
/// Shorter gaps are not marked: the client asks every ms, and any answer may be late.
const GAP_MS: f64 = 3.0;

const WIDTH: f64 = 1120.0;
const HEAD: f64 = 84.0;
const FOOT: f64 = 40.0;
const ROW: f64 = 186.0;
const TITLE: f64 = 26.0;
const LANE: f64 = 36.0;
const BAND: f64 = 22.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 780.0;
/// Where the figures at the right end.
const COLUMN: f64 = 850.0;

const INK: &str = "#1f2328";
const FAINT_TEXT: &str = "fill=\"#59636e\"";
const RULE: &str = "#d1d9e0";
const GRID: &str = "#eaeef2";
const A: &str = "#0969da";
const B: &str = "#bc4c00";
const ALARM: &str = "#cf222e";
