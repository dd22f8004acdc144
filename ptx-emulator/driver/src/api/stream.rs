//! Streams.

use crate::card::current;
use crate::status::Status;
use crate::streams::Stream;
use crate::{driver, put};
use std::ffi::{c_int, c_void};
use std::ptr::without_provenance_mut;
use std::sync::Arc;

driver! {
    /// A new stream; flag 1: not ordered with the legacy default stream.
    fn cuStreamCreate(stream: *mut *mut c_void, flags: u32) {
        // SAFETY: the caller's pointer; so below.
        unsafe { create(stream, flags) }
    }

    /// A new stream; the priority is of no meaning here.
    fn cuStreamCreateWithPriority(stream: *mut *mut c_void, flags: u32, _priority: c_int) {
        // SAFETY: see above.
        unsafe { create(stream, flags) }
    }

    /// Ends a stream; its work is done first.
    fn cuStreamDestroy_v2(stream: *mut c_void) {
        let mut card = current()?;
        if stream.addr() < 3 {
            return Err(Status::InvalidHandle);
        }
        card.drain(stream.addr())?;
        card.streams.remove(&stream.addr()).map(drop).ok_or(Status::InvalidHandle)
    }

    /// Waits for a stream.
    fn cuStreamSynchronize(stream: *mut c_void) {
        let mut card = current()?;
        if card.stream(stream.addr())?.capture.is_some() {
            return Err(Status::CaptureUnsupported);
        }
        card.drain(stream.addr())
    }

    /// Whether a stream is done; asking lets it do a little.
    fn cuStreamQuery(stream: *mut c_void) {
        let mut card = current()?;
        if card.stream(stream.addr())?.capture.is_some() {
            return Err(Status::CaptureUnsupported);
        }
        if card.idle(stream.addr())? {
            return Ok(());
        }
        card.step(stream.addr())?;
        Err(Status::NotReady)
    }

    /// Makes a stream wait for an event.
    fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _flags: u32) {
        current()?.wait(stream.addr(), event.addr())
    }

    /// Managed memory is not emulated.
    fn cuStreamAttachMemAsync(_stream: *mut c_void, _address: u64, _length: usize, _flags: u32) {
        Err(Status::NotSupported)
    }

    /// Calls a function of the host when the stream comes to it.
    fn cuLaunchHostFunc(
        stream: *mut c_void,
        function: Option<unsafe extern "C" fn(*mut c_void)>,
        data: *mut c_void,
    ) {
        let function = function.ok_or(Status::InvalidValue)?;
        let data = data.expose_provenance();
        current()?.submit(stream.addr(), Arc::new(move |_| {
            // SAFETY: the caller promised that the function may be called with this pointer, from any thread.
            unsafe { function(std::ptr::with_exposed_provenance_mut(data)) };
            Ok(())
        }))
    }

    /// Whether a stream is being captured: 0 no, 1 yes.
    fn cuStreamIsCapturing(stream: *mut c_void, status: *mut c_int) {
        let capturing = current()?.stream(stream.addr())?.capture.is_some();
        // SAFETY: see above.
        unsafe { put(status, c_int::from(capturing)) }
    }
}

/// # Safety
/// As for `put`.
unsafe fn create(stream: *mut *mut c_void, flags: u32) -> Result<(), Status> {
    let mut card = current()?;
    if flags > 1 {
        return Err(Status::InvalidValue);
    }
    let handle = card.handle();
    card.streams.insert(handle, Stream::new(flags == 0));
    // SAFETY: by this function's contract.
    unsafe { put(stream, without_provenance_mut(handle)) }
}
