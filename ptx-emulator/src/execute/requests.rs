//! Requests of a warp's lanes to one array of shared memory or to one allocation: where it lies is looked up once. What
//! is checked is what `spaces` checks of each lane.

use super::block::Block;
use super::clocks::Observer;
use super::spaces::{Request, WIDEST, resolve, uninitialised};
use super::warp::lanes;
use crate::error::Fault;
use crate::instructions::lanes::LANES;
use crate::memory::shadow::{Deed, Shadow, Written};
use crate::parse::syntax::Space;

type Result<T> = std::result::Result<T, Box<Fault>>;

/// An access of several lanes.
pub(crate) struct Requests<'a> {
    space: Space,
    addresses: &'a [u64; LANES],
    mask: u32,
    bytes: usize,
    /// The lowest and the highest address.
    ends: [u64; 2],
    /// Bits that are set in any address.
    all: u64,
}

/// What every lane asks for.
struct Place<'a> {
    bytes: &'a mut [u8],
    written: &'a mut Written,
    shadow: &'a mut Shadow,
    /// Subtracted from an address, it gives the index of its byte.
    base: u64,
    shared: bool,
    observer: Observer<'a>,
    /// Whether races are checked.
    races: bool,
}

impl<'a> Requests<'a> {
    /// Accesses of the lanes of `mask`, at least one; `bytes` each.
    #[inline(always)]
    pub fn new(space: Space, addresses: &'a [u64; LANES], mask: u32, bytes: usize) -> Self {
        // Lanes that take no part count as the first that does: a loop without branches.
        let first = addresses[mask.trailing_zeros() as usize % LANES];
        let (mut low, mut high, mut all) = (first, first, first);
        for lane in 0..LANES {
            let address = if mask >> lane & 1 == 1 { addresses[lane] } else { first };
            (low, high, all) = (low.min(address), high.max(address), all | address);
        }
        Self { space, addresses, mask, bytes, ends: [low, high], all }
    }

    /// Whether all lanes ask for one place, and not in memory that each has for itself.
    pub fn uniform(&self) -> bool {
        let [low, high] = self.ends;
        low == high && resolve(self.space, low).0 != Space::Local
    }

    /// The request of a lane.
    pub fn one(&self, lane: usize) -> Request {
        Request { space: self.space, lane, address: self.addresses[lane], bytes: self.bytes }
    }

    /// The space and the address within it of the lowest byte, how far it is from an address as given, and how many bytes
    /// there are to the highest; none where lanes differ in their space or one is misaligned.
    fn span(&self) -> Option<(Space, u64, u64, usize)> {
        let [low, high] = self.ends;
        let (space, at) = resolve(self.space, low);
        let same = space == resolve(self.space, high).0;
        if !same || !self.bytes.is_power_of_two() || self.all & (self.bytes as u64 - 1) != 0 {
            return None;
        }
        Some((space, at, low - at, usize::try_from(high - low).ok()?.checked_add(self.bytes)?))
    }
}

