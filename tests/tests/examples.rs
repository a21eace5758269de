//! The programs of `examples/`, as a person runs them: each responds to an incident until recovery, with a person who agrees to everything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use countermove_proto::v1 as api;
use countermove_tests::{Cluster, alerts, exclusive, program, repository, system_description};
use tempfile::TempDir;

/// Whether a program can be run here; if not, a word says so.
fn has(tool: &str, argument: &str) -> bool {
    let is_there = Command::new(tool).arg(argument).output().is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("skipped: {tool} is not installed, so its example is not tried");
    }
    is_there
}

fn examples() -> PathBuf {
    repository().join("examples")
}

/// Runs an example on a small incident, and agrees to what it asks. Gives the incident's name and what was printed.
async fn respond(cluster: &Cluster, mut command: Command) -> (String, String) {
    let folder = TempDir::new().unwrap();
    for (name, text) in [("system.txt", system_description()), ("alerts.log", alerts())] {
        std::fs::write(folder.path().join(name), text).unwrap();
        command.arg(folder.path().join(name));
    }
    command.env("COUNTERMOVE_COORDINATOR", &cluster.url).env_remove("COUNTERMOVE_TOKEN");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut answers = child.stdin.take().unwrap();
        answers.write_all("y\n".repeat(64).as_bytes()).unwrap();
        drop(answers);
        child.wait_with_output().unwrap()
    });
    let output = ended.await.unwrap();
    let (said, problem) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{problem}\n{said}");
    let name = said.split(':').next().unwrap().to_owned();
    assert!(name.starts_with("incidents/"), "{said}");
    (name, said)
}

/// What was printed is what happened: candidates with their costs, and decisions that a person took by their hashes.
async fn check(cluster: &Cluster, (name, said): (String, String)) {
    let got = cluster.incidents().get_incident(api::GetIncidentRequest { name }).await.unwrap();
    let incident = got.into_inner().incident.unwrap();
    let plan = incident.plan.unwrap();
    assert!(said.contains(&format!("Ended: {}", plan.end().as_str_name())), "{said}");
    assert!(!plan.steps.is_empty(), "{said}");
    for step in &plan.steps {
        assert!(said.contains(&format!("Step {}: {}", step.index + 1, step.reason)), "{said}");
        for candidate in &step.candidates {
            let action = &candidate.action.as_ref().unwrap().text;
            let mark = if candidate.index == step.chosen { '*' } else { ' ' };
            let cost = candidate.cost.as_ref().and_then(|cost| cost.mean);
            let cost = cost.map_or("no estimate".to_owned(), |mean| format!("cost {mean:.2}"));
            assert!(said.contains(&format!(" {mark} {action} ({cost})")), "{action} {cost}: {said}");
        }
        assert_eq!(step.state_after_source(), api::StateSource::Reported);
        let approved = incident.decisions.iter().find(|decision| decision.step == step.index).unwrap();
        assert_eq!(approved.kind(), api::DecisionKind::Approved);
        assert_eq!((approved.plan_hash.as_str(), approved.is_automatic), (step.plan_hash.as_str(), false));
        assert_eq!(approved.by, "example");
    }
}

#[tokio::test]
async fn the_examples_respond_to_an_incident() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;

    check(&cluster, respond(&cluster, Command::new(program("examples/respond"))).await).await;

    if has("python3", "--version") {
        let mut json = Command::new("python3");
        json.arg(examples().join("python/respond.py"));
        check(&cluster, respond(&cluster, json).await).await;
        if let Some(tools) = grpc_tools() {
            let mut grpc = Command::new(repository().join("scripts/in_tools.sh"));
            grpc.arg(tools)
                .arg(examples().join("python/respond_grpc.py"))
                .env("PYTHONDONTWRITEBYTECODE", "1");
            check(&cluster, respond(&cluster, grpc).await).await;
        }
    }

    if has("go", "version") {
        let folder = TempDir::new().unwrap();
        let built = folder.path().join("respond");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&built).arg(".").current_dir(examples().join("go"));
        // What it needs is Go's own.
        let output =
            go.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        check(&cluster, respond(&cluster, Command::new(&built)).await).await;
    }
}

/// The folder with grpcio-tools that the build keeps, or that can be made now.
fn grpc_tools() -> Option<PathBuf> {
    let cache = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let build = cache("BUILD_CACHE").or_else(|| {
        let home = cache("XDG_CACHE_HOME").or_else(|| Some(Path::new(&cache("HOME")?).join(".cache")));
        Some(home?.join("countermove/build"))
    })?;
    let folder = build.join("protoc");
    let made = Command::new(repository().join("scripts/pip_tools.sh"))
        .arg(&folder)
        .arg("grpcio-tools==1.*")
        .output();
    let is_there = made.is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!(
            "skipped: grpcio-tools cannot be installed, so the example over gRPC in Python is not tried"
        );
    }
    is_there.then_some(folder)
}
