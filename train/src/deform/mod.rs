//! Deformation of cubes (floor 5): from one cube, the pair (deformed input, target) on which the
//! network learns to restore.
//!
//! The target is the cube after random flips; the input is the target after local shuffling, a
//! non-linear map of the intensities and a cut-out, each drawn independently (Zhou et al., *Models
//! Genesis*, Medical Image Analysis 67 (2021) 101840, with the constants of the released code). A
//! [`Recipe`] says which operations run how often; a [`Deformer`] carries them out:
//!
//! ```
//! use genesis_train::deform::{Deformer, Recipe};
//! let mut deformer = Deformer::new(Recipe::genesis(), [64, 64, 32])?;
//! let original = vec![0.25f32; 64 * 64 * 32];
//! let (mut target, mut input) = (original.clone(), original.clone());
//! deformer.pair_for_sample(1, 0, 17, &original, &mut target, &mut input, None);
//! # Ok::<(), genesis_train::Error>(())
//! ```

mod block;
mod cutout;
mod denoising;
mod flip;
mod in_painting;
mod local_shuffling;
mod nonlinear;
mod operation;
mod patch_shuffling;
mod recipe;
#[cfg(test)]
mod statistics;
mod voxel_set;

use genesis_tensor::random::{Purpose, Stream};

pub use operation::Operation;
pub use recipe::{Axis, Denoising, Fill, Flip, LocalShuffling, Nonlinear, Painting, PatchShuffling, Recipe};

use crate::error::Result;
use cutout::{Cutout, Kind};
use nonlinear::{Curve, IntensityMap};
use voxel_set::VoxelSet;

/// The epoch under which validation pairs are drawn, so that they are the same after every epoch
/// and in every run with the same seed.
pub const VALIDATION_EPOCH: u64 = u64::MAX;

/// Deforms cubes of one size by one recipe. It owns all working memory; each thread clones its own.
#[derive(Clone, Debug)]
pub struct Deformer {
    recipe: Recipe,
    size: [usize; 3],
    voxels: usize,
    cutout: Cutout,
    map: IntensityMap,
    shuffling: local_shuffling::Buffers,
    nothing: VoxelSet,
}

impl Deformer {
    /// A deformer for cubes `[rows, cols, deps]`.
    ///
    /// # Errors
    /// Those of [`Recipe::check`]: a size too small for the rules, a probability beyond `[0, 1]`.
    pub fn new(recipe: Recipe, size: [usize; 3]) -> Result<Self> {
        recipe.check(size)?;
        let voxels = size.iter().product();
        Ok(Self {
            size,
            voxels,
            cutout: Cutout::new(voxels),
            map: IntensityMap::new(),
            shuffling: local_shuffling::Buffers::new(size),
            nothing: VoxelSet::new(voxels),
            recipe,
        })
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The size `[rows, cols, deps]` of the cubes.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// [`Deformer::deform`] with the random stream of one sample: a pure function of the seed, the
    /// epoch ([`VALIDATION_EPOCH`] for validation) and the sample's number.
    pub fn pair_for_sample(
        &mut self,
        seed: u64,
        epoch: u64,
        sample: u64,
        original: &[f32],
        target: &mut [f32],
        input: &mut [f32],
        mask: Option<&mut [f32]>,
    ) {
        let mut stream = Stream::new(seed, epoch, sample, Purpose::Deformation);
        self.deform(original, target, input, mask, &mut stream);
    }

    /// Writes the flipped `original` to `target` and the deformed target to `input`, all
    /// `[rows, cols, deps]` in C order with intensities in `[0, 1]`. The `mask`, if wanted, becomes
    /// 1 where the loss counts and 0 elsewhere: everywhere, or in the holes of an in-painting recipe.
    ///
    /// # Panics
    /// If a slice is not of the deformer's size.
    pub fn deform(
        &mut self,
        original: &[f32],
        target: &mut [f32],
        input: &mut [f32],
        mask: Option<&mut [f32]>,
        stream: &mut Stream,
    ) {
        let Self { recipe, size, voxels, cutout, map, shuffling, nothing } = self;
        let size = *size;
        assert!(
            [original.len(), target.len(), input.len()] == [*voxels; 3],
            "cubes of {voxels} voxels expected"
        );
        flip::apply(flip::draw(&recipe.flip, stream), size, original, target);
        input.copy_from_slice(target);

        // The cut-out is drawn first and painted last: what it hides need not be computed.
        cutout.draw(&recipe.painting, recipe.loss_in_holes, size, stream);
        let patches = stream.chance(recipe.patch_shuffling.probability);
        if stream.chance(recipe.local_shuffling.probability) {
            let rule = &recipe.local_shuffling;
            if rule.in_place {
                local_shuffling::in_place(rule.blocks, size, input, shuffling, stream);
            } else {
                // (Patches may carry hidden voxels into sight.)
                let hidden = if patches { &*nothing } else { &cutout.hidden };
                local_shuffling::overwrite(rule.blocks, target, input, hidden, shuffling, stream);
            }
        }
        if patches {
            patch_shuffling::apply(recipe.patch_shuffling.swaps, size, input, stream);
        }
        if stream.chance(recipe.nonlinear.probability) {
            map.prepare(Curve::draw(recipe.nonlinear.increasing_probability, stream));
            cutout.hidden.for_each_run_outside(|run| map.apply(&mut input[run]));
        }
        if stream.chance(recipe.denoising.probability) {
            denoising::apply(&recipe.denoising, input, stream);
        }
        if cutout.kind != Kind::Nothing {
            cutout.apply(recipe.painting.fill, size, input, stream);
        }
        if let Some(mask) = mask {
            assert_eq!(mask.len(), *voxels, "mask of {voxels} voxels expected");
            in_painting::write_mask(recipe.loss_in_holes, cutout, mask);
        }
    }
}

#[cfg(test)]
mod tests;
