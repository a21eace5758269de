//! Which alerts to expect if the conjectured tactic is the right one.
//!
//! Before an action is taken the agent predicts the pairs of class and priority that the attacker's tactic raises
//! next; afterwards it compares them with what came. What is predicted is few and likely: the comparison is by
//! precision.

use countermove_incident::{AlertKind, Tactic};

use crate::evidence::assessment::TacticBelief;
use crate::evidence::scene::Scene;
use crate::language_model::{
    AnswerFormat, LanguageModel, ModelError, Purpose, Question, Sampling, TokenCounter, Usage,
};
use crate::prompts::questions::alerts_prompt;
use crate::prompts::tasks::{TaskError, alert_choices, alerts_schema, parse_alerts};
use crate::templates::{TemplateError, Templates};

/// Most tokens of the JSON answer.
const ANSWER_TOKENS: u32 = 96;

/// Why alerts could not be predicted.
#[derive(Debug, thiserror::Error)]
pub enum ExpectationError {
    /// The prompt cannot be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The model does not answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its answer cannot be used.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// What alerts are predicted for.
#[derive(Clone, Copy, Debug)]
pub struct Expectation<'a> {
    /// The effective templates.
    pub templates: &'a Templates,
    /// Instruction that stands before everything else.
    pub system: &'a str,
    /// Leading segments that the questions of the incident share.
    pub shared: &'a [String],
    /// The conjectured tactic.
    pub tactic: Tactic,
    /// Kinds of alerts that it has raised so far, the last first.
    pub seen: &'a [AlertKind],
    /// Most tokens of reasoning.
    pub thinking_tokens: u32,
}

/// Predicts the alerts that come next, the likeliest first. Greedy: the same question has the same answer.
///
/// # Errors
/// If the prompt cannot be made, the model does not answer, or its answer cannot be used.
pub async fn predict_alerts(
    model: &impl LanguageModel,
    expectation: &Expectation<'_>,
    tokens: &TokenCounter,
) -> Result<(Vec<AlertKind>, Usage), ExpectationError> {
    let Expectation { templates, system, shared, tactic, seen, thinking_tokens } = *expectation;
    let choices = alert_choices(seen);
    let question = Question {
        tenant: String::new(),
        prompt: alerts_prompt(templates, system, shared, tactic, seen)?,
        format: AnswerFormat {
            thinking_tokens,
            json_schema: alerts_schema(&choices),
            max_tokens: thinking_tokens + ANSWER_TOKENS,
            weigh_options: false,
        },
        sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: 0 },
        purpose: Purpose::Decision,
    };
    let answer = model.ask(question, tokens).await?;
    let kinds = parse_alerts(&answer, &choices)?;
    Ok((kinds, answer.usage))
}

/// The tactic that the attacker follows at present, and the kinds of alerts that it has raised, the last first: what
/// comes next is most likely more of what came last.
pub(crate) fn present_tactic<'a>(
    scene: &Scene,
    beliefs: &'a [TacticBelief],
) -> Option<(&'a TacticBelief, Vec<AlertKind>)> {
    let is_alert = |number: u32| scene.groups.iter().any(|group| group.number == number && group.is_alert);
    let by_alert = beliefs.iter().flat_map(|belief| &belief.evidence).any(|line| is_alert(line.number));
    // Groups by their last record, the latest first. Lines count where no alert does, since alerts are what is expected.
    let latest = |belief: &TacticBelief| {
        let mut groups: Vec<(usize, u32)> = belief
            .evidence
            .iter()
            .filter_map(|line| scene.groups.iter().find(|group| group.number == line.number))
            .filter(|group| group.is_alert || !by_alert)
            .filter_map(|group| Some((*group.records.last()?, group.number)))
            .collect();
        groups.sort_unstable_by(|a, b| b.cmp(a));
        groups
    };
    // Among equals the first, which is the one with the most evidence.
    let (belief, groups) = beliefs
        .iter()
        .rev()
        .map(|belief| (belief, latest(belief)))
        .max_by_key(|(_, groups)| groups.first().copied())?;
    let mut seen = Vec::new();
    for (_, number) in groups {
        let kind = scene.digest.group(number).and_then(|group| group.kind.clone());
        if let Some(kind) = kind.filter(|kind| !seen.contains(kind)) {
            seen.push(kind);
        }
    }
    Some((belief, seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ScriptedModel;

    #[tokio::test]
    async fn a_tactic_predicts_pairs_of_known_classes() {
        let templates = Templates::load(None).unwrap();
        let model = ScriptedModel::new(|_: &Question| {
            Ok(r#"{"Alerts": ["a network trojan was detected (priority 1)", "misc activity (priority 3)"]}"#
                .into())
        });
        let seen = [AlertKind::new("trojan-activity", Some(1))];
        let expectation = Expectation {
            templates: &templates,
            system: "s",
            shared: &[],
            tactic: Tactic::CommandAndControl,
            seen: &seen,
            thinking_tokens: 0,
        };
        let (kinds, usage) = predict_alerts(&model, &expectation, &TokenCounter::default()).await.unwrap();
        assert_eq!(kinds, [seen[0].clone(), AlertKind::new("misc-activity", None)]);
        assert!(usage.prompt_tokens > 0);
        let asked = model.asked();
        let turn = asked[0].prompt.segments.last().unwrap();
        assert!(turn.contains("Tactic: Command and Control"), "{turn}");
        assert!(turn.contains("so far: a network trojan was detected (priority 1)"), "{turn}");
        assert_eq!(asked[0].sampling.temperature, 0.0);
    }

    #[tokio::test]
    async fn an_unusable_answer_is_an_error() {
        let templates = Templates::load(None).unwrap();
        let model = ScriptedModel::new(|_: &Question| Ok("{}".into()));
        let expectation = Expectation {
            templates: &templates,
            system: "s",
            shared: &[],
            tactic: Tactic::Impact,
            seen: &[],
            thinking_tokens: 0,
        };
        let error = predict_alerts(&model, &expectation, &TokenCounter::default()).await.unwrap_err();
        assert!(error.to_string().contains("alerts answer"), "{error}");
    }
}
