//! The backend on candle's CPU device: against the CPU backend, and against itself however the work is cut up.

use super::*;
use crate::backend::checks::{
    OnDisk, a_nan_stays_in_its_sequence, alone, batch_and_cache_do_not_matter, distance, feeds_may_be_cut,
    logits_may_be_wanted_after_any_token, random_tokens, run, tiny,
};
use crate::cpu::CpuBackend;
use crate::model::WeightFormat;
use crate::testing::{Random, TinyModel};

/// A tiny model with a context of more than two chunks.
fn long(architecture: &'static str) -> TinyModel {
    TinyModel { context_length: 1200, ..tiny(architecture) }
}

fn small(disk: &OnDisk, weights: DeviceWeights) -> CandleBackend {
    load(disk.path(), &LoadOptions { kv_budget: Some(1 << 22), ..LoadOptions::default() }, weights)
}

fn load(path: &std::path::Path, options: &LoadOptions, weights: DeviceWeights) -> CandleBackend {
    let checkpoint = Checkpoint::open(path).unwrap();
    let info = CandleBackend::describe(&checkpoint, options, weights, false).unwrap();
    CandleBackend::on_cpu(checkpoint.source(), &info, options, weights).unwrap()
}

#[test]
fn single_precision_agrees_with_the_cpu_backend_for_every_architecture() {
    for (index, model) in [
        long("llama"),
        TinyModel { tied: false, head_dim: 24, hidden: 72, heads: 3, kv_heads: 1, ..long("qwen2") },
        TinyModel { heads: 6, kv_heads: 3, head_dim: 20, intermediate: 50, ..long("qwen3") },
        TinyModel { tied: false, heads: 2, kv_heads: 2, head_dim: 40, hidden: 80, ..long("llama") },
    ]
    .into_iter()
    .enumerate()
    {
        let disk = OnDisk::new(&model);
        let options = LoadOptions { weights: WeightFormat::F32, ..LoadOptions::default() };
        let mut cpu = CpuBackend::load(disk.path(), &options).unwrap();
        let mut candle = small(&disk, DeviceWeights::F32);
        for length in [1, 16, 17, 300, 512, 513] {
            let tokens = random_tokens(index as u64, length, model.vocab_size);
            let distance = distance(&alone(&mut candle, &tokens), &alone(&mut cpu, &tokens));
            assert!(distance < 1e-4, "{} at {length}: {distance}", model.architecture);
        }
    }
}

#[test]
fn blocks_of_eight_bits_stay_close_to_the_cpu_backend() {
    let disk = OnDisk::new(&TinyModel { hidden: 256, intermediate: 512, head_dim: 64, ..tiny("llama") });
    let mut cpu = CpuBackend::load(disk.path(), &LoadOptions::default()).unwrap();
    let mut candle = small(&disk, DeviceWeights::Q8_0);
    let tokens = random_tokens(3, 60, 80);
    let distance = distance(&alone(&mut candle, &tokens), &alone(&mut cpu, &tokens));
    assert!(distance < 5e-2, "{distance}");
}

#[test]
fn the_default_model_agrees_with_the_cpu_backend() {
    let path = crate::KnownModel::DEFAULT.path(&crate::home(None));
    if !path.exists() {
        eprintln!("skipped: the default model is not at {}", path.display());
        return;
    }
    let tokens = random_tokens(5, 24, 49152);
    let options =
        LoadOptions { weights: WeightFormat::F32, kv_budget: Some(1 << 24), ..LoadOptions::default() };
    let expected = alone(&mut CpuBackend::load(&path, &options).unwrap(), &tokens);
    let found = alone(&mut load(&path, &options, DeviceWeights::F32), &tokens);
    let distance = distance(&found, &expected);
    eprintln!("distance {distance:.2e}");
    assert!(distance < 1e-3, "{distance}");
}

#[test]
fn logits_do_not_depend_on_how_tokens_are_cut_into_feeds() {
    for weights in [DeviceWeights::F32, DeviceWeights::Q8_0] {
        feeds_may_be_cut(&mut small(&OnDisk::new(&long("llama")), weights), 530);
    }
}

