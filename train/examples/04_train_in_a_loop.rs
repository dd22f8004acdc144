//! A training loop without the trainer: a tiny U-Net learns to restore one deformed batch.
//!
//! ```text
//! cargo run --example 04_train_in_a_loop
//! ```

use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::optimizer::Optimizer;
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tensor::Tensor;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cx = Context::new(2);
    let mut network = UNet3d::new(UNetConfig { width: 4, ..UNetConfig::default() })?;
    network.initialise(Initialiser::Pytorch, 1)?;
    let mut gradients = network.zero_gradients()?;
    let optimizer = Optimizer::sgd(0.9);
    let mut momentum = vec![Tensor::zeros(network.parameters().flat().shape())?];

    let shape = [2, 16, 16, 16, 1];
    let smooth: Vec<f32> = (0..8192).map(|i| 0.5 + 0.4 * (i as f32 * 0.003).sin()).collect();
    let noisy: Vec<f32> = smooth.iter().enumerate().map(|(i, v)| v + (i * 37 % 11) as f32 * 0.02).collect();
    for step in 1..=30 {
        gradients.clear(&cx)?;
        let mut tape = Tape::training();
        let input = Var::constant(Tensor::from_slice(shape, &noisy)?);
        let target = Var::constant(Tensor::from_slice(shape, &smooth)?);
        let logits = network.forward(&cx, &mut tape, input, Statistics::BatchAndUpdate)?;
        let loss = tape.apply(&cx, Loss::SigmoidMse, &[&logits, &target])?;
        if step % 5 == 0 {
            println!("step {step:2}: loss {:.5}", loss.tensor().as_slice()[0]);
        }
        drop(logits);
        tape.backward(&cx, loss, Tensor::full([1], 1.0)?, &mut gradients)?;
        let parameters = network.parameters_mut().flat_mut();
        optimizer.update(&cx, step, 0.5, parameters, gradients.flat(), &mut momentum)?;
    }
    Ok(())
}
