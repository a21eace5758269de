//! The built binary with the default model, where that has been fetched: its one line, its signals, its exit codes.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countermove_model::{KnownModel, ModelSource, home};
use countermove_proto::worker::v1 as wire;
use countermove_proto::worker::v1::generate_response::Event;
use countermove_proto::worker::v1::worker_service_client::WorkerServiceClient;

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the default model is there; says so if not.
fn has_model() -> bool {
    let found = ModelSource::default().resolve(&home(None), &mut |_| {}).is_ok();
    if !found {
        eprintln!("skipped: the default model is not there; run `countermove-worker model fetch`");
    }
    found
}

fn worker(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countermove-worker"));
    command
        .args(flags)
        .env_remove("COUNTERMOVE_MODEL")
        .env_remove("COUNTERMOVE_ADAPTER")
        .env_remove("COUNTERMOVE_WORKER_LISTEN");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts it and waits until it listens. Gives it, its address, and the rest of its standard output.
fn start(flags: &[&str]) -> (Child, String, impl BufRead + use<>) {
    let mut child = worker(flags).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).trim().to_owned();
    (child, address, stdout)
}

/// Waits for its end and checks that it was a good one, with nothing more on standard output.
fn assert_ends_well(mut child: Child, mut stdout: impl BufRead) {
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(10)),
            None => panic!("it still runs: {:?}", child.kill()),
        }
    };
    assert_eq!(status.code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "there is one line on standard output");
}

#[test]
fn a_signal_ends_it_with_exit_0() {
    if !has_model() {
        return;
    }
    let (mut child, _, stdout) = start(&["--threads", "1"]);
    let mut log = child.stderr.take().unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_ends_well(child, stdout);
    let mut told = String::new();
    log.read_to_string(&mut told).unwrap();
    let levels = ["instructions=avx512-vnni", "instructions=avx2", "instructions=portable"];
    assert!(levels.iter().any(|level| told.contains(level)), "{told}");
    assert_eq!(told.contains("takes many times as long"), told.contains(levels[2]), "{told}");
}

#[test]
fn it_does_not_outlive_the_one_who_holds_its_standard_input() {
    if !has_model() {
        return;
    }
    let (mut child, _, stdout) = start(&["--threads", "1", "--exit-with-parent"]);
    drop(child.stdin.take());
    assert_ends_well(child, stdout);

    let mut loading = worker(&["--threads", "1", "--exit-with-parent"]).spawn().unwrap();
    drop(loading.stdin.take());
    let stdout = BufReader::new(loading.stdout.take().unwrap());
    assert!(loading.wait().unwrap().success(), "also while it loads");
    drop(stdout);
}

#[tokio::test]
async fn it_answers_with_the_model_that_it_names() {
    if !has_model() {
        return;
    }
    let (mut child, address, _stdout) = start(&["--threads", "1", "--id", "w-test"]);
    let mut client = WorkerServiceClient::connect(format!("http://{address}")).await.unwrap();
    let model = client.get_model(wire::GetModelRequest {}).await.unwrap().into_inner();
    assert_eq!(model.worker_id, "w-test");
    let identity = model.model.unwrap();
    assert_eq!(identity.weights_sha256, KnownModel::DEFAULT.sha256);
    assert!(!identity.templates_sha256.is_empty() && !identity.tokenizer_sha256.is_empty());
    assert!(
        identity.arithmetic.starts_with("cpu-") && identity.arithmetic.ends_with("-q8_0/1"),
        "{identity:?}"
    );
    let question = wire::GenerateRequest {
        tenant: String::new(),
        system: "You answer in JSON.".to_owned(),
        segments: vec!["Is 10.0.0.5 an address?".to_owned()],
        answer: Some(wire::AnswerFormat {
            thinking_tokens: 0,
            json_schema:
                r#"{"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}"#
                    .to_owned(),
            max_tokens: 32,
            weigh_options: true,
        }),
        sampling: Some(wire::Sampling { temperature: 0.0, top_p: 1.0, seed: 1 }),
    };
    let mut stream = client.generate(question).await.unwrap().into_inner();
    let answer = loop {
        match stream.message().await.unwrap().unwrap().event.unwrap() {
            Event::Answer(answer) => break answer,
            Event::Progress(_) => {}
        }
    };
    assert!(answer.complete);
    let value: serde_json::Value = serde_json::from_str(&answer.json).unwrap();
    assert!(value["yes"].is_boolean(), "{value}");
    let values: Vec<&str> = answer.options.iter().map(|option| option.value.as_str()).collect();
    assert_eq!(values, [r#"{"yes": true}"#, r#"{"yes": false}"#]);
    let sum: f32 = answer.options.iter().map(|option| option.probability).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{:?}", answer.options);
    let likeliest = answer.options.iter().max_by(|a, b| a.probability.total_cmp(&b.probability)).unwrap();
    assert_eq!(answer.json, likeliest.value);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A small random model of the repository, or its adapter.
fn fixture(name: &str) -> String {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/fixtures").join(name);
    folder.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn its_identity_tells_the_adapter() {
    let (model, adapter) = (fixture("tiny-qwen2"), fixture("tiny-qwen2/adapter"));
    let mut identities = Vec::new();
    for more in [&[][..], &["--adapter", &adapter]] {
        let (mut child, address, _stdout) = start(&[&["--threads", "1", "--model", &model], more].concat());
        let mut client = WorkerServiceClient::connect(format!("http://{address}")).await.unwrap();
        let model = client.get_model(wire::GetModelRequest {}).await.unwrap().into_inner();
        identities.push(model.model.unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let [plain, tuned] = identities.try_into().unwrap();
    assert_eq!((plain.adapter_sha256.len(), tuned.adapter_sha256.len()), (0, 64));
    assert_eq!(plain.weights_sha256, tuned.weights_sha256);

    let other = fixture("tiny-qwen3/adapter");
    let output = worker(&["--model", &model, "--adapter", &other]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the adapter was made for another model than"), "{stderr}");
}

#[test]
fn what_is_wrong_is_one_sentence() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let folder = std::env::temp_dir().join(format!("countermove-worker-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let cut = folder.join("cut.gguf");
    std::fs::write(&cut, b"GGUF\x03\0\0\0\x05\0\0\0\0\0\0\0\x01\0\0\0").unwrap();
    for (flags, code, word) in [
        (["--model", "no/such/model.gguf"], 1, "no/such/model.gguf"),
        (["--model", cut.to_str().unwrap()], 1, "cut.gguf"),
        (["--listen", taken.as_str()], 1, "in use"),
        (["--templates", "no/such/folder"], 1, "no/such/folder"),
        (["--cpus", "9999999"], 2, "--cpus"),
        (["--id", "Not An Id"], 2, "--id"),
    ] {
        let output = worker(&flags).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{flags:?}");
        assert!(stderr.starts_with("error: ") && stderr.contains(word), "{flags:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{flags:?}: {stderr}");
        assert!(!stderr.contains("os error"), "the number is for programs: {stderr}");
    }
    drop(listener);
    std::fs::remove_dir_all(&folder).unwrap();
}