#[test]
fn logits_are_given_after_as_many_tokens_as_are_wanted() {
    for weights in [DeviceWeights::F32, DeviceWeights::Q8_0] {
        logits_may_be_wanted_after_any_token(&mut small(&OnDisk::new(&tiny("qwen2")), weights));
    }
}

#[test]
fn logits_do_not_depend_on_the_batch_or_on_what_was_cached() {
    for weights in [DeviceWeights::F32, DeviceWeights::Q8_0] {
        let disk = OnDisk::new(&long("qwen2"));
        batch_and_cache_do_not_matter(|| small(&disk, weights), 540);
    }
}

#[test]
fn a_sequence_with_a_nan_leaves_the_rest_of_the_batch_alone() {
    let backend = small(&OnDisk::new(&tiny("llama")), DeviceWeights::F32);
    a_nan_stays_in_its_sequence(backend, |backend| {
        let spoilt = backend.decoder.embedding.spoil(79).unwrap();
        backend.decoder.embedding = spoilt;
    });
}

#[test]
fn limits_are_reported_and_idle_prefixes_make_room() {
    let disk = OnDisk::new(&tiny("llama"));
    let options = LoadOptions { context_length: Some(60), kv_budget: Some(35_000), ..LoadOptions::default() };
    let mut backend = load(disk.path(), &options, DeviceWeights::F32);
    // A token takes 2 layers x 2 heads x 16 values x 2 x 4 bytes = 512 bytes, a page 8 KiB: four pages.
    assert_eq!(backend.shape().kv_bytes_per_token, 512);
    let (mut a, _) = backend.begin(&[], Scope::default());
    let prompt = random_tokens(6, 40, 80);
    run(&mut backend, &mut a, &prompt, 40);
    let (mut b, _) = backend.begin(&[], Scope::default());
    let refused = backend.reserve(&mut b, 17);
    assert_eq!(refused, Err(EngineError::KvBudget { needed: 16 * 1024, budget: 32 * 1024 }));
    backend.publish(&a);
    drop(a);
    assert_eq!(backend.kv_bytes(), 24 * 1024);
    backend.reserve(&mut b, 33).unwrap();
    assert_eq!(backend.cached_prefix(&prompt, Scope::default()), 16);
    let mut logits = LogitRows::default();
    let long = vec![1; 61];
    let feed = Feed { sequence: &mut b, tokens: &long, logits: 1 };
    let refused = backend.forward(&mut [feed], &mut logits);
    assert!(matches!(refused, Err(EngineError::ContextLength { limit: 60, .. })));
    let feed = Feed { sequence: &mut b, tokens: &[80], logits: 1 };
    assert!(matches!(backend.forward(&mut [feed], &mut logits), Err(EngineError::Device(_))));
    drop(b);
    assert_eq!(backend.kv_bytes(), 8 * 1024);
}

/// The kernels' own source, compiled for the CPU, against the operators.
mod emulation {
    use std::path::Path;

    use super::super::attention;
    use super::super::step::{CHUNK, FORMS, Form, Tables, score_scale};
    use super::*;
    use crate::config::{Architecture, DecoderConfig, RopeScaling};
    use crate::testing::emulate;

    const LAYERS: usize = 2;
    const LAYER: usize = 1;

    fn config(heads: usize, kv_heads: usize, head_dim: usize) -> DecoderConfig {
        DecoderConfig {
            architecture: Architecture::Qwen3,
            layers: LAYERS,
            hidden: 64,
            intermediate: 64,
            heads,
            kv_heads,
            head_dim,
            vocab_size: 64,
            context_length: 1024,
            rms_epsilon: 1e-5,
            rope_base: 10_000.0,
            rope_scaling: RopeScaling::None,
        }
    }

