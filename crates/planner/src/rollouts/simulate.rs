//! Runs rollouts with a model at hand: what a worker does, and what a planner without workers does.
//!
//! Invariants: a result depends on the batch's policy, rules, prices and context and on the rollout's specification
//! alone, whatever runs beside it, so it can be run again anywhere; no simulated action breaks a rule that the plan has
//! to keep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use countermove_incident::{CostModel, Grounding, RecoveryState};
use futures::future::{Either, select};
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};

use crate::evidence::roles::Roles;
use crate::language_model::{
    Answer, AnswerFormat, LanguageModel, ModelError, Prompt, Purpose, Question, Sampling, TokenCounter,
    Usage, Weighed,
};
use crate::prompts::coverage::{Coverage, widened};
use crate::prompts::menu::Menu;
use crate::prompts::past::{Deed, Objects, objects, open_facts, past, rests_on};
use crate::prompts::questions::{Situation, action_prompt, state_prompt};
use crate::prompts::tasks::{TaskError, action_schema, parse_action, parse_state, state_schema};
use crate::rollouts::answers::{Answers, Options, draw};
use crate::rollouts::checks::{Checks, beyond_reach};
use crate::rollouts::runner::{
    RolloutBatch, RolloutEnd, RolloutPolicy, RolloutReport, RolloutResult, RolloutRunner, RolloutSpec,
    RolloutStep,
};
use crate::rollouts::terms::{Worded, in_terms_of_the_plan};
use crate::rollouts::world::{World, is_told};
use crate::seeds::derive_seed;
use crate::templates::{TemplateError, Templates};
use crate::words::{futile, history_line, in_order_of_response, is_futile};

/// Most tokens of the JSON answer of the task *state*; the names of the open facts make up nearly all of them.
const STATE_TOKENS: u32 = 128;
/// Most tokens of the JSON answer of the task *action* in a rollout.
const ACTION_TOKENS: u32 = 256;
/// How often a rollout asks for an action at most, if what it gets breaks a rule.
const TRIES: u64 = 3;
/// Most actions of a menu whose probabilities are asked for.
const MAX_WEIGHED: usize = 64;

/// Runs one rollout: predicts the state after the candidate's action, then asks for the next action, and so on to
/// recovery or to the depth limit, which counts the candidate's own action. Actions cost what the batch's model says and keep
/// the batch's constraints; what they name occurs in the batch's context or among its entities.
///
/// # Errors
/// [`ModelError::Unavailable`] if no model could be reached: the rollout can be run again elsewhere. Where the rules
/// leave no action the rollout ends as truncated; everything else that goes wrong ends it as malformed, both with the
/// steps so far and the fault.
pub async fn run_rollout(
    simulator: &Simulator<'_, impl LanguageModel>,
    batch: &RolloutBatch,
    spec: &RolloutSpec,
    tokens: &TokenCounter,
) -> Result<RolloutResult, ModelError> {
    let caller = Caller { tokens, cancelled: std::future::pending() };
    run_rollout_for(simulator, batch, spec, caller).await
}

/// What simulates: the model as the world, how it is prompted, and what it has said already.
#[derive(Debug)]
pub struct Simulator<'a, M> {
    /// The model.
    pub model: &'a M,
    /// Templates that it is prompted with.
    pub templates: &'a Templates,
    /// What it has answered.
    pub answers: &'a Answers,
}

impl<M> Clone for Simulator<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Simulator<'_, M> {}

/// Who follows a rollout.
#[derive(Debug)]
pub struct Caller<'a, F> {
    /// Counts the rollout's tokens as they come.
    pub tokens: &'a TokenCounter,
    /// Ends when the rollout is wanted no more.
    pub cancelled: F,
}

