//! A whole incident: what was found, the steps, and what it took.

use std::fmt::Write;

use countermove_wire::document::{
    Assessment, Autonomy, CostKind, Digest, End, HeldAccount, LEAST_SUSPECTED, Mode, Model, Options,
    PlanDocument, Status, Step, Suspect, Tactic, TacticBelief, Usage, likely,
};

use super::step::{marks, step};
use super::text::{Style, count, hanging, one_line, thousands, time};
use crate::decisions::HASH_DIGITS;

/// What is said of an incident whose evidence is still being read.
pub(crate) const NOT_ASSESSED: &str = "The evidence has not been assessed yet.";

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

/// The incident with its plan as it stands, and what planning is doing at this moment.
pub(crate) fn incident(document: &PlanDocument, now: Option<&str>, page: Page) -> String {
    let style = page.style;
    let mut out = format!("{}  {}\n", style.heading("INCIDENT"), one_line(&document.incident));
    match &document.assessment {
        Some(assessment) => out.push_str(&assessed(assessment, &document.warnings, page)),
        None => {
            let _ = writeln!(out, "  {NOT_ASSESSED}");
        }
    }
    out.push_str(&brief(document, page));
    if let Some(assessment) = &document.assessment {
        out.push_str(&believed_tactics(assessment, page));
    }
    for revised in &document.revisions {
        let (before, after) = (tactics(&revised.before), tactics(&revised.after));
        let text = format!("from {before} to {after}. {}", revised.reason);
        let _ =
            writeln!(out, "\n{}", style.heading(&format!("REVISED BEFORE STEP {}", number(revised.step))));
        out.push_str(&hanging("  ", &text, page.columns));
    }
    for planned in &document.steps {
        out.push('\n');
        out.push_str(&step(planned, page));
    }
    for delivery in &document.deliveries {
        out.push('\n');
        out.push_str(&titled("WEBHOOK", &delivery.text, page));
    }
    out.push('\n');
    let error = document.error.as_deref().unwrap_or_default();
    out.push_str(&titled("END", &end_sentence(document.end, document.steps.len(), error), page));
    if let Some(now) = now {
        out.push_str(&titled("NOW", now, page));
    }
    if document.assessment.is_some() {
        let _ = writeln!(out, "{}{}", lead("STATE", page), marks(&document.state, 9, page));
    }
    out.push_str(&titled("USED", &used(&document.usage), page));
    out.push_str(&titled("OPTIONS", &chosen_options(&document.options, document.cost_model.kind), page));
    let shares = format!("{}, priority {}", one_line(&document.tenant), document.priority);
    out.push_str(&titled("TENANT", &shares, page));
    if let Some(model) = &document.model {
        out.push_str(&titled("MODEL", &model_line(model), page));
    }
    if let Some(todo) = todo(document) {
        out.push_str(&titled("NEXT", &todo.what, page));
        for command in &todo.commands {
            let _ = writeln!(out, "{command}");
        }
    }
    if document.options.mode != Mode::Interactive && !document.steps.is_empty() {
        let note = "This is an offline plan: the states after each action are the model's predictions, and nothing was \
                    executed. Check each action before it is carried out.";
        out.push_str(&titled("NOTE", note, page));
    }
    out
}

/// What has to be known before the next action; empty where there is none.
fn brief(document: &PlanDocument, page: Page) -> String {
    let lines = document.brief();
    if lines.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", page.style.heading("IN SHORT"));
    let mut told = None;
    for (topic, text) in lines {
        let label = if told == Some(topic) { "" } else { topic.label() };
        told = Some(topic);
        out.push_str(&item(label, &text, page));
    }
    out
}

/// What an operator is waited for.
struct Todo {
    what: String,
    /// One a line and never broken, since people copy them; they begin at the page's edge, where an id and a hash fit 80 columns.
    commands: Vec<String>,
}