    fn random(seed: u64, shape: &[usize]) -> Tensor {
        let mut random = Random::new(seed);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| 2.0 * random.symmetric()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn bytes(tensor: &Tensor) -> Vec<u8> {
        let tensor = tensor.flatten_all().unwrap();
        match tensor.dtype() {
            DType::BF16 => tensor
                .to_vec1::<half::bf16>()
                .unwrap()
                .iter()
                .flat_map(|x| x.to_bits().to_le_bytes())
                .collect(),
            _ => tensor.to_vec1::<f32>().unwrap().iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    fn words(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn halves(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks::<2>().0.iter().map(|half| half::bf16::from_le_bytes(*half).to_f32()).collect()
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    /// Forks of a prompt that leave it at its end, inside a chunk and between two, and one of its own.
    fn step(tree: &mut KvTree) -> Step {
        let begin = |tree: &mut KvTree, tokens: &[u32], held: usize| {
            let mut sequence = tree.begin(&tokens[..held], Scope::default());
            let from = sequence.len();
            tree.reserve(&mut sequence, tokens.len() - from).unwrap();
            sequence.extend(&tokens[from..held]);
            sequence
        };
        let prefix = random_tokens(1, 560, 64);
        let parent = begin(tree, &prefix, 560);
        tree.publish(&parent);
        let forked =
            |own: u64, kept: usize, more: usize| [&prefix[..kept], &random_tokens(own, more, 64)].concat();
        let prompts = [
            (forked(2, 560, 1), 560),
            (forked(3, 560, 1), 560),
            (forked(4, 550, 40), 550),
            (forked(5, 512, 1), 512),
            (forked(6, 0, 140), 0),
            (forked(7, 128, 20), 147),
        ];
        let mut sequences: Vec<_> = prompts.iter().map(|(prompt, held)| begin(tree, prompt, *held)).collect();
        let feeds: Vec<_> = sequences
            .iter_mut()
            .zip(&prompts)
            .map(|(sequence, (prompt, held))| Feed { sequence, tokens: &prompt[*held..], logits: 1 })
            .collect();
        Step::plan(&feeds).unwrap()
    }

    /// Positions that the table of rotations holds.
    const CONTEXT: usize = 600;

    /// Compares the kernels in one form with the operators, and gives the attention's bits.
    fn compare(config: &DecoderConfig, form: Form, biased: bool, normed: bool) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = KvTree::new(1, 4 * 100);
        let step = step(&mut tree);
        let (rows, heads, kv_heads, width) =
            (step.tokens.len(), config.heads, config.kv_heads, config.head_dim);
        let all_heads = heads + 2 * kv_heads;
        let qkv = random(1, &[rows, all_heads, width]);
        let norms = (random(2, &[width]), random(3, &[width]));
        let bias = random(6, &[all_heads, width]);
        let rotation = random(4, &[CONTEXT, 2, width / 2]);
        let held = random(5, &[100 * LAYERS * 2 * PAGE, kv_heads * width]).to_dtype(DType::BF16).unwrap();
        let pool = Pool { tensor: held.force_contiguous().unwrap(), layers: LAYERS };
        // What the kernels for rows get: any rows, in any order.
        let of: Vec<u32> = (0..rows as u32).rev().step_by(3).collect();
        let (weight, embedding) = (random(7, &[all_heads * width]), random(8, &[rows, all_heads * width]));
        let embedding = embedding.to_dtype(DType::BF16).unwrap();

        let tables = Tables::new(&step, heads / kv_heads, form.tile);
        let items = tables.items.len() / Tables::ITEM;
        let switches = [usize::from(biased), usize::from(normed)];
        let scalars = [rows, heads, kv_heads, LAYERS, LAYER, switches[0], switches[1]];
        let scalars = [&scalars[..], &[step.partials, items, of.len()]].concat();
        let arrays = [
            words(&scalars.iter().map(|&x| x as u32).collect::<Vec<_>>()),
            [config.rms_epsilon, score_scale(width)].iter().flat_map(|x| x.to_le_bytes()).collect(),
            bytes(&qkv),
            bytes(&bias),
            bytes(&norms.0),
            bytes(&norms.1),
            bytes(&rotation),
            words(&step.slots),
            bytes(&held),
            words(&tables.items),
            words(&tables.segments),
            words(&tables.members),
            words(&tables.rows),
            words(&of),
            bytes(&weight),
            bytes(&embedding),
        ];
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/candle/emulate.cpp");
        let sizes = [
            ("HEAD", config.head_dim),
            ("PAGE", PAGE),
            ("CHUNK", CHUNK),
            ("TILE", form.tile),
            ("HALVES", form.halves),
        ];
        let Some(found) = emulate(folder.path(), &source, &sizes, &arrays).unwrap() else {
            return Vec::new();
        };
        let [found_pool, found_queries, found, embedded, rooted, gated, digests] = &found[..] else {
            panic!("{} arrays", found.len())
        };

        let mut all = qkv.clone();
        if biased {
            all = all.broadcast_add(&bias).unwrap();
        }
        let mut queries = all.narrow(1, 0, heads).unwrap();
        let mut keys = all.narrow(1, heads, kv_heads).unwrap();
        let values = all.narrow(1, heads + kv_heads, kv_heads).unwrap();
        if normed {
            queries = normalise(&queries, &norms.0, config.rms_epsilon).unwrap();
            keys = normalise(&keys, &norms.1, config.rms_epsilon).unwrap();
        }
        let positions = Tensor::new(step.positions.as_slice(), &Device::Cpu).unwrap();
        let angles = rotation.index_select(&positions, 0).unwrap();
        let rotation = (angles.narrow(1, 0, 1).unwrap(), angles.narrow(1, 1, 1).unwrap());
        let queries = rotate(&queries, &rotation).unwrap();
        let keys = rotate(&keys, &rotation).unwrap();
        pool.store(LAYER, &step.slots, &keys, &values).unwrap();
        // What a product of BF16 takes.
        let rounded = queries.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        let expected = attention::attend(config, &step, &pool, LAYER, &rounded).unwrap();

        // One rounding to BF16, or two roundings that fell apart.
        near("queries", &halves(found_queries), &queries, 4e-3);
        near("pool", &halves(found_pool), &pool.tensor, 4e-3);
        near("attention", &halves(found), &expected, 8e-3);

        let flat = qkv.reshape((rows, all_heads * width)).unwrap();
        let of = Tensor::new(of.as_slice(), &Device::Cpu).unwrap();
        near("embedding", &floats(embedded), &embedding.index_select(&of, 0).unwrap(), 1e-9);
        let chosen = flat.index_select(&of, 0).unwrap();
        let expected = normalise(&chosen, &weight, config.rms_epsilon).unwrap();
        near("normalised rows", &halves(rooted), &expected, 4e-3);
        let pairs = Tensor::new(halves(&bytes(&qkv)), &Device::Cpu).unwrap();
        let pairs = pairs.reshape((rows, 2, all_heads * width)).unwrap();
        let gates = pairs.narrow(1, 0, 1).unwrap().silu().unwrap();
        let expected = (gates * pairs.narrow(1, 1, 1).unwrap()).unwrap();
        near("gated rows", &halves(gated), &expected, 4e-3);
        let digests: std::collections::HashSet<_> = digests.as_chunks::<8>().0.iter().collect();
        assert_eq!(digests.len(), rows, "rows that differ have digests that differ");
        found.clone()
    }

    fn near(what: &str, found: &[f32], expected: &Tensor, tolerance: f32) {
        let expected = expected.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap();
        let distance = distance(found, &expected);
        assert!(distance < tolerance, "{what}: {distance}");
    }

    #[test]
    fn the_kernels_agree_with_the_operators_and_their_forms_with_one_another() {
        for (config, biased, normed) in [
            (config(9, 3, 64), false, true),
            (config(10, 2, 128), true, false),
            (config(2, 2, 32), false, true),
        ] {
            let [few, many] = FORMS.map(|form| compare(&config, form, biased, normed));
            assert!(few == many, "the forms of the attention kernel differ for heads of {}", config.head_dim);
        }
    }
}
