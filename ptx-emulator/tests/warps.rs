//! Exchange between lanes, barriers, atomics, control flow, matrices.

mod common;
use common::{apply, kernel, run};
use ptx_emulator::Grid;

fn lanes() -> Vec<[u64; 3]> {
    (0..32).map(|i| [100 + i, i, 0]).collect()
}

#[test]
fn shuffles() {
    // Operand c: clamp in bits 0-4, segment mask in bits 8-12, as CUDA's intrinsics make it for a width.
    let segment = |width: u64| (32 - width) << 8;
    let shuffle = |mode: &str, by: u64, c: u64| {
        apply([32; 3], 32, &format!("shfl.sync.{mode}.b32 d|p, a, {by}, {c}, 0xffffffff;"), &lanes())
    };
    let expect = |found: Vec<u64>, f: &dyn Fn(u64) -> u64| {
        for (lane, value) in found.into_iter().enumerate() {
            assert_eq!(value, 100 + f(lane as u64), "lane {lane}");
        }
    };
    expect(shuffle("down", 4, 31), &|l| if l + 4 < 32 { l + 4 } else { l });
    expect(shuffle("up", 3, 0), &|l| if l >= 3 { l - 3 } else { l });
    expect(shuffle("bfly", 5, 31), &|l| l ^ 5);
    expect(shuffle("idx", 7, 31), &|_| 7);
    for width in [16, 8, 4] {
        let base = |l: u64| l / width * width;
        let c = segment(width) | 31;
        expect(shuffle("down", 2, c), &|l| if l % width + 2 < width { l + 2 } else { l });
        expect(shuffle("idx", 3, c), &|l| base(l) + 3);
        expect(shuffle("bfly", 1, c), &|l| l ^ 1);
        expect(shuffle("up", 1, segment(width)), &|l| if l % width >= 1 { l - 1 } else { l });
    }
    let valid = apply([32; 3], 32, "shfl.sync.down.b32 d|p, a, 4, 31, -1; selp.b32 d, 1, 0, p;", &lanes());
    assert!(valid.iter().enumerate().all(|(lane, &v)| v == u64::from(lane < 28)));
}

#[test]
fn votes_matches_and_reductions() {
    let ballot = apply([32; 3], 32, "setp.lt.u32 p, b, 5; vote.sync.ballot.b32 d, p, -1;", &lanes());
    assert!(ballot.iter().all(|&v| v == 31));
    for (mode, limit, expected) in
        [("all", 32, 1), ("all", 31, 0), ("any", 1, 1), ("any", 0, 0), ("uni", 0, 1), ("uni", 3, 0)]
    {
        let code = format!("setp.lt.u32 p, b, {limit}; vote.sync.{mode}.pred q, p, -1; selp.b32 d, 1, 0, q;");
        assert!(apply([32; 3], 32, &code, &lanes()).iter().all(|&v| v == expected), "{mode} {limit}");
    }
    let code = "and.b32 %r9, b, 3; match.any.sync.b32 d, %r9, -1;";
    for (lane, found) in apply([32; 3], 32, code, &lanes()).into_iter().enumerate() {
        assert_eq!(found, 0x1111_1111 << (lane % 4));
    }
    for (name, expected) in
        [("add.s32", 496), ("max.u32", 31), ("min.s32", 0), ("or.b32", 31), ("xor.b32", 0)]
    {
        let code = format!("redux.sync.{name} d, b, -1;");
        assert!(apply([32; 3], 32, &code, &lanes()).iter().all(|&v| v == expected), "{name}");
    }
    // A mask of half the warp, executed by that half.
    let code = "mov.b32 d, 0; setp.lt.u32 p, b, 16; @p redux.sync.add.s32 d, b, 0xffff;";
    let found = apply([32; 3], 32, code, &lanes());
    assert!(found.iter().enumerate().all(|(l, &v)| v == if l < 16 { 120 } else { 0 }));
    let code = "setp.ge.u32 p, b, 20; mov.b32 d, 0; @!p bra OUT; activemask.b32 d; OUT:";
    let found = apply([32; 3], 32, code, &lanes());
    assert!(found.iter().enumerate().all(|(l, &v)| v == if l < 20 { 0 } else { 0xfff0_0000 }));
}

