//! The transforms of Winograd's minimal filtering along one axis, F(m, 3): m outputs of a 3-tap filter
//! from m + 2 multiplications instead of 3 m.
//!
//! With x the m + 2 inputs, g the taps: `y = Aᵀ [(G g) ⊙ (Bᵀ x)]`. The gradient of g, given dy, is
//! `Gᵀ [(A dy) ⊙ (Bᵀ x)]`. In three dimensions each matrix is applied along each axis. The matrices are
//! those of Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016: the
//! interpolation points are 0, 1, -1, ∞ for m = 2, and ±2 besides for m = 4.

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

/// F(4, 3): 3.4 multiplications an output in 3D instead of 27; its rounding errors are larger.
pub(super) struct Four;

impl Scheme<4, 6> for Four {
    type Input = Input<Self>;
    type Output = Output<Self>;
    type Gradient = Gradient<Self>;
    type Weight = Weight<Self>;
    type WeightGradient = WeightGradient<Self>;
}

impl Along<6, 6> for Input<Four> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let (two, four, five) = (V::splat(2.0), V::splat(-4.0), V::splat(-5.0));
            let (even, odd) = (c.mul_add(four, e), b.mul_add(four, d));
            let (near, far) = (e.sub(c), d.sub(b));
            [
                c.mul_add(five, a.mul_add(V::splat(4.0), e)),
                even.add(odd),
                even.sub(odd),
                far.mul_add(two, near),
                far.mul_add(V::splat(-2.0), near),
                d.mul_add(five, b.mul_add(V::splat(4.0), f)),
            ]
        }
    }
}

impl Along<6, 4> for Output<Four> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d, e, f]: [V; 6]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe {
            let (even, odd) = (b.add(c), b.sub(c));
            let (even_two, odd_two) = (d.add(e), d.sub(e));
            [
                a.add(even).add(even_two),
                odd_two.mul_add(V::splat(2.0), odd),
                even_two.mul_add(V::splat(4.0), even),
                odd_two.mul_add(V::splat(8.0), odd).add(f),
            ]
        }
    }
}

impl Along<4, 6> for Gradient<Four> {
    #[inline(always)]
    unsafe fn along<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let (even, odd) = (a.add(c), b.add(d));
            let even_two = c.mul_add(V::splat(4.0), a);
            let odd_two = d.mul_add(V::splat(4.0), b);
            [
                a,
                even.add(odd),
                even.sub(odd),
                odd_two.mul_add(V::splat(2.0), even_two),
                odd_two.mul_add(V::splat(-2.0), even_two),
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
            let (sixth, twelfth) = (V::splat(-1.0 / 6.0), V::splat(1.0 / 12.0));
            let outer = a.add(c);
            let outer_two = c.mul_add(V::splat(4.0), a).mul_add(V::splat(1.0 / 24.0), zero);
            [
                a.mul_add(V::splat(0.25), zero),
                outer.add(b).mul_add(sixth, zero),
                outer.sub(b).mul_add(sixth, zero),
                b.mul_add(twelfth, outer_two),
                b.mul_add(V::splat(-1.0 / 12.0), outer_two),
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
            let (sixth, minus) = (V::splat(1.0 / 6.0), V::splat(-1.0 / 6.0));
            let (even, even_two) = (b.add(c), d.add(e));
            let first = even_two.mul_add(V::splat(0.25), zero.sub(even));
            let middle = d.sub(e).mul_add(V::splat(1.0 / 12.0), zero);
            [
                first.mul_add(sixth, a.mul_add(V::splat(0.25), zero)),
                b.sub(c).mul_add(minus, middle),
                even_two.sub(even).mul_add(sixth, f),
            ]
        }
    }
}
