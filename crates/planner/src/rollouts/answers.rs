//! What the model makes of the questions of rollouts, asked once and kept: a plan's rollouts ask the same few dozen questions
//! hundreds of times. Kept are the probabilities of all answers that a question may have, and each rollout draws its own.
//!
//! Invariants: an answer depends on the question alone, so a rollout's result is the same whether its answers were kept or not; no
//! incident learns what another one asked, not even by how long an answer takes; of what is kept, the oldest goes when there is
//! too much.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::language_model::{LanguageModel, ModelError, Question, Sampling, TokenCounter, Usage, Weighed};
use crate::seeds::chance;

/// Questions whose answers a worker keeps: about a kilobyte each.
const MOST: usize = 16_384;

/// The values that an answer may have, with their probabilities.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    values: Arc<[Weighed]>,
    /// As the answer had it.
    pub(crate) untuned: bool,
}

impl Deref for Options {
    type Target = [Weighed];

    fn deref(&self) -> &[Weighed] {
        &self.values
    }
}

type Key = [u8; 32];

/// Answers that are kept.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_question: HashMap<Key, Arc<OnceCell<Options>>>,
    /// The same keys, the oldest first.
    order: VecDeque<Key>,
}

impl Answers {
    /// The values that the answer may have. Whoever asks first has the work; others wait for it, and ask themselves if it fails or
    /// is broken off.
    ///
    /// # Errors
    /// As [`LanguageModel::ask`], and [`ModelError::Failed`] from a model that does not say how likely each value is.
    pub(crate) async fn weigh(
        &self,
        model: &impl LanguageModel,
        incident: &str,
        question: Question,
        tokens: &TokenCounter,
    ) -> Result<(Options, Usage), ModelError> {
        let answer = self.place(key(incident, &question));
        let mut usage = Usage::default();
        let ask = async {
            let answer = model.ask(question, tokens).await?;
            usage = answer.usage;
            if answer.options.is_empty() {
                return Err(ModelError::Failed("it does not say how likely each answer is".into()));
            }
            Ok(Options { values: answer.options.into(), untuned: answer.untuned })
        };
        let options = answer.get_or_try_init(|| ask).await?.clone();
        Ok((options, usage))
    }

    fn place(&self, key: Key) -> Arc<OnceCell<Options>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.by_question.get(&key) {
            return Arc::clone(place);
        }
        if kept.order.len() >= MOST
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_question.remove(&oldest);
        }
        let place = Arc::<OnceCell<Options>>::default();
        kept.order.push_back(key);
        kept.by_question.insert(key, Arc::clone(&place));
        place
    }
}

/// Equal for equal questions of one incident. Workers may serve coordinators that know nothing of each other, so its tenant
/// counts as well.
fn key(incident: &str, question: &Question) -> Key {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        // Lengths first, so that no two lists of parts run together to the same bytes.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    let schema = question.format.json_schema.to_string();
    [&question.tenant, incident, &schema, &question.prompt.system].into_iter().for_each(&mut part);
    question.prompt.segments.iter().for_each(|segment| part(segment));
    hash.finalize().into()
}

