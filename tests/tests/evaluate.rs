//! `countermove-lab evaluate` against a cluster: plays, compares, writes; and says what is wrong before it plays.

use std::fs;

use countermove_tests::{Cli, Cluster, exclusive};
use serde_json::Value;

#[tokio::test]
async fn an_evaluation_plays_compares_and_writes() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (page, chart) = (folder.path().join("page.md"), folder.path().join("chart.svg"));
    let episodes = folder.path().join("episodes.jsonl");
    fs::write(&page, "# Figures\n<!-- begin simulated -->\n<!-- end simulated -->\n").expect("a page");
    let output =
        Cli::lab(&cluster.url, ["evaluate", "--suite", "simulated", "--incidents", "2", "--seeds", "1"])
            .args(["--candidates", "2", "--rollouts", "1", "--depth", "1", "--steps", "1", "--json"])
            .args(["--ablate", "planning", "--baseline", "random,playbook,greedy", "--write"])
            .arg(&page)
            .arg("--chart")
            .arg(&chart)
            .arg("--episodes")
            .arg(&episodes)
            .run()
            .await;
    assert_eq!(output.code, 0, "{output:?}");
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&report["scenarios"], &report["failures"]), (&2.into(), &0.into()), "{report:#}");
    for name in [
        "recovery_cost",
        "recovered_share",
        "superfluous_actions",
        "false_containment",
        "hallucinated_entities",
        "constraint_violations",
        "injections_obeyed",
        "false_alarms",
        "oracle_cost",
        "state_exact_match",
        "state_micro_f1",
        "state_macro_f1",
        "tactic_micro_f1",
        "alert_pair_precision",
        "alert_pair_recall",
        "tokens",
        "rollouts",
        "seconds",
    ] {
        let figure = report.get(name).unwrap_or_else(|| panic!("no {name}: {report:#}"));
        assert!(figure.is_null() || figure["mean"].is_f64(), "{name}: {figure}");
    }
    assert!(report["seconds"]["mean"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(report["tokens"]["mean"].as_f64().is_some_and(|tokens| tokens > 0.0));
    assert!(report["ablations"]["without planning"]["seconds"]["mean"].is_f64());
    for baseline in ["random", "playbook", "greedy"] {
        assert_eq!(report["baselines"][baseline]["scenarios"], 2);
    }
    let effort = report["settings"]["effort"].as_str().unwrap_or_default();
    assert!(
        effort.starts_with("2 candidates, 1 rollouts of each, 1 actions deep, 1 actions in a plan"),
        "{effort}"
    );
    let episodes = fs::read_to_string(&episodes).expect("the episodes");
    let episodes: Vec<Value> =
        episodes.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let of = |player: &str| episodes.iter().filter(|episode| episode["player"] == player).count();
    assert_eq!((of("countermove"), of("without planning"), of("greedy"), episodes.len()), (2, 2, 2, 10));
    let page = fs::read_to_string(&page).expect("the page");
    assert!(page.contains("| incidents recovered from (of all incidents)"), "{page}");
    assert!(fs::read_to_string(&chart).expect("the chart").starts_with("<svg"));
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_refused_before_anything_is_played() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(path("empty")).expect("a folder");
    fs::create_dir_all(path("suite/one")).expect("a folder");
    fs::write(path("suite/one/truth.json"), "{\"name\": \"one\", \"seed\": \"x\"}").expect("a file");
    fs::create_dir_all(path("data/opensec")).expect("a folder");
    fs::create_dir_all(path("data/incidents/one")).expect("a folder");
    fs::write(path("data/incidents/one/incident.txt"), "Nothing was found.").expect("a file");
    fs::write(path("data/incidents/one/system.txt"), "A server.").expect("a file");
    fs::write(path("data/incidents/one/alerts.log"), "a line\n").expect("a file");
    fs::write(path("page.md"), "nothing").expect("a file");
    // Nobody listens there: what is refused is refused without asking anybody.
    let refused = async |flags: &[&str], parts: &[&str]| {
        Cli::lab("http://127.0.0.1:9", ["evaluate", "--suite"]).args(flags).run().await.assert_refused(parts);
    };
    refused(&["nowhere"], &["nowhere", "simulated", "real", "opensec"]).await;
    refused(&[&path("empty")], &["empty", "holds no scenario"]).await;
    refused(&[&path("suite")], &["truth.json", "seed"]).await;
    refused(&["real", "--data", &path("data")], &["incident.txt", "systems", "no line begins with"]).await;
    refused(&["opensec", "--data", &path("data")], &["opensec", "holds no OpenSec scenario"]).await;
    refused(&["simulated", "--data", &path("data")], &["classification.config"]).await;
    refused(&["real", "--write", &path("page.md")], &["page.md", "<!-- begin real -->"]).await;
    refused(&["real", "--episodes", &path("nowhere/file")], &["--episodes", "nowhere"]).await;
    refused(&["simulated", "--ablate", "training"], &["--untuned"]).await;
    refused(&["simulated", "--endpoint", "http://127.0.0.1:9/v1"], &["--endpoint-model"]).await;
}
