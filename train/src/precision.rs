//! The number format of activations and gradients, and of products.

use crate::{Error, Result};
use genesis_kernels::{Context, Hardware};
use genesis_tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The number format of activations and of their gradients. Parameters, their gradients, the
/// optimiser's state, statistics and losses are f32 whatever it is, and so is every checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Brain floating point: the range of f32 in half the memory, with 8 bits of precision.
    Bf16,
    /// Stored as f32, multiplied on a CUDA card's tensor cores, which round factors to 11 bits of precision; sums
    /// are f32.
    Tf32,
}

impl Precision {
    /// As a tensor's format.
    pub fn format(self) -> DType {
        match self {
            Self::F32 | Self::Tf32 => DType::F32,
            Self::Bf16 => DType::Bf16,
        }
    }

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Tf32 => "tf32",
        }
    }

    /// Whether this hardware computes in it.
    ///
    /// # Errors
    /// [`Error::Usage`] for tf32 without a card.
    pub fn check(self, hardware: &Hardware) -> Result<()> {
        if self == Self::Tf32 && hardware.card.is_none() {
            let cause =
                "precision tf32 exists on CUDA cards only: give --device cuda:N, or --precision f32 or bf16";
            return Err(Error::Usage(cause.into()));
        }
        Ok(())
    }

    /// Lets a context multiply in it.
    ///
    /// # Errors
    /// As [`Precision::check`].
    pub fn choose(self, cx: &mut Context) -> Result<()> {
        self.check(&cx.hardware())?;
        Ok(cx.set_tf32(self == Self::Tf32)?)
    }

    /// An input of a network that computes in it, with `cx`.
    ///
    /// # Errors
    /// A context for which it was not [chosen](Precision::choose); memory.
    pub(crate) fn input(self, cx: &Context, input: Tensor) -> Result<Tensor> {
        if cx.tf32() != (self == Self::Tf32) {
            let products = if cx.tf32() { "tf32" } else { "the format of activations" };
            return Err(Error::Work(format!("precision {self} where products are computed in {products}")));
        }
        match self.format() {
            format if format == input.dtype() => Ok(input),
            format => Ok(input.cast(format)?),
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::F32, Self::Bf16, Self::Tf32]
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| "use f32 or bf16, or tf32 on a CUDA card".into())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files_and_tf32_wants_a_card() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Tf32] {
            assert_eq!(precision.name().parse(), Ok(precision));
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
        let mut cx = Context::new(1);
        Precision::Bf16.choose(&mut cx).unwrap();
        let error = Precision::Tf32.choose(&mut cx).unwrap_err();
        assert!(matches!(&error, Error::Usage(cause) if cause.contains("CUDA cards only")), "{error}");
        assert!(cx.set_tf32(true).is_err() && !cx.tf32());
    }

    #[test]
    fn an_input_is_brought_to_the_format_and_tf32_is_not_passed_over() {
        let (cx, input) = (Context::new(1), Tensor::full([4], 0.1).unwrap());
        assert_eq!(Precision::F32.input(&cx, input.clone()).unwrap().dtype(), DType::F32);
        assert_eq!(Precision::Bf16.input(&cx, input.clone()).unwrap().dtype(), DType::Bf16);
        assert!(Precision::Tf32.input(&cx, input).is_err(), "it would be computed in f32");
    }
}
