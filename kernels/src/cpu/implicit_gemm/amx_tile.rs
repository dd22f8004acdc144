//! The micro-kernel of AMX: `tdpbf16ps` multiplies tiles of 16 rows × 32 products × 16 columns.
//!
//! Four tiles of sums (tmm0-3), 32 rows × 32 columns, are fed by two tiles of `a` (tmm4, 5) and two of `b`
//! (tmm6, 7). Stable Rust has no intrinsics for tiles, so their instructions are written out. The compiler
//! does not use tile registers, so they keep their values from one statement to the next.
//!
//! Checked on emulated instructions (`amx-emulator`); its speed was never measured on AMX hardware.

use super::tile::{Call, Kernel};
use std::arch::asm;

/// The micro-kernel; narrow results get one tile of columns.
pub(super) fn kernel(columns: usize) -> Kernel {
    let (lanes, run): (usize, unsafe fn(&Call)) = if columns <= 16 { (16, narrow) } else { (32, wide) };
    Kernel { element: 2, lanes, rows: 32, row_step: 16, depth: 32, group: 2, tiles: true, run }
}

/// Bytes of a tile's row, and products in one.
const ROW: usize = 64;
const DEPTH: usize = 32;

/// # Safety
/// As [`Kernel::run`], with 32 lanes.
unsafe fn wide(call: &Call) {
    const PITCH: usize = 2 * ROW;
    let two = call.rows > 16;
    // SAFETY: the call's documentation: 16 rows of `a`, or 32 if there are more than 16, have `depth` bf16
    // values, 64 bytes a tile's row, from each term's start; `b` has `depth / 2` rows of 32 pairs, of which a
    // tile takes 16 rows of 16; `start` has 32 values, a row that a stride of 0 gives to all rows of a tile;
    // `sums` has 16 or 32 rows of 32. Tiles are configured, all of 16 rows of 64 bytes.
    unsafe {
        let sums = call.sums.cast::<u8>();
        let (from, pitch) =
            if call.start.is_null() { (sums.cast_const(), PITCH) } else { (call.start.cast(), 0) };
        asm!(
            "tileloadd tmm0, [{from} + {pitch}*1]",
            "tileloadd tmm1, [{from} + {pitch}*1 + 64]",
            from = in(reg) from, pitch = in(reg) pitch,
            out("tmm0") _, out("tmm1") _,
            options(nostack, preserves_flags, readonly)
        );
        if two {
            asm!(
                "tileloadd tmm2, [{from} + {pitch}*1]",
                "tileloadd tmm3, [{from} + {pitch}*1 + 64]",
                from = in(reg) from.wrapping_add(16 * pitch), pitch = in(reg) pitch,
                out("tmm2") _, out("tmm3") _,
                options(nostack, preserves_flags, readonly)
            );
        }
        for term in 0..call.term_count {
            let term = *call.terms.add(term);
            let mut a = call.a.add(term.a);
            let mut b = call.b.add(term.b);
            for _ in 0..call.depth / DEPTH {
                if two {
                    asm!(
                        "tileloadd tmm4, [{a} + {pitch}*1]",
                        "tileloadd tmm6, [{b} + {b_pitch}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm7, [{b} + {b_pitch}*1 + 64]",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tileloadd tmm5, [{below} + {pitch}*1]",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        a = in(reg) a, below = in(reg) a.wrapping_add(16 * call.a_pitch),
                        pitch = in(reg) call.a_pitch, b = in(reg) b, b_pitch = in(reg) PITCH,
                        options(nostack, preserves_flags, readonly)
                    );
                } else {
                    asm!(
                        "tileloadd tmm4, [{a} + {pitch}*1]",
                        "tileloadd tmm6, [{b} + {b_pitch}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm7, [{b} + {b_pitch}*1 + 64]",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        a = in(reg) a, pitch = in(reg) call.a_pitch,
                        b = in(reg) b, b_pitch = in(reg) PITCH,
                        options(nostack, preserves_flags, readonly)
                    );
                }
                a = a.wrapping_add(ROW);
                b = b.wrapping_add(16 * PITCH);
            }
        }
        asm!(
            "tilestored [{to} + {pitch}*1], tmm0",
            "tilestored [{to} + {pitch}*1 + 64], tmm1",
            to = in(reg) sums, pitch = in(reg) PITCH,
            options(nostack, preserves_flags)
        );
        if two {
            asm!(
                "tilestored [{to} + {pitch}*1], tmm2",
                "tilestored [{to} + {pitch}*1 + 64], tmm3",
                to = in(reg) sums.wrapping_add(16 * PITCH), pitch = in(reg) PITCH,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// # Safety
/// As [`Kernel::run`], with 16 lanes.
unsafe fn narrow(call: &Call) {
    let two = call.rows > 16;
    // SAFETY: as in `wide`, with rows of 16 pairs in `b` and of 16 values in `start` and `sums`.
    unsafe {
        let sums = call.sums.cast::<u8>();
        let (from, pitch) =
            if call.start.is_null() { (sums.cast_const(), ROW) } else { (call.start.cast(), 0) };
        asm!(
            "tileloadd tmm0, [{from} + {pitch}*1]",
            from = in(reg) from, pitch = in(reg) pitch,
            out("tmm0") _,
            options(nostack, preserves_flags, readonly)
        );
        if two {
            asm!(
                "tileloadd tmm2, [{from} + {pitch}*1]",
                from = in(reg) from.wrapping_add(16 * pitch), pitch = in(reg) pitch,
                out("tmm2") _,
                options(nostack, preserves_flags, readonly)
            );
        }
        for term in 0..call.term_count {
            let term = *call.terms.add(term);
            let mut a = call.a.add(term.a);
            let mut b = call.b.add(term.b);
            for _ in 0..call.depth / DEPTH {
                asm!(
                    "tileloadd tmm4, [{a} + {pitch}*1]",
                    "tileloadd tmm6, [{b} + {b_pitch}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    a = in(reg) a, pitch = in(reg) call.a_pitch,
                    b = in(reg) b, b_pitch = in(reg) ROW,
                    options(nostack, preserves_flags, readonly)
                );
                if two {
                    asm!(
                        "tileloadd tmm5, [{below} + {pitch}*1]",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        below = in(reg) a.wrapping_add(16 * call.a_pitch), pitch = in(reg) call.a_pitch,
                        options(nostack, preserves_flags, readonly)
                    );
                }
                a = a.wrapping_add(ROW);
                b = b.wrapping_add(16 * ROW);
            }
        }
        asm!(
            "tilestored [{to} + {pitch}*1], tmm0",
            to = in(reg) sums, pitch = in(reg) ROW,
            options(nostack, preserves_flags)
        );
        if two {
            asm!(
                "tilestored [{to} + {pitch}*1], tmm2",
                to = in(reg) sums.wrapping_add(16 * ROW), pitch = in(reg) ROW,
                options(nostack, preserves_flags)
            );
        }
    }
}
