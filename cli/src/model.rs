//! `countermove model`: fetch the default model, look at models, try them out.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use countermove_model::{
    BenchOptions, Class, DEFAULT_MODEL_FILE, DEFAULT_MODEL_SHA256, Engine, EngineOptions, Event, Fetch,
    LoadOptions, MergedType, ModelInfo, ModelSource, OnFetch, Request, bench, check_allowed_cpus, home,
    merge, parse_cpu_list,
};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::args::{BenchArgs, GenerateArgs, MergeArgs, MergedTypeArg, ModelArgs, ModelCommand, Which};
use crate::console::Console;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::plan::write_out;
use crate::render::{one_line, thousands};

/// The fetch: the same text as the script that the repository ships.
const FETCH: &str = include_str!("../../scripts/fetch_model.py");

/// Longest schema, in bytes.
const MAX_SCHEMA: u64 = 1 << 20;

pub(crate) async fn model(
    arguments: ModelArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let home = home(arguments.home);
    match arguments.command {
        ModelCommand::Fetch { python } => fetch(&python, &home, interrupt).await,
        ModelCommand::Info { which, json } => info(which, home, json, console, interrupt).await,
        ModelCommand::Generate(arguments) => generate(arguments, home, console, interrupt).await,
        ModelCommand::Bench(arguments) => measure(arguments, home, console, interrupt).await,
        ModelCommand::Merge(arguments) => merge_adapter(arguments, home, console, interrupt).await,
    }
}

/// Runs the fetch script with Python, which brings TLS and pip's settings. The script's messages and its progress go to
/// standard error as they are.
async fn fetch(python: &Path, home: &Path, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
    let program = python.display();
    let mut child = Command::new(python)
        .args(["-", "--file", DEFAULT_MODEL_FILE, "--sha256", DEFAULT_MODEL_SHA256, "--home"])
        .arg(home)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Failure::Failed(format!(
                "{program} cannot be run ({error}); install Python 3 with pip, or name it with --python"
            ))
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(FETCH.as_bytes())
            .await
            .map_err(|error| Failure::Failed(format!("{program} does not take the fetch script: {error}")))?;
    }
    let status = tokio::select! {
        status = child.wait() => status,
        // Ctrl-C reaches the script as well; a SIGTERM does not, so it is ended here. What has come stays.
        () = interrupt.wait() => {
            let _ = child.kill().await;
            return Ok(Exit::Interrupted);
        }
    };
    match status {
        Ok(status) if status.success() => Ok(Exit::Success),
        Ok(_) => Ok(Exit::Failure),
        Err(error) => Err(Failure::Failed(format!("{program} was lost: {error}"))),
    }
}

async fn info(
    which: Which,
    home: PathBuf,
    json: bool,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let source = parse_source(&which.model)?;
    let options = LoadOptions { adapter: which.adapter, ..LoadOptions::default() };
    let found = in_background(console, interrupt, move |on_fetch| source.inspect(&home, &options, on_fetch));
    let Some((path, info)) = found.await? else { return Ok(Exit::Interrupted) };
    let text = if json { json_line(&info)? } else { info_text(&path, &info) };
    write_out(text.as_bytes())?;
    Ok(Exit::Success)
}

