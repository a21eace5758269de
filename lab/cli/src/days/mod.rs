//! `countermove-lab days`: judges by days of sites that somebody has labelled line by line, without a baseline and with one learnt from the
//! site's ordinary days, beside whoever goes by the severity that the log states.
//!
//! Each ordinary day is judged as well, by a baseline of the others.

mod plans;
mod scores;
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countermove::client::Coordinator;
use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;
use countermove::plan::write_out;
use countermove_incident::Tactic;
use countermove_planner::{Evidence, Templates};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use self::plans::{Hits, Planned};
use self::scores::{HostNames, Scores, Verdicts};
use self::site::{Day, Site};
use crate::args::DaysArgs;
use crate::perceived::Perceived;
use crate::reader;

/// Plans that are made at the same time.
const AT_ONCE: usize = 4;
/// The highest severity.
const SEVERE: u8 = 1;

/// A group of a log.
#[derive(Clone, Debug)]
struct Group {
    text: String,
    /// How likely it is part of an attack.
    said: f64,
    because: String,
    is_attack: bool,
}

/// What is said of a day.
#[derive(Clone, Debug, Default)]
struct Judged {
    is_incident: bool,
    groups: Vec<Group>,
    /// How likely each host has fallen, by its one name.
    hosts: BTreeMap<String, f64>,
    accounts: Vec<String>,
    attackers: Vec<String>,
    tactics: Vec<Tactic>,
    names: HostNames,
}

/// How a day is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By perception, without a baseline.
    Alone,
    /// With one.
    WithBaseline,
    /// By the severity that its records state.
    BySeverity,
}

const WAYS: [How; 3] = [How::Alone, How::WithBaseline, How::BySeverity];

impl How {
    fn name(self) -> &'static str {
        match self {
            How::Alone => "without a baseline",
            How::WithBaseline => "with a baseline",
            How::BySeverity => "by severity",
        }
    }
}

/// What was made of all days in one way.
#[derive(Clone, Debug, Default)]
struct Column {
    scores: Scores,
    hits: Hits,
}

pub(crate) async fn days(
    arguments: DaysArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let sites = site::read(&arguments.sites)?;
    let coordinator = match arguments.plans {
        true => Some(Coordinator::connect(&arguments.remote).await?),
        false => None,
    };
    let started = reader::start(&arguments.reader, console, interrupt).await?;
    let Some((engine, mut readings)) = started else { return Ok(Exit::Interrupted) };
    let templates = Arc::new(Templates::load(None).map_err(|error| Failure::Failed(error.to_string()))?);
    let all: Vec<(&Site, &Day)> =
        sites.iter().flat_map(|site| site.days.iter().map(move |day| (site, day))).collect();
    let bar = console.progress();
    let mut judged: Vec<(&Site, &Day, [Judged; 3])> = Vec::new();
    let judging = async {
        for (number, (site, day)) in all.iter().enumerate() {
            bar.set_message(format!("{number} of {} days", all.len()));
            let mut evidence = Evidence {
                system_description: site.system.clone(),
                log: day.log.clone(),
                ..Evidence::default()
            };
            let alone = Perceived::of(&evidence, &engine, &mut readings, &templates).await?;
            evidence.baseline.clone_from(&day.baseline);
            let with = Perceived::of(&evidence, &engine, &mut readings, &templates).await?;
            let severe = by_severity(day, &alone);
            judged.push((site, day, [of(day, alone), of(day, with), severe]));
        }
        Ok::<_, Failure>(())
    };
    tokio::select! {
        done = judging => done?,
        () = interrupt.wait() => return Ok(Exit::Interrupted),
    }
    let mut plans = BTreeMap::new();
    if let Some(coordinator) = &coordinator {
        let planning = planned(coordinator, console, &arguments, &judged, &bar);
        plans = tokio::select! {
            planned = planning => planned?,
            () = interrupt.wait() => return Ok(Exit::Interrupted),
        };
    }
    bar.finish_and_clear();
    let mut columns: [Column; 3] = Default::default();
    let mut lines = String::new();
    for (at, (site, day, ways)) in judged.iter().enumerate() {
        for (way, (judged, column)) in ways.iter().zip(&mut columns).enumerate() {
            column.scores.add(day, judged);
            let planned = plans.get(&(at, way));
            if let Some(planned) = planned {
                column.hits.add(day, judged, planned);
            }
            if arguments.json {
                let how = WAYS.get(way).map(|how| how.name());
                lines += &format!("{}\n", as_json((site, day), how, judged, planned));
            }
        }
    }
    let text = if arguments.json { lines } else { report(&sites, &columns, arguments.plans) };
    write_out(text.as_bytes())?;
    Ok(Exit::Success)
}

