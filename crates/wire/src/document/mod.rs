//! The plan as a document: what `countermove plan --json` prints, what ExportPlan gives, and what every report for people
//! is written from. `docs/plan.schema.json` describes it for other programs; it is [`schema`], written down.
//!
//! Contract: a document of version 1 keeps its fields; new ones may come. Enumerations are words. What is not known yet is
//! `null`, never left out.

mod brief;
mod from_message;
mod words;

use countermove_planner::limits;
use countermove_proto::{time_text, v1};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

pub use brief::{FACTS, LEAST_SUSPECTED, Topic, likely};
pub use words::{
    Autonomy, CostKind, DeliveryStatus, End, Mode, Priority, Reversibility, RolloutEnd, StateSource, Status,
    Tactic, VerbClass,
};

/// Version of the document's form.
pub const DOCUMENT_VERSION: u32 = 1;

/// The plan against an incident and all that led to it, as `countermove plan --json` prints it and ExportPlan gives it.
/// Fields of version 1 stay; new ones may come. What is not known yet is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Countermove plan")]
pub struct PlanDocument {
    /// Version of this form.
    #[schemars(extend("const" = DOCUMENT_VERSION))]
    pub version: u32,
    /// Name of the incident, `incidents/{incident}`.
    #[schemars(regex(pattern = r"^incidents/[0-9a-f-]{36}$"))]
    pub incident: String,
    /// When it was created, as RFC 3339 writes it.
    #[schemars(extend("format" = "date-time"))]
    pub create_time: Option<String>,
    /// When its last event happened.
    #[schemars(extend("format" = "date-time"))]
    pub update_time: Option<String>,
    /// On whose account it is planned.
    pub tenant: String,
    /// How urgent it is.
    pub priority: Priority,
    /// What it waits for.
    pub status: Status,
    /// Model that plans it; `null` until it has answered.
    pub model: Option<Model>,
    /// Options in force.
    pub options: Options,
    /// What actions cost.
    pub cost_model: CostModel,
    /// What was made of the evidence; `null` until perception is done.
    pub assessment: Option<Assessment>,
    /// How the conjecture changed, in order; `assessment` is the last one.
    pub revisions: Vec<Revision>,
    /// What became of approved actions at the webhook.
    pub deliveries: Vec<Delivery>,
    /// State at the end of the plan as it stands.
    pub state: State,
    /// Decisions in order.
    pub steps: Vec<Step>,
    /// Why planning ended; `null` while it goes on.
    pub end: Option<End>,
    /// The fault that ended planning, or what is missing for an action.
    pub error: Option<String>,
    /// Work behind the plan.
    pub usage: Usage,
    /// What a reader should know, one sentence each: how the log was read, and what happened meanwhile.
    pub warnings: Vec<String>,
}

/// Which model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// Name for people.
    pub name: String,
    /// SHA-256 of the weights.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub weights_sha256: String,
    /// SHA-256 of the adapter, if there is one.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub adapter_sha256: Option<String>,
    /// SHA-256 of the tokenizer.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub tokenizer_sha256: String,
    /// SHA-256 over the prompt templates.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub templates_sha256: String,
    /// What decides the bits of an answer beside the above: device, platform, format of the weights in memory, and version of the engine's
    /// arithmetic; `null` in plans of earlier releases.
    pub arithmetic: Option<String>,
}

