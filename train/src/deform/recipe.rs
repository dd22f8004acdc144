//! Which deformations a cube undergoes, how often, and with which constants: a plain record that a
//! run's configuration file keeps.

use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::{cutout, local_shuffling, patch_shuffling};
use crate::error::{Error, Result};

/// The most flips and the most shuffled blocks of a cube; the release has 3 and 10 000. A configuration that asks for
/// more would keep a training waiting for ever.
const MOST_ROUNDS: usize = 1_000_000;

/// Everything that decides how cubes are deformed. Operations run in the order of the fields
/// `flip` … `painting`; each is drawn independently of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The loss counts only the voxels inside the holes of an inner cut-out (the in-painting
    /// baseline); every draw then has at least one hole.
    pub loss_in_holes: bool,
    /// Flips of original and deformed cube together.
    pub flip: Flip,
    /// Shuffling of voxels within small blocks.
    pub local_shuffling: LocalShuffling,
    /// Exchange of large patches (a baseline).
    pub patch_shuffling: PatchShuffling,
    /// Non-linear map of the intensities.
    pub nonlinear: Nonlinear,
    /// Gaussian noise (a baseline).
    pub denoising: Denoising,
    /// Inner and outer cut-out.
    pub painting: Painting,
}

/// Up to `rounds` flips, each happening with `probability` given that the one before it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// Probability of each further flip.
    pub probability: f64,
    /// The most flips of one cube.
    pub rounds: usize,
    /// The axes from which each flip draws one.
    pub axes: Vec<Axis>,
}

/// An axis of a sample `[channel, rows, cols, deps]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// The channel axis of extent 1, whose flip does nothing (the release draws it).
    Channel,
    /// First spatial axis.
    Rows,
    /// Second spatial axis.
    Cols,
    /// Third spatial axis.
    Deps,
}

/// Voxels shuffled within blocks of at most a tenth of the cube in each direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalShuffling {
    /// Probability that a cube is shuffled.
    pub probability: f64,
    /// Number of blocks.
    pub blocks: usize,
    /// False: every block takes its voxels from the cube before any shuffling, and later blocks
    /// overwrite earlier ones (release). True: blocks are shuffled one after another in place, which
    /// keeps the cube's histogram (paper).
    pub in_place: bool,
}

/// Exchanges of two disjoint patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchShuffling {
    /// Probability that a cube undergoes it.
    pub probability: f64,
    /// Number of exchanges.
    pub swaps: usize,
}

/// Random monotone Bézier map of the intensities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nonlinear {
    /// Probability that a cube undergoes it.
    pub probability: f64,
    /// Probability that the map increases; it decreases otherwise.
    pub increasing_probability: f64,
}

/// Additive Gaussian noise whose standard deviation is uniform in `[0, largest_sigma]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denoising {
    /// Probability that a cube undergoes it.
    pub probability: f64,
    /// Upper end of the standard deviation, in units of the cube's `[0, 1]` intensities.
    pub largest_sigma: f64,
}

/// Cut-outs: inner (holes) or outer (all but some windows), never both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Painting {
    /// Probability that a cube is painted at all.
    pub probability: f64,
    /// Probability that a painted cube gets an inner cut-out instead of an outer one.
    pub inner_probability: f64,
    /// The most windows of one cube.
    pub windows: usize,
    /// Probability of each further window given the one before it.
    pub continue_probability: f64,
    /// What masked voxels hold.
    pub fill: Fill,
    /// The largest share of the cube that may be masked; absent: no limit. With a limit, the windows
    /// of an outer cut-out have sides of half to all of the cube and may touch its faces, since the
    /// release's windows never leave less than a third masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_masked_share: Option<f64>,
}

/// The content of masked voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Uniform noise in `[0, 1)`, drawn for each voxel.
    Noise,
    /// One number in `[0, 1)`, drawn for each hole (inner) or each cube (outer).
    Constant,
}

impl Default for Recipe {
    fn default() -> Self {
        Self::genesis()
    }
}

impl Recipe {
    /// The default: the released rules, with flips over the three spatial axes.
    pub fn genesis() -> Self {
        Self {
            loss_in_holes: false,
            flip: Flip { probability: 0.4, rounds: 3, axes: vec![Axis::Rows, Axis::Cols, Axis::Deps] },
            local_shuffling: LocalShuffling { probability: 0.5, blocks: 10_000, in_place: false },
            patch_shuffling: PatchShuffling { probability: 0.0, swaps: 10 },
            nonlinear: Nonlinear { probability: 0.9, increasing_probability: 0.5 },
            denoising: Denoising { probability: 0.0, largest_sigma: 0.1 },
            painting: Painting {
                probability: 0.9,
                inner_probability: 0.2,
                windows: 5,
                continue_probability: 0.95,
                fill: Fill::Noise,
                largest_masked_share: None,
            },
        }
    }

