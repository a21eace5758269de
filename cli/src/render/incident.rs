//! A whole incident: what was found, the steps, and what it took.

use std::fmt::Write;

use countermove_proto::v1::{
    Assessment, Autonomy, CostKind, CostModel, DigestReport, Incident, IncidentStatus, ModelIdentity,
    PlanEnd, PlanMode, PlanOptions, PlanStep, Tactic, TacticBelief, Usage,
};

use super::cluster::{priority, tenant};
use super::step::{marks, step};
use super::text::{Style, count, hanging, one_line, thousands, time};

/// Evidence lines shown for a tactic; the document has all of them.
const EVIDENCE_SHOWN: usize = 4;

/// What is written on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// Columns.
    pub(crate) columns: usize,
    /// Colours.
    pub(crate) style: Style,
}

impl Page {
    /// A page without colours.
    #[cfg(test)]
    pub(crate) fn plain(columns: usize) -> Self {
        Self { columns, style: Style::default() }
    }
}

/// The incident with its plan as it stands.
pub(crate) fn incident(incident: &Incident, page: Page) -> String {
    let style = page.style;
    let mut out = format!("{}  {}\n", style.heading("INCIDENT"), one_line(&incident.name));
    let options = incident.options.unwrap_or_default();
    match &incident.assessment {
        Some(assessment) => out.push_str(&assessed(assessment, page)),
        None => out.push_str("  The evidence has not been assessed yet.\n"),
    }
    for revised in &incident.revisions {
        let now = revised.assessment.as_ref().map_or(&[][..], |assessment| &assessment.tactics);
        let text = format!("from {} to {}. {}", tactics(&revised.before), tactics(now), revised.reason);
        let _ = writeln!(out, "\n{}", style.heading(&format!("REVISED BEFORE STEP {}", revised.step + 1)));
        out.push_str(&hanging("  ", &text, page.columns));
    }
    let plan = incident.plan.clone().unwrap_or_default();
    for planned in &plan.steps {
        out.push('\n');
        out.push_str(&step(planned, page));
    }
    for delivery in &incident.deliveries {
        out.push('\n');
        out.push_str(&titled("WEBHOOK", &delivery.sentence(), page));
    }
    out.push('\n');
    out.push_str(&titled("END", &end_sentence(plan.end(), plan.steps.len(), &incident.error), page));
    if incident.state.is_some() {
        let _ = writeln!(out, "{}{}", lead("STATE", page), marks(incident.state, page));
    }
    out.push_str(&titled("USED", &used(&plan.usage.unwrap_or_default()), page));
    out.push_str(&titled("OPTIONS", &chosen_options(&options, incident.cost_model.as_ref()), page));
    let shares = format!("{}, priority {}", tenant(incident), priority(incident));
    out.push_str(&titled("TENANT", &shares, page));
    if let Some(model) = &incident.model {
        out.push_str(&titled("MODEL", &model_line(model), page));
    }
    if let Some(todo) = todo(incident, plan.steps.last()) {
        out.push_str(&titled("NEXT", &todo, page));
    }
    if options.mode() != PlanMode::Interactive && !plan.steps.is_empty() {
        let note = "This is an offline plan: the states after each action are the model's predictions, and nothing was \
                    executed. Check each action before it is carried out.";
        out.push_str(&titled("NOTE", note, page));
    }
    out
}

/// What an operator is waited for.
fn todo(incident: &Incident, step: Option<&PlanStep>) -> Option<String> {
    let step = step?;
    let id = incident.name.rsplit('/').next().unwrap_or_default();
    match incident.status() {
        IncidentStatus::AwaitingApproval => Some(format!(
            "Step {} waits: `countermove incidents approve {id} {}`, or `reject {id} REASON`.",
            step.index + 1,
            short(&step.plan_hash)
        )),
        IncidentStatus::AwaitingOutcome => Some(format!(
            "Step {} is approved: carry it out, then `countermove incidents report-outcome {id} FACTS`.",
            step.index + 1
        )),
        _ => None,
    }
}

/// The names of believed tactics.
fn tactics(beliefs: &[TacticBelief]) -> String {
    let names: Vec<String> = beliefs.iter().map(|belief| tactic_name(belief.tactic())).collect();
    if names.is_empty() { "no tactic".to_owned() } else { names.join(", ") }
}

