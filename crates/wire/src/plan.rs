//! Options, assessments, candidates, steps and events of planning.

use countermove_incident::{Order, RecoveryState, Reversibility};
use countermove_planner::{
    Action, Assessment, Attack, Autonomy, Belief, Budget, Candidate, CostEstimate, EvidenceLine, Finding,
    OptionsError, PlanEnd, PlanEnded, PlanMode, PlanOptions, PlanStep, PlanningStage, Progress,
    RejectedCandidate, RolloutEnd, RolloutReport, StateSource, TacticBelief, TechniqueName,
};
use countermove_proto::{Error, duration_from_message, duration_to_message, v1};

use crate::bounds::within;
use crate::state::{held_account, suspect};
use crate::{FromDomain, IntoMessage};

/// The options in force: what the message leaves open comes from `defaults`, and a seed that it leaves open from
/// `draw_seed`.
///
/// # Errors
/// [`Error::InvalidArgument`] with the field that is out of its range, as `options.{field}`.
pub fn plan_options(
    message: &v1::PlanOptions,
    defaults: &PlanOptions,
    draw_seed: impl FnOnce() -> u64,
) -> Result<PlanOptions, Error> {
    let or_default = |value: u32, default: u32| if value == 0 { default } else { value };
    let deadline = match message.deadline {
        None => defaults.deadline,
        Some(deadline) => Some(duration_from_message(deadline).ok_or_else(|| {
            Error::invalid(
                "options.deadline",
                "it is negative or no duration, and it must be longer than 0 s",
            )
        })?),
    };
    let mode = match v1::PlanMode::try_from(message.mode) {
        Ok(v1::PlanMode::Unspecified | v1::PlanMode::Offline) => PlanMode::Offline,
        Ok(v1::PlanMode::Interactive) => PlanMode::Interactive,
        Err(_) => return Err(Error::invalid("options.mode", format!("there is no mode {}", message.mode))),
    };
    // It has to make sense even where it is not used.
    let autonomy_confidence =
        within("options.autonomy_confidence", message.autonomy_confidence.unwrap_or(0.95), 0.5..=1.0)?;
    let autonomy = match v1::Autonomy::try_from(message.autonomy) {
        Ok(v1::Autonomy::Unspecified | v1::Autonomy::Advise) => Autonomy::Advise,
        Ok(v1::Autonomy::ApproveReversible) => {
            Autonomy::ApproveReversible { confidence: autonomy_confidence }
        }
        Err(_) => {
            return Err(Error::invalid(
                "options.autonomy",
                format!("there is no autonomy {}", message.autonomy),
            ));
        }
    };
    let budget_time = match message.budget_time {
        None => defaults.budget.time,
        Some(time) => Some(duration_from_message(time).ok_or_else(|| {
            Error::invalid(
                "options.budget_time",
                "it is negative or no duration, and it must be longer than 0 s",
            )
        })?),
    };
    let options = PlanOptions {
        candidates: or_default(message.candidates, defaults.candidates),
        rollouts: or_default(message.rollouts, defaults.rollouts),
        max_depth: or_default(message.max_depth, defaults.max_depth),
        max_steps: or_default(message.max_steps, defaults.max_steps),
        seed: message.seed.unwrap_or_else(draw_seed),
        temperature: message.temperature.unwrap_or(defaults.temperature),
        top_p: message.top_p.unwrap_or(defaults.top_p),
        thinking_tokens: message.thinking_tokens.unwrap_or(defaults.thinking_tokens),
        deadline,
        mode,
        exhaustive: message.exhaustive || defaults.exhaustive,
        confidence: message.confidence.unwrap_or(defaults.confidence),
        budget: Budget {
            rollouts: Some(message.budget_rollouts).filter(|&most| most > 0).or(defaults.budget.rollouts),
            tokens: Some(message.budget_tokens).filter(|&most| most > 0).or(defaults.budget.tokens),
            time: budget_time,
        },
        autonomy,
        alert_precision: message.alert_precision.unwrap_or(defaults.alert_precision),
        ..defaults.clone()
    };
    options.validate().map_err(Error::from_domain)?;
    Ok(options)
}

impl FromDomain<OptionsError> for Error {
    fn from_domain(error: OptionsError) -> Self {
        Self::invalid(
            format!("options.{}", error.field),
            format!("it is {}, but it must be {}", error.found, error.allowed),
        )
    }
}

