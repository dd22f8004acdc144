//! Barriers, fences, the end of a thread.

use super::lanes::Compute;
use crate::parse::syntax::Operand;
use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};
use crate::program::{Access, BarrierKind, Class, Step};

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let name = b.modifiers.name.clone();
    match name.as_str() {
        "exit" => b.push(Step::Exit, Class::Control, 0),
        "trap" | "brkpt" => b.push(Step::Trap, Class::Control, 0),
        "nanosleep" => {
            let ty = b.ty()?;
            b.src(0, ty)?;
            let nothing: Compute = Box::new(|_, _| {});
            b.compute(nothing, Class::Control, 0)
        }
        "fence" if b.modifiers.flag("proxy") => {
            b.needs(90)?;
            if !b.modifiers.flag("async") {
                return b.fail("only .proxy.async is emulated");
            }
            // Of shared memory alone is known which proxy writes.
            let elsewhere = b.modifiers.flag("global");
            b.modifiers.one_of(&["shared::cta", "shared::cluster"]);
            fence(b, (!elsewhere).then_some(true))
        }
        "fence" if b.modifiers.flag("mbarrier_init") => {
            b.needs(90)?;
            if !b.modifiers.flag("release") || !b.modifiers.flag("cluster") {
                return b.fail("expected .release.cluster");
            }
            fence(b, Some(false))
        }
        "membar" | "fence" => {
            let block_only = b.modifiers.flag("cta");
            b.modifiers.drop_all(&["gl", "gpu", "sys", "sc", "acq_rel"]);
            let access: Access = Box::new(move |_, block, _| {
                block.fenced |= !block_only;
                Ok(())
            });
            b.access(access, Class::Control)
        }
        _ => barrier(b, name == "bar"),
    }
}

/// A fence of the asynchronous proxy, or of the making of mbarriers.
fn fence(b: &mut Builder<'_>, proxy: Option<bool>) -> Result<()> {
    b.count(0..=0)?;
    let access: Access = Box::new(move |warp, block, mask| {
        if let Some(proxy) = proxy {
            block.clocks.fence(warp.index, mask, proxy);
        }
        Ok(())
    });
    b.access(access, Class::Control)
}

fn barrier(b: &mut Builder<'_>, short: bool) -> Result<()> {
    if b.modifiers.flag("warp") {
        if !b.modifiers.flag("sync") {
            return b.fail("expected .sync");
        }
        let members = b.src(0, Type::B32)?;
        let action: Access = Box::new(|warp, block, mask| {
            // A barrier of some lanes orders nothing for the others: the clock ticks for whole warps only.
            if mask == warp.alive {
                block.clocks.warp_barrier(warp.index);
            }
            Ok(())
        });
        return b.push(Step::Collective { members: Some(members), action }, Class::Control, 0);
    }
    let types = b.modifiers.types();
    b.modifiers.flag("cta");
    let aligned = b.modifiers.flag("aligned") || short;
    let Some(mode) = b.modifiers.one_of(&["sync", "arrive", "red"]) else { return b.fail("expected a mode") };
    let count = b.count(1..=4)?;
    let (kind, id, threads) = match mode {
        "sync" => (BarrierKind::Sync, 0, (count > 1).then_some(1)),
        "arrive" => (BarrierKind::Arrive, 0, (count > 1).then_some(1)),
        _ => {
            b.count(3..=4)?;
            let operand = b.operand(count - 1)?;
            let (predicate, negated) = b.predicate(operand)?;
            let operand = b.operand(0)?;
            let popc = types == [Type::U32];
            let destination = if popc {
                b.destination(operand, Type::U32)?
            } else {
                match operand {
                    Operand::Name(_) => b.predicate_destination(operand)?,
                    _ => return b.fail("expected a predicate"),
                }
            };
            let kind = match b.modifiers.one_of(&["popc", "and", "or"]) {
                Some("popc") if popc => BarrierKind::Popc { destination, predicate, negated },
                Some("and") => BarrierKind::And { destination, predicate, negated },
                Some("or") => BarrierKind::Or { destination, predicate, negated },
                _ => return b.fail("expected .popc, .and or .or"),
            };
            (kind, 1, (count > 3).then_some(2))
        }
    };
    let id = b.src(id, Type::U32)?;
    let count = match threads {
        Some(index) => Some(b.src(index, Type::U32)?),
        None => None,
    };
    b.push(Step::Barrier { id, count, kind, aligned }, Class::Control, 0)
}
