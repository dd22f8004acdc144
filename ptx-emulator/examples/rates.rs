//! How fast the emulator is on this computer, with and without checks: `cargo run -p ptx-emulator --example rates`, or with
//! one of `gemm`, `warpgroups` and `conv` behind it.

use ptx_emulator::{
    Argument, Capability, Counters, Grid, Memory, Module, Options, Swizzle, TensorMap, TensorType,
};
use std::error::Error;
use std::time::Instant;

type Run = fn(&Options) -> Result<Counters, Box<dyn Error>>;

const SIZES: [usize; 3] = [512, 512, 256];

fn matrices(memory: &mut Memory) -> Result<[u64; 3], Box<dyn Error>> {
    let [m, n, k] = SIZES;
    let (a, b) = (memory.upload(&vec![0x3f80u16; m * k])?, memory.upload(&vec![0x3f80u16; k * n])?);
    Ok([a, b, memory.allocate(m * n * 4)?])
}

/// A product by `mma` and `cp.async`.
fn gemm(options: &Options) -> Result<Counters, Box<dyn Error>> {
    let mut memory = Memory::default();
    let module = Module::load(include_str!("../tests/fixtures/gemm.ptx"), &mut memory)?;
    let [m, n, _] = SIZES;
    let shared = 2 * (64 * 40 + 32 * 72) * 2;
    let grid = Grid { blocks: [n as u32 / 64, m as u32 / 64, 1], threads: [128, 1, 1], shared };
    let mut arguments = matrices(&mut memory)?.map(Argument::U64).to_vec();
    arguments.extend(SIZES.map(|v| Argument::I32(v as i32)));
    Ok(module.launch_with("gemm_bf16", grid, &mut memory, &arguments, options)?)
}

/// A product by `wgmma` and bulk copies.
fn warpgroups(options: &Options) -> Result<Counters, Box<dyn Error>> {
    let mut memory = Memory::default();
    let module = Module::load(include_str!("../tests/fixtures/hopper.ptx"), &mut memory)?;
    let ([m, n, k], [a, b, c]) = (SIZES, matrices(&mut memory)?);
    let mut parameters = Vec::new();
    for (address, size, rows) in [(a, m, 64), (b, n, 128)] {
        let map = TensorMap {
            data_type: TensorType::Bf16,
            address,
            dimensions: vec![k as u64, size as u64],
            strides: vec![k as u64 * 2],
            box_dimensions: vec![64, rows],
            element_strides: vec![1, 1],
            swizzle: Swizzle::Bytes128,
        };
        parameters.extend(map.encode()?);
    }
    parameters.extend(c.to_le_bytes());
    SIZES.iter().for_each(|&size| parameters.extend((size as u32).to_le_bytes()));
    parameters.resize(320, 0);
    let options =
        Options { capability: Capability::Hopper, most_dynamic_shared: 227 << 10, ..options.clone() };
    let blocks = [n as u32 / 128, m as u32 / 64, 1];
    let grid = Grid { blocks, threads: [256, 1, 1], shared: 3 * 192 * 128 };
    let arguments = [Argument::Bytes(&parameters)];
    Ok(module.launch_with("gemm_k_major", grid, &mut memory, &arguments, &options)?)
}

/// A convolution in f32.
fn conv(options: &Options) -> Result<Counters, Box<dyn Error>> {
    let mut memory = Memory::default();
    let module = Module::load(include_str!("../tests/fixtures/network.ptx"), &mut memory)?;
    let (s, ci, co) = (16usize, 32usize, 64usize);
    let x = memory.upload(&vec![1f32; s * s * s * ci])?;
    let w = memory.upload(&vec![1f32; 27 * ci * co])?;
    let y = memory.allocate(s * s * s * co * 4)?;
    let (blocks, threads) = ([s as u32, s as u32, 1], [co as u32 / 4, s as u32, 1]);
    let grid = Grid { blocks, threads, shared: (s + 2) * ci * 4 };
    let mut arguments = vec![Argument::U64(x), Argument::U64(w), Argument::U64(y)];
    arguments.extend([s, s, s, ci, co].map(|v| Argument::I32(v as i32)));
    Ok(module.launch_with("conv3", grid, &mut memory, &arguments, options)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let chosen = std::env::args().nth(1);
    let all: [(&str, Run); 3] = [("gemm", gemm), ("warpgroups", warpgroups), ("conv", conv)];
    for (checks, options) in [("checked", Options::default()), ("unchecked", Options::unchecked())] {
        for (name, run) in all {
            if chosen.as_ref().is_some_and(|chosen| chosen != name) {
                continue;
            }
            let begin = Instant::now();
            let counters = run(&options)?;
            let seconds = begin.elapsed().as_secs_f64();
            let flops = (counters.flops + counters.matrix_flops) as f64;
            println!("{checks}: {name} {seconds:.3} s, {:.2} GFLOP/s\n  {counters}", flops / seconds / 1e9);
        }
    }
    Ok(())
}