impl FromDomain<&PlanOptions> for v1::PlanOptions {
    fn from_domain(options: &PlanOptions) -> Self {
        Self {
            candidates: options.candidates,
            rollouts: options.rollouts,
            max_depth: options.max_depth,
            max_steps: options.max_steps,
            seed: Some(options.seed),
            temperature: Some(options.temperature),
            top_p: Some(options.top_p),
            thinking_tokens: Some(options.thinking_tokens),
            deadline: options.deadline.map(duration_to_message),
            mode: match options.mode {
                PlanMode::Offline => v1::PlanMode::Offline,
                PlanMode::Interactive => v1::PlanMode::Interactive,
            }
            .into(),
            exhaustive: options.exhaustive,
            confidence: Some(options.confidence),
            budget_rollouts: options.budget.rollouts.unwrap_or_default(),
            budget_tokens: options.budget.tokens.unwrap_or_default(),
            budget_time: options.budget.time.map(duration_to_message),
            autonomy: match options.autonomy {
                Autonomy::Advise => v1::Autonomy::Advise,
                Autonomy::ApproveReversible { .. } => v1::Autonomy::ApproveReversible,
            }
            .into(),
            autonomy_confidence: match options.autonomy {
                Autonomy::Advise => None,
                Autonomy::ApproveReversible { confidence } => Some(confidence),
            },
            alert_precision: Some(options.alert_precision),
        }
    }
}

impl FromDomain<Assessment> for v1::Assessment {
    fn from_domain(assessment: Assessment) -> Self {
        Self {
            is_incident: assessment.is_incident,
            not_understood: assessment.not_understood,
            description: assessment.description,
            entities: Some(assessment.entities.into_message()),
            tactics: assessment.tactics.into_iter().map(IntoMessage::into_message).collect(),
            state: Some(assessment.state.into_message()),
            reasoning: assessment.reasoning,
            rejected: assessment.rejected,
            digest: Some(assessment.digest.into_message()),
            model: None,
            attacks: assessment.attacks.into_iter().map(IntoMessage::into_message).collect(),
        }
    }
}

impl FromDomain<Attack> for v1::Attack {
    fn from_domain(attack: Attack) -> Self {
        Self {
            attackers: attack.attackers,
            targets: attack.targets,
            tactics: attack
                .tactics
                .into_iter()
                .map(|tactic| v1::Tactic::from_domain(tactic).into())
                .collect(),
            groups: attack.groups,
        }
    }
}

impl FromDomain<TacticBelief> for v1::TacticBelief {
    fn from_domain(belief: TacticBelief) -> Self {
        Self {
            tactic: v1::Tactic::from_domain(belief.tactic).into(),
            weight: belief.weight,
            techniques: belief.techniques.into_iter().map(IntoMessage::into_message).collect(),
            evidence: belief.evidence.into_iter().map(IntoMessage::into_message).collect(),
        }
    }
}

impl FromDomain<TechniqueName> for v1::Technique {
    fn from_domain(technique: TechniqueName) -> Self {
        Self { id: technique.id, name: technique.name }
    }
}

impl FromDomain<EvidenceLine> for v1::EvidenceLine {
    fn from_domain(line: EvidenceLine) -> Self {
        Self {
            number: line.number,
            text: line.text,
            count: line.count,
            attack: line.attack,
            because: line.because,
        }
    }
}

impl FromDomain<Action> for v1::Action {
    fn from_domain(action: Action) -> Self {
        Self { text: action.text, explanation: action.explanation }
    }
}

impl FromDomain<CostEstimate> for v1::CostEstimate {
    fn from_domain(cost: CostEstimate) -> Self {
        Self {
            terminal: cost.terminal,
            truncated: cost.truncated,
            malformed: cost.malformed,
            cancelled: cost.cancelled,
            mean: cost.mean,
            variance: cost.variance,
            low: cost.low,
            high: cost.high,
            likely_low: cost.likely_low,
            likely_high: cost.likely_high,
        }
    }
}

impl FromDomain<Candidate> for v1::Candidate {
    fn from_domain(candidate: Candidate) -> Self {
        let reversibility = v1::Reversibility::from_domain(Reversibility::of(&candidate.action.text));
        Self {
            index: candidate.index,
            action: Some(candidate.action.into_message()),
            cost: Some(candidate.cost.into_message()),
            predicted_state: candidate.predicted_state.map(IntoMessage::into_message),
            reasoning: candidate.reasoning,
            plan_hash: candidate.hash,
            takes_down: candidate.takes_down,
            awaits_search: candidate.awaits_search,
            approvers: if candidate.approvers > 1 { candidate.approvers } else { 0 },
            reversibility: reversibility.into(),
            orders: candidate.orders.into_iter().map(v1::Order::from_domain).collect(),
        }
    }
}

impl FromDomain<Order> for v1::Order {
    fn from_domain(order: Order) -> Self {
        let Order { does, target, by, command, undo } = order;
        Self { does: v1::VerbClass::from_domain(does).into(), target, by, command, undo }
    }
}

