//! `cvt`: between all types, with every rounding.

use super::lanes::{Bits, Compute, LANES, Registers, binary};
use super::numbers::{BF16, F16, F32, Format, Rounding, TF32, bf16_value, f16_value, narrow};
use super::vector::{Loop, compute};
use crate::parse::types::Type;
use crate::program::Class;
use crate::program::builder::{Builder, Register, Result};
use std::marker::PhantomData;

/// What a source means.
#[derive(Clone, Copy)]
enum Value {
    Integer(i128),
    Float(f64),
}

/// How a conversion rounds and clamps.
#[derive(Clone, Copy, PartialEq)]
struct How {
    /// Rounding to the target's precision.
    rounding: Rounding,
    /// Rounding to whole numbers, in the same type.
    whole: Option<Rounding>,
    flush: bool,
    saturate: bool,
    relu: bool,
}

impl How {
    /// Rounding and nothing else.
    fn plain(rounding: Rounding) -> Self {
        Self { rounding, whole: None, flush: false, saturate: false, relu: false }
    }
}

fn read(bits: u64, ty: Type) -> Value {
    match ty {
        Type::F16 => Value::Float(f16_value(bits as u16).into()),
        Type::Bf16 => Value::Float(bf16_value(bits as u16).into()),
        Type::F32 => Value::Float(f32::from_bits(bits as u32).into()),
        Type::F64 => Value::Float(f64::from_bits(bits)),
        _ => Value::Integer(integer(bits, ty)),
    }
}

fn integer(bits: u64, ty: Type) -> i128 {
    let width = ty.bytes() as u32 * 8;
    let low = bits & (u64::MAX >> (64 - width));
    if ty.signed() && low >> (width - 1) == 1 { i128::from(low) - (1 << width) } else { low.into() }
}

