//! The classifier of the original's target tasks: the U-Net's encoder, global average pooling, and two
//! fully connected layers.
//!
//! ```text
//! x ─ down_tr64 ─ down_tr128 ─ down_tr256 ─ down_tr512 ─ mean over voxels ─ dense_1 ─ ReLU ─ dense_2 ─ logits
//!                                          16·width     16·width           32·width          classes
//! ```
//!
//! 512 → 1 024 → classes at width 32. The original runs its decoder too, for nothing.

use crate::blocks::{Declaration, DenseBlock};
use crate::checkpoint::StateDict;
use crate::encoder::{Encoder, check_extents};
use crate::network::{Network, Tensors, network_methods};
use crate::{Levels, Nonlinearity, Result, Statistics};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::activation::Activation;
use genesis_kernels::ops::global_average_pool::GlobalAveragePool;
use serde::{Deserialize, Serialize};

/// The shape of the classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassifierConfig {
    /// Channels of the input.
    pub channels: usize,
    /// Columns of the output: 1 for yes or no by a sigmoid, else the number of classes.
    pub classes: usize,
    /// Channels of the first convolution: 32 in the paper.
    pub width: usize,
    /// The activation of the encoder.
    pub activation: Nonlinearity,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self { channels: 1, classes: 1, width: 32, activation: Nonlinearity::Relu }
    }
}

/// The network: layers, parameters, running statistics.
#[derive(Clone, Debug)]
pub struct Classifier3d {
    config: ClassifierConfig,
    checkpoints: Levels,
    encoder: Encoder,
    dense: [DenseBlock; 2],
    pub(crate) tensors: Tensors,
}

impl Classifier3d {
    /// A network with zero weights and fresh statistics (mean 0, variance 1); see
    /// [`Classifier3d::initialise`].
    ///
    /// # Errors
    /// A width, class or channel count of 0; memory.
    pub fn new(config: ClassifierConfig) -> Result<Self> {
        let ClassifierConfig { channels, classes, width, activation } = config;
        check_extents([channels, classes, width])?;
        let mut all = Declaration::default();
        let encoder = Encoder::declare(&mut all, channels, width, activation);
        let dense = [
            DenseBlock::declare(&mut all, "dense_1", 16 * width, 32 * width),
            DenseBlock::declare(&mut all, "dense_2", 32 * width, classes),
        ];
        Ok(Self { config, checkpoints: Levels::NONE, encoder, dense, tensors: Tensors::new(all)? })
    }

    /// The network's shape.
    pub fn config(&self) -> ClassifierConfig {
        self.config
    }

    network_methods!();

    /// From `[N, D, H, W, channels]` to logits `[N, classes]`.
    ///
    /// # Errors
    /// Extents that do not divide by 8; another number of channels; memory.
    pub fn forward(
        &mut self,
        cx: &Context,
        tape: &mut Tape,
        input: Var,
        statistics: Statistics,
    ) -> Result<Var> {
        let Self { checkpoints, encoder, dense: [first, second], tensors, .. } = self;
        let mut pass = tensors.pass(cx, tape, statistics)?;
        let x = encoder.forward(&mut pass, *checkpoints, input, drop)?;
        let features = pass.tape.apply(cx, GlobalAveragePool, &[&x])?;
        drop(x);
        let hidden = first.forward(&mut pass, &features)?;
        let hidden = pass.tape.apply(cx, Activation::Relu, &[&hidden])?;
        second.forward(&mut pass, &hidden)
    }
}

impl Network for Classifier3d {
    const KIND: &'static str = "classifier";

    fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    fn tensors_mut(&mut self) -> &mut Tensors {
        &mut self.tensors
    }

    fn channels(&self) -> usize {
        self.config.channels
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn activation(&self) -> Nonlinearity {
        self.config.activation
    }

    fn set_checkpoints(&mut self, levels: Levels) {
        self.checkpoints = levels;
    }

    fn forward(&mut self, cx: &Context, tape: &mut Tape, input: Var, statistics: Statistics) -> Result<Var> {
        Self::forward(self, cx, tape, input, statistics)
    }

    fn state(&self, statistics: Statistics) -> Result<StateDict> {
        Self::state(self, statistics)
    }
}
