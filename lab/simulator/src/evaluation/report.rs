//! Figures over seeds, and how they are written down.

use std::fmt::Write;

use countermove_chart::{Bar, DrawError, Panel, bars};
use countermove_incident::{RecoveryState, Tactic};
use serde_json::{Map, Value, json};

use super::confusion::Confusion;
use super::episode::Episode;
use super::measures::{MEASURES, Measure, Unit, fact_figures, measure, tactics};
use super::paired::{Difference, Outcomes, Paired, outcomes};

/// Measures that the chart shows.
const CHARTED: [&str; 9] = [
    "recovered_share",
    "charged_cost",
    "charged_minutes",
    "achieved_facts",
    "superfluous_actions",
    "constraint_violations",
    "tactic_micro_f1",
    "state_exact_match",
    "seconds",
];

/// Mean and standard deviation of a figure that was had several times, such as once a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean of those that there are.
    pub mean: f64,
    /// Sample standard deviation; absent with one.
    pub std: Option<f64>,
}

impl Spread {
    /// Over these; absent if there are none.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let n = figures.len() as f64;
        if figures.is_empty() {
            return None;
        }
        let mean = figures.iter().sum::<f64>() / n;
        let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
        Some(Self { mean, std: (figures.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) })
    }
}

/// One system, or one way of running it, over all seeds.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Name, such as `countermove`, `without planning` or `random`.
    pub name: String,
    /// Figures, in the order of [`MEASURES`].
    pub measures: Vec<Option<Spread>>,
    /// What was said of each tactic, over all seeds.
    pub tactics: Vec<(Tactic, Confusion)>,
    /// For each fact of recovery, over all seeds: the share of incidents in which it holds at the end, and how well it
    /// was predicted.
    pub facts: [(Option<f64>, Confusion); 6],
    /// Scenarios, over all seeds.
    pub scenarios: usize,
    /// Scenarios that a fault ended early, with the fault of the first.
    pub failures: (usize, Option<String>),
    outcomes: Outcomes,
}

impl Variant {
    /// From the episodes of each seed.
    pub fn new(name: &str, seeds: &[Vec<Episode>]) -> Self {
        let figures: Vec<Vec<Option<f64>>> = seeds.iter().map(|episodes| measure(episodes)).collect();
        let measures = (0..MEASURES.len()).map(|place| {
            let known: Vec<f64> = figures.iter().filter_map(|seed| *seed.get(place)?).collect();
            Spread::of(&known)
        });
        let all: Vec<Episode> = seeds.iter().flatten().cloned().collect();
        let errors: Vec<&String> = all.iter().filter_map(|episode| episode.error.as_ref()).collect();
        Self {
            name: name.to_owned(),
            measures: measures.collect(),
            tactics: tactics(&all),
            facts: fact_figures(&all),
            scenarios: all.len(),
            failures: (errors.len(), errors.first().map(|error| (*error).clone())),
            outcomes: outcomes(seeds),
        }
    }

    /// Another system against this one, on the incidents that both acted on; none if there is no such incident.
    pub fn against(&self, other: &Variant) -> Option<Paired> {
        Paired::new(&self.outcomes, &other.outcomes)
    }

    fn figures(&self) -> impl Iterator<Item = (&'static Measure, Option<Spread>)> + '_ {
        MEASURES.iter().zip(self.measures.iter().copied())
    }

    fn json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("scenarios".into(), json!(self.scenarios));
        object.insert("failures".into(), json!(self.failures.0));
        for (measure, spread) in self.figures() {
            let value = spread.map_or(Value::Null, |spread| json!({"mean": spread.mean, "std": spread.std}));
            object.insert(measure.name.into(), value);
        }
        let tactics: Map<String, Value> = self
            .named_tactics()
            .map(|(tactic, counts)| {
                let figures = json!({
                    "name": tactic.name(),
                    "precision": counts.precision(),
                    "recall": counts.recall(),
                    "f1": counts.f1(),
                    "cases": counts.true_positives + counts.false_negatives,
                });
                (tactic.id().to_owned(), figures)
            })
            .collect();
        object.insert("tactics".into(), tactics.into());
        let facts: Map<String, Value> = RecoveryState::NAMES
            .iter()
            .zip(&self.facts)
            .map(|(name, (held, predicted))| {
                let figures = json!({
                    "held_share": held,
                    "precision": predicted.precision(),
                    "recall": predicted.recall(),
                    "f1": predicted.f1(),
                });
                ((*name).to_owned(), figures)
            })
            .collect();
        object.insert("facts".into(), facts.into());
        object
    }

    /// Tactics that were named or at work.
    fn named_tactics(&self) -> impl Iterator<Item = (Tactic, Confusion)> + '_ {
        self.tactics.iter().copied().filter(|(_, counts)| *counts != Confusion::default())
    }
}

/// An evaluation.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was played.
    pub suite: String,
    /// How it was run: names and values, such as seeds, incidents, model and machine.
    pub settings: Vec<(String, String)>,
    /// The system under test.
    pub system: Variant,
    /// The system with a part of it switched off.
    pub ablations: Vec<Variant>,
    /// What it is compared with.
    pub baselines: Vec<Variant>,
}

