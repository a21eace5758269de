//! What is seen of a running process: its figures, for Prometheus (a table that names each of them, the numbers behind it, and a page
//! that is read over HTTP), its log, and traces of its work, for OpenTelemetry.
//!
//! Contract: a program lists its metrics in one table ([`Metric`]), and [`Page`] takes nothing that is not a row of it. What is
//! in the table is on the page from the start, with zeros, so that an alert can tell "none yet" from "not measured". Labels are
//! bounded: their values are fixed, or given out by [`Largest`].
//!
//! Nothing that is counted is global: whoever counts is given its counters. The log and traces are `tracing`'s, which has one
//! subscriber in a process.

mod calls;
mod largest;
mod listen;
mod log;
mod page;
mod table;
mod traces;

pub use calls::{CountCalls, CountedCalls, REASONS};
pub use largest::{Largest, Named, OTHER};
pub use listen::{ListenError, MetricsArgs, serve};
pub use log::{LogFormat, start_log};
pub use page::{Counters, Gauges, Histograms, Page};
pub use table::{Kind, Label, Metric, SECONDS, Values, document};
pub use traces::{TRACE, TraceArgs, Traces, TracesError, continued, count, inject, part};
