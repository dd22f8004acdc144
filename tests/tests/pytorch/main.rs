//! The networks against numbers recorded from PyTorch by the scripts of `tests/oracle/`.

mod classifier;
mod recorded;
mod unet;
