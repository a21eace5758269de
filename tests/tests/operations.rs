//! What operators see of real programs: figures, after an incident, and what Prometheus, Grafana and the alerts make of them;
//! settings; and what the doctor finds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use countermove_proto::v1 as api;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_tests::{
    PATIENCE_SECONDS, Process, Signal, free_port, incident_evidence, program, repository, wait_until,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(PATIENCE_SECONDS);
const FIGURES: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

/// A path at a listener for figures: status and body.
async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok((status, body.to_owned()))
}

/// Where a process has its figures read, as its log says.
async fn figures_of(process: &Process) -> SocketAddr {
    wait_until("the log names the listener for metrics", PATIENCE, || async {
        let log = process.log();
        let line = log.lines().find(|line| line.contains("metrics are read"))?;
        line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
    })
    .await
}

/// The words of a text that name a figure.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("countermove_"))
        .map(str::to_owned)
        .collect()
}

/// The names of the series on a page.
fn series(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect()
}

/// A value on a page, of the series whose labels are these.
fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{name} in\n{page}"))
}

/// Kinds of the figures in docs/metrics.md, by name.
fn documented() -> Result<BTreeMap<String, String>> {
    let page = std::fs::read_to_string(repository().join("docs/metrics.md"))?;
    let rows = page.lines().filter(|line| line.starts_with("| `countermove_"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let name = cells.next().context("a name")?.trim_matches('`').to_owned();
        Ok((name, cells.next().context("a kind")?.to_owned()))
    })
    .collect()
}

#[tokio::test]
async fn every_figure_that_a_dashboard_or_an_alert_asks_for_is_told() -> Result<()> {
    let mut command = Command::new(program("countermove-worker"));
    let mut worker =
        Process::start("worker", command.args(["--simulate", "20000", "--sequences", "16"]).args(FIGURES));
    let url = format!("http://{}", worker.address(PATIENCE));
    let mut command = Command::new(program("countermove-coordinator"));
    command.args(["--listen", "127.0.0.1:0", "--store", "memory:", "--workers", &url]).args(FIGURES);
    let mut coordinator = Process::start("coordinator", &mut command);
    let address = coordinator.address(PATIENCE);
    let (of_coordinator, of_worker) = (figures_of(&coordinator).await, figures_of(&worker).await);
    wait_until("the coordinator is ready", PATIENCE, || async {
        (get(of_coordinator, "/ready").await.ok()?.0 == 200).then_some(())
    })
    .await;

    let (before, _) = (get(of_coordinator, "/metrics").await?.1, ());
    assert_eq!(value(&before, "countermove_incidents_created_total"), 0.0);
    assert_eq!(
        value(&before, "countermove_plan_seconds_count{mode=\"offline\",end=\"failed\"}"),
        0.0,
        "there from the start"
    );

    let mut client = IncidentServiceClient::connect(format!("http://{address}")).await?;
    let options =
        api::PlanOptions { rollouts: 4, max_steps: 1, seed: Some(5), ..api::PlanOptions::default() };
    let request = api::CreateIncidentRequest {
        evidence: Some(incident_evidence()?),
        options: Some(options),
        tenant: "blue".to_owned(),
        ..api::CreateIncidentRequest::default()
    };
    let name = client.create_incident(request).await?.into_inner().incident.context("an incident")?.name;
    let watching = api::WatchIncidentRequest { name, resume_after: 0 };
    let mut events = client.watch_incident(watching).await?.into_inner();
    while events.message().await?.is_some() {}
    drop(events);
    let unknown = api::GetIncidentRequest { name: "incidents/none".to_owned() };
    ensure!(client.get_incident(unknown).await.is_err(), "there is no such incident");

    let coordinators = get(of_coordinator, "/metrics").await?.1;
    let workers = get(of_worker, "/metrics").await?.1;
    for (page, name, least) in [
        (&coordinators, "countermove_incidents_created_total", 1.0),
        (&coordinators, "countermove_first_candidate_seconds_count", 1.0),
        (&coordinators, "countermove_work_seconds_count{phase=\"perception\"}", 1.0),
        (&coordinators, "countermove_work_seconds_count{phase=\"decision\"}", 1.0),
        (&coordinators, "countermove_tokens_total{kind=\"computed\"}", 100.0),
        (&coordinators, "countermove_tokens_total{kind=\"chosen\"}", 10.0),
        (&coordinators, "countermove_tenant_tokens_total{tenant=\"blue\"}", 100.0),
        (&coordinators, "countermove_queue_wait_seconds_count{tenant=\"blue\",work=\"question\"}", 1.0),
        (&coordinators, "countermove_store_seconds_count{operation=\"append\"}", 2.0),
        (&coordinators, "countermove_workers{status=\"ready\"}", 1.0),
        (&coordinators, "countermove_batch_places", 16.0),
        (&coordinators, "countermove_calls_refused_total{reason=\"invalid_argument\"}", 1.0),
        (&workers, "countermove_worker_tokens_total{kind=\"chosen\"}", 10.0),
        (&workers, "countermove_worker_requests_total{outcome=\"completed\"}", 1.0),
        (&workers, "countermove_worker_batch_places", 16.0),
    ] {
        assert!(value(page, name) >= least, "{name} is {}", value(page, name));
    }
    let plans: f64 = coordinators
        .lines()
        .filter_map(|line| {
            line.strip_prefix("countermove_plan_seconds_count{")?.split(' ').nth(1)?.parse::<f64>().ok()
        })
        .sum();
    assert_eq!(plans, 1.0, "one plan has ended");
    assert_eq!(value(&coordinators, "countermove_streams"), 0.0, "nobody watches any more");
    let waits =
        value(&coordinators, "countermove_queue_wait_seconds_count{tenant=\"blue\",work=\"rollout\"}");
    let rollouts: f64 = ["terminal", "truncated", "malformed"]
        .map(|end| value(&coordinators, &format!("countermove_rollouts_total{{end=\"{end}\"}}")))
        .iter()
        .sum();
    assert!(waits >= 1.0 && waits <= rollouts, "each waited once: {waits} of {rollouts}");

    let told: BTreeSet<String> = series(&coordinators).union(&series(&workers)).cloned().collect();
    for (name, kind) in documented()? {
        let ending = if kind == "histogram" { "_bucket" } else { "" };
        assert!(told.contains(&format!("{name}{ending}")), "docs/metrics.md has {name}, which nobody tells");
    }
    let mut asked = 0;
    for file in ["grafana/coordinator.json", "grafana/workers.json", "prometheus/alerts.yaml"] {
        let text = std::fs::read_to_string(repository().join("deploy").join(file))?;
        let names = match file.ends_with(".json") {
            true => expressions(&serde_json::from_str(&text)?),
            false => named(&text),
        };
        asked += names.len();
        let unknown: Vec<&String> = names.difference(&told).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which nobody tells");
    }
    assert!(asked > 40, "the dashboards and alerts ask for little: {asked}");
    Ok(())
}

