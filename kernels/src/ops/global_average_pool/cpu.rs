//! Sums per channel of each sample, and their spreading back.

use crate::cpu::Kernel;
use crate::cpu::element::{Element, Store};
use crate::cpu::lanes::{BLOCK, Lanes, channel_sums};
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

/// y, in the format of x.
pub fn forward(cx: &Context, x: &Tensor, output: Shape) -> Result<Tensor> {
    match x.dtype() {
        DType::F32 => forward_in::<f32>(cx, x, output),
        DType::Bf16 => forward_in::<bf16>(cx, x, output),
    }
}

fn forward_in<E: Element>(cx: &Context, x: &Tensor, output: Shape) -> Result<Tensor> {
    let mut y = Tensor::unspecified(output, E::DTYPE)?;
    let channels = output.channels();
    if output.elements() == 0 {
        return Ok(y);
    }
    let sample = x.elements() / output[0];
    let voxels = (sample / channels) as f64;
    for (y, x) in E::slice_mut(&mut y)?.chunks_exact_mut(channels).zip(E::slice(x).chunks_exact(sample)) {
        for (y, sum) in y.iter_mut().zip(channel_sums(cx, x, channels)) {
            *y = E::narrow((sum / voxels) as f32);
        }
    }
    Ok(y)
}

/// dx, in the format of dy.
pub fn backward(cx: &Context, input: Shape, dy: &Tensor) -> Result<Tensor> {
    match dy.dtype() {
        DType::F32 => backward_in::<f32>(cx, input, dy),
        DType::Bf16 => backward_in::<bf16>(cx, input, dy),
    }
}

fn backward_in<E: Element>(cx: &Context, input: Shape, dy: &Tensor) -> Result<Tensor> {
    let mut dx = Tensor::unspecified(input, E::DTYPE)?;
    let channels = input.channels();
    if input.elements() == 0 {
        return Ok(dx);
    }
    let lanes = Lanes::new(channels);
    let scale = 1.0 / (input[1] * input[2] * input[3]) as f32;
    let out = E::slice_mut(&mut dx)?;
    let store = Store::of(cx.isa, out);
    let sample = out.len() / input[0];
    for (dx, dy) in out.chunks_exact_mut(sample).zip(E::slice(dy).chunks_exact(channels)) {
        let row: Vec<E> = lanes.tile(|c| dy[c].widen() * scale).into_iter().map(E::narrow).collect();
        cx.pool.run_pieces(dx, lanes.piece, |_, dx| cx.isa.launch(Repeat { row: &row, dx, store }));
    }
    Ok(dx)
}

/// Fills with copies of a row.
struct Repeat<'a, E> {
    row: &'a [E],
    dx: &'a mut [E],
    store: Store,
}

impl<E: Element> Kernel for Repeat<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for dx in self.dx.chunks_mut(self.row.len()) {
            let row = &self.row[..dx.len()];
            let (dx, dx_rest) = dx.as_chunks_mut::<BLOCK>();
            let (row, row_rest) = row.as_chunks::<BLOCK>();
            for (dx, row) in dx.iter_mut().zip(row) {
                self.store.block(dx, *row);
            }
            dx_rest.copy_from_slice(row_rest);
        }
        self.store.finish();
    }
}
