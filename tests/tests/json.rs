//! The services as JSON over HTTP, as a script without a library calls them: the same calls under the same rights.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use countermove_proto::v1 as api;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::{time_text, timestamp};
use countermove_tests::evidence;
use countermove_tests::http::{Answer, ask, send};
use countermove_tests::secured::{Server, start};
use serde_json::{Value, json};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SERVICE: &str = "/countermove.v1.IncidentService";

fn coordinator(more: &[&str]) -> Server {
    let flags = ["--store", "memory:", "--workers", "http://127.0.0.1:9"];
    let flags: Vec<String> = flags.iter().chain(more).map(|flag| (*flag).to_owned()).collect();
    start("coordinator", "countermove-coordinator", "http", &flags)
}

fn host(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

/// A call with these headers besides.
async fn post(server: &Server, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("host", host(server)), ("content-type", "application/json")];
    all.extend_from_slice(headers);
    ask(host(server), "POST", path, &all, body).await
}

async fn call(server: &Server, method: &str, message: &Value) -> Answer {
    post(server, &format!("{SERVICE}/{method}"), message.to_string().as_bytes(), &[]).await
}

/// Status and code.
fn outcome(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or("ok").to_owned())
}

fn creation() -> Value {
    let evidence = evidence();
    json!({
        "evidence": {"systemDescription": evidence.system_description, "alerts": evidence.alerts},
        "options": {"seed": "7"},
        "labels": {"team": "emea"},
    })
}

#[tokio::test]
async fn a_call_in_json_is_the_same_call() {
    let server = coordinator(&[]);
    let created = call(&server, "CreateIncident", &creation()).await;
    assert_eq!((created.status, created.header("content-type")), (200, "application/json"), "{created:?}");
    assert_eq!(
        (created.header("cache-control"), created.header("x-content-type-options")),
        ("no-store", "nosniff")
    );
    let name = created.json()["incident"]["name"].as_str().unwrap().to_owned();
    let digest = created.json()["digest"].clone();
    assert!(
        digest["records"].as_str().unwrap().parse::<u64>().unwrap() > 0,
        "64 bits are a string: {digest}"
    );

    let got = call(&server, "GetIncident", &json!({"name": name})).await.json();
    let incident = &got["incident"];
    assert_eq!(incident["options"]["seed"], "7");
    assert_eq!(
        (&incident["labels"]["team"], &incident["status"]),
        (&json!("emea"), &json!("INCIDENT_STATUS_PLANNING"))
    );
    let mut grpc = IncidentServiceClient::connect(server.url.clone()).await.unwrap();
    let same = grpc.get_incident(api::GetIncidentRequest { name: name.clone() }).await.unwrap().into_inner();
    assert_eq!(same.incident.unwrap().labels["team"], "emea");

    // Idempotency, dry runs and bounds are those of the service.
    let with_id =
        json!({"requestId": "0190a0a0-0000-7000-8000-000000000001", "evidence": creation()["evidence"]});
    let first = call(&server, "CreateIncident", &with_id).await.json();
    assert_eq!(
        call(&server, "CreateIncident", &with_id).await.json()["incident"]["name"],
        first["incident"]["name"]
    );
    let listed = call(&server, "ListIncidents", &json!({"page_size": 10})).await.json();
    assert_eq!(listed["incidents"].as_array().unwrap().len(), 2);
    let workers = post(&server, "/countermove.v1.ClusterService/ListWorkers", b"{}", &[]).await;
    assert_eq!(workers.json()["workers"].as_array().unwrap().len(), 1);
    let caller =
        post(&server, "/countermove.v1.AccessService/GetCaller", b"{}", &[("connect-protocol-version", "1")])
            .await;
    assert_eq!(caller.status, 200, "{caller:?}");
}