#[test]
fn atomics() {
    type Fold = fn(u32, u32) -> u32;
    let cases: [(&str, u32, Fold); 9] = [
        ("add.u32", 5, |x, y| x.wrapping_add(y)),
        ("min.s32", 9, |x, y| (x as i32).min(y as i32) as u32),
        ("max.u32", 9, |x, y| x.max(y)),
        ("and.b32", 0xff, |x, y| x & y),
        ("or.b32", 0, |x, y| x | y),
        ("xor.b32", 3, |x, y| x ^ y),
        ("exch.b32", 3, |_, y| y),
        ("inc.u32", 0, |x, y| if x >= y { 0 } else { x + 1 }),
        ("dec.u32", 7, |x, y| if x == 0 || x > y { y } else { x - 1 }),
    ];
    for (name, start, fold) in cases {
        for form in ["red", "atom"] {
            if form == "red" && name.starts_with("exch") {
                continue;
            }
            let operands = if form == "red" { "[%rd1], %r1" } else { "%r2, [%rd1], %r1" };
            let text = kernel(
                "",
                &format!("mov.u32 %r1, %tid.x; add.u32 %r1, %r1, 2; {form}.global.{name} {operands};"),
            );
            let expected = (0..40).map(|i| i + 2).fold(start, fold);
            assert_eq!(run(&text, Grid::line(1, 40), &[start]).0[0], expected, "{form}.{name}");
        }
    }
    let text = kernel(
        "",
        "mov.f32 %f1, 0f3F000000; red.global.add.f32 [%rd1], %f1; mov.f64 %d1, 0d3FD0000000000000; atom.add.f64 %d2, [%rd1+8], %d1;",
    );
    let (words, _) = run(&text, Grid::line(2, 64), &[0, 0, 0, 0]);
    assert_eq!(f32::from_bits(words[0]), 64.0);
    assert_eq!(f64::from_bits(u64::from(words[2]) | u64::from(words[3]) << 32), 32.0);
    // A lock of compare-and-swap around an addition, one lane after the other.
    let text = kernel(
        "",
        "AGAIN: atom.global.cas.b32 %r1, [%rd1], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra AGAIN;\n\
         ld.volatile.global.u32 %r2, [%rd1+4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%rd1+4], %r2;\n\
         membar.gl; atom.global.exch.b32 %r3, [%rd1], 0;",
    );
    assert_eq!(run(&text, Grid::line(1, 1), &[0, 0]).0, [0, 1]);
}

const SHARED: &str = ".shared .align 4 .b8 s[1024];";

#[test]
fn barriers_and_shared_memory() {
    let reverse = format!(
        "{SHARED} mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.u32 %r4, %r3, %r2;\n\
         st.shared.u32 [%r4], %r1; bar.sync 0; xor.b32 %r5, %r2, 508; add.u32 %r5, %r3, %r5;\n\
         ld.shared.u32 %r6, [%r5]; cvt.u64.u32 %rd2, %r2; add.s64 %rd2, %rd1, %rd2; st.global.u32 [%rd2], %r6;"
    );
    let (words, counters) = run(&kernel("", &reverse), Grid::line(1, 128), &[0; 128]);
    assert!(words.iter().enumerate().all(|(i, &v)| v == 127 - i as u32));
    assert_eq!((counters.barriers, counters.shared.requests), (1, 8));
    assert_eq!((counters.shared.wavefronts, counters.shared.ideal), (8, 8));
    assert_eq!(
        (counters.stores.requests, counters.stores.sectors, counters.stores.efficiency()),
        (4, 16, 1.0)
    );
    let count = "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 37; bar.red.popc.u32 %r2, 0, %p1;\n\
                 bar.red.and.pred %p2, 0, %p1; bar.red.or.pred %p3, 0, %p1; selp.u32 %r3, 1, 0, %p2;\n\
                 selp.u32 %r4, 1, 0, %p3; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd2, %rd1, %rd2;\n\
                 mad.lo.u32 %r2, %r3, 1000, %r2; mad.lo.u32 %r2, %r4, 10000, %r2; st.global.u32 [%rd2], %r2;";
    let (words, _) = run(&kernel("", count), Grid::line(1, 64), &[0; 64]);
    assert!(words.iter().all(|&v| v == 10037), "{words:?}");
    // Named barriers: the second warp hands over to the first.
    let hand_over = format!(
        "{SHARED} mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 32; @%p1 bra PRODUCE;\n\
         bar.sync 1, 64; ld.shared.u32 %r2, [s]; st.global.u32 [%rd1], %r2; bra OUT;\n\
         PRODUCE: st.shared.u32 [s], 77; bar.arrive 1, 64;\nOUT:"
    );
    assert_eq!(run(&kernel("", &hand_over), Grid::line(1, 64), &[0]).0[0], 77);
}

