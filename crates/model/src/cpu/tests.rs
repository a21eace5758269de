//! The whole forward pass: against candle's models, and against itself however the work is cut up.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, qwen2, qwen3};

use super::*;
use crate::backend::checks::{
    OnDisk, a_nan_stays_in_its_sequence, alone, batch_and_cache_do_not_matter, bits, distance,
    feeds_may_be_cut, logits_may_be_wanted_after_any_token, random_tokens, run, tiny,
};
use crate::config::Architecture;
use crate::testing::TinyModel;
use crate::weights::{Part, Role, Source};

fn load(disk: &OnDisk, weights: WeightFormat) -> CpuBackend {
    CpuBackend::load(disk.path(), &LoadOptions { weights, ..LoadOptions::default() }).unwrap()
}

/// The weights under the names that candle's models use.
fn tensors(source: &dyn Source) -> HashMap<String, Tensor> {
    let config = source.config();
    let mut names = vec![
        (Role::Embedding, "model.embed_tokens.weight".to_owned()),
        (Role::FinalNorm, "model.norm.weight".to_owned()),
        (Role::Head, "lm_head.weight".to_owned()),
    ];
    for layer in 0..config.layers {
        for (part, name) in [
            (Part::AttentionNorm, "input_layernorm.weight"),
            (Part::Query, "self_attn.q_proj.weight"),
            (Part::Key, "self_attn.k_proj.weight"),
            (Part::Value, "self_attn.v_proj.weight"),
            (Part::QueryBias, "self_attn.q_proj.bias"),
            (Part::KeyBias, "self_attn.k_proj.bias"),
            (Part::ValueBias, "self_attn.v_proj.bias"),
            (Part::QueryNorm, "self_attn.q_norm.weight"),
            (Part::KeyNorm, "self_attn.k_norm.weight"),
            (Part::AttentionOutput, "self_attn.o_proj.weight"),
            (Part::FeedForwardNorm, "post_attention_layernorm.weight"),
            (Part::Gate, "mlp.gate_proj.weight"),
            (Part::Up, "mlp.up_proj.weight"),
            (Part::Down, "mlp.down_proj.weight"),
        ] {
            names.push((Role::Layer(layer, part), format!("model.layers.{layer}.{name}")));
        }
    }
    let mut out = HashMap::new();
    for (role, name) in names {
        let Some((rows, columns)) = source.shape(role) else { continue };
        let mut values = Vec::new();
        source.rows(role, 0..rows, &mut values).unwrap();
        if source.interleaved_rotation() && matches!(role, Role::Layer(_, Part::Query | Part::Key)) {
            let half = config.head_dim / 2;
            let stored = values.clone();
            for row in 0..rows {
                let (head, dim) = (row / config.head_dim, row % config.head_dim);
                let from = head * config.head_dim + dim % half * 2 + dim / half;
                values[row * columns..][..columns].copy_from_slice(&stored[from * columns..][..columns]);
            }
        }
        let is_vector = rows == 1;
        let tensor = if is_vector {
            Tensor::from_vec(values, columns, &Device::Cpu).unwrap()
        } else {
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
        };
        out.insert(name, tensor);
    }
    out
}

