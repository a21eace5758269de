//! The loop: reads the evidence, proposes, simulates, chooses, and goes on until recovery.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countermove_incident::{AlertLog, Catalogue, Constraints, RecoveryState, Reversibility, spelled_out};
use tracing::{Instrument, info_span};

use crate::choosing::assurance::Decided;
use crate::choosing::candidate::{Candidate, RejectedCandidate};
use crate::choosing::choice::{Choice, choose};
use crate::engagement::belief::Round;
use crate::error::PlanError;
use crate::evidence::adaptation::ExpectedAlerts;
use crate::evidence::assessment::Assessment;
use crate::evidence::roles::Roles;
use crate::evidence::scene::{Evidence, Scene};
use crate::language_model::{LanguageModel, Usage};
use crate::options::{PlanMode, PlanOptions};
use crate::prompts::coverage::{Widened, widened};
use crate::prompts::past::{Deed, past};
use crate::prompts::questions::shared_segments;
use crate::rollouts::advance::chance_within;
use crate::rollouts::answers::Answers;
use crate::rollouts::runner::{RolloutBatch, RolloutPolicy, RolloutRunner};
use crate::rollouts::world::{Belief, Next, next_to_fall};
use crate::session::engaging::{Engaged, Engaging};
use crate::session::events::{PlanEvent, PlanSink, PlanningStage, Progress};
use crate::session::expectation::{Expectation, ExpectationError, predict_alerts, present_tactic};
use crate::session::perception;
use crate::session::plan::{Plan, PlanEnd, PlanStep};
use crate::session::plan_session::{FellBack, Phase, PlanSession, RestoreError, Saved};
use crate::session::proposals::{Proposal, Proposals};
use crate::session::rounds::{Rolled, Rolling};
use crate::templates::Templates;
use crate::words::listed;

/// Plans incidents: `M` answers questions, `R` runs rollouts.
#[derive(Debug)]
pub struct Planner<M, R> {
    model: M,
    runner: R,
    templates: Arc<Templates>,
    /// What the model made of records of incidents that come with a catalogue.
    answers: Answers,
}

/// Target of the spans that show where the time of a step goes.
const TRACE: &str = "countermove_trace";

/// Most hosts of a description: each is named with every rollout, and a prompt that shows them all fits no model.
const HOSTS: usize = 4096;

/// A decision, or that there was nothing to decide between.
enum Decision {
    /// With the round that has just passed, where there are rounds.
    Made(Box<PlanStep>, Option<Round>),
    /// Why there was not, as the rest of a sentence.
    NoCandidate(String),
    /// Nothing is left to recover from; who was found clean, as the rest of a sentence.
    Cleared(String),
}

impl<M: LanguageModel, R: RolloutRunner> Planner<M, R> {
    /// A planner over a model and a runner. Both must use the same templates.
    pub fn new(model: M, runner: R, templates: Arc<Templates>) -> Self {
        Self { model, runner, templates, answers: Answers::default() }
    }

    /// Starts to plan an incident: checks the options and makes the evidence ready. Takes time in proportion to the
    /// log, and asks the model nothing.
    ///
    /// # Errors
    /// If an option is out of its range, the description names too many hosts, or a prompt cannot be made.
    pub fn session(
        &self,
        incident: impl Into<String>,
        evidence: &Evidence,
        options: PlanOptions,
    ) -> Result<PlanSession, PlanError> {
        let session = self.fresh(incident.into(), evidence, options)?;
        let found = session.scene.systems.len();
        if found > HOSTS {
            return Err(PlanError::Hosts { found, most: HOSTS });
        }
        Ok(session)
    }

    fn fresh(
        &self,
        incident: String,
        evidence: &Evidence,
        options: PlanOptions,
    ) -> Result<PlanSession, PlanError> {
        options.validate()?;
        let (scene, constraints) = self.scene(evidence, &options)?;
        let mut session = PlanSession::new(incident, options, scene, constraints);
        self.hear(&mut session, evidence)?;
        Ok(session)
    }

