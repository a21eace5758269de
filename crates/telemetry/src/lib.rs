//! Figures of a running process, for Prometheus: a table that names each of them, the numbers behind it, and a page that is
//! read over HTTP.
//!
//! Contract: a program lists its metrics in one table ([`Metric`]), and [`Page`] takes nothing that is not a row of it. What is
//! in the table is on the page from the start, with zeros, so that an alert can tell "none yet" from "not measured". Labels are
//! bounded: their values are fixed, or given out by [`Largest`].
//!
//! Nothing here is global: whoever counts is given its counters.

mod calls;
mod largest;
mod listen;
mod page;
mod table;

pub use calls::{CountCalls, CountedCalls, REASONS};
pub use largest::{Largest, Named, OTHER};
pub use listen::{ListenError, MetricsArgs, serve};
pub use page::{Counters, Gauges, Histograms, Page};
pub use table::{Kind, Label, Metric, SECONDS, Values, document};