/// As [`run_rollout`], for a caller who may cancel it. One that is cancelled has the steps so far and the work behind it, what
/// the question took that was broken off included, if the caller's counter counts this rollout alone.
///
/// # Errors
/// As [`run_rollout`].
pub async fn run_rollout_for(
    simulator: &Simulator<'_, impl LanguageModel>,
    batch: &RolloutBatch,
    spec: &RolloutSpec,
    caller: Caller<'_, impl Future<Output = ()>>,
) -> Result<RolloutResult, ModelError> {
    let Caller { tokens, cancelled } = caller;
    let before = tokens.total();
    let started = Instant::now();
    let mut grounding = Grounding::default();
    let parts = batch.context.iter().map(String::as_str).chain(batch.entities.all());
    for part in parts.chain([spec.action.as_str()]).chain(spec.history.iter().map(String::as_str)) {
        grounding.add_text(part);
    }
    let costs = batch.pricing.model(&batch.entities.systems);
    let (steps, usage) = (Vec::new(), Usage::default());
    let deeds = past(&batch.entities, &spec.history, spec.state);
    let world = World::draw(&batch.entities, &deeds, spec.common_seed);
    let is_told = is_told(&batch.entities, &deeds);
    let mut run =
        Run { simulator: *simulator, batch, spec, world, deeds, is_told, tokens, grounding, steps, usage };
    let outcome = {
        let simulated = std::pin::pin!(run.simulate(&*costs));
        match select(simulated, std::pin::pin!(cancelled)).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(((), _)) => None,
        }
    };
    let Some(outcome) = outcome else {
        let counted = tokens.total().saturating_sub(before);
        // Which of them were forced, nobody knows.
        run.usage.sampled_tokens += counted.saturating_sub(run.usage.generated());
        return Ok(run.ended(RolloutEnd::Cancelled, String::new(), started));
    };
    let (end, fault) = match outcome {
        Ok(end) => (end, String::new()),
        Err(Break::Model(error @ ModelError::Unavailable(_))) => return Err(error),
        // No answer was bad: the rules leave no way on, and that says something of the candidate.
        Err(fault @ Break::Rules(_)) => (RolloutEnd::Truncated, fault.to_string()),
        Err(fault) => (RolloutEnd::Malformed, fault.to_string()),
    };
    Ok(run.ended(end, fault, started))
}

/// Runs rollouts on one model, all of a batch at once so that the engine can batch their questions.
#[derive(Debug)]
pub struct LocalRunner<M> {
    model: Arc<M>,
    templates: Arc<Templates>,
    answers: Arc<Answers>,
}

impl<M> LocalRunner<M> {
    /// Runs rollouts on `model`.
    pub fn new(model: Arc<M>, templates: Arc<Templates>) -> Self {
        Self { model, templates, answers: Arc::default() }
    }
}

impl<M: LanguageModel> RolloutRunner for LocalRunner<M> {
    fn run(
        &self,
        batch: RolloutBatch,
        tokens: &TokenCounter,
    ) -> BoxStream<'static, Result<RolloutReport, ModelError>> {
        let batch = Arc::new(batch);
        let running: FuturesUnordered<_> = (0..batch.rollouts.len())
            .map(|position| {
                let (model, templates, batch) = (self.model.clone(), self.templates.clone(), batch.clone());
                let (answers, tokens) = (self.answers.clone(), tokens.clone());
                async move {
                    let Some(spec) = batch.rollouts.get(position) else {
                        return Err(ModelError::Refused("there is no such rollout".into()));
                    };
                    let simulator = Simulator { model: &*model, templates: &templates, answers: &answers };
                    let result = run_rollout(&simulator, &batch, spec, &tokens).await?;
                    Ok(RolloutReport { result, worker: String::new() })
                }
            })
            .collect();
        running.boxed()
    }
}

struct Run<'a, M> {
    simulator: Simulator<'a, M>,
    batch: &'a RolloutBatch,
    spec: &'a RolloutSpec,
    /// What is true in this rollout.
    world: World,
    /// What was done before it and in it.
    deeds: Vec<Deed>,
    /// Whether it learns what searches show.
    is_told: bool,
    tokens: &'a TokenCounter,
    /// What the context names.
    grounding: Grounding,
    steps: Vec<RolloutStep>,
    usage: Usage,
}

/// What breaks a rollout off.
#[derive(Debug, thiserror::Error)]
enum Break {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("a prompt could not be made: {0}")]
    Template(#[from] TemplateError),
    #[error("no action is left that keeps the rules: {0}")]
    Rules(String),
}

