//! Runs AMX instructions on machines without AMX, for tests; see the README.

mod decode;
mod tiles;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod trap;

pub use decode::{Address, Instruction, decode};
pub use tiles::Tiles;

/// From now on AMX instructions of this process are emulated. Returns false where that cannot be:
/// elsewhere than on x86-64 Linux, and on machines without FMA.
pub fn install() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return trap::install();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    false
}
