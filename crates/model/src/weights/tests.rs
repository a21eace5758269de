//! Loaders: the same model in every format, adapters, and what is said about files that are wrong.

use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use serde_json::json;

use super::*;
use crate::cpu::CpuBackend;
use crate::kv::Scope;
use crate::merge::{MergedType, merge};
use crate::model::{LoadOptions, WeightFormat};
use crate::testing::{Random, TinyModel, safetensors};
use crate::{Backend, Feed, LogitRows};

fn tiny(architecture: &'static str) -> TinyModel {
    TinyModel { architecture, ..TinyModel::default() }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn logits(path: &Path, adapter: Option<&Path>) -> Vec<f32> {
    let options = LoadOptions {
        weights: WeightFormat::F32,
        adapter: adapter.map(Path::to_path_buf),
        ..LoadOptions::default()
    };
    let mut backend = CpuBackend::load(path, &options).unwrap();
    let tokens: Vec<u32> = (0..21).map(|at| at * 3 % 80).collect();
    let (mut sequence, _) = backend.begin(&tokens, Scope::default());
    let mut logits = LogitRows::default();
    let feed = Feed { sequence: &mut sequence, tokens: &tokens, logits: 1 };
    backend.forward(&mut [feed], &mut logits).unwrap();
    logits.to_vec()
}

#[test]
fn a_model_gives_the_same_logits_as_gguf_and_as_safetensors() {
    for model in [tiny("llama"), tiny("qwen2"), TinyModel { tied: false, ..tiny("qwen3") }] {
        let folder = tempfile::tempdir().unwrap();
        let gguf = write(folder.path(), "tiny.gguf", &model.gguf());
        let expected = logits(&gguf, None);
        for shards in [1, 3] {
            let folder = tempfile::tempdir().unwrap();
            model.write_safetensors(folder.path(), shards).unwrap();
            assert_eq!(logits(folder.path(), None), expected, "{} in {shards}", model.architecture);
        }
    }
}

#[test]
fn a_merged_model_gives_the_logits_of_model_and_adapter() {
    let model = tiny("llama");
    let folder = tempfile::tempdir().unwrap();
    let gguf = write(folder.path(), "tiny.gguf", &model.gguf());
    let adapter = folder.path().join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    write_adapter(&adapter, &model, &json!({ "peft_type": "LORA", "r": 3, "lora_alpha": 6 }));
    let expected = logits(&gguf, Some(&adapter));
    let plain = logits(&gguf, None);
    let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    for (merged, tolerance) in [(MergedType::F16, 0.02), (MergedType::Q8_0, 0.2)] {
        let target = folder.path().join(format!("{merged:?}.gguf"));
        merge(&gguf, &adapter, &target, merged).unwrap();
        let difference = largest(&logits(&target, None), &expected);
        assert!(
            difference < tolerance && difference < largest(&plain, &expected),
            "{merged:?}: {difference}"
        );
    }
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    model.write_safetensors(&source, 2).unwrap();
    let target = folder.path().join("target");
    merge(&source, &adapter, &target, MergedType::default()).unwrap();
    assert_eq!(logits(&target, None), logits(&source, Some(&adapter)));
    let refused = merge(&source, &adapter, &target, MergedType::default()).unwrap_err();
    assert!(refused.to_string().contains("already"), "{refused}");
}

/// An adapter of rank 3 for two kinds of projections.
fn write_adapter(folder: &Path, model: &TinyModel, config: &serde_json::Value) {
    let mut random = Random::new(42);
    let mut tensors = Vec::new();
    for layer in 0..model.layers {
        for (name, rows, columns) in [
            ("self_attn.q_proj", model.heads * model.head_dim, model.hidden),
            ("mlp.down_proj", model.hidden, model.intermediate),
        ] {
            for (factor, rows, columns) in [("A", 3, columns), ("B", rows, 3)] {
                let values = (0..rows * columns).map(|_| random.symmetric()).collect();
                let name = format!("base_model.model.model.layers.{layer}.{name}.lora_{factor}.weight");
                tensors.push((name, rows, columns, values));
            }
        }
    }
    write(folder, "adapter_model.safetensors", &safetensors(&tensors));
    write(folder, "adapter_config.json", config.to_string().as_bytes());
}

#[test]
fn an_adapter_changes_its_projections_by_its_scaled_product() {
    let model = tiny("llama");
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [base, adapter, gguf] = [0, 1, 2].map(|at| folders[at].path());
    model.write_safetensors(base, 1).unwrap();
    write_adapter(adapter, &model, &json!({ "peft_type": "LORA", "r": 3, "lora_alpha": 6 }));

    let plain = Checkpoint::open(base).unwrap();
    let merged = Checkpoint::open(base).unwrap().with_adapter(adapter).unwrap();
    assert!(merged.adapter_sha256().unwrap().is_some());
    let digest = merged.adapter_sha256().unwrap();
    write_adapter(adapter, &model, &json!({ "peft_type": "LORA", "r": 3, "lora_alpha": 7 }));
    let rescaled = Checkpoint::open(base).unwrap().with_adapter(adapter).unwrap();
    assert_ne!(rescaled.adapter_sha256().unwrap(), digest, "another scale is another adapter");
    write_adapter(adapter, &model, &json!({ "peft_type": "LORA", "r": 3, "lora_alpha": 6 }));
    let file = safetensors::TensorFile::open(&adapter.join("adapter_model.safetensors")).unwrap();
    let (mut before, mut after, mut a, mut b) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let role = Role::Layer(1, Part::Query);
    plain.source().rows(role, 5..6, &mut before).unwrap();
    merged.source().rows(role, 5..6, &mut after).unwrap();
    file.rows("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", 0..3, &mut a).unwrap();
    file.rows("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight", 5..6, &mut b).unwrap();
    for column in 0..model.hidden {
        let change: f64 =
            (0..3).map(|rank| f64::from(b[rank]) * f64::from(a[rank * model.hidden + column])).sum();
        let exact = f64::from(before[column]) + 2.0 * change;
        assert!((f64::from(after[column]) - exact).abs() < 1e-5);
    }
    let untouched = Role::Layer(1, Part::Key);
    plain.source().rows(untouched, 0..4, &mut before).unwrap();
    merged.source().rows(untouched, 0..4, &mut after).unwrap();
    assert_eq!(before, after);

    // The rows of a GGUF file stand in another order, and the adapter follows them.
    let gguf = write(gguf, "tiny.gguf", &model.gguf());
    let expected = logits(base, Some(adapter));
    assert_ne!(expected, logits(base, None));
    assert_eq!(logits(&gguf, Some(adapter)), expected);
}

#[test]
fn an_adapter_may_say_how_sure_it_is() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [base, adapter] = [0, 1].map(|at| folders[at].path());
    let model = tiny("llama");
    model.write_safetensors(base, 1).unwrap();
    let read = |calibration: serde_json::Value| {
        let mut config = json!({ "lora_alpha": 6 });
        if !calibration.is_null() {
            config["countermove_calibration"] = calibration;
        }
        write_adapter(adapter, &model, &config);
        let checkpoint = Checkpoint::open(base).unwrap().with_adapter(adapter);
        checkpoint.map(|checkpoint| checkpoint.calibration()).map_err(|error| error.to_string())
    };
    assert_eq!(read(serde_json::Value::Null), Ok(1.0));
    assert_eq!(read(json!({ "temperature": 1.75 })), Ok(1.75));
    for wrong in [json!({}), json!(2), json!({ "temperature": 0 }), json!({ "temperature": "2" })] {
        let error = read(wrong.clone()).unwrap_err();
        assert!(error.contains("adapter_config.json") && error.contains("0.01 to 100"), "{wrong}: {error}");
    }
    assert_eq!(Checkpoint::open(base).unwrap().calibration(), 1.0);
}