/// Why planning ended, in a sentence.
pub(crate) fn end_sentence(end: PlanEnd, steps: usize, error: &str) -> String {
    let after = count(steps as u64, "step");
    match end {
        PlanEnd::Unspecified => format!("Planning goes on; {after} so far."),
        PlanEnd::Recovered => format!("Recovery is complete after {after}."),
        PlanEnd::StepLimit => format!("The limit of {after} was reached before recovery was complete."),
        PlanEnd::NoIncident => "The evidence shows no incident, so there is nothing to plan.".to_owned(),
        PlanEnd::NotUnderstood => {
            "Nothing in the evidence is in a known form, so nothing was judged or planned.".to_owned()
        }
        PlanEnd::NoCandidate if error.is_empty() => {
            format!("After {after} no usable action could be proposed.")
        }
        PlanEnd::NoCandidate => format!("No action could be proposed: {}.", one_line(error)),
        PlanEnd::Deadline => format!("The deadline passed after {after}."),
        PlanEnd::Cancelled => format!("Planning was cancelled after {after}."),
        PlanEnd::Failed => format!("Planning failed after {after}: {}", one_line(error)),
    }
}

fn assessed(assessment: &Assessment, page: Page) -> String {
    let mut out = hanging("  ", &assessment.description, page.columns);
    let verdict = match (assessment.is_incident, assessment.not_understood) {
        (true, _) => "this is an incident",
        (false, true) => "not understood",
        (false, false) => "this is no incident",
    };
    out.push_str(&item("verdict", verdict, page));
    let entities = assessment.entities.clone().unwrap_or_default();
    for (name, list) in
        [("attackers", &entities.attackers), ("targets", &entities.targets), ("systems", &entities.systems)]
    {
        if !list.is_empty() {
            out.push_str(&item(name, &list.join(", "), page));
        }
    }
    if let Some(digest) = &assessment.digest {
        out.push_str(&item("evidence", &digest_line(digest), page));
        for warning in &digest.warnings {
            let text = item("warning", warning, page);
            let _ = writeln!(out, "{}", page.style.warning(text.trim_end_matches('\n')));
        }
    }
    if !assessment.rejected.is_empty() {
        let names = assessment.rejected.join("; ");
        out.push_str(&item("removed", &format!("from what the model said: {names}"), page));
    }
    if !assessment.tactics.is_empty() {
        let _ = writeln!(out, "\n{}", page.style.heading("TACTICS"));
    }
    for (rank, belief) in assessment.tactics.iter().enumerate() {
        let techniques: Vec<_> = belief
            .techniques
            .iter()
            .map(|technique| format!("{} {}", technique.id, technique.name))
            .collect();
        let mut line =
            format!("{}, {:.0} % of the evidence", tactic_name(belief.tactic()), 100.0 * belief.weight);
        if !techniques.is_empty() {
            let _ = write!(line, ": {}", techniques.join("; "));
        }
        out.push_str(&hanging(&format!("  {}. ", rank + 1), &line, page.columns));
        for evidence in belief.evidence.iter().take(EVIDENCE_SHOWN) {
            let text = format!("{} ({})", evidence.text, count(evidence.count, "record"));
            out.push_str(&hanging(&format!("       A{}  ", evidence.number), &text, page.columns));
        }
        let more = belief.evidence.len().saturating_sub(EVIDENCE_SHOWN);
        if more > 0 {
            let _ = writeln!(out, "       and {}", count(more as u64, "more group"));
        }
    }
    out
}

/// `Lateral Movement (TA0008)`.
pub(crate) fn tactic_name(tactic: Tactic) -> String {
    // The message's values are the tactics in their order, from 1; 0 is none.
    let position = usize::try_from(i32::from(tactic)).ok().and_then(|value| value.checked_sub(1));
    match position.and_then(|position| countermove_incident::Tactic::ALL.get(position)) {
        Some(tactic) => format!("{} ({})", tactic.name(), tactic.id()),
        None => "a tactic that this version does not know".to_owned(),
    }
}

fn digest_line(digest: &DigestReport) -> String {
    let mut line = format!(
        "{}, {} and {}, folded into {}",
        count(digest.records, "record"),
        count(digest.alerts, "alert"),
        count(digest.plain_lines, "plain line"),
        count(digest.groups, "group")
    );
    if digest.groups_shown < digest.groups {
        let _ = write!(
            line,
            "; the model read {}, and {} did not fit",
            count(digest.groups_shown, "group"),
            count(digest.records_not_shown, "record")
        );
    }
    line
}

