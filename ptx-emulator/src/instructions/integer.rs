//! Integer arithmetic.

use super::lanes::{Compute, Typed, binary, ternary, unary};
use crate::parse::types::Type;
use crate::program::Class;
use crate::program::builder::{Builder, Result};

/// An integer type of PTX.
pub(super) trait Integer: Typed + Ord {
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// Upper half of the product.
    fn mul_hi(self, other: Self) -> Self;
    /// Of zero: all ones, as cards give.
    fn div(self, other: Self) -> Self;
    fn rem(self, other: Self) -> Self;
    fn abs(self) -> Self;
    fn saturating_add(self, other: Self) -> Self;
    fn saturating_sub(self, other: Self) -> Self;
}

macro_rules! integer {
    ($($ty:ty, $wide:ty, $bits:expr, $abs:expr;)*) => {$(
        impl Integer for $ty {
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }

            #[inline(always)]
            fn mul_hi(self, other: Self) -> Self {
                ((self as $wide * other as $wide) >> $bits) as $ty
            }

            fn div(self, other: Self) -> Self {
                if other == 0 { !0 } else { self.wrapping_div(other) }
            }

            fn rem(self, other: Self) -> Self {
                if other == 0 { self } else { self.wrapping_rem(other) }
            }

            fn abs(self) -> Self {
                ($abs)(self)
            }

            fn saturating_add(self, other: Self) -> Self {
                <$ty>::saturating_add(self, other)
            }

            fn saturating_sub(self, other: Self) -> Self {
                <$ty>::saturating_sub(self, other)
            }
        }
    )*};
}

integer! {
    u16, u32, 16, |v: u16| v;
    i16, i32, 16, i16::wrapping_abs;
    u32, u64, 32, |v: u32| v;
    i32, i64, 32, i32::wrapping_abs;
    u64, u128, 64, |v: u64| v;
    i64, i128, 64, i64::wrapping_abs;
}

/// Runs `$body` with `$t` as the Rust type of a PTX integer type.
macro_rules! with_integer {
    ($b:expr, $ty:expr, $t:ident => $body:expr) => {
        match $ty {
            Type::U16 | Type::B16 => {
                type $t = u16;
                $body
            }
            Type::S16 => {
                type $t = i16;
                $body
            }
            Type::U32 | Type::B32 => {
                type $t = u32;
                $body
            }
            Type::S32 => {
                type $t = i32;
                $body
            }
            Type::U64 | Type::B64 => {
                type $t = u64;
                $body
            }
            Type::S64 => {
                type $t = i64;
                $body
            }
            _ => return $b.fail("not an integer type"),
        }
    };
}
pub(super) use with_integer;

