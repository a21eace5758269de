//! The plan as a document: what `countermove plan --json` prints and what ExportPlan gives. `docs/plan.schema.json`
//! describes it for other programs.
//!
//! Contract: a document of version 1 keeps its fields; new ones may come. Enumerations are lower-case words. What is
//! not known yet is `null`, never left out.

mod from_message;

use countermove_proto::v1;
use serde::{Deserialize, Serialize};

/// Version of the document's form.
pub const DOCUMENT_VERSION: u32 = 1;

/// A plan and all that led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanDocument {
    /// Version of this form, [`DOCUMENT_VERSION`].
    pub version: u32,
    /// Name of the incident, `incidents/{incident}`.
    pub incident: String,
    /// When it was created, as RFC 3339 writes it.
    pub create_time: Option<String>,
    /// When its last event happened.
    pub update_time: Option<String>,
    /// What it waits for: `planning`, `awaiting_approval`, `awaiting_outcome` or `ended`.
    pub status: String,
    /// Model that plans it; `null` until it has answered.
    pub model: Option<Model>,
    /// Options in force.
    pub options: Options,
    /// What actions cost.
    pub cost_model: CostModel,
    /// What was made of the evidence; `null` until perception is done.
    pub assessment: Option<Assessment>,
    /// State at the end of the plan as it stands.
    pub state: State,
    /// Decisions in order.
    pub steps: Vec<Step>,
    /// Why planning ended: `recovered`, `step_limit`, `no_incident`, `not_understood`, `no_candidate`, `deadline`, `cancelled`
    /// or `failed`; `null` while it goes on.
    pub end: Option<String>,
    /// The fault that ended planning, or what is missing for an action.
    pub error: Option<String>,
    /// Work behind the plan.
    pub usage: Usage,
    /// What a reader should know, one sentence each: how the log was read, and what happened meanwhile.
    pub warnings: Vec<String>,
}

/// Which model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Name for people.
    pub name: String,
    /// SHA-256 of the weights.
    pub weights_sha256: String,
    /// SHA-256 of the adapter, if there is one.
    pub adapter_sha256: Option<String>,
    /// SHA-256 of the tokenizer.
    pub tokenizer_sha256: String,
    /// SHA-256 over the prompt templates.
    pub templates_sha256: String,
}

/// Options in force. With the same model, seed and evidence the plan is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Candidates of a step, N.
    pub candidates: u32,
    /// Rollouts of a candidate, M.
    pub rollouts: u32,
    /// Actions in a rollout, D.
    pub max_depth: u32,
    /// Actions in the plan.
    pub max_steps: u32,
    /// Root of every random choice.
    pub seed: u64,
    /// Sampling temperature.
    pub temperature: f32,
    /// Nucleus mass.
    pub top_p: f32,
    /// Most tokens of reasoning before an answer.
    pub thinking_tokens: u32,
    /// Time within which planning had to end.
    pub deadline_seconds: Option<f64>,
    /// `offline` or `interactive`.
    pub mode: String,
    /// Whether all rollouts of every candidate are run, instead of racing.
    pub exhaustive: bool,
    /// Confidence of the race and of the choice.
    pub confidence: f64,
    /// Rollouts of one decision at most.
    pub budget_rollouts: Option<u32>,
    /// Tokens of one decision's rollouts at most.
    pub budget_tokens: Option<u64>,
    /// Time of one decision's rollouts at most.
    pub budget_seconds: Option<f64>,
    /// `advise` or `approve_reversible`.
    pub autonomy: String,
    /// Chance of being the best from which on actions are approved without a person.
    pub autonomy_confidence: Option<f64>,
    /// Share of the expected alerts that has to come for the conjecture to stand.
    pub alert_precision: f64,
}

/// What response actions cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostModel {
    /// `unit`, `superfluous` or `minutes`.
    pub kind: String,
    /// The figures of costs in minutes.
    pub minutes: Option<Minutes>,
}

/// Costs in minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Minutes {
    /// Minutes of work that one minute of outage of a host of criticality 1 is worth.
    pub disruption_weight: f64,
    /// Criticality of hosts of the system that no asset names.
    pub default_criticality: f64,
    /// What each kind of response takes.
    pub actions: Vec<ActionMinutes>,
    /// Hosts that are worth more or less than the default.
    pub assets: Vec<Asset>,
}