/// Plans of the labelled days by place and way; by severity whoever a severe record names inside is taken down.
async fn planned(
    coordinator: &Coordinator,
    console: &Console,
    arguments: &DaysArgs,
    judged: &[(&Site, &Day, [Judged; 3])],
    bar: &indicatif::ProgressBar,
) -> Result<BTreeMap<(usize, usize), Planned>, Failure> {
    let mut plans = BTreeMap::new();
    let mut asked = Vec::new();
    for (at, (site, day, [.., severe])) in judged.iter().enumerate().filter(|(_, (_, day, _))| !day.is_plain)
    {
        let hosts: BTreeSet<String> = severe.hosts.keys().cloned().collect();
        plans.insert((at, 2), Planned { cut_off: hosts.clone(), taken_down: hosts, ..Planned::default() });
        let baseline = day.baseline.as_ref().map(|baseline| baseline.to_text());
        asked.extend([(at, 0, *site, *day, None), (at, 1, *site, *day, baseline)]);
    }
    let all = asked.len();
    let options = arguments.options.message();
    let planning =
        futures::stream::iter(asked.into_iter().map(|(at, way, site, day, baseline)| async move {
            let planned = plans::plan(coordinator, console, options, (site, day), baseline).await?;
            Ok::<_, Failure>(((at, way), planned))
        }));
    let mut planning = planning.buffer_unordered(AT_ONCE);
    while let Some((key, planned)) = planning.try_next().await? {
        plans.insert(key, planned);
        bar.set_message(format!("{} of {all} plans", plans.len()));
    }
    Ok(plans)
}

/// What perception says of a day.
fn of(day: &Day, perceived: Perceived) -> Judged {
    let Perceived { groups, assessment } = perceived;
    let roles = &assessment.entities;
    let names = HostNames::of(roles);
    let mut hosts = BTreeMap::<String, f64>::new();
    for (host, said) in &roles.compromised {
        let known = hosts.entry(names.one(host)).or_default();
        *known = known.max(f64::from(*said));
    }
    Judged {
        is_incident: assessment.is_incident,
        groups: groups
            .into_iter()
            .map(|group| Group {
                said: f64::from(group.judgement.attack),
                is_attack: day.holds_attack(&group.records),
                text: group.judgement.text,
                because: group.judgement.because,
            })
            .collect(),
        hosts,
        accounts: roles.stolen_accounts.iter().chain(&roles.planted_accounts).cloned().collect(),
        attackers: roles.attackers.iter().filter(|name| !roles.systems.contains(name)).cloned().collect(),
        tactics: assessment.tactics.iter().map(|belief| belief.tactic).collect(),
        names,
    }
}

/// What whoever goes by severity says: an incident is a day with a record of the highest, and all are the attack's that have it.
fn by_severity(day: &Day, perceived: &Perceived) -> Judged {
    let names = HostNames::of(&perceived.assessment.entities);
    let mut judged = Judged { names, ..Judged::default() };
    for group in &perceived.groups {
        let records = || group.records.iter().filter_map(|at| day.log.records.get(*at));
        let severity = records().filter_map(|record| record.priority).min();
        let said = match severity {
            Some(SEVERE) => 1.0,
            Some(2) => 0.5,
            Some(3) => 0.25,
            _ => 0.0,
        };
        if severity == Some(SEVERE) {
            judged.is_incident = true;
            let inside = group.judgement.from_inside.iter().chain(&group.judgement.aimed_at);
            judged.hosts.extend(inside.map(|host| (judged.names.one(host), 1.0)));
            judged.accounts.extend(records().map(|record| record.account.clone()));
            judged.attackers.extend(group.judgement.outside.iter().cloned());
            judged.tactics.extend(records().flat_map(|record| record.tactics.iter().copied()));
        }
        judged.groups.push(Group {
            text: group.judgement.text.clone(),
            said,
            because: String::new(),
            is_attack: day.holds_attack(&group.records),
        });
    }
    judged.accounts.retain(|account| !account.is_empty());
    judged
}

