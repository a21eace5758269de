//! The built binary: models that cannot be tried out, and one that can.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use countermove_tests::Program;

fn lab() -> Program {
    Program::new(env!("CARGO_BIN_EXE_countermove-lab"))
}

#[test]
fn a_default_model_that_is_missing_or_cut_names_the_command_that_fetches_it() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let generate = ["model", "--home", home, "generate", "--prompt", "hello"];
    lab().refuses(&generate, 1, &["countermove-worker model fetch"]);
    let models = folder.path().join("models");
    fs::create_dir(&models).unwrap();
    fs::write(models.join("SmolLM2-135M-Instruct.Q4_1.gguf"), b"GGUF\x03\0\0\0").unwrap();
    lab().refuses(&generate, 1, &["countermove-worker model fetch"]);
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
    let output = lab().run(&[&bench[..], &["--adapter", &adapter, "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let other = fixture("tiny-qwen3/adapter");
    lab().refuses(
        &["model", "bench", "--model", &model, "--adapter", &other],
        1,
        &["adapter_model.safetensors", "made for another model than", "tiny-qwen2"],
    );
    lab().refuses(
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
    lab().refuses(&["model", "generate", "--prompt", "x", "--schema", schema], 2, &["is not JSON"]);
}