impl<M> Run<'_, M> {
    fn ended(self, end: RolloutEnd, fault: String, started: Instant) -> RolloutResult {
        let usage = Usage { rollouts: 1, elapsed: started.elapsed(), ..self.usage };
        let cost = self.steps.iter().map(|step| step.cost).sum();
        RolloutResult { key: self.spec.key, end, steps: self.steps, cost, fault, usage }
    }
}

impl<M: LanguageModel> Run<'_, M> {
    async fn simulate(&mut self, costs: &dyn CostModel) -> Result<RolloutEnd, Break> {
        let mut state = self.spec.state;
        let mut next = Worded::as_it_stands(self.spec.action.clone());
        let mut history = self.spec.history.clone();
        // The same as the model is told it.
        let mut told = history.clone();
        // How often each set of facts was tried for.
        let mut tried: BTreeMap<[bool; 6], u64> = BTreeMap::new();
        for depth in 1.. {
            let Worded { action, asked } = next;
            let objects = objects(&action, &self.batch.entities);
            let tries = tried.entry(open_facts(state, &objects).bits()).or_default();
            let after = state.union(self.predict(state, &asked, &objects, *tries).await?);
            let found = if self.is_told { self.world.found(&objects) } else { Vec::new() };
            self.deeds.push(Deed { found, ..Deed::new(objects, state, after) });
            *tries += 1;
            let cost = self.world.cost(costs, state, &action, after);
            self.steps.push(RolloutStep { action: action.clone(), state_after: after, cost });
            if after.is_terminal() {
                return Ok(RolloutEnd::Terminal);
            }
            if depth >= self.batch.policy.max_depth {
                break;
            }
            self.world.pass(self.batch.pricing.minutes_of_work(&action), &mut self.deeds);
            history.push(history_line(&action, state, after));
            told.push(history_line(&asked, state, after));
            state = after;
            next = match self.next_action(state, &history, &told, depth).await? {
                Some(next) => next,
                // Nobody is suspected any more, and rightly so.
                None if self.world.is_whole(state) => return Ok(RolloutEnd::Terminal),
                None => {
                    return Err(Break::Rules("nothing is known that a further action could be about".into()));
                }
            };
        }
        Ok(RolloutEnd::Truncated)
    }

    /// An action brings a fact about if it does all that the fact asks for in this world, which is counted, and if it works, which is
    /// drawn from what the model finds likely: so worlds that differ ask it the same questions. All candidates meet the same luck
    /// in rollouts of one number: the n-th try to bring about the same facts has the same lot, so that candidates which do the
    /// same in another order cost the same.
    async fn predict(
        &mut self,
        state: RecoveryState,
        action: &str,
        objects: &Objects,
        tries: u64,
    ) -> Result<RecoveryState, Break> {
        let open = self.world.reach(&self.deeds, objects, state);
        if open.achieved() == 0 {
            return Ok(state);
        }
        let bits = open.bits().into_iter().fold(0, |bits, bit| bits << 1 | u64::from(bit));
        let seed = derive_seed(self.spec.common_seed, "rollout state", &[bits, tries]);
        // Where the organisation says how often something works, the model is not asked.
        let (works, open) = self.world.stated(objects, open, seed);
        if open.achieved() == 0 {
            return Ok(self.world.let_through(&self.deeds, objects, state, works, seed));
        }
        let situation = situation(self.batch, &self.batch.entities, rests_on(open, state), &[]);
        let prompt = state_prompt(self.simulator.templates, situation, action, open)?;
        let answer = if self.batch.policy.thinking_tokens > 0 {
            // Greedy and without a seed of its own: equal questions have equal answers.
            let sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: 0 };
            self.ask(self.question(prompt, state_schema(open), STATE_TOKENS, sampling)).await?
        } else {
            let sampling = Sampling { temperature: 1.0, top_p: 1.0, seed };
            let question = self.question(prompt, state_schema(open), STATE_TOKENS, sampling);
            let options = self.weigh(question).await?;
            answered(draw(&options, sampling).map_or("", |option| &option.value))
        };
        let gained = parse_state(&answer, open)?.union(works);
        Ok(self.world.let_through(&self.deeds, objects, state, gained, seed))
    }

    /// What whoever responds does next; nothing where nobody is left to do it to.
    async fn next_action(
        &mut self,
        state: RecoveryState,
        history: &[String],
        told: &[String],
        depth: u32,
    ) -> Result<Option<Worded>, Break> {
        let RolloutBatch { entities, policy, constraints, .. } = self.batch;
        let templates = self.simulator.templates;
        let believed = widened(entities, &self.deeds).roles;
        let reached = Coverage::of(&believed, &self.deeds);
        let whole = Menu::of(templates, state, &believed, &reached)?.without_choices();
        if whole.is_empty() && !whole.is_free {
            return Ok(None);
        }
        let allowed = self.allowed(&whole, state)?;
        let fresh = allowed.without(futile(history));
        let menu = if fresh.is_empty() { &allowed } else { &fresh };
        let is_closed = |menu: &Menu| {
            !menu.is_empty()
                && menu.openings.len() <= MAX_WEIGHED
                && menu.openings.iter().all(|opening| !opening.continued)
        };
        if is_closed(&allowed) && policy.thinking_tokens == 0 {
            let plans_menu =
                Menu::of(templates, state, entities, &reached.alike(entities))?.without_choices();
            let worded = in_terms_of_the_plan((&whole, &believed), (&plans_menu, entities));
            let (roles, history, lines) = match worded {
                Some(lines) => (entities, told, lines),
                None => (&*believed, history, as_they_stand(&allowed)),
            };
            let is_allowed =
                |line: &Worded| allowed.openings.iter().any(|opening| opening.text == line.action);
            let lines: Vec<Worded> = lines.into_iter().filter(is_allowed).collect();
            let situation = situation(self.batch, roles, state, history);
            return self.choose(&lines, menu, situation, depth).await.map(Some);
        }
        let prompt = action_prompt(templates, situation(self.batch, &believed, state, history), &[])?;
        let mut fault = String::new();
        for attempt in 0..TRIES {
            let mut positions = vec![u64::from(depth)];
            // The first try keeps the seed that a rollout without rules has.
            positions.extend((attempt > 0).then_some(attempt));
            let seed = derive_seed(self.spec.seed, "rollout action", &positions);
            let sampling = Sampling { temperature: policy.temperature, top_p: policy.top_p, seed };
            let question = self.question(prompt.clone(), action_schema(menu, false), ACTION_TOKENS, sampling);
            let action = parse_action(&self.ask(question).await?)?.action;
            if menu.openings.iter().any(|opening| !opening.continued && opening.text == action) {
                // What the menu lists was looked at above.
                return Ok(Some(Worded::as_it_stands(action)));
            }
            let checks = Checks { grounding: &self.grounding, constraints };
            match checks.fault(state, &action).or_else(|| beyond_reach(&action, entities)) {
                None => return Ok(Some(Worded::as_it_stands(action))),
                Some(found) => fault = found,
            }
        }
        Err(Break::Rules(fault))
    }

    /// An action of `menu`, by the probabilities of all `lines` that may be asked about: what was tried in vain is no part of the question,
    /// so that it is the same question before and after. Rollouts of one number draw alike, whatever their candidate.
    async fn choose(
        &mut self,
        lines: &[Worded],
        menu: &Menu,
        situation: Situation<'_>,
        depth: u32,
    ) -> Result<Worded, Break> {
        let is_offered = |line: &&Worded| menu.openings.iter().any(|opening| opening.text == line.action);
        let offered: Vec<&Worded> = lines.iter().filter(is_offered).collect();
        if let [only] = offered.as_slice() {
            return Ok((*only).clone());
        }
        let RolloutPolicy { temperature, top_p, .. } = self.batch.policy;
        let worked: Vec<String> = situation.history.iter().filter(|line| !is_futile(line)).cloned().collect();
        let told = in_order_of_response(&worked);
        let prompt = action_prompt(self.simulator.templates, Situation { history: &told, ..situation }, &[])?;
        let seed = derive_seed(self.spec.common_seed, "rollout action", &[u64::from(depth)]);
        let sampling = Sampling { temperature, top_p, seed };
        let asked = Menu::whole(lines.iter().map(|line| line.asked.as_str()));
        let question = self.question(prompt, action_schema(&asked, false), ACTION_TOKENS, sampling);
        let options = self.weigh(question).await?;
        let checks = Checks { grounding: &self.grounding, constraints: &self.batch.constraints };
        let (mut weighed, mut fault) = (Vec::new(), String::new());
        for option in options.iter() {
            let asked = parse_action(&answered(&option.value))?.action;
            // What the menu lists was looked at before.
            match lines.iter().find(|line| line.asked == asked) {
                Some(line) if is_offered(&line) => {}
                Some(_) => continue,
                None => {
                    if let Some(found) = checks.fault(situation.state, &asked) {
                        fault = found;
                        continue;
                    }
                }
            }
            weighed.push(Weighed { value: asked, probability: option.probability });
        }
        let Some(drawn) = draw(&weighed, sampling) else { return Err(Break::Rules(fault)) };
        let line = lines.iter().find(|line| line.asked == drawn.value).cloned();
        Ok(line.unwrap_or_else(|| Worded::as_it_stands(drawn.value.clone())))
    }

    /// The menu without the actions that break a rule.
    fn allowed(&self, menu: &Menu, state: RecoveryState) -> Result<Menu, Break> {
        let checks = Checks { grounding: &self.grounding, constraints: &self.batch.constraints };
        let faults: Vec<(&str, String)> = menu
            .openings
            .iter()
            .filter_map(|opening| Some((opening.text.as_str(), checks.rule_fault(state, &opening.text)?)))
            .collect();
        let allowed = menu.without(faults.iter().map(|(text, _)| *text));
        if let Some((_, fault)) = faults.first().filter(|_| allowed.is_empty()) {
            return Err(Break::Rules(fault.clone()));
        }
        Ok(allowed)
    }

    fn question(
        &self,
        prompt: Prompt,
        json_schema: serde_json::Value,
        answer_tokens: u32,
        sampling: Sampling,
    ) -> Question {
        let thinking_tokens = self.batch.policy.thinking_tokens;
        let max_tokens = thinking_tokens.saturating_add(answer_tokens);
        let format = AnswerFormat { thinking_tokens, json_schema, max_tokens, weigh_options: false };
        let tenant = self.batch.tenant.clone();
        Question { tenant, prompt, format, sampling, purpose: Purpose::Rollout }
    }

    /// Asks the model.
    async fn ask(&mut self, question: Question) -> Result<Answer, ModelError> {
        let answer = self.simulator.model.ask(question, self.tokens).await?;
        self.usage += answer.usage;
        Ok(answer)
    }

    /// Asks a question whose answer is one of a few and follows from no reasoning, for the probabilities of all of them; once, whatever
    /// is drawn from them.
    async fn weigh(&mut self, mut question: Question) -> Result<Options, ModelError> {
        question.format.weigh_options = true;
        question.sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: 0 };
        let Simulator { model, answers, .. } = self.simulator;
        let (options, usage) = answers.weigh(model, &self.batch.incident, question, self.tokens).await?;
        self.usage += usage;
        Ok(options)
    }
}