/// Logits after the last of each of `lengths` tokens, by candle.
fn reference(source: &dyn Source, tokens: &[u32], lengths: &[usize]) -> Vec<Vec<f32>> {
    let config = source.config().clone();
    let builder = VarBuilder::from_tensors(tensors(source), DType::F32, &Device::Cpu);
    let tied = source.shape(Role::Head).is_none();
    let input = |length: usize| Tensor::new(&tokens[..length], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let flat = |logits: Tensor| logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    lengths
        .iter()
        .map(|&length| match config.architecture {
            Architecture::Llama => {
                let config = llama::Config {
                    hidden_size: config.hidden,
                    intermediate_size: config.intermediate,
                    vocab_size: config.vocab_size,
                    num_hidden_layers: config.layers,
                    num_attention_heads: config.heads,
                    num_key_value_heads: config.kv_heads,
                    use_flash_attn: false,
                    rms_norm_eps: config.rms_epsilon.into(),
                    rope_theta: config.rope_base,
                    bos_token_id: None,
                    eos_token_id: None,
                    rope_scaling: None,
                    max_position_embeddings: config.context_length,
                    tie_word_embeddings: tied,
                };
                let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
                let model = llama::Llama::load(builder.clone(), &config).unwrap();
                flat(model.forward(&input(length), 0, &mut cache).unwrap())
            }
            Architecture::Qwen2 => {
                let config = qwen2::Config {
                    vocab_size: config.vocab_size,
                    hidden_size: config.hidden,
                    intermediate_size: config.intermediate,
                    num_hidden_layers: config.layers,
                    num_attention_heads: config.heads,
                    num_key_value_heads: config.kv_heads,
                    max_position_embeddings: config.context_length,
                    sliding_window: config.context_length,
                    max_window_layers: 0,
                    tie_word_embeddings: tied,
                    rope_theta: config.rope_base.into(),
                    rms_norm_eps: config.rms_epsilon.into(),
                    use_sliding_window: false,
                    hidden_act: candle_nn::Activation::Silu,
                };
                let mut model = qwen2::ModelForCausalLM::new(&config, builder.clone()).unwrap();
                flat(model.forward(&input(length), 0).unwrap())
            }
            Architecture::Qwen3 => {
                let config = qwen3::Config {
                    vocab_size: config.vocab_size,
                    hidden_size: config.hidden,
                    intermediate_size: config.intermediate,
                    num_hidden_layers: config.layers,
                    num_attention_heads: config.heads,
                    head_dim: config.head_dim,
                    attention_bias: false,
                    num_key_value_heads: config.kv_heads,
                    max_position_embeddings: config.context_length,
                    sliding_window: None,
                    max_window_layers: 0,
                    tie_word_embeddings: tied,
                    rope_theta: config.rope_base.into(),
                    rms_norm_eps: config.rms_epsilon.into(),
                    use_sliding_window: false,
                    hidden_act: candle_nn::Activation::Silu,
                };
                let mut model = qwen3::ModelForCausalLM::new(&config, builder.clone()).unwrap();
                flat(model.forward(&input(length), 0).unwrap())
            }
        })
        .collect()
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

#[test]
fn single_precision_agrees_with_candle_for_every_architecture() {
    for (index, model) in [
        tiny("llama"),
        TinyModel {
            tied: false,
            head_dim: 24,
            hidden: 72,
            heads: 3,
            kv_heads: 1,
            vocab_size: 77,
            ..tiny("qwen2")
        },
        TinyModel { heads: 6, kv_heads: 3, head_dim: 20, intermediate: 50, ..tiny("qwen3") },
        TinyModel {
            tied: false,
            heads: 2,
            kv_heads: 2,
            head_dim: 40,
            hidden: 80,
            vocab_size: 33,
            ..tiny("llama")
        },
    ]
    .into_iter()
    .enumerate()
    {
        // candle's Llama and Qwen2 derive the head size from the hidden size.
        let disk = OnDisk::new(&model);
        let tokens = random_tokens(index as u64, 45, model.vocab_size);
        let lengths = [1, 2, 16, 17, 45];
        let checkpoint = Checkpoint::open(disk.path()).unwrap();
        let expected = reference(checkpoint.source(), &tokens, &lengths);
        let mut backend = load(&disk, WeightFormat::F32);
        for (length, expected) in lengths.into_iter().zip(&expected) {
            let found = alone(&mut backend, &tokens[..length]);
            let distance = distance(&found, expected);
            assert!(distance < 1e-4, "{} at {length}: {distance}", model.architecture);
        }
    }
}

/// The default model, if it is on this machine.
fn default_model() -> Option<PathBuf> {
    let path = crate::KnownModel::DEFAULT.path(&crate::home(None));
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: the default model is not at {}", path.display());
    None
}

#[test]
fn the_default_model_agrees_with_candle() {
    let Some(path) = default_model() else { return };
    let tokens = random_tokens(3, 40, 49152);
    let lengths = [1, 40];
    let checkpoint = Checkpoint::open(&path).unwrap();
    let expected = reference(checkpoint.source(), &tokens, &lengths);
    for (weights, tolerance) in [(WeightFormat::F32, 1e-3), (WeightFormat::Q8_0, 5e-2)] {
        let mut backend =
            CpuBackend::load(&path, &LoadOptions { weights, ..LoadOptions::default() }).unwrap();
        for (length, expected) in lengths.into_iter().zip(&expected) {
            let found = alone(&mut backend, &tokens[..length]);
            let distance = distance(&found, expected);
            eprintln!("{weights:?} at {length}: {distance:.2e}");
            assert!(distance < tolerance, "{weights:?} at {length}: {distance}");
            assert_eq!(best(&found), best(expected), "{weights:?} at {length}");
        }
    }
}

#[test]
fn logits_do_not_depend_on_how_tokens_are_cut_into_feeds() {
    for weights in [WeightFormat::Q8_0, WeightFormat::F32] {
        feeds_may_be_cut(&mut load(&OnDisk::new(&tiny("llama")), weights), 75);
    }
}

#[test]
fn logits_are_given_after_as_many_tokens_as_are_wanted() {
    for weights in [WeightFormat::Q8_0, WeightFormat::F32] {
        logits_may_be_wanted_after_any_token(&mut load(&OnDisk::new(&tiny("qwen2")), weights));
    }
}

#[test]
fn logits_do_not_depend_on_the_instruction_level_or_the_number_of_threads() {
    for weights in [WeightFormat::Q8_0, WeightFormat::F32] {
        for model in
            [tiny("llama"), TinyModel { head_dim: 24, kv_heads: 1, intermediate: 70, ..tiny("qwen3") }]
        {
            let disk = OnDisk::new(&model);
            let tokens = random_tokens(5, 61, 80);
            let expected = alone(&mut load(&disk, weights), &tokens);
            for level in Level::available() {
                let mut backend = load(&disk, weights);
                backend.level = level;
                assert_eq!(bits(&alone(&mut backend, &tokens)), bits(&expected), "{level:?}");
            }
            let mut backend = load(&disk, weights);
            backend.pool = Pool::new(&[0]);
            assert_eq!(bits(&alone(&mut backend, &tokens)), bits(&expected), "one thread");
        }
    }
}

#[test]
fn logits_do_not_depend_on_the_batch_or_on_what_was_cached() {
    for weights in [WeightFormat::Q8_0, WeightFormat::F32] {
        let disk = OnDisk::new(&tiny("llama"));
        batch_and_cache_do_not_matter(|| load(&disk, weights), 53);
    }
}

#[test]
fn a_sequence_goes_on_after_it_was_published_and_others_do_not_see_it() {
    let mut backend = load(&OnDisk::new(&tiny("llama")), WeightFormat::Q8_0);
    let tokens = random_tokens(4, 90, 80);
    let expected = alone(&mut backend, &tokens);
    let (mut first, _) = backend.begin(&tokens, Scope::default());
    run(&mut backend, &mut first, &tokens[..37], 37);
    backend.publish(&first);
    let (mut second, cached) = backend.begin(&tokens, Scope::default());
    assert_eq!(cached, 37);
    // The first goes another way, in the page that the second began with.
    run(&mut backend, &mut first, &random_tokens(8, 20, 80), 3);
    let found = run(&mut backend, &mut second, &tokens[37..], 10);
    assert_eq!(bits(&found), bits(&expected));
}

#[test]
fn a_sequence_with_a_nan_leaves_the_rest_of_the_batch_alone() {
    for weights in [WeightFormat::Q8_0, WeightFormat::F32] {
        let backend = load(&OnDisk::new(&tiny("llama")), weights);
        a_nan_stays_in_its_sequence(backend, |backend| {
            let Matrix { inputs, outputs, .. } = backend.decoder.head;
            let mut rows = vec![0.0; outputs * inputs];
            for (output, row) in rows.chunks_mut(inputs).enumerate() {
                backend.decoder.head.unpack(output, row);
            }
            rows[79 * inputs..80 * inputs].fill(f32::NAN);
            let mut packed = Region::zeroed(rows.len() * 4);
            let tile = Packing::F32.tile_bytes(inputs);
            for (rows, out) in rows.chunks(32 * inputs).zip(packed.chunks_mut(tile)) {
                matmul::pack_tile(Packing::F32, inputs, rows, out);
            }
            let embedding = Matrix::new(std::sync::Arc::new(packed), 0, Packing::F32, inputs, outputs);
            backend.decoder.embedding = Some(embedding);
        });
    }
}

#[test]
fn limits_are_reported_and_change_nothing() {
    let disk = OnDisk::new(&tiny("llama"));
    let options = LoadOptions { context_length: Some(40), kv_budget: Some(35_000), ..LoadOptions::default() };
    let mut backend = CpuBackend::load(disk.path(), &options).unwrap();
    assert_eq!(backend.shape().context_length, 40);
    // A token takes 2 layers x 2 heads x 16 values x 2 x 4 bytes = 512 bytes, a page 8 KiB: four pages.
    assert_eq!(backend.shape().kv_bytes_per_token, 512);
    let (mut a, _) = backend.begin(&[], Scope::default());
    backend.reserve(&mut a, 40).unwrap();
    let (mut b, _) = backend.begin(&[], Scope::default());
    let refused = backend.reserve(&mut b, 17);
    assert_eq!(refused, Err(EngineError::KvBudget { needed: 16 * 1024, budget: 32 * 1024 }));
    assert_eq!(backend.kv_bytes(), 24 * 1024);
    backend.reserve(&mut b, 16).unwrap();
    let mut logits = LogitRows::default();
    let long = vec![1; 41];
    let feed = Feed { sequence: &mut a, tokens: &long, logits: 1 };
    let refused = backend.forward(&mut [feed], &mut logits);
    assert!(matches!(refused, Err(EngineError::ContextLength { limit: 40, .. })));
    let feed = Feed { sequence: &mut a, tokens: &[80], logits: 1 };
    assert!(matches!(backend.forward(&mut [feed], &mut logits), Err(EngineError::Device(_))));
    drop((a, b));
    assert_eq!(backend.kv_bytes(), 0);
}

/// Not a test: prints what a step costs. `cargo test -p countermove-model --lib cpu::tests::speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let Some(path) = default_model() else { return };
    let options = LoadOptions::default();
    let start = std::time::Instant::now();
    let mut backend = CpuBackend::load(&path, &options).unwrap();
    eprintln!("load {:.2} s, threads {}", start.elapsed().as_secs_f64(), backend.pool.threads());
    let prefix = random_tokens(1, 1024, 49152);
    let best = |what: &str, tokens: usize, repeats: usize, mut step: Box<dyn FnMut() + '_>| {
        let fastest = (0..repeats)
            .map(|_| {
                let start = std::time::Instant::now();
                step();
                start.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min);
        eprintln!("{what}: {:.1} tok/s ({:.2} ms)", tokens as f64 / fastest, fastest * 1e3);
    };
    let mut logits = LogitRows::default();
    for length in [512, 1024] {
        best(
            &format!("prefill {length}"),
            length,
            3,
            Box::new(|| {
                let (mut sequence, _) = backend.begin(&[], Scope::default());
                for tokens in prefix[..length].chunks(256) {
                    let feed = Feed { sequence: &mut sequence, tokens, logits: 0 };
                    backend.forward(&mut [feed], &mut logits).unwrap();
                }
            }),
        );
    }
    let (mut root, _) = backend.begin(&[], Scope::default());
    run(&mut backend, &mut root, &prefix, 256);
    backend.publish(&root);
    let only = std::env::var("SEQUENCES").ok().and_then(|count| count.parse::<usize>().ok());
    for (count, context) in [(1, 0), (1, 1024), (9, 1024), (27, 1024)] {
        if only.is_some_and(|only| only != count) {
            continue;
        }
        let mut sequences: Vec<_> = (0..count)
            .map(|index| {
                let tokens = [&prefix[..context], &[index as u32, 5]].concat();
                let (mut sequence, cached) = backend.begin(&tokens, Scope::default());
                run(&mut backend, &mut sequence, &tokens[cached..], 256);
                sequence
            })
            .collect();
        best(
            &format!("decode {count} over {context}"),
            count * 32,
            4,
            Box::new(|| {
                for step in 0..32 {
                    let tokens = [step];
                    let mut feeds: Vec<_> = sequences
                        .iter_mut()
                        .map(|sequence| Feed { sequence, tokens: &tokens, logits: 1 })
                        .collect();
                    backend.forward(&mut feeds, &mut logits).unwrap();
                }
            }),
        );
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    eprintln!(
        "{:?}",
        status
            .lines()
            .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
            .collect::<Vec<_>>()
    );
}

/// A checkpoint whose four-bit blocks are read as numbers, so that all of it is held in eight bits.
struct Requantised<'a>(&'a Checkpoint);

impl Source for Requantised<'_> {
    fn config(&self) -> &crate::config::DecoderConfig {
        self.0.config()
    }

    fn shape(&self, role: Role) -> Option<(usize, usize)> {
        self.0.shape(role)
    }

    fn rows(&self, role: Role, rows: std::ops::Range<usize>, out: &mut Vec<f32>) -> Result<(), LoadError> {
        self.0.rows(role, rows, out)
    }

    fn place(&self, role: Role) -> (&std::path::Path, String) {
        self.0.place(role)
    }

    fn interleaved_rotation(&self) -> bool {
        self.0.interleaved_rotation()
    }
}

