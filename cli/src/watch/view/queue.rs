//! The queue.

use countermove_proto::v1::{Entities, Incident};
use countermove_wire::document::Reversibility;
use ratatui::text::Line;

use super::paint::{Lines, Paint, title};
use super::seconds_between;
use crate::plan::work;
use crate::render::{count, cut, incident_status, pad, priority, tenant, time};
use crate::watch::queue::{Group, since};
use crate::watch::rights::Deed;
use crate::watch::state::State;

/// Columns for mark and age.
const LEAD: usize = 14;

/// So many rows of the queue, with the selected one among them.
pub(super) fn lines(state: &State, columns: usize, rows: usize) -> Lines {
    let paint = Paint { has_colour: state.has_colour };
    let order = state.queue.ordered();
    let mut lines = Lines::new();
    let (mut group, mut selected) = (None, 0..1);
    for incident in &order {
        let of = Group::of(incident);
        if group != Some(of) {
            if group.is_some() {
                lines.push(Line::default());
            }
            let alike = order.iter().filter(|other| Group::of(other) == of).count();
            lines.push(title(of.title(), &count(alike as u64, "incident"), columns, paint));
            group = Some(of);
        }
        let is_selected = state.queue.selected() == Some(&incident.name);
        let begin = lines.len();
        lines.extend(row(state, incident, is_selected, columns));
        if is_selected {
            selected = begin..lines.len();
        }
    }
    if lines.is_empty() {
        let text = match (state.queue.is_present, state.filter.is_empty()) {
            (false, _) => "Asking the coordinator …",
            (true, true) => "No incidents are known.",
            (true, false) => "No incident fits the filter. Esc takes it away.",
        };
        lines.push(Line::raw(cut(text, columns)));
    }
    // The selected one stands in the middle where there is something on both sides.
    let middle = (selected.start + selected.end) / 2;
    let first = middle.saturating_sub(rows / 2).min(lines.len().saturating_sub(rows));
    lines.into_iter().skip(first).take(rows).collect()
}

/// What is to do, whom it concerns, and what it is about.
fn row(state: &State, incident: &Incident, is_selected: bool, columns: usize) -> Lines {
    let paint = Paint { has_colour: state.has_colour };
    let group = Group::of(incident);
    let age = time(seconds_between(since(incident), state.now.wall));
    let lead = pad(&format!("{} {age}", if is_selected { ">" } else { " " }), LEAD);
    let indent = " ".repeat(LEAD);
    let left = columns.saturating_sub(LEAD);
    let about = match &incident.assessment {
        _ if !incident.error.is_empty() => incident.error.as_str(),
        Some(assessment) => assessment.description.as_str(),
        None => "The evidence is being read.",
    };
    let action = incident.pending.as_ref().and_then(|pending| pending.action.as_ref());
    let first = action.map_or(about, |action| action.text.as_str());
    let style = if is_selected { paint.selected() } else { paint.heading() };
    let mut lines = vec![Line::styled(format!("{lead}{}", cut(first, left)), style)];
    let mut tags = Vec::new();
    match priority(incident) {
        "normal" => {}
        "urgent" => tags.push("URGENT".to_owned()),
        other => tags.push(other.to_owned()),
    }
    // What a narrow terminal cuts off comes last.
    let of = (tenant(incident) != "default").then(|| tenant(incident).to_owned());
    if let Some(pending) = &incident.pending {
        if group == Group::Decision && !pending.is_clear {
            tags.push("in doubt".to_owned());
        }
        if group == Group::Decision && pending.approvers > 1 {
            tags.push(format!("{} of {} approvals", pending.approvals.len(), pending.approvers));
        }
        if group == Group::Decision && !state.may(Deed::Approve, incident) {
            tags.push("needs an approver".to_owned());
        }
        if group == Group::Outcome && !pending.approver.is_empty() {
            tags.push(format!("approved by {}", pending.approver));
        }
        tags.extend(of);
        tags.push(Reversibility::from(pending.reversibility()).taken_back().to_owned());
        let entities = incident.assessment.as_ref().and_then(|assessment| assessment.entities.as_ref());
        tags.push(takes_down(&pending.takes_down, entities));
    } else if let Some(progress) = incident.progress.as_ref().filter(|_| group == Group::Planning) {
        tags.push(work(progress));
        tags.extend(of);
    } else {
        tags.push(incident_status(incident));
        tags.extend(of);
    }
    if !incident.external_id.is_empty() {
        tags.push(incident.external_id.clone());
    }
    tags.extend(incident.labels.iter().map(|(key, value)| format!("{key}: {value}")));
    let is_urgent = priority(incident) == "urgent";
    let style = if is_urgent { paint.warning() } else { ratatui::style::Style::new() };
    lines.push(Line::styled(format!("{indent}{}", cut(&tags.join("; "), left)), style));
    if action.is_some() {
        lines.push(Line::styled(format!("{indent}{}", cut(about, left)), paint.faint()));
    }
    lines
}

/// Whom an action takes down, in a few words.
fn takes_down(hosts: &[String], entities: Option<&Entities>) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| named(host, entities)).collect();
    if hosts.is_empty() { "takes nobody down".to_owned() } else { format!("takes down {}", hosts.join(", ")) }
}

/// `web_shop (172.16.10.11)`, or what there is of it.
pub(super) fn named(host: &str, entities: Option<&Entities>) -> String {
    let name = entities.and_then(|entities| entities.names.iter().find(|name| name.address == host));
    name.map_or_else(|| host.to_owned(), |name| format!("{} ({host})", name.name))
}
