//! Moves, packing and unpacking of vectors, addresses of spaces, clocks.

use super::lanes::{Compute, LANES, unary};
use crate::memory::{DEVICE_BASE, LOCAL_BASE, PARAM_BASE, SHARED_BASE, WINDOW};
use crate::parse::syntax::{Operand, Space};
use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};
use crate::program::{Access, Class, names::clock};

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let name = b.modifiers.name.clone();
    match name.as_str() {
        "mov" => mov(b),
        "cvta" => cvta(b),
        _ => isspacep(b),
    }
}

fn mov(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    b.count(2..=2)?;
    match (b.operand(0)?, b.operand(1)?) {
        (Operand::List(parts), whole) => return unpack(b, ty, parts, whole),
        (whole, Operand::List(parts)) => return pack(b, ty, whole, parts),
        (d, Operand::Name(name)) if clock(name).is_some() => {
            let (wide, nanoseconds) = clock(name).unwrap_or_default();
            if wide != (ty.bytes() == 8) {
                return b.fail("the clock has another width");
            }
            let d = b.destination(d, ty)?;
            let access: Access = Box::new(move |warp, block, mask| {
                let value = block.executed * if nanoseconds { 32 } else { 4 };
                if wide {
                    warp.registers.store(d, mask, &[value; LANES]);
                } else {
                    warp.registers.store(d, mask, &[value as u32; LANES]);
                }
                Ok(())
            });
            return b.access(access, Class::Move);
        }
        _ => {}
    }
    if ty == Type::Pred {
        let d = b.operand(0)?;
        let d = b.predicate_destination(d)?;
        let compute: Compute = match b.operand(1)? {
            Operand::Integer(value) => {
                let all = if *value != 0 { u32::MAX } else { 0 };
                Box::new(move |r, mask| r.store_predicate(d, mask, all))
            }
            source => {
                let (p, negated) = b.predicate(source)?;
                Box::new(move |r, mask| {
                    let value = if negated { !r.predicates[p] } else { r.predicates[p] };
                    r.store_predicate(d, mask, value);
                })
            }
        };
        return b.compute(compute, Class::Move, 0);
    }
    let (d, x) = (b.dst(ty)?, b.src(1, ty)?);
    let compute = if ty.bytes() == 8 { unary(d, x, |x: u64| x) } else { unary(d, x, |x: u32| x) };
    b.compute(compute, Class::Move, 0)
}

fn part_type(b: &Builder<'_>, ty: Type, parts: usize) -> Result<Type> {
    match ty.bytes() / parts.max(1) {
        1 => Ok(Type::B8),
        2 => Ok(Type::B16),
        4 => Ok(Type::B32),
        _ => b.fail("a vector of another size"),
    }
}

/// `mov.b64 {lo, hi}, x`
fn unpack(b: &mut Builder<'_>, ty: Type, parts: &[Operand], whole: &Operand) -> Result<()> {
    let part = part_type(b, ty, parts.len())?;
    let x = b.source(whole, ty)?;
    let wide = ty.bytes() == 8;
    let bits = part.bytes() * 8;
    let mut to = Vec::new();
    for operand in parts {
        to.push(b.destination(operand, part)?);
    }
    let keep = (u64::MAX >> (64 - bits)) as u32;
    let compute: Compute = Box::new(move |r, mask| {
        let values: [u64; LANES] = std::array::from_fn(|lane| r.lane(wide, x, lane));
        for (i, &d) in to.iter().enumerate() {
            let out = values.map(|v| (v >> (i * bits)) as u32 & keep);
            r.store(d, mask, &out);
        }
    });
    b.compute(compute, Class::Move, 0)
}

/// `mov.b64 x, {lo, hi}`
fn pack(b: &mut Builder<'_>, ty: Type, whole: &Operand, parts: &[Operand]) -> Result<()> {
    let part = part_type(b, ty, parts.len())?;
    let d = b.destination(whole, ty)?;
    let bits = part.bytes() * 8;
    let mut from = Vec::new();
    for operand in parts {
        from.push(b.source(operand, part)?);
    }
    let wide = ty.bytes() == 8;
    let keep = u64::MAX >> (64 - bits);
    let compute: Compute = Box::new(move |r, mask| {
        let mut out = [0u64; LANES];
        for (i, &x) in from.iter().enumerate() {
            for lane in 0..LANES {
                out[lane] |= (u64::from(r.words[x][lane]) & keep) << (i * bits);
            }
        }
        if wide {
            r.store(d, mask, &out);
        } else {
            r.store(d, mask, &out.map(|v| v as u32));
        }
    });
    b.compute(compute, Class::Move, 0)
}

/// A space by its modifier; `.shared::cta` is `.shared`.
pub(super) fn space(b: &mut Builder<'_>) -> Option<Space> {
    let found = b.modifiers.one_of(&[
        "global",
        "shared",
        "shared::cta",
        "local",
        "const",
        "param",
        "param::entry",
    ])?;
    Some(match found {
        "global" => Space::Global,
        "local" => Space::Local,
        "const" => Space::Const,
        "param" | "param::entry" => Space::Param,
        _ => Space::Shared,
    })
}

/// Where a space begins in generic addressing.
fn base(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_BASE,
        Space::Local => LOCAL_BASE,
        Space::Param => PARAM_BASE,
        Space::Global | Space::Const | Space::Generic => 0,
    }
}

fn cvta(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    let to = b.modifiers.flag("to");
    let Some(space) = space(b) else { return b.fail("expected a space") };
    if ty.bytes() != 8 {
        return b.fail("only 64-bit addresses are emulated");
    }
    b.count(2..=2)?;
    let base = base(space);
    let (d, x) = (b.dst(ty)?, b.src(1, ty)?);
    let compute = if to {
        unary(d, x, move |x: u64| x.wrapping_sub(base))
    } else {
        unary(d, x, move |x: u64| x.wrapping_add(base))
    };
    b.compute(compute, Class::Integer, 0)
}

fn isspacep(b: &mut Builder<'_>) -> Result<()> {
    let Some(space) = space(b) else { return b.fail("expected a space") };
    let operand = b.operand(0)?;
    let d = b.predicate_destination(operand)?;
    let x = b.src(1, Type::B64)?;
    let base = base(space);
    let compute: Compute = Box::new(move |r, mask| {
        let mut out = 0;
        for lane in 0..LANES {
            let address = r.wides[x][lane];
            let inside = match base {
                0 => address >= DEVICE_BASE,
                _ => address >= base && address - base < WINDOW,
            };
            out |= u32::from(inside) << lane;
        }
        r.store_predicate(d, mask, out);
    });
    b.compute(compute, Class::Move, 0)
}
