//! The scenarios of an evaluation.

use std::path::{Path, PathBuf};

use countermove_dataset::{Split, parts};
use countermove_simulator::oracle::Oracle;
use countermove_simulator::{Generator, GeneratorOptions, Scenario, Vocabulary};

use crate::args::Scenarios;
use countermove::console::Console;
use countermove::failure::Failure;

/// A scenario with the cost of the cheapest plan; none for a benign one.
pub(super) type Judged = (Scenario, Option<f64>);

/// Where the seeds of scenarios of one seed lie apart, so that no scenario is played twice.
pub(super) const SPACING: u64 = 1_000_000;

/// Public data beside the project.
pub(crate) const USUAL_DATA: &str = "../shared/data";

/// Recorded incidents, and OpenSec's, within it.
const REAL: &str = "incidents";
const OPENSEC: &str = "opensec";

/// The scenarios of each seed, with what the cheapest plan costs.
pub(super) fn load(wanted: &Scenarios, console: &Console) -> Result<Vec<Vec<Judged>>, Failure> {
    // The attack flows, rules and kinds of networks that no model is trained on.
    let sets = scenarios(wanted, Split::Test, console)?;
    Ok(sets.into_iter().map(|set| set.into_iter().map(judged).collect()).collect())
}

/// The scenarios of each seed; simulated ones are made of what one split has.
pub(crate) fn scenarios(
    wanted: &Scenarios,
    split: Split,
    console: &Console,
) -> Result<Vec<Vec<Scenario>>, Failure> {
    let data = data_folder(wanted);
    let seeds = (0..u64::from(wanted.seeds)).map(|number| wanted.first_seed.wrapping_add(number));
    let fixed = match wanted.suite.as_str() {
        "simulated" => {
            let mut parts = parts(&vocabulary(data.as_deref(), console)?).into_iter();
            let part = parts.find(|part| part.split == split);
            let part = part.ok_or_else(|| Failure::Failed(format!("there is no split {}", split.name())))?;
            let options = GeneratorOptions { topologies: part.families, ..shares(wanted) };
            let generator = Generator::new(&part.vocabulary, options).map_err(input)?;
            let make = |seed: u64| {
                let first = seed.wrapping_mul(SPACING);
                let numbers = 0..u64::from(wanted.incidents);
                numbers.map(|number| generator.scenario(first.wrapping_add(number))).collect()
            };
            return Ok(seeds.map(make).collect());
        }
        "real" => {
            let folder = needed(data, "real")?.join(REAL);
            Scenario::read_recorded(&folder).map_err(input)?
        }
        "opensec" => {
            let folder = needed(data, "opensec")?.join(OPENSEC);
            Scenario::read_opensec(&folder).map_err(input)?
        }
        folder => folders(Path::new(folder))?,
    };
    let set: Vec<Scenario> = fixed.into_iter().take(wanted.incidents as usize).collect();
    Ok(seeds.map(|_| set.clone()).collect())
}

/// What simulated scenarios hold how often.
pub(super) fn shares(arguments: &Scenarios) -> GeneratorOptions {
    let usual = GeneratorOptions::default();
    let or = |given: Option<u8>, usual: usize| given.map_or(usual, usize::from);
    GeneratorOptions {
        benign: or(arguments.benign, usual.benign),
        injected: or(arguments.injected, usual.injected),
        switching: or(arguments.switching, usual.switching),
        ..usual
    }
}

fn judged(scenario: Scenario) -> Judged {
    let cost = if scenario.truth.incident {
        Oracle::new(&scenario.truth, 0).plan().map(|plan| plan.cost)
    } else {
        None
    };
    (scenario, cost)
}

fn data_folder(arguments: &Scenarios) -> Option<PathBuf> {
    let usual = PathBuf::from(USUAL_DATA);
    arguments.data.clone().or_else(|| usual.is_dir().then_some(usual))
}

fn needed(data: Option<PathBuf>, suite: &str) -> Result<PathBuf, Failure> {
    data.ok_or_else(|| {
        Failure::Input(format!(
            "--suite {suite} reads public data, and {USUAL_DATA} does not exist; name its folder with --data or \
             COUNTERMOVE_DATA"
        ))
    })
}

/// Real rules and flows, or our own few.
fn vocabulary(data: Option<&Path>, console: &Console) -> Result<Vocabulary, Failure> {
    match data {
        Some(folder) => Vocabulary::read(folder).map_err(input),
        None => {
            console.line(&format!(
                "{USUAL_DATA} does not exist and --data names no folder: scenarios are made of the built-in rules and attack \
                 flows, which are few"
            ));
            Ok(Vocabulary::builtin())
        }
    }
}

/// The scenarios of a folder.
fn folders(suite: &Path) -> Result<Vec<Scenario>, Failure> {
    if !suite.is_dir() {
        return Err(Failure::Input(format!(
            "--suite {}: this is neither `simulated`, `real` nor `opensec`, and no folder of this name exists",
            suite.display()
        )));
    }
    Scenario::read_all(suite).map_err(input)
}

fn input(error: impl std::fmt::Display) -> Failure {
    Failure::Input(error.to_string())
}
