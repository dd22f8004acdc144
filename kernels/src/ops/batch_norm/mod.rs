//! Batch normalisation over all axes but the last, and the activation after it, as one operation.
//!
//! Ioffe and Szegedy, *Batch normalization*, ICML 2015. For each channel, over its m values:
//!
//! ```text
//! μ = Σx / m          σ² = Σ(x - μ)² / m      (biased)
//! x̂ = (x - μ) / √(σ² + ε)
//! y = f(γ·x̂ + β)      f: nothing, ReLU or ELU
//! ```
//!
//! Backward, with g = dy · f'(γ·x̂ + β):
//!
//! ```text
//! dβ = Σg             dγ = Σ g·x̂
//! dx = γ / √(σ² + ε) · (g - dβ/m - x̂·dγ/m)
//! ```
//!
//! With [`Statistics::Running`] μ and σ² are given constants, and dx = γ / √(σ² + ε) · g.
//!
//! x, γ, β, μ and 1/√(σ² + ε) are kept, nothing else: x̂, the value before f and f' are computed again
//! in backward, since that is cheaper than reading them. One pass over memory for the statistics, one to
//! apply; one for the sums of backward, one that writes dx over dy.
//!
//! **Running statistics are the caller's.** [`SavedBatchNorm`] gives `mean`, the biased `variance` and
//! `count`; PyTorch's update, with momentum 0.1, is
//! `running_mean ← 0.9·running_mean + 0.1·mean` and
//! `running_var ← 0.9·running_var + 0.1·variance·count / (count - 1)`; see
//! [`SavedBatchNorm::unbiased_variance`].

mod cases;
mod cpu;
mod moments;
mod reference;
mod rows;

use crate::cpu::require_f32;
use crate::op::{Cost, Entry, Operation, Saved, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: BatchNorm::NAME,
    summary: "batch normalisation with ReLU or ELU, by batch or running statistics",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// Where mean and variance come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// From the batch itself: training.
    Batch,
    /// Given as inputs: evaluation.
    Running,
}

/// The activation applied in the same pass. (PReLU, whose slope is learned, follows as its own
/// operation.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fused {
    /// None.
    None,
    /// max(v, 0).
    Relu,
    /// v where positive, else exp(v) - 1.
    Elu,
}

/// Batch normalisation. Inputs: x `[.., C]`, γ `[C]`, β `[C]`, and with [`Statistics::Running`] mean
/// `[C]` and variance `[C]`, which get no gradient. Output: the shape of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// ε, added to the variance: 1e-5 in PyTorch and here.
    pub epsilon: f32,
    /// Where mean and variance come from.
    pub statistics: Statistics,
    /// The activation applied in the same pass.
    pub activation: Fused,
}

/// What backward reads, and what the caller needs to update running statistics.
#[derive(Clone, Debug)]
pub struct SavedBatchNorm {
    /// The input.
    pub x: Tensor,
    /// γ, `[C]`.
    pub gamma: Tensor,
    /// β, `[C]`.
    pub beta: Tensor,
    /// The mean used, `[C]`.
    pub mean: Tensor,
    /// The biased variance used, `[C]`.
    pub variance: Tensor,
    /// Values per channel.
    pub count: usize,
    /// What rounding took from the mean, `[C]`: it matters where the mean is large beside σ.
    remainder: Tensor,
    /// 1/√(σ² + ε), `[C]`.
    inverse: Tensor,
}

impl SavedBatchNorm {
    /// The unbiased variance `variance · count / (count - 1)`, `[C]`, that PyTorch feeds into
    /// `running_var`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn unbiased_variance(&self) -> Result<Tensor> {
        let factor = self.count as f64 / (self.count as f64 - 1.0).max(1.0);
        let values: Vec<f32> =
            self.variance.as_slice().iter().map(|&v| (f64::from(v) * factor) as f32).collect();
        Ok(Tensor::from_slice(self.variance.shape(), &values)?)
    }
}

