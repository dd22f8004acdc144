//! The tensor: a shape over a shared, reference-counted block.

use crate::card::{Card, CardBlock};
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
///
/// It lies in main memory, or in that of a card ([`Tensor::to_card`]), where only the card's kernels see its
/// elements: [`Tensor::to_host`] fetches them.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    /// First element within the block.
    offset: usize,
    shape: Shape,
    dtype: DType,
}

/// Where the elements are.
enum Storage {
    Cpu(Block),
    Cuda(CardBlock),
}

/// The size of a tensor of this shape.
fn size(shape: Shape, dtype: DType) -> Result<usize> {
    let bytes = shape.dims().iter().try_fold(dtype.bytes(), |bytes, &extent| bytes.checked_mul(extent));
    bytes.ok_or(Error::OutOfMemory { bytes: usize::MAX })
}

impl Tensor {
    /// A tensor whose content is unspecified, for kernels that write every element.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn unspecified(shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        let storage = Storage::Cpu(Block::new(size(shape, dtype)?)?);
        Ok(Self { storage: Arc::new(storage), offset: 0, shape, dtype })
    }

    /// A tensor on a card whose content is unspecified.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Device`].
    pub fn unspecified_on(card: &Arc<dyn Card>, shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        let storage = Storage::Cuda(CardBlock::new(card, size(shape, dtype)?)?);
        Ok(Self { storage: Arc::new(storage), offset: 0, shape, dtype })
    }

    /// The same elements on a card; a clone if they are there.
    ///
    /// # Errors
    /// As [`Tensor::unspecified_on`].
    pub fn to_card(&self, card: &Arc<dyn Card>) -> Result<Self> {
        match &*self.storage {
            Storage::Cuda(block) if Arc::ptr_eq(&block.card, card) => Ok(self.clone()),
            Storage::Cuda(_) => self.to_host()?.to_card(card),
            Storage::Cpu(_) => {
                let there = Self::unspecified_on(card, self.shape, self.dtype)?;
                let Storage::Cuda(block) = &*there.storage else { return Ok(there) };
                card.upload(self.bytes(), block.address)?;
                Ok(there)
            }
        }
    }

    /// The same elements in main memory; a clone if they are there. Waits for the card.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Device`]: also for a kernel that failed before.
    pub fn to_host(&self) -> Result<Self> {
        let (Storage::Cuda(block), Some(address)) = (&*self.storage, self.address()) else {
            return Ok(self.clone());
        };
        let bytes = self.size_in_bytes();
        let mut here = Block::new(bytes)?;
        block.card.download(address, &mut here.bytes_mut()[..bytes])?;
        Ok(Self { storage: Arc::new(Storage::Cpu(here)), offset: 0, ..*self })
    }

    /// Where the first element is on the card; none in main memory.
    pub fn address(&self) -> Option<u64> {
        match &*self.storage {
            Storage::Cpu(_) => None,
            Storage::Cuda(block) => Some(block.address + (self.offset * self.dtype.bytes()) as u64),
        }
    }

    /// The same, for a kernel that writes the elements; copies them first if the block is shared.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if that copy does not fit; [`Error::Device`].
    pub fn address_mut(&mut self) -> Result<Option<u64>> {
        if matches!(&*self.storage, Storage::Cuda(_)) {
            self.own()?;
        }
        Ok(self.address())
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
        match &*self.storage {
            Storage::Cpu(_) => Device::Cpu,
            Storage::Cuda(block) => Device::Cuda(block.card.number()),
        }
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
        Arc::strong_count(&self.storage) == 1
    }

    /// True if both are the same elements in the same memory: one is a clone of the other, and neither
    /// was written since.
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.storage, &other.storage)
            && (self.offset, self.shape, self.dtype) == (other.offset, other.shape, other.dtype)
    }

    /// # Panics
    /// If the tensor is on a card: which tensors are is known to whoever asked for it.
    fn block(&self) -> &Block {
        match &*self.storage {
            Storage::Cpu(block) => block,
            Storage::Cuda(block) => panic!("the elements of {self:?} lie on {:?}", block.card),
        }
    }

    /// The bytes of the elements, whatever their format.
    ///
    /// # Panics
    /// If the tensor is on a card.
    pub fn bytes(&self) -> &[u8] {
        &self.block().bytes()[self.offset * self.dtype.bytes()..][..self.size_in_bytes()]
    }

    /// The elements of an f32 tensor.
    ///
    /// # Panics
    /// If the tensor is not f32, or on a card; kernels check formats at their entry.
    pub fn as_slice(&self) -> &[f32] {
        assert_eq!(self.dtype, DType::F32, "as_slice of a {:?} tensor", self.dtype);
        &bytemuck::cast_slice(self.block().bytes())[self.offset..self.offset + self.elements()]
    }

    /// The elements of an f32 tensor, to write; copies them first if the block is shared.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if that copy does not fit; [`Error::DType`] if the tensor is not f32;
    /// [`Error::Device`] if it is on a card.
    pub fn as_mut_slice(&mut self) -> Result<&mut [f32]> {
        if self.dtype != DType::F32 {
            return Err(Error::DType { operation: "as_mut_slice", wanted: DType::F32, given: self.dtype });
        }
        let (block, range) = self.block_mut()?;
        Ok(&mut bytemuck::cast_slice_mut(block.bytes_mut())[range])
    }

    /// The elements of a bf16 tensor.
    ///
    /// # Panics
    /// If the tensor is not bf16, or on a card.
    pub fn as_bf16(&self) -> &[bf16] {
        assert_eq!(self.dtype, DType::Bf16, "as_bf16 of a {:?} tensor", self.dtype);
        &bytemuck::cast_slice(self.block().bytes())[self.offset..self.offset + self.elements()]
    }

    /// The elements of a bf16 tensor, to write; copies them first if the block is shared.
    ///
    /// # Errors
    /// As [`Tensor::as_mut_slice`].
    pub fn as_bf16_mut(&mut self) -> Result<&mut [bf16]> {
        if self.dtype != DType::Bf16 {
            return Err(Error::DType { operation: "as_bf16_mut", wanted: DType::Bf16, given: self.dtype });
        }
        let (block, range) = self.block_mut()?;
        Ok(&mut bytemuck::cast_slice_mut(block.bytes_mut())[range])
    }

    /// The block of this tensor alone, and which of its elements are the tensor's.
    fn block_mut(&mut self) -> Result<(&mut Block, std::ops::Range<usize>)> {
        if let Storage::Cuda(block) = &*self.storage {
            return Err(Error::Device(format!(
                "a tensor on {:?} was to be written in main memory",
                block.card
            )));
        }
        self.own()?;
        let range = self.offset..self.offset + self.elements();
        match Arc::get_mut(&mut self.storage) {
            Some(Storage::Cpu(block)) => Ok((block, range)),
            _ => unreachable!("own() left one owner, in main memory"),
        }
    }

    fn own(&mut self) -> Result<()> {
        if self.is_unique() {
            return Ok(());
        }
        let (start, bytes) = (self.offset * self.dtype.bytes(), self.size_in_bytes());
        let copy = match &*self.storage {
            Storage::Cpu(shared) => {
                let mut block = Block::new(bytes)?;
                block.bytes_mut()[..bytes].copy_from_slice(&shared.bytes()[start..start + bytes]);
                Storage::Cpu(block)
            }
            Storage::Cuda(shared) => {
                let block = CardBlock::new(&shared.card, bytes)?;
                shared.card.copy(shared.address + start as u64, block.address, bytes)?;
                Storage::Cuda(block)
            }
        };
        self.storage = Arc::new(copy);
        self.offset = 0;
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
