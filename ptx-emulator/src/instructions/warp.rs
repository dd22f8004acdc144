//! Exchange between the lanes of a warp.

use super::lanes::{Compute, LANES};
use crate::error::{Fault, FindingKind};
use crate::execute::warp::lanes;
use crate::parse::syntax::Operand;
use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};
use crate::program::{Access, Class, Step};

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let name = b.modifiers.name.clone();
    if name == "activemask" {
        let ty = b.ty()?;
        let d = b.dst(ty)?;
        let compute: Compute = Box::new(move |r, mask| r.store(d, mask, &[mask; LANES]));
        return b.compute(compute, Class::Warp, 0);
    }
    if !b.modifiers.flag("sync") {
        return b.fail("only the .sync form is emulated");
    }
    b.modifiers.flag("aligned");
    if name == "elect" {
        return elect(b);
    }
    match name.as_str() {
        "shfl" => shuffle(b),
        "vote" => vote(b),
        "match" => matching(b),
        _ => redux(b),
    }
}

fn push(b: &mut Builder<'_>, members: usize, action: Access) -> Result<()> {
    b.push(Step::Collective { members: Some(members), action }, Class::Warp, 0)
}

/// `elect.sync`: one lane of those that take part; here the lowest.
fn elect(b: &mut Builder<'_>) -> Result<()> {
    b.needs(90)?;
    b.count(2..=2)?;
    let Operand::Pair(d, p) = b.operand(0)? else { return b.fail("expected two destinations") };
    let (d, p) = (b.destination(d, Type::B32)?, b.predicate_destination(p)?);
    let members = b.src(1, Type::B32)?;
    let action: Access = Box::new(move |warp, _, mask| {
        let leader = mask.trailing_zeros();
        warp.registers.store(d, mask, &[leader; LANES]);
        warp.registers.store_predicate(p, mask, 1 << (leader % LANES as u32));
        Ok(())
    });
    push(b, members, action)
}

/// `shfl.sync`: within segments given by the upper bits of the last but one operand; its lower bits clamp.
fn shuffle(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    let Some(mode) = b.modifiers.one_of(&["up", "down", "bfly", "idx"]) else {
        return b.fail("expected a mode");
    };
    b.count(5..=5)?;
    let (d, p) = match b.operand(0)? {
        Operand::Pair(d, p) => (b.destination(d, ty)?, Some(b.predicate_destination(p)?)),
        d => (b.destination(d, ty)?, None),
    };
    let (x, by, c) = (b.src(1, ty)?, b.src(2, Type::B32)?, b.src(3, Type::B32)?);
    let members = b.src(4, Type::B32)?;
    let action: Access = Box::new(move |warp, _, mask| {
        let r = &warp.registers;
        let mut out = [0; LANES];
        let mut valid = 0;
        for lane in lanes(mask) {
            let (offset, control) = (r.words[by][lane] & 31, r.words[c][lane]);
            let (segment, clamp) = (control >> 8 & 31, control & 31);
            let own = lane as u32;
            let last = own & segment | clamp & !segment;
            let first = own & segment;
            let (source, inside) = match mode {
                // For up the clamp is the lowest lane; compared as signed numbers.
                "up" => (own.wrapping_sub(offset), own as i32 - offset as i32 >= last as i32),
                "down" => (own + offset, own + offset <= last),
                "bfly" => (own ^ offset, own ^ offset <= last),
                _ => (first | offset & !segment, first | offset & !segment <= last),
            };
            let source = if inside { source } else { own };
            if mask >> source & 1 == 0 {
                let message = format!("reads lane {source}, which takes no part (mask {mask:#010x})");
                return Err(Fault::of(FindingKind::MissingLanes, own, message));
            }
            out[lane] = r.words[x][source as usize];
            valid |= u32::from(inside) << lane;
        }
        warp.registers.store(d, mask, &out);
        if let Some(p) = p {
            warp.registers.store_predicate(p, mask, valid);
        }
        Ok(())
    });
    push(b, members, action)
}

fn vote(b: &mut Builder<'_>) -> Result<()> {
    b.modifiers.types();
    let Some(mode) = b.modifiers.one_of(&["all", "any", "uni", "ballot"]) else {
        return b.fail("expected a mode");
    };
    b.count(3..=3)?;
    let operand = b.operand(1)?;
    let (p, negated) = b.predicate(operand)?;
    let members = b.src(2, Type::B32)?;
    let operand = b.operand(0)?;
    let ballot = mode == "ballot";
    let d = if ballot { b.destination(operand, Type::B32)? } else { b.predicate_destination(operand)? };
    let action: Access = Box::new(move |warp, _, mask| {
        let value = warp.registers.predicates[p];
        let value = mask & if negated { !value } else { value };
        let yes = match mode {
            "all" => value == mask,
            "any" => value != 0,
            _ => value == mask || value == 0,
        };
        if ballot {
            warp.registers.store(d, mask, &[value; LANES]);
        } else {
            warp.registers.store_predicate(d, mask, if yes { u32::MAX } else { 0 });
        }
        Ok(())
    });
    push(b, members, action)
}

fn matching(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    let Some(mode) = b.modifiers.one_of(&["any", "all"]) else { return b.fail("expected .any or .all") };
    b.count(3..=3)?;
    let (d, p) = match b.operand(0)? {
        Operand::Pair(d, p) => (b.destination(d, Type::B32)?, Some(b.predicate_destination(p)?)),
        d => (b.destination(d, Type::B32)?, None),
    };
    let x = b.src(1, ty)?;
    let members = b.src(2, Type::B32)?;
    let wide = ty.bytes() == 8;
    let action: Access = Box::new(move |warp, _, mask| {
        let values: [u64; LANES] = std::array::from_fn(|lane| warp.registers.lane(wide, x, lane));
        let equal =
            |own: usize| lanes(mask).filter(|&l| values[l] == values[own]).fold(0u32, |all, l| all | 1 << l);
        let groups: [u32; LANES] = std::array::from_fn(equal);
        let all = equal(mask.trailing_zeros() as usize % LANES) == mask;
        if mode == "any" {
            warp.registers.store(d, mask, &groups);
        } else {
            warp.registers.store(d, mask, &[if all { mask } else { 0 }; LANES]);
        }
        if let Some(p) = p {
            warp.registers.store_predicate(p, mask, if all { u32::MAX } else { 0 });
        }
        Ok(())
    });
    push(b, members, action)
}

fn redux(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    let Some(name) = b.modifiers.one_of(&["add", "min", "max", "and", "or", "xor"]) else {
        return b.fail("expected an operation");
    };
    b.count(3..=3)?;
    let (d, x) = (b.dst(ty)?, b.src(1, ty)?);
    let members = b.src(2, Type::B32)?;
    let signed = ty.signed();
    let f = move |x: u32, y: u32| match name {
        "add" => x.wrapping_add(y),
        "and" => x & y,
        "or" => x | y,
        "xor" => x ^ y,
        "min" if signed => (x as i32).min(y as i32) as u32,
        "max" if signed => (x as i32).max(y as i32) as u32,
        "min" => x.min(y),
        _ => x.max(y),
    };
    let action: Access = Box::new(move |warp, _, mask| {
        let values = warp.registers.words[x];
        let total = lanes(mask).map(|lane| values[lane]).reduce(f).unwrap_or_default();
        warp.registers.store(d, mask, &[total; LANES]);
        Ok(())
    });
    push(b, members, action)
}
