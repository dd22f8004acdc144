//! `cp.async`: performed when it is waited for and not before, so that a missing wait reads nothing.

use super::memory::{address_of, count};
use crate::error::{Fault, FindingKind};
use crate::execute::spaces::{Request, WIDEST};
use crate::execute::warp::lanes;
use crate::execute::{Block, Warp};
use crate::parse::syntax::{Operand, Space};
use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};
use crate::program::{Access, Class};
use std::collections::VecDeque;

/// One copy of one lane.
#[derive(Clone, Copy)]
struct Copy {
    to: u64,
    from: u64,
    bytes: usize,
    /// Bytes to read; the rest becomes zero.
    read: usize,
    /// The instruction that began it: races are told with its line.
    instruction: usize,
}

/// Copies of one lane that have not been waited for.
#[derive(Default, Clone)]
struct Lane {
    open: Vec<Copy>,
    groups: VecDeque<Vec<Copy>>,
}

/// Copies of a warp.
#[derive(Clone)]
pub(crate) struct Copies {
    lanes: Vec<Lane>,
}

impl Default for Copies {
    fn default() -> Self {
        Self { lanes: vec![Lane::default(); super::lanes::LANES] }
    }
}

impl Copies {
    /// Forgets all copies.
    pub fn clear(&mut self) {
        for lane in &mut self.lanes {
            lane.open.clear();
            lane.groups.clear();
        }
    }
}

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    if !b.modifiers.flag("async") {
        return b.fail("unknown opcode");
    }
    if b.modifiers.flag("bulk") {
        return super::bulk_copy::decode(b);
    }
    if b.modifiers.flag("commit_group") {
        b.count(0..=0)?;
        let access: Access = Box::new(|warp, _, mask| {
            for lane in lanes(mask) {
                let lane = &mut warp.copies.lanes[lane];
                let group = std::mem::take(&mut lane.open);
                lane.groups.push_back(group);
            }
            Ok(())
        });
        return b.access(access, Class::Copy);
    }
    if b.modifiers.flag("wait_all") {
        b.count(0..=0)?;
        let access: Access = Box::new(|warp, block, mask| {
            for lane in lanes(mask) {
                let own = &mut warp.copies.lanes[lane];
                let mut all: Vec<Copy> = own.groups.drain(..).flatten().collect();
                all.append(&mut own.open);
                perform(warp, block, lane, &all)?;
            }
            Ok(())
        });
        return b.access(access, Class::Copy);
    }
    if b.modifiers.flag("wait_group") {
        b.count(1..=1)?;
        let Operand::Integer(left) = *b.operand(0)? else { return b.fail("expected a number") };
        let access: Access = Box::new(move |warp, block, mask| {
            for lane in lanes(mask) {
                while warp.copies.lanes[lane].groups.len() > left as usize {
                    let group = warp.copies.lanes[lane].groups.pop_front().unwrap_or_default();
                    perform(warp, block, lane, &group)?;
                }
            }
            Ok(())
        });
        return b.access(access, Class::Copy);
    }
    issue(b)
}

fn issue(b: &mut Builder<'_>) -> Result<()> {
    let Some(cache) = b.modifiers.one_of(&["ca", "cg"]) else { return b.fail("expected .ca or .cg") };
    if !(b.modifiers.flag("shared") || b.modifiers.flag("shared::cta")) || !b.modifiers.flag("global") {
        return b.fail("expected .shared.global");
    }
    b.modifiers.drop_all(&["L2::64B", "L2::128B", "L2::256B"]);
    let operands = b.count(3..=4)?;
    let (to, _) = b.address(0)?;
    let (from, _) = b.address(1)?;
    let Operand::Integer(bytes) = *b.operand(2)? else { return b.fail("expected a number of bytes") };
    if !(bytes == 16 || cache == "ca" && (bytes == 4 || bytes == 8)) {
        return b.fail(format!("{bytes} bytes cannot be copied"));
    }
    let bytes = bytes as usize;
    let size = if operands == 4 { Some(b.src(3, Type::U32)?) } else { None };
    let access: Access = Box::new(move |warp, block, mask| {
        let reads = lanes(mask).fold(0, |all, lane| {
            let read = size.is_none_or(|size| warp.registers.words[size][lane] > 0);
            all | u32::from(read) << lane
        });
        if reads != 0 {
            count(block, warp, from, Space::Global, bytes, (reads, false));
        }
        count(block, warp, to, Space::Shared, bytes, (mask, true));
        for lane in lanes(mask) {
            let read = size.map_or(bytes, |size| (warp.registers.words[size][lane] as usize).min(bytes));
            let copy = Copy {
                to: address_of(warp, to, lane),
                from: address_of(warp, from, lane),
                bytes,
                read,
                instruction: block.instruction,
            };
            let request = Request { space: Space::Shared, lane, address: copy.to, bytes };
            block.reserve_shared(warp, &request)?;
            if read > 0 {
                if !copy.from.is_multiple_of(bytes as u64) {
                    let message = format!("misaligned copy of {bytes} bytes");
                    return Err(Fault::at(FindingKind::Misaligned, lane as u32, copy.from, message));
                }
                // The source must be there now, not only when waiting.
                let request = Request { space: Space::Global, lane, address: copy.from, bytes: read };
                block.load(warp, &request, &mut [0; WIDEST])?;
            }
            warp.copies.lanes[lane].open.push(copy);
        }
        Ok(())
    });
    b.access(access, Class::Copy)
}

fn perform(
    warp: &mut Warp,
    block: &mut Block<'_>,
    lane: usize,
    copies: &[Copy],
) -> std::result::Result<(), Box<Fault>> {
    let now = block.instruction;
    for copy in copies {
        block.instruction = copy.instruction;
        let mut data = [0; WIDEST];
        if copy.read > 0 {
            let request = Request { space: Space::Global, lane, address: copy.from, bytes: copy.read };
            block.load(warp, &request, &mut data)?;
        }
        block.store(
            warp,
            &Request { space: Space::Shared, lane, address: copy.to, bytes: copy.bytes },
            &data,
        )?;
    }
    block.instruction = now;
    Ok(())
}
