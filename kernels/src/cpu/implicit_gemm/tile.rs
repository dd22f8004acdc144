//! The interface of the micro-kernels: a small block of a matrix product, summed in registers.
//!
//! `sums[m][n] = start[n] + Σ over terms, Σ over k < depth of a[m][k] · b[k][n]`
//!
//! A term is one tap (forward, data gradient) or one row of voxels (weight gradient): all that changes
//! from term to term is where its operands begin. The rows of `a` are `a_pitch` bytes apart, so they can
//! be voxels of a packed row as they are; `b` is packed as `[k / group][lanes][group]`.

use crate::Isa;

/// Where one term's operands begin, in bytes from the call's `a` and `b`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Term {
    pub a: usize,
    pub b: usize,
}

/// One call of a micro-kernel.
pub(super) struct Call {
    pub a: *const u8,
    /// Bytes from one row of `a` to the next.
    pub a_pitch: usize,
    pub b: *const u8,
    pub terms: *const Term,
    pub term_count: usize,
    /// Products summed in each term, a multiple of the kernel's `depth`.
    pub depth: usize,
    /// Rows wanted, at most the kernel's `rows`. The kernel may compute more, up to the next multiple
    /// of `row_step`: their `a` must be readable and their sums writable.
    pub rows: usize,
    /// `lanes` values the sums of every row start from; null to start from what `sums` holds.
    pub start: *const f32,
    /// `[rows][lanes]`.
    pub sums: *mut f32,
}

/// A micro-kernel and its extents.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Bytes of an operand's element: 2 for bf16, 4 for f32.
    pub element: usize,
    /// Columns of `b` and of the sums.
    pub lanes: usize,
    /// The most rows of a call.
    pub rows: usize,
    /// Rows are computed in multiples of this.
    pub row_step: usize,
    /// `depth` of a call is a multiple of this.
    pub depth: usize,
    /// Consecutive k of one column that lie side by side in `b`.
    pub group: usize,
    /// True if tile registers must be configured before calls and released after them.
    pub tiles: bool,
    /// # Safety
    /// The pointers of the call are valid as documented, the machine has the instruction set, and tile
    /// registers are configured where `tiles` says so.
    pub run: unsafe fn(&Call),
}

impl Kernel {
    /// The micro-kernel for bf16 operands, or for those widened to f32 where the machine has no bf16
    /// products.
    pub fn for_bf16(isa: Isa, columns: usize) -> Self {
        match isa {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Isa::Amx => super::amx_tile::kernel(columns),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => super::dot_tile::kernel(columns),
            other => Self::for_f32(other, columns),
        }
    }

    /// The micro-kernel for f32 operands.
    pub fn for_f32(isa: Isa, columns: usize) -> Self {
        super::f32_tile::kernel(isa.registers(), columns)
    }

    /// How `count` rows are best cut into calls: the rows of every call but the last.
    pub fn cut(&self, count: usize) -> usize {
        let calls = count.div_ceil(self.rows).max(1);
        count.div_ceil(calls).next_multiple_of(self.row_step)
    }
}
