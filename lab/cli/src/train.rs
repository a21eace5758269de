//! `countermove-lab train`: tune a model on incidents with their answers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countermove_model::{BaseModel, Device, Fetch, ModelSource, OnFetch, Part, home};
use countermove_training::{
    DataReport, EndReason, Go, LOG, Precision, Stored, TrainError, TrainEvent, TrainFiles, TrainSettings,
    Trainer, chart, split_files,
};
use indicatif::ProgressBar;

use crate::args::{PrecisionArg, Projection, TrainArgs};
use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;
use countermove::render::{one_line, thousands};

/// Steps between two lines where there is no terminal.
const LINE_STEPS: usize = 10;

pub(crate) async fn train(
    arguments: TrainArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let (work_console, work_stop) = (console.clone(), Arc::clone(&stop));
    let work = tokio::task::spawn_blocking(move || run(arguments, &work_console, &work_stop));
    tokio::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => ended,
        // The step that runs is finished and a checkpoint written; a second signal does not wait for that.
        () = interrupt.wait() => {
            console.line("ending after this step; once more to end at once");
            stop.store(true, Ordering::Relaxed);
            tokio::select! {
                ended = &mut work => ended,
                () = interrupt.wait() => return Ok(Exit::Interrupted),
            }
        }
    };
    match ended.map_err(|error| Failure::Failed(error.to_string()))?? {
        EndReason::Interrupted => Ok(Exit::Interrupted),
        _ => Ok(Exit::Success),
    }
}

fn run(arguments: TrainArgs, console: &Console, stop: &AtomicBool) -> Result<EndReason, Failure> {
    let device: Device =
        arguments.device.parse().map_err(|error| Failure::Input(format!("--device: {error}")))?;
    let source: ModelSource =
        arguments.model.parse().map_err(|error| Failure::Input(format!("--model: {error}")))?;
    let files = files(&arguments, &source)?;
    let path = source.resolve(&home(arguments.home.clone()), &mut on_fetch(console)).map_err(failed)?;
    let base = BaseModel::open(&path).map_err(failed)?;
    let settings = settings(&arguments, base.parameters(), matches!(device, Device::Cuda { .. }));
    settings.check().map_err(refused)?;
    let pool = rayon_pool(arguments.threads)?;
    pool.install(|| {
        let mut trainer = Trainer::new(&base, device, settings, files).map_err(refused)?;
        let mut view = View::new(console, arguments.quiet);
        let reason = trainer
            .run(&mut |event| {
                view.show(event);
                if stop.load(Ordering::Relaxed) { Go::Stop } else { Go::On }
            })
            .map_err(refused)?;
        view.bar.finish_and_clear();
        if let Some(target) = &arguments.chart {
            chart(&arguments.out.join(LOG), target).map_err(refused)?;
        }
        Ok(reason)
    })
}

/// Threads for the kernels.
fn rayon_pool(threads: Option<usize>) -> Result<rayon::ThreadPool, Failure> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()
        .map_err(|error| Failure::Failed(format!("the threads cannot be started: {error}")))
}

fn files(arguments: &TrainArgs, source: &ModelSource) -> Result<TrainFiles, Failure> {
    let mut train = Vec::new();
    let mut validation = arguments.validation.clone();
    for path in &arguments.data {
        if !path.is_dir() {
            train.push(path.clone());
            continue;
        }
        let found = split_files(path, "train").map_err(refused)?;
        if found.is_empty() {
            return Err(Failure::Input(format!(
                "{} holds no train-*.jsonl; make it with `countermove-lab dataset generate`, or name files of rows",
                one_line(&path.display().to_string())
            )));
        }
        train.extend(found);
        if arguments.validation.is_empty() {
            validation.extend(split_files(path, "validation").map_err(refused)?);
        }
    }
    let missing = train.iter().chain(&validation).find(|path| !path.is_file());
    if let Some(path) = missing {
        return Err(Failure::Input(format!("{} does not exist", one_line(&path.display().to_string()))));
    }
    Ok(TrainFiles { train, validation, out: arguments.out.clone(), base_name: base_name(source) })
}

