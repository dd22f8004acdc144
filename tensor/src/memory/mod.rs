//! Blocks of main memory, reused without asking the system again.
//!
//! A training step asks for the same sizes in the same order every time. Small blocks, once freed, wait
//! in a list of their exact size; large ones are cut from one range of addresses, where any free part
//! serves any size ([`arena`]). From the third step on nothing is taken from the system.
//! [`statistics`] shows live and peak bytes and how often the system was asked.

mod address_space;
mod arena;

pub use address_space::{address_space_bytes, share_limited_address_space};

use crate::{Error, Result};
use arena::Arena;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

/// Alignment of every block: a cache line, and the width of an AVX-512 register.
const ALIGNMENT: usize = 64;
/// Blocks of at least this size come from the arena.
const LARGE: usize = 1 << 18;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);
static SYSTEM_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static POISON: AtomicBool = AtomicBool::new(false);

/// Free small blocks by size in bytes; addresses are stored as integers because the list owns them.
static FREE: LazyLock<Mutex<HashMap<usize, Vec<usize>>>> = LazyLock::new(Mutex::default);

static ARENA: Mutex<Arena> = Mutex::new(Arena::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What the pool holds at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    /// Bytes in use by tensors.
    pub live: usize,
    /// The highest `live` since the start or the last [`reset_peak`].
    pub peak: usize,
    /// Bytes held in total: in use and in free lists.
    pub held: usize,
    /// How often memory was taken from the system since the start.
    pub system_allocations: usize,
}

/// Reads the pool's counters.
pub fn statistics() -> Statistics {
    Statistics {
        live: LIVE.load(Ordering::Relaxed),
        peak: PEAK.load(Ordering::Relaxed),
        held: HELD.load(Ordering::Relaxed),
        system_allocations: SYSTEM_ALLOCATIONS.load(Ordering::Relaxed),
    }
}

/// The most memory of this process that was ever resident, in bytes: tensors, free lists and all else.
/// None where the system does not tell.
pub fn peak_resident_bytes() -> Option<usize> {
    kibibytes("/proc/self/status", "VmHWM:")
}

/// The memory of this process that is resident now, in bytes, where the system tells.
pub fn resident_bytes() -> Option<usize> {
    kibibytes("/proc/self/status", "VmRSS:")
}

/// A line like `MemTotal: 16384 kB` of a file, in bytes.
fn kibibytes(file: &str, key: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}

/// Sets the peak to what is live now.
pub fn reset_peak() {
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// Gives the memory of free blocks back to the system.
pub fn release_free() {
    HELD.fetch_sub(lock(&ARENA).release(), Ordering::Relaxed);
    for (bytes, blocks) in lock(&FREE).drain() {
        for address in blocks {
            HELD.fetch_sub(bytes, Ordering::Relaxed);
            // SAFETY: every address in the list came from `alloc_zeroed` with this same layout and
            // was put there exactly once, by the only owner it had.
            unsafe { dealloc(address as *mut u8, layout(bytes)) };
        }
    }
}

/// Main memory and swap of the machine in bytes, where the system tells.
pub fn machine_bytes() -> Option<usize> {
    static BYTES: LazyLock<Option<usize>> = LazyLock::new(|| {
        let value = |key| kibibytes("/proc/meminfo", key);
        Some(value("MemTotal:")? + value("SwapTotal:").unwrap_or(0))
    });
    *BYTES
}

/// When on, every block is filled with NaN before it is handed out, so that a kernel that leaves
/// part of its output unwritten is found by any test that compares it.
pub fn set_poison(on: bool) {
    POISON.store(on, Ordering::Relaxed);
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGNMENT).expect("a block is smaller than the address space")
}

fn take_small(bytes: usize) -> Option<usize> {
    if let Some(address) = lock(&FREE).get_mut(&bytes).and_then(Vec::pop) {
        return Some(address);
    }
    SYSTEM_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    HELD.fetch_add(bytes, Ordering::Relaxed);
    // SAFETY: the layout's size is not zero.
    let start = unsafe { alloc_zeroed(layout(bytes)) };
    (!start.is_null()).then_some(start as usize)
}

fn take_large(bytes: usize) -> Option<usize> {
    // The system promises more than it has, and ends whoever takes it at his word.
    let room = machine_bytes().is_none_or(|all| LIVE.load(Ordering::Relaxed).saturating_add(bytes) <= all);
    let taken = room.then(|| lock(&ARENA).take(bytes)).flatten()?;
    if taken.grown > 0 {
        SYSTEM_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(taken.grown, Ordering::Relaxed);
    }
    Some(taken.address)
}

/// An owned block of memory, returned to its free list when dropped.
pub struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block is plain memory with one owner; access goes through `&self` and `&mut self`.
unsafe impl Send for Block {}
// SAFETY: as above; `&Block` gives read access only.
unsafe impl Sync for Block {}

impl Block {
    /// A block of at least `bytes` bytes. Its content is initialised but unspecified: zero when new,
    /// an earlier tensor's values when reused.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the system has no more.
    pub fn new(bytes: usize) -> Result<Self> {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        if bytes > isize::MAX as usize / 2 {
            return Err(Error::OutOfMemory { bytes });
        }
        let taken = if bytes < LARGE { take_small(bytes) } else { take_large(bytes) };
        let start = taken.and_then(|address| NonNull::new(address as *mut u8));
        let start = start.ok_or(Error::OutOfMemory { bytes })?;
        if POISON.load(Ordering::Relaxed) {
            // SAFETY: the block is `bytes` long and owned by nobody else. 0xFF.. is NaN in f32 and
            // bf16.
            unsafe { start.as_ptr().write_bytes(0xFF, bytes) };
        }
        let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(live, Ordering::Relaxed);
        Ok(Self { start, bytes })
    }

    /// The block's bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block is initialised (zero when it came from the system), `bytes` long, and borrowed shared.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The block's bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        LIVE.fetch_sub(self.bytes, Ordering::Relaxed);
        let address = self.start.as_ptr() as usize;
        if self.bytes < LARGE {
            lock(&FREE).entry(self.bytes).or_default().push(address);
        } else {
            lock(&ARENA).give(address, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_blocks_are_aligned_and_reused() {
        // A size no other test uses, so that tests running beside this one cannot take the block.
        let bytes = 64 * 1_009;
        let first = Block::new(bytes).unwrap();
        let address = first.bytes().as_ptr() as usize;
        assert_eq!(address % ALIGNMENT, 0);
        drop(first);
        let second = Block::new(bytes).unwrap();
        assert_eq!(second.bytes().as_ptr() as usize, address);
        assert_eq!(Block::new(3 << 20).unwrap().bytes().as_ptr() as usize % ALIGNMENT, 0);
    }

    #[test]
    fn an_absurd_size_is_an_error() {
        for bytes in [usize::MAX / 2, 1 << 60, 1 << 45] {
            assert!(matches!(Block::new(bytes), Err(Error::OutOfMemory { .. })), "{bytes}");
        }
    }
}
