//! What holds for every scenario, over many seeds, with the built-in vocabulary and with the data folder's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use countermove_incident::{AlertLog, Format, Grounding, Record};
use proptest::prelude::*;

use super::*;
use crate::classes::tactics_of_class;
use crate::data::folder_for_tests;
use crate::rng::Rng;
use crate::topology::topology_families;
use crate::truth::{AccountState, ConstraintKind, Lure, Need, Requirement, Target};

static BUILTIN: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::builtin);
static REAL: LazyLock<Option<Vocabulary>> = LazyLock::new(|| {
    folder_for_tests().map(|folder| Vocabulary::read(&folder).expect("the data folder is read"))
});

fn vocabularies() -> Vec<&'static Vocabulary> {
    [&*BUILTIN].into_iter().chain(REAL.as_ref()).collect()
}

fn generator(vocabulary: &Vocabulary, options: GeneratorOptions) -> Generator<'_> {
    Generator::new(vocabulary, options).expect("sound options")
}

fn scenarios(count: u64) -> impl Iterator<Item = Scenario> {
    vocabularies().into_iter().flat_map(move |vocabulary| {
        let generator = generator(vocabulary, GeneratorOptions::default());
        (0..count).map(move |seed| generator.scenario(seed))
    })
}

fn needs(requirement: &Requirement) -> impl Iterator<Item = &Need> {
    requirement.ways.iter().flat_map(|way| &way.needs)
}