/// The base's name in the adapter's configuration: never a path of this machine.
fn base_name(source: &ModelSource) -> String {
    match source {
        ModelSource::Known(known) => known.base.to_owned(),
        ModelSource::Hub { id, .. } => id.clone(),
        ModelSource::Path(path) => file_name(path),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn settings(arguments: &TrainArgs, parameters: u64, on_gpu: bool) -> TrainSettings {
    let defaults = TrainSettings::for_parameters(parameters, on_gpu);
    let rank = arguments.rank.unwrap_or(defaults.rank);
    let part = |projection: &Projection| match projection {
        Projection::Q => Part::Query,
        Projection::K => Part::Key,
        Projection::V => Part::Value,
        Projection::O => Part::AttentionOutput,
        Projection::Gate => Part::Gate,
        Projection::Up => Part::Up,
        Projection::Down => Part::Down,
    };
    let targets: Vec<Part> = arguments.targets.iter().map(part).collect();
    TrainSettings {
        rank,
        alpha: arguments.alpha.unwrap_or(2.0 * rank as f32),
        dropout: arguments.dropout.unwrap_or(defaults.dropout),
        targets: if targets.is_empty() { defaults.targets } else { targets },
        rate: arguments.learning_rate.unwrap_or(defaults.rate),
        batch: arguments.batch.unwrap_or(defaults.batch),
        pack_tokens: arguments.pack_tokens.unwrap_or(defaults.pack_tokens),
        length: arguments.length.unwrap_or(defaults.length),
        epochs: arguments.epochs.unwrap_or(defaults.epochs),
        steps: arguments.steps,
        time_limit: arguments.time_limit,
        warm_up: arguments.warm_up.unwrap_or(defaults.warm_up),
        decay: arguments.weight_decay.unwrap_or(defaults.decay),
        clip: arguments.clip.unwrap_or(defaults.clip),
        together: arguments.together.unwrap_or(defaults.together),
        validate_every: arguments.validate_every.unwrap_or(defaults.validate_every),
        validation_examples: arguments.validation_examples.unwrap_or(defaults.validation_examples),
        patience: arguments.patience,
        checkpoint_every: arguments.checkpoint_every.unwrap_or(defaults.checkpoint_every),
        recompute: arguments.recompute.unwrap_or(defaults.recompute),
        thinking: arguments.thinking.unwrap_or(defaults.thinking),
        tasks: arguments.tasks.clone(),
        examples: arguments.examples,
        seed: arguments.seed.unwrap_or(defaults.seed),
        stored: if arguments.f32 { Stored::F32 } else { Stored::Bf16 },
        precision: match arguments.precision {
            PrecisionArg::Auto => Precision::Auto,
            PrecisionArg::Bf16 => Precision::Bf16,
            PrecisionArg::F32 => Precision::F32,
        },
        start: arguments.start_from.clone(),
    }
}

/// News of the run on standard error.
struct View<'a> {
    console: &'a Console,
    bar: ProgressBar,
    quiet: bool,
    steps: usize,
}

impl<'a> View<'a> {
    fn new(console: &'a Console, quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { console.progress() };
        Self { console, bar, quiet, steps: 0 }
    }

    fn show(&mut self, event: &TrainEvent) {
        if let TrainEvent::Begins { steps, .. } = event {
            self.steps = *steps;
        }
        let Some(text) = describe(event, self.steps).filter(|_| !self.quiet) else { return };
        match event {
            TrainEvent::Step { step, .. } if self.console.is_terminal() => {
                let _ = step;
                self.bar.set_message(text);
            }
            TrainEvent::Step { step, .. } if !step.is_multiple_of(LINE_STEPS) && *step != 1 => {}
            _ => text.lines().for_each(|line| self.console.line(line)),
        }
    }
}

fn describe(event: &TrainEvent, steps: usize) -> Option<String> {
    Some(match event {
        TrainEvent::Begins { train, validation, parameters, steps, done, precision } => {
            let mut text = format!("training    {}\n", report_text(train));
            if validation.examples > 0 {
                text +=
                    &format!("validation  {} rows are looked at\n", thousands(validation.examples as u64));
            }
            let parameters = thousands(*parameters as u64);
            text += &format!("adapter     {parameters} numbers, {steps} steps, products in {precision}");
            if *done > 0 {
                text += &format!("; going on after step {done}");
            }
            text
        }
        TrainEvent::Step { step, loss, tokens_per_second, example_tokens_per_second, left, .. } => format!(
            "step {step}/{steps}  loss {loss:.4}  {tokens_per_second:.0} tokens/s ({example_tokens_per_second:.0} with \
             shared prefixes counted for each row)  {} left",
            time(*left)
        ),
        TrainEvent::Validation { step, loss, best } => {
            format!("step {step}  validation loss {loss:.4}{}", if *best { ", the best so far" } else { "" })
        }
        TrainEvent::Ends { steps, reason, seconds, tokens, best } => {
            let why = match reason {
                EndReason::Done => "all steps are done",
                EndReason::TimeLimit => "the time limit came",
                EndReason::EarlyStop => "the validation loss fell no more",
                EndReason::Interrupted => "interrupted; the same command goes on from here",
            };
            let best = best.map_or_else(String::new, |loss| format!(", best validation loss {loss:.4}"));
            let tokens = thousands(*tokens);
            format!("{steps} steps, {tokens} tokens in {}{best}: {why}", time(*seconds))
        }
    })
}

fn report_text(report: &DataReport) -> String {
    let mut text = format!(
        "{} rows, {} tokens of which {} are answers, the longest row {}",
        thousands(report.examples as u64),
        thousands(report.tokens),
        thousands(report.answer_tokens),
        thousands(report.longest as u64),
    );
    let tasks: Vec<String> = report
        .tasks
        .iter()
        .filter(|(task, _)| !task.is_empty())
        .map(|(task, count)| format!("{} {}", one_line(task), thousands(*count as u64)))
        .collect();
    if !tasks.is_empty() {
        text += &format!(" ({})", tasks.join(", "));
    }
    if report.truncated > 0 {
        text += &format!("; {} answers are cut", thousands(report.truncated as u64));
    }
    if report.left_out > 0 {
        text +=
            &format!("; {} rows are left out, their prompts are too long", thousands(report.left_out as u64));
    }
    text
}

fn time(seconds: f64) -> String {
    let seconds = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {seconds:02} s"),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

/// Shows the transfer of a model that is not here.
fn on_fetch(console: &Console) -> Box<OnFetch<'static>> {
    let console = console.clone();
    Box::new(move |event| {
        if let Fetch::Begins { file, .. } = event {
            console.line(&format!("fetching {}", one_line(file)));
        }
    })
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// Data and settings that cannot be used are the user's to mend; the rest failed.
fn refused(error: TrainError) -> Failure {
    match error {
        TrainError::Row { .. } | TrainError::Data { .. } | TrainError::Setting { .. } => {
            Failure::Input(error.to_string())
        }
        other => Failure::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn times_are_short_to_read() {
        let texts = [0.4, 61.0, 7384.0].map(time);
        assert_eq!(texts, ["0 s", "1 min 01 s", "2 h 03 min"]);
    }

    #[test]
    fn an_adapter_never_names_a_path_of_this_machine() {
        let source = ModelSource::Path(PathBuf::from("/home/someone/models/m.gguf"));
        assert_eq!(base_name(&source), "m.gguf");
    }
}