impl Report {
    fn variants(&self) -> impl Iterator<Item = &Variant> {
        [&self.system].into_iter().chain(&self.ablations).chain(&self.baselines)
    }

    /// Whether anybody has the figure at this place.
    fn has(&self, place: usize) -> bool {
        self.variants().any(|variant| variant.measures.get(place).is_some_and(Option::is_some))
    }

    /// The system's figures by their plain names, each `{"mean", "std"}` or null; the same for each ablation and
    /// baseline beneath `ablations` and `baselines`, with what it was charged more on the same incidents beneath `paired`.
    pub fn json(&self) -> Value {
        let by_name = |variants: &[Variant]| -> Value {
            let all = variants.iter().map(|variant| {
                let mut object = variant.json();
                let paired = self.system.against(variant).map_or(Value::Null, |paired| paired.json());
                object.insert("paired".into(), paired);
                (variant.name.clone(), object.into())
            });
            Value::Object(all.collect())
        };
        let settings: Map<String, Value> =
            self.settings.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let mut object = Map::new();
        object.insert("suite".into(), self.suite.clone().into());
        object.insert("settings".into(), settings.into());
        object.extend(self.system.json());
        object.insert("ablations".into(), by_name(&self.ablations));
        object.insert("baselines".into(), by_name(&self.baselines));
        object.into()
    }

    /// Tables in Markdown, which read well in a terminal too.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.settings {
            let _ = writeln!(out, "- {name}: {value}");
        }
        out.push('\n');
        let names: Vec<&str> = self.variants().map(|variant| variant.name.as_str()).collect();
        let mut rows = vec![row("", names.iter().copied()), rule(names.len())];
        for (place, measure) in MEASURES.iter().enumerate() {
            if measure.unit == Unit::Minutes && !self.has(place) {
                continue;
            }
            let cells = self
                .variants()
                .map(|variant| print(measure.unit, variant.measures.get(place).copied().flatten()));
            rows.push(row(&format!("{} ({})", measure.title, measure.over), cells));
        }
        out.push_str(&aligned(&rows));
        out.push_str(&self.paired());
        out.push_str(
            "\nFacts of recovery, over all seeds; precision, recall and F1 are those of the predictions:\n\n",
        );
        let head = ["hold at the end", "precision", "recall", "F1"];
        let mut rows = vec![row("", head), rule(head.len())];
        for (name, (held, predicted)) in RecoveryState::NAMES.iter().zip(&self.system.facts) {
            let held = held.map_or("-".into(), |share| format!("{:.0} %", share * 100.0));
            let figures = [predicted.precision(), predicted.recall(), predicted.f1()];
            rows.push(row(name, [held].into_iter().chain(figures.map(two_digits))));
        }
        out.push_str(&aligned(&rows));
        out.push_str("\nTactics, over all seeds:\n\n");
        let head = ["precision", "recall", "F1", "cases"];
        let mut rows = vec![row("", head), rule(head.len())];
        for (tactic, counts) in self.system.named_tactics() {
            let figures = [counts.precision(), counts.recall(), counts.f1()].map(two_digits);
            let cases = (counts.true_positives + counts.false_negatives).to_string();
            rows.push(row(tactic.name(), figures.into_iter().chain([cases])));
        }
        out.push_str(&aligned(&rows));
        for variant in self.variants() {
            if let (count @ 1.., Some(first)) = &variant.failures {
                let _ = writeln!(
                    out,
                    "\n{}: a fault ended {count} of {} scenarios early; the first: {first}",
                    variant.name, variant.scenarios
                );
            }
        }
        out
    }

    /// The others against the system, on the same incidents.
    fn paired(&self) -> String {
        let head = ["incidents", "charged more", "as a share", "by luck", "recovered more", "by luck"];
        let mut rows = vec![row("", head), rule(head.len())];
        for variant in self.ablations.iter().chain(&self.baselines) {
            let Some(paired) = self.system.against(variant) else { continue };
            let of = |Difference { mean, interval: (low, high), .. }: Difference, scale: f64| {
                format!("{:+.2} ({:+.2} to {:+.2})", mean * scale, low * scale, high * scale)
            };
            let luck = |difference: Difference| format!("{:.4}", difference.chance);
            let cells = [
                paired.incidents.to_string(),
                of(paired.charged, 1.0),
                paired.saved.map_or("-".into(), |share| format!("{:+.0} %", 100.0 * share)),
                luck(paired.charged),
                of(paired.recovered, 100.0) + " %",
                luck(paired.recovered),
            ];
            rows.push(row(&variant.name, cells));
        }
        if rows.len() == 2 {
            return String::new();
        }
        let title = "What the others were charged more than the system on the incidents that both acted on (minutes with --costs \
                     FILE), recovered or not, and recovered from more, with 95 % intervals; by luck is the chance of such a \
                     difference if neither were better";
        format!("\n{title}:\n\n{}", aligned(&rows))
    }

    /// Bars for the figures that matter most, as SVG.
    ///
    /// # Errors
    /// [`DrawError`] if they cannot be drawn.
    pub fn chart(&self) -> Result<String, DrawError> {
        let charted = MEASURES.iter().enumerate().filter(|(place, measure)| {
            CHARTED.contains(&measure.name) && (measure.unit != Unit::Minutes || self.has(*place))
        });
        let panels: Vec<Panel> = charted
            .map(|(place, measure)| Panel {
                title: measure.title.to_owned(),
                note: measure.over.to_owned(),
                bars: self
                    .variants()
                    .map(|variant| {
                        let spread = variant.measures.get(place).copied().flatten();
                        Bar {
                            label: variant.name.clone(),
                            value: spread.map(|spread| spread.mean),
                            deviation: spread.and_then(|spread| spread.std),
                            text: print(measure.unit, spread),
                        }
                    })
                    .collect(),
            })
            .collect();
        bars(&format!("Evaluation: {}", self.suite), &panels)
    }
}

