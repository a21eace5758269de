//! Whole plans over the API: coordinator, scripted workers and clients over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{
    ApproveActionRequest, CancelIncidentRequest, DecisionKind, Evidence, ExportFormat, ExportPlanRequest,
    Finding, FindingVerdict, Incident, IncidentStatus, PlanEnd, PlanMode, PlanOptions, PlanStep,
    PlanningStage, RecoveryFacts, RecoveryState, RejectActionRequest, ReportAlertsRequest,
    ReportOutcomeRequest, Reversibility, StateSource, TargetKind, VerifyIncidentRequest,
    WatchIncidentRequest,
};
use countermove_proto::{Condition, Error, RequestId};
use countermove_wire::document::PlanDocument;
use support::cluster::{ALERTS, Cluster, Setup, create_request, fields, options, refusal};
use support::until;
use support::worker::{Script, identity};

/// The steps without what depends on time, and without the hashes, which are those of one incident.
fn decisions(incident: &Incident) -> Vec<PlanStep> {
    let mut steps = incident.plan.clone().unwrap().steps;
    for step in &mut steps {
        step.usage = None;
        step.decide_time = None;
        step.plan_hash.clear();
        step.candidates.iter_mut().for_each(|candidate| candidate.plan_hash.clear());
    }
    steps
}

fn slow_cluster(delay: Duration) -> Setup {
    Setup { scripts: vec![Script::slow("w-1", delay), Script::slow("w-2", delay)], ..Setup::default() }
}

fn id() -> String {
    RequestId::generate().to_string()
}

#[tokio::test]
async fn an_offline_plan_runs_to_its_end() {
    let cluster = Cluster::start(Setup::default()).await;
    let name = cluster.create(options()).await;
    let events = cluster.events(&name, 0).await;
    assert!(events.iter().map(|event| event.sequence).eq(1..=events.len() as u64), "numbers have no gap");
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone().unwrap()).collect();
    assert!(matches!(kinds[0], Kind::Created(_)) && matches!(kinds[1], Kind::Assessed(_)));
    assert!(matches!(kinds.last(), Some(Kind::Ended(_))));

    let incident = cluster.get(&name).await;
    assert_eq!(incident.status(), IncidentStatus::Ended);
    assert_eq!(incident.model, Some(identity()));
    assert_eq!(incident.last_sequence, events.len() as u64);
    let plan = incident.plan.clone().unwrap();
    assert!(
        matches!(plan.end(), PlanEnd::Recovered | PlanEnd::StepLimit),
        "{:?}: {}",
        plan.end(),
        incident.error
    );
    assert!(!plan.steps.is_empty());
    for step in &plan.steps {
        assert!(step.candidates.iter().any(|candidate| candidate.index == step.chosen));
        assert_eq!(step.state_after_source(), StateSource::Predicted);
        assert!(step.candidates.iter().all(|c| {
            let cost = c.cost.unwrap();
            cost.terminal + cost.truncated + cost.malformed + cost.cancelled == 3
        }));
    }
    let rollouts = kinds.iter().filter(|kind| matches!(kind, Kind::Rollout(_))).count() as u64;
    assert_eq!(plan.usage.unwrap().rollouts, rollouts);
    assert!(cluster.workers.iter().all(|worker| !worker.script.rollouts().is_empty()), "both took part");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_plan_and_another_one_another() {
    let cluster = Cluster::start(Setup::default()).await;
    let plan = async |seed| {
        let name = cluster.create(PlanOptions { seed: Some(seed), ..options() }).await;
        cluster.ended(&name).await;
        decisions(&cluster.get(&name).await)
    };
    let first = plan(1).await;
    assert_eq!(first, plan(1).await);
    assert_ne!(first, plan(2).await);
}

