//! Large blocks, cut from a wide range of address space: best fit, neighbours rejoined when freed.
//!
//! Free lists of exact sizes would hold every size a step ever needed at once, a third more than is
//! ever in use: what one layer frees, the next one could not use. Here a free range serves any size.
//! Address space costs nothing until it is touched, so the arena takes a lot and notes how far it was
//! used (the mark); memory up to the mark is what the process holds.
//!
//! Which address a block gets depends on the order of requests alone. A training step makes the same
//! requests every time, so after a few steps the mark stays where it is.

use memmap2::{MmapMut, MmapOptions};
use std::collections::BTreeMap;

/// Address space taken at a time, if the system gives so much.
const SEGMENT: usize = if cfg!(miri) { 4 << 20 } else { 64 << 30 };
/// What is left of the address space for all else: threads, files, a plot of the loss. Where that fails, the
/// standard library ends the process.
const REST: usize = if cfg!(miri) { 0 } else { 64 << 20 };
/// Blocks begin at multiples of this: a page.
const GRAIN: usize = 4096;
/// Segments begin at multiples of this: a huge page.
const HUGE_PAGE: usize = 2 << 20;

struct Segment {
    /// Owns the address space.
    #[cfg_attr(
        any(miri, not(target_os = "linux")),
        expect(dead_code, reason = "only Linux is given advice")
    )]
    map: MmapMut,
    /// Address of the first block.
    start: usize,
    size: usize,
    /// Bytes from the start that were ever used.
    mark: usize,
    /// Free ranges below the mark, by offset; no two touch.
    free: BTreeMap<usize, usize>,
}

/// All segments.
pub(super) struct Arena {
    segments: Vec<Segment>,
}

/// A block, and by how much the mark rose for it.
pub(super) struct Taken {
    pub address: usize,
    pub grown: usize,
}

impl Arena {
    pub const fn new() -> Self {
        Self { segments: Vec::new() }
    }

    /// A block of at least `bytes`; none if the system has no more.
    pub fn take(&mut self, bytes: usize) -> Option<Taken> {
        let bytes = bytes.next_multiple_of(GRAIN);
        // The smallest range that fits; of equal ones the first.
        let ranges = self.segments.iter().enumerate().flat_map(|(index, segment)| {
            segment.free.iter().map(move |(&offset, &length)| (length, index, offset))
        });
        if let Some((length, index, offset)) = ranges.filter(|range| range.0 >= bytes).min() {
            let segment = &mut self.segments[index];
            segment.free.remove(&offset);
            if length > bytes {
                segment.free.insert(offset + bytes, length - bytes);
            }
            return Some(Taken { address: segment.start + offset, grown: 0 });
        }
        if let Some(taken) = self.segments.iter_mut().find_map(|segment| segment.grow(bytes)) {
            return Some(taken);
        }
        self.segments.push(Segment::new(bytes)?);
        self.segments.last_mut()?.grow(bytes)
    }

    /// Takes a block back.
    pub fn give(&mut self, address: usize, bytes: usize) {
        let bytes = bytes.next_multiple_of(GRAIN);
        let within =
            |segment: &&mut Segment| (segment.start..segment.start + segment.size).contains(&address);
        if let Some(segment) = self.segments.iter_mut().find(within) {
            segment.give(address - segment.start, bytes);
        }
    }

    /// Gives the memory of free ranges back to the system; by how much the marks fell.
    pub fn release(&mut self) -> usize {
        self.segments.iter_mut().map(Segment::release).sum()
    }
}

/// Address space for `bytes` from the first boundary of a huge page on, if there is so much.
fn reserve(bytes: usize) -> Option<MmapMut> {
    let mut options = MmapOptions::new();
    options.len(bytes.checked_add(HUGE_PAGE)?);
    // Miri, which checks this code, knows neither reservations nor advice.
    if !cfg!(miri) {
        options.no_reserve_swap();
    }
    options.map_anon().ok()
}

