//! Bulk copies to shared memory, of a tensor's box or of a stretch of memory. Their targets hold nothing until they are
//! performed; see `mbarrier` for when that is.

use super::block::Block;
use super::spaces::{Request, out_of_bounds, resolve};
use super::warp::Warp;
use crate::error::{Fault, FindingKind};
use crate::memory::Swizzle;
use crate::memory::shadow::{Access, Clash, Deed};
use crate::memory::tensor_map::{TENSOR_MAP_ALIGNMENT, TENSOR_MAP_BYTES, TensorMap};
use crate::parse::syntax::Space;

type Result<T> = std::result::Result<T, Box<Fault>>;

/// Bytes that lie together in device memory, or none of it: zeros.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// Where it goes, counted from the copy's first byte.
    offset: usize,
    bytes: usize,
    from: Option<u64>,
}

/// A copy under way.
pub(crate) struct Copy {
    to: u64,
    pub bytes: usize,
    swizzle: Swizzle,
    pieces: Vec<Piece>,
    /// What the target was marked with when it began.
    reservation: Access,
    pub instruction: usize,
}

impl Copy {
    /// Warp and lane that began it.
    pub fn beginner(&self) -> (usize, usize) {
        let thread = self.reservation.thread() as usize;
        (thread / 32, thread % 32)
    }
}

/// What is copied.
pub(crate) struct Source {
    pub bytes: usize,
    /// Alignment of the target.
    pub alignment: u64,
    pub swizzle: Swizzle,
    pub pieces: Vec<Piece>,
}

impl Source {
    /// A stretch of memory.
    pub fn stretch(from: u64, bytes: usize) -> Self {
        let pieces = vec![Piece { offset: 0, bytes, from: Some(from) }];
        Self { bytes, alignment: 16, swizzle: Swizzle::None, pieces }
    }

    /// The box of `map` at `coordinates`; what lies outside of the tensor is zero.
    pub fn of_tensor(map: &TensorMap, coordinates: &[i64]) -> Self {
        let element = map.data_type.bytes() as i64;
        let row = map.row_bytes();
        let rank = map.dimensions.len();
        let rows: usize = (1..rank).map(|i| map.copied(i)).product();
        // The part of each row that is inside.
        let size = map.dimensions[0] as i64;
        let first = coordinates[0].clamp(0, size);
        let end = (coordinates[0] + i64::from(map.box_dimensions[0])).clamp(first, size);
        let skipped = ((first - coordinates[0]) * element) as usize;
        let inside = ((end - first) * element) as usize;
        let mut pieces = Vec::with_capacity(rows);
        for number in 0..rows {
            let mut rest = number;
            let mut address = map.address as i64 + first * element;
            let mut outside = inside == 0;
            for i in 1..rank {
                let step = (rest % map.copied(i)) as i64 * i64::from(map.element_strides[i]);
                rest /= map.copied(i);
                let at = coordinates[i] + step;
                outside |= at < 0 || at >= map.dimensions[i] as i64;
                address = address.wrapping_add(at.wrapping_mul(map.strides[i - 1] as i64));
            }
            let offset = number * row;
            if outside {
                pieces.push(Piece { offset, bytes: row, from: None });
                continue;
            }
            let after = offset + skipped + inside;
            let parts = [
                Piece { offset, bytes: skipped, from: None },
                Piece { offset: offset + skipped, bytes: inside, from: Some(address as u64) },
                Piece { offset: after, bytes: offset + row - after, from: None },
            ];
            pieces.extend(parts.into_iter().filter(|piece| piece.bytes > 0));
        }
        Self { bytes: rows * row, alignment: 128, swizzle: map.swizzle, pieces }
    }
}

