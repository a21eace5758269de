//! Incidents that go on while the world does: alerts and outcomes that come late, twice, out of order or all at once. Each has one
//! defined answer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use countermove_coordinator::webhook::{Receiver, Webhook, sign};
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    ApproveActionRequest, Delivery, DeliveryStatus, ExportFormat, ExportPlanRequest, IncidentStatus, PlanEnd,
    PlanMode, PlanOptions, PlanStep, RecoveryState, ReportAlertsRequest, ReportAlertsResponse,
    ReportOutcomeRequest, ResendActionRequest,
};
use countermove_proto::{Condition, Error, RequestId};
use support::cluster::{ALERTS, Cluster, Setup, Watch, options, refusal};
use support::receiver::{header, receive};

const CONTAINED: RecoveryState = RecoveryState {
    is_attack_contained: true,
    is_knowledge_sufficient: false,
    are_forensics_preserved: false,
    is_eradicated: false,
    is_hardened: false,
    is_recovered: false,
};

fn id() -> String {
    RequestId::generate().to_string()
}

/// An incident that waits for the approval of its first step.
struct Live {
    cluster: Cluster,
    name: String,
    watch: Watch,
    step: PlanStep,
}

impl Live {
    async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        let cluster = Cluster::start(setup).await;
        let options = PlanOptions { mode: PlanMode::Interactive.into(), max_steps: 8, ..options() };
        let name = cluster.create(options).await;
        let mut watch = cluster.watch(&name, 0).await;
        let step = watch.until(decided).await;
        Self { cluster, name, watch, step }
    }

    async fn report(&self, alerts: &str) -> ReportAlertsResponse {
        let request = ReportAlertsRequest {
            name: self.name.clone(),
            alerts: alerts.to_owned(),
            request_id: id(),
            validate_only: false,
        };
        self.cluster.api().report_alerts(request).await.unwrap().into_inner()
    }

    fn approval(&self, step: &PlanStep) -> ApproveActionRequest {
        ApproveActionRequest {
            name: self.name.clone(),
            step: step.index,
            plan_hash: step.plan_hash.clone(),
            request_id: id(),
            ..ApproveActionRequest::default()
        }
    }

    fn outcome(&self, step: u32, state: RecoveryState) -> ReportOutcomeRequest {
        ReportOutcomeRequest {
            name: self.name.clone(),
            step,
            state: Some(state),
            request_id: id(),
            ..ReportOutcomeRequest::default()
        }
    }

    /// Approves the step that waits, reports its outcome, and gives the step that is decided next.
    async fn go_on(&mut self, state: RecoveryState) {
        let mut api = self.cluster.api();
        api.approve_action(self.approval(&self.step)).await.unwrap();
        api.report_outcome(self.outcome(self.step.index, state)).await.unwrap();
        self.step = self.watch.until(decided).await;
    }
}

fn decided(kind: Kind) -> Option<PlanStep> {
    if let Kind::Decided(step) = kind { Some(step) } else { None }
}

fn condition<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> Condition {
    match refusal(result) {
        Error::Precondition { condition, .. } => condition,
        other => panic!("{other:?}"),
    }
}

fn alert(time: &str, source: &str, priority: u8) -> String {
    format!(
        "{time}  [**] [1:1:1] X [**] [Classification: Attempted User Privilege Gain] [Priority: {priority}] {{TCP}} {source}:4444 -> \
         10.0.0.6:22\n"
    )
}