/// The figures that the panels of a dashboard ask for.
fn expressions(dashboard: &Value) -> BTreeSet<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.filter_map(|target| target["expr"].as_str()).flat_map(named).collect()
}

#[tokio::test]
async fn figures_are_read_on_this_machine_alone_unless_somebody_says_otherwise() -> Result<()> {
    for (name, flags) in [
        ("countermove-worker", vec!["--simulate", "100"]),
        ("countermove-coordinator", vec!["--workers", "http://127.0.0.1:9"]),
    ] {
        let output =
            Command::new(program(name)).args(flags).args(["--metrics-listen", "0.0.0.0:0"]).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {told}");
        assert!(told.contains("--metrics-insecure"), "{name}: {told}");
    }
    Ok(())
}

/// A program's output and exit code, with nothing of this environment that is ours.
fn run(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(i32, String, String)> {
    let mut command = Command::new(program(name));
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("COUNTERMOVE_")) {
        command.env_remove(variable);
    }
    let output = command.args(arguments).envs(environment.iter().copied()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn settings_in_force_are_printed_and_are_a_file_that_says_the_same() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let environment =
        [("COUNTERMOVE_STORE", "postgres://plan:s3cret@localhost/x"), ("COUNTERMOVE_LEASE", "7")];
    let line = ["--print-config", "--workers", "http://127.0.0.1:9"];
    let (code, printed, told) = run("countermove-coordinator", &line, &environment)?;
    assert_eq!(code, 0, "{told}");
    assert!(!printed.contains("s3cret") && printed.contains("plan:***@localhost"), "{printed}");
    assert!(printed.lines().any(|line| line == "lease = 7  # environment: COUNTERMOVE_LEASE"), "{printed}");
    let file = folder.path().join("coordinator.toml");
    std::fs::write(&file, printed.replace("plan:***@", "plan@"))?;
    let config = ["--print-config", "--config", file.to_str().context("a path")?];
    let (code, again, told) = run("countermove-coordinator", &config, &[])?;
    assert_eq!(code, 0, "{told}");
    assert!(again.lines().any(|line| line.starts_with("lease = 7  # file: ")), "{again}");
    // What cannot be used is refused with it as it is without.
    let (code, _, told) = run("countermove-worker", &["--print-config", "--listen", "0.0.0.0:1"], &[])?;
    assert!(code == 2 && told.contains("--insecure"), "{told}");
    Ok(())
}

#[tokio::test]
async fn the_doctor_finds_what_is_missing_and_nothing_where_all_is_well() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let home = folder.path().to_str().context("a path")?;
    let findings = |text: &str| -> Result<BTreeMap<String, (String, String)>> {
        let found: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let each = found.as_array().context("a list")?.iter();
        Ok(each.map(|one| (text(&one["subject"]), (text(&one["standing"]), text(&one["advice"])))).collect())
    };
    let ill = [
        ("COUNTERMOVE_HOME", home),
        ("COUNTERMOVE_STORE", "sqlite:/proc/nowhere/x.db"),
        ("COUNTERMOVE_WORKERS", "http://127.0.0.1:9"),
        ("COUNTERMOVE_COORDINATOR", "http://127.0.0.1:9"),
    ];
    let (code, text, told) = run("countermove", &["doctor", "--json"], &ill)?;
    assert_eq!(code, 1, "{text}{told}");
    let found = findings(&text)?;
    for (subject, advice) in [("model", "model fetch"), ("store", "--store"), ("worker", "--workers")] {
        let (standing, says) = found.get(subject).with_context(|| format!("{subject} in {text}"))?;
        assert!(standing == "bad" && says.contains(advice), "{subject}: {text}");
    }

    let mut command = Command::new(program("countermove-worker"));
    let mut worker = Process::start("worker", command.args(["--simulate", "20000"]));
    let workers = format!("http://{}", worker.address(PATIENCE));
    let mut command = Command::new(program("countermove-coordinator"));
    command.args(["--listen", "127.0.0.1:0", "--store", "memory:", "--workers", &workers]);
    let mut coordinator = Process::start("coordinator", &mut command);
    let address = coordinator.address(PATIENCE);
    let url = format!("http://{address}");
    let store = format!("sqlite:{home}/incidents.db");
    let well = [
        ("COUNTERMOVE_SIMULATE", "20000"),
        ("COUNTERMOVE_STORE", store.as_str()),
        ("COUNTERMOVE_WORKERS", workers.as_str()),
        ("COUNTERMOVE_LISTEN", address.as_str()),
        ("COUNTERMOVE_COORDINATOR", url.as_str()),
    ];
    let (code, text, told) = run("countermove", &["doctor", "--json"], &well)?;
    assert_eq!(code, 0, "{text}{told}");
    let found = findings(&text)?;
    for subject in ["store", "worker", "coordinator", "coordinator's port", "clock"] {
        assert_eq!(
            found.get(subject).map(|(standing, _)| standing.as_str()),
            Some("good"),
            "{subject}: {text}"
        );
    }
    Ok(())
}