/// Options in force. With the same model, seed and evidence the plan is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Options {
    /// Candidates of a step, N.
    #[schemars(range(max = *limits::CANDIDATES.end()))]
    pub candidates: u32,
    /// Rollouts of a candidate, M.
    #[schemars(range(max = *limits::ROLLOUTS.end()))]
    pub rollouts: u32,
    /// Actions in a rollout, D.
    #[schemars(range(max = *limits::DEPTH.end()))]
    pub max_depth: u32,
    /// Actions in the plan.
    #[schemars(range(max = *limits::STEPS.end()))]
    pub max_steps: u32,
    /// Root of every random choice.
    pub seed: u64,
    /// Sampling temperature.
    #[schemars(range(min = 0))]
    pub temperature: f32,
    /// Nucleus mass.
    #[schemars(range(max = 1))]
    pub top_p: f32,
    /// Most tokens of reasoning before an answer.
    pub thinking_tokens: u32,
    /// Time within which planning had to end.
    #[schemars(range(min = 0))]
    pub deadline_seconds: Option<f64>,
    /// Who decides after an action is chosen.
    pub mode: Mode,
    /// Whether all rollouts of every candidate are run, instead of racing.
    pub exhaustive: bool,
    /// Confidence of the race and of the choice.
    #[schemars(range(min = 0.5, max = 1))]
    pub confidence: f64,
    /// Rollouts of one decision at most.
    #[schemars(range(min = 1))]
    pub budget_rollouts: Option<u32>,
    /// Tokens of one decision's rollouts at most.
    #[schemars(range(min = 1))]
    pub budget_tokens: Option<u64>,
    /// Time of one decision's rollouts at most.
    #[schemars(range(min = 0))]
    pub budget_seconds: Option<f64>,
    /// What may be approved without a person.
    pub autonomy: Autonomy,
    /// Chance of being the best from which on actions are approved without a person.
    #[schemars(range(min = 0.5, max = 1))]
    pub autonomy_confidence: Option<f64>,
    /// Share of the expected alerts that has to come for the conjecture to stand.
    #[schemars(range(min = 0, max = 1))]
    pub alert_precision: f64,
}

/// What response actions cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostModel {
    /// Which model.
    pub kind: CostKind,
    /// The figures of costs in minutes.
    pub minutes: Option<Minutes>,
}

/// Costs in minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Minutes {
    /// Minutes of work that one minute of outage of a host of criticality 1 is worth.
    #[schemars(range(min = 0))]
    pub disruption_weight: f64,
    /// Criticality of hosts of the system that no asset names.
    #[schemars(range(min = 0))]
    pub default_criticality: f64,
    /// Minutes that it costs, beside the outage, to take down a host that has no part in the incident.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub needless: f64,
    /// What each kind of response takes.
    pub actions: Vec<ActionMinutes>,
    /// Hosts that are worth more or less than the default.
    pub assets: Vec<Asset>,
}

/// What a kind of response takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionMinutes {
    /// The kind; `unspecified` for all others.
    pub kind: VerbClass,
    /// Minutes of work.
    #[schemars(range(min = 0))]
    pub work: f64,
    /// Minutes for which each host that it is done to does not serve.
    #[schemars(range(min = 0))]
    pub outage: f64,
}

/// A host and what depends on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// Its names and addresses.
    pub names: Vec<String>,
    /// How much an outage of it weighs.
    #[schemars(range(min = 0))]
    pub criticality: f64,
}

/// Recovery as six facts. It is complete when all are true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// The attacker can no longer extend the attack.
    pub is_attack_contained: bool,
    /// What the attacker did, and how, is known well enough to remove it.
    pub is_knowledge_sufficient: bool,
    /// Evidence that a later investigation needs is kept.
    pub are_forensics_preserved: bool,
    /// Nothing that the attacker left is still there.
    pub is_eradicated: bool,
    /// The way in is closed.
    pub is_hardened: bool,
    /// The services are back in operation.
    pub is_recovered: bool,
}

/// What was made of the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Accounts whose password the attacker has guessed or stolen.
    #[serde(default)]
    pub stolen_accounts: Vec<String>,
    /// Accounts that the attacker has made.
    #[serde(default)]
    pub planted_accounts: Vec<String>,
    /// How likely each host is compromised that the attack has to do with, the likeliest first.
    #[serde(default)]
    pub compromised: Vec<Suspect>,
    /// How likely the attacker has each account that is stolen or planted as far as the evidence says, the likeliest first.
    #[serde(default)]
    pub held_accounts: Vec<HeldAccount>,
    /// Conjectured tactics, the most likely first.
    pub tactics: Vec<TacticBelief>,
    /// The attacks, where several have nothing in common.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attacks: Vec<Attack>,
    /// How far recovery had come already.
    pub state: State,
    /// The model's reasoning.
    pub reasoning: String,
    /// What the model named and code removed.
    pub rejected: Vec<String>,
    /// How the log was read.
    pub digest: Option<Digest>,
}

