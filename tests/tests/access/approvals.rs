//! Who stands in the record, and who may not approve what it had a hand in.

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::{Condition, Error, Outage};
use countermove_tests::{Signal, wait_until};
use tonic::Code;

use super::{Shown, World, approval};

/// What happened to an incident so far.
async fn events(world: &World, shown: &Shown, name: &str) -> Vec<Kind> {
    let last = world.get(shown, name).await.unwrap().last_sequence;
    let request = api::WatchIncidentRequest { name: name.to_owned(), resume_after: 0 };
    let mut stream = world.incidents(shown).watch_incident(shown.with(request)).await.unwrap().into_inner();
    let mut kinds = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        let Some(Update::Event(event)) = message.update else { continue };
        kinds.extend(event.kind);
        if event.sequence >= last {
            break;
        }
    }
    kinds
}

async fn approve(
    world: &World,
    shown: &Shown,
    request: api::ApproveActionRequest,
) -> Result<(), tonic::Status> {
    world.incidents(shown).approve_action(shown.with(request)).await.map(drop)
}

#[tokio::test]
async fn the_record_names_who_was_proven_and_nobody_else() {
    let world = World::start(false).await;
    let ann = world.known("ann", &["blue-approver"]);
    let incident = world.waiting(&ann).await;
    let name = format!("{}|ann", world.issuer.url);
    let as_another = api::ApproveActionRequest { approver: "bob".into(), ..approval(&incident) };
    assert_eq!(approve(&world, &ann, as_another).await.unwrap_err().code(), Code::PermissionDenied);
    approve(&world, &ann, approval(&incident)).await.unwrap();
    let kinds = events(&world, &ann, &incident.name).await;
    let creator = kinds.iter().find_map(|kind| match kind {
        Kind::Created(created) => Some(created.creator.clone()),
        _ => None,
    });
    let approvers: Vec<String> = kinds
        .iter()
        .filter_map(|kind| match kind {
            Kind::Approved(approved) => Some(approved.approver.clone()),
            _ => None,
        })
        .collect();
    assert_eq!((creator, approvers), (Some(name.clone()), vec![name]));
}

#[tokio::test]
async fn with_four_eyes_nobody_approves_what_it_created_or_rejected() {
    let world = World::start(true).await;
    let [ann, bob, cy] = ["ann", "bob", "cy"].map(|who| world.known(who, &["blue-approver"]));
    let incident = world.waiting(&ann).await;
    let refused = approve(&world, &ann, approval(&incident)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("created it"), "{refused}");

    let step = approval(&incident).step;
    let reject = api::RejectActionRequest {
        name: incident.name.clone(),
        step,
        reason: "something else".into(),
        ..api::RejectActionRequest::default()
    };
    world.incidents(&bob).reject_action(bob.with(reject)).await.unwrap();
    let again = world.until_it_waits(&bob, &incident.name, incident.last_sequence).await;
    let refused = approve(&world, &bob, approval(&again)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("rejected"), "{refused}");
    approve(&world, &cy, approval(&again)).await.unwrap();
}

/// Two people for everything in the tenant blue.
const TWO: &str = "[[two_approvers]]\ntenants = [\"blue\"]\nclasses = [\"all\"]\n";

/// Whether it is refused since the same identity has approved before.
fn is_repeated(status: &tonic::Status) -> bool {
    matches!(Error::from(status), Error::Precondition { condition: Condition::Approver, .. })
}

