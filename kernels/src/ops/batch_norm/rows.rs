//! The inner loops: blocks of a row, then what is left of it.

use super::cpu::{Affine, Coefficients};
use crate::cpu::element::{Element, Store};
use crate::cpu::lanes::BLOCK;
use crate::cpu::{Kernel, math};
use std::marker::PhantomData;

/// An activation f as a type, so that each loop is compiled for it.
pub trait Function: Sync {
    /// f(v).
    fn value(v: f32) -> f32;
    /// dy · f'(v).
    fn gradient(dy: f32, v: f32) -> f32;
}

pub struct Identity;
pub struct Relu;
pub struct Elu;

impl Function for Identity {
    #[inline(always)]
    fn value(v: f32) -> f32 {
        v
    }
    #[inline(always)]
    fn gradient(dy: f32, _: f32) -> f32 {
        dy
    }
}

impl Function for Relu {
    #[inline(always)]
    fn value(v: f32) -> f32 {
        // Not `max`, which would turn a NaN into 0.
        if v < 0.0 { 0.0 } else { v }
    }
    #[inline(always)]
    fn gradient(dy: f32, v: f32) -> f32 {
        if v <= 0.0 { 0.0 } else { dy }
    }
}

impl Function for Elu {
    #[inline(always)]
    fn value(v: f32) -> f32 {
        math::elu(v)
    }
    #[inline(always)]
    fn gradient(dy: f32, v: f32) -> f32 {
        let slope = math::exp_m1_of_negative(v) + 1.0;
        if v > 0.0 { dy } else { dy * slope }
    }
}

/// y = f((x - mean)·scale + shift).
pub struct Apply<'a, E, F> {
    x: &'a [E],
    y: &'a mut [E],
    affine: &'a Affine,
    store: Store,
    function: PhantomData<F>,
}

impl<'a, E, F> Apply<'a, E, F> {
    pub fn new(x: &'a [E], y: &'a mut [E], affine: &'a Affine, store: Store) -> Self {
        Self { x, y, affine, store, function: PhantomData }
    }
}

impl<E: Element, F: Function> Kernel for Apply<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let width = self.affine.mean.len();
        for (y, x) in self.y.chunks_mut(width).zip(self.x.chunks(width)) {
            let n = x.len();
            let (y, y_rest) = y.as_chunks_mut::<BLOCK>();
            let (x, x_rest) = x.as_chunks::<BLOCK>();
            let (mean, mean_rest) = self.affine.mean[..n].as_chunks::<BLOCK>();
            let (scale, scale_rest) = self.affine.scale[..n].as_chunks::<BLOCK>();
            let (shift, shift_rest) = self.affine.shift[..n].as_chunks::<BLOCK>();
            for (block, (y, x)) in y.iter_mut().zip(x).enumerate() {
                let (mean, scale, shift) = (&mean[block], &scale[block], &shift[block]);
                let mut values = [E::narrow(0.0); BLOCK];
                for i in 0..BLOCK {
                    values[i] = E::narrow(F::value((x[i].widen() - mean[i]) * scale[i] + shift[i]));
                }
                self.store.block(y, values);
            }
            for i in 0..x_rest.len() {
                let value = (x_rest[i].widen() - mean_rest[i]) * scale_rest[i] + shift_rest[i];
                y_rest[i] = E::narrow(F::value(value));
            }
        }
        self.store.finish();
    }
}

/// Adds up g and g·(x - mean), lane by lane, where g = dy·f'.
pub struct SumGradients<'a, E, F> {
    x: &'a [E],
    dy: &'a [E],
    affine: &'a Affine,
    plain: &'a mut [f32],
    weighted: &'a mut [f32],
    function: PhantomData<F>,
}

impl<'a, E, F> SumGradients<'a, E, F> {
    pub fn new(
        x: &'a [E],
        dy: &'a [E],
        affine: &'a Affine,
        plain: &'a mut [f32],
        weighted: &'a mut [f32],
    ) -> Self {
        Self { x, dy, affine, plain, weighted, function: PhantomData }
    }
}

