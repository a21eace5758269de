//! The planner's prompts and answers without a model: what a training set is made of.
//!
//! Invariant: a prompt from here is, byte for byte, the one that the planner asks in the same situation, and an answer
//! is written as the engine's grammar writes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use countermove_incident::{AlertKind, RecoveryState, Tactic, Timestamp};
use serde_json::{Value, json};

use crate::evidence::assessment::Assessment;
use crate::evidence::conclusion::{Verdict, conclude};
use crate::evidence::judgement::{WeighedEvidence, evidence, judge, wording};
use crate::evidence::reading::Reading;
use crate::evidence::scene::{Evidence, Scene};
use crate::evidence::verdicts::assess;
use crate::language_model::Prompt;
use crate::prompts::coverage::Coverage;
use crate::prompts::menu::Menu;
use crate::prompts::past::objects;
use crate::prompts::questions::{
    Situation, action_prompt, alerts_prompt, incident_prompt, shared_segments, state_prompt,
};
use crate::prompts::tasks::{alerts_answer, incident_answer, state_answer};
use crate::templates::{TemplateError, Templates};
use crate::words::{futile, history_line};

/// A question and the answer that it should get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The question.
    pub prompt: Prompt,
    /// The JSON value of the answer, with `, ` and `: ` as separators.
    pub answer: String,
}

/// What perception makes of one group of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupJudgement {
    /// The folded line.
    pub text: String,
    /// Whether it holds alerts.
    pub is_alert: bool,
    /// Whether it can make an incident by itself.
    pub is_serious: bool,
    /// Class as the log names it; empty if it names none.
    pub classification: String,
    /// Tactics that its records state themselves.
    pub states: Vec<Tactic>,
    /// How likely it is part of an attack, from 0 to 1.
    pub attack: f32,
    /// What spoke for that and against it, as a plan tells it.
    pub because: String,
    /// All pieces of evidence that are weighed.
    pub evidence: Vec<WeighedEvidence>,
    /// Addresses and names outside that it tells of.
    pub outside: Vec<String>,
    /// Hosts of the system that act in it.
    pub from_inside: Vec<String>,
    /// Hosts of the system that something is done to.
    pub aimed_at: Vec<String>,
    /// When the first of its records came; none where they do not say.
    pub first: Option<Timestamp>,
}

/// An incident as the planner sees it.
#[derive(Clone, Debug)]
pub struct Rendering {
    templates: Arc<Templates>,
    scene: Scene,
}

/// An incident after perception, in some situation of the response.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    rendering: &'a Rendering,
    assessment: &'a Assessment,
    shared: Vec<String>,
}

impl Rendering {
    /// Makes the evidence ready, with a context of about `context_tokens` tokens.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub fn new(
        templates: Arc<Templates>,
        evidence: &Evidence,
        context_tokens: usize,
    ) -> Result<Rendering, TemplateError> {
        let scene = Scene::new(evidence, &templates, context_tokens)?;
        Ok(Rendering { templates, scene })
    }

    /// The groups that perception asks about, in order: the positions in the log of each group's records.
    pub fn groups(&self) -> impl Iterator<Item = &[usize]> {
        self.scene.groups.iter().map(|group| group.records.as_slice())
    }

    /// The question about a group, and the answer that it shows this tactic, or everyday traffic. None if there is no
    /// such group.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub fn incident(&self, group: usize, shown: Option<Tactic>) -> Result<Option<Rendered>, TemplateError> {
        let Some(group) = self.scene.groups.get(group) else { return Ok(None) };
        let prompt = incident_prompt(&self.templates, &self.scene, &group.words)?;
        Ok(Some(Rendered { prompt, answer: written(&incident_answer(shown)) }))
    }

    /// What perception concludes from verdicts on the groups, in their order.
    pub fn assess(&self, verdicts: &[Option<Tactic>]) -> Assessment {
        let verdicts: Vec<Verdict> = verdicts.iter().copied().map(Verdict::sure).collect();
        conclude(&self.scene, &verdicts)
    }

    /// What perception makes of the groups, in their order, once the model has read them; none for a group that it could not read.
    pub fn perceive(&self, readings: &[Option<Reading>]) -> Assessment {
        assess(&self.scene, readings)
    }

    /// How a group is judged when the model reads this in it; none if there is no such group.
    pub fn judge(&self, group: usize, reading: &Reading) -> Option<GroupJudgement> {
        let group = self.scene.groups.get(group)?;
        let Scene { hosts, lines, .. } = &self.scene;
        let words = wording(group);
        let judgement = judge(group, reading, &words, hosts, lines);
        let listed = |names: &BTreeSet<String>| names.iter().cloned().collect();
        Some(GroupJudgement {
            text: self.scene.digest.group(group.number).map_or_else(String::new, |group| group.text.clone()),
            is_alert: group.is_alert,
            is_serious: group.is_serious(),
            classification: group.words.classification.clone(),
            states: group.tactics.iter().copied().collect(),
            attack: judgement.attack,
            because: judgement.because(),
            evidence: evidence(group, reading, &words, hosts, lines),
            outside: listed(&group.parts.outside),
            from_inside: listed(&group.parts.from_inside),
            aimed_at: listed(&group.parts.aimed_at),
            first: group.first,
        })
    }

    /// The incident after perception.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub fn case<'a>(&'a self, assessment: &'a Assessment) -> Result<Case<'a>, TemplateError> {
        let shared = shared_segments(&self.templates, &self.scene, assessment)?;
        Ok(Case { rendering: self, assessment, shared })
    }
}