#[tokio::test]
async fn two_different_people_approve_and_a_coordinator_that_was_restarted_knows_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let flags = ["--store", store.as_str(), "--lease", "1"];
    let mut world = World::with(false, TWO, &flags).await;
    let [ann, bob] = ["ann", "bob"].map(|who| world.known(who, &["blue-approver"]));
    let name = |who: &str| format!("{}|{who}", world.issuer.url);
    let (by_ann, by_bob) = (name("ann"), name("bob"));
    let incident = world.waiting(&ann).await;
    assert_eq!(incident.pending.as_ref().map(|pending| pending.approvers), Some(2));

    let first = Shown::token(super::FIRST);
    let expires = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let request = api::CreateTokenRequest {
        description: "a service".into(),
        grants: vec![api::Grant { tenant: "blue".into(), roles: vec![api::Role::Approver.into()] }],
        expire_time: Some(countermove_proto::timestamp(expires)),
        ..api::CreateTokenRequest::default()
    };
    let made = world.access(&first).create_token(first.with(request)).await.unwrap().into_inner();
    let service = Shown::token(&made.secret);
    let refused = approve(&world, &service, approval(&incident)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("no person"), "{refused}");

    approve(&world, &ann, approval(&incident)).await.unwrap();
    let refused = approve(&world, &ann, approval(&incident)).await.unwrap_err();
    assert!(is_repeated(&refused) && refused.code() == Code::FailedPrecondition, "{refused}");

    // Whoever owns the incident next knows of the first approval by its events.
    world.coordinator.process.signal(Signal::Kill);
    world.coordinator.process.wait(super::PATIENCE);
    let coordinator = World::coordinate(&world.authority, &world.worker, &world.folder, &flags);
    world.coordinator = coordinator;
    wait_until("the incident has an owner again", super::PATIENCE, || async {
        let refused = approve(&world, &ann, approval(&incident)).await.unwrap_err();
        is_repeated(&refused).then_some(())
    })
    .await;
    let half = world.get(&bob, &incident.name).await.unwrap();
    assert_eq!(half.status(), api::IncidentStatus::AwaitingApproval);
    let pending = half.pending.unwrap();
    let given: Vec<&str> = pending.approvals.iter().map(|given| given.approver.as_str()).collect();
    assert_eq!((given, pending.approvers), (vec![by_ann.as_str()], 2));
    assert!(pending.approvals[0].time.is_some());

    approve(&world, &bob, approval(&incident)).await.unwrap();
    let done = world.get(&bob, &incident.name).await.unwrap();
    assert_eq!(done.status(), api::IncidentStatus::AwaitingOutcome);
    let step = done.plan.unwrap().steps.pop().unwrap();
    let given: Vec<&str> = step.approvals.iter().map(|given| given.approver.as_str()).collect();
    assert_eq!(given, [by_ann.as_str(), by_bob.as_str()]);
    let told: Vec<(bool, String)> = events(&world, &bob, &incident.name)
        .await
        .into_iter()
        .filter_map(|kind| match kind {
            Kind::Approval(given) => Some((false, given.approver)),
            Kind::Approved(approved) => Some((true, approved.approver)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(false, by_ann), (true, by_bob)], "who and in which order is in the record");
    let verify = api::VerifyIncidentRequest { name: incident.name.clone(), sequence: 0 };
    let verified = world.incidents(&bob).verify_incident(bob.with(verify)).await.unwrap().into_inner();
    assert_eq!((verified.broken_event, verified.problem.as_str()), (0, ""));
}

