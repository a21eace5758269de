//! Runs rollouts with a model at hand: what a worker does, and what a planner without workers does.
//!
//! Invariant: a result depends on the batch's policy and context and on the rollout's specification alone, whatever
//! runs beside it, so it can be run again anywhere.

use std::sync::Arc;
use std::time::Instant;

use countermove_incident::{CostModel, RecoveryState, UnitCost};
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};

use crate::language_model::{
    Answer, AnswerFormat, LanguageModel, ModelError, Prompt, Purpose, Question, Sampling, TokenCounter, Usage,
};
use crate::menu::Menu;
use crate::prompts::{Situation, action_prompt, futile, history_line, state_prompt};
use crate::rollout::{
    RolloutBatch, RolloutEnd, RolloutReport, RolloutResult, RolloutRunner, RolloutSpec, RolloutStep,
};
use crate::seeds::derive_seed;
use crate::tasks::{TaskError, action_schema, open_facts, parse_action, parse_state, state_schema};
use crate::templates::{TemplateError, Templates};

/// Most tokens of the JSON answer of the task *state*; the names of the open facts make up nearly all of them.
const STATE_TOKENS: u32 = 128;
/// Most tokens of the JSON answer of the task *action* in a rollout.
const ACTION_TOKENS: u32 = 256;

/// Runs one rollout: predicts the state after the candidate's action, then asks for the next action, and so on to
/// recovery or to the depth limit, which counts the candidate's own action. Actions cost as [`UnitCost`] says.
///
/// # Errors
/// [`ModelError::Unavailable`] if no model could be reached: the rollout can be run again elsewhere. Everything else
/// that goes wrong ends the rollout as malformed, with the steps so far and the fault.
pub async fn run_rollout(
    model: &impl LanguageModel,
    templates: &Templates,
    batch: &RolloutBatch,
    spec: &RolloutSpec,
    tokens: &TokenCounter,
) -> Result<RolloutResult, ModelError> {
    let started = Instant::now();
    let mut run = Run { model, templates, batch, spec, tokens, steps: Vec::new(), usage: Usage::default() };
    let (end, fault) = match run.simulate(&UnitCost).await {
        Ok(end) => (end, String::new()),
        Err(Break::Model(error @ ModelError::Unavailable(_))) => return Err(error),
        Err(fault) => (RolloutEnd::Malformed, fault.to_string()),
    };
    let usage = Usage { rollouts: 1, elapsed: started.elapsed(), ..run.usage };
    let cost = run.steps.iter().map(|step| step.cost).sum();
    Ok(RolloutResult { key: spec.key, end, steps: run.steps, cost, fault, usage })
}

/// Runs rollouts on one model, all of a batch at once so that the engine can batch their questions.
#[derive(Debug)]
pub struct LocalRunner<M> {
    model: Arc<M>,
    templates: Arc<Templates>,
}

impl<M> LocalRunner<M> {
    /// Runs rollouts on `model`.
    pub fn new(model: Arc<M>, templates: Arc<Templates>) -> Self {
        Self { model, templates }
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
                let tokens = tokens.clone();
                async move {
                    let Some(spec) = batch.rollouts.get(position) else {
                        return Err(ModelError::Refused("there is no such rollout".into()));
                    };
                    let result = run_rollout(&*model, &templates, &batch, spec, &tokens).await?;
                    Ok(RolloutReport { result, worker: String::new() })
                }
            })
            .collect();
        running.boxed()
    }
}

struct Run<'a, M> {
    model: &'a M,
    templates: &'a Templates,
    batch: &'a RolloutBatch,
    spec: &'a RolloutSpec,
    tokens: &'a TokenCounter,
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
}

impl<M: LanguageModel> Run<'_, M> {
    async fn simulate(&mut self, costs: &dyn CostModel) -> Result<RolloutEnd, Break> {
        let mut state = self.spec.state;
        let mut action = self.spec.action.clone();
        let mut history = self.spec.history.clone();
        for depth in 1.. {
            let after = state.union(self.predict(state, &action, &history).await?);
            let cost = costs.cost(state, &action, after);
            self.steps.push(RolloutStep { action: action.clone(), state_after: after, cost });
            if after.is_terminal() {
                return Ok(RolloutEnd::Terminal);
            }
            if depth >= self.batch.policy.max_depth {
                break;
            }
            history.push(history_line(&action, state, after));
            state = after;
            action = self.next_action(state, &history, depth).await?;
        }
        Ok(RolloutEnd::Truncated)
    }

    /// Greedy and without a seed of its own: equal questions have equal answers, and a cache may give them.
    async fn predict(
        &mut self,
        state: RecoveryState,
        action: &str,
        history: &[String],
    ) -> Result<RecoveryState, Break> {
        let open = open_facts(state, action);
        if open.achieved() == 0 {
            return Ok(state);
        }
        let prompt = state_prompt(self.templates, self.situation(state, history), action, open)?;
        let sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: 0 };
        let answer = self.ask(prompt, state_schema(open), STATE_TOKENS, sampling).await?;
        Ok(parse_state(&answer, open)?)
    }

    async fn next_action(
        &mut self,
        state: RecoveryState,
        history: &[String],
        depth: u32,
    ) -> Result<String, Break> {
        let RolloutBatch { entities, policy, .. } = self.batch;
        let prompt = action_prompt(self.templates, self.situation(state, history), &[])?;
        let menu = Menu::new(self.templates, state, entities, history)?;
        // What changed nothing is left out, unless nothing else is left.
        let fresh = menu.without(futile(history));
        let menu = if fresh.is_empty() { menu } else { fresh };
        let seed = derive_seed(self.spec.seed, "rollout action", &[u64::from(depth)]);
        let sampling = Sampling { temperature: policy.temperature, top_p: policy.top_p, seed };
        let answer = self.ask(prompt, action_schema(&menu, false), ACTION_TOKENS, sampling).await?;
        Ok(parse_action(&answer)?.action)
    }

    fn situation<'b>(&'b self, state: RecoveryState, history: &'b [String]) -> Situation<'b> {
        let RolloutBatch { system, context, entities, .. } = self.batch;
        Situation { system, shared: context, roles: entities, state, history }
    }

    async fn ask(
        &mut self,
        prompt: Prompt,
        json_schema: serde_json::Value,
        answer_tokens: u32,
        sampling: Sampling,
    ) -> Result<Answer, ModelError> {
        let thinking_tokens = self.batch.policy.thinking_tokens;
        let format =
            AnswerFormat { thinking_tokens, json_schema, max_tokens: thinking_tokens + answer_tokens };
        let question = Question { prompt, format, sampling, purpose: Purpose::Rollout };
        let answer = self.model.ask(question, self.tokens).await?;
        self.usage += answer.usage;
        Ok(answer)
    }
}
