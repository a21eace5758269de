//! Whole plans with scripted models, and what the tests by subject share.

mod choices;
mod engaging;
mod faults;
mod operator;
mod proposals;
mod reading;

use std::sync::Mutex;
use std::time::Duration;

use countermove_incident::{AlertLog, RecoveryState};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::*;
use crate::language_model::{ModelError, Question, TokenCounter};
use crate::options::PlanMode;
use crate::rollouts::runner::RolloutReport;
use crate::rollouts::simulate::LocalRunner;
use crate::session::plan::StateSource;
use crate::testing::{ScriptedModel, optimist};

const SYSTEM: &str = "A gateway 10.0.2.10 protects the servers.\nweb01 at 10.0.2.13 runs Apache.\ndb01 at 10.0.2.14 \
                      runs PostgreSQL.";
const ALERTS: &str = "\
06/10-13:10:51.405000 [**] [1:1000001:2] ICMP traffic detected [**] [Classification: Attempted Information Leak] \
[Priority: 2] {ICMP} 203.0.113.7 -> 10.0.2.13
06/10-13:11:51.405000 [**] [1:1000004:1] Shellshock attack attempt [**] [Classification: Attempted Administrator \
Privilege Gain] [Priority: 1] {TCP} 203.0.113.7:4711 -> 10.0.2.13:80
";

fn evidence() -> Evidence {
    Evidence {
        system_description: SYSTEM.into(),
        log: AlertLog::parse(ALERTS.as_bytes()).unwrap(),
        constraints: vec!["PostgreSQL on 10.0.2.14 stays up.".into()],
        notes: Vec::new(),
        baseline: None,
    }
}

/// All rollouts of all candidates, so that their number is known.
fn options() -> PlanOptions {
    PlanOptions { seed: 7, rollouts: 3, exhaustive: true, ..PlanOptions::default() }
}

type Script = Box<dyn Fn(&Question) -> Result<String, ModelError> + Send + Sync>;
type Model = Arc<ScriptedModel<Script>>;

fn model(script: impl Fn(&Question) -> Result<String, ModelError> + Send + Sync + 'static) -> Model {
    Arc::new(ScriptedModel::new(Box::new(script)))
}

fn planner(model: &Model) -> Planner<Model, LocalRunner<Model>> {
    let templates = Arc::new(Templates::load(None).unwrap());
    let runner = LocalRunner::new(Arc::new(model.clone()), templates.clone());
    Planner::new(model.clone(), runner, templates)
}

#[derive(Default)]
struct Record(Mutex<Vec<PlanEvent>>);

impl PlanSink for Record {
    fn emit(&self, event: PlanEvent) {
        self.0.lock().unwrap().push(event);
    }
}

async fn plan(model: &Model, options: PlanOptions) -> (Plan, Vec<PlanEvent>) {
    let record = Record::default();
    let plan = planner(model).plan("incidents/1", &evidence(), options, &record).await.unwrap();
    (plan, record.0.into_inner().unwrap())
}

#[derive(PartialEq)]
enum Task {
    Incident,
    Action,
    State,
}

fn task(question: &Question) -> Task {
    let schema = question.format.json_schema.to_string();
    match () {
        () if schema.contains("\"Shows\"") => Task::Incident,
        () if schema.contains("\"Action\"") => Task::Action,
        () => Task::State,
    }
}

/// Answers actions from a list, by the position that `pick` gives for the question.
fn acting(actions: &'static [&'static str], pick: fn(&Question) -> usize) -> Model {
    model(move |question| match task(question) {
        Task::Action => {
            let action = actions[pick(question) % actions.len()];
            Ok(serde_json::json!({"Action": action, "Explanation": "It helps."}).to_string())
        }
        _ => optimist(question),
    })
}

/// By the question as well, since a question of which all answers are weighed has no seed.
fn by_seed(question: &Question) -> usize {
    let turn = || question.prompt.segments.last().map_or(0, String::len);
    if question.format.weigh_options { turn() } else { question.sampling.seed as usize % 1024 }
}

