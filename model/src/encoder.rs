//! The encoder, `down_tr64` to `down_tr512`: what the U-Net and the classifier share.

use crate::blocks::{ConvBlock, Declaration, Pass, part};
use crate::{Error, Levels, Nonlinearity, Result};
use genesis_autograd::Var;
use genesis_kernels::ops::max_pool3d::MaxPool3d;

/// Extents must divide by this: three poolings.
pub const DIVISOR: usize = 8;

/// Four levels of two convolutions, with a pooling between levels.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    channels: usize,
    levels: [[ConvBlock; 2]; 4],
}

/// The most channels of an input, of an output, and of the first convolution (the paper has 32): beyond, sizes would
/// overflow before memory runs out.
const MOST_CHANNELS: usize = 4096;

/// Refuses a network without channels, or with more than can be made.
///
/// # Errors
/// A number that is 0 or more than [`MOST_CHANNELS`].
pub(crate) fn check_extents(extents: [usize; 3]) -> Result<()> {
    if extents.contains(&0) {
        return Err(Error::invalid("channels, classes and width must be at least 1"));
    }
    if extents.iter().any(|&extent| extent > MOST_CHANNELS) {
        return Err(Error::Invalid(format!(
            "channels, classes and width {extents:?}: at most {MOST_CHANNELS} each"
        )));
    }
    Ok(())
}

/// Two convolutions; channels before, between and after.
pub(crate) fn pair(
    all: &mut Declaration,
    name: &str,
    [inputs, middle, outputs]: [usize; 3],
    activation: Nonlinearity,
) -> [ConvBlock; 2] {
    [
        ConvBlock::declare(all, &format!("{name}.ops.0"), inputs, middle, activation),
        ConvBlock::declare(all, &format!("{name}.ops.1"), middle, outputs, activation),
    ]
}

impl Encoder {
    pub fn declare(all: &mut Declaration, channels: usize, width: usize, activation: Nonlinearity) -> Self {
        let w = width;
        let mut level = |name: &str, channels| pair(all, name, channels, activation);
        let levels = [
            level("down_tr64", [channels, w, 2 * w]),
            level("down_tr128", [2 * w, 2 * w, 4 * w]),
            level("down_tr256", [4 * w, 4 * w, 8 * w]),
            level("down_tr512", [8 * w, 8 * w, 16 * w]),
        ];
        Self { channels, levels }
    }

    /// From `[N, D, H, W, channels]` to `[N, D/8, H/8, W/8, 16·width]`; `skip` is given the output of each
    /// level but the last, before its pooling.
    pub fn forward(
        &self,
        pass: &mut Pass,
        checkpoints: Levels,
        input: Var,
        mut skip: impl FnMut(Var),
    ) -> Result<Var> {
        self.check(&input)?;
        let mut x = input;
        for (level, blocks) in self.levels.iter().enumerate() {
            let blocks = blocks.clone();
            let frozen = blocks.iter().all(|block| block.is_frozen(pass.parameters));
            let checkpoint = checkpoints.contains(level) && !frozen;
            x = part(pass, checkpoint, vec![x], move |pass, inputs| {
                let x = blocks[0].forward(pass, inputs)?;
                blocks[1].forward(pass, vec![x])
            })?;
            if level < 3 {
                let pooled = pass.tape.apply(pass.cx, MaxPool3d::HALVE, &[&x])?;
                skip(std::mem::replace(&mut x, pooled));
            }
        }
        Ok(x)
    }

    fn check(&self, input: &Var) -> Result<()> {
        let shape = input.shape();
        let Some([_, d, h, w, c]) = shape.ndhwc() else {
            return Err(Error::invalid(format!("wanted an input [N, D, H, W, C], was given {shape}")));
        };
        if [d, h, w].iter().any(|extent| extent % DIVISOR != 0 || *extent == 0) {
            let cause = format!("extents must divide by {DIVISOR} (three poolings), was given {d}x{h}x{w}");
            return Err(Error::invalid(cause));
        }
        if c != self.channels {
            return Err(Error::invalid(format!("wanted {} input channels, was given {c}", self.channels)));
        }
        Ok(())
    }
}
