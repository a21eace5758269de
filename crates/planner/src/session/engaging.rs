//! One round of an incident that comes with a catalogue: what the last one showed, and what to do next.
//!
//! The model is asked about the records that came since the last decision, about each distinct one once in an incident; what follows is
//! reckoned without it ([`crate::engagement`]).

use std::time::Instant;

use countermove_incident::Catalogue;
use futures::future::join_all;

use crate::engagement::belief::Round;
use crate::engagement::sights::{Shown, sights, together};
use crate::engagement::{Engagement, Verdict};
use crate::error::PlanError;
use crate::evidence::groups::GroupView;
use crate::evidence::judgement::{Judgement, judge, wording};
use crate::evidence::reading::Reading;
use crate::evidence::scene::Scene;
use crate::language_model::{LanguageModel, ModelError, Usage};
use crate::prompts::tasks::read_options;
use crate::rollouts::answers::Answers;
use crate::seeds::derive_seed;
use crate::session::perception::{about_nothing, is_untuned, question_about};
use crate::session::plan::PlanStep;
use crate::session::plan_session::PlanSession;
use crate::templates::Templates;

/// What a round is decided with.
pub(crate) struct Engaging<'a, M> {
    pub(crate) model: &'a M,
    pub(crate) templates: &'a Templates,
    pub(crate) answers: &'a Answers,
}

/// A decision with the round that has just passed.
pub(crate) struct Engaged {
    pub(crate) step: PlanStep,
    pub(crate) round: Round,
}

impl<M: LanguageModel> Engaging<'_, M> {
    /// Decides the next round. `None` if nothing may be done. The session is not changed.
    pub(crate) async fn decide(
        &self,
        session: &PlanSession,
        catalogue: &Catalogue,
    ) -> Result<Option<Engaged>, PlanError> {
        let started = Instant::now();
        let passed = session.rounds_passed();
        let (round, usage) = self.passed(session, catalogue).await?;
        let rounds: Vec<Round> = passed.iter().chain([&round]).cloned().collect();
        let options = &session.options;
        let engagement = Engagement {
            catalogue,
            rounds: &rounds,
            rounds_left: options.max_steps.saturating_sub(session.next_step()) as usize,
            candidates: options.candidates as usize,
            rollouts: options.rollouts as usize,
            confidence: options.confidence,
            seed: derive_seed(options.seed, "engagement", &[session.decision_seed()]),
        };
        let step = session.next_step();
        let is_refused = |text: &str| {
            session.refusals.iter().any(|refusal| refusal.step == step && refusal.action == text)
        };
        let allowed = |text: &str| !is_refused(text) && session.constraints.broken_by(text).is_none();
        let Some(Verdict { belief, candidates, reason, assurance }) = engagement.decide(allowed) else {
            return Ok(None);
        };
        let usage = Usage { elapsed: started.elapsed(), ..usage };
        let step = PlanStep {
            index: step,
            state_before: session.state,
            belief,
            candidates,
            rejected: Vec::new(),
            chosen: 0,
            reason,
            assurance,
            expected: None,
            hash: String::new(),
            state_after: None,
            findings: Vec::new(),
            usage,
        };
        Ok(Some(Engaged { step, round }))
    }

    /// The round that has just passed: what was done in it, and what the records show that came since the one before.
    async fn passed(
        &self,
        session: &PlanSession,
        catalogue: &Catalogue,
    ) -> Result<(Round, Usage), PlanError> {
        let (action, carried_out) = session
            .taken
            .last()
            .map_or_else(Default::default, |taken| (taken.action.clone(), taken.carried_out));
        let Some(scene) = session.news.as_deref() else {
            return Ok((
                Round { action, carried_out, sights: session.seen_before().to_vec() },
                Usage::default(),
            ));
        };
        let groups: Vec<&GroupView> = scene.groups.iter().filter(|group| group.is_understood()).collect();
        let readings = join_all(groups.iter().map(|group| self.read(session, scene, group))).await;
        let mut usage = Usage::default();
        let mut judged: Vec<(&GroupView, Reading, Judgement)> = Vec::new();
        for (group, reading) in groups.into_iter().zip(readings) {
            let (reading, spent) = reading?;
            usage += spent;
            let alone = judge(group, &reading, &wording(group), &scene.hosts, &scene.lines);
            let judgement = alone.beside_an_attack(group);
            judged.push((group, reading, judgement));
        }
        let shown: Vec<Shown<'_>> =
            judged.iter().map(|(group, reading, judgement)| Shown { group, reading, judgement }).collect();
        let sights = together(session.seen_before(), sights(catalogue, &scene.hosts, &shown, &action));
        Ok((Round { action, carried_out, sights }, usage))
    }

    async fn read(
        &self,
        session: &PlanSession,
        scene: &Scene,
        group: &GroupView,
    ) -> Result<(Reading, Usage), PlanError> {
        let PlanSession { options, tokens, incident, .. } = session;
        let question = question_about(self.templates, scene, options, group)?;
        let none = || ModelError::Failed("no option of its answer is one".into());
        let ask = async |question| {
            let (options, usage) = self.answers.weigh(self.model, incident, question, tokens).await?;
            let reading = read_options(&options).ok_or_else(none)?;
            Ok::<_, PlanError>((reading, options.untuned, usage))
        };
        let (reading, untuned, mut usage) = ask(question.clone()).await?;
        if !is_untuned(untuned, options) {
            return Ok((reading, usage));
        }
        let (nothing, _, spent) = ask(about_nothing(self.templates, question)?).await?;
        usage += spent;
        Ok((reading.beside(&nothing), usage))
    }
}
