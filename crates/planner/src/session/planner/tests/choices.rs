//! Rules, prices, races and budgets, from the evidence to the choice.

use std::collections::BTreeMap;
use std::sync::Arc;

use countermove_incident::{MinuteTable, Pricing, VerbClass};

use super::*;
use crate::options::Budget;
use crate::rollouts::runner::RolloutEnd;

const WEB: &str = "10.0.2.13";

fn rollouts(events: &[PlanEvent]) -> BTreeMap<crate::RolloutKey, crate::RolloutResult> {
    let one = |event: &PlanEvent| match event {
        PlanEvent::Rollout(report) => Some((report.result.key, report.result.clone())),
        _ => None,
    };
    events.iter().filter_map(one).collect()
}

fn stripped(result: &crate::RolloutResult) -> crate::RolloutResult {
    crate::RolloutResult { usage: crate::Usage::default(), ..result.clone() }
}

#[tokio::test]
async fn what_a_race_runs_is_the_beginning_of_what_an_exhaustive_plan_runs() {
    let all = PlanOptions { rollouts: 24, max_steps: 1, ..options() };
    // Restoring is in vain before the attacker is gone.
    let script = |question: &Question| {
        let is_vain = |turn: &String| turn.contains("before: attack contained\nAction: Restore");
        let answer = optimist(question)?;
        Ok(if question.prompt.segments.last().is_some_and(is_vain) {
            answer.replace("true", "false")
        } else {
            answer
        })
    };
    let (exhaustive, all_events) = plan(&model(script), all.clone()).await;
    let (raced, race_events) = plan(&model(script), PlanOptions { exhaustive: false, ..all }).await;
    let (all, race) = (rollouts(&all_events), rollouts(&race_events));
    assert!(race.len() < all.len(), "{} of {}", race.len(), all.len());
    for (key, result) in &race {
        assert_eq!(stripped(result), stripped(&all[key]), "{key:?}");
        let before =
            (0..key.rollout).all(|rollout| race.contains_key(&crate::RolloutKey { rollout, ..*key }));
        assert!(before, "{key:?} is not part of a beginning");
    }
    // What cost the same a dozen times is taken to be a tie, and a world that comes later may tell them apart a little.
    let mean = |action: &str| {
        let candidates = &exhaustive.steps[0].candidates;
        candidates.iter().find(|candidate| candidate.action.text == action).unwrap().cost.mean.unwrap()
    };
    let regret = mean(raced.steps[0].action()) - mean(exhaustive.steps[0].action());
    assert!(regret < 0.25, "{regret}");
    let cost = raced.steps[0].candidates[0].cost;
    assert_eq!(cost.cancelled, 0, "what was never dealt is not cancelled");
}

#[tokio::test]
async fn a_budget_of_rollouts_is_kept_and_shared_fairly() {
    for most in 1..=7 {
        let budget = Budget { rollouts: Some(most), ..Budget::default() };
        let options = PlanOptions { max_steps: 1, budget, ..options() };
        let (plan, events) = plan(&model(optimist), options).await;
        assert_eq!(rollouts(&events).len(), most as usize);
        let counts: Vec<u32> = plan.steps[0].candidates.iter().map(|c| c.cost.terminal).collect();
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        let told = events
            .iter()
            .any(|event| matches!(event, PlanEvent::Notice(text) if text.contains("budget of rollouts")));
        assert!(told);
    }
}

#[tokio::test]
async fn a_budget_of_tokens_ends_the_rollouts_with_what_is_there() {
    let budget = Budget { tokens: Some(1), ..Budget::default() };
    let options = PlanOptions { max_steps: 1, budget, ..options() };
    let (plan, events) = plan(&model(optimist), options).await;
    let finished = rollouts(&events).len();
    assert!((1..6).contains(&finished), "{finished}");
    let cost = |c: &Candidate| (c.cost.terminal, c.cost.cancelled);
    let (done, cancelled) =
        plan.steps[0].candidates.iter().map(cost).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert_eq!(
        (done as usize, cancelled as usize),
        (finished, 6 - finished),
        "what was cut counts as cancelled, and two of each of three are dealt before anything is known"
    );
}

