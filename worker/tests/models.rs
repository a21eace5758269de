//! `countermove-worker model`: what it says of models, and of those that are not there.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use countermove_tests::Program;

fn worker() -> Program {
    Program::new(env!("CARGO_BIN_EXE_countermove-worker"))
}

#[test]
fn a_missing_default_model_names_the_command_that_fetches_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    for command in ["info", "find"] {
        worker().refuses(&["model", "--home", home, command], 1, &["countermove-worker model fetch"]);
    }
}

#[test]
fn a_default_model_that_is_cut_or_another_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let models = home.path().join("models");
    fs::create_dir(&models).unwrap();
    fs::write(models.join("SmolLM2-135M-Instruct.Q4_1.gguf"), b"GGUF\x03\0\0\0").unwrap();
    let home = home.path().to_str().unwrap();
    worker().refuses(&["model", "--home", home, "info"], 1, &["SmolLM2-135M-Instruct.Q4_1.gguf"]);
}

#[test]
fn a_known_model_is_fetched_or_laid_down_and_has_to_be_the_very_file() {
    let home = tempfile::tempdir().unwrap();
    let models = home.path().join("models");
    fs::create_dir(&models).unwrap();
    let path = home.path().to_str().unwrap();
    let fetch = ["model", "--home", path, "fetch", "qwen2.5-coder-0.5b"];
    let sha256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32";
    let cache = home.path().join("hub");
    // Without a network, whether there is one or not.
    let refused = |arguments: &[&str], words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countermove-worker"));
        command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", &cache).args(arguments);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(words.iter().all(|word| told.contains(word)), "{words:?} in {told}");
    };
    refused(&fetch, &["qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "HF_HUB_OFFLINE", sha256]);
    fs::write(models.join("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"), b"GGUF").unwrap();
    refused(&fetch, &[sha256, "delete the file and fetch it again"]);
    let again = ["model", "--home", path, "info", "--model", "qwen2.5-coder-0.5b"];
    refused(&again, &["491400064 bytes", "model fetch qwen2.5-coder-0.5b"]);
    let listed = worker().run(&["model", "--home", path, "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed[1]["name"], &listed[1]["sha256"]), (&"qwen2.5-coder-0.5b".into(), &sha256.into()));
    assert!(listed[1]["path"].is_string() && listed[1]["adapter"] == true, "{listed}");
    assert_eq!(worker().run(&["model", "fetch", "qwen"]).status.code(), Some(2));
}

#[test]
fn what_is_found_has_a_name_for_other_workers() {
    let model = fixture("tiny-qwen2");
    let output = worker().run(&["model", "find", "--model", &model]);
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stdout).unwrap()),
        (Some(0), format!("{model}\n"))
    );
    worker().refuses(&["model", "find", "--model", "no/such/model.gguf"], 1, &["no/such/model.gguf"]);
    assert_eq!(worker().run(&["model", "find", "--model", "hf:x"]).status.code(), Some(2));
}

/// A small random model of the repository, and its adapter.
fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/fixtures").join(name);
    folder.to_str().unwrap().to_owned()
}

#[test]
fn an_adapter_is_part_of_what_a_model_is() {
    let (model, adapter) = (fixture("tiny-qwen2"), fixture("tiny-qwen2/adapter"));
    let info = |more: &[&str]| {
        let output = worker().run(&[&["model", "info", "--json", "--model", &model], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let (plain, tuned) = (info(&[]), info(&["--adapter", &adapter]));
    assert_eq!(plain["adapter_sha256"], serde_json::Value::Null);
    assert_eq!(tuned["adapter_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(plain["weights_sha256"], tuned["weights_sha256"]);
    assert_eq!(plain["weights_sha256"].as_str().map(str::len), Some(64));
    let other = fixture("tiny-qwen3/adapter");
    for command in ["info", "bench"] {
        let with = ["model", command, "--model", &model, "--adapter"];
        worker().refuses(
            &[&with[..], &[&other]].concat(),
            1,
            &["adapter_model.safetensors", "made for another model than", "tiny-qwen2"],
        );
        worker().refuses(&[&with[..], &["no/such"]].concat(), 1, &["no/such/adapter_config.json"]);
    }
    worker().refuses(&["model", "info", "--model", "no/such/model.gguf"], 1, &["no/such/model.gguf"]);
}

#[test]
fn whatever_changes_the_answers_of_a_folder_is_part_of_what_the_model_is() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("tiny-qwen2")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let path = |name: &str| folder.path().join(name);
    let digest = || {
        let output = worker().run(&["model", "info", "--json", "--model", folder.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        info["weights_sha256"].as_str().unwrap().to_owned()
    };
    let whole = digest();
    std::fs::write(path("README.md"), "what somebody says of it").unwrap();
    assert_eq!(digest(), whole, "nothing is read of it");
    let config = std::fs::read_to_string(path("config.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&config).unwrap();
    json["rope_theta"] = 12_345.0.into();
    std::fs::write(path("config.json"), json.to_string()).unwrap();
    let turned = digest();
    assert_ne!(turned, whole, "other rotations");
    std::fs::write(path("config.json"), config).unwrap();
    assert_eq!(digest(), whole);
    let template = "{% for message in messages %}Say yes. {{ message.content }}\n{% endfor %}";
    std::fs::write(path("chat_template.jinja"), template).unwrap();
    let framed = digest();
    assert!(framed != whole && framed != turned, "another frame around every prompt");
    std::fs::remove_file(path("chat_template.jinja")).unwrap();
    let tokenizer = std::fs::read_to_string(path("tokenizer.json")).unwrap();
    std::fs::write(path("tokenizer.json"), tokenizer + "\n").unwrap();
    assert_ne!(digest(), whole, "another tokenizer");
}

#[test]
fn a_device_is_measured_and_checked() {
    let (model, adapter) = (fixture("tiny-qwen2"), fixture("tiny-qwen2/adapter"));
    let bench = ["model", "bench", "--prefix", "20", "--sequences", "2", "--decode", "2", "--rows", "3"];
    let output = worker().run(&[&bench[..], &["--model", &model, "--adapter", &adapter, "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["rows"], &report["sequences"]), (&3.into(), &2.into()));
    worker().refuses(&["model", "bench", "--shape", "smollm2-135m"], 1, &["on GPUs only"]);

    let check = ["model", "check", "--model", &model];
    let output = worker().run(&check);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("seventy in one batch") && text.contains("70 of  70 rows"), "{text}");
    assert_eq!(worker().run(&[&check[..], &["--top-1", "1.1"]].concat()).status.code(), Some(2));
}
