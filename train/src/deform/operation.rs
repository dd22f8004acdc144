//! The names by which a user picks deformations.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// One deformation, or proxy task, of the ablation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Flips of original and input together.
    Flip,
    /// Shuffling within small blocks.
    LocalShuffling,
    /// Random Bézier map of the intensities.
    Nonlinear,
    /// Holes filled with noise.
    InnerCutout,
    /// Everything but some windows replaced by noise.
    OuterCutout,
    /// No deformation.
    Autoencoder,
    /// Additive Gaussian noise.
    Denoising,
    /// Exchange of large patches.
    PatchShuffling,
    /// Inner cut-out whose loss counts the holes only.
    InPainting,
}

impl Operation {
    const ALL: [Self; 9] = [
        Self::Flip,
        Self::LocalShuffling,
        Self::Nonlinear,
        Self::InnerCutout,
        Self::OuterCutout,
        Self::Autoencoder,
        Self::Denoising,
        Self::PatchShuffling,
        Self::InPainting,
    ];

    /// Every name, in the order of the variants.
    pub const NAMES: [&'static str; 9] = [
        "flip",
        "local-shuffling",
        "nonlinear",
        "inner-cutout",
        "outer-cutout",
        "autoencoder",
        "denoising",
        "patch-shuffling",
        "in-painting",
    ];

    /// All names in one line, for messages.
    pub fn known() -> String {
        Self::NAMES.join(", ")
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Operation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let position = Self::NAMES.iter().position(|&known| known == name);
        position
            .map(|index| Self::ALL[index])
            .ok_or_else(|| Error::Usage(format!("unknown deformation {name:?}; known: {}", Self::known())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_operations_correspond() {
        for (operation, name) in Operation::ALL.into_iter().zip(Operation::NAMES) {
            assert_eq!(operation.to_string(), name);
            assert_eq!(name.parse::<Operation>().unwrap(), operation);
        }
    }
}