fn range(ty: Type) -> (i128, i128) {
    let width = ty.bytes() as u32 * 8;
    if ty.signed() { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
}

fn format(ty: Type) -> Format {
    match ty {
        Type::F16 => F16,
        Type::Bf16 => BF16,
        Type::Tf32 => TF32,
        _ => F32,
    }
}

fn to_whole(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Even => x.round_ties_even(),
        Rounding::Away => x.round(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
    }
}

/// The nearest double in a direction, of an integer that may have more than 53 bits.
fn integer_to_f64(value: i128, rounding: Rounding) -> f64 {
    let near = value as f64;
    let back = near as i128;
    match rounding {
        Rounding::Down if back > value => near.next_down(),
        Rounding::Up if back < value => near.next_up(),
        Rounding::Zero if back.abs() > value.abs() => {
            if value > 0 {
                near.next_down()
            } else {
                near.next_up()
            }
        }
        _ => near,
    }
}

fn to_float(x: f64, ty: Type, how: How) -> u64 {
    let tiny = |v: f64| v.abs() < f64::from(f32::MIN_POSITIVE);
    let mut x = x;
    if let Some(rounding) = how.whole {
        x = to_whole(x, rounding);
    }
    if how.saturate {
        x = if x > 0.0 { x.min(1.0) } else { 0.0 };
    }
    if how.relu && x < 0.0 {
        x = 0.0;
    }
    if ty == Type::F64 {
        return x.to_bits();
    }
    let mut bits = narrow(x, format(ty), how.rounding);
    if ty == Type::F32 && how.flush && tiny(f32::from_bits(bits).into()) {
        bits &= 0x8000_0000;
    }
    if ty == Type::Tf32 {
        bits <<= 13;
    }
    bits.into()
}

fn convert(bits: u64, (to, from): (Type, Type), how: How) -> u64 {
    match (read(bits, from), to.integer()) {
        (Value::Integer(value), true) => {
            let (low, high) = range(to);
            (if how.saturate { value.clamp(low, high) } else { integer(value as u64, to) }) as u64
        }
        (Value::Integer(value), false) => {
            if to == Type::F64 {
                return integer_to_f64(value, how.rounding).to_bits();
            }
            // To odd first, so that rounding twice is rounding once.
            let mut x = integer_to_f64(value, Rounding::Zero);
            if x as i128 != value && x.to_bits() & 1 == 0 {
                x = f64::from_bits(x.to_bits() | 1);
            }
            to_float(x, to, how)
        }
        (Value::Float(x), true) => {
            let x = if how.flush && from == Type::F32 && x.abs() < f64::from(f32::MIN_POSITIVE) {
                0.0
            } else {
                x
            };
            if x.is_nan() {
                return 0;
            }
            let (low, high) = range(to);
            let whole = to_whole(x, how.whole.unwrap_or(Rounding::Zero));
            ((whole as i128).clamp(low, high)) as u64
        }
        (Value::Float(x), false) => {
            let flushed = how.flush && from == Type::F32 && x.abs() < f64::from(f32::MIN_POSITIVE);
            to_float(if flushed { 0f64.copysign(x) } else { x }, to, how)
        }
    }
}

/// A result as its register holds it: integers extended, the rest as it is.
fn fill(bits: u64, to: Type, register: Register) -> u64 {
    let value = if to.integer() { integer(bits, to) as u64 } else { bits };
    if register.bits == 16 { value & 0xffff } else { value }
}

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let types = b.modifiers.types();
    let round = b.modifiers.one_of(&["rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"]);
    let flush = b.modifiers.flag("ftz");
    let saturate = b.modifiers.flag("sat");
    let relu = b.modifiers.flag("relu");
    let [to, from] = types[..] else { return b.fail("expected two types") };
    let rounding = round.and_then(Rounding::of).unwrap_or(Rounding::Even);
    let whole = round.filter(|r| r.ends_with('i')).map(|_| rounding);
    let mut how = How { rounding, whole, flush, saturate, relu };
    if how.whole.is_some() {
        how.rounding = Rounding::Even;
    }
    if matches!(to, Type::F16x2 | Type::Bf16x2) {
        return packed(b, to, from, how);
    }
    b.count(2..=2)?;
    let narrows = !to.integer() && (from.integer() || from.bytes() > to.bytes() || to == Type::Tf32);
    if narrows && round.is_none() || to.integer() && !from.integer() && how.whole.is_none() {
        return b.fail("expected a rounding");
    }
    let destination = b.operand(0)?;
    let d = b.any_destination(destination, if to == Type::Tf32 { Type::B32 } else { to })?;
    let source = b.operand(1)?;
    let a = b.any_source(source, from)?;
    let f = move |bits: u64| fill(convert(bits, (to, from), how), to, d);
    let compute = match (a.bits == 64, d.bits == 64) {
        _ if to.integer() && from.integer() && !saturate => integers(a, d, to, from),
        (false, false) => match frequent(a, d, (to, from), how) {
            Some(compute) => compute,
            None => lanes::<u32, u32>(a, d, move |x| f(x.into()) as u32),
        },
        (false, true) => lanes::<u32, u64>(a, d, move |x| f(x.into())),
        (true, false) => lanes::<u64, u32>(a, d, move |x| f(x) as u32),
        (true, true) => lanes::<u64, u64>(a, d, f),
    };
    b.compute(compute, Class::Convert, 0)
}

/// Between integers without clamping: extended from the narrower of the two.
fn integers(a: Register, d: Register, to: Type, from: Type) -> Compute {
    let extend = |ty: Type| {
        let (shift, signed) = (64 - ty.bytes() as u32 * 8, ty.signed());
        move |bits: u64| {
            if signed { ((bits << shift) as i64 >> shift) as u64 } else { bits << shift >> shift }
        }
    };
    let (read, write) = (extend(from), extend(to));
    let keep = if d.bits == 16 { 0xffff } else { u64::MAX };
    let f = move |bits: u64| write(read(bits)) & keep;
    match (to, from) {
        // Addresses and indices, most of all.
        (Type::S64, Type::S32) => lanes(a, d, |x: u32| x as i32 as u64),
        (Type::U64, Type::U32) => lanes(a, d, |x: u32| u64::from(x)),
        (Type::U32, Type::U64) => lanes(a, d, |x: u64| x as u32),
        _ => match (a.bits == 64, d.bits == 64) {
            (false, false) => lanes(a, d, move |x: u32| f(x.into()) as u32),
            (false, true) => lanes(a, d, move |x: u32| f(x.into())),
            (true, false) => lanes(a, d, move |x: u64| f(x) as u32),
            (true, true) => lanes(a, d, f),
        },
    }
}

