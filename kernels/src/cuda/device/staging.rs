//! The way of a batch to the card: through page-locked buffers, from which the card fetches while the host goes on.

use super::driver::failed;
use super::event::Event;
use cudarc::driver::result;
use cudarc::driver::sys;
use genesis_tensor::Result;
use std::ffi::c_void;

/// Buffers used in turn.
const SLOTS: usize = 3;
/// The most that goes through one at a time: page-locked memory is lost to the rest of the machine.
const LARGEST: usize = 8 << 20;

struct Slot {
    start: *mut c_void,
    bytes: usize,
    /// When the card has fetched what the slot held.
    fetched: Event,
}

/// Page-locked buffers, for one stream.
pub(super) struct Staging {
    slots: Vec<Slot>,
    next: usize,
}

// SAFETY: the pointers are to memory of the driver, which any thread may use; the lock around `Staging`
// keeps them to one at a time.
unsafe impl Send for Staging {}

impl Staging {
    pub fn new() -> Self {
        Self { slots: Vec::new(), next: 0 }
    }

    /// Queues a copy of `from` to the card's address `to`; `from` may change afterwards.
    ///
    /// # Safety
    /// The card's context is current on this thread, `stream` is one of its streams, and `to` is an address of at
    /// least as many bytes.
    pub unsafe fn upload(&mut self, from: &[u8], to: u64, stream: sys::CUstream) -> Result<()> {
        for (index, part) in from.chunks(LARGEST).enumerate() {
            // SAFETY: by this function's contract, for a part of both ranges.
            unsafe { self.upload_part(part, to + (index * LARGEST) as u64, stream) }?;
        }
        Ok(())
    }

    /// [`Staging::upload`] of at most [`LARGEST`] bytes, with the same contract.
    unsafe fn upload_part(&mut self, from: &[u8], to: u64, stream: sys::CUstream) -> Result<()> {
        let slot = self.slot(from.len())?;
        // SAFETY: the slot is as long, and the wait in `slot` has made sure that the card reads it no more.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), slot.start.cast::<u8>(), from.len()) };
        // SAFETY: as above; the buffer lives until `release`, and is not written before the event below.
        let buffer = unsafe { std::slice::from_raw_parts(slot.start.cast::<u8>(), from.len()) };
        // SAFETY: by this function's contract.
        unsafe { result::memcpy_htod_async(to, buffer, stream) }.map_err(|e| failed("an upload", e))?;
        // SAFETY: by this function's contract.
        unsafe { slot.fetched.record(stream) }.map_err(|e| failed("an event", e))
    }

    /// The next slot, free and of at least `bytes`.
    fn slot(&mut self, bytes: usize) -> Result<&Slot> {
        let number = self.next;
        self.next = (self.next + 1) % SLOTS;
        if number == self.slots.len() {
            self.slots.push(Slot::new(bytes)?);
        }
        let slot = &mut self.slots[number];
        slot.fetched.wait().map_err(|e| failed("waiting for an upload", e))?;
        if slot.bytes < bytes {
            slot.release();
            *slot = Slot::new(bytes)?;
        }
        Ok(slot)
    }

    /// Frees all buffers; the card must have fetched them.
    pub fn release(&mut self) {
        self.slots.drain(..).for_each(|slot| slot.release());
        self.next = 0;
    }
}

impl Slot {
    fn new(bytes: usize) -> Result<Self> {
        let bytes = bytes.max(1).next_power_of_two();
        // SAFETY: asks for memory of the current context.
        let start = unsafe { result::malloc_host(bytes, 0) }
            .map_err(|e| failed(&format!("{bytes} bytes of page-locked memory"), e))?;
        let fetched = Event::new().map_err(|e| failed("making an event", e))?;
        Ok(Self { start, bytes, fetched })
    }

    fn release(&self) {
        // SAFETY: made in `new`, and whoever calls this uses it no more. Failure would leak it.
        let _ = unsafe { result::free_host(self.start) };
    }
}
