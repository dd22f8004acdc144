//! Mbarrier objects: phases that end when all arrivals and all announced bytes have come. An arrival tells what its warp
//! did, a successful wait learns it. Copies that signal an object are performed when a wait needs them and not before.

use super::block::Block;
use super::bulk::Copy;
use super::clocks::{AGENTS, COPIERS, Known, join};
use super::spaces::{Request, out_of_bounds, resolve};
use super::warp::Warp;
use crate::error::{Fault, FindingKind};
use crate::memory::shadow::{Access, Deed};
use crate::parse::syntax::Space;
use std::collections::{BTreeMap, VecDeque};

/// Bytes of an object; it lies at a multiple of them.
const BYTES: usize = 8;
/// Largest number of arrivals, or of announced bytes.
const MOST: i64 = (1 << 20) - 1;

type Result<T> = std::result::Result<T, Box<Fault>>;

/// An object that was initialised.
struct Mbarrier {
    expected: u32,
    pending: u32,
    /// Bytes announced and not arrived.
    bytes: i64,
    /// Phases that ended.
    phase: u32,
    /// Who initialised it.
    made: Access,
    /// What arrivals told, and what of it waits may learn.
    told: Known,
    learnt: Known,
    /// The agent that performs its copies.
    agent: usize,
    copies: VecDeque<Copy>,
}

impl Mbarrier {
    fn is_over(&self, parity: u32) -> bool {
        self.phase & 1 != parity
    }
}

/// All objects of a block.
#[derive(Default)]
pub(crate) struct Mbarriers {
    objects: BTreeMap<u64, Mbarrier>,
    made: usize,
}

impl Mbarriers {
    /// Whether bytes belong to an object.
    #[inline]
    pub fn overlap(&self, at: u64, bytes: usize) -> bool {
        !self.objects.is_empty()
            && self.objects.range(at.saturating_sub(BYTES as u64 - 1)..at + bytes as u64).next().is_some()
    }

    /// Copies under way.
    pub fn copies(&self) -> impl Iterator<Item = &Copy> {
        self.objects.values().flat_map(|object| &object.copies)
    }

    /// The state of an object in words.
    fn describe(&self, at: u64) -> String {
        match self.objects.get(&at) {
            Some(o) => format!(
                "phase {}, {} of {} arrivals and {} bytes missing",
                o.phase, o.pending, o.expected, o.bytes
            ),
            None => "no object".into(),
        }
    }
}

/// A wait that was in vain.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    pub instruction: usize,
    pub lane: usize,
    at: u64,
    parity: u32,
}

/// What a wait asks for.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    /// The phase of this parity.
    Parity(u32),
    /// The phase in which an arrival gave this state.
    State(u64),
}

