//! The micro-kernel of f32 operands, for every width of registers.

use super::tile::{Call, Kernel};
use crate::Isa;
use crate::cpu::vector::{self, Vector};

/// The micro-kernel for an instruction set's f32 registers; narrow results get one register of columns.
pub(super) fn kernel(registers: Isa, columns: usize) -> Kernel {
    let (lanes, rows, run): (usize, usize, unsafe fn(&Call)) = match registers {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if columns <= 8 => (8, 6, avx2::<6, 3, 1>),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (16, 6, avx2::<6, 3, 2>),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if columns <= 16 => (16, 12, avx512::<12, 6, 1>),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => (32, 8, avx512::<8, 4, 2>),
        _ if columns <= 4 => (4, 4, portable::<4, 2, 1>),
        _ => (8, 4, portable::<4, 2, 2>),
    };
    Kernel { element: 4, lanes, rows, row_step: rows / 2, depth: 1, group: 1, tiles: false, run }
}

/// # Safety
/// As [`Kernel::run`]; `HALF` is half of `MR`.
unsafe fn portable<const MR: usize, const HALF: usize, const NV: usize>(call: &Call) {
    // SAFETY: the caller's contract.
    unsafe {
        if call.rows <= HALF {
            products::<vector::Portable, HALF, NV>(call)
        } else {
            products::<vector::Portable, MR, NV>(call)
        }
    }
}

/// # Safety
/// As [`Kernel::run`]; `HALF` is half of `MR`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const MR: usize, const HALF: usize, const NV: usize>(call: &Call) {
    // SAFETY: the caller's contract.
    unsafe {
        if call.rows <= HALF {
            products::<vector::F32x8, HALF, NV>(call)
        } else {
            products::<vector::F32x8, MR, NV>(call)
        }
    }
}

/// # Safety
/// As [`Kernel::run`]; `HALF` is half of `MR`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<const MR: usize, const HALF: usize, const NV: usize>(call: &Call) {
    // SAFETY: the caller's contract.
    unsafe {
        if call.rows <= HALF {
            products::<vector::F32x16, HALF, NV>(call)
        } else {
            products::<vector::F32x16, MR, NV>(call)
        }
    }
}

/// # Safety
/// As [`Kernel::run`], for `MR` rows.
#[inline(always)]
unsafe fn products<V: Vector, const MR: usize, const NV: usize>(call: &Call) {
    let lanes = NV * V::LANES;
    // SAFETY: the call's documentation: `MR` rows of `a` have `depth` f32 values from each term's start,
    // `b` has `depth` times `lanes`, `start` and each row of `sums` have `lanes`.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; MR];
        for m in 0..MR {
            for v in 0..NV {
                let row = call.sums.add(m * lanes).cast_const();
                let from = if call.start.is_null() { row } else { call.start };
                sums[m][v] = V::load(from.add(v * V::LANES));
            }
        }
        for term in 0..call.term_count {
            let term = *call.terms.add(term);
            let mut a = call.a.add(term.a);
            let mut b = call.b.add(term.b).cast::<f32>();
            for _ in 0..call.depth {
                let mut columns = [V::splat(0.0); NV];
                for v in 0..NV {
                    columns[v] = V::load(b.add(v * V::LANES));
                }
                for m in 0..MR {
                    let row = V::splat(*a.add(m * call.a_pitch).cast::<f32>());
                    for v in 0..NV {
                        sums[m][v] = row.mul_add(columns[v], sums[m][v]);
                    }
                }
                a = a.add(4);
                b = b.add(lanes);
            }
        }
        for m in 0..MR {
            for v in 0..NV {
                sums[m][v].store(call.sums.add((m * NV + v) * V::LANES));
            }
        }
    }
}
