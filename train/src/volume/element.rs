//! The number formats voxels are stored in, and their conversion to and from `f32`.

use half::f16;
use serde::Serialize;

/// A stored number format. [`name`](Self::name) gives the NumPy name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// 8-bit unsigned integer.
    Uint8,
    /// 8-bit signed integer.
    Int8,
    /// 16-bit unsigned integer.
    Uint16,
    /// 16-bit signed integer.
    Int16,
    /// 32-bit unsigned integer.
    Uint32,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit unsigned integer.
    Uint64,
    /// 64-bit signed integer.
    Int64,
    /// IEEE half precision (only in `.npy` files).
    Float16,
    /// IEEE single precision.
    Float32,
    /// IEEE double precision.
    Float64,
}

/// The order of the bytes of one stored number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Every format, in the order of [`ElementType`].
pub const ELEMENT_TYPES: [ElementType; 11] = [
    ElementType::Uint8,
    ElementType::Int8,
    ElementType::Uint16,
    ElementType::Int16,
    ElementType::Uint32,
    ElementType::Int32,
    ElementType::Uint64,
    ElementType::Int64,
    ElementType::Float16,
    ElementType::Float32,
    ElementType::Float64,
];

impl ElementType {
    /// The NumPy name: `"int16"`, `"float32"`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Uint8 => "uint8",
            Self::Int8 => "int8",
            Self::Uint16 => "uint16",
            Self::Int16 => "int16",
            Self::Uint32 => "uint32",
            Self::Int32 => "int32",
            Self::Uint64 => "uint64",
            Self::Int64 => "int64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        }
    }

    /// Bytes per voxel.
    pub fn bytes(self) -> usize {
        match self {
            Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Float16 => 2,
            Self::Uint32 | Self::Int32 | Self::Float32 => 4,
            Self::Uint64 | Self::Int64 | Self::Float64 => 8,
        }
    }

    /// The smallest and largest value of an integer format; `None` for floating point.
    pub fn integer_range(self) -> Option<(f64, f64)> {
        Some(match self {
            Self::Uint8 => (0.0, f64::from(u8::MAX)),
            Self::Int8 => (f64::from(i8::MIN), f64::from(i8::MAX)),
            Self::Uint16 => (0.0, f64::from(u16::MAX)),
            Self::Int16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
            Self::Uint32 => (0.0, f64::from(u32::MAX)),
            Self::Int32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Self::Uint64 => (0.0, u64::MAX as f64),
            Self::Int64 => (i64::MIN as f64, i64::MAX as f64),
            Self::Float16 | Self::Float32 | Self::Float64 => return None,
        })
    }

    /// Decodes `bytes` into `out` (`bytes.len() = out.len() * self.bytes()`), applying
    /// `value * slope + intercept` in double precision when a scaling is given.
    pub fn decode(self, bytes: &[u8], order: ByteOrder, scaling: Option<(f64, f64)>, out: &mut [f32]) {
        debug_assert_eq!(bytes.len(), out.len() * self.bytes());
        macro_rules! decode {
            ($type:ty, $to_f64:expr) => {{
                const SIZE: usize = size_of::<$type>();
                let words = bytes.as_chunks::<SIZE>().0;
                match (order, scaling) {
                    (ByteOrder::Little, None) => {
                        for (value, word) in out.iter_mut().zip(words) {
                            *value = $to_f64(<$type>::from_le_bytes(*word)) as f32;
                        }
                    }
                    (ByteOrder::Big, None) => {
                        for (value, word) in out.iter_mut().zip(words) {
                            *value = $to_f64(<$type>::from_be_bytes(*word)) as f32;
                        }
                    }
                    (_, Some((slope, intercept))) => {
                        for (value, word) in out.iter_mut().zip(words) {
                            let stored = match order {
                                ByteOrder::Little => <$type>::from_le_bytes(*word),
                                ByteOrder::Big => <$type>::from_be_bytes(*word),
                            };
                            *value = ($to_f64(stored) * slope + intercept) as f32;
                        }
                    }
                }
            }};
        }
        match self {
            Self::Uint8 => decode!(u8, f64::from),
            Self::Int8 => decode!(i8, f64::from),
            Self::Uint16 => decode!(u16, f64::from),
            Self::Int16 => decode!(i16, f64::from),
            Self::Uint32 => decode!(u32, f64::from),
            Self::Int32 => decode!(i32, f64::from),
            Self::Uint64 => decode!(u64, |value| value as f64),
            Self::Int64 => decode!(i64, |value| value as f64),
            Self::Float16 => decode!(f16, f64::from),
            Self::Float32 => decode!(f32, f64::from),
            Self::Float64 => decode!(f64, |value| value),
        }
    }

    /// Appends `values` in this format, little-endian, to `out`. Integer formats round to the
    /// nearest integer (halves to even, as NumPy's `rint`).
    ///
    /// # Errors
    /// The first value an integer format cannot hold (out of range or not a number), or that a
    /// half-precision format would turn into infinity.
    pub fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), f32> {
        out.reserve(values.len() * self.bytes());
        if let Some((low, high)) = self.integer_range() {
            // `high as f64` of the 64-bit types rounds up to 2^63 or 2^64, itself out of range.
            let above = if self.bytes() == 8 { high } else { high + 1.0 };
            if let Some(&value) = values.iter().find(|&&value| {
                let rounded = f64::from(value).round_ties_even();
                !(rounded >= low && rounded < above)
            }) {
                return Err(value);
            }
        }
        macro_rules! encode {
            ($type:ty) => {
                for &value in values {
                    out.extend_from_slice(&(value.round_ties_even() as $type).to_le_bytes());
                }
            };
        }
        match self {
            Self::Uint8 => encode!(u8),
            Self::Int8 => encode!(i8),
            Self::Uint16 => encode!(u16),
            Self::Int16 => encode!(i16),
            Self::Uint32 => encode!(u32),
            Self::Int32 => encode!(i32),
            Self::Uint64 => encode!(u64),
            Self::Int64 => encode!(i64),
            Self::Float16 => {
                for &value in values {
                    let stored = f16::from_f32(value);
                    if value.is_finite() && !stored.is_finite() {
                        return Err(value);
                    }
                    out.extend_from_slice(&stored.to_le_bytes());
                }
            }
            Self::Float32 => {
                for value in values {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
            Self::Float64 => {
                for &value in values {
                    out.extend_from_slice(&f64::from(value).to_le_bytes());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_then_decoding_keeps_every_value_a_format_can_hold() {
        let values = [0.0f32, 1.0, 2.0, 77.0, 127.0];
        for element in ELEMENT_TYPES {
            let mut bytes = Vec::new();
            element.encode(&values, &mut bytes).expect("in range");
            assert_eq!(bytes.len(), values.len() * element.bytes(), "{}", element.name());
            let mut back = [0.0; 5];
            element.decode(&bytes, ByteOrder::Little, None, &mut back);
            assert_eq!(back, values, "{}", element.name());
            for word in bytes.chunks_mut(element.bytes()) {
                word.reverse();
            }
            element.decode(&bytes, ByteOrder::Big, Some((2.0, -3.0)), &mut back);
            assert_eq!(back, values.map(|value| value * 2.0 - 3.0), "{}", element.name());
        }
    }

    #[test]
    fn values_out_of_range_are_refused_and_halves_round_to_even() {
        let mut out = Vec::new();
        assert_eq!(ElementType::Uint8.encode(&[1.0, -1.0], &mut out), Err(-1.0));
        assert_eq!(ElementType::Int16.encode(&[32768.0], &mut out), Err(32768.0));
        assert_eq!(ElementType::Int64.encode(&[9.3e18], &mut out), Err(9.3e18));
        assert!(ElementType::Int32.encode(&[f32::NAN], &mut out).is_err());
        assert_eq!(ElementType::Float16.encode(&[1e6], &mut out), Err(1e6));
        out.clear();
        assert_eq!(ElementType::Int8.encode(&[0.5, 1.5, -0.5, 127.4, -128.5], &mut out), Ok(()));
        assert_eq!(out, [0, 2, 0, 127, 0x80]);
    }
}
