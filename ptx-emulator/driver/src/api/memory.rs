//! Memory of the card and of the host, and copies between them.

use crate::card::{Card, LEGACY, current, initialised};
use crate::status::Status;
use crate::{driver, put};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{c_int, c_void};
use std::sync::Arc;

/// Page-locked memory begins at pages.
const PAGE: usize = 4096;

driver! {
    /// New memory of the card.
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) {
        let found = current()?.memory.allocate(bytes)?;
        // SAFETY: the caller's pointer; so below.
        unsafe { put(address, found) }
    }

    /// New memory of the card, usable by work that is queued later.
    fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: *mut c_void) {
        let mut card = current()?;
        not_capturing(&mut card, stream)?;
        let found = card.memory.allocate(bytes)?;
        // SAFETY: see above.
        unsafe { put(address, found) }
    }

    /// New memory of the card, usable by work that is queued later.
    fn cuMemAllocFromPoolAsync(address: *mut u64, bytes: usize, _pool: *mut c_void, stream: *mut c_void) {
        let mut card = current()?;
        not_capturing(&mut card, stream)?;
        let found = card.memory.allocate(bytes)?;
        // SAFETY: see above.
        unsafe { put(address, found) }
    }

    /// Frees memory after all work is done.
    fn cuMemFree_v2(address: u64) {
        let mut card = current()?;
        card.drain_all()?;
        if address == 0 { Ok(()) } else { Ok(card.memory.free(address)?) }
    }

    /// Frees memory when the stream comes to it.
    fn cuMemFreeAsync(address: u64, stream: *mut c_void) {
        let mut card = current()?;
        not_capturing(&mut card, stream)?;
        card.submit(stream.addr(), Arc::new(move |card| Ok(card.memory.free(address)?)))
    }

    /// Free and total bytes.
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let (left, all) = current()?.memory.info();
        // SAFETY: see above.
        unsafe {
            put(free, left as usize)?;
            put(total, all as usize)
        }
    }

    /// The allocation around an address.
    fn cuMemGetAddressRange_v2(base: *mut u64, bytes: *mut usize, address: u64) {
        let (start, size) = current()?.memory.range(address).ok_or(Status::NotFound)?;
        if !base.is_null() {
            // SAFETY: see above.
            unsafe { put(base, start)? };
        }
        if !bytes.is_null() {
            // SAFETY: see above.
            unsafe { put(bytes, size)? };
        }
        Ok(())
    }

    /// Page-locked memory of the host.
    fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, _flags: u32) {
        // SAFETY: see above.
        unsafe { host(address, bytes) }
    }

    /// Page-locked memory of the host.
    fn cuMemAllocHost_v2(address: *mut *mut c_void, bytes: usize) {
        // SAFETY: see above.
        unsafe { host(address, bytes) }
    }

    /// Frees page-locked memory after all work is done.
    fn cuMemFreeHost(address: *mut c_void) {
        let mut card = initialised()?;
        if card.failed.is_none() {
            card.drain_all()?;
        }
        let bytes = card.pinned.remove(&address.addr()).ok_or(Status::InvalidValue)?;
        let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| Status::InvalidValue)?;
        // SAFETY: `host` made it with this layout, and no work that uses it is left.
        unsafe { dealloc(address.cast(), layout) };
        Ok(())
    }

    /// From host to card.
    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) {
        let mut card = synchronous()?;
        // SAFETY: the caller's `bytes` bytes.
        let data = unsafe { from_host(from, bytes)? };
        checked(&mut card, |card| Ok(card.memory.write(to, &data)?))
    }

    /// From host to card, in a stream. Memory that is not page-locked is read now, as the driver does.
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: *mut c_void) {
        let mut card = current()?;
        let address = from.expose_provenance();
        if card.is_pinned(address, bytes) {
            return card.submit(stream.addr(), Arc::new(move |card| {
                let from = std::ptr::with_exposed_provenance::<c_void>(address);
                // SAFETY: page-locked memory lives until cuMemFreeHost, which runs all work first.
                let data = unsafe { from_host(from, bytes)? };
                checked(card, |card| Ok(card.memory.write(to, &data)?))
            }));
        }
        // SAFETY: the caller's `bytes` bytes.
        let data = unsafe { from_host(from, bytes)? };
        card.submit(stream.addr(), Arc::new(move |card| checked(card, |card| Ok(card.memory.write(to, &data)?))))
    }

    /// From card to host.
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) {
        let mut card = synchronous()?;
        // SAFETY: the caller's `bytes` bytes.
        checked(&mut card, |card| unsafe { to_host(card, to, from, bytes) })
    }

    /// From card to host, in a stream. For memory that is not page-locked it returns when all is there, as the driver does.
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: *mut c_void) {
        let mut card = current()?;
        let address = to.expose_provenance();
        let pinned = card.is_pinned(address, bytes);
        card.submit(stream.addr(), Arc::new(move |card| {
            let to = std::ptr::with_exposed_provenance_mut::<c_void>(address);
            // SAFETY: page-locked memory lives until cuMemFreeHost; other memory is used before this call returns.
            checked(card, |card| unsafe { to_host(card, to, from, bytes) })
        }))?;
        if pinned || card.stream(stream.addr())?.capture.is_some() { Ok(()) } else { card.drain(stream.addr()) }
    }

    /// Within the card.
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        let mut card = synchronous()?;
        checked(&mut card, |card| Ok(card.memory.copy(to, from, bytes)?))
    }

    /// Within the card, in a stream.
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: *mut c_void) {
        let copy = move |card: &mut Card| checked(card, |card| Ok(card.memory.copy(to, from, bytes)?));
        current()?.submit(stream.addr(), Arc::new(copy))
    }

    /// Between cards: there is one.
    fn cuMemcpyPeerAsync(
        to: u64,
        _to_context: *mut c_void,
        from: u64,
        _from_context: *mut c_void,
        bytes: usize,
        stream: *mut c_void,
    ) {
        let copy = move |card: &mut Card| checked(card, |card| Ok(card.memory.copy(to, from, bytes)?));
        current()?.submit(stream.addr(), Arc::new(copy))
    }

    /// Fills with bytes.
    fn cuMemsetD8_v2(address: u64, value: u8, count: usize) {
        set(synchronous()?, address, value.to_le_bytes().into(), (count, LEGACY))
    }

    /// Fills with bytes, in a stream.
    fn cuMemsetD8Async(address: u64, value: u8, count: usize, stream: *mut c_void) {
        set(current()?, address, value.to_le_bytes().into(), (count, stream.addr()))
    }

    /// Fills with 16-bit values.
    fn cuMemsetD16_v2(address: u64, value: u16, count: usize) {
        set(synchronous()?, address, value.to_le_bytes().into(), (count, LEGACY))
    }

    /// Fills with 16-bit values, in a stream.
    fn cuMemsetD16Async(address: u64, value: u16, count: usize, stream: *mut c_void) {
        set(current()?, address, value.to_le_bytes().into(), (count, stream.addr()))
    }

    /// Fills with 32-bit values.
    fn cuMemsetD32_v2(address: u64, value: u32, count: usize) {
        set(synchronous()?, address, value.to_le_bytes().into(), (count, LEGACY))
    }

    /// Fills with 32-bit values, in a stream.
    fn cuMemsetD32Async(address: u64, value: u32, count: usize, stream: *mut c_void) {
        set(current()?, address, value.to_le_bytes().into(), (count, stream.addr()))
    }

    /// Memory that both sides see is not emulated.
    fn cuMemAllocManaged(_address: *mut u64, _bytes: usize, _flags: c_int) {
        Err(Status::NotSupported)
    }
}

