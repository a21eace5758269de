//! Candidates: distinct, grounded proposals for the next action.
//!
//! Proposals are asked for in rounds, those of one round at once so that the engine batches them. A proposal that
//! cannot be used is rejected with a sentence and another is asked for, up to three times as many proposals as
//! candidates are wanted. From the second round on the model is told what is there already, and openings that could
//! only repeat it are no longer offered.

use std::collections::BTreeMap;

use countermove_incident::{Constraints, RecoveryState, VerbClass};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::choosing::candidate::{Action, Candidate, RejectedCandidate};
use crate::error::PlanError;
use crate::evidence::roles::Roles;
use crate::evidence::scene::Scene;
use crate::language_model::{
    Answer, AnswerFormat, LanguageModel, ModelError, Purpose, Question, Sampling, TokenCounter, Usage,
};
use crate::options::PlanOptions;
use crate::prompts::menu::{Menu, Opening};
use crate::prompts::past::past;
use crate::prompts::questions::{Situation, action_prompt};
use crate::prompts::tasks::{ActionAnswer, action_schema, parse_action};
use crate::rollouts::checks::{Checks, beyond_reach, takes_down};
use crate::rollouts::terms::Names;
use crate::seeds::derive_seed;
use crate::templates::Templates;
use crate::words::normalise;

/// Most tokens of the JSON answer.
const ANSWER_TOKENS: u32 = 320;
/// Proposals asked for at most, for each candidate wanted.
const PROPOSALS_PER_CANDIDATE: u32 = 3;
/// What is added to the temperature for each round where names are chosen: what was proposed cannot be taken off such a menu,
/// and the likeliest choice would come again.
const FREER: f32 = 0.4;
/// Highest temperature that a question may have.
const MOST_FREE: f32 = 2.0;
/// A host that is compromised with this chance is not in doubt; where an action is about none such, or about no others, with the next.
const SURE: [f32; 4] = [0.9, 0.75, 0.5, 0.25];

/// An action that was taken, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) step: u32,
    pub(crate) action: String,
    pub(crate) before: RecoveryState,
    pub(crate) after: RecoveryState,
    /// Whether it could be carried out, if that was told.
    #[serde(default)]
    pub(crate) carried_out: Option<bool>,
}

impl Taken {
    /// Facts that it brought about.
    pub(crate) fn gained(&self) -> Vec<usize> {
        self.before.gained(self.after)
    }
}

/// An action that the operator rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) step: u32,
    pub(crate) action: String,
    pub(crate) reason: String,
}

/// What candidates are proposed for.
pub(crate) struct Proposal<'a> {
    pub(crate) templates: &'a Templates,
    pub(crate) scene: &'a Scene,
    /// What the plan has to keep to.
    pub(crate) constraints: &'a Constraints,
    pub(crate) shared: &'a [String],
    pub(crate) roles: &'a Roles,
    /// How likely each host is compromised, after all that was done.
    pub(crate) compromised: &'a BTreeMap<String, f32>,
    pub(crate) options: &'a PlanOptions,
    pub(crate) state: RecoveryState,
    /// Actions taken so far, as prompts tell them.
    pub(crate) history: &'a [String],
    /// The same actions, to be compared with.
    pub(crate) taken: &'a [Taken],
    /// What the operator rejected.
    pub(crate) refusals: &'a [Refusal],
    /// Root of the seeds of this decision.
    pub(crate) seed: u64,
}

/// What was proposed.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) rejected: Vec<RejectedCandidate>,
    pub(crate) usage: Usage,
}

impl Proposals {
    fn add(&mut self, action: Action, reasoning: String) {
        let index = self.candidates.len() as u32;
        self.candidates.push(Candidate::proposed(index, action, reasoning));
    }
}

