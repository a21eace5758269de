//! Traces of planning, for whoever collects them by OTLP: OpenTelemetry's spans, of a step over all processes that worked for it.
//!
//! Spans are those of `tracing` whose target is [`TRACE`]; nobody else's leave the process. Which trace they belong to goes with each
//! call as W3C's `traceparent` ([`inject`], [`continued`]). What is not set by a flag is set by OpenTelemetry's own variables.
//!
//! Invariant: no attribute holds text of evidence, of prompts or of answers: numbers, names of resources and words of the code alone.

use std::path::Path;
use std::time::Duration;

use countermove_transport::{ClientTls, Dial};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::Registry;

/// Target of the spans that are exported.
pub const TRACE: &str = "countermove_trace";
/// Time that what is not exported yet has when the process ends.
const LAST: Duration = Duration::from_secs(3);
/// Variables that name a collector, the one that goes first in front.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Where traces go.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct TraceArgs {
    /// Collector that takes traces by OTLP over gRPC, http://host:port or https://host:port [default: that of
    /// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, else none].
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Share of the traces that begin here and are exported, from 0 to 1; where they began elsewhere, it was decided there [default:
    /// what OTEL_TRACES_SAMPLER says, else all].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub trace_share: Option<f64>,
}

impl TraceArgs {
    /// Begins to export what `service` does, if there is a collector. `insecure`: plain text may leave the machine. Certificates are
    /// checked against Mozilla's authorities, or those in the file that OTEL_EXPORTER_OTLP_CERTIFICATE names. Needs a tokio runtime
    /// around it, which has to be there until what this gives is dropped.
    ///
    /// # Errors
    /// [`TracesError`].
    pub fn start(
        &self,
        service: &'static str,
        version: &'static str,
        insecure: bool,
    ) -> Result<Option<Traces>, TracesError> {
        let Some(url) = self.endpoint_among(|name| std::env::var(name).ok()) else { return Ok(None) };
        let ca = std::env::var_os("OTEL_EXPORTER_OTLP_CERTIFICATE").filter(|file| !file.is_empty());
        let tls = ClientTls::load(ca.as_ref().map(Path::new), None).map_err(TracesError::new)?;
        let route = Dial::named(tls, insecure).to(&url, |endpoint| endpoint).map_err(TracesError::new)?;
        let exporter = SpanExporter::builder().with_tonic().with_channel(route.connect_lazy());
        let exporter = exporter.build().map_err(TracesError::new)?;
        let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", version));
        let says = |name, what: &str| std::env::var(name).is_ok_and(|value| value.contains(what));
        if !says("OTEL_SERVICE_NAME", "") && !says("OTEL_RESOURCE_ATTRIBUTES", "service.name=") {
            resource = resource.with_service_name(service);
        }
        let mut provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        if let Some(share) = self.trace_share {
            let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)));
            provider = provider.with_sampler(sampler);
        }
        Ok(Some(Traces { provider: provider.build() }))
    }

    fn endpoint_among(&self, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        if is_off {
            return None;
        }
        self.otlp_endpoint.clone().or_else(|| ENDPOINTS.iter().find_map(|name| set(name)))
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("--otlp-endpoint: {0}")]
pub struct TracesError(String);

impl TracesError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Exports traces as long as this is there.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// What takes the spans.
    pub(crate) fn layer(&self) -> impl Layer<Registry> + Send + Sync + use<> {
        let tracer = self.provider.tracer("countermove");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
    }
}

impl Drop for Traces {
    /// Exports what is left. Whoever is behind the channel has to be served meanwhile.
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::debug!(%error, "the last traces were not exported");
        }
    }
}

/// Says in a call's metadata which trace it belongs to: that of the current span.
pub fn inject(metadata: &mut MetadataMap) {
    let span = Span::current();
    // Where nothing is traced, nothing is looked for.
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut Outgoing(metadata));
    }
}

/// The span that `make` makes, as a part of the trace that a call's metadata names; a span that does nothing if they name none.
pub fn continued(metadata: &MetadataMap, make: impl FnOnce() -> Span) -> Span {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming(metadata));
    if !parent.span().span_context().is_valid() {
        return Span::none();
    }
    let span = make();
    // It was made just now, so nobody has begun it yet.
    let _ = span.set_parent(parent);
    span
}

/// The span that `make` makes, as a part of the current one; a span that does nothing where nothing is traced.
pub fn part(make: impl FnOnce() -> Span) -> Span {
    if Span::current().is_disabled() { Span::none() } else { make() }
}

/// A number as an attribute of a span: OpenTelemetry knows signed ones alone, and others would be told as text.
pub fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

struct Outgoing<'a>(&'a mut MetadataMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

struct Incoming<'a>(&'a MetadataMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        let ascii = |key| if let KeyRef::Ascii(key) = key { Some(key.as_str()) } else { None };
        self.0.keys().filter_map(ascii).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_goes_before_variables_and_some_switch_all_off() {
        let of = |flag: Option<&str>, set: &'static [(&str, &str)]| {
            let arguments = TraceArgs { otlp_endpoint: flag.map(str::to_owned), ..TraceArgs::default() };
            arguments.endpoint_among(|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(None, &[]), None);
        let both = &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c"),
        ];
        assert_eq!(of(None, &both[..1]).as_deref(), Some("http://b"));
        assert_eq!(of(None, both).as_deref(), Some("http://c"));
        assert_eq!(of(Some("http://a"), both).as_deref(), Some("http://a"));
        assert_eq!(of(Some("http://a"), &[("OTEL_SDK_DISABLED", "true")]), None);
        assert_eq!(of(Some("http://a"), &[("OTEL_TRACES_EXPORTER", "none")]), None);
    }

    #[test]
    fn a_collector_that_cannot_be_used_is_refused() {
        for (url, expected) in [("http://10.0.0.1:4317", "--insecure"), ("collector:4317", "is no address")] {
            let arguments = TraceArgs { otlp_endpoint: Some(url.to_owned()), ..TraceArgs::default() };
            let refused = arguments.start("x", "1", false).unwrap_err().to_string();
            assert!(refused.starts_with("--otlp-endpoint: ") && refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_call_without_a_trace_begins_none_whatever_it_says() {
        let mut metadata = MetadataMap::new();
        inject(&mut metadata);
        assert!(metadata.is_empty(), "nothing is traced here");
        let parents = ["", "00-zz", "00-00000000000000000000000000000000-0000000000000000-01", "x"];
        for parent in parents {
            metadata.insert("traceparent", parent.parse().unwrap());
            assert!(continued(&metadata, || panic!("{parent:?} names no trace")).is_disabled());
        }
    }
}
