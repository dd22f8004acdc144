//! Device memory: live allocations with exact bounds, never at an address that was used before.

use super::shadow::{Shadow, Written};

/// First device address.
pub const DEVICE_BASE: u64 = 0x7000_0000_0000;
/// Unused bytes behind each allocation, at least.
const GAP: u64 = 4096;

/// One allocation.
pub struct Allocation {
    pub(crate) start: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: Written,
    pub(crate) shadow: Shadow,
    pub(crate) read_only: bool,
}

/// Why a request of the host was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryError {
    /// More than the card has left.
    Full,
    /// Not (wholly) inside a live allocation.
    Invalid(String),
}

impl std::fmt::Display for MemoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("out of device memory"),
            Self::Invalid(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for MemoryError {}

/// The memory of the card.
pub struct Memory {
    /// By address.
    allocations: Vec<Allocation>,
    next: u64,
    total: u64,
    used: u64,
    /// The allocation found last: the next access is likely there.
    last: usize,
    pub(crate) launches: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(80 << 30)
    }
}

impl Memory {
    /// A card with `total` bytes; the host's memory is taken when first touched.
    pub fn new(total: u64) -> Self {
        Self { allocations: Vec::new(), next: DEVICE_BASE, total, used: 0, last: 0, launches: 0 }
    }

    /// Bytes (free, total).
    pub fn info(&self) -> (u64, u64) {
        (self.total - self.used, self.total)
    }

    /// Number of live allocations.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// New memory of `bytes`, not written yet, at a multiple of 256 as the driver promises.
    ///
    /// # Errors
    /// `Full`; `Invalid` for zero bytes.
    pub fn allocate(&mut self, bytes: usize) -> Result<u64, MemoryError> {
        self.allocate_at(bytes, 256, false)
    }

    /// Memory at a multiple of `align` and, where `exact`, at no multiple of anything larger.
    pub(crate) fn allocate_at(
        &mut self,
        bytes: usize,
        align: usize,
        exact: bool,
    ) -> Result<u64, MemoryError> {
        if bytes == 0 {
            return Err(MemoryError::Invalid("an allocation of 0 bytes".into()));
        }
        if bytes as u64 > self.total - self.used {
            return Err(MemoryError::Full);
        }
        let start = self.next.next_multiple_of(2 * align as u64) + if exact { align as u64 } else { 0 };
        self.next = start + bytes as u64 + GAP;
        self.used += bytes as u64;
        self.allocations.push(Allocation {
            start,
            bytes: vec![0; bytes],
            written: Written::new(bytes),
            shadow: Shadow::default(),
            read_only: false,
        });
        Ok(start)
    }