/// One of several attacks that have nothing in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attack {
    /// Who attacks.
    pub attackers: Vec<String>,
    /// Hosts that it has reached.
    pub targets: Vec<String>,
    /// Its tactics.
    pub tactics: Vec<Tactic>,
    /// Numbers of its groups of alerts.
    pub groups: Vec<u32>,
}

/// A host that the attack has to do with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suspect {
    /// The host.
    pub host: String,
    /// How likely it is compromised, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub probability: f32,
}

/// An account of which the evidence says that the attacker has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeldAccount {
    /// The account.
    pub account: String,
    /// How likely the attacker has it, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub probability: f32,
}

/// A conjectured tactic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TacticBelief {
    /// ATT&CK identifier, such as `TA0043`.
    #[schemars(regex(pattern = r"^TA[0-9]{4}$"))]
    pub id: String,
    /// Name.
    pub name: Tactic,
    /// Its share of all evidence of the attack, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub weight: f32,
    /// Techniques of it.
    pub techniques: Vec<Technique>,
    /// Alert groups that speak for it.
    pub evidence: Vec<EvidenceLine>,
}

/// A change of the conjecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// The step that was planned with it.
    pub step: u32,
    /// Why, in one sentence.
    pub reason: String,
    /// The conjecture before, the most likely tactic first.
    pub before: Vec<TacticBelief>,
    /// The conjecture after.
    pub after: Vec<TacticBelief>,
}

/// The delivery of an approved action to the webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The step.
    pub step: u32,
    /// Identifier, the same for every attempt.
    pub id: String,
    /// How far it is.
    pub status: DeliveryStatus,
    /// Attempts behind it.
    pub attempts: u32,
    /// Why it was not taken.
    pub problem: Option<String>,
    /// Who approved the action; empty if nobody was named.
    pub approver: String,
    /// Whether no person did.
    pub is_automatic: bool,
    /// All that in one sentence.
    pub text: String,
}

/// A technique of ATT&CK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Technique {
    /// Identifier, such as `T1110.001`.
    pub id: String,
    /// Name.
    pub name: String,
}

/// Alerts folded into one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceLine {
    /// Number in the digest.
    #[schemars(range(min = 1))]
    pub number: u32,
    /// The line.
    pub text: String,
    /// Records folded into it.
    pub count: u64,
    /// How likely they are part of an attack.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub attack: f32,
    /// What spoke for that and against it, the weightiest first, in log-odds.
    pub because: String,
}

/// How a log was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Position in the plan, from 0.
    pub index: u32,
    /// State before.
    pub state_before: State,
    /// The chosen action; `null` only if the step names a candidate that it does not have.
    pub action: Option<Action>,
    /// Index of the chosen candidate.
    pub chosen: u32,
    /// Index of the candidate that the planner chose, where a person chose another one; left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planner_choice: Option<u32>,
    /// Why the planner's choice.
    pub reason: String,
    /// How far the choice can be trusted.
    pub assurance: Option<Assurance>,
    /// SHA-256 over the incident, what was done before and this decision; approving names it.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub plan_hash: String,
    /// Alerts that the conjectured tactic is expected to raise next; `null` if nobody will compare them.
    pub expected_alerts: Option<ExpectedAlerts>,
    /// State after, if it is known or predicted.
    pub state_after: Option<State>,
    /// Where `state_after` comes from.
    pub state_after_source: Option<StateSource>,
    /// What was proposed and simulated.
    pub candidates: Vec<Candidate>,
    /// What was proposed and thrown away.
    pub rejected: Vec<Rejected>,
    /// What was believed before the step.
    #[serde(default)]
    pub belief: Option<Belief>,
    /// Work behind the decision.
    pub usage: Usage,
    /// Approvals so far of candidates that need several, in their order; left out where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<StepApproval>,
    /// What was found out when its action was carried out; left out where nothing was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What people found out about somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The host, account, address or domain.
    pub name: String,
    /// What was found.
    pub verdict: FindingVerdict,
}