#[tokio::test]
async fn alerts_that_come_twice_are_taken_once() {
    let live = Live::start().await;
    let again = live.report(ALERTS).await;
    assert_eq!((again.repeated_records, again.digest.unwrap().records), (3, 3), "the first log is known");
    let new = alert("03/14-01:30:00.0", "203.0.113.9", 2);
    let first = live.report(&new).await;
    assert_eq!((first.repeated_records, first.digest.unwrap().records), (0, 4));
    let second = live.report(&format!("{new}{ALERTS}")).await;
    assert_eq!((second.repeated_records, second.digest.unwrap().records), (4, 4));
    // The same call once more is no second report.
    let request = ReportAlertsRequest {
        name: live.name.clone(),
        alerts: alert("03/14-01:31:00.0", "203.0.113.9", 2),
        request_id: id(),
        validate_only: false,
    };
    let mut api = live.cluster.api();
    let answer = api.report_alerts(request.clone()).await.unwrap().into_inner();
    assert_eq!(api.report_alerts(request).await.unwrap().into_inner(), answer);
    assert_eq!(answer.digest.unwrap().records, 5);
}

#[tokio::test]
async fn the_order_in_which_alerts_come_does_not_matter() {
    let (straight, backwards) = (Live::start().await, Live::start().await);
    let lines: Vec<String> = (0..6)
        .map(|i| {
            alert(&format!("03/14-02:0{i}:00.0"), if i % 2 == 0 { "203.0.113.9" } else { "198.51.100.4" }, 2)
        })
        .collect();
    for line in &lines {
        straight.report(line).await;
    }
    for line in lines.iter().rev() {
        backwards.report(line).await;
    }
    let reads =
        async |live: &Live| live.report(&alert("03/14-03:00:00.0", "203.0.113.9", 3)).await.digest.unwrap();
    let (one, other) = (reads(&straight).await, reads(&backwards).await);
    assert_eq!((one.records, one.alerts, one.groups), (other.records, other.alerts, other.groups));
    assert_eq!(one.records, 3 + 6 + 1);
}

#[tokio::test]
async fn a_clock_that_jumps_loses_no_alert_and_moves_no_border() {
    let mut live = Live::start().await;
    live.go_on(CONTAINED).await;
    // A day back, and half a year ahead. What comes after the outcome is after it, whatever its clock says.
    let back = live.report(&alert("03/13-00:00:00.0", "203.0.113.9", 1)).await;
    assert_eq!(back.digest.unwrap().records, 4);
    let fell_back =
        live.watch.until(|kind| if let Kind::FellBack(event) = kind { Some(event) } else { None }).await;
    assert!(fell_back.reason.contains("203.0.113.9 -> 10.0.0.6"), "{}", fell_back.reason);
    let ahead = live.report(&alert("09/30-00:00:00.0", "203.0.113.9", 3)).await;
    assert_eq!(ahead.digest.unwrap().records, 5);
}

#[tokio::test]
async fn ten_thousand_alerts_at_once_are_one_report() {
    let live = Live::start().await;
    let many: String = (0..10_000)
        .map(|i| {
            let time = format!("03/14-0{}:{:02}:{:02}.{i:06}", 2 + i / 3600, i / 60 % 60, i % 60);
            alert(&time, &format!("203.0.113.{}", i % 50), 2)
        })
        .collect();
    let answer = live.report(&many).await;
    let digest = answer.digest.unwrap();
    assert_eq!((answer.repeated_records, digest.records, digest.alerts), (0, 10_003, 10_003));
    assert!(digest.groups < 100, "{} groups", digest.groups);
    assert_eq!(
        live.cluster.get(&live.name).await.status(),
        IncidentStatus::AwaitingApproval,
        "it still answers"
    );
}