fn info_text(path: &Path, info: &ModelInfo) -> String {
    let kv = |tokens: u64| mebibytes(info.kv_bytes_per_token as u64 * tokens);
    let mut lines = vec![
        ("file", path.display().to_string()),
        ("name", one_line(&info.name)),
        ("architecture", one_line(&info.architecture)),
        ("parameters", thousands(info.parameters)),
        ("context", format!("{} tokens", thousands(info.context_length as u64))),
        ("vocabulary", format!("{} tokens", thousands(info.vocab_size as u64))),
        ("weights", format!("SHA-256 {}", info.weights_sha256)),
        ("tokenizer", format!("SHA-256 {}", info.tokenizer_sha256)),
        ("on disk", mebibytes(info.file_bytes)),
        ("in memory", format!("{} of weights", mebibytes(info.weight_bytes))),
        ("keys and values", format!("{} for each 1,024 tokens; shared prefixes count once", kv(1024))),
    ];
    if let Some(adapter) = &info.adapter_sha256 {
        lines.push(("adapter", format!("SHA-256 {adapter}")));
    }
    lines.iter().map(|(name, value)| format!("{name:<16} {value}\n")).collect()
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
        system: arguments.system,
        segments: vec![arguments.prompt],
        thinking_tokens: arguments.thinking_tokens,
        json_schema: schema,
        max_tokens: arguments.max_tokens,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        seed: arguments.seed,
        class: Class::Decision,
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
                let tokens = completion.sampled_tokens + completion.forced_tokens;
                let cut = if completion.complete { "" } else { "; cut by --max-tokens" };
                eprintln!(
                    "{} prompt tokens, {tokens} generated ({} forced), {:.0} tokens/s with the prompt{cut}",
                    completion.prompt_tokens,
                    completion.forced_tokens,
                    tokens as f64 / begun.elapsed().as_secs_f64().max(1e-6)
                );
                return Ok(Exit::Success);
            }
            Some(Event::Done(Err(error))) => return Err(Failure::Failed(error.to_string())),
            None => return Err(Failure::Failed("the engine stopped".to_owned())),
        }
    }
}

async fn measure(
    arguments: BenchArgs,
    home: PathBuf,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let source = parse_source(&arguments.which.model)?;
    let load = load_options(&arguments.which, arguments.cpus.as_deref())?;
    let options = BenchOptions {
        prefix: arguments.prefix,
        sequences: arguments.sequences,
        decode: arguments.decode,
        ..BenchOptions::default()
    };
    let work = move |on_fetch: &mut OnFetch<'_>| {
        let model = source.load(&home, &load, on_fetch).map_err(failed)?;
        bench(model, &options).map_err(failed)
    };
    let Some(report) = in_background(console, interrupt, work).await? else { return Ok(Exit::Interrupted) };
    let text = if arguments.json {
        json_line(&report)?
    } else {
        format!(
            "prefill   {:>8.1} tokens/s  ({} tokens in {:.2} s)\n\
             decode    {:>8.1} tokens/s  ({} sequences of {} tokens in {:.2} s)\n\
             memory    {} at most, {} of keys and values\n",
            report.prefill_tokens_per_s,
            report.prefix,
            report.prefill_seconds,
            report.decode_tokens_per_s,
            report.sequences,
            report.decode,
            report.decode_seconds,
            mebibytes(report.peak_rss_bytes),
            mebibytes(report.kv_bytes as u64)
        )
    };
    write_out(text.as_bytes())?;
    Ok(Exit::Success)
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

fn load_options(which: &Which, list: Option<&str>) -> Result<LoadOptions, Failure> {
    Ok(LoadOptions { threads: cpus(list)?, adapter: which.adapter.clone(), ..LoadOptions::default() })
}

fn cpus(list: Option<&str>) -> Result<Vec<usize>, Failure> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let wrong = |error: countermove_model::CpuListError| Failure::Input(format!("--cpus: {error}"));
    let cpus = parse_cpu_list(list).map_err(wrong)?;
    check_allowed_cpus(&cpus).map_err(wrong)?;
    Ok(cpus)
}

fn parse_source(model: &str) -> Result<ModelSource, Failure> {
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

fn json_line(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(failed)
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
    fn the_script_names_the_model_that_the_engine_expects() {
        assert!(FETCH.contains(DEFAULT_MODEL_FILE) && FETCH.contains(DEFAULT_MODEL_SHA256));
    }

    #[test]
    fn what_a_model_takes_is_told_before_it_is_taken() {
        let info = ModelInfo {
            name: "tiny".to_owned(),
            parameters: 134_515_008,
            weight_bytes: 150 << 20,
            kv_bytes_per_token: 23_040,
            ..ModelInfo::default()
        };
        let text = info_text(Path::new("m.gguf"), &info);
        for needed in ["134,515,008", "150.0 MiB of weights", "22.5 MiB for each 1,024 tokens"] {
            assert!(text.contains(needed), "{needed} is missing in\n{text}");
        }
    }

    #[test]
    fn bad_arguments_are_told_apart_from_failures() {
        assert_eq!(parse_source("hf:x").unwrap_err().code(), 2);
        assert_eq!(cpus(Some("x")).unwrap_err().code(), 2);
    }
}
