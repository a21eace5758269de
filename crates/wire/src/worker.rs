//! Questions, answers and rollouts between coordinator and worker.

use countermove_incident::{Constraint, Constraints, Pricing};
use countermove_planner::{
    Answer, AnswerFormat, Prompt, Purpose, Question, RolloutBatch, RolloutEnd, RolloutKey, RolloutPolicy,
    RolloutResult, RolloutSpec, RolloutStep, Sampling, Usage, Weighed, limits,
};
use countermove_proto::worker::v1 as wire;
use countermove_proto::{Error, v1};

use crate::bounds::{ANSWER_TOKENS, within};
use crate::state::roles;
use crate::{FromDomain, FromMessage, IntoMessage, pricing, recovery_state, required};

/// The request for some rollouts of a batch, in a call of this name.
pub fn run_rollouts_request(
    batch: &RolloutBatch,
    rollouts: &[RolloutSpec],
    call: String,
) -> wire::RunRolloutsRequest {
    wire::RunRolloutsRequest {
        call,
        tenant: batch.tenant.clone(),
        incident: batch.incident.clone(),
        system: batch.system.clone(),
        context: batch.context.clone(),
        entities: Some(batch.entities.clone().into_message()),
        policy: Some(batch.policy.into_message()),
        cost_model: Some((&batch.pricing).into_message()),
        constraints: batch.constraints.rules.iter().map(IntoMessage::into_message).collect(),
        rollouts: rollouts
            .iter()
            .map(|spec| wire::RolloutSpec {
                key: Some(key_message(spec.key, spec.seed)),
                state: Some(spec.state.into_message()),
                history: spec.history.clone(),
                action: spec.action.clone(),
                common_seed: spec.common_seed,
            })
            .collect(),
    }
}

/// The request to break off a rollout of a call.
pub fn cancel_rollout_request(call: String, key: RolloutKey) -> wire::CancelRolloutsRequest {
    // Its seed is not looked at.
    wire::CancelRolloutsRequest { call, rollouts: vec![key_message(key, 0)] }
}

/// Which rollouts a request breaks off.
pub fn cancelled_rollouts(request: &wire::CancelRolloutsRequest) -> impl Iterator<Item = RolloutKey> {
    request.rollouts.iter().map(|&key| rollout_key(key))
}

/// The message of a result. The seed is that of the request.
pub fn rollout_result_message(result: RolloutResult, seed: u64) -> wire::RolloutResult {
    wire::RolloutResult {
        key: Some(key_message(result.key, seed)),
        end: v1::RolloutEnd::from_domain(result.end).into(),
        steps: result.steps.into_iter().map(IntoMessage::into_message).collect(),
        cost: result.cost,
        fault: result.fault,
        usage: Some(result.usage.into_message()),
    }
}

impl FromDomain<&Question> for wire::GenerateRequest {
    fn from_domain(question: &Question) -> Self {
        Self {
            tenant: question.tenant.clone(),
            system: question.prompt.system.clone(),
            segments: question.prompt.segments.clone(),
            answer: Some(wire::AnswerFormat {
                thinking_tokens: question.format.thinking_tokens,
                json_schema: question.format.json_schema.to_string(),
                max_tokens: question.format.max_tokens,
                weigh_options: question.format.weigh_options,
            }),
            sampling: Some(wire::Sampling {
                temperature: question.sampling.temperature,
                top_p: question.sampling.top_p,
                seed: question.sampling.seed,
            }),
        }
    }
}

impl FromMessage<wire::GenerateRequest> for Question {
    /// The question, as a decision: that is what Generate is for.
    fn from_message(request: wire::GenerateRequest) -> Result<Self, Error> {
        let answer = required(request.answer, "answer")?;
        let sampling = required(request.sampling, "sampling")?;
        check_sampling(sampling.temperature, sampling.top_p, "sampling")?;
        within("answer.thinking_tokens", answer.thinking_tokens, limits::THINKING_TOKENS)?;
        within("answer.max_tokens", answer.max_tokens, ANSWER_TOKENS)?;
        if request.segments.is_empty() {
            return Err(Error::invalid("segments", "at least one is needed"));
        }
        let json_schema = serde_json::from_str(&answer.json_schema)
            .map_err(|error| Error::invalid("answer.json_schema", format!("it is not JSON: {error}")))?;
        Ok(Self {
            tenant: request.tenant,
            prompt: Prompt { system: request.system, segments: request.segments },
            format: AnswerFormat {
                thinking_tokens: answer.thinking_tokens,
                json_schema,
                max_tokens: answer.max_tokens,
                weigh_options: answer.weigh_options,
            },
            sampling: Sampling {
                temperature: sampling.temperature,
                top_p: sampling.top_p,
                seed: sampling.seed,
            },
            purpose: Purpose::Decision,
        })
    }
}

