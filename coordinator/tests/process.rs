//! The process: its flags, its one line of output, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use countermove_proto::v1::{PlanEnd, WatchIncidentRequest, WorkerStatus};
use support::cluster::{create_request, options};
use support::worker::{FakeWorker, Script};

fn coordinator(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countermove-coordinator"));
    command.args(["--listen", "127.0.0.1:0"]).env("COUNTERMOVE_STORE", "memory:").args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running process, and the address that it printed.
fn start(flags: &[&str]) -> (Child, String) {
    let mut child = coordinator(flags).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening on ").expect("the line").to_owned();
    (child, address)
}

/// Waits for the end, at most ten seconds, and gives exit code, remaining output and log.
fn end(mut child: Child) -> (Option<i32>, String, String) {
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (mut output, mut log) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (status.code(), output, log)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn it_prints_one_line_and_ends_on_a_signal() {
    for name in ["-TERM", "-INT"] {
        let (child, address) = start(&["--workers", "http://127.0.0.1:9"]);
        assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{address}");
        signal(&child, name);
        let (code, output, log) = end(child);
        assert_eq!((code, output.as_str()), (Some(0), ""), "{log}");
    }
}

#[test]
fn it_ends_with_its_parent_if_asked() {
    let (mut child, _) = start(&["--workers", "http://127.0.0.1:9", "--exit-with-parent"]);
    drop(child.stdin.take());
    assert_eq!(end(child).0, Some(0));
}

#[test]
fn what_it_cannot_use_is_said_in_a_sentence() {
    let run = |flags: &[&str]| -> Output { coordinator(flags).output().unwrap() };
    for (flags, code, part) in [
        (&[][..], 2, "--workers"),
        (&["--workers", "ftp://a:1"], 2, "http://"),
        (&["--workers", "https://127.0.0.1:1"], 2, "--tls-cert"),
        (&["--workers", "http://a:1"], 2, "plain text"),
        (&["--workers", "http://127.0.0.1:1", "--templates", "no/such/folder"], 2, "no/such/folder"),
        (&["--workers", "http://127.0.0.1:1", "--model-sha256", "x"], 2, "hexadecimal"),
    ] {
        let output = run(flags);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {log}");
        assert!(log.contains(part) && output.stdout.is_empty(), "{flags:?}: {log}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countermove-coordinator"));
    command.env("COUNTERMOVE_STORE", "memory:");
    let output = command.args(["--listen", &address, "--workers", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be listened on"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_plans_and_notices_a_frozen_worker() {
    use countermove_proto::v1::ListWorkersRequest;
    use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
    use countermove_proto::v1::incident_event::Kind;
    use countermove_proto::v1::incident_service_client::IncidentServiceClient;
    use countermove_proto::v1::watch_incident_response::Update;

    let workers = [FakeWorker::start(Script::named("w-1")), FakeWorker::start(Script::named("w-2"))];
    let urls = format!("{},{}", workers[0].url, workers[1].url);
    let (child, address) = start(&["--workers", &urls, "--keep-alive-timeout", "1"]);
    let url = format!("http://{address}");
    let mut cluster = ClusterServiceClient::connect(url.clone()).await.unwrap();
    let mut statuses = async || -> Vec<WorkerStatus> {
        let listed = cluster.list_workers(ListWorkersRequest::default()).await.unwrap().into_inner();
        listed.workers.iter().map(|worker| worker.status()).collect()
    };
    let begun = Instant::now();
    while statuses().await != [WorkerStatus::Ready; 2] {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let thaw = workers[0].freeze();
    let mut api = IncidentServiceClient::connect(url).await.unwrap();
    let created = api.create_incident(create_request(options())).await.unwrap().into_inner();
    let request = WatchIncidentRequest { name: created.incident.unwrap().name, resume_after: 0 };
    let mut updates = api.watch_incident(request).await.unwrap().into_inner();
    let mut ended = None;
    while let Some(update) = updates.message().await.unwrap() {
        if let Some(Update::Event(event)) = update.update
            && let Some(Kind::Ended(end)) = event.kind
        {
            ended = Some(end);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let ended = ended.unwrap();
    assert_ne!(ended.end(), PlanEnd::Failed, "{}", ended.error);
    assert!(statuses().await.contains(&WorkerStatus::Lost));
    drop(thaw);
    signal(&child, "-TERM");
    let (code, output, log) = end(child);
    assert_eq!((code, output.as_str()), (Some(0), ""), "{log}");
}