/// What was found out about somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingVerdict {
    /// Something that this version does not know.
    Unspecified,
    /// The attacker got in, has it, or uses it.
    Compromised,
    /// It has no part in the attack.
    Clean,
}

impl Finding {
    /// `web01 compromised, 10.0.2.14 clean`; empty if nothing was found.
    pub fn told(findings: &[Finding]) -> String {
        let one = |finding: &Finding| {
            let verdict = match finding.verdict {
                FindingVerdict::Compromised => "compromised",
                FindingVerdict::Clean => "clean",
                FindingVerdict::Unspecified => "unknown",
            };
            format!("{} {verdict}", finding.name)
        };
        findings.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// How one part of an action is carried out on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// `contain`, `preserve`, `analyse`, `eradicate`, `harden` or `restore`.
    pub kind: String,
    /// Whom or what it is done to.
    pub target: String,
    /// Who does it; left out if nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// The command that does it; likewise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// How it is taken back; likewise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub undo: String,
}

impl Order {
    /// In one line: `on 10.0.2.13: edr isolate 10.0.2.13 (the EDR team); taken back: lift the isolation`.
    pub fn told(&self) -> String {
        let how = match (self.command.as_str(), self.by.as_str()) {
            ("", by) => by.to_owned(),
            (command, "") => command.to_owned(),
            (command, by) => format!("{command} ({by})"),
        };
        let undo = match self.undo.as_str() {
            "" => String::new(),
            undo => format!("taken back: {undo}"),
        };
        let parts: Vec<String> = [how, undo].into_iter().filter(|part| !part.is_empty()).collect();
        format!("{} {}: {}", self.kind, self.target, parts.join("; "))
    }
}

/// One person's approval of an action that needs several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepApproval {
    /// Who.
    pub approver: String,
    /// When, in RFC 3339.
    pub time: Option<String>,
    /// Hash that was approved: of the step, or of the step with another of its candidates as the chosen one.
    pub plan_hash: String,
}

impl Step {
    /// Who has approved the chosen action, and how many people have to, if more than one has to.
    pub fn awaited_approvals(&self) -> Option<(Vec<&str>, u32)> {
        let chosen = self.chosen_candidate()?;
        let given = self.approvals.iter().filter(|approval| approval.plan_hash == self.plan_hash);
        Some((given.map(|approval| approval.approver.as_str()).collect(), chosen.approvers?))
    }

    /// Why the action was chosen, in a sentence or two.
    pub fn why(&self) -> String {
        match self.planner_choice {
            None => self.reason.clone(),
            Some(planner) => format!(
                "A person chose it in place of candidate {}, of which the planner said: {}",
                u64::from(planner) + 1,
                self.reason
            ),
        }
    }
}

/// What is believed of an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Belief {
    /// How likely each host is compromised that the attack has to do with, the likeliest first.
    pub compromised: Vec<Suspect>,
    /// How likely the attacker has each account that the evidence says so of, the likeliest first.
    #[serde(default)]
    pub held_accounts: Vec<HeldAccount>,
    /// Facts of recovery that something unseen may stand against.
    pub hindered: Vec<Hindrance>,
    /// How likely the attacker comes back from an address that no record tells of, from 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub returns: f32,
}

/// A fact of recovery that something unseen may stand against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hindrance {
    /// The fact.
    pub fact: String,
    /// How likely that is, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub probability: f32,
}