impl Block<'_> {
    /// The place of an object, where alignment and bounds are right.
    fn object_place(&self, request: &Request) -> Result<u64> {
        let (space, at) = resolve(request.space, request.address);
        if space != Space::Shared || self.shared.layout.find(at, BYTES).is_none() {
            let place = self.shared.layout.describe(at);
            return Err(out_of_bounds(
                request,
                format!("(an mbarrier object lies in shared memory), {place}"),
            ));
        }
        if !at.is_multiple_of(BYTES as u64) {
            let message = "misaligned mbarrier object: it lies at a multiple of 8 bytes";
            return Err(Fault::at(FindingKind::Misaligned, request.lane as u32, request.address, message));
        }
        Ok(at)
    }

    fn misuse(request: &Request, message: impl Into<String>) -> Box<Fault> {
        Fault::at(FindingKind::Barrier, request.lane as u32, request.address, message)
    }

    /// The object that a thread names; making it must be ordered before this.
    fn object(&mut self, warp: &Warp, request: &Request) -> Result<u64> {
        let at = self.object_place(request)?;
        let Some(object) = self.mbarriers.objects.get(&at) else {
            return Err(Self::misuse(request, "no mbarrier object was initialised here"));
        };
        let made = object.made;
        let own = made.thread() as usize == warp.index * 32 + request.lane;
        let races = self.options.races && !self.clocks.exhausted;
        if races && !own && !self.observer(warp.index).ordered(made) {
            let message = format!(
                "race: uses an mbarrier object that {} initialises, and no barrier is between",
                self.describe_access(made)
            );
            return Err(Fault::at(FindingKind::Race, request.lane as u32, request.address, message));
        }
        Ok(at)
    }

    /// `mbarrier.init`
    pub fn make_mbarrier(&mut self, warp: &Warp, request: &Request, count: u32) -> Result<()> {
        let at = self.object_place(request)?;
        if !(1..=MOST).contains(&i64::from(count)) {
            return Err(Self::misuse(request, format!("{count} arrivals, 1 to {MOST} are possible")));
        }
        if self.mbarriers.overlap(at, BYTES) {
            return Err(Self::misuse(request, "an mbarrier object is here already: mbarrier.inval ends it"));
        }
        self.touch(warp, request, Deed::Write, (Space::Shared, at))?;
        self.shared.written.set(at as usize, BYTES, false);
        let agent = COPIERS + self.mbarriers.made % (AGENTS - COPIERS);
        self.mbarriers.made += 1;
        let made = self.me(warp.index, request.lane, false);
        let object = Mbarrier {
            expected: count,
            pending: count,
            bytes: 0,
            phase: 0,
            made,
            told: [0; 64],
            learnt: [0; 64],
            agent,
            copies: VecDeque::new(),
        };
        self.mbarriers.objects.insert(at, object);
        self.progress += 1;
        Ok(())
    }

    /// `mbarrier.inval`
    pub fn end_mbarrier(&mut self, warp: &Warp, request: &Request) -> Result<()> {
        let at = self.object(warp, request)?;
        if self.mbarriers.objects.remove(&at).is_some_and(|object| !object.copies.is_empty()) {
            return Err(Self::misuse(request, "ends an mbarrier object for which copies are under way"));
        }
        self.touch(warp, request, Deed::Write, (Space::Shared, at))?;
        self.progress += 1;
        Ok(())
    }

    /// Announces bytes (`expect_tx`).
    pub fn expect_bytes(&mut self, warp: &Warp, request: &Request, bytes: u32) -> Result<()> {
        let at = self.object(warp, request)?;
        if let Some(object) = self.mbarriers.objects.get_mut(&at) {
            object.bytes += i64::from(bytes);
            if object.bytes > MOST {
                let message = format!("{} bytes announced, {MOST} are possible", object.bytes);
                return Err(Self::misuse(request, message));
            }
        }
        self.progress += 1;
        Ok(())
    }

    /// `mbarrier.arrive`; gives the state.
    pub fn arrive_mbarrier(&mut self, warp: &Warp, request: &Request, count: u32) -> Result<u64> {
        let at = self.object(warp, request)?;
        let Some(object) = self.mbarriers.objects.get_mut(&at) else { return Ok(0) };
        if count == 0 || count > object.pending {
            let (pending, expected) = (object.pending, object.expected);
            let message = format!("{count} arrivals, but {pending} of {expected} are missing in this phase");
            return Err(Self::misuse(request, message));
        }
        object.pending -= count;
        let state = u64::from(object.phase);
        self.clocks.release(warp.index, &mut object.told);
        self.progress += 1;
        self.end_phase(at);
        Ok(state)
    }

    /// Begins the next phase if nothing is missing.
    fn end_phase(&mut self, at: u64) {
        let Some(object) = self.mbarriers.objects.get_mut(&at) else { return };
        if object.pending == 0 && object.bytes == 0 {
            object.phase = object.phase.wrapping_add(1);
            object.pending = object.expected;
            join(&mut object.learnt, &object.told);
        }
    }

    /// Adds a copy that an object waits for. The asynchronous proxy must know the object.
    pub fn await_copy(&mut self, warp: &Warp, barrier: &Request, copy: Copy) -> Result<()> {
        let at = self.object(warp, barrier)?;
        let Some(made) = self.mbarriers.objects.get(&at).map(|object| object.made) else { return Ok(()) };
        let races = self.options.races && !self.clocks.exhausted;
        if races && !self.clocks.fenced(made, self.clocks.row(warp.index), true) {
            let line = self.line(made.instruction());
            let message = format!(
                "neither fence.mbarrier_init nor fence.proxy.async is between mbarrier.init at PTX line {line} and this copy"
            );
            return Err(Fault::at(FindingKind::MissingFence, barrier.lane as u32, barrier.address, message));
        }
        if let Some(object) = self.mbarriers.objects.get_mut(&at) {
            object.copies.push_back(copy);
        }
        self.progress += 1;
        Ok(())
    }

    /// Whether a phase is over; performs the copies that this needs.
    pub fn wait_mbarrier(&mut self, warp: &mut Warp, request: &Request, phase: Phase) -> Result<bool> {
        let at = self.object(warp, request)?;
        let parity = match phase {
            Phase::Parity(parity) => parity & 1,
            Phase::State(state) => state as u32 & 1,
        };
        let Some(object) = self.mbarriers.objects.get(&at) else { return Ok(false) };
        if !object.is_over(parity) {
            self.fetch(request, at)?;
        }
        let Some(object) = self.mbarriers.objects.get(&at) else { return Ok(false) };
        if object.is_over(parity) {
            self.clocks.acquire(warp.index, &object.learnt);
            warp.wait = None;
            self.progress += 1;
            return Ok(true);
        }
        warp.wait = Some(Waiting { instruction: self.instruction, lane: request.lane, at, parity });
        Ok(false)
    }

    /// Performs the copies of an object if its phase then ends.
    fn fetch(&mut self, request: &Request, at: u64) -> Result<()> {
        let Some(object) = self.mbarriers.objects.get_mut(&at) else { return Ok(()) };
        let under_way: i64 = object.copies.iter().map(|copy| copy.bytes as i64).sum();
        if object.pending > 0 || object.bytes <= 0 || under_way < object.bytes {
            return Ok(());
        }
        let mut arrived = Vec::new();
        while object.bytes > 0 {
            let Some(copy) = object.copies.pop_front() else { break };
            object.bytes -= copy.bytes as i64;
            arrived.push(copy);
        }
        if object.bytes < 0 {
            let message = format!("{} bytes more arrive in this phase than were announced", -object.bytes);
            return Err(Self::misuse(request, message));
        }
        let agent = object.agent;
        let clock = self.clocks.tick_agent(agent);
        let told = &mut object.told[32 + agent];
        *told = (*told).max(clock);
        for copy in arrived {
            self.deliver(request, &copy, agent, clock)?;
        }
        self.end_phase(at);
        Ok(())
    }

    /// All waits in vain, in words.
    pub fn waits(&self, warps: &[Warp]) -> String {
        let alive = warps.iter().filter(|warp| warp.alive != 0);
        let waits = alive.filter_map(|warp| Some((warp, warp.wait?)));
        let words = waits.map(|(warp, wait)| {
            let state = self.mbarriers.describe(wait.at);
            let line = self.line(wait.instruction);
            let (index, at, parity) = (warp.index, wait.at, wait.parity);
            format!(
                "warp {index} at PTX line {line} for parity {parity} of the mbarrier at {at:#x} ({state})"
            )
        });
        words.collect::<Vec<_>>().join("; ")
    }
}
