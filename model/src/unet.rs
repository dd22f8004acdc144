//! The 3D U-Net of Models Genesis (Zhou et al., Medical Image Analysis 67, 2021; the released
//! PyTorch network), 19 073 665 parameters at width 32.
//!
//! ```text
//! x ─ down_tr64 ──────────────────────────── skip ── up_tr64 ─ out_tr ─ logits
//!       └ pool ─ down_tr128 ─────────── skip ── up_tr128 ┘
//!                  └ pool ─ down_tr256 ─ skip ─ up_tr256 ┘
//!                             └ pool ─ down_tr512 ┘
//! ```

use crate::blocks::{ConvBlock, Declaration, OutputBlock, UpBlock, part};
use crate::encoder::{Encoder, check_extents, pair};
use crate::network::{Network, Tensors, network_methods};
use crate::{Error, Levels, Result};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use serde::{Deserialize, Serialize};

/// The activation after every batch norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nonlinearity {
    /// max(x, 0), the released network's.
    #[default]
    Relu,
    /// A learned slope per channel for negative values.
    Prelu,
    /// exp(x) - 1 for negative values.
    Elu,
}

impl std::str::FromStr for Nonlinearity {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "relu" => Ok(Self::Relu),
            "prelu" => Ok(Self::Prelu),
            "elu" => Ok(Self::Elu),
            _ => Err(format!("unknown activation '{name}' (relu, prelu or elu)")),
        }
    }
}

/// Which statistics batch norm uses in a pass. A block whose parameters are all frozen (learning-rate factor 0)
/// uses its running ones in every pass and leaves them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistics {
    /// The batch's own, and the running ones follow: training. The original also evaluates so.
    BatchAndUpdate,
    /// The batch's own, leaving the running ones alone.
    Batch,
    /// The running ones: evaluation.
    Running,
}

/// The shape of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UNetConfig {
    /// Channels of the input: 1 for CT and for a single MR sequence.
    pub channels: usize,
    /// Channels of the output.
    pub classes: usize,
    /// Channels of the first convolution: 32 in the paper.
    pub width: usize,
    /// The activation.
    pub activation: Nonlinearity,
}

impl Default for UNetConfig {
    fn default() -> Self {
        Self { channels: 1, classes: 1, width: 32, activation: Nonlinearity::Relu }
    }
}

/// The network: layers, parameters, running statistics.
#[derive(Clone, Debug)]
pub struct UNet3d {
    config: UNetConfig,
    checkpoints: Levels,
    encoder: Encoder,
    up: [(UpBlock, [ConvBlock; 2]); 3],
    out: OutputBlock,
    pub(crate) tensors: Tensors,
}

impl UNet3d {
    /// A network with zero weights and fresh statistics (mean 0, variance 1); see
    /// [`crate::initialise`].
    ///
    /// # Errors
    /// A width, class or channel count of 0; memory.
    pub fn new(config: UNetConfig) -> Result<Self> {
        let UNetConfig { channels, classes, width, activation } = config;
        check_extents([channels, classes, width])?;
        let mut all = Declaration::default();
        let encoder = Encoder::declare(&mut all, channels, width, activation);
        let w = width;
        let level = |all: &mut Declaration, name: &str, deep: usize, skip: usize| {
            let up = UpBlock::declare(all, name, deep);
            (up, pair(all, name, [deep + skip, skip, skip], activation))
        };
        let up = [
            level(&mut all, "up_tr256", 16 * w, 8 * w),
            level(&mut all, "up_tr128", 8 * w, 4 * w),
            level(&mut all, "up_tr64", 4 * w, 2 * w),
        ];
        let out = OutputBlock::declare(&mut all, "out_tr", 2 * w, classes);
        let tensors = Tensors::new(all)?;
        Ok(Self { config, checkpoints: Levels::NONE, encoder, up, out, tensors })
    }

    /// The network's shape.
    pub fn config(&self) -> UNetConfig {
        self.config
    }

    network_methods!();

    /// From `[N, D, H, W, channels]` to logits `[N, D, H, W, classes]`; the sigmoid of a logit is
    /// the restored intensity or the class's probability.
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
        let checkpoints = self.checkpoints;
        let Self { encoder, up, out, tensors, .. } = self;
        let mut pass = tensors.pass(cx, tape, statistics)?;
        let mut skips = Vec::with_capacity(3);
        let mut x = encoder.forward(&mut pass, checkpoints, input, |skip| skips.push(skip))?;
        for (number, (up, blocks)) in up.iter().enumerate() {
            let skip = skips.pop().ok_or_else(|| Error::invalid("a level without its skip"))?;
            let (up, blocks) = (up.clone(), blocks.clone());
            x = part(&mut pass, checkpoints.contains(2 - number), vec![x, skip], move |pass, mut inputs| {
                let raised = up.forward(pass, inputs.remove(0))?;
                inputs.insert(0, raised);
                let x = blocks[0].forward(pass, inputs)?;
                blocks[1].forward(pass, vec![x])
            })?;
        }
        out.forward(&mut pass, &x)
    }
}

impl Network for UNet3d {
    const KIND: &'static str = "U-Net";

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

    fn state(&self, statistics: Statistics) -> Result<crate::checkpoint::StateDict> {
        Self::state(self, statistics)
    }
}
