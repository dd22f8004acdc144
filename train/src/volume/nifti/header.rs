//! The fixed header of NIfTI-1 (348 bytes) and NIfTI-2 (540 bytes).

use crate::volume::affine::{self, Affine};
use crate::volume::element::{ByteOrder, ElementType};

/// Length of a NIfTI-1 header.
pub(super) const NIFTI1_LENGTH: usize = 348;
/// Length of a NIfTI-2 header.
pub(super) const NIFTI2_LENGTH: usize = 540;

/// The fields of a header that matter, as stored.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// 1 or 2.
    pub version: u8,
    /// Byte order of header and voxels.
    pub byte_order: ByteOrder,
    /// True for a single file, false for a pair.
    pub single_file: bool,
    /// Sizes along the used dimensions.
    pub dimensions: Vec<i64>,
    /// The data type code.
    pub data_type: i16,
    /// `pixdim[0..4]`: qfac and the voxel sizes.
    pub voxel_size: [f64; 4],
    /// Where the voxels start in the data file.
    pub voxel_offset: f64,
    /// `scl_slope` and `scl_inter`.
    pub scaling: [f64; 2],
    /// Code of the quaternion transform, 0 if unused.
    pub qform_code: i32,
    /// Code of the matrix transform, 0 if unused.
    pub sform_code: i32,
    /// Quaternion b, c, d.
    pub quaternion: [f64; 3],
    /// Offset of the quaternion transform.
    pub quaternion_offset: [f64; 3],
    /// First three rows of the matrix transform.
    pub sform: [[f64; 4]; 3],
}

/// Reads numbers of one byte order at given places; every place is inside the fixed header.
struct Fields<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

macro_rules! field {
    ($name:ident, $type:ty) => {
        fn $name(&self, offset: usize) -> $type {
            let mut word = [0u8; size_of::<$type>()];
            word.copy_from_slice(&self.bytes[offset..offset + size_of::<$type>()]);
            match self.order {
                ByteOrder::Little => <$type>::from_le_bytes(word),
                ByteOrder::Big => <$type>::from_be_bytes(word),
            }
        }
    };
}

impl Fields<'_> {
    field!(i16, i16);
    field!(i32, i32);
    field!(i64, i64);
    field!(f32, f32);
    field!(f64, f64);

    fn floats<const N: usize>(&self, version: u8, offset: usize) -> [f64; N] {
        std::array::from_fn(|i| match version {
            1 => f64::from(self.f32(offset + 4 * i)),
            _ => self.f64(offset + 8 * i),
        })
    }
}

/// The version and byte order that the first four bytes (the header length) tell; `None` if neither.
pub(super) fn sniff(start: [u8; 4]) -> Option<(u8, ByteOrder)> {
    for (order, length) in
        [(ByteOrder::Little, u32::from_le_bytes(start)), (ByteOrder::Big, u32::from_be_bytes(start))]
    {
        if length as usize == NIFTI1_LENGTH {
            return Some((1, order));
        }
        if length as usize == NIFTI2_LENGTH {
            return Some((2, order));
        }
    }
    None
}

impl Header {
    /// Parses 348 or 540 bytes, as [`sniff`] told.
    ///
    /// # Errors
    /// If the magic is missing (an ANALYZE 7.5 file has none) or the number of dimensions is wrong.
    pub(super) fn parse(bytes: &[u8], version: u8, byte_order: ByteOrder) -> Result<Self, String> {
        let fields = Fields { bytes, order: byte_order };
        let magic = if version == 1 { &bytes[344..348] } else { &bytes[4..8] };
        let single_file = match (version, magic) {
            (1, b"n+1\0") | (2, b"n+2\0") => true,
            (1, b"ni1\0") | (2, b"ni2\0") => false,
            _ => {
                return Err("is not NIfTI: the magic string is missing (an ANALYZE 7.5 file? \
                            those do not say left from right; convert it to NIfTI first)"
                    .to_owned());
            }
        };
        let dimension = |i: usize| match version {
            1 => i64::from(fields.i16(40 + 2 * i)),
            _ => fields.i64(16 + 8 * i),
        };
        let count = dimension(0);
        if !(1..=7).contains(&count) {
            return Err(format!("the header gives {count} dimensions, 1 to 7 are possible"));
        }
        let dimensions = (1..=count as usize).map(dimension).collect();
        Ok(if version == 1 {
            Self {
                version,
                byte_order,
                single_file,
                dimensions,
                data_type: fields.i16(70),
                voxel_size: fields.floats(1, 76),
                voxel_offset: f64::from(fields.f32(108)),
                scaling: fields.floats(1, 112),
                qform_code: i32::from(fields.i16(252)),
                sform_code: i32::from(fields.i16(254)),
                quaternion: fields.floats(1, 256),
                quaternion_offset: fields.floats(1, 268),
                sform: std::array::from_fn(|row| fields.floats(1, 280 + 16 * row)),
            }
        } else {
            Self {
                version,
                byte_order,
                single_file,
                dimensions,
                data_type: fields.i16(12),
                voxel_size: fields.floats(2, 104),
                voxel_offset: fields.i64(168) as f64,
                scaling: fields.floats(2, 176),
                qform_code: fields.i32(344),
                sform_code: fields.i32(348),
                quaternion: fields.floats(2, 352),
                quaternion_offset: fields.floats(2, 376),
                sform: std::array::from_fn(|row| fields.floats(2, 400 + 32 * row)),
            }
        })
    }