#[tokio::test]
async fn losing_a_worker_midway_changes_nothing_in_the_plan() {
    let undisturbed = Cluster::start(Setup::default()).await;
    let name = undisturbed.create(options()).await;
    undisturbed.ended(&name).await;
    let expected = decisions(&undisturbed.get(&name).await);

    let mut cluster = Cluster::start(slow_cluster(Duration::from_millis(100))).await;
    let name = cluster.create(options()).await;
    let mut watch = cluster.watch(&name, 0).await;
    // Events come a little later than what they tell of, when it may have nothing to do.
    until("rollouts", || !cluster.workers[0].script.rollouts().is_empty()).await;
    cluster.workers[0].kill();
    let mut notices = Vec::new();
    while let Some(event) = watch.event().await {
        if let Some(Kind::Notice(notice)) = event.kind {
            notices.push(notice.text);
        }
    }
    let incident = cluster.get(&name).await;
    assert_eq!(incident.error, "");
    assert_eq!(decisions(&incident), expected);
    assert!(notices.iter().any(|text| text.contains("w-1") && text.contains("lost")), "{notices:?}");
}

#[tokio::test]
async fn without_a_worker_the_plan_fails_with_the_reason() {
    let others = vec!["http://127.0.0.1:9".parse().unwrap()];
    let cluster = Cluster::start(Setup { scripts: vec![], others, ..Setup::default() }).await;
    let name = cluster.create(options()).await;
    let ended = cluster.ended(&name).await;
    assert_eq!(ended.end(), PlanEnd::Failed);
    assert!(
        ended.error.contains("no worker takes work") && ended.error.contains("http://127.0.0.1:9"),
        "{}",
        ended.error
    );
    assert_eq!(cluster.get(&name).await.error, ended.error);
}

#[tokio::test]
async fn a_deadline_ends_the_plan_and_the_work() {
    let cluster = Cluster::start(slow_cluster(Duration::from_secs(60))).await;
    let deadline = Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 });
    let name = cluster.create(PlanOptions { deadline, ..options() }).await;
    assert_eq!(cluster.ended(&name).await.end(), PlanEnd::Deadline);
    until("the calls' end", || cluster.workers.iter().all(|worker| worker.script.open_calls() == 0)).await;
}

#[tokio::test]
async fn cancelling_stops_the_workers() {
    let cluster = Cluster::start(slow_cluster(Duration::from_secs(60))).await;
    let name = cluster.create(options()).await;
    until("work", || cluster.workers.iter().all(|worker| worker.script.open_calls() > 0)).await;
    let request = CancelIncidentRequest { name: name.clone(), request_id: id(), validate_only: true };
    let checked = cluster.api().cancel_incident(request.clone()).await.unwrap().into_inner();
    assert_eq!(checked.incident.unwrap().status(), IncidentStatus::Planning, "it was only checked");
    let request = CancelIncidentRequest { validate_only: false, ..request };
    let cancelled = cluster.api().cancel_incident(request).await.unwrap().into_inner().incident.unwrap();
    assert_eq!(cancelled.status(), IncidentStatus::Ended);
    assert_eq!(cancelled.plan.unwrap().end(), PlanEnd::Cancelled);
    until("the calls' end", || cluster.workers.iter().all(|worker| worker.script.open_calls() == 0)).await;
    let again = CancelIncidentRequest { name, request_id: id(), validate_only: false };
    assert!(cluster.api().cancel_incident(again).await.is_ok(), "what is over can be cancelled again");
}

#[tokio::test]
async fn a_watch_is_resumed_without_gap_or_repeat() {
    let cluster = Cluster::start(slow_cluster(Duration::from_millis(3))).await;
    let name = cluster.create(options()).await;
    let mut seen = Vec::new();
    // A reader that loses its connection after every third event.
    loop {
        let mut watch = cluster.watch(&name, seen.last().copied().unwrap_or(0)).await;
        let mut over = true;
        while let Some(event) = watch.event().await {
            seen.push(event.sequence);
            if seen.len() % 3 == 0 {
                over = matches!(event.kind, Some(Kind::Ended(_)));
                break;
            }
        }
        if over {
            break;
        }
    }
    let last = cluster.get(&name).await.last_sequence;
    assert!(seen.into_iter().eq(1..=last));
    assert!(cluster.events(&name, last).await.is_empty(), "nothing comes after the last");
    let beyond = WatchIncidentRequest { name, resume_after: last + 1 };
    assert_eq!(fields(cluster.api().watch_incident(beyond).await), ["resume_after"]);
}

