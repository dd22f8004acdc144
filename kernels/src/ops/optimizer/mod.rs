//! Optimisers: one pass over flat buffers of parameters p, gradients g and state, PyTorch's formulas.
//!
//! With learning rate η, weight decay λ, step t = 1, 2, …:
//!
//! ```text
//! SGD       g ← g + λp
//!           b ← μb + (1 - damping)·g, but b ← g in step 1         (only with momentum μ > 0)
//!           p ← p - η·b;  Nesterov: p ← p - η·(g + μb);  without momentum: p ← p - η·g
//! Adam      g ← g + λp
//!           m ← β₁m + (1 - β₁)g,  v ← β₂v + (1 - β₂)g²
//!           p ← p - η / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
//! AdamW     as Adam, but decay goes past the moments: p ← p·(1 - ηλ) first, and g as it is
//! ```
//!
//! Momentum: Sutskever et al., ICML 2013; Adam: Kingma and Ba, ICLR 2015; AdamW: Loshchilov and Hutter,
//! ICLR 2019.
//!
//! State is made of zeros before step 1. For SGD without damping that equals PyTorch's rule that the
//! first buffer is the first gradient.

mod card;
mod cases;
mod clip;
mod cpu;
pub mod cuda;
mod reference;
mod schedule;

pub use clip::{clip_gradients, gradient_norm};
pub use schedule::Schedule;

use crate::cpu::require_f32;
use crate::op::{Cost, Entry, Operation, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{DType, Shape, Tensor};
use std::ops::Range;

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: OptimizerStep::NAME,
    summary: "SGD, Adam and AdamW over flat buffers",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// An optimiser with its parameters; the learning rate comes with each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// μ; 0 turns momentum off.
        momentum: f32,
        /// Damping of the gradient's share in the momentum; 0 as a rule.
        dampening: f32,
        /// λ.
        weight_decay: f32,
        /// Looks one step ahead; wants momentum and no damping.
        nesterov: bool,
    },
    /// Adam with the decay added to the gradient.
    Adam(Moments),
    /// Adam with the decay applied to the parameters.
    AdamW(Moments),
}

/// Parameters of Adam and AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// β₁, memory of the mean: 0.9.
    pub beta1: f32,
    /// β₂, memory of the squares: 0.999.
    pub beta2: f32,
    /// ε, against division by zero: 1e-8.
    pub epsilon: f32,
    /// λ: 0 for Adam, 0.01 for AdamW in PyTorch.
    pub weight_decay: f32,
}

impl Default for Moments {
    /// PyTorch's for Adam.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

impl Optimizer {
    /// SGD with momentum alone, as in the original's pre-training (momentum 0.9).
    pub fn sgd(momentum: f32) -> Self {
        Self::Sgd { momentum, dampening: 0.0, weight_decay: 0.0, nesterov: false }
    }

    /// How many state tensors, each of the parameters' size, [`Optimizer::update`] wants: 0 or 1 for SGD
    /// (momentum), 2 for Adam and AdamW (mean and squares, in this order).
    pub fn state_count(&self) -> usize {
        match self {
            Self::Sgd { momentum, .. } => usize::from(*momentum != 0.0),
            Self::Adam(_) | Self::AdamW(_) => 2,
        }
    }

    /// Checks the optimiser's parameters.
    ///
    /// # Errors
    /// When one is negative, not a number, or (β₁, β₂) not below 1, and for Nesterov without momentum
    /// or with damping.
    pub fn validate(&self) -> Result<()> {
        let fail = |cause: String| Err(Error::operation(OptimizerStep::NAME, cause));
        let (not_negative, below_one) = match self {
            Self::Sgd { momentum, weight_decay, dampening, nesterov } => {
                if *nesterov && (*momentum == 0.0 || *dampening != 0.0) {
                    return fail("Nesterov wants a momentum above 0 and no dampening".into());
                }
                let all = [("momentum", momentum), ("weight decay", weight_decay), ("dampening", dampening)];
                (all.to_vec(), vec![])
            }
            Self::Adam(m) | Self::AdamW(m) => (
                vec![("epsilon", &m.epsilon), ("weight decay", &m.weight_decay)],
                vec![("beta1", &m.beta1), ("beta2", &m.beta2)],
            ),
        };
        for (name, value) in not_negative.iter().chain(&below_one) {
            if !(**value >= 0.0 && value.is_finite()) {
                return fail(format!("a {name} of {value} is out of range, it must not be negative"));
            }
        }
        for (name, value) in below_one {
            if *value >= 1.0 {
                return fail(format!("a {name} of {value} is out of range, it must be below 1"));
            }
        }
        Ok(())
    }

