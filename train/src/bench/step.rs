//! Whole training steps (forward, loss, backward, SGD update) or forward passes of the network, layer by
//! layer.

use super::ceilings::Ceilings;
use super::layers::{self, LayerTime};
use super::scale::Scale;
use super::{median, memory};
use crate::training::{Batch, OptimizerConfig, StepSettings, Trainer, Updater};
use crate::{Error, Precision, Result};
use genesis_autograd::{Executed, Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::optimizer::{Optimizer, Schedule};
use genesis_model::{Initialiser, Levels, Statistics, UNet3d, UNetConfig};
use genesis_tensor::Tensor;
use genesis_tensor::random::{Purpose, Stream};
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
    /// Number format of activations and products.
    pub precision: Precision,
    /// Steps or forward passes.
    pub work: Work,
    /// Seed of weights and cubes.
    pub seed: u64,
}

/// One run: its wall time, the part that is the optimiser's, and what the tape executed.
pub struct Sample {
    /// Seconds from an empty tape to updated weights, or to logits.
    pub seconds: f64,
    /// A card's steps: these seconds are those of a graph.
    by_graph: bool,
    update: Option<f64>,
    executed: Vec<Executed>,
}

/// What runs.
enum Subject {
    Step(Box<Trainer>),
    Forward(Context, Box<UNet3d>),
}

/// A network with everything a step needs, all allocated.
pub struct Rig {
    plan: Plan,
    subject: Subject,
    input: Tensor,
    target: Tensor,
}

const OPTIMIZER: Optimizer =
    Optimizer::Sgd { momentum: MOMENTUM as f32, dampening: 0.0, weight_decay: 0.0, nesterov: false };
const MOMENTUM: f64 = 0.9;

/// A trainer's steps by [`OPTIMIZER`], as in a run that was told nothing.
fn trainer(cx: Context, network: UNet3d, precision: Precision) -> Result<Trainer> {
    let optimizer = OptimizerConfig {
        name: "sgd".into(),
        learning_rate: 0.01,
        momentum: MOMENTUM,
        weight_decay: 0.0,
        nesterov: false,
        clip_norm: 0.0,
    };
    let updater = Updater::new(network.parameters(), &optimizer, Schedule::Constant)?;
    let settings = StepSettings { precision, recompute: 1, checkpoint_levels: Levels::NONE };
    Trainer::with(cx, network, updater, &settings)
}

impl Rig {
    /// Makes the network and a batch of random cubes; from here on the peak of memory counts.
    ///
    /// # Errors
    /// tf32 without a card; memory.
    pub fn new(mut cx: Context, plan: Plan) -> Result<Self> {
        genesis_tensor::memory::reset_peak();
        plan.precision.choose(&mut cx)?;
        let config = UNetConfig { width: plan.scale.width, ..UNetConfig::default() };
        let mut network = UNet3d::new(config)?;
        network.initialise(Initialiser::Pytorch, plan.seed)?;
        let subject = match plan.work {
            Work::Forward => Subject::Forward(cx, Box::new(network)),
            Work::Step => Subject::Step(Box::new(trainer(cx, network, plan.precision)?)),
        };
        let [d, h, w] = plan.scale.extents;
        let mut cubes = Tensor::zeros([plan.scale.batch, d, h, w, 1])?;
        Stream::new(plan.seed, 0, 0, Purpose::Other).fill_uniform(cubes.as_mut_slice()?);
        let mut rig = Self { plan, subject, input: cubes.clone(), target: cubes };
        let cx = rig.cx();
        let mut input = plan.precision.input(cx, rig.input.clone())?;
        // Training's batches have arrived by the time a step begins.
        if plan.work == Work::Step {
            let target = cx.place(&rig.target)?;
            input = cx.place(&input)?;
            rig.target = target;
        }
        rig.input = input;
        Ok(rig)
    }

    /// What computes.
    pub fn cx(&self) -> &Context {
        match &self.subject {
            Subject::Step(trainer) => &trainer.cx,
            Subject::Forward(cx, _) => cx,
        }
    }

    /// Runs until runs are what they will be: memory is taken and, on a card, kernels are loaded and the graph of a step
    /// is recorded, if steps are.
    ///
    /// # Errors
    /// As [`Rig::run`].
    pub fn warm_up(&mut self) -> Result<()> {
        self.run()?;
        // The first step brought the parameters, the second is the first of its kind, the third is recorded.
        if self.cx().card.as_ref().is_some_and(|card| card.uses_graphs()) {
            self.whole()?;
            self.whole()?;
        }
        Ok(())
    }

