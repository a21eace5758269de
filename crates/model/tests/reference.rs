//! The engine against Hugging Face transformers, through the fixtures of `make reference-fixtures`.
//!
//! The chain: float32 logits of our engine agree with transformers to rounding, and the Q8_0 weights that serve agree
//! with our float32, over their whole distributions, so no fixture has to hold thousands of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use countermove_model::{Gguf, KnownModel, LoadOptions, Model, Tokenizer, WeightFormat, home, score};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/fixtures")
}

fn default_model() -> PathBuf {
    let path = KnownModel::DEFAULT.path(&home(None));
    assert!(
        path.is_file(),
        "the default model is not at {}; run `make test`, or `countermove-worker model fetch`",
        path.display()
    );
    path
}

fn load(format: WeightFormat) -> Model {
    let options = LoadOptions { weights: format, context_length: Some(256), ..LoadOptions::default() };
    Model::load(&default_model(), &options).expect("the default model")
}

/// Numbers from a fixture of safetensors.
struct Numbers(HashMap<String, Tensor>);

impl Numbers {
    fn open(name: &str) -> Self {
        let path = fixtures().join(name);
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu);
        Self(tensors.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("the fixture has no {name}"))
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        let flat = self.get(name).flatten_all().and_then(|tensor| tensor.to_dtype(DType::U32));
        flat.and_then(|tensor| tensor.to_vec1()).expect("ids")
    }

    fn id_rows(&self, name: &str) -> Vec<Vec<u32>> {
        self.get(name).to_dtype(DType::U32).and_then(|tensor| tensor.to_vec2()).expect("rows of ids")
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.get(name).flatten_all().and_then(|tensor| tensor.to_vec1()).expect("floats")
    }

    fn float_rows(&self, name: &str) -> Vec<Vec<f32>> {
        self.get(name).to_vec2().expect("rows of floats")
    }
}

/// Largest difference as a share of the largest magnitude expected in the row.
fn relative(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

fn likeliest(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(index, _)| index as u32)
}

/// Logarithms of the probabilities.
fn log_softmax(row: &[f32]) -> Vec<f64> {
    let sum = log_sum_exp(row);
    row.iter().map(|&logit| f64::from(logit) - sum).collect()
}

/// Kullback-Leibler divergence of the distribution that `found` gives from the one that `expected` gives, in nats.
fn kl(expected: &[f32], found: &[f32]) -> f64 {
    let (p, q) = (log_softmax(expected), log_softmax(found));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let most = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    most + row.iter().map(|&logit| (f64::from(logit) - most).exp()).sum::<f64>().ln()
}

