//! Initial values of the parameters.

use crate::Result;
use crate::network::Tensors;
use genesis_autograd::ParameterId;
use genesis_tensor::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// How weights are drawn. Batch norm always starts at scale 1, shift 0; PReLU slopes at 0.25.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Initialiser {
    /// PyTorch's default: uniform in ±1/√fan_in, biases too (Kaiming uniform with a = √5).
    #[default]
    Pytorch,
    /// Uniform in ±0.05, biases 0 (Keras's `uniform`: the paper's basic scratch).
    Uniform,
    /// Uniform in ±√(6 / (fan_in + fan_out)), biases 0 (Glorot and Bengio, 2010).
    Xavier,
    /// Uniform in ±√(6 / fan_in), biases 0 (He et al., 2015).
    Msra,
}

impl Initialiser {
    /// A weight of these extents (two at least) is drawn uniformly from ± this.
    pub(crate) fn bound(self, dims: &[usize]) -> f32 {
        // PyTorch takes the second axis as the inputs, for transposed convolutions too.
        let taps: usize = dims[2..].iter().product();
        let (fan_in, fan_out) = ((dims[1] * taps) as f32, (dims[0] * taps) as f32);
        match self {
            Self::Pytorch => 1.0 / fan_in.sqrt(),
            Self::Uniform => 0.05,
            Self::Xavier => (6.0 / (fan_in + fan_out)).sqrt(),
            Self::Msra => (6.0 / fan_in).sqrt(),
        }
    }
}

impl std::str::FromStr for Initialiser {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "pytorch" => Ok(Self::Pytorch),
            "uniform" => Ok(Self::Uniform),
            "xavier" => Ok(Self::Xavier),
            "msra" => Ok(Self::Msra),
            _ => Err(format!("unknown initialiser '{name}' (pytorch, uniform, xavier or msra)")),
        }
    }
}

impl Tensors {
    /// Draws every parameter. One stream per parameter, so that a head of another size does not
    /// change the values of the rest.
    pub(crate) fn initialise(&mut self, how: Initialiser, seed: u64) -> Result<()> {
        self.fetch()?;
        let places = self.parameters.places().to_vec();
        let mut bias_bound = 0.0;
        for (index, place) in places.iter().enumerate() {
            let mut stream = Stream::new(seed, 0, index as u64, Purpose::Initialization);
            let values = self.parameters.values_mut(ParameterId(index))?;
            let dims = place.shape.dims();
            if place.name.ends_with("bn1.weight") {
                values.fill(1.0);
            } else if place.name.ends_with("bn1.bias") {
                values.fill(0.0);
            } else if place.name.ends_with("activation.weight") {
                values.fill(0.25);
            } else if dims.len() >= 2 {
                let bound = how.bound(dims);
                bias_bound = if how == Initialiser::Pytorch { bound } else { 0.0 };
                draw(&mut stream, values, bound);
            } else {
                // A convolution's bias follows its weight.
                draw(&mut stream, values, bias_bound);
            }
        }
        Ok(())
    }
}

fn draw(stream: &mut Stream, values: &mut [f32], bound: f32) {
    for value in values {
        *value = bound * (2.0 * stream.uniform() - 1.0);
    }
}