/// What a kind of response takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionMinutes {
    /// The kind: `contain`, `preserve`, `analyse`, `eradicate`, `harden`, `restore`, or `unspecified` for all others.
    pub kind: String,
    /// Minutes of work.
    pub work: f64,
    /// Minutes for which each host that it is done to does not serve.
    pub outage: f64,
}

/// A host and what depends on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// Its names and addresses.
    pub names: Vec<String>,
    /// How much an outage of it weighs.
    pub criticality: f64,
}

/// Recovery as six facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the six facts are described at the domain type")]
pub struct State {
    pub is_attack_contained: bool,
    pub is_knowledge_sufficient: bool,
    pub are_forensics_preserved: bool,
    pub is_eradicated: bool,
    pub is_hardened: bool,
    pub is_recovered: bool,
}

/// What was made of the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Whether there is an incident.
    pub is_incident: bool,
    /// Whether nothing in the evidence is in a known form, so that nothing was judged.
    #[serde(default)]
    pub not_understood: bool,
    /// One sentence about it.
    pub description: String,
    /// Who attacks.
    pub attackers: Vec<String>,
    /// Who is defended.
    pub systems: Vec<String>,
    /// Whom the attack aims at.
    pub targets: Vec<String>,
    /// Conjectured tactics, the most likely first.
    pub tactics: Vec<TacticBelief>,
    /// How far recovery had come already.
    pub state: State,
    /// The model's reasoning.
    pub reasoning: String,
    /// What the model named and code removed.
    pub rejected: Vec<String>,
    /// How the log was read.
    pub digest: Option<Digest>,
}

/// A conjectured tactic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TacticBelief {
    /// ATT&CK identifier, such as `TA0043`.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its share of all evidence of the attack, from 0 to 1.
    pub weight: f32,
    /// Techniques of it.
    pub techniques: Vec<Technique>,
    /// Alert groups that speak for it.
    pub evidence: Vec<EvidenceLine>,
}

/// A technique of ATT&CK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Technique {
    /// Identifier, such as `T1110.001`.
    pub id: String,
    /// Name.
    pub name: String,
}

/// Alerts folded into one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// Number in the digest.
    pub number: u32,
    /// The line.
    pub text: String,
    /// Records folded into it.
    pub count: u64,
}

/// How a log was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Records in the log.
    pub records: u64,
    /// Of these, alerts.
    pub alerts: u64,
    /// Of these, plain lines.
    pub plain_lines: u64,
    /// Groups after folding.
    pub groups: u64,
    /// Groups that the model read.
    pub groups_shown: u64,
    /// Records in groups that it did not read.
    pub records_not_shown: u64,
}

/// A decision between candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Position in the plan, from 0.
    pub index: u32,
    /// State before.
    pub state_before: State,
    /// The chosen action; `null` only if the step names a candidate that it does not have.
    pub action: Option<Action>,
    /// Index of the chosen candidate.
    pub chosen: u32,
    /// Why this one.
    pub reason: String,
    /// How far the choice can be trusted.
    pub assurance: Option<Assurance>,
    /// SHA-256 over the incident, what was done before and this decision; approving names it.
    pub plan_hash: String,
    /// Alerts that the conjectured tactic is expected to raise next; `null` if nobody will compare them.
    pub expected_alerts: Option<ExpectedAlerts>,
    /// State after, if it is known or predicted.
    pub state_after: Option<State>,
    /// `predicted` or `reported`.
    pub state_after_source: Option<String>,
    /// What was proposed and simulated.
    pub candidates: Vec<Candidate>,
    /// What was proposed and thrown away.
    pub rejected: Vec<Rejected>,
    /// Work behind the decision.
    pub usage: Usage,
}

/// Alerts that a tactic is expected to raise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedAlerts {
    /// Name of the tactic.
    pub tactic: String,
    /// Distinct pairs of class and priority.
    pub kinds: Vec<AlertKind>,
}

/// A class and a priority of alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertKind {
    /// Class in its normal form.
    pub classification: String,
    /// Priority, from 1 (high).
    pub priority: Option<u32>,
}