impl Case<'_> {
    /// The actions that the menu allows, without those that the history says changed nothing. None if actions are free
    /// text.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub fn openings(&self, state: RecoveryState, history: &[String]) -> Result<Vec<String>, TemplateError> {
        let menu = Menu::new(&self.rendering.templates, state, &self.assessment.entities, history)?;
        let menu = menu.without_choices();
        let fresh = menu.without(futile(history));
        Ok(fresh.openings.into_iter().map(|opening| opening.text).collect())
    }

    /// The question for the next action, and the answer that it is this one.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub fn action(
        &self,
        state: RecoveryState,
        history: &[String],
        action: &str,
    ) -> Result<Rendered, TemplateError> {
        let prompt = action_prompt(&self.rendering.templates, self.situation(state, history), &[])?;
        Ok(Rendered { prompt, answer: written(&json!({"Action": action})) })
    }

    /// The question for the state after an action, and the answer that it is `after`. None if the planner would not
    /// ask, or could not be answered so: the action may bring about nothing, or `after` has a fact that the action cannot have
    /// brought about by its verbs and by what is left to do.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub fn state(
        &self,
        state: RecoveryState,
        history: &[String],
        action: &str,
        after: RecoveryState,
    ) -> Result<Option<Rendered>, TemplateError> {
        let coverage = Coverage::after(&self.assessment.entities, history, state);
        let objects = objects(action, &self.assessment.entities);
        let open = coverage.within_reach(&objects, state, None);
        let possible = state.union(open);
        if open.achieved() == 0 || possible.union(after) != possible {
            return Ok(None);
        }
        let situation = self.situation(state, history);
        let prompt = state_prompt(&self.rendering.templates, situation, action, open)?;
        Ok(Some(Rendered { prompt, answer: written(&state_answer(open, after)) }))
    }

    /// The question for the alerts that a tactic raises next, and the answer that they are `expected`.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub fn alerts(
        &self,
        tactic: Tactic,
        seen: &[AlertKind],
        expected: &[AlertKind],
    ) -> Result<Rendered, TemplateError> {
        let Rendering { templates, scene } = self.rendering;
        let prompt = alerts_prompt(templates, &scene.system, &self.shared, tactic, seen)?;
        Ok(Rendered { prompt, answer: written(&alerts_answer(expected)) })
    }

    /// An action that was taken, as a history tells it.
    pub fn told(action: &str, before: RecoveryState, after: RecoveryState) -> String {
        history_line(action, before, after)
    }

    fn situation<'b>(&'b self, state: RecoveryState, history: &'b [String]) -> Situation<'b> {
        Situation {
            system: &self.rendering.scene.system,
            shared: &self.shared,
            roles: &self.assessment.entities,
            state,
            history,
        }
    }
}

