//! What the generic cases cannot ask: values outside of a tap's reach, needs, errors.

use super::shapes::{GENESIS, Kind, parse};
use super::*;
use crate::Isa;
use crate::op::Saved;
use genesis_tensor::DType;
use genesis_tensor::random::{Purpose, Stream};

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// Instruction sets with the number formats to test on them: bf16 on emulated AMX too.
fn isas_and_formats() -> Vec<(Isa, DType)> {
    let mut all: Vec<(Isa, DType)> =
        isas().flat_map(|isa| [DType::F32, DType::Bf16].map(|format| (isa, format))).collect();
    let emulated = !Isa::Amx.is_available() && Isa::Avx512Bf16.is_available();
    if emulated && genesis_amx_emulator::install() {
        all.push((Isa::Amx, DType::Bf16));
    }
    all
}

fn random(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut stream = Stream::new(seed, 0, 0, Purpose::Cases);
    let values: Vec<f32> = (0..shape.elements()).map(|_| stream.normal() as f32).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

/// Parity compares NaN with NaN, so a NaN or infinity that reaches an output which the definition
/// keeps it from, or the other way round, is an infinite error.
#[test]
fn nan_and_infinity_reach_only_what_the_taps_reach() {
    let asymmetric = Conv3d { padding: [[1, 1], [0, 2], [1, 0]], ..Conv3d::same(3) };
    let strided = Conv3d { stride: [2, 1, 2], ..Conv3d::same(3) };
    let dilated = Conv3d { dilation: [1, 2, 2], padding: [[1; 2], [2; 2], [2; 2]], ..Conv3d::same(3) };
    let operations = [Conv3d::same(3), Conv3d::same(1), asymmetric, strided, dilated];
    let all = isas_and_formats();
    for ((isa, format), conv) in all.into_iter().flat_map(|one| operations.map(|conv| (one, conv))) {
        let tolerance = if format == DType::F32 { 1e-5 } else { 1e-2 };
        let cx = Context::with_isa(2, isa);
        let shape = Shape::from([3, 4, 3, 4, 5]);
        let mut x = random(shape, 1);
        let weight = random([7, 5, conv.kernel[0], conv.kernel[1], conv.kernel[2]], 2);
        let bias = random([7], 3);
        let shapes = [shape, weight.shape(), bias.shape()];
        let mut dy = random(conv.infer(&shapes).unwrap(), 4);
        // The middle sample's edges: the neighbours in memory of the other samples' padding.
        let sample = shape.elements() / 3;
        for (position, value) in [(0, f32::NAN), (sample - 1, f32::INFINITY), (sample / 2, f32::NAN)] {
            x.as_mut_slice().unwrap()[sample + position] = value;
        }
        let sample = dy.elements() / 3;
        dy.as_mut_slice().unwrap()[sample] = f32::NAN;
        dy.as_mut_slice().unwrap()[2 * sample - 1] = f32::INFINITY;
        let (x, dy) = (x.cast(format).unwrap(), dy.cast(format).unwrap());

        let arrays = [&x, &weight, &bias].map(Array::from_tensor);
        let (y, saved) = conv.forward(&cx, &[&x, &weight, &bias]).unwrap();
        let wanted = conv.reference(&arrays);
        assert!(wanted.values.iter().any(|v| v.is_finite()) && wanted.values.iter().any(|v| v.is_nan()));
        assert!(Array::from_tensor(&y).relative_error(&wanted) < tolerance, "{isa} {format:?} {conv:?}: y");

        let wanted = conv.reference_backward(&arrays, &Array::from_tensor(&dy));
        let given = conv.backward(&cx, saved, dy, &[true; 3]).unwrap();
        let error =
            Array::from_tensor(given[0].as_ref().unwrap()).relative_error(wanted[0].as_ref().unwrap());
        assert!(error < tolerance, "{isa} {format:?} {conv:?}: dx off by {error}");
    }
}

#[test]
fn a_nan_voxel_touches_the_weights_of_its_taps_alone() {
    // On a 1x1x1 image with a 3³ kernel, only the middle tap reads anything.
    for (isa, format) in isas_and_formats() {
        let cx = Context::with_isa(1, isa);
        let conv = Conv3d { bias: false, ..Conv3d::same(3) };
        let x = Tensor::full([1, 1, 1, 1, 1], f32::NAN).unwrap().cast(format).unwrap();
        let weight = random([1, 1, 3, 3, 3], 1);
        let dy = Tensor::full([1, 1, 1, 1, 1], 2.0).unwrap().cast(format).unwrap();
        let gradients = conv.backward(&cx, vec![x, weight], dy, &[false, true]).unwrap();
        assert!(gradients[0].is_none());
        for (tap, value) in gradients[1].as_ref().unwrap().as_slice().iter().enumerate() {
            assert_eq!(value.is_nan(), tap == 13, "{isa} {format:?} tap {tap}: {value}");
        }
    }
}

/// With voxels in pairs, a row of odd length ends beside the next row's first voxel, which is a NaN here,
/// and an odd number of channels beside the next voxel's.
#[test]
fn a_nan_voxel_touches_no_weights_of_its_neighbours_in_memory() {
    for (isa, format) in isas_and_formats() {
        let cx = Context::with_isa(1, isa);
        for (extents, channels, outputs) in
            [([1, 3, 5], 5, 3), ([2, 2, 3], 7, 17), ([1, 1, 9], 1, 5), ([3, 3, 16], 6, 33)]
        {
            let conv = Conv3d { bias: false, ..Conv3d::same(3) };
            let [d, h, w] = extents;
            let mut x = random([2, d, h, w, channels], 1);
            let second = x.elements() / 2;
            x.as_mut_slice().unwrap()[second] = f32::NAN;
            let x = x.cast(format).unwrap();
            let weight = random([outputs, channels, 3, 3, 3], 2);
            let dy = random([2, d, h, w, outputs], 3).cast(format).unwrap();
            let arrays = [&x, &weight].map(Array::from_tensor);
            let wanted = conv.reference_backward(&arrays, &Array::from_tensor(&dy));
            let given = conv.backward(&cx, vec![x, weight], dy, &[false, true]).unwrap();
            let given = Array::from_tensor(given[1].as_ref().unwrap());
            let error = given.relative_error(wanted[1].as_ref().unwrap());
            assert!(error < 1e-2, "{isa} {format:?} {extents:?}: off by {error}");
        }
    }
}

#[test]
fn two_inputs_equal_their_concatenation() {
    let cx = Context::new(2);
    let (a, b, weight) = (random([1, 2, 3, 4, 6], 1), random([1, 2, 3, 4, 3], 2), random([5, 9, 3, 3, 3], 3));
    let joined: Vec<f32> = (a.as_slice().chunks(6).zip(b.as_slice().chunks(3)))
        .flat_map(|(a, b)| a.iter().chain(b).copied().collect::<Vec<_>>())
        .collect();
    let joined = Tensor::from_slice([1, 2, 3, 4, 9], &joined).unwrap();
    let one = Conv3d { bias: false, ..Conv3d::same(3) };
    let (y_one, _) = one.forward(&cx, &[&joined, &weight]).unwrap();
    let (y_two, saved) = Conv3d { inputs: 2, ..one }.forward(&cx, &[&a, &b, &weight]).unwrap();
    assert!(Array::from_tensor(&y_two).relative_error(&Array::from_tensor(&y_one)) < 1e-6);
    assert_eq!(saved.tensors().len(), 3);
}

#[test]
fn only_needed_gradients_are_computed() {
    let cx = Context::new(1);
    let conv = Conv3d { inputs: 2, ..Conv3d::same(1) };
    let (a, weight, bias) = (random([1, 2, 2, 2, 3], 1), random([4, 6, 1, 1, 1], 2), random([4], 3));
    for mask in 0..16 {
        let need: [bool; 4] = std::array::from_fn(|input| mask >> input & 1 == 1);
        let (y, saved) = conv.forward(&cx, &[&a, &a, &weight, &bias]).unwrap();
        let gradients = conv.backward(&cx, saved, y, &need).unwrap();
        assert!(gradients.iter().map(Option::is_some).eq(need));
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let conv = Conv3d::same(3);
    let (x, weight, bias) = ([1, 4, 4, 4, 2], [3, 2, 3, 3, 3], [3]);
    let good = [Shape::from(x), Shape::from(weight), Shape::from(bias)];
    assert_eq!(conv.infer(&good).unwrap(), Shape::from([1, 4, 4, 4, 3]));
    assert!(conv.infer(&good[..2]).is_err());
    assert!(conv.infer(&[good[0], Shape::from([3, 1, 3, 3, 3]), good[2]]).is_err());
    assert!(conv.infer(&[good[0], good[1], Shape::from([4])]).is_err());
    assert!(conv.infer(&[Shape::from([0, 4, 4, 4, 2]), good[1], good[2]]).is_err());
    assert!(Conv3d { stride: [0, 1, 1], ..conv }.infer(&good).is_err());
    assert!(Conv3d { inputs: 3, ..conv }.infer(&good).is_err());
    let cx = Context::new(1);
    let (tensor, half) = (random(good[0], 1), random(good[0], 1).cast(genesis_tensor::DType::Bf16).unwrap());
    let (weight, bias) = (random(good[1], 2), random(good[2], 3));
    assert!(conv.forward(&cx, &[&tensor, &weight, &bias]).is_ok());
    assert_eq!(conv.forward(&cx, &[&half, &weight, &bias]).unwrap().0.dtype(), genesis_tensor::DType::Bf16);
    let two = Conv3d { inputs: 2, ..conv };
    assert!(two.forward(&cx, &[&half, &tensor, &random([3, 4, 3, 3, 3], 2), &bias]).is_err());
    let valid = Conv3d { padding: [[0; 2]; 3], ..conv };
    assert!(valid.infer(&[Shape::from([1, 2, 4, 4, 2]), good[1], good[2]]).is_err());
}

#[test]
fn the_networks_layers_have_the_published_size() {
    let layers = parse(GENESIS).unwrap();
    let mut parameters = 0;
    let mut flops = 0;
    for layer in &layers {
        let shapes = layer.inputs(1);
        parameters += shapes[shapes.len() - 2..].iter().map(Shape::elements).sum::<usize>();
        flops += match layer.operation {
            Kind::Conv(conv) => conv.cost(&shapes).forward.flops,
            Kind::Transposed(conv) => conv.cost(&shapes).forward.flops,
        };
    }
    // The 14 batch normalisations hold the rest of the 19 073 665 parameters.
    let normalised: usize = layers
        .iter()
        .filter(|layer| matches!(layer.operation, Kind::Conv(Conv3d { kernel: [3, ..], .. })))
        .map(|layer| 2 * layer.outputs)
        .sum();
    assert_eq!(parameters + normalised, 19_073_665);
    // Multiply-adds alone, counted 2 each, summed by hand from the table of channels.
    assert_eq!(flops, 244_217_544_704);
    assert!(parse("x conv 1 -> k3 s1 @ 4x4x4").is_err());
}
