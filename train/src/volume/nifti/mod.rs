//! NIfTI-1 and NIfTI-2 (nifti.nimh.nih.gov): `.nii`, `.nii.gz`, and `.hdr`/`.img` pairs.
//!
//! The header is parsed here rather than by the `nifti` crate, which takes a scale slope of NaN
//! literally (every voxel becomes NaN), does not check gzip checksums, refuses gzip files of several
//! members and does not know NIfTI-2; the crate is the oracle of the tests.

mod header;
mod like;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use like::write_like;
pub(super) use read::{companion, frame_count, read};
pub use write::write_nifti;
