//! Logic, shifts, bit fields; logic of predicates.

use super::integer::with_integer;
use super::lanes::{Compute, binary, ternary, unary};
use crate::parse::types::Type;
use crate::program::Class;
use crate::program::builder::{Builder, Result};

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let name = b.modifiers.name.clone();
    if name == "shf" {
        return funnel(b);
    }
    let ty = b.ty()?;
    if ty == Type::Pred {
        return predicates(b, &name);
    }
    let result = if matches!(name.as_str(), "popc" | "clz" | "bfind") { Type::U32 } else { ty };
    let d = b.dst(result)?;
    let compute: Compute = match name.as_str() {
        "and" | "or" | "xor" => {
            b.count(3..=3)?;
            let from = [b.src(1, ty)?, b.src(2, ty)?];
            match name.as_str() {
                "and" => with_integer!(b, ty, T => binary(d, from, |x: T, y: T| x & y)),
                "or" => with_integer!(b, ty, T => binary(d, from, |x: T, y: T| x | y)),
                _ => with_integer!(b, ty, T => binary(d, from, |x: T, y: T| x ^ y)),
            }
        }
        "not" | "cnot" => {
            let x = b.src(1, ty)?;
            if name == "not" {
                with_integer!(b, ty, T => unary(d, x, |x: T| !x))
            } else {
                with_integer!(b, ty, T => unary(d, x, |x: T| (x == 0) as T))
            }
        }
        "shl" | "shr" => {
            let from = [b.src(1, ty)?, b.src(2, Type::U32)?];
            if name == "shl" {
                with_integer!(b, ty, T => binary(d, from, |x: T, n: u32| if n >= T::BITS { 0 } else { x << n }))
            } else {
                with_integer!(b, ty, T => binary(d, from, |x: T, n: u32| {
                    // Shifting by the whole width leaves the sign of a signed value, else zero.
                    if n < T::BITS { x >> n } else { x >> (T::BITS - 1) >> 1 }
                }))
            }
        }
        "popc" | "clz" => {
            let x = b.src(1, ty)?;
            match (name.as_str(), ty) {
                ("popc", Type::B32) => unary(d, x, u32::count_ones),
                ("popc", Type::B64) => unary(d, x, u64::count_ones),
                ("clz", Type::B32) => unary(d, x, u32::leading_zeros),
                ("clz", Type::B64) => unary(d, x, u64::leading_zeros),
                _ => return b.fail("expected b32 or b64"),
            }
        }
        "bfind" => {
            let x = b.src(1, ty)?;
            let amount = b.modifiers.flag("shiftamt");
            let place = move |zeros: u32, bits: u32| {
                if zeros == bits {
                    u32::MAX
                } else if amount {
                    zeros
                } else {
                    bits - 1 - zeros
                }
            };
            match ty {
                Type::U32 => unary(d, x, move |x: u32| place(x.leading_zeros(), 32)),
                Type::S32 => unary(d, x, move |x: i32| place((x ^ x >> 31).leading_zeros(), 32)),
                Type::U64 => unary(d, x, move |x: u64| place(x.leading_zeros(), 64)),
                Type::S64 => unary(d, x, move |x: i64| place((x ^ x >> 63).leading_zeros(), 64)),
                _ => return b.fail("not a type for bfind"),
            }
        }
        "brev" => {
            let x = b.src(1, ty)?;
            match ty {
                Type::B32 => unary(d, x, u32::reverse_bits),
                Type::B64 => unary(d, x, u64::reverse_bits),
                _ => return b.fail("expected b32 or b64"),
            }
        }
        "bfe" => {
            let from = [b.src(1, ty)?, b.src(2, Type::U32)?, b.src(3, Type::U32)?];
            match ty {
                Type::U32 => {
                    ternary(d, from, |x: u32, p: u32, n: u32| extract(x.into(), p, n, 32, false) as u32)
                }
                Type::S32 => {
                    ternary(d, from, |x: u32, p: u32, n: u32| extract(x.into(), p, n, 32, true) as u32)
                }
                Type::U64 => ternary(d, from, |x: u64, p: u32, n: u32| extract(x, p, n, 64, false)),
                Type::S64 => ternary(d, from, |x: u64, p: u32, n: u32| extract(x, p, n, 64, true)),
                _ => return b.fail("not a type for bfe"),
            }
        }
        "bfi" => insert(b, d, ty)?,
        "prmt" => {
            if ty != Type::B32 {
                return b.fail("expected b32");
            }
            let from = [b.src(1, ty)?, b.src(2, ty)?, b.src(3, ty)?];
            match b.modifiers.one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
                None => ternary(d, from, permute),
                Some(mode) => {
                    ternary(d, from, move |x: u32, y: u32, c: u32| permute(x, y, selector(mode, c & 3)))
                }
            }
        }
        "lop3" => {
            if ty != Type::B32 {
                return b.fail("expected b32");
            }
            b.count(5..=5)?;
            let from = [b.src(1, ty)?, b.src(2, ty)?, b.src(3, ty)?];
            let crate::parse::syntax::Operand::Integer(table) = *b.operand(4)? else {
                return b.fail("the table must be a number");
            };
            ternary(d, from, move |x: u32, y: u32, z: u32| {
                (0..8u32).filter(|row| table >> row & 1 == 1).fold(0, |all, row| {
                    let pick = |bit: u32, v: u32| if row >> bit & 1 == 1 { v } else { !v };
                    all | pick(2, x) & pick(1, y) & pick(0, z)
                })
            })
        }
        _ => return b.fail("unknown opcode"),
    };
    b.compute(compute, Class::Integer, 0)
}

