//! `countermove-lab dataset generate`: makes training sets from simulated incidents.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countermove_dataset::{Card, DatasetError, DatasetOptions, Form, LabelOptions, generate, labels};
use countermove_planner::Templates;
use countermove_simulator::Vocabulary;

use crate::args::{DatasetArgs, DatasetCommand, DatasetForm, DatasetGenerateArgs, DatasetLabelsArgs};
use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;

/// Public data beside the project.
const USUAL_DATA: &str = "../shared/data";

/// How often progress is told.
const REFRESH: Duration = Duration::from_millis(250);

pub(crate) async fn dataset(
    arguments: DatasetArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let arguments = match arguments.command {
        DatasetCommand::Generate(arguments) => arguments,
        DatasetCommand::Labels(arguments) => return label(arguments, console).await,
    };
    let templates = Templates::load(arguments.templates.as_deref())
        .map_err(|error| Failure::Input(format!("the templates cannot be used: {error}")))?;
    let (vocabulary, source) = vocabulary(&arguments)?;
    let options = DatasetOptions {
        count: arguments.count,
        seed: arguments.set.seed,
        out: arguments.set.out.clone(),
        form: match arguments.form {
            DatasetForm::Jsonl => Form::JsonLines,
            DatasetForm::Csle => Form::Csle,
        },
        source,
    };
    let begun = Instant::now();
    let far = Arc::new(Far::default());
    let work = {
        let far = far.clone();
        tokio::task::spawn_blocking(move || {
            generate(&vocabulary, &Arc::new(templates), &options, |progress| {
                far.incidents.store(progress.incidents, Ordering::Relaxed);
                far.examples.store(progress.examples, Ordering::Relaxed);
                !far.stop.load(Ordering::Relaxed)
            })
        })
    };
    let mut work = std::pin::pin!(work);
    let bar = console.progress();
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = interrupt.wait() => far.stop.store(true, Ordering::Relaxed),
            () = tokio::time::sleep(REFRESH) => bar.set_message(told(&far, arguments.count, begun)),
        }
    };
    bar.finish_and_clear();
    let card =
        done.map_err(|error| Failure::Failed(format!("the work broke off: {error}")))?.map_err(failure)?;
    let stopped = far.stop.load(Ordering::Relaxed);
    console.line(&summary(&card, &arguments.set.out, begun.elapsed()));
    Ok(if stopped { Exit::Interrupted } else { Exit::Success })
}

/// Makes examples of public labels. It takes seconds, so nobody watches it.
async fn label(arguments: DatasetLabelsArgs, console: &Console) -> Result<Exit, Failure> {
    let templates = Arc::new(Templates::load(None).map_err(|error| Failure::Failed(error.to_string()))?);
    let options = LabelOptions {
        data: arguments.data.unwrap_or_else(|| PathBuf::from(USUAL_DATA)),
        attack: arguments.attack,
        held_out: arguments.hold_out,
        count: arguments.count,
        seed: arguments.set.seed,
        out: arguments.set.out.clone(),
    };
    let counts = tokio::task::spawn_blocking(move || labels(&templates, &options))
        .await
        .map_err(|error| Failure::Failed(format!("the work broke off: {error}")))?
        .map_err(failure)?;
    for ((split, source), count) in &counts {
        console.line(&format!("{}: {count} of {source}", split.name()));
    }
    console.line(&format!(
        "{} examples are in {}",
        counts.values().sum::<u64>(),
        arguments.set.out.display()
    ));
    Ok(Exit::Success)
}

/// How far the work is.
#[derive(Debug, Default)]
struct Far {
    incidents: AtomicU64,
    examples: AtomicU64,
    stop: AtomicBool,
}

fn told(far: &Far, count: u64, begun: Instant) -> String {
    let (incidents, examples) = (far.incidents.load(Ordering::Relaxed), far.examples.load(Ordering::Relaxed));
    let seconds = begun.elapsed().as_secs_f64();
    let left = seconds / incidents.max(1) as f64 * count.saturating_sub(incidents) as f64;
    format!(
        "{incidents} of {count} incidents, {examples} examples, {:.0}/s, {left:.0} s left",
        examples as f64 / seconds
    )
}

fn summary(card: &Card, out: &Path, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    format!(
        "{} examples of {} incidents in {seconds:.1} s ({:.0}/s) are in {}; card.md tells about them",
        card.examples(),
        card.incidents,
        card.examples() as f64 / seconds,
        out.display()
    )
}

/// Real rules and flows, or our own few; and which of them, in words.
fn vocabulary(arguments: &DatasetGenerateArgs) -> Result<(Vocabulary, String), Failure> {
    let usual = PathBuf::from(USUAL_DATA);
    match arguments.data.clone().or_else(|| usual.is_dir().then_some(usual)) {
        Some(folder) => {
            let vocabulary = Vocabulary::read(&folder).map_err(|error| Failure::Input(error.to_string()))?;
            let source = format!(
                "{} rules and {} flows of a data folder",
                vocabulary.rules().len(),
                vocabulary.flows().len()
            );
            Ok((vocabulary, source))
        }
        None => Ok((Vocabulary::builtin(), "the built-in rules and flows".to_owned())),
    }
}

fn failure(error: DatasetError) -> Failure {
    match error {
        DatasetError::NotEmpty { .. }
        | DatasetError::Malformed { .. }
        | DatasetError::Data(_)
        | DatasetError::Generator(_) => Failure::Input(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}
