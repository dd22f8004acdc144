//! Comparisons and selections.

use super::half::{format, value};
use super::integer::with_integer;
use super::lanes::{Bits, Compute, LANES, Registers, Typed, test};
use super::numbers::Format;
use crate::parse::syntax::Operand;
use crate::parse::types::Type;
use crate::program::Class;
use crate::program::builder::{Builder, Result};
use std::cmp::Ordering;

/// A test of all lanes: one bit each.
type Test = Box<dyn Fn(&Registers) -> u32 + Send + Sync>;

const COMPARISONS: [&str; 20] = [
    "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls",
    "hi", "hs", "", "",
];

/// Whether a comparison holds for an order; `None` is unordered.
fn holds(name: &str) -> Option<fn(Option<Ordering>) -> bool> {
    use Ordering::{Equal, Greater, Less};
    Some(match name {
        "eq" => |o| o == Some(Equal),
        "ne" => |o| matches!(o, Some(Less | Greater)),
        "lt" | "lo" => |o| o == Some(Less),
        "le" | "ls" => |o| matches!(o, Some(Less | Equal)),
        "gt" | "hi" => |o| o == Some(Greater),
        "ge" | "hs" => |o| matches!(o, Some(Greater | Equal)),
        "equ" => |o| !matches!(o, Some(Less | Greater)),
        "neu" => |o| o != Some(Equal),
        "ltu" => |o| !matches!(o, Some(Equal | Greater)),
        "leu" => |o| o != Some(Greater),
        "gtu" => |o| !matches!(o, Some(Less | Equal)),
        "geu" => |o| o != Some(Less),
        "num" => |o| o.is_some(),
        "nan" => |o| o.is_none(),
        _ => return None,
    })
}

fn typed<T: Typed + PartialOrd>(from: [usize; 2], name: &str) -> Option<Test> {
    // The common ones as loops that vectorise.
    Some(match name {
        "eq" => Box::new(move |r| test::<T>(r, from, |x, y| x == y)),
        "lt" | "lo" => Box::new(move |r| test::<T>(r, from, |x, y| x < y)),
        "le" | "ls" => Box::new(move |r| test::<T>(r, from, |x, y| x <= y)),
        "gt" | "hi" => Box::new(move |r| test::<T>(r, from, |x, y| x > y)),
        "ge" | "hs" => Box::new(move |r| test::<T>(r, from, |x, y| x >= y)),
        _ => {
            let holds = holds(name)?;
            Box::new(move |r| test::<T>(r, from, |x, y| holds(x.partial_cmp(&y))))
        }
    })
}

/// Compares halves of 32-bit registers.
fn halves(from: [usize; 2], name: &str, format: Format, shift: u32) -> Option<Test> {
    let holds = holds(name)?;
    let half = move |bits: u32| value((bits >> shift) as u16, format);
    Some(Box::new(move |r| test::<u32>(r, from, |x, y| holds(half(x).partial_cmp(&half(y))))))
}

fn flushed(from: [usize; 2], name: &str) -> Option<Test> {
    let holds = holds(name)?;
    let flush = |x: f32| if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x };
    Some(Box::new(move |r| test::<f32>(r, from, |x, y| holds(flush(x).partial_cmp(&flush(y))))))
}

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let name = b.modifiers.name.clone();
    match name.as_str() {
        "setp" => setp(b),
        "set" => set(b),
        "selp" => selp(b),
        "slct" => slct(b),
        _ => testp(b),
    }
}

