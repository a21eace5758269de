use proptest::prelude::*;

use super::*;
use crate::data::folder_for_tests;
use crate::evaluation::{MEASURES, measure};
use crate::oracle::Oracle;
use crate::{Generator, GeneratorOptions, Judge, Vocabulary};

const KINDS: [PolicyKind; 3] = [PolicyKind::Random, PolicyKind::Playbook, PolicyKind::Greedy];

/// Scenarios of both vocabularies.
fn scenarios(count: u64) -> Vec<Scenario> {
    let real = folder_for_tests().map(|folder| Vocabulary::read(&folder).unwrap());
    let vocabularies = [Vocabulary::builtin()].into_iter().chain(real);
    vocabularies
        .flat_map(|vocabulary| {
            let generator = Generator::new(&vocabulary, GeneratorOptions::default()).unwrap();
            (0..count).map(|seed| generator.scenario(seed)).collect::<Vec<_>>()
        })
        .collect()
}

/// The oracle's plan, played like a policy's.
fn by_oracle(scenario: &Scenario, mut episode: Episode) -> Episode {
    let mut world = World::new(scenario);
    for action in Oracle::new(&scenario.truth, 0).plan().unwrap_or_default().actions {
        let before = world.state();
        let outcome = world.apply(&action.text);
        episode.moves.push(Move::new(action.text, before, None, &outcome));
    }
    episode
}

#[test]
fn random_playbook_and_oracle_stand_in_this_order() {
    let scenarios: Vec<Scenario> =
        scenarios(120).into_iter().filter(|scenario| scenario.truth.incident).collect();
    let begun = |scenario: &Scenario| {
        let cost = Oracle::new(&scenario.truth, 0).plan().map(|plan| plan.cost);
        Episode::new(&scenario.name, &scenario.truth, cost)
    };
    let policy = |kind| -> Vec<Episode> {
        scenarios.iter().map(|own| play(kind, own, own.seed, 10, begun(own))).collect()
    };
    let ranks = [
        policy(PolicyKind::Random),
        policy(PolicyKind::Greedy),
        policy(PolicyKind::Playbook),
        scenarios.iter().map(|own| by_oracle(own, begun(own))).collect(),
    ];
    let figure = |episodes: &[Episode], name: &str| {
        let place = MEASURES.iter().position(|measure| measure.name == name).unwrap();
        measure(episodes)[place].unwrap_or(0.0)
    };
    let [random, greedy, playbook, oracle] = ranks.each_ref().map(|episodes| {
        let names =
            ["recovered_share", "achieved_facts", "superfluous_actions", "charged_cost", "recovery_cost"];
        names.map(|name| figure(episodes, name))
    });
    let shown = format!("random {random:?}, greedy {greedy:?}, playbook {playbook:?}, oracle {oracle:?}");
    eprintln!("{shown}");
    // Recovered from; facts that hold.
    for column in [0, 1] {
        assert!(random[column] < playbook[column] && playbook[column] < oracle[column], "{shown}");
        assert!(random[column] < oracle[column] && greedy[column] < oracle[column], "{shown}");
    }
    assert!(random[1] < greedy[1], "{shown}");
    // Superfluous actions; cost.
    for column in [2, 3] {
        assert!(random[column] > playbook[column] && playbook[column] > oracle[column], "{shown}");
    }
    assert_eq!((oracle[0], oracle[1], oracle[2]), (1.0, 6.0, 0.0), "{shown}");
    // Nobody recovers for less without breaking a constraint more.
    for episodes in &ranks {
        for (episode, best) in episodes.iter().zip(&ranks[3]).filter(|(episode, _)| episode.recovered()) {
            let price = |episode: &Episode| {
                let broken: u64 = episode.moves.iter().map(|one| one.violations).sum();
                (broken, episode.cost())
            };
            assert!(price(episode) >= price(best), "{}: {:?}", episode.scenario, episode.moves);
        }
    }
}