/// Alerts that a tactic is expected to raise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpectedAlerts {
    /// The tactic.
    pub tactic: Tactic,
    /// Distinct pairs of class and priority.
    pub kinds: Vec<AlertKind>,
}

/// A class and a priority of alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertKind {
    /// Class in its normal form.
    pub classification: String,
    /// Priority, from 1 (high).
    pub priority: Option<u32>,
}

/// How far a choice can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Assurance {
    /// Chance that no other candidate is cheaper than the one with the best estimate.
    #[schemars(range(min = 0, max = 1))]
    pub chance: f64,
    /// Whether that chance reaches the asked confidence and nothing else speaks against the estimates.
    pub is_clear: bool,
    /// Index of the candidate with the best estimate.
    pub best: u32,
    /// How well the chosen action can be taken back.
    pub reversibility: Reversibility,
    /// Why the choice is in doubt.
    pub doubts: Vec<String>,
    /// Evidence that would decide.
    pub wanted_evidence: Vec<String>,
}

/// A response action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// What to do.
    pub text: String,
    /// Why.
    pub explanation: String,
}

/// A proposed action and what it is expected to cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Hosts and accounts of the system that it cuts off, locks out or cleans.
    #[serde(default)]
    pub takes_down: Vec<String>,
    /// Hosts of these in doubt that an earlier step searches, and of which nobody has told what was found: to be taken down only once the
    /// search shows that the attacker got in. Left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaits_search: Vec<String>,
    /// How many different people have to approve it; left out where one is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<u32>,
    /// How it is carried out, target by target, as far as the cost model says; left out where it does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Order>,
}

/// An estimated cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(range(min = 0))]
    pub variance: Option<f64>,
    /// Lower bound of the 95 % interval of the mean.
    pub low: Option<f64>,
    /// Upper bound.
    pub high: Option<f64>,
    /// What one recovery costs at least, nine times in ten together with `likely_high`.
    #[serde(default)]
    pub likely_low: Option<f64>,
    /// What it costs at most; absent if that is not known, since rollouts were cut off.
    #[serde(default)]
    pub likely_high: Option<f64>,
}

/// A proposal that was thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// The action.
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// Model work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Tokens chosen or forced that no answer came of: of work that was broken off.
    #[serde(default)]
    pub discarded_tokens: u64,
    /// Time from the first question to the last answer.
    #[schemars(range(min = 0))]
    pub elapsed_seconds: f64,
}

impl PlanDocument {
    /// The document of an incident as it stands. `notices` are the sentences of its notice events.
    pub fn new(incident: v1::Incident, notices: impl IntoIterator<Item = String>) -> Self {
        let (status, priority) = (incident.status().into(), incident.priority());
        let plan = incident.plan.unwrap_or_default();
        let end = plan.end();
        let mut warnings = Vec::new();
        if let Some(digest) = incident.assessment.as_ref().and_then(|assessment| assessment.digest.as_ref()) {
            warnings.extend(digest.warnings.iter().cloned());
        }
        warnings.extend(notices);
        Self {
            version: DOCUMENT_VERSION,
            incident: incident.name,
            create_time: incident.create_time.and_then(time_text),
            update_time: incident.update_time.and_then(time_text),
            tenant: Some(incident.tenant)
                .filter(|tenant| !tenant.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
            priority: match priority {
                v1::Priority::Unspecified => Priority::Normal,
                priority => priority.into(),
            },
            status,
            model: incident.model.map(Into::into),
            options: incident.options.unwrap_or_default().into(),
            cost_model: incident.cost_model.unwrap_or_default().into(),
            assessment: incident.assessment.map(Into::into),
            revisions: incident.revisions.into_iter().map(Into::into).collect(),
            deliveries: incident.deliveries.into_iter().map(Into::into).collect(),
            state: incident.state.unwrap_or_default().into(),
            steps: plan.steps.into_iter().map(Into::into).collect(),
            end: End::of(end),
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

/// The JSON Schema of [`PlanDocument`] as it is written.
pub fn schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<PlanDocument>().to_value()
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
