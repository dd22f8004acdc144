//! Names of special registers.

use super::Special;

/// The value behind a special register that does not change while a kernel runs.
pub fn special(name: &str) -> Option<Special> {
    let axis = |text: &str| match text {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    if let Some((register, part)) = name.split_once('.') {
        let axis = axis(part)?;
        return match register {
            "%tid" => Some(Special::Tid(axis)),
            "%ntid" => Some(Special::Ntid(axis)),
            "%ctaid" => Some(Special::Ctaid(axis)),
            "%nctaid" => Some(Special::Nctaid(axis)),
            _ => None,
        };
    }
    Some(match name {
        "%laneid" => Special::Lane,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::WarpCount,
        "%lanemask_eq" => Special::MaskEq,
        "%lanemask_le" => Special::MaskLe,
        "%lanemask_lt" => Special::MaskLt,
        "%lanemask_ge" => Special::MaskGe,
        "%lanemask_gt" => Special::MaskGt,
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" => Special::TotalShared,
        "WARP_SZ" => Special::Word(32),
        "%smid" => Special::Word(0),
        "%nsmid" => Special::Multiprocessors,
        "%gridid" => Special::Word(0),
        _ => return None,
    })
}

/// Clocks: (64 bits, nanoseconds instead of instructions).
pub fn clock(name: &str) -> Option<(bool, bool)> {
    Some(match name {
        "%clock" => (false, false),
        "%clock64" => (true, false),
        "%globaltimer" => (true, true),
        "%globaltimer_lo" => (false, true),
        _ => return None,
    })
}
