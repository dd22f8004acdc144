//! Who touched what: for every place the last write and two reads, and for every byte whether it was ever written.
//!
//! An access is packed into 64 bits. Two accesses of one place, at least one of them a plain write, are a race unless
//! something orders them: the same thread, a barrier (see `execute::clocks`) or, between blocks, an atomic after a fence.

use crate::execute::clocks::Observer;

/// An access: block (20 bits), thread (10), clock of its warp (15), instruction (18), atomic (1). 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access(pub u64);

/// Clocks above this cannot be packed; the block is no longer checked for races.
pub const LAST_CLOCK: u32 = (1 << 15) - 1;
const BLOCK_BITS: u32 = 20;

impl Access {
    /// Packs an access; block and instruction are taken modulo what fits.
    pub fn new(block: u32, thread: u32, clock: u32, instruction: u32, atomic: bool) -> Self {
        let block = u64::from(block & ((1 << BLOCK_BITS) - 1));
        let instruction = u64::from(instruction & ((1 << 18) - 1));
        Self(
            block << 44
                | u64::from(thread & 1023) << 34
                | u64::from(clock) << 19
                | instruction << 1
                | u64::from(atomic),
        )
    }

    fn none(self) -> bool {
        self.0 == 0
    }

    /// The block, modulo 2^20.
    pub fn block(self) -> u32 {
        (self.0 >> 44) as u32
    }

    /// The thread within its block, as a single number.
    pub fn thread(self) -> u32 {
        (self.0 >> 34) as u32 & 1023
    }

    /// Clock of the thread's warp when it happened.
    pub fn clock(self) -> u32 {
        (self.0 >> 19) as u32 & LAST_CLOCK
    }

    /// Index of the instruction, modulo 2^18.
    pub fn instruction(self) -> usize {
        (self.0 >> 1) as usize & ((1 << 18) - 1)
    }

    fn atomic(self) -> bool {
        self.0 & 1 == 1
    }

    fn same_thread(self, other: Self) -> bool {
        self.0 >> 34 == other.0 >> 34
    }
}

/// What is being done to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A plain read.
    Read,
    /// A plain write of another value than is there.
    Write,
    /// A write that changes nothing: several threads may do it, as in `found = true`.
    SameWrite,
    /// An atomic operation.
    Atomic,
}

#[derive(Clone, Copy, Default)]
struct Record {
    write: Access,
    reads: [Access; 2],
}

impl Record {
    fn touch(&mut self, deed: Deed, me: Access, observer: &Observer<'_>) -> Option<Access> {
        let unordered = |other: Access| !other.none() && !other.same_thread(me) && !observer.ordered(other);
        match deed {
            Deed::Read | Deed::Atomic => {
                let clash = unordered(self.write) && !(deed == Deed::Atomic && self.write.atomic());
                if clash {
                    return Some(self.write);
                }
            }
            Deed::Write => {
                if unordered(self.write) {
                    return Some(self.write);
                }
            }
            // Of several that write this value at a time the first stays on record, so that a read without a barrier is
            // still found. A value from before the last barrier is written anew: its readers need a barrier again.
            Deed::SameWrite if unordered(self.write) => return None,
            Deed::SameWrite => {}
        }
        if deed == Deed::Read {
            let [first, second] = &mut self.reads;
            if first.none() || first.same_thread(me) || observer.ordered(*first) {
                *first = me;
            } else {
                *second = me;
            }
            return None;
        }
        for read in self.reads {
            if unordered(read) {
                return Some(read);
            }
        }
        self.write = me;
        None
    }
}

/// Bytes that share a page of records.
const PAGE: usize = 1024;

#[derive(Clone)]
struct Page {
    /// The launch whose accesses it holds.
    launch: u64,
    /// Bytes per record: 4, or 1 once something smaller was accessed.
    grain: usize,
    records: Vec<Record>,
}

/// Records of a range of memory, made when first touched.
#[derive(Default)]
pub struct Shadow {
    pages: Vec<Option<Box<Page>>>,
}

impl Shadow {
    /// Notes an access of `bytes` at `offset`; returns an access that races with it.
    pub fn touch(
        &mut self,
        (offset, bytes): (usize, usize),
        deed: Deed,
        me: Access,
        observer: &Observer<'_>,
    ) -> Option<Access> {
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let index = at / PAGE;
            let stop = end.min((index + 1) * PAGE);
            if index >= self.pages.len() {
                self.pages.resize_with(index + 1, || None);
            }
            let page = self.pages[index].get_or_insert_with(|| {
                Box::new(Page {
                    launch: observer.launch,
                    grain: 4,
                    records: vec![Record::default(); PAGE / 4],
                })
            });
            if page.launch != observer.launch {
                page.launch = observer.launch;
                page.records.fill(Record::default());
            }
            if page.grain == 4 && (at | stop) & 3 != 0 {
                page.grain = 1;
                page.records = page.records.iter().flat_map(|&record| [record; 4]).collect();
            }
            let first = at % PAGE / page.grain;
            let last = (stop - 1) % PAGE / page.grain;
            for record in &mut page.records[first..=last] {
                if let Some(other) = record.touch(deed, me, observer) {
                    return Some(other);
                }
            }
            at = stop;
        }
        None
    }

    /// Bytes that a launch read, and that it wrote.
    pub fn touched(&self, launch: u64) -> [u64; 2] {
        let mut bytes = [0; 2];
        for page in self.pages.iter().flatten().filter(|page| page.launch == launch) {
            for record in &page.records {
                bytes[0] += if record.reads[0].none() { 0 } else { page.grain as u64 };
                bytes[1] += if record.write.none() { 0 } else { page.grain as u64 };
            }
        }
        bytes
    }
}

/// One bit for each byte: written or not.
#[derive(Default, Clone)]
pub struct Written {
    bits: Vec<u64>,
}

impl Written {
    /// For `bytes` bytes, none of them written.
    pub fn new(bytes: usize) -> Self {
        Self { bits: vec![0; bytes.div_ceil(64)] }
    }

    /// Forgets every write.
    pub fn clear(&mut self) {
        self.bits.fill(0);
    }

    fn parts(offset: usize, bytes: usize) -> impl Iterator<Item = (usize, u64)> {
        let end = offset + bytes;
        let mut at = offset;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (index, low) = (at / 64, at % 64);
            let count = (64 - low).min(end - at);
            at += count;
            Some((index, (u64::MAX >> (64 - count)) << low))
        })
    }

    /// Marks bytes as written or not.
    pub fn set(&mut self, offset: usize, bytes: usize, written: bool) {
        for (index, mask) in Self::parts(offset, bytes) {
            if written {
                self.bits[index] |= mask;
            } else {
                self.bits[index] &= !mask;
            }
        }
    }

    /// Whether all bytes were written.
    #[inline]
    pub fn all(&self, offset: usize, bytes: usize) -> bool {
        let (index, low) = (offset / 64, offset % 64);
        if low + bytes <= 64 && bytes > 0 {
            let mask = (u64::MAX >> (64 - bytes)) << low;
            return self.bits[index] & mask == mask;
        }
        Self::parts(offset, bytes).all(|(index, mask)| self.bits[index] & mask == mask)
    }

    /// Copies the marks of another range (for copies between allocations).
    pub fn copy(&mut self, offset: usize, from: &[bool]) {
        for (i, &written) in from.iter().enumerate() {
            self.set(offset + i, 1, written);
        }
    }
}
