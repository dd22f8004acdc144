//! Every tiling and instruction set against the f64 definition.

use super::*;
use crate::Array;
use crate::cpu::element::Store;
use crate::op::Operation;
use crate::ops::conv3d::Conv3d;
use genesis_tensor::random::{Purpose, Stream};
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

fn random(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut stream = Stream::new(seed, 0, 0, Purpose::Cases);
    let values: Vec<f32> = (0..shape.elements()).map(|_| stream.normal() as f32).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

#[derive(Debug)]
struct Errors {
    output: f64,
    input: f64,
    weight: f64,
}

/// Errors of forward, input gradient and weight gradient for two inputs, relative to the definition.
fn errors<E: VectorElement>(
    cx: &Context,
    method: Method,
    extents: [usize; 3],
    padding: [[usize; 2]; 3],
    channels: [usize; 2],
    outputs: usize,
) -> Errors {
    let batch = 2;
    let conv = Conv3d { inputs: 2, padding, ..Conv3d::same(3) };
    let [d, h, w] = extents;
    let x = [0, 1].map(|i| random([batch, d, h, w, channels[i]], i as u64).cast(E::DTYPE).unwrap());
    let all = channels[0] + channels[1];
    let weight = random([outputs, all, 3, 3, 3], 3);
    let bias = random([outputs], 4);
    let shapes = [x[0].shape(), x[1].shape(), weight.shape(), bias.shape()];
    let shape = conv.infer(&shapes).unwrap();
    let dy = random(shape, 5).cast(E::DTYPE).unwrap();
    let [_, od, oh, ow, _] = shape.ndhwc().unwrap();
    let low = padding.map(|[low, _]| low as isize);
    let sources = [0, 1].map(|i| Source { values: E::slice(&x[i]), channels: channels[i] });
    let forward = Convolution { batch, input: extents, output: [od, oh, ow], low, method };

    let arrays = [&x[0], &x[1], &weight, &bias].map(Array::from_tensor);
    let mut y = Tensor::unspecified(shape, E::DTYPE).unwrap();
    let weights = Weights { values: weight.as_slice(), output_stride: all * 27, input_stride: 27 };
    let bias = Some(bias.as_slice());
    forward
        .forward(cx, &sources, (weights, false), bias, &[outputs], &mut [E::slice_mut(&mut y).unwrap()])
        .unwrap();
    let output = Array::from_tensor(&y).relative_error(&conv.reference(&arrays));

    let wanted = conv.reference_backward(&arrays, &Array::from_tensor(&dy));
    let backward =
        Convolution { input: forward.output, output: forward.input, low: low.map(|low| 2 - low), ..forward };
    let gradient = Source { values: E::slice(&dy), channels: outputs };
    let mut input: f64 = 0.0;
    for i in 0..2 {
        let first = i * channels[0] * 27;
        let weights =
            Weights { values: &weight.as_slice()[first..], output_stride: 27, input_stride: all * 27 };
        let mut dx = Tensor::unspecified(x[i].shape(), E::DTYPE).unwrap();
        let result = E::slice_mut(&mut dx).unwrap();
        backward.forward(cx, &[gradient], (weights, true), None, &channels[i..=i], &mut [result]).unwrap();
        input = input.max(Array::from_tensor(&dx).relative_error(wanted[i].as_ref().unwrap()));
    }

    let layout = WeightLayout { first: 0, output_stride: all * 27, input_stride: 27 };
    let mut dw = Tensor::unspecified(weight.shape(), DType::F32).unwrap();
    let forward = Convolution { batch, input: extents, output: [od, oh, ow], low, method };
    forward.weight_gradient(cx, &sources, gradient, layout, dw.as_mut_slice().unwrap()).unwrap();
    let weight = Array::from_tensor(&dw).relative_error(wanted[2].as_ref().unwrap());
    Errors { output, input, weight }
}

#[test]
fn every_tiling_and_format_matches_the_definition() {
    genesis_tensor::memory::set_poison(true);
    let shapes = [
        ([4, 4, 4], [[1; 2]; 3], [16, 16], 32),
        ([5, 3, 7], [[1; 2]; 3], [5, 17], 33),
        ([1, 2, 9], [[1; 2]; 3], [3, 64], 64),
        ([6, 5, 4], [[0, 1], [2, 0], [4, 3]], [33, 8], 70),
        ([8, 8, 4], [[1; 2]; 3], [48, 160], 16),
        ([13, 9, 10], [[1; 2]; 3], [8, 4], 7),
        ([16, 16, 8], [[1; 2]; 3], [8, 8], 32),
        // Half of a block of outputs does not exist, nor do weights behind the last one.
        ([4, 4, 8], [[1; 2]; 3], [32, 16], 16),
        // Weights of the gradient of the first input count as large, and its channels are one chunk.
        ([4, 4, 5], [[1; 2]; 3], [160, 8], 64),
    ];
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let cx = Context::with_isa(2, isa);
        for (extents, padding, channels, outputs) in shapes {
            for method in Method::ALL {
                let half = errors::<bf16>(&cx, method, extents, padding, channels, outputs);
                // KERNELS.md allows 1e-2. On images that are mostly border F(4×2×2) comes to 1.05e-2: there
                // the plan takes F(2×2×2).
                let (bound, weights) = match method {
                    Method::TwoBf16 => (7e-3, 7e-3),
                    Method::FourTwoBf16 if extents.iter().product::<usize>() < 2048 => (1.2e-2, 1.2e-2),
                    Method::FourTwoBf16 => (9.5e-3, 9.5e-3),
                    _ => (2e-3, 1e-4),
                };
                let what = format!("{isa} {extents:?} {method:?}");
                assert!(half.output < bound && half.input < bound, "{what}: bf16 {half:?}");
                assert!(half.weight < weights, "{what}: bf16 {half:?}");
                if method.pairs() {
                    continue;
                }
                let full = errors::<f32>(&cx, method, extents, padding, channels, outputs);
                // KERNELS.md allows 1e-4.
                let bound = if method == Method::TwoF32 { 2e-6 } else { 1e-5 };
                assert!(full.output < bound && full.input < bound && full.weight < bound, "{what}: {full:?}");
            }
        }
    }
}

