//! Traces that leave real programs by OTLP: one of each step, over coordinator and workers, and no text of evidence in them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use countermove_proto::v1 as api;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::worker::v1 as wire;
use countermove_proto::worker::v1::worker_service_client::WorkerServiceClient;
use countermove_tests::{PATIENCE_SECONDS, Process, Signal, incident_evidence, program, repository};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(PATIENCE_SECONDS);

/// A span as it came.
#[derive(Clone, Debug)]
struct Span {
    service: String,
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    attributes: BTreeMap<String, String>,
}

/// A collector of traces. Clones are the same.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

fn text(value: Option<opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().expect("nobody panicked");
        for of_service in request.into_inner().resource_spans {
            let resource = of_service.resource.unwrap_or_default();
            let name = resource.attributes.into_iter().find(|one| one.key == "service.name");
            let service = text(name.and_then(|name| name.value));
            for span in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    attributes: span.attributes.into_iter().map(|one| (one.key, text(one.value))).collect(),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// One that is served, and where.
    async fn start() -> Result<(Self, String)> {
        let (collector, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").await?);
        let url = format!("http://{}", listener.local_addr()?);
        let service = TraceServiceServer::new(collector.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok((collector, url))
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().expect("nobody panicked").clone()
    }
}

async fn end(process: &mut Process) {
    process.signal(Signal::Terminate);
    assert_eq!(process.exit_code(PATIENCE).await, 0, "{}", process.log());
}

/// The spans of an incident of one step, planned by a coordinator with these flags and two workers.
async fn planned(flags: &[&str]) -> Result<Vec<Span>> {
    let (collector, url) = Collector::start().await?;
    let worker = |id: &str| {
        let mut command = Command::new(program("countermove-worker"));
        command.args(["--simulate", "50000", "--sequences", "4", "--id", id, "--otlp-endpoint", &url]);
        Process::start(id, &mut command)
    };
    let mut workers = ["w-1", "w-2"].map(worker);
    let urls: Vec<_> =
        workers.iter_mut().map(|worker| format!("http://{}", worker.address(PATIENCE))).collect();
    let mut command = Command::new(program("countermove-coordinator"));
    command.args(["--listen", "127.0.0.1:0", "--store", "memory:", "--workers", &urls.join(",")]).args(flags);
    // The other way to name a collector.
    let mut coordinator =
        Process::start("coordinator", command.env("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()));
    let address = coordinator.address(PATIENCE);
    let mut client = IncidentServiceClient::connect(format!("http://{address}")).await?;
    let options =
        api::PlanOptions { rollouts: 8, max_steps: 1, seed: Some(5), ..api::PlanOptions::default() };
    let request = api::CreateIncidentRequest {
        evidence: Some(incident_evidence()?),
        options: Some(options),
        ..api::CreateIncidentRequest::default()
    };
    let name = client.create_incident(request).await?.into_inner().incident.context("an incident")?.name;
    let mut events =
        client.watch_incident(api::WatchIncidentRequest { name, resume_after: 0 }).await?.into_inner();
    while events.message().await?.is_some() {}
    drop((events, client));
    end(&mut coordinator).await;
    for worker in &mut workers {
        end(worker).await;
    }
    Ok(collector.spans())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_one_trace_over_coordinator_and_workers() -> Result<()> {
    let spans = planned(&[]).await?;
    let roots: Vec<&Span> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    let phases: Vec<&str> = roots.iter().map(|root| root.attributes["phase"].as_str()).collect();
    assert!(roots.iter().all(|root| root.name == "step" && root.service == "countermove-coordinator"));
    assert_eq!(BTreeSet::from_iter(&phases), BTreeSet::from([&"perception", &"decision"]));
    let traces: BTreeSet<&[u8]> = roots.iter().map(|root| root.trace.as_slice()).collect();
    assert_eq!(traces.len(), roots.len(), "each has a trace of its own");
    // Every parent is there, in the same trace; so each trace is one tree under its root.
    let known: BTreeSet<(&[u8], &[u8])> = spans.iter().map(|span| (&*span.trace, &*span.id)).collect();
    for span in spans.iter().filter(|span| !span.parent.is_empty()) {
        assert!(known.contains(&(&*span.trace, &*span.parent)), "{span:?} hangs in the air");
    }

    let decision = roots.iter().find(|root| root.attributes["phase"] == "decision").context("a decision")?;
    let path = |span: &Span| {
        let mut names = vec![format!("{}/{}", &span.service["countermove-".len()..], span.name)];
        let mut at = span.clone();
        while let Some(parent) = spans.iter().find(|one| one.trace == at.trace && one.id == at.parent) {
            names.push(parent.name.clone());
            at = parent.clone();
        }
        names.join(" < ")
    };
    let paths: BTreeSet<String> =
        spans.iter().filter(|span| span.trace == decision.trace).map(path).collect();
    for expected in [
        "coordinator/candidates < step",
        "coordinator/question < candidates < step",
        "worker/generate < question < candidates < step",
        "worker/decode < generate < question < candidates < step",
        "coordinator/rollouts < step",
        "coordinator/rollout_batch < rollouts < step",
        "worker/run_rollouts < rollout_batch < rollouts < step",
        "worker/rollout < run_rollouts < rollout_batch < rollouts < step",
        "worker/decode < rollout < run_rollouts < rollout_batch < rollouts < step",
    ] {
        assert!(paths.contains(expected), "{expected} in {paths:#?}");
    }

    // What is said of them is of the code's own choosing, never text of the evidence.
    for (key, value) in spans.iter().flat_map(|span| &span.attributes) {
        let is_number = value.starts_with("Some(IntValue(") || value.starts_with("Some(DoubleValue(");
        let is_name = match key.as_str() {
            "incident" => value.starts_with("incidents/") || value.len() == 36,
            "worker" => value.ends_with("w-1") || value.ends_with("w-2"),
            "phase" => phases.contains(&value.as_str()),
            _ => false,
        };
        assert!(is_number || is_name, "{key} is {value}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sampled_is_exported_by_nobody() -> Result<()> {
    assert_eq!(planned(&["--trace-share", "0"]).await?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_tells_reading_a_prompt_from_writing_an_answer() -> Result<()> {
    let (collector, url) = Collector::start().await?;
    let model = repository().join("tests/reference/fixtures/tiny-qwen2");
    let mut command = Command::new(program("countermove-worker"));
    command.args(["--listen", "127.0.0.1:0", "--otlp-endpoint", &url, "--model"]).arg(model);
    let mut worker = Process::start("worker", &mut command);
    let mut client = WorkerServiceClient::connect(format!("http://{}", worker.address(PATIENCE))).await?;
    let question = || {
        wire::GenerateRequest {
        tenant: "default".to_owned(),
        system: "You respond.".to_owned(),
        segments: vec!["What now?".to_owned()],
        answer: Some(wire::AnswerFormat {
            json_schema: r#"{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": false}"#
                .to_owned(),
            max_tokens: 64,
            ..wire::AnswerFormat::default()
        }),
        sampling: Some(wire::Sampling { temperature: 0.0, top_p: 1.0, seed: 1 }),
    }
    };
    let mut request = Request::new(question());
    let trace = "0123456789abcdef0123456789abcdef";
    request.metadata_mut().insert("traceparent", format!("00-{trace}-00f067aa0ba902b7-01").parse()?);
    // One that belongs to no trace begins none.
    for request in [request, Request::new(question())] {
        let mut answer = client.generate(request).await?.into_inner();
        while answer.message().await?.is_some() {}
    }
    drop(client);
    end(&mut worker).await;
    let spans = collector.spans();
    let named = |name: &str| {
        let mut all = spans.iter().filter(|span| span.name == name);
        let one = all.next().with_context(|| format!("{name} in {spans:?}"))?;
        assert!(all.next().is_none(), "{name} is there once");
        Ok::<_, anyhow::Error>(one)
    };
    let (generate, prefill, decode) = (named("generate")?, named("prefill")?, named("decode")?);
    assert_eq!(spans.len(), 3);
    assert_eq!(generate.parent, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!((&prefill.parent, &decode.parent), (&generate.id, &generate.id));
    assert!(
        spans.iter().all(|span| span.trace == 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes())
    );
    assert!(decode.attributes.contains_key("prompt_tokens"), "{decode:?}");
    Ok(())
}
