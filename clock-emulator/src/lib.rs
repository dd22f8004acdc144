//! A clock that is wrong, as on a machine whose battery is empty or whose time was set while a run went on.
//!
//! Preloaded (`LD_PRELOAD`), it stands before the system's `clock_gettime`. The time of day is moved by
//! `GENESIS_CLOCK_OFFSET` seconds, and goes back by `GENESIS_CLOCK_BACK` seconds more at every look. Clocks that measure
//! durations stay right, as the kernel keeps them whatever the time of day.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "it replaces a function of the C library")]

use libc::{c_int, clockid_t, timespec};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

static OFFSET: LazyLock<i64> = LazyLock::new(|| seconds("GENESIS_CLOCK_OFFSET"));
static BACK: LazyLock<i64> = LazyLock::new(|| seconds("GENESIS_CLOCK_BACK"));
static LOOKS: AtomicI64 = AtomicI64::new(0);

fn seconds(variable: &str) -> i64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The C library's function, with another time of day.
///
/// # Safety
/// As the C library's: `time` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the system call asks for what this function's caller promises, and checks the address itself.
    let code = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
    if code == 0 && clock == libc::CLOCK_REALTIME {
        let looks = LOOKS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the call succeeded, so `time` was written and can be again.
        let time = unsafe { &mut *time };
        time.tv_sec = time.tv_sec.saturating_add(*OFFSET).saturating_sub(looks.saturating_mul(*BACK));
    }
    code
}
