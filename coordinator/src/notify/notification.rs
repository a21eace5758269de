//! What is told, and which states of an incident are told of.

use std::collections::BTreeMap;

use countermove_incident::printable_line;
use countermove_proto::time_text;
use countermove_proto::v1::{
    Action, Assessment, Assurance, Candidate, Decision, DecisionKind, Incident, IncidentStatus, Plan,
    PlanEnd, PlanStep,
};
use countermove_wire::document::{End, Priority};
use serde::{Deserialize, Serialize};

use crate::webhook::reversibility;

/// Characters of a text that are sent at most; receivers take a few thousand in all.
const LONGEST: usize = 1000;
/// Entries of a list that are sent at most.
const MOST: usize = 20;

/// A state of an incident that is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The chosen action of a step waits for somebody to approve or reject it.
    WaitsForApproval,
    /// An action was approved, by a person or by the incident's autonomy, and its outcome is waited for.
    ActionApproved,
    /// Planning ended: with recovery, with nobody suspected any more, or since it was cancelled, failed or ran out of steps or time.
    Ended,
    /// Planning ended since nothing in the evidence is in a known form.
    NotUnderstood,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::WaitsForApproval, Self::ActionApproved, Self::Ended, Self::NotUnderstood];

    /// Its name, in settings and in what is sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitsForApproval => "waits_for_approval",
            Self::ActionApproved => "action_approved",
            Self::Ended => "ended",
            Self::NotUnderstood => "not_understood",
        }
    }

    /// When it is sent, in one sentence.
    pub fn about(self) -> &'static str {
        match self {
            Self::WaitsForApproval => {
                "The chosen action of a step waits for somebody to approve or reject it."
            }
            Self::ActionApproved => {
                "An action was approved, by a person or by the incident's autonomy, and its outcome is waited for."
            }
            Self::Ended => {
                "Planning ended: with recovery, with nobody suspected any more, or since it was cancelled, failed, or ran out of steps or time."
            }
            Self::NotUnderstood => "Planning ended since nothing in the evidence is in a known form.",
        }
    }
}

/// A state that is told of, and the name of it that no other one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) event: Event,
    pub(super) id: String,
}

/// The state that an incident is in, if it is told of.
pub(super) fn stage(incident: &Incident) -> Option<Stage> {
    let of =
        |event: Event, rest: String| Stage { event, id: format!("{}/{}{rest}", incident.name, event.name()) };
    let of_step = |event| step(incident).map(|step| of(event, format!("/{}/{}", step.index, step.plan_hash)));
    match incident.status() {
        IncidentStatus::AwaitingApproval => of_step(Event::WaitsForApproval).map(|stage| {
            // With each approval of several it is another state: the others are told that one fewer is missing.
            match step(incident).map_or(0, given) {
                0 => stage,
                given => Stage { id: format!("{}/{given}", stage.id), ..stage },
            }
        }),
        IncidentStatus::AwaitingOutcome => of_step(Event::ActionApproved),
        IncidentStatus::Ended => match incident.plan.as_ref().map(Plan::end) {
            Some(PlanEnd::NotUnderstood) => Some(of(Event::NotUnderstood, String::new())),
            _ => Some(of(Event::Ended, String::new())),
        },
        IncidentStatus::Planning | IncidentStatus::Unspecified => None,
    }
}

fn step(incident: &Incident) -> Option<&PlanStep> {
    incident.plan.as_ref()?.steps.last()
}

/// How many people have approved the chosen action of a step that several have to approve.
fn given(step: &PlanStep) -> u32 {
    let given = step.approvals.iter().filter(|approval| approval.plan_hash == step.plan_hash).count();
    u32::try_from(given).unwrap_or(u32::MAX)
}