#[tokio::test]
async fn a_budget_of_tokens_is_kept_by_workers_that_are_done_at_once() {
    let all = PlanOptions { rollouts: 16, max_steps: 1, ..options() };
    let (_, events) = plan(&model(optimist), all.clone()).await;
    let took = |events: &[PlanEvent]| rollouts(events).values().map(|r| r.usage.generated()).sum::<u64>();
    let dearest = rollouts(&events).values().map(|result| result.usage.generated()).max().unwrap();
    let whole = took(&events);
    for exhaustive in [true, false] {
        let most = whole / 4;
        let budget = Budget { tokens: Some(most), ..Budget::default() };
        let options = PlanOptions { budget, exhaustive, confidence: 0.999_999, ..all.clone() };
        let (plan, events) = plan(&model(optimist), options).await;
        let usage = plan.steps[0].usage;
        let rolled = took(&events) + usage.discarded_tokens;
        assert!(rolled <= most + 6 * dearest, "{rolled} of {most} tokens, rollouts of {dearest} at most");
        let told =
            |event: &PlanEvent| matches!(event, PlanEvent::Notice(text) if text.contains("budget of tokens"));
        // A race may be over before its budget is.
        assert!(!exhaustive || events.iter().any(told));
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_time_always_has_an_answer() {
    /// Proposes, and never simulates.
    struct NoWorld;
    impl LanguageModel for NoWorld {
        async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<crate::Answer, ModelError> {
            if question.purpose == crate::Purpose::Rollout {
                tokens.add(4);
                std::future::pending::<()>().await;
            }
            ScriptedModel::new(optimist).ask(question, tokens).await
        }
    }
    let templates = Arc::new(Templates::load(None).unwrap());
    let planner = Planner::new(NoWorld, LocalRunner::new(Arc::new(NoWorld), templates.clone()), templates);
    let budget = Budget { time: Some(Duration::from_secs(20)), ..Budget::default() };
    let options = PlanOptions { max_steps: 1, budget, ..options() };
    let plan = planner.plan("incidents/1", &evidence(), options, &|_| {}).await.unwrap();
    assert_eq!(plan.ended.end, PlanEnd::StepLimit);
    let step = &plan.steps[0];
    assert!(
        step.reason.contains("No rollout that can be used ended within the budget of time"),
        "{}",
        step.reason
    );
    assert!(!step.assurance.is_clear);
    assert!(step.candidates.iter().all(|candidate| candidate.cost.cancelled == 3));
    // Nine rollouts were broken off over their first question, three over the same.
    assert_eq!((step.usage.discarded_tokens, plan.ended.usage.discarded_tokens), (12, 12));
    assert_eq!(step.usage.rollouts, 0);
}

#[tokio::test]
async fn a_constraint_rules_actions_out_everywhere_and_is_named() {
    const FORBIDDEN: &str = "Isolate 10.0.2.13 from the network";
    let rule = format!("Apache on {WEB} must not be taken offline.");
    let evidence = Evidence { constraints: vec![rule.clone(), "All links stay.".into()], ..evidence() };
    let record = Record::default();
    let model =
        acting(&[FORBIDDEN, "Block all traffic from 203.0.113.7", "Save the logs of 10.0.2.13"], by_seed);
    let options = PlanOptions { max_steps: 1, ..options() };
    let plan = planner(&model).plan("incidents/1", &evidence, options, &record).await.unwrap();
    let rejected = plan.steps[0].rejected.iter().find(|rejected| rejected.action.text == FORBIDDEN);
    let reason = &rejected.expect("it is listed").reason;
    assert!(reason.contains("cut off 10.0.2.13") && reason.contains(&rule), "{reason}");
    let rollouts = rollouts(&record.0.into_inner().unwrap());
    assert!(rollouts.values().any(|result| result.steps.len() > 1));
    for result in rollouts.values() {
        assert!(result.steps.iter().all(|step| step.action != FORBIDDEN), "{:?}", result.steps);
    }
    assert_ne!(plan.steps[0].action(), FORBIDDEN);
    let warnings = plan.assessment.unwrap().digest.warnings;
    assert!(warnings.iter().any(|warning| warning.contains("\"All links stay.\"")), "{warnings:?}");
}

#[tokio::test]
async fn what_a_menu_lists_against_a_rule_is_told_and_not_offered() {
    let folder = tempfile::tempdir().unwrap();
    let openings =
        "Isolate 10.0.2.13 from the network | It cuts.\nBlock all traffic from 203.0.113.7 | It cuts.\n";
    std::fs::write(folder.path().join("openings.txt.j2"), openings).unwrap();
    let templates = Arc::new(Templates::load(Some(folder.path())).unwrap());
    let model = model(optimist);
    let runner = LocalRunner::new(Arc::new(model.clone()), templates.clone());
    let planner = Planner::new(model.clone(), runner, templates);
    let evidence = Evidence { constraints: vec!["web01 must stay up.".into()], ..evidence() };
    let options = PlanOptions { max_steps: 1, max_depth: 3, ..options() };
    let plan = planner.plan("incidents/1", &evidence, options, &|_| {}).await.unwrap();
    let step = &plan.steps[0];
    assert_eq!(step.candidates.len(), 1, "{:?}", step.rejected);
    let cuts = step.rejected.iter().filter(|rejected| rejected.action.text.starts_with("Isolate"));
    assert_eq!(cuts.count(), 1, "it is told once");
    assert!(step.rejected[0].reason.contains("web01 must stay up."), "{}", step.rejected[0].reason);
    for question in model.asked().iter().filter(|question| task(question) == Task::Action) {
        assert!(!question.format.json_schema.to_string().contains("Isolate"), "it is not offered");
    }
}

#[tokio::test]
async fn evidence_is_not_destroyed_before_it_is_kept() {
    let model =
        acting(&["Remove malware and backdoors from 10.0.2.13", "Save the logs of 10.0.2.13"], by_seed);
    let (plan, events) = plan(&model, PlanOptions { max_steps: 1, ..options() }).await;
    assert_eq!(plan.steps[0].action(), "Save the logs of 10.0.2.13");
    let early = |rejected: &crate::RejectedCandidate| rejected.reason.contains("none has been preserved yet");
    assert!(plan.steps[0].rejected.iter().any(early), "{:?}", plan.steps[0].rejected);
    for result in rollouts(&events).values() {
        for pair in result.steps.windows(2) {
            let removes = pair[1].action.starts_with("Remove");
            assert!(!removes || pair[0].state_after.are_forensics_preserved);
        }
    }
}

#[tokio::test]
async fn a_rollout_that_finds_no_allowed_action_breaks_off_with_the_rule() {
    let model = acting(&["Save the logs of 10.0.2.13", "Isolate 10.77.0.1"], |question| {
        usize::from(question.purpose == crate::Purpose::Rollout)
    });
    let (plan, events) = plan(&model, PlanOptions { max_steps: 1, ..options() }).await;
    assert_eq!(plan.ended.end, PlanEnd::StepLimit, "a way that ends counts as cut off, not as a bad answer");
    let rollouts = rollouts(&events);
    assert!(!rollouts.is_empty());
    for result in rollouts.values() {
        assert_eq!(result.end, RolloutEnd::Truncated);
        assert!(result.fault.contains("10.77.0.1"), "{}", result.fault);
        assert_eq!(result.steps.len(), 1, "what it did until then is kept");
    }
}

#[tokio::test]
async fn rollouts_cost_what_the_incidents_model_says() {
    let table = "other = { work = 7 }\n[actions.contain]\nwork = 1\noutage = 1000\n";
    let minutes = Pricing::Minutes(Arc::new(MinuteTable::parse(table).unwrap()));
    for pricing in [Pricing::Unit, Pricing::Superfluous, minutes] {
        let (_, events) =
            plan(&model(optimist), PlanOptions { pricing: pricing.clone(), max_steps: 1, ..options() }).await;
        let costs = pricing.model(&["10.0.2.10", "10.0.2.13", "10.0.2.14"].map(String::from));
        for result in rollouts(&events).values() {
            let mut before = RecoveryState::default();
            for step in &result.steps {
                assert_eq!(step.cost, costs.cost(before, &step.action, step.state_after), "{}", step.action);
                before = step.state_after;
            }
            assert_eq!(result.cost, result.steps.iter().map(|step| step.cost).sum::<f64>());
        }
    }
}

#[tokio::test]
async fn autonomy_approves_what_is_clear_and_can_be_taken_back_and_nothing_else() {
    const ACTIONS: [&str; 2] = ["Block all traffic from 203.0.113.7", "Patch the web server on 10.0.2.13"];
    // With `clear` an action brings all about, or nothing.
    let world = |good: &'static str| {
        model(move |question| match task(question) {
            Task::Action => Ok(serde_json::json!({"Action": ACTIONS[by_seed(question) % 2]}).to_string()),
            Task::State if question.prompt.segments.concat().contains(&format!("Action: {good}")) => {
                optimist(question)
            }
            Task::State => optimist(question).map(|json| json.replace("true", "false")),
            Task::Incident => optimist(question),
        })
    };
    let autonomy = crate::Autonomy::ApproveReversible { confidence: 0.9 };
    let interactive = PlanOptions { mode: PlanMode::Interactive, candidates: 2, max_depth: 1, ..options() };
    for (autonomy, good, approved) in [
        (autonomy, ACTIONS[0], false),
        (autonomy, ACTIONS[1], false),
        (crate::Autonomy::Advise, ACTIONS[0], false),
    ] {
        let planner = planner(&world(good));
        let options = PlanOptions { autonomy, ..interactive.clone() };
        let mut session = planner.session("incidents/1", &evidence(), options).unwrap();
        let record = Record::default();
        planner.run(&mut session, &record).await;
        // One action does not recover, so every rollout is cut off: nothing is clear, and nobody approves but a person.
        assert_eq!(session.phase() == &Phase::Outcome, approved, "{good}");
    }
    // A lone candidate whose rollouts all recover is clear.
    let lone = |action: &'static str| {
        planner(&model(move |question| match task(question) {
            Task::Action if question.purpose == crate::Purpose::Decision => {
                Ok(serde_json::json!({"Action": action}).to_string())
            }
            _ => optimist(question),
        }))
    };
    let options = PlanOptions { autonomy, mode: PlanMode::Interactive, candidates: 1, ..options() };
    for innocent in ["Isolate 10.0.2.10 from the network", "Block all traffic from 10.0.2.10"] {
        let planner = lone(innocent);
        let mut session = planner.session("incidents/1", &evidence(), options.clone()).unwrap();
        planner.run(&mut session, &Record::default()).await;
        assert_eq!(session.phase(), &Phase::Approval, "{innocent}");
    }
    // An account is disabled without asking only where it is surely the attacker's.
    let login =
        "Jun 10 06:32:14 web01 sshd[911]: Accepted password for deploy from 203.0.113.7 port 40001 ssh2\n";
    let log = AlertLog::parse(format!("{ALERTS}{login}").as_bytes()).unwrap();
    for (confidence, approved) in [(0.9, &Phase::Approval), (0.6, &Phase::Outcome)] {
        let planner = lone("Disable the account deploy");
        let options =
            PlanOptions { autonomy: crate::Autonomy::ApproveReversible { confidence }, ..options.clone() };
        let evidence = Evidence { log: log.clone(), ..evidence() };
        let mut session = planner.session("incidents/1", &evidence, options).unwrap();
        planner.run(&mut session, &Record::default()).await;
        let held = session.steps()[0].belief.held["deploy"];
        assert!((0.6..0.9).contains(&held), "{held}");
        assert_eq!(session.phase(), approved, "{confidence}");
    }
    // What two people have to approve waits for them, however clear it is.
    let planner = lone(ACTIONS[0]);
    let mut session = planner.session("incidents/1", &evidence(), options.clone()).unwrap();
    session.ask_two_for([crate::ActionClass::Response(VerbClass::Contain)].into());
    planner.run(&mut session, &Record::default()).await;
    assert_eq!((session.phase(), session.steps()[0].candidates[0].approvers), (&Phase::Approval, 2));
    let planner = lone(ACTIONS[0]);
    let mut session = planner.session("incidents/1", &evidence(), options).unwrap();
    let record = Record::default();
    planner.run(&mut session, &record).await;
    assert_eq!(session.phase(), &Phase::Outcome);
    let told = record.0.into_inner().unwrap().into_iter().any(
        |event| matches!(event, PlanEvent::Approved { step: 0, plan_hash } if plan_hash == session.steps()[0].hash),
    );
    assert!(told);
}

