//! Puts prompts together: context first, then what perception concluded, then the task's instruction, then the part
//! that moves. So all questions of an incident share the context, and all rollouts share all but the moving part.

use countermove_incident::{Entities, RecoveryState};
use serde::Serialize;

use crate::assessment::Assessment;
use crate::language_model::Prompt;
use crate::roles::Roles;
use crate::scene::Scene;
use crate::templates::{TemplateError, TemplateName, Templates, fenced_line};

/// The prompt of perception.
pub(crate) fn incident_prompt(templates: &Templates, scene: &Scene) -> Result<Prompt, TemplateError> {
    let instruction = templates.render(TemplateName::Incident, ())?;
    Ok(Prompt { system: scene.system.clone(), segments: vec![scene.context.clone(), instruction] })
}

/// The segments that all questions after perception share.
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
    let lines = |names: &[String]| names.iter().map(|name| fenced_line(name)).collect();
    let values = Values {
        description: fenced_line(&assessment.description),
        attackers: lines(&assessment.entities.attackers),
        systems: lines(&assessment.entities.systems),
        targets: lines(&assessment.entities.targets),
        tactics: assessment
            .tactics
            .iter()
            .map(|belief| Belief {
                tactic: belief.tactic.name(),
                techniques: belief.techniques.iter().map(|technique| fenced_line(&technique.name)).collect(),
            })
            .collect(),
    };
    Ok(vec![scene.context.clone(), templates.render(TemplateName::Assessment, values)?])
}

/// The prompt for the next action. `refused` are sentences about what must not be proposed.
pub(crate) fn action_prompt(
    templates: &Templates,
    system: &str,
    shared: &[String],
    state: RecoveryState,
    history: &[String],
    refused: &[String],
) -> Result<Prompt, TemplateError> {
    #[derive(Serialize)]
    struct Values {
        state: RecoveryState,
        achieved: Vec<&'static str>,
        missing: Vec<&'static str>,
        history: Vec<String>,
        refused: Vec<String>,
    }
    let lines = |lines: &[String]| lines.iter().map(|line| fenced_line(line)).collect();
    let values = Values {
        state,
        achieved: state.achieved_labels(),
        missing: state.open_labels(),
        history: lines(history),
        refused: lines(refused),
    };
    let turn = templates.render(TemplateName::ActionTurn, values)?;
    Ok(prompt(system, shared, templates.render(TemplateName::Action, ())?, turn))
}

/// The prompt for the state after an action. `open` are the facts that the action may bring about.
pub(crate) fn state_prompt(
    templates: &Templates,
    system: &str,
    shared: &[String],
    state: RecoveryState,
    action: &str,
    open: RecoveryState,
    roles: &Roles,
) -> Result<Prompt, TemplateError> {
    #[derive(Serialize)]
    struct Values {
        state: RecoveryState,
        achieved: Vec<&'static str>,
        missing: Vec<&'static str>,
        open: Vec<&'static str>,
        action: String,
        roles: Vec<String>,
    }
    let values = Values {
        state,
        achieved: state.achieved_labels(),
        missing: state.open_labels(),
        open: open.achieved_labels(),
        action: fenced_line(action),
        roles: role_notes(action, roles),
    };
    let turn = templates.render(TemplateName::StateTurn, values)?;
    Ok(prompt(system, shared, templates.render(TemplateName::State, ())?, turn))
}

/// An action that was taken, as later prompts tell it: with the facts that it brought about.
pub(crate) fn history_line(action: &str, before: RecoveryState, after: RecoveryState) -> String {
    let gained: Vec<&str> =
        before.gained(after).into_iter().filter_map(|i| RecoveryState::LABELS.get(i).copied()).collect();
    if gained.is_empty() {
        format!("{action}{FUTILE}")
    } else {
        format!("{action} (then: {})", gained.join(", "))
    }
}

/// Actions of a history that changed nothing.
pub(crate) fn futile(history: &[String]) -> impl Iterator<Item = &str> {
    history.iter().filter_map(|line| line.strip_suffix(FUTILE))
}

/// Ends the line of an action that changed nothing.
const FUTILE: &str = " (it changed nothing)";

fn prompt(system: &str, shared: &[String], instruction: String, turn: String) -> Prompt {
    let mut segments = shared.to_vec();
    segments.extend([instruction, turn]);
    Prompt { system: system.to_owned(), segments }
}

/// Which role each entity plays that the action names, so that the model need not compare addresses.
fn role_notes(action: &str, roles: &Roles) -> Vec<String> {
    let mut notes = Vec::new();
    for entity in Entities::find(action).iter() {
        let is_in = |names: &[String]| names.contains(&entity.value);
        let role = if is_in(&roles.attackers) {
            "the attacker"
        } else if is_in(&roles.targets) {
            "an attacked host"
        } else if is_in(&roles.systems) {
            "not attacked"
        } else {
            continue;
        };
        notes.push(fenced_line(&format!("{} is {role}.", entity.value)));
    }
    notes
}