impl Segment {
    /// A segment that holds `bytes`, and much more where the system allows it: as much again stays for others
    /// unless the segment holds nothing but `bytes`, and [`REST`] always.
    fn new(bytes: usize) -> Option<Self> {
        let mut size = bytes.max(SEGMENT);
        let map = loop {
            let others = if size > bytes { size } else { 0 }.checked_add(REST)?;
            if reserve(size.checked_add(others)?).is_some() {
                break reserve(size)?;
            }
            if size == bytes {
                return None;
            }
            size = (size / 2).max(bytes);
        };
        // Fewer and cheaper page faults; where it is refused, memory works all the same.
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = (map.as_ptr() as usize).next_multiple_of(HUGE_PAGE);
        Some(Self { map, start, size, mark: 0, free: BTreeMap::new() })
    }

    /// A block at the end of what is used.
    fn grow(&mut self, bytes: usize) -> Option<Taken> {
        let last = self.free.last_key_value().map(|(&offset, &length)| (offset, length));
        let last = last.filter(|(offset, length)| offset + length == self.mark);
        let offset = last.map_or(self.mark, |(offset, _)| offset);
        let end = offset.checked_add(bytes).filter(|&end| end <= self.size)?;
        if last.is_some() {
            self.free.remove(&offset);
        }
        let grown = end - self.mark;
        self.mark = end;
        Some(Taken { address: self.start + offset, grown })
    }

    fn give(&mut self, mut offset: usize, mut length: usize) {
        if let Some((&before, &size)) = self.free.range(..offset).next_back()
            && before + size == offset
        {
            self.free.remove(&before);
            (offset, length) = (before, size + length);
        }
        if let Some(size) = self.free.remove(&(offset + length)) {
            length += size;
        }
        self.free.insert(offset, length);
    }

    fn release(&mut self) -> usize {
        #[cfg(all(target_os = "linux", not(miri)))]
        for (&offset, &length) in &self.free {
            let offset = self.start - self.map.as_ptr() as usize + offset;
            // SAFETY: the range is free, so nobody holds a reference into it, and its content, zero from
            // now on, is unspecified anyway.
            let _ = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, length)
            };
        }
        match self.free.last_key_value().map(|(&offset, &length)| (offset, length)) {
            Some((offset, length)) if offset + length == self.mark => {
                self.free.remove(&offset);
                self.mark = offset;
                length
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = GRAIN;

    #[test]
    fn blocks_fill_holes_and_neighbours_rejoin() {
        let mut arena = Arena::new();
        let [a, b, c, d] = [4, 2, 4, 1].map(|pages| arena.take(pages * PAGE).unwrap());
        assert_eq!(a.address % HUGE_PAGE, 0);
        assert_eq!([a.grown, b.grown, c.grown, d.grown], [4, 2, 4, 1].map(|pages| pages * PAGE));
        arena.give(a.address, 4 * PAGE);
        arena.give(c.address, 4 * PAGE);
        // Both holes are of one size: the first is taken, and what is left of it serves a smaller block.
        let e = arena.take(3 * PAGE - 5).unwrap();
        assert_eq!((e.address, e.grown), (a.address, 0));
        let f = arena.take(PAGE).unwrap();
        assert_eq!((f.address, f.grown), (a.address + 3 * PAGE, 0));
        // The holes of b and c are one of six pages.
        arena.give(b.address, 2 * PAGE);
        let g = arena.take(6 * PAGE).unwrap();
        assert_eq!((g.address, g.grown), (b.address, 0));
        // A free end is used before the mark rises.
        arena.give(d.address, PAGE);
        let h = arena.take(3 * PAGE).unwrap();
        assert_eq!((h.address, h.grown), (d.address, 2 * PAGE));
        for (block, pages) in [(e, 3), (f, 1), (g, 6), (h, 3)] {
            arena.give(block.address, pages * PAGE);
        }
        assert_eq!(arena.release(), 13 * PAGE);
        assert_eq!(arena.take(PAGE).unwrap().address, a.address);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri ends where the system would refuse")]
    fn more_than_the_address_space_is_refused() {
        assert!(Arena::new().take(1 << 60).is_none());
    }
}