/// What is told of an incident: the JSON that a receiver without a template gets, and what a template can show. Every field is always
/// there; one that says nothing in this state is empty or null. Fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notification {
    /// Version of this form.
    pub version: u32,
    /// `waits_for_approval`, `action_approved`, `ended` or `not_understood`.
    pub event: &'static str,
    /// The same for every attempt to deliver it; also the `webhook-id`.
    pub id: String,
    /// When the incident came into this state, as RFC 3339 writes it.
    pub time: Option<String>,
    /// One line that says what is to do, or what happened.
    pub title: String,
    /// What was made of the evidence, in one sentence.
    pub summary: String,
    /// The incident's page in the console; null if nobody said where that is.
    pub link: Option<String>,
    /// `incidents/{incident}`.
    pub incident: String,
    /// On whose account it is planned.
    pub tenant: String,
    /// `urgent`, `normal` or `background`.
    pub priority: &'static str,
    /// What others know it by.
    pub labels: BTreeMap<String, String>,
    /// Its name in another system.
    pub external_id: String,
    /// The step, from 0, as the API counts; null once planning has ended.
    pub step: Option<u32>,
    /// Hash of the step, which an approval has to name.
    pub plan_hash: String,
    /// What to do.
    pub action: String,
    /// Why.
    pub explanation: String,
    /// Hosts and services that the action takes down while it lasts.
    pub takes_down: Vec<String>,
    /// `harmless`, `reversible`, `laborious` or `irreversible`.
    pub reversibility: &'static str,
    /// Why the choice of the action is in doubt.
    pub doubts: Vec<String>,
    /// Evidence that would decide.
    pub wanted_evidence: Vec<String>,
    /// How many different people have to approve the action.
    pub approvals_needed: u32,
    /// How many of them have not approved it yet: 0 once it is approved, and where nothing waits.
    pub approvals_missing: u32,
    /// Who approved; empty if the incident's autonomy did.
    pub approver: String,
    /// Whether no person approved.
    pub is_automatic: bool,
    /// Why planning ended, in a word: `recovered`, `cancelled` …; empty while it goes on.
    pub end: &'static str,
    /// The fault that ended planning, or what is missing for an action.
    pub error: String,
}

impl Notification {
    /// What is told of an incident in this state.
    pub(super) fn of(incident: &Incident, stage: &Stage, console: Option<&str>) -> Self {
        let is_over = matches!(stage.event, Event::Ended | Event::NotUnderstood);
        let step = step(incident).filter(|_| !is_over);
        let candidate =
            step.and_then(|step| step.candidates.iter().find(|candidate| candidate.index == step.chosen));
        let action = candidate.and_then(|candidate| candidate.action.clone()).unwrap_or_default();
        let assurance = step.and_then(|step| step.assurance.as_ref());
        let approval = incident.decisions.last().filter(|decision| {
            stage.event == Event::ActionApproved && decision.kind() == DecisionKind::Approved
        });
        let end = incident.plan.as_ref().and_then(|plan| End::of(plan.end())).map_or("", End::word);
        let needed = candidate.map_or(0, |candidate| candidate.approvers.max(1));
        let missing = match stage.event {
            Event::WaitsForApproval => needed.saturating_sub(step.map_or(0, given)),
            _ => 0,
        };
        let text = shown(&action.text);
        let title = match (stage.event, step.map(|step| u64::from(step.index) + 1)) {
            (Event::WaitsForApproval, number) => {
                let of = if needed > 1 { format!(" ({missing} of {needed} missing)") } else { String::new() };
                format!("Step {} waits for approval{of}: {text}", number.unwrap_or(1))
            }
            (Event::ActionApproved, number) => format!("Step {} was approved: {text}", number.unwrap_or(1)),
            (Event::Ended, _) => format!("Planning ended: {}", end.replace('_', " ")),
            (Event::NotUnderstood, _) => {
                "The evidence was not understood: nothing in it is in a known form".to_owned()
            }
        };
        Self {
            version: 1,
            event: stage.event.name(),
            id: stage.id.clone(),
            time: incident.update_time.and_then(time_text),
            title: shown(&title),
            summary: incident
                .assessment
                .as_ref()
                .map(|assessment| shown(&assessment.description))
                .unwrap_or_default(),
            link: console.map(|console| format!("{console}/#/{}", incident.name)),
            incident: incident.name.clone(),
            tenant: incident.tenant.clone(),
            priority: match Priority::from(incident.priority()) {
                Priority::Unspecified => Priority::Normal.word(),
                priority => priority.word(),
            },
            labels: incident.labels.iter().map(|(key, value)| (shown(key), shown(value))).collect(),
            external_id: shown(&incident.external_id),
            step: step.map(|step| step.index),
            plan_hash: step.map(|step| step.plan_hash.clone()).unwrap_or_default(),
            explanation: shown(&action.explanation),
            takes_down: candidate.map(|candidate| list(&candidate.takes_down)).unwrap_or_default(),
            reversibility: candidate.map_or("", |_| reversibility(&action.text)),
            action: text,
            doubts: assurance.map(|assurance| list(&assurance.doubts)).unwrap_or_default(),
            wanted_evidence: assurance.map(|assurance| list(&assurance.wanted_evidence)).unwrap_or_default(),
            approvals_needed: needed,
            approvals_missing: missing,
            approver: approval.map(|approval| shown(&approval.by)).unwrap_or_default(),
            is_automatic: approval.is_some_and(|approval| approval.is_automatic),
            end: if is_over { end } else { "" },
            error: shown(&incident.error),
        }
    }

