//! The numbers behind a table, and the page on which they are read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::table::{Kind, Label, Metric, Values};

type Labels = Vec<(&'static str, Cow<'static, str>)>;
type OneCounter = Counter<f64, AtomicU64>;
type OneGauge = Gauge<f64, AtomicU64>;

/// The figures of a process as they are read.
#[derive(Default)]
pub struct Page {
    registry: Registry,
    /// What is looked up when the page is read.
    refresh: Vec<Box<dyn Fn() + Send + Sync>>,
    /// Names of the rows that are on it.
    rows: BTreeSet<&'static str>,
    /// One reader at a time: what is looked up is written into gauges that all readers share.
    reading: Mutex<()>,
}

/// Counters of one row of a table. Clones are the same.
#[derive(Clone, Debug)]
pub struct Counters {
    labels: &'static [Label],
    family: Family<Labels, OneCounter>,
}

/// Gauges of one row of a table. Clones are the same.
#[derive(Clone, Debug)]
pub struct Gauges {
    labels: &'static [Label],
    family: Family<Labels, OneGauge>,
}

/// Histograms of one row of a table. Clones are the same.
#[derive(Clone, Debug)]
pub struct Histograms {
    labels: &'static [Label],
    family: Family<Labels, Histogram, Buckets>,
}

/// Makes a histogram with the bounds of its row.
#[derive(Clone, Copy, Debug)]
struct Buckets(&'static [f64]);

impl prometheus_client::metrics::family::MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Page {
    /// Takes a counter in.
    pub fn counters(&mut self, metric: &Metric) -> Counters {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        let family = Family::default();
        // The format adds the ending itself.
        let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
        self.add(metric, name, family.clone());
        let counters = Counters { labels: metric.labels, family };
        first_values(metric.labels, |values| counters.add(values, 0.0));
        counters
    }

    /// Takes a gauge in.
    pub fn gauges(&mut self, metric: &Metric) -> Gauges {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        let family = Family::default();
        self.add(metric, metric.name, family.clone());
        let gauges = Gauges { labels: metric.labels, family };
        first_values(metric.labels, |values| gauges.set(values, 0.0));
        gauges
    }

    /// Takes a histogram in.
    pub fn histograms(&mut self, metric: &Metric) -> Histograms {
        let bounds = match metric.kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        };
        debug_assert!(!bounds.is_empty(), "{} is a histogram", metric.name);
        let family = Family::new_with_constructor(Buckets(bounds));
        self.add(metric, metric.name, family.clone());
        let histograms = Histograms { labels: metric.labels, family };
        first_values(metric.labels, |values| {
            drop(histograms.family.get_or_create(&labels(metric.labels, values)));
        });
        histograms
    }

    /// Does this whenever the page is read, before it is written: for what is cheaper to look up than to follow.
    pub fn before_reading(&mut self, look: impl Fn() + Send + Sync + 'static) {
        self.refresh.push(Box::new(look));
    }

    /// Rows of a table that are not on the page: a fault of the program that a test finds.
    pub fn missing<'a>(&self, table: &'a [Metric]) -> Vec<&'a str> {
        table.iter().map(|metric| metric.name).filter(|name| !self.rows.contains(name)).collect()
    }

    /// The page in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let _reading = self.reading.lock();
        for look in &self.refresh {
            look();
        }
        let mut text = String::new();
        // Writing to a string never fails.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn add(&mut self, metric: &Metric, name: &str, numbers: impl prometheus_client::registry::Metric) {
        let is_new = self.rows.insert(metric.name);
        debug_assert!(is_new, "{} is on the page already", metric.name);
        self.registry.register(name, metric.help, numbers);
    }
}

impl Counters {
    /// Adds to one of them; `values` are those of the labels, in order. What is negative is not added.
    pub fn add(&self, values: &[&str], count: f64) {
        self.family.get_or_create(&labels(self.labels, values)).inc_by(count.max(0.0));
    }

    /// Adds one.
    pub fn count(&self, values: &[&str]) {
        self.add(values, 1.0);
    }

    /// Brings one of them up to a sum that something else keeps.
    pub fn raise_to(&self, values: &[&str], sum: f64) {
        let counter = self.family.get_or_create(&labels(self.labels, values));
        let more: f64 = sum - counter.get();
        counter.inc_by(more.max(0.0));
    }

    /// Forgets one of them.
    pub fn forget(&self, values: &[&str]) {
        self.family.remove(&labels(self.labels, values));
    }
}

impl Gauges {
    /// Sets one of them; `values` are those of the labels, in order.
    pub fn set(&self, values: &[&str], value: f64) {
        self.family.get_or_create(&labels(self.labels, values)).set(value);
    }

