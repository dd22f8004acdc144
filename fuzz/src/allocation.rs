//! What a call takes of memory: an allocator that counts, thread by thread.
//!
//! A program that wants the numbers installs it; without it they are 0:
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: genesis_fuzz::allocation::Counting = genesis_fuzz::allocation::Counting;
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // `const` and without `Drop`: using them allocates nothing, also while a thread ends.
    static NOW: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
    static LARGEST: Cell<u64> = const { Cell::new(0) };
    static CALL: Cell<Taken> = const { Cell::new(Taken { peak: 0, largest: 0 }) };
}

/// The system's allocator, counting what each thread holds.
#[derive(Debug)]
pub struct Counting;

fn count(change: i64, request: u64) {
    NOW.set(NOW.get() + change);
    PEAK.set(PEAK.get().max(NOW.get()));
    LARGEST.set(LARGEST.get().max(request));
}

// SAFETY: every call goes to the system's allocator with the very arguments it came with; counting touches only
// thread-local cells, which need no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, layout.size() as u64);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, layout.size() as u64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new block may both exist for a moment, but the system moves large ones by pages.
        count(size as i64 - layout.size() as i64, size as u64);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What calls took, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The most that was held at once, beyond what was held before.
    pub peak: u64,
    /// The largest single request.
    pub largest: u64,
}

/// Runs one call of a reader, and remembers what it took until [`take`].
pub fn measured<T>(call: impl FnOnce() -> T) -> T {
    let before = NOW.get();
    PEAK.set(before);
    LARGEST.set(0);
    let result = call();
    let most = CALL.get();
    CALL.set(Taken {
        peak: most.peak.max(u64::try_from(PEAK.get() - before).unwrap_or(0)),
        largest: most.largest.max(LARGEST.get()),
    });
    result
}

/// The most that the [`measured`] calls of this thread took since the last time.
pub fn take() -> Taken {
    CALL.take()
}