fn situation<'a>(
    batch: &'a RolloutBatch,
    roles: &'a Roles,
    state: RecoveryState,
    history: &'a [String],
) -> Situation<'a> {
    let RolloutBatch { system, context, .. } = batch;
    Situation { system, shared: context, roles, state, history }
}

fn as_they_stand(menu: &Menu) -> Vec<Worded> {
    menu.openings.iter().map(|opening| Worded::as_it_stands(opening.text.clone())).collect()
}

fn answered(json: &str) -> Answer {
    Answer { json: json.to_owned(), complete: true, ..Answer::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU32, Ordering};

    use countermove_incident::{Constraints, Pricing};

    use super::*;
    use crate::rollouts::runner::RolloutKey;
    use crate::testing::{ScriptedModel, optimist};

    /// Answers the first question, and is never done with the second.
    struct Stalling(AtomicU32);

    impl LanguageModel for Stalling {
        async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
            if self.0.fetch_add(1, Ordering::SeqCst) > 0 {
                tokens.add(7);
                std::future::pending::<()>().await;
            }
            let nothing = r#"{"is_attack_contained": false}"#;
            let script = |question: &Question| {
                optimist(question)
                    .map(|answer| if answer.contains("true") { nothing.to_owned() } else { answer })
            };
            ScriptedModel::new(script).ask(question, tokens).await
        }
    }

    const KEY: RolloutKey = RolloutKey { step: 0, candidate: 1, rollout: 2 };
    const ISOLATE: &str = "Isolate 10.0.0.5 from the network";

    fn spec(action: &str) -> RolloutSpec {
        RolloutSpec {
            key: KEY,
            seed: 3,
            common_seed: 4,
            state: RecoveryState::default(),
            history: Vec::new(),
            action: action.into(),
        }
    }

    fn batch(entities: Roles) -> RolloutBatch {
        RolloutBatch {
            tenant: String::new(),
            incident: "incidents/test".into(),
            system: "You plan.".into(),
            context: vec!["Evidence of 10.0.0.5.".into()],
            entities,
            policy: RolloutPolicy { max_depth: 12, temperature: 0.6, top_p: 0.9, thinking_tokens: 0 },
            pricing: Pricing::default(),
            constraints: Constraints::default(),
            rollouts: Vec::new(),
        }
    }

    #[tokio::test]
    async fn who_leaves_the_attacker_free_pays_for_it() {
        let own = ["10.0.0.5", "10.0.0.6", "10.0.0.7"].map(str::to_owned);
        let batch = batch(Roles {
            systems: own.to_vec(),
            targets: vec![own[0].clone()],
            compromised: own.clone().into_iter().zip([0.9, 0.02, 0.01]).collect(),
            ..Roles::default()
        });
        let (templates, answers) = (Templates::load(None).unwrap(), Answers::default());
        let model = ScriptedModel::new(optimist);
        let simulator = Simulator { model: &model, templates: &templates, answers: &answers };
        let mut costs = [0.0; 2];
        let mut dearer = 0;
        for seed in 0..100 {
            let mut pair = [0.0; 2];
            for (cost, action) in pair.iter_mut().zip([ISOLATE, "Search the logs of 10.0.0.5"]) {
                let spec = RolloutSpec { seed, common_seed: seed, ..spec(action) };
                let tokens = TokenCounter::default();
                let result = run_rollout(&simulator, &batch, &spec, &tokens).await.unwrap();
                assert!(result.steps.len() <= 12 && result.end != RolloutEnd::Malformed, "{result:?}");
                *cost = result.cost;
            }
            dearer += usize::from(pair[1] > pair[0]);
            costs = [costs[0] + pair[0], costs[1] + pair[1]];
        }
        // A host falls within the search in 0.52 · (1 - exp(-90 / 60)) of them, 40 in 100, and has to be reached as well.
        assert!(costs[1] > 1.05 * costs[0] && (30..60).contains(&dearer), "{costs:?}, {dearer} dearer");
    }

    #[tokio::test]
    async fn a_search_that_clears_all_suspects_ends_a_false_alarm() {
        let host = vec!["10.0.0.5".to_owned()];
        let batch = batch(Roles {
            systems: host.clone(),
            targets: host.clone(),
            compromised: [(host[0].clone(), 0.3)].into(),
            ..Roles::default()
        });
        let (templates, answers) = (Templates::load(None).unwrap(), Answers::default());
        let model = ScriptedModel::new(optimist);
        let simulator = Simulator { model: &model, templates: &templates, answers: &answers };
        let mut costs = [0.0; 2];
        let mut cleared = 0;
        for seed in 0..100 {
            let mut results = Vec::new();
            for action in ["Search the logs of 10.0.0.5", ISOLATE] {
                let spec = RolloutSpec { seed, common_seed: seed, ..spec(action) };
                results.push(run_rollout(&simulator, &batch, &spec, &TokenCounter::default()).await.unwrap());
            }
            for (sum, result) in costs.iter_mut().zip(&results) {
                *sum += result.cost;
            }
            let [search, isolation] = &results[..] else { panic!("two were run") };
            if search.steps.len() == 1 {
                cleared += 1;
                // Twice what it costs where too little is known after it all the same.
                assert!(search.end == RolloutEnd::Terminal && search.cost <= 2.0, "{search:?}");
                assert!(isolation.steps[0].cost >= 2.0, "the host had no part: {isolation:?}");
            }
        }
        assert!((60..80).contains(&cleared), "{cleared} of 100");
        assert!(costs[0] < costs[1], "who is in doubt is searched first: {costs:?}");
    }

    #[tokio::test]
    async fn worlds_that_differ_ask_the_same() {
        let own = ["10.0.0.5", "10.0.0.6", "10.0.0.7"].map(str::to_owned);
        let batch = batch(Roles {
            systems: own.to_vec(),
            targets: own[..2].to_vec(),
            compromised: own.clone().into_iter().zip([0.9, 0.5, 0.2]).collect(),
            ..Roles::default()
        });
        let (templates, answers) = (Templates::load(None).unwrap(), Answers::default());
        let model = ScriptedModel::new(optimist);
        let simulator = Simulator { model: &model, templates: &templates, answers: &answers };
        let mut taken = BTreeSet::new();
        for seed in 0..100 {
            let spec =
                RolloutSpec { seed, common_seed: seed, ..spec("Search the logs of 10.0.0.5 and 10.0.0.6") };
            let result = run_rollout(&simulator, &batch, &spec, &TokenCounter::default()).await.unwrap();
            taken.extend(result.steps.into_iter().map(|step| step.action));
        }
        let isolations: Vec<_> = taken.iter().filter(|action| action.starts_with("Isolate")).collect();
        assert!(isolations.len() > 3, "who is isolated depends on the world: {isolations:?}");
        let prompts: Vec<String> =
            model.asked().iter().map(|question| question.prompt.segments.concat()).collect();
        let asked: BTreeSet<&str> = prompts
            .iter()
            .flat_map(|prompt| prompt.lines())
            .filter(|line| line.starts_with("Action: Isolate"))
            .collect();
        assert_eq!(asked, ["Action: Isolate 10.0.0.5 and 10.0.0.6 from the network"].into(), "the plan's");
    }

    #[tokio::test]
    async fn no_action_is_made_up_where_nobody_is_left_to_act_on() {
        let batch = batch(Roles { attackers: vec!["203.0.113.9".into()], ..Roles::default() });
        let (templates, answers) = (Templates::load(None).unwrap(), Answers::default());
        let model = ScriptedModel::new(optimist);
        let simulator = Simulator { model: &model, templates: &templates, answers: &answers };
        let tokens = TokenCounter::default();
        let spec = spec("Block all traffic from 203.0.113.9");
        let result = run_rollout(&simulator, &batch, &spec, &tokens).await.unwrap();
        assert_eq!((result.end, result.steps.len()), (RolloutEnd::Truncated, 1), "{result:?}");
        assert!(result.fault.contains("nothing is known"), "{}", result.fault);
        // Where templates list no actions, any sentence is one.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("openings.txt.j2"), "{# Anything goes. #}\n").unwrap();
        let free = Templates::load(Some(folder.path())).unwrap();
        let simulator = Simulator { templates: &free, ..simulator };
        let result = run_rollout(&simulator, &batch, &spec, &tokens).await.unwrap();
        assert!(result.steps.len() > 1, "{result:?}");
    }

    #[tokio::test]
    async fn a_rollout_that_is_cancelled_tells_what_it_took() {
        let spec = spec(ISOLATE);
        let host = vec!["10.0.0.5".to_owned()];
        let batch = batch(Roles { systems: host.clone(), targets: host, ..Roles::default() });
        let (templates, tokens) = (Templates::load(None).unwrap(), TokenCounter::default());
        let answers = Answers::default();
        // What was counted before is no part of it.
        tokens.add(1000);
        let model = Stalling(AtomicU32::new(0));
        let stalls = async {
            while model.0.load(Ordering::SeqCst) < 2 {
                tokio::task::yield_now().await;
            }
        };
        let caller = Caller { tokens: &tokens, cancelled: stalls };
        let simulator = Simulator { model: &model, templates: &templates, answers: &answers };
        let result = run_rollout_for(&simulator, &batch, &spec, caller).await.unwrap();
        assert_eq!((result.key, result.end, result.steps.len()), (KEY, RolloutEnd::Cancelled, 1));
        assert_eq!(result.usage.generated(), tokens.total() - 1000, "the answer and what came of the next");
        assert!(result.usage.generated() > 7 && result.usage.prompt_tokens > 0, "{:?}", result.usage);
    }
}