pub(super) fn decode(b: &mut Builder<'_>, ty: Type) -> Result<()> {
    let name = b.modifiers.name.clone();
    let compute: Compute = match name.as_str() {
        "mul" | "mad" if b.modifiers.flag("wide") => wide(b, ty, name == "mad")?,
        "mul24" | "mad24" => {
            if !b.modifiers.flag("lo") {
                return b.fail("expected .lo");
            }
            let d = b.dst(ty)?;
            let [x, y] = [b.src(1, ty)?, b.src(2, ty)?];
            let z = if name == "mad24" { b.src(3, ty)? } else { b.constant32(0) };
            match ty {
                Type::U32 => ternary(d, [x, y, z], |x: u32, y: u32, z: u32| {
                    (x & 0xff_ffff).wrapping_mul(y & 0xff_ffff).wrapping_add(z)
                }),
                Type::S32 => ternary(d, [x, y, z], |x: i32, y: i32, z: i32| {
                    (x << 8 >> 8).wrapping_mul(y << 8 >> 8).wrapping_add(z)
                }),
                _ => return b.fail("expected u32 or s32"),
            }
        }
        "abs" | "neg" => {
            b.count(2..=2)?;
            let (d, x) = (b.dst(ty)?, b.src(1, ty)?);
            if name == "abs" {
                with_integer!(b, ty, T => unary(d, x, |x: T| Integer::abs(x)))
            } else {
                with_integer!(b, ty, T => unary(d, x, |x: T| (0 as T).wrapping_sub(x)))
            }
        }
        "mad" | "sad" => {
            b.count(4..=4)?;
            let d = b.dst(ty)?;
            let from = [b.src(1, ty)?, b.src(2, ty)?, b.src(3, ty)?];
            let half = b.modifiers.one_of(&["lo", "hi"]);
            let saturate = b.modifiers.flag("sat");
            match (name.as_str(), half) {
                ("mad", Some("lo")) => {
                    with_integer!(b, ty, T => ternary(d, from, |x: T, y: T, z: T| x.wrapping_mul(y).wrapping_add(z)))
                }
                ("mad", Some("hi")) if saturate => {
                    with_integer!(b, ty, T => ternary(d, from, |x: T, y: T, z: T| {
                        Integer::saturating_add(x.mul_hi(y), z)
                    }))
                }
                ("mad", Some("hi")) => {
                    with_integer!(b, ty, T => ternary(d, from, |x: T, y: T, z: T| x.mul_hi(y).wrapping_add(z)))
                }
                ("sad", None) => with_integer!(b, ty, T => ternary(d, from, |x: T, y: T, z: T| {
                    z.wrapping_add(if x < y { y.wrapping_sub(x) } else { x.wrapping_sub(y) })
                })),
                _ => return b.fail("expected .lo, .hi or .wide"),
            }
        }
        _ => {
            b.count(3..=3)?;
            let d = b.dst(ty)?;
            let from = [b.src(1, ty)?, b.src(2, ty)?];
            let half = b.modifiers.one_of(&["lo", "hi"]);
            let saturate = b.modifiers.flag("sat");
            match (name.as_str(), half, saturate) {
                ("add", None, false) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Integer::add(x, y)))
                }
                ("sub", None, false) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Integer::sub(x, y)))
                }
                ("add", None, true) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Integer::saturating_add(x, y)))
                }
                ("sub", None, true) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Integer::saturating_sub(x, y)))
                }
                ("mul", Some("lo"), false) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Integer::mul(x, y)))
                }
                ("mul", Some("hi"), false) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Integer::mul_hi(x, y)))
                }
                ("div", None, false) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Integer::div(x, y)))
                }
                ("rem", None, false) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Integer::rem(x, y)))
                }
                ("min", None, false) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Ord::min(x, y)))
                }
                ("max", None, false) => {
                    with_integer!(b, ty, T => binary(d, from, |x: T, y: T| Ord::max(x, y)))
                }
                _ => return b.fail("modifiers that do not go together"),
            }
        }
    };
    b.compute(compute, Class::Integer, 0)
}

/// `mul.wide` and `mad.wide`: a product of twice the width.
fn wide(b: &mut Builder<'_>, ty: Type, add: bool) -> Result<Compute> {
    let double = match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return b.fail("not a type for .wide"),
    };
    b.count(if add { 4..=4 } else { 3..=3 })?;
    let d = b.dst(double)?;
    let (x, y) = (b.src(1, ty)?, b.src(2, ty)?);
    if !add {
        return Ok(match ty {
            Type::U16 => binary(d, [x, y], |x: u16, y: u16| u32::from(x) * u32::from(y)),
            Type::S16 => binary(d, [x, y], |x: i16, y: i16| i32::from(x) * i32::from(y)),
            Type::U32 => binary(d, [x, y], |x: u32, y: u32| u64::from(x) * u64::from(y)),
            _ => binary(d, [x, y], |x: i32, y: i32| i64::from(x) * i64::from(y)),
        });
    }
    let from = [x, y, b.src(3, double)?];
    Ok(match ty {
        Type::U16 => ternary(d, from, |x: u16, y: u16, z: u32| (u32::from(x) * u32::from(y)).wrapping_add(z)),
        Type::S16 => ternary(d, from, |x: i16, y: i16, z: i32| (i32::from(x) * i32::from(y)).wrapping_add(z)),
        Type::U32 => ternary(d, from, |x: u32, y: u32, z: u64| (u64::from(x) * u64::from(y)).wrapping_add(z)),
        _ => ternary(d, from, |x: i32, y: i32, z: i64| (i64::from(x) * i64::from(y)).wrapping_add(z)),
    })
}