#[test]
fn what_is_deployed_is_what_the_programs_take() -> Result<()> {
    let deploy = repository().join("deploy/systemd");
    let example = |name: &str| deploy.join(name).display().to_string();
    let (code, _, told) = run(
        "countermove-coordinator",
        &["--print-config", "--config", &example("coordinator.toml.example")],
        &[],
    )?;
    assert_eq!(code, 0, "{told}");
    // The CPUs in it are not those of every machine; a flag goes before them.
    let line = ["--print-config", "--threads", "1", "--config", &example("worker.toml.example")];
    let (code, printed, told) = run("countermove-worker", &line, &[])?;
    assert_eq!(code, 0, "{told}");
    assert!(printed.contains("# cpus: not set"), "{printed}");

    // The programs are not where the units expect them; all else is looked at.
    let folder = tempfile::tempdir()?;
    let mut units = Vec::new();
    for name in
        ["countermove-coordinator.service", "countermove-worker@.service", "countermove-model.service"]
    {
        let unit = std::fs::read_to_string(deploy.join(name))?;
        ensure!(unit.contains("ExecStart=/usr/local/bin/countermove-"), "{name} starts a program of ours");
        let unit = unit.replace("ExecStart=/usr/local/bin/countermove-", "ExecStart=/bin/true ");
        let copy = folder.path().join(name.replace("@.", "@1."));
        std::fs::write(&copy, unit)?;
        units.push(copy);
    }
    match Command::new("systemd-analyze").arg("verify").args(&units).output() {
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && !told.contains("deploy") && !told.contains("Unknown"),
                "{told}"
            );
        }
        Err(error) => eprintln!("the units were not verified: systemd-analyze cannot be run ({error})"),
    }
    Ok(())
}

/// A stage of the file that images are made of.
fn stage<'a>(images: &'a str, name: &str) -> Result<&'a str> {
    let (_, rest) =
        images.split_once(&format!(" AS {name}\n")).with_context(|| format!("no stage {name}"))?;
    Ok(rest.split("\nFROM ").next().unwrap_or(rest))
}

