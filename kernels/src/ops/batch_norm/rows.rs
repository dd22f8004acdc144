//! The inner loops, each over a block of lanes (see [`crate::cpu::lanes`]).

use super::cpu::{Affine, Coefficients};
use crate::cpu::element::{Element, Store};
use crate::cpu::lanes::{Lanewise, block, block_mut, walk};
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
        let store = self.store;
        walk(self.x.len(), self.affine.mean.len(), self);
        store.finish();
    }
}

impl<E: Element, F: Function> Lanewise for Apply<'_, E, F> {
    type State<const B: usize> = [[f32; B]; 3];

    #[inline(always)]
    fn load<const B: usize>(&self, lane: usize) -> [[f32; B]; 3] {
        self.affine.block(lane)
    }

    #[inline(always)]
    fn step<const B: usize>(&mut self, [mean, scale, shift]: &mut [[f32; B]; 3], at: usize) {
        let x: &[E; B] = block(self.x, at);
        let mut values = [E::narrow(0.0); B];
        for i in 0..B {
            values[i] = E::narrow(F::value((x[i].widen() - mean[i]) * scale[i] + shift[i]));
        }
        self.store.block(block_mut(self.y, at), values);
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
        walk(self.x.len(), self.affine.mean.len(), self);
    }
}

impl<E: Element, F: Function> Lanewise for SumGradients<'_, E, F> {
    /// The affine map and both sums.
    type State<const B: usize> = ([[f32; B]; 3], [[f32; B]; 2]);

    #[inline(always)]
    fn load<const B: usize>(&self, lane: usize) -> Self::State<B> {
        (self.affine.block(lane), [*block(self.plain, lane), *block(self.weighted, lane)])
    }

    #[inline(always)]
    fn step<const B: usize>(&mut self, state: &mut Self::State<B>, at: usize) {
        let ([mean, scale, shift], [plain, weighted]) = state;
        let (x, dy): (&[E; B], &[E; B]) = (block(self.x, at), block(self.dy, at));
        for i in 0..B {
            let deviation = x[i].widen() - mean[i];
            let g = F::gradient(dy[i].widen(), deviation * scale[i] + shift[i]);
            plain[i] += g;
            weighted[i] += g * deviation;
        }
    }

    #[inline(always)]
    fn store<const B: usize>(&mut self, lane: usize, (_, [plain, weighted]): Self::State<B>) {
        *block_mut(self.plain, lane) = plain;
        *block_mut(self.weighted, lane) = weighted;
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
        walk(self.x.len(), self.affine.mean.len(), self);
    }
}

impl<E: Element, F: Function> Lanewise for WriteGradient<'_, E, F> {
    /// The affine map, slope and offset.
    type State<const B: usize> = ([[f32; B]; 3], [[f32; B]; 2]);

    #[inline(always)]
    fn load<const B: usize>(&self, lane: usize) -> Self::State<B> {
        let Coefficients { slope, offset } = self.coefficients;
        (self.affine.block(lane), [*block(slope, lane), *block(offset, lane)])
    }

    #[inline(always)]
    fn step<const B: usize>(&mut self, state: &mut Self::State<B>, at: usize) {
        let ([mean, scale, shift], [slope, offset]) = state;
        let (x, dy): (&[E; B], &mut [E; B]) = (block(self.x, at), block_mut(self.dy, at));
        for i in 0..B {
            let deviation = x[i].widen() - mean[i];
            let g = F::gradient(dy[i].widen(), deviation * scale[i] + shift[i]);
            dy[i] = E::narrow(scale[i] * g + slope[i] * deviation + offset[i]);
        }
    }
}
