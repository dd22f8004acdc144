//! What is done with tensors outside of operations, on either device: sums of gradients, fills, formats.

use crate::cuda::device::{address, address_mut};
use crate::cuda::{self, CudaCard, Format};
use crate::{Context, Error, Result, cpu};
use genesis_tensor::{DType, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// Elements one task adds.
const PIECE: usize = 1 << 14;

/// sum += term: two activations, or two gradients, of one shape and format.
///
/// # Errors
/// When shapes or formats differ; memory.
pub fn add(cx: &Context, sum: &mut Tensor, term: &Tensor) -> Result<()> {
    let Some(card) = &cx.card else { return cpu::elementwise::add(cx, sum, term) };
    if sum.shape() != term.shape() || sum.dtype() != term.dtype() {
        return Err(Error::shape("add", format!("{sum:?}"), format!("{term:?}")));
    }
    accumulate_on(card, sum, 0, term, true)
}

/// The elements of `sums` from `start` on, f32: with `add` they grow by `terms`, without they become them.
///
/// # Errors
/// When `terms` reach past the end; memory.
pub fn accumulate(cx: &Context, sums: &mut Tensor, start: usize, terms: &Tensor, add: bool) -> Result<()> {
    if start + terms.elements() > sums.elements() {
        return Err(Error::shape("accumulate", format!("{} values", sums.elements() - start), terms.shape()));
    }
    if let Some(card) = &cx.card {
        return accumulate_on(card, sums, start, terms, add);
    }
    let terms = terms.as_slice();
    cx.pool.run_pieces(&mut sums.as_mut_slice()?[start..start + terms.len()], PIECE, |index, sums| {
        let terms = &terms[index * PIECE..];
        if add {
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        } else {
            sums.copy_from_slice(&terms[..sums.len()]);
        }
    });
    Ok(())
}

fn accumulate_on(
    card: &Arc<CudaCard>,
    sums: &mut Tensor,
    start: usize,
    terms: &Tensor,
    add: bool,
) -> Result<()> {
    if terms.elements() == 0 {
        return Ok(());
    }
    let (dtype, from) = (sums.dtype(), address(terms)?);
    let to = address_mut(sums)? + (start * dtype.bytes()) as u64;
    if add {
        return card.run(&[cuda::elementwise::add(dtype, 1.0, from, to, terms.elements())?]);
    }
    Ok(genesis_tensor::Card::copy(&**card, from, to, terms.size_in_bytes())?)
}

/// Fills a range of a tensor of f32.
///
/// # Errors
/// A range past the end; memory.
pub fn fill(cx: &Context, tensor: &mut Tensor, range: Range<usize>, value: f32) -> Result<()> {
    if range.start > range.end || range.end > tensor.elements() {
        return Err(Error::shape(
            "fill",
            format!("a range within {}", tensor.elements()),
            format!("{range:?}"),
        ));
    }
    match &cx.card {
        None => tensor.as_mut_slice()?[range].fill(value),
        Some(_) if range.is_empty() => {}
        Some(card) => {
            let start = address_mut(tensor)? + 4 * range.start as u64;
            card.run(&[cuda::elementwise::fill(DType::F32, start, range.len(), value)?])?;
        }
    }
    Ok(())
}

/// running ← (1 - momentum)·running + momentum·factor·batch, elementwise in f32: running statistics. The elements
/// of `running` from `start` on.
///
/// # Errors
/// When `batch` reaches past the end; memory.
pub fn follow(
    cx: &Context,
    running: &mut Tensor,
    start: usize,
    batch: &Tensor,
    momentum: f32,
    factor: f32,
) -> Result<()> {
    let count = batch.elements();
    if start + count > running.elements() {
        return Err(Error::shape("follow", format!("{} values", running.elements() - start), batch.shape()));
    }
    let Some(card) = &cx.card else {
        let running = &mut running.as_mut_slice()?[start..start + count];
        for (running, batch) in running.iter_mut().zip(batch.as_slice()) {
            *running = (1.0 - momentum) * *running + momentum * factor * batch;
        }
        return Ok(());
    };
    let (to, from) = (address_mut(running)? + 4 * start as u64, address(batch)?);
    // An element is read and written by one thread, so the first may add to what it reads.
    card.run(&[
        cuda::elementwise::add(DType::F32, -momentum, to, to, count)?,
        cuda::elementwise::add(DType::F32, momentum * factor, from, to, count)?,
    ])
}

/// A copy in another number format, rounded to nearest even; a clone where it has that format.
///
/// # Errors
/// Memory.
pub fn cast(cx: &Context, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.dtype() == dtype {
        return Ok(tensor.clone());
    }
    let Some(card) = &cx.card else { return Ok(tensor.cast(dtype)?) };
    let mut copy = card.unspecified(tensor.shape(), dtype)?;
    if tensor.elements() > 0 {
        let (from, to) = (Format::from(tensor.dtype()), Format::from(dtype));
        let addresses = (address(tensor)?, address_mut(&mut copy)?);
        card.run(&[cuda::elementwise::cast(from, to, addresses.0, addresses.1, tensor.elements())?])?;
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_values_follow_as_in_pytorch() {
        let cx = Context::new(1);
        let mut running = Tensor::from_slice([3], &[7.0, 1.0, 2.0]).unwrap();
        let batch = Tensor::from_slice([2], &[3.0, 4.0]).unwrap();
        follow(&cx, &mut running, 1, &batch, 0.1, 2.0).unwrap();
        assert_eq!(running.as_slice(), [7.0, 0.9 * 1.0 + 0.1 * 2.0 * 3.0, 0.9 * 2.0 + 0.1 * 2.0 * 4.0]);
        assert!(follow(&cx, &mut running, 2, &batch, 0.1, 1.0).is_err());
    }

    #[test]
    fn parts_are_added_or_replaced() {
        let cx = Context::new(2);
        let mut sums = Tensor::full([5], 1.0).unwrap();
        let terms = Tensor::from_slice([2], &[2.0, 3.0]).unwrap();
        accumulate(&cx, &mut sums, 1, &terms, true).unwrap();
        accumulate(&cx, &mut sums, 3, &terms, false).unwrap();
        assert_eq!(sums.as_slice(), [1.0, 3.0, 4.0, 2.0, 3.0]);
        fill(&cx, &mut sums, 1..3, 0.5).unwrap();
        assert_eq!(sums.as_slice(), [1.0, 0.5, 0.5, 2.0, 3.0]);
        assert!(accumulate(&cx, &mut sums, 4, &terms, true).is_err());
        assert!(fill(&cx, &mut sums, 4..6, 0.0).is_err());
    }
}
