//! A plan from end to end, over gRPC, between real processes, with the real default model.

use std::time::Duration;

use countermove_proto::v1 as api;
use countermove_tests::{
    Cli, Cluster, PlanRun, exclusive, fingerprint, incident_folder, repository, small_options,
};
use serde_json::Value;

/// Memory that a coordinator may take: it holds no weights.
const COORDINATOR_BYTES: u64 = 200 << 20;
/// Memory that a worker with the default model may take.
const WORKER_BYTES: u64 = 1 << 30;

fn assert_valid(document: &Value) {
    let path = repository().join("docs/plan.schema.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let schema: Value = serde_json::from_slice(&text).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a JSON Schema");
    let faults: Vec<String> =
        validator.iter_errors(document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "the plan breaks its schema: {faults:#?}\n{document:#}");
    // A schema that takes everything would prove nothing.
    assert!(!validator.is_valid(&serde_json::json!({})), "the schema takes an empty document");
}

#[tokio::test]
async fn a_plan_over_two_workers_is_whole_and_valid() {
    let _turn = exclusive();
    let cluster = Cluster::of(2).await;
    let options = api::PlanOptions { max_steps: 2, ..small_options(11) };
    let run = PlanRun::of(&cluster, options).await;

    assert_eq!(run.incident.error, "");
    // The default model is small: after the first step it may have nothing new to propose.
    assert!(
        matches!(run.end(), api::PlanEnd::Recovered | api::PlanEnd::StepLimit | api::PlanEnd::NoCandidate),
        "planning ended for a good reason: {:?}",
        run.incident
    );
    assert_eq!(run.incident.status(), api::IncidentStatus::Ended);
    let plan = run.incident.plan.clone().unwrap_or_default();
    assert!(!plan.steps.is_empty(), "the plan has steps");
    for step in &plan.steps {
        assert!((1..=2).contains(&step.candidates.len()), "a step has one to N candidates: {step:#?}");
        assert!((step.chosen as usize) < step.candidates.len(), "the choice is one of them: {step:#?}");
        assert!(!step.reason.is_empty(), "the choice has a reason: {step:#?}");
        for candidate in &step.candidates {
            let cost = candidate.cost.unwrap_or_default();
            assert_eq!(
                cost.terminal + cost.truncated + cost.malformed + cost.cancelled,
                3,
                "every rollout is counted, once: {candidate:#?}"
            );
            assert_eq!(
                cost.mean.is_some(),
                cost.terminal > 0,
                "only terminal rollouts have a mean: {candidate:#?}"
            );
        }
    }
    let expected: usize = plan.steps.iter().map(|step| step.candidates.len() * 3).sum();
    assert_eq!(run.rollouts().count(), expected, "each rollout is reported once");
    assert_eq!(run.workers().len(), 2, "both workers took part");
    assert_valid(&run.document);

    let coordinator = cluster.coordinator.peak_rss().expect("the coordinator runs");
    assert!(
        coordinator < COORDINATOR_BYTES,
        "the coordinator holds no weights, but took {coordinator} bytes"
    );
    eprintln!(
        "plan of {} step(s) after {:.1?}; coordinator {} MiB",
        plan.steps.len(),
        run.elapsed,
        coordinator >> 20
    );
    for worker in &cluster.workers {
        let bytes = worker.process.peak_rss().expect("the worker runs");
        eprintln!("{} {} MiB", worker.id, bytes >> 20);
        assert!(bytes < WORKER_BYTES, "{} took {bytes} bytes", worker.id);
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_plan_on_one_worker_and_on_two() {
    let _turn = exclusive();
    let (one, other_seed) = {
        let cluster = Cluster::of(1).await;
        (PlanRun::of(&cluster, small_options(42)).await, PlanRun::of(&cluster, small_options(43)).await)
    };
    let two = {
        let cluster = Cluster::of(2).await;
        PlanRun::of(&cluster, small_options(42)).await
    };
    assert_eq!(fingerprint(&one), fingerprint(&two), "the number of workers changes nothing but the time");
    assert_ne!(
        fingerprint(&one),
        fingerprint(&other_seed),
        "another seed gives another plan, else this test would compare nothing"
    );
}

#[tokio::test]
async fn the_command_plans_an_incident_folder_and_prints_valid_json() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let folder = incident_folder();
    let output =
        Cli::new(&cluster.url, ["plan", "--json", "--seed", "7", "--candidates", "2", "--rollouts", "2"])
            .arg("--incident")
            .arg(&folder)
            .args(["--depth", "2", "--steps", "1", "--thinking-tokens", "0"])
            .run()
            .await;
    output.assert_planned();
    let document: Value = serde_json::from_str(&output.stdout).expect("standard output is one JSON document");
    assert_valid(&document);
    cluster.wait_until_idle(Duration::from_secs(10)).await;

    let output = Cli::new(&cluster.url, ["workers", "list"]).run().await;
    output.assert_success();
    assert!(output.stdout.contains("test-worker-0"), "the list names the worker: {output:#?}");
}

#[tokio::test]
async fn what_the_organisation_cannot_do_is_in_no_plan_and_how_it_does_the_rest_is() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let folder = incident_folder();
    let table = tempfile::NamedTempFile::new().expect("a file");
    let text = "other = { work = 30 }\n\
        [[response]]\ndoes = \"contain\"\nto = \"host\"\nexcept = [\"172.16.0.0/12\"]\n\
        [[response]]\ndoes = \"contain\"\nto = \"address\"\nworks = 0.9\nby = \"the firewall team\"\n\
        command = \"fw block {target}\"\nundo = \"fw allow {target}\"\n";
    std::fs::write(table.path(), text).expect("it is written");
    let output = Cli::new(&cluster.url, ["plan", "--json", "--seed", "7", "--thinking-tokens", "0"])
        .args(["--candidates", "2", "--rollouts", "4", "--costs"])
        .arg(table.path())
        .arg("--incident")
        .arg(&folder)
        .run()
        .await;
    output.assert_planned();
    let document: Value = serde_json::from_str(&output.stdout).expect("standard output is one JSON document");
    assert_valid(&document);
    let steps = document["steps"].as_array().expect("steps");
    let candidates = || steps.iter().flat_map(|step| step["candidates"].as_array().into_iter().flatten());
    let texts: Vec<&str> = candidates().filter_map(|one| one["action"]["text"].as_str()).collect();
    assert!(!texts.iter().any(|text| text.contains("solate")), "no host can be isolated: {texts:?}");
    let orders: Vec<&Value> =
        candidates().flat_map(|one| one["orders"].as_array().into_iter().flatten()).collect();
    assert!(!orders.is_empty(), "the attacker is blocked: {texts:?}");
    for order in orders {
        let target = order["target"].as_str().unwrap_or_default();
        assert_eq!(order["command"], format!("fw block {target}"));
        assert_eq!((&order["kind"], &order["by"]), (&"contain".into(), &"the firewall team".into()));
    }
    let rejected = steps.iter().flat_map(|step| step["rejected"].as_array().into_iter().flatten());
    let reasons: Vec<&str> = rejected.filter_map(|one| one["reason"].as_str()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("cannot be done")), "{reasons:?}");
}