    /// Sets what came since the last round apart, where there are rounds.
    fn hear(&self, session: &mut PlanSession, evidence: &Evidence) -> Result<(), PlanError> {
        if session.options.catalogue.is_none() {
            return Ok(());
        }
        let records = session.unheard(&evidence.log);
        let news = if records.is_empty() {
            None
        } else {
            let log = AlertLog { records, ..AlertLog::default() };
            let news = Evidence { log, notes: Vec::new(), ..evidence.clone() };
            Some(Arc::new(Scene::new(&news, &self.templates, session.options.context_tokens as usize)?))
        };
        session.hear(&evidence.log, news);
        Ok(())
    }

    /// Puts other evidence in the place of what the session has: the same with `alerts`, which came since. The next question
    /// reads it. If the alerts show an attack going on that was held to be contained, the state falls back.
    ///
    /// # Errors
    /// If a prompt cannot be made; the session is unchanged then.
    pub fn replace_evidence(
        &self,
        session: &mut PlanSession,
        evidence: &Evidence,
        alerts: &AlertLog,
    ) -> Result<Option<FellBack>, PlanError> {
        (session.scene, session.constraints) = self.scene(evidence, &session.options)?;
        self.hear(session, evidence)?;
        Ok(session.observe(alerts))
    }

    /// The session that [`PlanSession::save`] wrote, over the evidence that it had then. `age` is the time since the
    /// incident was created; it counts towards the deadline.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn restore(
        &self,
        saved: &[u8],
        evidence: &Evidence,
        age: Duration,
    ) -> Result<PlanSession, RestoreError> {
        let saved = Saved::read(saved)?;
        // What was taken once is gone on with.
        let fresh = self.fresh(saved.incident.clone(), evidence, saved.options.clone())?;
        let mut session = saved.over(fresh, age);
        self.hear(&mut session, evidence)?;
        Ok(session)
    }

    /// Plans an incident in one go. In interactive mode it stops where an operator is needed.
    ///
    /// # Errors
    /// If an option is out of its range, or a prompt cannot be made. Faults of the model are no errors: they end the
    /// plan as [`PlanEnd::Failed`], with what was decided so far.
    pub async fn plan(
        &self,
        incident: impl Into<String>,
        evidence: &Evidence,
        options: PlanOptions,
        sink: &dyn PlanSink,
    ) -> Result<Plan, PlanError> {
        let mut session = self.session(incident, evidence, options)?;
        self.run(&mut session, sink).await;
        Ok(session.plan())
    }

    /// Works until an operator is needed or planning has ended.
    pub async fn run(&self, session: &mut PlanSession, sink: &dyn PlanSink) {
        loop {
            self.step(session, sink).await;
            if !at_work(session) {
                break;
            }
        }
    }

    /// Does the next piece of model work, perception or one decision, and tells it to `sink`. Does nothing where an
    /// operator is needed. The first call after the end tells the end.
    ///
    /// Dropping the future cancels the work and leaves the session as it was. The session's deadline is kept: when it
    /// passes, planning ends with what was decided so far.
    pub async fn step(&self, session: &mut PlanSession, sink: &dyn PlanSink) {
        if at_work(session) {
            self.work_until_deadline(session, sink).await;
        }
        match session.phase() {
            Phase::Ended(ended) if !session.end_announced => {
                sink.emit(PlanEvent::Ended(ended.clone()));
                session.end_announced = true;
            }
            Phase::Approval | Phase::Outcome => {
                let step = session.next_step().saturating_sub(1);
                report(session, sink, PlanningStage::Waiting, step, (0, 0));
            }
            _ => {}
        }
    }

    /// Reads the evidence. Gives the assessment and the work behind it; the session is not changed.
    ///
    /// # Errors
    /// If the model does not answer, or its answer cannot be used.
    pub async fn perceive(&self, session: &PlanSession) -> Result<(Assessment, Usage), PlanError> {
        let started = Instant::now();
        let scene = &session.scene;
        let tokens_before = session.tokens.total();
        let (assessment, usage) =
            perception::perceive(&self.model, &self.templates, scene, &session.options, &session.tokens)
                .instrument(info_span!(target: TRACE, "perception"))
                .await?;
        Ok((assessment, whole(usage, session, tokens_before, started)))
    }

    fn scene(
        &self,
        evidence: &Evidence,
        options: &PlanOptions,
    ) -> Result<(Arc<Scene>, Arc<Constraints>), PlanError> {
        let constraints =
            Constraints::read(&evidence.constraints, &spelled_out(&evidence.system_description));
        let mut scene = Scene::new(evidence, &self.templates, options.context_tokens as usize)?;
        // The model reads all of them; what only it reads, nobody can promise.
        scene.report.warnings.extend(constraints.not_understood.iter().map(|sentence| {
            format!(
                "Nothing checks the constraint {sentence:?}: it names no host in a form that is understood."
            )
        }));
        Ok((Arc::new(scene), Arc::new(constraints)))
    }

    async fn work_until_deadline(&self, session: &mut PlanSession, sink: &dyn PlanSink) {
        let deadline = session.deadline;
        let work = Box::pin(self.work(session, sink));
        match deadline {
            None => work.await,
            Some(at) => {
                if tokio::time::timeout_at(at.into(), work).await.is_err() {
                    session.expire();
                }
            }
        }
    }

    async fn work(&self, session: &mut PlanSession, sink: &dyn PlanSink) {
        let done = match session.phase() {
            Phase::Perception => self.assess(session, sink).await,
            Phase::Revision => self.revise(session, sink).await,
            _ => self.decide_next(session, sink).await,
        };
        if let Err(error) = done {
            session.end(PlanEnd::Failed, error.to_string());
        }
    }

    async fn assess(&self, session: &mut PlanSession, sink: &dyn PlanSink) -> Result<(), PlanError> {
        report(session, sink, PlanningStage::Perception, 0, (0, 0));
        let (assessment, usage) = self.perceive(session).await?;
        session.assessed(assessment.clone(), usage);
        sink.emit(PlanEvent::Assessed(assessment));
        Ok(())
    }

    async fn revise(&self, session: &mut PlanSession, sink: &dyn PlanSink) -> Result<(), PlanError> {
        let step = session.next_step();
        report(session, sink, PlanningStage::Perception, step, (0, 0));
        let (assessment, usage) = self.perceive(session).await?;
        let (reason, before) = session.revised(&assessment, usage);
        if assessment.is_incident {
            // With what people found out.
            let assessment = session.assessment().cloned().unwrap_or(assessment);
            sink.emit(PlanEvent::Revised { step, reason, before, assessment });
        } else {
            let text = format!(
                "{reason} A second look at the evidence found no other attack; the conjecture stays."
            );
            sink.emit(PlanEvent::Notice(text));
        }
        Ok(())
    }

    async fn decide_next(&self, session: &mut PlanSession, sink: &dyn PlanSink) -> Result<(), PlanError> {
        let decision = match session.options.catalogue.clone() {
            Some(catalogue) => self.engage(session, &catalogue, sink).await?,
            None => self.decide(session, sink).await?,
        };
        match decision {
            Decision::NoCandidate(why) => session.end(PlanEnd::NoCandidate, why),
            Decision::Cleared(who) => session.end(PlanEnd::Cleared, who),
            Decision::Made(step, round) => {
                if let Some(round) = round {
                    session.passed(round);
                }
                session.decided(*step);
                if let Some(step) = session.steps().last() {
                    sink.emit(PlanEvent::Decided(step.clone()));
                    if *session.phase() == Phase::Outcome {
                        sink.emit(PlanEvent::Approved { step: step.index, plan_hash: step.hash.clone() });
                    }
                }
            }
        }
        Ok(())
    }

    /// One round of an incident that comes with a catalogue. The session is not changed.
    async fn engage(
        &self,
        session: &PlanSession,
        catalogue: &Catalogue,
        sink: &dyn PlanSink,
    ) -> Result<Decision, PlanError> {
        report(session, sink, PlanningStage::Rollouts, session.next_step(), (0, 0));
        let engaging = Engaging { model: &self.model, templates: &self.templates, answers: &self.answers };
        let deciding =
            engaging.decide(session, catalogue).instrument(info_span!(target: TRACE, "engagement"));
        let Some(Engaged { step, round }) = deciding.await? else {
            return Ok(Decision::NoCandidate("of what the catalogue lists nothing is allowed".to_owned()));
        };
        let (candidates, rejected) = (step.candidates.clone(), step.rejected.clone());
        sink.emit(PlanEvent::Proposed { step: step.index, candidates, rejected });
        Ok(Decision::Made(Box::new(step), Some(round)))
    }

    /// One decision: propose, roll out, aggregate, choose. The session is not changed.
    async fn decide(&self, session: &PlanSession, sink: &dyn PlanSink) -> Result<Decision, PlanError> {
        let (started, tokens_before) = (Instant::now(), session.tokens.total());
        let assessment = session.assessment.as_ref().ok_or(PlanError::NotAssessed)?;
        let step = session.next_step();
        let seed = session.decision_seed();
        let history = session.history();
        let deeds = past(&assessment.entities, &history, session.state);
        let Widened { roles, joined } = widened(&assessment.entities, &deeds);
        let wider;
        let assessment = match roles {
            Cow::Borrowed(_) => assessment,
            Cow::Owned(entities) => {
                wider = Assessment { entities, ..assessment.clone() };
                &wider
            }
        };
        if !joined.is_empty() {
            sink.emit(PlanEvent::Notice(widening(step, &joined)));
        }
        let belief = Belief::new(&assessment.entities, &deeds, session.options.seed);
        let shared = shared_segments(&self.templates, &session.scene, assessment)?;

        report(session, sink, PlanningStage::Candidates, step, (0, 0));
        let proposal = Proposal {
            templates: &self.templates,
            scene: &session.scene,
            constraints: &session.constraints,
            shared: &shared,
            roles: &assessment.entities,
            compromised: &belief.compromised,
            options: &session.options,
            state: session.state,
            history: &history,
            taken: &session.taken,
            refusals: &session.refusals,
            seed,
        };
        let Proposals { mut candidates, rejected, mut usage } = proposal
            .ask(&self.model, &session.tokens)
            .instrument(info_span!(target: TRACE, "candidates"))
            .await?;
        sink.emit(PlanEvent::Proposed { step, candidates: candidates.clone(), rejected: rejected.clone() });
        if candidates.is_empty() {
            let roles = &assessment.entities;
            let cleared = cleared(session, roles).filter(|_| roles.is_shut_out(session.state));
            return Ok(match cleared {
                Some(who) => Decision::Cleared(who),
                None => Decision::NoCandidate(nothing_left(session, roles, &rejected, &belief)),
            });
        }
        if (candidates.len() as u32) < session.options.candidates {
            sink.emit(PlanEvent::Notice(few_candidates(
                step,
                candidates.len(),
                &session.options,
                rejected.len(),
            )));
        }

        let rolling = Rolling {
            runner: &self.runner,
            session,
            sink,
            candidates: &candidates,
            batch: batch(session, assessment, shared.clone()),
            history,
            seed,
        };
        let rolled = rolling.run().instrument(info_span!(target: TRACE, "rollouts")).await?;
        for (candidate, tally) in candidates.iter_mut().zip(&rolled.tallies) {
            candidate.cost = tally.cost;
            candidate.predicted_state = tally.predicted_state;
        }
        for result in &rolled.results {
            usage += result.usage;
        }
        if let Some(bound) = rolled.cut_by {
            sink.emit(PlanEvent::Notice(cut(step, bound, rolled.results.len())));
        }
        let Some(choice) =
            choose(session.state, &rolled.tallies).or_else(|| unsimulated(&rolled, &candidates))
        else {
            let fault = rolled.tallies.iter().find_map(|tally| tally.fault.clone());
            let fault = fault.unwrap_or_else(|| "all of them were cancelled".into());
            return Err(PlanError::Rollouts { step: step + 1, fault });
        };
        let decided = Decided {
            before: session.state,
            candidates: &candidates,
            tallies: &rolled.tallies,
            roles: &assessment.entities,
            confidence: session.options.confidence,
        };
        let (mut choice, assurance) = decided.assure(choice);
        if let Some(chosen) = candidates.get(choice.index)
            && let Some(danger) = meanwhile(session, &assessment.entities, &deeds, chosen)
        {
            choice.reason = format!("{} {danger}", choice.reason);
        }
        let (expected, predicting) = self.expect(session, assessment, &shared, sink).await?;
        usage += predicting;
        let usage = whole(usage, session, tokens_before, started);
        let step = PlanStep {
            index: step,
            state_before: session.state,
            belief,
            candidates,
            rejected,
            chosen: choice.index as u32,
            reason: choice.reason,
            assurance,
            expected,
            hash: String::new(),
            state_after: None,
            findings: Vec::new(),
            usage,
        };
        Ok(Decision::Made(Box::new(step), None))
    }

    /// The alerts that the tactic now at work is expected to raise, if somebody will see which come.
    async fn expect(
        &self,
        session: &PlanSession,
        assessment: &Assessment,
        shared: &[String],
        sink: &dyn PlanSink,
    ) -> Result<(Option<ExpectedAlerts>, Usage), PlanError> {
        let present = present_tactic(&session.scene, &assessment.tactics);
        let present = present.filter(|_| session.options.mode == PlanMode::Interactive);
        let Some((belief, seen)) = present else { return Ok((None, Usage::default())) };
        let expectation = Expectation {
            templates: &self.templates,
            system: &session.scene.system,
            shared,
            tactic: belief.tactic,
            seen: &seen,
            thinking_tokens: session.options.thinking_tokens,
        };
        match predict_alerts(&self.model, &expectation, &session.tokens).await {
            Ok((kinds, usage)) => Ok((Some(ExpectedAlerts { tactic: belief.tactic, kinds }), usage)),
            Err(ExpectationError::Task(error)) => {
                sink.emit(PlanEvent::Notice(format!(
                    "No alerts could be predicted, so none are compared: {error}."
                )));
                Ok((None, Usage::default()))
            }
            Err(ExpectationError::Template(error)) => Err(error.into()),
            Err(ExpectationError::Model(error)) => Err(error.into()),
        }
    }
}