fn todo(document: &PlanDocument) -> Option<Todo> {
    let step = document.steps.last()?;
    let id = one_line(document.incident.rsplit('/').next().unwrap_or_default());
    let index = number(step.index);
    let (what, commands) = match document.status {
        Status::AwaitingApproval => {
            let hash = one_line(step.plan_hash.get(..HASH_DIGITS).unwrap_or(&step.plan_hash));
            let commands = vec![format!("approve {id} {hash}"), format!("reject {id} REASON")];
            let what = match (step.awaited_approvals(), approvals(step)) {
                (Some((given, needed)), _) if given.is_empty() => {
                    format!(
                        "{needed} different people have to approve step {index}; it waits for one of these:"
                    )
                }
                (_, Some(approvals)) => format!("Step {index} has {approvals}, and waits for one of these:"),
                (_, None) => format!("Step {index} waits for one of these:"),
            };
            (what, commands)
        }
        Status::AwaitingOutcome => (
            format!("Step {index} is approved: carry it out, then say which facts hold:"),
            vec![format!("report-outcome {id} FACTS")],
        ),
        Status::Planning | Status::Ended | Status::Unspecified => return None,
    };
    let commands = commands.iter().map(|command| format!("countermove incidents {command}")).collect();
    Some(Todo { what, commands })
}

/// How many people have approved a step that several have to approve, and who; none where one is enough.
pub(crate) fn approvals(step: &Step) -> Option<String> {
    let (given, needed) = step.awaited_approvals()?;
    let by = if given.is_empty() { String::new() } else { format!(", by {}", one_line(&given.join(", "))) };
    Some(format!("{} of {needed} approvals{by}", given.len()))
}

/// The names of believed tactics.
fn tactics(beliefs: &[TacticBelief]) -> String {
    let names: Vec<String> = beliefs.iter().map(|belief| tactic_name(belief.name)).collect();
    if names.is_empty() { "no tactic".to_owned() } else { names.join(", ") }
}

/// Why planning ended, in a sentence; it goes on if there is no end.
pub(crate) fn end_sentence(end: Option<End>, steps: usize, error: &str) -> String {
    let after = count(steps as u64, "step");
    match end {
        None => format!("Planning goes on; {after} so far."),
        Some(End::Unspecified) => {
            format!("Planning ended after {after}, for a reason that this version does not know.")
        }
        Some(End::Recovered) => format!("Recovery is complete after {after}."),
        Some(End::StepLimit) => format!("The limit of {after} was reached before recovery was complete."),
        Some(End::NoIncident) => "The evidence shows no incident, so there is nothing to plan.".to_owned(),
        Some(End::NotUnderstood) => {
            "Nothing in the evidence is in a known form, so nothing was judged or planned.".to_owned()
        }
        Some(End::NoCandidate) if error.is_empty() => {
            format!("After {after} no usable action could be proposed.")
        }
        Some(End::NoCandidate) if steps == 0 => format!("No action could be proposed: {}.", one_line(error)),
        Some(End::NoCandidate) => format!("After {after} no action could be proposed: {}.", one_line(error)),
        Some(End::Cleared) => format!("After {after} nothing is left to recover from: {}.", one_line(error)),
        Some(End::Deadline) => format!("The deadline passed after {after}."),
        Some(End::Cancelled) => format!("Planning was cancelled after {after}."),
        Some(End::Failed) => format!("Planning failed after {after}: {}", one_line(error)),
    }
}

/// Hosts with the chance that they are compromised; none if none is likely enough to be listed.
pub(crate) fn suspects(suspects: &[Suspect]) -> Option<String> {
    let listed = suspects.iter().filter(|suspect| suspect.probability >= LEAST_SUSPECTED);
    let listed: Vec<String> = listed.map(|suspect| likely(&suspect.host, suspect.probability)).collect();
    (!listed.is_empty()).then(|| listed.join(", "))
}

