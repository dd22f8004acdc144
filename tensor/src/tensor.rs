//! The tensor: a shape over a shared, reference-counted block.

use crate::memory::Block;
use crate::{DType, Device, Error, Result, Shape};
use half::bf16;
use std::sync::Arc;

/// A dense array in row-major order. Cloning shares the block; writing to a shared one copies first.
///
/// ```
/// use genesis_tensor::Tensor;
/// let mut a = Tensor::from_slice([2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
/// let b = a.clone();
/// a.as_mut_slice().unwrap()[0] = 9.0;
/// assert_eq!(b.as_slice()[0], 1.0);
/// ```
#[derive(Clone)]
pub struct Tensor {
    block: Arc<Block>,
    /// First element within the block.
    offset: usize,
    shape: Shape,
    dtype: DType,
}

impl Tensor {
    /// A tensor whose content is unspecified, for kernels that write every element.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn unspecified(shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        let bytes = shape
            .dims()
            .iter()
            .try_fold(dtype.bytes(), |bytes, &extent| bytes.checked_mul(extent))
            .ok_or(Error::OutOfMemory { bytes: usize::MAX })?;
        Ok(Self { block: Arc::new(Block::new(bytes)?), offset: 0, shape, dtype })
    }

    /// A tensor of f32 zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Result<Self> {
        Self::full(shape, 0.0)
    }

    /// A tensor of one f32 value.
    pub fn full(shape: impl Into<Shape>, value: f32) -> Result<Self> {
        let mut tensor = Self::unspecified(shape, DType::F32)?;
        tensor.as_mut_slice()?.fill(value);
        Ok(tensor)
    }

    /// An f32 tensor with the given elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of elements differs.
    pub fn from_slice(shape: impl Into<Shape>, values: &[f32]) -> Result<Self> {
        let shape = shape.into();
        if shape.elements() != values.len() {
            return Err(Error::shape("from_slice", shape, format!("{} values", values.len())));
        }
        let mut tensor = Self::unspecified(shape, DType::F32)?;
        tensor.as_mut_slice()?.copy_from_slice(values);
        Ok(tensor)
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The number format.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the elements are.
    pub fn device(&self) -> Device {
        Device::Cpu
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// Size of the elements in bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.elements() * self.dtype.bytes()
    }

    /// True if no other tensor shares this one's block.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.block) == 1
    }

    /// True if both are the same elements in the same memory: one is a clone of the other, and neither
    /// was written since.
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.block, &other.block)
            && (self.offset, self.shape, self.dtype) == (other.offset, other.shape, other.dtype)
    }

    /// The bytes of the elements, whatever their format.
    pub fn bytes(&self) -> &[u8] {
        &self.block.bytes()[self.offset * self.dtype.bytes()..][..self.size_in_bytes()]
    }

    /// The elements of an f32 tensor.
    ///
    /// # Panics
    /// If the tensor is not f32; kernels check formats at their entry.
    pub fn as_slice(&self) -> &[f32] {
        assert_eq!(self.dtype, DType::F32, "as_slice of a {:?} tensor", self.dtype);
        &bytemuck::cast_slice(self.block.bytes())[self.offset..self.offset + self.elements()]
    }

    /// The elements of an f32 tensor, to write; copies them first if the block is shared.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if that copy does not fit; [`Error::DType`] if the tensor is not f32.
    pub fn as_mut_slice(&mut self) -> Result<&mut [f32]> {
        if self.dtype != DType::F32 {
            return Err(Error::DType { operation: "as_mut_slice", wanted: DType::F32, given: self.dtype });
        }
        self.own()?;
        let range = self.offset..self.offset + self.elements();
        let block = Arc::get_mut(&mut self.block).expect("own() left one owner");
        Ok(&mut bytemuck::cast_slice_mut(block.bytes_mut())[range])
    }

    /// The elements of a bf16 tensor.
    ///
    /// # Panics
    /// If the tensor is not bf16.
    pub fn as_bf16(&self) -> &[bf16] {
        assert_eq!(self.dtype, DType::Bf16, "as_bf16 of a {:?} tensor", self.dtype);
        &bytemuck::cast_slice(self.block.bytes())[self.offset..self.offset + self.elements()]
    }

    /// The elements of a bf16 tensor, to write; copies them first if the block is shared.
    ///
    /// # Errors
    /// As [`Tensor::as_mut_slice`].
    pub fn as_bf16_mut(&mut self) -> Result<&mut [bf16]> {
        if self.dtype != DType::Bf16 {
            return Err(Error::DType { operation: "as_bf16_mut", wanted: DType::Bf16, given: self.dtype });
        }
        self.own()?;
        let range = self.offset..self.offset + self.elements();
        let block = Arc::get_mut(&mut self.block).expect("own() left one owner");
        Ok(&mut bytemuck::cast_slice_mut(block.bytes_mut())[range])
    }

    fn own(&mut self) -> Result<()> {
        if !self.is_unique() {
            let mut block = Block::new(self.size_in_bytes())?;
            let start = self.offset * self.dtype.bytes();
            let source = &self.block.bytes()[start..start + self.size_in_bytes()];
            block.bytes_mut()[..source.len()].copy_from_slice(source);
            self.block = Arc::new(block);
            self.offset = 0;
        }
        Ok(())
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.elements() != self.elements() {
            return Err(Error::unequal("reshape", shape, self.shape));
        }
        Ok(Self { shape, ..self.clone() })
    }

    /// A window of consecutive elements, sharing the block: how parameters live in one buffer.
    ///
    /// # Errors
    /// [`Error::Shape`] if the window reaches past the end.
    pub fn window(&self, start: usize, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if start + shape.elements() > self.elements() {
            return Err(Error::shape("window", format!("{shape} from {start}"), self.shape));
        }
        Ok(Self { offset: self.offset + start, shape, ..self.clone() })
    }

    /// A copy in another number format, rounded to nearest even.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn cast(&self, dtype: DType) -> Result<Self> {
        let mut out = Self::unspecified(self.shape, dtype)?;
        match (self.dtype, dtype) {
            (DType::F32, DType::F32) => out.as_mut_slice()?.copy_from_slice(self.as_slice()),
            (DType::Bf16, DType::Bf16) => out.as_bf16_mut()?.copy_from_slice(self.as_bf16()),
            (DType::F32, DType::Bf16) => {
                for (to, from) in out.as_bf16_mut()?.iter_mut().zip(self.as_slice()) {
                    *to = bf16::from_f32(*from);
                }
            }
            (DType::Bf16, DType::F32) => {
                for (to, from) in out.as_mut_slice()?.iter_mut().zip(self.as_bf16()) {
                    *to = from.to_f32();
                }
            }
        }
        Ok(out)
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor{}{:?}", self.shape, self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_share_until_written() {
        let mut flat = Tensor::from_slice([6], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let window = flat.window(2, [2, 2]).unwrap();
        assert_eq!(window.as_slice(), [2.0, 3.0, 4.0, 5.0]);
        flat.as_mut_slice().unwrap()[2] = 9.0;
        assert_eq!(window.as_slice()[0], 2.0);
        assert!(window.is_clone_of(&window.clone()) && !window.is_clone_of(&flat));
        drop(window);
        assert!(flat.is_unique());
        assert!(flat.window(5, [2]).is_err());
        assert!(flat.reshape([7]).is_err());
    }

    #[test]
    fn bf16_rounds_to_nearest_even_and_back() {
        let tensor = Tensor::from_slice([3], &[1.0, 1.003_906_3, -3.0e38]).unwrap();
        let back = tensor.cast(DType::Bf16).unwrap().cast(DType::F32).unwrap();
        assert_eq!(back.as_slice()[..2], [1.0, 1.0]);
        assert!((back.as_slice()[2] / -3.0e38 - 1.0).abs() < 0.004);
    }

    #[test]
    fn a_shape_beyond_the_address_space_is_an_error() {
        assert!(Tensor::unspecified([usize::MAX / 8, 16, 16], DType::F32).is_err());
    }
}