/// The default file's four-bit blocks are served as they are. This is for the files that are not: all weights in eight
/// bits, against single precision and against what transformers finds likeliest, over the texts of the fixture.
#[test]
fn weights_in_eight_bits_are_close_to_single_precision() {
    let Some(path) = default_model() else { return };
    let fixture =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/fixtures/default.safetensors");
    let tensors = candle_core::safetensors::load(fixture, &Device::Cpu).unwrap();
    let numbers = |name: &str| tensors[name].to_dtype(DType::U32).unwrap().to_vec2::<u32>().unwrap();
    let (rows, top1) = (numbers("tokens"), numbers("top1"));
    let options = |weights| LoadOptions { weights, kv_budget: Some(1 << 28), ..LoadOptions::default() };
    let mut full = CpuBackend::load(&path, &options(WeightFormat::F32)).unwrap();
    let mut served = CpuBackend::load(&path, &options(WeightFormat::Q8_0)).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    served.decoder = Decoder::load(&Requantised(&checkpoint), WeightFormat::Q8_0, 2).unwrap();
    assert_eq!(served.decoder.layers[0].down.packing(), Packing::Eight);

    let begin = |backend: &mut CpuBackend| {
        rows.iter().map(|_| backend.begin(&[], Scope::default()).0).collect::<Vec<_>>()
    };
    let mut sequences = (begin(&mut full), begin(&mut served));
    let step = |backend: &mut CpuBackend, sequences: &mut [Sequence], position: usize| {
        let feeds = sequences.iter_mut().zip(&rows).map(|(sequence, row)| Feed {
            sequence,
            tokens: &row[position..=position],
            logits: 1,
        });
        let mut logits = LogitRows::default();
        backend.forward(&mut feeds.collect::<Vec<_>>(), &mut logits).unwrap();
        logits.to_vec()
    };
    let log_softmax = |row: &[f32]| -> Vec<f64> {
        let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - greatest).exp()).sum();
        row.iter().map(|x| f64::from(x - greatest) - sum.ln()).collect()
    };
    let (mut same, mut divergence, mut count) = (0, 0.0, 0);
    for position in 0..rows[0].len() {
        let expected = step(&mut full, &mut sequences.0, position);
        let found = step(&mut served, &mut sequences.1, position);
        for ((expected, found), top1) in expected.chunks(49152).zip(found.chunks(49152)).zip(&top1) {
            same += usize::from(best(found) == top1[position] as usize);
            let (p, q) = (log_softmax(expected), log_softmax(found));
            divergence += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            count += 1;
        }
    }
    let (agreement, divergence) = (same as f64 / count as f64, divergence / count as f64);
    eprintln!("{count} positions: top-1 as transformers {agreement:.4}, mean KL {divergence:.2e}");
    assert!(count >= 2000);
    // Eight bits for each of 32 weights cost a model of this size 1.8 % of its first choices.
    assert!(agreement >= 0.98, "top-1 agrees in {agreement:.4} of the positions");
    assert!(divergence <= 0.005 && divergence > 0.0, "the mean KL divergence is {divergence:.5}");
}
