//! Which transforms a patch undergoes, how often, and within which ranges: a plain record that a
//! run's configuration file keeps.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Everything that decides how patches are augmented. Each transform is drawn independently of the
/// others; they run in the order of the fields, the first four as one resampling of the volume.
///
/// Factors (`scaling`, `brightness`, `contrast`, `gamma`) are log-uniform over their range, so that
/// a factor and its inverse are equally likely where the range holds both; `sigma`s are uniform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationRecipe {
    /// Flips along the axes.
    pub flip: Flip,
    /// Rotations about the axes, in millimetres, so that anisotropic voxels shear nothing.
    pub rotation: Rotation,
    /// Magnification.
    pub scaling: Scaling,
    /// Smooth random displacements.
    pub elastic: Elastic,
    /// Additive Gaussian noise.
    pub noise: Noise,
    /// Gaussian blur.
    pub blur: Blur,
    /// Multiplication of all intensities by a factor.
    pub brightness: Brightness,
    /// Multiplication of the differences from the mean by a factor.
    pub contrast: Contrast,
    /// Power law between a channel's smallest and largest intensity.
    pub gamma: Gamma,
}

/// Flips along each of the axes `[x, y, z]` of the patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// Probability of a flip along each axis, independently of the others.
    pub probability: [f64; 3],
}

/// Rotations about the centre of the patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Probability that a patch is rotated.
    pub probability: f64,
    /// The largest angle about each axis; the angles are uniform in `±degrees`.
    pub degrees: [f64; 3],
}

/// Magnification about the centre of the patch, alike along all axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Probability that a patch is magnified.
    pub probability: f64,
    /// The factor; above 1 objects grow.
    pub range: [f64; 2],
}

/// Displacements given at control points and interpolated between them by cubic B-splines
/// (Rueckert et al., *Nonrigid registration using free-form deformations*, IEEE TMI 18 (1999)).
/// Lengths are in voxels of the axis with the smallest spacing, and alike in millimetres along the
/// other axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// Probability that a patch is displaced.
    pub probability: f64,
    /// Distance between control points.
    pub separation: f64,
    /// Standard deviation of each component of a voxel's displacement.
    pub sigma: [f64; 2],
}

/// Additive Gaussian noise, alike and independent in every voxel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Probability that a patch is noisy.
    pub probability: f64,
    /// Standard deviation of the noise as a share of the channel's own within the patch, drawn for
    /// each channel.
    pub sigma: [f64; 2],
}

/// Gaussian blur.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blur {
    /// Probability that a patch is blurred.
    pub probability: f64,
    /// Probability that a channel of a blurred patch is.
    pub channel_probability: f64,
    /// Standard deviation in voxels along every axis, drawn for each channel.
    pub sigma: [f64; 2],
}

/// Multiplication of all intensities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brightness {
    /// Probability that a patch undergoes it.
    pub probability: f64,
    /// The factor, drawn for each channel.
    pub range: [f64; 2],
}

/// Multiplication of the differences from a channel's mean; the channel's range is kept by clipping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// Probability that a patch undergoes it.
    pub probability: f64,
    /// The factor, drawn for each channel.
    pub range: [f64; 2],
}

/// Power law between a channel's smallest and largest intensity, both of which stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gamma {
    /// Probability that a patch undergoes it.
    pub probability: f64,
    /// The exponent, drawn for each channel.
    pub range: [f64; 2],
    /// Probability that the law acts on the negative of the channel.
    pub inversion_probability: f64,
}

/// The smallest distance between control points, in voxels.
const SMALLEST_SEPARATION: f64 = 4.0;
/// The largest standard deviation of displacements as a share of that distance: derivatives along
/// an axis then have a standard deviation of at most 0.2, and a fold needs 5 of them.
const LARGEST_DISPLACEMENT: f64 = 0.15;

impl Default for AugmentationRecipe {
    /// In the spirit of nnU-Net (Isensee et al., Nature Methods 18 (2021)), with milder rotations.
    fn default() -> Self {
        Self {
            flip: Flip { probability: [0.5; 3] },
            rotation: Rotation { probability: 0.3, degrees: [15.0; 3] },
            scaling: Scaling { probability: 0.3, range: [0.85, 1.25] },
            elastic: Elastic { probability: 0.2, separation: 16.0, sigma: [0.5, 2.0] },
            noise: Noise { probability: 0.15, sigma: [0.0, 0.3] },
            blur: Blur { probability: 0.2, channel_probability: 0.5, sigma: [0.5, 1.0] },
            brightness: Brightness { probability: 0.15, range: [0.75, 1.25] },
            contrast: Contrast { probability: 0.15, range: [0.75, 1.25] },
            gamma: Gamma { probability: 0.3, range: [0.7, 1.5], inversion_probability: 0.25 },
        }
    }
}

impl AugmentationRecipe {
    /// The names that [`AugmentationRecipe::named`] knows.
    pub const NAMES: [&str; 3] = ["default", "light", "none"];

