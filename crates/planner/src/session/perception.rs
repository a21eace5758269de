//! Perception: from the evidence to an assessment.
//!
//! The model reads each group of the digest by itself: everyday traffic, or a tactic of an attack, with the probability of each. All
//! groups are asked about at once, so that the engine batches them. What it makes of them is one piece of evidence among others
//! ([`assess`]); what follows from the judgements is concluded without a model.
//!
//! A log without records is no incident and the model is not asked: a system description is no evidence of an attack. It is not
//! asked either about a log of which nothing was understood, since it would guess, nor about telemetry, which is no group of the
//! digest. A response is taken to have done nothing yet; what it has done is reported by the operator, not read from alerts, which
//! show what an attacker does.

use futures::future::join_all;

use crate::error::PlanError;
use crate::evidence::assessment::Assessment;
use crate::evidence::groups::GroupView;
use crate::evidence::reading::Reading;
use crate::evidence::scene::Scene;
use crate::evidence::verdicts::assess;
use crate::language_model::{
    AnswerFormat, LanguageModel, ModelError, Purpose, Question, Sampling, TokenCounter, Usage,
};
use crate::options::PlanOptions;
use crate::prompts::questions;
use crate::prompts::tasks::{incident_schema, read_incident};
use crate::seeds::derive_seed;
use crate::templates::{TemplateError, Templates};

/// Most tokens of the JSON answer: a name of a tactic.
const ANSWER_TOKENS: u32 = 32;

/// The question about one group of the log.
pub(crate) fn question_about(
    templates: &Templates,
    scene: &Scene,
    options: &PlanOptions,
    group: &GroupView,
) -> Result<Question, TemplateError> {
    Ok(Question {
        tenant: String::new(),
        prompt: questions::incident_prompt(templates, scene, &group.words)?,
        format: AnswerFormat {
            thinking_tokens: options.thinking_tokens,
            json_schema: incident_schema(),
            max_tokens: options.thinking_tokens + ANSWER_TOKENS,
            weigh_options: true,
        },
        sampling: Sampling {
            temperature: 0.0,
            top_p: 1.0,
            seed: derive_seed(options.seed, "perception", &[u64::from(group.number)]),
        },
        purpose: Purpose::Decision,
    })
}

/// The same about a record that says nothing.
pub(crate) fn about_nothing(templates: &Templates, question: Question) -> Result<Question, TemplateError> {
    let prompt = questions::about_nothing(templates, &question.prompt)?;
    Ok(Question { prompt, ..question })
}

/// Whether what a model reads has to be taken beside what it reads where nothing is said. After reasoning its answer follows from that.
pub(crate) fn is_untuned(untuned: bool, options: &PlanOptions) -> bool {
    untuned && options.thinking_tokens == 0
}

/// Asks the model what happened. Gives the assessment and the work behind it.
pub(crate) async fn perceive(
    model: &impl LanguageModel,
    templates: &Templates,
    scene: &Scene,
    options: &PlanOptions,
    tokens: &TokenCounter,
) -> Result<(Assessment, Usage), PlanError> {
    let mut questions = Vec::new();
    let asked = if scene.not_understood { &[][..] } else { &scene.groups };
    for group in asked {
        let question = question_about(templates, scene, options, group)?;
        questions.push(model.ask(question, tokens));
    }
    let mut usage = Usage::default();
    let mut untuned = false;
    let mut readings: Vec<Option<Reading>> = Vec::new();
    let mut reasoning = Vec::new();
    let mut rejected = Vec::new();
    let mut fault: Option<PlanError> = None;
    for (group, answer) in asked.iter().zip(join_all(questions).await) {
        let read = match answer {
            Ok(answer) => {
                usage += answer.usage;
                untuned |= is_untuned(answer.untuned, options);
                if !answer.thinking.is_empty() {
                    reasoning.push(format!("A{}: {}", group.number, answer.thinking));
                }
                read_incident(&answer).map_err(PlanError::from)
            }
            // One sequence can fail alone; without a model, or with a prompt that is too long, all will.
            Err(error @ ModelError::Failed(_)) => Err(error.into()),
            Err(error) => return Err(error.into()),
        };
        match read {
            Ok(reading) => readings.push(Some(reading)),
            Err(error) => {
                rejected.push(format!("What the model makes of alert group A{}: {error}.", group.number));
                fault.get_or_insert(error);
                readings.push(None);
            }
        }
    }
    if let Some(error) = fault.filter(|_| rejected.len() == readings.len()) {
        return Err(error);
    }
    if untuned && let Some(group) = asked.first() {
        let question = question_about(templates, scene, options, group)?;
        let answer = model.ask(about_nothing(templates, question)?, tokens).await?;
        usage += answer.usage;
        let nothing = read_incident(&answer)?;
        readings.iter_mut().flatten().for_each(|reading| *reading = reading.beside(&nothing));
    }
    let assessment = assess(scene, &readings);
    Ok((Assessment { reasoning: reasoning.join("\n"), rejected, ..assessment }, usage))
}
