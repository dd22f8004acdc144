//! Buffers of a task, kept by its thread from one task to the next.

use std::cell::RefCell;

/// A cache line, the unit and alignment of a buffer.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Memory that grows to the largest size asked for. Its content is whatever was written last.
#[derive(Default)]
pub(super) struct Buffer(Vec<Line>);

impl Buffer {
    /// At least room for `elements`, of which exactly as many are returned.
    pub fn get<T: bytemuck::Pod>(&mut self, elements: usize) -> &mut [T] {
        let lines = (elements * size_of::<T>()).div_ceil(64);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0; 64]));
        }
        &mut bytemuck::cast_slice_mut(&mut self.0)[..elements]
    }
}

/// The buffers of one task.
#[derive(Default)]
pub(super) struct Buffers {
    pub packed: Buffer,
    pub second: Buffer,
    pub sums: Buffer,
}

thread_local! {
    static KEPT: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

/// Runs a task with this thread's buffers.
pub(super) fn with_buffers<R>(task: impl FnOnce(&mut Buffers) -> R) -> R {
    let mut buffers = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = task(&mut buffers);
    KEPT.with_borrow_mut(|kept| kept.push(buffers));
    result
}