/// The card, after all work that a synchronous call waits for.
fn synchronous() -> Result<crate::card::Lock, Status> {
    let mut card = current()?;
    if !card.captures.is_empty() {
        return Err(Status::CaptureUnsupported);
    }
    card.drain_blocking()?;
    card.drain(LEGACY)?;
    Ok(card)
}

fn not_capturing(card: &mut Card, stream: *mut c_void) -> Result<(), Status> {
    if card.stream(stream.addr())?.capture.is_some() { Err(Status::CaptureUnsupported) } else { Ok(()) }
}

/// Runs a copy; says on standard error why it is not possible.
fn checked(card: &mut Card, run: impl FnOnce(&mut Card) -> Result<(), Status>) -> Result<(), Status> {
    let result = run(card);
    if let Err(status) = result {
        eprintln!("ptx-emulator: a copy or fill is not inside an allocation ({status:?})");
    }
    result
}

fn set(
    mut card: crate::card::Lock,
    address: u64,
    pattern: Vec<u8>,
    (count, stream): (usize, usize),
) -> Result<(), Status> {
    if address % pattern.len() as u64 != 0 {
        return Err(Status::InvalidValue);
    }
    let fill = move |card: &mut Card| checked(card, |card| Ok(card.memory.fill(address, &pattern, count)?));
    card.submit(stream, Arc::new(fill))
}

/// # Safety
/// As for `put`.
unsafe fn host(address: *mut *mut c_void, bytes: usize) -> Result<(), Status> {
    let mut card = current()?;
    if bytes == 0 {
        return Err(Status::InvalidValue);
    }
    let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| Status::InvalidValue)?;
    // SAFETY: the size is not zero.
    let found = unsafe { alloc_zeroed(layout) };
    if found.is_null() {
        return Err(Status::OutOfMemory);
    }
    card.pinned.insert(found.expose_provenance(), bytes);
    // SAFETY: by this function's contract.
    unsafe { put(address, found.cast()) }
}

/// # Safety
/// `from` is null or valid for reads of `bytes` bytes.
unsafe fn from_host(from: *const c_void, bytes: usize) -> Result<Vec<u8>, Status> {
    if bytes == 0 {
        return Ok(Vec::new());
    }
    if from.is_null() {
        return Err(Status::InvalidValue);
    }
    // SAFETY: by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) }.to_vec())
}

/// # Safety
/// `to` is null or valid for writes of `bytes` bytes.
unsafe fn to_host(card: &mut Card, to: *mut c_void, from: u64, bytes: usize) -> Result<(), Status> {
    if bytes == 0 {
        return Ok(());
    }
    if to.is_null() {
        return Err(Status::InvalidValue);
    }
    let mut data = vec![0; bytes];
    card.memory.read(from, &mut data)?;
    // SAFETY: by this function's contract.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to.cast(), bytes) };
    Ok(())
}
