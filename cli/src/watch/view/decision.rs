//! The decision that waits, and the candidates that it was chosen from.

use countermove_proto::v1::{Incident, IncidentStatus, PlanStep, RecoveryState};
use countermove_wire::document::{FACTS, Order, Reversibility, Step};
use countermove_wire::recovery_state;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::paint::{Lines, Paint, behind, title};
use super::queue::named;
use super::{may_not, seconds_between};
use crate::decisions::{HASH_DIGITS, chosen};
use crate::render::{approvals, clear, cost, cut, one_line, time, width};
use crate::watch::candidates::{Axis, rollouts, tied};
use crate::watch::queue::since;
use crate::watch::rights::Deed;
use crate::watch::state::State;

/// Columns of the words before what is told of an action.
const LEAD: usize = 13;

/// A step: what is to be done, whom it concerns, and what is in doubt.
pub(super) fn lines(state: &State, incident: &Incident, step: &PlanStep, columns: usize) -> Lines {
    let paint = Paint { has_colour: state.has_colour };
    let number = u64::from(step.index) + 1;
    let document = Step::from(step.clone());
    let age = time(seconds_between(since(incident), state.now.wall));
    let how = match incident.status() {
        IncidentStatus::AwaitingApproval => match approvals(&document) {
            Some(approvals) => format!("waits for a decision since {age}, {approvals}"),
            None => format!("waits for a decision since {age}"),
        },
        IncidentStatus::AwaitingOutcome => "is approved: carry it out, then say which facts hold".to_owned(),
        IncidentStatus::Planning | IncidentStatus::Ended | IncidentStatus::Unspecified => {
            "was decided".to_owned()
        }
    };
    let mut lines = vec![title(&format!("STEP {number}"), &how, columns, paint)];
    if incident.status() == IncidentStatus::AwaitingOutcome {
        let id = one_line(incident.name.trim_start_matches("incidents/"));
        // First, so that it is on the screen however much is told below, and on a line of its own, since people copy it.
        lines.push(Line::raw(format!("countermove incidents report-outcome {id} FACTS")));
    }
    lines.extend(about(incident, step, columns, paint));
    let told = |name: &str, text: &str| told(name, text, columns, Style::new());
    lines.extend(told("chosen", &document.why()));
    let belief = document.belief.as_ref();
    if let Some(unseen) = belief.and_then(|belief| belief.hindered(&document.state_before)) {
        lines.extend(told("unseen", &unseen));
    }
    if incident.status() == IncidentStatus::AwaitingApproval {
        let hash = step.plan_hash.get(..HASH_DIGITS).unwrap_or(&step.plan_hash);
        lines.extend(told("hash", hash));
        let mut keys = Vec::new();
        if state.may(Deed::Approve, incident) {
            keys.push("a approves it");
        }
        if state.may(Deed::Act, incident) {
            keys.push("r rejects it");
        }
        let text = match (&state.caller, keys.is_empty()) {
            (None, _) => "The coordinator has not said yet what you may do.".to_owned(),
            (Some(_), true) => may_not(Deed::Approve, incident),
            (Some(_), false) => keys.join(", "),
        };
        lines.extend(told("keys", &text));
    }
    lines
}

/// What is told of an action wherever it is decided about: on the page, and in the dialog.
pub(super) fn about(incident: &Incident, step: &PlanStep, columns: usize, paint: Paint) -> Lines {
    let candidate = chosen(step);
    let action = candidate.action.clone().unwrap_or_default();
    let told = |name: &str, text: &str, style: Style| told(name, text, columns, style);
    let entities = incident.assessment.as_ref().and_then(|assessment| assessment.entities.as_ref());
    let mut lines = behind("  ", &action.text, columns, paint.heading());
    if !action.explanation.trim().is_empty() {
        lines.extend(behind("  ", &action.explanation, columns, Style::new()));
    }
    let (down, style) = match candidate.takes_down.as_slice() {
        // Records of earlier releases do not tell whom an action takes down.
        _ if candidate.plan_hash.is_empty() => ("not told".to_owned(), Style::new()),
        [] => ("nobody".to_owned(), paint.good()),
        hosts => {
            let hosts: Vec<String> = hosts.iter().map(|host| named(host, entities)).collect();
            (hosts.join(", "), paint.warning())
        }
    };
    lines.extend(told("takes down", &down, style));
    if !candidate.awaits_search.is_empty() {
        let hosts: Vec<String> = candidate.awaits_search.iter().map(|host| named(host, entities)).collect();
        let text = format!("a search shows that the attacker got in: {}", hosts.join(", "));
        lines.extend(told("only if", &text, paint.warning()));
    }
    let assurance = step.assurance.as_ref();
    let undo = match candidate.reversibility() {
        countermove_proto::v1::Reversibility::Unspecified => {
            assurance.map(|assurance| assurance.reversibility()).unwrap_or_default()
        }
        known => known,
    };
    lines.extend(told("undo", Reversibility::from(undo).taken_back(), Style::new()));
    for order in candidate.orders.iter().cloned().map(Order::from) {
        lines.extend(told("how", &order.told(), Style::new()));
    }
    lines.extend(told("brings", &brings(step.state_before, candidate.predicted_state), Style::new()));
    match assurance {
        None => {}
        Some(assurance) if assurance.is_clear => {
            lines.extend(told("trust", &clear(assurance.chance), paint.good()));
        }
        Some(assurance) => {
            for doubt in &assurance.doubts {
                lines.extend(told("doubt", doubt, paint.warning()));
            }
            for wanted in &assurance.wanted_evidence {
                lines.extend(told("would decide", wanted, Style::new()));
            }
        }
    }
    lines
}

