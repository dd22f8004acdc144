//! NRRD (teem.sourceforge.net/nrrd/format.html, versions 1 to 5): `.nrrd`, and `.nhdr` with its data files; the
//! format of 3D Slicer.
//!
//! World coordinates are LPS, RAS or LAS in the file and become RAS here. A file that does not name its space is
//! taken as LPS, as ITK takes it.

mod data;
mod geometry;
mod header;
mod like;
mod read;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub(super) use like::write_like;
pub(super) use read::{data_files, frame_count, read};
pub use write::write_nrrd;
