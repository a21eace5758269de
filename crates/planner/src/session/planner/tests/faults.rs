//! A model that answers badly, late or never.

use super::*;
use crate::rollouts::runner::RolloutEnd;

#[tokio::test]
async fn an_assessment_that_cannot_be_read_ends_the_plan() {
    let (plan, _) = plan(&model(|_| Ok("not JSON".into())), options()).await;
    assert_eq!(plan.ended.end, PlanEnd::Failed);
    assert!(plan.ended.error.contains("could not be assessed"), "{}", plan.ended.error);
}

#[tokio::test]
async fn rollouts_that_all_break_off_end_the_plan() {
    let model = model(|question| match task(question) {
        Task::State => Ok("{}".into()),
        _ => optimist(question),
    });
    let (plan, events) = plan(&model, options()).await;
    assert_eq!(plan.ended.end, PlanEnd::Failed);
    assert!(plan.ended.error.contains("no rollout of step 1"), "{}", plan.ended.error);
    assert!(plan.ended.error.contains("must be true or false"), "{}", plan.ended.error);
    assert!(plan.steps.is_empty());
    let ends: Vec<RolloutEnd> = events
        .iter()
        .filter_map(
            |event| if let PlanEvent::Rollout(report) = event { Some(report.result.end) } else { None },
        )
        .collect();
    assert!(!ends.is_empty() && ends.iter().all(|end| *end == RolloutEnd::Malformed));
}

/// Of the actions that a rollout may go on with, the one that names the most.
fn longest_action(question: &Question) -> Option<String> {
    let schema = &question.format.json_schema;
    let actions = schema.get("properties")?.get("Action")?.get("enum")?.as_array()?;
    let longest = actions.iter().max_by_key(|action| action.as_str().map_or(0, str::len))?;
    Some(serde_json::json!({ "Action": longest }).to_string())
}

#[tokio::test]
async fn one_broken_candidate_does_not_spoil_the_others() {
    let model = model(|question| match question.prompt.segments.last() {
        Some(turn) if turn.contains("Action: Isolate") && !turn.contains("block") => Ok("[]".into()),
        Some(turn) if turn.contains("Action: Block") => {
            Err(ModelError::Failed("a NaN among its logits".into()))
        }
        // So rollouts of the others go on with what does both at once.
        _ => longest_action(question).map_or_else(|| optimist(question), Ok),
    });
    let options = PlanOptions { candidates: 8, max_steps: 1, ..options() };
    let (plan, _) = plan(&model, options).await;
    assert_eq!(plan.ended.end, PlanEnd::StepLimit);
    let step = &plan.steps[0];
    let broken = |candidate: &&Candidate| candidate.cost.malformed == 3;
    assert!(step.candidates.iter().any(|candidate| broken(&candidate)));
    let chosen = step.chosen_candidate().unwrap();
    assert!(!broken(&chosen) && chosen.predicted_state.is_some());
}

#[tokio::test]
async fn when_nothing_helps_all_rollouts_are_truncated() {
    let nothing = |question: &Question| {
        optimist(question)
            .map(|json| if task(question) == Task::State { json.replace("true", "false") } else { json })
    };
    let options = PlanOptions { max_steps: 2, max_depth: 4, ..options() };
    let (plan, _) = plan(&model(nothing), options).await;
    assert_eq!(plan.ended.end, PlanEnd::StepLimit);
    assert_eq!(plan.steps.len(), 2);
    for step in &plan.steps {
        for candidate in &step.candidates {
            assert_eq!((candidate.cost.terminal, candidate.cost.truncated), (0, 3));
            assert_eq!(candidate.cost.mean, None);
        }
        assert!(step.reason.starts_with("No rollout of any candidate reached recovery"), "{}", step.reason);
    }
    assert_ne!(plan.steps[0].action(), plan.steps[1].action());
}

#[tokio::test]
async fn a_lost_model_ends_the_plan_with_what_was_decided() {
    let model = model(|question| match later_step(question) {
        true => Err(ModelError::Unavailable("no worker is ready".into())),
        false => optimist(question),
    });
    let (plan, _) = plan(&model, PlanOptions { max_depth: 1, ..options() }).await;
    assert_eq!(plan.ended.end, PlanEnd::Failed);
    assert_eq!(plan.ended.error, "no model is reachable: no worker is ready");
    assert_eq!(plan.steps.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_keeps_what_was_decided() {
    let options = PlanOptions { deadline: Some(Duration::from_secs(30)), max_depth: 1, ..options() };
    let plan = stuck().plan("incidents/1", &evidence(), options, &|_| {}).await.unwrap();
    assert_eq!(plan.ended.end, PlanEnd::Deadline);
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.assessment.is_some());
}

#[tokio::test(start_paused = true)]
async fn dropped_work_leaves_the_session_as_it_was() {
    let planner = stuck();
    let options = PlanOptions { max_depth: 1, ..options() };
    let mut session = planner.session("incidents/1", &evidence(), options).unwrap();
    planner.step(&mut session, &|_| {}).await;
    planner.step(&mut session, &|_| {}).await;
    let before = format!("{session:?}");
    let dropped = tokio::time::timeout(Duration::from_secs(5), planner.step(&mut session, &|_| {})).await;
    assert!(dropped.is_err());
    assert_eq!(session.phase(), &Phase::Decision);
    // All but the live count of tokens.
    let strip = |text: String| text.split("tokens: ").next().unwrap_or_default().to_owned();
    assert_eq!(strip(format!("{session:?}")), strip(before));
    session.cancel();
    let ended = Mutex::new(0);
    let count = |event: PlanEvent| *ended.lock().unwrap() += u32::from(matches!(event, PlanEvent::Ended(_)));
    planner.run(&mut session, &count).await;
    planner.run(&mut session, &count).await;
    assert_eq!(*ended.lock().unwrap(), 1, "the end is told once");
    assert_eq!(session.plan().ended.end, PlanEnd::Cancelled);
    assert_eq!(session.plan().steps.len(), 1);
}
