//! Arithmetic in 32 and 64 bits.

use super::lanes::{Compute, LANES, Registers, Typed, binary, ternary, unary};
use super::numbers::{Directed, Rounding};
use super::vector::{Loop, compute};
use crate::parse::types::Type;
use crate::program::Class;
use crate::program::builder::{Builder, Result};

/// How results and operands are treated.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mode {
    /// Subnormal numbers become zero.
    flush: bool,
    /// Results are clamped to [0, 1]; NaN becomes 0.
    saturate: bool,
}

trait Float: Typed + Directed {
    fn input(self, mode: Mode) -> Self;
    fn output(self, mode: Mode) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn input(self, mode: Mode) -> Self {
        if mode.flush && self.abs() < f32::MIN_POSITIVE { 0f32.copysign(self) } else { self }
    }

    #[inline(always)]
    fn output(self, mode: Mode) -> Self {
        let value = self.input(mode);
        match mode.saturate {
            // The comparison is false for NaN.
            true if value > 0.0 => value.min(1.0),
            true => 0.0,
            false => value,
        }
    }
}

impl Float for f64 {
    fn input(self, _: Mode) -> Self {
        self
    }

    fn output(self, _: Mode) -> Self {
        self
    }
}

fn one<T: Float>(
    d: usize,
    [a]: [usize; 1],
    mode: Mode,
    f: impl Fn(T) -> T + Send + Sync + 'static,
) -> Compute {
    if mode == (Mode { flush: false, saturate: false }) {
        return unary(d, a, f);
    }
    unary(d, a, move |x: T| f(x.input(mode)).output(mode))
}

fn two<T: Float>(
    d: usize,
    from: [usize; 2],
    mode: Mode,
    f: impl Fn(T, T) -> T + Send + Sync + 'static,
) -> Compute {
    if mode == (Mode { flush: false, saturate: false }) {
        return binary(d, from, f);
    }
    binary(d, from, move |x: T, y: T| f(x.input(mode), y.input(mode)).output(mode))
}

fn three<T: Float>(
    d: usize,
    from: [usize; 3],
    mode: Mode,
    f: impl Fn(T, T, T) -> T + Send + Sync + 'static,
) -> Compute {
    if mode == (Mode { flush: false, saturate: false }) {
        return ternary(d, from, f);
    }
    ternary(d, from, move |x: T, y: T, z: T| f(x.input(mode), y.input(mode), z.input(mode)).output(mode))
}

/// The smaller (or larger) number; of a number and NaN the number, unless NaN shall win; -0 is smaller than +0.
macro_rules! extreme {
    ($t:ty, $nan_wins:expr, $larger:expr) => {{
        let (nan_wins, larger) = ($nan_wins, $larger);
        move |x: $t, y: $t| {
            if x.is_nan() || y.is_nan() {
                return if nan_wins || x.is_nan() && y.is_nan() {
                    <$t>::NAN
                } else if x.is_nan() {
                    y
                } else {
                    x
                };
            }
            let x_first = x < y || x == y && x.is_sign_negative();
            if x_first != larger { x } else { y }
        }
    }};
}

pub(super) fn decode(b: &mut Builder<'_>, ty: Type) -> Result<()> {
    let name = b.modifiers.name.clone();
    let approximate = b.modifiers.one_of(&["approx", "full"]);
    let rounding = b.modifiers.one_of(&["rn", "rz", "rm", "rp"]);
    let mode = Mode { flush: b.modifiers.flag("ftz"), saturate: b.modifiers.flag("sat") };
    let nan_wins = b.modifiers.flag("NaN");
    let single = ty == Type::F32;
    let special = matches!(name.as_str(), "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh")
        && approximate.is_some();
    let class = if special {
        Class::Special
    } else if single {
        Class::Float
    } else {
        Class::Double
    };
    let direction = rounding.and_then(Rounding::of).unwrap_or(Rounding::Even);
    let count = match name.as_str() {
        "fma" | "mad" => 3,
        "add" | "sub" | "mul" | "div" | "min" | "max" | "copysign" => 2,
        _ => 1,
    };
    b.count(count + 1..=count + 1)?;
    let exact = matches!(name.as_str(), "rcp" | "sqrt" | "div") && approximate.is_none();
    let needs_rounding = exact || matches!(name.as_str(), "fma" | "mad");
    if needs_rounding && rounding.is_none() {
        return b.fail("expected a rounding");
    }
    if !single && (mode.flush && approximate.is_none() || mode.saturate) {
        return b.fail("not for f64");
    }
    let d = b.dst(ty)?;
    let mut from = Vec::new();
    for i in 1..=count {
        from.push(b.src(i, ty)?);
    }
    let compute = if single {
        single_precision(&name, d, &from, (direction, approximate), mode, nan_wins)
    } else {
        double_precision(&name, d, &from, (direction, approximate), mode, nan_wins)
    };
    let Some(compute) = compute else { return b.fail("modifiers that do not go together") };
    let flops = match name.as_str() {
        "fma" | "mad" => 2,
        "abs" | "neg" | "copysign" | "min" | "max" => 0,
        _ => 1,
    };
    b.compute(compute, class, flops)
}

