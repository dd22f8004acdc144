//! Small kernels around single instructions.

// Each test program uses a part of this.
#![allow(dead_code)]

use ptx_emulator::{Argument, Capability, Counters, Finding, Grid, LaunchError, Memory, Module, Options};

/// A module with one kernel `k(.param .u64 base)`; registers: `%rd`, `%r`, `%f`, `%h`, `%d`, `%p`, 40 of each; `%rd1` is `base`.
pub fn kernel(module_level: &str, body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n{module_level}\n.visible .entry k(.param .u64 base)\n{{\n\
         .reg .b64 %rd<40>; .reg .b32 %r<40>; .reg .f32 %f<40>; .reg .b16 %h<40>; .reg .f64 %d<40>; .reg .pred %p<40>;\n\
         ld.param.u64 %rd1, [base];\n{body}\nret;\n}}\n"
    )
}

/// Runs such a kernel on `memory` words of 32 bits and gives them back.
pub fn run(text: &str, grid: Grid, words: &[u32]) -> (Vec<u32>, Counters) {
    let mut memory = Memory::default();
    let module = Module::load(text, &mut memory).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let place = memory.upload(words).expect("memory");
    let counters = module
        .launch("k", grid, &mut memory, &[Argument::U64(place)])
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    (memory.download(place, words.len()).expect("memory"), counters)
}

/// Runs a kernel that must do something wrong; `bytes` of memory, not written.
pub fn finding(text: &str, grid: Grid, bytes: usize) -> Finding {
    let mut memory = Memory::default();
    let module = Module::load(text, &mut memory).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let place = memory.allocate(bytes).expect("memory");
    match module.launch("k", grid, &mut memory, &[Argument::U64(place)]) {
        Err(LaunchError::Finding(finding)) => *finding,
        other => panic!("expected a finding, got {other:?}"),
    }
}

/// Applies `code` (registers `a`, `b`, `c` to `d`, of these bits) to rows of operands, one thread each.
pub fn apply([bits, b_bits, c_bits]: [usize; 3], out: usize, code: &str, rows: &[[u64; 3]]) -> Vec<u64> {
    assert!(rows.len() <= 1024);
    let text = kernel(
        "",
        &format!(
            ".reg .b{bits} a; .reg .b{b_bits} b; .reg .b{c_bits} c; .reg .b{out} d; .reg .pred p; .reg .pred q;\n\
             mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 32; add.s64 %rd3, %rd1, %rd2;\n\
             ld.global.b{bits} a, [%rd3]; ld.global.b{b_bits} b, [%rd3+8]; ld.global.b{c_bits} c, [%rd3+16];\n\
             {code}\nst.global.b{out} [%rd3+24], d;"
        ),
    );
    let mut words = Vec::new();
    for row in rows {
        words.extend(row.iter().chain(&[0]).flat_map(|v| [*v as u32, (*v >> 32) as u32]));
    }
    let (words, _) = run(&text, Grid::line(1, rows.len() as u32), &words);
    words.chunks(8).map(|row| u64::from(row[6]) | u64::from(row[7]) << 32).collect()
}

/// Every combination of three operands.
pub fn combine(a: &[u64], b: &[u64], c: &[u64]) -> Vec<[u64; 3]> {
    let mut rows = Vec::new();
    for &x in a {
        for &y in b {
            rows.extend(c.iter().map(|&z| [x, y, z]));
        }
    }
    rows
}

/// Checks `code` against its definition on all combinations of operands.
pub fn check(
    bits: [usize; 3],
    out: usize,
    code: &str,
    operands: [&[u64]; 3],
    definition: impl Fn(u64, u64, u64) -> u64,
) {
    for rows in combine(operands[0], operands[1], operands[2]).chunks(1024) {
        for (row, found) in rows.iter().zip(apply(bits, out, code, rows)) {
            let expected = definition(row[0], row[1], row[2]);
            assert_eq!(found, expected, "{code} of {row:x?}: {found:#x}, expected {expected:#x}");
        }
    }
}

/// A module for `sm_90a` with one kernel `k(.param .u64 base, .param .align 64 .b8 maps[256])`; registers as in [`kernel`] and
/// floats `%f0` to `%f199`.
pub fn hopper_kernel(module_level: &str, body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_90a\n.address_size 64\n{module_level}\n\
         .visible .entry k(.param .u64 base, .param .align 64 .b8 maps[256])\n{{\n\
         .reg .b64 %rd<40>; .reg .b32 %r<80>; .reg .f32 %f<200>; .reg .pred %p<40>;\n\
         ld.param.u64 %rd1, [base];\n{body}\nret;\n}}\n"
    )
}

/// A card of compute capability 9.0 with all its shared memory.
pub fn hopper() -> Options {
    Options {
        capability: Capability::Hopper,
        most_dynamic_shared: Capability::Hopper.shared_most(),
        ..Options::default()
    }
}

/// Runs such a kernel on `words`, in a block of so many threads; `maps` makes its second parameter of the words' address.
pub fn run_hopper(
    text: &str,
    threads: u32,
    words: &[u32],
    maps: impl FnOnce(u64) -> Vec<u8>,
) -> Result<(Vec<u32>, Counters), Finding> {
    let mut memory = Memory::default();
    let module = Module::load(text, &mut memory).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let place = memory.upload(words).expect("memory");
    let mut maps = maps(place);
    maps.resize(256, 0);
    let arguments = [Argument::U64(place), Argument::Bytes(&maps)];
    match module.launch_with("k", Grid::line(1, threads), &mut memory, &arguments, &hopper()) {
        Ok(counters) => Ok((memory.download(place, words.len()).expect("memory"), counters)),
        Err(LaunchError::Finding(finding)) => Err(*finding),
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// The line in `text` that contains `part`.
pub fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|l| l.contains(part)).unwrap_or_else(|| panic!("no line with {part}")) + 1
}

/// Whole numbers in [-8, 8), always the same: their products and sums are exact in any order.
pub fn whole_numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as f32 - 8.0
    };
    (0..count).map(|_| next()).collect()
}
