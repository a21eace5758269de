//! What is believed: which hosts are compromised, and which tactics are at work.

use countermove_proto::v1::{Entities, Incident, Suspect};
use countermove_wire::document::LEAST_SUSPECTED;
use ratatui::style::Style;
use ratatui::text::Line;

use super::incident::share;
use super::paint::{Lines, Paint, behind, title};
use super::queue::named;
use crate::render::{count, tactic_name};

/// Hosts that are shown; an attacker may have named thousands.
const MOST: usize = 40;

/// How likely each host is compromised, the likeliest first, and how likely the attacker has each account.
pub(super) fn hosts(incident: &Incident, columns: usize, paint: Paint) -> Lines {
    let Some(entities) = incident.assessment.as_ref().and_then(|assessment| assessment.entities.as_ref())
    else {
        return Lines::new();
    };
    let step = incident.plan.as_ref().and_then(|plan| plan.steps.last());
    let belief = step.filter(|step| step.index > 0).and_then(|step| step.belief.as_ref());
    let later = belief.map(|belief| &belief.compromised).filter(|suspects| !suspects.is_empty());
    let mut suspects: Vec<&Suspect> = later.unwrap_or(&entities.compromised).iter().collect();
    suspects.retain(|suspect| suspect.probability >= LEAST_SUSPECTED);
    suspects.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    if suspects.is_empty() && entities.attackers.is_empty() && entities.held_accounts.is_empty() {
        return Lines::new();
    }
    let from = match later.and(step) {
        Some(step) => format!("how likely each is compromised, before step {}", u64::from(step.index) + 1),
        None => "how likely each is compromised, by the evidence".to_owned(),
    };
    let mut lines = vec![title("HOSTS", &from, columns, paint)];
    for suspect in suspects.iter().take(MOST) {
        let text = format!("{}{}", named(&suspect.host, Some(entities)), part(&suspect.host, entities));
        lines.extend(behind(&format!("  {}  ", share(suspect.probability)), &text, columns, Style::new()));
    }
    if suspects.len() > MOST {
        lines.push(Line::raw(format!("  and {}", count((suspects.len() - MOST) as u64, "more host"))));
    }
    let held = belief.map_or(&entities.held_accounts, |belief| &belief.held_accounts);
    for account in held.iter().take(MOST) {
        let text = format!("account {}", account.account);
        lines.extend(behind(&format!("  {}  ", share(account.probability)), &text, columns, Style::new()));
    }
    if !entities.attackers.is_empty() {
        lines.extend(behind("  attackers  ", &entities.attackers.join(", "), columns, Style::new()));
    }
    lines.push(Line::default());
    lines
}

/// The part that a host plays.
fn part(host: &str, entities: &Entities) -> &'static str {
    let is_in = |hosts: &[String]| hosts.iter().any(|one| one == host);
    match () {
        () if is_in(&entities.attackers) => ", attacks",
        () if is_in(&entities.footholds) => ", attacks others",
        () if is_in(&entities.targets) => ", was reached",
        () => "",
    }
}

/// The conjectured tactics by their share of the evidence, and how the conjecture changed.
pub(super) fn tactics(incident: &Incident, columns: usize, paint: Paint) -> Lines {
    let tactics = incident.assessment.as_ref().map_or(&[][..], |assessment| &assessment.tactics);
    if tactics.is_empty() {
        return Lines::new();
    }
    let mut lines = vec![title("TACTICS", "by their share of the evidence", columns, paint)];
    for belief in tactics {
        let name = tactic_name(belief.tactic().into());
        lines.extend(behind(&format!("  {}  ", share(belief.weight)), &name, columns, Style::new()));
    }
    for revised in &incident.revisions {
        lines.extend(behind("  ", &crate::plan::revised(revised), columns, paint.warning()));
    }
    lines.push(Line::default());
    lines
}