/// What a plan says, without the time that it took.
fn essence(mut plan: Plan) -> Plan {
    plan.ended.usage.elapsed = Duration::ZERO;
    for step in &mut plan.steps {
        step.usage.elapsed = Duration::ZERO;
    }
    plan
}

#[tokio::test]
async fn an_incident_is_planned_to_recovery() {
    let model = model(optimist);
    let (plan, events) = plan(&model, options()).await;
    let assessment = plan.assessment.as_ref().unwrap();
    assert!(assessment.is_incident);
    assert_eq!(assessment.entities.attackers, ["203.0.113.7"]);
    assert_eq!(assessment.entities.targets, ["10.0.2.13"]);
    assert!(!assessment.tactics.is_empty());
    assert!(assessment.tactics.iter().all(|belief| !belief.evidence.is_empty() && belief.weight > 0.0));
    assert_eq!(plan.ended.end, PlanEnd::Recovered);
    assert!((5..=6).contains(&plan.steps.len()), "{}", plan.steps.len());
    let mut state = RecoveryState::default();
    for step in &plan.steps {
        assert_eq!(step.state_before, state);
        assert!(step.candidates.len() <= 3);
        for candidate in &step.candidates {
            assert_eq!((candidate.cost.terminal, candidate.cost.truncated), (3, 0));
            assert!(candidate.cost.mean.unwrap() >= 1.0);
        }
        let after = step.state_after.unwrap();
        assert_eq!(after.source, StateSource::Predicted);
        assert_eq!(Some(after.state), step.chosen_candidate().unwrap().predicted_state);
        assert!(after.state.achieved() > state.achieved());
        state = after.state;
        let rollouts = step.candidates.len() as u64 * 3;
        assert_eq!(step.usage.rollouts, rollouts);
    }
    assert!(state.is_terminal());

    let told: Vec<&PlanEvent> =
        events.iter().filter(|event| !matches!(event, PlanEvent::Progress(_))).collect();
    assert!(matches!(told.first(), Some(PlanEvent::Assessed(_))));
    assert_eq!(told.last(), Some(&&PlanEvent::Ended(plan.ended.clone())));
    let decided: Vec<&PlanStep> = told
        .iter()
        .filter_map(|event| if let PlanEvent::Decided(step) = event { Some(step) } else { None })
        .collect();
    assert_eq!(decided.len(), plan.steps.len());
    let rollouts = told.iter().filter(|event| matches!(event, PlanEvent::Rollout(_))).count() as u64;
    assert_eq!(rollouts, plan.ended.usage.rollouts);
    let last = events
        .iter()
        .rev()
        .find_map(|event| if let PlanEvent::Progress(progress) = event { Some(*progress) } else { None });
    assert_eq!(last.unwrap().tokens, plan.ended.usage.sampled_tokens);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_plan() {
    let (first, _) = plan(&model(optimist), options()).await;
    let (second, _) = plan(&model(optimist), options()).await;
    assert_eq!(essence(first.clone()), essence(second));
    let mut others = Vec::new();
    for seed in 0..8 {
        others.push(essence(plan(&model(optimist), PlanOptions { seed, ..options() }).await.0));
    }
    assert!(others.iter().any(|other| other.steps != essence(first.clone()).steps));
}

/// Yields the results of another runner backwards, and the first one twice.
struct Backwards(LocalRunner<Model>);

impl RolloutRunner for Backwards {
    fn run(
        &self,
        batch: RolloutBatch,
        tokens: &TokenCounter,
    ) -> BoxStream<'static, Result<RolloutReport, ModelError>> {
        let results = self.0.run(batch, tokens);
        let backwards = async move {
            let mut results: Vec<_> = results.collect().await;
            results.reverse();
            results.push(results[0].clone());
            futures::stream::iter(results)
        };
        futures::stream::once(backwards).flatten().boxed()
    }
}

