//! Contexts: one primary and any number of others, all of the same card.

use crate::card::{CURRENT, PRIMARY, current, initialised};
use crate::status::Status;
use crate::{driver, put};
use std::ffi::{c_int, c_void};
use std::ptr::without_provenance_mut;

driver! {
    /// The primary context.
    fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int) {
        let mut card = initialised()?;
        if device != 0 {
            return Err(Status::InvalidDevice);
        }
        if !card.contexts.contains(&PRIMARY) {
            card.contexts.push(PRIMARY);
        }
        // SAFETY: the caller's pointer; so below.
        unsafe { put(context, without_provenance_mut(PRIMARY)) }
    }

    /// The primary context stays: other users may have retained it.
    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        initialised()?;
        if device == 0 { Ok(()) } else { Err(Status::InvalidDevice) }
    }

    /// Whether the primary context is active.
    fn cuDevicePrimaryCtxGetState(device: c_int, flags: *mut u32, active: *mut c_int) {
        let card = initialised()?;
        if device != 0 {
            return Err(Status::InvalidDevice);
        }
        // SAFETY: see above.
        unsafe {
            put(flags, 0)?;
            put(active, c_int::from(card.contexts.contains(&PRIMARY)))
        }
    }

    /// A context of its own, made current.
    fn cuCtxCreate_v2(context: *mut *mut c_void, _flags: u32, device: c_int) {
        // SAFETY: see above.
        unsafe { create(context, device) }
    }

    /// A context of its own, made current.
    fn cuCtxCreate_v3(context: *mut *mut c_void, _affinity: *mut c_void, _count: c_int, _flags: u32, device: c_int) {
        // SAFETY: see above.
        unsafe { create(context, device) }
    }

    /// Ends a context.
    fn cuCtxDestroy_v2(context: *mut c_void) {
        let mut card = initialised()?;
        let found = card.contexts.iter().position(|&c| c == context.addr()).ok_or(Status::InvalidContext)?;
        card.contexts.remove(found);
        Ok(())
    }

    /// Makes a context this thread's.
    fn cuCtxSetCurrent(context: *mut c_void) {
        let card = initialised()?;
        if !context.is_null() && !card.contexts.contains(&context.addr()) {
            return Err(Status::InvalidContext);
        }
        CURRENT.set(context.addr());
        Ok(())
    }

    /// This thread's context.
    fn cuCtxGetCurrent(context: *mut *mut c_void) {
        initialised()?;
        // SAFETY: see above.
        unsafe { put(context, without_provenance_mut(CURRENT.get())) }
    }

    /// Replaces this thread's context; there is no stack behind it.
    fn cuCtxPushCurrent_v2(context: *mut c_void) {
        initialised()?;
        CURRENT.set(context.addr());
        Ok(())
    }

    /// Takes this thread's context away.
    fn cuCtxPopCurrent_v2(context: *mut *mut c_void) {
        initialised()?;
        let now = CURRENT.replace(0);
        if context.is_null() {
            return Ok(());
        }
        // SAFETY: see above.
        unsafe { put(context, without_provenance_mut(now)) }
    }

    /// The card of this thread's context.
    fn cuCtxGetDevice(device: *mut c_int) {
        current()?;
        // SAFETY: see above.
        unsafe { put(device, 0) }
    }

    /// Waits for everything.
    fn cuCtxSynchronize() {
        let mut card = current()?;
        if !card.captures.is_empty() {
            return Err(Status::CaptureUnsupported);
        }
        card.drain_all()
    }

    /// How a host waits: of no meaning here.
    fn cuCtxSetFlags(_flags: u32) {
        current().map(drop)
    }

    /// Limits of stacks and heaps: of no meaning here.
    fn cuCtxSetLimit(_limit: c_int, _value: usize) {
        current().map(drop)
    }

    /// Limits of stacks and heaps: of no meaning here.
    fn cuCtxGetLimit(value: *mut usize, _limit: c_int) {
        current()?;
        // SAFETY: see above.
        unsafe { put(value, 1024) }
    }

    /// Preference between cache and shared memory: of no meaning here.
    fn cuCtxSetCacheConfig(_config: c_int) {
        current().map(drop)
    }

    /// Preference between cache and shared memory: of no meaning here.
    fn cuCtxGetCacheConfig(config: *mut c_int) {
        current()?;
        // SAFETY: see above.
        unsafe { put(config, 0) }
    }

    /// Least and greatest priority of streams.
    fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) {
        current()?;
        // SAFETY: see above.
        unsafe {
            put(least, 0)?;
            put(greatest, -5)
        }
    }

    /// Version of the interface.
    fn cuCtxGetApiVersion(_context: *mut c_void, version: *mut u32) {
        initialised()?;
        // SAFETY: see above.
        unsafe { put(version, 12000) }
    }
}

/// # Safety
/// As for `put`.
unsafe fn create(context: *mut *mut c_void, device: c_int) -> Result<(), Status> {
    let mut card = initialised()?;
    if device != 0 {
        return Err(Status::InvalidDevice);
    }
    let handle = card.handle();
    card.contexts.push(handle);
    CURRENT.set(handle);
    // SAFETY: by this function's contract.
    unsafe { put(context, without_provenance_mut(handle)) }
}
