//! `countermove watch` at a terminal, as an operator sees it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use countermove_proto::v1::{GetIncidentRequest, Incident, IncidentStatus};
use countermove_tests::{
    AtTerminal, Cli, Cluster, ClusterOptions, Process, Signal, exclusive, incident_folder, program,
};

async fn get(cluster: &Cluster, name: &str) -> Incident {
    let request = GetIncidentRequest { name: name.to_owned() };
    cluster.incidents().get_incident(request).await.unwrap().into_inner().incident.unwrap()
}

#[tokio::test]
async fn an_operator_approves_what_is_seen_and_the_terminal_is_as_it_was() {
    let _turn = exclusive();
    // Which actions are proposed is of no importance here, so the worker throws dice and is fast.
    let mut command = Command::new(program("countermove-worker"));
    command.args(["--listen", "127.0.0.1:0", "--simulate", "100000"]);
    let mut worker = Process::start("worker", &mut command);
    let other_workers = vec![format!("http://{}", worker.address(Duration::from_secs(60)))];
    let mut cluster = Cluster::start(ClusterOptions { other_workers, ..ClusterOptions::default() }).await;
    let plan =
        Cli::new(&cluster.url, ["plan", "--interactive", "--detach", "--seed", "5", "--candidates", "2"])
            .args(["--rollouts", "1", "--quiet", "--incident"])
            .arg(incident_folder())
            .run()
            .await;
    let name = plan.stdout.trim();
    assert_eq!(plan.code, 0, "{}", plan.stderr);

    let mut watch = AtTerminal::start(Cli::new(&cluster.url, ["watch", "--as", "ann"]).command(), 80, 24);
    watch.wait_for(&["1 waits for you", "Waits for a decision", "takes"]).await;
    watch.type_in("\r");
    watch.wait_for(&["RECOVERY", "STEP 1  waits for a decision"]).await;
    watch.type_in("a");
    let dialog = watch.wait_for(&["Approve", "approver     ann", "of its hash ["]).await;
    let code = dialog.split("of its hash [").nth(1).and_then(|rest| rest.get(..4)).unwrap().to_owned();
    let step = get(&cluster, name).await.plan.unwrap().steps.pop().unwrap();
    assert!(step.plan_hash.starts_with(&code), "{code} of {}", step.plan_hash);
    // Other digits approve nothing.
    let other: String = code.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    watch.type_in(&format!("{other}\r"));
    watch.wait_for(&["nothing was approved"]).await;
    assert_eq!(get(&cluster, name).await.status(), IncidentStatus::AwaitingApproval);
    watch.type_in(&format!("\u{7f}\u{7f}\u{7f}\u{7f}{code}\r"));
    watch.wait_for(&["approved: ", "is approved: carry it out"]).await;
    let approved = get(&cluster, name).await;
    assert_eq!(approved.status(), IncidentStatus::AwaitingOutcome);
    let decision = approved.decisions.last().unwrap();
    assert_eq!((decision.by.as_str(), &decision.plan_hash), ("ann", &step.plan_hash));
    watch.type_in("q");
    watch.wait_for(&["Waits for an outcome"]).await;
    watch.type_in("q");
    assert_eq!(watch.end().await, 0);

    // What goes away is told, and a signal ends it as a key does.
    let watch = AtTerminal::start(Cli::new(&cluster.url, ["watch", name]).command(), 100, 30);
    watch.wait_for(&["STEP 1  is approved", "report-outcome"]).await;
    cluster.coordinator.signal(Signal::Kill);
    watch.wait_for(&["CONNECTION LOST", "trying again in", "STEP 1  is approved"]).await;
    watch.terminate();
    assert_eq!(watch.end().await, 130);
}

#[tokio::test]
async fn where_there_is_no_terminal_it_names_what_prints() {
    let told = Cli::new("http://127.0.0.1:9", ["watch"]).run().await;
    assert_eq!(told.code, 2);
    told.assert_refused(&["draws on a terminal", "incidents list", "incidents get"]);
}
