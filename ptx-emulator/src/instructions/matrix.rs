//! Tensor cores: `mma` and `ldmatrix`, with the manual's fragment layouts.
//!
//! Sums are formed in f32, ascending in k; a card adds in another order: compare with tolerances.

use super::half::{format, value};
use super::lanes::LANES;
use super::memory::{address_of, count};
use super::moves::space;
use super::numbers::{F16, Rounding, f16_value, narrow};
use crate::execute::spaces::Request;
use crate::parse::syntax::Space;
use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};
use crate::program::{Access, Class, Step};

/// Rows of A and C.
const M: usize = 16;
/// Columns of B and C.
const N: usize = 8;
/// Largest inner extent.
const K: usize = 16;

/// An element within the fragments of a warp: lane, register, half of it.
type Place = (usize, usize, usize);

/// Where `A[row][k]` lies; `pair` types have two elements in a register.
fn place_a(row: usize, k: usize, pair: bool) -> Place {
    let lower = usize::from(row >= 8);
    if pair {
        (row % 8 * 4 + k % 8 / 2, lower + 2 * (k / 8), k % 2)
    } else {
        (row % 8 * 4 + k % 4, lower + 2 * (k / 4), 0)
    }
}

/// Where `B[k][column]` lies.
fn place_b(k: usize, column: usize, pair: bool) -> Place {
    if pair { (column * 4 + k % 8 / 2, k / 8, k % 2) } else { (column * 4 + k % 4, k / 4, 0) }
}

/// Where `C[row][column]` lies: f32 has an element per register, f16 two.
fn place_c(row: usize, column: usize, pair: bool) -> Place {
    let (lane, lower) = (row % 8 * 4 + column / 2, usize::from(row >= 8));
    if pair { (lane, lower, column % 2) } else { (lane, 2 * lower + column % 2, 0) }
}

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    if b.modifiers.name == "ldmatrix" { ldmatrix(b) } else { mma(b) }
}

fn mma(b: &mut Builder<'_>) -> Result<()> {
    let types = b.modifiers.types();
    if !b.modifiers.flag("sync") || !b.modifiers.flag("aligned") {
        return b.fail("expected .sync.aligned");
    }
    let shape = b.modifiers.one_of(&["m16n8k16", "m16n8k8", "m16n8k4"]);
    if !b.modifiers.flag("row") || !b.modifiers.flag("col") {
        return b.fail("expected .row.col");
    }
    let (Some(shape), &[to, a, second, from]) = (shape, &types[..]) else {
        return b.fail("unknown shape or types");
    };
    let k = match shape {
        "m16n8k16" => 16,
        "m16n8k8" => 8,
        _ => 4,
    };
    let pair = matches!(a, Type::F16 | Type::Bf16);
    let known = match (a, k) {
        (Type::F16, 8 | 16) => to == from && matches!(to, Type::F32 | Type::F16),
        (Type::Bf16, 8 | 16) | (Type::Tf32, 4 | 8) => to == Type::F32 && from == Type::F32,
        _ => false,
    };
    if !known || a != second {
        return b.fail("this combination of shape and types is not emulated");
    }
    b.count(4..=4)?;
    let half = to == Type::F16;
    let registers_a = M * k / LANES / if pair { 2 } else { 1 };
    let registers_b = k * N / LANES / if pair { 2 } else { 1 };
    let registers_c = if half { 2 } else { 4 };
    let counts = [registers_c, registers_a, registers_b, registers_c];
    let mut lists = [const { Vec::new() }; 4];
    for (i, list) in lists.iter_mut().enumerate() {
        let elements = b.elements(i)?;
        if elements.len() != counts[i] {
            return b.fail(format!(
                "operand {} has {} registers, expected {}",
                i + 1,
                elements.len(),
                counts[i]
            ));
        }
        for operand in elements {
            list.push(if i == 0 {
                b.destination(operand, Type::B32)?
            } else {
                b.source(operand, Type::B32)?
            });
        }
    }
    let [d, from_a, from_b, from_c] = lists;
    let number = move |bits: u32, part: usize| match format(a) {
        Some((format, _)) => value((bits >> (16 * part)) as u16, format),
        // Tensor cores ignore what tf32 does not have.
        None => f32::from_bits(bits & 0xffff_e000),
    };
    let action: Access = Box::new(move |warp, _, mask| {
        let words = &warp.registers.words;
        let at = |list: &[usize], (lane, register, _): Place| words[list[register]][lane];
        let mut left = [[0f32; K]; M];
        let mut right = [[0f32; N]; K];
        for row in 0..M {
            for i in 0..k {
                let place = place_a(row, i, pair);
                left[row][i] = number(at(&from_a, place), place.2);
            }
        }
        for i in 0..k {
            for column in 0..N {
                let place = place_b(i, column, pair);
                right[i][column] = number(at(&from_b, place), place.2);
            }
        }
        let mut out = [[0u32; LANES]; 4];
        for row in 0..M {
            let mut sums = [0f32; N];
            for (column, sum) in sums.iter_mut().enumerate() {
                let place = place_c(row, column, half);
                let bits = at(&from_c, place);
                *sum = if half { f16_value((bits >> (16 * place.2)) as u16) } else { f32::from_bits(bits) };
            }
            for i in 0..k {
                for column in 0..N {
                    sums[column] += left[row][i] * right[i][column];
                }
            }
            for column in 0..N {
                let (lane, register, part) = place_c(row, column, half);
                out[register][lane] |= if half {
                    narrow(sums[column].into(), F16, Rounding::Even) << (16 * part)
                } else {
                    sums[column].to_bits()
                };
            }
        }
        for (register, values) in d.iter().zip(&out) {
            warp.registers.store(*register, mask, values);
        }
        Ok(())
    });
    // Sinks must not alias: a fragment's destination is always named.
    let flops = (2 * M * N * k) as u32;
    b.push(Step::Collective { members: None, action }, Class::Matrix, flops)
}

