//! Which voxels a row of a result reads: the twin of `geometry.cuh`.

use super::launch::int;
use crate::cpu::convolution;
use crate::{Error, Result};
use bytemuck::{Pod, Zeroable};

/// Division of numbers below 2³¹ by a constant, as a multiplication: `(high(n · multiplier) + n) >> shift`
/// (Granlund and Montgomery, 1994).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable, PartialEq, Eq)]
pub struct Divisor {
    /// What is divided by.
    pub divisor: u32,
    /// Of the quotient 2³² · (2ˢ - d) / d, the whole part plus 1.
    pub multiplier: u32,
    /// s, the number of bits of d - 1.
    pub shift: u32,
}

impl Divisor {
    /// Division by `divisor`.
    ///
    /// # Errors
    /// When it is 0 or above 2³¹ - 1.
    pub fn new(divisor: usize) -> Result<Self> {
        let d = int(divisor)? as u64;
        if d == 0 {
            return Err(Error::operation("cuda", "a division by an extent of 0"));
        }
        let shift = 64 - (d - 1).leading_zeros();
        let multiplier = ((1u64 << 32) * ((1u64 << shift) - d)) / d + 1;
        Ok(Self { divisor: d as u32, multiplier: multiplier as u32, shift })
    }

    /// What the kernels compute.
    pub fn divide(&self, value: u32) -> u32 {
        let high = (u64::from(value) * u64::from(self.multiplier)) >> 32;
        ((high + u64::from(value)) >> self.shift) as u32
    }
}

/// `Geometry` of `geometry.cuh`, byte for byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Geometry {
    image: [i32; 3],
    kernel: [i32; 3],
    stride: [i32; 3],
    low: [i32; 3],
    dilation: [i32; 3],
    result: [Divisor; 3],
}

/// Row (n, v) of a result reads the image at `v · stride + tap · dilation - low`, axes in the order D, H, W.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Batch entries.
    pub batch: usize,
    /// Extents of what is read.
    pub image: [usize; 3],
    /// Extents of the result.
    pub result: [usize; 3],
    /// Extents of the kernel.
    pub kernel: [usize; 3],
    /// Steps between rows.
    pub stride: [usize; 3],
    /// Voxels before the image that the first row starts at; may be negative.
    pub low: [i64; 3],
    /// Steps between taps.
    pub dilation: [usize; 3],
}

impl Gather {
    /// What a convolution reads, forward.
    pub(crate) fn of(geometry: &convolution::Geometry) -> Self {
        let convolution::Geometry { batch, image, result, kernel, stride, low, dilation } = *geometry;
        Self { batch, image, result, kernel, stride, low: low.map(|low| low as i64), dilation }
    }

    /// What the input gradient of a convolution of stride 1 reads: the output's gradient, by mirrored taps.
    ///
    /// ```text
    /// dx[v] = Σ w[tap] · dy[v + low - tap · dilation]
    ///       = Σ w[last - tap] · dy[v + tap · dilation - (last · dilation - low)]
    /// ```
    pub fn mirrored(&self) -> Self {
        let low = [0, 1, 2].map(|axis| {
            let reach = (self.kernel[axis] - 1) * self.dilation[axis];
            reach as i64 - self.low[axis]
        });
        Self { image: self.result, result: self.image, low, ..*self }
    }

    /// The same map turned around, for the kernels that divide by the stride: rows are the image's voxels.
    pub fn turned(&self) -> Self {
        Self { image: self.result, result: self.image, ..*self }
    }

    /// Rows of the result.
    pub fn rows(&self) -> usize {
        self.batch * self.result.iter().product::<usize>()
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// The kernels' structure.
    ///
    /// # Errors
    /// When an extent is 0, or a number does not fit 32 bits, the number of voxels included.
    pub fn pack(&self) -> Result<Geometry> {
        int(self.rows())?;
        int(self.batch * self.image.iter().product::<usize>())?;
        let mut packed = Geometry::zeroed();
        for axis in 0..3 {
            // Positions must not overflow either.
            int(self.result[axis] * self.stride[axis] + self.kernel[axis] * self.dilation[axis])?;
            packed.image[axis] = int(self.image[axis])?;
            packed.kernel[axis] = int(self.kernel[axis])?;
            packed.stride[axis] = int(self.stride[axis])?;
            packed.dilation[axis] = int(self.dilation[axis])?;
            packed.low[axis] = i32::try_from(self.low[axis])
                .map_err(|_| Error::operation("cuda", format!("a padding of {}", self.low[axis])))?;
            packed.result[axis] = Divisor::new(self.result[axis])?;
        }
        Ok(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_exact_up_to_31_bits() {
        let largest = i32::MAX as u32;
        let divisors =
            [1, 2, 3, 5, 6, 7, 27, 31, 32, 33, 64, 641, 65_535, 65_537, 1 << 30, largest - 1, largest];
        for divisor in divisors {
            let by = Divisor::new(divisor as usize).unwrap();
            let near = |n: u32| [n.saturating_sub(1), n, n.saturating_add(1).min(largest)];
            let values = [0, 1, divisor, largest / divisor * divisor, largest, 123_456_789];
            for value in values.into_iter().flat_map(near).map(|value| value.min(largest)) {
                assert_eq!(by.divide(value), value / divisor, "{value} / {divisor}");
            }
        }
        assert!(Divisor::new(0).is_err());
        assert!(Divisor::new(1 << 31).is_err());
    }

    #[test]
    fn a_mirrored_gather_reads_what_the_gradient_needs() {
        let gather = Gather {
            batch: 2,
            image: [5, 6, 7],
            result: [5, 5, 9],
            kernel: [3, 2, 1],
            stride: [1; 3],
            low: [1, 0, 1],
            dilation: [1, 1, 2],
        };
        let back = gather.mirrored();
        assert_eq!((back.image, back.result, back.low), ([5, 5, 9], [5, 6, 7], [1, 1, -1]));
        for axis in 0..3 {
            // Row v of the result reads position p by a tap if and only if row p reads v by the mirrored one.
            for v in 0..gather.result[axis] as i64 {
                for tap in 0..gather.kernel[axis] as i64 {
                    let dilation = gather.dilation[axis] as i64;
                    let read = v + tap * dilation - gather.low[axis];
                    let mirrored = gather.kernel[axis] as i64 - 1 - tap;
                    assert_eq!(read + mirrored * dilation - back.low[axis], v);
                }
            }
        }
        assert_eq!(back.mirrored(), gather);
    }
}