    /// One step in place: `parameters` and `state` change. `step` counts from 1; the tensors have one
    /// shape. In step 1 `state` holds zeros.
    ///
    /// Parameters, and state too, are best not shared with any other tensor: a shared block is copied
    /// before it is written, and windows into the old one keep the old values.
    ///
    /// # Errors
    /// When shapes differ, `state` is not [`Optimizer::state_count`] tensors, `step` is 0, or the
    /// optimiser's parameters are out of range.
    pub fn update(
        &self,
        cx: &Context,
        step: u64,
        rate: f32,
        parameters: &mut Tensor,
        gradients: &Tensor,
        state: &mut [Tensor],
    ) -> Result<()> {
        let whole = [(0..parameters.elements(), 1.0)];
        self.update_groups(cx, step, rate, parameters, gradients, state, &whole)
    }

    /// [`Optimizer::update`] on ranges of the flat buffers, each with a factor of the learning rate. What lies in
    /// no range, or in one with factor 0, keeps its bits, and so does its state. Bits do not depend on how
    /// elements of one factor are cut into ranges.
    ///
    /// # Errors
    /// As [`Optimizer::update`]; a range beyond the buffers.
    #[expect(clippy::too_many_arguments, reason = "those of `update` and the groups")]
    pub fn update_groups(
        &self,
        cx: &Context,
        step: u64,
        rate: f32,
        parameters: &mut Tensor,
        gradients: &Tensor,
        state: &mut [Tensor],
        groups: &[(Range<usize>, f32)],
    ) -> Result<()> {
        self.validate()?;
        let shape = parameters.shape();
        let same = gradients.shape() == shape && state.iter().all(|state| state.shape() == shape);
        if !same || state.len() != self.state_count() {
            let states: Vec<Shape> = state.iter().map(Tensor::shape).collect();
            return Err(Error::shape(
                OptimizerStep::NAME,
                format!("gradients and {} states of shape {shape}", self.state_count()),
                format!("gradients {} and states {states:?}", gradients.shape()),
            ));
        }
        if step == 0 {
            return Err(Error::operation(OptimizerStep::NAME, "steps count from 1"));
        }
        require_f32(OptimizerStep::NAME, &[&*parameters, gradients])?;
        require_f32(OptimizerStep::NAME, &state.iter().collect::<Vec<_>>())?;
        for tensor in std::iter::once(&mut *parameters).chain(state.iter_mut()) {
            *tensor = cx.place(tensor)?;
        }
        let length = parameters.elements();
        if let Some((range, _)) =
            groups.iter().find(|(range, _)| range.start > range.end || range.end > length)
        {
            let cause = format!("the range {range:?} does not lie in {length} parameters");
            return Err(Error::operation(OptimizerStep::NAME, cause));
        }
        for (range, factor) in groups.iter().filter(|(_, factor)| *factor != 0.0) {
            let (rate, range) = (rate * factor, range.clone());
            match &cx.card {
                Some(card) => card::update(card, self, step, rate, range, parameters, gradients, state)?,
                None => cpu::update(cx, self, step, rate, range, parameters, gradients, state)?,
            }
        }
        Ok(())
    }
}

/// One step as an operation, for tests and benches. Inputs: parameters, gradients and the state, all of
/// one shape `[n]`; output `[1 + states, n]`: the new parameters, then the new state. No backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerStep {
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The step, from 1.
    pub step: u64,
    /// The learning rate.
    pub rate: f32,
}

