//! A coordinator under everything at once: receivers that hang, large evidence that is taken over and read, and callers
//! who want an answer meanwhile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write;
use std::time::{Duration, Instant};

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    ApproveActionRequest, CreateIncidentRequest, Evidence, GetIncidentRequest, PlanMode, PlanOptions,
};
use countermove_proto::{MAX_EVIDENCE_MESSAGE_BYTES, RequestId};
use support::cluster::{create_request, evidence, options};
use support::process::Coordinator;
use support::worker::{FakeWorker, Script};

/// Receivers that hang.
const HANGING: usize = 10;
/// Longest time that a call may take here, on a machine that does much else. What it takes on a quiet one is printed.
const BOUND: Duration = Duration::from_secs(5);

/// A log of about this size, each line another alert.
fn log(bytes: usize) -> String {
    let mut log = String::with_capacity(bytes + 256);
    let mut number = 0u32;
    while log.len() < bytes {
        let (minute, second, port) = (number / 60 % 60, number % 60, 1024 + number % 60_000);
        writeln!(
            log,
            "03/14-01:{minute:02}:{second:02}.{number:06}  [**] [1:2001219:20] ET SCAN Potential SSH Scan [**] \
             [Classification: Attempted Information Leak] [Priority: 2] {{TCP}} 203.0.113.9:{port} -> 10.0.0.5:22"
        )
        .unwrap();
        number += 1;
    }
    log
}

fn create(alerts: String) -> CreateIncidentRequest {
    let interactive = PlanOptions { mode: PlanMode::Interactive.into(), max_steps: 2, ..options() };
    CreateIncidentRequest { evidence: Some(Evidence { alerts, ..evidence() }), ..create_request(interactive) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_are_answered_while_receivers_hang_and_large_evidence_is_read_and_taken_over() {
    let worker = FakeWorker::start(Script::named("w-1"));
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of more than thirty-two bytes").unwrap();
    // The system takes the connections, and nobody ever reads from them.
    let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/actions", receiver.local_addr().unwrap());
    let flags = ["--webhook", &url, "--webhook-secret", secret.to_str().unwrap(), "--allow-local"];
    let coordinator = Coordinator::start(worker.url.as_str(), &store, &flags);
    let api =
        |coordinator: &Coordinator| coordinator.api().max_encoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES);
    let mut names = Vec::new();
    for number in 0..=HANGING {
        // The last one has the large log.
        let alerts = if number == HANGING { log(22 << 20) } else { evidence().alerts };
        let created = api(&coordinator).create_incident(create(alerts)).await.unwrap().into_inner();
        names.push(created.incident.unwrap().name);
    }
    for name in &names[..HANGING] {
        coordinator.events(name, 0, |kind| matches!(kind, Kind::Decided(_))).await;
        let step = coordinator.get(name).await.plan.unwrap().steps[0].clone();
        let approve = ApproveActionRequest {
            name: name.clone(),
            plan_hash: step.plan_hash,
            request_id: RequestId::generate().to_string(),
            ..ApproveActionRequest::default()
        };
        coordinator.api().approve_action(approve).await.unwrap();
    }
    coordinator.kill().await;

    // Everything begins at once: eleven incidents are taken over, ten receivers hang, and three logs come.
    let coordinator = Coordinator::start(worker.url.as_str(), &store, &flags);
    let begun = Instant::now();
    let creating: Vec<_> = (0..3)
        .map(|_| {
            let mut api = api(&coordinator);
            tokio::spawn(async move {
                let begun = Instant::now();
                api.create_incident(create(log(1 << 20))).await.map(|_| begun.elapsed())
            })
        })
        .collect();
    let (mut times, mut reader) = (Vec::new(), coordinator.api());
    while begun.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        let request = GetIncidentRequest { name: names[times.len() % HANGING].clone() };
        reader.get_incident(request).await.unwrap();
        times.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for created in creating {
        let took = created.await.unwrap().expect("it is created although receivers hang");
        assert!(took < 3 * BOUND, "CreateIncident took {took:?}");
    }
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    eprintln!("GetIncident, {} calls: p50 {:?}, p99 {p99:?}", times.len(), times[times.len() / 2]);
    assert!(p99 < BOUND, "p99 of GetIncident is {p99:?}");
}