impl FromDomain<Answer> for wire::GenerateAnswer {
    fn from_domain(answer: Answer) -> Self {
        Self {
            thinking: answer.thinking,
            json: answer.json,
            complete: answer.complete,
            usage: Some(answer.usage.into_message()),
            untuned: answer.untuned,
            options: answer
                .options
                .into_iter()
                .map(|Weighed { value, probability }| wire::WeighedOption { value, probability })
                .collect(),
        }
    }
}

impl FromMessage<wire::GenerateAnswer> for Answer {
    fn from_message(answer: wire::GenerateAnswer) -> Result<Self, Error> {
        let weighed = |option: wire::WeighedOption| {
            let probability = within("answer.options.probability", option.probability, 0.0..=1.0)?;
            Ok(Weighed { value: option.value, probability })
        };
        Ok(Self {
            thinking: answer.thinking,
            json: answer.json,
            complete: answer.complete,
            options: answer.options.into_iter().map(weighed).collect::<Result<_, Error>>()?,
            untuned: answer.untuned,
            usage: Usage::from_message(answer.usage.unwrap_or_default())?,
        })
    }
}

impl FromDomain<RolloutPolicy> for wire::RolloutPolicy {
    fn from_domain(policy: RolloutPolicy) -> Self {
        Self {
            max_depth: policy.max_depth,
            temperature: policy.temperature,
            top_p: policy.top_p,
            thinking_tokens: policy.thinking_tokens,
        }
    }
}

impl FromMessage<wire::RolloutPolicy> for RolloutPolicy {
    fn from_message(policy: wire::RolloutPolicy) -> Result<Self, Error> {
        check_sampling(policy.temperature, policy.top_p, "policy")?;
        within("policy.max_depth", policy.max_depth, limits::DEPTH)?;
        within("policy.thinking_tokens", policy.thinking_tokens, limits::THINKING_TOKENS)?;
        Ok(Self {
            max_depth: policy.max_depth,
            temperature: policy.temperature,
            top_p: policy.top_p,
            thinking_tokens: policy.thinking_tokens,
        })
    }
}

impl FromMessage<wire::RunRolloutsRequest> for RolloutBatch {
    fn from_message(request: wire::RunRolloutsRequest) -> Result<Self, Error> {
        let policy = RolloutPolicy::from_message(required(request.policy, "policy")?)?;
        let pricing = pricing(request.cost_model, &Pricing::default())?;
        let entities = roles(request.entities.unwrap_or_default())?.able(pricing.capabilities());
        let rules =
            request.constraints.into_iter().map(Constraint::from_message).collect::<Result<_, _>>()?;
        let rollouts =
            request.rollouts.into_iter().map(RolloutSpec::from_message).collect::<Result<Vec<_>, _>>()?;
        let mut keys: Vec<_> = rollouts.iter().map(|spec| spec.key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid("rollouts.key", "two rollouts have the same key"));
        }
        Ok(Self {
            tenant: request.tenant,
            incident: request.incident,
            system: request.system,
            context: request.context,
            entities,
            policy,
            pricing,
            constraints: Constraints { rules, not_understood: Vec::new() },
            rollouts,
        })
    }
}

impl FromMessage<wire::RolloutSpec> for RolloutSpec {
    fn from_message(spec: wire::RolloutSpec) -> Result<Self, Error> {
        let key = required(spec.key, "rollouts.key")?;
        if spec.action.trim().is_empty() {
            return Err(Error::invalid("rollouts.action", "it is empty"));
        }
        Ok(Self {
            key: rollout_key(key),
            seed: key.seed,
            common_seed: spec.common_seed,
            state: recovery_state(spec.state.unwrap_or_default()),
            history: spec.history,
            action: spec.action,
        })
    }
}

fn rollout_key(key: wire::RolloutKey) -> RolloutKey {
    RolloutKey { step: key.step, candidate: key.candidate, rollout: key.rollout }
}

impl FromDomain<RolloutStep> for wire::RolloutStep {
    fn from_domain(step: RolloutStep) -> Self {
        Self { action: step.action, state_after: Some(step.state_after.into_message()), cost: step.cost }
    }
}

impl FromMessage<wire::RolloutStep> for RolloutStep {
    fn from_message(step: wire::RolloutStep) -> Result<Self, Error> {
        Ok(Self {
            action: step.action,
            state_after: recovery_state(step.state_after.unwrap_or_default()),
            cost: within("result.steps.cost", step.cost, 0.0..=f64::MAX)?,
        })
    }
}

