//! The console's files and gRPC-Web as a browser meets them, over HTTP/1.1 by hand: what a page of this coordinator may do, and that
//! one of another site may do nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use countermove_proto::v1 as api;
use countermove_proto::v1::audit_service_client::AuditServiceClient;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incidents_response::Update;
use countermove_tests::evidence;
use countermove_tests::http::{Answer, ask, send};
use countermove_tests::secured::{Server, start};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn coordinator(more: &[&str]) -> Server {
    let mut flags: Vec<String> =
        ["--store", "memory:", "--workers", "http://127.0.0.1:9"].map(str::to_owned).into();
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    start("coordinator", "countermove-coordinator", "http", &flags)
}

fn host(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

async fn channel(server: &Server) -> Channel {
    Channel::from_shared(server.url.clone()).unwrap().connect().await.unwrap()
}

/// What an answer says by gRPC-Web.
trait GrpcWeb {
    /// How the call ended: in the headers, or in the last frame.
    fn code(&self) -> Code;
    fn message<T: Message + Default>(&self) -> T;
    /// Frames that are whole.
    fn frames(&self) -> Vec<(u8, Vec<u8>)>;
}

impl GrpcWeb for Answer {
    fn code(&self) -> Code {
        let trailers = self.frames().into_iter().find(|(kind, _)| kind & 0x80 != 0).map(|(_, bytes)| bytes);
        let text = String::from_utf8(trailers.unwrap_or_default()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("grpc-status:"));
        let code = line.unwrap_or_else(|| self.header("grpc-status")).trim();
        Code::from_i32(code.parse().unwrap_or_else(|_| panic!("no status: {self:?}")))
    }

    fn message<T: Message + Default>(&self) -> T {
        let frames = self.frames();
        T::decode(frames.iter().find(|(kind, _)| *kind == 0).expect("a message").1.as_slice()).unwrap()
    }

    fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let (mut rest, mut frames) = (self.body.as_slice(), Vec::new());
        while let Some((head, more)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let Some((content, more)) = more.split_at_checked(length) else { break };
            frames.push((head[0], content.to_vec()));
            rest = more;
        }
        frames
    }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let content = message.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&content);
    body
}

/// A call as the console makes it, with these headers besides.
async fn call(server: &Server, path: &str, message: &impl Message, headers: &[(&str, &str)]) -> Answer {
    let kind = ("content-type", "application/grpc-web+proto");
    let headers: Vec<_> = [kind].into_iter().chain(headers.iter().copied()).collect();
    ask(host(server), "POST", path, &headers, &framed(message)).await
}

const CREATE: &str = "/countermove.v1.IncidentService/CreateIncident";
const LIST: &str = "/countermove.v1.IncidentService/ListIncidents";

