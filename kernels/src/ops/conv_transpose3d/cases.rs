//! What tests and benches run.

use super::ConvTranspose3d;
use crate::case::{Case, Input, Runnable};

fn case(
    label: &str,
    operation: ConvTranspose3d,
    [batch, d, h, w]: [usize; 4],
    channels: usize,
    outputs: usize,
) -> Case<ConvTranspose3d> {
    let [kd, kh, kw] = operation.kernel;
    let mut inputs =
        vec![Input::normal([batch, d, h, w, channels]), Input::normal([channels, outputs, kd, kh, kw])];
    if operation.bias {
        inputs.push(Input::normal([outputs]));
    }
    Case::new(format!("{label} [{batch}, {d}, {h}, {w}] {channels}->{outputs}"), operation, inputs)
}

pub fn all() -> Vec<Box<dyn Runnable>> {
    let double = ConvTranspose3d::double();
    let overlapping =
        ConvTranspose3d { kernel: [3; 3], padding: [[1; 2]; 3], output_padding: [1, 0, 1], ..double };
    let gaps = ConvTranspose3d { kernel: [1, 2, 1], stride: [2, 3, 3], output_padding: [1, 2, 0], ..double };
    let dense =
        ConvTranspose3d { kernel: [3; 3], stride: [1; 3], padding: [[0, 1], [1, 2], [2, 0]], ..double };
    let mixed = ConvTranspose3d {
        kernel: [4, 2, 3],
        stride: [2, 1, 3],
        padding: [[1, 1], [0, 1], [0, 2]],
        output_padding: [0; 3],
        dilation: [1, 2, 2],
        bias: false,
    };
    let cases = vec![
        case("2³ stride 2", double, [1, 1, 1, 1], 1, 1),
        case("2³ stride 2", double, [2, 3, 2, 5], 5, 17),
        case("2³ stride 2", double, [2, 1, 2, 4], 64, 64),
        case("2³ stride 2", double, [1, 1, 3, 4], 96, 33),
        case("2³ stride 2", double, [1, 3, 2, 1], 3, 48),
        case("2³ stride 2", double, [3, 2, 2, 2], 8, 8),
        case("2³ stride 2", double, [1, 5, 3, 2], 40, 16),
        case("2³ stride 2, no bias", ConvTranspose3d { bias: false, ..double }, [1, 2, 2, 3], 17, 5),
        case("3³ stride 2", overlapping, [2, 3, 4, 5], 5, 18),
        case("gaps", gaps, [1, 3, 2, 4], 4, 33),
        case("3³ stride 1", dense, [1, 4, 5, 6], 17, 5),
        case("4x2x3 dilated", mixed, [2, 3, 4, 4], 3, 9),
    ];
    let mixed = cases.clone().into_iter().map(|case| case.mixed(1));
    cases.clone().into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