#[test]
fn large_weights_and_sums_stored_past_the_caches_match_the_definition() {
    genesis_tensor::memory::set_poison(true);
    let (channels, outputs) = ([96, 80], 150);
    let cx = Context::with_isa(2, Isa::detect());
    let bytes = 216 * channels.iter().sum::<usize>() * outputs * size_of::<f32>();
    assert_ne!(Store::of(cx.isa, &vec![0u8; bytes]), Store::Cached);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let cx = Context::with_isa(2, isa);
        let found = errors::<f32>(&cx, Method::FourF32, [4, 4, 5], [[1; 2]; 3], channels, outputs);
        assert!(found.output < 1e-5 && found.input < 1e-5 && found.weight < 1e-5, "{isa}: {found:?}");
    }
}

#[test]
fn parts_shared_by_any_number_of_threads_give_the_same_bits() {
    genesis_tensor::memory::set_poison(true);
    // 648 tiles of F(4×4×4): four parts of two slabs, which differ in length. Two threads take whole parts,
    // three and five share every slab.
    let (extents, channels) = ([24, 24, 72], 8);
    let [d, h, w] = extents;
    let conv = Conv3d::same(3);
    let (x, dy) = (random([1, d, h, w, channels], 1), random([1, d, h, w, channels], 2));
    let weight =
        Tensor::from_slice([channels, channels, 3, 3, 3], &vec![0.0; channels * channels * 27]).unwrap();
    let bias = Tensor::from_slice([channels], &vec![0.0; channels]).unwrap();
    let arrays = [&x, &weight, &bias].map(Array::from_tensor);
    let wanted = conv.reference_backward(&arrays, &Array::from_tensor(&dy));
    let [source, gradient] = [&x, &dy].map(|tensor| Source::<f32> { values: tensor.as_slice(), channels });
    let low = [1; 3];
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for method in [Method::FourF32, Method::FourTwoBf16] {
            let convolution = Convolution { batch: 1, input: extents, output: extents, low, method };
            let results = [1, 2, 3, 5].map(|threads| {
                let cx = Context::with_isa(threads, isa);
                let mut dw = Tensor::unspecified(weight.shape(), DType::F32).unwrap();
                let layout = WeightLayout { first: 0, output_stride: channels * 27, input_stride: 27 };
                let result = dw.as_mut_slice().unwrap();
                convolution.weight_gradient(&cx, &[source], gradient, layout, result).unwrap();
                dw
            });
            let error = Array::from_tensor(&results[0]).relative_error(wanted[1].as_ref().unwrap());
            let bound = if method.pairs() { 9.5e-3 } else { 1e-5 };
            assert!(error < bound, "{isa} {method:?}: {error}");
            let bits =
                results.map(|dw| dw.as_slice().iter().map(|value: &f32| value.to_bits()).collect::<Vec<_>>());
            assert!(bits.iter().all(|other| *other == bits[0]), "{isa} {method:?}");
        }
    }
}
