//! `countermove-lab perceive`: what perception makes of scenarios whose truth is known, group by group, and what it concludes.
//!
//! It asks the model by itself, without a cluster, in the planner's own words, so that perception can be looked at in seconds.

mod single;
mod weights;

use std::path::PathBuf;
use std::sync::Arc;

use countermove_dataset::{LabelOptions, LabelledLog, Split, labelled_logs, single_records};
use countermove_incident::{Baseline, Tactic, Timestamp};
use countermove_model::Engine;
use countermove_planner::{Assessment, Evidence, GroupJudgement, Reading, Templates};
use countermove_simulator::{Scenario, Showing};
use serde_json::json;

use crate::args::{PerceiveArgs, SplitArg};
use crate::evaluate::suite;
use crate::perceived::{Group, Perceived};
use crate::reader;
use crate::readings::Readings;
use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;
use countermove::plan::write_out;

/// A log whose truth is known.
struct Case {
    name: String,
    evidence: Evidence,
    is_incident: bool,
    /// Tactics that the log shows.
    tactics: Vec<Tactic>,
    /// What each record shows; none if it is part of no attack.
    shows: Vec<Option<Tactic>>,
}

/// A group of a log, and what it shows by the truth.
struct Judged {
    reading: Reading,
    judgement: GroupJudgement,
    /// When its records came, those that say.
    times: Vec<Timestamp>,
    /// None if it is part of no attack.
    shows: Option<Tactic>,
}

/// A log as perception sees it.
struct Seen {
    case: Case,
    groups: Vec<Judged>,
    assessment: Assessment,
}

pub(crate) async fn perceive(
    arguments: PerceiveArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let split = match arguments.split {
        SplitArg::Train => Split::Train,
        SplitArg::Validation => Split::Validation,
        SplitArg::Test => Split::Test,
    };
    if arguments.weights && split == Split::Test {
        return Err(Failure::Input(
            "--weights fits on --split train or validation, and judges by test".into(),
        ));
    }
    let cases = cases(&arguments, split, console)?;
    let held_out =
        if arguments.weights { self::cases(&arguments, Split::Test, console)? } else { Vec::new() };
    let started = reader::start(&arguments.reader, console, interrupt).await?;
    let Some((engine, mut readings)) = started else { return Ok(Exit::Interrupted) };
    let templates = Arc::new(Templates::load(None).map_err(failed)?);
    let baseline = match &arguments.baseline {
        Some(text) => Some(Arc::new(Baseline::parse(&text.0).map_err(failed)?)),
        None => None,
    };
    let mut seen = Vec::new();
    for mut cases in [cases, held_out] {
        cases.iter_mut().for_each(|case| case.evidence.baseline.clone_from(&baseline));
        let bar = console.progress();
        let total = cases.len();
        let mut of_split = Vec::new();
        for (number, case) in cases.into_iter().enumerate() {
            bar.set_message(format!("{number} of {total} logs"));
            of_split.push(tokio::select! {
                seen = see(&engine, &mut readings, &templates, case) => seen?,
                () = interrupt.wait() => return Ok(Exit::Interrupted),
            });
        }
        bar.finish_and_clear();
        seen.push(of_split);
    }
    if let ([_, held_out], Some(path)) = (&seen[..], &arguments.rows) {
        let written = std::fs::write(path, weights::table(held_out));
        written.map_err(|error| Failure::Failed(format!("--rows {}: {error}", path.display())))?;
    }
    let text: String = match &seen[..] {
        [single, ..] if arguments.single > 0 => single::report(single),
        [fit, held_out] if arguments.weights => weights::report(fit, held_out),
        _ if arguments.json => seen.iter().flatten().map(|seen| format!("{}\n", as_json(seen))).collect(),
        _ => seen.iter().flatten().map(told).collect(),
    };
    write_out(text.as_bytes())?;
    Ok(Exit::Success)
}

/// The logs of a split: scenarios, and logs laid out from labelled records.
fn cases(arguments: &PerceiveArgs, split: Split, console: &Console) -> Result<Vec<Case>, Failure> {
    let labels = |count| LabelOptions {
        data: arguments.scenarios.data.clone().unwrap_or_else(|| PathBuf::from(suite::USUAL_DATA)),
        attack: arguments.attack.clone(),
        held_out: arguments.hold_out.clone(),
        count,
        seed: 1,
        out: PathBuf::new(),
    };
    let refused = |error: countermove_dataset::DatasetError| Failure::Input(error.to_string());
    if arguments.single > 0 {
        let logs = single_records(&labels(arguments.single), split, &single::TIMES).map_err(refused)?;
        return Ok(logs.into_iter().flatten().map(of_log).collect());
    }
    let scenarios = suite::scenarios(&arguments.scenarios, split, console)?.into_iter().flatten();
    let mut cases: Vec<Case> = scenarios.map(|scenario| of_scenario(&scenario)).collect::<Result<_, _>>()?;
    if arguments.labelled > 0 {
        let logs = labelled_logs(&labels(arguments.labelled), split).map_err(refused)?;
        cases.extend(logs.into_iter().map(of_log));
    }
    Ok(if arguments.in_pairs { cases.chunks_exact(2).map(joined).collect() } else { cases })
}

