//! Losses on the softmax of logits `[.., K]`, with labels `[..]`.
//!
//! ```text
//! rows   r0: k0 k1 k2   r1: k0 k1 k2 …      as they lie in memory
//! lanes  k0: r0 r1 … r63   k1: r0 r1 … r63  64 rows turned, so that any K fills whole vectors
//! ```
//!
//! Exponentials are f32 of logit - largest, everything after them f64.

use super::cpu::{dice_gradient, dice_of};
use super::{Loss, SavedLoss, Sums};
use crate::cpu::element::Element;
use crate::cpu::{Kernel, PIECE, math};
use crate::op::Operation;
use crate::{Context, Error, Result};

/// Rows that are turned at once.
const ROWS: usize = 64;
/// Sums kept side by side.
const LANES: usize = 16;

/// What a loss on the softmax consists of.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whether there is a cross-entropy.
    pub entropy: bool,
    /// γ of the focal loss; 0 for the plain cross-entropy.
    pub gamma: f64,
    /// s of Dice and its first class, 0 or 1.
    pub dice: Option<(f32, usize)>,
}

impl Terms {
    /// `None` for a loss that is not on the softmax.
    pub fn of(loss: Loss) -> Option<Self> {
        let plain = Self { entropy: true, gamma: 0.0, dice: None };
        match loss {
            Loss::CrossEntropy => Some(plain),
            Loss::SoftmaxFocal { gamma } => Some(Self { gamma: f64::from(gamma), ..plain }),
            Loss::SoftmaxDice { smooth, background } => {
                Some(Self { entropy: false, dice: Some((smooth, usize::from(!background))), ..plain })
            }
            Loss::SoftmaxDiceCrossEntropy { smooth, background } => {
                Some(Self { dice: Some((smooth, usize::from(!background))), ..plain })
            }
            _ => None,
        }
    }

    /// The smallest K.
    pub fn least_classes(&self) -> usize {
        self.dice.map_or(1, |(_, first)| first + 1)
    }
}

fn terms(loss: Loss) -> Terms {
    // Called for no other loss.
    Terms::of(loss).unwrap_or(Terms { entropy: false, gamma: 0.0, dice: None })
}

/// Rows that one task handles: whole blocks.
fn rows_of_a_piece(classes: usize) -> usize {
    (PIECE / classes / ROWS).max(1) * ROWS
}

/// The sums of the cross-entropy (0 / 0 without one) and of each class's Dice (0 / 0 for one that does not
/// count).
///
/// # Errors
/// A label or weight out of range.
pub fn forward<E: Element>(
    cx: &Context,
    loss: Loss,
    logits: &[E],
    labels: &[f32],
    weights: Option<&[f32]>,
) -> Result<Sums> {
    let classes = logits.len() / labels.len();
    check(labels, classes, weights)?;
    let terms = terms(loss);
    let rows = rows_of_a_piece(classes);
    // Entropy and weight, then three sums a class.
    let width = 2 + 3 * classes;
    let mut partial = vec![0.0f64; labels.len().div_ceil(rows) * width];
    cx.pool.run_pieces(&mut partial, width, |index, sums| {
        let rows = index * rows..labels.len().min((index + 1) * rows);
        let logits = &logits[rows.start * classes..rows.end * classes];
        let block = Block::new(classes);
        cx.isa.launch(Forward { terms, block, logits, labels: &labels[rows], weights, sums });
    });
    let mut sums = vec![0.0; width];
    for piece in partial.chunks_exact(width) {
        sums.iter_mut().zip(piece).for_each(|(sum, term)| *sum += term);
    }
    let dice = terms.dice.map(|(smooth, first)| {
        let of_class = |(k, s): (usize, &[f64])| {
            if k < first { [0.0; 2] } else { dice_of([s[0], s[1], s[2]], smooth) }
        };
        sums[2..].chunks_exact(3).enumerate().map(of_class).collect()
    });
    Ok(Sums { numerator: sums[0], denominator: sums[1], dice: dice.unwrap_or_default(), card: None })
}

