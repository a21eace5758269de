//! `countermove evaluate`: plays scenarios with known truth through a running cluster, and prints what it is worth.

mod drive;
mod suite;
mod write;

use countermove_proto::v1::PlanOptions;
use countermove_simulator::Scenario;
use countermove_simulator::evaluation::{Episode, Report, Variant};
use futures::StreamExt;
use indicatif::ProgressBar;

use self::drive::Rules;
use crate::args::{Ablation, EvaluateArgs};
use crate::client::Coordinator;
use crate::console::Console;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::plan::write_out;
use crate::workers;

/// Name of the system under test in reports.
const SYSTEM: &str = "countermove";

/// Runs the evaluation. Ctrl-C ends it, and what it has begun with it.
pub(crate) async fn evaluate(
    arguments: EvaluateArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let sets = suite::load(&arguments, console)?;
    let coordinator = Coordinator::connect(&arguments.remote.url).await?;
    let untuned = match (arguments.ablate.contains(&Ablation::Training), &arguments.untuned) {
        (true, Some(url)) => Some(Coordinator::connect(url).await?),
        (true, None) => {
            return Err(Failure::Input(
                "--ablate training needs --untuned URL, the coordinator of a cluster that serves the model without its adapter"
                    .to_owned(),
            ));
        }
        (false, _) => None,
    };
    let run = Run { arguments: &arguments, sets: &sets, console };
    let work = async {
        let system = run.system(&coordinator, SYSTEM, &run.rules(None)).await;
        let mut ablations = Vec::new();
        for ablation in &arguments.ablate {
            let served = untuned.as_ref().filter(|_| *ablation == Ablation::Training).unwrap_or(&coordinator);
            ablations.push(run.system(served, ablation.title(), &run.rules(Some(*ablation))).await);
        }
        let settings = run.settings(&coordinator).await?;
        Ok::<_, Failure>((system, ablations, settings))
    };
    let (system, ablations, settings) = tokio::select! {
        done = work => done?,
        () = interrupt.wait() => return Ok(Exit::Interrupted),
    };
    let baselines = Vec::new();
    let report = Report { suite: arguments.suite.clone(), settings, system, ablations, baselines };
    finish(&arguments, &report, console)
}

/// Prints the report and writes the files that were asked for. An evaluation in which nothing could be played failed.
fn finish(arguments: &EvaluateArgs, report: &Report, console: &Console) -> Result<Exit, Failure> {
    if let Some(path) = &arguments.chart {
        write::file(path, &report.chart())?;
        console.line(&format!("the chart is in {}", path.display()));
    }
    if let Some(path) = &arguments.write {
        write::section(path, &arguments.suite, &report.markdown())?;
        console.line(&format!("the section {:?} of {} is new", arguments.suite, path.display()));
    }
    let text = if arguments.json { format!("{:#}\n", report.json()) } else { report.markdown() };
    write_out(text.as_bytes())?;
    let (failed, first) = &report.system.failures;
    match first {
        Some(first) if *failed == report.system.scenarios => Err(Failure::Failed(format!(
            "no scenario could be played to its end; the first ended with: {first}"
        ))),
        _ => Ok(Exit::Success),
    }
}

/// One evaluation.
struct Run<'a> {
    arguments: &'a EvaluateArgs,
    /// Scenarios of each seed, with the cost of the cheapest plan.
    sets: &'a [Vec<(Scenario, Option<f64>)>],
    console: &'a Console,
}

