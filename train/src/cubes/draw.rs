//! Drawing cubes from one volume.

use genesis_tensor::random::Stream;

use super::resize::Resizer;
use super::settings::{CubeSettings, LOOK_AHEAD};
use super::tissue::score_in_halves;
use crate::error::{Error, Result};
use crate::preprocess::percentiles;
use crate::volume::Volume;

/// Corners tried for every cube wanted.
const TRIES_PER_CUBE: usize = 50;

/// A volume ready for cutting: LPS, intensities scaled to [0, 1].
#[derive(Clone, Debug)]
pub struct ScaledVolume {
    voxels: Vec<f32>,
    size: [usize; 3],
    /// Set where the window does not fit the volume.
    flat: Option<Flat>,
}

/// Nearly all of a volume lies at one end of the window: little is left to restore.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flat {
    side: &'static str,
    share: f64,
    window: [f64; 2],
}

impl std::fmt::Display for Flat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { side, share, window: [low, high] } = self;
        let end = if *side == "above" { "its upper end" } else { "5 % of its width" };
        write!(
            f,
            "{:.0} % of the voxels lie {side} {end}: the window {low},{high} does not fit",
            100.0 * share
        )
    }
}

/// What counts as the lowest part of the window.
const DARK: f32 = 0.05;
/// The share of voxels at one end from which on a window does not fit. Chest CT has half of its voxels
/// in air.
const UNFIT_SHARE: f64 = 0.9;

/// What came of a volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Cubes kept.
    pub cubes: usize,
    /// Corners tried.
    pub tries: usize,
    /// The smallest and largest tissue score among all tried, as shares of the cube's voxels.
    pub scores: [f64; 2],
}

impl ScaledVolume {
    /// Brings a volume to LPS and its intensities to [0, 1].
    ///
    /// # Errors
    /// If it is too small for one cube inside the border (the message gives both sizes), is constant, or
    /// holds voxels that are not finite (with their number and the first of them).
    pub fn new(volume: Volume, settings: &CubeSettings) -> Result<Self> {
        volume.check_finite()?;
        let (volume, _) = volume.to_canonical();
        let needed = settings.needed_size();
        if (0..3).any(|axis| volume.size[axis] < needed[axis]) {
            let [x, y, z] = volume.size;
            let [a, b, c] = needed;
            let [i, j, k] = settings.border;
            return Err(Error::Work(format!(
                "is too small: {x}x{y}x{z} voxels, {a}x{b}x{c} are needed with a border of {i},{j},{k} \
                 (--border takes a smaller one)"
            )));
        }
        if volume.voxels.len() > 1 && volume.voxels.iter().all(|voxel| *voxel == volume.voxels[0]) {
            return Err(Error::Work(format!("has no contrast: every voxel is {}", volume.voxels[0])));
        }
        let mut voxels = volume.voxels;
        let window = settings.percentiles.map_or(settings.window, |wanted| percentiles(&voxels, wanted));
        let [low, high] = window.map(|bound| bound as f32);
        let width = high - low;
        if width <= 0.0 {
            return Err(Error::Work(format!("has no contrast: both percentiles are {low}")));
        }
        let (mut below, mut above) = (0usize, 0usize);
        for value in &mut voxels {
            // A division, not a multiplication: the tissue level then meets its own voxels exactly.
            *value = (value.clamp(low, high) - low) / width;
            below += usize::from(*value <= DARK);
            above += usize::from(*value >= 1.0);
        }
        let unfit = voxels.len() as f64 * UNFIT_SHARE;
        let flat = [(below, "below"), (above, "above")].into_iter().find(|(count, _)| *count as f64 > unfit);
        let flat = flat.map(|(count, side)| Flat { side, share: count as f64 / voxels.len() as f64, window });
        Ok(Self { voxels, size: volume.size, flat })
    }

    /// Voxels along x, y and z, after the change to LPS.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// What is wrong with the window, if it does not fit the volume.
    pub fn flat(&self) -> Option<Flat> {
        self.flat
    }