    /// What would be told of an incident that was made up, to try templates with.
    pub(crate) fn sample(event: Event, console: Option<&str>) -> Self {
        let action = Action {
            text: "Isolate 10.0.2.13 from the network".to_owned(),
            explanation: "It talks to 203.0.113.9, which guessed its password.".to_owned(),
        };
        let candidate = Candidate {
            action: Some(action),
            takes_down: vec!["10.0.2.13".to_owned()],
            ..Candidate::default()
        };
        let step = PlanStep {
            candidates: vec![candidate],
            plan_hash: "0".repeat(64),
            assurance: Some(Assurance {
                doubts: vec!["Two candidates are as cheap.".to_owned()],
                wanted_evidence: vec!["The logins of 10.0.2.13 since yesterday.".to_owned()],
                ..Assurance::default()
            }),
            ..PlanStep::default()
        };
        let mut plan = Plan { steps: vec![step], ..Plan::default() };
        let (status, end) = match event {
            Event::WaitsForApproval => (IncidentStatus::AwaitingApproval, PlanEnd::Unspecified),
            Event::ActionApproved => (IncidentStatus::AwaitingOutcome, PlanEnd::Unspecified),
            Event::Ended => (IncidentStatus::Ended, PlanEnd::Recovered),
            Event::NotUnderstood => (IncidentStatus::Ended, PlanEnd::NotUnderstood),
        };
        plan.set_end(end);
        let mut approval = Decision { by: "ann".to_owned(), ..Decision::default() };
        approval.set_kind(DecisionKind::Approved);
        let mut incident = Incident {
            name: "incidents/00000000-0000-0000-0000-000000000000".to_owned(),
            plan: Some(plan),
            assessment: Some(Assessment {
                description: "Somebody guessed a password of 10.0.2.13 by SSH (a sample).".to_owned(),
                ..Assessment::default()
            }),
            tenant: "default".to_owned(),
            decisions: vec![approval],
            labels: [("team".to_owned(), "emea".to_owned())].into(),
            external_id: "SAMPLE-1".to_owned(),
            ..Incident::default()
        };
        incident.set_status(status);
        let stage = stage(&incident).unwrap_or_else(|| Stage { event, id: incident.name.clone() });
        Self::of(&incident, &stage, console)
    }
}