/// Why no action can be proposed in a state, as the rest of a sentence: what does not hold, what most likely stands against it, and what
/// was thrown away.
fn nothing_left(
    session: &PlanSession,
    roles: &Roles,
    rejected: &[RejectedCandidate],
    belief: &Belief,
) -> String {
    let state = session.state;
    let facts = RecoveryState::LABELS.into_iter().zip(belief.hindered).zip(state.bits());
    let open: Vec<(&str, f32)> = facts.filter(|(_, holds)| !holds).map(|(fact, _)| fact).collect();
    let labels: Vec<String> = open.iter().map(|(label, _)| (*label).to_owned()).collect();
    let mut text = format!("nothing is left to try for what does not hold ({})", listed(&labels));
    if let Some(who) = cleared(session, roles) {
        return format!("{text}; {who}");
    }
    if !roles.has_fallen() {
        let doubts: Vec<String> = roles
            .may_have_fallen()
            .map(|(name, chance)| format!("{name} ({:.0} %)", 100.0 * chance))
            .collect();
        return match doubts.as_slice() {
            [] => format!(
                "{text}; the evidence names no attacked host: give logs of the hosts concerned, or a system description with their names and \
                 addresses"
            ),
            _ => format!(
                "{text}; nothing but a search can tell whether the attacker got into {}",
                listed(&doubts)
            ),
        };
    }
    let hindered = open.iter().map(|(_, chance)| *chance).fold(0.0, f32::max);
    let returns = if state.is_attack_contained { 0.0 } else { belief.returns };
    let (why, chance) = if returns >= hindered {
        ("the attacker comes back from an address that no record tells of", returns)
    } else {
        ("something stands against it that no record tells of", hindered)
    };
    if chance > 0.0 {
        text += &format!("; with a chance of {:.0} % {why}", 100.0 * chance);
    }
    if let Some(RejectedCandidate { action, reason }) = rejected.first() {
        let what =
            if action.text.is_empty() { "a proposal".to_owned() } else { format!("{:?}", action.text) };
        text += &format!("; {what} was thrown away: {}", reason.trim_end_matches('.'));
    }
    text
}

