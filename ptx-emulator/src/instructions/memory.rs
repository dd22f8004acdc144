//! Loads and stores.

use super::lanes::LANES;
use super::moves::space;
use crate::error::Fault;
use crate::execute::requests::Requests;
use crate::execute::spaces::{WIDEST, resolve};
use crate::execute::warp::lanes;
use crate::execute::{Block, Warp};
use crate::parse::syntax::Space;
use crate::parse::types::Type;
use crate::program::builder::{Address, Builder, Register, Result};
use crate::program::{Access, Class};

/// Modifiers about caches and ordering: they change nothing that we can see.
const CACHE: [&str; 28] = [
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "nc",
    "volatile",
    "relaxed",
    "acquire",
    "release",
    "weak",
    "cta",
    "gpu",
    "sys",
    "L1::evict_first",
    "L1::evict_last",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "L2::evict_first",
    "L2::evict_last",
    "L2::evict_normal",
    "L2",
];

/// The address of a lane.
#[inline(always)]
pub(super) fn address_of(warp: &Warp, address: Address, lane: usize) -> u64 {
    warp.registers.lane(address.wide, address.index, lane).wrapping_add_signed(address.offset)
}

/// The addresses of all lanes; those of lanes that are not active mean nothing.
#[inline]
fn addresses(warp: &Warp, address: Address) -> [u64; LANES] {
    let (offset, mut all) = (address.offset, [0; LANES]);
    if address.wide {
        let base = &warp.registers.wides[address.index];
        for lane in 0..LANES {
            all[lane] = base[lane].wrapping_add_signed(offset);
        }
    } else {
        let base = &warp.registers.words[address.index];
        for lane in 0..LANES {
            all[lane] = u64::from(base[lane]).wrapping_add_signed(offset);
        }
    }
    all
}

/// Notes a request's traffic.
pub(super) fn count(
    block: &mut Block<'_>,
    warp: &Warp,
    address: Address,
    space: Space,
    bytes: usize,
    kind: (u32, bool),
) {
    if !block.options.traffic {
        return;
    }
    let (mask, store) = kind;
    let mut all = [0; LANES];
    let mut n = 0;
    for lane in lanes(mask) {
        all[n] = address_of(warp, address, lane);
        n += 1;
    }
    // A generic request goes where its first lane goes.
    match resolve(space, all[0]).0 {
        Space::Global if space != Space::Const => {
            block.counters.global(all[..n].iter().copied(), bytes, store)
        }
        Space::Shared => block.counters.banks(&all[..n], bytes),
        _ => {}
    }
}

pub(super) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let name = b.modifiers.name.clone();
    if name == "prefetch" && b.modifiers.flag("tensormap") {
        return super::bulk_copy::prefetch(b);
    }
    if name.starts_with("prefetch") {
        space(b);
        b.modifiers.drop_all(&["L1", "L2"]);
        let access: Access = Box::new(|_, _, _| Ok(()));
        return b.access(access, Class::Memory);
    }
    let ty = b.ty()?;
    let count = match b.modifiers.one_of(&["v2", "v4"]) {
        None => 1,
        Some("v2") => 2,
        Some(_) => 4,
    };
    let named = space(b);
    b.modifiers.drop_all(&CACHE);
    b.count(2..=2)?;
    if ty.bytes() == 0 || ty.bytes() * count > WIDEST {
        return b.fail("wider than 16 bytes");
    }
    let store = name == "st";
    let (address, variable) = b.address(usize::from(!store))?;
    // Parameters of calls lie in local memory, kernel parameters in their own.
    let space = match (named, variable) {
        (Some(Space::Param), Some(found)) => found,
        (Some(space), _) => space,
        (None, Some(found)) => found,
        (None, None) => Space::Generic,
    };
    let class = if space == Space::Shared { Class::Shared } else { Class::Memory };
    let elements = b.elements(usize::from(store))?;
    if elements.len() != count {
        return b.fail(format!("{} registers, expected {count}", elements.len()));
    }
    let mut registers = Vec::new();
    for operand in elements {
        registers.push(if store { b.any_source(operand, ty)? } else { b.any_destination(operand, ty)? });
    }
    let access =
        if store { storer(space, address, ty, registers) } else { loader(space, address, ty, registers) };
    b.access(access, class)
}

fn loader(space: Space, address: Address, ty: Type, registers: Vec<Register>) -> Access {
    let word = ty.bytes() == 4 && registers.iter().all(|r| r.bits == 32);
    let indices = registers.iter().map(|r| r.index).collect::<Vec<_>>();
    match indices[..] {
        [a] if word => words(space, address, [a]),
        [a, b] if word => words(space, address, [a, b]),
        [a, b, c, d] if word => words(space, address, [a, b, c, d]),
        _ => values(space, address, ty, registers),
    }
}

