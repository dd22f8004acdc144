//! Arithmetic in f16 and bf16, alone or in pairs: computed in 64 bits, rounded once.

use super::lanes::{Compute, LANES};
use super::numbers::{BF16, F16, Format, Rounding, bf16_value, f16_value, fma_odd, narrow};
use crate::parse::types::Type;
use crate::program::Class;
use crate::program::builder::{Builder, Result};

/// The value of 16 bits in a format.
pub(super) fn value(bits: u16, format: Format) -> f32 {
    if format == F16 { f16_value(bits) } else { bf16_value(bits) }
}

/// Format of a type, and whether it is a pair.
pub(super) fn format(ty: Type) -> Option<(Format, bool)> {
    Some(match ty {
        Type::F16 => (F16, false),
        Type::F16x2 => (F16, true),
        Type::Bf16 => (BF16, false),
        Type::Bf16x2 => (BF16, true),
        _ => return None,
    })
}

/// What is done to one element: bits of the operands to bits of the result.
type Element = Box<dyn Fn([u16; 3]) -> u16 + Send + Sync>;

pub(super) fn decode(b: &mut Builder<'_>, ty: Type) -> Result<()> {
    let Some((format, pair)) = format(ty) else { return b.fail("not a type for this opcode") };
    let name = b.modifiers.name.clone();
    b.modifiers.flag("rn");
    let approximate = b.modifiers.flag("approx");
    let flush = b.modifiers.flag("ftz");
    let saturate = b.modifiers.flag("sat");
    let relu = b.modifiers.flag("relu");
    let nan_wins = b.modifiers.flag("NaN");
    let count = match name.as_str() {
        "fma" => 3,
        "add" | "sub" | "mul" | "min" | "max" => 2,
        "abs" | "neg" | "ex2" | "tanh" => 1,
        _ => return b.fail("not for 16-bit types"),
    };
    if approximate != matches!(name.as_str(), "ex2" | "tanh") {
        return b.fail("`.approx` belongs to ex2 and tanh");
    }
    b.count(count + 1..=count + 1)?;
    let d = b.dst(ty)?;
    let mut from = [0; 3];
    for (i, place) in from.iter_mut().enumerate().take(count) {
        *place = b.src(i + 1, ty)?;
    }
    // Subnormals of f16 only: bf16 has no .ftz.
    let read = move |bits: u16| {
        let v = f64::from(value(bits, format));
        if flush && v.abs() < 2f64.powi(-14) { 0f64.copysign(v) } else { v }
    };
    let write = move |v: f64| {
        let v = if flush && v.abs() < 2f64.powi(-14) { 0f64.copysign(v) } else { v };
        let v = match (saturate, relu) {
            (true, _) => {
                if v > 0.0 {
                    v.min(1.0)
                } else {
                    0.0
                }
            }
            (_, true) if v < 0.0 => 0.0,
            _ => v,
        };
        narrow(v, format, Rounding::Even) as u16
    };
    let extreme = move |x: u16, y: u16, larger: bool| {
        let (a, b) = (read(x), read(y));
        match (a.is_nan(), b.is_nan()) {
            (true, true) => f64::NAN,
            (true, false) | (false, true) if nan_wins => f64::NAN,
            (true, false) => b,
            (false, true) => a,
            _ if (a < b || a == b && a.is_sign_negative()) != larger => a,
            _ => b,
        }
    };
    let element: Element = match name.as_str() {
        "add" => Box::new(move |[x, y, _]| write(fma_odd(read(x), 1.0, read(y)))),
        "sub" => Box::new(move |[x, y, _]| write(fma_odd(read(x), 1.0, -read(y)))),
        "mul" => Box::new(move |[x, y, _]| write(read(x) * read(y))),
        "fma" => Box::new(move |[x, y, z]| write(fma_odd(read(x), read(y), read(z)))),
        "min" => Box::new(move |[x, y, _]| write(extreme(x, y, false))),
        "max" => Box::new(move |[x, y, _]| write(extreme(x, y, true))),
        "abs" => Box::new(move |[x, ..]| x & 0x7fff),
        "neg" => Box::new(move |[x, ..]| x ^ 0x8000),
        "ex2" => Box::new(move |[x, ..]| write(read(x).exp2())),
        _ => Box::new(move |[x, ..]| write(read(x).tanh())),
    };
    let compute: Compute = Box::new(move |r, mask| {
        let words = from.map(|i| &r.words[i]);
        let mut out = [0; LANES];
        for lane in 0..LANES {
            let low = element(words.map(|w| w[lane] as u16));
            out[lane] = u32::from(low);
            if pair {
                out[lane] |= u32::from(element(words.map(|w| (w[lane] >> 16) as u16))) << 16;
            }
        }
        r.store(d, mask, &out);
    });
    let flops = match name.as_str() {
        "fma" => 2,
        "add" | "sub" | "mul" | "ex2" | "tanh" => 1,
        _ => 0,
    };
    b.compute(compute, Class::Half, flops * if pair { 2 } else { 1 })
}