    /// The released code of Models Genesis: a flip's axis is drawn from channel, rows and columns,
    /// so that one draw in three does nothing and depth is never flipped.
    pub fn original() -> Self {
        let mut recipe = Self::genesis();
        recipe.flip.axes = vec![Axis::Channel, Axis::Rows, Axis::Cols];
        recipe
    }

    /// The text of Zhou et al., *Models Genesis*, Medical Image Analysis 67 (2021) 101840, where it
    /// differs from the release: 1 000 blocks shuffled one after another, up to 10 windows filled
    /// with a constant, at most a quarter of the cube masked.
    pub fn paper() -> Self {
        let mut recipe = Self::genesis();
        recipe.local_shuffling.blocks = 1_000;
        recipe.local_shuffling.in_place = true;
        recipe.painting.windows = 10;
        recipe.painting.fill = Fill::Constant;
        recipe.painting.largest_masked_share = Some(0.25);
        recipe
    }

    /// The ablation: [`Recipe::genesis`] with only the named operations, see
    /// [`Recipe::restricted_to`].
    pub fn only<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        Self::genesis().restricted_to(names)
    }

    /// This recipe with only the named operations ([`Operation::NAMES`]), each applied to every
    /// cube; a flip keeps its own rule. With both cut-outs named, each cube gets one of them in this
    /// recipe's proportion. `autoencoder` changes nothing, and `in-painting` is the inner cut-out
    /// with its loss inside the holes.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name, no name, or `in-painting` beside another cut-out.
    pub fn restricted_to<S: AsRef<str>>(&self, names: &[S]) -> Result<Self> {
        let operations: Vec<Operation> =
            names.iter().map(|name| name.as_ref().parse()).collect::<Result<_>>()?;
        if operations.is_empty() {
            return Err(Error::Usage(format!("no deformation named; known: {}", Operation::known())));
        }
        let has = |operation| operations.contains(&operation);
        let certain = |operation| if has(operation) { 1.0 } else { 0.0 };
        let holes = has(Operation::InPainting);
        let (inner, outer) = (has(Operation::InnerCutout), has(Operation::OuterCutout));
        if holes && (inner || outer) {
            return Err(Error::Usage(
                "in-painting cannot be combined with inner-cutout or outer-cutout: its loss lies inside its \
                 own holes"
                    .into(),
            ));
        }
        let mut recipe = self.clone();
        recipe.loss_in_holes = holes;
        if !has(Operation::Flip) {
            recipe.flip.probability = 0.0;
        }
        recipe.local_shuffling.probability = certain(Operation::LocalShuffling);
        recipe.patch_shuffling.probability = certain(Operation::PatchShuffling);
        recipe.nonlinear.probability = certain(Operation::Nonlinear);
        recipe.denoising.probability = certain(Operation::Denoising);
        recipe.painting.probability = if holes || inner || outer { 1.0 } else { 0.0 };
        if !(inner && outer) {
            recipe.painting.inner_probability = if outer { 0.0 } else { 1.0 };
        }
        Ok(recipe)
    }

    /// Whether every rule can be carried out on cubes of this size `[rows, cols, deps]`.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value or the extent that does not fit.
    pub fn check(&self, size: [usize; 3]) -> Result<()> {
        let probabilities = [
            ("flip.probability", self.flip.probability),
            ("local_shuffling.probability", self.local_shuffling.probability),
            ("patch_shuffling.probability", self.patch_shuffling.probability),
            ("nonlinear.probability", self.nonlinear.probability),
            ("nonlinear.increasing_probability", self.nonlinear.increasing_probability),
            ("denoising.probability", self.denoising.probability),
            ("painting.probability", self.painting.probability),
            ("painting.inner_probability", self.painting.inner_probability),
            ("painting.continue_probability", self.painting.continue_probability),
        ];
        for (name, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::Usage(format!("deformation: {name} = {value} is not in [0, 1]")));
            }
        }
        if self.flip.probability > 0.0 && self.flip.axes.is_empty() {
            return Err(Error::Usage("deformation: flip.axes is empty".into()));
        }
        let counts =
            [("flip.rounds", self.flip.rounds), ("local_shuffling.blocks", self.local_shuffling.blocks)];
        for (name, value) in counts {
            if value > MOST_ROUNDS {
                return Err(Error::Usage(format!(
                    "deformation: {name} = {value} is more than {MOST_ROUNDS}"
                )));
            }
        }
        let sigma = self.denoising.largest_sigma;
        if !(sigma.is_finite() && sigma >= 0.0) {
            return Err(Error::Usage(format!("deformation: denoising.largest_sigma = {sigma} is not >= 0")));
        }
        let voxels = size.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        if !voxels.is_some_and(|count| (1..=1 << 29).contains(&count)) {
            return Err(Error::Usage(format!("deformation: no cube of {} voxels", shown(size))));
        }
        if self.loss_in_holes && (self.painting.probability < 1.0 || self.painting.inner_probability < 1.0) {
            return Err(Error::Usage(
                "deformation: loss_in_holes needs an inner cut-out in every cube (painting.probability = 1, \
                 painting.inner_probability = 1)"
                    .into(),
            ));
        }
        if self.local_shuffling.probability > 0.0 {
            at_least("local shuffling", size, local_shuffling::SMALLEST_EXTENT)?;
        }
        if self.patch_shuffling.probability > 0.0 {
            at_least("patch shuffling", size, patch_shuffling::SMALLEST_EXTENT)?;
        }
        cutout::check(&self.painting, self.loss_in_holes, size)
    }
}

