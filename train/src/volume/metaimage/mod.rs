//! MetaImage (itk.org/Wiki/MetaIO): `.mha`, and `.mhd` with `.raw` or `.zraw`; the format of LUNA16.
//!
//! World coordinates are LPS in the file and become RAS here. Like ITK, `AnatomicalOrientation` and
//! `CenterOfRotation` are ignored: the matrix and the offset say everything.

mod header;
mod like;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use like::write_like;
pub(super) use read::{data_file, frame_count, read};
pub use write::write_metaimage;