    /// The recipe called `default`, `light` or `none`.
    ///
    /// # Errors
    /// [`Error::Usage`] for any other name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "default" => Ok(Self::default()),
            "light" => Ok(Self::light()),
            "none" => Ok(Self::none()),
            _ => Err(Error::Usage(format!(
                "no augmentation is called {name:?}; known: {}",
                Self::NAMES.join(", ")
            ))),
        }
    }

    /// Flips, and small rotations, magnifications and changes of brightness and gamma.
    pub fn light() -> Self {
        let mut recipe = Self::none();
        recipe.flip.probability = [0.5; 3];
        recipe.rotation = Rotation { probability: 0.2, degrees: [10.0; 3] };
        recipe.scaling = Scaling { probability: 0.2, range: [0.9, 1.1] };
        recipe.brightness = Brightness { probability: 0.15, range: [0.9, 1.1] };
        recipe.gamma = Gamma { probability: 0.15, range: [0.85, 1.2], inversion_probability: 0.0 };
        recipe
    }

    /// The default with every probability 0: patches are copied.
    pub fn none() -> Self {
        let mut recipe = Self::default();
        recipe.flip.probability = [0.0; 3];
        recipe.rotation.probability = 0.0;
        recipe.scaling.probability = 0.0;
        recipe.elastic.probability = 0.0;
        recipe.noise.probability = 0.0;
        recipe.blur.probability = 0.0;
        recipe.brightness.probability = 0.0;
        recipe.contrast.probability = 0.0;
        recipe.gamma.probability = 0.0;
        recipe
    }

    /// Fails unless every value makes sense.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the first value that does not.
    pub fn check(&self) -> Result<()> {
        let probabilities = [
            ("flip.probability[0]", self.flip.probability[0]),
            ("flip.probability[1]", self.flip.probability[1]),
            ("flip.probability[2]", self.flip.probability[2]),
            ("rotation.probability", self.rotation.probability),
            ("scaling.probability", self.scaling.probability),
            ("elastic.probability", self.elastic.probability),
            ("noise.probability", self.noise.probability),
            ("blur.probability", self.blur.probability),
            ("blur.channel_probability", self.blur.channel_probability),
            ("brightness.probability", self.brightness.probability),
            ("contrast.probability", self.contrast.probability),
            ("gamma.probability", self.gamma.probability),
            ("gamma.inversion_probability", self.gamma.inversion_probability),
        ];
        for (name, value) in probabilities {
            within(name, value, [0.0, 1.0])?;
        }
        for degrees in self.rotation.degrees {
            within("rotation.degrees", degrees, [0.0, 180.0])?;
        }
        let separation = self.elastic.separation;
        within("elastic.separation", separation, [SMALLEST_SEPARATION, 1e6])?;
        let ranges = [
            ("scaling.range", self.scaling.range, [0.1, 10.0]),
            ("elastic.sigma", self.elastic.sigma, [0.0, LARGEST_DISPLACEMENT * separation]),
            ("noise.sigma", self.noise.sigma, [0.0, 100.0]),
            ("blur.sigma", self.blur.sigma, [0.0, 20.0]),
            ("brightness.range", self.brightness.range, [0.01, 100.0]),
            ("contrast.range", self.contrast.range, [0.01, 100.0]),
            ("gamma.range", self.gamma.range, [0.01, 100.0]),
        ];
        for (name, [low, high], limits) in ranges {
            within(name, low, limits)?;
            within(name, high, limits)?;
            if low > high {
                return Err(Error::Usage(format!("augmentation: {name} = [{low}, {high}] is empty")));
            }
        }
        Ok(())
    }
}

/// An error unless `value` lies within `limits` (NaN does not).
fn within(name: &str, value: f64, [low, high]: [f64; 2]) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::Usage(format!("augmentation: {name}: {value} is not in [{low}, {high}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_survive_a_configuration_file() {
        for name in AugmentationRecipe::NAMES {
            let recipe = AugmentationRecipe::named(name).unwrap();
            recipe.check().unwrap();
            let text = toml::to_string(&recipe).unwrap();
            assert_eq!(toml::from_str::<AugmentationRecipe>(&text).unwrap(), recipe, "{text}");
        }
        let unknown = toml::to_string(&AugmentationRecipe::light()).unwrap() + "\n[shear]\nprobability = 1\n";
        assert!(toml::from_str::<AugmentationRecipe>(&unknown).unwrap_err().to_string().contains("shear"));
        let message = AugmentationRecipe::named("heavy").unwrap_err().to_string();
        assert!(message.contains("heavy") && message.contains("light"), "{message}");
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        type Change = fn(&mut AugmentationRecipe);
        let changes: [(&str, Change); 9] = [
            ("flip.probability[2]: 1.5", |r| r.flip.probability[2] = 1.5),
            ("blur.channel_probability: NaN", |r| r.blur.channel_probability = f64::NAN),
            ("rotation.degrees: 181", |r| r.rotation.degrees[1] = 181.0),
            ("scaling.range: 0 ", |r| r.scaling.range = [0.0, 1.0]),
            ("scaling.range = [1.2, 0.8] is empty", |r| r.scaling.range = [1.2, 0.8]),
            ("elastic.separation: 0 ", |r| r.elastic.separation = 0.0),
            // With 16 voxels between control points.
            ("elastic.sigma: 2.5 is not in [0, 2.4]", |r| r.elastic.sigma[1] = 2.5),
            ("noise.sigma: -1", |r| r.noise.sigma[0] = -1.0),
            ("gamma.range: inf", |r| r.gamma.range[1] = f64::INFINITY),
        ];
        for (want, change) in changes {
            let mut recipe = AugmentationRecipe::default();
            change(&mut recipe);
            let error = recipe.check().unwrap_err();
            assert!(matches!(error, Error::Usage(_)));
            assert!(error.to_string().contains(want), "{error}");
        }
    }
}
