//! The class of every voxel of a case, by sliding window on its working grid.

use super::case::Case;
use crate::Result;
use crate::inference::{SegmentSettings, decide, segment_volume};
use genesis_kernels::Context;
use genesis_model::UNet3d;

/// Predicts a case.
///
/// # Errors
/// Those of [`segment_volume`].
pub fn predict_classes(
    cx: &Context,
    network: &mut UNet3d,
    case: &Case,
    settings: &SegmentSettings,
) -> Result<Vec<u8>> {
    let outputs = network.config().classes;
    let [nx, ny, nz] = case.size;
    let channels: Vec<&[f32]> = case.image.chunks_exact(nx * ny * nz).collect();
    let mut labels = vec![0u8; nx * ny * nz];
    segment_volume(
        cx,
        network,
        &channels,
        case.size,
        settings,
        |_, _| (),
        |x, plane| {
            decide(plane, outputs, &mut labels[x * ny * nz..(x + 1) * ny * nz]);
            Ok(())
        },
    )?;
    Ok(labels)
}
