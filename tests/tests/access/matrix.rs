//! Every call by everybody who may not make it: the right status, and nothing changed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use countermove_proto::Error;
use countermove_proto::v1 as api;
use countermove_tests::{Authority, Forgery};
use tonic::Code;

use super::calls::{About, CALLS, Call, ROLES, Target, make, refusals_written, served, workers};
use super::{Shown, World};

/// Somebody, and what each call answers.
struct Caller {
    what: String,
    shown: Shown,
    expects: Box<dyn Fn(Call) -> Expected>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// It is refused like this.
    Refused(Code),
    /// It is answered, with nothing of others.
    Nothing,
    /// It may: no word about who calls.
    Allowed,
    /// There is no connection.
    NoConnection,
}

fn refused(what: impl Into<String>, shown: Shown, code: Code) -> Caller {
    Caller { what: what.into(), shown, expects: Box::new(move |_| Expected::Refused(code)) }
}

/// A caller without a role.
fn powerless(what: &str, shown: Shown) -> Caller {
    let expects = |call: Call| match call.about {
        About::Caller => Expected::Allowed,
        _ => Expected::Refused(Code::PermissionDenied),
    };
    Caller { what: what.to_owned(), shown, expects: Box::new(expects) }
}

/// A caller with one role in the tenant that calls are about.
fn with_role(what: String, shown: Shown, role: &'static str, everywhere: bool) -> Caller {
    let expects = move |call: Call| match call.about {
        About::Cluster if !everywhere => Expected::Refused(Code::PermissionDenied),
        _ if call.roles.contains(&role) => Expected::Allowed,
        _ => Expected::Refused(Code::PermissionDenied),
    };
    Caller { what, shown, expects: Box::new(expects) }
}

/// A caller with every role in another tenant.
fn foreign(what: &str, shown: Shown) -> Caller {
    let expects = |call: Call| match call.about {
        About::Caller => Expected::Allowed,
        About::Incident | About::Token => Expected::Refused(Code::NotFound),
        About::Listing => Expected::Nothing,
        About::Tenant | About::Cluster => Expected::Refused(Code::PermissionDenied),
    };
    Caller { what: what.to_owned(), shown, expects: Box::new(expects) }
}

/// Makes a token over the API and gives its name and secret.
async fn token(world: &World, role: api::Role, lasts: Duration) -> (String, String) {
    let admin = Shown::token(super::FIRST);
    let mut grant = api::Grant { tenant: "blue".into(), roles: Vec::new() };
    grant.push_roles(role);
    let request = api::CreateTokenRequest {
        description: "of the matrix".into(),
        grants: vec![grant],
        expire_time: Some(countermove_proto::timestamp(SystemTime::now() + lasts)),
        validate_only: false,
    };
    let made = world.access(&admin).create_token(admin.with(request)).await.unwrap().into_inner();
    (made.token.unwrap().name, made.secret)
}

