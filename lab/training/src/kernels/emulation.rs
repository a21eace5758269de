//! The CUDA kernels' own source, compiled for the CPU, against candle's operators.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use countermove_model::testing::emulate;

use super::{CandleKernels, Dropout, Heads, Kernels, Rotation};
use crate::data::Example;
use crate::optimiser::{AdamW, Moments};
use crate::pack::{Layout, pack};
use crate::random::Random;

const VOCABULARY: usize = 300;
/// Rows that are brought past a tile at a time, as in the source.
const STRIP: usize = 32;
const TILE: usize = 64;

/// Numbers between -1 and 1.
fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut random = Random::new(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.symmetric()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn rounded(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn singles(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn halves(tensor: &Tensor) -> Vec<u8> {
    floats(tensor).iter().flat_map(|&number| half::bf16::from_f32(number).to_le_bytes()).collect()
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Examples with a common beginning, some of them with more in common, and one alone: more rows than two tiles.
fn layout() -> Layout {
    let text = |seed: u64, length: usize| -> Vec<u32> {
        let mut random = Random::new(seed);
        (0..length).map(|_| (random.next() % 250) as u32).collect()
    };
    let (root, branch) = (text(1, 40), text(2, 30));
    let example = |prompt: Vec<u32>| {
        let tokens = [&prompt[..], &text(9, 5)].concat();
        Example { tokens, prompt: prompt.len(), group: 0 }
    };
    let examples: Vec<Example> = [
        [&root[..], &branch, &text(3, 12)].concat(),
        [&root[..], &branch, &text(4, 20)].concat(),
        [&root[..], &text(5, 9)].concat(),
        text(6, 33),
    ]
    .map(example)
    .into();
    pack(&examples.iter().collect::<Vec<_>>(), 1000).remove(0).layout
}

/// The difference as a share of the expected length is small. Arrays are of BF16 if they are half as long.
fn near(what: &str, found: &[u8], expected: &Tensor, tolerance: f64) {
    let expected = floats(expected);
    let found: Vec<f32> = if found.len() == 2 * expected.len() {
        found.as_chunks().0.iter().map(|half| half::bf16::from_le_bytes(*half).to_f32()).collect()
    } else {
        found.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    let square = |x: f64| x * x;
    let differs: f64 = found.iter().zip(&expected).map(|(a, b)| square(f64::from(a - b))).sum();
    let length: f64 = expected.iter().map(|&b| square(f64::from(b))).sum();
    let distance = (differs / length.max(1e-30)).sqrt();
    assert!(distance < tolerance, "{what}: {distance}");
}

fn compare(head: usize, heads: usize, kv_heads: usize) {
    let layout = layout();
    let (rows, width, kv_width, epsilon) = (layout.tokens(), heads * head, kv_heads * head, 1e-5);
    let ends = layout.ends();
    let furthest: Vec<u32> = ends.chunks(STRIP).map(|strip| strip.iter().copied().max().unwrap()).collect();
    // Parts that are smaller than what the kernels are launched with: the layout is small as well.
    let (items, firsts) = Layout::parts(&ends, TILE, 2 * STRIP);
    let weight = random(5, &[width]);
    let (x, keys, values) =
        (random(1, &[rows, width]), random(2, &[rows, kv_width]), random(3, &[rows, kv_width]));
    let gradient = random(4, &[rows, width]);
    let rotation = Rotation { cosines: random(6, &[rows, head / 2]), sines: random(7, &[rows, head / 2]) };
    let logits = (random(8, &[rows, VOCABULARY]) * 4.0).unwrap();
    let targets: Vec<u32> = (0..rows as u32).map(|row| row * 7 % VOCABULARY as u32).collect();
    let moments = random(12, &[rows, width]).sqr().unwrap();
    let [gates, ups, by_gated] =
        [9, 10, 11].map(|seed| rounded(&(random(seed, &[rows, width]) * 3.0).unwrap()));
    let dropout = Dropout { rate: 0.3, seed: 0x1234_5678_9abc_def0 };
    let update = AdamW { decay: 0.1, ..AdamW::default() }.update(0.5, 0.01, 3);
    let factor = 1.0 / (head as f64).sqrt();
    let reals = [epsilon, (factor * std::f64::consts::LOG2_E) as f32, factor as f32, 0.1, dropout.growth()];
    let arrays = [
        words(&[rows, heads, kv_heads, VOCABULARY].map(|number| number as u32)),
        singles(&[&reals[..], &update.numbers()].concat()),
        words(&[dropout.seed as u32, (dropout.seed >> 32) as u32, dropout.threshold()]),
        singles(&floats(&x)),
        singles(&floats(&keys)),
        singles(&floats(&values)),
        singles(&floats(&gradient)),
        singles(&floats(&weight)),
        singles(&floats(&rotation.cosines)),
        singles(&floats(&rotation.sines)),
        words(&ends),
        words(&furthest),
        words(&items),
        words(&firsts),
        singles(&floats(&logits)),
        words(&targets),
        singles(&floats(&moments)),
        halves(&gates),
        halves(&ups),
        halves(&by_gated),
    ];
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels/cuda/emulate.cpp");
    let Some(found) = emulate(folder.path(), &source, &[("HEAD", head)], &arrays).unwrap() else { return };
    let mut found = found.iter();
    // One rounding to BF16, and several behind one another.
    const ONCE: f64 = 3e-3;
    const OFTEN: f64 = 8e-3;
    let mut check = |what: &str, expected: &Tensor, tolerance: f64| {
        near(&format!("{what}, heads of {head}"), found.next().unwrap(), expected, tolerance);
    };

    let candle = CandleKernels::new(Device::Cpu, DType::F32, None);
    check("normalise", &candle.rms_norm(&x, &weight, epsilon, DType::F32).unwrap(), ONCE);
    let by_x = candle.rms_norm_backward(&x, &weight, epsilon, &gradient, Some(&x)).unwrap();
    check("normalise_backward", &by_x, 1e-5);
    let split = |x: &Tensor, heads, rotation| candle.split_heads(x, heads, rotation).unwrap();
    let queries = split(&x, heads, Some(&rotation));
    let (split_keys, split_values) =
        (split(&keys, kv_heads, Some(&rotation)), split(&values, kv_heads, None));
    check("queries", &queries, ONCE);
    check("keys", &split_keys, ONCE);
    check("values", &split_values, ONCE);
    let (queries, keys, values) = (rounded(&queries), rounded(&split_keys), rounded(&split_values));
    let all = Heads { queries: &queries, keys: &keys, values: &values };
    let (output, sums) = candle.attention(all, &layout).unwrap();
    check("attend", &candle.merge_heads(&output, None, DType::F32).unwrap(), OFTEN);
    check("sums", &sums, 1e-4);
    let by_output = rounded(&split(&gradient, heads, None));
    let [by_queries, by_keys, by_values] =
        candle.attention_backward(all, &layout, &output, &sums, &by_output).unwrap();
    let merged = candle.merge_heads(&by_queries, Some(&rotation), DType::F32).unwrap();
    check("attend_backward_queries", &merged, 2.0 * OFTEN);
    check("keys of attend_backward_keys", &by_keys, 2.0 * OFTEN);
    check("values of attend_backward_keys", &by_values, OFTEN);
    check("gate", &candle.swiglu(&gates, &ups).unwrap(), ONCE);
    let [by_gates, by_ups] = candle.swiglu_backward(&gates, &ups, &by_gated).unwrap();
    check("gates of gate_backward", &by_gates, ONCE);
    check("ups of gate_backward", &by_ups, ONCE);
    check("drop", &candle.dropout(&x, dropout).unwrap(), 1e-6);
    check("drop of halves", &candle.dropout(&gates, dropout).unwrap(), ONCE);
    let (losses, by_logits) = candle.cross_entropy(&logits, &targets, 0.1).unwrap();
    check("losses", &losses, 1e-5);
    check("cross_entropy", &by_logits, ONCE);
    let parts = found.next().unwrap();
    let sum: f64 = parts.as_chunks().0.iter().map(|word| f64::from(f32::from_le_bytes(*word))).sum();
    // Those that work on many arrays were given all of it and, behind that, half of it once more.
    let twice = |tensor: &Tensor| {
        let flat = tensor.flatten_all().unwrap();
        Tensor::cat(&[&flat, &flat.narrow(0, 0, flat.elem_count() / 2).unwrap()], 0).unwrap()
    };
    let expected = candle.square_sum(&[&twice(&x)]).unwrap();
    assert!((sum / expected - 1.0).abs() < 1e-5, "squares: {sum} and {expected}");
    near("prepare", found.next().unwrap(), &twice(&(&x * 0.1).unwrap()), ONCE);
    let held = Moments { first: gradient.clone(), second: moments };
    let (stepped, held) = candle.adamw(update, &[(&x, &gradient, &held)]).unwrap().remove(0);
    let after = [("parameter", &stepped), ("first moment", &held.first), ("second moment", &held.second)];
    for (what, expected) in after {
        near(what, found.next().unwrap(), &twice(expected), 1e-6);
    }
    assert!(found.next().is_none());
}

#[test]
fn the_cuda_kernels_agree_with_the_operators() {
    for (head, heads, kv_heads) in [(64, 2, 1), (128, 1, 1)] {
        compare(head, heads, kv_heads);
    }
}