/// Writes the gradient of the logits, times `dy`.
pub fn backward<E: Element>(
    cx: &Context,
    loss: Loss,
    saved: &SavedLoss,
    logits: &[E],
    dy: f64,
    out: &mut [E],
) {
    let terms = terms(loss);
    let labels = saved.target.as_slice();
    let weights = saved.weights.as_ref().map(|weights| weights.as_slice());
    let classes = logits.len() / labels.len();
    let weight = saved.sums.denominator;
    let share = if weight > 0.0 { dy / weight } else { 0.0 };
    let counted = saved.sums.dice.iter().filter(|[_, below]| *below != 0.0).count() as f64;
    let of_class =
        |&sums: &[f64; 2]| if sums[1] == 0.0 { [0.0; 2] } else { dice_gradient(sums, dy / counted) };
    let dice: Vec<[f64; 2]> = saved.sums.dice.iter().map(of_class).collect();
    let rows = rows_of_a_piece(classes);
    cx.pool.run_pieces(out, rows * classes, |index, out| {
        let rows = index * rows..labels.len().min((index + 1) * rows);
        let logits = &logits[rows.start * classes..rows.end * classes];
        let (block, labels) = (Block::new(classes), &labels[rows]);
        cx.isa.launch(Backward { terms, block, logits, labels, weights, share, dice: &dice, out });
    });
}

fn check(labels: &[f32], classes: usize, weights: Option<&[f32]>) -> Result<()> {
    let fail = |cause: String| Err(Error::operation(Loss::NAME, cause));
    let valid = |label: f32| label >= 0.0 && label < classes as f32 && label.fract() == 0.0;
    if let Some(i) = labels.iter().position(|&label| !valid(label)) {
        return fail(format!("label {i} is {}; wanted a whole number in 0..{classes}", labels[i]));
    }
    let weights = weights.unwrap_or_default();
    match weights.iter().position(|&weight| !(weight >= 0.0 && weight.is_finite())) {
        None => Ok(()),
        Some(k) => fail(format!("the weight of class {k} is {}; it must not be negative", weights[k])),
    }
}

/// Up to [`ROWS`] rows, turned. The rest is filled with rows that weigh nothing.
struct Block {
    /// For each class exp(logit - largest).
    powers: Vec<[f32; ROWS]>,
    labels: [f32; ROWS],
    /// Logit of the label - largest.
    shift: [f32; ROWS],
    /// Σ of all powers.
    sum: [f64; ROWS],
    /// Σ of all powers but the label's.
    others: [f64; ROWS],
    /// 1 / `sum`, 0 beyond the rows given.
    inverse: [f64; ROWS],
}

impl Block {
    fn new(classes: usize) -> Self {
        Self {
            powers: vec![[0.0; ROWS]; classes],
            labels: [-1.0; ROWS],
            shift: [0.0; ROWS],
            sum: [0.0; ROWS],
            others: [0.0; ROWS],
            inverse: [0.0; ROWS],
        }
    }

    /// Takes the next rows.
    #[inline(always)]
    fn load<E: Element>(&mut self, logits: &[E], labels: &[f32]) {
        let (classes, count) = (self.powers.len(), labels.len());
        self.labels[..count].copy_from_slice(labels);
        self.labels[count..].fill(-1.0);
        let mut largest = [f32::NEG_INFINITY; ROWS];
        for (k, lane) in self.powers.iter_mut().enumerate() {
            for (value, row) in lane.iter_mut().zip(logits.chunks_exact(classes)) {
                *value = row[k].widen();
            }
            lane[count..].fill(0.0);
            for r in 0..ROWS {
                largest[r] = if lane[r] > largest[r] { lane[r] } else { largest[r] };
            }
        }
        (self.sum, self.others, self.shift) = ([0.0; ROWS], [0.0; ROWS], [0.0; ROWS]);
        for (k, lane) in self.powers.iter_mut().enumerate() {
            let class = k as f32;
            for r in 0..ROWS {
                let shift = lane[r] - largest[r];
                let power = math::exp(shift);
                lane[r] = power;
                let power = f64::from(power);
                let hit = self.labels[r] == class;
                self.sum[r] += power;
                self.others[r] += if hit { 0.0 } else { power };
                self.shift[r] = if hit { shift } else { self.shift[r] };
            }
        }
        for r in 0..ROWS {
            self.inverse[r] = if self.labels[r] < 0.0 { 0.0 } else { 1.0 / self.sum[r] };
        }
    }

    /// -ln q, where q is the label's probability.
    #[inline(always)]
    fn entropy(&self, r: usize) -> f64 {
        self.sum[r].ln() - f64::from(self.shift[r])
    }
}

#[inline(always)]
fn weight_of(weights: Option<&[f32]>, label: f32) -> f64 {
    weights.map_or(1.0, |weights| f64::from(weights[label as usize]))
}

