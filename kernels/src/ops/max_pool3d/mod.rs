//! Maximum over windows of three axes, without padding.
//!
//! ```text
//! y[n, d, h, w, c] = max over 0 ≤ i < kD, 0 ≤ j < kH, 0 ≤ k < kW of x[n, d·sD + i, h·sH + j, w·sW + k, c]
//! ```
//!
//! The output's extent is ⌊(extent - kernel) / stride⌋ + 1: voxels that fill no window are not read
//! (PyTorch's floor mode). Of equal values the first in scan order (i, then j, then k) counts, and alone
//! receives the gradient. A NaN in the window is the maximum; of several the last one, as in PyTorch.
//!
//! Kept for backward: the winner's position within its window, one byte an output element (four if a
//! window holds more than 256 voxels), so that neither x nor y must stay alive.

mod card;
mod cases;
mod cpu;
pub mod cuda;
mod gather;
mod reference;

use crate::cpu::activation_format;
use crate::op::{Cost, Entry, Operation, Saved, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: MaxPool3d::NAME,
    summary: "maximum over windows of depth, height and width",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// Maximum pooling of x `[N, D, H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool3d {
    /// Extents (D, H, W) of the window.
    pub kernel: [usize; 3],
    /// Distances between windows.
    pub stride: [usize; 3],
}

impl MaxPool3d {
    /// 2×2×2 windows side by side: halves every axis.
    pub const HALVE: Self = Self { kernel: [2; 3], stride: [2; 3] };

    /// Voxels in a window.
    fn volume(&self) -> usize {
        self.kernel.iter().product()
    }

    /// True if a position within a window fits a byte.
    fn has_small_windows(&self) -> bool {
        self.volume() <= 256
    }
}

/// What backward reads.
#[derive(Clone, Debug)]
pub struct SavedMaxPool3d {
    /// Positions within windows: bytes (or u32) laid into the memory of an f32 tensor.
    positions: Tensor,
    /// Shape of x.
    input: Shape,
}

impl Saved for SavedMaxPool3d {
    fn tensors(&self) -> Vec<&Tensor> {
        vec![&self.positions]
    }
}

impl Operation for MaxPool3d {
    const NAME: &'static str = "max_pool3d";

    type Saved = SavedMaxPool3d;

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        let [Some([n, d, h, w, c])] = inputs.iter().map(Shape::ndhwc).collect::<Vec<_>>()[..] else {
            return Err(Error::shape(Self::NAME, "one input [N, D, H, W, C]", format!("{inputs:?}")));
        };
        if self.kernel.contains(&0) || self.stride.contains(&0) {
            return Err(Error::operation(Self::NAME, format!("kernel or stride 0 in {self:?}")));
        }
        if self.kernel.iter().try_fold(1usize, |v, &k| v.checked_mul(k)).is_none_or(|v| v > 1 << 24) {
            return Err(Error::operation(Self::NAME, format!("the window of {self:?} is too large")));
        }
        let mut extents = [d, h, w];
        for axis in 0..3 {
            let rest = extents[axis].checked_sub(self.kernel[axis]).ok_or_else(|| {
                Error::shape(Self::NAME, format!("extents of at least {:?}", self.kernel), inputs[0])
            })?;
            extents[axis] = rest / self.stride[axis] + 1;
        }
        let [d, h, w] = extents;
        Ok(Shape::from([n, d, h, w, c]))
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let (Ok(output), Some(input)) = (self.infer(inputs), inputs.first()) else {
            return Cost::default();
        };
        let (input, output) = (input.elements() as u64, output.elements() as u64);
        let comparisons = output * self.volume() as u64;
        Cost {
            forward: Work { flops: comparisons, bytes: 4 * input + 5 * output },
            backward: Work { flops: comparisons, bytes: 4 * input + 5 * output },
        }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, SavedMaxPool3d)> {
        let output = self.infer(&inputs.iter().map(|input| input.shape()).collect::<Vec<_>>())?;
        activation_format(Self::NAME, inputs, &[])?;
        let (y, positions) = match &cx.card {
            Some(card) => card::forward(card, self, inputs[0], output)?,
            None => cpu::forward(cx, self, inputs[0], output)?,
        };
        Ok((y, SavedMaxPool3d { positions, input: inputs[0].shape() }))
    }

    fn backward(
        &self,
        cx: &Context,
        saved: SavedMaxPool3d,
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        if !need[0] {
            return Ok(vec![None]);
        }
        Ok(vec![Some(match &cx.card {
            Some(card) => card::backward(card, self, &saved, &dy)?,
            None => gather::backward(cx, self, &saved.positions, saved.input, &dy)?,
        })])
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::forward(self, inputs)
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        reference::backward(self, inputs, dy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(values: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let cx = Context::new(2);
        let x = Tensor::from_slice([1, 2, 2, 2, 1], values).unwrap();
        let (y, saved) = MaxPool3d::HALVE.forward(&cx, &[&x]).unwrap();
        let dy = Tensor::full(y.shape(), 3.0).unwrap();
        let dx = MaxPool3d::HALVE.backward(&cx, saved, dy, &[true]).unwrap().remove(0).unwrap();
        (y.as_slice().to_vec(), dx.as_slice().to_vec())
    }

    #[test]
    fn of_equal_values_the_first_gets_the_gradient() {
        let (y, dx) = pool(&[0.0, 5.0, 5.0, 1.0, 5.0, 0.0, 0.0, 5.0]);
        assert_eq!(y, [5.0]);
        assert_eq!(dx, [0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let (y, dx) = pool(&[f32::NEG_INFINITY; 8]);
        assert_eq!(y, [f32::NEG_INFINITY]);
        assert_eq!(dx, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn nan_wins_and_the_last_one_gets_the_gradient() {
        let nan = f32::NAN;
        for position in 0..8 {
            let mut values = [f32::INFINITY; 8];
            values[position] = nan;
            let (y, dx) = pool(&values);
            assert!(y[0].is_nan());
            assert_eq!(dx[position], 3.0);
        }
        // As torch.nn.functional.max_pool3d has it.
        let (_, dx) = pool(&[0.0, nan, 9.0, 1.0, nan, 2.0, 3.0, 4.0]);
        assert_eq!(dx, [0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn voxels_of_no_window_are_not_read() {
        let cx = Context::new(1);
        let mut values = vec![1.0; 27];
        // The last plane, row and column of 3×3×3.
        for (i, value) in values.iter_mut().enumerate() {
            if i / 9 == 2 || i / 3 % 3 == 2 || i % 3 == 2 {
                *value = f32::NAN;
            }
        }
        let x = Tensor::from_slice([1, 3, 3, 3, 1], &values).unwrap();
        let (y, _) = MaxPool3d::HALVE.forward(&cx, &[&x]).unwrap();
        assert_eq!(y.as_slice(), [1.0]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let op = |kernel, stride| MaxPool3d { kernel, stride };
        let shape = [Shape::from([1, 2, 3, 3, 1])];
        assert!(op([3, 2, 2], [1; 3]).infer(&shape).is_err());
        assert!(op([0, 2, 2], [1; 3]).infer(&shape).is_err());
        assert!(op([2; 3], [1, 0, 1]).infer(&shape).is_err());
        assert!(op([usize::MAX; 3], [1; 3]).infer(&shape).is_err());
        assert!(op([2; 3], [1; 3]).infer(&[Shape::from([2, 2])]).is_err());
        assert_eq!(op([2; 3], [1; 3]).infer(&shape).unwrap(), Shape::from([1, 1, 2, 2, 1]));
    }
}
