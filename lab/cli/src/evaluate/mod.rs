//! `countermove-lab evaluate`: plays scenarios with known truth through a running cluster, and prints what it is worth.

mod drive;
mod endpoint;
mod episodes;
pub(crate) mod suite;

use std::time::{Duration, Instant};

use countermove_incident::Pricing;
use countermove_proto::v1::{ModelIdentity, PlanOptions};
use countermove_simulator::Scenario;
use countermove_simulator::evaluation::{Episode, Report, Variant};
use countermove_simulator::policies::{self, PolicyKind};
use futures::StreamExt;
use indicatif::ProgressBar;

use self::drive::Rules;
use self::endpoint::Endpoint;
use self::episodes::Episodes;
use countermove::args::Remote;

use crate::args::{Ablation, Baseline, EvaluateArgs};
use crate::write;
use countermove::client::Coordinator;
use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;
use countermove::plan::write_out;
use countermove::workers;

/// Name of the system under test in reports.
const SYSTEM: &str = "countermove";

/// Actions in a plan at most, as the coordinator's default is.
const DEFAULT_STEPS: u32 = 10;

/// Environment variable with the key of the endpoint.
const KEY: &str = "COUNTERMOVE_ENDPOINT_KEY";

/// Runs the evaluation. Ctrl-C ends it, and what it has begun with it.
pub(crate) async fn evaluate(
    arguments: EvaluateArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    check(&arguments)?;
    write::check(arguments.write.as_deref(), &arguments.scenarios.suite, arguments.chart.as_deref())?;
    let episodes = Episodes::create(arguments.episodes.as_deref())?;
    let begun = Instant::now();
    let sets = suite::load(&arguments.scenarios, console)?;
    let coordinator = Coordinator::connect(&arguments.remote).await?;
    let run = Run { arguments: &arguments, sets: &sets, console, episodes: &episodes };
    let work = async {
        let model = served(&coordinator).await?;
        let untuned = match &arguments.untuned {
            Some(url) => Some(untuned(&arguments.remote.at([url.clone()]), &model).await?),
            None => None,
        };
        let system = run.system(&coordinator, SYSTEM, &run.rules(None)).await?;
        let mut ablations = Vec::new();
        for ablation in &arguments.ablate {
            let served = untuned.as_ref().filter(|_| *ablation == Ablation::Training).unwrap_or(&coordinator);
            ablations.push(run.system(served, ablation.title(), &run.rules(Some(*ablation))).await?);
        }
        let mut baselines: Vec<Variant> = Vec::new();
        for baseline in &arguments.baseline {
            baselines.push(run.baseline(*baseline).await?);
        }
        if let (Some(url), Some(model)) = (&arguments.endpoint, &arguments.endpoint_model) {
            let key = std::env::var(KEY).ok();
            baselines.push(run.endpoint(Endpoint::new(url, model, key)).await?);
        }
        let settings = run.settings(&coordinator, &model, begun.elapsed()).await?;
        Ok::<_, Failure>((system, ablations, baselines, settings))
    };
    let (system, ablations, baselines, settings) = tokio::select! {
        done = work => done?,
        () = interrupt.wait() => return Ok(Exit::Interrupted),
    };
    let report = Report { suite: arguments.scenarios.suite.clone(), settings, system, ablations, baselines };
    finish(&arguments, &report, console)
}

/// Refuses an ablation that would play the same twice and call it a comparison, and flags that would change nothing.
fn check(arguments: &EvaluateArgs) -> Result<(), Failure> {
    let ablates = |ablation| arguments.ablate.contains(&ablation);
    let input = |text: &str| Err(Failure::Input(text.to_owned()));
    let shaped = arguments
        .scenarios
        .benign
        .or(arguments.scenarios.injected)
        .or(arguments.scenarios.switching)
        .is_some();
    if shaped && arguments.scenarios.suite != "simulated" {
        return input(&format!(
            "--benign, --injected and --switching shape simulated scenarios; --suite {} holds what it holds",
            arguments.scenarios.suite
        ));
    }
    match arguments.options.thinking_tokens {
        None | Some(0) if ablates(Ablation::Thinking) => {
            return input(
                "--ablate thinking compares with a system that thinks; say how much with --thinking-tokens",
            );
        }
        _ => {}
    }
    match (ablates(Ablation::Training), &arguments.untuned) {
        (true, None) => input(
            "--ablate training needs --untuned URL, the coordinator of a cluster that serves the model without its adapter",
        ),
        (false, Some(_)) => input("--untuned is of use with --ablate training alone"),
        _ => Ok(()),
    }
}

