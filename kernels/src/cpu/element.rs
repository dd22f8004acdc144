//! Number formats that activations are stored in.
//!
//! A loop over activations is written once, over an [`Element`]: each value is widened to f32 in a
//! register after it is loaded and narrowed before it is stored, so no widened copy of a tensor exists.
//! Both conversions are plain integer arithmetic, which the vectoriser handles in every instruction set
//! and which gives the same bits in all of them. (`vcvtneps2bf16` would save some of that arithmetic, but
//! flushes denormals, and these loops wait for memory anyway.)

use crate::Result;
use crate::cpu::Isa;
use genesis_tensor::{DType, Tensor};
use half::bf16;

/// A number format that activations are stored in.
pub trait Element: bytemuck::Pod + Send + Sync {
    /// The format's name in a tensor.
    const DTYPE: DType;
    /// As f32, exactly.
    fn widen(self) -> f32;
    /// From f32, rounded to nearest even; a NaN stays one.
    fn narrow(value: f32) -> Self;
    /// The number where `keep` is true, else 0: a mask and no choice, which could become a branch.
    fn masked(self, keep: bool) -> Self;
    /// The elements of a tensor in this format.
    ///
    /// # Panics
    /// If the tensor has another format; operations check at their entry.
    fn slice(tensor: &Tensor) -> &[Self];
    /// The elements of a tensor in this format, to write.
    ///
    /// # Errors
    /// As [`Tensor::as_mut_slice`].
    fn slice_mut(tensor: &mut Tensor) -> Result<&mut [Self]>;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn masked(self, keep: bool) -> Self {
        Self::from_bits(self.to_bits() & u32::from(keep).wrapping_neg())
    }

    fn slice(tensor: &Tensor) -> &[Self] {
        tensor.as_slice()
    }

    fn slice_mut(tensor: &mut Tensor) -> Result<&mut [Self]> {
        Ok(tensor.as_mut_slice()?)
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        // Adds just under half a unit in the last place, a little more where that place is odd: the
        // carry rounds to nearest even, and the largest finite numbers up to infinity.
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
        // The quiet bit keeps a NaN whose payload is cut off from becoming infinity.
        let bits = if value.is_nan() { bits | 0x0040_0000 } else { rounded };
        Self::from_bits((bits >> 16) as u16)
    }

    #[inline(always)]
    fn masked(self, keep: bool) -> Self {
        Self::from_bits(self.to_bits() & u16::from(keep).wrapping_neg())
    }

    fn slice(tensor: &Tensor) -> &[Self] {
        tensor.as_bf16()
    }

    fn slice_mut(tensor: &mut Tensor) -> Result<&mut [Self]> {
        Ok(tensor.as_bf16_mut()?)
    }
}

/// An output of at least so many bytes is stored past the caches: whoever reads it next would not find
/// it there anyway, and a line that is stored whole need not be read from memory first.
const STREAMED: usize = 16 << 20;

/// How the blocks of an output are stored. The bits are the same in all ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Through the caches.
    Cached,
    /// Past the caches, with non-temporal stores of 16 bytes where the machine has them.
    Streamed,
    /// The same with 32 bytes, the width at which bf16 leaves an AVX-512 register of f32. The machine
    /// must have AVX: only [`Store::of`] makes this one.
    StreamedAvx(HasAvx),
}

/// Proof that the machine has AVX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasAvx(());

impl Store {
    /// What suits an output, by its size.
    pub fn of<E>(isa: Isa, output: &[E]) -> Self {
        match isa {
            _ if size_of_val(output) < STREAMED => Self::Cached,
            Isa::Portable => Self::Streamed,
            // An `Isa` reaches a context only if the machine has it, and all but `Portable` include AVX.
            _ => Self::StreamedAvx(HasAvx(())),
        }
    }

    /// Stores a block.
    #[inline(always)]
    pub fn block<E: Element, const B: usize>(self, to: &mut [E; B], values: [E; B]) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::*;
            let bytes = size_of::<[E; B]>();
            let (target, from) = (to.as_mut_ptr().cast::<u8>(), values.as_ptr().cast::<u8>());
            let fits = |width: usize| bytes.is_multiple_of(width) && target.addr().is_multiple_of(width);
            match self {
                Self::StreamedAvx(_) if fits(32) => {
                    for i in (0..bytes).step_by(32) {
                        // SAFETY: the machine has AVX, which the variant's value proves. Both arrays are
                        // `bytes` long, a multiple of 32, so that part i lies within them; `to` is
                        // borrowed exclusively and aligned to 32 bytes, `values` may be unaligned.
                        unsafe {
                            _mm256_stream_si256(target.add(i).cast(), _mm256_loadu_si256(from.add(i).cast()))
                        };
                    }
                    return;
                }
                Self::Streamed if fits(16) => {
                    for i in (0..bytes).step_by(16) {
                        // SAFETY: as above with 16 bytes and SSE2, which every x86-64 has.
                        unsafe {
                            _mm_stream_si128(target.add(i).cast(), _mm_loadu_si128(from.add(i).cast()))
                        };
                    }
                    return;
                }
                _ => {}
            }
        }
        *to = values;
    }

    /// Must follow the last block of a task: non-temporal stores are not ordered with others, and the
    /// task's end hands the output to other threads.
    #[inline(always)]
    pub fn finish(self) {
        #[cfg(target_arch = "x86_64")]
        if self != Self::Cached {
            // SAFETY: the instruction belongs to SSE, so to every x86-64.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::lanes::BLOCK;

    #[test]
    fn narrowing_agrees_with_the_half_crate_for_every_kind_of_number() {
        for bits in (0..=u32::MAX).step_by(251).chain([0x7F7F_FFFF, 0x7F80_0001, 0xFF80_0001, 0x0000_8000]) {
            let value = f32::from_bits(bits);
            let (given, wanted) = (<bf16 as Element>::narrow(value), bf16::from_f32(value));
            assert_eq!(given.to_bits(), wanted.to_bits(), "{bits:08x}");
        }
        for bits in 0..=u16::MAX {
            let value = bf16::from_bits(bits);
            assert_eq!(value.widen().to_bits(), u32::from(bits) << 16);
            assert_eq!(value.masked(true).to_bits(), bits);
            assert_eq!(value.masked(false).to_bits(), 0);
        }
    }

    #[test]
    fn both_ways_to_store_give_the_same_bits_aligned_or_not() {
        let values: [f32; BLOCK] = std::array::from_fn(|i| i as f32);
        let mut memory = vec![0.0f32; BLOCK + 7];
        let large = vec![0u8; STREAMED];
        assert_eq!(Store::of(Isa::detect(), &large[1..]), Store::Cached);
        for start in 0..8 {
            let best = Store::of(Isa::detect(), &large);
            for store in [Store::Cached, Store::Streamed, best] {
                memory.fill(f32::NAN);
                let to = memory[start..].first_chunk_mut::<BLOCK>().unwrap();
                store.block(to, values);
                store.finish();
                assert_eq!(*to, values);
            }
        }
    }
}