    /// Draws corners uniformly until enough cubes are kept or all tries are used, and hands every kept
    /// cube (z fastest) with its corner to `keep`, in the order drawn.
    ///
    /// # Errors
    /// Those of `keep`.
    pub fn draw(
        &self,
        settings: &CubeSettings,
        stream: &mut Stream,
        mut keep: impl FnMut([usize; 3], &[f32]) -> Result<()>,
    ) -> Result<Drawn> {
        let [nx, ny, depth] = settings.cube;
        let needed = settings.needed_size();
        // `new` checked that the volume has at least the needed size.
        let last: [usize; 3] =
            std::array::from_fn(|axis| settings.border[axis] + self.size[axis] - needed[axis]);
        let tries = TRIES_PER_CUBE.saturating_mul(settings.per_volume);
        let mut cutter = Cutter::new(settings);
        let mut cube = vec![0.0; nx * ny * depth];
        let mut drawn = Drawn { cubes: 0, tries: 0, scores: [f64::INFINITY, f64::NEG_INFINITY] };
        while drawn.cubes < settings.per_volume && drawn.tries < tries {
            drawn.tries += 1;
            let corner: [usize; 3] =
                std::array::from_fn(|axis| stream.between(settings.border[axis], last[axis]));
            let (score, kept) = cutter.cut(self, corner, &mut cube);
            drawn.scores = [drawn.scores[0].min(score), drawn.scores[1].max(score)];
            if kept {
                keep(corner, &cube)?;
                drawn.cubes += 1;
            }
        }
        Ok(drawn)
    }

    /// The row along z that starts at a voxel.
    fn row(&self, [x, y, z]: [usize; 3], length: usize) -> &[f32] {
        let start = (x * self.size[1] + y) * self.size[2] + z;
        &self.voxels[start..start + length]
    }
}

/// Judges and cuts blocks of one volume.
struct Cutter<'a> {
    settings: &'a CubeSettings,
    threshold: f32,
    resize: Option<Resizer>,
    block: Vec<f32>,
    resized: Vec<f32>,
}

impl<'a> Cutter<'a> {
    fn new(settings: &'a CubeSettings) -> Self {
        let [nx, ny, _] = settings.cube;
        let resize = (settings.crop != [nx, ny]).then(|| Resizer::new(settings.crop, [nx, ny]));
        Self { settings, threshold: settings.threshold(), resize, block: Vec::new(), resized: Vec::new() }
    }

    /// The tissue score of the block at `corner`, and whether it was kept, that is, cut into `cube`.
    fn cut(&mut self, volume: &ScaledVolume, [x, y, z]: [usize; 3], cube: &mut [f32]) -> (f64, bool) {
        let [nx, ny, depth] = self.settings.cube;
        let [crop_x, crop_y] = self.settings.crop;
        let length = depth + LOOK_AHEAD;
        let rows = (x..x + crop_x)
            .flat_map(|x| (y..y + crop_y).map(move |y| [x, y, z]))
            .map(|start| volume.row(start, length));
        if let Some(resize) = &mut self.resize {
            self.block.clear();
            rows.for_each(|row| self.block.extend_from_slice(row));
            self.resized.resize(nx * ny * length, 0.0);
            resize.resize(&self.block, &mut self.resized);
            self.copy_if_kept(self.resized.chunks(length), cube)
        } else {
            self.copy_if_kept(rows, cube)
        }
    }

    fn copy_if_kept<'b>(
        &self,
        rows: impl Iterator<Item = &'b [f32]> + Clone,
        cube: &mut [f32],
    ) -> (f64, bool) {
        let depth = self.settings.cube[2];
        let halves = score_in_halves(rows.clone(), depth, self.threshold) as f64;
        // Compared before dividing, so that a score at the very bound is not lost to rounding.
        let whole = 2.0 * cube.len() as f64;
        let kept = !self.settings.filters()
            || (halves <= self.settings.max_tissue * whole && halves >= self.settings.min_tissue * whole);
        if kept {
            for (target, row) in cube.chunks_mut(depth).zip(rows) {
                target.copy_from_slice(&row[..depth]);
            }
        }
        (halves / whole, kept)
    }
}