/// A JSON value as the engine's grammar writes it: `, ` and `: ` as separators, no other white space.
fn written(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), written(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(values) => {
            format!("[{}]", values.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::{AlertLog, approximate_tokens};

    use super::*;
    use crate::language_model::{Answer, Question, TokenCounter};
    use crate::options::PlanOptions;
    use crate::prompts::tasks::{parse_state, read_incident};
    use crate::session::perception::perceive;
    use crate::testing::ScriptedModel;

    const SYSTEM: &str = "A gateway 10.0.2.10 protects the servers.\nweb01 at 10.0.2.13 (Debian 12) runs Apache and \
                          serves the customers' portal.\ndb01 at 10.0.2.14 runs PostgreSQL.\nweb02 at 10.0.2.15 runs \
                          Apache.";

    fn evidence() -> Evidence {
        let alert = |message: &str, priority: u8, source: &str, destination: &str| {
            format!(
                "06/10-13:10:51.405000 [**] [1:1:2] {message} [**] [Classification: Attempted Administrator Privilege \
                 Gain] [Priority: {priority}] {{TCP}} {source}:4711 -> {destination}:80\n"
            )
        };
        let log = [
            alert(
                "ET SCAN Possible WordPress xmlrpc.php wp.getUsersBlogs Flowbit Set",
                2,
                "203.0.113.7",
                "10.0.2.13",
            ),
            alert(
                "ET WEB_SERVER Possible CVE-2014-6271 Attempt in HTTP Headers",
                1,
                "203.0.113.7",
                "10.0.2.13",
            ),
            alert("ET EXPLOIT Possible ETERNALBLUE MS17-010 Echo Response", 1, "10.0.2.13", "10.0.2.14"),
            alert("ET EXPLOIT Possible ETERNALBLUE MS17-010 Echo Response", 1, "10.0.2.13", "10.0.2.15"),
            alert("ET MALWARE Observed Backdoor Beacon to a Known Server", 1, "10.0.2.14", "198.51.100.3"),
        ];
        Evidence {
            system_description: SYSTEM.into(),
            log: AlertLog::parse(log.concat().as_bytes()).unwrap(),
            constraints: Vec::new(),
            notes: Vec::new(),
            baseline: None,
        }
    }

    fn rendering() -> Rendering {
        Rendering::new(Arc::new(Templates::load(None).unwrap()), &evidence(), 1600).unwrap()
    }

    fn verdicts() -> Vec<Option<Tactic>> {
        use Tactic::{CommandAndControl, InitialAccess, LateralMovement, Reconnaissance};
        [Reconnaissance, InitialAccess, LateralMovement, LateralMovement, CommandAndControl]
            .map(Some)
            .to_vec()
    }

    #[tokio::test]
    async fn perception_asks_what_is_rendered() {
        let rendering = rendering();
        let model = ScriptedModel::new(|_: &Question| Ok(r#"{"Shows": "Execution"}"#.into()));
        let options = PlanOptions::default();
        perceive(&model, &rendering.templates, &rendering.scene, &options, &TokenCounter::default())
            .await
            .unwrap();
        let asked = model.asked();
        assert_eq!(asked.len(), rendering.groups().count());
        for (at, question) in asked.iter().enumerate() {
            let rendered = rendering.incident(at, Some(Tactic::Execution)).unwrap().unwrap();
            assert_eq!(rendered.prompt, question.prompt);
            assert_eq!(rendered.answer, r#"{"Shows": "Execution"}"#);
        }
        assert_eq!(rendering.incident(99, None).unwrap(), None);
    }

    /// Tokens of a prompt beyond the system text and the instruction, which are cached.
    fn moving(rendered: &Rendered) -> usize {
        rendered.prompt.segments.last().map_or(0, |turn| approximate_tokens(turn))
    }

    #[test]
    fn prompts_are_short() {
        let rendering = rendering();
        let assessment = rendering.assess(&verdicts());
        let case = rendering.case(&assessment).unwrap();
        let none = RecoveryState::default();
        let first = case.openings(none, &[]).unwrap().remove(0);
        let history = vec![Case::told("Isolate 10.0.2.13 from the network", none, none)];
        let kinds = [AlertKind::new("trojan-activity", None), AlertKind::new("misc-attack", None)];
        let mut questions = vec![
            ("action", case.action(none, &history, &first).unwrap()),
            ("state", case.state(none, &history, &first, none).unwrap().unwrap()),
            ("alerts", case.alerts(Tactic::Exfiltration, &kinds, &kinds).unwrap()),
        ];
        for group in 0..verdicts().len() {
            questions.push(("incident", rendering.incident(group, None).unwrap().unwrap()));
        }
        for (task, rendered) in &questions {
            let fixed: usize = rendered.prompt.segments.first().map_or(0, |text| approximate_tokens(text));
            println!("{task}: {} moving tokens behind {fixed} fixed ones", moving(rendered));
            assert_eq!(rendered.prompt.segments.len(), 2);
            assert!(moving(rendered) <= 250, "{task}: {}", rendered.prompt.segments[1]);
            assert!(fixed <= 400, "{task}: {fixed} tokens of instruction");
        }
    }

    #[test]
    fn answers_are_read_back() {
        let rendering = rendering();
        let assessment = rendering.assess(&verdicts());
        let case = rendering.case(&assessment).unwrap();
        let answer = |json: &str| Answer { json: json.to_owned(), complete: true, ..Answer::default() };
        let shown = rendering.incident(0, None).unwrap().unwrap();
        assert_eq!(read_incident(&answer(&shown.answer)), Ok(Reading::sure(None)));
        let none = RecoveryState::default();
        let contained = RecoveryState { is_attack_contained: true, ..none };
        let action = &case.openings(none, &[]).unwrap()[0];
        let state = case.state(none, &[], action, contained).unwrap().unwrap();
        assert_eq!(state.answer, r#"{"is_attack_contained": true}"#);
        assert_eq!(parse_state(&answer(&state.answer), contained), Ok(contained));
        // What the planner would not ask, or the answer could not say.
        assert_eq!(case.state(contained, &[], action, contained).unwrap(), None);
        let hardened = RecoveryState { is_hardened: true, ..none };
        assert_eq!(case.state(none, &[], action, hardened).unwrap(), None);
    }

    #[test]
    fn json_is_written_as_the_grammar_writes_it() {
        let value = json!({"a": ["x\n", 1], "b": {"c": true, "d": null}, "e": []});
        assert_eq!(written(&value), r#"{"a": ["x\n", 1], "b": {"c": true, "d": null}, "e": []}"#);
    }
}