/// That nobody inside is suspected any more since people found them clean, as the rest of a sentence; `None` where it is not so.
fn cleared(session: &PlanSession, roles: &Roles) -> Option<String> {
    let clean: Vec<String> = session.found_clean().map(str::to_owned).collect();
    let were = if clean.len() == 1 { "was" } else { "were" };
    let is_so = !clean.is_empty() && !roles.has_fallen() && roles.may_have_fallen().next().is_none();
    is_so.then(|| format!("nobody is suspected any more, since {} {were} found clean", listed(&clean)))
}

/// What the attacker may do while an action is carried out that leaves the attack uncontained.
fn meanwhile(session: &PlanSession, roles: &Roles, deeds: &[Deed], chosen: &Candidate) -> Option<String> {
    let is_free = chosen.predicted_state.is_some_and(|state| !state.is_attack_contained);
    let what = match next_to_fall(roles, deeds, true).filter(|_| is_free)? {
        Next::Host(_) => "host",
        Next::Account(_) => "account",
    };
    let minutes = session.options.pricing.minutes_of_work(&chosen.action.text);
    Some(format!(
        "The attacker is free meanwhile: in {minutes:.0} minutes it takes a further {what} with a chance of {:.0} %.",
        100.0 * chance_within(minutes)
    ))
}

