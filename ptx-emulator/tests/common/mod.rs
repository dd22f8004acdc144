//! Small kernels around single instructions.

// Each test program uses a part of this.
#![allow(dead_code)]

use ptx_emulator::{Argument, Counters, Finding, Grid, LaunchError, Memory, Module};

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