/// The words of the line of a stage that begins like this.
fn words(stage: &str, beginning: &str) -> Result<Vec<String>> {
    let line = stage.lines().find_map(|line| line.strip_prefix(beginning));
    Ok(serde_json::from_str(line.with_context(|| format!("no line begins with `{beginning}`"))?)?)
}

#[tokio::test]
async fn images_start_what_the_programs_take_and_tell_whether_it_is_well() -> Result<()> {
    let images = std::fs::read_to_string(repository().join("deploy/Dockerfile"))?;
    for name in ["worker", "worker-cuda"] {
        ensure!(images.contains(&format!("FROM worker-base AS {name}\n")), "{name} has another base");
        ensure!(!stage(&images, name)?.contains("\nUSER"), "{name} runs as somebody else");
    }
    let coordinator = ["--store", "memory:", "--workers", "http://127.0.0.1:9"];
    for (name, port, flags) in
        [("coordinator", "7780", &coordinator[..]), ("worker-base", "7781", &["--simulate", "100"])]
    {
        let stage = stage(&images, name)?;
        ensure!(stage.lines().any(|line| line == "USER 10001:10001"), "{name} runs as root");
        let entry = words(stage, "ENTRYPOINT ")?;
        let free = free_port().to_string();
        let command: Vec<_> =
            words(stage, "CMD ")?.into_iter().map(|word| word.replace(port, &free)).collect();
        // Beyond this machine it would ask for certificates.
        let command = command
            .into_iter()
            .map(|word| if word.starts_with("0.0.0.0:") { "127.0.0.1:0".to_owned() } else { word });
        let mut process = Process::start(name, Command::new(program(&entry[0])).args(command).args(flags));
        process.address(PATIENCE);
        let check = words(stage, "  CMD ")?;
        let is_well =
            || Command::new(&check[0]).args(check[1..].iter().map(|word| word.replace(port, &free))).output();
        // Figures are told soon after the first line.
        wait_until(&format!("the check of {name} says that it is well"), PATIENCE, || async {
            is_well().is_ok_and(|told| told.status.success()).then_some(())
        })
        .await;
        process.signal(Signal::Kill);
        process.exit_code(PATIENCE).await;
        ensure!(!is_well()?.status.success(), "{name} has ended and is said to be well");
    }
    Ok(())
}

/// The part of docs/reference.md about a program, which is compared with its code elsewhere.
fn reference_of(name: &str) -> Result<String> {
    let page = std::fs::read_to_string(repository().join("docs/reference.md"))?;
    let (_, rest) =
        page.split_once(&format!("<!-- {name} -->")).with_context(|| format!("no part of {name}"))?;
    Ok(rest.split("<!-- /").next().unwrap_or(rest).to_owned())
}

#[test]
fn the_chart_starts_the_programs_with_flags_and_ports_that_they_have() -> Result<()> {
    for (file, name) in
        [("coordinator.yaml", "countermove-coordinator"), ("worker.yaml", "countermove-worker")]
    {
        let template = std::fs::read_to_string(repository().join("deploy/helm/templates").join(file))?;
        let reference = reference_of(name)?;
        let flags: BTreeSet<&str> = template
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- --")?.split(['=', ' ']).next())
            .collect();
        assert!(flags.len() >= 10, "{file}: {flags:?}");
        for flag in flags {
            let is_known =
                [format!("| `--{flag} "), format!("| `--{flag}`")].iter().any(|row| reference.contains(row));
            assert!(is_known, "{file}: {name} has no flag --{flag}");
        }
        for (flag, port) in [("listen", "grpc"), ("metrics-listen", "metrics")] {
            let listens = format!("- --{flag}=0.0.0.0:");
            let number =
                template.lines().find_map(|line| line.trim().strip_prefix(&listens)).context("a port")?;
            assert!(
                template.contains(&format!("{{name: {port}, containerPort: {number}}}")),
                "{file}: {port}"
            );
        }
        // What is told to end has time to: the grace is that of the drain and more.
        let part = name.trim_start_matches("countermove-");
        assert!(
            template
                .contains(&format!("terminationGracePeriodSeconds: {{{{ add .Values.{part}.drainTimeout"))
        );
        assert!(template.contains(&format!("--drain-timeout={{{{ .Values.{part}.drainTimeout }}}}")));
    }
    let helpers = std::fs::read_to_string(repository().join("deploy/helm/templates/_helpers.tpl"))?;
    assert!(helpers.contains("path: /live") && helpers.contains("path: /ready"));
    Ok(())
}
