//! The whole step, against finite differences, against PyTorch, and against itself after a kill.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use countermove_model::testing::TinyModel;
use countermove_model::{BaseModel, LoadOptions, Model, Part};

use crate::adapter::Adapter;
use crate::data::Example;
use crate::decoder::{Decoder, StepDropout};
use crate::kernels::cpu::CpuKernels;
use crate::kernels::{CandleKernels, Kernels};
use crate::learner::{Learner, StepSettings};
use crate::pack::pack;
use crate::peft::set_calibration;
use crate::random::Random;
use crate::settings::{Precision, Stored, TrainSettings};
use crate::trainer::{EndReason, Go, TrainEvent, TrainFiles, Trainer};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/fixtures").join(name)
}

/// A tiny model of the family, on disk.
fn tiny(architecture: &'static str, folder: &Path) -> PathBuf {
    if architecture != "llama" {
        return fixture(&format!("tiny-{architecture}"));
    }
    let model = TinyModel { vocab_size: 272, ..TinyModel::default() };
    model.write_safetensors(folder, 1).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixture("tiny-qwen2").join(name), folder.join(name)).unwrap();
    }
    folder.to_path_buf()
}

fn candle() -> Box<dyn Kernels> {
    Box::new(CandleKernels::new(Device::Cpu, DType::F32, None))
}

fn cpu(bf16: bool) -> Box<dyn Kernels> {
    Box::new(CpuKernels::new(bf16))
}

/// Two examples with a long common prefix and one alone.
fn examples() -> Vec<Example> {
    let shared: Vec<u32> = (10..19).collect();
    let example = |prompt: &[u32], answer: &[u32]| Example {
        tokens: [prompt, answer].concat(),
        prompt: prompt.len(),
        group: 0,
    };
    vec![
        example(&[&shared[..], &[40, 41]].concat(), &[50, 51, 2]),
        example(&[&shared[..], &[60]].concat(), &[61, 62, 63, 64, 2]),
        example(&[70, 71, 72], &[73, 2]),
    ]
}

/// An adapter for all projections with no factor that is zero.
fn random_adapter(base: &BaseModel) -> Adapter {
    let mut adapter = Adapter::new(base, 2, 1.5, &BaseModel::PROJECTIONS, 5, &Device::Cpu).unwrap();
    let mut random = Random::new(9);
    for module in &mut adapter.modules {
        let shape = module.b.dims2().unwrap();
        let values = (0..shape.0 * shape.1).map(|_| 0.3 * random.symmetric()).collect();
        module.b = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    }
    adapter
}

fn gradients(
    base: &BaseModel,
    kernels: Box<dyn Kernels>,
    recompute: bool,
    dropout: Option<StepDropout>,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let decoder = Decoder::load(base, kernels, recompute).unwrap();
    let adapter = random_adapter(base);
    let ready = adapter.ready(decoder.kernels()).unwrap();
    let all = examples();
    let packs = pack(&all.iter().collect::<Vec<_>>(), 1000);
    assert_eq!(packs.len(), 1);
    let outcome = decoder.step(&adapter, &ready, &packs[0], 0.1, dropout).unwrap();
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    (outcome.losses, outcome.gradients.iter().flatten().map(flat).collect())
}

