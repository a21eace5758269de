//! The parts of a document from the messages that say the same.

use countermove_incident::VerbClass;
use countermove_proto::duration_from_message;

use super::*;
use crate::FromMessage;
use crate::rules::verb_class;

impl From<v1::ModelIdentity> for Model {
    fn from(model: v1::ModelIdentity) -> Self {
        Self {
            name: model.name,
            weights_sha256: model.weights_sha256,
            adapter_sha256: Some(model.adapter_sha256).filter(|digest| !digest.is_empty()),
            tokenizer_sha256: model.tokenizer_sha256,
            templates_sha256: model.templates_sha256,
            arithmetic: Some(model.arithmetic).filter(|arithmetic| !arithmetic.is_empty()),
        }
    }
}

impl From<v1::PlanOptions> for Options {
    fn from(options: v1::PlanOptions) -> Self {
        let mode = match options.mode() {
            v1::PlanMode::Unspecified => Mode::Offline,
            mode => mode.into(),
        };
        Self {
            candidates: options.candidates,
            rollouts: options.rollouts,
            max_depth: options.max_depth,
            max_steps: options.max_steps,
            seed: options.seed.unwrap_or_default(),
            temperature: options.temperature.unwrap_or_default(),
            top_p: options.top_p.unwrap_or_default(),
            thinking_tokens: options.thinking_tokens.unwrap_or_default(),
            deadline_seconds: options.deadline.and_then(duration_from_message).map(|time| time.as_secs_f64()),
            mode,
            exhaustive: options.exhaustive,
            confidence: options.confidence.unwrap_or_default(),
            budget_rollouts: Some(options.budget_rollouts).filter(|&most| most > 0),
            budget_tokens: Some(options.budget_tokens).filter(|&most| most > 0),
            budget_seconds: options
                .budget_time
                .and_then(duration_from_message)
                .map(|time| time.as_secs_f64()),
            autonomy: match options.autonomy() {
                v1::Autonomy::Unspecified => Autonomy::Advise,
                autonomy => autonomy.into(),
            },
            autonomy_confidence: options.autonomy_confidence,
            alert_precision: options.alert_precision.unwrap_or_default(),
        }
    }
}

impl From<v1::CostModel> for CostModel {
    fn from(model: v1::CostModel) -> Self {
        Self { kind: model.kind().into(), minutes: model.minutes.map(Into::into) }
    }
}

impl From<v1::MinuteTable> for Minutes {
    fn from(table: v1::MinuteTable) -> Self {
        let row = |row: v1::ActionMinutes| ActionMinutes {
            kind: row.verb_class().into(),
            work: row.work,
            outage: row.outage,
        };
        Self {
            disruption_weight: table.disruption_weight,
            default_criticality: table.default_criticality,
            needless: table.needless,
            actions: table.actions.into_iter().map(row).collect(),
            assets: table
                .assets
                .into_iter()
                .map(|asset| Asset { names: asset.names, criticality: asset.criticality })
                .collect(),
        }
    }
}

impl From<v1::ExpectedAlerts> for ExpectedAlerts {
    fn from(expected: v1::ExpectedAlerts) -> Self {
        let tactic = expected.tactic().into();
        Self { tactic, kinds: expected.kinds.into_iter().map(Into::into).collect() }
    }
}

impl From<v1::AlertKind> for AlertKind {
    fn from(kind: v1::AlertKind) -> Self {
        Self { classification: kind.classification, priority: kind.priority }
    }
}

impl From<v1::Assurance> for Assurance {
    fn from(assurance: v1::Assurance) -> Self {
        Self {
            chance: assurance.chance,
            is_clear: assurance.is_clear,
            best: assurance.best,
            reversibility: assurance.reversibility().into(),
            doubts: assurance.doubts,
            wanted_evidence: assurance.wanted_evidence,
        }
    }
}