#[tokio::test]
async fn the_order_of_rollouts_does_not_matter() {
    let model = model(optimist);
    let (straight, _) = plan(&model, options()).await;
    let templates = Arc::new(Templates::load(None).unwrap());
    let runner = Backwards(LocalRunner::new(Arc::new(model.clone()), templates.clone()));
    let planner = Planner::new(model, runner, templates);
    let backwards = planner.plan("incidents/1", &evidence(), options(), &|_| {}).await.unwrap();
    assert_eq!(essence(straight), essence(backwards));
}

/// Whether something has been achieved before the question.
fn later_step(question: &Question) -> bool {
    let turn = question.prompt.segments.last().map_or("", String::as_str);
    task(question) == Task::Action && !turn.contains("True: none")
}

/// Answers until a step was decided, then never again.
struct Stuck;

impl LanguageModel for Stuck {
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<crate::Answer, ModelError> {
        if later_step(&question) {
            std::future::pending::<()>().await;
        }
        ScriptedModel::new(optimist).ask(question, tokens).await
    }
}

fn stuck() -> Planner<Stuck, LocalRunner<Stuck>> {
    let templates = Arc::new(Templates::load(None).unwrap());
    Planner::new(Stuck, LocalRunner::new(Arc::new(Stuck), templates.clone()), templates)
}

#[tokio::test]
async fn bad_options_are_refused_before_anything_is_asked() {
    let model = model(optimist);
    let options = PlanOptions { candidates: 0, ..options() };
    let refused = planner(&model).session("incidents/1", &evidence(), options);
    assert!(matches!(refused, Err(PlanError::Options(error)) if error.field == "candidates"));
}

/// A description of so many hosts, in one of the forms that are read.
fn described(hosts: usize, form: usize) -> Evidence {
    let address = |n: usize| format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
    let host = |n: usize| match form {
        0 => format!("srv{n} at {} runs Apache and is monitored.\n", address(n)),
        1 => format!("srv{n} ({}, h-{n}-a), ", address(n)),
        2 => format!("{} | srv{n} | Apache\n", address(n)),
        3 => format!("{}/24 ", address(n << 8)),
        _ => format!("srv{n} "),
    };
    let system_description = (0..hosts).map(host).collect();
    Evidence { system_description, ..evidence() }
}

#[tokio::test]
async fn a_description_of_too_many_hosts_is_refused_and_one_of_many_is_read_in_proportion() {
    let model = model(optimist);
    let planner = planner(&model);
    for form in 0..3 {
        let refused = planner.session("incidents/1", &described(6000, form), options());
        assert!(
            matches!(refused, Err(PlanError::Hosts { found, most: 4096 }) if found > 4096),
            "form {form}"
        );
        assert!(planner.session("incidents/1", &described(3000, form), options()).is_ok(), "form {form}");
    }
    for form in 0..5 {
        let time = |hosts: usize| {
            let evidence = described(hosts, form);
            let once = || {
                let begun = std::time::Instant::now();
                // Whether it is taken is another matter.
                let _ = planner.session("incidents/1", &evidence, options());
                begun.elapsed()
            };
            (0..5).map(|_| once()).min().unwrap()
        };
        let (few, many) = (time(1000), time(8000));
        assert!(many < 48 * few, "form {form}: 8 times the hosts took {few:?} and {many:?}");
    }
}

/// The coordinator runs planning in tasks of its own.
#[tokio::test]
async fn planning_can_be_spawned() {
    let planner = stuck();
    let mut session = planner
        .session("incidents/1", &evidence(), PlanOptions { max_steps: 1, max_depth: 1, ..options() })
        .unwrap();
    let task = tokio::spawn(async move {
        planner.run(&mut session, &Record::default()).await;
        session.plan().ended.end
    });
    assert_eq!(task.await.unwrap(), PlanEnd::StepLimit);
}