/// The tests of `setp` and `set`: two for pairs of halves.
fn comparison(b: &mut Builder<'_>, ty: Type, first: usize) -> Result<Vec<Test>> {
    let comparison = b.modifiers.one_of(&COMPARISONS).unwrap_or_default();
    let flush = b.modifiers.flag("ftz");
    let from = [b.src(first, ty)?, b.src(first + 1, ty)?];
    let tests = if let Some((format, pair)) = format(ty) {
        let shifts: &[u32] = if pair { &[0, 16] } else { &[0] };
        shifts.iter().map(|&shift| halves(from, comparison, format, shift)).collect()
    } else {
        let one = match ty {
            Type::F32 if flush => flushed(from, comparison),
            Type::F32 => typed::<f32>(from, comparison),
            Type::F64 => typed::<f64>(from, comparison),
            _ => with_integer!(b, ty, T => match comparison {
                "ne" => {
                    let test: Test = Box::new(move |r| test::<T>(r, from, |x, y| x != y));
                    Some(test)
                }
                _ => typed::<T>(from, comparison),
            }),
        };
        one.map(|test| vec![test])
    };
    tests.ok_or_else(|| b.error("expected a comparison"))
}

/// `.and`, `.or` or `.xor` with a further predicate.
type Combination = Option<(fn(u32, u32) -> u32, usize, bool)>;

fn combination(b: &mut Builder<'_>, operand: usize) -> Result<Combination> {
    let f: fn(u32, u32) -> u32 = match b.modifiers.one_of(&["and", "or", "xor"]) {
        None => return Ok(None),
        Some("and") => |x, y| x & y,
        Some("or") => |x, y| x | y,
        Some(_) => |x, y| x ^ y,
    };
    let operand = b.operand(operand)?;
    let (p, negated) = b.predicate(operand)?;
    Ok(Some((f, p, negated)))
}

fn combine(r: &Registers, value: u32, with: Combination) -> u32 {
    match with {
        None => value,
        Some((f, p, negated)) => f(value, if negated { !r.predicates[p] } else { r.predicates[p] }),
    }
}

fn setp(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    let with = combination(b, 3)?;
    b.count(if with.is_some() { 4..=4 } else { 3..=3 })?;
    let tests = comparison(b, ty, 1)?;
    let (p, q) = match b.operand(0)? {
        Operand::Pair(p, q) => (b.predicate_destination(p)?, Some(b.predicate_destination(q)?)),
        p => (b.predicate_destination(p)?, None),
    };
    let compute: Compute = Box::new(move |r, mask| {
        let value = (tests[0])(r);
        let first = combine(r, value, with);
        // The second result is the opposite, or the upper half's.
        let second = match tests.get(1) {
            Some(test) => combine(r, test(r), with),
            None => combine(r, !value, with),
        };
        r.store_predicate(p, mask, first);
        if let Some(q) = q {
            r.store_predicate(q, mask, second);
        }
    });
    b.compute(compute, Class::Move, 0)
}

fn set(b: &mut Builder<'_>) -> Result<()> {
    let types = b.modifiers.types();
    let [to, from] = types[..] else { return b.fail("expected two types") };
    let with = combination(b, 3)?;
    let tests = comparison(b, from, 1)?;
    let d = b.dst(to)?;
    let (one, upper) = match to {
        Type::U32 | Type::S32 if tests.len() == 1 => (u32::MAX, 0),
        Type::F32 => (1f32.to_bits(), 0),
        Type::F16 => (0x3c00, 0),
        Type::Bf16 => (0x3f80, 0),
        Type::U16 | Type::S16 => (0xffff, 0),
        Type::F16x2 => (0x3c00, 0x3c00 << 16),
        Type::Bf16x2 => (0x3f80, 0x3f80 << 16),
        Type::U32 | Type::S32 => (0xffff, 0xffff << 16),
        _ => return b.fail("not a type for set"),
    };
    let compute: Compute = Box::new(move |r, mask| {
        let low = combine(r, (tests[0])(r), with);
        let high = tests.get(1).map_or(0, |test| combine(r, test(r), with));
        let bit = |bits: u32, lane: usize, value: u32| if bits >> lane & 1 == 1 { value } else { 0 };
        let out = std::array::from_fn(|lane| bit(low, lane, one) | bit(high, lane, upper));
        r.store(d, mask, &out);
    });
    b.compute(compute, Class::Move, 0)
}