/// Difference as a share of the expected length.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    (difference / expected.iter().copied().map(square).sum::<f64>().max(1e-30)).sqrt()
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for architecture in ["llama", "qwen2", "qwen3"] {
        let folder = tempfile::tempdir().unwrap();
        let base = BaseModel::open(&tiny(architecture, folder.path())).unwrap();
        for rate in [0.0, 0.3] {
            let dropout = StepDropout { rate, seed: 77 };
            let (_, found) = gradients(&base, candle(), false, Some(dropout));
            let decoder = Decoder::load(&base, candle(), false).unwrap();
            let adapter = random_adapter(&base);
            let all = examples();
            let pack = pack(&all.iter().collect::<Vec<_>>(), 1000).remove(0);
            let loss = |adapter: &Adapter| -> f64 {
                let ready = adapter.ready(decoder.kernels()).unwrap();
                let outcome = decoder.step(adapter, &ready, &pack, 0.1, Some(dropout)).unwrap();
                outcome.losses.iter().map(|&loss| 0.1 * f64::from(loss)).sum()
            };
            // Along a random direction of each parameter, so that every number of it counts.
            let mut random = Random::new(11);
            for index in 0..adapter.modules.len() {
                for factor in 0..2 {
                    let parameter =
                        if factor == 0 { &adapter.modules[index].a } else { &adapter.modules[index].b };
                    let direction: Vec<f32> =
                        (0..parameter.elem_count()).map(|_| random.symmetric()).collect();
                    let moved = |by: f64| {
                        let change = Tensor::from_slice(&direction, parameter.shape(), &Device::Cpu).unwrap();
                        let moved = (parameter + (change * by).unwrap()).unwrap();
                        let mut adapter = adapter.clone();
                        let module = &mut adapter.modules[index];
                        *(if factor == 0 { &mut module.a } else { &mut module.b }) = moved;
                        loss(&adapter)
                    };
                    let expected = (moved(2e-3) - moved(-2e-3)) / 4e-3;
                    let gradient = &found[2 * index + factor];
                    let along: f64 =
                        gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
                    assert!(
                        (along - expected).abs() < 2e-3 * expected.abs() + 1e-3,
                        "{architecture} {:?} factor {factor} at dropout {rate}: {along} and {expected}",
                        adapter.modules[index].role()
                    );
                }
            }
        }
    }
}

#[test]
fn all_kernels_give_the_same_gradients() {
    for architecture in ["llama", "qwen2", "qwen3"] {
        let folder = tempfile::tempdir().unwrap();
        let base = BaseModel::open(&tiny(architecture, folder.path())).unwrap();
        let dropout = Some(StepDropout { rate: 0.2, seed: 3 });
        let (losses, expected) = gradients(&base, candle(), false, dropout);
        let check = |kernels: Box<dyn Kernels>, recompute: bool, tolerance: f64| {
            let (found_losses, found) = gradients(&base, kernels, recompute, dropout);
            assert!(
                distance(&found_losses, &losses) < tolerance,
                "{architecture}: {found_losses:?} {losses:?}"
            );
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let distance = distance(found, expected);
                assert!(distance < tolerance, "{architecture}, parameter {index}: {distance}");
            }
        };
        check(candle(), true, 1e-9);
        check(cpu(false), false, 1e-4);
        if CpuKernels::has_bf16() {
            check(cpu(true), false, 0.05);
        }
    }
}

#[test]
fn examples_in_one_pack_are_as_if_each_stood_alone() {
    let base = BaseModel::open(&fixture("tiny-qwen3")).unwrap();
    let decoder = Decoder::load(&base, cpu(false), false).unwrap();
    let adapter = random_adapter(&base);
    let ready = adapter.ready(decoder.kernels()).unwrap();
    let all = examples();
    let losses = |examples: &[&Example]| -> Vec<f32> {
        let packs = pack(examples, 1000);
        packs.iter().flat_map(|pack| decoder.losses(&adapter, &ready, pack).unwrap()).collect()
    };
    let mut sorted: Vec<&Example> = all.iter().collect();
    sorted.sort_by(|a, b| a.tokens.cmp(&b.tokens));
    let alone: Vec<f32> = sorted.iter().flat_map(|example| losses(&[example])).collect();
    assert!(distance(&losses(&sorted), &alone) < 1e-5);
}