    /// Adds to one of them, or takes away.
    pub fn add(&self, values: &[&str], more: f64) {
        self.family.get_or_create(&labels(self.labels, values)).inc_by(more);
    }

    /// Forgets one of them.
    pub fn forget(&self, values: &[&str]) {
        self.family.remove(&labels(self.labels, values));
    }
}

impl Histograms {
    /// Takes a value into one of them; `values` are those of the labels, in order.
    pub fn observe(&self, values: &[&str], value: f64) {
        self.family.get_or_create(&labels(self.labels, values)).observe(value);
    }

    /// Forgets one of them.
    pub fn forget(&self, values: &[&str]) {
        self.family.remove(&labels(self.labels, values));
    }
}

/// What is not one of the values that a label may have counts for the last of them: a series of its own would be one without
/// bound.
fn labels(names: &'static [Label], values: &[&str]) -> Labels {
    debug_assert_eq!(names.len(), values.len(), "each label has its value");
    let bounded = |label: &Label, value: &str| match label.values {
        Values::Of(known) => {
            let found = known.iter().find(|known| **known == value).or(known.last());
            Cow::Borrowed(found.copied().unwrap_or_default())
        }
        Values::Open(..) => Cow::Owned(value.to_owned()),
    };
    names.iter().zip(values).map(|(label, value)| (label.name, bounded(label, value))).collect()
}

/// Calls `each` with the values of every series that is there from the start.
fn first_values(names: &'static [Label], mut each: impl FnMut(&[&str])) {
    let mut all: Vec<Vec<&str>> = vec![Vec::new()];
    for label in names {
        let first;
        let values = match label.values {
            Values::Of(values) => values,
            Values::Open(value, _) => {
                first = [value];
                &first
            }
        };
        all = all
            .into_iter()
            .flat_map(|begun| values.iter().map(move |value| begun.iter().copied().chain([*value]).collect()))
            .collect();
    }
    for values in &all {
        each(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::SECONDS;

    const WORK: Label = Label { name: "work", values: Values::Of(&["question", "rollout"]) };
    const TENANT: Label = Label { name: "tenant", values: Values::Open("other", "some") };

    #[test]
    fn what_is_in_the_table_is_there_from_the_start() {
        let mut page = Page::default();
        let counter = Metric::new("a_total", Kind::Counter, "A").by(&[TENANT, WORK]);
        let gauge = Metric::new("b", Kind::Gauge, "B");
        let histogram = Metric::new("c_seconds", Kind::Histogram(SECONDS), "C").by(&[WORK]);
        let (counters, gauges) = (page.counters(&counter), page.gauges(&gauge));
        let histograms = page.histograms(&histogram);
        let text = page.text();
        for line in [
            "a_total{tenant=\"other\",work=\"question\"} 0",
            "a_total{tenant=\"other\",work=\"rollout\"} 0",
            "b 0",
            "c_seconds_count{work=\"rollout\"} 0",
            "c_seconds_bucket{le=\"+Inf\",work=\"question\"} 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(page.missing(&[counter, gauge, histogram]).is_empty());
        assert_eq!(page.missing(&[Metric::new("d", Kind::Gauge, "")]), ["d"]);

        counters.count(&["blue", "question"]);
        counters.add(&["blue", "question"], -3.0);
        counters.raise_to(&["blue", "rollout"], 7.0);
        counters.raise_to(&["blue", "rollout"], 5.0);
        gauges.set(&[], 2.5);
        histograms.observe(&["question"], 0.3);
        let text = page.text();
        for line in [
            "a_total{tenant=\"blue\",work=\"question\"} 1",
            "a_total{tenant=\"blue\",work=\"rollout\"} 7",
            "b 2.5",
            "c_seconds_bucket{le=\"0.25\",work=\"question\"} 0",
            "c_seconds_bucket{le=\"0.5\",work=\"question\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        counters.forget(&["blue", "rollout"]);
        assert!(!page.text().contains("tenant=\"blue\",work=\"rollout\""));
    }

    #[test]
    fn a_value_that_no_label_may_have_makes_no_series() {
        let mut page = Page::default();
        let counters = page.counters(&Metric::new("a_total", Kind::Counter, "A").by(&[WORK]));
        counters.count(&["something else"]);
        let text = page.text();
        assert!(text.contains("a_total{work=\"rollout\"} 1") && !text.contains("something"), "{text}");
    }

    #[test]
    fn what_is_looked_up_is_looked_up_when_the_page_is_read() {
        let mut page = Page::default();
        let gauges = page.gauges(&Metric::new("now", Kind::Gauge, "Now"));
        let reads = std::sync::atomic::AtomicU64::new(0);
        page.before_reading(move || {
            gauges.set(&[], 1.0 + reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as f64);
        });
        assert!(page.text().contains("now 1"));
        assert!(page.text().contains("now 2"));
    }
}