impl<E: Element, F: Function> Kernel for SumGradients<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let width = self.affine.mean.len();
        for (x, dy) in self.x.chunks(width).zip(self.dy.chunks(width)) {
            let n = x.len();
            let (x, x_rest) = x.as_chunks::<BLOCK>();
            let (dy, dy_rest) = dy.as_chunks::<BLOCK>();
            let (mean, mean_rest) = self.affine.mean[..n].as_chunks::<BLOCK>();
            let (scale, scale_rest) = self.affine.scale[..n].as_chunks::<BLOCK>();
            let (shift, shift_rest) = self.affine.shift[..n].as_chunks::<BLOCK>();
            let (plain, plain_rest) = self.plain[..n].as_chunks_mut::<BLOCK>();
            let (weighted, weighted_rest) = self.weighted[..n].as_chunks_mut::<BLOCK>();
            for (block, (x, dy)) in x.iter().zip(dy).enumerate() {
                let (mean, scale, shift) = (&mean[block], &scale[block], &shift[block]);
                let (plain, weighted) = (&mut plain[block], &mut weighted[block]);
                for i in 0..BLOCK {
                    let deviation = x[i].widen() - mean[i];
                    let g = F::gradient(dy[i].widen(), deviation * scale[i] + shift[i]);
                    plain[i] += g;
                    weighted[i] += g * deviation;
                }
            }
            for i in 0..x_rest.len() {
                let deviation = x_rest[i].widen() - mean_rest[i];
                let g = F::gradient(dy_rest[i].widen(), deviation * scale_rest[i] + shift_rest[i]);
                plain_rest[i] += g;
                weighted_rest[i] += g * deviation;
            }
        }
    }
}

/// dy ← scale·g + slope·(x - mean) + offset.
pub struct WriteGradient<'a, E, F> {
    x: &'a [E],
    dy: &'a mut [E],
    affine: &'a Affine,
    coefficients: &'a Coefficients,
    function: PhantomData<F>,
}

impl<'a, E, F> WriteGradient<'a, E, F> {
    pub fn new(x: &'a [E], dy: &'a mut [E], affine: &'a Affine, coefficients: &'a Coefficients) -> Self {
        Self { x, dy, affine, coefficients, function: PhantomData }
    }
}

impl<E: Element, F: Function> Kernel for WriteGradient<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let width = self.affine.mean.len();
        for (dy, x) in self.dy.chunks_mut(width).zip(self.x.chunks(width)) {
            let n = x.len();
            let (dy, dy_rest) = dy.as_chunks_mut::<BLOCK>();
            let (x, x_rest) = x.as_chunks::<BLOCK>();
            let (mean, mean_rest) = self.affine.mean[..n].as_chunks::<BLOCK>();
            let (scale, scale_rest) = self.affine.scale[..n].as_chunks::<BLOCK>();
            let (shift, shift_rest) = self.affine.shift[..n].as_chunks::<BLOCK>();
            let (slope, slope_rest) = self.coefficients.slope[..n].as_chunks::<BLOCK>();
            let (offset, offset_rest) = self.coefficients.offset[..n].as_chunks::<BLOCK>();
            for (block, (dy, x)) in dy.iter_mut().zip(x).enumerate() {
                let (mean, scale, shift) = (&mean[block], &scale[block], &shift[block]);
                let (slope, offset) = (&slope[block], &offset[block]);
                for i in 0..BLOCK {
                    let deviation = x[i].widen() - mean[i];
                    let g = F::gradient(dy[i].widen(), deviation * scale[i] + shift[i]);
                    dy[i] = E::narrow(scale[i] * g + slope[i] * deviation + offset[i]);
                }
            }
            for i in 0..x_rest.len() {
                let deviation = x_rest[i].widen() - mean_rest[i];
                let g = F::gradient(dy_rest[i].widen(), deviation * scale_rest[i] + shift_rest[i]);
                dy_rest[i] = E::narrow(scale_rest[i] * g + slope_rest[i] * deviation + offset_rest[i]);
            }
        }
    }
}
