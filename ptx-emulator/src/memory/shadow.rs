//! Who touched what: for every place the last write and two reads, and for every byte whether it was ever written.
//!
//! An access is packed into 64 bits. Two accesses of one place, at least one of them a plain write, are a race unless
//! something orders them: the same thread, a barrier (see `execute::clocks`) or, between blocks, an atomic after a fence.

use crate::execute::clocks::Observer;

/// An access: block (20 bits), thread (11), clock of its warp (15), instruction (17), atomic (1). 0: none. Threads from
/// [`FIRST_AGENT`] on are no threads but what copies and multiplies on behalf of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access(pub u64);

/// Clocks above this cannot be packed; the block is no longer checked for races.
pub const LAST_CLOCK: u32 = (1 << 15) - 1;
const BLOCK_BITS: u32 = 20;
const THREAD_BITS: u32 = 11;
const INSTRUCTION_BITS: u32 = 17;
/// Number of the first thread that is none; 32 numbers belong to each agent, as to a warp.
pub const FIRST_AGENT: u32 = 1024;

impl Access {
    /// Packs an access; block and instruction are taken modulo what fits.
    pub fn new(block: u32, thread: u32, clock: u32, instruction: u32, atomic: bool) -> Self {
        let block = u64::from(block & ((1 << BLOCK_BITS) - 1));
        let thread = u64::from(thread & ((1 << THREAD_BITS) - 1));
        let instruction = u64::from(instruction & ((1 << INSTRUCTION_BITS) - 1));
        Self(block << 44 | thread << 33 | u64::from(clock) << 18 | instruction << 1 | u64::from(atomic))
    }

    /// An access by agent number `agent`.
    pub fn of_agent(block: u32, agent: usize, clock: u32, instruction: u32) -> Self {
        Self::new(block, FIRST_AGENT + 32 * agent as u32, clock, instruction, false)
    }

    /// The same by lane number `lane` of a warp whose first lane made this one.
    pub fn of_lane(self, lane: usize) -> Self {
        Self(self.0 + ((lane as u64) << 33))
    }

    /// Whether there was none.
    pub fn none(self) -> bool {
        self.0 == 0
    }

    /// Whether it was made by the asynchronous proxy.
    pub fn asynchronous(self) -> bool {
        self.thread() >= FIRST_AGENT
    }

    /// The block, modulo 2^20.
    pub fn block(self) -> u32 {
        (self.0 >> 44) as u32
    }

    /// The thread within its block, as a single number.
    pub fn thread(self) -> u32 {
        (self.0 >> 33) as u32 & ((1 << THREAD_BITS) - 1)
    }

    /// Clock of the thread's warp when it happened.
    pub fn clock(self) -> u32 {
        (self.0 >> 18) as u32 & LAST_CLOCK
    }

    /// Index of the instruction, modulo 2^17.
    pub fn instruction(self) -> usize {
        (self.0 >> 1) as usize & ((1 << INSTRUCTION_BITS) - 1)
    }

    fn atomic(self) -> bool {
        self.0 & 1 == 1
    }

