//! Augmentation of patches for target tasks (floor 5): flips, rotation, scaling and elastic
//! displacement of image and labels, then noise, blur, brightness, contrast and gamma of the image.
//!
//! The spatial transforms are one map from the patch to the volume it comes from and one resampling
//! of that volume ([`sample_patch`]), so that a turned patch shows what lies around it rather than
//! padding. An [`AugmentationRecipe`] says what is drawn how often; an [`Augmenter`] carries it out:
//!
//! ```
//! use genesis_train::augment::{AugmentationRecipe, Augmenter, Source};
//! let (image, labels) = (vec![0.5f32; 40 * 40 * 20], vec![1u8; 40 * 40 * 20]);
//! let source = Source::new(&image, 1, [40, 40, 20], [0.8, 0.8, 1.5])?.with_labels(&labels, 0)?;
//! let mut augmenter = Augmenter::new(AugmentationRecipe::default(), [32, 32, 16])?;
//! let (mut patch, mut patch_labels) = (vec![0.0; 32 * 32 * 16], vec![0; 32 * 32 * 16]);
//! let corner = augmenter.corner_around([25, 10, 12]);
//! augmenter.patch_for_sample(1, 0, 17, &source, corner, &mut patch, Some(&mut patch_labels));
//! # Ok::<(), genesis_train::Error>(())
//! ```

mod blur;
mod brightness;
mod elastic;
mod flip;
mod gamma;
mod intensities;
mod noise;
mod recipe;
mod resample;
mod source;
mod spatial;

use genesis_tensor::random::{Purpose, Stream};

pub use elastic::DisplacementGrid;
pub use recipe::{
    AugmentationRecipe, Blur, Brightness, Contrast, Elastic, Flip, Gamma, Noise, Rotation, Scaling,
};
pub use source::Source;
pub use spatial::{PatchSampler, SpatialTransform, sample_patch};

use crate::error::{Error, Result};

/// Draws augmented patches of one size by one recipe. It owns all working memory; each thread clones
/// its own.
#[derive(Clone, Debug)]
pub struct Augmenter {
    recipe: AugmentationRecipe,
    size: [usize; 3],
    sampler: PatchSampler,
    blur: blur::GaussianBlur,
}

impl Augmenter {
    /// An augmenter of patches `[x, y, z]` of `size` voxels.
    ///
    /// # Errors
    /// Those of [`AugmentationRecipe::check`], and [`Error::Usage`] for a patch of no voxels or of
    /// more than 2^29.
    pub fn new(recipe: AugmentationRecipe, size: [usize; 3]) -> Result<Self> {
        recipe.check()?;
        let [x, y, z] = size;
        let voxels = x.checked_mul(y).and_then(|area| area.checked_mul(z));
        if !voxels.is_some_and(|count| (1..=1 << 29).contains(&count)) {
            return Err(Error::Usage(format!("augmentation: no patch of {x}x{y}x{z} voxels")));
        }
        Ok(Self { recipe, size, sampler: PatchSampler::default(), blur: blur::GaussianBlur::default() })
    }

    /// The recipe.
    pub fn recipe(&self) -> &AugmentationRecipe {
        &self.recipe
    }

    /// The size `[x, y, z]` of the patches.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// The first voxel of the patch whose middle is the voxel `centre`; it may lie outside the volume.
    pub fn corner_around(&self, centre: [usize; 3]) -> [i64; 3] {
        std::array::from_fn(|axis| centre[axis] as i64 - (self.size[axis] / 2) as i64)
    }

    /// [`Augmenter::draw`] with the random stream of one sample: a pure function of the seed, the
    /// epoch, the sample's number, the source and the corner.
    ///
    /// # Panics
    /// Those of [`Augmenter::draw`].
    pub fn patch_for_sample<L: Copy>(
        &mut self,
        seed: u64,
        epoch: u64,
        sample: u64,
        source: &Source<'_, L>,
        corner: [i64; 3],
        image: &mut [f32],
        labels: Option<&mut [L]>,
    ) {
        let mut stream = Stream::new(seed, epoch, sample, Purpose::Augmentation);
        self.draw(source, corner, image, labels, &mut stream);
    }

    /// Writes one augmented patch, which without spatial transforms would start at voxel `corner` of
    /// the source: its channels `[C, x, y, z]` to `image`, its labels `[x, y, z]` to `labels`. Voxels
    /// beyond the volume's faces get the source's padding.
    ///
    /// # Panics
    /// If `image` or `labels` does not have that many elements, or labels are wanted of a source
    /// without.
    pub fn draw<L: Copy>(
        &mut self,
        source: &Source<'_, L>,
        corner: [i64; 3],
        image: &mut [f32],
        labels: Option<&mut [L]>,
        stream: &mut Stream,
    ) {
        let transform = SpatialTransform::draw(&self.recipe, self.size, source.spacing(), stream);
        self.sampler.sample(source, corner, self.size, &transform, image, labels);
        self.change_intensities(image, stream);
    }

    /// Noise, blur, brightness, contrast and gamma, as drawn, of a patch's channels `[C, x, y, z]`.
    /// Whether a patch undergoes one is drawn once, with which constant for each channel.
    fn change_intensities(&mut self, image: &mut [f32], stream: &mut Stream) {
        let Self { recipe, size, blur, .. } = self;
        let size = *size;
        let voxels = size.iter().product();
        if stream.chance(recipe.noise.probability) {
            for channel in image.chunks_exact_mut(voxels) {
                noise::apply(uniform(recipe.noise.sigma, stream), channel, stream);
            }
        }
        if stream.chance(recipe.blur.probability) {
            for channel in image.chunks_exact_mut(voxels) {
                if stream.chance(recipe.blur.channel_probability) {
                    blur.apply(uniform(recipe.blur.sigma, stream), size, channel);
                }
            }
        }
        if stream.chance(recipe.brightness.probability) {
            for channel in image.chunks_exact_mut(voxels) {
                brightness::scale(log_uniform(recipe.brightness.range, stream), channel);
            }
        }
        if stream.chance(recipe.contrast.probability) {
            for channel in image.chunks_exact_mut(voxels) {
                brightness::stretch(log_uniform(recipe.contrast.range, stream), channel);
            }
        }
        if stream.chance(recipe.gamma.probability) {
            for channel in image.chunks_exact_mut(voxels) {
                let exponent = log_uniform(recipe.gamma.range, stream);
                gamma::apply(exponent, stream.chance(recipe.gamma.inversion_probability), channel);
            }
        }
    }
}

/// A number uniform in the range.
fn uniform([low, high]: [f64; 2], stream: &mut Stream) -> f64 {
    low + (high - low) * stream.uniform_f64()
}

/// A number whose logarithm is uniform in the range, which must be positive.
fn log_uniform([low, high]: [f64; 2], stream: &mut Stream) -> f64 {
    uniform([low.ln(), high.ln()], stream).exp()
}

#[cfg(test)]
mod tests;
