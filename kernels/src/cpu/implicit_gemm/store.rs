//! Writes finished sums to the output.

use super::values::Element;
use crate::{Isa, cpu};
use half::bf16;

/// An output position that is not written.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Rows of sums, and where they go.
pub(super) struct Rows<'a, T> {
    /// `[position][pitch]`.
    pub sums: &'a [f32],
    pub pitch: usize,
    /// The output voxel of each position, or [`NOWHERE`].
    pub voxels: &'a [u32],
    /// Channels that are written, at most `pitch`.
    pub lanes: usize,
    /// The first of them in voxel 0 of the output.
    pub output: *mut T,
    /// Channels of an output voxel.
    pub channels: usize,
}

impl<T: Element> cpu::Kernel for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (sums, &voxel) in self.sums.chunks_exact(self.pitch).zip(self.voxels) {
            if voxel == NOWHERE {
                continue;
            }
            // SAFETY: the caller of `store` vouches for the output.
            let to = unsafe {
                let start = self.output.add(voxel as usize * self.channels);
                std::slice::from_raw_parts_mut(start, self.lanes)
            };
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = T::nearest(*sum);
            }
        }
    }
}

/// An element that rows of sums can be stored as.
pub(super) trait Stored: Element {
    /// # Safety
    /// The voxels listed lie inside the output, and nobody else touches their lanes meanwhile.
    unsafe fn store(isa: Isa, rows: Rows<Self>);
}

impl Stored for f32 {
    unsafe fn store(isa: Isa, rows: Rows<Self>) {
        isa.launch(rows);
    }
}

impl Stored for bf16 {
    unsafe fn store(isa: Isa, rows: Rows<Self>) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 | Isa::Amx if rows.pitch == 32 => {
                // SAFETY: the caller's contract, and the machine has AVX-512 with BF16.
                unsafe { store_32(rows) }
            }
            _ => isa.launch(rows),
        }
    }
}

/// # Safety
/// As [`Stored::store`], with a pitch of 32; the machine has AVX-512 with BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn store_32(rows: Rows<bf16>) {
    use std::arch::x86_64::*;
    let mask: __mmask32 = if rows.lanes >= 32 { !0 } else { (1 << rows.lanes) - 1 };
    for (sums, &voxel) in rows.sums.chunks_exact(32).zip(rows.voxels) {
        if voxel == NOWHERE {
            continue;
        }
        // SAFETY: a row has 32 sums; the caller vouches for the `lanes` values of the voxel, and lanes
        // that are masked off are not accessed.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(sums.as_ptr()), _mm512_loadu_ps(sums.as_ptr().add(16)));
            let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            let to = rows.output.add(voxel as usize * rows.channels);
            if mask == !0 {
                _mm512_storeu_si512(to.cast(), rounded);
            } else {
                _mm512_mask_storeu_epi16(to.cast(), mask, rounded);
            }
        }
    }
}