#[tokio::test]
async fn an_attack_that_goes_on_withdraws_the_step_and_makes_its_approval_stale() {
    let mut live = Live::start().await;
    live.go_on(CONTAINED).await;
    let withdrawn = live.step.clone();
    assert_eq!(withdrawn.state_before, Some(CONTAINED));
    // Noise of the same source changes nothing.
    live.report(&alert("03/14-04:00:00.0", "203.0.113.9", 3)).await;
    live.report(&alert("03/14-04:01:00.0", "203.0.113.9", 1)).await;
    let fell_back =
        live.watch.until(|kind| if let Kind::FellBack(event) = kind { Some(event) } else { None }).await;
    assert_eq!((fell_back.withdrawn_step, fell_back.state), (Some(1), Some(RecoveryState::default())));
    let again = live.watch.until(decided).await;
    assert_eq!((again.index, again.state_before), (1, Some(RecoveryState::default())));
    assert_ne!(again.plan_hash, withdrawn.plan_hash);
    let mut api = live.cluster.api();
    assert_eq!(condition(api.approve_action(live.approval(&withdrawn)).await), Condition::Stale);
    api.approve_action(live.approval(&again)).await.unwrap();
    // While an action is carried out its outcome decides, not what comes meanwhile.
    live.report(&alert("03/14-04:02:00.0", "203.0.113.9", 1)).await;
    assert_eq!(live.cluster.get(&live.name).await.status(), IncidentStatus::AwaitingOutcome);
    api.report_outcome(live.outcome(1, CONTAINED)).await.unwrap();
    assert_eq!(live.cluster.get(&live.name).await.state, Some(CONTAINED));
}

#[tokio::test]
async fn an_outcome_that_nobody_waits_for_is_refused() {
    let live = Live::start().await;
    let mut api = live.cluster.api();
    // Nothing was approved yet.
    assert_eq!(condition(api.report_outcome(live.outcome(0, CONTAINED)).await), Condition::Status);
    api.approve_action(live.approval(&live.step)).await.unwrap();
    // An action that there is not.
    assert_eq!(condition(api.report_outcome(live.outcome(7, CONTAINED)).await), Condition::Step);
    assert_eq!(live.cluster.get(&live.name).await.state, Some(RecoveryState::default()), "nothing was taken");
    api.report_outcome(live.outcome(0, CONTAINED)).await.unwrap();
    // The same outcome a second time, in another call: the first one counts.
    let double = condition(api.report_outcome(live.outcome(0, RecoveryState::default())).await);
    assert!(matches!(double, Condition::Status | Condition::Step), "{double:?}");
    assert_eq!(live.cluster.get(&live.name).await.state, Some(CONTAINED));
    // Approving it once more is as late.
    let late = condition(api.approve_action(live.approval(&live.step)).await);
    assert!(matches!(late, Condition::Status | Condition::Step), "{late:?}");
}

const SECRET: &str = "a secret of more than thirty-two bytes";

#[tokio::test]
async fn an_approved_action_goes_to_the_webhook_and_how_it_went_into_the_log() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/actions", listener.local_addr().unwrap());
    let webhook = Some(Webhook::new(Receiver::new(&url, SECRET, true).unwrap()).unwrap());
    let mut live = Live::with(Setup { webhook, ..Setup::default() }).await;
    let received = tokio::task::spawn_blocking(move || receive(&listener, 204));
    live.cluster.api().approve_action(live.approval(&live.step)).await.unwrap();
    let (head, body) = received.await.unwrap();
    let (id, timestamp) = (header(&head, "webhook-id"), header(&head, "webhook-timestamp").parse().unwrap());
    assert_eq!(header(&head, "webhook-signature"), sign(SECRET.as_bytes(), id, timestamp, &body));
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let chosen = &live.step.candidates[live.step.chosen as usize];
    assert_eq!(told["incident"], live.name.as_str());
    assert_eq!(told["plan_hash"], live.step.plan_hash.as_str());
    assert_eq!(told["action"], chosen.action.as_ref().unwrap().text.as_str());
    let (pending, taken) = (live.watch.until(delivery).await, live.watch.until(delivery).await);
    assert_eq!((pending.status(), taken.status()), (DeliveryStatus::Pending, DeliveryStatus::Taken));
    assert_eq!(taken.sentence(), "The webhook took the action of step 1 (attempt 1).");
    assert_eq!(header(&head, "webhook-id"), taken.id);
}

fn delivery(kind: Kind) -> Option<Delivery> {
    if let Kind::Delivery(delivery) = kind { Some(delivery) } else { None }
}