#[tokio::test]
async fn a_hash_names_one_decision_in_one_incident() {
    let step = plan(&model(optimist), PlanOptions { max_steps: 1, ..options() }).await.0.steps.remove(0);
    let hash = step.seal("incidents/1", &[], step.chosen);
    assert_eq!(step.hash, hash);
    let other = |change: fn(&mut PlanStep)| {
        let mut step = step.clone();
        change(&mut step);
        step.seal("incidents/1", &[], step.chosen)
    };
    let changed = [
        step.seal("incidents/2", &[], 0),
        step.seal("incidents/1", &["Isolate a".into()], 0),
        step.seal("incidents/1", &["Isolate ".into(), "a".into()], 0),
        other(|step| step.index = 1),
        other(|step| step.chosen = 1),
        other(|step| step.state_before.is_hardened = true),
        other(|step| step.candidates[0].action.text.push('!')),
        other(|step| step.candidates[0].action.explanation.push('!')),
        other(|step| step.candidates[0].cost.mean = Some(99.0)),
        other(|step| step.reason.push('!')),
    ];
    let all: std::collections::BTreeSet<&String> = changed.iter().chain([&hash]).collect();
    assert_eq!(all.len(), changed.len() + 1);
}

#[tokio::test]
async fn alerts_that_were_not_expected_have_the_conjecture_revised() {
    let more = |class: &str, priority: u8| {
        format!(
            "06/10-14:00:00.0 [**] [1:9:1] Something [**] [Classification: {class}] [Priority: {priority}] {{TCP}} \
             198.51.100.9:1 -> 10.0.2.14:80\n"
        )
    };
    let all = [("Misc activity", 3), ("A Network Trojan was Detected", 1)];
    for revises in [false, true] {
        let model = model(optimist);
        let planner = planner(&model);
        let options = PlanOptions { mode: PlanMode::Interactive, ..options() };
        let mut session = planner.session("incidents/1", &evidence(), options).unwrap();
        planner.run(&mut session, &|_| {}).await;
        let step = session.steps()[0].clone();
        let expected = step.expected.clone().expect("somebody will compare");
        assert!(!expected.kinds.is_empty());
        assert_eq!(expected.tactic, session.assessment().unwrap().tactics[0].tactic);
        // Either everything that was expected, or only what was not.
        let text: String = match revises {
            true => all
                .iter()
                .filter(|(class, priority)| {
                    !expected.kinds.contains(&countermove_incident::AlertKind::new(class, Some(*priority)))
                })
                .map(|(class, priority)| more(class, *priority))
                .collect(),
            false => expected
                .kinds
                .iter()
                .map(|kind| more(&kind.classification, kind.priority.unwrap_or(3)))
                .collect(),
        };
        let alerts = AlertLog::parse(text.as_bytes()).unwrap();
        let log = AlertLog::parse(format!("{ALERTS}{text}").as_bytes()).unwrap();
        planner.replace_evidence(&mut session, &Evidence { log, ..evidence() }, &alerts).unwrap();
        session.approve(0, &step.hash, None).unwrap();
        let comparison =
            session.report_outcome(0, session.state()).unwrap().expect("there is something to compare");
        assert_eq!(comparison.holds, !revises, "{comparison}");
        assert_eq!(session.phase() == &Phase::Revision, revises);
        let record = Record::default();
        planner.run(&mut session, &record).await;
        let revised = record.0.into_inner().unwrap().into_iter().find_map(|event| match event {
            PlanEvent::Revised { step, reason, before, .. } => Some((step, reason, before)),
            _ => None,
        });
        assert_eq!(revised.is_some(), revises);
        if let Some((step, reason, before)) = revised {
            assert_eq!((step, before[0].tactic), (1, expected.tactic));
            assert!(reason.contains("precision 0.00, below 0.70"), "{reason}");
        }
        assert_eq!(
            (session.phase(), session.steps().len()),
            (&Phase::Approval, 2),
            "candidates are ranked again"
        );
    }
}

