//! The 3D U-Net of Models Genesis (Zhou et al., Medical Image Analysis 67, 2021; the released
//! PyTorch network), 19 073 665 parameters at width 32.
//!
//! ```text
//! x ─ down_tr64 ──────────────────────────── skip ── up_tr64 ─ out_tr ─ logits
//!       └ pool ─ down_tr128 ─────────── skip ── up_tr128 ┘
//!                  └ pool ─ down_tr256 ─ skip ─ up_tr256 ┘
//!                             └ pool ─ down_tr512 ┘
//! ```

use crate::blocks::{ConvBlock, Declaration, Kind, OutputBlock, Pass, UpBlock, part};
use crate::{Error, Levels, Result};
use genesis_autograd::{Gradients, Parameters, Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::max_pool3d::MaxPool3d;
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

/// Which statistics batch norm uses in a pass.
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

/// Extents must divide by this: three poolings.
pub const DIVISOR: usize = 8;

/// The network: layers, parameters, running statistics.
#[derive(Clone, Debug)]
pub struct UNet3d {
    config: UNetConfig,
    checkpoints: Levels,
    down: [[ConvBlock; 2]; 4],
    up: [(UpBlock, [ConvBlock; 2]); 3],
    out: OutputBlock,
    pub(crate) parameters: Parameters,
    pub(crate) buffers: Parameters,
    pub(crate) updates: Vec<u64>,
    pub(crate) order: Vec<(String, Kind)>,
}

impl UNet3d {
    /// A network with zero weights and fresh statistics (mean 0, variance 1); see
    /// [`crate::initialise`].
    ///
    /// # Errors
    /// A width, class or channel count of 0; memory.
    pub fn new(config: UNetConfig) -> Result<Self> {
        let UNetConfig { channels, classes, width, activation } = config;
        if channels == 0 || classes == 0 || width == 0 {
            return Err(Error::invalid("channels, classes and width must be at least 1"));
        }
        let mut all = Declaration::default();
        let pair = |all: &mut Declaration, name: &str, inputs: usize, middle: usize, outputs: usize| {
            [
                ConvBlock::declare(all, &format!("{name}.ops.0"), inputs, middle, activation),
                ConvBlock::declare(all, &format!("{name}.ops.1"), middle, outputs, activation),
            ]
        };
        let w = width;
        let down = [
            pair(&mut all, "down_tr64", channels, w, 2 * w),
            pair(&mut all, "down_tr128", 2 * w, 2 * w, 4 * w),
            pair(&mut all, "down_tr256", 4 * w, 4 * w, 8 * w),
            pair(&mut all, "down_tr512", 8 * w, 8 * w, 16 * w),
        ];
        let level = |all: &mut Declaration, name: &str, deep: usize, skip: usize| {
            let up = UpBlock::declare(all, name, deep);
            (up, pair(all, name, deep + skip, skip, skip))
        };
        let up = [
            level(&mut all, "up_tr256", 16 * w, 8 * w),
            level(&mut all, "up_tr128", 8 * w, 4 * w),
            level(&mut all, "up_tr64", 4 * w, 2 * w),
        ];
        let out = OutputBlock::declare(&mut all, "out_tr", 2 * w, classes);
        let parameters = Parameters::new(&all.parameters)?;
        let mut buffers = Parameters::new(&all.buffers)?;
        let mut updates = 0;
        for (name, kind) in &all.order {
            match kind {
                Kind::Buffer(id) if name.ends_with("running_var") => buffers.values_mut(*id)?.fill(1.0),
                Kind::Updates(_) => updates += 1,
                _ => {}
            }
        }
        let (checkpoints, order) = (Levels::NONE, all.order);
        Ok(Self { config, checkpoints, down, up, out, parameters, buffers, updates: vec![0; updates], order })
    }

    /// The network's shape.
    pub fn config(&self) -> UNetConfig {
        self.config
    }

    /// The levels that, on a tape that records, keep their inputs alone and run again in the backward
    /// pass: less memory, a third more time for each, gradients and running statistics the same to the
    /// bit. None at first.
    pub fn set_checkpoints(&mut self, levels: Levels) {
        self.checkpoints = levels;
    }

    /// The trainable values.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The trainable values, to update.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// A gradient buffer for this network, all zeros.
    ///
    /// # Errors
    /// Memory.
    pub fn zero_gradients(&self) -> Result<Gradients> {
        Ok(self.parameters.zero_gradients()?)
    }

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
        let shape = input.shape();
        let Some([_, d, h, w, c]) = shape.ndhwc() else {
            return Err(Error::invalid(format!("wanted an input [N, D, H, W, C], was given {shape}")));
        };
        if [d, h, w].iter().any(|extent| extent % DIVISOR != 0 || *extent == 0) {
            let cause = format!("extents must divide by {DIVISOR} (three poolings), was given {d}x{h}x{w}");
            return Err(Error::invalid(cause));
        }
        if c != self.config.channels {
            let cause = format!("wanted {} input channels, was given {c}", self.config.channels);
            return Err(Error::invalid(cause));
        }
        let checkpoints = self.checkpoints;
        let Self { down, up, out, parameters, buffers, updates, .. } = self;
        let mut pass = Pass { cx, tape, parameters, buffers, updates, statistics };
        let mut skips = Vec::with_capacity(3);
        let mut x = input;
        for (level, blocks) in down.iter().enumerate() {
            let blocks = blocks.clone();
            x = part(&mut pass, checkpoints.contains(level), vec![x], move |pass, inputs| {
                let x = blocks[0].forward(pass, inputs)?;
                blocks[1].forward(pass, vec![x])
            })?;
            if level < 3 {
                let pooled = pass.tape.apply(cx, MaxPool3d::HALVE, &[&x])?;
                skips.push(std::mem::replace(&mut x, pooled));
            }
        }
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