fn used(usage: &Usage) -> String {
    let generated = usage.sampled_tokens + usage.forced_tokens;
    let seconds =
        usage.elapsed.map_or(0.0, |elapsed| elapsed.seconds as f64 + f64::from(elapsed.nanos) * 1e-9);
    let mut line = format!(
        "{} generated ({} chosen, {} forced)",
        count(generated, "token"),
        thousands(usage.sampled_tokens),
        thousands(usage.forced_tokens)
    );
    let _ = write!(line, "; prompts of {}", count(usage.prompt_tokens, "token"));
    if usage.prompt_tokens > 0 {
        let share = 100.0 * usage.cached_tokens as f64 / usage.prompt_tokens as f64;
        let _ = write!(line, ", {share:.0} % of them cached");
    }
    let _ = write!(line, "; {}; {}", count(usage.rollouts, "rollout"), time(seconds));
    if seconds > 0.0 {
        let _ = write!(line, "; {:.0} tokens/s", generated as f64 / seconds);
    }
    line
}

fn chosen_options(options: &PlanOptions, cost_model: Option<&CostModel>) -> String {
    let mut line = format!(
        "N={} candidates, M={} rollouts, depth {}, at most {}",
        options.candidates,
        options.rollouts,
        options.max_depth,
        count(u64::from(options.max_steps), "step")
    );
    if let Some(temperature) = options.temperature {
        let _ = write!(line, ", temperature {temperature}");
    }
    if let Some(seed) = options.seed {
        let _ = write!(line, ", seed {seed}");
    }
    line.push_str(if options.exhaustive { ", all rollouts" } else { ", raced" });
    match cost_model.map(CostModel::kind) {
        Some(CostKind::Minutes) => line.push_str(", costs in minutes"),
        Some(CostKind::Unit) => line.push_str(", every action costs one"),
        Some(CostKind::Superfluous | CostKind::Unspecified) | None => {}
    }
    if options.budget_rollouts > 0 {
        let _ = write!(line, ", at most {} a decision", count(options.budget_rollouts.into(), "rollout"));
    }
    if options.budget_tokens > 0 {
        let _ = write!(line, ", at most {} a decision", count(options.budget_tokens, "token"));
    }
    if let Some(bound) = options.budget_time.and_then(countermove_proto::duration_from_message) {
        let _ = write!(line, ", at most {} a decision", time(bound.as_secs_f64()));
    }
    if options.autonomy() == Autonomy::ApproveReversible {
        line.push_str(", reversible actions approved by themselves");
    }
    line
}