#[tokio::test]
async fn many_watchers_see_the_same() {
    let cluster = Cluster::start(Setup::default()).await;
    let name = cluster.create(options()).await;
    let (a, b, c) =
        tokio::join!(cluster.events(&name, 0), cluster.events(&name, 0), cluster.events(&name, 0));
    assert!(!a.is_empty() && a == b && b == c);
}

#[tokio::test]
async fn signs_of_life_come_between_events_and_not_too_often() {
    let cluster = Cluster::start(slow_cluster(Duration::from_millis(150))).await;
    let name = cluster.create(PlanOptions { max_steps: 1, ..options() }).await;
    let mut watch = cluster.watch(&name, 0).await;
    let (mut times, mut stages) = (Vec::new(), Vec::new());
    while let Some(update) = watch.update().await {
        if let Update::Progress(progress) = update {
            times.push(std::time::Instant::now());
            stages.push(progress.stage());
        }
    }
    assert!(stages.contains(&PlanningStage::Rollouts), "{stages:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_millis(120)), "{times:?}");
}

#[tokio::test]
async fn an_operator_leads_an_interactive_plan() {
    let cluster = Cluster::start(Setup::default()).await;
    let mut api = cluster.api();
    let name = cluster.create(PlanOptions { mode: PlanMode::Interactive.into(), ..options() }).await;
    let mut watch = cluster.watch(&name, 0).await;
    let decided = |kind| if let Kind::Decided(step) = kind { Some(step) } else { None };
    let first = watch.until(decided).await;
    let action = |step: &PlanStep| step.candidates[step.chosen as usize].action.clone().unwrap().text;
    assert_eq!(cluster.get(&name).await.status(), IncidentStatus::AwaitingApproval);
    assert_eq!(first.state_after, None, "nobody has looked yet");

    let approve = |step, action: &str, plan_hash: &str| ApproveActionRequest {
        name: name.clone(),
        step,
        action: action.to_owned(),
        plan_hash: plan_hash.to_owned(),
        approver: "ann".to_owned(),
        request_id: id(),
        validate_only: false,
    };
    for (step, action, condition) in [
        (0, "Something else".to_owned(), Condition::Action),
        (0, format!("{} ", action(&first)), Condition::Action),
        (1, action(&first), Condition::Step),
    ] {
        let refused = refusal(api.approve_action(approve(step, &action, &first.plan_hash)).await);
        assert!(matches!(refused, Error::Precondition { condition: c, .. } if c == condition), "{refused:?}");
    }
    let early = ReportOutcomeRequest {
        name: name.clone(),
        step: 0,
        state: Some(RecoveryState::default()),
        request_id: id(),
        ..ReportOutcomeRequest::default()
    };
    let refused = refusal(api.report_outcome(early.clone()).await);
    assert!(matches!(refused, Error::Precondition { condition: Condition::Status, .. }), "{refused:?}");

    let reject = RejectActionRequest {
        name: name.clone(),
        step: 0,
        reason: "It would cut off our customers.".to_owned(),
        request_id: id(),
        ..RejectActionRequest::default()
    };
    let planning = api.reject_action(reject).await.unwrap().into_inner().incident.unwrap();
    assert!(planning.plan.unwrap().steps.is_empty());
    let second = watch.until(decided).await;
    assert_eq!(second.index, 0, "the same step is decided again");
    assert_ne!(action(&second), action(&first));

    let checked =
        ApproveActionRequest { validate_only: true, ..approve(0, &action(&second), &second.plan_hash) };
    let checked = api.approve_action(checked).await.unwrap().into_inner().incident.unwrap();
    assert_eq!(checked.status(), IncidentStatus::AwaitingApproval, "it was only checked");
    let seen_before = refusal(api.approve_action(approve(0, "", &first.plan_hash)).await);
    assert!(
        matches!(seen_before, Error::Precondition { condition: Condition::Stale, .. }),
        "{seen_before:?}"
    );
    let nameless = refusal(api.approve_action(approve(0, &action(&second), "")).await);
    assert!(matches!(nameless, Error::InvalidArgument(_)), "{nameless:?}");
    let approved = approve(0, &action(&second), &second.plan_hash);
    let answer = api.approve_action(approved.clone()).await.unwrap().into_inner();
    assert_eq!(answer.incident.as_ref().unwrap().status(), IncidentStatus::AwaitingOutcome);
    assert_eq!(
        api.approve_action(approved).await.unwrap().into_inner(),
        answer,
        "repeating it changes nothing"
    );
    let stale = refusal(api.approve_action(approve(0, &action(&second), &second.plan_hash)).await);
    assert!(matches!(stale, Error::Precondition { condition: Condition::Status, .. }), "{stale:?}");

    let found = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
    let outcome = ReportOutcomeRequest { state: Some(found), request_id: id(), ..early };
    api.report_outcome(outcome.clone()).await.unwrap();
    let third = watch.until(decided).await;
    // Somebody else reports the same outcome once more: it was taken once.
    let double =
        refusal(api.report_outcome(ReportOutcomeRequest { request_id: id(), ..outcome.clone() }).await);
    assert!(matches!(double, Error::Precondition { condition: Condition::Status, .. }), "{double:?}");
    assert_eq!((third.index, third.state_before), (1, Some(found)));
    let incident = cluster.get(&name).await;
    let step = &incident.plan.unwrap().steps[0];
    assert_eq!((step.state_after, step.state_after_source()), (Some(found), StateSource::Reported));

    let text = action(&third);
    api.approve_action(approve(1, &text, &third.plan_hash)).await.unwrap();
    let all = RecoveryState {
        is_attack_contained: true,
        is_knowledge_sufficient: true,
        are_forensics_preserved: true,
        is_eradicated: true,
        is_hardened: true,
        is_recovered: true,
    };
    let last = ReportOutcomeRequest { step: 1, state: Some(all), request_id: id(), ..outcome };
    let ended = api.report_outcome(last).await.unwrap().into_inner().incident.unwrap();
    assert_eq!((ended.status(), ended.plan.unwrap().end()), (IncidentStatus::Ended, PlanEnd::Recovered));
    let late = refusal(api.approve_action(approve(1, &text, &third.plan_hash)).await);
    assert!(matches!(late, Error::Precondition { condition: Condition::Status, .. }), "{late:?}");
}

#[tokio::test]
async fn an_operator_chooses_another_candidate_and_says_of_some_facts_what_came_of_it() {
    let cluster = Cluster::start(Setup::default()).await;
    let mut api = cluster.api();
    let name = cluster.create(PlanOptions { mode: PlanMode::Interactive.into(), ..options() }).await;
    let mut watch = cluster.watch(&name, 0).await;
    let decided = |kind| if let Kind::Decided(step) = kind { Some(step) } else { None };
    let first = watch.until(decided).await;
    let reject = RejectActionRequest {
        name: name.clone(),
        reason: "Not now.".to_owned(),
        ..RejectActionRequest::default()
    };
    api.reject_action(reject).await.unwrap();
    let step = watch.until(decided).await;
    let other = step.candidates.iter().find(|one| one.index != step.chosen).unwrap().clone();
    assert!(step.candidates.iter().all(|one| one.reversibility() != Reversibility::Unspecified));
    let chosen = &step.candidates[step.chosen as usize];
    assert_eq!(chosen.plan_hash, step.plan_hash);

    let approve = |plan_hash: &str| ApproveActionRequest {
        name: name.clone(),
        plan_hash: plan_hash.to_owned(),
        approver: "ann".to_owned(),
        ..ApproveActionRequest::default()
    };
    let before = &first.candidates[0].plan_hash;
    let stale = refusal(api.approve_action(approve(before)).await);
    assert!(matches!(stale, Error::Precondition { condition: Condition::Stale, .. }), "{stale:?}");
    api.approve_action(approve(&other.plan_hash)).await.unwrap();
    let approved = watch.until(|kind| if let Kind::Approved(one) = kind { Some(one) } else { None }).await;
    assert_eq!((approved.chosen, &approved.plan_hash), (Some(other.index), &other.plan_hash));
    let incident = cluster.get(&name).await;
    let taken = incident.plan.as_ref().unwrap().steps[0].clone();
    assert_eq!((taken.chosen, taken.planner_choice), (other.index, Some(step.chosen)));
    assert_eq!(taken.plan_hash, other.plan_hash);
    let pending = incident.pending.unwrap();
    assert_eq!((pending.action.as_ref(), pending.approver.as_str()), (other.action.as_ref(), "ann"));
    assert_eq!(pending.reversibility, other.reversibility);
    let [rejected, approved] = &incident.decisions[..] else { panic!("{:?}", incident.decisions) };
    assert_eq!((rejected.kind(), rejected.reason.as_str()), (DecisionKind::Rejected, "Not now."));
    assert_eq!(rejected.action, first.candidates[first.chosen as usize].action);
    assert_eq!((approved.kind(), approved.by.as_str()), (DecisionKind::Approved, "ann"));
    assert!(approved.is_other_choice && approved.action == other.action && approved.time.is_some());

    // An outcome changes what it names and nothing else.
    let report =
        |state, facts| ReportOutcomeRequest { name: name.clone(), state, facts, ..Default::default() };
    let facts = RecoveryFacts { is_hardened: Some(true), ..RecoveryFacts::default() };
    let state = Some(RecoveryState::default());
    for (field, wrong) in [
        ("facts", report(state, Some(facts))),
        ("facts", report(None, Some(RecoveryFacts::default()))),
        ("state", report(None, None)),
    ] {
        assert_eq!(fields(api.report_outcome(wrong).await), [field]);
    }
    api.report_outcome(report(None, Some(facts))).await.unwrap();
    let outcome = watch.until(|kind| if let Kind::Outcome(one) = kind { Some(one) } else { None }).await;
    let hardened = RecoveryState { is_hardened: true, ..taken.state_before.unwrap() };
    assert_eq!(outcome.state, Some(hardened));
    let second = watch.until(decided).await;
    api.approve_action(ApproveActionRequest { step: 1, ..approve(&second.plan_hash) }).await.unwrap();
    // With the evidence kept there is something to clean, whatever was refused before.
    let facts = RecoveryFacts {
        is_attack_contained: Some(true),
        are_forensics_preserved: Some(true),
        ..RecoveryFacts::default()
    };
    let answer =
        api.report_outcome(ReportOutcomeRequest { step: 1, ..report(None, Some(facts)) }).await.unwrap();
    let state = answer.into_inner().incident.unwrap().state.unwrap();
    let both = RecoveryState { is_attack_contained: true, are_forensics_preserved: true, ..hardened };
    assert_eq!(state, both);
    watch.until(|kind| if let Kind::Outcome(one) = kind { Some(one) } else { None }).await;

    // What could not be carried out changes nothing, and says nothing else.
    let third = watch.until(decided).await;
    api.approve_action(ApproveActionRequest { step: 2, ..approve(&third.plan_hash) }).await.unwrap();
    let undone = ReportOutcomeRequest { step: 2, carried_out: Some(false), ..report(None, None) };
    api.report_outcome(undone).await.unwrap();
    let outcome = watch.until(|kind| if let Kind::Outcome(one) = kind { Some(one) } else { None }).await;
    assert_eq!((outcome.carried_out, outcome.state), (Some(false), Some(state)));

    let request = VerifyIncidentRequest { name: name.clone(), sequence: 0 };
    let verified = api.verify_incident(request).await.unwrap().into_inner();
    assert_eq!((verified.broken_event, verified.problem.as_str()), (0, ""));
}

#[tokio::test]
async fn what_people_found_out_is_in_the_record_and_plans_go_by_it() {
    let cluster = Cluster::start(Setup::default()).await;
    let mut api = cluster.api();
    let name = cluster.create(PlanOptions { mode: PlanMode::Interactive.into(), ..options() }).await;
    let mut watch = cluster.watch(&name, 0).await;
    let decided = |kind| if let Kind::Decided(step) = kind { Some(step) } else { None };
    let first = watch.until(decided).await;
    let finding = |name: &str, verdict: FindingVerdict| Finding {
        name: name.into(),
        verdict: verdict.into(),
        ..Finding::default()
    };
    let clean = |name: &str| finding(name, FindingVerdict::Clean);
    let names = |step: &PlanStep, name: &str| {
        step.candidates.iter().any(|candidate| candidate.action.as_ref().unwrap().text.contains(name))
    };
    assert!(names(&first, "10.0.0.5"));

    let reject = |findings: Vec<Finding>| RejectActionRequest {
        name: name.clone(),
        step: 0,
        reason: "We have looked.".to_owned(),
        request_id: id(),
        findings,
        ..RejectActionRequest::default()
    };
    for (field, wrong) in [
        ("findings[0].name", vec![clean("10.9.9.9")]),
        ("findings[1].name", vec![clean("10.0.0.5"), clean("10.0.0.5")]),
        ("findings[0].verdict", vec![finding("10.0.0.5", FindingVerdict::Unspecified)]),
    ] {
        assert_eq!(fields(api.reject_action(reject(wrong)).await), [field]);
    }
    let found = vec![clean("10.0.0.5"), finding("10.0.0.6", FindingVerdict::Compromised)];
    let known = |found: &[Finding], kind: TargetKind| -> Vec<Finding> {
        found.iter().map(|finding| Finding { kind: kind.into(), ..finding.clone() }).collect()
    };
    let rejected = api.reject_action(reject(found.clone())).await.unwrap().into_inner().incident.unwrap();
    assert_eq!(rejected.decisions[0].findings, known(&found, TargetKind::Host));
    let entities = rejected.assessment.unwrap().entities.unwrap();
    assert_eq!(entities.targets, ["10.0.0.6"], "whoever reads the incident knows as well");
    let second = watch.until(decided).await;
    assert!(names(&second, "10.0.0.6") && !names(&second, "10.0.0.5"), "{:?}", second.candidates);

    let approve = ApproveActionRequest {
        name: name.clone(),
        plan_hash: second.plan_hash.clone(),
        request_id: id(),
        ..ApproveActionRequest::default()
    };
    api.approve_action(approve).await.unwrap();
    let outcome = |findings| ReportOutcomeRequest {
        name: name.clone(),
        state: Some(RecoveryState::default()),
        request_id: id(),
        findings,
        ..ReportOutcomeRequest::default()
    };
    assert_eq!(fields(api.report_outcome(outcome(vec![clean("web99")])).await), ["findings[0].name"]);
    let found = vec![finding("203.0.113.9", FindingVerdict::Compromised)];
    api.report_outcome(outcome(found.clone())).await.unwrap();
    let event = watch.until(|kind| if let Kind::Outcome(one) = kind { Some(one) } else { None }).await;
    assert_eq!(event.findings, known(&found, TargetKind::Address));
    watch.until(decided).await;
    assert_eq!(cluster.get(&name).await.plan.unwrap().steps[0].findings, event.findings);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_for_an_operator() {
    let cluster = Cluster::start(Setup::default()).await;
    let deadline = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let name =
        cluster.create(PlanOptions { mode: PlanMode::Interactive.into(), deadline, ..options() }).await;
    assert_eq!(cluster.ended(&name).await.end(), PlanEnd::Deadline);
    assert_eq!(cluster.get(&name).await.plan.unwrap().steps.len(), 1, "what was decided stays");
}

#[tokio::test]
async fn alerts_that_come_later_are_read_with_the_others() {
    let cluster = Cluster::start(Setup::default()).await;
    let name = cluster.create(PlanOptions { mode: PlanMode::Interactive.into(), ..options() }).await;
    let mut watch = cluster.watch(&name, 0).await;
    watch.until(|kind| matches!(kind, Kind::Decided(_)).then_some(())).await;
    let more = ReportAlertsRequest {
        name: name.clone(),
        alerts: ALERTS.replace("203.0.113.9", "198.51.100.7").replace("03/14", "03/15"),
        request_id: id(),
        validate_only: true,
    };
    let checked = cluster.api().report_alerts(more.clone()).await.unwrap().into_inner().digest.unwrap();
    assert_eq!((checked.records, checked.alerts), (6, 6));
    let more = ReportAlertsRequest { validate_only: false, ..more };
    let first = cluster.api().report_alerts(more.clone()).await.unwrap().into_inner();
    let again = cluster.api().report_alerts(more.clone()).await.unwrap().into_inner();
    assert_eq!(first, again, "the same report counts once");
    assert_eq!(first.digest.as_ref().unwrap().records, 6);
    let event = watch.until(|kind| if let Kind::Alerts(alerts) = kind { Some(alerts) } else { None }).await;
    assert_eq!(event.digest, first.digest);

    let reject = RejectActionRequest {
        name,
        step: 0,
        reason: "no".to_owned(),
        request_id: id(),
        ..RejectActionRequest::default()
    };
    cluster.api().reject_action(reject).await.unwrap();
    watch.until(|kind| matches!(kind, Kind::Decided(_)).then_some(())).await;
    let empty = ReportAlertsRequest { alerts: " \n".to_owned(), request_id: id(), ..more };
    assert_eq!(fields(cluster.api().report_alerts(empty).await), ["alerts"]);
}

#[tokio::test]
async fn an_exported_plan_is_as_its_schema_says() {
    let cluster = Cluster::start(Setup::default()).await;
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../docs/plan.schema.json")).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let export = async |name: &str, format: ExportFormat| {
        let request = ExportPlanRequest { name: name.to_owned(), format: format.into() };
        let response = cluster.api().export_plan(request).await.unwrap().into_inner();
        (response.content_type, String::from_utf8(response.content).unwrap())
    };
    let others = Evidence { system_description: "Nothing happens here.".to_owned(), ..Evidence::default() };
    let mut quiet = create_request(options());
    quiet.evidence = Some(others);
    let quiet = cluster.api().create_incident(quiet).await.unwrap().into_inner().incident.unwrap().name;
    let full = cluster.create(options()).await;
    let waiting = cluster.create(PlanOptions { mode: PlanMode::Interactive.into(), ..options() }).await;
    cluster.ended(&quiet).await;
    cluster.ended(&full).await;
    cluster.watch(&waiting, 0).await.until(|kind| matches!(kind, Kind::Decided(_)).then_some(())).await;
    for name in [&quiet, &full, &waiting] {
        let (content_type, json) = export(name, ExportFormat::Json).await;
        assert_eq!(content_type, "application/json");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{faults:?} in {json}");
        let document: PlanDocument = serde_json::from_str(&json).unwrap();
        assert_eq!(document.to_json().unwrap(), json, "reading and writing keeps everything");
        let mut broken = value;
        broken["steps"] = serde_json::json!("none");
        assert!(!validator.is_valid(&broken));
    }
    let (content_type, report) = export(&full, ExportFormat::Markdown).await;
    assert!(content_type.starts_with("text/markdown"));
    assert!(report.starts_with("# Incident response plan") && report.contains("### 1. "), "{report}");
    let odd = ExportPlanRequest { name: full, format: 9 };
    assert_eq!(fields(cluster.api().export_plan(odd).await), ["format"]);
}