#[tokio::test]
async fn the_console_may_call_and_a_page_of_another_site_may_not() {
    let server = coordinator(&[]);
    let (own, here) = (server.url.as_str(), host(&server));
    let create = api::CreateIncidentRequest { evidence: Some(evidence()), ..Default::default() };
    let evil = "http://evil.example";
    for headers in [
        &[("host", here), ("origin", evil)][..],
        &[("host", here), ("origin", "null")],
        &[("host", here), ("origin", own), ("sec-fetch-site", "cross-site")],
        // Its name leads to this machine, so the browser takes its page for ours.
        &[("host", "evil.example"), ("origin", evil)],
        &[("host", here), ("origin", evil), ("content-type", "application/grpc-web-text")],
    ] {
        let refused = call(&server, CREATE, &create, headers).await;
        assert_eq!((refused.status, refused.code()), (200, Code::PermissionDenied), "{headers:?}");
        assert!(refused.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{refused:?}");
    }
    // What a page may send without asking first is no call, and to what it asks first nobody says yes.
    let simple = [("host", here), ("origin", evil), ("content-type", "text/plain")];
    assert!(ask(host(&server), "POST", CREATE, &simple, &framed(&create)).await.status >= 400);
    let asks = [("host", here), ("origin", evil), ("access-control-request-method", "POST")];
    let preflight = ask(host(&server), "OPTIONS", CREATE, &asks, &[]).await;
    assert!(preflight.status >= 400 && preflight.header("access-control-allow-origin").is_empty());

    let listed =
        call(&server, LIST, &api::ListIncidentsRequest::default(), &[("host", here), ("origin", own)]).await;
    assert_eq!((listed.status, listed.code()), (200, Code::Ok));
    let incidents = listed.message::<api::ListIncidentsResponse>().incidents;
    assert!(incidents.is_empty(), "no refused call has made any");

    let headers = [("host", here), ("origin", own), ("sec-fetch-site", "same-origin")];
    let created = call(&server, CREATE, &create, &headers).await;
    let name = created.message::<api::CreateIncidentResponse>().incident.unwrap().name;
    let mut grpc = IncidentServiceClient::new(channel(&server).await);
    let over_grpc = grpc.get_incident(api::GetIncidentRequest { name: name.clone() }).await.unwrap();
    assert_eq!(over_grpc.into_inner().incident.unwrap().name, name);
    // A fault of the caller's has its details in either form.
    let wrong = api::ListIncidentsRequest { page_size: -1, ..Default::default() };
    assert_eq!(call(&server, LIST, &wrong, &headers).await.code(), Code::InvalidArgument);
    let other = "/countermove.v1.IncidentService/Other";
    assert_eq!(call(&server, other, &wrong, &headers).await.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_queue_is_followed_over_grpc_web() {
    let server = coordinator(&[]);
    let body = framed(&api::WatchIncidentsRequest::default());
    let head = format!(
        "POST /countermove.v1.IncidentService/WatchIncidents HTTP/1.1\r\nhost: {}\r\norigin: {}\r\n\
         content-type: application/grpc-web+proto\r\ncontent-length: {}\r\n\r\n",
        host(&server),
        server.url,
        body.len()
    );
    let answer = send(host(&server), &head, &body, |answer| !answer.frames().is_empty()).await;
    assert_eq!(answer.header("content-type"), "application/grpc-web+proto");
    let update = answer.message::<api::WatchIncidentsResponse>().update;
    assert_eq!(update, Some(Update::Present(api::Present { incidents: 0 })));
}

#[tokio::test]
async fn a_browser_shows_who_it_is_as_any_client_and_what_is_refused_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let auth = folder.path().join("auth.toml");
    std::fs::write(&auth, "first_token = \"first\"\n").unwrap();
    std::fs::write(folder.path().join("first"), TOKEN).unwrap();
    let server = coordinator(&["--auth", auth.to_str().unwrap()]);
    let (own, here) = (server.url.as_str(), host(&server));
    let bearer = format!("Bearer {TOKEN}");
    let list = api::ListIncidentsRequest::default();
    let nobody = call(&server, LIST, &list, &[("host", here), ("origin", own)]).await;
    assert_eq!((nobody.status, nobody.header("grpc-status")), (200, "16"), "as headers alone: {nobody:?}");
    let shown = [("host", here), ("origin", own), ("authorization", bearer.as_str())];
    assert_eq!(call(&server, LIST, &list, &shown).await.code(), Code::Ok);
    let evil = [("host", here), ("origin", "http://evil.example"), ("authorization", bearer.as_str())];
    assert_eq!(call(&server, LIST, &list, &evil).await.code(), Code::PermissionDenied);

    let mut audit = AuditServiceClient::new(channel(&server).await);
    for _ in 0..100 {
        let mut request = Request::new(api::ListAuditEntriesRequest::default());
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        let page = audit.list_audit_entries(request).await.unwrap().into_inner();
        let entries = page.entries.iter().map(|kept| api::AuditEntry::decode(kept.entry.as_slice()).unwrap());
        let codes: Vec<Code> = entries.map(|entry| Code::from(entry.code)).collect();
        if codes.len() >= 2 {
            assert_eq!(codes, [Code::Unauthenticated, Code::PermissionDenied]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the refusals are not in the audit log");
}

#[tokio::test]
async fn files_of_the_console_are_served_and_nothing_else_is() {
    let server = coordinator(&[]);
    let here = [("host", host(&server))];
    let page = ask(host(&server), "GET", "/", &here, &[]).await;
    let has_bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../console/dist/index.html").exists();
    assert_eq!(page.status, if has_bundle { 200 } else { 404 });
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && policy.ends_with("frame-ancestors 'none'"),
        "{policy}"
    );
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    for path in [
        "/../Cargo.toml",
        "/assets/../../../Cargo.toml",
        "/assets/%2e%2e/%2e%2e/Cargo.toml",
        "/..%2fCargo.toml",
        "//etc/passwd",
        "/etc/passwd",
        "/assets/",
        "/countermove.v1.IncidentService/ListIncidents",
    ] {
        assert_eq!(ask(host(&server), "GET", path, &here, &[]).await.status, 404, "{path}");
    }
    assert_eq!(ask(host(&server), "GET", "/", &[("host", "evil.example")], &[]).await.status, 421);
    let named = coordinator(&["--console-host", "soc.example"]);
    let status = ask(host(&named), "GET", "/", &[("host", "soc.example")], &[]).await.status;
    assert_eq!(status, page.status);
    let without = coordinator(&["--console", "false"]);
    let here = [("host", host(&without))];
    let answer = ask(host(&without), "GET", "/", &here, &[]).await;
    assert!(answer.status >= 400 && answer.header("content-security-policy").is_empty(), "{answer:?}");
}