/// Conversions that kernels make all the time, without branches; they give what [`convert`] gives.
fn frequent(a: Register, d: Register, types: (Type, Type), how: How) -> Option<Compute> {
    if how != How::plain(how.rounding) {
        return None;
    }
    Some(match (types, how.rounding) {
        ((Type::F32, Type::S32), Rounding::Even) => lanes(a, d, |x: u32| (x as i32 as f32).to_bits()),
        ((Type::F32, Type::U32), Rounding::Even) => lanes(a, d, |x: u32| (x as f32).to_bits()),
        ((Type::Bf16, Type::F32), Rounding::Even) => lanes(a, d, bf16_bits),
        ((Type::Tf32, Type::F32), Rounding::Away) => lanes(a, d, tf32_bits),
        _ => return None,
    })
}

/// The nearest bf16 of the bits of a float, ties to even.
#[inline(always)]
fn bf16_bits(bits: u32) -> u32 {
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if bits << 1 > 0xff00_0000 { BF16.nan } else { nearest }
}

/// The nearest tf32 of the bits of a float, ties away from zero.
#[inline(always)]
fn tf32_bits(bits: u32) -> u32 {
    let nearest = bits.wrapping_add(0x1000) & !0x1fff;
    if bits << 1 > 0xff00_0000 { TF32.nan << 13 } else { nearest }
}

fn lanes<A: Bits, D: Bits>(a: Register, d: Register, f: impl Fn(A) -> D + Send + Sync + 'static) -> Compute {
    struct Convert<F, A, D>(usize, usize, F, PhantomData<fn(A) -> D>);

    impl<A: Bits, D: Bits, F: Fn(A) -> D + Send + Sync + 'static> Loop for Convert<F, A, D> {
        #[inline(always)]
        fn run(&self, r: &mut Registers, mask: u32) {
            let &Self(d, a, ref f, _) = self;
            let x = &A::bank(r)[a];
            let mut out = [D::default(); LANES];
            for lane in 0..LANES {
                out[lane] = f(x[lane]);
            }
            r.store(d, mask, &out);
        }
    }

    compute(Convert(d.index, a.index, f, PhantomData))
}

/// Two f32 to a pair: the first goes to the upper half.
fn packed(b: &mut Builder<'_>, to: Type, from: Type, how: How) -> Result<()> {
    b.count(3..=3)?;
    if from != Type::F32 {
        return b.fail("expected f32");
    }
    let element = if to == Type::F16x2 { Type::F16 } else { Type::Bf16 };
    let d = b.dst(to)?;
    let [high, low] = [b.src(1, Type::F32)?, b.src(2, Type::F32)?];
    let compute = if element == Type::Bf16 && how == How::plain(Rounding::Even) {
        binary(d, [high, low], |high: u32, low: u32| bf16_bits(high) << 16 | bf16_bits(low))
    } else {
        let half = move |x: u32| convert(x.into(), (element, Type::F32), how) as u32 & 0xffff;
        binary(d, [high, low], move |high: u32, low: u32| half(high) << 16 | half(low))
    };
    b.compute(compute, Class::Convert, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every exponent, both signs, and every rounding position around the middle.
    #[test]
    fn what_is_quick_is_what_is_general() {
        let ends =
            [0, 1, 0xfff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001, 0x1_8000, 0x7f_e000, 0x7f_ffff];
        for upper in 0..1u32 << 9 {
            for bits in ends.map(|end| upper << 23 | end) {
                let general =
                    |ty, rounding| convert(bits.into(), (ty, Type::F32), How::plain(rounding)) as u32;
                assert_eq!(bf16_bits(bits), general(Type::Bf16, Rounding::Even), "{bits:#x}");
                assert_eq!(tf32_bits(bits), general(Type::Tf32, Rounding::Away), "{bits:#x}");
            }
        }
    }
}