/// Loads of 32-bit values, the most frequent ones.
fn words<const N: usize>(space: Space, address: Address, registers: [usize; N]) -> Access {
    let total = 4 * N;
    Box::new(move |warp, block, mask| {
        count(block, warp, address, space, total, (mask, false));
        let places = addresses(warp, address);
        let own = &mut warp.registers.words;
        let put = |lane: usize, bytes: &[u8]| {
            for (i, &register) in registers.iter().enumerate() {
                let b = &bytes[4 * i..4 * i + 4];
                own[register][lane] = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        };
        let requests = Requests::new(space, &places, mask, total);
        if block.load_together(warp.index, &requests, put)? {
            return Ok(());
        }
        let data = one_by_one(warp, block, &requests, mask)?;
        for (i, &register) in registers.iter().enumerate() {
            let mut out = [0; LANES];
            for lane in 0..LANES {
                let d = &data[lane][4 * i..4 * i + 4];
                out[lane] = u32::from_le_bytes([d[0], d[1], d[2], d[3]]);
            }
            warp.registers.store(register, mask, &out);
        }
        Ok(())
    })
}

/// What each lane reads, by a request of its own; one place for all is read for all.
fn one_by_one(
    warp: &Warp,
    block: &mut Block<'_>,
    requests: &Requests<'_>,
    mask: u32,
) -> std::result::Result<[[u8; WIDEST]; LANES], Box<Fault>> {
    let mut data = [[0; WIDEST]; LANES];
    if requests.uniform() {
        // Two readers are enough for whoever writes it without a barrier to be found.
        for lane in lanes(mask).take(2) {
            block.load(warp, &requests.one(lane), &mut data[0])?;
        }
        return Ok([data[0]; LANES]);
    }
    for lane in lanes(mask) {
        block.load(warp, &requests.one(lane), &mut data[lane])?;
    }
    Ok(data)
}

/// Loads of any type.
fn values(space: Space, address: Address, ty: Type, registers: Vec<Register>) -> Access {
    let (element, total) = (ty.bytes(), ty.bytes() * registers.len());
    Box::new(move |warp, block, mask| {
        count(block, warp, address, space, total, (mask, false));
        let places = addresses(warp, address);
        let requests = Requests::new(space, &places, mask, total);
        let mut data = [[0; WIDEST]; LANES];
        let put = |lane: usize, bytes: &[u8]| data[lane][..total].copy_from_slice(bytes);
        if !block.load_together(warp.index, &requests, put)? {
            data = one_by_one(warp, block, &requests, mask)?;
        }
        for (i, register) in registers.iter().enumerate() {
            for lane in lanes(mask) {
                let mut own = [0; 8];
                own[..element].copy_from_slice(&data[lane][i * element..(i + 1) * element]);
                let mut value = u64::from_le_bytes(own);
                if ty.signed() {
                    let shift = 64 - element as u32 * 8;
                    value = ((value << shift) as i64 >> shift) as u64;
                }
                match register.bits {
                    64 => warp.registers.wides[register.index][lane] = value,
                    16 => warp.registers.words[register.index][lane] = value as u32 & 0xffff,
                    _ => warp.registers.words[register.index][lane] = value as u32,
                }
            }
        }
        Ok(())
    })
}

fn storer(space: Space, address: Address, ty: Type, registers: Vec<Register>) -> Access {
    let (element, total) = (ty.bytes(), ty.bytes() * registers.len());
    Box::new(move |warp, block, mask| {
        count(block, warp, address, space, total, (mask, true));
        let mut data = [[0; WIDEST]; LANES];
        for (i, register) in registers.iter().enumerate() {
            for lane in lanes(mask) {
                let value = warp.registers.lane(register.bits == 64, register.index, lane);
                data[lane][i * element..(i + 1) * element].copy_from_slice(&value.to_le_bytes()[..element]);
            }
        }
        let places = addresses(warp, address);
        let requests = Requests::new(space, &places, mask, total);
        if block.store_together(warp.index, &requests, &data)? {
            return Ok(());
        }
        for lane in lanes(mask) {
            block.store(warp, &requests.one(lane), &data[lane])?;
        }
        Ok(())
    })
}

/// Copies a parameter of a call within local memory.
pub(crate) fn copy_local(from: usize, to: usize, bytes: usize) -> Access {
    Box::new(move |warp, block, mask| {
        let stride = block.program.local.end;
        for lane in lanes(mask) {
            let (from, to) = (lane * stride + from, lane * stride + to);
            warp.local.copy_within(from..from + bytes, to);
            for i in 0..bytes {
                let written = warp.local_written.all(from + i, 1);
                warp.local_written.set(to + i, 1, written);
            }
        }
        Ok(())
    })
}