/// One of the values: by its probability at a temperature, out of the likeliest that together have the mass `top_p`. The seed
/// alone decides, and the same seed draws the same of two questions that are answered alike.
pub(crate) fn draw(options: &[Weighed], sampling: Sampling) -> Option<&Weighed> {
    let likeliest = options.iter().reduce(|a, b| if b.probability > a.probability { b } else { a })?;
    let most = f64::from(likeliest.probability);
    if sampling.temperature <= 0.0 || most <= 0.0 {
        return Some(likeliest);
    }
    let power = 1.0 / f64::from(sampling.temperature);
    let raised = |option: &Weighed| (f64::from(option.probability) / most).powf(power);
    let mut masses: Vec<f64> = options.iter().map(raised).collect();
    let all: f64 = masses.iter().sum();
    let mut order: Vec<usize> = (0..masses.len()).collect();
    // Stable: among equals the first.
    order.sort_by(|&a, &b| {
        masses.get(b).zip(masses.get(a)).map_or(std::cmp::Ordering::Equal, |(b, a)| b.total_cmp(a))
    });
    let mut before = 0.0;
    for at in order {
        let Some(mass) = masses.get_mut(at) else { continue };
        let own = *mass;
        if before >= f64::from(sampling.top_p) * all {
            *mass = 0.0;
        }
        before += own;
    }
    let mut left = chance(sampling.seed) * masses.iter().sum::<f64>();
    let drawn = options.iter().zip(&masses).filter(|(_, mass)| **mass > 0.0).find(|(_, mass)| {
        left -= **mass;
        left < 0.0
    });
    drawn.map(|(option, _)| option).or(Some(likeliest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::language_model::{Answer, AnswerFormat, Prompt, Purpose};
    use crate::seeds::derive_seed;
    use crate::testing::{ScriptedModel, optimist};

    fn question(text: &str) -> Question {
        Question {
            tenant: String::new(),
            prompt: Prompt { system: "s".into(), segments: vec![text.into()] },
            format: AnswerFormat {
                thinking_tokens: 0,
                json_schema: json!({"type": "boolean"}),
                max_tokens: 8,
                weigh_options: true,
            },
            sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: 0 },
            purpose: Purpose::Rollout,
        }
    }

    #[tokio::test]
    async fn a_question_is_asked_once_in_an_incident() {
        let (model, answers, tokens) =
            (ScriptedModel::new(optimist), Answers::default(), TokenCounter::default());
        let ask =
            |incident: &'static str, text: &str| answers.weigh(&model, incident, question(text), &tokens);
        let (first, second) = tokio::join!(ask("a", "x"), ask("a", "x"));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.0, second.0);
        assert_eq!(first.1.generated() + second.1.generated(), tokens.total(), "the work is counted once");
        assert_eq!(model.asked().len(), 1);
        ask("a", "y").await.unwrap();
        ask("b", "x").await.unwrap();
        assert_eq!(model.asked().len(), 3, "neither another question nor another incident has it");
    }

    /// Never answers the first time.
    #[derive(Default)]
    struct Stalls(Mutex<u32>);

    impl LanguageModel for Stalls {
        async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
            let number = {
                let mut asked = self.0.lock().unwrap();
                *asked += 1;
                *asked
            };
            match number {
                1 => std::future::pending().await,
                2 => Err(ModelError::Failed("not this time".into())),
                _ => ScriptedModel::new(optimist).ask(question, tokens).await,
            }
        }
    }

    #[tokio::test]
    async fn who_waits_asks_when_the_first_to_ask_is_gone_or_fails() {
        let (model, answers, tokens) = (Stalls::default(), Answers::default(), TokenCounter::default());
        let ask = || answers.weigh(&model, "a", question("x"), &tokens);
        let mut first = Box::pin(ask());
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(ask());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await.unwrap_err(), ModelError::Failed("not this time".into()));
        assert_eq!(ask().await.unwrap().0.len(), 2);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let answers = Answers::default();
        let first = answers.place([0; 32]);
        for number in 0..MOST as u64 {
            let mut key = [1; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            answers.place(key);
        }
        let kept = answers.0.lock().unwrap();
        assert_eq!((kept.order.len(), kept.by_question.len()), (MOST, MOST));
        assert_eq!(Arc::strong_count(&first), 1, "the oldest is gone");
    }

    fn options(probabilities: &[f32]) -> Vec<Weighed> {
        let of = |(at, &probability): (usize, &f32)| Weighed { value: at.to_string(), probability };
        probabilities.iter().enumerate().map(of).collect()
    }

    #[test]
    fn what_is_drawn_has_its_probability() {
        let share = |options: &[Weighed], temperature: f32, top_p: f32, value: &str| {
            let drawn = (0..20_000).filter(|number| {
                let seed = derive_seed(1, "test", &[*number]);
                draw(options, Sampling { temperature, top_p, seed }).unwrap().value == value
            });
            drawn.count() as f64 / 20_000.0
        };
        let three = options(&[0.2, 0.7, 0.1]);
        assert!((share(&three, 1.0, 1.0, "0") - 0.2).abs() < 0.01);
        assert!((share(&three, 1.0, 1.0, "1") - 0.7).abs() < 0.01);
        // 0.2² / (0.2² + 0.7² + 0.1²)
        assert!((share(&three, 0.5, 1.0, "0") - 0.0741).abs() < 0.01);
        assert_eq!(share(&three, 1.0, 0.8, "2"), 0.0, "the first two have that mass");
        assert!((share(&three, 1.0, 0.8, "0") - 0.2 / 0.9).abs() < 0.01);
        assert_eq!(share(&three, 0.0, 1.0, "1"), 1.0);
        assert_eq!(draw(&[], Sampling { temperature: 1.0, top_p: 1.0, seed: 0 }), None);
    }

    proptest! {
        #[test]
        fn something_likely_is_drawn_whatever_the_numbers(
            probabilities in prop::collection::vec(0.0f32..=1.0, 1..9),
            temperature in 0.0f32..=2.0,
            top_p in 0.01f32..=1.0,
            seed in any::<u64>(),
        ) {
            let options = options(&probabilities);
            let drawn = draw(&options, Sampling { temperature, top_p, seed }).unwrap();
            prop_assert!(drawn.probability > 0.0 || probabilities.iter().all(|p| *p == 0.0));
        }
    }
}