impl Block<'_> {
    /// Where all of a request lies, if that is one place that may be touched.
    fn place(&mut self, warp: usize, requests: &Requests<'_>, store: bool) -> Option<Place<'_>> {
        let (space, at, beyond, span) = requests.span()?;
        let launch = if space == Space::Shared { self.shared_launch() } else { self.launch };
        let observer = self.clocks.observer(launch, self.number, warp, &self.acquired);
        let races = self.options.races && !self.clocks.exhausted;
        match space {
            Space::Shared => {
                self.shared.layout.find(at, span)?;
                if self.mbarriers.overlap(at, span) {
                    return None;
                }
                let shared = &mut *self.shared;
                let (written, shadow) = (&mut shared.written, &mut shared.shadow);
                Some(Place {
                    bytes: &mut shared.bytes,
                    written,
                    shadow,
                    base: beyond,
                    shared: true,
                    observer,
                    races,
                })
            }
            Space::Global => {
                let (allocation, _) = self.memory.find(at, span)?;
                if store && allocation.read_only {
                    return None;
                }
                let races = races && !allocation.read_only;
                let (written, shadow) = (&mut allocation.written, &mut allocation.shadow);
                Some(Place {
                    bytes: &mut allocation.bytes,
                    written,
                    shadow,
                    base: beyond + allocation.start,
                    shared: false,
                    observer,
                    races,
                })
            }
            _ => None,
        }
    }

    /// Reads what the lanes of a warp ask for, if it lies within one array or allocation, and gives the bytes of each to
    /// `put`; otherwise, or where one read does for all, nothing is done, and lanes must read one by one.
    #[inline(always)]
    pub fn load_together(
        &mut self,
        warp: usize,
        requests: &Requests<'_>,
        mut put: impl FnMut(usize, &[u8]),
    ) -> Result<bool> {
        let (me, uninitialised_too) = (self.me(warp, 0, false), self.options.uninitialised);
        let bytes = requests.bytes;
        if requests.uniform() {
            return Ok(false);
        }
        let Some(place) = self.place(warp, requests, false) else { return Ok(false) };
        if !place.races && !uninitialised_too {
            for lane in lanes(requests.mask) {
                let at = (requests.addresses[lane] - place.base) as usize;
                put(lane, &place.bytes[at..at + bytes]);
            }
            return Ok(true);
        }
        // Two readers of a place are enough for whoever writes it without a barrier to be found.
        let mut readers = [(u64::MAX, 0); LANES];
        let mut fault = None;
        for lane in lanes(requests.mask) {
            let address = requests.addresses[lane];
            let at = (address - place.base) as usize;
            if place.races {
                let known = &mut readers[(address / bytes as u64) as usize % LANES];
                if known.0 != address {
                    *known = (address, 0);
                }
                known.1 += 1;
                if known.1 <= 2 {
                    let clash =
                        place.shadow.touch((at, bytes), Deed::Read, me.of_lane(lane), &place.observer);
                    if clash.is_some() {
                        fault = Some((lane, clash));
                        break;
                    }
                }
            }
            if uninitialised_too && !place.written.all(at, bytes) {
                fault = Some((lane, None));
                break;
            }
            put(lane, &place.bytes[at..at + bytes]);
        }
        let what = if place.shared { "shared memory" } else { "memory" };
        match fault {
            None => Ok(true),
            Some((lane, Some(other))) => Err(self.race(&requests.one(lane), Deed::Read, other)),
            Some((lane, None)) => Err(uninitialised(&requests.one(lane), what)),
        }
    }

    /// Writes what the lanes ask for; see [`Block::load_together`].
    pub fn store_together(
        &mut self,
        warp: usize,
        requests: &Requests<'_>,
        data: &[[u8; WIDEST]; LANES],
    ) -> Result<bool> {
        let (me, bytes) = (self.me(warp, 0, false), requests.bytes);
        let Some(place) = self.place(warp, requests, true) else { return Ok(false) };
        let mut fault = None;
        for lane in lanes(requests.mask) {
            let at = (requests.addresses[lane] - place.base) as usize;
            let (to, from) = (&mut place.bytes[at..at + bytes], &data[lane][..bytes]);
            if place.races {
                let same = place.written.all(at, bytes) && *to == *from;
                let deed = if same { Deed::SameWrite } else { Deed::Write };
                if let Some(other) = place.shadow.touch((at, bytes), deed, me.of_lane(lane), &place.observer)
                {
                    fault = Some((lane, deed, other));
                    break;
                }
            }
            to.copy_from_slice(from);
            place.written.set(at, bytes, true);
        }
        self.progress += 1;
        match fault {
            None => Ok(true),
            Some((lane, deed, other)) => Err(self.race(&requests.one(lane), deed, other)),
        }
    }
}