#[test]
fn adapters_that_do_not_fit_are_refused_by_name() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [base, adapter] = [0, 1].map(|at| folders[at].path());
    let model = tiny("llama");
    model.write_safetensors(base, 1).unwrap();
    let refusal = |model: &TinyModel, config: serde_json::Value| {
        write_adapter(adapter, model, &config);
        Checkpoint::open(base).unwrap().with_adapter(adapter).unwrap_err().to_string()
    };
    let plain = json!({ "lora_alpha": 6 });
    let other = TinyModel { hidden: 96, ..tiny("llama") };
    assert!(refusal(&other, plain.clone()).contains("made for another model than"));
    let deeper = TinyModel { layers: 3, ..tiny("llama") };
    assert!(refusal(&deeper, plain).contains("another model"));
    assert!(refusal(&model, json!({ "lora_alpha": 6, "use_dora": true })).contains("use_dora"));
    assert!(refusal(&model, json!({ "lora_alpha": 6, "bias": "all" })).contains("bias"));
    assert!(refusal(&model, json!({})).contains("lora_alpha"));
    assert!(refusal(&model, json!({ "peft_type": "IA3" })).contains("IA3"));
}

#[test]
fn every_block_format_is_read_to_its_precision() {
    // One tensor of 256 x 32 in place of the gate projection of a model of that shape.
    let model = TinyModel { hidden: 256, intermediate: 32, layers: 1, head_dim: 64, ..tiny("llama") };
    let plain = model.gguf();
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "plain.gguf", &plain);
    let role = Role::Layer(0, Part::Gate);
    let mut exact = Vec::new();
    Gguf::open(&path).unwrap().rows(role, 0..32, &mut exact).unwrap();
    let tensor = Tensor::from_slice(&exact, (32, 256), &Device::Cpu).unwrap();
    for (code, dtype, tolerance) in [
        (1, GgmlDType::F16, 1e-3),
        (2, GgmlDType::Q4_0, 0.13),
        (3, GgmlDType::Q4_1, 0.1),
        (6, GgmlDType::Q5_0, 0.07),
        (7, GgmlDType::Q5_1, 0.07),
        (8, GgmlDType::Q8_0, 0.01),
        (10, GgmlDType::Q2K, 0.5),
        (11, GgmlDType::Q3K, 0.27),
        (12, GgmlDType::Q4K, 0.13),
        (13, GgmlDType::Q5K, 0.07),
        (14, GgmlDType::Q6K, 0.03),
        (30, GgmlDType::BF16, 1e-2),
    ] {
        let quantised = QTensor::quantize(&tensor, dtype).unwrap();
        let data = quantised.data().unwrap();
        // The type in the header and the bytes in place: what is smaller leaves a gap, which the format allows.
        let mut bytes = plain.clone();
        let name = b"blk.0.ffn_gate.weight";
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
        let info = at + 4 + 16;
        bytes[info..info + 4].copy_from_slice(&(code as u32).to_le_bytes());
        let first = exact.iter().take(4).flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let start = plain.windows(16).position(|window| window == first).unwrap();
        bytes[start..start + data.len()].copy_from_slice(&data);
        let path = write(folder.path(), "quantised.gguf", &bytes);
        let file = Gguf::open(&path).unwrap();
        let mut found = Vec::new();
        file.rows(role, 7..20, &mut found).unwrap();
        let scale = exact.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        for (found, exact) in found.iter().zip(&exact[7 * 256..]) {
            assert!((found - exact).abs() <= tolerance * scale, "{dtype:?}: {found} {exact}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let good = tiny("qwen2").gguf();
    let message = |bytes: &[u8]| {
        let path = write(folder.path(), "bad.gguf", bytes);
        match CpuBackend::load(&path, &LoadOptions::default()) {
            Ok(_) => panic!("loaded"),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("bad.gguf"), "{text}");
                text
            }
        }
    };
    assert!(message(b"").contains("not a GGUF file"));
    assert!(message(b"#!/bin/sh\nexec something else\n").contains("not a GGUF file"));
    assert!(message(&good[..good.len() - 100]).contains("cut short"));
    assert!(message(&good[..200]).contains("cut short"));
    let replaced = |from: &str, to: &str| {
        let at = good.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    assert!(message(&replaced("qwen2", "mamba")).contains("mamba"));
    assert!(
        message(&replaced("blk.1.attn_k.bias", "blk.1.attn_x.bias")).contains("blk.1.attn_k.bias is missing")
    );
    let mut version = good.clone();
    version[4] = 9;
    assert!(message(&version).contains("version 9"));
    let mut counts = good.clone();
    counts[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(message(&counts).contains("tensors"));
    let wrong = TinyModel {
        metadata: vec![("tokenizer.ggml.tokens".into(), MetaValue::Texts(vec!["a".into(); 7]))],
        ..tiny("llama")
    };
    assert!(message(&wrong.gguf()).contains("7 tokens"));
    let absent = Checkpoint::open(&folder.path().join("absent.gguf"));
    assert!(matches!(absent, Err(LoadError::Io { .. })));
    let empty = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(empty.contains("config.json"), "{empty}");
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let model = tiny("llama");
    let message = |spoil: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        model.write_safetensors(folder.path(), 2).unwrap();
        spoil(folder.path());
        let options = LoadOptions::default();
        CpuBackend::load(folder.path(), &options).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(message(&|_| {}), "");
    let shard = "model-00001-of-00002.safetensors";
    assert!(message(&|folder| std::fs::remove_file(folder.join(shard)).unwrap()).contains(shard));
    let cut = |folder: &Path| {
        let bytes = std::fs::read(folder.join(shard)).unwrap();
        std::fs::write(folder.join(shard), &bytes[..bytes.len() - 5]).unwrap();
    };
    assert!(message(&cut).contains("cut short"));
    let index = |folder: &Path| {
        let map = json!({ "weight_map": { "a": "../../etc/passwd" } });
        std::fs::write(folder.join("model.safetensors.index.json"), map.to_string()).unwrap();
    };
    assert!(message(&index).contains("no file name"));
    let config = |key: &'static str, value: serde_json::Value| {
        move |folder: &Path| {
            let path = folder.join("config.json");
            let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            json[key] = value.clone();
            std::fs::write(&path, json.to_string()).unwrap();
        }
    };
    assert!(message(&config("model_type", json!("gpt2"))).contains("gpt2"));
    assert!(message(&config("vocab_size", json!(81))).contains("embed_tokens"));
    assert!(message(&config("tie_word_embeddings", json!(false))).contains("lm_head"));
    assert!(message(&config("rope_scaling", json!({ "type": "yarn" }))).contains("yarn"));
    assert!(message(&config("num_attention_heads", json!(0))).contains("heads"));
}
