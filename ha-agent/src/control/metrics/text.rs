//! The text formats of metrics.

use std::fmt::Write;

/// Which format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    #[default]
    Openmetrics,
    /// The older one of Prometheus, as `node_exporter` reads it from files.
    Prometheus,
}

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Everything is in the labels.
    Info,
}

/// Names and values.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A text that grows.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    format: Format,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self { text: String::new(), format }
    }

    /// Adds a family with all its samples, under its name without a suffix. One without samples is left out.
    pub(super) fn family(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let (suffix, word) = match (kind, self.format) {
            (Kind::Counter, _) => ("_total", "counter"),
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Info, Format::Openmetrics) => ("_info", "info"),
            (Kind::Info, Format::Prometheus) => ("_info", "gauge"),
        };
        // The older format knows no family apart from its samples.
        let family = match self.format {
            Format::Openmetrics => name.to_owned(),
            Format::Prometheus => format!("{name}{suffix}"),
        };
        self.head(&family, word, help);
        for (labels, value) in samples {
            self.sample(&format!("{name}{suffix}"), &labels, value);
        }
    }

    /// Adds a family with one sample.
    pub(super) fn single(&mut self, kind: Kind, name: &str, help: &str, value: impl Into<f64>) {
        self.family(kind, name, help, [(Labels::new(), value.into())]);
    }

    /// Adds a histogram: where each of its ranges ends and how many lie in it, the last one without an end.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        ranges: impl IntoIterator<Item = (Option<f64>, u64)>,
        sum: f64,
    ) {
        self.head(name, "histogram", help);
        let mut so_far = 0;
        for (end, count) in ranges {
            so_far += count;
            let end = end.map_or("+Inf".to_owned(), number);
            self.sample(&format!("{name}_bucket"), &[("le", end)], super::count(so_far));
        }
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], super::count(so_far));
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        match self.format {
            Format::Openmetrics => self.text.push_str("# EOF\n"),
            Format::Prometheus => {}
        }
        self.text
    }

    fn head(&mut self, family: &str, kind: &str, help: &str) {
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "# TYPE {family} {kind}\n# HELP {family} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&'static str, String)], value: f64) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "{name}{labels} {}", number(value));
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// As the formats want it where a number is part of a name: `1.0`, `0.0001`, `2e-05`.
fn number(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_one_way() {
        for (value, text) in
            [(0.0, "0.0"), (1.0, "1.0"), (0.0001, "0.0001"), (2e-5, "2e-05"), (2.5e-12, "2.5e-12")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn the_formats_name_counters_differently() {
        let text = |format| {
            let mut text = Text::new(format);
            text.family(Kind::Gauge, "none", "Nothing.", []);
            text.family(Kind::Counter, "a", "With labels.", [(vec![("b", "c\\d\n\"".to_owned())], 2.0)]);
            text.family(Kind::Info, "i", "About.", [(Labels::new(), 1.0)]);
            text.histogram("h", "Spread.", [(Some(0.5), 1), (None, 2)], 7.5);
            text.finish()
        };
        let sample = "a_total{b=\"c\\\\d\\n\\\"\"} 2.0";
        let histogram = "# TYPE h histogram\n# HELP h Spread.\nh_bucket{le=\"0.5\"} 1.0\nh_bucket{le=\"+Inf\"} 3.0\n\
                         h_sum 7.5\nh_count 3.0\n";
        assert_eq!(
            text(Format::Openmetrics),
            format!(
                "# TYPE a counter\n# HELP a With labels.\n{sample}\n# TYPE i info\n# HELP i About.\n\
                 i_info 1.0\n{histogram}# EOF\n"
            )
        );
        assert_eq!(
            text(Format::Prometheus),
            format!(
                "# TYPE a_total counter\n# HELP a_total With labels.\n{sample}\n# TYPE i_info gauge\n\
                 # HELP i_info About.\ni_info 1.0\n{histogram}"
            )
        );
    }
}
