//! Tensor maps: what a tensor in device memory is like and which box of it is copied, in 128 bytes that only the driver
//! makes and only copies read. Ours have a magic number and a checksum, so that anything else is noticed.

use super::swizzle::Swizzle;

/// Type of a tensor's elements, numbered as the driver numbers them (CUDA 12.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum TensorType {
    U8 = 0,
    U16 = 1,
    U32 = 2,
    I32 = 3,
    U64 = 4,
    I64 = 5,
    F16 = 6,
    F32 = 7,
    F64 = 8,
    Bf16 = 9,
}

impl TensorType {
    /// The type of the driver's number; subnormals that become zero and tf32 are not emulated.
    pub fn of(number: u32) -> Option<Self> {
        const ALL: [TensorType; 10] = [
            TensorType::U8,
            TensorType::U16,
            TensorType::U32,
            TensorType::I32,
            TensorType::U64,
            TensorType::I64,
            TensorType::F16,
            TensorType::F32,
            TensorType::F64,
            TensorType::Bf16,
        ];
        ALL.get(number as usize).copied()
    }

    /// Size in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// A tensor in device memory and the box of it that one instruction copies. The first dimension is the innermost one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMap {
    /// Type of the elements.
    pub data_type: TensorType,
    /// Address of the first element.
    pub address: u64,
    /// Elements along each of 1 to 5 dimensions.
    pub dimensions: Vec<u64>,
    /// Bytes from one element to the next along each dimension but the first.
    pub strides: Vec<u64>,
    /// Elements along each dimension that a box spans.
    pub box_dimensions: Vec<u32>,
    /// Of these, every how many-th is copied; of no meaning for the first dimension.
    pub element_strides: Vec<u32>,
    /// Pattern in shared memory.
    pub swizzle: Swizzle,
}