/// `64x64x32`.
fn shown(size: [usize; 3]) -> String {
    size.map(|extent| extent.to_string()).join("x")
}

/// An error unless every extent reaches `smallest`.
pub(super) fn at_least(what: &str, size: [usize; 3], smallest: usize) -> Result<()> {
    if size.iter().any(|&extent| extent < smallest) {
        return Err(Error::Usage(format!(
            "deformation: {what} needs at least {smallest} voxels in every direction; the cube has {}",
            shown(size)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_survive_a_configuration_file() {
        for recipe in [Recipe::genesis(), Recipe::original(), Recipe::paper()] {
            let text = toml::to_string(&recipe).unwrap();
            assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe, "{text}");
        }
        assert_ne!(Recipe::genesis(), Recipe::original());
        let unknown = toml::to_string(&Recipe::genesis()).unwrap() + "\nblur = 1\n";
        assert!(toml::from_str::<Recipe>(&unknown).is_err());
    }

    #[test]
    fn every_name_switches_on_its_operation_alone() {
        let probabilities = |recipe: &Recipe| {
            [
                recipe.flip.probability,
                recipe.local_shuffling.probability,
                recipe.patch_shuffling.probability,
                recipe.nonlinear.probability,
                recipe.denoising.probability,
                recipe.painting.probability,
            ]
        };
        for name in Operation::NAMES {
            let recipe = Recipe::only(&[name]).unwrap();
            let active = probabilities(&recipe).iter().filter(|&&p| p > 0.0).count();
            assert_eq!(active, usize::from(name != "autoencoder"), "{name}");
            recipe.check([64, 64, 32]).unwrap();
        }
        assert_eq!(Recipe::only(&["outer-cutout"]).unwrap().painting.inner_probability, 0.0);
        assert_eq!(Recipe::only(&["inner-cutout"]).unwrap().painting.inner_probability, 1.0);
        let both = Recipe::only(&["outer-cutout", "inner-cutout"]).unwrap();
        assert_eq!(both.painting.inner_probability, 0.2);
        assert!(Recipe::only(&["in-painting"]).unwrap().loss_in_holes);
        assert!(matches!(Recipe::only(&["blur"]), Err(Error::Usage(_))));
        assert!(matches!(Recipe::only(&["in-painting", "outer-cutout"]), Err(Error::Usage(_))));
        assert!(matches!(Recipe::only::<&str>(&[]), Err(Error::Usage(_))));
    }

    #[test]
    fn sizes_and_values_that_do_not_fit_are_refused_by_name() {
        let message = |recipe: Recipe, size| recipe.check(size).unwrap_err().to_string();
        assert!(message(Recipe::genesis(), [64, 64, 9]).contains("local shuffling needs at least 10"));
        assert!(message(Recipe::genesis(), [64, 12, 32]).contains("outer cut-out"));
        assert!(message(Recipe::genesis(), [0, 64, 32]).contains("0x64x32"));
        assert!(message(Recipe::genesis(), [usize::MAX, 64, 32]).contains("no cube"));
        assert!(message(Recipe::only(&["patch-shuffling"]).unwrap(), [64, 64, 3]).contains("patch"));
        let mut recipe = Recipe::genesis();
        recipe.nonlinear.probability = f64::NAN;
        assert!(message(recipe, [64, 64, 32]).contains("nonlinear.probability"));
        let mut recipe = Recipe::genesis();
        recipe.flip.axes.clear();
        assert!(message(recipe, [64, 64, 32]).contains("flip.axes"));
        Recipe::only(&["flip", "nonlinear", "denoising"]).unwrap().check([1, 2, 3]).unwrap();
    }
}
