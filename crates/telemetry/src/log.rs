//! The log on standard error, and where spans go.

use clap::ValueEnum;
use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::traces::{TRACE, Traces};

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to write the log of this process to standard error, as much as `RUST_LOG` says, and to export traces if there are to be any.
/// A second call changes nothing.
pub fn start_log(format: LogFormat, traces: Option<&Traces>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => log.with_ansi(false).boxed(),
        LogFormat::Json => log.json().boxed(),
    };
    // Spans of traces are none of the log's. Where no layer takes them they cost a look at one number.
    let log = log.with_filter(filter).with_filter(filter_fn(|told| !is_traced(told)));
    let traces = traces.map(|traces| traces.layer().with_filter(filter_fn(is_traced)).boxed());
    let layers: Vec<_> = traces.into_iter().chain([log.boxed()]).collect();
    // One that is there already stays.
    let _ = tracing_subscriber::registry().with(layers).try_init();
}

fn is_traced(told: &Metadata<'_>) -> bool {
    told.is_span() && told.target() == TRACE
}
