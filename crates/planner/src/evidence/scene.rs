//! The evidence of an incident, made ready for questions: condensed, fenced, and each group with its surroundings.
//!
//! Invariants: the same evidence and budget give the same scene, so every prompt of an incident begins with the same
//! bytes; whatever had to be left out is said in the report's warnings.

use std::collections::HashSet;
use std::sync::Arc;

use countermove_incident::{
    AlertLog, Baseline, Digest, DigestReport, Entities, EntityKind, Familiarity, Grounding, Record,
    RecordKind, TargetKind, approximate_tokens, spelled_out,
};
use serde::Serialize;

use crate::evidence::contacts::Contacts;
use crate::evidence::groups::{GroupView, views};
use crate::evidence::hosts::Hosts;
use crate::evidence::lines::Lines;
use crate::evidence::parts::Own;
use crate::templates::{TemplateError, TemplateName, Templates};
use crate::words::{fenced, fenced_line};

/// What is known about an incident.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The system in prose or lines.
    pub system_description: String,
    /// What the intrusion detection system and other logs say.
    pub log: AlertLog,
    /// Rules that a plan has to keep, one sentence each.
    pub constraints: Vec<String>,
    /// What a reader should know about how the evidence was gathered, one sentence each.
    pub notes: Vec<String>,
    /// What the organisation's logs say on ordinary days, if anybody learnt it.
    pub baseline: Option<Arc<Baseline>>,
}

/// Evidence made ready for questions.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// The first segment of every prompt; empty if the template shows nothing of the evidence as a whole.
    pub(crate) context: String,
    /// Instruction that stands before everything else.
    pub(crate) system: String,
    /// The log, condensed.
    pub(crate) digest: Digest,
    /// The groups of the digest, in its order, as they are asked about.
    pub(crate) groups: Vec<GroupView>,
    /// What the records that are no alerts say of logins.
    pub(crate) lines: Lines,
    /// How the log was read, with warnings about the rest of the evidence.
    pub(crate) report: DigestReport,
    /// What an action may name.
    pub(crate) grounding: Grounding,
    /// Hosts and addresses of the defended system.
    pub(crate) systems: Vec<String>,
    /// What the description says of them.
    pub(crate) hosts: Hosts,
    /// Those that have to stay up and reachable.
    pub(crate) kept: Vec<String>,
    /// Whom they turned to outside.
    pub(crate) contacts: Contacts,
    /// Whether the organisation's ordinary days were read beside the log.
    pub(crate) has_baseline: bool,
    /// Records of the log; equal ones are one.
    pub(crate) records: usize,
    /// Whether it does, and nothing in it is in a known form.
    pub(crate) not_understood: bool,
    /// The known form that what was not understood is nearest to, if there is one.
    pub(crate) nearest: Option<String>,
}

/// Share of the budget that the alerts may take before the system description has had its own, in percent.
const ALERT_SHARE: usize = 50;

impl Scene {
    /// Condenses the evidence so that the context has about `budget` tokens.
    pub(crate) fn new(
        evidence: &Evidence,
        templates: &Templates,
        budget: usize,
    ) -> Result<Scene, TemplateError> {
        let baseline = evidence.baseline.as_deref();
        let told = baseline.and_then(|baseline| with_new_processes(&evidence.log, baseline));
        let log = told.as_ref().unwrap_or(&evidence.log);
        let constraints: Vec<String> = evidence.constraints.iter().map(|rule| fenced_line(rule)).collect();
        let rules: usize = constraints.iter().map(|rule| approximate_tokens(rule) + 2).sum();
        let budget = budget.saturating_sub(rules).max(budget / 4);

        #[derive(Default, Serialize)]
        struct Values<'a> {
            system: &'a str,
            constraints: &'a [String],
            alerts: &'a str,
        }
        let shows_evidence = !templates.render(TemplateName::Context, Values::default())?.trim().is_empty();

        // The description gets what the alerts leave; if it leaves something itself, or no prompt shows it, the alerts get
        // that.
        let description = fenced(evidence.system_description.trim());
        let needed = if shows_evidence { approximate_tokens(&description) } else { 0 };
        let share = budget * ALERT_SHARE / 100;
        let digest = Digest::new(log, share.max(budget.saturating_sub(needed)));
        let rest = budget.saturating_sub(approximate_tokens(digest.text()));
        let (description, left_out) = condense(&description, rest, log);

        let alerts = fenced(digest.text());
        let values = Values { system: &description, constraints: &constraints, alerts: alerts.trim_end() };
        let context = templates.render(TemplateName::Context, values)?;
        let system = templates.render(TemplateName::System, ())?;

        let mut report = digest.report().clone();
        // A client that has read the evidence notes what is found here as well.
        for note in &evidence.notes {
            if !report.warnings.contains(note) {
                report.warnings.push(note.clone());
            }
        }
        if left_out > 0 && !context.is_empty() {
            report.warnings.push(format!(
                "The system description does not fit the prompt: {left_out} of its lines and sentences were left out, \
                 those that name nothing from the alerts first."
            ));
        }

