//! Points in a stream, for other streams and the host to wait for.

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUevent_flags};

/// An event, destroyed when dropped: who waits for it waits on, the driver keeps what that needs.
pub(super) struct Event(sys::CUevent);

// SAFETY: the handle is the driver's, which any thread may use once the context is current there.
unsafe impl Send for Event {}

impl Event {
    /// An event of the current context that only orders. One that was never recorded is over.
    pub fn new() -> Result<Self, DriverError> {
        Ok(Self(result::event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING)?))
    }

    /// An event that also knows its time.
    pub fn timed() -> Result<Self, DriverError> {
        Ok(Self(result::event::create(CUevent_flags::CU_EVENT_DEFAULT)?))
    }

    /// Puts it behind what `stream` has been given so far.
    ///
    /// # Safety
    /// `stream` is one of the current context, in which the event was made.
    pub unsafe fn record(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        // SAFETY: by this function's contract.
        unsafe { result::event::record(self.0, stream) }
    }

    /// Lets what `stream` is given from now on wait for it; the host goes on.
    ///
    /// # Safety
    /// As [`Event::record`].
    pub unsafe fn hold(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: by this function's contract.
        unsafe { result::stream::wait_event(stream, self.0, flags) }
    }

    /// Waits for it.
    pub fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: the event lives until it is dropped.
        unsafe { result::event::synchronize(self.0) }
    }

    /// Milliseconds since `start`; both were made by [`Event::timed`] and are over.
    pub fn milliseconds_since(&self, start: &Self) -> Result<f32, DriverError> {
        // SAFETY: both events live until they are dropped.
        unsafe { result::event::elapsed(start.0, self.0) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made in `new` or `timed`, used no more. Failure would leak it.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}
