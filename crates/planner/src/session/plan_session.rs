//! An incident being planned, as a value: what is known, what was decided, and whose turn it is.
//!
//! A session is driven from outside. [`crate::Planner::step`] does the next piece of model work; in interactive mode
//! an operator approves, rejects and reports between them. Transitions are plain functions without I/O, so a history
//! of decisions can be replayed.
//!
//! Invariants: model work changes a session only when it is complete, so dropping it leaves the session as it was;
//! a session that has ended never changes again; the state moves on only by a reported or a predicted outcome.

mod saved;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use countermove_incident::{AlertLog, Constraints, Order, Record, RecoveryState, Repeats, Reversibility};
use serde::{Deserialize, Serialize};

use crate::choosing::approval::{ActionClass, approvers};
use crate::choosing::candidate::Candidate;
use crate::engagement::belief::{Round, Sight};
use crate::evidence::adaptation::{Comparison, Observed, attack_goes_on};
use crate::evidence::assessment::{Assessment, TacticBelief};
use crate::evidence::findings::Finding;
use crate::evidence::roles::Roles;
use crate::evidence::scene::Scene;
use crate::language_model::{TokenCounter, Usage};
use crate::options::{Autonomy, PlanMode, PlanOptions};
use crate::prompts::coverage::named;
use crate::prompts::past::past;
use crate::rollouts::checks::interrupts;
use crate::rollouts::world::searched;
use crate::seeds::derive_seed;
use crate::session::plan::{Plan, PlanEnd, PlanEnded, PlanStep, StateAfter, StateSource};
use crate::session::proposals::{Refusal, Taken};
use crate::words::history_line;
pub use saved::RestoreError;
pub(crate) use saved::Saved;

/// Whether an address is of a network that organisations use among themselves.
fn is_private(name: &str) -> bool {
    match name.parse() {
        Ok(IpAddr::V4(address)) => address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_unique_local(),
        Err(_) => false,
    }
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The evidence has to be read.
    Perception,
    /// The evidence has to be read anew, since the conjecture no longer fits it.
    Revision,
    /// The next step has to be decided.
    Decision,
    /// The last step's action waits for an approval.
    Approval,
    /// The approved action waits for its outcome.
    Outcome,
    /// Planning has ended.
    Ended(PlanEnded),
}

/// What came of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// State that was found afterwards.
    pub state: RecoveryState,
    /// Whether it could be carried out, if that is known.
    pub carried_out: Option<bool>,
    /// What it showed of hosts, accounts and addresses, as [`PlanSession::finding`] gives it.
    pub findings: Vec<Finding>,
}

impl From<RecoveryState> for Outcome {
    fn from(state: RecoveryState) -> Outcome {
        Outcome { state, ..Outcome::default() }
    }
}

/// Why an operator's word cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Nobody waits for this now.
    #[error("{what} is not possible now: {now}")]
    NotNow {
        /// What was tried.
        what: &'static str,
        /// What the incident waits for.
        now: &'static str,
    },
    /// It is about another step than the current one.
    #[error("step {step} is not the one that waits; that is step {current}")]
    WrongStep {
        /// The step that was named.
        step: u32,
        /// The step that waits.
        current: u32,
    },
    /// The step was decided anew since, or is not what the caller has seen. The hash is not told: who approves has to have
    /// seen the step that it is of.
    #[error(
        "step {step} is not the one that was approved: {named} is not its hash; look at it again and approve that"
    )]
    Stale {
        /// The step.
        step: u32,
        /// The hash that was named.
        named: String,
    },
    /// It is about another action than the chosen one.
    #[error("the action of step {step} is {chosen:?}, not {named:?}")]
    WrongAction {
        /// The step.
        step: u32,
        /// Its action.
        chosen: String,
        /// The action that was named.
        named: String,
    },
    /// It is about somebody of whom nothing is known.
    #[error(
        "neither the system description nor the evidence names {name:?}; say it as they do, or report the records that tell of it first"
    )]
    Unknown {
        /// The name that was given.
        name: String,
    },
}

/// The state fell back, since the attack was seen to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FellBack {
    /// The state now.
    pub state: RecoveryState,
    /// Why, in one sentence that names the evidence.
    pub reason: String,
    /// The step that waited for an approval and was withdrawn, if one did. Its approval is refused from now on.
    pub withdrawn: Option<u32>,
}

