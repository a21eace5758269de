//! A look at the speed of single operations: `cargo test -p countermove-training speed -- --ignored --nocapture`.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use crate::kernels::cpu::CpuKernels;
use crate::kernels::{Heads, Kernels, Term};
use crate::pack::{Layout, pack};

fn time(name: &str, flops: f64, mut work: impl FnMut()) {
    work();
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed().as_secs_f64() < 0.4 {
        work();
        rounds += 1;
    }
    let seconds = begun.elapsed().as_secs_f64() / f64::from(rounds);
    println!("{name:<28} {:8.2} ms {:8.1} GFLOP/s", seconds * 1e3, flops / seconds / 1e9);
}

fn layout(rows: usize) -> Layout {
    let example = crate::data::Example { tokens: vec![1; rows], prompt: rows - 1, group: 0 };
    pack(&[&example], rows).remove(0).layout
}

#[test]
#[ignore = "measures speed"]
fn single_operations() {
    let kernels = CpuKernels::new(CpuKernels::has_bf16());
    let dtype = kernels.dtype();
    let rows = 1024;
    let random = |shape: (usize, usize), dtype| {
        Tensor::randn(0_f32, 1.0, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    for (inputs, outputs) in [(576, 576), (576, 1536), (1536, 576), (576, 16), (16, 1536)] {
        let weight = vec![0.01; inputs * outputs];
        let frozen = kernels.freeze(weight, outputs, inputs).unwrap();
        let left = random((rows, inputs), dtype);
        let flops = 2.0 * (rows * inputs * outputs) as f64;
        let term = [Term { left: &left, right: &frozen.forward }];
        time(&format!("product {inputs} x {outputs}"), flops, || {
            kernels.product(&term, None, dtype).unwrap();
        });
    }
    for (height, width) in [(16, 576), (16, 1536)] {
        let (left, right) = (random((rows, height), dtype), random((rows, width), dtype));
        time(&format!("outer {height} x {width}"), 2.0 * (rows * height * width) as f64, || {
            kernels.outer(&left, &right, 1.0).unwrap();
        });
    }
    let (x, weight) = (random((rows, 576), DType::F32), Tensor::ones(576, DType::F32, &Device::Cpu).unwrap());
    time("norm", (rows * 576) as f64, || {
        kernels.rms_norm(&x, &weight, 1e-5, dtype).unwrap();
    });
    time("norm backward", (rows * 576) as f64, || {
        kernels.rms_norm_backward(&x, &weight, 1e-5, &x, Some(&x)).unwrap();
    });
    let (gate, up) = (random((rows, 1536), dtype), random((rows, 1536), dtype));
    time("swiglu", (rows * 1536) as f64, || {
        kernels.swiglu(&gate, &up).unwrap();
    });
    time("swiglu backward", (rows * 1536) as f64, || {
        kernels.swiglu_backward(&gate, &up, &gate).unwrap();
    });
    time("split", (rows * 576) as f64, || {
        kernels.split_heads(&x, 9, None).unwrap();
    });
    let heads = |count: usize| Tensor::randn(0_f32, 1.0, (count, rows, 64), &Device::Cpu).unwrap();
    let (queries, keys, values) = (heads(9), heads(3), heads(3));
    let heads = Heads { queries: &queries, keys: &keys, values: &values };
    let layout = layout(rows);
    let flops = 2.0 * (9 * rows * rows * 64) as f64;
    let (output, sums) = kernels.attention(heads, &layout).unwrap();
    time("attention", flops, || {
        kernels.attention(heads, &layout).unwrap();
    });
    time("attention backward", 2.5 * flops, || {
        kernels.attention_backward(heads, &layout, &output, &sums, &output).unwrap();
    });
    let logits = random((256, 49152), DType::F32);
    time("cross entropy", (256 * 49152) as f64, || {
        kernels.cross_entropy(&logits, &[7; 256], 1.0).unwrap();
    });
    let a = random((16, 1536), DType::F32);
    time("prepare", (16 * 1536) as f64, || {
        kernels.prepare(&[(&a, 1.0)]).unwrap();
    });
}
