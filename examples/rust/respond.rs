//! Responds to an incident with a person who decides, over gRPC.
//!
//! `cargo run -p countermove-tests --example respond -- SYSTEM.txt ALERTS.log`; `COUNTERMOVE_COORDINATOR` says where the coordinator is,
//! `COUNTERMOVE_TOKEN` who calls. A program of your own needs `anyhow`, `countermove-proto`, `countermove-transport`, `tokio` and `tonic`.

use std::io::Write;

use anyhow::{Context, Result, bail};
use countermove_proto::RequestId;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{
    ApproveActionRequest, CreateIncidentRequest, Evidence, PlanMode, PlanOptions, PlanStep, RecoveryFacts,
    ReportOutcomeRequest, WatchIncidentRequest,
};
use countermove_transport::{ClientTls, Dial};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The incidents of a coordinator, called with a token.
type Incidents<F> = IncidentServiceClient<InterceptedService<Channel, F>>;

/// Shows who calls.
fn credentials() -> Result<impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone> {
    let token = std::env::var("COUNTERMOVE_TOKEN").ok();
    let header = token.map(|token| format!("Bearer {token}").parse::<MetadataValue<Ascii>>()).transpose()?;
    Ok(move |mut request: Request<()>| {
        if let Some(header) = &header {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    })
}

fn agreed(question: &str) -> Result<bool> {
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().eq_ignore_ascii_case("y"))
}

/// Shows what was decided, asks, approves by the hash of what was shown, and reports what came of it.
async fn decide<F>(incidents: &mut Incidents<F>, name: &str, step: PlanStep) -> Result<()>
where
    F: tonic::service::Interceptor,
{
    println!("\nStep {}: {}", step.index + 1, step.reason);
    for candidate in &step.candidates {
        let mark = if candidate.index == step.chosen { '*' } else { ' ' };
        let action = candidate.action.as_ref().map_or("", |action| &action.text);
        match candidate.cost.as_ref().and_then(|cost| cost.mean) {
            Some(mean) => println!(" {mark} {action} (cost {mean:.2})"),
            None => println!(" {mark} {action} (no estimate)"),
        }
    }
    if !agreed("Approve it?")? {
        bail!("{name} goes on waiting for a decision");
    }
    // The id of a change makes it safe to send once more when the connection breaks.
    let approval = ApproveActionRequest {
        name: name.to_owned(),
        step: step.index,
        plan_hash: step.plan_hash,
        approver: "example".to_owned(),
        request_id: RequestId::generate().to_string(),
        ..ApproveActionRequest::default()
    };
    incidents.approve_action(approval).await?;
    // Here the action is carried out, and somebody looks at what it achieved.
    if !agreed("Approved. Did it achieve what was predicted?")? {
        bail!("{name} goes on waiting for its outcome");
    }
    let chosen = step.candidates.iter().find(|candidate| candidate.index == step.chosen);
    let predicted =
        chosen.and_then(|candidate| candidate.predicted_state).context("nothing was predicted")?;
    // What is absent stays as it was before the action.
    let holds = |fact: bool| fact.then_some(true);
    let facts = RecoveryFacts {
        is_attack_contained: holds(predicted.is_attack_contained),
        is_knowledge_sufficient: holds(predicted.is_knowledge_sufficient),
        are_forensics_preserved: holds(predicted.are_forensics_preserved),
        is_eradicated: holds(predicted.is_eradicated),
        is_hardened: holds(predicted.is_hardened),
        is_recovered: holds(predicted.is_recovered),
    };
    let outcome = ReportOutcomeRequest {
        name: name.to_owned(),
        step: step.index,
        facts: Some(facts),
        request_id: RequestId::generate().to_string(),
        ..ReportOutcomeRequest::default()
    };
    incidents.report_outcome(outcome).await?;
    println!("Reported: {predicted:?}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [system, alerts] = arguments.as_slice() else { bail!("usage: respond SYSTEM.txt ALERTS.log") };
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("{path} cannot be read"));
    let url = std::env::var("COUNTERMOVE_COORDINATOR").unwrap_or_else(|_| "http://127.0.0.1:7700".to_owned());
    // The authorities of browsers, and no certificate of our own.
    let route = Dial::named(ClientTls::load(None, None)?, false).to(&url, |endpoint| endpoint)?;
    let mut incidents = IncidentServiceClient::with_interceptor(route.connect().await?, credentials()?);

    let request = CreateIncidentRequest {
        evidence: Some(Evidence {
            system_description: read(system)?,
            alerts: read(alerts)?,
            ..Evidence::default()
        }),
        // Small and repeatable, for an example; what is left out is the coordinator's default.
        options: Some(PlanOptions {
            mode: PlanMode::Interactive.into(),
            candidates: 2,
            rollouts: 4,
            seed: Some(7),
            ..PlanOptions::default()
        }),
        request_id: RequestId::generate().to_string(),
        ..CreateIncidentRequest::default()
    };
    let created = incidents.create_incident(request).await?.into_inner();
    let name = created.incident.context("the answer has no incident")?.name;
    println!("{name}: {} records", created.digest.unwrap_or_default().records);

    let request = WatchIncidentRequest { name: name.clone(), resume_after: 0 };
    let mut updates = incidents.watch_incident(request).await?.into_inner();
    while let Some(message) = updates.message().await? {
        let Some(Update::Event(event)) = message.update else { continue };
        match event.kind {
            Some(Kind::Assessed(assessed)) => println!("{}", assessed.description),
            Some(Kind::Decided(step)) => decide(&mut incidents, &name, step).await?,
            Some(Kind::Ended(ended)) => println!("\nEnded: {} {}", ended.end().as_str_name(), ended.error),
            _ => {}
        }
    }
    Ok(())
}