#[tokio::test]
async fn an_action_that_leaves_the_attacker_free_says_what_may_happen_meanwhile() {
    let options = PlanOptions { candidates: 1, max_steps: 1, ..options() };
    let search = acting(&["Search the logs of 10.0.2.13 for what the attacker did"], |_| 0);
    let (plan_that_looks, _) = plan(&search, options.clone()).await;
    let danger =
        "The attacker is free meanwhile: in 90 minutes it takes a further host with a chance of 40 %.";
    let reason = &plan_that_looks.steps[0].reason;
    assert!(reason.ends_with(danger), "{reason}");
    let isolate = acting(&["Isolate 10.0.2.13 from the network"], |_| 0);
    let (plan_that_contains, _) = plan(&isolate, options).await;
    let reason = &plan_that_contains.steps[0].reason;
    assert!(!reason.contains("meanwhile"), "{reason}");
}

#[tokio::test]
async fn whom_an_earlier_step_searches_is_taken_down_only_if_that_shows_something() {
    const SEARCH: &str = "Search the logs of 10.0.2.13 for what the attacker did";
    const ISOLATE: &str = "Isolate 10.0.2.13 from the network";
    // Once a search was made, it is offered no more.
    let is_made = |question: &Question| {
        usize::from(!question.format.json_schema.to_string().contains("Search the logs"))
    };
    let model = acting(&[SEARCH, ISOLATE], is_made);
    let options = PlanOptions { candidates: 1, max_steps: 2, ..options() };
    let (plan, _) = plan(&model, options).await;
    let chosen: Vec<_> = plan.steps.iter().map(|step| step.chosen_candidate().unwrap()).collect();
    let [first, second] = chosen[..] else { panic!("{:?}", plan.ended) };
    assert_eq!((first.action.text.as_str(), second.action.text.as_str()), (SEARCH, ISOLATE));
    assert!(first.awaits_search.is_empty());
    assert_eq!(
        (&second.takes_down[..], &second.awaits_search[..]),
        (&["10.0.2.13".to_owned()][..], &["10.0.2.13".to_owned()][..])
    );
}
