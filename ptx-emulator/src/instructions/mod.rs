//! What each opcode does. A family of opcodes is one file: it reads modifiers and operands and makes a closure.

pub(crate) mod async_copy;
mod atomic;
mod bits;
mod bulk_copy;
mod compare;
mod control;
mod convert;
mod float;
mod half;
mod integer;
pub(crate) mod lanes;
mod matrix;
mod mbarrier;
pub(crate) mod memory;
mod moves;
pub(crate) mod numbers;
pub(crate) mod product;
mod vector;
mod warp;
mod wgmma;

use crate::parse::types::Type;
use crate::program::builder::{Builder, Result};

/// Makes the instructions of the builder's statement.
pub(crate) fn decode(b: &mut Builder<'_>) -> Result<()> {
    let name = b.modifiers.name.clone();
    match name.as_str() {
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "abs" | "neg" => {
            arithmetic(b)
        }
        "mul24" | "mad24" | "sad" => {
            let ty = b.ty()?;
            integer::decode(b, ty)
        }
        "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" | "copysign" => {
            let ty = b.ty()?;
            match ty {
                Type::F32 | Type::F64 => float::decode(b, ty),
                _ => half::decode(b, ty),
            }
        }
        "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf" | "bfe" | "bfi" | "bfind" | "popc"
        | "clz" | "brev" | "prmt" | "lop3" => bits::decode(b),
        "cvt" => convert::decode(b),
        "setp" | "set" | "selp" | "slct" | "testp" => compare::decode(b),
        "mov" | "cvta" | "isspacep" => moves::decode(b),
        "ld" | "ldu" | "st" | "prefetch" | "prefetchu" => memory::decode(b),
        "atom" | "red" => atomic::decode(b),
        "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" => warp::decode(b),
        "mma" | "ldmatrix" => matrix::decode(b),
        "mbarrier" => mbarrier::decode(b),
        "wgmma" => wgmma::decode(b),
        "setmaxnreg" => wgmma::registers(b),
        "cp" => async_copy::decode(b),
        "bar" | "barrier" | "membar" | "fence" | "exit" | "trap" | "brkpt" | "nanosleep" => {
            control::decode(b)
        }
        _ => b.fail("unknown opcode"),
    }
}

fn arithmetic(b: &mut Builder<'_>) -> Result<()> {
    let ty = b.ty()?;
    match ty {
        Type::F32 | Type::F64 => float::decode(b, ty),
        Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => half::decode(b, ty),
        _ => integer::decode(b, ty),
    }
}