#[tokio::test]
async fn errors_are_those_of_the_service_in_the_form_of_connect() {
    let server = coordinator(&[]);
    let missing =
        call(&server, "GetIncident", &json!({"name": "incidents/0190a0a0-0000-7000-8000-000000000001"}))
            .await;
    assert_eq!(outcome(&missing), (404, "not_found".to_owned()));
    let details = missing.json()["details"].clone();
    let info =
        &details.as_array().unwrap().iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo").unwrap();
    assert_eq!(info["debug"]["reason"], "INCIDENT_NOT_FOUND");
    let value = STANDARD_NO_PAD.decode(info["value"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8_lossy(&value).contains("INCIDENT_NOT_FOUND"));

    let field = |answer: &Answer| {
        let details = answer.json()["details"].clone();
        let bad = details
            .as_array()
            .unwrap()
            .iter()
            .find(|detail| detail["type"] == "google.rpc.BadRequest")
            .cloned();
        bad.unwrap()["debug"]["fieldViolations"][0]["field"].as_str().unwrap_or_default().to_owned()
    };
    for (message, wrong, says) in [
        // By the service, by what JSON can say, and by the message's fields.
        (json!({"pageSize": -1}), "page_size", "page_size"),
        (json!({"pageSize": "many"}), "pageSize", "pageSize: the JSON is no ListIncidentsRequest"),
        (
            json!({"filter": {"statuses": ["INCIDENT_STATUS_LOST"]}}),
            "filter.statuses[0]",
            "INCIDENT_STATUS_LOST",
        ),
        (json!({"pageSise": 1}), "", "unrecognized field name 'pageSise'"),
    ] {
        let refused = call(&server, "ListIncidents", &message).await;
        assert_eq!(outcome(&refused), (400, "invalid_argument".to_owned()), "{message}");
        assert_eq!(field(&refused), wrong, "{message}");
        assert!(refused.json()["message"].as_str().unwrap().contains(says), "{refused:?}");
    }
    let path = format!("{SERVICE}/ListIncidents");
    for body in [b"".as_slice(), b"{", b"\xff", b"{}{}", b"null", "[".repeat(1 << 20).as_bytes()] {
        let refused = post(&server, &path, body, &[]).await;
        assert_eq!(
            outcome(&refused),
            (400, "invalid_argument".to_owned()),
            "{:?}",
            &body[..body.len().min(9)]
        );
    }
    let packed = post(&server, &path, b"{}", &[("content-encoding", "gzip")]).await;
    assert_eq!(outcome(&packed), (501, "unimplemented".to_owned()));
    for path in
        ["/countermove.v1.IncidentService/Other", "/countermove.worker.v1.WorkerService/Generate", "/"]
    {
        assert_eq!(
            outcome(&post(&server, path, b"{}", &[]).await),
            (501, "unimplemented".to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_and_large_evidence_is_taken() {
    let server = coordinator(&[]);
    let long = json!({"description": "x".repeat(5 << 20)}).to_string();
    let refused = post(&server, "/countermove.v1.AccessService/CreateToken", long.as_bytes(), &[]).await;
    assert_eq!(outcome(&refused), (400, "invalid_argument".to_owned()));
    assert!(refused.json()["message"].as_str().unwrap().contains("4 MiB"), "{refused:?}");

    // Longer than what is read at once, and than one frame of HTTP.
    let line = "Nov 25 10:00:00 web sshd[1]: Failed password for root from 203.0.113.9 port 22 ssh2\n";
    let message = json!({
        "validateOnly": true,
        "evidence": {"systemDescription": "web 10.0.0.1", "alerts": line.repeat(20_000)},
    });
    let taken = call(&server, "CreateIncident", &message).await;
    assert_eq!(taken.json()["digest"]["records"], "20000", "{:?}", taken.status);
}

#[tokio::test]
async fn a_page_of_another_site_may_do_nothing_in_json_either() {
    let server = coordinator(&[]);
    let (own, here) = (server.url.as_str(), host(&server));
    let body = creation().to_string();
    let path = format!("{SERVICE}/CreateIncident");
    let kind = ("content-type", "application/json");
    for headers in [
        &[("host", here), kind, ("origin", "http://evil.example")][..],
        &[("host", here), kind, ("origin", own), ("sec-fetch-site", "cross-site")],
        &[("host", "evil.example"), kind, ("origin", "http://evil.example")],
        &[("host", "evil.example"), kind],
    ] {
        let refused = ask(here, "POST", &path, headers, body.as_bytes()).await;
        assert_eq!(outcome(&refused), (403, "permission_denied".to_owned()), "{headers:?}");
        assert!(refused.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{refused:?}");
    }
    // What a page may send without asking first.
    for simple in ["text/plain", "application/x-www-form-urlencoded", "text/plain; application/json", ""] {
        let headers = [("host", here), ("content-type", simple)];
        assert!(ask(here, "POST", &path, &headers, body.as_bytes()).await.status >= 400, "{simple}");
    }
    assert_eq!(
        call(&server, "ListIncidents", &json!({})).await.json(),
        json!({}),
        "no refused call has made any"
    );
    let of_ours = [("host", here), ("origin", own), ("content-type", "application/json; charset=utf-8")];
    assert_eq!(ask(here, "POST", &path, &of_ours, body.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn who_calls_is_asked_and_refusals_are_in_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let auth = folder.path().join("auth.toml");
    std::fs::write(&auth, "first_token = \"first\"\n").unwrap();
    std::fs::write(folder.path().join("first"), TOKEN).unwrap();
    let server = coordinator(&["--auth", auth.to_str().unwrap()]);
    let path = format!("{SERVICE}/CreateIncident");
    let body = creation().to_string();
    for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic eDp5")]] {
        let nobody = post(&server, &path, body.as_bytes(), headers).await;
        assert_eq!(outcome(&nobody), (401, "unauthenticated".to_owned()), "{headers:?}");
        assert_eq!(nobody.header("www-authenticate"), "Bearer");
    }
    // Nobody who is not known has a message read.
    let unread = post(&server, &path, b"no JSON", &[]).await;
    assert_eq!(outcome(&unread), (401, "unauthenticated".to_owned()));

    let first = format!("Bearer {TOKEN}");
    let first = [("authorization", first.as_str())];
    let hour = time_text(timestamp(SystemTime::now() + Duration::from_secs(3600)));
    let viewer = json!({"description": "ann", "grants": [{"tenant": "blue", "roles": ["ROLE_VIEWER"]}], "expireTime": hour});
    let viewer =
        post(&server, "/countermove.v1.AccessService/CreateToken", viewer.to_string().as_bytes(), &first)
            .await;
    let token =
        format!("Bearer {}", viewer.json()["secret"].as_str().unwrap_or_else(|| panic!("{viewer:?}")));
    let viewer = [("authorization", token.as_str())];
    let refused = post(&server, &path, body.as_bytes(), &viewer).await;
    assert_eq!(outcome(&refused), (403, "permission_denied".to_owned()));
    assert_eq!(post(&server, &format!("{SERVICE}/ListIncidents"), b"{}", &viewer).await.status, 200);
    assert_eq!(post(&server, &path, body.as_bytes(), &first).await.status, 200);

    let mut entries = Vec::new();
    for _ in 0..100 {
        let page = post(&server, "/countermove.v1.AuditService/ListAuditEntries", b"{}", &first).await.json();
        entries = page["entries"].as_array().cloned().unwrap_or_default();
        if entries.len() >= 7 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Five refusals, a token and an incident.
    assert_eq!(entries.len(), 7, "{entries:?}");
}

#[tokio::test]
async fn streams_are_lines() {
    let server = coordinator(&[]);
    let name = call(&server, "CreateIncident", &creation()).await.json()["incident"]["name"].clone();
    let body = json!({"name": name, "resumeAfter": 0}).to_string();
    let head = format!(
        "POST {SERVICE}/WatchIncident HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        host(&server),
        body.len()
    );
    let lines = |answer: &Answer| -> Vec<Value> {
        let whole = answer.body.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        whole.map(|line| serde_json::from_slice(line).unwrap()).collect()
    };
    let answer = send(host(&server), &head, body.as_bytes(), |answer| !lines(answer).is_empty()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let first = &lines(&answer)[0]["event"];
    assert_eq!(first["sequence"], "1");
    assert_eq!(first["created"]["labels"], json!({"team": "emea"}));

    // One that is refused has a status, and one that ends has its end.
    let missing =
        call(&server, "WatchIncident", &json!({"name": "incidents/0190a0a0-0000-7000-8000-000000000001"}))
            .await;
    assert_eq!(outcome(&missing), (404, "not_found".to_owned()));
    call(&server, "CancelIncident", &json!({"name": name})).await;
    let whole = call(&server, "WatchIncident", &json!({"name": name})).await;
    let events = lines(&whole);
    assert_eq!(events.last().unwrap()["event"]["ended"]["end"], "PLAN_END_CANCELLED", "{events:?}");
}

#[tokio::test]
async fn the_openapi_document_is_served() {
    let server = coordinator(&[]);
    let served = ask(host(&server), "GET", "/openapi.json", &[("host", host(&server))], &[]).await;
    assert_eq!((served.status, served.header("content-type")), (200, "application/json"));
    assert_eq!(served.body, include_bytes!("../../docs/openapi.json"));
    let paths = served.json()["paths"].as_object().unwrap().clone();
    // Each call that it names is there, and says what it misses rather than that there is no such call.
    for path in paths.keys() {
        let answer = post(&server, path, b"[]", &[]).await;
        assert_eq!(outcome(&answer), (400, "invalid_argument".to_owned()), "{path}");
    }
}
