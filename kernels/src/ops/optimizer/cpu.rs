//! The updates, each in one pass: a task takes a piece of every buffer.

use super::{Moments, Optimizer};
use crate::cpu::elementwise::update as update_elements;
use crate::cpu::{Kernel, PIECE};
use crate::{Context, Result};
use genesis_tensor::Tensor;
use std::ops::Range;

/// Updates the elements of `range`.
#[expect(clippy::too_many_arguments, reason = "those of the optimiser's `update` and the range")]
pub fn update(
    cx: &Context,
    optimizer: &Optimizer,
    step: u64,
    rate: f32,
    range: Range<usize>,
    parameters: &mut Tensor,
    gradients: &Tensor,
    state: &mut [Tensor],
) -> Result<()> {
    let (p, g) = (&mut parameters.as_mut_slice()?[range.clone()], &gradients.as_slice()[range.clone()]);
    match (*optimizer, state) {
        (Optimizer::Sgd { momentum, dampening, weight_decay, nesterov }, [buffer]) => {
            let rule = Momentum { rate, momentum, dampening, weight_decay, nesterov, first: step == 1 };
            let pieces = p.chunks_mut(PIECE).zip(buffer.as_mut_slice()?[range].chunks_mut(PIECE));
            let mut tasks: Vec<_> = pieces.zip(g.chunks(PIECE)).collect();
            cx.pool.run_pieces(&mut tasks, 1, |_, task| {
                let ((p, buffer), g) = &mut task[0];
                cx.isa.launch(MomentumStep { rule: &rule, p, buffer, g });
            });
        }
        (Optimizer::Sgd { weight_decay, .. }, _) => {
            update_elements(cx, p, [g], move |p, [g]| p - rate * (g + weight_decay * p));
        }
        (Optimizer::Adam(moments) | Optimizer::AdamW(moments), [mean, squares]) => {
            let decoupled = matches!(optimizer, Optimizer::AdamW(_));
            let rule = Adam::new(moments, decoupled, step, rate);
            let (mean, squares) = (mean.as_mut_slice()?, squares.as_mut_slice()?);
            let moments = mean[range.clone()].chunks_mut(PIECE).zip(squares[range].chunks_mut(PIECE));
            let mut tasks: Vec<_> = p.chunks_mut(PIECE).zip(moments).zip(g.chunks(PIECE)).collect();
            cx.pool.run_pieces(&mut tasks, 1, |_, task| {
                let ((p, (mean, squares)), g) = &mut task[0];
                cx.isa.launch(AdamStep { rule: &rule, p, mean, squares, g });
            });
        }
        // `Optimizer::update` has counted the state.
        (Optimizer::Adam(_) | Optimizer::AdamW(_), _) => unreachable!("Adam has two states"),
    }
    Ok(())
}

struct Momentum {
    rate: f32,
    momentum: f32,
    dampening: f32,
    weight_decay: f32,
    nesterov: bool,
    first: bool,
}

struct MomentumStep<'a> {
    rule: &'a Momentum,
    p: &'a mut [f32],
    buffer: &'a mut [f32],
    g: &'a [f32],
}

impl Kernel for MomentumStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rule = self.rule;
        let share = if rule.first { 1.0 } else { 1.0 - rule.dampening };
        for ((p, buffer), &g) in self.p.iter_mut().zip(self.buffer).zip(self.g) {
            let g = g + rule.weight_decay * *p;
            let kept = if rule.first { 0.0 } else { rule.momentum * *buffer };
            let moved = kept + share * g;
            *buffer = moved;
            let direction = if rule.nesterov { g + rule.momentum * moved } else { moved };
            *p -= rule.rate * direction;
        }
    }
}

/// Adam's constants of one step. Bias corrections are computed in f64.
pub struct Adam {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// λ of Adam, 0 for AdamW.
    pub coupled_decay: f32,
    /// 1 - ηλ of AdamW, 1 for Adam.
    pub shrink: f32,
    /// η / (1 - β₁ᵗ).
    pub rate: f32,
    /// √(1 - β₂ᵗ).
    pub root: f32,
}

impl Adam {
    pub fn new(moments: Moments, decoupled: bool, step: u64, rate: f32) -> Self {
        let Moments { beta1, beta2, epsilon, weight_decay } = moments;
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
        Self {
            beta1,
            beta2,
            epsilon,
            coupled_decay: if decoupled { 0.0 } else { weight_decay },
            shrink: if decoupled { (1.0 - f64::from(rate) * f64::from(weight_decay)) as f32 } else { 1.0 },
            rate: (f64::from(rate) / correction(beta1)) as f32,
            root: correction(beta2).sqrt() as f32,
        }
    }
}

struct AdamStep<'a> {
    rule: &'a Adam,
    p: &'a mut [f32],
    mean: &'a mut [f32],
    squares: &'a mut [f32],
    g: &'a [f32],
}

impl Kernel for AdamStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rule = self.rule;
        for (((p, mean), squares), &g) in self.p.iter_mut().zip(self.mean).zip(self.squares).zip(self.g) {
            let g = g + rule.coupled_decay * *p;
            let m = rule.beta1 * *mean + (1.0 - rule.beta1) * g;
            let v = rule.beta2 * *squares + (1.0 - rule.beta2) * g * g;
            *mean = m;
            *squares = v;
            *p = *p * rule.shrink - rule.rate * m / (v.sqrt() / rule.root + rule.epsilon);
        }
    }
}
