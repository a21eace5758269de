//! Who stands in the record, and who may not approve what it had a hand in.

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
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