impl FromMessage<wire::RolloutResult> for RolloutResult {
    fn from_message(result: wire::RolloutResult) -> Result<Self, Error> {
        let end = v1::RolloutEnd::try_from(result.end).map_err(|_| {
            Error::invalid("result.end", format!("{} is no way for a rollout to end", result.end))
        })?;
        within("result.cost", result.cost, 0.0..=f64::MAX)?;
        Ok(Self {
            key: rollout_key(required(result.key, "result.key")?),
            end: RolloutEnd::from_message(end)?,
            steps: result.steps.into_iter().map(RolloutStep::from_message).collect::<Result<_, _>>()?,
            cost: result.cost,
            fault: result.fault,
            usage: Usage::from_message(result.usage.unwrap_or_default())?,
        })
    }
}

fn key_message(key: RolloutKey, seed: u64) -> wire::RolloutKey {
    wire::RolloutKey { step: key.step, candidate: key.candidate, rollout: key.rollout, seed }
}

fn check_sampling(temperature: f32, top_p: f32, field: &str) -> Result<(), Error> {
    within(&format!("{field}.temperature"), temperature, limits::TEMPERATURE)?;
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Error::invalid(format!("{field}.top_p"), "it has to be above 0 and at most 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use countermove_incident::RecoveryState;
    use countermove_planner::Roles;
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = RecoveryState> {
        any::<[bool; 6]>().prop_map(RecoveryState::from_bits)
    }

    fn keys() -> impl Strategy<Value = RolloutKey> {
        any::<(u32, u32, u32)>().prop_map(|(step, candidate, rollout)| RolloutKey {
            step,
            candidate,
            rollout,
        })
    }

    fn usages() -> impl Strategy<Value = Usage> {
        any::<(u32, u32, u32, u32, u32, u32)>().prop_map(|(a, b, c, d, e, nanos)| Usage {
            prompt_tokens: a.into(),
            cached_tokens: b.into(),
            sampled_tokens: c.into(),
            forced_tokens: d.into(),
            rollouts: e.into(),
            elapsed: Duration::from_nanos(nanos.into()),
            discarded_tokens: (a ^ b).into(),
        })
    }

    fn roles() -> Roles {
        Roles {
            attackers: vec!["203.0.113.7".into()],
            systems: vec!["web-1".into(), "db-1".into()],
            targets: vec!["web-1".into()],
            footholds: vec!["web-1".into()],
            stolen_accounts: vec!["admin".into()],
            planted_accounts: vec!["svc_helper".into()],
            seen_accounts: vec!["adm".into()],
            contacts: vec!["c2.example".into()],
            kept: vec!["db-1".into()],
            names: [("shop".into(), "web-1".into())].into(),
            compromised: [("web-1".into(), 0.9)].into(),
            held: [("admin".into(), 0.7)].into(),
            capabilities: Default::default(),
        }
    }

    fn policy() -> RolloutPolicy {
        RolloutPolicy { max_depth: 10, temperature: 0.6, top_p: 0.9, thinking_tokens: 0 }
    }

    proptest! {
        #[test]
        fn a_batch_comes_back(
            specs in proptest::collection::hash_map(keys(), (states(), any::<u64>(), "[a-z]{1,9}"), 0..6),
            context in proptest::collection::vec(".{0,20}", 0..4),
        ) {
            let rollouts = specs.into_iter().map(|(key, (state, seed, action))| RolloutSpec {
                key, seed, common_seed: !seed, state, history: vec!["Isolate the host".into()], action,
            }).collect();
            let batch = RolloutBatch {
                tenant: "blue".into(),
                incident: "incidents/x".into(),
                system: "s".into(),
                context,
                entities: roles(),
                policy: policy(),
                pricing: Pricing::Unit,
                constraints: Constraints::read(&["web-1 must stay up.".into()], ""),
                rollouts,
            };
            let request = run_rollouts_request(&batch, &batch.rollouts, String::new());
            prop_assert_eq!(RolloutBatch::from_message(request).unwrap(), batch);
        }

        #[test]
        fn a_result_comes_back(key in keys(), state in states(), usage in usages(), cost in 0.0..1e6f64, seed: u64) {
            for end in [RolloutEnd::Terminal, RolloutEnd::Truncated, RolloutEnd::Malformed, RolloutEnd::Cancelled] {
                let result = RolloutResult {
                    key, end, cost, usage, fault: "cut".into(),
                    steps: vec![RolloutStep { action: "Reset the password".into(), state_after: state, cost }],
                };
                let message = rollout_result_message(result.clone(), seed);
                prop_assert_eq!(message.key.unwrap().seed, seed);
                prop_assert_eq!(RolloutResult::from_message(message).unwrap(), result);
            }
        }
    }

    fn question() -> Question {
        Question {
            tenant: "blue".into(),
            prompt: Prompt { system: "s".into(), segments: vec!["a".into(), "b".into()] },
            format: AnswerFormat {
                thinking_tokens: 64,
                json_schema: serde_json::json!({"type": "object", "properties": {"z": {}, "a": {}}}),
                max_tokens: 128,
                weigh_options: true,
            },
            sampling: Sampling { temperature: 0.6, top_p: 0.9, seed: u64::MAX },
            purpose: Purpose::Decision,
        }
    }

    #[test]
    fn a_question_comes_back_with_its_properties_in_order() {
        let question = question();
        let back = Question::from_message(wire::GenerateRequest::from_domain(&question)).unwrap();
        assert_eq!(back, question);
        assert_eq!(back.format.json_schema.to_string(), question.format.json_schema.to_string());
    }

    #[test]
    fn an_answer_comes_back() {
        let answer = Answer {
            untuned: true,
            thinking: "hm".into(),
            json: "{}".into(),
            complete: true,
            options: vec![
                Weighed { value: "{}".into(), probability: 0.75 },
                Weighed { value: "[]".into(), probability: 0.25 },
            ],
            usage: Usage { prompt_tokens: 7, elapsed: Duration::from_millis(3), ..Usage::default() },
        };
        assert_eq!(Answer::from_message(wire::GenerateAnswer::from_domain(answer.clone())), Ok(answer));
    }

    #[test]
    fn an_answer_whose_probabilities_are_none_is_refused() {
        for probability in [1.5, -0.1, f32::NAN] {
            let options = vec![wire::WeighedOption { value: "{}".into(), probability }];
            let answer = wire::GenerateAnswer { options, ..Default::default() };
            assert!(Answer::from_message(answer).is_err(), "{probability}");
        }
    }

    fn field_of<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
        match result {
            Err(Error::InvalidArgument(violations)) => violations[0].field.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_question_that_makes_no_sense_is_refused_by_field() {
        let with = |change: fn(&mut wire::GenerateRequest)| {
            let mut request = wire::GenerateRequest::from_domain(&question());
            change(&mut request);
            field_of(Question::from_message(request))
        };
        assert_eq!(with(|r| r.answer = None), "answer");
        assert_eq!(with(|r| r.sampling = None), "sampling");
        assert_eq!(with(|r| r.segments.clear()), "segments");
        assert_eq!(with(|r| r.answer.as_mut().unwrap().max_tokens = 0), "answer.max_tokens");
        assert_eq!(with(|r| r.answer.as_mut().unwrap().json_schema = "{".into()), "answer.json_schema");
        assert_eq!(with(|r| r.sampling.as_mut().unwrap().temperature = f32::NAN), "sampling.temperature");
        assert_eq!(with(|r| r.sampling.as_mut().unwrap().top_p = 0.0), "sampling.top_p");
    }

    #[test]
    fn a_batch_with_one_key_twice_is_refused() {
        let spec = RolloutSpec {
            key: RolloutKey { step: 0, candidate: 1, rollout: 2 },
            seed: 3,
            common_seed: 4,
            state: RecoveryState::default(),
            history: vec![],
            action: "Isolate the host".into(),
        };
        let batch = RolloutBatch {
            tenant: String::new(),
            incident: String::new(),
            system: String::new(),
            context: vec![],
            entities: roles(),
            policy: policy(),
            pricing: Pricing::default(),
            constraints: Constraints::default(),
            rollouts: vec![spec.clone(), spec],
        };
        let request = run_rollouts_request(&batch, &batch.rollouts, String::new());
        assert_eq!(field_of(RolloutBatch::from_message(request)), "rollouts.key");
    }

    #[test]
    fn a_result_that_makes_no_sense_is_refused_by_field() {
        let good = wire::RolloutResult {
            key: Some(wire::RolloutKey::default()),
            end: v1::RolloutEnd::Terminal.into(),
            ..Default::default()
        };
        assert!(RolloutResult::from_message(good.clone()).is_ok());
        assert_eq!(
            field_of(RolloutResult::from_message(wire::RolloutResult { key: None, ..good.clone() })),
            "result.key"
        );
        assert_eq!(
            field_of(RolloutResult::from_message(wire::RolloutResult { end: 9, ..good.clone() })),
            "result.end"
        );
        let endless = wire::RolloutResult { cost: f64::INFINITY, ..good };
        assert_eq!(field_of(RolloutResult::from_message(endless)), "result.cost");
    }
}
