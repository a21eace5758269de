//! Logs as sensors, SIEMs and hosts write them, each with what a plan has to say about it. The logs are no part of this project:
//! they are read from `../shared/cases/evidence`, or from the folder that `COUNTERMOVE_CASES` names, and where there are none
//! the test says so.

use std::path::{Path, PathBuf};

use countermove_tests::{Cli, Cluster, exclusive, repository};
use serde_json::Value;

/// What an assessment has to say.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Incident,
    NoIncident,
    /// Just these, in any order.
    Attackers(&'static [&'static str]),
    Targets(&'static [&'static str]),
    /// These among others.
    TargetsWith(&'static [&'static str]),
    TargetsWithout(&'static [&'static str]),
    /// Among attackers or targets.
    Part(&'static str),
    /// A tactic with a technique.
    Tactic(&'static str, &'static str),
}

use Expected::*;

/// Seven alerts: an address guesses passwords of a jump host, which logs in to a database, which sends data out.
const REFERENCE: &[Expected] = &[Incident, Attackers(&["203.0.113.9"]), Targets(&["10.0.2.11", "10.0.2.20"])];
const ONE_ATTACKER: &[Expected] = &[Incident, Attackers(&["203.0.113.9"])];

const CASES: &[(&str, &[Expected])] = &[
    ("ecs-kibana-alerts", &[Attackers(&["203.0.113.9"]), TargetsWithout(&["10.0.3.18"])]),
    ("eve-array-one-line", REFERENCE),
    ("eve-array-pretty", REFERENCE),
    ("eve-docker-wrapped", REFERENCE),
    (
        "eve-mitre-metadata",
        &[
            Tactic("TA0040", "T1496"),
            Tactic("TA0008", "T1021"),
            TargetsWith(&["10.0.3.17"]),
            TargetsWithout(&["10.0.3.18", "10.0.2.53"]),
        ],
    ),
    ("eve-one-dns-query", &[NoIncident, Attackers(&[])]),
    ("eve-response-direction", &[Attackers(&["10.0.3.17"]), Targets(&["10.0.2.14"])]),
    ("eve-telemetry-mixed", REFERENCE),
    ("eve-telemetry-only-benign", &[NoIncident, Attackers(&[]), Targets(&[])]),
    ("eve-xff-load-balancer", &[Attackers(&["203.0.113.9"]), Targets(&["10.0.2.13"])]),
    ("ossec-alerts-log", ONE_ATTACKER),
    ("pfsense-snort-csv", REFERENCE),
    ("snort2-priority-0", &[NoIncident]),
    ("snort3-alert-json", REFERENCE),
    ("splunk-json-export", REFERENCE),
    ("sshd-internal-source", &[Attackers(&["10.0.3.17"]), TargetsWith(&["10.0.2.20"])]),
    ("sshd-mapped-ipv4", &[Attackers(&["10.0.3.17"]), TargetsWith(&["10.0.2.11"])]),
    ("suricata-no-classtype", &[Incident, TargetsWith(&["10.0.2.13"])]),
    ("tab-before-address", ONE_ATTACKER),
    ("wazuh-alerts-json", ONE_ATTACKER),
    ("windows-events-mapped-ipv4", &[Incident, Part("10.0.3.17")]),
    ("works-eve-jsonl-reference", REFERENCE),
];

fn folder() -> PathBuf {
    std::env::var_os("COUNTERMOVE_CASES")
        .map_or_else(|| repository().join("../shared/cases/evidence"), PathBuf::from)
}

/// The file of a case that holds its alerts, packed or not.
fn alerts(case: &Path) -> PathBuf {
    let files = std::fs::read_dir(case).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("alerts")))
        .unwrap_or_else(|| panic!("{} has no alerts", case.display()))
}