impl From<v1::RecoveryState> for State {
    fn from(state: v1::RecoveryState) -> Self {
        Self {
            is_attack_contained: state.is_attack_contained,
            is_knowledge_sufficient: state.is_knowledge_sufficient,
            are_forensics_preserved: state.are_forensics_preserved,
            is_eradicated: state.is_eradicated,
            is_hardened: state.is_hardened,
            is_recovered: state.is_recovered,
        }
    }
}

fn suspects(suspects: Vec<v1::Suspect>) -> Vec<Suspect> {
    let of = |v1::Suspect { host, probability }| Suspect { host, probability };
    likeliest_first(suspects.into_iter().map(of), |suspect| suspect.probability)
}

fn held_accounts(held: Vec<v1::HeldAccount>) -> Vec<HeldAccount> {
    let of = |v1::HeldAccount { account, probability }| HeldAccount { account, probability };
    likeliest_first(held.into_iter().map(of), |held| held.probability)
}

fn likeliest_first<T>(all: impl Iterator<Item = T>, probability: impl Fn(&T) -> f32) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    // Stable: among equals by name.
    all.sort_by(|a, b| probability(b).total_cmp(&probability(a)));
    all
}

impl From<v1::Assessment> for Assessment {
    fn from(assessment: v1::Assessment) -> Self {
        let entities = assessment.entities.unwrap_or_default();
        Self {
            is_incident: assessment.is_incident,
            not_understood: assessment.not_understood,
            description: assessment.description,
            attackers: entities.attackers,
            systems: entities.systems,
            targets: entities.targets,
            stolen_accounts: entities.stolen_accounts,
            planted_accounts: entities.planted_accounts,
            compromised: suspects(entities.compromised),
            held_accounts: held_accounts(entities.held_accounts),
            tactics: assessment.tactics.into_iter().map(Into::into).collect(),
            state: assessment.state.unwrap_or_default().into(),
            reasoning: assessment.reasoning,
            rejected: assessment.rejected,
            attacks: assessment.attacks.into_iter().map(Into::into).collect(),
            digest: assessment.digest.map(Into::into),
        }
    }
}

impl From<v1::Attack> for Attack {
    fn from(attack: v1::Attack) -> Self {
        let tactics = attack.tactics().map(Into::into).collect();
        Self { attackers: attack.attackers, targets: attack.targets, tactics, groups: attack.groups }
    }
}

impl From<v1::TacticBelief> for TacticBelief {
    fn from(belief: v1::TacticBelief) -> Self {
        let id = countermove_incident::Tactic::from_message(belief.tactic()).map_or("", |tactic| tactic.id());
        Self {
            id: id.to_owned(),
            name: belief.tactic().into(),
            weight: belief.weight,
            techniques: belief.techniques.into_iter().map(|t| Technique { id: t.id, name: t.name }).collect(),
            evidence: belief
                .evidence
                .into_iter()
                .map(|line| EvidenceLine {
                    number: line.number,
                    text: line.text,
                    count: line.count,
                    attack: line.attack,
                    because: line.because,
                })
                .collect(),
        }
    }
}