impl FromDomain<RejectedCandidate> for v1::RejectedCandidate {
    fn from_domain(rejected: RejectedCandidate) -> Self {
        Self { action: Some(rejected.action.into_message()), reason: rejected.reason }
    }
}

impl FromDomain<Finding> for v1::Finding {
    fn from_domain(finding: Finding) -> Self {
        let verdict = match finding.is_compromised {
            true => v1::FindingVerdict::Compromised,
            false => v1::FindingVerdict::Clean,
        };
        let kind = v1::TargetKind::from_domain(finding.kind);
        Self { name: finding.name, verdict: verdict.into(), kind: kind.into() }
    }
}

impl FromDomain<StateSource> for v1::StateSource {
    fn from_domain(source: StateSource) -> Self {
        match source {
            StateSource::Predicted => Self::Predicted,
            StateSource::Reported => Self::Reported,
        }
    }
}

impl FromDomain<PlanStep> for v1::PlanStep {
    fn from_domain(step: PlanStep) -> Self {
        let source =
            step.state_after.map_or(v1::StateSource::Unspecified, |after| after.source.into_message());
        Self {
            index: step.index,
            state_before: Some(step.state_before.into_message()),
            candidates: step.candidates.into_iter().map(IntoMessage::into_message).collect(),
            rejected: step.rejected.into_iter().map(IntoMessage::into_message).collect(),
            chosen: step.chosen,
            reason: step.reason,
            state_after: step.state_after.map(|after| after.state.into_message()),
            state_after_source: source.into(),
            usage: Some(step.usage.into_message()),
            assurance: Some(step.assurance.into_message()),
            plan_hash: step.hash,
            expected_alerts: step.expected.map(IntoMessage::into_message),
            belief: Some(step.belief.into_message()),
            planner_choice: None,
            decide_time: None,
            // Known from what happens after it.
            approvals: Vec::new(),
            findings: step.findings.into_iter().map(IntoMessage::into_message).collect(),
        }
    }
}

impl FromDomain<Belief> for v1::Belief {
    fn from_domain(belief: Belief) -> Self {
        let hindrance =
            |(fact, probability): (&str, f32)| v1::Hindrance { fact: fact.to_owned(), probability };
        Self {
            compromised: belief.compromised.into_iter().map(suspect).collect(),
            hindered: RecoveryState::NAMES.into_iter().zip(belief.hindered).map(hindrance).collect(),
            returns: belief.returns,
            held_accounts: belief.held.into_iter().map(held_account).collect(),
        }
    }
}

impl FromDomain<PlanEnd> for v1::PlanEnd {
    fn from_domain(end: PlanEnd) -> Self {
        match end {
            PlanEnd::Recovered => Self::Recovered,
            PlanEnd::StepLimit => Self::StepLimit,
            PlanEnd::NoIncident => Self::NoIncident,
            PlanEnd::NotUnderstood => Self::NotUnderstood,
            PlanEnd::NoCandidate => Self::NoCandidate,
            PlanEnd::Cleared => Self::Cleared,
            PlanEnd::Deadline => Self::Deadline,
            PlanEnd::Cancelled => Self::Cancelled,
            PlanEnd::Failed => Self::Failed,
        }
    }
}

impl FromDomain<PlanEnded> for v1::PlanEnded {
    fn from_domain(ended: PlanEnded) -> Self {
        Self {
            end: v1::PlanEnd::from_domain(ended.end).into(),
            error: ended.error,
            usage: Some(ended.usage.into_message()),
        }
    }
}

impl FromDomain<RolloutReport> for v1::RolloutFinished {
    fn from_domain(report: RolloutReport) -> Self {
        let result = report.result;
        Self {
            step: result.key.step,
            candidate: result.key.candidate,
            rollout: result.key.rollout,
            end: v1::RolloutEnd::from_domain(result.end).into(),
            cost: (result.end == RolloutEnd::Terminal).then_some(result.cost),
            depth: u32::try_from(result.steps.len()).unwrap_or(u32::MAX),
            worker: report.worker,
            usage: Some(result.usage.into_message()),
        }
    }
}

impl FromDomain<PlanningStage> for v1::PlanningStage {
    fn from_domain(stage: PlanningStage) -> Self {
        match stage {
            PlanningStage::Perception => Self::Perception,
            PlanningStage::Candidates => Self::Candidates,
            PlanningStage::Rollouts => Self::Rollouts,
            PlanningStage::Waiting => Self::Waiting,
        }
    }
}

