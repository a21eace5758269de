//! What large evidence costs: the memory of a restart that reads it again, and the time of others' calls while it is read.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_tests::{
    Postgres, Process, Signal, evidence, lazy_client, long_log, program, quantile, timed_plan_of,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Channel;

use crate::{START, probe, worker};

/// What an incident that waits for a person may take to get there, and one that is taken over to be back.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of the logs that make up the 128 MiB which one incident may hold: what one message carries, and the rest.
const LOGS: [usize; 3] = [60_000_000, 60_000_000, 14_000_000];
/// Bytes of the log of the incident that is taken over.
const LARGE: usize = 22_000_000;
/// Approved actions whose receiver takes the connection and says nothing.
const HANGING: u64 = 10;
/// Logs of 1 MB that are perceived at the same time.
const READERS: u64 = 3;
const MIB: f64 = (1 << 20) as f64;

type Client = IncidentServiceClient<Channel>;

/// Stops and starts a coordinator that has one incident with as much evidence as it may have.
pub(crate) async fn restart() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no folder for the store: {error}"))?;
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let (_worker, workers) = worker(0, 20_000);
    let flags = ["--store", &store, "--workers", &workers];
    let (mut first, url) = coordinator(&flags);
    let mut client = lazy_client(&url);
    let mut bytes = LOGS[0];
    let incident = waiting(&mut client, long_log(0, LOGS[0]), 1).await?;
    for (number, size) in LOGS.into_iter().enumerate().skip(1) {
        let request = api::ReportAlertsRequest {
            name: incident.name.clone(),
            // No line of it was in one before.
            alerts: long_log(number * 400_000, size),
            request_id: uuid::Uuid::now_v7().to_string(),
            ..api::ReportAlertsRequest::default()
        };
        client.report_alerts(request).await.map_err(|status| format!("ReportAlerts: {status}"))?;
        bytes += size;
        approvable(&mut client, &incident.name).await?;
    }
    let before = first.peak_rss().unwrap_or_default();
    first.signal(Signal::Terminate);
    let code = first.exit_code(PATIENCE).await;
    let begun = Instant::now();
    let (second, url) = coordinator(&flags);
    approve(&mut lazy_client(&url), &incident.name).await?;
    let (peak, time) = (second.peak_rss().unwrap_or_default(), begun.elapsed());
    println!("| evidence, MiB | peak before, MiB | exit | peak of the restart, MiB | until it approves, s |");
    println!("|---|---|---|---|---|");
    println!(
        "| {:.1} | {:.0} | {code} | {:.0} | {:.1} |",
        bytes as f64 / MIB,
        before as f64 / MIB,
        peak as f64 / MIB,
        time.as_secs_f64()
    );
    Ok(())
}

/// Asks a coordinator for incidents while it reads three logs of 1 MB at a time, ten deliveries hang, and it takes an incident
/// with 22 MB over from one that was killed. Without PostgreSQL it says so.
pub(crate) async fn answers() -> Result<(), String> {
    let Some(database) = Postgres::start() else { return Ok(()) };
    let fault = |error: std::io::Error| format!("the webhook's receiver: {error}");
    let silent = TcpListener::bind("127.0.0.1:0").await.map_err(fault)?;
    let hook = format!("http://{}/hook", silent.local_addr().map_err(fault)?);
    let folder = tempfile::tempdir().map_err(fault)?;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef".repeat(4)).map_err(fault)?;
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).map_err(fault)?;
    let workers = [worker(0, 20_000), worker(1, 20_000)];
    let (store, secret) = (database.url(), secret.display().to_string());
    let urls = format!("{},{}", workers[0].1, workers[1].1);
    let flags = [
        "--store",
        &store,
        "--lease",
        "3",
        "--workers",
        &urls,
        "--allow-local",
        "--webhook",
        &hook,
        "--webhook-secret",
        &secret,
    ];
    let (survivor, url) = coordinator(&flags);
    let (victim, other) = coordinator(&flags);
    let mut client = lazy_client(&url);
    let large = waiting(&mut lazy_client(&other), long_log(0, LARGE), 1).await?;
    for seed in 0..HANGING {
        let incident = waiting(&mut client, countermove_tests::alerts(), seed).await?;
        approve(&mut client, &incident.name).await?;
    }
    println!("| meanwhile | calls of GetIncident | p50 ms | p99 ms | longest ms |\n|---|---|---|---|---|");
    let ((), calls) = probed(&url, tokio::time::sleep(Duration::from_secs(10))).await;
    print("ten deliveries hang", calls);

    let begun = Instant::now();
    let work = async {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let readers: Vec<_> = (0..READERS)
            .map(|seed| tokio::spawn(read_logs(lazy_client(&url), seed, stopped.clone())))
            .collect();
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(victim);
        let adopted = approve(&mut client, &large.name).await.map(|()| begun.elapsed());
        stop.send_replace(true);
        let mut read = 0;
        for reader in readers {
            read += reader.await.map_err(|error| error.to_string())??;
        }
        Ok::<_, String>((adopted?, read))
    };
    let (done, calls) = probed(&url, Box::pin(work)).await;
    let (adopted, read) = done?;
    let what = format!(
        "the same, {READERS} logs of 1 MB at a time ({read} in all) and an incident of 22 MB taken over ({:.1} s after the kill)",
        adopted.as_secs_f64() - 2.0
    );
    print(&what, calls);
    println!("\npeak of the coordinator: {:.0} MiB", survivor.peak_rss().unwrap_or_default() as f64 / MIB);
    Ok(())
}