/// How far a choice can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assurance {
    /// Chance that no other candidate is cheaper than the one with the best estimate.
    pub chance: f64,
    /// Whether that chance reaches the asked confidence and nothing else speaks against the estimates.
    pub is_clear: bool,
    /// Index of the candidate with the best estimate.
    pub best: u32,
    /// How well the chosen action can be taken back: `harmless`, `reversible`, `laborious` or `irreversible`.
    pub reversibility: String,
    /// Why the choice is in doubt.
    pub doubts: Vec<String>,
    /// Evidence that would decide.
    pub wanted_evidence: Vec<String>,
}

/// A response action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What to do.
    pub text: String,
    /// Why.
    pub explanation: String,
}

/// A proposed action and what it is expected to cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Position in the step, from 0.
    pub index: u32,
    /// The action.
    pub action: Action,
    /// What recovery costs if it is taken.
    pub cost: Cost,
    /// State that is expected after it.
    pub predicted_state: Option<State>,
    /// The model's reasoning.
    pub reasoning: String,
}

/// An estimated cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Rollouts that reached recovery: those that the mean is over.
    pub terminal: u32,
    /// Rollouts that hit the depth limit.
    pub truncated: u32,
    /// Rollouts that broke off on an answer which could not be used.
    pub malformed: u32,
    /// Rollouts that were cancelled.
    pub cancelled: u32,
    /// Mean.
    pub mean: Option<f64>,
    /// Sample variance.
    pub variance: Option<f64>,
    /// Lower bound of the 95 % interval of the mean.
    pub low: Option<f64>,
    /// Upper bound.
    pub high: Option<f64>,
}

/// A proposal that was thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The action.
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// Model work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Of these, tokens that were in the cache.
    pub cached_tokens: u64,
    /// Tokens that the model chose.
    pub sampled_tokens: u64,
    /// Tokens that the grammar left no choice about.
    pub forced_tokens: u64,
    /// Rollouts.
    pub rollouts: u64,
    /// Time from the first question to the last answer.
    pub elapsed_seconds: f64,
}

impl PlanDocument {
    /// The document of an incident as it stands. `notices` are the sentences of its notice events.
    pub fn new(incident: v1::Incident, notices: impl IntoIterator<Item = String>) -> Self {
        let options = incident.options.unwrap_or_default();
        let plan = incident.plan.unwrap_or_default();
        let end = v1::PlanEnd::try_from(plan.end).unwrap_or_default();
        let status = v1::IncidentStatus::try_from(incident.status).unwrap_or_default();
        let mut warnings = Vec::new();
        if let Some(digest) = incident.assessment.as_ref().and_then(|assessment| assessment.digest.as_ref()) {
            warnings.extend(digest.warnings.iter().cloned());
        }
        warnings.extend(notices);
        Self {
            version: DOCUMENT_VERSION,
            incident: incident.name,
            create_time: incident.create_time.map(|time| time.to_string()),
            update_time: incident.update_time.map(|time| time.to_string()),
            status: word(status.as_str_name(), "INCIDENT_STATUS_"),
            model: incident.model.map(Into::into),
            options: options.into(),
            cost_model: incident.cost_model.unwrap_or_default().into(),
            assessment: incident.assessment.map(Into::into),
            state: incident.state.unwrap_or_default().into(),
            steps: plan.steps.into_iter().map(Into::into).collect(),
            end: (end != v1::PlanEnd::Unspecified).then(|| word(end.as_str_name(), "PLAN_END_")),
            error: Some(incident.error).filter(|error| !error.is_empty()),
            usage: plan.usage.unwrap_or_default().into(),
            warnings,
        }
    }

    /// The document as indented JSON.
    ///
    /// # Errors
    /// None for a document that was made by [`PlanDocument::new`].
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl State {
    /// The facts and their names, in the order of the domain type.
    pub fn facts(&self) -> [(&'static str, bool); 6] {
        [
            ("is_attack_contained", self.is_attack_contained),
            ("is_knowledge_sufficient", self.is_knowledge_sufficient),
            ("are_forensics_preserved", self.are_forensics_preserved),
            ("is_eradicated", self.is_eradicated),
            ("is_hardened", self.is_hardened),
            ("is_recovered", self.is_recovered),
        ]
    }
}

/// The word of an enumeration's value.
pub(crate) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}