#[test]
fn steps_are_those_of_pytorch() {
    for architecture in ["qwen2", "qwen3"] {
        let folder = fixture(&format!("tiny-{architecture}"));
        let base = BaseModel::open(&folder).unwrap();
        let expected =
            candle_core::safetensors::load(folder.join("trained.safetensors"), &Device::Cpu).unwrap();
        let numbers = |name: &str| expected[name].to_vec1::<f32>().unwrap();
        for kernels in [candle(), cpu(false)] {
            let decoder = Decoder::load(&base, kernels, false).unwrap();
            let adapter = Adapter::read(&base, &folder.join("adapter"), &Device::Cpu).unwrap();
            let mut learner = Learner::new(decoder, adapter).unwrap();
            let all = examples();
            for number in 1..=2 {
                let settings = StepSettings {
                    number,
                    rate: 0.01,
                    clip: 1.0,
                    decay: 0.1,
                    dropout: 0.0,
                    seed: 0,
                    pack_tokens: 1000,
                };
                let done = learner.step(&[&all[0], &all[1]], settings).unwrap();
                let close = |found: f64, expected: f32| (found / f64::from(expected) - 1.0).abs() < 1e-4;
                assert!(close(done.loss, numbers("loss")[number - 1]), "{architecture}: {done:?}");
                assert!(close(done.norm, numbers("norm")[number - 1]), "{architecture}: {done:?}");
            }
            for (role, factors) in learner.adapter.factors().unwrap() {
                let names = BaseModel::factor_names(role).unwrap();
                for (name, found) in names.iter().zip([&factors.a, &factors.b]) {
                    let expected: Vec<f32> = expected[name].flatten_all().unwrap().to_vec1().unwrap();
                    let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(most < 2e-4, "{architecture} {name}: {most}");
                }
            }
        }
    }
}

/// Rows of a task that can be learned: the answer is the word that the prompt ends with.
fn write_rows(folder: &Path, count: usize) -> PathBuf {
    let path = folder.join("train-00000.jsonl");
    let words = ["contain", "preserve", "evict", "harden"];
    let rows: Vec<String> = (0..count)
        .map(|n| {
            let word = words[n * 7 % 4];
            format!(
                "{{\"task\": \"copy\", \"system\": \"s\", \"prompt\": [\"Say it again: {}\", \"{word}\"], \"think\": \"\", \
                 \"answer\": \"{word}\"}}\n",
                n % 3
            )
        })
        .collect();
    std::fs::write(&path, rows.concat()).unwrap();
    path
}

fn trainer(base: &BaseModel, data: &Path, out: &Path, settings: &TrainSettings) -> Trainer {
    let files = TrainFiles {
        train: vec![data.to_path_buf()],
        validation: vec![data.to_path_buf()],
        out: out.to_path_buf(),
        base_name: "tiny".to_owned(),
    };
    Trainer::new(base, countermove_model::Device::Cpu, settings.clone(), files).unwrap()
}