/// `fma.rn.f32`, the instruction that counts.
struct Fused(usize, [usize; 3]);

impl Loop for Fused {
    /// In 64 bits, where the product is exact, and once more wherever rounding twice could differ from rounding once.
    #[inline(always)]
    fn run(&self, r: &mut Registers, mask: u32) {
        let &Self(d, [a, b, c]) = self;
        let (x, y, z) = (&r.words[a], &r.words[b], &r.words[c]);
        let wide = |bits: u32| f64::from(f32::from_bits(bits));
        let mut out = [0; LANES];
        let mut unsure = 0;
        for lane in 0..LANES {
            let sum = wide(x[lane]) * wide(y[lane]) + wide(z[lane]);
            let bits = sum.to_bits();
            out[lane] = (sum as f32).to_bits();
            // Halfway between two results, or among the subnormal ones.
            unsure |= u32::from(bits & 0x1fff_ffff == 0x1000_0000);
            unsure |= u32::from(bits << 1 < 2f64.powi(-125).to_bits() << 1) & u32::from(bits << 1 != 0);
        }
        if unsure != 0 {
            return self.run_fused(r, mask);
        }
        r.store(d, mask, &out);
    }

    /// One instruction of the processor each, or a function of the C library.
    #[inline(always)]
    fn run_fused(&self, r: &mut Registers, mask: u32) {
        let &Self(d, [a, b, c]) = self;
        let (x, y, z) = (&r.words[a], &r.words[b], &r.words[c]);
        let value = f32::from_bits;
        let mut out = [0; LANES];
        for lane in 0..LANES {
            out[lane] = value(x[lane]).mul_add(value(y[lane]), value(z[lane])).to_bits();
        }
        r.store(d, mask, &out);
    }
}

/// What both precisions have.
macro_rules! common {
    ($t:ty, $name:expr, $d:expr, $from:expr, $direction:expr, $mode:expr, $nan_wins:expr) => {
        match ($name, $direction, $from) {
            ("add", Rounding::Even, &[x, y]) => Some(two($d, [x, y], $mode, |x: $t, y: $t| x + y)),
            ("sub", Rounding::Even, &[x, y]) => Some(two($d, [x, y], $mode, |x: $t, y: $t| x - y)),
            ("mul", Rounding::Even, &[x, y]) => Some(two($d, [x, y], $mode, |x: $t, y: $t| x * y)),
            ("fma" | "mad", Rounding::Even, &[x, y, z]) => Some(three($d, [x, y, z], $mode, <$t>::mul_add)),
            ("add", r, &[x, y]) => Some(two($d, [x, y], $mode, move |x: $t, y: $t| x.add_rounded(y, r))),
            ("sub", r, &[x, y]) => Some(two($d, [x, y], $mode, move |x: $t, y: $t| x.add_rounded(-y, r))),
            ("mul", r, &[x, y]) => Some(two($d, [x, y], $mode, move |x: $t, y: $t| x.mul_rounded(y, r))),
            ("fma" | "mad", r, &[x, y, z]) => {
                Some(three($d, [x, y, z], $mode, move |x: $t, y: $t, z: $t| x.fma_rounded(y, z, r)))
            }
            ("min", _, &[x, y]) => Some(two($d, [x, y], $mode, extreme!($t, $nan_wins, false))),
            ("max", _, &[x, y]) => Some(two($d, [x, y], $mode, extreme!($t, $nan_wins, true))),
            // copysign d, a, b: the sign of a, the size of b.
            ("copysign", _, &[x, y]) => Some(two($d, [x, y], $mode, |x: $t, y: $t| y.copysign(x))),
            ("abs", _, &[x]) => Some(one($d, [x], $mode, <$t>::abs)),
            ("neg", _, &[x]) => Some(one($d, [x], $mode, |x: $t| -x)),
            _ => None,
        }
    };
}

type How<'a> = (Rounding, Option<&'a str>);

