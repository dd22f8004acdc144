//! The micro-kernel of AVX-512-BF16: `vdpbf16ps` multiplies pairs, one of `a` broadcast to all lanes.

use super::tile::{Call, Kernel};
use std::arch::x86_64::*;
use std::mem::transmute;

/// The micro-kernel; narrow results get one register of columns.
pub(super) fn kernel(columns: usize) -> Kernel {
    let (lanes, run): (usize, unsafe fn(&Call)) = if columns <= 16 { (16, narrow) } else { (32, wide) };
    Kernel { element: 2, lanes, rows: 12, row_step: 4, depth: 2, group: 2, tiles: false, run }
}

/// # Safety
/// As [`Kernel::run`].
unsafe fn wide(call: &Call) {
    // SAFETY: the caller's contract; `rows` is at most 12.
    unsafe {
        match call.rows.div_ceil(4) {
            1 => dot::<4, 2>(call),
            2 => dot::<8, 2>(call),
            _ => dot::<12, 2>(call),
        }
    }
}

/// # Safety
/// As [`Kernel::run`].
unsafe fn narrow(call: &Call) {
    // SAFETY: as above.
    unsafe {
        match call.rows.div_ceil(4) {
            1 => dot::<4, 1>(call),
            2 => dot::<8, 1>(call),
            _ => dot::<12, 1>(call),
        }
    }
}

/// # Safety
/// As [`Kernel::run`], for `MR` rows and `16 · NV` lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn dot<const MR: usize, const NV: usize>(call: &Call) {
    // SAFETY: the call's documentation: `MR` rows of `a` have `depth` bf16 values from each term's start,
    // `b` has `depth / 2` times `16 · NV` pairs, `start` and each row of `sums` have `16 · NV` values.
    // Transmuted vectors are all 512 bits wide, and every pattern of bits is valid in each type.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); NV]; MR];
        for m in 0..MR {
            for v in 0..NV {
                let row = call.sums.add(m * 16 * NV).cast_const();
                let from = if call.start.is_null() { row } else { call.start };
                sums[m][v] = _mm512_loadu_ps(from.add(16 * v));
            }
        }
        for term in 0..call.term_count {
            let term = *call.terms.add(term);
            let mut a = call.a.add(term.a);
            let mut b = call.b.add(term.b);
            for _ in 0..call.depth / 2 {
                let mut columns = [transmute::<__m512i, __m512bh>(_mm512_setzero_si512()); NV];
                for v in 0..NV {
                    columns[v] = transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(64 * v).cast()));
                }
                for m in 0..MR {
                    let pair = a.add(m * call.a_pitch).cast::<i32>().read_unaligned();
                    let row = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair));
                    for v in 0..NV {
                        sums[m][v] = _mm512_dpbf16_ps(sums[m][v], row, columns[v]);
                    }
                }
                a = a.add(4);
                b = b.add(64 * NV);
            }
        }
        for m in 0..MR {
            for v in 0..NV {
                _mm512_storeu_ps(call.sums.add((m * NV + v) * 16), sums[m][v]);
            }
        }
    }
}