impl Saved for SavedBatchNorm {
    fn tensors(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.gamma, &self.beta, &self.mean, &self.variance, &self.remainder, &self.inverse]
    }
}

impl Operation for BatchNorm {
    const NAME: &'static str = "batch_norm";

    type Saved = SavedBatchNorm;

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        let wanted = match self.statistics {
            Statistics::Batch => 3,
            Statistics::Running => 5,
        };
        let Some((x, rest)) = inputs.split_first() else {
            return Err(Error::shape(Self::NAME, format!("{wanted} inputs"), "none"));
        };
        let channels = Shape::from([x.channels()]);
        if x.rank() < 2
            || x.channels() == 0
            || inputs.len() != wanted
            || rest.iter().any(|shape| *shape != channels)
        {
            return Err(Error::shape(
                Self::NAME,
                format!("x [.., C] and {} inputs [C]", wanted - 1),
                format!("{inputs:?}"),
            ));
        }
        let count = x.elements() / channels[0];
        if self.statistics == Statistics::Batch && count < 2 {
            return Err(Error::shape(
                Self::NAME,
                "more than one value per channel: batch statistics of one value have no variance",
                x,
            ));
        }
        Ok(*x)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs.first().map_or(0, Shape::elements) as u64;
        // Statistics must be complete before they are applied, so x is read twice.
        let reads = if self.statistics == Statistics::Batch { 2 } else { 1 };
        Cost {
            forward: Work { flops: (4 * reads - 1) * elements, bytes: 4 * (reads + 1) * elements },
            backward: Work { flops: 11 * elements, bytes: 20 * elements },
        }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, SavedBatchNorm)> {
        self.infer(&inputs.iter().map(|input| input.shape()).collect::<Vec<_>>())?;
        require_f32(Self::NAME, inputs)?;
        let x = inputs[0];
        let channels = x.shape().channels();
        let (mean, variance) = match self.statistics {
            Statistics::Batch => moments::mean_and_variance(cx, x.as_slice(), channels),
            Statistics::Running => {
                let widen = |t: &Tensor| t.as_slice().iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
                (widen(inputs[3]), widen(inputs[4]))
            }
        };
        let tensor = |values: Vec<f32>| Tensor::from_slice([channels], &values);
        let epsilon = f64::from(self.epsilon);
        let saved = SavedBatchNorm {
            x: x.clone(),
            gamma: inputs[1].clone(),
            beta: inputs[2].clone(),
            mean: tensor(mean.iter().map(|&m| m as f32).collect())?,
            variance: tensor(variance.iter().map(|&v| v as f32).collect())?,
            count: x.elements() / channels,
            remainder: tensor(mean.iter().map(|&m| (m - f64::from(m as f32)) as f32).collect())?,
            inverse: tensor(variance.iter().map(|&v| (1.0 / (v + epsilon).sqrt()) as f32).collect())?,
        };
        let y = cpu::forward(cx, self.activation, &saved)?;
        Ok((y, saved))
    }

    fn backward(
        &self,
        cx: &Context,
        saved: SavedBatchNorm,
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let sums = cpu::gradient_sums(cx, self.activation, &saved, &dy);
        let channels = saved.gamma.shape();
        let narrow = |values: &[f64]| {
            Tensor::from_slice(channels, &values.iter().map(|&v| v as f32).collect::<Vec<_>>())
        };
        let gamma = need[1].then(|| narrow(&sums.gamma)).transpose()?;
        let beta = need[2].then(|| narrow(&sums.beta)).transpose()?;
        let x = need[0]
            .then(|| cpu::input_gradient(cx, self.statistics, self.activation, &saved, &sums, dy))
            .transpose()?;
        Ok(match self.statistics {
            Statistics::Batch => vec![x, gamma, beta],
            Statistics::Running => vec![x, gamma, beta, None, None],
        })
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, cx: &Context, saved: &SavedBatchNorm) -> Result<Tensor> {
        cpu::forward(cx, self.activation, saved)
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

    fn relu(statistics: Statistics) -> BatchNorm {
        BatchNorm { epsilon: 1e-5, statistics, activation: Fused::Relu }
    }

    #[test]
    fn one_value_per_channel_is_an_error_in_training_only() {
        let cx = Context::new(1);
        let x = Tensor::full([1, 1, 1, 1, 3], 2.0).unwrap();
        let [one, zero] = [1.0, 0.0].map(|v| Tensor::full([3], v).unwrap());
        let error = relu(Statistics::Batch).forward(&cx, &[&x, &one, &zero]).unwrap_err();
        assert!(error.to_string().contains("more than one value per channel"), "{error}");
        let inputs = [&x, &one, &zero, &zero, &one];
        let (y, _) = relu(Statistics::Running).forward(&cx, &inputs).unwrap();
        assert!((y.as_slice()[0] - 2.0).abs() < 1e-4);
    }

    #[test]
    fn constant_data_has_variance_zero_and_output_beta() {
        let cx = Context::new(2);
        let x = Tensor::full([2, 3, 3, 3, 5], 1e4 / 3.0).unwrap();
        let gamma = Tensor::full([5], 2.0).unwrap();
        let beta = Tensor::full([5], 0.25).unwrap();
        let (y, saved) = relu(Statistics::Batch).forward(&cx, &[&x, &gamma, &beta]).unwrap();
        assert!(y.as_slice().iter().all(|&y| y == 0.25));
        assert!(saved.variance.as_slice().iter().all(|&v| v == 0.0));
        assert_eq!(saved.count, 54);
        let dy = Tensor::full(x.shape(), 1.0).unwrap();
        let gradients = relu(Statistics::Batch).backward(&cx, saved, dy, &[true; 3]).unwrap();
        assert!(gradients[0].as_ref().unwrap().as_slice().iter().all(|&d| d == 0.0));
        assert_eq!(gradients[2].as_ref().unwrap().as_slice(), [54.0; 5]);
    }

    #[test]
    fn variance_survives_a_large_mean_and_an_odd_first_voxel() {
        // Mean 1000, deviations ±1 exactly: variance 1. The first voxel, at 0, must not spoil it.
        let cx = Context::new(2);
        let count = 100_000;
        let mut values: Vec<f32> = (0..count).map(|i| if i % 2 == 0 { 999.0 } else { 1001.0 }).collect();
        let x = Tensor::from_slice([count, 1], &values).unwrap();
        let [one, zero] = [1.0, 0.0].map(|v| Tensor::full([1], v).unwrap());
        let (_, saved) = relu(Statistics::Batch).forward(&cx, &[&x, &one, &zero]).unwrap();
        assert_eq!(saved.mean.as_slice(), [1000.0]);
        assert!((saved.variance.as_slice()[0] - 1.0).abs() < 1e-6);
        let unbiased = saved.unbiased_variance().unwrap().as_slice()[0];
        assert!((f64::from(unbiased) - 100_000.0 / 99_999.0).abs() < 2e-7);

        values[0] = 0.0;
        let x = Tensor::from_slice([count, 1], &values).unwrap();
        let (_, saved) = relu(Statistics::Batch).forward(&cx, &[&x, &one, &zero]).unwrap();
        let n = count as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let wanted = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let error = (f64::from(saved.variance.as_slice()[0]) / wanted - 1.0).abs();
        assert!(error < 5e-6, "variance is off by {error:e}");
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let op = relu(Statistics::Batch);
        let shape = |s: &[usize]| Shape::new(s);
        assert!(op.infer(&[shape(&[2, 3]), shape(&[3]), shape(&[3])]).is_ok());
        assert!(op.infer(&[shape(&[2, 3]), shape(&[2]), shape(&[3])]).is_err());
        assert!(op.infer(&[shape(&[2, 3]), shape(&[3])]).is_err());
        assert!(op.infer(&[]).is_err());
        let five = [shape(&[1, 3]), shape(&[3]), shape(&[3]), shape(&[3]), shape(&[3])];
        assert!(op.infer(&five).is_err());
        assert!(relu(Statistics::Running).infer(&five).is_ok());
    }
}