fn single_precision(
    name: &str,
    d: usize,
    from: &[usize],
    (direction, approximate): How<'_>,
    mode: Mode,
    nan_wins: bool,
) -> Option<Compute> {
    let plain = mode == Mode { flush: false, saturate: false };
    if let ("fma", Rounding::Even, None, true, &[x, y, z]) = (name, direction, approximate, plain, from) {
        return Some(compute(Fused(d, [x, y, z])));
    }
    if let Some(found) = common!(f32, name, d, from, direction, mode, nan_wins) {
        return approximate.is_none().then_some(found);
    }
    Some(match (name, approximate, from) {
        ("div", Some("approx"), &[x, y]) => two(d, [x, y], mode, |x: f32, y: f32| {
            // The manual: divisors between 2^126 and 2^128 give 0, or NaN for an infinite dividend.
            if y.is_finite() && y.abs() > 2f32.powi(126) {
                if x.is_infinite() { f32::NAN } else { 0f32.copysign(x * y.signum()) }
            } else {
                x / y
            }
        }),
        ("div", Some("full"), &[x, y]) => two(d, [x, y], mode, |x: f32, y: f32| x / y),
        ("div", None, &[x, y]) if direction == Rounding::Even => two(d, [x, y], mode, |x: f32, y: f32| x / y),
        ("div", None, &[x, y]) => two(d, [x, y], mode, move |x: f32, y: f32| x.div_rounded(y, direction)),
        ("rcp", Some("approx"), &[x]) => one(d, [x], mode, |x: f32| 1.0 / x),
        ("rcp", None, &[x]) => one(d, [x], mode, move |x: f32| 1f32.div_rounded(x, direction)),
        ("sqrt", Some("approx"), &[x]) => one(d, [x], mode, f32::sqrt),
        ("sqrt", None, &[x]) if direction == Rounding::Even => one(d, [x], mode, f32::sqrt),
        ("sqrt", None, &[x]) => one(d, [x], mode, move |x: f32| x.sqrt_rounded(direction)),
        ("rsqrt", Some("approx"), &[x]) => one(d, [x], mode, |x: f32| (1.0 / f64::from(x).sqrt()) as f32),
        ("sin", Some("approx"), &[x]) => one(d, [x], mode, f32::sin),
        ("cos", Some("approx"), &[x]) => one(d, [x], mode, f32::cos),
        ("lg2", Some("approx"), &[x]) => one(d, [x], mode, f32::log2),
        ("ex2", Some("approx"), &[x]) => one(d, [x], mode, f32::exp2),
        ("tanh", Some("approx"), &[x]) => one(d, [x], mode, f32::tanh),
        _ => return None,
    })
}

fn double_precision(
    name: &str,
    d: usize,
    from: &[usize],
    (direction, approximate): How<'_>,
    mode: Mode,
    nan_wins: bool,
) -> Option<Compute> {
    if let Some(found) = common!(f64, name, d, from, direction, mode, nan_wins) {
        return approximate.is_none().then_some(found);
    }
    // rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64 keep the upper 32 bits of operand and result only.
    let upper = |x: f64| f64::from_bits(x.to_bits() & 0xffff_ffff_0000_0000);
    let none = Mode { flush: false, saturate: false };
    Some(match (name, approximate, from) {
        ("div", None, &[x, y]) => two(d, [x, y], mode, move |x: f64, y: f64| x.div_rounded(y, direction)),
        ("rcp", None, &[x]) => one(d, [x], mode, move |x: f64| 1f64.div_rounded(x, direction)),
        ("sqrt", None, &[x]) => one(d, [x], mode, move |x: f64| x.sqrt_rounded(direction)),
        ("rcp", Some("approx"), &[x]) => one(d, [x], none, move |x: f64| upper(1.0 / upper(x))),
        ("rsqrt", Some("approx"), &[x]) if mode.flush => {
            one(d, [x], none, move |x: f64| upper(1.0 / upper(x).sqrt()))
        }
        ("rsqrt", Some("approx"), &[x]) => one(d, [x], none, move |x: f64| 1.0 / x.sqrt()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way without a fused multiply-add of the processor's own, which a machine that has one never takes.
    #[test]
    fn sums_in_64_bits_are_fused_ones() {
        let mut seed = 7u32;
        let mut bits = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Thirteen bits each, so that products often lie halfway between two results.
            seed & 0x83ff_f800 | 0x3c00_0000
        };
        let awkward = [0, 1 << 31, 1, 0x7f80_0000, 0x7fc0_0000, 0x7f7f_ffff, 0x0080_0000, 0x33ff_ffff];
        for round in 0..4000 {
            let mut registers = Registers { words: vec![[0; LANES]; 4], wides: vec![], predicates: vec![] };
            for lane in 0..LANES {
                for register in 0..3 {
                    registers.words[register][lane] = bits();
                }
            }
            // A last summand that is lost in 64 bits, but turns the tie.
            for lane in (0..LANES).step_by(2) {
                registers.words[2][lane] = registers.words[2][lane] & 0x8000_0000 | 0x1f80_0000;
            }
            let place = round % 3;
            registers.words[place][round % LANES] = awkward[round % awkward.len()];
            Fused(3, [0, 1, 2]).run(&mut registers, u32::MAX);
            for lane in 0..LANES {
                let [a, b, c, found] = std::array::from_fn(|i| f32::from_bits(registers.words[i][lane]));
                let wanted = a.mul_add(b, c);
                let same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
                assert!(same, "{a:e} * {b:e} + {c:e}: {found:e}, wanted {wanted:e}");
            }
        }
    }
}