impl Operation for OptimizerStep {
    const NAME: &'static str = "optimizer";

    type Saved = ();

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        self.optimizer.validate()?;
        let states = self.optimizer.state_count();
        match inputs {
            [first, rest @ ..]
                if first.rank() == 1 && rest.len() == 1 + states && rest.iter().all(|s| s == first) =>
            {
                Ok(Shape::from([1 + states, first[0]]))
            }
            _ => Err(Error::shape(
                Self::NAME,
                format!("parameters, gradients and {states} states [n]"),
                format!("{inputs:?}"),
            )),
        }
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs.first().map_or(0, Shape::elements) as u64;
        let states = self.optimizer.state_count() as u64;
        // Reads gradients, parameters and state; writes the latter two.
        let forward = Work { flops: (2 + 6 * states) * elements, bytes: 4 * (3 + 2 * states) * elements };
        Cost { forward, backward: Work::default() }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, ())> {
        let output = self.infer(&inputs.iter().map(|input| input.shape()).collect::<Vec<_>>())?;
        let mut parameters = inputs[0].clone();
        let mut state: Vec<Tensor> = inputs[2..].iter().map(|&state| state.clone()).collect();
        self.optimizer.update(cx, self.step, self.rate, &mut parameters, inputs[1], &mut state)?;
        if let Some(card) = &cx.card {
            let tensors: Vec<&Tensor> = std::iter::once(&parameters).chain(&state).collect();
            return Ok((card::rows(card, output, &tensors)?, ()));
        }
        let mut out = Tensor::unspecified(output, DType::F32)?;
        let rows = out.as_mut_slice()?.chunks_exact_mut(output[1].max(1));
        for (row, tensor) in rows.zip(std::iter::once(&parameters).chain(&state)) {
            row.copy_from_slice(tensor.as_slice());
        }
        Ok((out, ()))
    }

    fn backward(&self, _: &Context, _: (), _: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Err(Error::operation(Self::NAME, "an optimiser's step has no gradient"))
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::step(self, inputs)
    }

    fn reference_backward(&self, inputs: &[Array], _: &Array) -> Vec<Option<Array>> {
        vec![None; inputs.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sgd(momentum: f32, dampening: f32, weight_decay: f32, nesterov: bool) -> Optimizer {
        Optimizer::Sgd { momentum, dampening, weight_decay, nesterov }
    }

    #[test]
    fn parameters_out_of_range_are_errors() {
        assert!(sgd(0.9, 0.0, 0.0, true).validate().is_ok());
        assert!(sgd(0.0, 0.0, 0.0, true).validate().is_err());
        assert!(sgd(0.9, 0.1, 0.0, true).validate().is_err());
        assert!(sgd(-0.1, 0.0, 0.0, false).validate().is_err());
        assert!(sgd(0.9, 0.0, f32::NAN, false).validate().is_err());
        assert!(Optimizer::Adam(Moments::default()).validate().is_ok());
        let error = Optimizer::AdamW(Moments { beta2: 1.0, ..Moments::default() }).validate().unwrap_err();
        assert!(error.to_string().contains("beta2"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let cx = Context::new(1);
        let mut p = Tensor::zeros([3]).unwrap();
        let g = Tensor::zeros([3]).unwrap();
        let optimizer = Optimizer::sgd(0.9);
        let mut state = vec![Tensor::zeros([3]).unwrap()];
        assert!(optimizer.update(&cx, 1, 1.0, &mut p, &g, &mut state).is_ok());
        assert!(optimizer.update(&cx, 0, 1.0, &mut p, &g, &mut state).is_err());
        assert!(optimizer.update(&cx, 1, 1.0, &mut p, &g, &mut []).is_err());
        assert!(optimizer.update(&cx, 1, 1.0, &mut p, &Tensor::zeros([2]).unwrap(), &mut state).is_err());
        let mut state = vec![Tensor::zeros([4]).unwrap()];
        assert!(optimizer.update(&cx, 1, 1.0, &mut p, &g, &mut state).is_err());
    }

    #[test]
    fn the_first_buffer_is_the_first_gradient_whatever_the_damping() {
        let cx = Context::new(2);
        let mut p = Tensor::zeros([2]).unwrap();
        let g = Tensor::from_slice([2], &[1.0, -2.0]).unwrap();
        let mut state = vec![Tensor::zeros([2]).unwrap()];
        let optimizer = sgd(0.9, 0.5, 0.0, false);
        optimizer.update(&cx, 1, 1.0, &mut p, &g, &mut state).unwrap();
        assert_eq!(state[0].as_slice(), [1.0, -2.0]);
        assert_eq!(p.as_slice(), [-1.0, 2.0]);
        optimizer.update(&cx, 2, 1.0, &mut p, &g, &mut state).unwrap();
        assert_eq!(state[0].as_slice(), [1.4, -2.8]);
    }

    #[test]
    fn parameters_are_updated_where_they_lie() {
        let cx = Context::new(2);
        let mut p = Tensor::zeros([40_000]).unwrap();
        let mut state = vec![Tensor::zeros([40_000]).unwrap(), Tensor::zeros([40_000]).unwrap()];
        let g = Tensor::full([40_000], 2.0).unwrap();
        let before = p.as_slice().as_ptr();
        Optimizer::Adam(Moments::default()).update(&cx, 1, 0.5, &mut p, &g, &mut state).unwrap();
        assert_eq!(p.as_slice().as_ptr(), before);
        // In its first step Adam moves every parameter by the learning rate.
        assert!(p.as_slice().iter().all(|p| (p + 0.5).abs() < 1e-6));
    }

    #[test]
    fn groups_have_their_own_rate_and_what_is_frozen_keeps_its_bits() {
        let cx = Context::new(2);
        let count = 50_000;
        let values = |a: f32| (0..count).map(|i| (i as f32 * a).sin()).collect::<Vec<f32>>();
        let start = Tensor::from_slice([count], &values(0.37)).unwrap();
        let g = Tensor::from_slice([count], &values(0.11)).unwrap();
        let decay = Moments { weight_decay: 0.1, ..Moments::default() };
        for optimizer in [
            sgd(0.0, 0.0, 0.1, false),
            sgd(0.9, 0.0, 0.1, true),
            Optimizer::Adam(decay),
            Optimizer::AdamW(decay),
        ] {
            let run = |rate: f32, groups: &[(Range<usize>, f32)]| {
                let mut tensors = vec![Tensor::from_slice([count], start.as_slice()).unwrap()];
                tensors.extend((0..optimizer.state_count()).map(|_| Tensor::zeros([count]).unwrap()));
                for step in 1..=3 {
                    let (p, state) = tensors.split_at_mut(1);
                    optimizer.update_groups(&cx, step, rate, &mut p[0], &g, state, groups).unwrap();
                }
                tensors
            };
            let (plain, halved) = (run(0.1, &[(0..count, 1.0)]), run(0.05, &[(0..count, 1.0)]));
            let groups = [(0..112, 0.5), (112..20_016, 0.0), (20_016..30_000, 1.0), (30_000..count, 1.0)];
            for (index, mixed) in run(0.1, &groups).iter().enumerate() {
                let untouched = if index == 0 { start.as_slice() } else { &vec![0.0; count] };
                let (plain, halved) = (plain[index].as_slice(), halved[index].as_slice());
                let mixed = mixed.as_slice();
                assert_eq!(mixed[..112], halved[..112], "{optimizer:?}");
                assert_eq!(mixed[112..20_016], untouched[112..20_016], "{optimizer:?}");
                assert_eq!(mixed[20_016..], plain[20_016..], "{optimizer:?}");
                assert_ne!(plain[112..20_016], untouched[112..20_016], "{optimizer:?}");
            }
        }
        let mut p = Tensor::zeros([3]).unwrap();
        let g = Tensor::zeros([3]).unwrap();
        let beyond = [(0..4, 1.0)];
        assert!(sgd(0.0, 0.0, 0.0, false).update_groups(&cx, 1, 1.0, &mut p, &g, &mut [], &beyond).is_err());
    }
}
