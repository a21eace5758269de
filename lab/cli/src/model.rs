//! `countermove-lab model`: try models out, and merge adapters into them.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use countermove_model::{
    Engine, EngineOptions, Event, Fetch, LoadOptions, MergedType, ModelSource, OnFetch, Priority, Request,
    check_allowed_cpus, home, merge, parse_cpu_list,
};

use crate::args::{GenerateArgs, MergeArgs, MergedTypeArg, ModelArgs, ModelCommand, Which};
use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;
use countermove::render::{one_line, thousands};

/// Longest schema, in bytes.
const MAX_SCHEMA: u64 = 1 << 20;

pub(crate) async fn model(
    arguments: ModelArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let home = home(arguments.home);
    match arguments.command {
        ModelCommand::Generate(arguments) => generate(arguments, home, console, interrupt).await,
        ModelCommand::Merge(arguments) => merge_adapter(arguments, home, console, interrupt).await,
    }
}

async fn generate(
    arguments: GenerateArgs,
    home: PathBuf,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let schema = arguments.schema.as_deref().map(read_schema).transpose()?;
    let source = parse_source(&arguments.which.model)?;
    let load = load_options(&arguments.which, arguments.cpus.as_deref())?;
    let work = move |on_fetch: &mut OnFetch<'_>| {
        let model = source.load(&home, &load, on_fetch).map_err(failed)?;
        Engine::start(model, EngineOptions::default()).map_err(failed)
    };
    let Some(engine) = in_background(console, interrupt, work).await? else { return Ok(Exit::Interrupted) };
    let mut generation = engine.submit(Request {
        owner: String::new(),
        common_parts: 0,
        system: arguments.system,
        segments: vec![arguments.prompt],
        thinking_tokens: arguments.thinking_tokens,
        json_schema: schema,
        weigh_options: false,
        max_tokens: arguments.max_tokens,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        seed: arguments.seed,
        priority: Priority::Interactive,
    });
    let begun = std::time::Instant::now();
    loop {
        let event = tokio::select! {
            event = generation.next() => event,
            () = interrupt.wait() => return Ok(Exit::Interrupted),
        };
        match event {
            Some(Event::Tokens { text, .. }) => {
                print!("{}", for_terminal(&text));
                // A reader that has gone is noticed at the end.
                let _ = stdout().flush();
            }
            Some(Event::Done(Ok(completion))) => {
                println!();
                let seconds = begun.elapsed().as_secs_f64().max(1e-6);
                let cut = if completion.complete { "" } else { "; cut by --max-tokens" };
                eprintln!(
                    "{} prompt tokens, {} chosen ({:.0} a second with the prompt), {} forced{cut}",
                    completion.prompt_tokens,
                    completion.sampled_tokens,
                    completion.sampled_tokens as f64 / seconds,
                    completion.forced_tokens
                );
                return Ok(Exit::Success);
            }
            Some(Event::Done(Err(error))) => return Err(Failure::Failed(error.to_string())),
            None => return Err(Failure::Failed("the engine stopped".to_owned())),
        }
    }
}

/// Runs work on a thread of its own, with its transfers on the console; nothing if the user interrupts.
pub(crate) async fn in_background<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    console: &Console,
    interrupt: &mut Interrupt,
    work: impl FnOnce(&mut OnFetch<'_>) -> Result<T, E> + Send + 'static,
) -> Result<Option<T>, Failure> {
    let console = console.clone();
    let work = tokio::task::spawn_blocking(move || fetching(&console, work));
    tokio::select! {
        result = work => result.map_err(failed)?.map_err(failed).map(Some),
        () = interrupt.wait() => Ok(None),
    }
}

/// Runs work that may fetch a model, with the transfer of each file shown on the console.
fn fetching<T>(console: &Console, work: impl FnOnce(&mut OnFetch<'_>) -> T) -> T {
    let mut bar = None;
    let mut came = 0;
    work(&mut |event| match event {
        Fetch::Begins { file, bytes } => {
            if bar.is_none() {
                console.line(&format!("fetching {} ({})", one_line(file), mebibytes(bytes)));
            }
            came = 0;
            bar.get_or_insert_with(|| (console.progress(), one_line(file), bytes));
        }
        Fetch::Came(more) => {
            came += more;
            if let Some((bar, file, bytes)) = &bar {
                bar.set_message(format!("{file}: {} of {}", mebibytes(came), mebibytes(*bytes)));
            }
        }
        Fetch::Ended => {
            if let Some((bar, ..)) = bar.take() {
                bar.finish_and_clear();
            }
        }
    })
}

async fn merge_adapter(
    arguments: MergeArgs,
    home: PathBuf,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let source = parse_source(&arguments.model)?;
    if arguments.out.exists() {
        let name = one_line(&arguments.out.display().to_string());
        return Err(Failure::Input(format!(
            "{name} is there already; name another file or folder with --out"
        )));
    }
    let merged = match arguments.merged {
        MergedTypeArg::Q8_0 => MergedType::Q8_0,
        MergedTypeArg::F16 => MergedType::F16,
    };
    let work = move |on_fetch: &mut OnFetch<'_>| {
        let path = source.resolve(&home, on_fetch).map_err(failed)?;
        merge(&path, &arguments.adapter, &arguments.out, merged).map_err(failed)
    };
    let done = in_background(console, interrupt, work).await?;
    Ok(if done.is_some() { Exit::Success } else { Exit::Interrupted })
}

pub(crate) fn load_options(which: &Which, list: Option<&str>) -> Result<LoadOptions, Failure> {
    Ok(LoadOptions { threads: cpus(list)?, adapter: which.adapter.clone(), ..LoadOptions::default() })
}

fn cpus(list: Option<&str>) -> Result<Vec<usize>, Failure> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let wrong = |error: countermove_model::CpuListError| Failure::Input(format!("--cpus: {error}"));
    let cpus = parse_cpu_list(list).map_err(wrong)?;
    check_allowed_cpus(&cpus).map_err(wrong)?;
    Ok(cpus)
}

pub(crate) fn parse_source(model: &str) -> Result<ModelSource, Failure> {
    model.parse().map_err(|error| Failure::Input(format!("--model: {error}")))
}

fn read_schema(path: &Path) -> Result<serde_json::Value, Failure> {
    let known = std::fs::metadata(path).map_err(|error| Failure::unreadable(path, &error))?;
    let name = path.display();
    if known.len() > MAX_SCHEMA {
        return Err(Failure::Input(format!("{name} is longer than {} bytes", thousands(MAX_SCHEMA))));
    }
    let bytes = std::fs::read(path).map_err(|error| Failure::unreadable(path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::Input(format!("{name} is not JSON: {error}")))
}

/// Text of the model as it streams: lines and tabs stay, what else acts on a terminal is escaped.
fn for_terminal(text: &str) -> String {
    text.split_inclusive(['\n', '\t'])
        .map(|part| {
            let (text, end) = match part.char_indices().next_back() {
                Some((at, '\n' | '\t')) => part.split_at(at),
                _ => (part, ""),
            };
            format!("{}{end}", countermove_incident::printable(text))
        })
        .collect()
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streamed_text_keeps_its_lines_and_loses_what_acts() {
        assert_eq!(for_terminal("a\n\tb\u{1b}[2Jc\r\n"), "a\n\tb\\u{1b}[2Jc\\r\n");
        assert_eq!(for_terminal(""), "");
    }

    #[test]
    fn bad_arguments_are_told_apart_from_failures() {
        assert_eq!(parse_source("hf:x").unwrap_err().code(), 2);
        assert_eq!(cpus(Some("x")).unwrap_err().code(), 2);
    }
}
