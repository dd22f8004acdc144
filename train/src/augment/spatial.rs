//! Flips, rotation, scaling and elastic displacement as one map from the patch's voxels to places
//! in the volume, and the sampling of a patch through it.

use genesis_tensor::random::Stream;

use super::elastic::{DisplacementGrid, DisplacementLines};
use super::recipe::AugmentationRecipe;
use super::resample::Line;
use super::{Source, flip, log_uniform, uniform};

/// Where a patch's voxels lie in its volume: the patch is displaced, then flipped, magnified and
/// rotated about its centre.
#[derive(Clone, Debug, PartialEq)]
pub struct SpatialTransform {
    /// Along which axes the patch is flipped.
    pub flips: [bool; 3],
    /// Angles in degrees by which the content turns about the axes: first about x, then y, then z,
    /// each by the right-hand rule (about z: from x towards y).
    pub degrees: [f64; 3],
    /// Magnification; above 1 objects grow.
    pub scale: f64,
    /// Elastic displacement.
    pub displacement: Option<DisplacementGrid>,
}

impl Default for SpatialTransform {
    /// The identity.
    fn default() -> Self {
        Self { flips: [false; 3], degrees: [0.0; 3], scale: 1.0, displacement: None }
    }
}

impl SpatialTransform {
    /// Draws the transform of a patch of `size` voxels of the given spacing in millimetres.
    pub fn draw(
        recipe: &AugmentationRecipe,
        size: [usize; 3],
        spacing: [f64; 3],
        stream: &mut Stream,
    ) -> Self {
        let mut transform = Self { flips: flip::draw(&recipe.flip, stream), ..Self::default() };
        if stream.chance(recipe.rotation.probability) {
            transform.degrees = recipe.rotation.degrees.map(|largest| uniform([-largest, largest], stream));
        }
        if stream.chance(recipe.scaling.probability) {
            transform.scale = log_uniform(recipe.scaling.range, stream);
        }
        if stream.chance(recipe.elastic.probability) {
            let sigma = uniform(recipe.elastic.sigma, stream);
            let grid = DisplacementGrid::draw(size, spacing, recipe.elastic.separation, sigma, stream);
            transform.displacement = Some(grid);
        }
        transform
    }

    /// Whether the patch's voxels are voxels of the volume, so that nothing is interpolated.
    pub fn is_aligned(&self) -> bool {
        self.degrees == [0.0; 3] && self.scale == 1.0 && self.displacement.is_none()
    }

    /// From offsets within the patch to offsets within the volume, both in voxels from the patch's
    /// centre.
    fn matrix(&self, spacing: [f64; 3]) -> [[f64; 3]; 3] {
        let mut rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        for (axis, degrees) in self.degrees.into_iter().enumerate() {
            // Exact for quarter turns, so that their voxels meet voxels.
            let exact = |value: f64| if value.abs() < 1e-15 { 0.0 } else { value };
            let (sine, cosine) = (exact(degrees.to_radians().sin()), exact(degrees.to_radians().cos()));
            let [a, b] = [(axis + 1) % 3, (axis + 2) % 3];
            let (row_a, row_b) = (rotation[a], rotation[b]);
            for column in 0..3 {
                rotation[a][column] = cosine * row_a[column] - sine * row_b[column];
                rotation[b][column] = sine * row_a[column] + cosine * row_b[column];
            }
        }
        // The content turns forwards and grows, so the places looked up turn back (the transpose)
        // and draw together.
        std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let sign = if self.flips[j] { -1.0 } else { 1.0 };
                sign * rotation[j][i] * (spacing[j] / spacing[i]) / self.scale
            })
        })
    }
}

/// Samples patches; holds the working memory. [`sample_patch`] for many patches.
#[derive(Clone, Debug, Default)]
pub struct PatchSampler {
    displacements: DisplacementLines,
    line: Line,
}

