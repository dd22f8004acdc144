//! Copies of channel vectors.

use crate::cpu::element::Element;
use crate::cpu::{Kernel, PIECE};
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

/// Copies a channel vector inline: for a short one a call would cost more than the copy.
#[inline(always)]
fn copy<E: Element>(to: &mut [E], from: &[E]) {
    let (to, to_rest) = to.as_chunks_mut::<16>();
    let (from, from_rest) = from.as_chunks::<16>();
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

/// Voxels of one task, if a voxel has so many channels.
fn voxels(channels: usize) -> usize {
    (PIECE / channels.max(1)).max(1)
}

/// a and b side by side.
pub fn join(cx: &Context, a: &Tensor, b: &Tensor, output: Shape) -> Result<Tensor> {
    match a.dtype() {
        DType::F32 => join_in::<f32>(cx, a, b, output),
        DType::Bf16 => join_in::<bf16>(cx, a, b, output),
    }
}

fn join_in<E: Element>(cx: &Context, a: &Tensor, b: &Tensor, output: Shape) -> Result<Tensor> {
    let mut y = Tensor::unspecified(output, E::DTYPE)?;
    let [channels_a, channels_b, channels] = [a.shape(), b.shape(), output].map(|shape| shape.channels());
    if channels == 0 {
        return Ok(y);
    }
    let (a, b) = (E::slice(a), E::slice(b));
    let voxels = voxels(channels);
    cx.pool.run_pieces(E::slice_mut(&mut y)?, voxels * channels, |index, y| {
        let (a, b) = (&a[index * voxels * channels_a..], &b[index * voxels * channels_b..]);
        cx.isa.launch(Join { a, b, channels: [channels_a, channels_b], y });
    });
    Ok(y)
}

struct Join<'a, E> {
    a: &'a [E],
    b: &'a [E],
    channels: [usize; 2],
    y: &'a mut [E],
}

impl<E: Element> Kernel for Join<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [a, b] = self.channels;
        for (voxel, y) in self.y.chunks_exact_mut(a + b).enumerate() {
            let (y_a, y_b) = y.split_at_mut(a);
            copy(y_a, &self.a[voxel * a..(voxel + 1) * a]);
            copy(y_b, &self.b[voxel * b..(voxel + 1) * b]);
        }
    }
}

/// The parts of `dy`, those that are needed, in one pass.
pub fn cut(cx: &Context, dy: &Tensor, shapes: [Shape; 2], need: [bool; 2]) -> Result<Vec<Option<Tensor>>> {
    match dy.dtype() {
        DType::F32 => cut_in::<f32>(cx, dy, shapes, need),
        DType::Bf16 => cut_in::<bf16>(cx, dy, shapes, need),
    }
}

fn cut_in<E: Element>(
    cx: &Context,
    dy: &Tensor,
    shapes: [Shape; 2],
    need: [bool; 2],
) -> Result<Vec<Option<Tensor>>> {
    let mut parts = Vec::new();
    for (shape, need) in shapes.iter().zip(need) {
        parts.push(need.then(|| Tensor::unspecified(*shape, E::DTYPE)).transpose()?);
    }
    let channels = dy.shape().channels();
    if channels == 0 {
        return Ok(parts);
    }
    let voxels = voxels(channels);
    let dy = E::slice(dy);
    let mut tasks: Vec<Cut<E>> = dy
        .chunks(voxels * channels)
        .map(|dy| Cut { dy, channels: shapes.map(|shape| shape.channels()), parts: [&mut [], &mut []] })
        .collect();
    for (side, part) in parts.iter_mut().enumerate() {
        if let Some(part) = part {
            let length = voxels * shapes[side].channels();
            for (task, piece) in tasks.iter_mut().zip(E::slice_mut(part)?.chunks_mut(length.max(1))) {
                task.parts[side] = piece;
            }
        }
    }
    cx.pool.run_pieces(&mut tasks, 1, |_, task| cx.isa.launch(&mut task[0]));
    drop(tasks);
    Ok(parts)
}

struct Cut<'a, E> {
    dy: &'a [E],
    channels: [usize; 2],
    /// Where the parts go; empty for one that is not needed.
    parts: [&'a mut [E]; 2],
}

impl<E: Element> Kernel for &mut Cut<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [a, b] = self.channels;
        let [part_a, part_b] = &mut self.parts;
        for (voxel, dy) in self.dy.chunks_exact(a + b).enumerate() {
            let (dy_a, dy_b) = dy.split_at(a);
            if !part_a.is_empty() {
                copy(&mut part_a[voxel * a..(voxel + 1) * a], dy_a);
            }
            if !part_b.is_empty() {
                copy(&mut part_b[voxel * b..(voxel + 1) * b], dy_b);
            }
        }
    }
}
