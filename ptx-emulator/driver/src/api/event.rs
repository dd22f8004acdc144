//! Events. Times are those of the emulator on this computer and say nothing about a card.

use crate::card::current;
use crate::status::Status;
use crate::streams::Event;
use crate::{driver, put};
use std::ffi::c_void;
use std::ptr::without_provenance_mut;

driver! {
    /// A new event.
    fn cuEventCreate(event: *mut *mut c_void, _flags: u32) {
        let mut card = current()?;
        let handle = card.handle();
        card.events.insert(handle, Event::default());
        // SAFETY: the caller's pointer; so below.
        unsafe { put(event, without_provenance_mut(handle)) }
    }

    /// Ends an event.
    fn cuEventDestroy_v2(event: *mut c_void) {
        current()?.events.remove(&event.addr()).map(drop).ok_or(Status::InvalidHandle)
    }

    /// Records an event behind the work of a stream so far.
    fn cuEventRecord(event: *mut c_void, stream: *mut c_void) {
        current()?.record(event.addr(), stream.addr())
    }

    /// Whether an event has happened; asking lets its stream do a little.
    fn cuEventQuery(event: *mut c_void) {
        let mut card = current()?;
        let found = card.events.get(&event.addr()).cloned().ok_or(Status::InvalidHandle)?;
        if found.capture.is_some() {
            return Err(Status::CapturedEvent);
        }
        if card.passed(&found) {
            return Ok(());
        }
        if let Some((stream, _)) = found.point {
            card.step(stream)?;
        }
        Err(Status::NotReady)
    }

    /// Waits for an event.
    fn cuEventSynchronize(event: *mut c_void) {
        let mut card = current()?;
        let found = card.events.get(&event.addr()).cloned().ok_or(Status::InvalidHandle)?;
        if found.capture.is_some() {
            return Err(Status::CapturedEvent);
        }
        match found.point {
            Some((stream, count)) if !card.passed(&found) => {
                if card.has_work_before(stream, count) && card.skips_wait() { Ok(()) } else { card.run_until(stream, count) }
            }
            _ => Ok(()),
        }
    }

    /// Milliseconds between two events that have happened.
    fn cuEventElapsedTime(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void) {
        // SAFETY: see above.
        unsafe { elapsed(milliseconds, start, end) }
    }

    /// Milliseconds between two events that have happened.
    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void) {
        // SAFETY: see above.
        unsafe { elapsed(milliseconds, start, end) }
    }
}

/// # Safety
/// As for `put`.
unsafe fn elapsed(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void) -> Result<(), Status> {
    let card = current()?;
    let mut times = [None; 2];
    for (time, event) in times.iter_mut().zip([start, end]) {
        let event = card.events.get(&event.addr()).ok_or(Status::InvalidHandle)?;
        if event.point.is_none() {
            return Err(Status::InvalidHandle);
        }
        *time = event.time.filter(|_| card.passed(event));
    }
    let [Some(from), Some(to)] = times else { return Err(Status::NotReady) };
    let sign = if to >= from { 1.0 } else { -1.0 };
    let between = if to >= from { to - from } else { from - to };
    // SAFETY: by this function's contract.
    unsafe { put(milliseconds, sign * between.as_secs_f32() * 1e3) }
}
