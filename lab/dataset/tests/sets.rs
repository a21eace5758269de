//! Training sets as a whole: labels, leaks, splits, determinism, forms.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use countermove_dataset::{
    Card, DatasetError, DatasetOptions, Example, Form, Split, Task, generate, lessons, parts, read_examples,
    read_pairs,
};
use countermove_incident::RecoveryState;
use countermove_planner::Templates;
use countermove_simulator::{AccountState, Generator, GeneratorOptions, Scenario, Vocabulary, World};

fn templates() -> Arc<Templates> {
    Arc::new(Templates::load(None).unwrap())
}

/// The real rules and flows where they are at hand.
fn vocabulary() -> Vocabulary {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if folder.is_dir() { Vocabulary::read(&folder).unwrap() } else { Vocabulary::builtin() }
}

fn scenarios(count: u64) -> Vec<Scenario> {
    let vocabulary = vocabulary();
    let generator = Generator::new(&vocabulary, GeneratorOptions::default()).unwrap();
    (0..count).map(|seed| generator.scenario(seed)).collect()
}

fn set(folder: &Path, count: u64, seed: u64, form: Form) -> Card {
    let out = folder.join("set");
    let options = DatasetOptions { count, seed, out, form, source: "built-in rules".into() };
    let vocabulary = vocabulary();
    generate(&vocabulary, &templates(), &options, |_| true).unwrap()
}

fn all(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder.join("set")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// The action in the prompt of the task *state*, and the state before it.
fn told(example: &Example) -> (RecoveryState, String) {
    let turn = example.prompt.last().unwrap();
    let line = |start: &str| turn.lines().find_map(|line| line.strip_prefix(start)).unwrap().to_owned();
    let achieved = line("True before: ");
    let before = RecoveryState::LABELS.map(|label| achieved.split(", ").any(|own| own == label));
    (RecoveryState::from_bits(before), line("Action: "))
}

#[test]
fn labels_are_the_worlds() {
    let mut checked = 0;
    for scenario in scenarios(60) {
        let lessons = lessons(&scenario, Split::Train, &templates()).unwrap();
        // Before anything was done, an action brings about what it does in a fresh world.
        let mut seen: Vec<String> = Vec::new();
        for example in lessons.examples.iter().filter(|example| example.task == Task::State) {
            let (before, action) = told(example);
            let first = example.prompt.last().unwrap();
            if before != RecoveryState::default() || first.contains("it adds nothing") {
                break;
            }
            let mut world = World::new(&scenario);
            let outcome = world.apply(&action);
            let answer: BTreeMap<String, bool> = serde_json::from_str(&example.answer).unwrap();
            let says: Vec<&str> =
                answer.iter().filter(|(_, holds)| **holds).map(|(name, _)| name.as_str()).collect();
            let holds: Vec<&str> = RecoveryState::NAMES
                .into_iter()
                .zip(outcome.state.bits())
                .filter(|(_, holds)| *holds)
                .map(|(name, _)| name)
                .collect();
            // Earlier actions may have reached part of what this one completes, or moved the attacker on; the first
            // examples of an incident are about its beginning.
            if !seen.contains(&action) && seen.len() < 4 {
                let mut says = says;
                says.sort_by_key(|name| RecoveryState::NAMES.iter().position(|own| own == name));
                assert_eq!(says, holds, "{}: {action}", scenario.name);
                checked += 1;
            }
            seen.push(action);
        }
        for example in lessons.examples.iter().filter(|example| example.task == Task::Action) {
            let answer: BTreeMap<String, String> = serde_json::from_str(&example.answer).unwrap();
            let outcome = World::new(&scenario).apply(&answer["Action"]);
            assert!(outcome.hallucinated.is_empty() && outcome.violations.is_empty(), "{:?}", outcome);
            assert!(outcome.collateral.is_empty(), "{outcome:?}");
        }
    }
    assert!(checked > 150, "{checked}");
}

#[test]
fn nothing_that_only_the_truth_knows_is_in_a_prompt() {
    let mut hidden = 0;
    for scenario in scenarios(120) {
        let lessons = lessons(&scenario, Split::Train, &templates()).unwrap();
        let visible = format!("{}\n{}", scenario.system, scenario.log).to_lowercase();
        // Names that neither the description nor the log mentions, such as a server that is called home to later.
        let accounts = scenario.truth.accounts.iter().filter(|account| account.state != AccountState::Clean);
        let names = scenario.truth.attackers.iter().chain(accounts.map(|account| &account.name));
        let unseen: Vec<&String> = names.filter(|name| !visible.contains(&name.to_lowercase())).collect();
        hidden += unseen.len();
        for example in &lessons.examples {
            let prompt = example.prompt.concat();
            assert!(!prompt.contains(&scenario.name) && !prompt.contains("simulated-"));
            for technique in scenario.truth.path.iter().map(|step| &step.technique) {
                assert!(!prompt.contains(technique.as_str()) || visible.contains(&technique.to_lowercase()));
            }
            // Actions of the oracle and distractors may name what a planner cannot know; nothing else may.
            let turn = match example.task {
                Task::State => prompt.split_once("Action: ").map_or("", |(before, _)| before).to_owned(),
                _ => prompt,
            };
            for name in &unseen {
                assert!(!turn.contains(name.as_str()), "{}: {name} in {turn}", scenario.name);
            }
        }
    }
    assert!(hidden > 10, "{hidden} names to be kept from prompts");
}

#[test]
fn the_same_seed_makes_the_same_set_and_another_another() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let cards: Vec<Card> = folders
        .iter()
        .zip([7, 7, 8])
        .map(|(folder, seed)| set(folder.path(), 40, seed, Form::JsonLines))
        .collect();
    assert_eq!(all(folders[0].path()), all(folders[1].path()));
    assert_eq!(cards[0], cards[1]);
    assert_ne!(all(folders[0].path()), all(folders[2].path()));
}

