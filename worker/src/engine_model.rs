//! The model engine as the planner's language model.

use std::sync::Arc;
use std::time::Instant;

use countermove_model::{Completion, Engine, EngineError, EngineStats, Event, Priority, Request};
use countermove_planner::{
    Answer, LanguageModel, ModelError, Prompt, Purpose, Question, TokenCounter, Usage, Weighed,
};
use countermove_telemetry::{TRACE, count, part};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::service::ServedModel;

/// An engine that answers the planner's questions.
#[derive(Clone, Debug)]
pub struct EngineModel {
    engine: Engine,
    /// What prompts begin with that says nothing of any incident.
    instructions: Arc<[String]>,
    /// Whether nobody tuned it.
    untuned: bool,
}

impl EngineModel {
    /// Wraps an engine; clones of it stay usable. Prompts that begin with `instructions` share what is kept of these; all else is
    /// kept for each tenant alone. `untuned` says that nobody tuned the model for the planner's questions.
    pub fn new(engine: Engine, instructions: Vec<String>, untuned: bool) -> Self {
        Self { engine, instructions: instructions.into(), untuned }
    }

    fn request(&self, question: Question) -> Request {
        let Prompt { system, segments } = question.prompt;
        let parts = std::iter::once(&system).chain(&segments);
        let common_parts = parts.take_while(|part| self.instructions.contains(part)).count();
        Request {
            owner: question.tenant,
            common_parts,
            system,
            segments,
            thinking_tokens: question.format.thinking_tokens,
            json_schema: Some(question.format.json_schema),
            weigh_options: question.format.weigh_options,
            max_tokens: question.format.max_tokens,
            temperature: question.sampling.temperature,
            top_p: question.sampling.top_p,
            seed: question.sampling.seed,
            priority: match question.purpose {
                Purpose::Decision => Priority::Interactive,
                Purpose::Rollout => Priority::Bulk,
            },
        }
    }
}

impl ServedModel for EngineModel {
    fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    async fn ended(&self) {
        self.engine.ended().await;
    }
}

impl LanguageModel for EngineModel {
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
        let begun = Instant::now();
        let this = self.clone();
        // Encoding a long prompt and compiling a grammar take milliseconds: not on the runtime that answers health
        // checks. If this future is dropped meanwhile, the generation is dropped as soon as it exists.
        let mut generation = tokio::task::spawn_blocking(move || this.engine.submit(this.request(question)))
            .await
            .map_err(|error| ModelError::Failed(format!("the request could not be prepared: {error}")))?;
        // Until the first token: waiting for a place in the batch is in it.
        let mut prefill = Some(part(|| info_span!(target: TRACE, "prefill")));
        let mut decode = Span::none();
        while let Some(event) = generation.next().await {
            if prefill.take().is_some() {
                decode = part(|| {
                    info_span!(
                        target: TRACE, "decode",
                        prompt_tokens = Empty, cached_tokens = Empty, sampled_tokens = Empty, forced_tokens = Empty
                    )
                });
            }
            match event {
                Event::Tokens { count, .. } => tokens.add(u64::from(count)),
                Event::Done(Ok(completion)) => {
                    decode.record("prompt_tokens", count(completion.prompt_tokens));
                    decode.record("cached_tokens", count(completion.cached_tokens));
                    decode.record("sampled_tokens", count(completion.sampled_tokens));
                    decode.record("forced_tokens", count(completion.forced_tokens));
                    return Ok(answer(completion, self.untuned, begun));
                }
                Event::Done(Err(error)) => return Err(model_error(&error)),
            }
        }
        Err(ModelError::Unavailable(EngineError::Stopped.to_string()))
    }
}

fn answer(completion: Completion, untuned: bool, begun: Instant) -> Answer {
    let weighed =
        |option: countermove_model::Weighed| Weighed { value: option.value, probability: option.probability };
    Answer {
        thinking: completion.thinking,
        json: completion.text,
        complete: completion.complete,
        options: completion.options.into_iter().map(weighed).collect(),
        untuned,
        usage: Usage {
            prompt_tokens: completion.prompt_tokens,
            cached_tokens: completion.cached_tokens,
            sampled_tokens: completion.sampled_tokens,
            forced_tokens: completion.forced_tokens,
            rollouts: 0,
            elapsed: begun.elapsed(),
            discarded_tokens: 0,
        },
    }
}

/// Whoever asks has to know whether asking elsewhere helps: not when the question is at fault, but when this device or
/// this process is.
fn model_error(error: &EngineError) -> ModelError {
    let text = error.to_string();
    match error {
        EngineError::ContextLength { .. } | EngineError::KvBudget { .. } | EngineError::Grammar(_) => {
            ModelError::Refused(text)
        }
        EngineError::NotANumber { .. } => ModelError::Failed(text),
        EngineError::Device(_) | EngineError::Overloaded { .. } | EngineError::Stopped => {
            ModelError::Unavailable(text)
        }
    }
}
