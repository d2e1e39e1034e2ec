//! The text formats of metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

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

/// Families that become a text.
#[derive(Debug, Default)]
pub(super) struct Text(Vec<Family>);

#[derive(Debug)]
struct Family {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Samples(Kind, Vec<(Labels, f64)>),
    /// Where each range ends and how many lie in it; and the sum of all.
    Histogram(Vec<(f64, u64)>, f64),
}

impl Text {
    /// Adds a family with all its samples, under its name without `_total` or `_info`. One without samples is left out.
    pub(super) fn family(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let samples: Vec<_> = samples.into_iter().collect();
        if !samples.is_empty() {
            self.push(name, help, Values::Samples(kind, samples));
        }
    }

    /// Adds a family with one sample.
    pub(super) fn single(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        value: impl Into<f64>,
    ) {
        self.family(kind, name, help, [(Labels::new(), value.into())]);
    }

    /// Adds a histogram: where each of its ranges ends and how many lie in it, the last one without an end.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        ranges: impl IntoIterator<Item = (Option<f64>, u64)>,
        sum: f64,
    ) {
        let ranges = ranges.into_iter().map(|(end, count)| (end.unwrap_or(f64::INFINITY), count));
        self.push(name, help, Values::Histogram(ranges.collect(), sum));
    }

    /// The whole text.
    pub(super) fn finish(self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut written = String::new();
        let done = match format {
            Format::Openmetrics => text::encode(&mut written, &registry),
            Format::Prometheus => prometheus_text::encode(&mut written, &registry),
        };
        if done.is_err() {
            tracing::warn!("metrics could not be written");
        }
        written
    }

    /// The unit is the end of its name.
    fn push(&mut self, name: &'static str, help: &'static str, values: Values) {
        let seconds = name.strip_suffix("_seconds").map(|name| (name, Some(Unit::Seconds)));
        let (name, unit) = seconds.unwrap_or((name, None));
        self.0.push(Family { name, unit, help, values });
    }
}

impl Collector for Text {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, unit, help, values } in &self.0 {
            let kind = match values {
                Values::Samples(Kind::Counter, _) => MetricType::Counter,
                Values::Samples(Kind::Gauge, _) => MetricType::Gauge,
                Values::Samples(Kind::Info, _) => MetricType::Info,
                Values::Histogram(..) => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            match values {
                Values::Samples(kind, samples) => {
                    for (labels, value) in samples {
                        sample(&mut family, *kind, labels, *value)?;
                    }
                }
                Values::Histogram(ranges, sum) => {
                    let count = ranges.iter().map(|(_, count)| count).sum();
                    family.encode_histogram::<NoLabelSet>(*sum, count, ranges, None)?;
                }
            }
        }
        Ok(())
    }
}

fn sample(family: &mut MetricEncoder<'_>, kind: Kind, labels: &Labels, value: f64) -> fmt::Result {
    match kind {
        Kind::Counter => family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Kind::Gauge => family.encode_family(labels)?.encode_gauge(&value),
        Kind::Info => family.encode_info(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_name_counters_and_units_differently() {
        let text = |format| {
            let mut text = Text::default();
            text.family(Kind::Counter, "a_seconds", "With labels.", [(vec![("b", "c".to_owned())], 1.5)]);
            text.family(Kind::Gauge, "none", "Left out.", []);
            text.family(Kind::Info, "i", "About.", [(vec![("d", "e\"\\\n".to_owned())], 1.0)]);
            text.histogram("h", "Ranges.", [(Some(0.5), 2), (None, 1)], 1.25);
            text.finish(format)
        };
        let (labels, histogram) = (r#"i_info{d="e\"\\\n"} 1"#, "# HELP h Ranges.\n# TYPE h histogram\n");
        assert_eq!(
            text(Format::Openmetrics),
            format!(
                "# HELP a_seconds With labels.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                 a_seconds_total{{b=\"c\"}} 1.5\n# HELP i About.\n# TYPE i info\n{labels}\n{histogram}h_sum 1.25\nh_count 3\n\
                 h_bucket{{le=\"0.5\"}} 2\nh_bucket{{le=\"+Inf\"}} 3\n# EOF\n"
            )
        );
        assert_eq!(
            text(Format::Prometheus),
            format!(
                "# HELP a_seconds_total With labels.\n# TYPE a_seconds_total counter\na_seconds_total{{b=\"c\"}} 1.5\n\
                 # HELP i_info About.\n# TYPE i_info gauge\n{labels}\n{histogram}h_bucket{{le=\"0.5\"}} 2\n\
                 h_bucket{{le=\"+Inf\"}} 3\nh_sum 1.25\nh_count 3\n"
            )
        );
    }
}
