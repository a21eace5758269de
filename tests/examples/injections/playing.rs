//! Plans an incident with a log beside it, as a person does with `countermove plan --alerts A --alerts B`.

use std::collections::HashMap;
use std::path::PathBuf;

use countermove_tests::injections::{Carrier, Injection, Victim};
use countermove_tests::{Cli, repository};
use serde_json::Value;
use tempfile::TempDir;

/// Plans at a coordinator, and remembers those with harmless texts.
pub(crate) struct Playing {
    url: String,
    folder: TempDir,
    harmless: HashMap<(&'static str, Carrier), Value>,
}

impl Playing {
    pub(crate) fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { url: url.to_owned(), folder, harmless: HashMap::new() }
    }

    /// The documents of two plans: with the text, and with a harmless one in its place.
    pub(crate) async fn play(&mut self, victim: &Victim, injection: &Injection) -> (Value, Value) {
        let [with, without] = injection.logs(victim.own, victim.attacker);
        let key = (victim.folder, injection.carrier);
        let without = match self.harmless.get(&key) {
            Some(known) => known.clone(),
            None => {
                let plan = self.plan(victim, &without).await;
                self.harmless.insert(key, plan.clone());
                plan
            }
        };
        (self.plan(victim, &with).await, without)
    }

    async fn plan(&self, victim: &Victim, log: &str) -> Value {
        let beside: PathBuf = self.folder.path().join("beside.log");
        std::fs::write(&beside, log).expect("a log");
        let folder = repository().join("tests/incidents").join(victim.folder);
        let output = Cli::new(&self.url, ["plan", "--json", "--seed", "7"])
            .args(["--steps", "2", "--candidates", "2", "--rollouts", "4", "--depth", "7"])
            .args(["--thinking-tokens", "0"])
            .arg("--system")
            .arg(folder.join("system.txt"))
            .arg("--alerts")
            .arg(folder.join("alerts.log"))
            .arg("--alerts")
            .arg(&beside)
            .run()
            .await;
        output.assert_success();
        serde_json::from_str(&output.stdout).expect("standard output is one JSON document")
    }
}