/// What is told under a name.
pub(super) fn told(name: &str, text: &str, columns: usize, style: Style) -> Lines {
    behind(&format!("  {name:<LEAD$}"), text, columns, style)
}

/// The facts that an action is predicted to bring about.
fn brings(before: Option<RecoveryState>, after: Option<RecoveryState>) -> String {
    let bits = |state: Option<RecoveryState>| recovery_state(state.unwrap_or_default()).bits();
    let gained = FACTS.iter().zip(bits(before).into_iter().zip(bits(after)));
    let gained: Vec<&str> =
        gained.filter(|(_, (before, after))| *after && !before).map(|(word, _)| *word).collect();
    if gained.is_empty() {
        "no further fact by itself, as predicted".to_owned()
    } else {
        format!("{} (predicted)", gained.join(", "))
    }
}

/// The candidates as intervals on one axis.
pub(super) fn candidates(step: &PlanStep, columns: usize, paint: Paint) -> Lines {
    let tied = tied(step);
    let beside = match tied.len() {
        0 => "cost of recovery".to_owned(),
        many => format!("cost of recovery; {many} cost the same as far as the rollouts can tell: a tie"),
    };
    let mut lines = vec![title("CANDIDATES", &beside, columns, paint)];
    let axis = Axis::of(&step.candidates);
    // Indent, bar, figures.
    let bar = columns.saturating_sub(6 + 26).clamp(8, 60);
    for candidate in &step.candidates {
        let is_chosen = candidate.index == step.chosen;
        let action = candidate.action.clone().unwrap_or_default();
        let lead = format!(" {} {:<2} ", if is_chosen { '>' } else { ' ' }, u64::from(candidate.index) + 1);
        let style = if is_chosen { paint.heading() } else { Style::new() };
        lines.extend(behind(&lead, &action.text, columns, style));
        let estimate = candidate.cost.unwrap_or_default();
        let (mean, _, ends) = cost(&estimate.into());
        let mut figures = format!("{mean:>7}  n {}", rollouts(&estimate));
        if tied.contains(&candidate.index) {
            figures += "  tie";
        }
        if step.planner_choice == Some(candidate.index) {
            figures += "  planner's";
        }
        if let Some(axis) = &axis {
            let text = format!("      {}{figures}", axis.bar(&estimate, bar));
            lines.push(Line::raw(cut_right(&text, columns)));
            lines.extend(behind("      ", &ends, columns, paint.faint()));
        } else {
            lines.extend(behind("      ", "not simulated", columns, paint.faint()));
        }
    }
    if let Some(axis) = axis.filter(|_| !step.candidates.is_empty()) {
        lines.push(Line::from(Span::styled(format!("      {}", ticks(&axis, bar)), paint.faint())));
        let legend = "● mean, ━ its 95 % interval, ─ nine recoveries in ten, ┄ no upper end";
        lines.extend(behind("      ", legend, columns, paint.faint()));
    }
    lines
}

/// [`cut`] would take the spaces of a bar together.
fn cut_right(text: &str, columns: usize) -> String {
    if width(text) <= columns { text.to_owned() } else { text.chars().take(columns).collect() }
}

/// The values of the axis where they stand, as far as they do not overlap.
fn ticks(axis: &Axis, columns: usize) -> String {
    let mut out = String::new();
    for tick in &axis.ticks {
        let text = cut(&format!("{tick}"), columns);
        let at = axis.column(*tick, columns).min(columns.saturating_sub(width(&text)));
        let used = width(&out);
        if used == 0 && at == 0 || at > used {
            out += &" ".repeat(at - used);
            out += &text;
        }
    }
    out
}
