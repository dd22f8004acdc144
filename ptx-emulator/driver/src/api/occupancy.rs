//! Occupancy by threads and shared memory; registers are the business of ptxas, which we do not have: an upper bound.

use crate::card::{Card, current};
use crate::status::Status;
use crate::{driver, put};
use std::ffi::{c_int, c_void};

/// Threads and blocks of a multiprocessor, of compute capability 8.0 and 9.0.
const THREADS: usize = 2048;
const BLOCKS: usize = 32;
/// Shared memory that each block costs besides its own.
const RESERVED: usize = 1024;

type Sizes = Option<unsafe extern "C" fn(c_int) -> usize>;

driver! {
    /// Blocks that fit on a multiprocessor.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: *mut c_int,
        function: *mut c_void,
        threads: c_int,
        shared: usize,
    ) {
        let found = fit(&*current()?, function, threads, shared)?;
        // SAFETY: the caller's pointer; so below.
        unsafe { put(blocks, found as c_int) }
    }

    /// Blocks that fit on a multiprocessor.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: *mut c_int,
        function: *mut c_void,
        threads: c_int,
        shared: usize,
        _flags: u32,
    ) {
        let found = fit(&*current()?, function, threads, shared)?;
        // SAFETY: see above.
        unsafe { put(blocks, found as c_int) }
    }

    /// Dynamic shared memory with which so many blocks fit.
    fn cuOccupancyAvailableDynamicSMemPerBlock(
        bytes: *mut usize,
        function: *mut c_void,
        blocks: c_int,
        _threads: c_int,
    ) {
        let card = current()?;
        let f = card.functions.get(&function.addr()).ok_or(Status::InvalidHandle)?;
        if blocks < 1 {
            return Err(Status::InvalidValue);
        }
        let capability = card.options.capability;
        let each = (capability.shared_of_multiprocessor() / blocks as usize).saturating_sub(RESERVED);
        let each = each.min(capability.shared_most());
        // SAFETY: see above.
        unsafe { put(bytes, each.saturating_sub(f.kernel.static_shared())) }
    }

    /// The block with which most threads are busy, and the grid that fills the card.
    fn cuOccupancyMaxPotentialBlockSize(
        grid: *mut c_int,
        threads: *mut c_int,
        function: *mut c_void,
        sizes: Sizes,
        shared: usize,
        limit: c_int,
    ) {
        // SAFETY: the caller's pointers and function.
        unsafe { best((grid, threads), function, sizes, (shared, limit)) }
    }

    /// The block with which most threads are busy, and the grid that fills the card.
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: *mut c_int,
        threads: *mut c_int,
        function: *mut c_void,
        sizes: Sizes,
        shared: usize,
        limit: c_int,
        _flags: u32,
    ) {
        // SAFETY: the caller's pointers and function.
        unsafe { best((grid, threads), function, sizes, (shared, limit)) }
    }
}

fn fit(card: &Card, function: *mut c_void, threads: c_int, shared: usize) -> Result<usize, Status> {
    let f = card.functions.get(&function.addr()).ok_or(Status::InvalidHandle)?;
    if threads < 1 || threads as usize > f.kernel.max_threads() {
        return Err(Status::InvalidValue);
    }
    let by_threads = THREADS / (threads as usize).next_multiple_of(32);
    let by_shared =
        card.options.capability.shared_of_multiprocessor() / (f.kernel.static_shared() + shared + RESERVED);
    Ok(by_threads.min(by_shared).min(BLOCKS))
}

/// # Safety
/// Pointers as for `put`; `sizes` may be called with any number of threads.
unsafe fn best(
    (grid, threads): (*mut c_int, *mut c_int),
    function: *mut c_void,
    sizes: Sizes,
    (shared, limit): (usize, c_int),
) -> Result<(), Status> {
    let card = current()?;
    let most = card.functions.get(&function.addr()).ok_or(Status::InvalidHandle)?.kernel.max_threads();
    let most = if limit > 0 { most.min(limit as usize) } else { most };
    let mut found = (0, 0, 0);
    for count in (32..=most).rev().filter(|n| n % 32 == 0) {
        // SAFETY: by this function's contract.
        let shared = sizes.map_or(shared, |sizes| unsafe { sizes(count as c_int) });
        let blocks = fit(&card, function, count as c_int, shared)?;
        if blocks * count > found.0 {
            found = (blocks * count, count, blocks);
        }
    }
    let multiprocessors = card.options.capability.multiprocessors() as c_int;
    // SAFETY: by this function's contract.
    unsafe {
        put(threads, found.1 as c_int)?;
        put(grid, found.2 as c_int * multiprocessors)
    }
}