    /// The three sizes and the number of volumes; missing dimensions count as 1. The volumes are those of the one
    /// dimension beyond the third that is larger than 1: the fourth (time), or the fifth (components of a vector).
    ///
    /// # Errors
    /// If a size is below 1, or several dimensions beyond the third are larger than 1.
    pub(super) fn size_and_volumes(&self) -> Result<([u64; 3], u64), String> {
        if let Some(&bad) = self.dimensions.iter().find(|&&n| n < 1) {
            return Err(format!("the header gives a size of {bad}"));
        }
        let mut further = self.dimensions.iter().skip(3).filter(|&&n| n > 1);
        let volumes = further.next().map_or(1, |&n| n as u64);
        if further.next().is_some() {
            let sizes: Vec<String> = self.dimensions.iter().map(i64::to_string).collect();
            return Err(format!(
                "has more than one dimension beyond the third (size {}), at most one is read",
                sizes.join("x")
            ));
        }
        Ok((std::array::from_fn(|axis| self.dimensions.get(axis).map_or(1, |&n| n as u64)), volumes))
    }

    /// The number format.
    ///
    /// # Errors
    /// Names the format if it is one that is not read (colours, complex numbers, …).
    pub(super) fn element(&self) -> Result<ElementType, String> {
        let refused = match self.data_type {
            2 => return Ok(ElementType::Uint8),
            4 => return Ok(ElementType::Int16),
            8 => return Ok(ElementType::Int32),
            16 => return Ok(ElementType::Float32),
            64 => return Ok(ElementType::Float64),
            256 => return Ok(ElementType::Int8),
            512 => return Ok(ElementType::Uint16),
            768 => return Ok(ElementType::Uint32),
            1024 => return Ok(ElementType::Int64),
            1280 => return Ok(ElementType::Uint64),
            1 => "single bits",
            32 | 1792 | 2048 => "complex numbers",
            128 | 2304 => "colours (RGB)",
            1536 => "128-bit floating point",
            code => return Err(format!("the data type code {code} is unknown")),
        };
        Err(format!("stores {refused}, only real numbers of 8 to 64 bits are read"))
    }

    /// `(slope, intercept)`, or `None` where the slope is 0 or not finite, which NIfTI (and nibabel)
    /// take as "no scaling".
    ///
    /// # Errors
    /// If the slope is usable but the intercept is not.
    pub(super) fn scaling(&self) -> Result<Option<(f64, f64)>, String> {
        let [slope, intercept] = self.scaling;
        if slope == 0.0 || !slope.is_finite() {
            return Ok(None);
        }
        if !intercept.is_finite() {
            return Err(format!("scl_slope is {slope} but scl_inter is {intercept}"));
        }
        Ok(if slope == 1.0 && intercept == 0.0 { None } else { Some((slope, intercept)) })
    }

    /// The affine matrix, by nibabel's rule: the sform if its code is above 0, else the qform if its
    /// code is, else voxel sizes around the centre of the volume with x to the left. Also which one
    /// it was, and its space code.
    ///
    /// # Errors
    /// If the chosen transform is singular, not finite, or its quaternion too long.
    pub(super) fn affine(&self) -> Result<(Affine, &'static str, i16), String> {
        // nibabel mends these on loading too: size 0 becomes 1, a negative one loses its sign.
        let size: [f64; 3] = std::array::from_fn(|axis| match self.voxel_size[axis + 1].abs() {
            0.0 => 1.0,
            size => size,
        });
        let (affine, from, code) = if self.sform_code > 0 {
            let [x, y, z] = self.sform;
            ([x, y, z, [0.0, 0.0, 0.0, 1.0]], "sform", self.sform_code)
        } else if self.qform_code > 0 {
            let qfac = if self.voxel_size[0] == -1.0 { -1.0 } else { 1.0 };
            let affine = affine::from_quaternion(self.quaternion, size, qfac, self.quaternion_offset)?;
            (affine, "qform", self.qform_code)
        } else {
            let mut affine = affine::IDENTITY;
            for axis in 0..3 {
                let count = self.dimensions.get(axis).map_or(1.0, |&n| n as f64);
                // Dimensions a 2D file does not have get voxel size 1.
                let length = if axis < self.dimensions.len() { size[axis] } else { 1.0 };
                affine[axis][axis] = if axis == 0 { -length } else { length };
                affine[axis][3] = -affine[axis][axis] * (count - 1.0) / 2.0;
            }
            (affine, "voxel size only", 2)
        };
        affine::check(&affine).map_err(|cause| format!("{cause} (from the {from})"))?;
        Ok((affine, from, code.clamp(1, 4) as i16))
    }

    /// Where the voxels start in the data file, in bytes.
    ///
    /// # Errors
    /// If the offset is not a whole number, lies inside the header, or is beyond any file.
    pub(super) fn data_offset(&self) -> Result<u64, String> {
        let header = match (self.single_file, self.version) {
            (false, _) => 0.0,
            (true, 1) => NIFTI1_LENGTH as f64 + 4.0,
            (true, _) => NIFTI2_LENGTH as f64 + 4.0,
        };
        let offset = self.voxel_offset;
        if offset == 0.0 {
            return Ok(header as u64);
        }
        if !(offset >= header && offset < 1e15 && offset.fract() == 0.0) {
            return Err(format!("vox_offset is {offset}, it must be a whole number of at least {header}"));
        }
        Ok(offset as u64)
    }
}