    /// Ends an allocation.
    ///
    /// # Errors
    /// `Invalid` if none begins at `address`.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let found = self.allocations.binary_search_by_key(&address, |a| a.start);
        let index =
            found.map_err(|_| MemoryError::Invalid(format!("no allocation begins at {address:#x}")))?;
        self.used -= self.allocations.remove(index).bytes.len() as u64;
        self.last = 0;
        Ok(())
    }

    /// Start and size of the live allocation around `address`.
    pub fn range(&mut self, address: u64) -> Option<(u64, usize)> {
        self.find(address, 1).map(|(a, _)| (a.start, a.bytes.len()))
    }

    /// The allocation that holds all of `bytes` at `address`, and the offset there.
    #[inline]
    pub(crate) fn find(&mut self, address: u64, bytes: usize) -> Option<(&mut Allocation, usize)> {
        let inside = |a: &Allocation| {
            let offset = address.wrapping_sub(a.start);
            offset < a.bytes.len() as u64 && a.bytes.len() as u64 - offset >= bytes as u64
        };
        if !self.allocations.get(self.last).is_some_and(inside) {
            let after = self.allocations.partition_point(|a| a.start <= address);
            self.last = after.checked_sub(1)?;
            if !inside(&self.allocations[self.last]) {
                return None;
            }
        }
        let allocation = &mut self.allocations[self.last];
        let offset = (address - allocation.start) as usize;
        Some((allocation, offset))
    }

    /// Different bytes that the last launch read, and that it wrote, each counted once: what it must move at least.
    /// Nothing, where races were not checked.
    pub fn touched(&self) -> [u64; 2] {
        let each = self.allocations.iter().map(|allocation| allocation.shadow.touched(self.launches));
        each.fold([0; 2], |sum, bytes| [sum[0] + bytes[0], sum[1] + bytes[1]])
    }

    /// Where an address lies, in words, for a finding.
    pub(crate) fn describe(&self, address: u64) -> String {
        let after = self.allocations.partition_point(|a| a.start <= address);
        let Some(a) = after.checked_sub(1).map(|i| &self.allocations[i]) else {
            return "below every allocation".into();
        };
        let (offset, size) = (address - a.start, a.bytes.len() as u64);
        if offset < size {
            return format!("at byte {offset} of an allocation of {size} bytes, reaching past its end");
        }
        if offset < size + (1 << 30) {
            return format!("{} bytes behind the end of an allocation of {size} bytes", offset - size);
        }
        "in no live allocation".into()
    }

    fn host(&mut self, address: u64, bytes: usize) -> Result<(&mut Allocation, usize), MemoryError> {
        if self.find(address, bytes).is_none() {
            let place = self.describe(address);
            return Err(MemoryError::Invalid(format!("{bytes} bytes at {address:#x}: {place}")));
        }
        self.find(address, bytes).ok_or_else(|| MemoryError::Invalid(String::new()))
    }

    /// Copies from the host.
    ///
    /// # Errors
    /// `Invalid` outside a live allocation; so for all below.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let (allocation, offset) = self.host(address, data.len())?;
        allocation.bytes[offset..offset + data.len()].copy_from_slice(data);
        allocation.written.set(offset, data.len(), true);
        Ok(())
    }

    /// Copies to the host.
    ///
    /// # Errors
    /// See [`Memory::write`].
    pub fn read(&mut self, address: u64, data: &mut [u8]) -> Result<(), MemoryError> {
        let (allocation, offset) = self.host(address, data.len())?;
        data.copy_from_slice(&allocation.bytes[offset..offset + data.len()]);
        Ok(())
    }

    /// Fills `count` elements with `pattern`.
    ///
    /// # Errors
    /// See [`Memory::write`].
    pub fn fill(&mut self, address: u64, pattern: &[u8], count: usize) -> Result<(), MemoryError> {
        let bytes = pattern.len() * count;
        let (allocation, offset) = self.host(address, bytes)?;
        for chunk in allocation.bytes[offset..offset + bytes].chunks_exact_mut(pattern.len()) {
            chunk.copy_from_slice(pattern);
        }
        allocation.written.set(offset, bytes, true);
        Ok(())
    }

    /// Copies within device memory; bytes that nobody wrote stay so.
    ///
    /// # Errors
    /// See [`Memory::write`].
    pub fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), MemoryError> {
        let (source, offset) = self.host(from, bytes)?;
        let data = source.bytes[offset..offset + bytes].to_vec();
        let marks = source.written.part(offset, bytes);
        let (target, offset) = self.host(to, bytes)?;
        target.bytes[offset..offset + bytes].copy_from_slice(&data);
        target.written.paste(offset, bytes, &marks);
        Ok(())
    }

    /// A new allocation with these values.
    ///
    /// # Errors
    /// As [`Memory::allocate`].
    pub fn upload<T: Plain>(&mut self, values: &[T]) -> Result<u64, MemoryError> {
        let data: Vec<u8> = values.iter().flat_map(|&value| value.bytes()).collect();
        let address = self.allocate(data.len())?;
        self.write(address, &data)?;
        Ok(address)
    }

    /// `count` values from `address`.
    ///
    /// # Errors
    /// See [`Memory::write`].
    pub fn download<T: Plain>(&mut self, address: u64, count: usize) -> Result<Vec<T>, MemoryError> {
        let mut data = vec![0; count * size_of::<T>()];
        self.read(address, &mut data)?;
        Ok(data.chunks_exact(size_of::<T>()).map(T::from_bytes).collect())
    }
}

/// Numbers that have a fixed layout in memory.
pub trait Plain: Copy {
    /// Little-endian bytes.
    fn bytes(self) -> Vec<u8>;
    /// The value of as many bytes as it has.
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! plain {
    ($($ty:ty)*) => {$(
        impl Plain for $ty {
            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$ty>()];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }
        }
    )*};
}

plain!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);