/// An incident being planned.
#[derive(Clone, Debug)]
pub struct PlanSession {
    pub(crate) incident: String,
    pub(crate) options: PlanOptions,
    pub(crate) scene: Arc<Scene>,
    /// What the plan has to keep to.
    pub(crate) constraints: Arc<Constraints>,
    /// Classes of actions that two people have to approve.
    two_approvers: Arc<[ActionClass]>,
    pub(crate) assessment: Option<Assessment>,
    pub(crate) state: RecoveryState,
    pub(crate) steps: Vec<PlanStep>,
    pub(crate) taken: Vec<Taken>,
    pub(crate) refusals: Vec<Refusal>,
    /// What people found out, by name.
    findings: Vec<Finding>,
    /// Steps that were withdrawn when the state fell back, each as often as that happened.
    withdrawn: Vec<u32>,
    /// Alerts that came since the last step was decided.
    observed: Observed,
    /// Why the conjecture has to be revised.
    revision: Option<String>,
    /// Rounds that have passed, where the incident comes with a catalogue.
    rounds: Vec<Round>,
    /// How often each record of the log had come when the last round was decided.
    heard: Vec<u64>,
    /// How often each has come now.
    counts: Vec<u64>,
    /// What has come since, as a scene of its own; none if nothing has.
    pub(crate) news: Option<Arc<Scene>>,
    pub(crate) usage: Usage,
    pub(crate) tokens: TokenCounter,
    pub(crate) deadline: Option<Instant>,
    pub(crate) end_announced: bool,
    started: Instant,
    phase: Phase,
}

/// What has to be known before an action can be proposed.
const MISSING: &str = "the evidence names neither attackers nor attacked hosts, so no action could name anybody: give alerts with \
                       addresses, logs of the hosts concerned, or a system description with their names and addresses";

impl PlanSession {
    pub(crate) fn new(
        incident: String,
        options: PlanOptions,
        scene: Arc<Scene>,
        constraints: Arc<Constraints>,
    ) -> Self {
        let started = Instant::now();
        Self {
            incident,
            // A deadline beyond what the clock can hold is none.
            deadline: options.deadline.and_then(|deadline| started.checked_add(deadline)),
            options,
            scene,
            constraints,
            two_approvers: Arc::default(),
            assessment: None,
            state: RecoveryState::default(),
            steps: Vec::new(),
            taken: Vec::new(),
            refusals: Vec::new(),
            findings: Vec::new(),
            withdrawn: Vec::new(),
            observed: Observed::default(),
            revision: None,
            rounds: Vec::new(),
            heard: Vec::new(),
            counts: Vec::new(),
            news: None,
            usage: Usage::default(),
            tokens: TokenCounter::default(),
            end_announced: false,
            started,
            phase: Phase::Perception,
        }
    }

    /// Names the classes of actions that two people have to approve, for steps that are decided from now on. They are not saved with
    /// the session: whoever owns it says what holds where it is.
    pub fn ask_two_for(&mut self, classes: Arc<[ActionClass]>) {
        self.two_approvers = classes;
    }

    /// Whose turn it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Name of the incident.
    pub fn incident(&self) -> &str {
        &self.incident
    }

    /// Options in force.
    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// What was made of the evidence.
    pub fn assessment(&self) -> Option<&Assessment> {
        self.assessment.as_ref()
    }

    /// How the evidence was read, with what was left out.
    pub fn digest(&self) -> &countermove_incident::DigestReport {
        &self.scene.report
    }

    /// State now.
    pub fn state(&self) -> RecoveryState {
        self.state
    }

    /// Decisions so far.
    pub fn steps(&self) -> &[PlanStep] {
        &self.steps
    }

    /// A live count of the tokens behind the incident.
    pub fn tokens(&self) -> &TokenCounter {
        &self.tokens
    }

    /// When planning has to end.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The plan as it stands. Before planning has ended, its end is [`PlanEnd::Cancelled`].
    pub fn plan(&self) -> Plan {
        let ended = match &self.phase {
            Phase::Ended(ended) => ended.clone(),
            _ => PlanEnded { end: PlanEnd::Cancelled, error: String::new(), usage: self.usage_now() },
        };
        Plan { assessment: self.assessment.clone(), steps: self.steps.clone(), ended }
    }