impl Block<'_> {
    /// The tensor map at a generic address.
    pub fn tensor_map(&mut self, lane: usize, address: u64) -> Result<TensorMap> {
        let request = Request { space: Space::Generic, lane, address, bytes: TENSOR_MAP_BYTES };
        if !address.is_multiple_of(TENSOR_MAP_ALIGNMENT) {
            let message =
                format!("misaligned tensor map: it lies at a multiple of {TENSOR_MAP_ALIGNMENT} bytes");
            return Err(Fault::at(FindingKind::Misaligned, lane as u32, address, message));
        }
        let (space, at) = resolve(Space::Generic, address);
        let mut bytes = [0; TENSOR_MAP_BYTES];
        match space {
            Space::Param => match self.parameters.get(at as usize..at as usize + TENSOR_MAP_BYTES) {
                Some(data) => bytes.copy_from_slice(data),
                None => return Err(out_of_bounds(&request, "outside the parameters".into())),
            },
            Space::Global => match self.memory.find(at, TENSOR_MAP_BYTES) {
                Some((allocation, offset)) => {
                    bytes.copy_from_slice(&allocation.bytes[offset..offset + TENSOR_MAP_BYTES]);
                }
                None => return Err(out_of_bounds(&request, self.memory.describe(at))),
            },
            _ => {
                let message = "a tensor map lies in a parameter, in constant or in global memory";
                return Err(Fault::at(FindingKind::Operand, lane as u32, address, message));
            }
        }
        TensorMap::decode(&bytes).ok_or_else(|| {
            let message = "these 128 bytes are no tensor map that cuTensorMapEncodeTiled made";
            Fault::at(FindingKind::Operand, lane as u32, address, message)
        })
    }

    /// Begins a copy to `target` that arrives at the object at `barrier`.
    pub fn begin_copy(
        &mut self,
        warp: &Warp,
        target: &Request,
        barrier: &Request,
        source: Source,
    ) -> Result<()> {
        let Source { bytes, alignment, swizzle, pieces } = source;
        let lane = target.lane as u32;
        let (space, to) = resolve(target.space, target.address);
        if space != Space::Shared || self.shared.layout.find(to, bytes).is_none() {
            return Err(out_of_bounds(target, self.shared.layout.describe(to)));
        }
        if !to.is_multiple_of(alignment) {
            let message =
                format!("misaligned target of a bulk copy: it lies at a multiple of {alignment} bytes");
            return Err(Fault::at(FindingKind::Misaligned, lane, target.address, message));
        }
        if self.mbarriers.overlap(to, bytes) {
            let message = "the target of a bulk copy lies over an mbarrier object";
            return Err(Fault::at(FindingKind::Barrier, lane, target.address, message));
        }
        let meets = |copy: &&Copy| copy.to < to + bytes as u64 && to < copy.to + copy.bytes as u64;
        if let Some(other) = self.mbarriers.copies().find(meets) {
            let line = self.line(other.instruction);
            let message = format!("the copy to this place that began at PTX line {line} was not waited for");
            return Err(Fault::at(FindingKind::InFlight, lane, target.address, message));
        }
        self.read_source(warp, target, &pieces)?;
        self.reserve(warp, target, (to as usize, bytes))?;
        if self.options.traffic {
            self.counters.bulk(pieces.iter().filter_map(|piece| Some((piece.from?, piece.bytes))), bytes);
        }
        let reservation = self.me(warp.index, target.lane, false);
        let instruction = self.instruction;
        let copy = Copy { to, bytes, swizzle, pieces, reservation, instruction };
        self.await_copy(warp, barrier, copy)
    }

    /// The source must be there now, not only when the copy is performed.
    fn read_source(&mut self, warp: &Warp, target: &Request, pieces: &[Piece]) -> Result<()> {
        let races = self.options.races && !self.clocks.exhausted;
        let me = self.me(warp.index, target.lane, false);
        for &Piece { bytes, from, .. } in pieces {
            let Some(from) = from else { continue };
            let request = Request { space: Space::Global, lane: target.lane, address: from, bytes };
            let observer = super::clocks::Observer {
                launch: self.launch,
                block: self.number,
                warp: warp.index as u32,
                row: self.clocks.row(warp.index),
                together: self.clocks.together(warp.index),
                acquired: &self.acquired,
            };
            let Some((allocation, offset)) = self.memory.find(from, bytes) else {
                return Err(out_of_bounds(&request, self.memory.describe(from)));
            };
            if !races || allocation.read_only {
                continue;
            }
            if let Some(other) = allocation.shadow.touch((offset, bytes), Deed::Read, me, &observer) {
                return Err(self.race(&request, Deed::Read, other));
            }
        }
        Ok(())
    }

    /// The target must not be in use, and holds nothing until the copy is performed.
    fn reserve(&mut self, warp: &Warp, target: &Request, range: (usize, usize)) -> Result<()> {
        if self.options.races && !self.clocks.exhausted {
            let me = self.me(warp.index, target.lane, false);
            let row = *self.clocks.row(warp.index);
            let mut observer = self.observer(warp.index);
            observer.launch = self.shared_launch();
            let observer = super::clocks::Observer { row: &row, acquired: &[], ..observer };
            let clocks = &self.clocks;
            let fenced = |access| clocks.fenced(access, &row, false);
            match self.shared.shadow.touch_asynchronously(range, Deed::Write, me, &observer, fenced) {
                None => {}
                Some(Clash::Race(other)) => return Err(self.race(target, Deed::Write, other)),
                Some(Clash::Unfenced(other)) => {
                    let other = self.describe_access(other);
                    let message =
                        format!("overwrites what {other} wrote, without fence.proxy.async after it");
                    return Err(Fault::at(
                        FindingKind::MissingFence,
                        target.lane as u32,
                        target.address,
                        message,
                    ));
                }
            }
        }
        self.shared.written.set(range.0, range.1, false);
        Ok(())
    }

    /// Performs a copy as `agent` at `clock`.
    pub fn deliver(&mut self, request: &Request, copy: &Copy, agent: usize, clock: u32) -> Result<()> {
        if self.options.races && !self.clocks.exhausted {
            let me = Access::of_agent(self.number, agent, clock, copy.instruction as u32);
            let (range, launch) = ((copy.to as usize, copy.bytes), self.shared_launch());
            if let Some(other) = self.shared.shadow.deliver(range, launch, copy.reservation, me) {
                let (other, line) = (self.describe_access(other), self.line(copy.instruction));
                let message =
                    format!("race: {other} wrote to the target of the copy of PTX line {line} meanwhile");
                return Err(Fault::at(FindingKind::Race, request.lane as u32, copy.to, message));
            }
        }
        let shared = &mut *self.shared;
        for &Piece { offset, bytes, from } in &copy.pieces {
            let source = match from {
                None => None,
                Some(from) => match self.memory.find(from, bytes) {
                    Some((allocation, start)) => Some((&*allocation, start)),
                    None => continue,
                },
            };
            let whole = source.is_none_or(|(allocation, start)| allocation.written.all(start, bytes));
            let mut done = 0;
            while done < bytes {
                let at = copy.to + (offset + done) as u64;
                // Swizzled pieces of 16 bytes part; others stay together.
                let together = if copy.swizzle == Swizzle::None { bytes } else { 16 - (offset + done) % 16 };
                let count = together.min(bytes - done);
                let place = copy.swizzle.place(at) as usize;
                let target = &mut shared.bytes[place..place + count];
                match source {
                    None => target.fill(0),
                    Some((allocation, start)) => {
                        let from = start + done;
                        target.copy_from_slice(&allocation.bytes[from..from + count]);
                    }
                }
                if whole {
                    shared.written.set(place, count, true);
                } else if let Some((allocation, start)) = source {
                    // Bytes that nobody wrote stay so.
                    for i in 0..count {
                        shared.written.set(place + i, 1, allocation.written.all(start + done + i, 1));
                    }
                }
                done += count;
            }
        }
        Ok(())
    }
}
