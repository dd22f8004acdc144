//! Cubes cut from volumes, the samples of pre-training.
//!
//! As the released generator of Models Genesis does for chest CT: intensities are clipped to a window
//! and scaled to [0, 1], corners are drawn uniformly inside a border, and a cube is kept if little of
//! it is dense tissue, so that it shows mostly lung. Every number of that rule is a field of
//! [`CubeSettings`].
//!
//! Before cutting, a volume is brought to LPS orientation (see
//! [`CANONICAL`](crate::volume::CANONICAL)), the one of the original's training data, so that "rows,
//! columns, depth" mean the same whatever way a scanner or converter stored the axes. Voxel spacing
//! is kept, as in the original.

mod draw;
mod folder;
mod resize;
mod settings;
#[cfg(test)]
mod tests;
mod tissue;

pub use draw::{Drawn, ScaledVolume};
pub use folder::{Summary, extract_folder, extract_volumes};
pub use settings::{CubeSettings, Modality};