/// Logs of two systems as one log of one system.
fn joined(cases: &[Case]) -> Case {
    let mut evidence = Evidence::default();
    let mut tactics: Vec<Tactic> = cases.iter().flat_map(|case| &case.tactics).copied().collect();
    tactics.sort_unstable();
    tactics.dedup();
    for Case { evidence: own, .. } in cases {
        evidence.system_description += &own.system_description;
        evidence.system_description.push('\n');
        evidence.log.records.extend(own.log.records.iter().cloned());
        evidence.constraints.extend(own.constraints.iter().cloned());
    }
    Case {
        name: cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>().join(" and "),
        evidence,
        is_incident: cases.iter().any(|case| case.is_incident),
        tactics,
        shows: cases.iter().flat_map(|case| &case.shows).copied().collect(),
    }
}

fn of_scenario(scenario: &Scenario) -> Result<Case, Failure> {
    let log = scenario.evidence().map_err(failed)?;
    let showing = Showing::new(&scenario.truth);
    let shows = log.records.iter().map(|record| showing.of(record)).collect();
    Ok(Case {
        name: scenario.name.clone(),
        evidence: Evidence {
            system_description: scenario.system.clone(),
            log,
            constraints: scenario.constraints(),
            notes: Vec::new(),
            baseline: None,
        },
        is_incident: scenario.truth.incident,
        tactics: scenario.truth.tactics_shown(),
        shows,
    })
}

fn of_log(log: LabelledLog) -> Case {
    let mut tactics: Vec<Tactic> = log.shows.iter().flatten().copied().collect();
    tactics.sort_unstable();
    tactics.dedup();
    Case {
        name: log.name,
        evidence: log.evidence,
        is_incident: !tactics.is_empty(),
        tactics,
        shows: log.shows.iter().map(|shown| shown.first().copied()).collect(),
    }
}

async fn see(
    engine: &Engine,
    readings: &mut Readings,
    templates: &Arc<Templates>,
    case: Case,
) -> Result<Seen, Failure> {
    let perceived = Perceived::of(&case.evidence, engine, readings, templates).await?;
    let judged = |Group { reading, judgement, records }: Group| {
        let shows = records.iter().find_map(|position| case.shows.get(*position).copied().flatten());
        let of_log = |position: &usize| case.evidence.log.records.get(*position);
        let times = records.iter().filter_map(|position| of_log(position)?.time).collect();
        Judged { reading, judgement, times, shows }
    };
    let groups = perceived.groups.into_iter().map(judged).collect();
    let assessment = perceived.assessment;
    Ok(Seen { case, groups, assessment })
}

fn names(tactics: impl IntoIterator<Item = Tactic>) -> Vec<&'static str> {
    tactics.into_iter().map(Tactic::name).collect()
}

fn as_json(seen: &Seen) -> serde_json::Value {
    let Seen { case, groups, assessment } = seen;
    let groups: Vec<_> = groups
        .iter()
        .map(|Judged { reading, judgement, times, shows }| {
            let tactics: serde_json::Map<String, serde_json::Value> = reading
                .tactics
                .iter()
                .map(|(tactic, probability)| (tactic.name().to_owned(), json!(probability)))
                .collect();
            json!({
                "text": judgement.text,
                "class": judgement.classification,
                "is_alert": judgement.is_alert,
                "is_serious": judgement.is_serious,
                "states": names(judgement.states.iter().copied()),
                "everyday": reading.everyday,
                "tactics": tactics,
                "attack": judgement.attack,
                "because": judgement.because,
                "evidence": judgement.evidence.iter().map(|piece| json!([piece.name, piece.value])).collect::<Vec<_>>(),
                "shows": shows.map(Tactic::name),
                "outside": judgement.outside,
                "from_inside": judgement.from_inside,
                "aimed_at": judgement.aimed_at,
                "first": judgement.first.map(|first| first.to_string()),
                "times": times.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "scenario": case.name,
        "is_incident": case.is_incident,
        "tactics": names(case.tactics.iter().copied()),
        "taken_for_incident": assessment.is_incident,
        "not_understood": assessment.not_understood,
        "named": names(assessment.tactics.iter().map(|belief| belief.tactic)),
        "attackers": assessment.entities.attackers,
        "targets": assessment.entities.targets,
        "compromised": assessment.entities.compromised,
        "held": assessment.entities.held,
        "attacks": assessment.attacks.iter().map(|attack| json!([attack.attackers, attack.targets])).collect::<Vec<_>>(),
        "groups": groups,
    })
}

/// A scenario for a person: the groups with what is likely of each, then the conclusion against the truth.
fn told(seen: &Seen) -> String {
    let Seen { case, groups, assessment } = seen;
    let mut text = format!("{}\n", case.name);
    for Judged { reading, judgement, shows, .. } in groups {
        let likely: Vec<String> = reading
            .tactics
            .iter()
            .filter(|(_, probability)| *probability >= 0.05)
            .map(|(tactic, probability)| format!("{tactic} {probability:.2}"))
            .collect();
        text += &format!(
            "  {:.2} {}\n       everyday {:.2}, {}; {}{}\n",
            judgement.attack,
            judgement.text,
            reading.everyday,
            likely.join(", "),
            judgement.because,
            shows.map(|tactic| format!("; shows {tactic}")).unwrap_or_default()
        );
    }
    let list = |tactics: Vec<&str>| if tactics.is_empty() { "none".to_owned() } else { tactics.join(", ") };
    let verdict = |is_incident: bool| if is_incident { "an incident" } else { "no incident" };
    text += &format!(
        "  said: {}; tactics {}\n  true: {}; tactics {}\n\n",
        verdict(assessment.is_incident),
        list(names(assessment.tactics.iter().map(|belief| belief.tactic))),
        verdict(case.is_incident),
        list(names(case.tactics.iter().copied())),
    );
    text
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}
