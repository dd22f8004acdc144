//! Floating-point formats and roundings that Rust does not have.

/// Rounding of a result that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    Even,
    /// To nearest, ties away from zero.
    Away,
    Zero,
    Down,
    Up,
}

impl Rounding {
    /// Of a modifier such as `rn`.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "rn" | "rni" => Self::Even,
            "rna" => Self::Away,
            "rz" | "rzi" => Self::Zero,
            "rm" | "rmi" => Self::Down,
            "rp" | "rpi" => Self::Up,
            _ => return None,
        })
    }
}

/// A binary format of at most 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub exponent: u32,
    pub mantissa: u32,
    /// Bits of the canonical NaN.
    pub nan: u32,
}

pub const F16: Format = Format { exponent: 5, mantissa: 10, nan: 0x7fff };
pub const BF16: Format = Format { exponent: 8, mantissa: 7, nan: 0x7fff };
pub const F32: Format = Format { exponent: 8, mantissa: 23, nan: 0x7fff_ffff };
/// As `TF32` values lie in 32-bit registers, the mantissa's low bits are zero; shift left by 13.
pub const TF32: Format = Format { exponent: 8, mantissa: 10, nan: 0x3ffff };

/// Rounds to a format; gives its bits.
pub fn narrow(x: f64, format: Format, rounding: Rounding) -> u32 {
    let Format { exponent, mantissa, nan } = format;
    let bits = x.to_bits();
    let negative = bits >> 63 == 1;
    let sign = u32::from(negative) << (exponent + mantissa);
    let infinity = ((1u32 << exponent) - 1) << mantissa;
    if x.is_nan() {
        return nan;
    }
    if x.is_infinite() {
        return sign | infinity;
    }
    let field = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1) | u64::from(field != 0) << 52;
    let own = field.max(1) - 1023;
    let bias = (1 << (exponent - 1)) - 1;
    let normal = own >= 1 - bias;
    let lost = if normal { 0 } else { (1 - bias - own) as u32 };
    let shift = (52 - mantissa + lost).min(60);
    let kept = fraction >> shift;
    let rest = fraction & ((1 << shift) - 1);
    let half = 1u64 << (shift - 1);
    let up = match rounding {
        Rounding::Even => rest > half || rest == half && kept & 1 == 1,
        Rounding::Away => rest >= half,
        Rounding::Zero => false,
        Rounding::Down => negative && rest > 0,
        Rounding::Up => !negative && rest > 0,
    };
    let kept = kept + u64::from(up);
    let magnitude =
        if normal { ((own + bias) as u64 * (1 << mantissa)) + kept - (1 << mantissa) } else { kept };
    if magnitude < u64::from(infinity) {
        return sign | magnitude as u32;
    }
    let to_infinity = match rounding {
        Rounding::Even | Rounding::Away => true,
        Rounding::Zero => false,
        Rounding::Down => negative,
        Rounding::Up => !negative,
    };
    sign | if to_infinity { infinity } else { infinity - 1 }
}

/// The value of a half in IEEE's format.
pub fn f16_value(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    match exponent {
        0 => sign * mantissa * 2f32.powi(-24),
        31 if bits & 1023 != 0 => f32::NAN,
        31 => sign * f32::INFINITY,
        _ => f32::from_bits(
            u32::from(bits & 0x8000) << 16 | ((exponent + 112) as u32) << 23 | u32::from(bits & 1023) << 13,
        ),
    }
}

/// The value of a bf16.
pub fn bf16_value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// `hi + lo = a + b` exactly.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let other = sum - a;
    (sum, (a - (sum - other)) + (b - other))
}

/// `a b + c`, rounded so that rounding once more to half as many bits is right: an inexact result gets an odd last bit.
pub fn fma_odd(a: f64, b: f64, c: f64) -> f64 {
    let (sum, rest) = two_sum(a * b, c);
    odd(sum, rest)
}

fn odd(sum: f64, rest: f64) -> f64 {
    if rest == 0.0 || rest.is_nan() || !sum.is_finite() || sum.to_bits() & 1 == 1 {
        return sum;
    }
    if rest > 0.0 { sum.next_up() } else { sum.next_down() }
}