#[tokio::test]
async fn a_rejection_ends_a_first_approval_and_autonomy_is_none() {
    let world = World::with(false, TWO, &[]).await;
    let [ann, bob, cy] = ["ann", "bob", "cy"].map(|who| world.known(who, &["blue-approver"]));
    let incident = world.waiting_with(&ann, |options| {
        options.set_autonomy(api::Autonomy::ApproveReversible);
        options.autonomy_confidence = Some(0.5);
    });
    let incident = incident.await;
    approve(&world, &ann, approval(&incident)).await.unwrap();
    let reject = api::RejectActionRequest {
        name: incident.name.clone(),
        step: approval(&incident).step,
        reason: "something else".into(),
        ..api::RejectActionRequest::default()
    };
    world.incidents(&bob).reject_action(bob.with(reject)).await.unwrap();
    let again = world.until_it_waits(&bob, &incident.name, incident.last_sequence + 2).await;
    let pending = again.pending.as_ref().unwrap();
    assert_eq!(
        (pending.approvals.len(), pending.approvers),
        (0, 2),
        "the first approval was of what was rejected"
    );

    // An approval of another candidate is one of that, and of no other.
    let step = again.plan.as_ref().unwrap().steps.last().unwrap().clone();
    let other = step.candidates.iter().find(|candidate| candidate.index != step.chosen).cloned();
    if let Some(other) = other {
        let of_other = api::ApproveActionRequest { plan_hash: other.plan_hash, ..approval(&again) };
        approve(&world, &cy, of_other).await.unwrap();
    }
    approve(&world, &ann, approval(&again)).await.unwrap();
    assert_eq!(world.get(&ann, &again.name).await.unwrap().status(), api::IncidentStatus::AwaitingApproval);
    approve(&world, &bob, approval(&again)).await.unwrap();
    assert_eq!(world.get(&ann, &again.name).await.unwrap().status(), api::IncidentStatus::AwaitingOutcome);
    let automatic = |kind: &Kind| matches!(kind, Kind::Approved(approved) if approved.is_automatic);
    assert!(!events(&world, &ann, &again.name).await.iter().any(automatic));
}

#[tokio::test]
async fn who_may_do_what_changes_with_the_file_and_a_bad_one_changes_nothing() {
    let world = World::start(false).await;
    let ann = world.known("ann", &["blue-approver"]);
    let first = world.waiting(&ann).await;
    assert_eq!(first.pending.as_ref().map(|pending| pending.approvers), Some(0));
    let watch = api::WatchIncidentsRequest::default();
    let mut stream = world.incidents(&ann).watch_incidents(ann.with(watch)).await.unwrap().into_inner();

    std::fs::write(world.folder.path().join("auth.toml"), "four_eyes = perhaps").unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert!(world.get(&ann, &first.name).await.is_ok(), "what cannot be read changes nothing");
    assert!(world.coordinator.process.log().contains("the new policy cannot be used"));

    let viewer = "[[grant]]\nsubject = \"ann\"\ntenants = [\"green\"]\nroles = [\"viewer\"]\n";
    world.rewrite_policy(true, viewer);
    wait_until("four eyes are asked for", super::PATIENCE, || async {
        let check = api::ApproveActionRequest { validate_only: true, ..approval(&first) };
        approve(&world, &ann, check).await.err().filter(|refused| refused.message().contains("created it"))
    })
    .await;
    // A stream that was let in before has to be looked at anew.
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            end => break end.unwrap_err(),
        }
    };
    assert!(matches!(Error::from(&end), Error::Unavailable { cause: Outage::Access, .. }), "{end}");
    let green =
        api::CreateIncidentRequest { tenant: "green".into(), ..api::CreateIncidentRequest::default() };
    let refused = world.incidents(&ann).create_incident(ann.with(green)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_request_id_finds_nothing_of_another_caller() {
    let world = World::start(false).await;
    let [ann, bob] = ["ann", "bob"].map(|who| world.known(who, &["blue-responder"]));
    let request = api::CreateIncidentRequest {
        evidence: Some(countermove_tests::evidence()),
        options: Some(countermove_tests::small_options(3)),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..api::CreateIncidentRequest::default()
    };
    let create = async |who: &Shown| {
        let answer = world.incidents(who).create_incident(who.with(request.clone())).await;
        answer.map(|answer| answer.into_inner().incident.unwrap())
    };
    let first = create(&ann).await.unwrap();
    assert_eq!(first.tenant, "blue", "the only tenant of a caller goes without saying");
    assert_eq!(create(&ann).await.unwrap().name, first.name);
    assert_eq!(create(&bob).await.unwrap_err().code(), Code::InvalidArgument);
}
