//! conv_transpose3d and linear: every path, forward and all gradients.

use crate::card::{Card, close, noise};
use crate::convolution::check;
use genesis_kernels::cuda::cases::{Convolution, Operator};
use genesis_kernels::cuda::{Format, Operand, direct};
use genesis_kernels::op::Operation;
use genesis_kernels::ops::conv_transpose3d::ConvTranspose3d;
use genesis_kernels::ops::linear::Linear;

fn run(op: ConvTranspose3d, image: [usize; 4], channels: usize, outputs: usize, format: Format) {
    let operator = Operator::Transposed(op);
    check(&Convolution { operator, image, channels: vec![channels], outputs, format });
}

#[test]
fn doubling_on_tensor_cores() {
    for format in [Format::Bf16, Format::F16, Format::Tf32] {
        run(ConvTranspose3d::double(), [2, 3, 2, 5], 16, 8, format);
        run(ConvTranspose3d::double(), [1, 1, 2, 3], 40, 24, format);
    }
}

#[test]
fn any_shape_runs_directly() {
    let double = ConvTranspose3d::double();
    let other = ConvTranspose3d {
        kernel: [3, 2, 1],
        stride: [2, 3, 1],
        padding: [[1, 0], [0, 1], [0, 0]],
        output_padding: [1, 0, 0],
        dilation: [1, 2, 1],
        bias: false,
    };
    for format in [Format::F32, Format::Bf16] {
        run(double, [2, 3, 2, 5], 7, 5, format);
        run(other, [1, 4, 3, 5], 3, 33, format);
    }
    // Tensor cores for the gradients alone.
    run(other, [1, 4, 3, 5], 16, 8, Format::Bf16);
}

#[test]
fn linear_layers_are_convolutions_of_points() {
    let mut card = Card::default();
    let (rows, features, outputs) = (5, 37, 70);
    let (x, x_array) = card.upload(&noise([rows, features], 1), Format::F32);
    let (w, w_array) = card.upload(&noise([outputs, features], 2), Format::F32);
    let (b, b_array) = card.upload(&noise([outputs], 3), Format::F32);
    let (dy, dy_array) = card.upload(&noise([rows, outputs], 4), Format::F32);
    let inputs = [x_array, w_array, b_array];
    let (y, dx, dw) =
        (card.room(rows * outputs * 4), card.room(rows * features * 4), card.room(outputs * features * 4));
    let operand = Operand::dense;
    let (format, input, output) = (Format::F32, operand(x, features), operand(y, outputs));
    card.run_with(|workspace| direct::linear(format, input, rows, w, b, output, workspace));
    let given = operand(dy, outputs);
    let dx_operand = operand(dx, features);
    card.run_with(|workspace| direct::linear_input_gradient(format, given, rows, w, dx_operand, workspace));
    card.run_with(|workspace| direct::linear_weight_gradient(format, input, rows, given, dw, workspace));
    let gradients = Linear.reference_backward(&inputs, &dy_array);
    close("y", &card.download(y, [rows, outputs], format), &Linear.reference(&inputs), 1e-5);
    close("dx", &card.download(dx, [rows, features], format), gradients[0].as_ref().unwrap(), 1e-5);
    close("dw", &card.download(dw, [outputs, features], format), gradients[1].as_ref().unwrap(), 1e-5);
}
