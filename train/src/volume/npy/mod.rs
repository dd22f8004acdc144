//! NumPy `.npy` arrays (NEP 1): whole arrays, and files of cubes `[N, X, Y, Z]` that need not fit in
//! memory.
//!
//! The header is parsed here and not by the `npyz` crate, whose header reader multiplies the sizes
//! without a check and recurses on nested brackets, so that a hostile file ends the program; the
//! crate is the oracle of the tests.

mod array;
mod cube_file;
mod cube_writer;
mod header;
#[cfg(test)]
mod tests;

pub use array::{NpyArray, read_npy, write_npy};
pub(super) use array::{frame_count, read_volumes, write_volume};
pub use cube_file::CubeFile;
pub use cube_writer::CubeWriter;