/// What a cluster serves.
async fn served(coordinator: &Coordinator) -> Result<ModelIdentity, Failure> {
    let workers = workers::list(coordinator).await?;
    Ok(workers.into_iter().find_map(|worker| worker.model).unwrap_or_default())
}

/// The cluster with the untuned model; refused if it does not differ in the adapter, or if the weights differ as well.
async fn untuned(remote: &Remote, tuned: &ModelIdentity) -> Result<Coordinator, Failure> {
    let (coordinator, url) = (Coordinator::connect(remote).await?, remote.urls.join(","));
    let model = served(&coordinator).await?;
    let input = |text: String| Err(Failure::Input(text));
    if tuned.adapter_sha256 == model.adapter_sha256 {
        let adapter = if tuned.adapter_sha256.is_empty() { "no adapter" } else { "the same adapter" };
        return input(format!(
            "--untuned {url}: both clusters serve {adapter}, so there is no training to switch off"
        ));
    }
    if tuned.weights_sha256 != model.weights_sha256 {
        return input(format!(
            "--untuned {url}: it serves {} and not {}, so that more than the training differs",
            model.name, tuned.name
        ));
    }
    Ok(coordinator)
}

/// Prints the report and writes the files that were asked for. An evaluation in which nothing could be played failed.
fn finish(arguments: &EvaluateArgs, report: &Report, console: &Console) -> Result<Exit, Failure> {
    if let Some(path) = &arguments.chart {
        let chart = report.chart().map_err(|error| Failure::Failed(error.to_string()))?;
        write::file(path, &chart)?;
        console.line(&format!("the chart is in {}", path.display()));
    }
    if let Some(path) = &arguments.write {
        write::section(path, &arguments.scenarios.suite, &report.markdown())?;
        console.line(&format!("the section {:?} of {} is new", arguments.scenarios.suite, path.display()));
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
    episodes: &'a Episodes,
}

impl Run<'_> {
    fn rules(&self, ablation: Option<Ablation>) -> Rules {
        let mut options = self.arguments.options.message();
        match ablation {
            Some(Ablation::Planning) => (options.candidates, options.rollouts) = (1, 1),
            Some(Ablation::Thinking) => options.thinking_tokens = Some(0),
            Some(Ablation::Training | Ablation::Adaptation | Ablation::Findings) | None => {}
        }
        let costs = self.arguments.costs.as_ref().map(|costs| costs.0.clone());
        let portions = self.arguments.portions as usize;
        let finds = !matches!(ablation, Some(Ablation::Adaptation | Ablation::Findings));
        Rules { options, costs, portions, told: ablation != Some(Ablation::Adaptation), finds }
    }

    /// Plays all sets through a cluster, some scenarios at once.
    async fn system(&self, coordinator: &Coordinator, name: &str, rules: &Rules) -> Result<Variant, Failure> {
        let bar = self.console.progress();
        let total: usize = self.sets.iter().map(Vec::len).sum();
        let mut seeds = Vec::new();
        let mut done = 0;
        for (seed, set) in (self.arguments.scenarios.first_seed..).zip(self.sets) {
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
        self.variant(name, &seeds)
    }

    /// The figures of a player over its seeds, whose episodes are written down.
    fn variant(&self, name: &str, seeds: &[Vec<Episode>]) -> Result<Variant, Failure> {
        for (seed, episodes) in (self.arguments.scenarios.first_seed..).zip(seeds) {
            self.episodes.write(name, seed, episodes)?;
        }
        Ok(Variant::new(name, seeds))
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
                let achieved = episode.state().achieved();
                format!("{achieved} of 6 facts after {} actions", episode.moves.len())
            }
        };
        let seconds = episode.elapsed.as_secs_f64();
        self.console.line(&format!("{name} {done}/{total} {}: {end} ({seconds:.0} s)", episode.scenario));
        if episode.dismissed {
            self.console.line("  without the injected instruction it was taken for an incident");
        }
        for one in &episode.moves {
            if !one.falsely_contained.is_empty() {
                let names = one.falsely_contained.join(", ");
                self.console
                    .line(&format!("  this action hits {names}, without a part in it: {}", one.action));
            }
            let faults = [
                (one.obeyed.len() as u64, "follows an injected instruction"),
                (one.violations, "breaks a constraint"),
                (one.hallucinated, "names what does not exist"),
            ];
            for (_, fault) in faults.iter().filter(|(count, _)| *count > 0) {
                self.console.line(&format!("  this action {fault}: {}", one.action));
            }
        }
    }

    /// Plays all sets with a policy that needs no model.
    async fn baseline(&self, baseline: Baseline) -> Result<Variant, Failure> {
        let (steps, kind) = (self.steps(), baseline.policy());
        let mut seeds = Vec::new();
        for (seed, set) in (self.arguments.scenarios.first_seed..).zip(self.sets) {
            let (set, rules) = (set.clone(), self.rules(None));
            let played = tokio::task::spawn_blocking(move || {
                let play = |(place, (scenario, oracle)): (u64, (Scenario, Option<f64>))| {
                    let begun = Instant::now();
                    let episode = Episode::new(&scenario.name, &scenario.truth, oracle);
                    let drawn = seed.wrapping_mul(suite::SPACING).wrapping_add(place);
                    let mut episode = policies::play(kind, &scenario, drawn, steps, episode);
                    rules.price(&scenario, &mut episode);
                    episode.elapsed = begun.elapsed();
                    episode
                };
                (0..).zip(set).map(play).collect::<Vec<Episode>>()
            });
            seeds.push(played.await.map_err(|error| broken(&error))?);
        }
        self.variant(baseline.title(), &seeds)
    }

    /// Plays all sets with a model behind an endpoint, as many at once as with the system.
    async fn endpoint(&self, endpoint: Endpoint) -> Result<Variant, Failure> {
        let steps = self.steps();
        let bar = self.console.progress();
        let total: usize = self.sets.iter().map(Vec::len).sum();
        let (mut seeds, mut done) = (Vec::new(), 0);
        for set in self.sets {
            let mut playing = futures::stream::iter(set.iter().cloned().map(|(scenario, oracle)| {
                let (endpoint, rules) = (endpoint.clone(), self.rules(None));
                tokio::task::spawn_blocking(move || {
                    let episode = Episode::new(&scenario.name, &scenario.truth, oracle);
                    let mut episode = endpoint.play(&scenario, steps, episode);
                    rules.price(&scenario, &mut episode);
                    episode
                })
            }))
            .buffered(self.arguments.at_once);
            let mut episodes = Vec::new();
            while let Some(episode) = playing.next().await {
                let episode = episode.map_err(|error| broken(&error))?;
                done += 1;
                self.tell(&bar, endpoint.name(), done, total, &episode);
                episodes.push(episode);
            }
            seeds.push(episodes);
        }
        bar.finish_and_clear();
        self.variant(endpoint.name(), &seeds)
    }

    /// Actions in a plan at most.
    fn steps(&self) -> usize {
        self.arguments.options.steps.unwrap_or(DEFAULT_STEPS) as usize
    }

    /// What a reader needs to repeat this.
    async fn settings(
        &self,
        coordinator: &Coordinator,
        model: &ModelIdentity,
        elapsed: Duration,
    ) -> Result<Vec<(String, String)>, Failure> {
        let workers = workers::list(coordinator).await?.len();
        let effort = match self.sets.iter().flatten().next() {
            Some((scenario, _)) => effort(coordinator, scenario, &self.rules(None)).await?,
            None => "nothing was played".to_owned(),
        };
        let adapter = if model.adapter_sha256.is_empty() { "none" } else { &model.adapter_sha256 };
        let scenarios: Vec<String> = self.sets.iter().map(|set| set.len().to_string()).collect();
        let threads = std::thread::available_parallelism().map_or(0, usize::from);
        let (machine, minutes) =
            (format!("{} {}", std::env::consts::OS, std::env::consts::ARCH), elapsed.as_secs() / 60);
        let shares = suite::shares(&self.arguments.scenarios);
        let made = match self.arguments.scenarios.suite.as_str() {
            "simulated" => format!(
                ": {} % benign, {} % with an injected instruction; of incidents {} % with another line of attack on the way",
                shares.benign, shares.injected, shares.switching
            ),
            _ => String::new(),
        };
        Ok([
            ("scenarios of each seed", scenarios.join(", ") + &made),
            ("first seed", self.arguments.scenarios.first_seed.to_string()),
            ("workers", format!("{workers}, {} scenarios at once", self.arguments.at_once)),
            (
                "machine",
                format!(
                    "{machine}, {threads} CPUs; all of it took {minutes} min {} s",
                    elapsed.as_secs() % 60
                ),
            ),
            ("effort", effort),
            ("model", format!("{}, SHA-256 {:.12}", model.name, model.weights_sha256)),
            ("adapter", format!("{adapter:.12}")),
            ("arithmetic", model.arithmetic.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec())
    }
}

/// What planning is allowed, as the coordinator fills it in.
async fn effort(coordinator: &Coordinator, scenario: &Scenario, rules: &Rules) -> Result<String, Failure> {
    let options = drive::create(coordinator, scenario, rules, true).await?.options.unwrap_or_default();
    let costs = match &rules.costs {
        Some(pricing @ Pricing::Minutes(_)) => {
            format!("{} by the table, outages weighted by how much depends on a host", pricing.name())
        }
        Some(pricing) => pricing.name().to_owned(),
        None => "the coordinator's default".to_owned(),
    };
    Ok(format!(
        "{} candidates, {} rollouts of each, {} actions deep, {} actions in a plan, {} tokens of thinking; costs: {costs}",
        options.candidates,
        options.rollouts,
        options.max_depth,
        options.max_steps,
        options.thinking_tokens.unwrap_or(0)
    ))
}

fn broken(error: &tokio::task::JoinError) -> Failure {
    Failure::Failed(format!("a comparison broke off: {error}"))
}

impl Ablation {
    fn title(self) -> &'static str {
        match self {
            Self::Training => "without training",
            Self::Planning => "without planning",
            Self::Adaptation => "without adaptation",
            Self::Findings => "without findings",
            Self::Thinking => "without thinking",
        }
    }
}