/// Bytes of an encoded map.
pub const TENSOR_MAP_BYTES: usize = 128;
/// Encoded maps lie at multiples of this.
pub(crate) const TENSOR_MAP_ALIGNMENT: u64 = 64;
const MAGIC: &[u8; 8] = b"tensor#1";
const CHECKED: usize = TENSOR_MAP_BYTES - 8;
const MOST_DIMENSIONS: usize = 5;

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl TensorMap {
    /// Bytes of a box's innermost row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.box_dimensions[0] as usize * self.data_type.bytes()
    }

    /// Elements copied along a dimension.
    pub(crate) fn copied(&self, dimension: usize) -> usize {
        let step = if dimension == 0 { 1 } else { self.element_strides[dimension] };
        self.box_dimensions[dimension].div_ceil(step) as usize
    }

    /// Bytes that a copy of a box writes, whatever lies outside of the tensor.
    pub fn box_bytes(&self) -> usize {
        (1..self.dimensions.len()).map(|i| self.copied(i)).product::<usize>() * self.row_bytes()
    }

    /// What the driver's manual demands of `cuTensorMapEncodeTiled`.
    fn check(&self) -> Result<(), String> {
        let rank = self.dimensions.len();
        let require = |holds: bool, message: String| if holds { Ok(()) } else { Err(message) };
        require((1..=MOST_DIMENSIONS).contains(&rank), format!("{rank} dimensions, 1 to 5 are possible"))?;
        let counts = [self.strides.len() + 1, self.box_dimensions.len(), self.element_strides.len()];
        require(
            counts == [rank; 3],
            format!("{rank} dimensions with {counts:?} strides, box sizes and steps"),
        )?;
        require(
            self.address.is_multiple_of(16) && self.address != 0,
            format!("address {:#x} is no multiple of 16", self.address),
        )?;
        for (i, &size) in self.dimensions.iter().enumerate() {
            require((1..=1 << 32).contains(&size), format!("dimension {i} has {size} elements"))?;
        }
        for (i, &stride) in self.strides.iter().enumerate() {
            require(
                stride.is_multiple_of(16) && stride < 1 << 40,
                format!("stride {stride} of dimension {} is no multiple of 16 below 2^40", i + 1),
            )?;
        }
        for (i, &size) in self.box_dimensions.iter().enumerate() {
            require((1..=256).contains(&size), format!("the box has {size} elements along dimension {i}"))?;
        }
        for (i, &step) in self.element_strides.iter().enumerate() {
            require((1..=8).contains(&step), format!("element stride {step} of dimension {i}"))?;
        }
        let row = self.row_bytes();
        require(row.is_multiple_of(16), format!("a row of the box has {row} bytes, no multiple of 16"))?;
        let span = self.swizzle.span();
        require(
            self.swizzle == Swizzle::None || row <= span,
            format!("a row of the box has {row} bytes, the pattern spans {span}"),
        )
    }

    /// The map as a kernel gets it.
    ///
    /// # Errors
    /// The first rule of the driver's manual that does not hold.
    pub fn encode(&self) -> Result<[u8; TENSOR_MAP_BYTES], String> {
        self.check()?;
        let mut bytes = MAGIC.to_vec();
        let swizzle = self.swizzle.span() as u8;
        bytes.extend([self.data_type as u8, self.dimensions.len() as u8, swizzle]);
        let padded = |values: &[u32]| -> Vec<u32> {
            (0..MOST_DIMENSIONS).map(|i| values.get(i).copied().unwrap_or(0)).collect()
        };
        // 1 to 8 and 1 to 256 fit when counted from 0.
        bytes.extend(padded(&self.element_strides).iter().map(|&step| step.wrapping_sub(1) as u8));
        bytes.extend(padded(&self.box_dimensions).iter().map(|&size| size.wrapping_sub(1) as u8));
        bytes.resize(24, 0);
        let mut put = |value: u64| bytes.extend(value.to_le_bytes());
        put(self.address);
        (0..MOST_DIMENSIONS).for_each(|i| put(self.dimensions.get(i).copied().unwrap_or(0)));
        (1..MOST_DIMENSIONS).for_each(|i| put(self.strides.get(i - 1).copied().unwrap_or(0)));
        bytes.resize(CHECKED, 0);
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        let mut out = [0; TENSOR_MAP_BYTES];
        out.copy_from_slice(&bytes);
        Ok(out)
    }

    /// What [`TensorMap::encode`] made; nothing for anything else.
    pub(crate) fn decode(bytes: &[u8; TENSOR_MAP_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            let mut own = [0; 8];
            own.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(own)
        };
        if &bytes[..8] != MAGIC || word(CHECKED) != checksum(&bytes[..CHECKED]) {
            return None;
        }
        let rank = usize::from(bytes[9]);
        let small = |at: usize| (0..rank).map(|i| u32::from(bytes[at + i]) + 1).collect();
        Some(Self {
            data_type: TensorType::of(bytes[8].into())?,
            address: word(24),
            dimensions: (0..rank).map(|i| word(32 + 8 * i)).collect(),
            strides: (1..rank).map(|i| word(72 + 8 * (i - 1))).collect(),
            element_strides: small(11),
            box_dimensions: small(16),
            swizzle: match bytes[10] {
                32 => Swizzle::Bytes32,
                64 => Swizzle::Bytes64,
                128 => Swizzle::Bytes128,
                _ => Swizzle::None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_made() -> Result<(), String> {
        let map = TensorMap {
            data_type: TensorType::Bf16,
            address: 0x7000_0000_1230,
            dimensions: vec![32, 1 << 32, 7, 5, 3],
            strides: vec![64, 64 * 3, 1 << 20, (1 << 40) - 16],
            box_dimensions: vec![32, 256, 1, 4, 2],
            element_strides: vec![1, 2, 8, 1, 3],
            swizzle: Swizzle::Bytes64,
        };
        let mut bytes = map.encode()?;
        assert_eq!(TensorMap::decode(&bytes).as_ref(), Some(&map));
        assert_eq!(map.box_bytes(), 64 * 128 * 4);
        for i in 0..TENSOR_MAP_BYTES {
            bytes[i] ^= 1;
            assert_eq!(TensorMap::decode(&bytes), None, "byte {i}");
            bytes[i] ^= 1;
        }
        Ok(())
    }

    #[test]
    fn rules_of_the_manual() {
        let good = TensorMap {
            data_type: TensorType::F16,
            address: 0x7000_0000_0000,
            dimensions: vec![64, 10],
            strides: vec![128],
            box_dimensions: vec![64, 8],
            element_strides: vec![1, 1],
            swizzle: Swizzle::Bytes128,
        };
        assert!(good.encode().is_ok());
        let bad = |change: &dyn Fn(&mut TensorMap), part: &str| {
            let mut map = good.clone();
            change(&mut map);
            let message = map.encode().expect_err(part);
            assert!(message.contains(part), "{message}");
        };
        bad(&|m| m.address += 8, "multiple of 16");
        bad(&|m| m.dimensions[1] = 0, "dimension 1");
        bad(&|m| m.dimensions[1] = (1 << 32) + 1, "dimension 1");
        bad(&|m| m.strides[0] = 72, "stride 72");
        bad(&|m| m.strides[0] = 1 << 40, "below 2^40");
        bad(&|m| m.box_dimensions[1] = 257, "257 elements");
        bad(&|m| m.box_dimensions[1] = 0, "0 elements");
        bad(&|m| m.element_strides[1] = 9, "element stride 9");
        bad(&|m| m.box_dimensions[0] = 4, "no multiple of 16");
        bad(&|m| m.swizzle = Swizzle::Bytes64, "spans 64");
        bad(&|m| m.dimensions.clear(), "0 dimensions");
        bad(&|m| m.strides.clear(), "strides");
    }
}