/// Samples one patch of `size` voxels, which without a transform would start at voxel `corner` of
/// the volume, through `transform`. Corners of a turned patch show the volume around it; places
/// beyond the volume's faces have the source's padding.
///
/// Intensities are interpolated linearly along each axis, labels are those of the nearest voxel; an
/// aligned transform ([`SpatialTransform::is_aligned`]) copies both exactly.
///
/// `image` becomes the channels `[C, x, y, z]`, `labels` `[x, y, z]`.
///
/// # Panics
/// If `image` or `labels` does not have that many elements, or labels are wanted of a source
/// without.
pub fn sample_patch<L: Copy>(
    source: &Source<'_, L>,
    corner: [i64; 3],
    size: [usize; 3],
    transform: &SpatialTransform,
    image: &mut [f32],
    labels: Option<&mut [L]>,
) {
    PatchSampler::default().sample(source, corner, size, transform, image, labels);
}

impl PatchSampler {
    /// [`sample_patch`], with working memory kept for the next patch.
    ///
    /// # Panics
    /// Those of [`sample_patch`].
    pub fn sample<L: Copy>(
        &mut self,
        source: &Source<'_, L>,
        corner: [i64; 3],
        size: [usize; 3],
        transform: &SpatialTransform,
        image: &mut [f32],
        labels: Option<&mut [L]>,
    ) {
        let voxels: usize = size.iter().product();
        assert_eq!(image.len(), voxels * source.channels, "patch of {voxels} voxels a channel expected");
        let labels = labels.map(|out| {
            assert_eq!(out.len(), voxels, "labels of {voxels} voxels expected");
            match source.labels {
                Some(labels) => (labels, out),
                None => panic!("labels of a source without labels"),
            }
        });
        if voxels == 0 {
            return;
        }
        if transform.is_aligned() {
            let (extents, flips) = (source.extents, transform.flips);
            for ((volume, padding), patch) in source.padded_channels().zip(image.chunks_exact_mut(voxels)) {
                flip::copy(volume, extents, corner, size, flips, padding, patch);
            }
            if let Some((volume, patch)) = labels {
                flip::copy(volume, extents, corner, size, flips, source.padding_label, patch);
            }
        } else {
            self.resample(source, corner, size, transform, image, labels);
        }
    }

    fn resample<L: Copy>(
        &mut self,
        source: &Source<'_, L>,
        corner: [i64; 3],
        size: [usize; 3],
        transform: &SpatialTransform,
        image: &mut [f32],
        mut labels: Option<(&[L], &mut [L])>,
    ) {
        let Self { displacements, line } = self;
        let [size_x, size_y, size_z] = size;
        let voxels = size_x * size_y * size_z;
        let matrix = transform.matrix(source.spacing);
        // Places are relative to a voxel near the patch's centre: single precision then suffices.
        let half = size.map(|extent| (extent as f64 - 1.0) / 2.0);
        let origin: [i64; 3] = std::array::from_fn(|axis| {
            corner[axis].clamp(-(1 << 40), 1 << 40).saturating_add((size[axis] as i64 - 1) / 2)
        });
        let centre = size.map(|extent| if extent % 2 == 0 { 0.5 } else { 0.0 });
        let step = matrix.map(|row| row[2] as f32);
        if let Some(grid) = &transform.displacement {
            displacements.prepare(grid, size_z);
        }
        for x in 0..size_x {
            if let Some(grid) = &transform.displacement {
                displacements.enter_plane(grid, x);
            }
            for y in 0..size_y {
                let offset = [x as f64 - half[0], y as f64 - half[1], -half[2]];
                let start: [f32; 3] = std::array::from_fn(|axis| {
                    let moved: f64 = matrix[axis].iter().zip(offset).map(|(m, o)| m * o).sum();
                    (centre[axis] + moved) as f32
                });
                let displaced = transform.displacement.as_ref().map(|grid| displacements.line(grid, y));
                line.locate(start, step, size_z, displaced, origin, source.extents);

                let first = (x * size_y + y) * size_z;
                for ((volume, padding), patch) in source.padded_channels().zip(image.chunks_exact_mut(voxels))
                {
                    line.interpolate(volume, source.extents, padding, &mut patch[first..first + size_z]);
                }
                if let Some((volume, patch)) = &mut labels {
                    let out = &mut patch[first..first + size_z];
                    line.nearest(volume, source.extents, source.padding_label, out);
                }
            }
        }
    }
}
