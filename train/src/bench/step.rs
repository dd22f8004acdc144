//! Whole training steps (forward, loss, backward, SGD update) or forward passes of the network, layer by
//! layer.

use super::ceilings::Ceilings;
use super::layers::{self, LayerTime};
use super::scale::Scale;
use super::{median, memory};
use crate::{Error, Result};
use genesis_autograd::{Executed, Gradients, Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::optimizer::Optimizer;
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tensor::random::{Purpose, Stream};
use genesis_tensor::{DType, Tensor};
use serde::Serialize;
use std::time::Instant;

/// What one run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Forward, loss, backward, update.
    Step,
    /// The forward pass alone, with running statistics, keeping nothing.
    Forward,
}

impl Work {
    /// Its name as a command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Forward => "forward",
        }
    }
}

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Batch, extents, width.
    pub scale: Scale,
    /// Number format of the network's input, and so of its activations.
    pub dtype: DType,
    /// Steps or forward passes.
    pub work: Work,
    /// Seed of weights and cubes.
    pub seed: u64,
}

/// One run: its wall time, the part that is the optimiser's, and what the tape executed.
pub struct Sample {
    /// Seconds from an empty tape to updated weights, or to logits.
    pub seconds: f64,
    update: Option<f64>,
    executed: Vec<Executed>,
}

/// A network with everything a step needs, all allocated.
pub struct Rig {
    plan: Plan,
    network: UNet3d,
    /// Gradients and momentum, for steps.
    training: Option<(Gradients, Vec<Tensor>)>,
    input: Tensor,
    target: Tensor,
    steps: u64,
}

const OPTIMIZER: Optimizer =
    Optimizer::Sgd { momentum: 0.9, dampening: 0.0, weight_decay: 0.0, nesterov: false };

impl Rig {
    /// Makes the network and a batch of random cubes; from here on the peak of memory counts.
    ///
    /// # Errors
    /// Memory.
    pub fn new(plan: Plan) -> Result<Self> {
        genesis_tensor::memory::reset_peak();
        let config = UNetConfig { width: plan.scale.width, ..UNetConfig::default() };
        let mut network = UNet3d::new(config)?;
        network.initialise(Initialiser::Pytorch, plan.seed)?;
        let training = match plan.work {
            Work::Forward => None,
            Work::Step => {
                let momentum = Tensor::zeros(network.parameters().flat().shape())?;
                Some((network.zero_gradients()?, vec![momentum]))
            }
        };
        let [d, h, w] = plan.scale.extents;
        let mut cubes = Tensor::zeros([plan.scale.batch, d, h, w, 1])?;
        Stream::new(plan.seed, 0, 0, Purpose::Other).fill_uniform(cubes.as_mut_slice()?);
        let input = if plan.dtype == DType::F32 { cubes.clone() } else { cubes.cast(plan.dtype)? };
        Ok(Self { plan, network, training, input, target: cubes, steps: 0 })
    }

    /// Runs once; on a card twice: a profile waits after every operation, which leaves the card idle in between, so
    /// the time of the whole is that of a run without one.
    ///
    /// # Errors
    /// The operations' own: memory, or a number format one of them does not take.
    pub fn run(&mut self, cx: &Context) -> Result<Sample> {
        let whole = cx.card.is_some().then(|| self.once(cx, false)).transpose()?;
        let profiled = self.once(cx, true)?;
        Ok(Sample { seconds: whole.map_or(profiled.seconds, |whole| whole.seconds), ..profiled })
    }

    fn once(&mut self, cx: &Context, profiled: bool) -> Result<Sample> {
        let Self { network, training, .. } = self;
        let observed = |tape: Tape| if profiled { tape.with_profile() } else { tape };
        let input = Var::constant(self.input.clone());
        let start = Instant::now();
        let Some((gradients, momentum)) = training else {
            let mut tape = observed(Tape::inference());
            let logits = network.forward(cx, &mut tape, input, Statistics::Running)?;
            cx.synchronize()?;
            let seconds = start.elapsed().as_secs_f64();
            drop(logits);
            return Ok(Sample { seconds, update: None, executed: tape.take_profile() });
        };
        gradients.restart();
        let mut tape = observed(Tape::training().recomputing(true));
        let logits = network.forward(cx, &mut tape, input, Statistics::BatchAndUpdate)?;
        let target = Var::constant(self.target.clone());
        let loss = tape.apply(cx, Loss::SigmoidMse, &[&logits, &target])?;
        drop((logits, target));
        tape.backward(cx, loss, Tensor::full([1], 1.0)?, gradients)?;
        self.steps += 1;
        let update = Instant::now();
        let parameters = network.parameters_mut().flat_mut();
        OPTIMIZER.update(cx, self.steps, 0.01, parameters, gradients.flat(), momentum)?;
        cx.synchronize()?;
        let (seconds, update) = (start.elapsed().as_secs_f64(), update.elapsed().as_secs_f64());
        Ok(Sample { seconds, update: Some(update), executed: tape.take_profile() })
    }

