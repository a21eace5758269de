use std::collections::{BTreeMap, BTreeSet};

use VerbClass::{Analyse, Contain, Eradicate, Harden, Preserve, Restore};
use countermove_incident::{RecoveryState, Tactic};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::testing::{needs, scenario};
use crate::{Constraint, ConstraintKind, Requirement, Step, Way, World};

const ALL: [VerbClass; 6] = [Contain, Preserve, Analyse, Eradicate, Harden, Restore];

fn pool() -> Vec<Target> {
    vec![
        Target::Host("10.0.2.11".into()),
        Target::Host("10.0.2.12".into()),
        Target::Account("svc_backup".into()),
        Target::Attacker("203.0.113.9".into()),
    ]
}

fn need(kinds: Vec<VerbClass>, most: usize) -> impl Strategy<Value = Need> {
    (select(kinds), subsequence(pool(), 1..=most)).prop_map(|(verb, targets)| Need { verb, targets })
}

/// Mostly what a fact is really brought about by, sometimes anything.
fn requirement(usual: VerbClass) -> impl Strategy<Value = Requirement> {
    let usual = move || prop_oneof![3 => need(vec![usual], 2), 1 => need(ALL.to_vec(), 2)];
    let ways = proptest::collection::vec(
        proptest::collection::vec(usual(), 1..=2).prop_map(|needs| Way { needs, fallback: false }),
        0..=2,
    );
    let fallback = proptest::option::of(proptest::collection::vec(need(vec![Preserve, Analyse], 2), 1..=2));
    (ways, fallback).prop_map(|(mut ways, fallback)| {
        ways.extend(fallback.filter(|_| !ways.is_empty()).map(|needs| Way { needs, fallback: true }));
        Requirement { ways }
    })
}

/// Small incidents: four targets, a few ways, a path, a constraint.
fn truths() -> impl Strategy<Value = Truth> {
    let requirements = (
        requirement(Contain),
        requirement(Analyse),
        requirement(Preserve),
        requirement(Eradicate),
        requirement(Harden),
        requirement(Restore),
    );
    let path = proptest::collection::vec(
        select(vec![("203.0.113.9", "10.0.2.11"), ("10.0.2.11", "10.0.2.12"), ("10.0.2.12", "10.0.2.12")]),
        0..4,
    );
    let kept = proptest::option::of(select(vec![("10.0.2.11", "OpenSSH"), ("10.0.2.12", "Samba 4.2")]));
    (requirements, path, 0..3_usize, kept).prop_map(|((a, b, c, d, e, f), path, stage, kept)| {
        let step = |(source, target): (&str, &str)| Step {
            tactic: Tactic::LateralMovement,
            technique: "T1021".into(),
            source: source.into(),
            target: target.into(),
            alerts: Vec::new(),
        };
        let kind = |(host, service): (&str, &str)| ConstraintKind::KeepService {
            host: host.into(),
            service: service.into(),
        };
        let constraint = |kept| Constraint { id: "C1".into(), text: String::new(), kind: kind(kept) };
        Truth {
            requirements: [a, b, c, d, e, f],
            stage: stage.min(path.len()),
            path: path.into_iter().map(step).collect(),
            constraints: kept.into_iter().map(constraint).collect(),
            ..scenario().truth
        }
    })
}

/// Every action that can have an effect: each kind of response on each set of the targets that it is asked for at all.
fn every_action(truth: &Truth, judge: &Judge<'_>) -> Vec<(Move, usize)> {
    let mut actions = Vec::new();
    for kind in ALL {
        let asked: BTreeSet<&Target> =
            needs(truth).filter(|need| need.verb == kind).flat_map(|need| &need.targets).collect();
        let asked: Vec<&Target> = asked.into_iter().collect();
        for chosen in 1_usize..1 << asked.len() {
            let targets: Vec<Target> = asked
                .iter()
                .enumerate()
                .filter(|(at, _)| chosen >> at & 1 == 1)
                .map(|(_, target)| (*target).clone())
                .collect();
            let action = judge.read(&sentence(truth, kind, &targets, 0));
            let violations = judge.violations(&action).len();
            actions.push((judge.prepare(&action), violations));
        }
    }
    actions
}

#[test]
fn one_action_may_bring_about_its_own_fact_and_open_a_fallback() {
    let host = |last: u8| Target::Host(format!("10.0.2.{last}"));
    let need = |verb, targets| Need { verb, targets };
    let way = |needs, fallback| Way { needs, fallback };
    let account = Target::Account("svc_backup".into());
    let mut truth = Truth { requirements: Default::default(), path: Vec::new(), ..scenario().truth };
    truth.stage = 0;
    truth.constraints.clear();
    truth.requirements[2].ways = vec![
        way(vec![need(Preserve, vec![host(12)]), need(Contain, vec![account])], false),
        way(vec![need(Preserve, vec![host(11)])], true),
    ];
    truth.requirements[3].ways = vec![way(vec![need(Eradicate, vec![host(11), host(12)])], false)];
    let plan = Oracle::new(&truth, 0).plan().expect("a plan");
    let kinds: Vec<VerbClass> = plan.actions.iter().map(|planned| planned.kind).collect();
    assert_eq!((plan.cost, kinds), (3.0, vec![Preserve, Eradicate]), "{plan:?}");
}

