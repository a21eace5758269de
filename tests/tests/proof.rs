//! What a person finds out with `countermove incidents verify` and `countermove audit`, at a coordinator that keeps its incidents in
//! a file, signs them and writes its checkpoints down elsewhere.

use std::path::Path;
use std::time::Duration;

use countermove_proto::v1 as api;
use countermove_tests::{Cli, Cluster, ClusterOptions, PlanRun, exclusive, small_options, wait_until};

/// Waits until the anchor's last line is at least this checkpoint, and gives its number.
async fn anchored(path: &Path, least: u64) -> u64 {
    let last = || {
        let text = std::fs::read_to_string(path).ok()?;
        let line: serde_json::Value = serde_json::from_str(text.lines().last()?).ok()?;
        line["number"].as_u64().filter(|number| *number >= least)
    };
    wait_until("a checkpoint is written down", Duration::from_secs(60), || async { last() }).await
}

#[tokio::test]
async fn what_was_done_to_a_store_is_found_out_and_who_did_what_is_known() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (store, anchor) = (path("incidents.db"), path("anchor"));
    let flags = [
        "--store",
        &format!("sqlite:{}", store.display()),
        "--anchor",
        &anchor.display().to_string(),
        "--checkpoint-every",
        "1",
    ];
    let mut cluster = Cluster::start(ClusterOptions {
        workers: 1,
        coordinator_flags: flags.map(str::to_owned).to_vec(),
        ..ClusterOptions::default()
    })
    .await;
    let run = PlanRun::of(&cluster, small_options(3)).await;
    // Something that is refused.
    let approval = api::ApproveActionRequest {
        name: run.incident.name.clone(),
        approver: "mallory".to_owned(),
        plan_hash: "0".repeat(64),
        ..api::ApproveActionRequest::default()
    };
    cluster.incidents().approve_action(approval).await.expect_err("it has ended");
    let first = anchored(&anchor, 1).await;

    let verify = async |cluster: &Cluster, more: &[&str]| {
        Cli::new(&cluster.url, ["incidents", "verify"]).args(more.iter().copied()).run().await
    };
    let with_anchor = ["--anchor", anchor.to_str().expect("a name")];
    let one = verify(&cluster, &[&run.incident.name]).await;
    one.assert_success();
    assert!(one.stdout.contains("all as written") && !one.stdout.contains("signed"), "{}", one.stdout);
    let all = verify(&cluster, &with_anchor).await;
    all.assert_success();
    assert!(all.stdout.starts_with("1 incidents with ") && all.stdout.contains("anchor"), "{}", all.stdout);
    let stranger = verify(&cluster, &["--keys", &"00".repeat(32)]).await;
    assert!(stranger.stderr.contains("none of those that are trusted"), "{}", stranger.stderr);

    let listed = Cli::new(&cluster.url, ["audit", "list", "--json"]).run().await;
    listed.assert_success();
    let entries: Vec<serde_json::Value> =
        listed.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry["method"].as_str(), entry["code"].as_i64(), entry["from"].as_str()))
        .collect();
    let here = Some("127.0.0.1");
    assert_eq!(told, [(Some("CreateIncident"), Some(0), here), (Some("ApproveAction"), Some(9), here)]);
    assert_eq!(
        (&entries[1]["who"], &entries[0]["subject"]),
        (&"mallory".into(), &run.incident.name.clone().into())
    );
    Cli::new(&cluster.url, ["audit", "verify"]).run().await.assert_success();

    // The store as it is now, and more that comes after it.
    cluster.end_coordinator().await;
    let copy = path("copy.db");
    std::fs::copy(&store, &copy).expect("a copy");
    cluster.start_coordinator_again().await;
    PlanRun::of(&cluster, small_options(4)).await;
    anchored(&anchor, first + 1).await;
    verify(&cluster, &with_anchor).await.assert_success();

    // Somebody puts the earlier state in its place. By itself it is whole; what was written down elsewhere says otherwise.
    cluster.end_coordinator().await;
    std::fs::copy(&copy, &store).expect("an earlier state");
    std::fs::remove_file(path("incidents.db.lock")).expect("the lock");
    let noted = path("noted");
    std::fs::copy(&anchor, &noted).expect("what an auditor has");
    cluster.start_coordinator_again().await;
    verify(&cluster, &[]).await.assert_success();
    let found = verify(&cluster, &["--anchor", noted.to_str().expect("a name")]).await;
    assert_ne!(found.code, 0);
    assert!(found.stderr.contains("anchor"), "{}", found.stderr);
}