#[tokio::test]
async fn an_action_that_the_receiver_refused_is_shown_and_can_be_sent_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/actions", listener.local_addr().unwrap());
    let webhook = Some(Webhook::new(Receiver::new(&url, SECRET, true).unwrap()).unwrap());
    let mut live = Live::with(Setup { webhook, ..Setup::default() }).await;
    let receiver = tokio::task::spawn_blocking(move || (receive(&listener, 403), receive(&listener, 204)));
    let again =
        |step| ResendActionRequest { name: live.name.clone(), step, request_id: id(), validate_only: false };
    let mut api = live.cluster.api();
    assert_eq!(condition(api.resend_action(again(0)).await), Condition::Step, "nothing was approved yet");
    api.approve_action(live.approval(&live.step)).await.unwrap();
    let (_, failed) = (live.watch.until(delivery).await, live.watch.until(delivery).await);
    assert_eq!(
        (failed.status(), failed.problem.as_str()),
        (DeliveryStatus::Failed, "it answered with status 403")
    );
    assert_eq!(live.cluster.get(&live.name).await.deliveries, std::slice::from_ref(&failed));
    api.resend_action(again(0)).await.unwrap();
    let (_, taken) = (live.watch.until(delivery).await, live.watch.until(delivery).await);
    assert_eq!((taken.status(), taken.id.as_str()), (DeliveryStatus::Taken, failed.id.as_str()));
    let ((first, _), (second, _)) = receiver.await.unwrap();
    assert_eq!(header(&first, "webhook-id"), header(&second, "webhook-id"));
    assert_eq!(live.cluster.get(&live.name).await.deliveries, [taken]);
}

#[tokio::test]
async fn an_incident_that_nobody_answers_ends_and_says_so() {
    let mut live = Live::with(Setup { patience: Some(Duration::from_millis(400)), ..Setup::default() }).await;
    let notice =
        live.watch.until(|kind| if let Kind::Notice(notice) = kind { Some(notice.text) } else { None });
    assert!(notice.await.starts_with("Nobody answered for"));
    let ended = live.watch.until(|kind| if let Kind::Ended(ended) = kind { Some(ended) } else { None }).await;
    assert_eq!(ended.end(), PlanEnd::Deadline);
}

#[tokio::test]
async fn the_record_and_the_playbook_of_a_live_incident_can_be_exported() {
    let mut live = Live::start().await;
    live.go_on(CONTAINED).await;
    live.report(&alert("03/14-05:00:00.0", "203.0.113.9", 1)).await;
    live.watch.until(|kind| matches!(kind, Kind::FellBack(_)).then_some(())).await;
    // Until it waits for somebody again, it is written on.
    live.watch.until(decided).await;
    let export = async |format: ExportFormat| {
        let request = ExportPlanRequest { name: live.name.clone(), format: format.into() };
        let document = live.cluster.api().export_plan(request).await.unwrap().into_inner();
        let json: serde_json::Value = serde_json::from_slice(&document.content).unwrap();
        (document.content_type, json)
    };
    let (_, record) = export(ExportFormat::Record).await;
    let kinds: Vec<&str> =
        record["events"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str()).collect();
    for kind in ["created", "assessed", "decided", "approved", "outcome", "alerts", "fell_back"] {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    let (content_type, playbook) = export(ExportFormat::Cacao).await;
    assert_eq!(
        (content_type.as_str(), &playbook["spec_version"]),
        ("application/cacao+json; version=2.0", &"cacao-2.0".into())
    );
    assert!(playbook["workflow"].as_object().unwrap().len() >= 3);
    let (content_type, bundle) = export(ExportFormat::Stix).await;
    assert_eq!(
        (content_type.as_str(), &bundle["type"]),
        ("application/stix+json;version=2.1", &"bundle".into())
    );
    let objects = bundle["objects"].as_array().unwrap();
    assert!(objects.iter().any(|one| one["type"] == "course-of-action"), "{bundle}");
    assert_eq!(export(ExportFormat::Stix).await.1, bundle, "the same again");
    let (_, event) = export(ExportFormat::Misp).await;
    assert_eq!(event["Event"]["Tag"][0]["name"], "tlp:amber");
}
