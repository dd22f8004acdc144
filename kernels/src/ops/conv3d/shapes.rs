//! The convolutions of a network as text, for benches: one a line,
//! `NAME KIND CHANNELS -> CHANNELS kK sS @ DxHxW`, e.g. `up64.0 conv 128+64 -> 64 k3 s1 @ 64x64x32`.
//!
//! KIND is `conv` (padding `K / 2`) or `transposed` (no padding); the extents are those of the input.
//! `#` starts a comment.

use super::Conv3d;
use crate::ops::conv_transpose3d::ConvTranspose3d;
use crate::{Error, Result};
use genesis_tensor::Shape;

/// The convolutions of the network for cubes of 64x64x32 and width 32.
pub const GENESIS: &str = include_str!("../../../shapes/genesis.txt");

/// One convolution of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name in the network.
    pub name: String,
    /// What it computes.
    pub operation: Kind,
    /// Channels of each input.
    pub channels: Vec<usize>,
    /// Channels of the output.
    pub outputs: usize,
    /// D, H, W of the input.
    pub extents: [usize; 3],
}

/// The operation of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A convolution.
    Conv(Conv3d),
    /// A transposed convolution.
    Transposed(ConvTranspose3d),
}

impl Layer {
    /// The shapes of the layer's inputs: activations, weight, bias.
    pub fn inputs(&self, batch: usize) -> Vec<Shape> {
        let [d, h, w] = self.extents;
        let all: usize = self.channels.iter().sum();
        let mut shapes: Vec<Shape> =
            self.channels.iter().map(|&channels| Shape::from([batch, d, h, w, channels])).collect();
        shapes.push(match self.operation {
            Kind::Conv(Conv3d { kernel: [d, h, w], .. }) => Shape::from([self.outputs, all, d, h, w]),
            Kind::Transposed(ConvTranspose3d { kernel: [d, h, w], .. }) => {
                Shape::from([all, self.outputs, d, h, w])
            }
        });
        shapes.push(Shape::from([self.outputs]));
        shapes
    }
}

/// Reads layers from text.
///
/// # Errors
/// Names the first line that is not in the notation.
pub fn parse(text: &str) -> Result<Vec<Layer>> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            layer(line).ok_or_else(|| {
                let wanted = "NAME conv|transposed C[+C] -> O kK sS @ DxHxW";
                Error::operation("shapes", format!("'{line}' is not {wanted}"))
            })
        })
        .collect()
}

fn layer(line: &str) -> Option<Layer> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, kind, channels, "->", outputs, kernel, stride, "@", extents] = words[..] else { return None };
    let numbers = |text: &str, separator| {
        text.split(separator).map(|number| number.parse().ok()).collect::<Option<Vec<usize>>>()
    };
    let channels = numbers(channels, '+')?;
    let kernel: usize = kernel.strip_prefix('k')?.parse().ok()?;
    let stride: usize = stride.strip_prefix('s')?.parse().ok()?;
    let operation = match (kind, channels.len()) {
        ("conv", inputs @ 1..=2) => {
            Kind::Conv(Conv3d { stride: [stride; 3], inputs, ..Conv3d::same(kernel) })
        }
        ("transposed", 1) => Kind::Transposed(ConvTranspose3d {
            kernel: [kernel; 3],
            stride: [stride; 3],
            ..ConvTranspose3d::double()
        }),
        _ => return None,
    };
    Some(Layer {
        name: name.to_string(),
        operation,
        channels,
        outputs: outputs.parse().ok()?,
        extents: numbers(extents, 'x')?.try_into().ok()?,
    })
}