#[test]
fn splits_share_no_example_and_all_tasks_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let card = set(folder.path(), 240, 3, Form::JsonLines);
    let mut seen: HashSet<(Task, Vec<String>, String)> = HashSet::new();
    let mut families: BTreeMap<Split, BTreeSet<String>> = BTreeMap::new();
    let mut examples = 0;
    for split in Split::ALL {
        let path = folder.path().join("set").join(format!("{}-00000.jsonl", split.name()));
        let mut tasks = BTreeSet::new();
        for example in read_examples(&path).unwrap() {
            assert_eq!(example.split, split);
            assert!(!example.think.is_empty());
            tasks.insert(example.task);
            families.entry(split).or_default().insert(example.scenario.clone());
            assert!(seen.insert((example.task, example.prompt, example.answer)), "an example stands twice");
            examples += 1;
        }
        assert_eq!(tasks.len(), 4, "{split:?}: {tasks:?}");
    }
    assert_eq!(card.examples(), examples);
    let names: Vec<&BTreeSet<String>> = families.values().collect();
    assert!(
        names[0].is_disjoint(names[1]) && names[1].is_disjoint(names[2]) && names[0].is_disjoint(names[2])
    );
    let text = std::fs::read_to_string(folder.path().join("set/card.md")).unwrap();
    assert!(text.contains("| train | state |") && text.contains("seed 3"), "{text}");
    println!("{text}");
    let parts = parts(&vocabulary());
    assert_eq!(parts.map(|part| part.split), Split::ALL);
}

#[test]
fn the_published_form_holds_the_same_examples() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    set(folders[0].path(), 20, 5, Form::JsonLines);
    set(folders[1].path(), 20, 5, Form::Csle);
    for split in Split::ALL {
        let lines =
            read_examples(&folders[0].path().join("set").join(format!("{}-00000.jsonl", split.name())))
                .unwrap();
        let pairs =
            read_pairs(&folders[1].path().join("set").join(format!("{}.json", split.name()))).unwrap();
        assert_eq!(lines.len(), pairs.len());
        for (example, pair) in lines.iter().zip(&pairs) {
            assert!(pair.instruction.starts_with(&example.system));
            assert!(pair.instruction.ends_with(example.prompt.last().unwrap().as_str()));
            assert_eq!(pair.answer, format!("<think>\n{}</think>\n{}", example.think, example.answer));
        }
    }
    assert_eq!(all(folders[1].path()).len(), 4, "no part of a file is left over");
}

#[test]
fn a_folder_that_holds_something_and_broken_lines_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    set(folder.path(), 1, 1, Form::JsonLines);
    let options = DatasetOptions {
        count: 1,
        seed: 1,
        out: folder.path().join("set"),
        form: Form::JsonLines,
        source: String::new(),
    };
    let refused = generate(&Vocabulary::builtin(), &templates(), &options, |_| true);
    assert!(matches!(refused, Err(DatasetError::NotEmpty { .. })));
    let path = folder.path().join("broken.jsonl");
    std::fs::write(&path, "\n{\"task\": \"state\"}\n").unwrap();
    let error = read_examples(&path).unwrap_err().to_string();
    assert!(error.contains("broken.jsonl, line 2: missing field"), "{error}");
}

#[test]
fn an_interrupted_set_is_whole_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let options = DatasetOptions {
        count: 1000,
        seed: 1,
        out: out.clone(),
        form: Form::JsonLines,
        source: String::new(),
    };
    let card = generate(&vocabulary(), &templates(), &options, |progress| progress.incidents < 3).unwrap();
    assert_eq!(card.incidents, 3);
    assert_eq!(read_examples(&out.join("train-00000.jsonl")).unwrap().len() as u64, card.examples());
}
