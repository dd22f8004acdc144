//! The transforms of Winograd's minimal filtering along one axis, F(m, 3): m outputs of a 3-tap filter
//! from m + 2 multiplications instead of 3 m.
//!
//! With x the m + 2 inputs, g the taps: `y = Aᵀ [(G g) ⊙ (Bᵀ x)]`. The gradient of g, given dy, is
//! `Gᵀ [(A dy) ⊙ (Bᵀ x)]`. In three dimensions each matrix is applied along each axis. The matrices are
//! those of the Toom-Cook construction. For m = 2 the interpolation points are 0, ±1 and ∞, as in Lavin and
//! Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016. For m = 4 theirs, 0, ±1, ±2 and ∞,
//! make rounding errors 3.3 times those of a direct sum along each axis; 0, ±2/3, ±3/2 and ∞ make it 2.2
//! (±1 and ∞ with m = 2: 1.3), near the least of all choices.

use crate::cpu::vector::Vector;
use std::marker::PhantomData;

/// A linear map along one axis.
pub(super) trait Along<const I: usize, const O: usize> {
    /// # Safety
    /// The machine has the instruction set of `V`.
    unsafe fn along<V: Vector>(x: [V; I]) -> [V; O];
}

/// F(M, 3), with N = M + 2: the five maps made of its matrices.
pub(super) trait Scheme<const M: usize, const N: usize>: Send + Sync + 'static {
    /// Bᵀ x.
    type Input: Along<N, N>;
    /// Aᵀ m.
    type Output: Along<N, M>;
    /// A dy.
    type Gradient: Along<M, N>;
    /// G g.
    type Weight: Along<3, N>;
    /// Gᵀ u.
    type WeightGradient: Along<N, 3>;
}

/// Bᵀ.
pub(super) struct Input<S>(PhantomData<S>);
/// Aᵀ.
pub(super) struct Output<S>(PhantomData<S>);
/// A.
pub(super) struct Gradient<S>(PhantomData<S>);
/// G.
pub(super) struct Weight<S>(PhantomData<S>);
/// Gᵀ.
pub(super) struct WeightGradient<S>(PhantomData<S>);

/// F(2, 3): 8 multiplications an output in 3D instead of 27.
pub(super) struct Two;

impl Scheme<2, 4> for Two {
    type Input = Input<Self>;
    type Output = Output<Self>;
    type Gradient = Gradient<Self>;
    type Weight = Weight<Self>;
    type WeightGradient = WeightGradient<Self>;
}

impl Along<4, 4> for Input<Two> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe { [a.sub(c), b.add(c), c.sub(b), b.sub(d)] }
    }
}

impl Along<4, 2> for Output<Two> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 2] {
        // SAFETY: the caller's contract.
        unsafe { [a.add(b).add(c), b.sub(c).sub(d)] }
    }
}

impl Along<2, 4> for Gradient<Two> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b]: [V; 2]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe { [a, a.add(b), a.sub(b), V::splat(0.0).sub(b)] }
    }
}

impl Along<3, 4> for Weight<Two> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c]: [V; 3]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe {
            let (half, zero) = (V::splat(0.5), V::splat(0.0));
            let outer = a.add(c);
            [a, outer.add(b).mul_add(half, zero), outer.sub(b).mul_add(half, zero), c]
        }
    }
}

impl Along<4, 3> for WeightGradient<Two> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 3] {
        // SAFETY: the caller's contract.
        unsafe {
            let (half, zero) = (V::splat(0.5), V::splat(0.0));
            let sum = b.add(c);
            [sum.mul_add(half, a), b.sub(c).mul_add(half, zero), sum.mul_add(half, d)]
        }
    }
}

/// F(4, 3)'s interpolation points beside 0 and ∞: ± these. Their product is 1, which spares factors.
const NEAR: f32 = 2.0 / 3.0;
const FAR: f32 = 1.5;
/// `Π (p - q)` over the other finite points q, for p = ±NEAR and p = ±FAR.
const NORM_NEAR: f32 = 2.0 * NEAR * NEAR * (NEAR * NEAR - FAR * FAR);
const NORM_FAR: f32 = 2.0 * FAR * FAR * (FAR * FAR - NEAR * NEAR);

/// F(4, 3): 3.4 multiplications an output in 3D instead of 27; its rounding errors are larger.
pub(super) struct Four;