fn print(unit: Unit, spread: Option<Spread>) -> String {
    let Some(Spread { mean, std }) = spread else { return "-".into() };
    let figure = |value: f64| match unit {
        Unit::Share => format!("{:.0} %", value * 100.0),
        Unit::Cost => format!("{value:.2}"),
        Unit::Minutes => format!("{value:.0}"),
        Unit::Count if value >= 100.0 => format!("{value:.0}"),
        Unit::Count => format!("{value:.2}"),
        Unit::Seconds => format!("{value:.1} s"),
    };
    match std {
        Some(std) => format!("{} ± {}", figure(mean), figure(std)),
        None => figure(mean),
    }
}

fn two_digits(figure: Option<f64>) -> String {
    figure.map_or("-".into(), |figure| format!("{figure:.2}"))
}

fn row<T: Into<String>>(first: &str, cells: impl IntoIterator<Item = T>) -> Vec<String> {
    [first.to_owned()].into_iter().chain(cells.into_iter().map(Into::into)).collect()
}

fn rule(columns: usize) -> Vec<String> {
    row("---", (0..columns).map(|_| "---"))
}

/// The rows of a Markdown table, columns made equally wide.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        out.push('|');
        for (column, width) in widths.iter().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            let fill = if cell == "---" { "-".repeat(*width) } else { format!("{cell:width$}") };
            let _ = write!(out, " {fill} |");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let episode = |verdict| Episode {
            is_incident: true,
            true_tactics: vec![Tactic::Impact],
            tactics: Some(vec![Tactic::Impact]),
            verdict: Some(verdict),
            tokens: Some(1234),
            ..Episode::default()
        };
        let failed = Episode { error: Some("the worker was lost".into()), ..episode(true) };
        Report {
            suite: "simulated".into(),
            settings: vec![("seeds".into(), "2".into())],
            system: Variant::new("countermove", &[vec![episode(true), episode(false)], vec![failed]]),
            ablations: vec![Variant::new("without planning", &[vec![episode(false)]])],
            baselines: Vec::new(),
        }
    }

    #[test]
    fn a_spread_needs_two_seeds() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[2.0]), Some(Spread { mean: 2.0, std: None }));
        assert_eq!(Spread::of(&[1.0, 3.0]), Some(Spread { mean: 2.0, std: Some(2.0_f64.sqrt()) }));
    }

    #[test]
    fn json_has_the_plain_names_and_nulls_for_what_cannot_be_had() {
        let json = report().json();
        assert_eq!(json["missed_incidents"]["mean"], 0.25);
        assert_eq!(json["tactic_micro_f1"], json!({"mean": 1.0, "std": 0.0}));
        assert_eq!(json["false_alarms"], Value::Null);
        assert_eq!(json["failures"], 1);
        assert_eq!(json["tactics"]["TA0040"]["cases"], 3);
        assert_eq!(json["facts"]["is_recovered"]["held_share"], 0.0);
        assert_eq!(json["facts"]["is_recovered"]["f1"], Value::Null);
        assert_eq!(
            json["ablations"]["without planning"]["missed_incidents"],
            json!({"mean": 1.0, "std": null})
        );
    }

    #[test]
    fn print_shows_spreads_dashes_and_faults() {
        let text = report().markdown();
        assert!(text.contains("25 % ± 35 %") && text.contains("1234 ± 0"), "{text}");
        assert!(
            text.contains("a fault ended 1 of 3 scenarios early; the first: the worker was lost"),
            "{text}"
        );
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        // Without a table of minutes there are no rows for them.
        let first_table = rows.iter().take(MEASURES.len());
        let widths: std::collections::BTreeSet<_> = first_table.map(|row| row.chars().count()).collect();
        assert_eq!(widths.len(), 1, "{text}");
    }

    #[test]
    fn the_chart_has_a_bar_for_each_figure_that_is_there() {
        let chart = report().chart().unwrap();
        assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"));
        assert!(chart.contains("without planning"));
        assert_eq!(chart.matches("height=\"16\"").count(), {
            let report = report();
            let has = |variant: &Variant| {
                let charted = variant.figures().filter(|(measure, _)| CHARTED.contains(&measure.name));
                charted.filter(|(_, spread)| spread.is_some()).count()
            };
            report.variants().map(has).sum::<usize>()
        });
    }
}
