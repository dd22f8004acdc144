//! Sums over voxels, channel by channel: the gradient of a bias.

use crate::cpu::implicit_gemm::{Element, Values};
use crate::{Context, Result};
use genesis_tensor::Tensor;

/// Voxels summed in f32 before the sums are continued in f64.
const PIECE: usize = 512;
/// Pieces a task handles.
const PIECES: usize = 8;

/// `[channels]` sums of an activation, `[voxels][channels]`, in an order that depends on the shape alone.
pub(crate) fn channel_sums(cx: &Context, tensor: &Tensor, channels: usize) -> Result<Tensor> {
    match Values::of(tensor) {
        Values::F32(values) => sums_of(cx, values, channels),
        Values::Bf16(values) => sums_of(cx, values, channels),
    }
}

fn sums_of<E: Element>(cx: &Context, values: &[E], channels: usize) -> Result<Tensor> {
    let length = PIECE * PIECES * channels;
    let parts = values.len().div_ceil(length);
    let mut partial = vec![0.0f64; parts * channels];
    cx.pool.run_pieces(&mut partial, channels, |part, sums| {
        let values = &values[part * length..values.len().min((part + 1) * length)];
        let mut piece_sums = vec![0.0f32; channels];
        cx.isa.run(|| {
            for piece in values.chunks(PIECE * channels) {
                piece_sums.fill(0.0);
                for voxel in piece.chunks_exact(channels) {
                    for (sum, value) in piece_sums.iter_mut().zip(voxel) {
                        *sum += value.widen();
                    }
                }
                for (sum, piece) in sums.iter_mut().zip(&piece_sums) {
                    *sum += f64::from(*piece);
                }
            }
        });
    });
    let mut sums = vec![0.0f64; channels];
    for part in partial.chunks_exact(channels) {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += value;
        }
    }
    Ok(Tensor::from_slice([channels], &sums.iter().map(|&sum| sum as f32).collect::<Vec<_>>())?)
}
