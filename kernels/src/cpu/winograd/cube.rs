//! A map along each axis of a cube of vectors: how every transform of the scheme is applied.

use super::scheme::Along;
use crate::cpu::vector::{Vector, VectorElement};
use std::mem::MaybeUninit;

/// The most values a transformed cube has: F(4, 3)'s 6³.
pub(super) const MOST: usize = 216;

/// Where the values of a cube come from.
pub(super) trait Load<V> {
    /// Value `(i₀·I + i₁)·I + i₂` of the cube.
    ///
    /// # Safety
    /// The machine has the instruction set of `V`; the implementor's pointers are valid.
    unsafe fn load(&self, index: usize) -> V;
}

/// Where the values of a transformed cube go.
pub(super) trait Emit<V> {
    /// Takes value `(o₀·O + o₁)·O + o₂`.
    ///
    /// # Safety
    /// As [`Load::load`].
    unsafe fn emit(&mut self, index: usize, value: V);
}

/// Applies `A` along axis 0 and `B` along axes 1 and 2 of a cube of I0·I·I. Two axes are done in
/// registers, slice by slice; the slices meet in a buffer that stays in the L1 cache.
///
/// # Safety
/// The machine has the instruction set of `V`; the pointers of `from` and `to` are valid.
#[inline(always)]
pub(super) unsafe fn apply<
    V: Vector,
    A: Along<I0, O0>,
    B: Along<I, O>,
    const I0: usize,
    const O0: usize,
    const I: usize,
    const O: usize,
>(
    from: &impl Load<V>,
    to: &mut impl Emit<V>,
) {
    const { assert!(I0 * O * O <= MOST) };
    // SAFETY: the caller's contract; slice i₀ of the buffer is written in full before any is read.
    unsafe {
        let mut buffer = [MaybeUninit::<V>::uninit(); MOST];
        let zero = V::splat(0.0);
        for i0 in 0..I0 {
            let mut rows = [[zero; O]; I];
            for i1 in 0..I {
                let mut row = [zero; I];
                for i2 in 0..I {
                    row[i2] = from.load((i0 * I + i1) * I + i2);
                }
                rows[i1] = B::along(row);
            }
            for o2 in 0..O {
                let mut column = [zero; I];
                for i1 in 0..I {
                    column[i1] = rows[i1][o2];
                }
                let column = B::along(column);
                for o1 in 0..O {
                    buffer[(i0 * O + o1) * O + o2].write(column[o1]);
                }
            }
        }
        for rest in 0..O * O {
            let mut column = [zero; I0];
            for i0 in 0..I0 {
                column[i0] = buffer[i0 * O * O + rest].assume_init();
            }
            let column = A::along(column);
            for o0 in 0..O0 {
                to.emit(o0 * O * O + rest, column[o0]);
            }
        }
    }
}

/// Activations: one pointer per voxel of the cube, all read from the same channel on.
pub(super) struct Voxels<'a, E> {
    pub voxels: &'a [*const E; MOST],
    /// The voxels wanted next: the hardware does not foresee them.
    pub next: &'a [*const E; MOST],
    pub channel: usize,
    /// Channels that exist from there on; lanes beyond are 0.
    pub count: usize,
}

impl<V: Vector, E: VectorElement> Load<V> for Voxels<'_, E> {
    #[inline(always)]
    unsafe fn load(&self, index: usize) -> V {
        // SAFETY: the voxel's channels are valid; a prefetch reads nothing.
        unsafe {
            prefetch(self.next.get_unchecked(index).wrapping_add(self.channel));
            E::load(self.voxels.get_unchecked(index).add(self.channel), self.count)
        }
    }
}

/// Asks for the cache line at an address; it need not be valid.
#[inline(always)]
pub(super) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes nothing but the cache.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// One vector in each of many planes, `plane` words apart.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub at: *mut f32,
    pub plane: usize,
}

impl<V: Vector> Load<V> for Planes {
    #[inline(always)]
    unsafe fn load(&self, index: usize) -> V {
        // SAFETY: every plane is valid at this offset.
        unsafe { V::load(self.at.add(index * self.plane)) }
    }
}

impl<V: Vector> Emit<V> for Planes {
    #[inline(always)]
    unsafe fn emit(&mut self, index: usize, value: V) {
        // SAFETY: every plane is valid at this offset.
        unsafe { value.store(self.at.add(index * self.plane)) }
    }
}

/// As [`Planes`], rounding to bf16: neighbouring channels share a word.
pub(super) struct HalfPlanes(pub Planes);

impl<V: Vector> Emit<V> for HalfPlanes {
    #[inline(always)]
    unsafe fn emit(&mut self, index: usize, value: V) {
        // SAFETY: every plane is valid at this offset.
        unsafe { value.store_bf16(self.0.at.add(index * self.0.plane).cast(), V::LANES) }
    }
}

/// As [`Planes`], of pairs: the first cube is held back in `held` until the second one joins it.
pub(super) struct PairPlanes {
    pub to: Planes,
    pub held: *mut f32,
    pub second: bool,
}

impl<V: Vector> Emit<V> for PairPlanes {
    #[inline(always)]
    unsafe fn emit(&mut self, index: usize, value: V) {
        // SAFETY: `held` has a vector for every value of a cube; every plane is valid at this offset.
        unsafe {
            let held = self.held.add(index * V::LANES);
            if self.second {
                V::load(held).pair(value).store(self.to.at.add(index * self.to.plane));
            } else {
                value.store(held);
            }
        }
    }
}
