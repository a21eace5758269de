//! The plan as a report for people, in Markdown; [`cacao()`] writes it as a playbook, [`stix()`] and [`misp()`] what is known of the
//! attack for others.
//!
//! Invariant: texts of the model and of the evidence are shown, never interpreted: what would be markup in them is
//! escaped, and each stays on its line.

mod attack;
mod cacao;
mod misp;
#[cfg(test)]
mod sharing_tests;
mod stix;

use std::fmt::Write;

pub(crate) use attack::Attack;
pub(crate) use cacao::cacao;
use countermove_incident::{Measure, Named};
use countermove_wire::document::{
    Assessment, Candidate, Cost, CostKind, Finding, PlanDocument, State, StateSource, Step,
};
pub(crate) use misp::misp;
use serde_json::Value;
pub(crate) use stix::stix;
use uuid::Uuid;

/// Where times that an incident does not have are put.
const NO_TIME: &str = "1970-01-01T00:00:00.000Z";

/// An identifier that follows from the incident and what it is for alone.
fn derived(incident: &str, part: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("countermove:{incident}#{part}").as_bytes())
}

/// What an action's parts are called: for each the technique of D3FEND and, where there is one, the response action of RE&CT, as a form
/// writes them, each once.
fn references(
    measures: &[Measure],
    technique: impl Fn(Named) -> Value,
    response: impl Fn(Named) -> Value,
) -> Vec<Value> {
    let mut references = Vec::new();
    for Measure { react, d3fend, .. } in measures {
        for reference in std::iter::once(technique(*d3fend)).chain(react.map(&response)) {
            if !references.contains(&reference) {
                references.push(reference);
            }
        }
    }
    references
}

/// Identifies what writes for others, the same in every document.
fn producer() -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, b"countermove:producer")
}

/// A time as RFC 3339 writes it with exactly three digits behind the seconds.
fn milliseconds(time: Option<&str>) -> String {
    let Some(seconds) = time.and_then(|time| time.get(..19)).filter(|text| text.is_ascii()) else {
        return NO_TIME.to_owned();
    };
    let fraction = time.and_then(|time| time.get(19..)).unwrap_or_default().trim_end_matches('Z');
    let digits: String = fraction.chars().filter(char::is_ascii_digit).chain("000".chars()).take(3).collect();
    format!("{seconds}.{digits}Z")
}

/// Writes the report.
pub(crate) fn markdown(document: &PlanDocument) -> String {
    let mut report = Report(String::new());
    report.head(document);
    report.brief(document);
    if let Some(assessment) = &document.assessment {
        report.assessment(assessment);
    }
    report.line("## Plan");
    if document.steps.is_empty() {
        report.line("There is no step.");
    }
    for step in &document.steps {
        report.step(step);
    }
    report.tail(document);
    report.0
}

struct Report(String);

impl Report {
    /// A paragraph.
    fn line(&mut self, text: impl AsRef<str>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{}\n", text.as_ref());
    }

    /// A list.
    fn list(&mut self, items: impl IntoIterator<Item = String>) {
        let mut any = false;
        for item in items {
            let _ = writeln!(self.0, "- {item}");
            any = true;
        }
        if any {
            self.0.push('\n');
        }
    }

    fn head(&mut self, document: &PlanDocument) {
        self.line("# Incident response plan");
        let seed = format!("seed {}", document.options.seed);
        let options = &document.options;
        self.list(
            [
                Some(format!("Incident: `{}`", escape(&document.incident))),
                document.create_time.as_ref().map(|time| format!("Created: {}", escape(time))),
                Some(match (&document.end, &document.error) {
                    (Some(end), Some(error)) => format!("End: {} ({})", words(end.word()), escape(error)),
                    (Some(end), None) => format!("End: {}", words(end.word())),
                    (None, _) => format!("Status: {}", words(document.status.word())),
                }),
                document.model.as_ref().map(|model| {
                    let digest: String = model.weights_sha256.chars().take(12).collect();
                    let arithmetic =
                        model.arithmetic.iter().map(|name| format!(", computed with {}", escape(name)));
                    format!(
                        "Model: {} ({}){}",
                        escape(&model.name),
                        escape(&digest),
                        arithmetic.collect::<String>()
                    )
                }),
                Some(format!(
                    "Options: {} candidates, {} rollouts each{}, {} actions deep, {seed}, {}",
                    options.candidates,
                    options.rollouts,
                    if options.exhaustive { "" } else { " at most (raced)" },
                    options.max_depth,
                    options.mode
                )),
                Some(match document.cost_model.kind {
                    CostKind::Minutes => "Costs: in minutes of work and weighted outage".to_owned(),
                    CostKind::Unit => "Costs: every action costs one".to_owned(),
                    CostKind::Superfluous | CostKind::Unspecified => {
                        "Costs: one for an action, two for a superfluous one".to_owned()
                    }
                }),
            ]
            .into_iter()
            .flatten(),
        );
        if document.steps.iter().any(|step| step.state_after_source == Some(StateSource::Predicted)) {
            self.line("States after an action are predictions of the model; nobody has looked.");
        }
    }

