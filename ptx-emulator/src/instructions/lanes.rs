//! Registers of a warp, and loops over its 32 lanes.
//!
//! Registers up to 32 bits are `words`, 64-bit ones `wides`, predicates one bit per lane. Lanes that are not active
//! are computed too and thrown away: a loop without branches is what the compiler can vectorise.

use super::vector::{Loop, compute};
use std::marker::PhantomData;

/// Lanes of a warp.
pub const LANES: usize = 32;

/// All registers of a warp.
pub struct Registers {
    pub words: Vec<[u32; LANES]>,
    pub wides: Vec<[u64; LANES]>,
    pub predicates: Vec<u32>,
}

/// An instruction that touches registers only.
pub type Compute = Box<dyn Fn(&mut Registers, u32) + Send + Sync>;

/// A value that a register holds in one lane.
pub trait Bits: Copy + Default + Send + Sync + 'static {
    fn bank(registers: &Registers) -> &[[Self; LANES]];
    fn bank_mut(registers: &mut Registers) -> &mut [[Self; LANES]];
}

impl Bits for u32 {
    fn bank(registers: &Registers) -> &[[Self; LANES]] {
        &registers.words
    }

    fn bank_mut(registers: &mut Registers) -> &mut [[Self; LANES]] {
        &mut registers.words
    }
}

impl Bits for u64 {
    fn bank(registers: &Registers) -> &[[Self; LANES]] {
        &registers.wides
    }

    fn bank_mut(registers: &mut Registers) -> &mut [[Self; LANES]] {
        &mut registers.wides
    }
}

/// A type of PTX, as a register holds it.
pub trait Typed: Copy + Default + Send + Sync + 'static {
    type Bits: Bits;
    fn of(bits: Self::Bits) -> Self;
    fn bits(self) -> Self::Bits;
}

macro_rules! typed {
    ($($ty:ty, $bits:ty, $of:expr, $to:expr;)*) => {$(
        impl Typed for $ty {
            type Bits = $bits;

            #[inline(always)]
            fn of(bits: $bits) -> Self {
                ($of)(bits)
            }

            #[inline(always)]
            fn bits(self) -> $bits {
                ($to)(self)
            }
        }
    )*};
}

typed! {
    u16, u32, |b| b as u16, |v| v as u32;
    i16, u32, |b| b as u16 as i16, |v| v as u16 as u32;
    u32, u32, |b| b, |v| v;
    i32, u32, |b| b as i32, |v| v as u32;
    f32, u32, f32::from_bits, f32::to_bits;
    u64, u64, |b| b, |v| v;
    i64, u64, |b| b as i64, |v| v as u64;
    f64, u64, f64::from_bits, f64::to_bits;
}

impl Registers {
    /// Writes the active lanes of a register.
    #[inline(always)]
    pub fn store<B: Bits>(&mut self, index: usize, mask: u32, values: &[B; LANES]) {
        let register = &mut B::bank_mut(self)[index];
        if mask == u32::MAX {
            *register = *values;
        } else {
            for lane in 0..LANES {
                if mask >> lane & 1 == 1 {
                    register[lane] = values[lane];
                }
            }
        }
    }

    /// Writes the active lanes of a predicate.
    #[inline(always)]
    pub fn store_predicate(&mut self, index: usize, mask: u32, values: u32) {
        let predicate = &mut self.predicates[index];
        *predicate = *predicate & !mask | values & mask;
    }

    /// One lane of a register of either width, zero-extended.
    pub fn lane(&self, wide: bool, index: usize, lane: usize) -> u64 {
        if wide { self.wides[index][lane] } else { u64::from(self.words[index][lane]) }
    }
}

/// `d = f(a)`
pub fn unary<A: Typed, D: Typed>(d: usize, a: usize, f: impl Fn(A) -> D + Send + Sync + 'static) -> Compute {
    struct Unary<F, A, D>(usize, usize, F, PhantomData<fn(A) -> D>);

    impl<A: Typed, D: Typed, F: Fn(A) -> D + Send + Sync + 'static> Loop for Unary<F, A, D> {
        #[inline(always)]
        fn run(&self, r: &mut Registers, mask: u32) {
            let &Self(d, a, ref f, _) = self;
            let x = &A::Bits::bank(r)[a];
            let mut out = [D::Bits::default(); LANES];
            for lane in 0..LANES {
                out[lane] = f(A::of(x[lane])).bits();
            }
            r.store(d, mask, &out);
        }
    }

    compute(Unary(d, a, f, PhantomData))
}

/// `d = f(a, b)`
pub fn binary<A: Typed, B: Typed, D: Typed>(
    d: usize,
    from: [usize; 2],
    f: impl Fn(A, B) -> D + Send + Sync + 'static,
) -> Compute {
    struct Binary<F, A, B, D>(usize, [usize; 2], F, PhantomData<fn(A, B) -> D>);

    impl<A, B, D, F> Loop for Binary<F, A, B, D>
    where
        A: Typed,
        B: Typed,
        D: Typed,
        F: Fn(A, B) -> D + Send + Sync + 'static,
    {
        #[inline(always)]
        fn run(&self, r: &mut Registers, mask: u32) {
            let &Self(d, [a, b], ref f, _) = self;
            let (x, y) = (&A::Bits::bank(r)[a], &B::Bits::bank(r)[b]);
            let mut out = [D::Bits::default(); LANES];
            for lane in 0..LANES {
                out[lane] = f(A::of(x[lane]), B::of(y[lane])).bits();
            }
            r.store(d, mask, &out);
        }
    }

    compute(Binary(d, from, f, PhantomData))
}

/// `d = f(a, b, c)`
pub fn ternary<A: Typed, B: Typed, C: Typed, D: Typed>(
    d: usize,
    from: [usize; 3],
    f: impl Fn(A, B, C) -> D + Send + Sync + 'static,
) -> Compute {
    struct Ternary<F, A, B, C, D>(usize, [usize; 3], F, PhantomData<fn(A, B, C) -> D>);

    impl<A, B, C, D, F> Loop for Ternary<F, A, B, C, D>
    where
        A: Typed,
        B: Typed,
        C: Typed,
        D: Typed,
        F: Fn(A, B, C) -> D + Send + Sync + 'static,
    {
        #[inline(always)]
        fn run(&self, r: &mut Registers, mask: u32) {
            let &Self(d, [a, b, c], ref f, _) = self;
            let (x, y, z) = (&A::Bits::bank(r)[a], &B::Bits::bank(r)[b], &C::Bits::bank(r)[c]);
            let mut out = [D::Bits::default(); LANES];
            for lane in 0..LANES {
                out[lane] = f(A::of(x[lane]), B::of(y[lane]), C::of(z[lane])).bits();
            }
            r.store(d, mask, &out);
        }
    }

    compute(Ternary(d, from, f, PhantomData))
}

/// One bit per lane from `f(a, b)`.
#[inline(always)]
pub fn test<T: Typed>(r: &Registers, [a, b]: [usize; 2], f: impl Fn(T, T) -> bool) -> u32 {
    let (x, y) = (&T::Bits::bank(r)[a], &T::Bits::bank(r)[b]);
    let mut out = 0;
    for lane in 0..LANES {
        out |= u32::from(f(T::of(x[lane]), T::of(y[lane]))) << lane;
    }
    out
}
