//! `cargo xtask ptx`: makes the PTX in `kernels/ptx` from the CUDA kernels. `cargo xtask cuda`: says what can be said of
//! their performance without a card. `cargo xtask trust`: runs the tests of trust and writes their table.
//!
//! ```text
//! cargo xtask ptx               compile what has changed, write the PTX
//! cargo xtask ptx --check       compile everything; fail where the PTX in the repository differs, where a kernel spills
//!                               registers or uses more of them than `xtask/registers.txt` says
//! cargo xtask ptx --resources   registers, shared memory and occupancy of every kernel as a table
//! cargo xtask ptx --registers   what `xtask/registers.txt` is to hold
//! cargo xtask cuda              renew the tables of `docs/cuda.md`: assembler, disassembler, emulator, bounds on paper
//! cargo xtask trust [--long] [TEST…]   run the tests of trust, renew the tables of `docs/trust.md`
//! cargo xtask coverage [SECONDS]       what fuzzing reaches of each reader, into the same page [60 seconds each]
//! ```
//!
//! The compiler is NVRTC from one pinned Python wheel, found in `$GENESIS_NVRTC` (a folder with `libnvrtc.so.12`)
//! or fetched by pip into the target folder, its hash checked. Nothing else in the repository needs it. `cargo xtask cuda`
//! wants the disassembler too, likewise ($GENESIS_NVDISASM, or one pinned wheel); without it that table is left out, aloud.

mod coverage;
mod cuda;
mod nvrtc;
mod ptx;
mod resources;
mod roofline;
mod sass;
mod sources;
mod trust;
mod wheel;

/// The registry's table of kernels, which has no dependencies; the PTX beside it need not exist yet.
#[path = "../../kernels/src/cuda/table.rs"]
#[allow(dead_code, reason = "the kernels crate uses the rest")]
mod table;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask ptx [--check | --resources | --registers]\n       cargo xtask cuda\n       cargo xtask trust [--long] [TEST…]\n       \
     cargo xtask coverage [SECONDS]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["ptx"] => ptx::write(),
        ["ptx", "--check"] => ptx::check().and_then(|()| resources::check()),
        ["ptx", "--resources"] => resources::print(),
        ["ptx", "--registers"] => resources::record(),
        ["cuda"] => cuda::run(),
        ["trust", "--long", ref names @ ..] => trust::run(true, names),
        ["trust", ref names @ ..] if names.iter().all(|name| !name.starts_with('-')) => {
            trust::run(false, names)
        }
        ["coverage"] => coverage::run(60),
        ["coverage", seconds] => {
            seconds.parse().map_err(|_| format!("{seconds}: not a number of seconds")).and_then(coverage::run)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("error: {cause}");
            ExitCode::FAILURE
        }
    }
}

/// Errors are for people: one line.
type Result<T> = std::result::Result<T, String>;
