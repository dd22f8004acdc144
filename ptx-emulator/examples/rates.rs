//! How fast the emulator is on this computer, with and without checks: `cargo run --example rates`.

use ptx_emulator::{Argument, Capability, Grid, Memory, Module, Options, Swizzle, TensorMap, TensorType};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gemm = include_str!("../tests/fixtures/gemm.ptx");
    let network = include_str!("../tests/fixtures/network.ptx");
    for (name, options) in [("checked", Options::default()), ("unchecked", Options::unchecked())] {
        let mut memory = Memory::default();
        let module = Module::load(gemm, &mut memory)?;
        let (m, n, k) = (512usize, 512usize, 256usize);
        let (a, b) = (memory.upload(&vec![0x3f80u16; m * k])?, memory.upload(&vec![0x3f80u16; k * n])?);
        let c = memory.allocate(m * n * 4)?;
        let shared = 2 * (64 * 40 + 32 * 72) * 2;
        let grid = Grid { blocks: [n as u32 / 64, m as u32 / 64, 1], threads: [128, 1, 1], shared };
        let mut arguments = vec![Argument::U64(a), Argument::U64(b), Argument::U64(c)];
        arguments.extend([m, n, k].map(|v| Argument::I32(v as i32)));
        let begin = Instant::now();
        let counters = module.launch_with("gemm_bf16", grid, &mut memory, &arguments, &options)?;
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "{name}: gemm {m}x{n}x{k} {seconds:.3} s, {:.2} GFLOP/s",
            counters.matrix_flops as f64 / seconds / 1e9
        );
        println!("  {counters}");

        let module = Module::load(include_str!("../tests/fixtures/hopper.ptx"), &mut memory)?;
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
        [m, n, k].iter().for_each(|&size| parameters.extend((size as u32).to_le_bytes()));
        parameters.resize(320, 0);
        let hopper =
            Options { capability: Capability::Hopper, most_dynamic_shared: 227 << 10, ..options.clone() };
        let grid =
            Grid { blocks: [n as u32 / 128, m as u32 / 64, 1], threads: [256, 1, 1], shared: 3 * 192 * 128 };
        let begin = Instant::now();
        let arguments = [Argument::Bytes(&parameters)];
        let counters = module.launch_with("gemm_k_major", grid, &mut memory, &arguments, &hopper)?;
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "{name}: warpgroups {m}x{n}x{k} {seconds:.3} s, {:.2} GFLOP/s",
            counters.matrix_flops as f64 / seconds / 1e9
        );
        println!("  {counters}");

        let module = Module::load(network, &mut memory)?;
        let (s, ci, co) = (16usize, 32usize, 64usize);
        let x = memory.upload(&vec![1f32; s * s * s * ci])?;
        let w = memory.upload(&vec![1f32; 27 * ci * co])?;
        let y = memory.allocate(s * s * s * co * 4)?;
        let grid = Grid {
            blocks: [s as u32, s as u32, 1],
            threads: [co as u32 / 4, s as u32, 1],
            shared: (s + 2) * ci * 4,
        };
        let mut arguments = vec![Argument::U64(x), Argument::U64(w), Argument::U64(y)];
        arguments.extend([s, s, s, ci, co].map(|v| Argument::I32(v as i32)));
        let begin = Instant::now();
        let counters = module.launch_with("conv3", grid, &mut memory, &arguments, &options)?;
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "{name}: conv {s}^3 {ci}->{co} {seconds:.3} s, {:.2} GFLOP/s",
            counters.flops as f64 / seconds / 1e9
        );
        println!("  {counters}");
    }
    Ok(())
}
