//! `cvt`: between all types, with every rounding.

use super::lanes::{Bits, Compute, LANES};
use super::numbers::{BF16, F16, F32, Format, Rounding, TF32, bf16_value, f16_value, narrow};
use crate::parse::types::Type;
use crate::program::Class;
use crate::program::builder::{Builder, Register, Result};

/// What a source means.
#[derive(Clone, Copy)]
enum Value {
    Integer(i128),
    Float(f64),
}

/// How a conversion rounds and clamps.
#[derive(Clone, Copy)]
struct How {
    /// Rounding to the target's precision.
    rounding: Rounding,
    /// Rounding to whole numbers, in the same type.
    whole: Option<Rounding>,
    flush: bool,
    saturate: bool,
    relu: bool,
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
    let fast = to.integer() && from.integer() && !saturate;
    let f = move |bits: u64| {
        let out = if fast { bits_only(bits, to, from) } else { convert(bits, (to, from), how) };
        fill(out, to, d)
    };
    let compute = match (a.bits == 64, d.bits == 64) {
        (false, false) => lanes::<u32, u32>(a, d, move |x| f(x.into()) as u32),
        (false, true) => lanes::<u32, u64>(a, d, move |x| f(x.into())),
        (true, false) => lanes::<u64, u32>(a, d, move |x| f(x) as u32),
        (true, true) => lanes::<u64, u64>(a, d, f),
    };
    b.compute(compute, Class::Convert, 0)
}

/// Between integers without clamping: extend from the narrower of the two.
#[inline(always)]
fn bits_only(bits: u64, to: Type, from: Type) -> u64 {
    let shift = 64 - from.bytes() as u32 * 8;
    let value = if from.signed() { ((bits << shift) as i64 >> shift) as u64 } else { bits << shift >> shift };
    let shift = 64 - to.bytes() as u32 * 8;
    value << shift >> shift
}

fn lanes<A: Bits, D: Bits>(a: Register, d: Register, f: impl Fn(A) -> D + Send + Sync + 'static) -> Compute {
    Box::new(move |r, mask| {
        let x = &A::bank(r)[a.index];
        let mut out = [D::default(); LANES];
        for lane in 0..LANES {
            out[lane] = f(x[lane]);
        }
        r.store(d.index, mask, &out);
    })
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
    let compute: Compute = Box::new(move |r, mask| {
        let half = |register: usize, lane: usize| {
            convert(r.words[register][lane].into(), (element, Type::F32), how) as u32 & 0xffff
        };
        let out = std::array::from_fn(|lane| half(high, lane) << 16 | half(low, lane));
        r.store(d, mask, &out);
    });
    b.compute(compute, Class::Convert, 0)
}
