//! Notifications that leave a coordinator as a process: rendered, once for each state, over the end of the coordinator that wrote them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use countermove_coordinator::webhook::sign;
use countermove_proto::RequestId;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    ApproveActionRequest, CancelIncidentRequest, CreateIncidentRequest, Evidence, PlanMode, PlanOptions,
    PlanStep,
};
use countermove_tests::{Signal, wait_until};
use serde_json::Value;
use support::cluster::{create_request, options};
use support::process::Coordinator;
use support::receiver::{header, receive};
use support::worker::{FakeWorker, Script};

const SECRET: &str = "a secret of more than thirty-two bytes";
const PATIENCE: Duration = Duration::from_secs(25);

/// What came to a receiver, in order.
struct Received(Receiver<(String, Vec<u8>)>);

impl Received {
    /// A receiver that answers the first `refusals` calls with 503 and all others with 204.
    fn start(refusals: usize) -> (String, Self) {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, received) = channel();
        std::thread::spawn(move || {
            let mut statuses = std::iter::repeat_n(503, refusals).chain(std::iter::repeat(204));
            // The test is over when nobody listens.
            while sender.send(receive(&listener, statuses.next().unwrap())).is_ok() {}
        });
        (url, Self(received))
    }

    /// The next one: its `webhook-id`, and its body.
    fn next(&self) -> (String, Value) {
        let (head, body) = self.0.recv_timeout(PATIENCE).expect("a notification in time");
        (header(&head, "webhook-id").to_owned(), serde_json::from_slice(&body).unwrap())
    }
}

