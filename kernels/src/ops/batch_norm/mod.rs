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
//! With [`Statistics::Running`] μ and σ² are given constants, and dx = γ / √(σ² + ε) · g. With
//! [`Statistics::Sums`] they are the batch's own, found by whoever computed x (a convolution whose epilogue
//! held every value in a register), which saves the pass over x; gradients are those of the batch.
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

mod card;
mod cases;
mod cpu;
pub mod cuda;
mod moments;
mod reference;
mod rows;
#[cfg(test)]
mod tests;

use crate::cpu::activation_format;
use crate::op::{Cost, Entry, Operation, Saved, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{DType, Shape, Tensor};
use moments::Moments;

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
    /// From the batch, but found before: a fourth input `[2, C]`, f32, holds per channel the mean μ of x
    /// and Σ(x - μ)², over all of x. Raw sums Σx and Σx² would lose their digits where μ is large beside
    /// σ; so does μ in f32 in the end, but no more than 6e-8·μ. [`join_moments`] makes this tensor from
    /// the moments of pieces, [`moments`] from x. Where x is bf16, its values from before they were
    /// rounded are as good: rounding is unbiased, and far smaller than σ.
    Sums,
}

impl Statistics {
    /// Number of inputs of the operation.
    fn inputs(self) -> usize {
        match self {
            Self::Batch => 3,
            Self::Sums => 4,
            Self::Running => 5,
        }
    }
}

/// Mean and sum of squared deviations per channel of x `[.., C]`: `[2, C]`, as [`Statistics::Sums`] wants.
///
/// # Errors
/// When memory runs out.
pub fn moments(cx: &Context, x: &Tensor) -> Result<Tensor> {
    let channels = x.shape().channels();
    moments_of(cx, x).into_tensor(channels)
}

/// The same from the moments of pieces of x, which may have been found apart: piece i holds `counts[i]`
/// values per channel, and `pieces`, laid out `[pieces, 2, C]`, their mean and their sum of squared
/// deviations from that mean (Chan, Golub and LeVeque, 1983). The order of the pieces decides the bits.
///
/// # Errors
/// When `pieces` does not hold `counts.len() · 2 · channels` values, or memory runs out.
pub fn join_moments(counts: &[usize], pieces: &[f64], channels: usize) -> Result<Tensor> {
    if pieces.len() != counts.len() * 2 * channels {
        let wanted = format!("[{}, 2, {channels}] moments", counts.len());
        return Err(Error::shape(BatchNorm::NAME, wanted, format!("{} values", pieces.len())));
    }
    Moments::join(counts, pieces, channels).into_tensor(channels)
}

fn moments_of(cx: &Context, x: &Tensor) -> Moments {
    match x.dtype() {
        DType::F32 => Moments::of(cx, x.as_slice(), x.shape().channels()),
        DType::Bf16 => Moments::of(cx, x.as_bf16(), x.shape().channels()),
    }
}

impl Moments {
    fn into_tensor(self, channels: usize) -> Result<Tensor> {
        let values: Vec<f32> = self.mean.iter().chain(&self.squares).map(|&v| v as f32).collect();
        Ok(Tensor::from_slice([2, channels], &values)?)
    }

    /// The mean and the biased variance of `count` values a channel.
    fn mean_and_variance(self, count: usize) -> (Vec<f64>, Vec<f64>) {
        // Rounding can leave a tiny negative sum; a NaN stays.
        let variance = |&s: &f64| if s < 0.0 { 0.0 } else { s / count as f64 };
        let variance = self.squares.iter().map(variance).collect();
        (self.mean, variance)
    }
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

/// Batch normalisation. Inputs: x `[.., C]`, γ `[C]`, β `[C]`; with [`Statistics::Running`] also mean `[C]`
/// and variance `[C]`, with [`Statistics::Sums`] also moments `[2, C]`, none of which get a gradient.
/// Output: the shape and format of x. All but x is f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// ε, added to the variance: 1e-5 in PyTorch and here.
    pub epsilon: f32,
    /// Where mean and variance come from.
    pub statistics: Statistics,
    /// The activation applied in the same pass.
    pub activation: Fused,
}