#[test]
fn bank_conflicts_are_counted() {
    for (stride, wavefronts) in [(1, 1), (2, 2), (32, 32), (33, 1)] {
        let body = format!(
            ".shared .align 4 .b8 s[4400]; mov.u32 %r1, %tid.x; mul.lo.u32 %r2, %r1, {}; mov.u32 %r3, s;\n\
             add.u32 %r2, %r2, %r3; st.shared.u32 [%r2], %r1;",
            stride * 4
        );
        let (_, counters) = run(&kernel("", &body), Grid::line(1, 32), &[0]);
        assert_eq!((counters.shared.wavefronts, counters.shared.ideal), (wavefronts, 1), "stride {stride}");
    }
    let body = "mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 64; add.s64 %rd2, %rd1, %rd2; st.global.u32 [%rd2], %r1;";
    let (_, counters) = run(&kernel("", body), Grid::line(1, 32), &[0; 512]);
    assert_eq!((counters.stores.sectors, counters.stores.efficiency()), (32, 0.125));
}

#[test]
fn indexed_branches_and_scopes() {
    let body = "mov.u32 %r1, %tid.x; TABLE: .branchtargets A, B, C;\n\
                brx.idx %r1, TABLE; A: mov.u32 %r2, 10; bra OUT; B: mov.u32 %r2, 20; bra OUT; C: mov.u32 %r2, 30;\n\
                OUT: { .reg .b32 %r2; mov.u32 %r2, 99; } mul.wide.u32 %rd2, %r1, 4; add.s64 %rd2, %rd1, %rd2;\n\
                st.global.u32 [%rd2], %r2;";
    assert_eq!(run(&kernel("", body), Grid::line(1, 3), &[0; 3]).0, [10, 20, 30]);
}

#[test]
fn generic_addresses_find_their_space() {
    let body = ".shared .align 4 .b8 s[4]; .local .align 4 .b8 l[4]; st.shared.u32 [s], 5; st.local.u32 [l], 6;\n\
                mov.u64 %rd2, s; cvta.shared.u64 %rd2, %rd2; ld.u32 %r1, [%rd2];\n\
                mov.u64 %rd3, l; cvta.local.u64 %rd3, %rd3; ld.u32 %r2, [%rd3]; add.u32 %r1, %r1, %r2;\n\
                isspacep.shared %p1, %rd2; isspacep.global %p2, %rd3; selp.u32 %r3, 100, 0, %p1;\n\
                selp.u32 %r4, 1000, 0, %p2; add.u32 %r1, %r1, %r3; add.u32 %r1, %r1, %r4; st.u32 [%rd1], %r1;";
    assert_eq!(run(&kernel("", body), Grid::line(1, 1), &[0]).0[0], 111);
}

/// A register of lane-dependent small numbers in a format: element `i` of a row-major matrix.
struct Mma {
    name: &'static str,
    /// Inner extent, elements per register, and bits of a small whole number.
    k: usize,
    per: usize,
    bits: fn(i32) -> u32,
    half_sums: bool,
}

