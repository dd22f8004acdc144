//! Scaling of intensities.

use crate::{Error, Result};
use genesis_tensor::parallel::ThreadPool;
use serde::{Deserialize, Serialize};

/// How intensities are scaled, before any resampling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Intensity {
    /// Clipped to a window and scaled to [0, 1]; in HU for CT.
    Window {
        /// Becomes 0.
        low: f64,
        /// Becomes 1.
        high: f64,
    },
    /// Clipped to percentiles of the volume (linear between order statistics, as NumPy's default) and
    /// scaled to [0, 1]; for MRI. A volume without contrast becomes 0.
    Percentiles {
        /// In [0, 100]; becomes 0.
        low: f64,
        /// In [0, 100]; becomes 1.
        high: f64,
    },
    /// Mean 0 and standard deviation 1.
    ZScore {
        /// Voxels of exactly 0 (background of a skull-stripped brain) do not count and stay 0.
        nonzero_only: bool,
    },
}

impl Default for Intensity {
    /// -1000 to 1000 HU, as in pre-training on CT.
    fn default() -> Self {
        Self::Window { low: -1000.0, high: 1000.0 }
    }
}

impl Intensity {
    /// Refuses settings that mean nothing.
    ///
    /// # Errors
    /// Bounds that are not finite or not in order; percentiles outside 0 to 100.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Window { low, high } if !(low < high && low.is_finite() && high.is_finite()) => {
                Err(Error::Work(format!("intensity window {low} to {high}: the first must be the lower")))
            }
            Self::Percentiles { low, high } if !(0.0 <= low && low < high && high <= 100.0) => {
                Err(Error::Work(format!(
                    "percentiles {low} to {high}: they must lie in 0 to 100, the lower first"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Scales finite voxels in place.
    pub fn apply(&self, pool: &ThreadPool, voxels: &mut [f32]) {
        match *self {
            Self::Window { low, high } => clip(pool, voxels, low, high),
            Self::Percentiles { low, high } => {
                let [low, high] = percentiles(voxels, [low, high]);
                clip(pool, voxels, low, high);
            }
            Self::ZScore { nonzero_only } => {
                let counts = |value: f32| !nonzero_only || value != 0.0;
                let (mut count, mut sum, mut squares) = (0u64, 0.0f64, 0.0f64);
                for &value in voxels.iter().filter(|&&value| counts(value)) {
                    count += 1;
                    sum += f64::from(value);
                }
                let mean = sum / count.max(1) as f64;
                for &value in voxels.iter().filter(|&&value| counts(value)) {
                    squares += (f64::from(value) - mean).powi(2);
                }
                let deviation = (squares / count.max(1) as f64).sqrt();
                let scale = if deviation > 0.0 { 1.0 / deviation } else { 0.0 };
                each(pool, voxels, |value| {
                    if counts(value) { ((f64::from(value) - mean) * scale) as f32 } else { 0.0 }
                });
            }
        }
    }
}

fn clip(pool: &ThreadPool, voxels: &mut [f32], low: f64, high: f64) {
    let (low, width) = (low as f32, (high - low) as f32);
    each(pool, voxels, |value| if width > 0.0 { ((value - low) / width).clamp(0.0, 1.0) } else { 0.0 });
}

fn each(pool: &ThreadPool, voxels: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    pool.run_pieces(voxels, 1 << 16, |_, piece| piece.iter_mut().for_each(|value| *value = f(*value)));
}

/// Percentiles, in [0, 100], of finite values; linear between order statistics, as NumPy's default.
pub fn percentiles(voxels: &[f32], wanted: [f64; 2]) -> [f64; 2] {
    let last = voxels.len().saturating_sub(1);
    let places = wanted.map(|percent| percent / 100.0 * last as f64);
    let ranks = places.map(|place| place.floor() as usize);
    let values =
        order_statistics(voxels, [ranks[0], (ranks[0] + 1).min(last), ranks[1], (ranks[1] + 1).min(last)]);
    std::array::from_fn(|i| {
        let (below, above) = (f64::from(values[2 * i]), f64::from(values[2 * i + 1]));
        below + (above - below) * (places[i] - ranks[i] as f64)
    })
}

/// The values of given ranks (0 is the smallest), by counting: no copy and no sort of the volume.
fn order_statistics<const N: usize>(voxels: &[f32], ranks: [usize; N]) -> [f32; N] {
    let mut coarse = vec![0usize; 1 << 16];
    voxels.iter().for_each(|&value| coarse[(key(value) >> 16) as usize] += 1);
    let places = ranks.map(|rank| locate(&coarse, rank));
    let mut fine = vec![0usize; 1 << 16];
    let mut counted = None;
    places.map(|(bin, rank)| {
        if counted != Some(bin) {
            fine.fill(0);
            for key in voxels.iter().map(|&value| key(value)).filter(|key| (key >> 16) as usize == bin) {
                fine[(key & 0xffff) as usize] += 1;
            }
            counted = Some(bin);
        }
        value((bin as u32) << 16 | locate(&fine, rank).0 as u32)
    })
}

/// The bin that holds a rank, and the rank within it.
fn locate(counts: &[usize], mut rank: usize) -> (usize, usize) {
    for (bin, &count) in counts.iter().enumerate() {
        if rank < count {
            return (bin, rank);
        }
        rank -= count;
    }
    (counts.len() - 1, 0)
}

/// Bits that order as the values do.
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// Replaces NaN and -∞ by the lowest finite value, +∞ by the highest; returns how many there were.
///
/// # Errors
/// No finite value at all.
pub(super) fn replace_not_finite(voxels: &mut [f32]) -> Result<usize> {
    let bad = voxels.iter().filter(|value| !value.is_finite()).count();
    if bad == 0 {
        return Ok(0);
    }
    if bad == voxels.len() {
        return Err(Error::Work("no voxel is a finite number".into()));
    }
    let finite = voxels.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)));
    for value in voxels.iter_mut().filter(|value| !value.is_finite()) {
        *value = if *value == f32::INFINITY { high } else { low };
    }
    Ok(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_a_sort() {
        let mut values: Vec<f32> = (0..1001).map(|i| ((i * 7919) % 1009) as f32 * 0.37 - 100.0).collect();
        let found = percentiles(&values, [0.5, 99.25]);
        values.sort_by(f32::total_cmp);
        // 0.5 % of 1000 steps is the fifth, 99.25 % lies half way between two.
        assert_eq!(found[0], f64::from(values[5]));
        assert!((found[1] - (f64::from(values[992]) + f64::from(values[993])) / 2.0).abs() < 1e-6);
        assert_eq!(percentiles(&values, [0.0, 100.0]), [f64::from(values[0]), f64::from(values[1000])]);
        assert_eq!(percentiles(&[3.0], [1.0, 99.0]), [3.0, 3.0]);
    }

    #[test]
    fn intensities_are_scaled_as_their_name_says() {
        let pool = ThreadPool::new(2);
        let scaled = |intensity: Intensity, values: &[f32]| {
            let mut values = values.to_vec();
            intensity.apply(&pool, &mut values);
            values
        };
        assert_eq!(
            scaled(Intensity::default(), &[-3000.0, -1000.0, 0.0, 500.0, 9e9]),
            [0.0, 0.0, 0.5, 0.75, 1.0]
        );
        let percentiles = Intensity::Percentiles { low: 0.0, high: 50.0 };
        assert_eq!(scaled(percentiles, &[2.0, 4.0, 6.0, 0.0, 900.0]), [0.5, 1.0, 1.0, 0.0, 1.0]);
        assert_eq!(scaled(percentiles, &[7.0; 4]), [0.0; 4]);
        let z = scaled(Intensity::ZScore { nonzero_only: true }, &[0.0, 1.0, 3.0, 0.0]);
        assert_eq!(z, [0.0, -1.0, 1.0, 0.0]);
        let z = scaled(Intensity::ZScore { nonzero_only: false }, &[0.0, 0.0, 4.0, 4.0]);
        assert_eq!(z, [-1.0, -1.0, 1.0, 1.0]);
        assert_eq!(scaled(Intensity::ZScore { nonzero_only: true }, &[0.0; 3]), [0.0; 3]);
        assert!(Intensity::Window { low: 1.0, high: 1.0 }.check().is_err());
        assert!(Intensity::Percentiles { low: -1.0, high: 50.0 }.check().is_err());
        assert!(Intensity::Percentiles { low: 1.0, high: f64::NAN }.check().is_err());
    }

    #[test]
    fn what_is_not_finite_becomes_the_lowest_or_highest_finite_value() {
        let mut values = [1.0, f32::NAN, -5.0, f32::INFINITY, 7.0, f32::NEG_INFINITY];
        assert_eq!(replace_not_finite(&mut values).expect("some are finite"), 3);
        assert_eq!(values, [1.0, -5.0, -5.0, 7.0, 7.0, -5.0]);
        assert!(replace_not_finite(&mut [f32::NAN; 3]).is_err());
    }
}
