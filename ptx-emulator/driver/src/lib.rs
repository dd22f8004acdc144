//! `libcuda.so` over the PTX emulator: an unchanged CUDA program runs without a card.
//!
//! `status` has the error codes, `card` what the one emulated card holds, `streams` the order of work, `api` the C
//! functions. Environment variables (read at `cuInit`):
//!
//! | variable | effect |
//! | --- | --- |
//! | `PTX_EMULATOR_CAPABILITY` | `8.0` (also without it) or `9.0`: the card; anything else: no card |
//! | `PTX_EMULATOR_LAG` | `1`: a stream's work runs only when something waits for it |
//! | `PTX_EMULATOR_SKIP_WAIT` | N: the Nth wait (of a stream or the host) for an event with work to do before it is left out |
//! | `PTX_EMULATOR_CHECKS` | `none`: bounds and alignment only; else every check |
//! | `PTX_EMULATOR_MEMORY` | bytes of the card (80 GiB) |
//! | `PTX_EMULATOR_REPORT` | a file to which each launch's counts, each graph's launch and each finding are appended |

pub mod api;
mod card;
mod status;
mod streams;

/// Defines functions of the driver. The body gives `Result<(), Status>`; a panic becomes an error code.
macro_rules! driver {
    ($($(#[$note:meta])* fn $name:ident($($argument:ident: $ty:ty),* $(,)?) $body:block)*) => {$(
        $(#[$note])*
        ///
        /// # Safety
        /// Pointers are as the CUDA driver's manual demands: valid for what is read or written, or null where allowed.
        // SAFETY: the symbol is the driver's own; a process loads one libcuda.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub unsafe extern "C" fn $name($($argument: $ty),*) -> u32 {
            let run = std::panic::AssertUnwindSafe(move || -> Result<(), $crate::status::Status> { $body });
            match std::panic::catch_unwind(run) {
                Ok(Ok(())) => 0,
                Ok(Err(status)) => status as u32,
                Err(_) => $crate::status::Status::Unknown as u32,
            }
        }
    )*};
}
pub(crate) use driver;

/// Writes a result through a pointer of the caller.
///
/// # Safety
/// `to` is null or valid for a write of `T`.
unsafe fn put<T>(to: *mut T, value: T) -> Result<(), status::Status> {
    if to.is_null() {
        return Err(status::Status::InvalidValue);
    }
    // SAFETY: not null, and by the caller's promise valid for writes; alignment is not assumed.
    unsafe { to.write_unaligned(value) };
    Ok(())
}