/// Rounds an exact result, given to odd, to 32 bits.
fn to_f32(value: f64, rounding: Rounding) -> f32 {
    f32::from_bits(narrow(value, F32, rounding))
}

/// An exact zero sum is -0 when rounding down.
fn zero_sum(sum: f64, signs: [f64; 2], rounding: Rounding) -> f64 {
    let [a, b] = signs;
    if sum == 0.0 && rounding == Rounding::Down && a.is_sign_negative() != b.is_sign_negative() {
        -0.0
    } else {
        sum
    }
}

/// Arithmetic with a direction, in one type.
pub trait Directed: Sized {
    fn add_rounded(self, other: Self, rounding: Rounding) -> Self;
    fn mul_rounded(self, other: Self, rounding: Rounding) -> Self;
    fn fma_rounded(self, b: Self, c: Self, rounding: Rounding) -> Self;
    fn div_rounded(self, other: Self, rounding: Rounding) -> Self;
    fn sqrt_rounded(self, rounding: Rounding) -> Self;
}

impl Directed for f32 {
    fn add_rounded(self, other: Self, rounding: Rounding) -> Self {
        let (a, b) = (f64::from(self), f64::from(other));
        let (sum, rest) = two_sum(a, b);
        to_f32(zero_sum(odd(sum, rest), [a, b], rounding), rounding)
    }

    fn mul_rounded(self, other: Self, rounding: Rounding) -> Self {
        to_f32(f64::from(self) * f64::from(other), rounding)
    }

    fn fma_rounded(self, b: Self, c: Self, rounding: Rounding) -> Self {
        let (product, c) = (f64::from(self) * f64::from(b), f64::from(c));
        let (sum, rest) = two_sum(product, c);
        to_f32(zero_sum(odd(sum, rest), [product, c], rounding), rounding)
    }

    fn div_rounded(self, other: Self, rounding: Rounding) -> Self {
        let (a, b) = (f64::from(self), f64::from(other));
        let quotient = a / b;
        let rest = (-quotient).mul_add(b, a);
        to_f32(odd(quotient, if b < 0.0 { -rest } else { rest }), rounding)
    }

    fn sqrt_rounded(self, rounding: Rounding) -> Self {
        let root = f64::from(self).sqrt();
        to_f32(odd(root, (-root).mul_add(root, f64::from(self))), rounding)
    }
}

/// Moves a result that was rounded to nearest, by the sign of what is missing.
fn direct(value: f64, rest: f64, rounding: Rounding) -> f64 {
    if rest == 0.0 || rest.is_nan() || !value.is_finite() {
        return value;
    }
    let toward_zero_is_down = value > 0.0 || value == 0.0 && rest > 0.0;
    match rounding {
        Rounding::Even | Rounding::Away => value,
        Rounding::Down if rest < 0.0 => value.next_down(),
        Rounding::Up if rest > 0.0 => value.next_up(),
        Rounding::Zero if toward_zero_is_down && rest < 0.0 => value.next_down(),
        Rounding::Zero if !toward_zero_is_down && rest > 0.0 => value.next_up(),
        _ => value,
    }
}

impl Directed for f64 {
    fn add_rounded(self, other: Self, rounding: Rounding) -> Self {
        let (sum, rest) = two_sum(self, other);
        zero_sum(direct(sum, rest, rounding), [self, other], rounding)
    }

    fn mul_rounded(self, other: Self, rounding: Rounding) -> Self {
        let product = self * other;
        direct(product, self.mul_add(other, -product), rounding)
    }

    fn fma_rounded(self, b: Self, c: Self, rounding: Rounding) -> Self {
        let value = self.mul_add(b, c);
        // What is missing: product and sum taken apart exactly.
        let product = self * b;
        let low = self.mul_add(b, -product);
        let (high, middle) = two_sum(product - value, c);
        direct(value, high + (middle + low), rounding)
    }

    fn div_rounded(self, other: Self, rounding: Rounding) -> Self {
        let quotient = self / other;
        let rest = (-quotient).mul_add(other, self);
        direct(quotient, if other < 0.0 { -rest } else { rest }, rounding)
    }

    fn sqrt_rounded(self, rounding: Rounding) -> Self {
        let root = self.sqrt();
        direct(root, (-root).mul_add(root, self), rounding)
    }
}