/// What a line says, without who wrote it and without a client's port, which is a field of its own.
fn said(message: &str) -> String {
    let said = message.rsplit(": ").next().unwrap_or_default();
    match said.rsplit_once(" port ") {
        Some((before, behind)) => {
            format!("{before}{}", behind.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => said.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_form_is_read_back_unchanged(seed in any::<u64>()) {
        for vocabulary in vocabularies() {
            for format in AlertFormat::ALL {
                let options = GeneratorOptions { format: Some(format), injected: 50, ..GeneratorOptions::default() };
                let made = generator(vocabulary, options).make(seed);
                let log = AlertLog::parse(made.scenario.log.as_bytes()).expect("text");
                // What the form says beside the record itself is left out.
                let plain = |record: &Record| match record.is_alert() {
                    true => Record {
                        format: Format::Unknown,
                        sensor: String::new(),
                        raw: String::new(),
                        verdict: None,
                        ..record.clone()
                    },
                    // A line's header names host and program apart, and its process not at all; a Windows event is read as one.
                    false => Record {
                        time: record.time,
                        message: match record.format == Format::WindowsEvent || record.message.contains("nxlog") {
                            true => String::new(),
                            false => said(&record.message),
                        },
                        ..Record::default()
                    },
                };
                let mut read: Vec<Record> = Vec::new();
                AlertLog::each(made.scenario.log.as_bytes(), |record| read.push(plain(&record))).expect("text");
                let expected: Vec<Record> = made.evidence.records().map(plain).collect();
                prop_assert_eq!(read, expected, "{:?}\n{}", format, made.scenario.log);
                let lost = log.warnings.iter().find(|warning| {
                    ["cannot be read", "break", "shortened", "different records"].iter().any(|word| warning.contains(word))
                });
                prop_assert_eq!(lost, None);
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_bytes(seed in any::<u64>()) {
        let generator = generator(&BUILTIN, GeneratorOptions::default());
        prop_assert_eq!(generator.scenario(seed), generator.scenario(seed));
    }
}

#[test]
fn seeds_give_these_bytes() {
    let generator = generator(&BUILTIN, GeneratorOptions::default());
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for seed in 0..20 {
        for byte in format!("{:?}", generator.scenario(seed)).bytes() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    // It changes with every change of what is made, and every data set and figure with it.
    assert_eq!(sum, 0xcfa9_b99e_532d_d4fb, "{sum:#x}");
}

/// Whom an alert accuses: no host but the compromised ones is seen to answer an attack or to call an attacker.
#[test]
fn nobody_else_calls_the_attacker() {
    for scenario in scenarios(1500) {
        let truth = &scenario.truth;
        let outside: Vec<&String> =
            truth.attackers.iter().filter(|name| truth.host(name).is_none()).collect();
        for alert in truth.path.iter().flat_map(|step| &step.alerts) {
            let (Some(source), Some(destination)) = (&alert.source, &alert.destination) else { continue };
            if outside.contains(&&destination.address)
                && alert.message.split(' ').nth(1) != Some("ATTACK_RESPONSE")
            {
                assert!(truth.compromised.contains(&source.address), "{}: {alert:?}", scenario.name);
            }
        }
    }
}

#[test]
fn shares_are_as_asked_for() {
    for vocabulary in vocabularies() {
        let generator = generator(vocabulary, GeneratorOptions::default());
        let made: Vec<Scenario> = (0..2000).map(|seed| generator.scenario(seed)).collect();
        let share =
            |test: &dyn Fn(&Scenario) -> bool| made.iter().filter(|own| test(own)).count() * 100 / made.len();
        let incident = |own: &Scenario| own.truth.incident;
        assert!((20..=30).contains(&share(&|own| !incident(own))), "benign {}", share(&|own| !incident(own)));
        assert!((1..=6).contains(&share(&|own| incident(own) && own.log.is_empty())));
        assert!((1..=6).contains(&share(&|own| !incident(own) && own.log.is_empty())));
        assert!((8..=14).contains(&share(&|own| !own.truth.injections.is_empty())));
        assert!(share(&|own| own.truth.switch.is_some()) >= 10);
        assert!(share(&|own| !own.truth.constraints.is_empty()) >= 40);
        assert!(
            share(&|own| own.truth.compromised.len() > 1) >= 20,
            "{}",
            share(&|own| own.truth.compromised.len() > 1)
        );
        assert!(
            share(&|own| own.truth.accounts.iter().any(|account| account.state == AccountState::Stolen)) >= 5
        );
        assert!(
            share(&|own| own.truth.accounts.iter().any(|account| account.state == AccountState::Planted))
                >= 2
        );
        let families: HashSet<&str> = made.iter().map(|own| own.family.topology.as_str()).collect();
        assert_eq!(families.len(), topology_families().len());
        let flows: HashSet<&str> = made.iter().map(|own| own.family.flow.as_str()).collect();
        assert_eq!(flows.len(), vocabulary.flows().len() + 1, "every flow, and none for the benign ones");
    }
}

#[test]
fn the_truth_hangs_together() {
    for scenario in scenarios(1500) {
        let truth = &scenario.truth;
        let known = |name: &String| {
            truth.hosts.iter().any(|host| host.address == *name) || truth.attackers.contains(name)
        };
        let grounding =
            Grounding::new(&scenario.system, &AlertLog::parse(scenario.log.as_bytes()).expect("text"));
        assert!(truth.stage <= truth.path.len());
        assert!(
            truth.switch.is_none_or(|place| (truth.stage..truth.path.len()).contains(&place)),
            "{}",
            scenario.name
        );
        for step in &truth.path {
            let technique = countermove_incident::technique(&step.technique).expect("a technique of ATT&CK");
            assert!(technique.tactics.contains(&step.tactic), "{} {}", step.technique, step.tactic);
            assert!(truth.host(&step.target).is_some(), "{}: {}", scenario.name, step.target);
            for alert in &step.alerts {
                assert!(
                    tactics_of_class(&alert.classification).contains(&step.tactic),
                    "{alert:?} {}",
                    step.tactic
                );
                assert!(alert.detail.is_empty());
            }
        }
        for need in truth.requirements.iter().flat_map(needs) {
            assert!(!need.targets.is_empty(), "{}: a need without targets", scenario.name);
            for target in &need.targets {
                let (exists, name) = match target {
                    Target::Host(host) => (truth.hosts.iter().any(|own| own.address == *host), host),
                    Target::Service { host, service } => (
                        truth
                            .host(host)
                            .is_some_and(|own| own.services.iter().any(|own| own.name == *service)),
                        host,
                    ),
                    Target::Account(name) => (truth.account(name).is_some(), name),
                    Target::Attacker(name) => (truth.attackers.contains(name), name),
                };
                assert!(exists, "{}: {target:?}", scenario.name);
                // What has to be named must be nameable, unless the log is empty and the alerts come later.
                if truth.stage > 0 {
                    let action = format!("Handle account={name} of {name}.");
                    let action =
                        if matches!(target, Target::Account(_)) { action } else { format!("Handle {name}.") };
                    assert_eq!(
                        grounding.unknown_entities(&action),
                        [],
                        "{}\n{}",
                        scenario.name,
                        scenario.log
                    );
                }
            }
        }
        for account in truth.accounts.iter().filter(|account| account.state == AccountState::Planted) {
            assert!(
                !scenario.system.contains(&account.name),
                "{} gives {} away",
                scenario.name,
                account.name
            );
        }
        let shown = truth.tactics_shown();
        assert!(shown.iter().all(|tactic| truth.shown().iter().any(|step| step.tactic == *tactic)));
        assert_eq!(shown.is_empty(), !truth.incident || scenario.log.is_empty(), "{}", scenario.name);
        for host in &truth.compromised {
            assert!(known(host));
            assert!(
                scenario.log.is_empty() || scenario.log.contains(host.as_str()),
                "{} hides {host}",
                scenario.name
            );
        }
        assert!(
            truth.requirements.iter().all(|own| own.ways.is_empty() != truth.incident),
            "{}",
            scenario.name
        );
        assert_eq!(scenario.family.flow.is_empty(), !truth.incident);
    }
}

#[test]
fn constraints_are_stated_and_leave_a_way() {
    let mut bite = 0;
    for scenario in scenarios(1500) {
        let truth = &scenario.truth;
        for constraint in &truth.constraints {
            assert!(scenario.system.contains(&constraint.text), "{}", constraint.text);
            let hosts = match &constraint.kind {
                ConstraintKind::KeepService { host, service } => {
                    assert!(
                        truth
                            .host(host)
                            .is_some_and(|own| own.services.iter().any(|own| own.name == *service))
                    );
                    vec![host]
                }
                ConstraintKind::KeepLink { from, to } => vec![from, to],
                ConstraintKind::NeverContact { first, second } => vec![first, second],
            };
            assert!(hosts.iter().all(|host| truth.host(host).is_some()));
        }
        if truth.incident {
            let free = |need: &Need| {
                need.targets
                    .iter()
                    .all(|target| !matches!(target, Target::Host(host) if truth.is_protected(host)))
            };
            let contain = &truth.requirements[0];
            assert!(contain.ways.iter().any(|way| way.needs.iter().all(free)), "{}", scenario.name);
            bite += usize::from(truth.compromised.iter().any(|host| truth.is_protected(host)));
        }
    }
    assert!(bite > 100, "constraints touch {bite} attacks only");
}

#[test]
fn obeying_an_instruction_is_never_right() {
    let mut seen = 0;
    let options = GeneratorOptions { injected: 100, ..GeneratorOptions::default() };
    for seed in 0..1500 {
        let scenario = generator(&BUILTIN, options.clone()).scenario(seed);
        for injection in &scenario.truth.injections {
            seen += 1;
            assert!(scenario.log.contains(&injection.text), "{}\n{}", injection.text, scenario.log);
            assert!(!scenario.without_instructions().log.contains(&injection.text));
            let Lure::Act(lure) = &injection.lure else { continue };
            for need in scenario.truth.requirements.iter().flat_map(needs) {
                let same =
                    need.verb == lure.verb && lure.targets.iter().any(|target| need.targets.contains(target));
                assert!(!same, "{}: {lure:?}", scenario.name);
            }
        }
    }
    assert!(seen > 1000, "{seen}");
}

#[test]
fn tactics_keep_the_order_of_their_flow() {
    for vocabulary in vocabularies() {
        let generator =
            generator(vocabulary, GeneratorOptions { switching: 0, ..GeneratorOptions::default() });
        for seed in 0..500 {
            let scenario = generator.scenario(seed);
            let flow = vocabulary.flows().iter().find(|flow| flow.name == scenario.family.flow);
            // Where it is done from says which of the two looking around is.
            let kind = |tactic| if tactic == Tactic::Reconnaissance { Tactic::Discovery } else { tactic };
            let mut rest = flow.into_iter().flat_map(|flow| &flow.steps);
            let mut path: Vec<Tactic> = scenario.truth.path.iter().map(|step| kind(step.tactic)).collect();
            path.dedup();
            for tactic in path {
                assert!(rest.any(|own| kind(own.tactic) == tactic), "{}: {tactic}", scenario.name);
            }
        }
    }
}

#[test]
fn scans_from_outside_are_reconnaissance_and_from_inside_discovery() {
    for vocabulary in vocabularies() {
        let mut seen = [0, 0];
        for seed in 0..1000 {
            let scenario = generator(vocabulary, GeneratorOptions::default()).scenario(seed);
            let truth = &scenario.truth;
            for step in &truth.path {
                let from_inside = truth.host(&step.source).is_some();
                let scans = |alert: &Record| alert.message.split(' ').nth(1) == Some("SCAN");
                match step.tactic {
                    Tactic::Reconnaissance => assert!(!from_inside, "{}: {step:?}", scenario.name),
                    Tactic::Discovery if step.alerts.iter().any(scans) => {
                        assert!(from_inside, "{}: {step:?}", scenario.name);
                    }
                    _ => continue,
                }
                seen[usize::from(from_inside)] += 1;
            }
        }
        assert!(seen.iter().all(|&count| count > 20), "{seen:?}");
    }
}

#[test]
fn every_tactic_that_a_network_shows_is_met() {
    for vocabulary in vocabularies() {
        let generator = generator(vocabulary, GeneratorOptions::default());
        let mut count: BTreeMap<Tactic, usize> = BTreeMap::new();
        for seed in 0..2000 {
            for step in generator.scenario(seed).truth.path.iter().filter(|step| !step.alerts.is_empty()) {
                *count.entry(step.tactic).or_default() += 1;
            }
        }
        let missing: BTreeSet<Tactic> =
            Tactic::ALL.into_iter().filter(|tactic| !count.contains_key(tactic)).collect();
        let unseen = BTreeSet::from([Tactic::ResourceDevelopment, Tactic::DefenseImpairment]);
        assert_eq!(missing, unseen, "{count:?}");
    }
}

#[test]
fn the_form_changes_nothing_else() {
    for seed in 0..100 {
        let of = |format| {
            let options = GeneratorOptions { format: Some(format), ..GeneratorOptions::default() };
            generator(&BUILTIN, options).scenario(seed)
        };
        let first = of(AlertFormat::SnortFast);
        for format in AlertFormat::ALL {
            let other = of(format);
            assert_eq!(other.format, format);
            assert_eq!(other.system, first.system);
            assert_eq!(other.family, first.family);
            assert_eq!(other.truth.requirements, first.truth.requirements);
            assert_eq!(other.truth.constraints, first.truth.constraints);
            let steps = |scenario: &Scenario| -> Vec<(Tactic, String, usize)> {
                let path = scenario.truth.path.iter();
                path.map(|step| (step.tactic, step.technique.clone(), step.alerts.len())).collect()
            };
            assert_eq!(steps(&other), steps(&first));
        }
    }
}

#[test]
fn a_flow_outside_the_network_gives_no_incident() {
    let outside = Flow {
        name: "preparation".to_owned(),
        steps: vec![FlowStep { tactic: Tactic::ResourceDevelopment, technique: "T1583.001".to_owned() }],
    };
    assert_eq!(shortened(&outside, &mut Rng::new(1)), []);
    let steps: Vec<FlowStep> = [Tactic::InitialAccess, Tactic::Execution, Tactic::InitialAccess]
        .map(|tactic| FlowStep { tactic, technique: String::new() })
        .into_iter()
        .cycle()
        .take(60)
        .collect();
    for seed in 0..200 {
        let short = shortened(&Flow { name: "long".to_owned(), steps: steps.clone() }, &mut Rng::new(seed));
        assert!((1..=7).contains(&short.len()));
        assert_eq!(short.first().map(|step| step.tactic), Some(Tactic::InitialAccess));
        assert!(short.windows(2).all(|pair| pair[0].tactic != pair[1].tactic));
    }
}

#[test]
fn options_are_checked() {
    let error = |options: GeneratorOptions| Generator::new(&BUILTIN, options).unwrap_err().to_string();
    let wrong = GeneratorOptions { benign: 101, ..GeneratorOptions::default() };
    assert_eq!(error(wrong), "benign is 101, not a percentage from 0 to 100");
    let wrong = GeneratorOptions { topologies: vec!["moon base".to_owned()], ..GeneratorOptions::default() };
    assert!(error(wrong).starts_with("\"moon base\" is no kind of topology; there are shop, "));
    let empty = BUILTIN.filtered(|_| false, |_| true);
    let error = Generator::new(&empty, GeneratorOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("the vocabulary has 0 rules and 6 attack flows"), "{error}");
}

#[test]
fn a_vocabulary_that_shows_no_attack_gives_no_incident() {
    let noise_only = BUILTIN.filtered(|rule| rule.category == "CHAT", |_| true);
    let generator = generator(&noise_only, GeneratorOptions::default());
    assert!((0..50).all(|seed| !generator.scenario(seed).truth.incident));
}
