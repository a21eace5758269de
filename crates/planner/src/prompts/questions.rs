//! Puts prompts together: what the templates show of the incident as a whole, then the task's instruction, then the part
//! that moves.
//!
//! The built-in templates show nothing of the incident as a whole. So the instruction comes first and is cached over all
//! incidents, and the moving part says in a few words what the question is about. Templates that show the whole context
//! have it first, and all questions of an incident share it.

use countermove_incident::{AlertKind, RecoveryState, Tactic};
use serde::Serialize;

use crate::evidence::assessment::Assessment;
use crate::evidence::groups::GroupWords;
use crate::evidence::roles::Roles;
use crate::evidence::scene::Scene;
use crate::language_model::Prompt;
use crate::prompts::coverage::Coverage;
use crate::templates::{TemplateError, TemplateName, Templates};
use crate::words::fenced_line;
use crate::words::futile;

/// Most actions that changed nothing which a prompt recalls: the latest.
const MAX_FUTILE: usize = 2;

/// A record that says nothing.
const NOTHING: &str = "Alert: N/A";

/// The prompt about one group of the log.
pub(crate) fn incident_prompt(
    templates: &Templates,
    scene: &Scene,
    group: &GroupWords,
) -> Result<Prompt, TemplateError> {
    let instruction = templates.render(TemplateName::Incident, ())?;
    let turn = templates.render(TemplateName::IncidentTurn, group)?;
    Ok(prompt(&scene.system, std::slice::from_ref(&scene.context), instruction, turn))
}

/// The same question about a record that says nothing: what a model answers to it, it leans to whatever it is asked.
///
/// # Errors
/// If the template cannot be rendered.
pub fn about_nothing(templates: &Templates, question: &Prompt) -> Result<Prompt, TemplateError> {
    let nothing = GroupWords { message: NOTHING.to_owned(), ..GroupWords::default() };
    let mut segments = question.segments.clone();
    // The record is what a question about one ends with.
    segments.pop();
    segments.push(templates.render(TemplateName::IncidentTurn, &nothing)?);
    Ok(Prompt { system: question.system.clone(), segments })
}

/// The segments that all questions after perception share; none if the templates show nothing of the whole.
pub(crate) fn shared_segments(
    templates: &Templates,
    scene: &Scene,
    assessment: &Assessment,
) -> Result<Vec<String>, TemplateError> {
    #[derive(Serialize)]
    struct Belief {
        tactic: &'static str,
        techniques: Vec<String>,
    }
    #[derive(Serialize)]
    struct Values {
        description: String,
        attackers: Vec<String>,
        systems: Vec<String>,
        targets: Vec<String>,
        tactics: Vec<Belief>,
    }
    let values = Values {
        description: fenced_line(&assessment.description),
        attackers: lines(&assessment.entities.attackers),
        systems: lines(&assessment.entities.systems),
        targets: lines(&assessment.entities.to_clean()),
        tactics: assessment
            .tactics
            .iter()
            .map(|belief| Belief {
                tactic: belief.tactic.name(),
                techniques: belief.techniques.iter().map(|technique| fenced_line(&technique.name)).collect(),
            })
            .collect(),
    };
    let mut shared = vec![scene.context.clone(), templates.render(TemplateName::Assessment, values)?];
    shared.retain(|segment| !segment.is_empty());
    Ok(shared)
}

/// What the prompts about actions and states need of an incident.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// Instruction that stands before everything else.
    pub(crate) system: &'a str,
    /// Leading segments; see [`shared_segments`].
    pub(crate) shared: &'a [String],
    pub(crate) roles: &'a Roles,
    pub(crate) state: RecoveryState,
    /// Actions taken so far, as [`history_line`](crate::words::history_line) tells them.
    pub(crate) history: &'a [String],
}

/// The prompt for the next action. `refused` are sentences about what must not be proposed.
pub(crate) fn action_prompt(
    templates: &Templates,
    situation: Situation<'_>,
    refused: &[String],
) -> Result<Prompt, TemplateError> {
    #[derive(Serialize)]
    struct Values {
        state: RecoveryState,
        achieved: Vec<&'static str>,
        missing: Vec<&'static str>,
        attackers: Vec<String>,
        targets: Vec<String>,
        accounts: Vec<String>,
        kept: Vec<String>,
        history: Vec<String>,
        futile: Vec<String>,
        refused: Vec<String>,
    }
    let Situation { system, shared, roles, state, history } = situation;
    let mut accounts = lines(&roles.stolen_accounts);
    accounts.extend(lines(&roles.planted_accounts));
    let hosts = roles.to_clean();
    let kept = roles.kept.iter().filter(|host| hosts.contains(host));
    let without_effect: Vec<&str> = futile(history).collect();
    let recent = without_effect.len().saturating_sub(MAX_FUTILE);
    let values = Values {
        state,
        achieved: state.achieved_labels(),
        missing: state.open_labels(),
        attackers: lines(&roles.attackers),
        targets: lines(&hosts),
        accounts,
        kept: kept.map(|host| fenced_line(host)).collect(),
        history: lines(history),
        futile: without_effect.iter().skip(recent).map(|line| fenced_line(line)).collect(),
        refused: lines(refused),
    };
    let turn = templates.render(TemplateName::ActionTurn, values)?;
    Ok(prompt(system, shared, templates.render(TemplateName::Action, ())?, turn))
}

/// The prompt for the state after an action. `open` are the facts that the action brings about if it works. The history is no part of
/// it: what was done before is counted in `open`.
pub(crate) fn state_prompt(
    templates: &Templates,
    situation: Situation<'_>,
    action: &str,
    open: RecoveryState,
) -> Result<Prompt, TemplateError> {
    #[derive(Serialize)]
    struct Values {
        state: RecoveryState,
        achieved: Vec<&'static str>,
        missing: Vec<&'static str>,
        open: Vec<&'static str>,
        action: String,
        notes: Vec<String>,
    }
    let Situation { system, shared, roles, state, .. } = situation;
    let values = Values {
        state,
        achieved: state.achieved_labels(),
        missing: state.open_labels(),
        open: open.achieved_labels(),
        action: fenced_line(action),
        notes: lines(&Coverage::of(roles, &[]).notes_if_done(action, open)),
    };
    let turn = templates.render(TemplateName::StateTurn, values)?;
    Ok(prompt(system, shared, templates.render(TemplateName::State, ())?, turn))
}

/// The prompt for the alerts that a tactic raises next. `seen` are the kinds that it has raised so far.
pub(crate) fn alerts_prompt(
    templates: &Templates,
    system: &str,
    shared: &[String],
    tactic: Tactic,
    seen: &[AlertKind],
) -> Result<Prompt, TemplateError> {
    #[derive(Serialize)]
    struct Values {
        tactic: &'static str,
        seen: Vec<String>,
    }
    let seen = seen.iter().map(|kind| fenced_line(&kind.to_string())).collect();
    let turn = templates.render(TemplateName::AlertsTurn, Values { tactic: tactic.name(), seen })?;
    Ok(prompt(system, shared, templates.render(TemplateName::Alerts, ())?, turn))
}

fn lines(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| fenced_line(line)).collect()
}

fn prompt(system: &str, shared: &[String], instruction: String, turn: String) -> Prompt {
    let mut segments = shared.to_vec();
    segments.extend([instruction, turn]);
    segments.retain(|segment| !segment.is_empty());
    Prompt { system: system.to_owned(), segments }
}