/// The usage of work that began with so many tokens counted: with the time that it took, and what was broken off on the way.
fn whole(usage: Usage, session: &PlanSession, tokens_before: u64, started: Instant) -> Usage {
    let counted = session.tokens.total().saturating_sub(tokens_before);
    let discarded_tokens = counted.saturating_sub(usage.generated());
    Usage { elapsed: started.elapsed(), discarded_tokens, ..usage }
}

/// What to take when the budget was over before any rollout was: the first proposal of those that can best be taken back.
fn unsimulated(rolled: &Rolled, candidates: &[Candidate]) -> Option<Choice> {
    let bound = rolled.cut_by?;
    let best = candidates.iter().min_by_key(|candidate| Reversibility::of(&candidate.action.text))?;
    let reason = format!(
        "No rollout that can be used ended within the budget of {bound}, so nothing is known of the costs; of the proposals this one can best \
         be taken back."
    );
    Some(Choice { index: best.index as usize, reason })
}

fn cut(step: u32, bound: &str, finished: usize) -> String {
    format!(
        "The budget of {bound} ended the rollouts of step {}; the choice rests on {finished} that had ended.",
        step + 1
    )
}

/// What all rollouts of a decision share.
fn batch(session: &PlanSession, assessment: &Assessment, context: Vec<String>) -> RolloutBatch {
    let options = &session.options;
    RolloutBatch {
        // Whoever sends them knows.
        tenant: String::new(),
        incident: session.incident.clone(),
        system: session.scene.system.clone(),
        context,
        entities: assessment.entities.clone(),
        policy: RolloutPolicy {
            max_depth: options.max_depth,
            temperature: options.temperature,
            top_p: options.top_p,
            thinking_tokens: options.rollout_thinking_tokens,
        },
        pricing: options.pricing.clone(),
        constraints: Constraints { rules: session.constraints.rules.clone(), not_understood: Vec::new() },
        rollouts: Vec::new(),
    }
}

/// Whether the model has something to do.
fn at_work(session: &PlanSession) -> bool {
    matches!(session.phase(), Phase::Perception | Phase::Revision | Phase::Decision)
}

fn report(session: &PlanSession, sink: &dyn PlanSink, stage: PlanningStage, step: u32, rollouts: (u32, u32)) {
    sink.emit(PlanEvent::Progress(Progress {
        stage,
        step,
        rollouts_finished: rollouts.0,
        rollouts_total: rollouts.1,
        tokens: session.tokens.total(),
    }));
}

fn widening(step: u32, joined: &[String]) -> String {
    format!(
        "Step {} counts {} as part of the attack as well: all was done with what seemed so, and it was not enough.",
        step + 1,
        listed(joined)
    )
}

fn few_candidates(step: u32, found: usize, options: &PlanOptions, rejected: usize) -> String {
    let candidates = if found == 1 { "only 1 candidate".into() } else { format!("only {found} candidates") };
    format!(
        "Step {} has {candidates} instead of {}: {rejected} other proposals could not be used.",
        step + 1,
        options.candidates
    )
}
