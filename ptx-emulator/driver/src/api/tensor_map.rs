//! Tensor maps for copies of boxes (compute capability 9.0).

use crate::card::current;
use crate::status::Status;
use crate::{driver, put};
use ptx_emulator::{Capability, Swizzle, TENSOR_MAP_BYTES, TensorMap, TensorType};
use std::ffi::c_void;

/// `CUtensorMap` lies at a multiple of this.
const ALIGNMENT: usize = 64;

driver! {
    /// Describes a tensor and the box of it that one instruction copies.
    fn cuTensorMapEncodeTiled(
        map: *mut c_void,
        data_type: u32,
        rank: u32,
        address: *mut c_void,
        dimensions: *const u64,
        strides: *const u64,
        box_dimensions: *const u32,
        element_strides: *const u32,
        interleave: u32,
        swizzle: u32,
        promotion: u32,
        fill: u32,
    ) {
        let card = current()?;
        if card.options.capability < Capability::Hopper {
            eprintln!("ptx-emulator: tensor maps need compute capability 9.0");
            return Err(Status::NotSupported);
        }
        let pointers = [dimensions.is_null(), box_dimensions.is_null(), element_strides.is_null()];
        let rank = rank as usize;
        if map.is_null() || pointers.contains(&true) || rank > 1 && strides.is_null() || !(1..=5).contains(&rank) {
            return Err(Status::InvalidValue);
        }
        if !map.addr().is_multiple_of(ALIGNMENT) {
            return complain("the map does not lie at a multiple of 64 bytes");
        }
        // Interleaved layouts, NaN for what lies outside and types that change values exist, but not here.
        if matches!(interleave, 1 | 2) || fill == 1 || matches!(data_type, 10..=12) {
            eprintln!("ptx-emulator: tensor maps with interleave, NaN fill, or ftz and tf32 types are not emulated");
            return Err(Status::NotSupported);
        }
        if interleave > 2 || fill > 1 || promotion > 3 {
            return Err(Status::InvalidValue);
        }
        let swizzle = match swizzle {
            0 => Swizzle::None,
            1 => Swizzle::Bytes32,
            2 => Swizzle::Bytes64,
            3 => Swizzle::Bytes128,
            _ => return Err(Status::InvalidValue),
        };
        let described = TensorMap {
            data_type: TensorType::of(data_type).ok_or(Status::InvalidValue)?,
            address: address.addr() as u64,
            // SAFETY: the caller's arrays have `rank` elements.
            dimensions: unsafe { array(dimensions, rank) },
            // SAFETY: and this one has one fewer.
            strides: unsafe { array(strides, rank - 1) },
            // SAFETY: see above; so below.
            box_dimensions: unsafe { array(box_dimensions, rank) },
            // SAFETY: see above.
            element_strides: unsafe { array(element_strides, rank) },
            swizzle,
        };
        match described.encode() {
            // SAFETY: the caller's map has as many bytes.
            Ok(bytes) => unsafe { put(map.cast::<[u8; TENSOR_MAP_BYTES]>(), bytes) },
            Err(message) => complain(&message),
        }
    }
}

fn complain(message: &str) -> Result<(), Status> {
    eprintln!("ptx-emulator: cuTensorMapEncodeTiled: {message}");
    Err(Status::InvalidValue)
}

/// # Safety
/// `from` points at `count` values, unless that is 0.
unsafe fn array<T: Copy>(from: *const T, count: usize) -> Vec<T> {
    // SAFETY: by this function's contract.
    (0..count).map(|i| unsafe { from.add(i).read_unaligned() }).collect()
}
