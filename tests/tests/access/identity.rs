//! Tokens as they come and go, and calls that one coordinator passes on to another.

use std::time::Duration;

use countermove_proto::Error;
use countermove_proto::v1 as api;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incidents_response::Update;
use countermove_tests::secured::{channel, coordinator, dial, worker};
use countermove_tests::{Authority, Cli, Issuer, Postgres, wait_until};
use tonic::Code;

use super::{FIRST, PATIENCE, Shown, World, approval, policy};

async fn caller(world: &World, shown: &Shown) -> Result<api::GetCallerResponse, tonic::Status> {
    Ok(world.access(shown).get_caller(shown.with(api::GetCallerRequest {})).await?.into_inner())
}

#[tokio::test]
async fn an_issuers_keys_change_and_it_may_be_away() {
    let world = World::start(false).await;
    let first = world.known("ann", &["blue-viewer"]);
    assert_eq!(caller(&world, &first).await.unwrap().name, format!("{}|ann", world.issuer.url));
    // A new key is found as soon as a token names it; the old one counts as long as it is published.
    world.issuer.rotate("key-2", true);
    let second = world.known("ann", &["blue-viewer"]);
    wait_until("the new key is known", PATIENCE, || async { caller(&world, &second).await.ok() }).await;
    caller(&world, &first).await.unwrap();
    world.issuer.rotate("key-3", false);
    let third = world.known("ann", &["blue-viewer"]);
    wait_until("the third key is known", PATIENCE, || async { caller(&world, &third).await.ok() }).await;
    assert_eq!(
        caller(&world, &first).await.unwrap_err().code(),
        Code::Unauthenticated,
        "its key is withdrawn"
    );
    // Without the issuer those go on whose keys are known; of others nothing can be said.
    world.issuer.set_answers(false);
    caller(&world, &third).await.unwrap();
    world.issuer.rotate("key-4", false);
    let fourth = world.known("ann", &["blue-viewer"]);
    wait_until("it is said that the issuer is away", PATIENCE, || async {
        let status = caller(&world, &fourth).await.unwrap_err();
        (status.code() == Code::Unavailable).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_command_line_makes_lists_and_revokes_tokens() {
    let world = World::start(false).await;
    let ca = world.authority.ca().display().to_string();
    let first = world.folder.path().join("first").display().to_string();
    let run = |arguments: &[&str]| Cli::new(&world.coordinator.url, arguments).arg("--ca").arg(&ca);
    let as_admin = |arguments: &[&str]| run(arguments).arg("--token-file").arg(&first);
    let made =
        as_admin(&["tokens", "create", "for the export", "--tenant", "blue", "--role", "viewer"]).run().await;
    made.assert_success();
    let secret = made.stdout.trim().to_owned();
    assert!(secret.starts_with("cmt_") && !made.stderr.contains(&secret), "{made:?}");
    let id = secret.split('_').nth(1).unwrap().to_owned();
    let listed = as_admin(&["tokens", "list"]).run().await;
    listed.assert_success();
    assert!(listed.stdout.contains(&id) && listed.stdout.contains("for the export"), "{listed:?}");
    assert!(!listed.stdout.contains(secret.rsplit('_').next().unwrap()), "the secret is shown once");

    let own = |arguments: &[&str]| run(arguments).env("COUNTERMOVE_TOKEN", &secret);
    let who = own(&["whoami"]).run().await;
    assert!(who.stdout.contains(&format!("tokens/{id}")) && who.stdout.contains("blue: viewer"), "{who:?}");
    own(&["incidents", "list"]).run().await.assert_success();
    own(&["workers", "list"]).run().await.assert_refused(&["operator"]);
    own(&["tokens", "list"]).run().await.assert_refused(&["admin"]);
    run(&["incidents", "list"]).run().await.assert_refused(&["token or a certificate"]);

    as_admin(&["tokens", "revoke", &id]).run().await.assert_success();
    own(&["incidents", "list"]).run().await.assert_refused(&["revoked"]);
}

#[tokio::test]
async fn a_watcher_whose_token_is_revoked_sees_nothing_more() {
    let world = World::start(false).await;
    let incident = world.waiting(&world.known("ann", &["blue-responder"])).await;
    let admin = Shown::token(FIRST);
    let mut grant = api::Grant { tenant: "blue".into(), roles: Vec::new() };
    grant.push_roles(api::Role::Viewer);
    let expires = std::time::SystemTime::now() + Duration::from_secs(3600);
    let request = api::CreateTokenRequest {
        description: "watches".into(),
        grants: vec![grant],
        expire_time: Some(countermove_proto::timestamp(expires)),
        validate_only: false,
    };
    let made = world.access(&admin).create_token(admin.with(request)).await.unwrap().into_inner();
    let viewer = Shown::token(&made.secret);
    let request = api::WatchIncidentRequest { name: incident.name, resume_after: incident.last_sequence };
    let mut request = viewer.with(request);
    request.metadata_mut().remove("grpc-timeout");
    let mut stream = world.incidents(&viewer).watch_incident(request).await.unwrap().into_inner();
    let name = made.token.unwrap().name;
    let revoke = api::RevokeTokenRequest { name, validate_only: false };
    world.access(&admin).revoke_token(admin.with(revoke)).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    });
    let status = end.await.expect("the stream ends").expect_err("and says why");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_passed_on_carries_who_made_it() {
    let Some(server) = Postgres::start() else { return };
    let (authority, issuer) = (Authority::new(), Issuer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let auth = folder.path().join("auth.toml");
    std::fs::write(&auth, policy(&issuer, true)).unwrap();
    std::fs::write(folder.path().join("first"), FIRST).unwrap();
    let served = worker(&authority, &authority.issue("worker", "worker/w-1"), &[]);
    // Under a role for which policies of rows hold.
    let url = server.as_role("planner");
    let more = ["--auth", auth.to_str().unwrap(), "--store", &url];
    let start = |name: &str| {
        coordinator(&authority, &authority.issue(name, &format!("coordinator/{name}")), &served.url, &more)
    };
    let (first, second) = (start("c-1"), start("c-2"));
    let world = World { authority, issuer, coordinator: first, worker: served, folder };
    world.until_a_worker_is_ready().await;
    let [ann, bob] = ["ann", "bob"].map(|who| world.known(who, &["blue-approver"]));
    let incident = world.waiting(&ann).await;

    let at_second = |own: Option<&countermove_tests::Holder>| {
        IncidentServiceClient::new(channel(&dial(Some(&world.authority.ca()), own), &second.url))
    };
    // Four eyes are kept across coordinators: the one that owns the incident knows who made the call.
    let refused = at_second(None).approve_action(ann.with(approval(&incident))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    // A client that says that it passes the call on for somebody else is taken for itself, here as well.
    let mut forged = ann.clone();
    forged.passes_on =
        Some(br#"{"name":"root","grants":[{"tenant":"*","roles":["approver"]}],"expires":null}"#.to_vec());
    let refused = at_second(None).approve_action(forged.with(approval(&incident))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let viewer = world.known("vic", &["blue-viewer"]);
    let refused = at_second(None).approve_action(viewer.with(approval(&incident))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let stranger = world.known("rob", &["red-approver"]);
    let refused = at_second(None).approve_action(stranger.with(approval(&incident))).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");

    let approved = at_second(None).approve_action(bob.with(approval(&incident))).await.unwrap().into_inner();
    assert_eq!(approved.incident.unwrap().status(), api::IncidentStatus::AwaitingOutcome);
    let request = api::ExportPlanRequest { name: incident.name, format: api::ExportFormat::Record.into() };
    let record = at_second(None).export_plan(bob.with(request)).await.unwrap().into_inner();
    let record = String::from_utf8(record.content).unwrap();
    assert!(record.contains(&format!("{}|bob", world.issuer.url)), "the record names who approved");
}

/// What a caller follows and lists with this filter.
async fn seen(world: &World, shown: &Shown, filter: api::IncidentFilter) -> Vec<String> {
    let filter = Some(filter);
    let request = api::WatchIncidentsRequest { filter: filter.clone() };
    let mut api = world.incidents(shown);
    let mut stream = api.watch_incidents(shown.with(request)).await.unwrap().into_inner();
    let mut followed = Vec::new();
    while let Some(Update::Incident(incident)) = stream.message().await.unwrap().unwrap().update {
        followed.push(incident.name);
    }
    let request = api::ListIncidentsRequest { filter, ..api::ListIncidentsRequest::default() };
    let listed = api.list_incidents(shown.with(request)).await.unwrap().into_inner().incidents;
    let listed: Vec<String> = listed.into_iter().map(|incident| incident.name).collect();
    assert_eq!(followed, listed);
    followed
}

#[tokio::test]
async fn whoever_sees_one_tenant_follows_nothing_of_another_whatever_the_filter() {
    let world = World::start(false).await;
    let blue = world.waiting(&world.known("ann", &["blue-responder"])).await.name;
    let filters = || {
        let default = api::IncidentFilter::default;
        [
            default(),
            api::IncidentFilter { tenant: "blue".into(), ..default() },
            api::IncidentFilter { text: blue.clone(), ..default() },
            api::IncidentFilter { statuses: vec![api::IncidentStatus::AwaitingApproval.into()], ..default() },
        ]
    };
    let (own, foreign) = (world.known("bob", &["blue-viewer"]), world.known("rob", &["red-viewer"]));
    for filter in filters() {
        assert_eq!(seen(&world, &own, filter.clone()).await, [blue.as_str()], "{filter:?}");
        assert!(seen(&world, &foreign, filter.clone()).await.is_empty(), "{filter:?}");
    }

    // Neither does what comes later.
    let mut api = world.incidents(&foreign);
    let request = foreign.with(api::WatchIncidentsRequest::default());
    let mut stream = api.watch_incidents(request).await.unwrap().into_inner();
    let present = stream.message().await.unwrap().unwrap().update;
    assert_eq!(present, Some(Update::Present(api::Present { incidents: 0 })));
    let another = world.waiting(&world.known("ann", &["blue-responder"])).await.name;
    let red = world.known("rob", &["red-responder"]);
    let request = api::CreateIncidentRequest {
        evidence: Some(countermove_tests::evidence()),
        options: Some(countermove_tests::small_options(7)),
        tenant: "red".into(),
        ..api::CreateIncidentRequest::default()
    };
    let made = world.incidents(&red).create_incident(red.with(request)).await.unwrap().into_inner();
    let Some(Update::Incident(first)) = stream.message().await.unwrap().unwrap().update else {
        panic!("an incident was made")
    };
    assert_eq!(first.name, made.incident.unwrap().name, "and not {another}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_floods_is_refused_and_another_one_is_served() {
    let world = World::with(false, "", &["--tenant-rate", "5", "--tenant-calls", "8"]).await;
    let [ann, bob] =
        [("ann", "blue-viewer"), ("bob", "red-viewer")].map(|(who, group)| world.known(who, &[group]));
    let list = async |shown: &Shown| {
        world.incidents(shown).list_incidents(shown.with(api::ListIncidentsRequest::default())).await
    };
    let flood = futures::future::join_all((0..60).map(|_| list(&ann))).await;
    let refused: Vec<Error> =
        flood.iter().filter_map(|answer| answer.as_ref().err()).map(Error::from).collect();
    assert!((1..60).contains(&refused.len()), "{} of 60", refused.len());
    for error in &refused {
        let Error::OverQuota { subject, retry_after, .. } = error else { panic!("{error:?}") };
        assert!(subject == "tenants/blue" && !retry_after.is_zero(), "{error:?}");
    }
    list(&bob).await.expect("another tenant is served meanwhile");
    // Whoever comes back when it is told to is served.
    let limit = refused.iter().filter_map(Error::retry_after).max().unwrap();
    tokio::time::sleep(limit + Duration::from_millis(300)).await;
    list(&ann).await.expect("there is room again");
}