fn as_json(
    (site, day): (&Site, &Day),
    how: Option<&str>,
    judged: &Judged,
    planned: Option<&Planned>,
) -> serde_json::Value {
    let group = |group: &Group| json!({"text": group.text, "said": group.said, "because": group.because, "is_attack": group.is_attack});
    json!({
        "site": site.name,
        "day": day.name,
        "is_plain": day.is_plain,
        "how": how,
        "labels": day.labels,
        "taken_for_incident": judged.is_incident,
        "hosts": judged.hosts,
        "fallen": judged.names.all(&day.labels.compromised),
        "accounts": judged.accounts,
        "attackers": judged.attackers,
        "tactics": judged.tactics.iter().map(|tactic| tactic.name()).collect::<Vec<_>>(),
        "groups": judged.groups.iter().map(group).collect::<Vec<_>>(),
        "plan": planned,
    })
}

/// The figures, as a table of Markdown.
fn report(sites: &[Site], columns: &[Column; 3], with_plans: bool) -> String {
    let of = |verdicts: &Verdicts| format!("{} of {}", verdicts.accused, verdicts.all);
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let percent =
        |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{:.0} %", 100.0 * value));
    let right = |(said, so): (usize, usize)| match said {
        0 => "0".to_owned(),
        _ => format!("{said}; {:.0} %", 100.0 * so as f64 / said as f64),
    };
    type Figure<'a> = Box<dyn Fn(&Column) -> String + 'a>;
    let mut rows: Vec<(&str, Figure<'_>)> = vec![
        ("incidents found", Box::new(|column| of(&column.scores.incidents))),
        ("ordinary days that look risky taken for incidents", Box::new(|column| of(&column.scores.risky))),
        ("plain ordinary days taken for incidents", Box::new(|column| of(&column.scores.plain))),
        (
            "an incident above a risky day, of pairs",
            Box::new(|column| percent(column.scores.days.in_order())),
        ),
        (
            "a group of an attack above another, of pairs",
            Box::new(|column| percent(column.scores.groups.in_order())),
        ),
        ("loss over groups", Box::new(|column| number(column.scores.groups.loss()))),
        ("of who says the mean", Box::new(|column| number(column.scores.groups.loss_of_the_mean()))),
        ("groups said with 80 % and more; right", Box::new(|column| right(column.scores.groups.from(0.8)))),
        (
            "squared error of what is said of hosts",
            Box::new(|column| number(column.scores.hosts.squared_error())),
        ),
        (
            "hosts said to have fallen with 50 % and more; right",
            Box::new(|column| right(column.scores.hosts.from(0.5))),
        ),
        ("accounts: F1", Box::new(|column| percent(column.scores.accounts.f1()))),
        ("attackers: F1", Box::new(|column| percent(column.scores.attackers.f1()))),
        ("tactics: micro-F1", Box::new(|column| percent(column.scores.tactics.f1()))),
    ];
    if with_plans {
        rows.extend([
            (
                "incidents in which a plan cuts off somebody inside without a part",
                Box::new(|column: &Column| of(&column.hits.cut_off)) as Figure<'_>,
            ),
            ("cuts off or cleans", Box::new(|column| of(&column.hits.taken_down))),
            (
                "risky days on which a plan cuts off somebody inside",
                Box::new(|column| of(&column.hits.cut_off_ordinary)),
            ),
            ("cuts off or cleans", Box::new(|column| of(&column.hits.taken_down_ordinary))),
            ("fallen hosts in the plan", Box::new(|column| of(&column.hits.hosts))),
            ("taken accounts in the plan", Box::new(|column| of(&column.hits.accounts))),
        ]);
    }
    let mut text = format!("{} sites\n\n|", sites.len());
    for how in WAYS {
        text += &format!(" | {}", how.name());
    }
    text += " |\n|---|---:|---:|---:|\n";
    for (name, figure) in rows {
        text += &format!("| {name}");
        for column in columns {
            text += &format!(" | {}", figure(column));
        }
        text += " |\n";
    }
    text
}