fn small() -> TrainSettings {
    TrainSettings {
        rank: 4,
        alpha: 8.0,
        dropout: 0.1,
        rate: 0.01,
        batch: 4,
        epochs: 2,
        steps: Some(12),
        validate_every: 4,
        checkpoint_every: 1,
        precision: Precision::F32,
        stored: Stored::F32,
        ..TrainSettings::for_parameters(0, false)
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let base = BaseModel::open(&fixture("tiny-qwen3")).unwrap();
    let data = write_rows(folder.path(), 24);
    let settings = small();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let mut losses = Vec::new();
    let ended = trainer(&base, &data, &whole, &settings).run(&mut |event| {
        if let TrainEvent::Validation { loss, .. } = event {
            losses.push(*loss);
        }
        Go::On
    });
    assert_eq!(ended.unwrap(), EndReason::Done);
    assert!(losses[2] < losses[0], "it learns: {losses:?}");
    for stop_after in [3, 7] {
        let ended = trainer(&base, &data, &cut, &settings).run(&mut |event| match event {
            TrainEvent::Step { step, .. } if *step == stop_after => Go::Stop,
            _ => Go::On,
        });
        assert_eq!(ended.unwrap(), EndReason::Interrupted);
    }
    assert_eq!(trainer(&base, &data, &cut, &settings).run(&mut |_| Go::On).unwrap(), EndReason::Done);
    let bytes = |folder: &Path| std::fs::read(folder.join("adapter_model.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&cut), "the two adapters differ");
    let log = std::fs::read_to_string(cut.join("log.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("\"event\":\"step\"")).count(), 12);

    let other = TrainSettings { rate: 0.02, ..settings };
    let files = TrainFiles { train: vec![data], validation: Vec::new(), out: cut, base_name: String::new() };
    let refused = Trainer::new(&base, countermove_model::Device::Cpu, other, files).unwrap_err();
    assert!(refused.to_string().contains("other settings"), "{refused}");
}

#[test]
fn a_written_adapter_is_read_back_and_served() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in ["llama", "qwen3"] {
        let path = tiny(architecture, folder.path());
        let base = BaseModel::open(&path).unwrap();
        let adapter = random_adapter(&base);
        for stored in [Stored::F32, Stored::Bf16] {
            let out = folder.path().join(format!("{architecture}-{stored:?}"));
            crate::peft::write(&out, &adapter.factors().unwrap(), "tiny", 0.1, stored).unwrap();
            let back = Adapter::read(&base, &out, &Device::Cpu).unwrap();
            assert_eq!((back.rank, back.scale), (adapter.rank, adapter.scale));
            for (found, expected) in back.modules.iter().zip(&adapter.modules) {
                assert_eq!(found.role(), expected.role());
                for (found, expected) in [(&found.a, &expected.a), (&found.b, &expected.b)] {
                    let expected = match stored {
                        Stored::F32 => expected.clone(),
                        Stored::Bf16 => expected.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap(),
                    };
                    assert_eq!(found.to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap());
                }
            }
            let options = LoadOptions { adapter: Some(out.clone()), ..LoadOptions::default() };
            let digest = || Model::load(&path, &options).unwrap().info().adapter_sha256.clone();
            let plain = digest();
            assert!(plain.is_some());
            set_calibration(&out, 2.0).unwrap();
            let calibrated = digest();
            assert_ne!(calibrated, plain, "it is loaded, and another calibration is another adapter");
            set_calibration(&out, 3.5).unwrap();
            set_calibration(&out, 2.0).unwrap();
            assert_eq!(digest(), calibrated, "the last one counts");
            assert!(set_calibration(&out, 0.0).is_err() && set_calibration(&out, f64::NAN).is_err());
        }
    }
}

#[test]
fn bad_rows_are_refused_by_line_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let base = BaseModel::open(&fixture("tiny-qwen2")).unwrap();
    let good = r#"{"prompt": ["p"], "answer": "a"}"#;
    for (bad, reason) in [
        (r#"{"prompt": ["p"]}"#, "missing field `answer`"),
        (r#"{"prompt": "p", "answer": "a"}"#, "invalid type"),
        (r#"{"prompt": ["p"], "answer": " "}"#, "the answer is empty"),
        (r#"{"prompt": [], "answer": "a"}"#, "the prompt is empty"),
        ("no JSON", "expected"),
        ("[1]", "invalid type"),
    ] {
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, format!("{good}\n\n{bad}\n{good}\n")).unwrap();
        let files = TrainFiles {
            train: vec![path],
            validation: Vec::new(),
            out: folder.path().to_path_buf(),
            base_name: String::new(),
        };
        let refused = Trainer::new(&base, countermove_model::Device::Cpu, small(), files).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("rows.jsonl, line 3: ") && text.contains(reason), "{text}");
    }
}

#[test]
fn long_rows_are_cut_or_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let base = BaseModel::open(&fixture("tiny-qwen2")).unwrap();
    let path = folder.path().join("document.json");
    let document = serde_json::json!({
        "instructions": ["short", "short", "x".repeat(300)],
        "answers": ["<think>\nbecause\n</think>\n{}", "y".repeat(300), "z"],
    });
    std::fs::write(&path, document.to_string()).unwrap();
    let settings = TrainSettings { length: 64, thinking: true, targets: vec![Part::Query], ..small() };
    let report = trainer(&base, &path, folder.path(), &settings).reports()[0].clone();
    assert_eq!((report.examples, report.truncated, report.left_out), (2, 1, 1));
    assert_eq!(report.longest, 64);
    assert!(report.answer_tokens > 20 && report.tokens > report.answer_tokens);
}