/// Accounts with the chance that the attacker has them; `names` alone, where nothing says how likely that is.
fn accounts(names: &[String], held: &[HeldAccount]) -> String {
    let told = |name: &String| match held.iter().find(|held| held.account == *name) {
        Some(held) => likely(name, held.probability),
        None => name.clone(),
    };
    names.iter().map(told).collect::<Vec<_>>().join(", ")
}

fn assessed(assessment: &Assessment, warnings: &[String], page: Page) -> String {
    let mut out = hanging("  ", &assessment.description, page.columns);
    let verdict = match (assessment.is_incident, assessment.not_understood) {
        (true, _) => "this is an incident",
        (false, true) => "not understood",
        (false, false) => "this is no incident",
    };
    out.push_str(&item("verdict", verdict, page));
    for (name, list) in [
        ("attackers", assessment.attackers.join(", ")),
        ("targets", assessment.targets.join(", ")),
        ("stolen", accounts(&assessment.stolen_accounts, &assessment.held_accounts)),
        ("planted", accounts(&assessment.planted_accounts, &assessment.held_accounts)),
        ("systems", assessment.systems.join(", ")),
    ] {
        if !list.is_empty() {
            out.push_str(&item(name, &list, page));
        }
    }
    if let Some(suspects) = suspects(&assessment.compromised) {
        out.push_str(&item("suspects", &suspects, page));
    }
    for (number, attack) in assessment.attacks.iter().enumerate() {
        let groups: Vec<String> = attack.groups.iter().map(|group| format!("A{group}")).collect();
        let (who, whom) = (attack.attackers.join(", "), attack.targets.join(", "));
        let told = format!("{who} against {whom} ({})", groups.join(", "));
        out.push_str(&item(&format!("attack {}", number + 1), &told, page));
    }
    if let Some(digest) = &assessment.digest {
        out.push_str(&item("evidence", &digest_line(digest), page));
    }
    for warning in warnings {
        let text = item("warning", warning, page);
        let _ = writeln!(out, "{}", page.style.warning(text.trim_end_matches('\n')));
    }
    if !assessment.rejected.is_empty() {
        let names = assessment.rejected.join("; ");
        out.push_str(&item("removed", &format!("from what the model said: {names}"), page));
    }
    out
}

