//! The size of what is timed: batch, extents, width.

use crate::{Error, Result};
use genesis_model::DIVISOR;

/// A batch of cubes and a network's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Cubes in the batch.
    pub batch: usize,
    /// Extents of a cube, D, H, W.
    pub extents: [usize; 3],
    /// Channels of the network's first convolution.
    pub width: usize,
}

impl Scale {
    /// The size everything is measured at unless told otherwise: 2 cubes of 64×64×32, width 32.
    pub const DEFAULT: Self = Self { batch: 2, extents: [64, 64, 32], width: 32 };

    /// Most values of the largest activation: more than any machine's memory, less than overflows.
    const LIMIT: u128 = 1 << 40;

    /// A size from `[N, D, H, W]` and a width.
    ///
    /// # Errors
    /// [`Error::Usage`] for extents that do not divide by 8, and for sizes no machine has memory for.
    pub fn new([batch, d, h, w]: [usize; 4], width: usize) -> Result<Self> {
        if [d, h, w].iter().any(|extent| extent % DIVISOR != 0) {
            return Err(Error::Usage(format!(
                "--shape {batch}x{d}x{h}x{w}: the extents {d}x{h}x{w} must divide by {DIVISOR} (three poolings)"
            )));
        }
        if width == 0 {
            return Err(Error::Usage("--width must be at least 1".into()));
        }
        let values = [batch, d, h, w, width].iter().try_fold(8u128, |product, &extent| {
            product.checked_mul(extent as u128).filter(|product| *product <= Self::LIMIT)
        });
        // The largest weight has 8·24·27 times the square of the width.
        let weights = (width as u128).saturating_mul(width as u128).saturating_mul(1 << 13);
        if values.is_none() || weights > Self::LIMIT {
            return Err(Error::Usage(format!(
                "--shape {batch}x{d}x{h}x{w} --width {width}: more than any memory holds"
            )));
        }
        Ok(Self { batch, extents: [d, h, w], width })
    }

    /// The input's extents as text, `2x64x64x32`.
    pub fn shape(&self) -> String {
        let [d, h, w] = self.extents;
        format!("{}x{d}x{h}x{w}", self.batch)
    }
}

/// Parses a batch of cubes such as `2x64x64x32`.
///
/// # Errors
/// Anything but four positive whole numbers.
pub fn parse_shape(text: &str) -> Result<[usize; 4], String> {
    let numbers: Option<Vec<usize>> =
        text.to_lowercase().split('x').map(|part| part.trim().parse().ok().filter(|n| *n > 0)).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "four positive whole numbers N x D x H x W, such as 2x64x64x32".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_or_refused() {
        assert_eq!(parse_shape("2x64x64x32"), Ok([2, 64, 64, 32]));
        for bad in ["64x64x32", "0x8x8x8", "1x8x8", "axbxcxd", "", "1x2x3x4x5", "-1x8x8x8"] {
            assert!(parse_shape(bad).is_err(), "{bad}");
        }
        assert!(Scale::new([1, 16, 16, 8], 2).is_ok());
        for (shape, width) in
            [([1, 12, 16, 8], 2), ([1, 8, 8, 8], 0), ([usize::MAX, 8, 8, 8], 1), ([1, 8, 8, 8], usize::MAX)]
        {
            let error = Scale::new(shape, width).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{error}");
        }
    }
}
