//! What memory the kernels touch: exact counts of the PTX, before any cache.

use crate::card::{Card, noise};
use genesis_kernels::cuda::{Format, NULL};
use genesis_kernels::ops::{conv_transpose3d, conv3d};
use genesis_tensor::Shape;
use ptx_emulator::Counters;

/// All launches of a convolution and its gradients.
fn convolution(format: Format, channels: usize, outputs: usize) -> Vec<(&'static str, Counters)> {
    let mut card = Card::default();
    let op = conv3d::Conv3d { bias: false, ..conv3d::Conv3d::same(3) };
    let shapes = [Shape::from([1, 4, 8, 8, channels]), Shape::from([outputs, channels, 3, 3, 3])];
    let y_shape = Shape::from([1, 4, 8, 8, outputs]);
    let plan = conv3d::cuda::Plan::new(&op, &shapes, format).unwrap();
    let x = card.upload(&noise(shapes[0], 1), format).0;
    let weight = card.upload(&noise(shapes[1], 2), Format::F32).0;
    let dy = card.upload(&noise(y_shape, 3), format).0;
    let (y, dx, dw) = (
        card.room_for(y_shape, format),
        card.room_for(shapes[0], format),
        card.room_for(shapes[1], Format::F32),
    );
    card.run_with(|workspace| plan.forward(&[x], weight, NULL, y, NULL, workspace));
    card.run_with(|workspace| plan.input_gradient(0, dy, weight, dx, workspace));
    card.run_with(|workspace| plan.weight_gradient(&[x], dy, dw, workspace));
    card.counters
}

/// No bank conflict, and every byte of every sector that is read or written used.
fn clean(name: &str, counters: &Counters) {
    let (loads, stores) = (counters.loads.efficiency(), counters.stores.efficiency());
    assert!(loads == 1.0 && stores == 1.0, "{name}: {loads} and {stores} of the bytes are used");
    let conflicts = counters.shared.wavefronts as f64 / counters.shared.ideal as f64;
    assert!(conflicts < 1.02, "{name}: {conflicts} times the wavefronts of shared memory");
}

#[test]
fn products_on_tensor_cores_have_no_bank_conflicts_and_use_every_byte() {
    for (format, outputs) in [(Format::Bf16, 32), (Format::Bf16, 64), (Format::Bf16, 128), (Format::Tf32, 64)]
    {
        let all = convolution(format, outputs.max(64), outputs);
        // Packing and sums of splits stand beside a product of each direction.
        let products: Vec<_> = all.iter().filter(|(_, counters)| counters.matrix_flops > 0).collect();
        assert_eq!(products.len(), 3);
        products.into_iter().for_each(|(name, counters)| clean(name, counters));
    }
    let mut card = Card::default();
    let op = conv_transpose3d::ConvTranspose3d { bias: false, ..conv_transpose3d::ConvTranspose3d::double() };
    let shapes = [Shape::from([1, 4, 8, 8, 64]), Shape::from([64, 64, 2, 2, 2])];
    let plan = conv_transpose3d::cuda::Plan::new(&op, &shapes, Format::Bf16).unwrap();
    let x = card.upload(&noise(shapes[0], 1), Format::Bf16).0;
    let weight = card.upload(&noise(shapes[1], 2), Format::F32).0;
    let y = card.room(8 * 4 * 8 * 8 * 64 * 2);
    card.run_with(|workspace| plan.forward(x, weight, NULL, y, workspace));
    let (name, counters) = card.counters.last().unwrap();
    clean(name, counters);
}