fn id() -> String {
    RequestId::generate().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_state_is_told_once_to_each_receiver_over_the_end_of_the_coordinator() {
    let workers = ["w-1", "w-2"].map(|id| FakeWorker::start(Script::named(id)));
    let urls = workers.iter().map(|worker| worker.url.to_string()).collect::<Vec<_>>().join(",");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let store = format!("sqlite:{}", path("incidents.db").display());
    // Two refusals: the chat takes nothing until the coordinator that wrote it is gone.
    let ((chat_url, chat), (own_url, own)) = (Received::start(2), Received::start(0));
    let template = r#"{"text": "{{ title }} {{ link }}", "down": "{{ takes_down | join(' ') }}"}"#;
    let settings = format!(
        "console = \"https://soc.example\"\n\
         [[receiver]]\nname = \"chat\"\nevents = [\"waits_for_approval\", \"ended\", \"not_understood\"]\n\
         url_file = \"chat.url\"\ntemplate = \"chat.json\"\nheader_files = {{ Authorization = \"token\" }}\n\
         [[receiver]]\nname = \"own\"\nevents = [\"action_approved\", \"ended\"]\nurl = \"{own_url}\"\nsecret_file = \"secret\"\n\
         [[receiver]]\nname = \"others\"\nevents = [\"ended\"]\ntenants = [\"another\"]\nurl = \"{own_url}\"\n"
    );
    for (name, text) in [
        ("notify.toml", settings.as_str()),
        ("chat.json", template),
        ("chat.url", &chat_url),
        ("token", "Bearer xyz\n"),
        ("secret", SECRET),
    ] {
        std::fs::write(path(name), text).unwrap();
    }
    let settings = path("notify.toml");
    let flags = ["--notify", settings.to_str().unwrap(), "--allow-local"];

    let mut coordinator = Coordinator::start(&urls, &store, &flags);
    let interactive = PlanOptions { mode: PlanMode::Interactive.into(), max_steps: 2, ..options() };
    let name = coordinator.create(interactive).await;
    coordinator.events(&name, 0, |kind| matches!(kind, Kind::Decided(_))).await;
    let step: PlanStep = coordinator.get(&name).await.plan.unwrap().steps[0].clone();
    let (head, _) = chat.0.recv_timeout(PATIENCE).unwrap();
    let refused = header(&head, "webhook-id").to_owned();
    assert_eq!(refused, format!("{name}/waits_for_approval/0/{}", step.plan_hash));
    assert_eq!(header(&head, "authorization"), "Bearer xyz");
    assert!(!head.to_ascii_lowercase().contains("webhook-signature"), "it shares no secret");
    coordinator.process.signal(Signal::Terminate);
    assert_eq!(coordinator.process.exit_code(Duration::from_secs(30)).await, 0);

    let coordinator = Coordinator::start(&urls, &store, &flags);
    // One more refusal may have come before the first coordinator went.
    let (waits, told) = std::iter::repeat_with(|| chat.next()).nth(1).unwrap();
    assert_eq!(waits, refused, "the same id");
    let chosen = &step.candidates[step.chosen as usize];
    let action = &chosen.action.as_ref().unwrap().text;
    assert_eq!(told["text"], format!("Step 1 waits for approval: {action} https://soc.example/#/{name}"));
    assert_eq!(told["down"], chosen.takes_down.join(" "));

    let approve = ApproveActionRequest {
        name: name.clone(),
        approver: "ann".to_owned(),
        plan_hash: step.plan_hash.clone(),
        request_id: id(),
        ..ApproveActionRequest::default()
    };
    // The incident may be on its way to its new owner still.
    for _ in 0..200 {
        match coordinator.api().approve_action(approve.clone()).await {
            Ok(_) => break,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let (head, body) = own.0.recv_timeout(PATIENCE).unwrap();
    let (approved, timestamp) =
        (header(&head, "webhook-id"), header(&head, "webhook-timestamp").parse().unwrap());
    assert_eq!(header(&head, "webhook-signature"), sign(SECRET.as_bytes(), approved, timestamp, &body));
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&told["event"], &told["approver"]), (&"action_approved".into(), &"ann".into()));
    assert_eq!(
        (&told["action"], &told["plan_hash"]),
        (&action.as_str().into(), &step.plan_hash.as_str().into())
    );

    let cancel = CancelIncidentRequest { name: name.clone(), request_id: id(), validate_only: false };
    coordinator.api().cancel_incident(cancel).await.unwrap();
    let ended = format!("{name}/ended");
    assert_eq!(chat.next().0, ended);
    let (own_id, told) = own.next();
    assert_eq!((own_id, &told["end"]), (ended, &"cancelled".into()));

    let unread = CreateIncidentRequest {
        evidence: Some(Evidence {
            alerts: "qwertz uiop\nasdf ghjkl\n".to_owned(),
            ..create_request(options()).evidence.unwrap()
        }),
        ..create_request(options())
    };
    let unread = coordinator.api().create_incident(unread).await.unwrap().into_inner().incident.unwrap().name;
    let (id, told) = chat.next();
    assert_eq!(id, format!("{unread}/not_understood"));
    assert!(told["text"].as_str().unwrap().starts_with("The evidence was not understood"), "{told}");

    // Nothing else is on its way, to nobody: what was taken is not sent again by a third coordinator.
    let settled = || async {
        let log = coordinator.process.log();
        log.lines().any(|line| line.contains("was taken") && line.contains(&id)).then_some(())
    };
    wait_until("the store knows that it was taken", PATIENCE, settled).await;
    coordinator.kill().await;
    let _coordinator = Coordinator::start(&urls, &store, &flags);
    assert!(chat.0.recv_timeout(Duration::from_secs(2)).is_err());
    assert!(own.0.try_recv().is_err());
}

#[test]
fn what_receivers_would_get_is_printed_without_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.json"), r#"{"text": "{{ title }}"}"#).unwrap();
    let file = folder.path().join("notify.toml");
    let settings = |template: &str| {
        format!(
            "[[receiver]]\nname = \"chat\"\nevents = [\"ended\"]\nurl = \"https://192.0.2.1/\"\ntemplate = \"{template}\"\n"
        )
    };
    let check = |text: String| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_countermove-coordinator"));
        command.arg("--notify-check").arg("--notify").arg(&file).output().unwrap()
    };
    let printed = check(settings("x.json"));
    assert!(printed.status.success(), "{printed:?}");
    let expected = "# chat: ended\n{\n  \"text\": \"Planning ended: recovered\"\n}\n";
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), expected);
    let refused = check(settings("y.json"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("y.json cannot be read"));
}
