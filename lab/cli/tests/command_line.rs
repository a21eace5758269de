//! The built binary: models that cannot be tried out, and one that can.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countermove-lab"))
        .args(arguments)
        .env_remove("COUNTERMOVE_HOME")
        .output()
        .unwrap()
}

/// Checks that it failed with this code and one sentence that holds all words.
fn assert_fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = lab(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints nothing on standard output");
    assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{arguments:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?} names {word:?}: {stderr}");
    }
}

#[test]
fn a_default_model_that_is_missing_or_cut_names_the_command_that_fetches_it() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let generate = ["model", "--home", home, "generate", "--prompt", "hello"];
    assert_fails(&generate, 1, &["countermove-worker model fetch"]);
    let models = folder.path().join("models");
    fs::create_dir(&models).unwrap();
    fs::write(models.join("SmolLM2-135M-Instruct.Q4_1.gguf"), b"GGUF\x03\0\0\0").unwrap();
    assert_fails(&generate, 1, &["countermove-worker model fetch"]);
}

/// A small random model of the repository, and its adapter.
fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/fixtures").join(name);
    folder.to_str().unwrap().to_owned()
}

#[test]
fn an_adapter_has_to_fit_its_model() {
    let (model, adapter) = (fixture("tiny-qwen2"), fixture("tiny-qwen2/adapter"));
    let bench = ["model", "bench", "--prefix", "20", "--sequences", "2", "--decode", "2", "--model", &model];
    let output = lab(&[&bench[..], &["--adapter", &adapter, "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let other = fixture("tiny-qwen3/adapter");
    assert_fails(
        &["model", "bench", "--model", &model, "--adapter", &other],
        1,
        &["adapter_model.safetensors", "made for another model than", "tiny-qwen2"],
    );
    assert_fails(
        &["model", "bench", "--model", &model, "--adapter", "no/such"],
        1,
        &["no/such/adapter_config.json"],
    );
}

#[test]
fn a_schema_that_is_no_json_is_told_before_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.json");
    fs::write(&schema, "{").unwrap();
    let schema = Path::new(&schema).to_str().unwrap();
    assert_fails(&["model", "generate", "--prompt", "x", "--schema", schema], 2, &["is not JSON"]);
}