impl Scheme<4, 6> for Four {
    type Input = Input<Self>;
    type Output = Output<Self>;
    type Gradient = Gradient<Self>;
    type Weight = Weight<Self>;
    type WeightGradient = WeightGradient<Self>;
}

/// `start + a · factors[0] + b · factors[1]`.
///
/// # Safety
/// The machine has the instruction set of `V`.
#[inline(always)]
unsafe fn combine<V: Vector>([a, b]: [V; 2], factors: [f32; 2], start: V) -> V {
    // SAFETY: the caller's contract.
    unsafe { b.mul_add(V::splat(factors[1]), a.mul_add(V::splat(factors[0]), start)) }
}

impl Along<6, 6> for Input<Four> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let (near, far) = (V::splat(-NEAR * NEAR), V::splat(-FAR * FAR));
            let sum = V::splat(-NEAR * NEAR - FAR * FAR);
            let (even_near, odd_near) = (c.mul_add(far, e), b.mul_add(far, d));
            let (even_far, odd_far) = (c.mul_add(near, e), b.mul_add(near, d));
            [
                c.mul_add(sum, a.add(e)),
                odd_near.mul_add(V::splat(NEAR), even_near),
                odd_near.mul_add(V::splat(-NEAR), even_near),
                odd_far.mul_add(V::splat(FAR), even_far),
                odd_far.mul_add(V::splat(-FAR), even_far),
                d.mul_add(sum, b.add(f)),
            ]
        }
    }
}

impl Along<6, 4> for Output<Four> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d, e, f]: [V; 6]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe {
            let zero = V::splat(0.0);
            let (even_near, odd_near) = (b.add(c), b.sub(c));
            let (even_far, odd_far) = (d.add(e), d.sub(e));
            [
                a.add(even_near).add(even_far),
                combine([odd_near, odd_far], [NEAR, FAR], zero),
                combine([even_near, even_far], [NEAR * NEAR, FAR * FAR], zero),
                combine([odd_near, odd_far], [NEAR * NEAR * NEAR, FAR * FAR * FAR], f),
            ]
        }
    }
}

impl Along<4, 6> for Gradient<Four> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let even_near = c.mul_add(V::splat(NEAR * NEAR), a);
            let odd_near = d.mul_add(V::splat(NEAR * NEAR), b);
            let even_far = c.mul_add(V::splat(FAR * FAR), a);
            let odd_far = d.mul_add(V::splat(FAR * FAR), b);
            [
                a,
                odd_near.mul_add(V::splat(NEAR), even_near),
                odd_near.mul_add(V::splat(-NEAR), even_near),
                odd_far.mul_add(V::splat(FAR), even_far),
                odd_far.mul_add(V::splat(-FAR), even_far),
                d,
            ]
        }
    }
}

impl Along<3, 6> for Weight<Four> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c]: [V; 3]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let zero = V::splat(0.0);
            let even_near = combine([a, c], [1.0 / NORM_NEAR, NEAR * NEAR / NORM_NEAR], zero);
            let even_far = combine([a, c], [1.0 / NORM_FAR, FAR * FAR / NORM_FAR], zero);
            [
                a,
                b.mul_add(V::splat(NEAR / NORM_NEAR), even_near),
                b.mul_add(V::splat(-NEAR / NORM_NEAR), even_near),
                b.mul_add(V::splat(FAR / NORM_FAR), even_far),
                b.mul_add(V::splat(-FAR / NORM_FAR), even_far),
                c,
            ]
        }
    }
}

impl Along<6, 3> for WeightGradient<Four> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d, e, f]: [V; 6]) -> [V; 3] {
        // SAFETY: the caller's contract.
        unsafe {
            let zero = V::splat(0.0);
            let (even_near, odd_near) = (b.add(c), b.sub(c));
            let (even_far, odd_far) = (d.add(e), d.sub(e));
            let squares = [NEAR * NEAR / NORM_NEAR, FAR * FAR / NORM_FAR];
            [
                combine([even_near, even_far], [1.0 / NORM_NEAR, 1.0 / NORM_FAR], a),
                combine([odd_near, odd_far], [NEAR / NORM_NEAR, FAR / NORM_FAR], zero),
                combine([even_near, even_far], squares, f),
            ]
        }
    }
}