/// A text as it may be shown: one line of bounded length in which nothing acts.
fn shown(text: &str) -> String {
    let line = printable_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn list(texts: &[String]) -> Vec<String> {
    texts.iter().take(MOST).map(|text| shown(text)).collect()
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::Approval;

    use super::*;

    #[test]
    fn an_incident_has_one_name_for_each_state_that_is_told_of() {
        let mut incident = Incident { name: "incidents/x".to_owned(), ..Incident::default() };
        incident.set_status(IncidentStatus::Planning);
        assert_eq!(stage(&incident), None);
        let step = |hash: &str| PlanStep { index: 2, plan_hash: hash.to_owned(), ..PlanStep::default() };
        incident.plan = Some(Plan { steps: vec![step("ab")], ..Plan::default() });
        incident.set_status(IncidentStatus::AwaitingApproval);
        let waits = stage(&incident).unwrap();
        assert_eq!(
            (waits.event, waits.id.as_str()),
            (Event::WaitsForApproval, "incidents/x/waits_for_approval/2/ab")
        );
        incident.plan.as_mut().unwrap().steps = vec![step("cd")];
        assert_ne!(stage(&incident).unwrap(), waits, "a step that was decided anew waits anew");
        incident.set_status(IncidentStatus::AwaitingOutcome);
        assert_eq!(stage(&incident).unwrap().event, Event::ActionApproved);
        incident.set_status(IncidentStatus::Ended);
        assert_eq!(stage(&incident).unwrap().id, "incidents/x/ended");
        incident.plan.as_mut().unwrap().set_end(PlanEnd::NotUnderstood);
        assert_eq!(stage(&incident).unwrap().id, "incidents/x/not_understood");
    }

    #[test]
    fn what_takes_two_says_how_many_are_missing() {
        let candidate = Candidate { approvers: 2, ..Candidate::default() };
        let step =
            PlanStep { candidates: vec![candidate], plan_hash: "ab".to_owned(), ..PlanStep::default() };
        let mut incident = Incident {
            name: "incidents/x".to_owned(),
            plan: Some(Plan { steps: vec![step], ..Plan::default() }),
            ..Incident::default()
        };
        incident.set_status(IncidentStatus::AwaitingApproval);
        let told = |incident: &Incident| {
            let stage = stage(incident).unwrap();
            let told = Notification::of(incident, &stage, None);
            (told.title, told.approvals_needed, told.approvals_missing, stage.id)
        };
        let (title, needed, missing, first) = told(&incident);
        assert_eq!((title.as_str(), needed, missing), ("Step 1 waits for approval (2 of 2 missing):", 2, 2));
        let approvals = &mut incident.plan.as_mut().unwrap().steps[0].approvals;
        approvals.push(Approval { plan_hash: "cd".to_owned(), ..Approval::default() });
        assert_eq!(told(&incident), (title, 2, 2, first.clone()), "one of another candidate is none of this");
        let approvals = &mut incident.plan.as_mut().unwrap().steps[0].approvals;
        approvals.push(Approval { plan_hash: "ab".to_owned(), ..Approval::default() });
        let (title, needed, missing, second) = told(&incident);
        assert_eq!((title.as_str(), needed, missing), ("Step 1 waits for approval (1 of 2 missing):", 2, 1));
        assert_ne!(first, second, "the others are told anew");
        incident.set_status(IncidentStatus::AwaitingOutcome);
        assert_eq!(told(&incident).2, 0);
    }

    #[test]
    fn samples_say_what_each_event_is_about() {
        for event in Event::ALL {
            let told = Notification::sample(event, Some("https://soc.example"));
            assert_eq!(told.event, event.name());
            let expected = "https://soc.example/#/incidents/00000000-0000-0000-0000-000000000000";
            assert_eq!(told.link.as_deref(), Some(expected));
            let of_step = matches!(event, Event::WaitsForApproval | Event::ActionApproved);
            assert_eq!(
                (told.step.is_some(), !told.takes_down.is_empty(), told.end.is_empty()),
                (of_step, of_step, of_step)
            );
            assert_eq!(told.approver.is_empty(), event != Event::ActionApproved);
            assert!(!told.title.is_empty() && !told.summary.is_empty());
        }
    }

    #[test]
    fn what_acts_in_a_text_does_not_act_and_what_is_long_is_cut() {
        assert_eq!(shown("a\u{202e}b\n c\u{7}"), "a\\u{202e}b c\\u{7}");
        assert_eq!(shown(&"é".repeat(5000)).chars().count(), LONGEST + 1);
    }
}