#[test]
fn what_a_policy_names_exists() {
    for scenario in scenarios(150) {
        for kind in KINDS {
            let episode = Episode::new(&scenario.name, &scenario.truth, None);
            let episode = play(kind, &scenario, 7, 10, episode);
            for one in &episode.moves {
                assert_eq!(
                    one.hallucinated, 0,
                    "{kind:?} {}: {}\n{}",
                    scenario.name, one.action, scenario.log
                );
            }
        }
    }
}

#[test]
fn what_a_policy_says_is_what_the_rules_read() {
    let scenario = crate::testing::scenario();
    let log = "06/03-12:59:31.0 [**] [1:1:1] login of user=svc_backup, query for evil.example [**] [Classification: \
               Attempted Administrator Privilege Gain] [Priority: 1] {TCP} 203.0.113.9:4444 -> 10.0.2.11:22\n\
               06/03-12:59:32.0 [**] [1:1:1] x [**] [Classification: Attempted User Privilege Gain] [Priority: 1] {TCP} \
               10.0.2.11:4444 -> 10.0.2.12:445\n";
    let scenario = Scenario { log: log.to_owned(), ..scenario };
    let judge = Judge::new(&scenario.truth);
    let mut policy = Policy::new(PolicyKind::Playbook, scenario.brief(), 0);
    assert_eq!(policy.verdict().map(|(is_incident, _)| is_incident), Some(true));
    let mut state = RecoveryState::default();
    for (kind, fact) in PHASES {
        let text = policy.next(state).unwrap();
        assert_eq!(judge.read(&text).kinds(), [kind], "{text}");
        let mut bits = state.bits();
        bits[fact] = true;
        state = RecoveryState::from_bits(bits);
    }
    assert_eq!(policy.next(RecoveryState::from_bits([true; 6])), None);
    let episode = Episode::new("x", &scenario.truth, Some(6.0));
    let episode = play(PolicyKind::Playbook, &scenario, 0, 6, episode);
    assert!(episode.recovered(), "{:?}", episode.moves);
    assert_eq!(episode.cost(), 6.0);
}

#[test]
fn nothing_to_see_is_no_incident_and_nothing_to_do() {
    let scenario = Scenario { log: String::new(), ..crate::testing::scenario() };
    for kind in [PolicyKind::Playbook, PolicyKind::Greedy] {
        let mut policy = Policy::new(kind, scenario.brief(), 0);
        assert_eq!(policy.verdict(), Some((false, Vec::new())));
        assert_eq!(policy.next(RecoveryState::default()), None);
        let episode = play(kind, &scenario, 0, 10, Episode::new("x", &scenario.truth, None));
        assert_eq!((episode.verdict, episode.moves.len()), (Some(false), 0));
    }
    let mut random = Policy::new(PolicyKind::Random, Brief { system: "", log: "", remarks: "" }, 0);
    assert_eq!(random.next(RecoveryState::default()), None);
}

#[test]
fn a_policy_hears_what_comes() {
    let scenario = Scenario { log: String::new(), ..crate::testing::scenario() };
    let mut policy = Policy::new(PolicyKind::Greedy, scenario.brief(), 0);
    policy.hear(&crate::testing::scenario().log);
    let text = policy.next(RecoveryState::default()).unwrap();
    assert_eq!(text, "Isolate 10.0.2.11 from the network.");
    assert_eq!(policy.next(RecoveryState::default()).unwrap(), "Block all traffic from 203.0.113.9.");
}

proptest! {
    #[test]
    fn no_evidence_is_too_much(system in any::<String>(), log in any::<String>(), seed in any::<u64>()) {
        for kind in KINDS {
            let brief = Brief { system: &system, log: &log, remarks: "" };
            let mut policy = Policy::new(kind, brief, seed);
            let twin = Policy::new(kind, brief, seed).next(RecoveryState::default());
            prop_assert_eq!(policy.next(RecoveryState::default()), twin);
            policy.hear(&log);
            let _ = policy.next(RecoveryState::default());
        }
    }
}
