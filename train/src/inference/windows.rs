//! Where windows lie, and how much each of their voxels counts.

use crate::{Error, Result};
use genesis_model::DIVISOR;

/// Extents of the window and the share by which neighbours overlap.
#[derive(Clone, Copy, Debug)]
pub struct SlidingWindow {
    /// Extents of a window; each must divide by 8.
    pub size: [usize; 3],
    /// Overlap of neighbouring windows, in [0, 1).
    pub overlap: f64,
}

impl SlidingWindow {
    /// Refuses windows a network cannot take.
    ///
    /// # Errors
    /// Extents that do not divide by 8, an overlap outside [0, 1).
    pub fn check(&self) -> Result<()> {
        if self.size.iter().any(|&extent| extent == 0 || extent % DIVISOR != 0) {
            return Err(Error::Usage(format!(
                "window {:?}: every extent must divide by {DIVISOR}",
                self.size
            )));
        }
        if !(0.0..1.0).contains(&self.overlap) {
            return Err(Error::Usage(format!("overlap {} is not in [0, 1)", self.overlap)));
        }
        Ok(())
    }
}

/// First voxels of the windows along one axis: evenly spread from end to end.
pub(super) fn starts(extent: usize, window: usize, overlap: f64) -> Vec<usize> {
    if extent <= window {
        return vec![0];
    }
    let step = (window as f64 * (1.0 - overlap)).max(1.0);
    let span = (extent - window) as f64;
    let count = (span / step).ceil() as usize + 1;
    (0..count).map(|i| (span * i as f64 / (count - 1) as f64).round() as usize).collect()
}

/// Weights along one axis of a window.
pub(super) fn gaussian(extent: usize) -> Vec<f32> {
    let (centre, sigma) = ((extent as f64 - 1.0) / 2.0, extent as f64 / 8.0);
    let value = |i: usize| (-0.5 * ((i as f64 - centre) / sigma).powi(2)).exp().max(1e-3) as f32;
    (0..extent).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_reach_both_ends_and_overlap_enough() {
        for extent in [5, 64, 65, 100, 200, 511] {
            let starts = starts(extent, 64, 0.5);
            assert_eq!(starts[0], 0);
            assert_eq!(starts.last().unwrap() + 64, extent.max(64));
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= 32), "{starts:?}");
        }
    }
}
