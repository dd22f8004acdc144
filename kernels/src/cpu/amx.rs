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

/// Eight tiles of 16 rows of 64 bytes: palette 1, `colsb` from byte 16 on, `rows` from byte 48 on.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = {
    let mut bytes = [0u8; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Configuration(bytes)
};

/// This thread's tile registers, eight full tiles, in use until dropped.
pub struct Tiles {
    /// Tile registers belong to a thread.
    _thread: std::marker::PhantomData<*mut ()>,
}

impl Tiles {
    /// Configures this thread's tile registers.
    ///
    /// # Safety
    /// The machine has AMX and this process may use it; no other `Tiles` lives on this thread.
    pub unsafe fn configure() -> Self {
        // SAFETY: the caller's contract; the instruction reads the 64 bytes of the configuration.
        unsafe {
            std::arch::asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const CONFIGURATION,
                options(nostack, preserves_flags, readonly)
            );
        }
        Self { _thread: std::marker::PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: tiles were configured on this thread, and nothing uses them any more.
        unsafe { std::arch::asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}
