//! Floor 4 of Genesis: blocks, the 3D U-Net, initialisers, checkpoints.

pub mod checkpoint;