impl Run<'_> {
    fn rules(&self, ablation: Option<Ablation>) -> Rules {
        let mut options = self.arguments.options.message();
        match ablation {
            Some(Ablation::Planning) => (options.candidates, options.rollouts) = (1, 1),
            Some(Ablation::Thinking) => options.thinking_tokens = Some(0),
            Some(Ablation::Training | Ablation::Adaptation) | None => {}
        }
        Rules { options, told: ablation != Some(Ablation::Adaptation) }
    }

    /// Plays all sets through a cluster, some scenarios at once.
    async fn system(&self, coordinator: &Coordinator, name: &str, rules: &Rules) -> Variant {
        let bar = self.console.progress();
        let total: usize = self.sets.iter().map(Vec::len).sum();
        let mut seeds = Vec::new();
        let mut done = 0;
        for (seed, set) in (self.arguments.first_seed..).zip(self.sets) {
            let options = PlanOptions { seed: Some(seed), ..rules.options };
            let rules = Rules { options, ..rules.clone() };
            let mut episodes: Vec<(usize, Episode)> = Vec::new();
            let mut playing =
                futures::stream::iter(
                    set.iter().enumerate().map(|(place, (scenario, oracle))| {
                        let episode = Episode::new(&scenario.name, &scenario.truth, *oracle);
                        let rules = &rules;
                        async move {
                            (place, drive::play(coordinator, self.console, scenario, rules, episode).await)
                        }
                    }),
                )
                .buffer_unordered(self.arguments.at_once);
            while let Some((place, episode)) = playing.next().await {
                done += 1;
                self.tell(&bar, name, done, total, &episode);
                episodes.push((place, episode));
            }
            // The order of arrival is chance; sums of floating-point numbers are to be the same each time.
            episodes.sort_by_key(|(place, _)| *place);
            seeds.push(episodes.into_iter().map(|(_, episode)| episode).collect());
        }
        bar.finish_and_clear();
        Variant::new(name, &seeds)
    }

    fn tell(&self, bar: &ProgressBar, name: &str, done: usize, total: usize, episode: &Episode) {
        bar.set_message(format!("{name}: {done} of {total} scenarios"));
        if self.arguments.quiet {
            return;
        }
        let end = match (&episode.error, episode.verdict) {
            (Some(error), _) => format!("failed: {error}"),
            (None, Some(false)) if episode.is_incident => "missed: taken for benign".to_owned(),
            (None, Some(false)) => "rightly taken for benign".to_owned(),
            (None, _) if !episode.is_incident => "false alarm".to_owned(),
            (None, _) if episode.recovered() => format!("recovered at cost {:.0}", episode.cost()),
            (None, _) => {
                let achieved = episode.moves.last().map_or(0, |last| last.after.achieved());
                format!("{achieved} of 6 facts after {} actions", episode.moves.len())
            }
        };
        let seconds = episode.elapsed.as_secs_f64();
        self.console.line(&format!("{name} {done}/{total} {}: {end} ({seconds:.0} s)", episode.scenario));
    }

    /// What a reader needs to repeat this.
    async fn settings(&self, coordinator: &Coordinator) -> Result<Vec<(String, String)>, Failure> {
        let workers = workers::list(coordinator).await?;
        let model = workers.iter().find_map(|worker| worker.model.clone()).unwrap_or_default();
        let adapter = if model.adapter_sha256.is_empty() { "none" } else { &model.adapter_sha256 };
        let scenarios: Vec<String> = self.sets.iter().map(|set| set.len().to_string()).collect();
        let chosen = |value: Option<u32>, name: &str| {
            format!("{} {name}", value.map_or("the default number of".into(), |value| value.to_string()))
        };
        let options = &self.arguments.options;
        Ok([
            ("scenarios of each seed", scenarios.join(", ")),
            ("first seed", self.arguments.first_seed.to_string()),
            ("workers", workers.len().to_string()),
            ("scenarios at once", self.arguments.at_once.to_string()),
            (
                "effort",
                [
                    chosen(options.candidates, "candidates"),
                    chosen(options.rollouts, "rollouts"),
                    chosen(options.steps, "steps at most"),
                ]
                .join(", "),
            ),
            ("model", format!("{}, SHA-256 {:.12}", model.name, model.weights_sha256)),
            ("adapter", format!("{adapter:.12}")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec())
    }
}

impl Ablation {
    fn title(self) -> &'static str {
        match self {
            Self::Training => "without training",
            Self::Planning => "without planning",
            Self::Adaptation => "without adaptation",
            Self::Thinking => "without thinking",
        }
    }
}