    fn same_thread(self, other: Self) -> bool {
        self.0 >> 33 == other.0 >> 33
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

/// What is wrong with an access by the asynchronous proxy.
#[derive(Debug, Clone, Copy)]
pub enum Clash {
    /// Nothing orders it and this access.
    Race(Access),
    /// This write by the generic proxy was not followed by a proxy fence.
    Unfenced(Access),
}

#[derive(Clone, Copy, Default)]
struct Record {
    write: Access,
    reads: [Access; 2],
}

impl Record {
    #[inline]
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
    /// Bytes per record, as a power of two: 4, or 1 once something smaller was accessed.
    grain: u32,
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
        range: (usize, usize),
        deed: Deed,
        me: Access,
        observer: &Observer<'_>,
    ) -> Option<Access> {
        self.visit(range, observer.launch, |record| record.touch(deed, me, observer))
    }

    /// Notes an access by the asynchronous proxy, begun where `observer` stands. `fenced` tells of a write by the generic
    /// proxy whether a proxy fence came after it.
    pub fn touch_asynchronously(
        &mut self,
        range: (usize, usize),
        deed: Deed,
        me: Access,
        observer: &Observer<'_>,
        fenced: impl Fn(Access) -> bool,
    ) -> Option<Clash> {
        // Neighbouring places were mostly written by one access.
        let mut known = Access::default();
        self.visit(range, observer.launch, |record| {
            let write = record.write;
            if let Some(other) = record.touch(deed, me, observer) {
                return Some(Clash::Race(other));
            }
            if write.none() || write.asynchronous() || write.0 == known.0 {
                return None;
            }
            if !fenced(write) {
                return Some(Clash::Unfenced(write));
            }
            known = write;
            None
        })
    }

    /// An asynchronous write that was announced as `reservation` happens as `me`; returns a write that came between.
    pub fn deliver(
        &mut self,
        range: (usize, usize),
        launch: u64,
        reservation: Access,
        me: Access,
    ) -> Option<Access> {
        self.visit(range, launch, |record| {
            if record.write != reservation {
                return Some(record.write);
            }
            record.write = me;
            None
        })
    }

    /// Goes through the records of a range until `f` gives something.
    fn visit<R>(
        &mut self,
        (offset, bytes): (usize, usize),
        launch: u64,
        mut f: impl FnMut(&mut Record) -> Option<R>,
    ) -> Option<R> {
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let index = at / PAGE;
            let stop = end.min((index + 1) * PAGE);
            if index >= self.pages.len() {
                self.pages.resize_with(index + 1, || None);
            }
            let page = self.pages[index].get_or_insert_with(|| {
                Box::new(Page { launch, grain: 2, records: vec![Record::default(); PAGE / 4] })
            });
            if page.launch != launch {
                page.launch = launch;
                page.records.fill(Record::default());
            }
            if page.grain == 2 && (at | stop) & 3 != 0 {
                page.grain = 0;
                page.records = page.records.iter().flat_map(|&record| [record; 4]).collect();
            }
            let first = (at % PAGE) >> page.grain;
            let last = ((stop - 1) % PAGE) >> page.grain;
            for record in &mut page.records[first..=last] {
                let found = f(record);
                if found.is_some() {
                    return found;
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
                bytes[0] += u64::from(!record.reads[0].none()) << page.grain;
                bytes[1] += u64::from(!record.write.none()) << page.grain;
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
    #[inline]
    pub fn set(&mut self, offset: usize, bytes: usize, written: bool) {
        let (index, low) = (offset / 64, offset % 64);
        if written && low + bytes <= 64 && bytes > 0 {
            self.bits[index] |= (u64::MAX >> (64 - bytes)) << low;
            return;
        }
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

    /// The 64 marks from `at` on; behind the end nothing is written.
    fn word(&self, at: usize) -> u64 {
        let of = |index: usize| self.bits.get(index).copied().unwrap_or(0);
        match (at / 64, at % 64) {
            (index, 0) => of(index),
            (index, low) => of(index) >> low | of(index + 1) << (64 - low),
        }
    }

    /// The marks of a range; what follows them means nothing.
    pub fn part(&self, offset: usize, bytes: usize) -> Self {
        Self { bits: (0..bytes).step_by(64).map(|at| self.word(offset + at)).collect() }
    }

    /// Takes over the marks of a range of this many bytes.
    pub fn paste(&mut self, offset: usize, bytes: usize, part: &Self) {
        let mut at = 0;
        for (index, mask) in Self::parts(offset, bytes) {
            let marks = part.word(at) << mask.trailing_zeros() & mask;
            self.bits[index] = self.bits[index] & !mask | marks;
            at += mask.count_ones() as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_over_from_any_place_to_any() {
        let is_written = |at: usize| at.is_multiple_of(3) || at % 7 == 1;
        let mut source = Written::new(300);
        (0..300).for_each(|at| source.set(at, 1, is_written(at)));
        for (from, to, bytes) in
            [(0, 0, 300), (1, 64, 200), (63, 5, 2), (64, 1, 128), (130, 129, 100), (7, 7, 0)]
        {
            let mut target = Written::new(300);
            (0..300).for_each(|at| target.set(at, 1, at.is_multiple_of(2)));
            target.paste(to, bytes, &source.part(from, bytes));
            for at in 0..300 {
                let inside = (to..to + bytes).contains(&at);
                let wanted = if inside { is_written(at + from - to) } else { at.is_multiple_of(2) };
                assert_eq!(target.all(at, 1), wanted, "{from} {to} {bytes}: {at}");
            }
        }
    }
}