    /// What has to be known before the next action.
    fn brief(&mut self, document: &PlanDocument) {
        let lines = document.brief();
        if lines.is_empty() {
            return;
        }
        self.line("## In short");
        self.list(lines.into_iter().map(|(topic, text)| {
            let label = topic.label();
            format!(
                "**{}{}:** {}",
                label.get(..1).unwrap_or_default().to_uppercase(),
                label.get(1..).unwrap_or_default(),
                escape(&text)
            )
        }));
    }

    fn assessment(&mut self, assessment: &Assessment) {
        self.line("## Assessment");
        self.line(match assessment.is_incident || assessment.not_understood {
            true => escape(&assessment.description),
            false => format!("This is not an incident. {}", escape(&assessment.description)),
        });
        let entities = [
            ("Attackers", &assessment.attackers),
            ("Targets", &assessment.targets),
            ("Systems", &assessment.systems),
        ];
        self.list(entities.into_iter().filter(|(_, names)| !names.is_empty()).map(|(role, names)| {
            format!("{role}: {}", names.iter().map(|name| escape(name)).collect::<Vec<_>>().join(", "))
        }));
        for tactic in &assessment.tactics {
            let share = 100.0 * tactic.weight;
            self.line(format!("### {} ({}), {share:.0} % of the evidence", tactic.name, tactic.id));
            let techniques =
                tactic.techniques.iter().map(|t| format!("{} ({})", escape(&t.name), escape(&t.id)));
            let evidence = tactic
                .evidence
                .iter()
                .map(|line| format!("A{}, {} times: {}", line.number, line.count, escape(&line.text)));
            self.list(techniques.chain(evidence));
        }
    }

    fn step(&mut self, step: &Step) {
        let action = step.action.as_ref();
        self.line(format!(
            "### {}. {}",
            step.index + 1,
            action.map_or_else(|| "(no action)".to_owned(), |action| escape(&action.text))
        ));
        if let Some(action) = action.filter(|action| !action.explanation.is_empty()) {
            self.line(escape(&action.explanation));
        }
        self.line(format!("Chosen because: {}", escape(&step.why())));
        if let Some(assurance) = &step.assurance {
            let chance = 100.0 * assurance.chance;
            let clear = if assurance.is_clear { "clear" } else { "not clear" };
            let taken_back = words(assurance.reversibility.word());
            let trust =
                format!("Trust: {clear} ({chance:.0} % that nothing is cheaper); the action is {taken_back}");
            let doubts = assurance.doubts.iter().map(|doubt| format!("Doubt: {}", escape(doubt)));
            let wanted =
                assurance.wanted_evidence.iter().map(|wanted| format!("Would decide: {}", escape(wanted)));
            self.list([trust].into_iter().chain(doubts).chain(wanted));
        }
        if let Some(action) = action {
            let told = |Measure { class, react, d3fend }: Measure| {
                let react = react.map(|react| format!(", RE&CT {} ({})", react.name, react.id));
                let react = react.unwrap_or_default();
                format!("Response: {}, D3FEND {} ({}){react}", class.name(), d3fend.name, d3fend.id)
            };
            let orders = step.chosen_candidate().map(|chosen| chosen.orders.as_slice()).unwrap_or_default();
            let how = orders.iter().map(|order| format!("How: {}", escape(&order.told())));
            self.list(Measure::of(&action.text).into_iter().map(told).chain(how));
        }
        let after = match (&step.state_after, step.state_after_source) {
            (Some(state), Some(source)) => format!("{} ({source})", state_text(*state)),
            (Some(state), None) => state_text(*state),
            (None, _) => "not known yet".to_owned(),
        };
        let found = Finding::told(&step.findings);
        let found = (!found.is_empty()).then(|| format!("Found: {}", escape(&found)));
        let states = [format!("Before: {}", state_text(step.state_before)), format!("After: {after}")];
        self.list(states.into_iter().chain(found));
        let _ = writeln!(self.0, "| | candidate | cost | recovered | truncated | malformed |");
        let _ = writeln!(self.0, "|---|---|---|---|---|---|");
        for candidate in &step.candidates {
            self.candidate(candidate, candidate.index == step.chosen);
        }
        self.0.push('\n');
        if !step.rejected.is_empty() {
            self.line("Thrown away before any rollout:");
            self.list(step.thrown_away().into_iter().map(|(reason, actions)| {
                let actions = actions.into_iter().map(|(action, times)| match times {
                    1 => escape(action),
                    _ => format!("{} ({times} times)", escape(action)),
                });
                format!("{}: {}", actions.collect::<Vec<_>>().join("; "), escape(reason))
            }));
        }
    }