    /// Runs once; on a card twice: a profile waits after every operation, which leaves the card idle in between, so
    /// the time of the whole is that of a run without one, a training step's as training makes it.
    ///
    /// # Errors
    /// The operations' own: memory, or a number format one of them does not take.
    pub fn run(&mut self) -> Result<Sample> {
        let whole = self.cx().card.is_some().then(|| self.whole()).transpose()?;
        let profiled = self.profiled()?;
        Ok(match whole {
            Some((seconds, by_graph)) => Sample { seconds, by_graph, ..profiled },
            None => profiled,
        })
    }

    /// Seconds of a run without a profile, and whether it was a graph.
    fn whole(&mut self) -> Result<(f64, bool)> {
        let (input, target) = (self.input.clone(), self.target.clone());
        let start = Instant::now();
        let by_graph = match &mut self.subject {
            Subject::Step(trainer) => {
                let before = trainer.graph_counts().launched;
                let step = trainer.updater.step;
                trainer.train(Batch { step, input, target, mask: None, identity: (0.0, 0.0) })?;
                trainer.graph_counts().launched > before
            }
            Subject::Forward(cx, network) => {
                network.forward(cx, &mut Tape::inference(), Var::constant(input), Statistics::Running)?;
                false
            }
        };
        self.cx().synchronize()?;
        Ok((start.elapsed().as_secs_f64(), by_graph))
    }

    fn profiled(&mut self) -> Result<Sample> {
        let (input, target) = (Var::constant(self.input.clone()), Var::constant(self.target.clone()));
        let start = Instant::now();
        let trainer = match &mut self.subject {
            Subject::Step(trainer) => trainer,
            Subject::Forward(cx, network) => {
                let mut tape = Tape::inference().with_profile();
                let logits = network.forward(cx, &mut tape, input, Statistics::Running)?;
                cx.synchronize()?;
                let seconds = start.elapsed().as_secs_f64();
                drop(logits);
                let executed = tape.take_profile();
                return Ok(Sample { seconds, by_graph: false, update: None, executed });
            }
        };
        let Trainer { cx, network, updater, .. } = trainer.as_mut();
        updater.gradients.restart();
        let mut tape = Tape::training().recomputing(true).with_profile();
        let logits = network.forward(cx, &mut tape, input, Statistics::BatchAndUpdate)?;
        let loss = tape.apply(cx, Loss::SigmoidMse, &[&logits, &target])?;
        drop((logits, target));
        tape.backward(cx, loss, Tensor::full([1], 1.0)?, &mut updater.gradients)?;
        let update = Instant::now();
        updater.update(cx, network.parameters_mut())?;
        cx.synchronize()?;
        let (seconds, update) = (start.elapsed().as_secs_f64(), update.elapsed().as_secs_f64());
        Ok(Sample { seconds, by_graph: false, update: Some(update), executed: tape.take_profile() })
    }

    /// Sums up runs; the layers are those of the run with the median time, so that they add up to it.
    ///
    /// # Errors
    /// [`Error::Work`] if there are no runs.
    pub fn report(&self, ceilings: &Ceilings, samples: &[Sample]) -> Result<Report> {
        let cx = self.cx();
        let runs: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
        let seconds = median(&runs);
        let sample = samples
            .iter()
            .find(|sample| sample.seconds == seconds)
            .ok_or_else(|| Error::Work("no run was made".into()))?;
        let (bytes, peak) = (self.plan.precision.format().bytes(), ceilings.gflops(self.plan.precision));
        let (network, states) = match &self.subject {
            Subject::Step(trainer) => (&trainer.network, trainer.updater.state.len()),
            Subject::Forward(_, network) => (network.as_ref(), 0),
        };
        let parameters = network.parameters();
        let mut layers = layers::name(&sample.executed, parameters.places(), bytes, peak);
        if let Some(update) = sample.update {
            layers.push(LayerTime::optimizer(OPTIMIZER, parameters.flat().shape(), states, update));
        }
        let recordable = cx.card.is_some() && self.plan.work == Work::Step;
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
            precision: self.plan.precision,
            cuda_graph: recordable.then(|| samples.iter().all(|sample| sample.by_graph)),
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
    /// Number format of activations and products.
    pub precision: Precision,
    /// Of steps on a card: true if each was a CUDA graph, as in training, false if kernels were launched one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_graph: Option<bool>,
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
        let scale = Scale::new([2, 16, 16, 8], 2).unwrap();
        let plan = Plan { scale, precision: Precision::F32, work, seed: 1 };
        let mut rig = Rig::new(Context::new(2), plan).unwrap();
        let samples: Vec<Sample> = (0..runs).map(|_| rig.run().unwrap()).collect();
        let ceilings = Ceilings {
            f32_gflops: 100.0,
            bf16_gflops: None,
            tf32_gflops: None,
            copy_gigabytes_per_second: None,
        };
        rig.report(&ceilings, &samples).unwrap()
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
        assert_eq!((report.runs.len(), report.cuda_graph), (3, None));
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
