//! What a warpgroup does together: asynchronous products and their fences, the number of registers.

use super::half::format;
use super::product::INNER;
use crate::execute::warpgroup::{GroupStep, Multiply, flops};
use crate::parse::syntax::Operand;
use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};
use crate::program::{Class, Step};

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    b.needs_warpgroups()?;
    if !b.modifiers.flag("sync") || !b.modifiers.flag("aligned") {
        return b.fail("expected .sync.aligned");
    }
    let step = match b.modifiers.one_of(&["fence", "commit_group", "wait_group", "mma_async"]) {
        Some("mma_async") => return multiply(b),
        Some("fence") => GroupStep::Fence,
        Some("commit_group") => GroupStep::Commit,
        Some(_) => {
            b.count(1..=1)?;
            GroupStep::Wait(number(b, 0)? as usize)
        }
        None => return b.fail("not emulated"),
    };
    if !matches!(step, GroupStep::Wait(_)) {
        b.count(0..=0)?;
    }
    b.push(Step::Warpgroup(step), Class::Control, 0)
}

/// A number that must stand in the PTX.
fn number(b: &Builder<'_>, index: usize) -> Result<u32> {
    match b.operand(index)? {
        Operand::Integer(value) if u32::try_from(*value).is_ok() => Ok(*value as u32),
        _ => b.fail(format!("operand {} must be a number", index + 1)),
    }
}

fn multiply(b: &mut Builder<'_>) -> Result<()> {
    let types = b.modifiers.types();
    let element = match types[..] {
        [Type::F32, left, right] if left == right && matches!(left, Type::F16 | Type::Bf16) => left,
        _ => return b.fail("only sums in f32 of f16 or bf16 are emulated"),
    };
    let shape = b.modifiers.strip("m64n").unwrap_or_default();
    let columns: usize = match shape.split_once('k').map(|(n, k)| (n.parse(), k.parse())) {
        Some((Ok(n), Ok(INNER))) if n % 8 == 0 && (8..=256).contains(&n) => n,
        _ => return b.fail("unknown shape: m64nNk16 with N of 8 to 256 in steps of 8 is emulated"),
    };
    if matches!(b.operand(1)?, Operand::List(_)) {
        return b.fail("A in registers is not emulated");
    }
    b.count(8..=8)?;
    let list = b.elements(0)?;
    if list.len() != columns / 2 {
        return b.fail(format!("{} registers of sums, expected {}", list.len(), columns / 2));
    }
    let mut sums = Vec::new();
    for operand in list {
        let register = b.destination(operand, Type::F32)?;
        if register == 0 || sums.contains(&register) {
            return b.fail("the registers of the sums must be different ones");
        }
        sums.push(register);
    }
    let descriptors = [b.src(1, Type::B64)?, b.src(2, Type::B64)?];
    let operand = b.operand(3)?;
    let adds = b.predicate(operand)?;
    let mut signs = [0.0; 2];
    let mut transposed = [false; 2];
    for i in 0..2 {
        signs[i] = match b.operand(4 + i)? {
            Operand::Integer(1) => 1.0,
            Operand::Integer(-1) => -1.0,
            _ => return b.fail("imm-scale must be 1 or -1"),
        };
        transposed[i] = match b.operand(6 + i)? {
            Operand::Integer(value @ (0 | 1)) => *value == 1,
            _ => return b.fail("imm-trans must be 0 or 1"),
        };
    }
    let Some((format, false)) = format(element) else { return b.fail("not for this type") };
    let multiply = Multiply { sums: sums.into(), descriptors, transposed, signs, adds, columns, format };
    b.push(Step::Warpgroup(GroupStep::Multiply(multiply)), Class::Matrix, flops(columns))
}

/// `setmaxnreg`
pub(super) fn registers(b: &mut Builder<'_>) -> Result<()> {
    b.needs_warpgroups()?;
    let ty = b.ty()?;
    let change = b.modifiers.one_of(&["inc", "dec"]);
    if change.is_none() || !b.modifiers.flag("sync") || !b.modifiers.flag("aligned") || ty != Type::U32 {
        return b.fail("expected .inc or .dec, .sync.aligned and .u32");
    }
    b.count(1..=1)?;
    let count = number(b, 0)?;
    if !count.is_multiple_of(8) || !(24..=256).contains(&count) {
        return b.fail(format!("{count} registers: a multiple of 8 from 24 to 256 is possible"));
    }
    b.push(Step::Warpgroup(GroupStep::Registers(count)), Class::Control, 0)
}
