//! The page of an incident: what stands and waits, and what led to it.

use countermove_proto::time_text;
use countermove_proto::v1::{AlertComparison, AlertKind, IncidentStatus};
use countermove_wire::document::End;
use ratatui::text::{Line, Span};

use super::paint::{Lines, Paint, behind, title};
use super::{beliefs, decision, seconds_between};
use crate::render::{
    NOT_ASSESSED, count, cut, end_sentence, incident_status, one_line, pad, priority, tactic_name, tenant,
    time, width,
};
use crate::watch::facts::{Fact, facts, open};
use crate::watch::queue::since;
use crate::watch::state::{Opened, State};

/// So many lines a sentence about the incident takes.
const MOST_LINES: usize = 3;

/// What the incident is, how far recovery is, what waits, and what it was chosen from.
pub(super) fn what_is(state: &State, opened: &Opened, columns: usize) -> Lines {
    let paint = Paint { has_colour: state.has_colour };
    let Some(incident) = &opened.incident else { return vec![Line::raw("Asking the coordinator …")] };
    let age = time(seconds_between(since(incident), state.now.wall));
    let mut head =
        vec![incident_status(incident), format!("for {age}"), format!("tenant {}", tenant(incident))];
    head.push(format!("priority {}", priority(incident)));
    if !incident.external_id.is_empty() {
        head.push(incident.external_id.clone());
    }
    let mut lines = behind("", &head.join(" · "), columns, paint.faint());
    let sentence = match &incident.assessment {
        Some(assessment) => assessment.description.as_str(),
        None => NOT_ASSESSED,
    };
    // Of an attack with many names what waits stays on the screen; the whole sentence is in `incidents get`.
    lines.extend(behind("", &cut(sentence, MOST_LINES * columns), columns, paint.heading()));
    if incident.status() == IncidentStatus::Ended {
        let plan = incident.plan.as_ref();
        let end = plan.and_then(|plan| End::of(plan.end()));
        let steps = plan.map_or(0, |plan| plan.steps.len());
        lines.extend(behind("", &end_sentence(end, steps, &incident.error), columns, paint.heading()));
    } else if incident.status() == IncidentStatus::Planning {
        let doing =
            opened.timeline.doing(state.now.instant).unwrap_or_else(|| "The model is at work.".to_owned());
        lines.extend(behind("", &doing, columns, paint.warning()));
    }
    lines.push(Line::default());
    let facts = facts(incident);
    let held = facts.iter().filter(|fact| fact.holds).count();
    lines.push(title("RECOVERY", &format!("{held} of 6 facts hold"), columns, paint));
    lines.extend(fact_lines(&facts, columns, paint));
    let Some(step) = incident.plan.as_ref().and_then(|plan| plan.steps.last()) else { return lines };
    lines.push(Line::default());
    lines.extend(decision::lines(state, incident, step, columns));
    lines.push(Line::default());
    lines.extend(decision::candidates(step, columns, paint));
    lines
}

/// What was read of the evidence, and what has happened.
pub(super) fn what_led_to_it(state: &State, opened: &Opened, columns: usize) -> Lines {
    let paint = Paint { has_colour: state.has_colour };
    let mut lines = Lines::new();
    if let Some(incident) = &opened.incident {
        lines.extend(beliefs::hosts(incident, columns, paint));
        lines.extend(beliefs::tactics(incident, columns, paint));
        if let Some((step, comparison)) = &opened.comparison {
            lines.extend(compared(*step, comparison, columns, paint));
        }
        let expected = open(incident).and_then(|step| step.expected_alerts.as_ref());
        if let Some(expected) = expected.filter(|expected| !expected.kinds.is_empty()) {
            let tactic = tactic_name(expected.tactic().into());
            lines.push(title(
                "ALERTS TO EXPECT",
                &format!("if the attacker goes on with {tactic}"),
                columns,
                paint,
            ));
            for kind in &expected.kinds {
                lines.extend(behind("  ", &alert(kind), columns, paint.faint()));
            }
            lines.push(Line::default());
        }
    }
    let entries = opened.timeline.entries();
    lines.push(title(
        "TIMELINE",
        &format!("{}; times in UTC", count(entries.len() as u64, "line")),
        columns,
        paint,
    ));
    for entry in entries {
        let clock = entry.time.and_then(time_text).and_then(|text| text.get(11..19).map(str::to_owned));
        let lead = format!("  {}  ", clock.as_deref().unwrap_or("--:--:--"));
        lines.extend(behind(&lead, &entry.text, columns, ratatui::style::Style::new()));
    }
    lines
}

/// The six facts, two beside each other where there is room.
fn fact_lines(facts: &[Fact], columns: usize, paint: Paint) -> Lines {
    let text =
        |fact: &Fact| format!("[{}] {} ({})", if fact.holds { 'x' } else { ' ' }, fact.word, fact.from());
    let beside = if columns >= 76 { 2 } else { 1 };
    let cell = columns / beside;
    let line = |facts: &[Fact]| {
        let spans = facts.iter().map(|fact| {
            let style = if fact.holds { paint.good() } else { ratatui::style::Style::new() };
            let shown = cut(&text(fact), cell.saturating_sub(3));
            Span::styled(pad(&format!("  {shown}"), cell), style)
        });
        Line::from(spans.collect::<Vec<_>>())
    };
    facts.chunks(beside).map(line).collect()
}

/// Alerts that were predicted beside those that came.
fn compared(step: u32, comparison: &AlertComparison, columns: usize, paint: Paint) -> Lines {
    let verdict = if comparison.holds { "the conjecture stands" } else { "the conjecture was revised" };
    let text =
        format!("after step {}: {:.0} % came; {verdict}", u64::from(step) + 1, 100.0 * comparison.precision);
    let mut lines = vec![title("PREDICTED AND OBSERVED ALERTS", &text, columns, paint)];
    let came = |kind: &AlertKind| comparison.observed.contains(kind);
    let (both, predicted): (Vec<_>, Vec<_>) = comparison.predicted.iter().partition(|kind| came(kind));
    let observed = comparison.observed.iter().filter(|kind| !comparison.predicted.contains(kind));
    let rows = both.into_iter().map(|kind| ("as predicted", kind));
    let rows = rows.chain(predicted.into_iter().map(|kind| ("did not come", kind)));
    for (word, kind) in rows.chain(observed.map(|kind| ("not predicted", kind))) {
        let style = if word == "as predicted" { paint.good() } else { paint.warning() };
        lines.extend(behind(&format!("  {}  ", pad(word, 13)), &alert(kind), columns, style));
    }
    lines.push(Line::default());
    lines
}

fn alert(kind: &AlertKind) -> String {
    let priority = kind.priority.map(|priority| format!(", priority {priority}")).unwrap_or_default();
    format!("{}{priority}", one_line(&kind.classification))
}

/// A share as a bar of ten with its number behind it.
pub(super) fn share(share: f32) -> String {
    let filled = (share.clamp(0.0, 1.0) * 10.0).round() as usize;
    let bar: String = (0..10).map(|cell| if cell < filled { '█' } else { '░' }).collect();
    debug_assert_eq!(width(&bar), 10);
    format!("{bar} {:>3.0} %", 100.0 * share)
}
