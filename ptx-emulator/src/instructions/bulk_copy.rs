//! `cp.async.bulk`: copies of stretches of memory and of tensors' boxes to shared memory, which arrive at an mbarrier.

use super::memory::address_of;
use super::moves::space;
use crate::error::{Fault, FindingKind};
use crate::execute::bulk::Source;
use crate::execute::spaces::Request;
use crate::execute::warp::lanes;
use crate::memory::Swizzle;
use crate::parse::syntax::Space;
use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};
use crate::program::{Access, Class};

/// Behind `cp.async.bulk`.
pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    b.needs(90)?;
    let tensor = b.modifiers.flag("tensor");
    let target = b.modifiers.one_of(&["shared::cluster", "shared::cta"]);
    if target.is_none() || !b.modifiers.flag("global") || !b.modifiers.flag("mbarrier::complete_tx::bytes") {
        return b.fail("expected .shared::cluster.global and .mbarrier::complete_tx::bytes");
    }
    if tensor { of_tensor(b) } else { of_stretch(b) }
}

fn shared(address: u64, lane: usize, bytes: usize) -> Request {
    Request { space: Space::Shared, lane, address, bytes }
}

fn of_stretch(b: &mut Builder<'_>) -> Result<()> {
    b.count(4..=4)?;
    let ((to, _), (from, _), size, (barrier, _)) =
        (b.address(0)?, b.address(1)?, b.src(2, Type::U32)?, b.address(3)?);
    let access: Access = Box::new(move |warp, block, mask| {
        for lane in lanes(mask) {
            let [to, from, barrier] = [to, from, barrier].map(|a| address_of(warp, a, lane));
            let bytes = warp.registers.words[size][lane] as usize;
            if bytes == 0 || !bytes.is_multiple_of(16) {
                let message = format!("{bytes} bytes cannot be copied, only multiples of 16");
                return Err(Fault::of(FindingKind::Operand, lane as u32, message));
            }
            if !from.is_multiple_of(16) {
                let message = "misaligned source of a bulk copy: it lies at a multiple of 16 bytes";
                return Err(Fault::at(FindingKind::Misaligned, lane as u32, from, message));
            }
            let source = Source::stretch(from, bytes);
            block.begin_copy(warp, &shared(to, lane, bytes), &shared(barrier, lane, 8), source)?;
        }
        Ok(())
    });
    b.access(access, Class::Copy)
}

fn of_tensor(b: &mut Builder<'_>) -> Result<()> {
    let Some(rank) = b.modifiers.one_of(&["1d", "2d", "3d", "4d", "5d"]) else {
        return b.fail("expected the number of dimensions");
    };
    let rank = usize::from(rank.as_bytes()[0] - b'0');
    b.modifiers.flag("tile");
    b.count(3..=3)?;
    let (to, _) = b.address(0)?;
    let (map, _, list) = b.tensor_address(1)?;
    let (barrier, _) = b.address(2)?;
    if list.len() != rank {
        return b.fail(format!("{} coordinates, expected {rank}", list.len()));
    }
    let mut coordinates = Vec::new();
    for operand in list {
        coordinates.push(b.source(operand, Type::S32)?);
    }
    let access: Access = Box::new(move |warp, block, mask| {
        for lane in lanes(mask) {
            let [to, map, barrier] = [to, map, barrier].map(|a| address_of(warp, a, lane));
            let fault = |message| Err(Fault::at(FindingKind::Operand, lane as u32, map, message));
            let tensor = block.tensor_map(lane, map)?;
            if tensor.dimensions.len() != rank {
                return fault(format!("the tensor map has {} dimensions", tensor.dimensions.len()));
            }
            let (row, span) = (tensor.row_bytes(), tensor.swizzle.span());
            if tensor.swizzle != Swizzle::None && row != span {
                return fault(format!(
                    "a box whose rows have {row} bytes, fewer than the {span} of its pattern, is not emulated"
                ));
            }
            let at: Vec<i64> =
                coordinates.iter().map(|&c| i64::from(warp.registers.words[c][lane] as i32)).collect();
            let source = Source::of_tensor(&tensor, &at);
            let target = shared(to, lane, source.bytes);
            block.begin_copy(warp, &target, &shared(barrier, lane, 8), source)?;
        }
        Ok(())
    });
    b.access(access, Class::Copy)
}

/// `prefetch.tensormap`: nothing but a look at the map.
pub(super) fn prefetch(b: &mut Builder<'_>) -> Result<()> {
    b.needs(90)?;
    let param = space(b) == Some(Space::Param);
    b.count(1..=1)?;
    let (address, variable) = b.address(0)?;
    // The name of a parameter stands for its place among the parameters.
    let base = if param || variable == Some(Space::Param) { crate::memory::PARAM_BASE } else { 0 };
    let access: Access = Box::new(move |warp, block, mask| {
        lanes(mask)
            .try_for_each(|lane| block.tensor_map(lane, base + address_of(warp, address, lane)).map(drop))
    });
    b.access(access, Class::Copy)
}
