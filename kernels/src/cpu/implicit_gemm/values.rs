//! Elements of either number format.

use crate::Result;
use genesis_tensor::{DType, Tensor};
use half::bf16;

/// The elements of an activation.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// The elements of an activation, to write.
pub(crate) enum ValuesMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
}

impl<'a> Values<'a> {
    /// The elements of a tensor.
    pub fn of(tensor: &'a Tensor) -> Self {
        match tensor.dtype() {
            DType::F32 => Self::F32(tensor.as_slice()),
            DType::Bf16 => Self::Bf16(tensor.as_bf16()),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::Bf16(_) => DType::Bf16,
        }
    }
}

impl<'a> ValuesMut<'a> {
    /// The elements of a tensor that nobody shares yet.
    pub fn of(tensor: &'a mut Tensor) -> Result<Self> {
        Ok(match tensor.dtype() {
            DType::F32 => Self::F32(tensor.as_mut_slice()?),
            DType::Bf16 => Self::Bf16(tensor.as_bf16_mut()?),
        })
    }

    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }
}

/// An element of an activation or of a packed operand.
pub(crate) trait Element: bytemuck::Pod + Send + Sync {
    /// Its value.
    fn widen(self) -> f32;
    /// The nearest element to a value, ties to even.
    fn nearest(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn nearest(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// Without a branch, so that loops of it become vector instructions; a NaN stays one.
    #[inline(always)]
    fn nearest(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        Self::from_bits(if value.is_nan() { quiet } else { rounded } as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_library() {
        let mut bits = 1u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            for value in [bits, bits & 0xffff_0000 | 0x8000, bits | 0x7f80_0000].map(f32::from_bits) {
                let (given, wanted) = (<bf16 as Element>::nearest(value), bf16::from_f32(value));
                assert_eq!(given.to_bits(), wanted.to_bits(), "{value}");
                assert_eq!(given.widen().to_bits(), wanted.to_f32_const().to_bits());
            }
        }
    }
}