/// Layouts as the manual's pictures give them: (row, column) of element `i` of a lane.
fn place(matrix: char, k: usize, per: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    match (matrix, per) {
        ('a', 2) => {
            (group + if i / 2 % 2 == 1 { 8 } else { 0 }, thread * 2 + (i & 1) + if i >= 4 { 8 } else { 0 })
        }
        ('a', _) => (group + if i % 2 == 1 { 8 } else { 0 }, thread + if i >= 2 { 4 } else { 0 }),
        ('b', 2) => (thread * 2 + (i & 1) + if i >= 2 { 8 } else { 0 }, group),
        ('b', _) => (thread + 4 * i, group),
        _ => (group + if i >= 2 { 8 } else { 0 }, thread * 2 + (i & 1) + k - k),
    }
}

#[test]
fn matrix_products() {
    let bf16 = |x: i32| (x as f32).to_bits() >> 16;
    fn half(x: i32) -> u32 {
        let f = x as f32;
        if x == 0 {
            0
        } else {
            (f.to_bits() >> 16 & 0x8000) | ((f.to_bits() >> 13 & 0x3ffff) - (112 << 10)) & 0x7fff
        }
    }
    let all = [
        Mma { name: "m16n8k16.row.col.f32.bf16.bf16.f32", k: 16, per: 2, bits: bf16, half_sums: false },
        Mma { name: "m16n8k16.row.col.f32.f16.f16.f32", k: 16, per: 2, bits: half, half_sums: false },
        Mma { name: "m16n8k16.row.col.f16.f16.f16.f16", k: 16, per: 2, bits: half, half_sums: true },
        Mma { name: "m16n8k8.row.col.f32.bf16.bf16.f32", k: 8, per: 2, bits: bf16, half_sums: false },
        Mma { name: "m16n8k8.row.col.f32.f16.f16.f32", k: 8, per: 2, bits: half, half_sums: false },
        Mma {
            name: "m16n8k8.row.col.f32.tf32.tf32.f32",
            k: 8,
            per: 1,
            bits: |x| (x as f32).to_bits(),
            half_sums: false,
        },
        Mma {
            name: "m16n8k4.row.col.f32.tf32.tf32.f32",
            k: 4,
            per: 1,
            bits: |x| (x as f32).to_bits(),
            half_sums: false,
        },
    ];
    for Mma { name, k, per, bits, half_sums } in all {
        let a = |row: usize, i: usize| (row * 3 + i * 5) as i32 % 7 - 3;
        let b = |i: usize, column: usize| (i * 2 + column * 3) as i32 % 5 - 2;
        let c = |row: usize, column: usize| (row + column) as i32 % 4 - 1;
        let (na, nb, nc) = (16 * k / 32 / per, 8 * k / 32 / per, if half_sums { 2 } else { 4 });
        let mut words = Vec::new();
        for lane in 0..32 {
            let mut row = vec![0u32; 16];
            for i in 0..na * per {
                let (r, s) = place('a', k, per, lane, i);
                row[i / per] |= bits(a(r, s)) << (16 * (i % per));
            }
            for i in 0..nb * per {
                let (r, s) = place('b', k, per, lane, i);
                row[4 + i / per] |= bits(b(r, s)) << (16 * (i % per));
            }
            for i in 0..4 {
                let (r, s) = place('c', k, per, lane, i);
                if half_sums {
                    row[6 + i / 2] |= half(c(r, s)) << (16 * (i % 2));
                } else {
                    row[6 + i] = (c(r, s) as f32).to_bits();
                }
            }
            words.extend(row);
        }
        let list = |from: usize, count: usize| {
            let names: Vec<String> = (from..from + count).map(|i| format!("%r{i}")).collect();
            format!("{{{}}}", names.join(", "))
        };
        let mut body =
            "mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 64; add.s64 %rd2, %rd1, %rd2;\n".to_string();
        for i in 0..10 {
            body += &format!("ld.global.b32 %r{}, [%rd2+{}];\n", 10 + i, 4 * i);
        }
        body += &format!(
            "mma.sync.aligned.{name} {}, {}, {}, {};\n",
            list(30, nc),
            list(10, na),
            list(14, nb),
            list(16, nc)
        );
        for i in 0..nc {
            body += &format!("st.global.b32 [%rd2+{}], %r{};\n", 4 * (10 + i), 30 + i);
        }
        let (words, counters) = run(&kernel("", &body), Grid::line(1, 32), &words);
        assert_eq!(counters.matrix_flops, 2 * 16 * 8 * k as u64);
        for lane in 0..32 {
            for i in 0..4 {
                let (r, s) = place('c', k, per, lane, i);
                let expected = (0..k).map(|j| a(r, j) * b(j, s)).sum::<i32>() + c(r, s);
                let found = if half_sums {
                    words[lane * 16 + 10 + i / 2] >> (16 * (i % 2)) & 0xffff
                } else {
                    words[lane * 16 + 10 + i]
                };
                let expected_bits = if half_sums { half(expected) } else { (expected as f32).to_bits() };
                assert_eq!(found, expected_bits, "{name}: C[{r}][{s}]");
            }
        }
    }
}

