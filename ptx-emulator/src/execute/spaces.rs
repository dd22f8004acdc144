//! Checked accesses: bounds, alignment, bytes nobody wrote, races.

use super::block::Block;
use super::clocks::{COPIERS, Observer};
use super::warp::Warp;
use crate::error::{Fault, FindingKind};
use crate::memory::shadow::{Access, Deed, FIRST_AGENT};
use crate::memory::{DEVICE_BASE, LOCAL_BASE, PARAM_BASE, SHARED_BASE, WINDOW};
use crate::parse::syntax::Space;

type Result<T> = std::result::Result<T, Box<Fault>>;

/// Widest access of one lane, in bytes.
pub(crate) const WIDEST: usize = 16;

/// An access of one lane.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub space: Space,
    pub lane: usize,
    pub address: u64,
    pub bytes: usize,
}

/// The space that a generic address means, and the address within it.
pub(crate) fn resolve(space: Space, address: u64) -> (Space, u64) {
    let within = |base: u64| address.checked_sub(base).filter(|&offset| offset < WINDOW);
    match space {
        Space::Generic if address < DEVICE_BASE => {
            if let Some(offset) = within(SHARED_BASE) {
                (Space::Shared, offset)
            } else if let Some(offset) = within(LOCAL_BASE) {
                (Space::Local, offset)
            } else if let Some(offset) = within(PARAM_BASE) {
                (Space::Param, offset)
            } else {
                (Space::Global, address)
            }
        }
        Space::Generic | Space::Const => (Space::Global, address),
        other => (other, address),
    }
}