    /// Sums up runs; the layers are those of the run with the median time, so that they add up to it.
    ///
    /// # Errors
    /// [`Error::Work`] if there are no runs.
    pub fn report(&self, cx: &Context, ceilings: &Ceilings, samples: &[Sample]) -> Result<Report> {
        let runs: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
        let seconds = median(&runs);
        let sample = samples
            .iter()
            .find(|sample| sample.seconds == seconds)
            .ok_or_else(|| Error::Work("no run was made".into()))?;
        let peak = ceilings.gflops(self.plan.dtype);
        let bytes = self.plan.dtype.bytes();
        let places = self.network.parameters().places();
        let mut layers = layers::name(&sample.executed, places, bytes, peak);
        if let (Some(update), Some((gradients, momentum))) = (sample.update, &self.training) {
            let flat = gradients.flat().shape();
            layers.push(LayerTime::optimizer(OPTIMIZER, flat, momentum.len(), update));
        }
        let sum = |convolutions: bool| -> f64 {
            layers.iter().filter(|l| l.is_convolution() == convolutions).map(|l| l.seconds).sum()
        };
        let flops: u64 = layers.iter().map(|layer| layer.flops).sum();
        let gflops = flops as f64 / seconds / 1e9;
        Ok(Report {
            work: self.plan.work,
            seconds_per_step: seconds,
            samples_per_second: self.plan.scale.batch as f64 / seconds,
            gflops,
            share_of_peak: gflops / peak,
            peak_memory_bytes: cx.peak_memory_bytes() as u64,
            peak_rss_bytes: memory::peak_resident(),
            convolution_seconds: sum(true),
            other_operations_seconds: sum(false),
            outside_convolutions_share: 1.0 - sum(true) / seconds,
            flops,
            shape: self.plan.scale.shape(),
            width: self.plan.scale.width,
            precision: if self.plan.dtype == DType::F32 { "f32" } else { "bf16" },
            isa: cx.hardware().to_string(),
            threads: cx.pool.threads(),
            ceilings: *ceilings,
            runs,
            layers,
        })
    }
}

/// What `genesis bench step` and `genesis bench forward` print.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Steps or forward passes.
    pub work: Work,
    /// The median time of a run.
    pub seconds_per_step: f64,
    /// Cubes a second.
    pub samples_per_second: f64,
    /// Arithmetic a second of the whole run, in 1e9; convolutions count as direct ones.
    pub gflops: f64,
    /// `gflops` over the arithmetic ceiling of the run's number format.
    pub share_of_peak: f64,
    /// The most bytes of tensors alive at once, weights, gradients and momentum included.
    pub peak_memory_bytes: u64,
    /// The process's largest resident memory, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// Time inside convolutions.
    pub convolution_seconds: f64,
    /// Time inside all other operations, the update included.
    pub other_operations_seconds: f64,
    /// Part of the time that is not inside convolutions, 0 to 1.
    pub outside_convolutions_share: f64,
    /// Arithmetic of a run.
    pub flops: u64,
    /// N x D x H x W.
    pub shape: String,
    /// Channels of the first convolution.
    pub width: usize,
    /// `f32` or `bf16`.
    pub precision: &'static str,
    /// The instruction set.
    pub isa: String,
    /// Compute threads.
    pub threads: usize,
    /// The machine's ceilings in this run.
    pub ceilings: Ceilings,
    /// Every time, in the order they were taken.
    pub runs: Vec<f64>,
    /// Every operation in the order they ran.
    pub layers: Vec<LayerTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(work: Work, runs: usize) -> Report {
        let cx = Context::new(2);
        let scale = Scale::new([2, 16, 16, 8], 2).unwrap();
        let mut rig = Rig::new(Plan { scale, dtype: DType::F32, work, seed: 1 }).unwrap();
        let samples: Vec<Sample> = (0..runs).map(|_| rig.run(&cx).unwrap()).collect();
        let ceilings = Ceilings { f32_gflops: 100.0, bf16_gflops: None, copy_gigabytes_per_second: None };
        rig.report(&cx, &ceilings, &samples).unwrap()
    }

    #[test]
    fn a_step_has_every_layer_in_both_directions_and_the_sums_add_up() {
        let report = report(Work::Step, 3);
        let count = |direction: &str| report.layers.iter().filter(|l| l.direction == direction).count();
        // 18 convolutions, 14 batch norms, 3 poolings, the loss.
        assert_eq!((count("forward"), count("backward"), count("update")), (36, 36, 1));
        // The outputs of the batch norms are made again for those who read them in backward.
        assert_eq!(count("recompute"), 14);
        assert_eq!(report.flops, report.layers.iter().map(|layer| layer.flops).sum::<u64>());
        let inside: f64 = report.layers.iter().map(|layer| layer.seconds).sum();
        assert!(inside <= report.seconds_per_step);
        assert!((report.convolution_seconds + report.other_operations_seconds - inside).abs() < 1e-9);
        assert!((0.0..=1.0).contains(&report.outside_convolutions_share));
        assert_eq!(report.runs.len(), 3);
        assert!((report.samples_per_second * report.seconds_per_step - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_forward_pass_keeps_nothing_and_names_its_layers() {
        let report = report(Work::Forward, 1);
        assert_eq!(report.layers.len(), 35);
        assert!(report.layers.iter().all(|layer| layer.direction == "forward"));
        assert_eq!(report.layers[0].layer, "down_tr64.ops.0");
        assert_eq!(report.layers[34].layer, "out_tr.final_conv");
    }
}