/// What backward reads, and what the caller needs to update running statistics. Cloning shares memory.
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
    /// The output again, the same bits as the forward pass with this activation gave, in one pass over x:
    /// a tape may drop the output after its last reader and come back here.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn recompute(&self, cx: &Context, activation: Fused) -> Result<Tensor> {
        match &cx.card {
            Some(card) => card::recompute(card, activation, self),
            None => cpu::forward(cx, activation, self),
        }
    }

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
        let wanted = self.statistics.inputs();
        let Some((x, rest)) = inputs.split_first() else {
            return Err(Error::shape(Self::NAME, format!("{wanted} inputs"), "none"));
        };
        let channels = Shape::from([x.channels()]);
        if x.rank() < 2
            || x.channels() == 0
            || inputs.len() != wanted
            || rest.iter().enumerate().any(|(i, shape)| {
                let moments = self.statistics == Statistics::Sums && i == 2;
                *shape != if moments { Shape::from([2, x.channels()]) } else { channels }
            })
        {
            let wanted = match self.statistics {
                Statistics::Batch => "x [.., C], gamma [C] and beta [C]",
                Statistics::Running => "x [.., C], gamma [C], beta [C], mean [C] and variance [C]",
                Statistics::Sums => "x [.., C], gamma [C], beta [C] and moments [2, C]",
            };
            return Err(Error::shape(Self::NAME, wanted, format!("{inputs:?}")));
        }
        let count = x.elements() / channels[0];
        if self.statistics != Statistics::Running && count < 2 {
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
        // Statistics must be complete before they are applied, so x is read twice, if they come from it.
        let reads = if self.statistics == Statistics::Batch { 2 } else { 1 };
        Cost {
            forward: Work { flops: (4 * reads - 1) * elements, bytes: 4 * (reads + 1) * elements },
            backward: Work { flops: 11 * elements, bytes: 20 * elements },
        }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, SavedBatchNorm)> {
        self.infer(&inputs.iter().map(|input| input.shape()).collect::<Vec<_>>())?;
        activation_format(Self::NAME, &inputs[..1], &inputs[1..])?;
        if let Some(card) = &cx.card {
            return card::forward(card, *self, inputs);
        }
        let x = inputs[0];
        let channels = x.shape().channels();
        let count = x.elements() / channels;
        let widen = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let (mean, variance) = match self.statistics {
            Statistics::Batch => moments_of(cx, x).mean_and_variance(count),
            Statistics::Running => (widen(inputs[3].as_slice()), widen(inputs[4].as_slice())),
            Statistics::Sums => {
                let (mean, squares) = inputs[3].as_slice().split_at(channels);
                Moments { mean: widen(mean), squares: widen(squares) }.mean_and_variance(count)
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
            count,
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
        activation_format(Self::NAME, &[&saved.x, &dy], &[])?;
        if let Some(card) = &cx.card {
            return card::backward(card, *self, &saved, dy, need);
        }
        let sums = cpu::gradient_sums(cx, self.activation, &saved, &dy);
        let channels = saved.gamma.shape();
        let narrow = |values: &[f64]| {
            Tensor::from_slice(channels, &values.iter().map(|&v| v as f32).collect::<Vec<_>>())
        };
        let gamma = need[1].then(|| narrow(&sums.gamma)).transpose()?;
        let beta = need[2].then(|| narrow(&sums.beta)).transpose()?;
        let x = need[0].then(|| cpu::input_gradient(cx, self, &saved, &sums, dy)).transpose()?;
        let mut gradients = vec![x, gamma, beta];
        gradients.resize(self.statistics.inputs(), None);
        Ok(gradients)
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, cx: &Context, saved: &SavedBatchNorm) -> Result<Tensor> {
        saved.recompute(cx, self.activation)
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::forward(self, inputs)
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        reference::backward(self, inputs, dy)
    }
}