impl Block<'_> {
    /// What a thread does now.
    pub fn me(&self, warp: usize, lane: usize, atomic: bool) -> Access {
        let thread = (warp * 32 + lane) as u32;
        Access::new(self.number, thread, self.clocks.clock(warp), self.instruction as u32, atomic)
    }

    /// Where a warp stands, for accesses to device memory.
    pub fn observer(&self, warp: usize) -> Observer<'_> {
        self.clocks.observer(self.launch, self.number, warp, &self.acquired)
    }

    /// The launch that records of shared memory belong to: those of other blocks mean nothing.
    pub fn shared_launch(&self) -> u64 {
        self.launch << 32 | u64::from(self.number)
    }

    /// Who made an access, and where.
    pub fn describe_access(&self, access: Access) -> String {
        let block = match access.block() {
            own if own == self.number & 0xf_ffff => String::new(),
            other => format!(" of block {other}"),
        };
        let who = match access.thread().checked_sub(FIRST_AGENT).map(|n| n as usize / 32) {
            None => format!("thread {}", access.thread()),
            Some(group) if group < COPIERS => format!("a product of warpgroup {group}"),
            Some(_) => "a bulk copy".into(),
        };
        format!("{who}{block} at PTX line {}", self.line(access.instruction()))
    }

    /// A race of a thread with `other`.
    pub fn race(&self, request: &Request, deed: Deed, other: Access) -> Box<Fault> {
        let done = match deed {
            Deed::Read => "reads",
            Deed::Atomic => "updates",
            _ => "writes",
        };
        let who = self.describe_access(other).replacen(" at PTX line", " accessed at PTX line", 1);
        let message = format!("race: {done} what {who}, and no barrier is between");
        Fault::at(FindingKind::Race, request.lane as u32, request.address, message)
    }

    fn check_alignment(request: &Request) -> Result<()> {
        // A copy that reads a part only has checked the whole's alignment.
        let bytes = request.bytes as u64;
        if bytes & (bytes - 1) != 0 || request.address & (bytes - 1) == 0 {
            return Ok(());
        }
        let message = format!("misaligned access of {} bytes", request.bytes);
        Err(Fault::at(FindingKind::Misaligned, request.lane as u32, request.address, message))
    }

    /// Reads the bytes of one lane into the first of `out`.
    pub fn load(&mut self, warp: &Warp, request: &Request, out: &mut [u8; WIDEST]) -> Result<()> {
        let bytes = request.bytes;
        Self::check_alignment(request)?;
        let (space, at) = resolve(request.space, request.address);
        if space == Space::Param {
            let Some(data) = self.parameters.get(at as usize..at as usize + bytes) else {
                return Err(out_of_bounds(request, "outside the parameters".into()));
            };
            out[..bytes].copy_from_slice(data);
            return Ok(());
        }
        if space == Space::Local {
            let start = self.local(request, at)?;
            if self.options.uninitialised && !warp.local_written.all(start, bytes) {
                return Err(uninitialised(request, "local memory"));
            }
            out[..bytes].copy_from_slice(&warp.local[start..start + bytes]);
            return Ok(());
        }
        if !self.touch(warp, request, Deed::Read, (space, at))? {
            return Err(uninitialised(
                request,
                if space == Space::Shared { "shared memory" } else { "memory" },
            ));
        }
        let source = if space == Space::Shared {
            &self.shared.bytes[at as usize..]
        } else {
            let Some((allocation, offset)) = self.memory.find(at, bytes) else {
                return Err(out_of_bounds(request, String::new()));
            };
            &allocation.bytes[offset..]
        };
        copy_small(out, source, bytes);
        Ok(())
    }

    /// Writes the bytes of one lane.
    pub fn store(&mut self, warp: &mut Warp, request: &Request, data: &[u8; WIDEST]) -> Result<()> {
        self.progress += 1;
        let &Request { lane, bytes, .. } = request;
        Self::check_alignment(request)?;
        let (space, at) = resolve(request.space, request.address);
        let data = &data[..bytes];
        match space {
            Space::Param => {
                let message = "parameters cannot be written";
                return Err(Fault::at(FindingKind::ReadOnly, lane as u32, request.address, message));
            }
            Space::Local => {
                let start = self.local(request, at)?;
                warp.local[start..start + bytes].copy_from_slice(data);
                warp.local_written.set(start, bytes, true);
            }
            Space::Shared => {
                self.check_shared(request, at)?;
                let at = at as usize;
                let same = self.shared.written.all(at, bytes) && self.shared.bytes[at..at + bytes] == *data;
                self.touch(
                    warp,
                    request,
                    if same { Deed::SameWrite } else { Deed::Write },
                    (space, at as u64),
                )?;
                self.shared.bytes[at..at + bytes].copy_from_slice(data);
                self.shared.written.set(at, bytes, true);
            }
            _ => {
                let Some((allocation, offset)) = self.memory.find(at, bytes) else {
                    return Err(out_of_bounds(request, self.memory.describe(at)));
                };
                if allocation.read_only {
                    let message = "constants cannot be written";
                    return Err(Fault::at(FindingKind::ReadOnly, lane as u32, request.address, message));
                }
                let same = allocation.written.all(offset, bytes)
                    && allocation.bytes[offset..offset + bytes] == *data;
                self.touch(warp, request, if same { Deed::SameWrite } else { Deed::Write }, (space, at))?;
                if let Some((allocation, offset)) = self.memory.find(at, bytes) {
                    allocation.bytes[offset..offset + bytes].copy_from_slice(data);
                    allocation.written.set(offset, bytes, true);
                }
            }
        }
        Ok(())
    }

    /// Reads, changes and writes one place as one step.
    pub fn atomic(&mut self, warp: &mut Warp, request: &Request, f: impl FnOnce(u64) -> u64) -> Result<u64> {
        self.progress += 1;
        let &Request { lane, bytes, .. } = request;
        Self::check_alignment(request)?;
        let (space, at) = resolve(request.space, request.address);
        if !matches!(space, Space::Shared | Space::Global) {
            return Err(out_of_bounds(request, "atomics need global or shared memory".into()));
        }
        if !self.touch(warp, request, Deed::Atomic, (space, at))? {
            return Err(uninitialised(request, "memory"));
        }
        if space == Space::Global {
            self.publications.atomic(at, self.number, self.fenced, &mut self.acquired);
        }
        let place = if space == Space::Shared {
            &mut self.shared.bytes[at as usize..at as usize + bytes]
        } else {
            match self.memory.find(at, bytes) {
                Some((a, _)) if a.read_only => {
                    let message = "constants cannot be written";
                    return Err(Fault::at(FindingKind::ReadOnly, lane as u32, request.address, message));
                }
                Some((allocation, offset)) => &mut allocation.bytes[offset..offset + bytes],
                None => return Err(out_of_bounds(request, String::new())),
            }
        };
        let mut old = [0; 8];
        old[..bytes].copy_from_slice(place);
        let old = u64::from_le_bytes(old);
        place.copy_from_slice(&f(old).to_le_bytes()[..bytes]);
        Ok(old)
    }

    /// `cp.async` begins: the target must not be in use, and holds nothing until the copy was waited for.
    pub fn reserve_shared(&mut self, warp: &Warp, request: &Request) -> Result<()> {
        Self::check_alignment(request)?;
        let (_, at) = resolve(request.space, request.address);
        self.check_shared(request, at)?;
        self.touch(warp, request, Deed::Write, (Space::Shared, at))?;
        self.shared.written.set(at as usize, request.bytes, false);
        Ok(())
    }

    fn check_shared(&self, request: &Request, at: u64) -> Result<()> {
        match self.shared.layout.find(at, request.bytes) {
            Some(_) => Ok(()),
            None => Err(out_of_bounds(request, self.shared.layout.describe(at))),
        }
    }

    /// Start of a lane's bytes in the warp's local memory.
    fn local(&self, request: &Request, at: u64) -> Result<usize> {
        let layout = &self.program.local;
        match layout.find(at, request.bytes) {
            Some(_) => Ok(request.lane * layout.end + at as usize),
            None => Err(out_of_bounds(request, layout.describe(at))),
        }
    }

    /// Checks bounds and races; returns whether the bytes were ever written.
    pub fn touch(
        &mut self,
        warp: &Warp,
        request: &Request,
        deed: Deed,
        (space, at): (Space, u64),
    ) -> Result<bool> {
        let bytes = request.bytes;
        let races = self.options.races && !self.clocks.exhausted;
        let me = self.me(warp.index, request.lane, deed == Deed::Atomic);
        let mut observer = self.clocks.observer(self.launch, self.number, warp.index, &self.acquired);
        let (known, clash) = if space == Space::Shared {
            self.check_shared(request, at)?;
            if self.mbarriers.overlap(at, bytes) {
                let message = "a plain access to an mbarrier object";
                return Err(Fault::at(FindingKind::Barrier, request.lane as u32, request.address, message));
            }
            observer.launch = self.shared_launch();
            let shared = &mut *self.shared;
            let clash =
                if races { shared.shadow.touch((at as usize, bytes), deed, me, &observer) } else { None };
            (shared.written.all(at as usize, bytes), clash)
        } else {
            let Some((allocation, offset)) = self.memory.find(at, bytes) else {
                return Err(out_of_bounds(request, self.memory.describe(at)));
            };
            let clash = if races && !allocation.read_only {
                allocation.shadow.touch((offset, bytes), deed, me, &observer)
            } else {
                None
            };
            (allocation.written.all(offset, bytes), clash)
        };
        match clash {
            Some(other) => Err(self.race(request, deed, other)),
            None => Ok(known || !self.options.uninitialised),
        }
    }
}

/// Copies a few bytes; the usual numbers without a call.
#[inline(always)]
fn copy_small(to: &mut [u8; WIDEST], from: &[u8], bytes: usize) {
    match bytes {
        4 => to[..4].copy_from_slice(&from[..4]),
        8 => to[..8].copy_from_slice(&from[..8]),
        16 => to.copy_from_slice(&from[..16]),
        _ => to[..bytes].copy_from_slice(&from[..bytes]),
    }
}

pub(crate) fn out_of_bounds(request: &Request, place: String) -> Box<Fault> {
    let message = format!("out of bounds: {} bytes {place}", request.bytes);
    Fault::at(FindingKind::OutOfBounds, request.lane as u32, request.address, message)
}

pub(super) fn uninitialised(request: &Request, what: &str) -> Box<Fault> {
    let message = format!(
        "reads {} bytes of {what} that nobody has written (or whose copy has not arrived)",
        request.bytes
    );
    Fault::at(FindingKind::Uninitialised, request.lane as u32, request.address, message)
}