async fn callers(world: &World, stranger: &Authority) -> Vec<Caller> {
    let unauthenticated = |what: String, shown: Shown| refused(what, shown, Code::Unauthenticated);
    let header = |text: &str| Shown { headers: vec![text.to_owned()], ..Shown::default() };
    let groups: Vec<String> = ROLES.iter().map(|role| format!("blue-{role}")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).chain(["all-operator"]).collect();
    let good = world.issuer.token("ann", &groups);

    let mut callers = vec![unauthenticated("no token".into(), Shown::default())];
    for how in Forgery::ALL {
        let token = world.issuer.forged(how, "ann", &groups);
        callers.push(unauthenticated(format!("a token that is wrong: {how:?}"), Shown::token(&token)));
    }
    for (what, text) in [
        ("no scheme", good.clone()),
        ("another scheme", format!("Basic {good}")),
        ("an empty token", "Bearer ".to_owned()),
        ("three dots of nothing", "Bearer ..".to_owned()),
        ("no base64", "Bearer a!.b!.c!".to_owned()),
        ("half a token", format!("Bearer {}", &good[..good.len() / 2])),
        ("a token in a token", format!("Bearer Bearer {good}")),
        ("a long token", format!("Bearer {}.b.c", "a".repeat(12_000))),
        ("a guessed first token", format!("Bearer {}", "0".repeat(32))),
    ] {
        callers.push(unauthenticated(format!("malformed: {what}"), header(&text)));
    }
    let twice = Shown { headers: vec![format!("Bearer {good}"); 2], ..Shown::default() };
    callers.push(unauthenticated("malformed: two tokens".into(), twice));

    let (revoked, secret) = token(world, api::Role::Approver, Duration::from_secs(3600)).await;
    let admin = Shown::token(super::FIRST);
    let request = api::RevokeTokenRequest { name: revoked, validate_only: false };
    world.access(&admin).revoke_token(admin.with(request)).await.unwrap();
    callers.push(unauthenticated("a service's token that was revoked".into(), Shown::token(&secret)));
    let (_, short) = token(world, api::Role::Approver, Duration::from_millis(500)).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    callers.push(unauthenticated("a service's token that has expired".into(), Shown::token(&short)));
    let (_, secret) = token(world, api::Role::Approver, Duration::from_secs(3600)).await;
    let (head, tail) = secret.split_at(secret.len() - 1);
    let changed = format!("{head}{}", if tail == "0" { '1' } else { '0' });
    callers.push(unauthenticated("a service's token that was changed".into(), Shown::token(&changed)));
    let unknown = format!("cmt_0123456789abcdef_{}", "ab".repeat(32));
    callers.push(unauthenticated("a service's token that there is not".into(), Shown::token(&unknown)));

    let authority = &world.authority;
    callers.push(powerless("nobody's groups", world.known("zoe", &[])));
    callers.push(powerless(
        "a certificate of nobody known",
        Shown::certificate(authority.issue("u", "user/zoe")),
    ));
    callers.push(powerless("a worker's certificate", Shown::certificate(authority.issue("w", "worker/w-9"))));
    let member = authority.issue("c", "coordinator/c-9");
    callers.push(powerless("a coordinator's certificate", Shown::certificate(member.clone())));
    let by_name = authority.issue_by_common_name("n");
    callers
        .push(unauthenticated("a certificate with a common name alone".into(), Shown::certificate(by_name)));
    let nobody_behind = Shown { passes_on: Some(b"nonsense".to_vec()), ..Shown::certificate(member) };
    callers.push(unauthenticated("a coordinator that passes nobody on".into(), nobody_behind));
    for (what, holder) in [
        ("a certificate of another authority", stranger.issue("c", "coordinator/c-1")),
        ("a certificate that has expired", authority.issue_expired("x", "user/export")),
    ] {
        let expects = Box::new(|_| Expected::NoConnection);
        callers.push(Caller { what: what.to_owned(), shown: Shown::certificate(holder), expects });
    }
    // Who is no coordinator and says that it passes a call on for somebody with all roles is taken for itself.
    let everything = br#"{"name":"root","grants":[{"tenant":"*","roles":["viewer","responder","approver","operator","admin"]}],"expires":null}"#;
    let liar = Shown { passes_on: Some(everything.to_vec()), ..world.known("vic", &["blue-viewer"]) };
    callers.push(with_role("a viewer who says that it passes a call on".into(), liar, "viewer", false));
    let liar = Shown { passes_on: Some(everything.to_vec()), ..Shown::default() };
    callers.push(unauthenticated("nobody who says that it passes a call on".into(), liar));

    for role in ROLES {
        let shown = world.known(role, &[&format!("blue-{role}")]);
        callers.push(with_role(format!("{role} of the tenant"), shown, role, false));
        let shown = world.known(role, &[&format!("all-{role}")]);
        callers.push(with_role(format!("{role} of all tenants"), shown, role, true));
    }
    let (_, viewer) = token(world, api::Role::Viewer, Duration::from_secs(3600)).await;
    callers.push(with_role("a service with a viewer's token".into(), Shown::token(&viewer), "viewer", false));
    let export = Shown::certificate(authority.issue("e", "user/export"));
    callers.push(with_role("a service with a viewer's certificate".into(), export, "viewer", false));
    let red: Vec<String> = ROLES.iter().map(|role| format!("red-{role}")).collect();
    let red: Vec<&str> = red.iter().map(String::as_str).collect();
    callers.push(foreign("everything in another tenant", world.known("rob", &red)));
    callers
}

