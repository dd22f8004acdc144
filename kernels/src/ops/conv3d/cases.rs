//! What tests and benches run.

use super::Conv3d;
use crate::case::{Case, Input, Runnable};

/// A case with inputs drawn for a convolution of `[batch, extents…]` from `channels` to `outputs`.
fn case(
    label: &str,
    operation: Conv3d,
    [batch, d, h, w]: [usize; 4],
    channels: &[usize],
    outputs: usize,
) -> Case<Conv3d> {
    let mut inputs: Vec<Input> =
        channels.iter().map(|&channels| Input::normal([batch, d, h, w, channels])).collect();
    let [kd, kh, kw] = operation.kernel;
    inputs.push(Input::normal([outputs, channels.iter().sum(), kd, kh, kw]));
    if operation.bias {
        inputs.push(Input::normal([outputs]));
    }
    let label = format!("{label} [{batch}, {d}, {h}, {w}] {channels:?}->{outputs}");
    Case::new(label, operation, inputs)
}

pub fn all() -> Vec<Box<dyn Runnable>> {
    let same = Conv3d::same(3);
    let one = Conv3d::same(1);
    let valid = Conv3d { padding: [[0; 2]; 3], ..same };
    let two = Conv3d { inputs: 2, ..same };
    let stride = Conv3d { stride: [2; 3], ..same };
    let mixed = Conv3d { stride: [2, 1, 3], padding: [[0, 1], [1, 0], [2, 1]], ..same };
    let dilated = Conv3d { dilation: [2; 3], padding: [[2; 2]; 3], ..same };
    let down = Conv3d { kernel: [2; 3], stride: [2; 3], padding: [[0; 2]; 3], ..same };
    let flat = Conv3d { kernel: [3, 1, 2], padding: [[1, 1], [0, 0], [1, 0]], ..same };
    let five = Conv3d::same(5);
    let wide = Conv3d { padding: [[4, 0], [0, 5], [3, 3]], bias: false, ..same };
    let sparse = Conv3d { stride: [2; 3], ..one };
    let strided_dilated = Conv3d { stride: [2, 3, 2], dilation: [2, 1, 3], padding: [[1, 2]; 3], ..same };
    let cases = vec![
        case("3³", same, [1, 1, 1, 1], &[1], 1),
        case("3³ width 1", same, [2, 3, 5, 1], &[3], 5),
        case("3³ first layer", same, [2, 5, 4, 7], &[1], 32),
        case("3³ odd", same, [2, 3, 5, 7], &[5], 17),
        case("3³ odd", same, [1, 3, 2, 5], &[33], 48),
        case("3³ narrow", same, [1, 3, 4, 6], &[17], 3),
        case("3³ many rows", same, [2, 8, 7, 9], &[3], 9),
        case("3³ rows of 4", same, [1, 2, 3, 4], &[64], 64),
        case("3³", same, [1, 1, 2, 9], &[64], 96),
        case("3³ K in segments", same, [1, 2, 2, 3], &[192], 33),
        case("3³ no bias", Conv3d { bias: false, ..same }, [1, 3, 4, 5], &[16], 32),
        case("3³ no padding", valid, [1, 5, 4, 6], &[8], 16),
        case("3³ two inputs", two, [2, 3, 3, 5], &[6, 5], 17),
        case("3³ two inputs", two, [1, 2, 2, 4], &[64, 32], 64),
        case("3³ stride 2", stride, [2, 5, 6, 7], &[5], 18),
        case("3³ stride (2, 1, 3)", mixed, [1, 6, 5, 11], &[17], 5),
        case("3³ dilation 2", dilated, [1, 5, 6, 7], &[4], 33),
        case("3³ stride and dilation", strided_dilated, [2, 7, 7, 9], &[3], 9),
        case("3³ wide padding", wide, [1, 3, 4, 3], &[5], 5),
        case("2³ stride 2", down, [2, 4, 6, 8], &[16], 33),
        case("2³ stride 2, rest unread", down, [1, 5, 7, 9], &[3], 5),
        case("1³", one, [2, 3, 4, 5], &[64], 1),
        case("1³", one, [1, 3, 4, 5], &[1], 64),
        case("1³", one, [1, 3, 5, 7], &[33], 48),
        case("1³ stride 2", sparse, [1, 4, 5, 6], &[5], 17),
        case("3x1x2", flat, [2, 4, 3, 5], &[17], 33),
        case("5³", five, [1, 5, 6, 7], &[3], 17),
    ];
    let mixed = cases.clone().into_iter().map(|case| {
        let activations = case.operation.inputs;
        case.mixed(activations)
    });
    cases.clone().into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
