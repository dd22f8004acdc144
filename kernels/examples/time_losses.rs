//! Times the losses of target tasks on the logits of a batch, forward and backward:
//!
//! ```text
//! cargo run --release -p genesis-kernels --example time_losses [threads]
//! ```

use genesis_kernels::op::Operation;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::{Context, Result};
use genesis_tensor::random::{Purpose, Stream};
use genesis_tensor::{Shape, Tensor};
use std::time::Instant;

/// Runs of which the fastest counts.
const RUNS: usize = 15;

fn drawn(shape: &[usize], draw: impl Fn(&mut Stream) -> f32) -> Result<Tensor> {
    let mut stream = Stream::new(1, 0, 0, Purpose::Cases);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw(&mut stream)).collect();
    Ok(Tensor::from_slice(Shape::new(shape), &values)?)
}

fn main() -> Result<()> {
    let threads = std::env::args().nth(1).and_then(|v| v.parse().ok()).unwrap_or(2);
    let cx = Context::new(threads);
    let rows = [2, 64, 64, 32];
    println!("{threads} threads, {}, milliseconds forward and backward", cx.isa);
    for classes in [1usize, 3] {
        let logits = drawn(&[2, 64, 64, 32, classes], |stream| stream.normal() as f32)?;
        let (losses, target) = if classes == 1 {
            let losses = vec![
                Loss::BceWithLogits,
                Loss::WeightedBceWithLogits { positive: 3.0 },
                Loss::SigmoidDice { smooth: 1.0 },
                Loss::SigmoidDiceBce { smooth: 1.0 },
                Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 },
            ];
            (losses, drawn(&[2, 64, 64, 32, 1], |stream| stream.below(2) as f32)?)
        } else {
            let losses = vec![
                Loss::CrossEntropy,
                Loss::SoftmaxDice { smooth: 1.0, background: false },
                Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: false },
                Loss::SoftmaxFocal { gamma: 2.0 },
                Loss::SoftmaxFocal { gamma: 1.5 },
            ];
            (losses, drawn(&rows, |stream| stream.below(classes as u32) as f32)?)
        };
        for loss in losses {
            let mut best = [f64::INFINITY; 2];
            for _ in 0..RUNS {
                let start = Instant::now();
                let (_, saved) = loss.forward(&cx, &[&logits, &target])?;
                best[0] = best[0].min(start.elapsed().as_secs_f64());
                let start = Instant::now();
                loss.backward(&cx, saved, Tensor::full([1], 1.0)?, &[true, false])?;
                best[1] = best[1].min(start.elapsed().as_secs_f64());
            }
            let [forward, backward] = best.map(|seconds| 1e3 * seconds);
            println!("{forward:8.2} {backward:8.2}  {:?} {loss:?}", logits.shape());
        }
    }
    Ok(())
}
