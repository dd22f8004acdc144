//! What the backward pass makes again has the bits it had: loss, gradients, running statistics and
//! counters of a training step do not depend on what is recomputed.

use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::loss::Loss;
use genesis_model::{Initialiser, Levels, Nonlinearity, Statistics, UNet3d, UNetConfig};
use genesis_tensor::{DType, Tensor};

/// Everything a step leaves behind, as bytes.
fn step(activation: Nonlinearity, format: DType, recompute: bool, levels: &str) -> [Vec<u8>; 3] {
    let cx = Context::new(2);
    let mut network = UNet3d::new(UNetConfig { width: 3, activation, ..UNetConfig::default() }).unwrap();
    network.initialise(Initialiser::Pytorch, 5).unwrap();
    network.set_checkpoints(if levels.is_empty() { Levels::NONE } else { levels.parse().unwrap() });
    let mut gradients = network.zero_gradients().unwrap();
    let shape = [2, 16, 8, 16, 1];
    let values = |a: usize| (0..4096).map(|i| (i * a % 97) as f32 / 97.0).collect::<Vec<_>>();
    let mut losses = Vec::new();
    for _ in 0..2 {
        gradients.restart();
        let mut tape = Tape::training().recomputing(recompute);
        let input = Var::constant(Tensor::from_slice(shape, &values(31)).unwrap().cast(format).unwrap());
        let logits = network.forward(&cx, &mut tape, input, Statistics::BatchAndUpdate).unwrap();
        let target = Var::constant(Tensor::from_slice(shape, &values(17)).unwrap());
        let loss = tape.apply(&cx, Loss::SigmoidMse, &[&logits, &target]).unwrap();
        drop(logits);
        losses.extend_from_slice(loss.tensor().bytes());
        tape.backward(&cx, loss, Tensor::full([1], 1.0).unwrap(), &mut gradients).unwrap();
    }
    let state = network.state(Statistics::Running).unwrap();
    let kept = state.tensors.iter().filter(|t| t.name.contains("running") || t.name.contains("tracked"));
    let kept = kept.flat_map(|t| match t.to_i64() {
        Some(count) => count.to_le_bytes().to_vec(),
        None => t.to_f32().iter().flat_map(|v| v.to_le_bytes()).collect(),
    });
    [losses, gradients.flat().bytes().to_vec(), kept.collect()]
}

#[test]
fn nothing_depends_on_what_is_recomputed() {
    for activation in [Nonlinearity::Relu, Nonlinearity::Prelu, Nonlinearity::Elu] {
        for format in [DType::F32, DType::Bf16] {
            let wanted = step(activation, format, false, "");
            assert!(wanted.iter().all(|bytes| !bytes.is_empty()));
            for (recompute, levels) in
                [(true, ""), (true, "64"), (true, "128,512"), (true, "64,128,256,512"), (false, "64,256")]
            {
                let given = step(activation, format, recompute, levels);
                for (what, (given, wanted)) in
                    ["losses", "gradients", "statistics"].iter().zip(given.iter().zip(&wanted))
                {
                    assert!(
                        given == wanted,
                        "{activation:?} {format:?}, recompute {recompute}, levels '{levels}': other {what}"
                    );
                }
            }
        }
    }
}