        let spelled = spelled_out(&evidence.system_description);
        let mut grounding = Grounding::new(&spelled, log);
        for rule in &evidence.constraints {
            grounding.add_text(rule);
        }
        let systems = systems(&spelled, &grounding);
        let hosts = Hosts::read(&spelled, &systems);
        let kept = hosts.kept(&evidence.constraints);
        let inside: HashSet<&str> = systems.iter().map(String::as_str).collect();
        let own = Own { systems: &inside, hosts: &hosts };
        let contacts = Contacts::of_log(log, own, &spelled);
        let lines = Lines::of_log(log);
        let groups = views(log, &digest, &lines, own, evidence.baseline.as_deref());
        report.warnings.extend(evidence.baseline.as_deref().map(|baseline| beside(baseline, &groups)));
        let records = log.records.len();
        let is_unknown = log.records.iter().all(|record| record.kind == RecordKind::Unknown);
        Ok(Scene {
            context,
            system,
            digest,
            groups,
            lines,
            report,
            grounding,
            systems,
            hosts,
            kept,
            contacts,
            has_baseline: evidence.baseline.is_some(),
            records,
            not_understood: records > 0 && is_unknown,
            nearest: log.reading.nearest.map(|format| format.title().to_owned()),
        })
    }
}

impl Scene {
    /// Whom a name means that the evidence or the description knows: a host of the system by its address, else an account, else an address
    /// or a domain.
    pub(crate) fn whose(&self, name: &str) -> Option<(String, TargetKind)> {
        if let Some(address) = self.hosts.address_of(name) {
            return Some((address.to_owned(), TargetKind::Host));
        }
        if self.systems.iter().any(|system| system == name) {
            return Some((name.to_owned(), TargetKind::Host));
        }
        if let Some(account) = self.lines.account(name) {
            return Some((account.to_owned(), TargetKind::Account));
        }
        let found = Entities::find(name);
        let mut ends = found.of(EntityKind::Address).chain(found.of(EntityKind::Domain));
        let end = ends.next().filter(|end| end.eq_ignore_ascii_case(name))?;
        let is_known = self.grounding.unknown_entities(name).is_empty();
        is_known.then(|| (end.to_owned(), TargetKind::Address))
    }
}

/// The log with processes that ordinary days do not know as records that may show an attack, if there are any. What hosts start all day says
/// nothing; what they never started does.
fn with_new_processes(log: &AlertLog, baseline: &Baseline) -> Option<AlertLog> {
    let is_new = |record: &Record| {
        let is_process = record.kind == RecordKind::Telemetry && !record.process.is_empty();
        is_process && baseline.known(record).familiarity == Familiarity::New
    };
    let new: Vec<usize> =
        log.records.iter().enumerate().filter(|(_, record)| is_new(record)).map(|(at, _)| at).collect();
    if new.is_empty() {
        return None;
    }
    let mut told = log.clone();
    for at in new {
        if let Some(record) = told.records.get_mut(at) {
            record.kind = RecordKind::Log;
        }
    }
    Some(told)
}

/// That a baseline was read beside the log, and how much of the log it knows.
fn beside(baseline: &Baseline, groups: &[GroupView]) -> String {
    let usual = groups.iter().filter(|group| group.familiarity <= Familiarity::Usual).count();
    format!(
        "A baseline of {} days was read beside the log: {usual} of {} groups are as on those days, which speaks against an attack.",
        baseline.days(),
        groups.len()
    )
}

/// Addresses of the defended system; host names if it has no addresses.
fn systems(description: &str, grounding: &Grounding) -> Vec<String> {
    let addresses = grounding.internal_addresses();
    if !addresses.is_empty() {
        return addresses;
    }
    let named = Entities::find(description);
    named.of(EntityKind::Host).chain(named.of(EntityKind::Domain)).map(str::to_owned).collect()
}

/// The description within `budget` tokens, and how many of its parts were left out. Parts that name what the log
/// names stay first, then the others, both from the top; those that stay keep their order.
fn condense(description: &str, budget: usize, log: &AlertLog) -> (String, usize) {
    if approximate_tokens(description) <= budget {
        return (description.to_owned(), 0);
    }
    let mut seen = HashSet::new();
    for alert in log.alerts() {
        for end in [&alert.source, &alert.destination].into_iter().flatten() {
            seen.insert(end.address.as_str());
        }
    }
    let parts: Vec<&str> =
        description.lines().flat_map(sentences).filter(|part| !part.trim().is_empty()).collect();
    let concerned =
        |part: &str| Entities::find(part).iter().any(|entity| seen.contains(entity.value.as_str()));
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_cached_key(|&i| !parts.get(i).is_some_and(|part| concerned(part)));
    let mut kept = vec![false; parts.len()];
    let mut left = budget;
    for i in order {
        let cost = parts.get(i).map_or(0, |part| approximate_tokens(part) + 1);
        if cost <= left
            && let Some(slot) = kept.get_mut(i)
        {
            *slot = true;
            left -= cost;
        }
    }
    let text: Vec<&str> =
        parts.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(part, _)| part.trim()).collect();
    (text.join("\n"), parts.len() - text.len())
}

/// The sentences of a line, each with the full stop that ends it.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    line.split_inclusive(". ")
}