fn print(what: &str, mut calls: Vec<Duration>) {
    calls.sort_unstable();
    let ms = |part: f64| quantile(&calls, part).as_secs_f64() * 1000.0;
    println!("| {what} | {} | {:.1} | {:.1} | {:.1} |", calls.len(), ms(0.5), ms(0.99), ms(1.0));
}

/// What something comes to, and the times of calls made as long as it lasts.
async fn probed<T>(url: &str, lasts: impl Future<Output = T>) -> (T, Vec<Duration>) {
    let (stop, stopped) = oneshot::channel();
    let probe = tokio::spawn(probe(lazy_client(url), stopped));
    let outcome = lasts.await;
    drop(stop);
    (outcome, probe.await.unwrap_or_default())
}

/// Plans one incident with a log of 1 MB after the other until it is told to stop. Gives how many.
async fn read_logs(
    client: Client,
    seed: u64,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> Result<u64, String> {
    let mut read = 0;
    while !*stopped.borrow() {
        let mut evidence = evidence();
        evidence.alerts = failed_logins();
        timed_plan_of(client.clone(), evidence, seed * 1000 + read).await?;
        read += 1;
    }
    Ok(read)
}

/// 10,000 logins that failed.
fn failed_logins() -> String {
    let line = |number: u32| {
        let (minute, second, port) = (number / 60 % 60, number % 60, 1024 + number);
        format!(
            "Mar 14 09:{minute:02}:{second:02} web01 sshd[{number}]: Failed password for root from 203.0.113.7 port {port} ssh2\n"
        )
    };
    (0..10_000).map(line).collect()
}

fn coordinator(flags: &[&str]) -> (Process, String) {
    let mut command = Command::new(program("countermove-coordinator"));
    command.args(["--listen", "127.0.0.1:0"]).args(flags).env("RUST_LOG", "warn");
    let mut process = Process::start("coordinator", &mut command);
    let url = format!("http://{}", process.address(START));
    (process, url)
}

/// Creates an incident that waits for a person, and gives it when it does.
async fn waiting(client: &mut Client, alerts: String, seed: u64) -> Result<api::Incident, String> {
    let mut evidence = evidence();
    evidence.alerts = alerts;
    let options = api::PlanOptions {
        seed: Some(seed),
        max_steps: 3,
        max_depth: 5,
        mode: api::PlanMode::Interactive.into(),
        ..api::PlanOptions::default()
    };
    let request = api::CreateIncidentRequest {
        evidence: Some(evidence),
        options: Some(options),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..api::CreateIncidentRequest::default()
    };
    let created =
        client.create_incident(request).await.map_err(|status| format!("CreateIncident: {status}"))?;
    let name = created.into_inner().incident.ok_or("CreateIncident gave no incident")?.name;
    approvable(client, &name).await
}

/// The incident as soon as it waits for an approval.
async fn approvable(client: &mut Client, name: &str) -> Result<api::Incident, String> {
    let until = Instant::now() + PATIENCE;
    let mut last = String::new();
    while Instant::now() < until {
        match client.get_incident(api::GetIncidentRequest { name: name.to_owned() }).await {
            Ok(answer) => {
                let incident = answer.into_inner().incident.ok_or("GetIncident gave no incident")?;
                match incident.status() {
                    api::IncidentStatus::AwaitingApproval => return Ok(incident),
                    api::IncidentStatus::Ended => return Err(format!("{name} ended: {}", incident.error)),
                    status => last = format!("{status:?}"),
                }
            }
            Err(status) => last = status.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(format!("{name} does not wait for an approval: {last}"))
}

/// Approves the step that waits, as soon as the incident's owner takes it.
async fn approve(client: &mut Client, name: &str) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let incident = approvable(client, name).await?;
        let step = incident.plan.as_ref().and_then(|plan| plan.steps.last()).ok_or("there is no step")?;
        let request = api::ApproveActionRequest {
            name: name.to_owned(),
            step: step.index,
            plan_hash: step.plan_hash.clone(),
            approver: "bench".to_owned(),
            request_id: uuid::Uuid::now_v7().to_string(),
            ..api::ApproveActionRequest::default()
        };
        match client.approve_action(request).await {
            Ok(_) => return Ok(()),
            Err(status) if Instant::now() > until => return Err(format!("ApproveAction: {status}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
