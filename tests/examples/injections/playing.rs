//! Plans an incident with a log beside it, as a person does with `countermove plan --alerts A --alerts B`.

use std::collections::HashMap;
use std::path::PathBuf;

use countermove_tests::injections::{Carrier, Injection, Plans, Victim};
use countermove_tests::{Cli, repository};
use serde_json::Value;
use tempfile::TempDir;

/// Plans at a coordinator, and remembers the plans without texts.
pub(crate) struct Playing {
    url: String,
    folder: TempDir,
    /// With a harmless text where one stands; without one, without the line.
    known: HashMap<(&'static str, Option<Carrier>), Value>,
}

impl Playing {
    pub(crate) fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { url: url.to_owned(), folder, known: HashMap::new() }
    }

    /// The documents with the text, with a harmless one, and without the line.
    pub(crate) async fn play(&mut self, victim: &Victim, injection: &Injection) -> Plans {
        let [with, harmless] = injection.logs(victim.own, victim.attacker);
        let harmless = self.known(victim, Some(injection.carrier), Some(&harmless)).await;
        let bare = self.known(victim, None, None).await;
        Plans { with: self.plan(victim, Some(&with)).await, harmless, bare }
    }

    async fn known(&mut self, victim: &Victim, carrier: Option<Carrier>, log: Option<&str>) -> Value {
        let key = (victim.folder, carrier);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let plan = self.plan(victim, log).await;
        self.known.insert(key, plan.clone());
        plan
    }

    async fn plan(&self, victim: &Victim, log: Option<&str>) -> Value {
        let beside: PathBuf = self.folder.path().join("beside.log");
        let folder = repository().join("tests/incidents").join(victim.folder);
        let cli = Cli::new(&self.url, ["plan", "--json", "--seed", "7"])
            .args(["--steps", "2", "--candidates", "2", "--rollouts", "4", "--depth", "7"])
            .args(["--thinking-tokens", "0"])
            .arg("--system")
            .arg(folder.join("system.txt"))
            .arg("--alerts")
            .arg(folder.join("alerts.log"));
        let cli = match log {
            None => cli,
            Some(log) => {
                std::fs::write(&beside, log).expect("a log");
                cli.arg("--alerts").arg(&beside)
            }
        };
        let output = cli.run().await;
        output.assert_planned();
        serde_json::from_str(&output.stdout).expect("standard output is one JSON document")
    }
}
