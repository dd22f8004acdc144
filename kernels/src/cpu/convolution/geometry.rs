//! Which input voxels an output voxel reads, axis by axis.

/// The extents and parameters of a convolution. Its `image` is the side that is padded and strided
/// over (the input of a convolution, the output of a transposed one), its `result` the other side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub batch: usize,
    pub image: [usize; 3],
    pub result: [usize; 3],
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    /// Padding before the first voxel; what comes after the last follows from the extents.
    pub low: [usize; 3],
    pub dilation: [usize; 3],
}

/// A coordinate that stands for padding. Two of them, or one and a voxel's index, add up to a
/// negative number without overflow.
pub(crate) const OUTSIDE: i32 = -(1 << 30);

/// The most voxels a side may have, so that an index fits beside [`OUTSIDE`].
pub(crate) const MOST_VOXELS: usize = 1 << 30;

/// Positions along one axis that share one list of taps: `first`, `first + step`, ….
#[derive(Clone, Debug)]
pub(crate) struct AxisClass {
    pub first: usize,
    pub step: usize,
    pub count: usize,
    pub taps: Vec<AxisTap>,
}

/// One tap along one axis.
#[derive(Clone, Debug)]
pub(crate) struct AxisTap {
    /// Its position in the kernel.
    pub position: usize,
    /// The coordinate read by each position of the class, or [`OUTSIDE`].
    pub reads: Vec<i32>,
}

impl Geometry {
    /// Number of taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// The classes when `result` is computed from `image`: one an axis.
    pub fn reading_image(&self) -> [Vec<AxisClass>; 3] {
        std::array::from_fn(|axis| {
            let taps = (0..self.kernel[axis])
                .map(|position| AxisTap {
                    position,
                    reads: (0..self.result[axis]).map(|r| self.image_coordinate(axis, r, position)).collect(),
                })
                .collect();
            vec![AxisClass { first: 0, step: 1, count: self.result[axis], taps }]
        })
    }

    /// The coordinate of the image that a result voxel reads at a kernel position, or [`OUTSIDE`].
    pub fn image_coordinate(&self, axis: usize, result: usize, position: usize) -> i32 {
        (result * self.stride[axis] + position * self.dilation[axis])
            .checked_sub(self.low[axis])
            .filter(|&i| i < self.image[axis])
            .map_or(OUTSIDE, |i| i as i32)
    }

    /// The classes when `image` is computed from `result`: one for each residue modulo the stride,
    /// because `image = result · stride + position · dilation - low` only has a solution for the
    /// kernel positions that fit the residue.
    pub fn reading_result(&self) -> [Vec<AxisClass>; 3] {
        std::array::from_fn(|axis| {
            let (extent, stride) = (self.image[axis], self.stride[axis]);
            (0..stride.min(extent))
                .map(|first| {
                    let count = (extent - first).div_ceil(stride);
                    let taps = (0..self.kernel[axis])
                        .filter_map(|position| {
                            let shift = self.low[axis] as i64 + first as i64
                                - (position * self.dilation[axis]) as i64;
                            let start = (shift % stride as i64 == 0).then_some(shift / stride as i64)?;
                            let reads = (0..count as i64)
                                .map(|i| {
                                    let result = start + i;
                                    let inside = (0..self.result[axis] as i64).contains(&result);
                                    if inside { result as i32 } else { OUTSIDE }
                                })
                                .collect();
                            Some(AxisTap { position, reads })
                        })
                        .collect();
                    AxisClass { first, step: stride, count, taps }
                })
                .collect()
        })
    }
}
