//! Entry points by name, as the CUDA runtime looks them up. The newest version of a function that CUDA 12.0 has.

use super::{
    context, device, event, graph, launch, memory, modules, occupancy, stream, tensor_map, unsupported,
};
use crate::status::Status;
use crate::{driver, put};
use std::ffi::{CStr, c_char, c_int, c_void};

macro_rules! table {
    ($($module:ident: $($name:ident)*;)*) => {
        /// The function of exactly this name.
        fn exact(name: &str) -> Option<*const c_void> {
            Some(match name {
                $($(stringify!($name) => $module::$name as *const c_void,)*)*
                "cuGetProcAddress" => cuGetProcAddress as *const c_void,
                "cuGetProcAddress_v2" => cuGetProcAddress_v2 as *const c_void,
                _ => return None,
            })
        }
    };
}

table! {
    device: cuInit cuDriverGetVersion cuDeviceGetCount cuDeviceGet cuDeviceGetName cuDeviceGetUuid cuDeviceGetUuid_v2
        cuDeviceTotalMem_v2 cuDeviceGetAttribute cuDeviceGetDefaultMemPool cuDeviceGetMemPool cuMemPoolSetAttribute
        cuMemPoolTrimTo cuGetErrorName cuGetErrorString;
    context: cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxGetState cuCtxCreate_v2
        cuCtxCreate_v3 cuCtxDestroy_v2 cuCtxSetCurrent cuCtxGetCurrent cuCtxPushCurrent_v2 cuCtxPopCurrent_v2
        cuCtxGetDevice cuCtxSynchronize cuCtxSetFlags cuCtxSetLimit cuCtxGetLimit cuCtxSetCacheConfig
        cuCtxGetCacheConfig cuCtxGetStreamPriorityRange cuCtxGetApiVersion;
    modules: cuModuleLoadData cuModuleLoadDataEx cuModuleLoad cuModuleUnload cuModuleGetFunction cuModuleGetGlobal_v2
        cuFuncGetAttribute cuFuncSetAttribute cuFuncSetCacheConfig;
    memory: cuMemAlloc_v2 cuMemAllocAsync cuMemAllocFromPoolAsync cuMemFree_v2 cuMemFreeAsync cuMemGetInfo_v2
        cuMemGetAddressRange_v2 cuMemHostAlloc cuMemAllocHost_v2 cuMemFreeHost cuMemcpyHtoD_v2 cuMemcpyHtoDAsync_v2
        cuMemcpyDtoH_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoD_v2 cuMemcpyDtoDAsync_v2 cuMemcpyPeerAsync cuMemsetD8_v2
        cuMemsetD8Async cuMemsetD16_v2 cuMemsetD16Async cuMemsetD32_v2 cuMemsetD32Async cuMemAllocManaged;
    stream: cuStreamCreate cuStreamCreateWithPriority cuStreamDestroy_v2 cuStreamSynchronize cuStreamQuery
        cuStreamWaitEvent cuStreamAttachMemAsync cuLaunchHostFunc cuStreamIsCapturing;
    event: cuEventCreate cuEventDestroy_v2 cuEventRecord cuEventQuery cuEventSynchronize cuEventElapsedTime
        cuEventElapsedTime_v2;
    launch: cuLaunchKernel cuLaunchKernelEx cuLaunchCooperativeKernel;
    occupancy: cuOccupancyMaxActiveBlocksPerMultiprocessor cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags
        cuOccupancyAvailableDynamicSMemPerBlock cuOccupancyMaxPotentialBlockSize
        cuOccupancyMaxPotentialBlockSizeWithFlags;
    graph: cuStreamBeginCapture_v2 cuStreamEndCapture cuGraphInstantiateWithFlags cuGraphUpload cuGraphLaunch
        cuGraphDestroy cuGraphExecDestroy;
    tensor_map: cuTensorMapEncodeTiled;
    unsupported: cuProfilerStart cuProfilerStop cuMemPoolCreate cuMemPoolDestroy cuDeviceSetMemPool cuMemPoolGetAttribute
        cuMemAdvise_v2 cuMemPrefetchAsync cuImportExternalMemory cuExternalMemoryGetMappedBuffer
        cuDestroyExternalMemory cuOccupancyMaxActiveClusters cuOccupancyMaxPotentialClusterSize;
}

/// The function of this name or of its versions.
fn find(name: &str) -> Option<*const c_void> {
    exact(name).or_else(|| exact(&format!("{name}_v2"))).or_else(|| exact(&format!("{name}_v3")))
}

driver! {
    /// Entry point of a function.
    fn cuGetProcAddress(name: *const c_char, function: *mut *const c_void, _version: c_int, _flags: u64) {
        // SAFETY: the caller's name and pointer.
        unsafe { look_up(name, function) }
    }

    /// Entry point of a function; `status` becomes 0 if it was found, else 1.
    fn cuGetProcAddress_v2(
        name: *const c_char,
        function: *mut *const c_void,
        _version: c_int,
        _flags: u64,
        status: *mut c_int,
    ) {
        // SAFETY: the caller's name and pointer; so below.
        let result = unsafe { look_up(name, function) };
        if !status.is_null() {
            // SAFETY: see above.
            unsafe { put(status, c_int::from(result.is_err()))? };
        }
        result
    }
}

/// # Safety
/// `name` ends with a zero byte; `function` as for `put`.
unsafe fn look_up(name: *const c_char, function: *mut *const c_void) -> Result<(), Status> {
    if name.is_null() {
        return Err(Status::InvalidValue);
    }
    // SAFETY: by this function's contract.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let found = find(&name);
    // SAFETY: by this function's contract.
    unsafe { put(function, found.unwrap_or(std::ptr::null()))? };
    found.map(drop).ok_or(Status::NotFound)
}

#[cfg(test)]
mod tests {
    #[test]
    fn functions_are_found_with_and_without_their_version() {
        assert!(super::find("cuInit").is_some() && super::find("cuMemAlloc") == super::find("cuMemAlloc_v2"));
        assert!(super::find("cuMemAlloc").is_some() && super::find("cuTexObjectCreate").is_none());
    }
}