#[test]
fn the_tokenizer_gives_the_ids_of_hugging_face_tokenizers() {
    let text = std::fs::read(fixtures().join("tokenizer.json")).expect("the fixture");
    let fixture: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(
        fixture["model_sha256"],
        KnownModel::DEFAULT.sha256,
        "the fixture was made with the default model"
    );
    let tokenizer =
        Tokenizer::from_gguf(&Gguf::open(&default_model()).expect("a GGUF")).expect("a tokenizer");
    let lines = fixture["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 200);
    let mut wrong = Vec::new();
    for line in lines {
        let text = line["text"].as_str().expect("text");
        let ids: Vec<u32> = serde_json::from_value(line["ids"].clone()).expect("ids");
        let found = tokenizer.encode_data(text);
        if found != ids {
            wrong.push(format!("{text:?}: {found:?} instead of {ids:?}"));
        }
        assert_eq!(tokenizer.decode(&ids), text, "decoding gives the text back");
    }
    assert!(wrong.is_empty(), "{} of {} lines differ: {wrong:#?}", wrong.len(), lines.len());
}

#[test]
fn the_default_model_computes_what_transformers_computes() {
    let fixture = Numbers::open("default.safetensors");
    let tokens = fixture.id_rows("tokens");
    let top1 = fixture.id_rows("top1");
    let (positions, columns) = (fixture.ids("positions"), fixture.ids("columns"));
    let (logits, sums) = (fixture.float_rows("logits"), fixture.floats("logsumexp"));
    let total: usize = tokens.iter().map(Vec::len).sum();
    assert!(total >= 2000, "the fixture has {total} positions");

    // Float32 against transformers: a few rows to rounding, the likeliest token everywhere.
    let mut full = vec![Vec::new(); tokens.len()];
    let (mut same, mut worst, mut compared) = (0, 0f32, 0);
    let mut model = load(WeightFormat::F32);
    score(&mut model, &tokens, |text, position, row| {
        assert_eq!(full[text].len(), position, "positions come in order");
        same += usize::from(likeliest(row) == top1[text][position]);
        if let (0, Some(index)) = (text, positions.iter().position(|&chosen| chosen as usize == position)) {
            let found: Vec<f32> = columns.iter().map(|&column| row[column as usize]).collect();
            worst = worst.max(relative(&found, &logits[index]));
            worst = worst.max((log_sum_exp(row) as f32 / sums[index] - 1.0).abs());
            compared += 1;
        }
        // Half precision would do for a divergence of thousandths, but memory is there: 2,176 rows take 430 MB.
        full[text].push(row.to_vec());
    })
    .expect("scores");
    drop(model);
    assert_eq!(compared, positions.len());
    let agreement = same as f64 / total as f64;
    eprintln!(
        "float32 against transformers: worst relative difference {worst:.2e}, same top-1 {agreement:.4}"
    );
    assert!(worst <= 1e-3, "float32 logits differ by {worst:.2e}");
    assert!(agreement >= 0.998, "float32 top-1 agrees in {agreement:.4} of the positions");

    // Q8_0, which is what serves, against both.
    let (mut same, mut divergence) = (0, 0f64);
    let mut model = load(WeightFormat::Q8_0);
    score(&mut model, &tokens, |text, position, row| {
        same += usize::from(likeliest(row) == top1[text][position]);
        divergence += kl(&full[text][position], row);
    })
    .expect("scores");
    let (agreement, divergence) = (same as f64 / total as f64, divergence / total as f64);
    eprintln!(
        "Q8_0 over {total} positions: mean KL against float32 {divergence:.2e}; top-1 as transformers {agreement:.4}"
    );
    assert!(agreement >= 0.99, "Q8_0 top-1 agrees in {agreement:.4} of the positions");
    assert!(divergence <= 0.005, "the mean KL divergence of Q8_0 is {divergence:.5}");
    assert!(divergence > 0.0, "Q8_0 weights give other logits than float32, or nothing was compared");
}

/// Random models of the other families, as transformers saves them, and with an adapter, as peft saves it.
#[test]
fn qwen_models_and_their_adapters_compute_what_transformers_and_peft_compute() {
    for family in ["tiny-qwen2", "tiny-qwen3"] {
        let folder = fixtures().join(family);
        let fixture = Numbers::open(&format!("{family}/expected.safetensors"));
        let tokens = vec![fixture.ids("tokens")];
        let plain = fixture.float_rows("logits");
        let adapted = fixture.float_rows("logits_adapter");
        assert!(
            relative(&plain.concat(), &adapted.concat()) > 0.05,
            "{family}: the adapter changes the answer"
        );
        for (adapter, expected) in [(None, &plain), (Some(folder.join("adapter")), &adapted)] {
            for format in [WeightFormat::F32, WeightFormat::Q8_0] {
                let options =
                    LoadOptions { weights: format, adapter: adapter.clone(), ..LoadOptions::default() };
                let mut model = Model::load(&folder, &options).expect("the fixture's model");
                assert_eq!(model.info().adapter_sha256.is_some(), adapter.is_some());
                let (mut worst, mut divergence, mut seen) = (0f32, 0f64, 0);
                score(&mut model, &tokens, |_, position, row| {
                    worst = worst.max(relative(row, &expected[position]));
                    divergence += kl(&expected[position], row);
                    seen += 1;
                })
                .expect("scores");
                assert_eq!(seen, expected.len());
                let divergence = divergence / seen as f64;
                let case = format!("{family}, adapter {}, {format:?}", adapter.is_some());
                eprintln!("{case}: worst relative difference {worst:.2e}, mean KL {divergence:.2e}");
                assert!(
                    format == WeightFormat::Q8_0 || worst <= 1e-4,
                    "{case}: logits differ by {worst:.2e}"
                );
                assert!(divergence <= 0.005, "{case}: mean KL {divergence:.2e}");
            }
        }
    }
}