fn model_line(model: &ModelIdentity) -> String {
    let mut line = format!("{}, SHA-256 {}", model.name, short(&model.weights_sha256));
    if !model.adapter_sha256.is_empty() {
        let _ = write!(line, ", adapter {}", short(&model.adapter_sha256));
    }
    line
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn item(name: &str, text: &str, page: Page) -> String {
    hanging(&format!("  {name:<11}"), text, page.columns)
}

fn lead(title: &str, page: Page) -> String {
    format!("{}{}", page.style.heading(title), " ".repeat(9_usize.saturating_sub(title.len())))
}

/// A title and a wrapped text beside it. The colour is put on last: it must not count as columns.
fn titled(title: &str, text: &str, page: Page) -> String {
    let plain = hanging(&" ".repeat(9), text, page.columns);
    format!("{}{}", lead(title, page), plain.get(9..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{ConjectureRevised, Entities, EvidenceLine, Plan, RecoveryState, Technique};

    use super::*;

    fn example() -> Incident {
        Incident {
            name: "incidents/018f3c1e-0000-7000-8000-000000000001".to_owned(),
            options: Some(PlanOptions {
                candidates: 3,
                rollouts: 3,
                max_depth: 10,
                max_steps: 10,
                seed: Some(7),
                ..PlanOptions::default()
            }),
            assessment: Some(Assessment {
                is_incident: true,
                description: "SSH password guessing from 10.0.1.11 succeeded against 10.0.2.11.".to_owned(),
                entities: Some(Entities {
                    attackers: vec!["10.0.1.11".to_owned()],
                    targets: vec!["10.0.2.11".to_owned()],
                    systems: Vec::new(),
                    ..Entities::default()
                }),
                tactics: vec![TacticBelief {
                    tactic: Tactic::CredentialAccess.into(),
                    weight: 1.0,
                    techniques: vec![Technique {
                        id: "T1110.001".to_owned(),
                        name: "Brute Force: Password Guessing".to_owned(),
                    }],
                    evidence: (1..=6)
                        .map(|number| EvidenceLine {
                            number,
                            text: "ssh login attempt".to_owned(),
                            count: 40,
                        })
                        .collect(),
                }],
                rejected: vec!["10.9.9.9".to_owned()],
                digest: Some(DigestReport {
                    records: 1234,
                    alerts: 1230,
                    plain_lines: 4,
                    groups: 30,
                    groups_shown: 20,
                    records_not_shown: 900,
                    warnings: vec!["4 lines are in no known alert format".to_owned()],
                }),
                ..Assessment::default()
            }),
            state: Some(RecoveryState::default()),
            status: IncidentStatus::AwaitingApproval.into(),
            revisions: vec![ConjectureRevised {
                step: 1,
                reason: "None of 2 predicted kinds came.".to_owned(),
                before: vec![TacticBelief {
                    tactic: Tactic::CredentialAccess.into(),
                    ..TacticBelief::default()
                }],
                assessment: None,
            }],
            plan: Some(Plan {
                steps: vec![PlanStep { plan_hash: "0123456789abcdef".to_owned(), ..PlanStep::default() }],
                end: PlanEnd::StepLimit.into(),
                usage: Some(Usage {
                    prompt_tokens: 1000,
                    cached_tokens: 920,
                    sampled_tokens: 1500,
                    forced_tokens: 500,
                    rollouts: 9,
                    elapsed: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
                }),
            }),
            model: Some(ModelIdentity {
                name: "SmolLM2 135M".to_owned(),
                weights_sha256: "b179c9523d0e6a0f98a3".to_owned(),
                ..ModelIdentity::default()
            }),
            ..Incident::default()
        }
    }

    #[test]
    fn everything_that_a_responder_needs_is_there() {
        let text = incident(&example(), Page::plain(100));
        for needed in [
            "INCIDENT  incidents/018f3c1e",
            "SSH password guessing",
            "this is an incident",
            "attackers  10.0.1.11",
            "1,234 records, 1,230 alerts and 4 plain lines, folded into 30 groups",
            "20 groups, and 900 records did not fit",
            "warning    4 lines are in no known alert format",
            "from what the model said: 10.9.9.9",
            "1. Credential Access (TA0006), 100 % of the evidence: T1110.001 Brute Force: Password Guessing",
            "A4  ssh login attempt (40 records)",
            "and 2 more groups",
            "STEP 1",
            "END      The limit of 1 step was reached",
            "STATE    [ ] contained",
            "2,000 tokens generated (1,500 chosen, 500 forced)",
            "92 % of them cached; 9 rollouts; 20 s; 100 tokens/s",
            "N=3 candidates, M=3 rollouts, depth 10, at most 10 steps, seed 7",
            "SmolLM2 135M, SHA-256 b179c9523d0e",
            "nothing was executed",
            "REVISED BEFORE STEP 2",
            "from Credential Access (TA0006) to no tactic. None of 2 predicted kinds came.",
            "NEXT     Step 1 waits: `countermove incidents approve 018f3c1e-0000-7000-8000-000000000001 0123456789ab`",
        ] {
            // Where a line is broken is not what this is about.
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words(&text).contains(&words(needed)), "{needed} is missing in\n{text}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        let text = incident(&example(), Page::plain(100));
        for line in text.lines() {
            assert!(super::super::text::width(line) <= 100, "{line}");
        }
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let plain = incident(&example(), Page::plain(100));
        let coloured = incident(&example(), Page { columns: 100, style: Style { colour: true } });
        assert_ne!(plain, coloured);
        let mut stripped = String::new();
        for (index, part) in coloured.split("\u{1b}[").enumerate() {
            stripped.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
        }
        assert_eq!(plain, stripped);
    }

    #[test]
    fn an_incident_without_an_assessment_or_a_plan_is_shown() {
        let text =
            incident(&Incident { name: "incidents/x".to_owned(), ..Incident::default() }, Page::plain(80));
        assert!(text.contains("not been assessed") && text.contains("Planning goes on"), "{text}");
    }

    #[test]
    fn every_end_has_its_sentence() {
        let ends = [
            PlanEnd::Unspecified,
            PlanEnd::Recovered,
            PlanEnd::StepLimit,
            PlanEnd::NoIncident,
            PlanEnd::NotUnderstood,
            PlanEnd::NoCandidate,
            PlanEnd::Deadline,
            PlanEnd::Cancelled,
            PlanEnd::Failed,
        ];
        let sentences: std::collections::HashSet<_> =
            ends.into_iter().map(|end| end_sentence(end, 2, "a\nfault")).collect();
        assert_eq!(sentences.len(), ends.len());
        assert!(sentences.iter().all(|sentence| !sentence.contains('\n')));
    }

    #[test]
    fn every_tactic_has_a_name() {
        assert_eq!(tactic_name(Tactic::LateralMovement), "Lateral Movement (TA0008)");
        assert!(tactic_name(Tactic::Unspecified).contains("does not know"));
    }
}