fn predicates(b: &mut Builder<'_>, name: &str) -> Result<()> {
    let operand = b.operand(0)?;
    let d = b.predicate_destination(operand)?;
    let operand = b.operand(1)?;
    let (x, x_not) = b.predicate(operand)?;
    let flip = |value: u32, negated: bool| if negated { !value } else { value };
    if name == "not" {
        let compute: Compute = Box::new(move |r, mask| {
            let value = !flip(r.predicates[x], x_not);
            r.store_predicate(d, mask, value);
        });
        return b.compute(compute, Class::Integer, 0);
    }
    let operand = b.operand(2)?;
    let (y, y_not) = b.predicate(operand)?;
    let f: fn(u32, u32) -> u32 = match name {
        "and" => |x, y| x & y,
        "or" => |x, y| x | y,
        "xor" => |x, y| x ^ y,
        _ => return b.fail("not an operation on predicates"),
    };
    let compute: Compute = Box::new(move |r, mask| {
        let value = f(flip(r.predicates[x], x_not), flip(r.predicates[y], y_not));
        r.store_predicate(d, mask, value);
    });
    b.compute(compute, Class::Integer, 0)
}

/// `bfe`: beyond the top, a signed field repeats the sign bit.
fn extract(x: u64, position: u32, length: u32, width: u32, signed: bool) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let bit = |i: u32| i < width && x >> i & 1 == 1;
    let sign = signed && length > 0 && bit((position + length - 1).min(width - 1));
    let mut out = if position < 64 { x >> position } else { 0 };
    let filled = length.min(width.saturating_sub(position));
    if filled < 64 {
        let low = (1u64 << filled) - 1;
        out = if sign { out | !low } else { out & low };
    }
    out
}

fn insert(b: &mut Builder<'_>, d: usize, ty: Type) -> Result<Compute> {
    b.count(5..=5)?;
    let [x, y] = [b.src(1, ty)?, b.src(2, ty)?];
    let [p, n] = [b.src(3, Type::U32)?, b.src(4, Type::U32)?];
    let place = |x: u64, y: u64, p: u32, n: u32, width: u32| {
        let (p, n) = (p & 0xff, n & 0xff);
        if n == 0 || p >= width {
            return y;
        }
        let ones = if n >= 64 { u64::MAX } else { (1 << n) - 1 };
        y & !(ones << p) | (x & ones) << p
    };
    Ok(match ty {
        Type::B32 => Box::new(move |r, mask| {
            let w = &r.words;
            let out =
                std::array::from_fn(|l| place(w[x][l].into(), w[y][l].into(), w[p][l], w[n][l], 32) as u32);
            r.store(d, mask, &out);
        }),
        Type::B64 => Box::new(move |r, mask| {
            let (w, v) = (&r.words, &r.wides);
            let out = std::array::from_fn(|l| place(v[x][l], v[y][l], w[p][l], w[n][l], 64));
            r.store(d, mask, &out);
        }),
        _ => return b.fail("expected b32 or b64"),
    })
}

/// `prmt`: each nibble picks a byte of `y:x`; its top bit repeats the byte's sign.
fn permute(x: u32, y: u32, selector: u32) -> u32 {
    let bytes = (u64::from(y) << 32 | u64::from(x)).to_le_bytes();
    (0..4).fold(0, |out, i| {
        let nibble = selector >> (4 * i) & 15;
        let byte = bytes[(nibble & 7) as usize];
        let byte = if nibble & 8 == 0 {
            byte
        } else if byte & 0x80 != 0 {
            0xff
        } else {
            0
        };
        out | u32::from(byte) << (8 * i)
    })
}

/// The selector of a named mode.
fn selector(mode: &str, c: u32) -> u32 {
    let nibbles: [[u32; 4]; 4] = match mode {
        "f4e" => [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]],
        "b4e" => [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]],
        "rc8" => [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]],
        "ecl" => [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]],
        "ecr" => [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]],
        _ => [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]],
    };
    nibbles[c as usize].iter().fold(0, |all, n| all << 4 | n)
}

/// `shf`: a shift of 64 bits of which 32 are kept.
fn funnel(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    let left = match b.modifiers.one_of(&["l", "r"]) {
        Some(side) => side == "l",
        None => return b.fail("expected .l or .r"),
    };
    let clamp = match b.modifiers.one_of(&["clamp", "wrap"]) {
        Some(mode) => mode == "clamp",
        None => return b.fail("expected .clamp or .wrap"),
    };
    b.count(4..=4)?;
    let d = b.dst(ty)?;
    let from = [b.src(1, ty)?, b.src(2, ty)?, b.src(3, Type::U32)?];
    let compute = ternary(d, from, move |low: u32, high: u32, n: u32| {
        let n = if clamp { n.min(32) } else { n & 31 };
        let both = u64::from(high) << 32 | u64::from(low);
        if left { (both << n >> 32) as u32 } else { (both >> n) as u32 }
    });
    b.compute(compute, Class::Integer, 0)
}
