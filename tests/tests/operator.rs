//! An operator who decides from a terminal of their own, with `countermove incidents`.

use std::time::Duration;

use countermove_tests::{Cli, CliOutput, Cluster, Process, Signal, exclusive, incident_folder};

/// Time that the model may take for a step.
const STEP: Duration = Duration::from_secs(120);

struct Operator<'a> {
    url: &'a str,
    incident: String,
}

impl Operator<'_> {
    async fn call(&self, arguments: &[&str]) -> CliOutput {
        Cli::new(self.url, ["incidents"]).args(arguments).run().await
    }

    async fn get(&self) -> String {
        let got = self.call(&["get", &self.incident]).await;
        assert_eq!(got.code, 0, "{}", got.stderr);
        got.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The hash of the step that waits, as it is printed; another one than `old`.
    async fn hash(&self, old: &str) -> String {
        let begun = std::time::Instant::now();
        loop {
            let text = self.get().await;
            let found =
                text.split("incidents approve ").nth(1).and_then(|rest| rest.split_whitespace().nth(1));
            if let Some(hash) = found.map(|word| word.trim_end_matches("`,")).filter(|hash| *hash != old) {
                return hash.to_owned();
            }
            assert!(begun.elapsed() < STEP, "no step waits for an approval: {text}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn decisions_from_another_terminal_name_what_was_seen() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let folder = incident_folder();
    let plan =
        Cli::new(&cluster.url, ["plan", "--interactive", "--detach", "--seed", "5", "--candidates", "2"])
            .args(["--rollouts", "1", "--quiet", "--incident"])
            .arg(&folder)
            .run()
            .await;
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    let operator = Operator { url: &cluster.url, incident: plan.stdout.trim().to_owned() };
    assert!(operator.incident.starts_with("incidents/"), "{}", plan.stdout);

    let first = operator.hash("").await;
    let refused = operator.call(&["approve", &operator.incident, "00000000"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains(&first) && refused.stderr.contains("decided anew"), "{}", refused.stderr);

    let rejected = operator.call(&["reject", &operator.incident, "the web shop is closed at night"]).await;
    assert_eq!(rejected.code, 0, "{}", rejected.stderr);
    let second = operator.hash(&first).await;
    let stale = operator.call(&["approve", &operator.incident, &first]).await;
    assert_eq!(stale.code, 2, "what was rejected cannot be approved: {}", stale.stderr);

    let approved = operator.call(&["approve", &operator.incident, &second, "--as", "ann"]).await;
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    let again = operator.call(&["approve", &operator.incident, &second]).await;
    assert_eq!(again.code, 2, "{}", again.stderr);
    assert!(again.stderr.contains("waits for its outcome"), "{}", again.stderr);
    assert!(operator.get().await.contains("report-outcome"));

    let wrong = operator.call(&["report-outcome", &operator.incident, "contained,fixed"]).await;
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    let unknown =
        operator.call(&["report-outcome", &operator.incident, "contained", "--clean", "10.99.0.1"]).await;
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("names \"10.99.0.1\""), "{}", unknown.stderr);
    let reported = operator
        .call(&["report-outcome", &operator.incident, "contained", "--compromised", "web_shop"])
        .await;
    assert_eq!(reported.code, 0, "{}", reported.stderr);
    let third = operator.hash(&second).await;
    let text = operator.get().await;
    assert!(text.contains("STATE [x] contained [ ] understood"), "{text}");
    assert!(text.contains("found 172.16.10.11 compromised"), "{text}");
    assert_ne!(third, second);

    assert_eq!(operator.call(&["cancel", &operator.incident]).await.code, 0);
    let late = operator.call(&["approve", &operator.incident, &third]).await;
    assert!(late.code == 2 && late.stderr.contains("planning has ended"), "{}", late.stderr);
}

#[tokio::test]
async fn ctrl_c_leaves_an_incident_that_a_person_decides_about_and_says_how_to_come_back() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let mut cli = Cli::new(&cluster.url, ["plan", "--interactive", "--candidates", "4", "--rollouts", "96"])
        .arg("--incident")
        .arg(incident_folder());
    let mut plan = Process::start("countermove plan", cli.command());
    cluster.wait_for(&cluster.workers[0].id, "busy", |worker| worker.running > 0).await;
    plan.signal(Signal::Interrupt);
    assert_eq!(plan.exit_code(Duration::from_secs(10)).await, 130, "{}", plan.log());
    let log = plan.log();
    let told = log.lines().find_map(|line| line.split_once(" goes on without you").map(|(name, _)| name));
    let incident = told.and_then(|name| name.split_whitespace().last()).unwrap_or_default().to_owned();
    assert!(incident.starts_with("incidents/") && log.contains("countermove incidents get"), "{log}");
    let operator = Operator { url: &cluster.url, incident };
    assert_ne!(operator.hash("").await, "", "its first step comes to wait for somebody");
}
