//! Proposals that cannot be used.

use super::*;

#[tokio::test]
async fn duplicates_are_rejected_and_said() {
    let model =
        acting(&["Block all traffic from 203.0.113.7", "block ALL traffic  from 203.0.113.7."], by_seed);
    let (plan, events) = plan(&model, PlanOptions { max_steps: 1, ..options() }).await;
    let step = &plan.steps[0];
    assert_eq!(step.candidates.len(), 1);
    // The first round asks for three, later ones for the two that are missing, at most nine in all.
    assert_eq!(step.rejected.len(), 8);
    assert!(step.rejected.iter().all(|rejected| rejected.reason.contains("repeats another candidate")));
    let notice =
        events.iter().find_map(|event| if let PlanEvent::Notice(text) = event { Some(text) } else { None });
    assert!(notice.unwrap().contains("only 1 candidate instead of 3"), "{notice:?}");
    let asked = model.asked();
    let retried =
        asked.iter().any(|question| question.prompt.segments.concat().contains("Not wanted: Block"));
    assert!(retried, "later rounds say what is there already");
}

#[tokio::test]
async fn beside_who_cuts_off_a_host_in_doubt_stands_the_same_without_it() {
    let model = model(optimist);
    let planner = planner(&model);
    let evidence = Evidence { constraints: Vec::new(), ..evidence() };
    let options = PlanOptions { mode: PlanMode::Interactive, ..options() };
    for (chances, spared) in [
        ([1.0, 0.6], true),
        ([0.8, 0.3], true),
        ([0.8, 0.7], true),
        ([1.0, 0.95], false),
        ([0.6, 0.6], false),
    ] {
        let mut session = planner.session("incidents/1", &evidence, options.clone()).unwrap();
        planner.run(&mut session, &|_| {}).await;
        let entities = &mut session.assessment.as_mut().unwrap().entities;
        entities.targets = ["10.0.2.13", "10.0.2.14"].map(String::from).to_vec();
        entities.compromised = entities.targets.iter().cloned().zip(chances).collect();
        session.reject(0, "We know more.", Vec::new()).unwrap();
        planner.run(&mut session, &|_| {}).await;
        let candidates = &session.steps()[0].candidates;
        let proposes = |text: &str| candidates.iter().any(|candidate| candidate.action.text == text);
        assert!(proposes("Isolate 10.0.2.13 and 10.0.2.14 from the network"), "{candidates:?}");
        assert_eq!(proposes("Isolate 10.0.2.13 from the network"), spared, "{chances:?}: {candidates:?}");
        assert!(candidates.iter().all(|candidate| candidate.cost.terminal > 0), "all are rolled out");

        // Nobody is spared who was cut off before, in vain.
        let both = |candidate: &&crate::Candidate| candidate.action.text.starts_with("Isolate 10.0.2.13 and");
        let hash = candidates.iter().find(both).unwrap().hash.clone();
        session.approve(0, &hash, None).unwrap();
        session.report_outcome(0, RecoveryState::default()).unwrap();
        planner.run(&mut session, &|_| {}).await;
        let candidates = &session.steps()[1].candidates;
        let alone = |text: &str| text.starts_with("Isolate 10.0.2.13 from");
        assert!(!candidates.iter().any(|candidate| alone(&candidate.action.text)), "{candidates:?}");
    }
}

#[tokio::test]
async fn actions_on_what_does_not_exist_are_rejected() {
    let model = acting(&["Block all traffic from 198.51.100.99", "Isolate 10.9.9.9"], by_seed);
    let (plan, events) = plan(&model, options()).await;
    assert_eq!(plan.ended.end, PlanEnd::NoCandidate);
    assert!(plan.steps.is_empty());
    let why = &plan.ended.error;
    assert!(why.starts_with("nothing is left to try for what does not hold (attack contained, "), "{why}");
    assert!(why.contains("% the attacker comes back from an address that no record tells of; \""), "{why}");
    assert!(why.contains("was thrown away: "), "{why}");
    let rejected = events.iter().find_map(|event| match event {
        PlanEvent::Proposed { candidates, rejected, .. } if candidates.is_empty() => Some(rejected),
        _ => None,
    });
    let rejected = rejected.unwrap();
    assert_eq!(rejected.len(), 9);
    for rejected in rejected {
        let named = rejected.action.text.rsplit(' ').next().unwrap();
        assert!(rejected.reason.contains(named), "{}", rejected.reason);
    }
}

#[tokio::test]
async fn an_action_that_changed_nothing_is_not_proposed_again() {
    const ACTIONS: [&str; 2] = ["Block all traffic from 203.0.113.7", "Patch the web server on 10.0.2.13"];
    let model = model(|question| match task(question) {
        Task::Action => Ok(serde_json::json!({"Action": ACTIONS[by_seed(question) % 2]}).to_string()),
        Task::State => optimist(question).map(|json| json.replace("true", "false")),
        Task::Incident => optimist(question),
    });
    let options = PlanOptions { max_steps: 3, candidates: 4, ..options() };
    let (plan, events) = plan(&model, options).await;
    assert_eq!(plan.ended.end, PlanEnd::NoCandidate);
    assert_eq!(plan.steps.len(), 2);
    assert_ne!(plan.steps[0].action(), plan.steps[1].action());
    let last = events.iter().rev().find_map(|event| match event {
        PlanEvent::Proposed { rejected, .. } => Some(rejected),
        _ => None,
    });
    let last = last.unwrap();
    assert!(last.iter().all(|rejected| rejected.reason.contains("changed nothing")), "{last:?}");
    let history = model.asked().last().unwrap().prompt.segments[1].clone();
    assert_eq!(history.matches("Changed nothing: ").count(), 2, "{history}");
}