/// All that calls could change, as somebody sees it who sees all.
async fn snapshot(world: &World, target: &Target) -> String {
    let all = Shown::token(super::FIRST);
    let name = target.incident.name.clone();
    let incident = world.get(&all, &name).await.unwrap();
    let request = all.with(api::ListIncidentsRequest::default());
    let incidents = world.incidents(&all).list_incidents(request).await.unwrap().into_inner().incidents;
    let request = all.with(api::ListTokensRequest { page_size: 1000, ..api::ListTokensRequest::default() });
    let tokens = world.access(&all).list_tokens(request).await.unwrap().into_inner().tokens;
    let workers: Vec<_> = workers(&world.channel(&all), &all)
        .await
        .unwrap()
        .into_iter()
        .map(|worker| (worker.name, worker.status))
        .collect();
    let names: Vec<_> = incidents.into_iter().map(|incident| incident.name).collect();
    format!("{incident:?} {names:?} {tokens:?} {workers:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_does_what_it_may_not_and_nothing_changes() {
    let names: std::collections::BTreeSet<String> = CALLS.iter().map(|call| call.name.to_owned()).collect();
    assert_eq!(names, served(), "each call that is served is in the matrix");
    let world = World::start(false).await;
    let responder = world.known("ann", &["blue-responder"]);
    let incident = world.waiting(&responder).await;
    let (token, _) = token(&world, api::Role::Viewer, Duration::from_secs(3600)).await;
    let target = Target { incident, token, worker: "workers/w-1".into() };
    let stranger = Authority::new();
    let callers = callers(&world, &stranger).await;
    let before = snapshot(&world, &target).await;

    let admin = Shown::token(super::FIRST);
    let channel = world.channel(&admin);
    let written = refusals_written(&channel, &admin).await;
    let mut refusals = 0;
    let (mut cells, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    for caller in &callers {
        let channel = world.channel(&caller.shown);
        for call in CALLS {
            let expected = (caller.expects)(call);
            // Who may do something only checks it here, since nothing is to change.
            let only_checks = expected == Expected::Allowed;
            let answer = make(call, channel.clone(), &caller.shown, &target, only_checks).await;
            let code = answer.as_ref().map_or_else(|status| status.code(), |_| Code::Ok);
            let is_right = match expected {
                Expected::Refused(refused) => code == refused,
                Expected::Nothing => answer.as_ref().is_ok_and(Vec::is_empty),
                Expected::Allowed => !matches!(
                    code,
                    Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::Unknown
                ),
                Expected::NoConnection => {
                    answer.as_ref().is_err_and(|status| matches!(Error::from(status), Error::Transport(_)))
                }
            };
            refusals += usize::from(matches!(expected, Expected::Refused(_)));
            *cells.entry(format!("{expected:?}")).or_default() += 1;
            if !is_right {
                wrong.push(format!("{} as {}: {answer:?}, not {expected:?}", call.name, caller.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(snapshot(&world, &target).await, before, "something changed");
    // They are written soon after, and each once.
    let mut now = 0;
    for _ in 0..100 {
        now = refusals_written(&channel, &admin).await - written;
        if now >= refusals {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(now, refusals, "entries of the audit log");
    let all: usize = cells.values().sum();
    println!(
        "{} calls x {} callers = {all} cells, all right, nothing changed, {now} refusals in the audit log: {cells:?}",
        CALLS.len(),
        callers.len()
    );
}