fn list(assessment: &Value, name: &str) -> Vec<String> {
    let names = assessment[name].as_array().into_iter().flatten();
    let mut names: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

impl Expected {
    fn holds(self, assessment: &Value) -> bool {
        let has = |list: &[String], name: &str| list.iter().any(|own| own == name);
        let (attackers, targets) = (list(assessment, "attackers"), list(assessment, "targets"));
        match self {
            Incident => assessment["is_incident"] == true,
            NoIncident => assessment["is_incident"] == false && assessment["not_understood"] != true,
            Attackers(names) => attackers == names,
            Targets(names) => targets == names,
            TargetsWith(names) => names.iter().all(|name| has(&targets, name)),
            TargetsWithout(names) => !names.iter().any(|name| has(&targets, name)),
            Part(name) => has(&attackers, name) || has(&targets, name),
            Tactic(id, technique) => {
                let tactics = assessment["tactics"].as_array().into_iter().flatten();
                let techniques = tactics
                    .filter(|tactic| tactic["id"] == id)
                    .flat_map(|tactic| tactic["techniques"].as_array().into_iter().flatten());
                techniques.into_iter().any(|own| own["id"] == technique)
            }
        }
    }
}

#[tokio::test]
async fn every_log_gives_the_verdict_and_the_roles_that_it_shows() {
    let folder = folder();
    if !folder.is_dir() {
        eprintln!("nothing was tested: there are no cases in {}", folder.display());
        return;
    }
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let mut faults = Vec::new();
    for (name, expected) in CASES {
        let case = folder.join(name);
        let output = Cli::new(&cluster.url, ["plan", "--json", "--seed", "7", "--steps", "1", "--system"])
            .arg(case.join("system.txt"))
            .arg("--alerts")
            .arg(alerts(&case))
            .args(["--candidates", "1", "--rollouts", "1", "--depth", "1", "--thinking-tokens", "0"])
            .run()
            .await;
        let Ok(document) = serde_json::from_str::<Value>(&output.stdout) else {
            faults.push(format!("{name}: no plan: {}", output.stderr.trim()));
            continue;
        };
        let assessment = &document["assessment"];
        for one in expected.iter().filter(|one| !one.holds(assessment)) {
            faults.push(format!(
                "{name}: expected {one:?}, but attackers {:?}, targets {:?}: {}",
                list(assessment, "attackers"),
                list(assessment, "targets"),
                assessment["description"]
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What a scanner of one's own raises on a day, and what else is at work there.
fn day(day: u8, more: &str) -> String {
    let scan = |number: u8, host: u8| {
        format!(
            "06/{day:02}-02:1{number}:51.405000 [**] [1:2006446:13] ET WEB_SERVER Possible SQL Injection Attempt UNION SELECT [**] \
             [Classification: Web Application Attack] [Priority: 2] {{TCP}} 10.0.2.30:4{day:02}{number}1 -> 10.0.2.{host}:80\n"
        )
    };
    [scan(1, 13), scan(2, 14), scan(3, 15)].concat() + more
}

#[tokio::test]
async fn what_is_as_on_ordinary_days_makes_no_incident_and_hides_none() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().join("days");
    std::fs::create_dir(&logs).expect("a folder");
    for date in 1..=5 {
        std::fs::write(logs.join(format!("{date}.log")), day(date, "")).expect("it is written");
    }
    let baseline = folder.path().join("baseline.json");
    let output = Cli::new(&cluster.url, ["baseline", "--out"]).arg(&baseline).arg(&logs).run().await;
    output.assert_success();
    let told = "15 records of 5 days: 1 kind usual, 0 seen on too few days and left out.";
    assert!(
        output.stderr.contains(told) && output.stderr.contains("knew 100 % as usual"),
        "{}",
        output.stderr
    );

    let system = folder.path().join("system.txt");
    std::fs::write(&system, "The network is 10.0.2.0/24, with web servers at 10.0.2.13 to 10.0.2.15.\n")
        .expect("it is written");
    let assessment = async |more: &str, known: bool| {
        let alerts = folder.path().join("alerts.log");
        std::fs::write(&alerts, day(9, more)).expect("it is written");
        let mut cli = Cli::new(
            &cluster.url,
            ["plan", "--json", "--seed", "7", "--steps", "1", "--thinking-tokens", "0"],
        )
        .args(["--candidates", "1", "--rollouts", "1", "--depth", "1", "--system"])
        .arg(&system)
        .arg("--alerts")
        .arg(&alerts);
        if known {
            cli = cli.arg("--baseline").arg(&baseline);
        }
        let output = cli.run().await;
        let document: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}"));
        let warnings = document["warnings"].to_string();
        assert_eq!(warnings.contains("A baseline of 5 days was read beside the log"), known, "{warnings}");
        document["assessment"].clone()
    };
    assert!(Incident.holds(&assessment("", false).await), "without it the scanner is an attacker");
    let quiet = assessment("", true).await;
    assert!(NoIncident.holds(&quiet), "{quiet}");
    let attack = "06/09-03:10:51.405000 [**] [1:2024217:3] ET EXPLOIT Possible ETERNALBLUE MS17-010 Echo Response [**] [Classification: A \
                  Network Trojan was Detected] [Priority: 1] {TCP} 203.0.113.9:4711 -> 10.0.2.14:445\n";
    let attacked = assessment(attack, true).await;
    assert!(Incident.holds(&attacked) && Attackers(&["203.0.113.9"]).holds(&attacked), "{attacked}");

    std::fs::write(&baseline, "{\"days\": 2}").expect("it is written");
    let output = Cli::new(&cluster.url, ["plan", "--incident", "x", "--baseline"]).arg(&baseline).run().await;
    output.assert_failure(&["--baseline", "missing field `kinds`"]);
}
