//! What a metric is, and the table of a program's metrics as a document.

use std::fmt::Write;

/// Bounds of a histogram of times, in seconds: from a lookup in memory to a plan that takes hours.
pub const SECONDS: &[f64] =
    &[0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 7200.0];

/// One row of a program's table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name as it is read, with its unit; of a counter it ends in `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What tells its series apart.
    pub labels: &'static [Label],
    /// What it says, as a sentence without its full stop.
    pub help: &'static str,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only grows, from zero when the process starts.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often values up to each of these bounds came.
    Histogram(&'static [f64]),
}

/// What tells series of a metric apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub values: Values,
}

/// What a label may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these: the series of all of them are there from the start.
    Of(&'static [&'static str]),
    /// One of a bounded number that only the running process knows; described in these words. The series of this first value is
    /// there from the start.
    Open(&'static str, &'static str),
}

impl Metric {
    /// A metric without labels.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, labels: &[], help }
    }

    /// The same with these labels.
    #[must_use]
    pub const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// What it is measured in, by its name.
    pub fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        match name.rsplit('_').next() {
            Some("seconds") => "seconds",
            Some("bytes") => "bytes",
            Some("info") => "1",
            _ => "count",
        }
    }

    /// The names under which its series are read.
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![self.name.to_owned()],
            Kind::Histogram(_) => {
                ["bucket", "count", "sum"].iter().map(|part| format!("{}_{part}", self.name)).collect()
            }
        }
    }
}

/// The table in Markdown.
pub fn document(table: &[Metric]) -> String {
    let mut text = String::from("| metric | kind | unit | labels | what it says |\n|---|---|---|---|---|\n");
    for metric in table {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| match label.values {
                Values::Of(values) => format!("`{}`: {}", label.name, values.join(", ")),
                Values::Open(_, what) => format!("`{}`: {what}", label.name),
            })
            .collect();
        let labels = labels.join("; ");
        // Writing to a string never fails.
        let _ =
            writeln!(text, "| `{}` | {kind} | {} | {labels} | {} |", metric.name, metric.unit(), metric.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: Label = Label { name: "tenant", values: Values::Open("other", "the largest ones") };
    const KIND: Label = Label { name: "kind", values: Values::Of(&["a", "b"]) };

    #[test]
    fn a_row_says_all_that_the_table_does() {
        let metric =
            Metric::new("countermove_x_bytes_total", Kind::Counter, "Bytes of x").by(&[TENANT, KIND]);
        let text = document(&[metric]);
        let row = "| `countermove_x_bytes_total` | counter | bytes | `tenant`: the largest ones; `kind`: a, b | Bytes of x |\n";
        assert!(text.ends_with(row), "{text}");
    }

    #[test]
    fn units_are_read_from_names() {
        let unit = |name| Metric::new(name, Kind::Gauge, "").unit();
        assert_eq!(unit("countermove_plan_seconds"), "seconds");
        assert_eq!(unit("countermove_pass_seconds_total"), "seconds");
        assert_eq!(unit("countermove_hedges_total"), "count");
        assert_eq!(unit("countermove_build_info"), "1");
    }

    #[test]
    fn a_histogram_has_three_series() {
        let metric = Metric::new("x_seconds", Kind::Histogram(SECONDS), "");
        assert_eq!(metric.series(), ["x_seconds_bucket", "x_seconds_count", "x_seconds_sum"]);
    }
}