fn ldmatrix(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    if !b.modifiers.flag("sync")
        || !b.modifiers.flag("aligned")
        || !b.modifiers.flag("m8n8")
        || ty != Type::B16
    {
        return b.fail("expected .sync.aligned.m8n8 and .b16");
    }
    let matrices = match b.modifiers.one_of(&["x1", "x2", "x4"]) {
        Some("x1") => 1,
        Some("x2") => 2,
        Some(_) => 4,
        None => return b.fail("expected .x1, .x2 or .x4"),
    };
    let transpose = b.modifiers.flag("trans");
    let space = space(b).unwrap_or(Space::Generic);
    b.count(2..=2)?;
    let elements = b.elements(0)?;
    if elements.len() != matrices {
        return b.fail(format!("{} registers, expected {matrices}", elements.len()));
    }
    let mut to = Vec::new();
    for operand in elements {
        to.push(b.destination(operand, Type::B32)?);
    }
    let (address, _) = b.address(1)?;
    let action: Access = Box::new(move |warp, block, mask| {
        let rows = u32::MAX >> (32 - 8 * matrices);
        count(block, warp, address, space, 16, (rows, false));
        let mut data = [[0u16; 8]; LANES];
        for lane in 0..8 * matrices {
            let request = Request { space, lane, address: address_of(warp, address, lane), bytes: 16 };
            let mut bytes = [0; 16];
            block.load(warp, &request, &mut bytes)?;
            data[lane] = std::array::from_fn(|i| u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]));
        }
        for (matrix, &register) in to.iter().enumerate() {
            let rows = &data[8 * matrix..8 * matrix + 8];
            let out = std::array::from_fn(|lane| {
                let (row, column) = (lane / 4, lane % 4 * 2);
                let (low, high) = if transpose {
                    (rows[column][row], rows[column + 1][row])
                } else {
                    (rows[row][column], rows[row][column + 1])
                };
                u32::from(low) | u32::from(high) << 16
            });
            warp.registers.store(register, mask, &out);
        }
        Ok(())
    });
    b.push(Step::Collective { members: None, action }, Class::Shared, 0)
}
