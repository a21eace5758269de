//! TLS between real processes: who is taken, who is not, and what happens when certificates change.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use countermove_proto::v1 as api;
use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::worker::v1::GetModelRequest;
use countermove_proto::worker::v1::worker_service_client::WorkerServiceClient;
use countermove_tests::secured::{channel, coordinator, dial, start, worker};
use countermove_tests::{Authority, Cli, Holder, Process, program, timed_plan, wait_until};
use tokio::io::AsyncReadExt;
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(120);

async fn workers(channel: Channel) -> Vec<api::Worker> {
    let request = api::ListWorkersRequest { page_size: 100, page_token: String::new() };
    let answer = ClusterServiceClient::new(channel).list_workers(request).await;
    answer.map(|answer| answer.into_inner().workers).unwrap_or_default()
}

async fn until_ready(channel: &Channel) {
    wait_until("the worker is ready", PATIENCE, || async {
        let found = workers(channel.clone()).await;
        found.iter().any(|worker| worker.status() == api::WorkerStatus::Ready).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_certificates_of_the_cli_make_a_cluster_that_plans() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("certs");
    let (out_text, path) = (out.to_str().unwrap(), |name: &str| out.join(name).display().to_string());
    Cli::new("http://127.0.0.1:9", ["certs", "--out", out_text]).run().await.assert_success();
    let flags = |name: &str, more: &[&str]| -> Vec<String> {
        let own = [path(&format!("{name}.pem")), path(&format!("{name}.key")), path("ca.pem")];
        let named = ["--tls-cert", "--tls-key", "--tls-ca"].map(str::to_owned).into_iter().zip(own);
        named
            .flat_map(|(flag, value)| [flag, value])
            .chain(more.iter().map(|flag| (*flag).to_owned()))
            .collect()
    };
    let worker = start("worker", "countermove-worker", "https", &flags("worker", &["--simulate", "100000"]));
    let more = ["--workers", &worker.url, "--store", "memory:"];
    let coordinator = start("coordinator", "countermove-coordinator", "https", &flags("coordinator", &more));
    let ca = path("ca.pem");
    until_ready(&channel(&dial(Some(Path::new(&ca)), None), &coordinator.url)).await;

    let listed = Cli::new(&coordinator.url, ["workers", "list", "--ca", &ca]).run().await;
    listed.assert_success();
    assert!(listed.stdout.contains(&worker.url), "{listed:?}");
    let incident = countermove_tests::incident_folder();
    let plan = ["plan", "--steps", "1", "--ca", &ca, "--incident", incident.to_str().unwrap()];
    Cli::new(&coordinator.url, plan).run().await.assert_planned();

    let stranger = Cli::new(&coordinator.url, ["workers", "list"]).run().await;
    stranger.assert_refused(&["cannot be reached", "certificate"]);
    let plain = coordinator.url.replace("https", "http");
    Cli::new(&plain, ["workers", "list"]).run().await.assert_refused(&[]);
}

#[tokio::test]
async fn a_worker_serves_coordinators_alone() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let served = worker(&authority, &authority.issue("worker", "worker/w-1"), &[]);
    let ask = async |own: Option<&Holder>, url: &str| {
        let channel = channel(&dial(Some(&authority.ca()), own), url);
        let answer = WorkerServiceClient::new(channel).get_model(GetModelRequest {}).await;
        answer.map(|answer| answer.into_inner().worker_id).map_err(|status| status.to_string())
    };
    let refused = [
        ("no certificate", None),
        ("a user's", Some(authority.issue("user", "user/ann"))),
        ("another worker's", Some(authority.issue("worker-2", "worker/w-2"))),
        ("one of another authority", Some(stranger.issue("coordinator", "coordinator/a"))),
        ("one that has expired", Some(authority.issue_expired("expired", "coordinator/a"))),
        ("one by its common name", Some(authority.issue_by_common_name("by-name"))),
    ];
    for (what, holder) in &refused {
        let answer = ask(holder.as_ref(), &served.url).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    let right = authority.issue("coordinator", "coordinator/a");
    assert_eq!(ask(Some(&right), &served.url).await.as_deref(), Ok("w-1"));
    let plain = ask(None, &served.url.replace("https", "http")).await;
    assert!(plain.is_err(), "plain text is not served: {plain:?}");
    println!("{} wrong callers of a worker, {} refused", refused.len() + 1, refused.len() + 1);
}

#[tokio::test]
async fn a_certificate_that_was_revoked_is_refused_without_a_restart() {
    let authority = Authority::new();
    let list = authority.revoke(&[]);
    let crl = ["--tls-crl", list.to_str().unwrap()];
    let served = worker(&authority, &authority.issue("worker", "worker/w-1"), &crl);
    let [stolen, right] =
        ["stolen", "right"].map(|name| authority.issue(name, &format!("coordinator/{name}")));
    let ask = async |own: &Holder| {
        let channel = channel(&dial(Some(&authority.ca()), Some(own)), &served.url);
        let answer = WorkerServiceClient::new(channel).get_model(GetModelRequest {}).await;
        answer.map(|answer| answer.into_inner().worker_id).map_err(|status| status.to_string())
    };
    assert_eq!(ask(&stolen).await.as_deref(), Ok("w-1"));
    authority.revoke(&[&stolen]);
    wait_until("the list is read", PATIENCE, || async { ask(&stolen).await.err() }).await;
    assert_eq!(ask(&right).await.as_deref(), Ok("w-1"), "others go on");
    let without = Process::start(
        "worker",
        Command::new(program("countermove-worker"))
            .args(["--listen", "127.0.0.1:0", "--simulate", "1"])
            .args(authority.flags(&right))
            .args(["--tls-crl", "/nonexistent/crl.pem"]),
    )
    .exit_code(PATIENCE)
    .await;
    assert_eq!(without, 2, "a list that is named has to be there");
}

#[tokio::test]
async fn a_coordinator_takes_nobody_else_for_a_worker() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    // Three that listen where workers should be: a coordinator, a worker of another cluster, and a right one.
    let other =
        coordinator(&authority, &authority.issue("c-2", "coordinator/c-2"), "https://127.0.0.1:9", &[]);
    let foreign = worker(&stranger, &stranger.issue("worker", "worker/w-1"), &[]);
    let right = worker(&authority, &authority.issue("worker", "worker/w-1"), &[]);
    let urls = [&other.url, &foreign.url, &right.url].map(String::as_str).join(",");
    let served = coordinator(&authority, &authority.issue("c-1", "coordinator/c-1"), &urls, &[]);
    let channel = channel(&dial(Some(&authority.ca()), None), &served.url);
    until_ready(&channel).await;
    wait_until("contact with the others fails", PATIENCE, || async {
        let found = workers(channel.clone()).await;
        let failed = found.iter().filter(|worker| worker.status_reason.contains("certificate")).count();
        (failed == 2).then_some(())
    })
    .await;
    let ready: Vec<String> = workers(channel)
        .await
        .into_iter()
        .filter(|worker| worker.status() == api::WorkerStatus::Ready)
        .map(|worker| worker.address)
        .collect();
    assert_eq!(ready, std::slice::from_ref(&right.url));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_and_no_plan_fails() {
    let authority = Authority::new();
    let (worker_holder, own) = ("worker", "coordinator");
    let age = ["--max-connection-age", "6"];
    let served = worker(&authority, &authority.issue(worker_holder, "worker/w-1"), &age);
    let front = coordinator(&authority, &authority.issue(own, "coordinator/c-1"), &served.url, &age);
    let dial = dial(Some(&authority.ca()), None);
    let first = channel(&dial, &front.url);
    until_ready(&first).await;

    let (stop, planned) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4_u64)
        .map(|lane| {
            let (stop, planned) = (Arc::clone(&stop), Arc::clone(&planned));
            let (dial, url) = (dial.clone(), front.url.clone());
            tokio::spawn(async move {
                for seed in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // A connection for each plan, as a command has it.
                    let client = IncidentServiceClient::new(channel(&dial, &url));
                    timed_plan(client, 1000 * lane + seed)
                        .await
                        .unwrap_or_else(|error| panic!("a plan failed: {error}"));
                    planned.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let renewed = |process: &Process| process.log().matches("new certificates are in use").count();
    for round in 1..=3 {
        authority.issue(worker_holder, "worker/w-1");
        authority.issue(own, "coordinator/c-1");
        wait_until("the new certificates are in use", PATIENCE, || async {
            (renewed(&served.process) >= round && renewed(&front.process) >= round).then_some(())
        })
        .await;
        let so_far = planned.load(Ordering::Relaxed);
        wait_until("planning goes on", PATIENCE, || async {
            (planned.load(Ordering::Relaxed) >= so_far + 4).then_some(())
        })
        .await;
    }
    // A bad file is said and changes nothing.
    std::fs::write(authority.issue("bad", "worker/w-1").cert.with_file_name("worker.pem"), "nonsense")
        .unwrap();
    wait_until("the bad file is seen", PATIENCE, || async {
        served.process.log().contains("the old ones stay in use").then_some(())
    })
    .await;
    let so_far = planned.load(Ordering::Relaxed);
    wait_until("planning goes on", PATIENCE, || async {
        (planned.load(Ordering::Relaxed) >= so_far + 8).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for lane in load {
        lane.await.unwrap();
    }
    let planned = planned.load(Ordering::Relaxed);
    println!("3 renewals of both certificates and one bad file under load: {planned} plans, 0 failed");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_hung_up_on_and_holds_up_nobody() {
    let authority = Authority::new();
    let front = coordinator(&authority, &authority.issue("c", "coordinator/c"), "https://127.0.0.1:9", &[]);
    let address = front.url.trim_start_matches("https://").to_owned();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    let channel = channel(&dial(Some(&authority.ca()), None), &front.url);
    assert_eq!(workers(channel).await.len(), 1, "others are answered meanwhile");
    for mut socket in silent {
        let mut byte = [0];
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut byte)).await.expect("it is hung up on");
        assert!(!matches!(read, Ok(1)), "nothing is said to it");
    }
}

#[tokio::test]
async fn plain_text_beyond_this_machine_is_refused_or_warned_of() {
    let run = |name: &str, flags: &[&str]| Command::new(program(name)).args(flags).output().unwrap();
    let open = ["--listen", "0.0.0.0:0"];
    for (name, more) in [
        ("countermove-worker", ["--simulate", "1000"]),
        ("countermove-coordinator", ["--workers", "http://127.0.0.1:9"]),
    ] {
        let refused = run(name, &[&open[..], &more].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("--insecure") && said.contains("--tls-cert"), "{said}");
    }
    let far = run("countermove-coordinator", &["--workers", "http://10.0.0.1:7701", "--store", "memory:"]);
    assert_eq!(far.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&far.stderr).contains("plain text"), "{far:?}");
    let half = run("countermove-worker", &["--simulate", "1000", "--tls-cert", "a", "--tls-key", "b"]);
    assert_eq!(half.status.code(), Some(2));

    let flags = ["--simulate", "1000", "--insecure"].map(str::to_owned);
    let mut command = Command::new(program("countermove-worker"));
    let mut warned = Process::start("worker", command.args(open).args(flags));
    warned.address(PATIENCE);
    wait_until("it warns", PATIENCE, || async {
        (warned.log().contains("WARN") && warned.log().contains("--insecure")).then_some(())
    })
    .await;
}