impl FromDomain<Progress> for v1::Progress {
    fn from_domain(progress: Progress) -> Self {
        Self {
            stage: v1::PlanningStage::from_domain(progress.stage).into(),
            step: progress.step,
            rollouts_finished: progress.rollouts_finished,
            rollouts_total: progress.rollouts_total,
            tokens: progress.tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use countermove_planner::{RolloutKey, RolloutResult, Usage};
    use proptest::prelude::*;

    use super::*;

    fn options(message: &v1::PlanOptions) -> Result<PlanOptions, Error> {
        plan_options(message, &PlanOptions::default(), || 42)
    }

    #[test]
    fn what_is_left_open_comes_from_the_defaults() {
        let options = options(&v1::PlanOptions::default()).unwrap();
        assert_eq!(options, PlanOptions { seed: 42, ..PlanOptions::default() });
    }

    #[test]
    fn zero_is_a_value_where_the_field_is_optional() {
        let message = v1::PlanOptions {
            seed: Some(0),
            temperature: Some(0.0),
            thinking_tokens: Some(0),
            ..v1::PlanOptions::default()
        };
        let defaults = PlanOptions { thinking_tokens: 64, ..PlanOptions::default() };
        let options = plan_options(&message, &defaults, || 42).unwrap();
        assert_eq!((options.seed, options.temperature, options.thinking_tokens), (0, 0.0, 0));
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_field() {
        let default = v1::PlanOptions::default;
        for (field, message) in [
            ("options.candidates", v1::PlanOptions { candidates: 17, ..default() }),
            ("options.rollouts", v1::PlanOptions { rollouts: 257, ..default() }),
            ("options.max_depth", v1::PlanOptions { max_depth: 33, ..default() }),
            ("options.max_steps", v1::PlanOptions { max_steps: 33, ..default() }),
            ("options.temperature", v1::PlanOptions { temperature: Some(f32::NAN), ..default() }),
            ("options.top_p", v1::PlanOptions { top_p: Some(0.0), ..default() }),
            ("options.mode", v1::PlanOptions { mode: 7, ..default() }),
            ("options.alert_precision", v1::PlanOptions { alert_precision: Some(-0.1), ..default() }),
            ("options.confidence", v1::PlanOptions { confidence: Some(1.5), ..default() }),
            ("options.budget_rollouts", v1::PlanOptions { budget_rollouts: 5000, ..default() }),
            ("options.autonomy", v1::PlanOptions { autonomy: 7, ..default() }),
            (
                "options.autonomy_confidence",
                v1::PlanOptions {
                    autonomy: v1::Autonomy::ApproveReversible.into(),
                    autonomy_confidence: Some(0.1),
                    ..default()
                },
            ),
            (
                "options.deadline",
                v1::PlanOptions {
                    deadline: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                    ..default()
                },
            ),
            (
                "options.deadline",
                v1::PlanOptions {
                    deadline: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
                    ..default()
                },
            ),
        ] {
            let Err(Error::InvalidArgument(violations)) = options(&message) else {
                panic!("{field} was taken")
            };
            assert_eq!(violations[0].field, field);
        }
    }

    proptest! {
        #[test]
        fn options_in_force_say_the_same_when_they_are_sent_again(
            candidates in 1u32..=16, rollouts in 1u32..=64, seed: u64, temperature in 0.0f32..2.0,
            seconds in proptest::option::of(1u64..1_000_000), interactive: bool, exhaustive: bool,
            most in proptest::option::of(1u32..=1024), autonomous in proptest::option::of(0.5f64..=1.0),
        ) {
            let options = PlanOptions {
                candidates, rollouts, seed, temperature,
                deadline: seconds.map(Duration::from_secs),
                mode: if interactive { PlanMode::Interactive } else { PlanMode::Offline },
                exhaustive,
                budget: Budget { rollouts: most, time: seconds.map(Duration::from_secs), ..Budget::default() },
                autonomy: autonomous
                    .map_or(Autonomy::Advise, |confidence| Autonomy::ApproveReversible { confidence }),
                ..PlanOptions::default()
            };
            let message = v1::PlanOptions::from_domain(&options);
            let again = plan_options(&message, &PlanOptions::default(), || 0).unwrap();
            prop_assert_eq!(again, options);
        }
    }

    #[test]
    fn only_a_rollout_that_reached_recovery_has_a_cost() {
        for (end, cost) in [
            (RolloutEnd::Terminal, Some(3.0)),
            (RolloutEnd::Truncated, None),
            (RolloutEnd::Malformed, None),
            (RolloutEnd::Cancelled, None),
        ] {
            let result = RolloutResult {
                key: RolloutKey { step: 1, candidate: 2, rollout: 3 },
                end,
                steps: Vec::new(),
                cost: 3.0,
                fault: String::new(),
                usage: Usage::default(),
            };
            let message =
                v1::RolloutFinished::from_domain(RolloutReport { result, worker: "workers/a".into() });
            assert_eq!(message.cost, cost);
            assert_eq!((message.step, message.candidate, message.rollout), (1, 2, 3));
        }
    }
}