    fn candidate(&mut self, candidate: &Candidate, chosen: bool) {
        let cost = &candidate.cost;
        let _ = writeln!(
            self.0,
            "| {} | {} | {} | {} | {} | {} |",
            if chosen { "chosen" } else { "" },
            escape(&candidate.action.text),
            cost_text(cost),
            cost.terminal,
            cost.truncated,
            cost.malformed
        );
    }

    fn tail(&mut self, document: &PlanDocument) {
        if !document.warnings.is_empty() {
            self.line("## Remarks");
            self.list(document.warnings.iter().map(|warning| escape(warning)));
        }
        let usage = &document.usage;
        self.line(format!(
            "{} rollouts, {} tokens chosen, {} forced, {} discarded, {:.1} s.",
            usage.rollouts,
            usage.sampled_tokens,
            usage.forced_tokens,
            usage.discarded_tokens,
            usage.elapsed_seconds
        ));
        // One newline at the end of the file.
        self.0.truncate(self.0.trim_end().len());
        self.0.push('\n');
    }
}

fn cost_text(cost: &Cost) -> String {
    match (cost.mean, cost.likely_low, cost.likely_high) {
        (Some(mean), Some(low), Some(high)) => format!("{mean:.2} ({low:.2} to {high:.2})"),
        (Some(mean), Some(low), None) => format!("{mean:.2} ({low:.2} or more)"),
        (Some(mean), ..) => format!("{mean:.2}"),
        (None, ..) => "unknown".to_owned(),
    }
}

fn state_text(state: State) -> String {
    let held: Vec<_> =
        state.facts().into_iter().filter(|(_, holds)| *holds).map(|(name, _)| words(name)).collect();
    if held.is_empty() { "nothing yet".to_owned() } else { held.join(", ") }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Shows a text as it is: one line, no markup, no control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '!' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1;

    use super::*;

    fn document() -> PlanDocument {
        let action = v1::Action {
            text: "Isolate `web-1` | now".into(),
            explanation: "It spreads.\n# Not a heading".into(),
        };
        let candidate = v1::Candidate {
            index: 0,
            action: Some(action),
            cost: Some(v1::CostEstimate {
                terminal: 3,
                mean: Some(4.5),
                likely_low: Some(3.0),
                likely_high: Some(6.0),
                ..v1::CostEstimate::default()
            }),
            ..v1::Candidate::default()
        };
        let mut step = v1::PlanStep {
            candidates: vec![candidate],
            reason: "it is the cheapest".into(),
            state_after: Some(v1::RecoveryState {
                is_attack_contained: true,
                ..v1::RecoveryState::default()
            }),
            ..v1::PlanStep::default()
        };
        step.set_state_after_source(v1::StateSource::Predicted);
        let mut plan = v1::Plan { steps: vec![step], ..v1::Plan::default() };
        plan.set_end(v1::PlanEnd::StepLimit);
        let assessment = v1::Assessment {
            is_incident: true,
            description: "Somebody <script>guesses</script> passwords".into(),
            ..v1::Assessment::default()
        };
        let incident = v1::Incident {
            name: "incidents/x".into(),
            plan: Some(plan),
            assessment: Some(assessment),
            ..v1::Incident::default()
        };
        PlanDocument::new(incident, ["worker w-1 was lost".to_owned()])
    }

    #[test]
    fn the_report_says_what_was_decided_and_why() {
        let report = markdown(&document());
        for part in [
            "End: step limit",
            "### 1. Isolate \\`web-1\\` \\| now",
            "Chosen because: it is the cheapest",
            "After: is attack contained (predicted)",
            "4.50 (3.00 to 6.00)",
            "nobody has looked",
            "- worker w-1 was lost",
        ] {
            assert!(report.contains(part), "{part} is missing in\n{report}");
        }
        assert!(report.ends_with('\n') && !report.ends_with("\n\n"));
    }

    #[test]
    fn texts_cannot_become_markup() {
        let report = markdown(&document());
        assert!(!report.contains("<script>"), "{report}");
        assert!(!report.lines().any(|line| line.starts_with("# Not")), "{report}");
    }

    #[test]
    fn a_plan_without_steps_is_a_report_too() {
        let report = markdown(&PlanDocument::new(v1::Incident::default(), []));
        assert!(report.contains("There is no step."));
    }
}