/// The least price of recovery by trying everything, cheapest first; none if there is none below the bound.
fn exhaustive(truth: &Truth, judge: &Judge<'_>, bound: Option<Price>) -> Option<Price> {
    let actions = every_action(truth, judge);
    // Sets: many ways lead to one position at one price.
    let mut open: BTreeMap<Price, BTreeSet<Position>> =
        BTreeMap::from([((0, 0), BTreeSet::from([judge.start()]))]);
    let mut seen: BTreeSet<Position> = BTreeSet::new();
    while let Some((price, level)) = open.pop_first() {
        if bound.is_some_and(|bound| price >= bound) {
            return None;
        }
        for position in level {
            if judge.state(&position).is_terminal() {
                return Some(price);
            }
            if !seen.insert(position.clone()) {
                continue;
            }
            for (action, violations) in &actions {
                let effect = judge.apply(&position, action);
                if !seen.contains(&effect.position) {
                    let cost = if effect.superfluous { 2 } else { 1 };
                    let reached = (price.0 + violations, price.1 + cost);
                    open.entry(reached).or_default().insert(effect.position);
                }
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn no_cheaper_plan_exists(truth in truths(), style in 0..STYLES) {
        let oracle = Oracle::new(&truth, style);
        match oracle.plan() {
            None => prop_assert_eq!(exhaustive(&truth, oracle.judge(), None), None, "a plan was missed"),
            Some(plan) => {
                let price = (plan.violations, plan.cost as u32);
                prop_assert_eq!(exhaustive(&truth, oracle.judge(), Some(price)), None, "cheaper than {:?}", plan);
            }
        }
    }

    #[test]
    fn a_plan_does_in_the_world_what_it_promises(truth in truths(), style in 0..STYLES) {
        let scenario = crate::Scenario { truth, ..scenario() };
        let Some(plan) = Oracle::new(&scenario.truth, style).plan() else { return Ok(()) };
        let mut world = World::new(&scenario);
        let (mut cost, mut violations) = (0.0, 0);
        for action in &plan.actions {
            let outcome = world.apply(&action.text);
            prop_assert_eq!(outcome.kind, Some(action.kind), "{}", action.text);
            prop_assert!(outcome.hallucinated.is_empty(), "{}: {:?}", action.text, outcome.hallucinated);
            cost += outcome.cost;
            violations += outcome.violations.len();
        }
        prop_assert!(world.state().is_terminal());
        prop_assert_eq!((cost, violations), (plan.cost, plan.violations));
    }
}

#[test]
fn the_usual_incident_takes_six_actions() {
    let scenario = scenario();
    let oracle = Oracle::new(&scenario.truth, 0);
    let plan = oracle.plan().unwrap();
    assert_eq!((plan.cost, plan.actions.len(), plan.violations), (6.0, 6, 0));
    assert!(plan.actions.iter().any(|action| action.text
        == "Remove the malware and the backdoors from server_ssh (10.0.2.11) and server_samba (10.0.2.12)."));
    assert!(oracle.judge().state(&oracle.judge().start()) == RecoveryState::default());
}

#[test]
fn a_constraint_is_worth_a_dearer_way() {
    let mut truth = scenario().truth;
    truth.constraints = vec![Constraint {
        id: "C1".into(),
        text: String::new(),
        kind: ConstraintKind::KeepService { host: "10.0.2.11".into(), service: "OpenSSH".into() },
    }];
    assert_eq!(Oracle::new(&truth, 1).plan().unwrap().violations, 1, "there is no other way");
    let attacker = Target::Attacker("203.0.113.9".into());
    let detour = Way {
        needs: vec![
            Need { verb: Contain, targets: vec![attacker] },
            Need { verb: Harden, targets: vec![Target::Account("svc_backup".into())] },
        ],
        fallback: false,
    };
    truth.requirements[0].ways.push(detour);
    let plan = Oracle::new(&truth, 1).plan().unwrap();
    assert_eq!(plan.violations, 0, "{plan:?}");
    let isolates = |action: &Planned| {
        action.kind == Contain && action.targets.contains(&Target::Host("10.0.2.11".into()))
    };
    assert!(!plan.actions.iter().any(isolates), "{plan:?}");
}

#[test]
fn what_cannot_be_done_has_no_plan() {
    let mut truth = scenario().truth;
    truth.requirements[3].ways = vec![Way {
        needs: vec![Need { verb: Eradicate, targets: vec![Target::Host("192.0.2.1".into())] }],
        fallback: false,
    }];
    assert_eq!(Oracle::new(&truth, 0).plan(), None);
    truth.incident = false;
    assert_eq!(Oracle::new(&truth, 0).plan(), Some(Plan::default()));
}