impl From<v1::ConjectureRevised> for Revision {
    fn from(revised: v1::ConjectureRevised) -> Self {
        let after = revised.assessment.map(|assessment| assessment.tactics).unwrap_or_default();
        Self {
            step: revised.step,
            reason: revised.reason,
            before: revised.before.into_iter().map(Into::into).collect(),
            after: after.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::Delivery> for Delivery {
    fn from(delivery: v1::Delivery) -> Self {
        Self {
            text: delivery.sentence(),
            step: delivery.step,
            status: delivery.status().into(),
            id: delivery.id,
            attempts: delivery.attempts,
            problem: Some(delivery.problem).filter(|problem| !problem.is_empty()),
            approver: delivery.approver,
            is_automatic: delivery.is_automatic,
        }
    }
}

impl From<v1::DigestReport> for Digest {
    fn from(report: v1::DigestReport) -> Self {
        Self {
            records: report.records,
            alerts: report.alerts,
            plain_lines: report.plain_lines,
            groups: report.groups,
            groups_shown: report.groups_shown,
            records_not_shown: report.records_not_shown,
        }
    }
}

impl From<v1::PlanStep> for Step {
    fn from(step: v1::PlanStep) -> Self {
        let source = step.state_after_source();
        let candidates: Vec<Candidate> = step.candidates.into_iter().map(Into::into).collect();
        Self {
            index: step.index,
            state_before: step.state_before.unwrap_or_default().into(),
            action: candidates.iter().find(|c| c.index == step.chosen).map(|c| c.action.clone()),
            chosen: step.chosen,
            planner_choice: step.planner_choice,
            reason: step.reason,
            assurance: step.assurance.map(Into::into),
            plan_hash: step.plan_hash,
            expected_alerts: step.expected_alerts.map(Into::into),
            state_after: step.state_after.map(Into::into),
            state_after_source: (source != v1::StateSource::Unspecified).then(|| source.into()),
            candidates,
            rejected: step.rejected.into_iter().map(Into::into).collect(),
            belief: step.belief.map(Into::into),
            usage: step.usage.unwrap_or_default().into(),
            approvals: step.approvals.into_iter().map(Into::into).collect(),
            findings: step.findings.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::Finding> for Finding {
    fn from(finding: v1::Finding) -> Self {
        let verdict = match finding.verdict() {
            v1::FindingVerdict::Compromised => FindingVerdict::Compromised,
            v1::FindingVerdict::Clean => FindingVerdict::Clean,
            v1::FindingVerdict::Unspecified => FindingVerdict::Unspecified,
        };
        Self { name: finding.name, verdict }
    }
}

impl From<v1::Approval> for StepApproval {
    fn from(approval: v1::Approval) -> Self {
        let time = approval.time.and_then(time_text);
        Self { approver: approval.approver, time, plan_hash: approval.plan_hash }
    }
}

impl From<v1::Belief> for Belief {
    fn from(belief: v1::Belief) -> Self {
        let hindrance = |one: v1::Hindrance| Hindrance { fact: one.fact, probability: one.probability };
        Self {
            compromised: suspects(belief.compromised),
            held_accounts: held_accounts(belief.held_accounts),
            hindered: belief.hindered.into_iter().map(hindrance).collect(),
            returns: belief.returns,
        }
    }
}

impl From<v1::Action> for Action {
    fn from(action: v1::Action) -> Self {
        Self { text: action.text, explanation: action.explanation }
    }
}

impl From<v1::Candidate> for Candidate {
    fn from(candidate: v1::Candidate) -> Self {
        Self {
            index: candidate.index,
            action: candidate.action.unwrap_or_default().into(),
            cost: candidate.cost.unwrap_or_default().into(),
            predicted_state: candidate.predicted_state.map(Into::into),
            reasoning: candidate.reasoning,
            takes_down: candidate.takes_down,
            awaits_search: candidate.awaits_search,
            approvers: Some(candidate.approvers).filter(|approvers| *approvers > 1),
            orders: candidate.orders.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::Order> for Order {
    fn from(order: v1::Order) -> Self {
        let kind = verb_class(order.does()).map_or("", VerbClass::name).to_owned();
        let v1::Order { target, by, command, undo, .. } = order;
        Self { kind, target, by, command, undo }
    }
}

impl From<v1::RejectedCandidate> for Rejected {
    fn from(rejected: v1::RejectedCandidate) -> Self {
        Self { action: rejected.action.unwrap_or_default().into(), reason: rejected.reason }
    }
}

impl From<v1::CostEstimate> for Cost {
    fn from(cost: v1::CostEstimate) -> Self {
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

impl From<v1::Usage> for Usage {
    fn from(usage: v1::Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            sampled_tokens: usage.sampled_tokens,
            forced_tokens: usage.forced_tokens,
            rollouts: usage.rollouts,
            discarded_tokens: usage.discarded_tokens,
            elapsed_seconds: usage.elapsed.and_then(duration_from_message).unwrap_or_default().as_secs_f64(),
        }
    }
}