/// u^γ.
#[inline(always)]
fn modulation(u: f64, gamma: f64) -> f64 {
    if gamma == 2.0 { u * u } else { u.powf(gamma) }
}

struct Forward<'a, E> {
    terms: Terms,
    block: Block,
    logits: &'a [E],
    labels: &'a [f32],
    weights: Option<&'a [f32]>,
    sums: &'a mut [f64],
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { terms, mut block, logits, labels, weights, sums } = self;
        let classes = block.powers.len();
        let (entropy, dice) = sums.split_at_mut(2);
        for (labels, logits) in labels.chunks(ROWS).zip(logits.chunks(ROWS * classes)) {
            block.load(logits, labels);
            if terms.entropy {
                for (r, &label) in labels.iter().enumerate() {
                    let weight = weight_of(weights, label);
                    let loss = match terms.gamma {
                        0.0 => block.entropy(r),
                        gamma => block.entropy(r) * modulation(block.others[r] * block.inverse[r], gamma),
                    };
                    entropy[0] += weight * loss;
                    entropy[1] += weight;
                }
            }
            if terms.dice.is_some() {
                for (k, (lane, sums)) in block.powers.iter().zip(dice.chunks_exact_mut(3)).enumerate() {
                    let class = k as f32;
                    let mut lanes = [[0.0f64; LANES]; 3];
                    for start in (0..ROWS).step_by(LANES) {
                        for i in 0..LANES {
                            let r = start + i;
                            let p = f64::from(lane[r]) * block.inverse[r];
                            let hit = block.labels[r] == class;
                            lanes[0][i] += if hit { p } else { 0.0 };
                            lanes[1][i] += p;
                            lanes[2][i] += if hit { 1.0 } else { 0.0 };
                        }
                    }
                    for (sum, lanes) in sums.iter_mut().zip(&lanes) {
                        *sum += lanes.iter().sum::<f64>();
                    }
                }
            }
        }
    }
}

struct Backward<'a, E> {
    terms: Terms,
    block: Block,
    logits: &'a [E],
    labels: &'a [f32],
    weights: Option<&'a [f32]>,
    /// What a row of weight 1 has of the incoming gradient.
    share: f64,
    /// Base and slope of each class's Dice; empty without.
    dice: &'a [[f64; 2]],
    out: &'a mut [E],
}

impl<E: Element> Kernel for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { terms, mut block, logits, labels, weights, share, dice, out } = self;
        let classes = block.powers.len();
        let pieces = labels.chunks(ROWS).zip(logits.chunks(ROWS * classes));
        for ((labels, logits), out) in pieces.zip(out.chunks_mut(ROWS * classes)) {
            block.load(logits, labels);
            // The factor of q - one-hot.
            let mut factor = [0.0f64; ROWS];
            if terms.entropy {
                for (r, &label) in labels.iter().enumerate() {
                    let focus = match terms.gamma {
                        0.0 => 1.0,
                        gamma => {
                            let u = block.others[r] * block.inverse[r];
                            let ratio = if u > 0.0 { block.entropy(r) / u } else { 1.0 };
                            modulation(u, gamma) * (gamma * (1.0 - u) * ratio + 1.0)
                        }
                    };
                    factor[r] = share * weight_of(weights, label) * focus;
                }
            }
            // Σ over k of q·g, where g is the gradient of Dice by q.
            let mut mean = [0.0f64; ROWS];
            for (k, (lane, &[base, slope])) in block.powers.iter().zip(dice).enumerate() {
                let class = k as f32;
                for r in 0..ROWS {
                    let slope = if block.labels[r] == class { slope } else { 0.0 };
                    mean[r] += f64::from(lane[r]) * block.inverse[r] * (base - slope);
                }
            }
            for (k, lane) in block.powers.iter_mut().enumerate() {
                let class = k as f32;
                let [base, slope] = dice.get(k).copied().unwrap_or_default();
                for r in 0..ROWS {
                    let q = f64::from(lane[r]) * block.inverse[r];
                    let hit = block.labels[r] == class;
                    // q - 1 of the label without cancellation.
                    let difference = if hit { -block.others[r] * block.inverse[r] } else { q };
                    let slope = if hit { slope } else { 0.0 };
                    lane[r] = (factor[r] * difference + q * (base - slope - mean[r])) as f32;
                }
                for (row, value) in out.chunks_exact_mut(classes).zip(&*lane) {
                    row[k] = E::narrow(*value);
                }
            }
        }
    }
}