/// The tactics with the evidence that each rests on.
fn believed_tactics(assessment: &Assessment, page: Page) -> String {
    if assessment.tactics.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", page.style.heading("TACTICS"));
    for (rank, belief) in assessment.tactics.iter().enumerate() {
        let techniques: Vec<_> = belief
            .techniques
            .iter()
            .map(|technique| format!("{} {}", technique.id, technique.name))
            .collect();
        let mut line =
            format!("{}, {:.0} % of the evidence", tactic_name(belief.name), 100.0 * belief.weight);
        if !techniques.is_empty() {
            let _ = write!(line, ": {}", techniques.join("; "));
        }
        out.push_str(&hanging(&format!("  {}. ", rank + 1), &line, page.columns));
        for evidence in belief.evidence.iter().take(EVIDENCE_SHOWN) {
            let mut text = format!("{} ({}", evidence.text, count(evidence.count, "record"));
            if !evidence.because.is_empty() {
                let _ = write!(text, "; {:.0} %: {}", 100.0 * evidence.attack, evidence.because);
            }
            text.push(')');
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
    match countermove_incident::Tactic::parse(tactic.word()) {
        Some(tactic) => format!("{} ({})", tactic.name(), tactic.id()),
        None => "a tactic that this version does not know".to_owned(),
    }
}

fn digest_line(digest: &Digest) -> String {
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
    let generated = usage.sampled_tokens.saturating_add(usage.forced_tokens);
    let seconds = usage.elapsed_seconds;
    let mut line = format!(
        "{} generated ({} chosen, {} forced)",
        count(generated, "token"),
        thousands(usage.sampled_tokens),
        thousands(usage.forced_tokens)
    );
    if usage.discarded_tokens > 0 {
        let _ = write!(line, "; {} more of work that was broken off", thousands(usage.discarded_tokens));
    }
    let _ = write!(line, "; prompts of {}", count(usage.prompt_tokens, "token"));
    if usage.prompt_tokens > 0 {
        let share = 100.0 * usage.cached_tokens as f64 / usage.prompt_tokens as f64;
        let _ = write!(line, ", {share:.0} % of them cached");
    }
    let _ = write!(line, "; {}; {}", count(usage.rollouts, "rollout"), time(seconds));
    if seconds > 0.0 {
        let rate = |tokens: u64| thousands((tokens as f64 / seconds).round() as u64);
        let _ = write!(
            line,
            "; tokens/s: {} of prompts computed, {} chosen, {} forced",
            rate(usage.prompt_tokens.saturating_sub(usage.cached_tokens)),
            rate(usage.sampled_tokens),
            rate(usage.forced_tokens)
        );
    }
    line
}

fn chosen_options(options: &Options, costs: CostKind) -> String {
    let mut line = format!(
        "N={} candidates, M={} rollouts, depth {}, at most {}, temperature {}, seed {}",
        options.candidates,
        options.rollouts,
        options.max_depth,
        count(u64::from(options.max_steps), "step"),
        options.temperature,
        options.seed
    );
    line.push_str(if options.exhaustive { ", all rollouts" } else { ", raced" });
    match costs {
        CostKind::Minutes => line.push_str(", costs in minutes"),
        CostKind::Unit => line.push_str(", every action costs one"),
        CostKind::Superfluous | CostKind::Unspecified => {}
    }
    let bounds = [
        options.budget_rollouts.map(|most| count(most.into(), "rollout")),
        options.budget_tokens.map(|most| count(most, "token")),
        options.budget_seconds.map(time),
    ];
    for bound in bounds.into_iter().flatten() {
        let _ = write!(line, ", at most {bound} a decision");
    }
    if options.autonomy == Autonomy::ApproveReversible {
        line.push_str(", reversible actions approved by themselves");
    }
    line
}

fn model_line(model: &Model) -> String {
    let mut line = format!("{}, SHA-256 {}", model.name, short(&model.weights_sha256));
    if let Some(adapter) = &model.adapter_sha256 {
        let _ = write!(line, ", adapter {}", short(adapter));
    }
    if let Some(arithmetic) = &model.arithmetic {
        let _ = write!(line, ", computed with {arithmetic}");
    }
    line
}

/// Steps count from 1 for people.
pub(super) fn number(index: u32) -> u64 {
    u64::from(index) + 1
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
    use countermove_proto::v1::{self, Incident};

    use super::*;

    fn example() -> PlanDocument {
        PlanDocument::new(message(), [])
    }

    fn message() -> Incident {
        use countermove_proto::v1::{
            Assessment, ConjectureRevised, DigestReport, Entities, EvidenceLine, IncidentStatus,
            ModelIdentity, Plan, PlanEnd, PlanOptions, PlanStep, RecoveryState, Tactic, TacticBelief,
            Technique, Usage,
        };
        Incident {
            name: "incidents/018f3c1e-0000-7000-8000-000000000001".to_owned(),
            options: Some(PlanOptions {
                candidates: 3,
                rollouts: 3,
                max_depth: 10,
                max_steps: 10,
                seed: Some(7),
                temperature: Some(0.6),
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
                            attack: 0.9,
                            because: "the model +2.2".to_owned(),
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
                    discarded_tokens: 0,
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
        let text = incident(&example(), None, Page::plain(100));
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
            "A4  ssh login attempt (40 records; 90 %: the model +2.2)",
            "and 2 more groups",
            "STEP 1",
            "END      The limit of 1 step was reached",
            "STATE    [ ] contained",
            "2,000 tokens generated (1,500 chosen, 500 forced)",
            "92 % of them cached; 9 rollouts; 20 s; tokens/s: 4 of prompts computed, 75 chosen, 25 forced",
            "N=3 candidates, M=3 rollouts, depth 10, at most 10 steps, temperature 0.6, seed 7",
            "SmolLM2 135M, SHA-256 b179c9523d0e",
            "nothing was executed",
            "REVISED BEFORE STEP 2",
            "from Credential Access (TA0006) to no tactic. None of 2 predicted kinds came.",
            "NEXT     Step 1 waits for one of these: countermove incidents approve 018f3c1e-0000-7000-8000-000000000001 01234567",
        ] {
            // Where a line is broken is not what this is about.
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words(&text).contains(&words(needed)), "{needed} is missing in\n{text}");
        }
    }

    #[test]
    fn what_is_under_way_stands_beside_why_planning_goes_on() {
        let mut planning = message();
        planning.plan.as_mut().unwrap().set_end(countermove_proto::v1::PlanEnd::Unspecified);
        let document = PlanDocument::new(planning, []);
        let text = incident(&document, Some("step 2: rollouts 4/9"), Page::plain(80));
        let end = "END      Planning goes on; 1 step so far.\nNOW      step 2: rollouts 4/9\n";
        assert!(text.contains(end), "{text}");
    }

    #[test]
    fn what_takes_two_says_who_has_approved() {
        use countermove_proto::v1::{Approval, Candidate};
        let next = |approvers: &[&str]| {
            let mut waiting = message();
            let step = &mut waiting.plan.as_mut().unwrap().steps[0];
            step.candidates = vec![Candidate { approvers: 2, ..Candidate::default() }];
            let (plan_hash, approvers) = (step.plan_hash.clone(), approvers.iter());
            step.approvals = approvers
                .map(|who| Approval { approver: (*who).to_owned(), plan_hash: plan_hash.clone(), time: None })
                .collect();
            todo(&PlanDocument::new(waiting, Vec::new())).unwrap().what
        };
        assert_eq!(next(&[]), "2 different people have to approve step 1; it waits for one of these:");
        assert_eq!(next(&["ann"]), "Step 1 has 1 of 2 approvals, by ann, and waits for one of these:");
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        for columns in [80, 100] {
            let text = incident(&example(), None, Page::plain(columns));
            for line in text.lines() {
                assert!(super::super::text::width(line) <= columns, "{line}");
            }
            // What is copied stands on one line.
            let command = "countermove incidents approve 018f3c1e-0000-7000-8000-000000000001 01234567";
            assert!(text.lines().any(|line| line == command), "{text}");
        }
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let plain = incident(&example(), None, Page::plain(100));
        let coloured = incident(&example(), None, Page { columns: 100, style: Style { colour: true } });
        assert_ne!(plain, coloured);
        let mut stripped = String::new();
        for (index, part) in coloured.split("\u{1b}[").enumerate() {
            stripped.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
        }
        assert_eq!(plain, stripped);
    }

    #[test]
    fn an_incident_without_an_assessment_or_a_plan_is_shown() {
        let fresh = Incident { name: "incidents/x".to_owned(), ..Incident::default() };
        let text = incident(&PlanDocument::new(fresh, []), None, Page::plain(80));
        assert!(text.contains("not been assessed") && text.contains("Planning goes on"), "{text}");
    }

    #[test]
    fn every_end_has_its_sentence() {
        let ends: Vec<_> = End::ALL.iter().map(|(end, _)| Some(*end)).chain([None]).collect();
        let sentences: std::collections::HashSet<_> =
            ends.iter().map(|&end| end_sentence(end, 2, "a\nfault")).collect();
        assert_eq!(sentences.len(), ends.len());
        assert!(sentences.iter().all(|sentence| !sentence.contains('\n')));
    }

    #[test]
    fn every_tactic_has_a_name() {
        assert_eq!(tactic_name(v1::Tactic::LateralMovement.into()), "Lateral Movement (TA0008)");
        let unknown = Tactic::ALL.iter().filter(|(tactic, _)| tactic_name(*tactic).contains("does not know"));
        assert_eq!(unknown.count(), 1, "the one that is none of them");
    }
}