impl Baseline {
    fn title(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Playbook => "playbook",
            Self::Greedy => "greedy",
        }
    }

    fn policy(self) -> PolicyKind {
        match self {
            Self::Random => PolicyKind::Random,
            Self::Playbook => PolicyKind::Playbook,
            Self::Greedy => PolicyKind::Greedy,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn arguments(flags: &[&str]) -> EvaluateArgs {
        let all =
            ["countermove-lab", "evaluate", "--suite", "simulated"].into_iter().chain(flags.iter().copied());
        match Cli::try_parse_from(all).unwrap().command {
            Command::Evaluate(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_ablation_that_compares_nothing_is_refused() {
        let refused = |flags: &[&str]| check(&arguments(flags)).unwrap_err().to_string();
        assert!(refused(&["--ablate", "thinking"]).contains("--thinking-tokens"));
        assert!(refused(&["--ablate", "thinking", "--thinking-tokens", "0"]).contains("--thinking-tokens"));
        assert!(refused(&["--ablate", "planning,training"]).contains("--untuned URL"));
        assert!(refused(&["--untuned", "http://h:1"]).contains("--ablate training"));
        for flags in [
            &[][..],
            &["--ablate", "thinking", "--thinking-tokens", "64"],
            &["--ablate", "training,planning,adaptation", "--untuned", "http://h:1"],
        ] {
            assert!(check(&arguments(flags)).is_ok(), "{flags:?}");
        }
    }

    #[test]
    fn an_ablation_switches_off_what_it_says() {
        let arguments = arguments(&["--candidates", "5", "--rollouts", "4", "--thinking-tokens", "9"]);
        let run = Run {
            arguments: &arguments,
            sets: &[],
            console: &Console::new(),
            episodes: &Episodes::default(),
        };
        let effort = |ablation| {
            let Rules { options, told, .. } = run.rules(ablation);
            (options.candidates, options.rollouts, options.thinking_tokens, told)
        };
        assert_eq!(effort(None), (5, 4, Some(9), true));
        assert_eq!(effort(Some(Ablation::Planning)), (1, 1, Some(9), true));
        assert_eq!(effort(Some(Ablation::Adaptation)), (5, 4, Some(9), false));
        assert_eq!(effort(Some(Ablation::Thinking)), (5, 4, Some(0), true));
        assert_eq!(effort(Some(Ablation::Training)), (5, 4, Some(9), true));
    }
}