#[test]
fn matrices_are_loaded_by_rows() {
    // 32 rows of 8 elements; element = 8 row + column.
    let fill = ".shared .align 16 .b8 s[512]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 4; mov.u32 %r3, s;\n\
                add.u32 %r3, %r3, %r2; shl.b32 %r4, %r1, 3; mad.lo.u32 %r5, %r4, 65537, 65536;\n\
                add.u32 %r6, %r5, 0x20002; add.u32 %r7, %r6, 0x20002; add.u32 %r8, %r7, 0x20002;\n\
                st.shared.v4.u32 [%r3], {%r5, %r6, %r7, %r8}; bar.sync 0;\n\
                mul.wide.u32 %rd2, %r1, 16; add.s64 %rd2, %rd1, %rd2;\n";
    for (count, transposed) in [(1, false), (2, false), (4, false), (4, true), (2, true)] {
        let list: Vec<String> = (0..count).map(|i| format!("%r{}", 20 + i)).collect();
        let mut body = fill.to_string();
        let trans = if transposed { ".trans" } else { "" };
        body += &format!(
            "ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{}}}, [%r3];\n",
            list.join(", ")
        );
        for i in 0..count {
            body += &format!("st.global.u32 [%rd2+{}], %r{};\n", 4 * i, 20 + i);
        }
        let (words, _) = run(&kernel("", &body), Grid::line(1, 32), &[0; 128]);
        for lane in 0..32u32 {
            for matrix in 0..count {
                let element = |row: u32, column: u32| (8 * matrix + row) * 8 + column;
                let (row, column) = (lane / 4, lane % 4 * 2);
                let (low, high) = if transposed {
                    (element(column, row), element(column + 1, row))
                } else {
                    (element(row, column), element(row, column + 1))
                };
                assert_eq!(
                    words[(lane * 4 + matrix) as usize],
                    high << 16 | low,
                    "x{count}{trans} lane {lane}"
                );
            }
        }
    }
}

#[test]
fn asynchronous_copies_fill_with_zeros() {
    let body = ".shared .align 16 .b8 s[64]; mov.u32 %r1, s;\n\
                cp.async.ca.shared.global [%r1], [%rd1], 16, 8;\n\
                cp.async.cg.shared.global [%r1+16], [%rd1+16], 16;\n\
                cp.async.ca.shared.global [%r1+32], [%rd1+4], 4; cp.async.ca.shared.global [%r1+40], [%rd1+8], 8, 0;\n\
                cp.async.commit_group; cp.async.wait_group 0;\n\
                ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1]; ld.shared.u32 %r6, [%r1+28]; ld.shared.u32 %r7, [%r1+32];\n\
                ld.shared.u32 %r8, [%r1+44]; st.global.v4.u32 [%rd1+32], {%r2, %r3, %r4, %r5};\n\
                st.global.u32 [%rd1+48], %r6; st.global.u32 [%rd1+52], %r7; st.global.u32 [%rd1+56], %r8;";
    let words: Vec<u32> = (1..=16).collect();
    let (words, _) = run(&kernel("", body), Grid::line(1, 1), &words);
    assert_eq!(words[8..15], [1, 2, 0, 0, 8, 2, 0]);
}