    /// What an approval would approve: of the step that waits the candidate that a hash names, which is the chosen one by the step's own
    /// hash, or another one by that candidate's. An action's text, if it is given, is compared as well.
    ///
    /// # Errors
    /// If no approval is waited for, or step, hash or action are not the current ones.
    pub fn approvable(
        &self,
        step: u32,
        hash: &str,
        action: Option<&str>,
    ) -> Result<&Candidate, SessionError> {
        let current = self.waiting("an approval", &Phase::Approval, step)?;
        let is_own = current.hash == hash;
        let mut others = current.candidates.iter().filter(|candidate| candidate.index != current.chosen);
        let other = others.find(|other| !is_own && other.hash == hash);
        let approved = other.map_or(current.action(), |other| other.action.text.as_str());
        if let Some(action) = action.filter(|action| *action != approved) {
            return Err(SessionError::WrongAction {
                step,
                chosen: approved.to_owned(),
                named: action.to_owned(),
            });
        }
        let named = other.or_else(|| current.chosen_candidate().filter(|_| is_own));
        named.ok_or_else(|| SessionError::Stale { step, named: hash.to_owned() })
    }

    /// Approves what [`PlanSession::approvable`] gives, which is the step's choice from now on. The step now waits for its outcome.
    /// Gives the index of the candidate that was chosen in place of the planner's choice; `None` if that was approved.
    ///
    /// # Errors
    /// Those of [`PlanSession::approvable`].
    pub fn approve(
        &mut self,
        step: u32,
        hash: &str,
        action: Option<&str>,
    ) -> Result<Option<u32>, SessionError> {
        let approved = self.approvable(step, hash, action)?.index;
        let current = self.steps.last_mut().filter(|current| current.chosen != approved);
        let other = current.map(|current| {
            (current.chosen, current.hash) = (approved, hash.to_owned());
            approved
        });
        self.phase = Phase::Outcome;
        Ok(other)
    }

    /// Whom a name means of which something was found out: a host, by any of its names, an account, an address or a domain.
    ///
    /// # Errors
    /// If neither the system description nor the evidence names it.
    pub fn finding(&self, name: &str, is_compromised: bool) -> Result<Finding, SessionError> {
        let name = name.trim();
        let unknown = || SessionError::Unknown { name: name.to_owned() };
        let (name, kind) = self.scene.whose(name).ok_or_else(unknown)?;
        Ok(Finding { name, kind, is_compromised })
    }

    /// Hosts, accounts and addresses that were found to have no part.
    pub(crate) fn found_clean(&self) -> impl Iterator<Item = &str> {
        self.findings.iter().filter(|finding| !finding.is_compromised).map(|finding| finding.name.as_str())
    }

