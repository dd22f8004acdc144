//! Tensor maps, which the driver makes.

use super::driver::failed;
use crate::cuda::{Format, Launch, TensorMap};
use crate::{Error, Result};
use cudarc::driver::sys::{
    self, CUtensorMapDataType as DataType, CUtensorMapFloatOOBfill as Fill,
    CUtensorMapInterleave as Interleave, CUtensorMapL2promotion as Promotion, CUtensorMapSwizzle as Swizzle,
};
use std::ffi::c_void;

/// The maps of a launch.
///
/// # Errors
/// When the driver refuses one.
pub(super) fn encoded(launch: &Launch) -> Result<Vec<sys::CUtensorMap>> {
    launch.maps.iter().map(|map| encode(map, launch.kernel.name)).collect()
}

fn encode(map: &TensorMap, kernel: &str) -> Result<sys::CUtensorMap> {
    let data_type = match map.format {
        Format::Bf16 => DataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        Format::F16 => DataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        Format::F32 | Format::Tf32 => DataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
    };
    let rank = map.extents.len();
    if [map.strides.len() + 1, map.boxed.len(), map.steps.len()] != [rank; 3] {
        return Err(Error::operation("cuda", format!("kernel {kernel}: no array is {map:?}")));
    }
    let mut encoded = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: the driver writes the map, and reads `rank` extents, box extents and steps and `rank - 1` strides, as
    // many as there are. The address is only written down.
    let status = unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut encoded,
            data_type,
            rank as u32,
            map.address as *mut c_void,
            map.extents.as_ptr(),
            map.strides.as_ptr(),
            map.boxed.as_ptr(),
            map.steps.as_ptr(),
            Interleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            Swizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            Promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            Fill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    status.result().map_err(|error| failed(&format!("kernel {kernel}: a tensor map of {map:?}"), error))?;
    Ok(encoded)
}
