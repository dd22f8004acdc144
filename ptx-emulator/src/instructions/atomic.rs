//! Atomic operations and reductions.

use super::half::{format, value};
use super::memory::address_of;
use super::moves::space;
use super::numbers::{Rounding, fma_odd, narrow};
use crate::execute::spaces::Request;
use crate::execute::warp::lanes;
use crate::parse::syntax::Space;
use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};
use crate::program::{Access, Class};

/// Old value, operands: new value.
type Update = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let returns = b.modifiers.name == "atom";
    let ty = b.ty()?;
    let space = space(b).unwrap_or(Space::Generic);
    let acquire = b.modifiers.flag("acquire") | b.modifiers.flag("acq_rel");
    let release = b.modifiers.flag("release");
    b.modifiers.drop_all(&["relaxed", "cta", "gpu", "sys", "noftz"]);
    let Some(name) =
        b.modifiers.one_of(&["add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"])
    else {
        return b.fail("expected an operation");
    };
    let first = usize::from(returns);
    let operands = if name == "cas" { 2 } else { 1 };
    b.count(first + 1 + operands..=first + 1 + operands)?;
    let (address, _) = b.address(first)?;
    let x = b.src(first + 1, ty)?;
    let y = if operands == 2 { b.src(first + 2, ty)? } else { x };
    let d = if returns { Some(b.dst(ty)?) } else { None };
    let Some(update) = update(name, ty) else { return b.fail("not for this type") };
    let (wide, bytes) = (ty.bytes() == 8, ty.bytes());
    let access: Access = Box::new(move |warp, block, mask| {
        block.fenced |= release || acquire;
        for lane in lanes(mask) {
            let request = Request { space, lane, address: address_of(warp, address, lane), bytes };
            let (x, y) = (warp.registers.lane(wide, x, lane), warp.registers.lane(wide, y, lane));
            let old = block.atomic(warp, request, |old| update(old, x, y))?;
            match d {
                Some(d) if wide => warp.registers.wides[d][lane] = old,
                Some(d) => warp.registers.words[d][lane] = old as u32,
                None => {}
            }
        }
        Ok(())
    });
    b.access(access, Class::Atomic)
}

fn update(name: &str, ty: Type) -> Option<Update> {
    let wide = ty.bytes() == 8;
    Some(match (name, ty) {
        ("exch", _) => Box::new(|_, x, _| x),
        ("cas", _) => Box::new(|old, expected, new| if old == expected { new } else { old }),
        ("and", _) if ty.integer() => Box::new(|old, x, _| old & x),
        ("or", _) if ty.integer() => Box::new(|old, x, _| old | x),
        ("xor", _) if ty.integer() => Box::new(|old, x, _| old ^ x),
        ("inc", Type::U32) => Box::new(|old, x, _| if old >= x { 0 } else { old + 1 }),
        ("dec", Type::U32) => Box::new(|old, x, _| if old == 0 || old > x { x } else { old - 1 }),
        ("add", Type::F32) => Box::new(|old, x, _| {
            // Cards flush subnormals in atomic additions to global memory; not emulated.
            (f32::from_bits(old as u32) + f32::from_bits(x as u32)).to_bits().into()
        }),
        ("add", Type::F64) => Box::new(|old, x, _| (f64::from_bits(old) + f64::from_bits(x)).to_bits()),
        ("add", Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2) => {
            let (format, pair) = format(ty)?;
            let add = move |x: u64, y: u64, shift: u32| {
                let half = |bits: u64| f64::from(value((bits >> shift) as u16, format));
                u64::from(narrow(fma_odd(half(x), 1.0, half(y)), format, Rounding::Even)) << shift
            };
            Box::new(move |old, x, _| add(old, x, 0) | if pair { add(old, x, 16) } else { 0 })
        }
        ("add", _) if ty.integer() => Box::new(|old, x, _| old.wrapping_add(x)),
        ("min", _) if ty.integer() => Box::new(move |old, x, _| if less(old, x, ty, wide) { old } else { x }),
        ("max", _) if ty.integer() => Box::new(move |old, x, _| if less(old, x, ty, wide) { x } else { old }),
        _ => return None,
    })
}

fn less(x: u64, y: u64, ty: Type, wide: bool) -> bool {
    match (ty.signed(), wide) {
        (true, true) => (x as i64) < y as i64,
        (true, false) => (x as i32) < y as i32,
        (false, _) => x < y,
    }
}