    /// Takes what people found out for certain. The last word on a name stands.
    fn learn(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.findings.retain(|known| known.name != finding.name);
            if let Some(assessment) = &mut self.assessment {
                assessment.entities.learn(&finding);
            }
            self.findings.push(finding);
        }
    }

    /// An assessment of the evidence with what people found out.
    fn with_findings(&self, mut assessment: Assessment) -> Assessment {
        assessment.enable(&self.options.pricing);
        self.findings.iter().for_each(|finding| assessment.entities.learn(finding));
        assessment
    }

    /// Rejects the action of the step that waits. The step is taken back and decided again; the model reads the
    /// reason, the same action is not proposed again, and what was found out meanwhile is known.
    ///
    /// # Errors
    /// If no approval is waited for, or the step is not the current one.
    pub fn reject(&mut self, step: u32, reason: &str, findings: Vec<Finding>) -> Result<(), SessionError> {
        let action = self.waiting("a rejection", &Phase::Approval, step)?.action().to_owned();
        self.learn(findings);
        self.steps.pop();
        self.refusals.push(Refusal { step, action, reason: reason.trim().to_owned() });
        self.phase = Phase::Decision;
        Ok(())
    }

    /// Takes the state that was found after the approved action; it may have fallen back. Gives how the alerts that came
    /// since the step was decided compare with those that were expected. If they do not fit, the conjecture is revised
    /// before the next step.
    ///
    /// # Errors
    /// If no outcome is waited for, or the step is not the current one.
    pub fn report_outcome(
        &mut self,
        step: u32,
        outcome: impl Into<Outcome>,
    ) -> Result<Option<Comparison>, SessionError> {
        let Outcome { state, carried_out, findings } = outcome.into();
        let current = self.waiting("an outcome", &Phase::Outcome, step)?;
        let comparison = self.observed.compare(current.expected.as_ref(), self.options.alert_precision);
        self.observed = Observed::default();
        if let Some(current) = self.steps.last_mut() {
            current.findings.clone_from(&findings);
        }
        self.learn(findings);
        self.arrive(StateAfter { state, source: StateSource::Reported }, carried_out);
        if let Some(comparison) = comparison.as_ref().filter(|comparison| !comparison.holds)
            && self.phase == Phase::Decision
        {
            self.revise(format!("{comparison}, below {:.2}.", self.options.alert_precision));
        }
        Ok(comparison)
    }

    /// Takes note of alerts that came. If they show that an attack goes on which was held to be contained, the state falls
    /// back, a step that waits for an approval is withdrawn, and the conjecture is revised. While an approved action is
    /// carried out nothing falls back: its outcome says what the state is.
    pub(crate) fn observe(&mut self, alerts: &AlertLog) -> Option<FellBack> {
        self.observed.add(alerts);
        // Who had no part when somebody looked may have one since.
        let ends = |record: &Record| {
            [&record.source, &record.destination].map(|end| end.as_ref().map(|end| end.address.clone()))
        };
        let named: HashSet<String> = alerts.alerts().flat_map(ends).flatten().collect();
        self.findings.retain(|finding| finding.is_compromised || !named.contains(&finding.name));
        let waits = matches!(self.phase, Phase::Decision | Phase::Revision | Phase::Approval);
        let roles = self.assessment.as_ref().map(|assessment| &assessment.entities)?;
        let seen = attack_goes_on(alerts, roles).filter(|_| waits && self.state.is_attack_contained)?;
        self.state.is_attack_contained = false;
        let withdrawn = match self.phase {
            Phase::Approval => self.steps.pop().map(|step| step.index),
            _ => None,
        };
        self.withdrawn.extend(withdrawn);
        let reason = format!("The attack was held to be contained and goes on: {seen}.");
        self.revise(reason.clone());
        Some(FellBack { state: self.state, reason, withdrawn })
    }

    /// Has the evidence read anew before the next decision.
    pub(crate) fn revise(&mut self, reason: String) {
        self.phase = Phase::Revision;
        self.revision = Some(reason);
    }

    /// Ends planning because the caller wants it. Nothing happens if it has ended.
    pub fn cancel(&mut self) {
        self.end(PlanEnd::Cancelled, String::new());
    }

    /// Ends planning because its deadline has passed. Nothing happens if it has ended.
    pub fn expire(&mut self) {
        self.end(PlanEnd::Deadline, String::new());
    }

    /// Takes what perception concluded.
    pub(crate) fn assessed(&mut self, assessment: Assessment, usage: Usage) {
        self.usage += usage;
        let assessment = self.with_findings(assessment);
        self.state = assessment.state;
        let Assessment { is_incident, not_understood, .. } = assessment;
        let Roles { attackers, targets, stolen_accounts, planted_accounts, .. } = &assessment.entities;
        let names_nobody =
            [attackers, targets, stolen_accounts, planted_accounts].into_iter().all(Vec::is_empty);
        self.assessment = Some(assessment);
        self.phase = Phase::Decision;
        if self.options.catalogue.is_some() {
            // Who plans round by round has something to do before anything is seen.
            return;
        }
        if not_understood {
            self.end(PlanEnd::NotUnderstood, String::new());
        } else if !is_incident {
            self.end(PlanEnd::NoIncident, String::new());
        } else if names_nobody {
            self.end(PlanEnd::NoCandidate, MISSING.to_owned());
        }
    }

    /// Takes a second look at the evidence. The state stays: it is what was reported since. Gives why it was taken and what
    /// was conjectured before. A look that finds no incident any more changes nothing: what was found once is not undone
    /// by alerts that look harmless.
    pub(crate) fn revised(&mut self, assessment: &Assessment, usage: Usage) -> (String, Vec<TacticBelief>) {
        self.usage += usage;
        self.phase = Phase::Decision;
        let before = self.assessment.as_ref().map(|known| known.tactics.clone()).unwrap_or_default();
        if assessment.is_incident {
            self.assessment = Some(self.with_findings(assessment.clone()));
        }
        (self.revision.take().unwrap_or_default(), before)
    }

    /// Takes a decision. In offline mode its predicted state becomes the next one at once; in interactive mode the
    /// incident's autonomy may approve it.
    pub(crate) fn decided(&mut self, mut step: PlanStep) {
        self.label(&mut step);
        let approved = self.approves(&step);
        self.observed = Observed::default();
        self.usage += step.usage;
        let predicted = step.chosen_candidate().and_then(|candidate| candidate.predicted_state);
        self.steps.push(step);
        match self.options.mode {
            PlanMode::Interactive => {
                self.phase = if approved { Phase::Outcome } else { Phase::Approval };
            }
            PlanMode::Offline => {
                let state = predicted.unwrap_or(self.state);
                self.arrive(StateAfter { state, source: StateSource::Predicted }, None);
            }
        }
    }

    /// Says of each candidate of a new step what approving it names and whom it takes down.
    fn label(&self, step: &mut PlanStep) {
        let before = self.history();
        step.hash = step.seal(&self.incident, &before, step.chosen);
        let hashes: Vec<String> = step
            .candidates
            .iter()
            .map(|candidate| step.seal(&self.incident, &before, candidate.index))
            .collect();
        let awaited = self.awaited(&before);
        for (candidate, hash) in step.candidates.iter_mut().zip(hashes) {
            candidate.takes_down = self.taken_down(&candidate.action.text);
            let mut awaits = candidate.takes_down.clone();
            awaits.retain(|name| awaited.contains(name));
            candidate.awaits_search = awaits;
            candidate.hash = hash;
            candidate.approvers = self.approvers(candidate);
            candidate.orders = self.orders(&candidate.action.text);
        }
    }

    /// Hosts in doubt that an earlier action searches, and of which nobody has told what was found.
    fn awaited(&self, history: &[String]) -> HashSet<String> {
        let Some(roles) = self.assessment.as_ref().map(|assessment| &assessment.entities) else {
            return HashSet::new();
        };
        let deeds = past(roles, history, self.state);
        deeds.iter().flat_map(|deed| searched(roles, &deed.objects)).cloned().collect()
    }

    /// How an action is carried out, as far as the organisation says.
    fn orders(&self, action: &str) -> Vec<Order> {
        let roles = self.assessment.as_ref().map(|assessment| &assessment.entities);
        let known: Vec<&str> = roles.map(|roles| roles.all().collect()).unwrap_or_default();
        self.options.pricing.orders(action, &known)
    }

    /// How many people have to approve a candidate whose other labels are known.
    fn approvers(&self, candidate: &Candidate) -> u32 {
        if self.options.mode == PlanMode::Offline {
            return 0;
        }
        let action = &candidate.action.text;
        let listed = match &self.options.catalogue {
            Some(catalogue) => catalogue.approvers(action),
            None => self.options.pricing.approvers(action),
        };
        approvers(candidate, &self.two_approvers).max(listed)
    }

    /// Hosts and accounts of the system that an action cuts off or cleans.
    fn taken_down(&self, action: &str) -> Vec<String> {
        let Some(roles) = self.assessment.as_ref().map(|assessment| &assessment.entities) else {
            return Vec::new();
        };
        let mut names: Vec<String> = Vec::new();
        for (_, name) in if interrupts(action) { named(action, roles) } else { Vec::new() } {
            if !roles.attacks_from_outside(&name) && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Rounds that had passed before the one that is to be decided: one before the first action, and one after each that was taken. A
    /// step that is decided again has the same.
    pub(crate) fn rounds_passed(&self) -> &[Round] {
        self.rounds.get(..self.taken.len()).unwrap_or(&self.rounds)
    }

    /// What the round that is to be decided showed already, where it was decided before.
    pub(crate) fn seen_before(&self) -> &[Sight] {
        self.rounds.get(self.taken.len()).map_or(&[], |round| &round.sights)
    }

    /// Takes what the last round showed.
    pub(crate) fn passed(&mut self, round: Round) {
        self.rounds.truncate(self.taken.len());
        self.rounds.push(round);
        self.heard.clone_from(&self.counts);
        self.news = None;
    }

    /// The records of a log that came since the last round was decided, each as often as it has come since.
    pub(crate) fn unheard(&self, log: &AlertLog) -> Vec<Record> {
        let since = |(at, record): (usize, &Record)| {
            let before = self.heard.get(at).copied().unwrap_or_default();
            let count = record.repeats.count.checked_sub(before).filter(|count| *count > 0)?;
            Some(Record { repeats: Repeats { count, ..record.repeats }, ..record.clone() })
        };
        log.records.iter().enumerate().filter_map(since).collect()
    }

    /// Takes the log as it is now, with what of it is new as a scene.
    pub(crate) fn hear(&mut self, log: &AlertLog, news: Option<Arc<Scene>>) {
        self.counts = log.records.iter().map(|record| record.repeats.count).collect();
        self.news = news;
    }

    /// Whether the incident's autonomy approves the step. It never does what takes two people, nor is it one of them.
    fn approves(&self, step: &PlanStep) -> bool {
        let Autonomy::ApproveReversible { confidence } = self.options.autonomy else { return false };
        if step.chosen_candidate().is_none_or(|candidate| candidate.approvers > 1) {
            return false;
        }
        let assurance = &step.assurance;
        let safe = assurance.reversibility <= Reversibility::Reversible;
        let best = assurance.is_clear && assurance.best == step.chosen && assurance.chance >= confidence;
        safe && best && self.spares_the_innocent(step, confidence)
    }

    /// Whether all that a step takes down is an attacker outside, or an account or a host that the attacker is believed to have with this
    /// chance. Gateways, sensors and proxies never are, nor is a private address that nobody described: somebody's own machine has it.
    fn spares_the_innocent(&self, step: &PlanStep, confidence: f64) -> bool {
        let Some(roles) = self.assessment.as_ref().map(|assessment| &assessment.entities) else {
            return false;
        };
        let is_guilty = |name: &String| {
            let chance = step.belief.compromised.get(name).or_else(|| step.belief.held.get(name));
            let is_outside = roles.attacks_from_outside(name) && !is_private(name);
            is_outside || chance.is_some_and(|chance| f64::from(*chance) >= confidence)
        };
        let action = step.action();
        !interrupts(action) || named(action, roles).iter().all(|(_, name)| is_guilty(name))
    }

    /// Ends planning, unless it has ended.
    pub(crate) fn end(&mut self, end: PlanEnd, error: String) {
        if !matches!(self.phase, Phase::Ended(_)) {
            self.phase = Phase::Ended(PlanEnded { end, error, usage: self.usage_now() });
        }
    }

    /// The step that is to be decided next.
    pub(crate) fn next_step(&self) -> u32 {
        self.steps.len() as u32
    }

    /// Root of the seeds of the next decision. A step that is decided again has other seeds.
    pub(crate) fn decision_seed(&self) -> u64 {
        let step = self.next_step();
        let refused = self.refusals.iter().filter(|refusal| refusal.step == step).count();
        let withdrawn = self.withdrawn.iter().filter(|withdrawn| **withdrawn == step).count();
        let rejections = refused + withdrawn;
        derive_seed(self.options.seed, "decision", &[u64::from(step), rejections as u64])
    }

    /// Actions taken so far, as prompts tell them.
    pub(crate) fn history(&self) -> Vec<String> {
        self.taken.iter().map(|taken| history_line(&taken.action, taken.before, taken.after)).collect()
    }

    fn usage_now(&self) -> Usage {
        // Whatever was counted and is behind no answer was broken off, in decisions that were begun anew as well.
        let discarded_tokens = self.tokens.total().saturating_sub(self.usage.generated());
        Usage { elapsed: self.started.elapsed(), discarded_tokens, ..self.usage }
    }

    fn arrive(&mut self, after: StateAfter, carried_out: Option<bool>) {
        let Some(step) = self.steps.last_mut() else { return };
        step.state_after = Some(after);
        self.taken.push(Taken {
            step: step.index,
            action: step.action().to_owned(),
            before: step.state_before,
            after: after.state,
            carried_out,
        });
        self.state = after.state;
        self.phase = Phase::Decision;
        if after.state.is_terminal() {
            self.end(PlanEnd::Recovered, String::new());
        } else if self.next_step() >= self.options.max_steps {
            self.end(PlanEnd::StepLimit, String::new());
        }
    }

    /// The current step, if it waits in this phase and is the one that was named.
    fn waiting(&self, what: &'static str, phase: &Phase, step: u32) -> Result<&PlanStep, SessionError> {
        let now = match &self.phase {
            Phase::Perception | Phase::Revision => "the evidence is being read",
            Phase::Decision => "a step is being decided",
            Phase::Approval => "an action waits for approval or rejection",
            Phase::Outcome => "an approved action waits for its outcome",
            Phase::Ended(_) => "planning has ended",
        };
        match self.steps.last() {
            Some(current) if self.phase == *phase => match current.index {
                index if index == step => Ok(current),
                current => Err(SessionError::WrongStep { step, current }),
            },
            _ => Err(SessionError::NotNow { what, now }),
        }
    }
}
