//! What the card does not have: an error instead of a missing symbol. And what has nothing to do here.

use crate::card::initialised;
use crate::status::Status;
use crate::{driver, put};
use std::ffi::{c_int, c_void};
use std::ptr::without_provenance_mut;

driver! {
    /// There is nothing to profile.
    fn cuProfilerStart() {
        initialised().map(drop)
    }

    /// There is nothing to profile.
    fn cuProfilerStop() {
        initialised().map(drop)
    }

    /// A pool; all pools are the card's memory.
    fn cuMemPoolCreate(pool: *mut *mut c_void, _properties: *const c_void) {
        let handle = initialised()?.handle();
        // SAFETY: the caller's pointer.
        unsafe { put(pool, without_provenance_mut(handle)) }
    }

    /// Ends a pool; memory from it lives on.
    fn cuMemPoolDestroy(_pool: *mut c_void) {
        initialised().map(drop)
    }

    /// Pools keep nothing here: a no-op.
    fn cuDeviceSetMemPool(_device: c_int, _pool: *mut c_void) {
        initialised().map(drop)
    }

    /// Statistics of pools are not kept.
    fn cuMemPoolGetAttribute(_pool: *mut c_void, _attribute: c_int, _value: *mut c_void) {
        Err(Status::NotSupported)
    }

    /// Managed memory is not emulated.
    fn cuMemAdvise_v2(_address: u64, _bytes: usize, _advice: c_int, _kind: c_int, _id: c_int) {
        Err(Status::NotSupported)
    }

    /// Managed memory is not emulated.
    fn cuMemPrefetchAsync(_address: u64, _bytes: usize, _device: c_int, _stream: *mut c_void) {
        Err(Status::NotSupported)
    }

    /// Memory of other interfaces is not emulated.
    fn cuImportExternalMemory(_memory: *mut *mut c_void, _description: *const c_void) {
        Err(Status::NotSupported)
    }

    /// Memory of other interfaces is not emulated.
    fn cuExternalMemoryGetMappedBuffer(_address: *mut u64, _memory: *mut c_void, _description: *const c_void) {
        Err(Status::NotSupported)
    }

    /// Memory of other interfaces is not emulated.
    fn cuDestroyExternalMemory(_memory: *mut c_void) {
        Err(Status::NotSupported)
    }

    /// Clusters are not emulated.
    fn cuOccupancyMaxActiveClusters(_clusters: *mut c_int, _function: *mut c_void, _config: *const c_void) {
        Err(Status::NotSupported)
    }

    /// Clusters are not emulated.
    fn cuOccupancyMaxPotentialClusterSize(_size: *mut c_int, _function: *mut c_void, _config: *const c_void) {
        Err(Status::NotSupported)
    }
}