/// Of each lane the value in `yes` if its bit is set, in `no` otherwise.
fn select<B: Bits>(chosen: u32, yes: &[B; LANES], no: &[B; LANES]) -> [B; LANES] {
    let mut out = *no;
    for lane in 0..LANES {
        if chosen >> lane & 1 == 1 {
            out[lane] = yes[lane];
        }
    }
    out
}

fn selp(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    b.count(4..=4)?;
    let (d, x, y) = (b.dst(ty)?, b.src(1, ty)?, b.src(2, ty)?);
    let operand = b.operand(3)?;
    let (p, negated) = b.predicate(operand)?;
    let wide = ty.bytes() == 8;
    let compute: Compute = Box::new(move |r, mask| {
        let chosen = if negated { !r.predicates[p] } else { r.predicates[p] };
        if wide {
            let out = select(chosen, &r.wides[x], &r.wides[y]);
            r.store(d, mask, &out);
        } else {
            let out = select(chosen, &r.words[x], &r.words[y]);
            r.store(d, mask, &out);
        }
    });
    b.compute(compute, Class::Move, 0)
}

/// `slct`: the first if the third operand is not negative (nor NaN).
fn slct(b: &mut Builder<'_>) -> Result<()> {
    let types = b.modifiers.types();
    let [ty, by] = types[..] else { return b.fail("expected two types") };
    let flush = b.modifiers.flag("ftz");
    b.count(4..=4)?;
    let (d, x, y, c) = (b.dst(ty)?, b.src(1, ty)?, b.src(2, ty)?, b.src(3, by)?);
    let float = match by {
        Type::S32 => false,
        Type::F32 => true,
        _ => return b.fail("expected s32 or f32"),
    };
    let wide = ty.bytes() == 8;
    let compute: Compute = Box::new(move |r, mask| {
        let first = |lane: usize| {
            let bits = r.words[c][lane];
            let x = f32::from_bits(bits);
            if float { x >= 0.0 || flush && x.abs() < f32::MIN_POSITIVE } else { bits as i32 >= 0 }
        };
        if wide {
            let out = std::array::from_fn(|l| if first(l) { r.wides[x][l] } else { r.wides[y][l] });
            r.store(d, mask, &out);
        } else {
            let out = std::array::from_fn(|l| if first(l) { r.words[x][l] } else { r.words[y][l] });
            r.store(d, mask, &out);
        }
    });
    b.compute(compute, Class::Move, 0)
}

fn testp(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    let kinds = ["finite", "infinite", "number", "notanumber", "normal", "subnormal"];
    let Some(kind) = b.modifiers.one_of(&kinds) else { return b.fail("expected what to test") };
    let operand = b.operand(0)?;
    let d = b.predicate_destination(operand)?;
    let x = b.src(1, ty)?;
    let is = move |class: std::num::FpCategory| {
        use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal, Zero};
        match kind {
            "finite" => matches!(class, Zero | Normal | Subnormal),
            "infinite" => class == Infinite,
            "number" => class != Nan,
            "notanumber" => class == Nan,
            // The manual counts zero as subnormal's opposite of nothing: neither normal nor subnormal.
            "normal" => class == Normal,
            _ => class == Subnormal,
        }
    };
    let compute: Compute = match ty {
        Type::F32 => Box::new(move |r, mask| {
            let value = test::<f32>(r, [x, x], |x, _| is(x.classify()));
            r.store_predicate(d, mask, value);
        }),
        Type::F64 => Box::new(move |r, mask| {
            let value = test::<f64>(r, [x, x], |x, _| is(x.classify()));
            r.store_predicate(d, mask, value);
        }),
        _ => return b.fail("expected f32 or f64"),
    };
    b.compute(compute, Class::Move, 0)
}
