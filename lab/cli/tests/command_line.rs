//! The built binary: models that cannot be tried out.

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

#[test]
fn a_schema_that_is_no_json_is_told_before_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.json");
    fs::write(&schema, "{").unwrap();
    let schema = Path::new(&schema).to_str().unwrap();
    lab().refuses(&["model", "generate", "--prompt", "x", "--schema", schema], 2, &["is not JSON"]);
}