impl Proposal<'_> {
    /// Asks the model for candidates. Fewer than asked for, or none, is no error.
    pub(crate) async fn ask(
        &self,
        model: &impl LanguageModel,
        tokens: &TokenCounter,
    ) -> Result<Proposals, PlanError> {
        let wanted = self.options.candidates;
        let menu = Menu::new(self.templates, self.state, self.roles, self.history)?;
        let mut proposals = Proposals { rejected: self.ruled_out(&menu), ..Proposals::default() };
        let mut asked = 0;
        while (proposals.candidates.len() as u32) < wanted && asked < wanted * PROPOSALS_PER_CANDIDATE {
            let missing = wanted - proposals.candidates.len() as u32;
            let round = missing.min(wanted * PROPOSALS_PER_CANDIDATE - asked);
            let left = self.left(&menu, &proposals);
            if left.is_empty() && !menu.is_free {
                break;
            }
            let mut question = self.question(&left, &proposals)?;
            if left.has_choices() {
                let warmer = question.sampling.temperature + FREER * (asked / wanted) as f32;
                question.sampling.temperature = warmer.min(MOST_FREE);
            }
            let mut questions = Vec::new();
            for number in asked..asked + round {
                let mut question = question.clone();
                question.sampling.seed = derive_seed(self.seed, "candidate", &[u64::from(number)]);
                questions.push(model.ask(question, tokens));
            }
            for answer in join_all(questions).await {
                self.take(answer, &left, &mut proposals)?;
            }
            asked += round;
        }
        self.spare_who_is_in_doubt(&menu, &mut proposals)?;
        Ok(proposals)
    }

    /// Beside a proposal that cuts off or cleans hosts of which some are in doubt stands the same about the others alone: what it is worth
    /// to wait with those, the rollouts say. Who was cut off or cleaned already is not spared by waiting.
    fn spare_who_is_in_doubt(&self, menu: &Menu, proposals: &mut Proposals) -> Result<(), PlanError> {
        let proposed = proposals.candidates.iter().map(|candidate| candidate.action.text.clone());
        let mut proposed: Vec<String> =
            proposed.filter(|text| menu.openings.iter().any(|line| line.text == *text)).collect();
        let deeds = past(self.roles, self.history, self.state);
        let was_done = |kind: VerbClass, host: &String| {
            let mut objects = deeds.iter().flat_map(|deed| &deed.objects);
            objects.any(|(own, names)| *own == kind && names.contains(host))
        };
        let all = Names::of(self.roles);
        for sure in SURE.iter().filter_map(|least| self.as_sure_as(*least)) {
            let sparing = Menu::new(self.templates, self.state, &sure, self.history)?;
            let own = Names::of(&sure);
            let spares = |action: &str| {
                let mut in_doubt = self.roles.targets.iter().filter(|host| !sure.targets.contains(host));
                let kinds: Vec<VerbClass> =
                    VerbClass::of(action).into_iter().filter(|kind| takes_down(*kind)).collect();
                in_doubt.any(|host| kinds.iter().any(|kind| !was_done(*kind, host)))
            };
            proposed.retain(|asked| {
                let is_alike = |line: &&Opening| own.left_out_of(&line.text).eq(all.left_out_of(asked));
                let line = sparing.openings.iter().find(is_alike);
                let Some(line) = line.filter(|line| spares(asked) && line.text != *asked) else {
                    return true;
                };
                if self.fault(&line.text, &proposals.candidates).is_none() {
                    let Opening { text, explanation, .. } = line.clone();
                    proposals.add(Action { text, explanation }, String::new());
                }
                false
            });
        }
        Ok(())
    }

    /// The roles without the hosts that are compromised with less than this; nothing if that leaves none, or leaves all.
    fn as_sure_as(&self, least: f32) -> Option<Roles> {
        let is_sure = |host: &String| self.compromised.get(host).is_none_or(|chance| *chance >= least);
        let mut sure = self.roles.clone();
        sure.targets.retain(is_sure);
        sure.footholds.retain(is_sure);
        (!sure.targets.is_empty() && sure.targets.len() < self.roles.targets.len()).then_some(sure)
    }

    fn checks(&self) -> Checks<'_> {
        Checks { grounding: &self.scene.grounding, constraints: self.constraints }
    }

    /// Openings that a rule forbids. The model is never offered them, but whoever reads the plan should know why the
    /// obvious is not among the candidates.
    fn ruled_out(&self, menu: &Menu) -> Vec<RejectedCandidate> {
        let whole = menu.openings.iter().filter(|opening| !opening.continued);
        let fault = |opening: &Opening| {
            let reason = self.checks().rule_fault(self.state, &opening.text)?;
            let (text, explanation) = (opening.text.clone(), opening.explanation.clone());
            Some(RejectedCandidate { action: Action { text, explanation }, reason })
        };
        whole.filter_map(fault).chain(self.beyond_reach()).collect()
    }

    /// Ways to cut off who is attacked or attacks that the organisation cannot take, likewise.
    fn beyond_reach(&self) -> Vec<RejectedCandidate> {
        let roles = self.roles;
        if self.state.is_attack_contained || roles.capabilities.is_empty() {
            return Vec::new();
        }
        let isolated =
            roles.to_clean().into_iter().map(|host| (format!("Isolate {host} from the network"), host));
        let blocked = roles.attackers.iter().filter(|name| roles.attacks_from_outside(name));
        let blocked = blocked.map(|name| (format!("Block all traffic from {name}"), name.clone()));
        let locked = roles.stolen_accounts.iter();
        let locked = locked.map(|name| (format!("Disable the account {name}"), name.clone()));
        let all = isolated.chain(blocked).chain(locked);
        let cannot = all.filter(|(_, name)| !roles.can(VerbClass::Contain, name));
        let told = |(text, _)| {
            let reason = "What the organisation can do says that this cannot be done.".to_owned();
            RejectedCandidate { action: Action { text, explanation: String::new() }, reason }
        };
        cannot.map(told).collect()
    }

    /// The menu without what would be thrown away.
    fn left(&self, menu: &Menu, proposals: &Proposals) -> Menu {
        let texts = menu.openings.iter().map(|opening| opening.text.as_str());
        menu.without(texts.filter(|text| self.fault(text, &proposals.candidates).is_some()))
    }

    fn question(&self, menu: &Menu, proposals: &Proposals) -> Result<Question, PlanError> {
        let rejections = self.refusals.iter().map(|refusal| {
            let reason = if refusal.reason.is_empty() { "the operator rejected it" } else { &refusal.reason };
            format!("{} ({reason})", refusal.action)
        });
        let present = proposals.candidates.iter().map(|candidate| candidate.action.text.clone());
        let refused: Vec<String> = rejections.chain(present).collect();
        let situation = Situation {
            system: &self.scene.system,
            shared: self.shared,
            roles: self.roles,
            state: self.state,
            history: self.history,
        };
        let prompt = action_prompt(self.templates, situation, &refused)?;
        let thinking_tokens = self.options.thinking_tokens;
        Ok(Question {
            tenant: String::new(),
            prompt,
            format: AnswerFormat {
                thinking_tokens,
                json_schema: action_schema(menu, !menu.explains()),
                max_tokens: thinking_tokens + ANSWER_TOKENS,
                weigh_options: false,
            },
            sampling: Sampling { temperature: self.options.temperature, top_p: self.options.top_p, seed: 0 },
            purpose: Purpose::Decision,
        })
    }

    fn take(
        &self,
        answer: Result<Answer, ModelError>,
        menu: &Menu,
        proposals: &mut Proposals,
    ) -> Result<(), PlanError> {
        let nameless = || Action { text: String::new(), explanation: String::new() };
        let answer = match answer {
            Ok(answer) => answer,
            // One sequence can fail alone; without a model, or with a prompt that is too long, all will.
            Err(ModelError::Failed(reason)) => {
                let reason = format!("The model failed on it: {reason}.");
                proposals.rejected.push(RejectedCandidate { action: nameless(), reason });
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        proposals.usage += answer.usage;
        let ActionAnswer { action: text, explanation } = match parse_action(&answer) {
            Ok(told) => told,
            Err(error) => {
                let reason = format!("It cannot be used: {error}.");
                proposals.rejected.push(RejectedCandidate { action: nameless(), reason });
                return Ok(());
            }
        };
        let text = menu.in_order(&text);
        let explanation =
            if explanation.is_empty() { menu.explanation(&text).to_owned() } else { explanation };
        let action = Action { text, explanation };
        if let Some(reason) = self.fault(&action.text, &proposals.candidates) {
            proposals.rejected.push(RejectedCandidate { action, reason });
        } else {
            proposals.add(action, answer.thinking);
        }
        Ok(())
    }

    /// Why an action cannot be a candidate.
    fn fault(&self, action: &str, candidates: &[Candidate]) -> Option<String> {
        let text = normalise(action);
        if candidates.iter().any(|candidate| normalise(&candidate.action.text) == text) {
            return Some("It repeats another candidate of this step.".into());
        }
        if let Some(fault) =
            self.checks().fault(self.state, action).or_else(|| beyond_reach(action, self.roles))
        {
            return Some(fault);
        }
        if let Some(refusal) = self.refusals.iter().find(|refusal| normalise(&refusal.action) == text) {
            return Some(match refusal.reason.as_str() {
                "" => "The operator has rejected it.".into(),
                reason => format!("The operator has rejected it: {reason}"),
            });
        }
        let taken = self.taken.iter().find(|taken| normalise(&taken.action) == text)?;
        let lost =
            taken.gained().into_iter().any(|fact| !self.state.bits().get(fact).is_some_and(|holds| *holds));
        // What it gained was lost again: that is a reason to take it again.
        (!lost).then(|| match taken.gained().is_empty() {
            true if taken.carried_out == Some(false) => {
                format!("It could not be carried out in step {}.", taken.step + 1)
            }
            true => format!("It was taken in step {} and changed nothing.", taken.step + 1),
            false => format!("It was taken in step {} and what it achieved still holds.", taken.step + 1),
        })
    }
}
