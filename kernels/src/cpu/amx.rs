//! AMX: tile registers, which a process must ask the kernel for once.

use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::LazyLock;

/// True if this machine has AMX-BF16 and the kernel has granted this process its tile registers;
/// asks once.
pub fn permitted() -> bool {
    static PERMITTED: LazyLock<bool> = LazyLock::new(|| present() && request());
    *PERMITTED
}

/// CPUID leaf 7: AMX-BF16 and AMX-TILE; XCR0: the system saves tile state.
fn present() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const TILE_STATE: u64 = 3 << 17;
    let features = __cpuid_count(7, 0).edx;
    features & AMX_BF16 != 0 && features & AMX_TILE != 0 && is_x86_feature_detected!("xsave") && {
        // SAFETY: XSAVE is there, and so is XGETBV.
        let enabled = unsafe { extended_control_register() };
        enabled & TILE_STATE == TILE_STATE
    }
}

/// # Safety
/// The machine has XSAVE.
#[target_feature(enable = "xsave")]
unsafe fn extended_control_register() -> u64 {
    // SAFETY: the caller's contract; register 0 always exists.
    unsafe { _xgetbv(0) }
}

/// Linux grants the 8 KiB of tile state on request (`arch_prctl`, since 5.16).
fn request() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call changes nothing but this process's permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}
