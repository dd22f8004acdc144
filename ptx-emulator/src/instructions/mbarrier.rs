//! Mbarrier objects: initialise, arrive, announce bytes, wait.

use super::memory::address_of;
use super::moves::space;
use crate::execute::mbarrier::Phase;
use crate::execute::spaces::Request;
use crate::execute::warp::lanes;
use crate::parse::syntax::{Operand, Space};
use crate::parse::types::Type;
use crate::program::builder::{Address, Builder, Result};
use crate::program::{Access, Class};

/// The object that a lane names.
fn request(warp: &crate::execute::Warp, space: Space, address: Address, lane: usize) -> Request {
    Request { space, lane, address: address_of(warp, address, lane), bytes: 8 }
}

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    if b.ty()? != Type::B64 {
        return b.fail("expected .b64");
    }
    let Some(name) = b.modifiers.one_of(&["init", "inval", "arrive", "expect_tx", "try_wait", "test_wait"])
    else {
        return b.fail("not emulated");
    };
    let space = match space(b) {
        None => Space::Generic,
        Some(Space::Shared) => Space::Shared,
        Some(_) => return b.fail("an mbarrier object lies in shared memory"),
    };
    match name {
        "init" => init(b, space),
        "inval" => inval(b, space),
        "arrive" => arrive(b, space),
        "expect_tx" => expect(b, space),
        _ => wait(b, space, name == "try_wait"),
    }
}

fn init(b: &mut Builder<'_>, space: Space) -> Result<()> {
    b.count(2..=2)?;
    let ((address, _), count) = (b.address(0)?, b.src(1, Type::U32)?);
    let access: Access = Box::new(move |warp, block, mask| {
        for lane in lanes(mask) {
            let count = warp.registers.words[count][lane];
            block.make_mbarrier(warp, &request(warp, space, address, lane), count)?;
        }
        Ok(())
    });
    b.access(access, Class::Control)
}

fn inval(b: &mut Builder<'_>, space: Space) -> Result<()> {
    b.count(1..=1)?;
    let (address, _) = b.address(0)?;
    let access: Access = Box::new(move |warp, block, mask| {
        lanes(mask).try_for_each(|lane| block.end_mbarrier(warp, &request(warp, space, address, lane)))
    });
    b.access(access, Class::Control)
}

/// `arrive` and `arrive.expect_tx`: an operand more is a number of arrivals, or of bytes.
fn arrive(b: &mut Builder<'_>, space: Space) -> Result<()> {
    let announces = b.modifiers.flag("expect_tx");
    if announces {
        b.needs(90)?;
    }
    b.modifiers.drop_all(&["release", "cta"]);
    let count = b.count(if announces { 3..=3 } else { 2..=3 })?;
    let (address, _) = b.address(1)?;
    let number = if count == 3 { Some(b.src(2, Type::U32)?) } else { None };
    let state = match b.operand(0)? {
        Operand::Name(name) if name == "_" => None,
        operand => Some(b.destination(operand, Type::B64)?),
    };
    let access: Access = Box::new(move |warp, block, mask| {
        for lane in lanes(mask) {
            let request = request(warp, space, address, lane);
            let number = number.map_or(1, |register| warp.registers.words[register][lane]);
            let found = if announces {
                block.expect_bytes(warp, &request, number)?;
                block.arrive_mbarrier(warp, &request, 1)?
            } else {
                block.arrive_mbarrier(warp, &request, number)?
            };
            if let Some(state) = state {
                warp.registers.wides[state][lane] = found;
            }
        }
        Ok(())
    });
    b.access(access, Class::Control)
}

fn expect(b: &mut Builder<'_>, space: Space) -> Result<()> {
    b.needs(90)?;
    b.modifiers.drop_all(&["relaxed", "cta"]);
    b.count(2..=2)?;
    let ((address, _), bytes) = (b.address(0)?, b.src(1, Type::U32)?);
    let access: Access = Box::new(move |warp, block, mask| {
        for lane in lanes(mask) {
            let bytes = warp.registers.words[bytes][lane];
            block.expect_bytes(warp, &request(warp, space, address, lane), bytes)?;
        }
        Ok(())
    });
    b.access(access, Class::Control)
}

/// `try_wait` and `test_wait`: the lanes for which the phase is not over let others run before they go on.
fn wait(b: &mut Builder<'_>, space: Space, may_wait: bool) -> Result<()> {
    if may_wait {
        b.needs(90)?;
    }
    let parity = b.modifiers.flag("parity");
    b.modifiers.drop_all(&["acquire", "cta"]);
    let count = b.count(if may_wait { 3..=4 } else { 3..=3 })?;
    if count == 4 {
        // How long to wait at most: ours comes back at once.
        b.src(3, Type::U32)?;
    }
    let operand = b.operand(0)?;
    let result = b.predicate_destination(operand)?;
    let (address, _) = b.address(1)?;
    let phase = b.src(2, if parity { Type::U32 } else { Type::B64 })?;
    let access: Access = Box::new(move |warp, block, mask| {
        let mut over = 0;
        for lane in lanes(mask) {
            let request = request(warp, space, address, lane);
            let phase = match parity {
                true => Phase::Parity(warp.registers.words[phase][lane]),
                false => Phase::State(warp.registers.wides[phase][lane]),
            };
            over |= u32::from(block.wait_mbarrier(warp, &request, phase)?) << lane;
        }
        warp.registers.store_predicate(result, mask, over);
        warp.vain |= mask & !over;
        Ok(())
    });
    b.access(access, Class::Control)
}
