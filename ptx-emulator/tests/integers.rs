//! Integer and bit opcodes against their definitions in the PTX manual.

mod common;
use common::{apply, check};

const W: [u64; 9] = [0, 1, 5, 31, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1234_5678, 0xdead_beef];
const X: [u64; 8] = [0, 1, 7, 0x7fff_ffff_ffff_ffff, 1 << 63, u64::MAX, 0x0123_4567_89ab_cdef, 0xffff_ffff];
const H: [u64; 6] = [0, 1, 0x7fff, 0x8000, 0xffff, 0x1234];
const ONE: [u64; 1] = [0];

fn words(code: &str, f: impl Fn(u32, u32) -> u32) {
    check([32; 3], 32, code, [&W, &W, &ONE], |a, b, _| f(a as u32, b as u32).into());
}

fn wides(code: &str, f: impl Fn(u64, u64) -> u64) {
    check([64; 3], 64, code, [&X, &X, &ONE], |a, b, _| f(a, b));
}

fn halves(code: &str, f: impl Fn(u16, u16) -> u16) {
    check([16; 3], 16, code, [&H, &H, &ONE], |a, b, _| f(a as u16, b as u16).into());
}

fn three(code: &str, f: impl Fn(u32, u32, u32) -> u32) {
    check([32; 3], 32, code, [&W, &W, &W], |a, b, c| f(a as u32, b as u32, c as u32).into());
}

#[test]
fn sums_and_products() {
    words("add.s32 d, a, b;", u32::wrapping_add);
    words("sub.u32 d, a, b;", u32::wrapping_sub);
    words("add.sat.s32 d, a, b;", |a, b| (a as i32).saturating_add(b as i32) as u32);
    words("mul.lo.s32 d, a, b;", u32::wrapping_mul);
    words("mul.hi.u32 d, a, b;", |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    words("mul.hi.s32 d, a, b;", |a, b| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32);
    words("mul24.lo.u32 d, a, b;", |a, b| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff));
    wides("add.u64 d, a, b;", u64::wrapping_add);
    wides("mul.lo.s64 d, a, b;", u64::wrapping_mul);
    wides("mul.hi.u64 d, a, b;", |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64);
    wides("mul.hi.s64 d, a, b;", |a, b| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64);
    halves("add.s16 d, a, b;", u16::wrapping_add);
    halves("mul.lo.u16 d, a, b;", u16::wrapping_mul);
    halves("mul.hi.s16 d, a, b;", |a, b| ((i32::from(a as i16) * i32::from(b as i16)) >> 16) as u16);
    three("mad.lo.u32 d, a, b, c;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    three("mad.hi.s32 d, a, b, c;", |a, b, c| {
        (((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32).wrapping_add(c)
    });
    three("sad.s32 d, a, b, c;", |a, b, c| {
        let (x, y) = (i64::from(a as i32), i64::from(b as i32));
        ((x - y).unsigned_abs() as u32).wrapping_add(c)
    });
    check([32; 3], 64, "mul.wide.s32 d, a, b;", [&W, &W, &ONE], |a, b, _| {
        (i64::from(a as i32) * i64::from(b as i32)) as u64
    });
    check([32, 32, 64], 64, "mad.wide.u32 d, a, b, c;", [&W, &W, &X], |a, b, c| (a * b).wrapping_add(c));
    check([16, 16, 32], 32, "mul.wide.s16 d, a, b;", [&H, &H, &ONE], |a, b, _| {
        u64::from((i32::from(a as u16 as i16) * i32::from(b as u16 as i16)) as u32)
    });
}

#[test]
fn quotients_and_extremes() {
    let divisors = [1, 3, 0x7fff_ffff, 0xffff_ffff];
    check([32; 3], 32, "div.s32 d, a, b;", [&W, &divisors, &ONE], |a, b, _| {
        u64::from((a as i32).wrapping_div(b as i32) as u32)
    });
    check([32; 3], 32, "rem.u32 d, a, b;", [&W, &divisors, &ONE], |a, b, _| a % b);
    check([32; 3], 32, "rem.s32 d, a, b;", [&W, &divisors, &ONE], |a, b, _| {
        u64::from((a as i32).wrapping_rem(b as i32) as u32)
    });
    check([64; 3], 64, "div.u64 d, a, b;", [&X, &[3, u64::MAX], &ONE], |a, b, _| a / b);
    words("min.s32 d, a, b;", |a, b| (a as i32).min(b as i32) as u32);
    words("max.u32 d, a, b;", u32::max);
    halves("max.s16 d, a, b;", |a, b| (a as i16).max(b as i16) as u16);
    wides("min.s64 d, a, b;", |a, b| (a as i64).min(b as i64) as u64);
    words("abs.s32 d, a;", |a, _| (a as i32).wrapping_abs() as u32);
    words("neg.s32 d, a;", |a, _| (a as i32).wrapping_neg() as u32);
    wides("neg.s64 d, a;", |a, _| (a as i64).wrapping_neg() as u64);
}

#[test]
fn logic_and_shifts() {
    words("and.b32 d, a, b;", |a, b| a & b);
    words("or.b32 d, a, b;", |a, b| a | b);
    wides("xor.b64 d, a, b;", |a, b| a ^ b);
    halves("not.b16 d, a;", |a, _| !a);
    words("cnot.b32 d, a;", |a, _| u32::from(a == 0));
    let amounts = [0, 1, 15, 31, 32, 33, 64, 200, 0xffff_ffff];
    check([32; 3], 32, "shl.b32 d, a, b;", [&W, &amounts, &ONE], |a, b, _| {
        if b > 31 { 0 } else { a << b & 0xffff_ffff }
    });
    check([32; 3], 32, "shr.u32 d, a, b;", [&W, &amounts, &ONE], |a, b, _| if b > 31 { 0 } else { a >> b });
    check([32; 3], 32, "shr.s32 d, a, b;", [&W, &amounts, &ONE], |a, b, _| {
        u64::from((a as i32 >> b.min(31)) as u32)
    });
    check([64, 32, 32], 64, "shr.s64 d, a, b;", [&X, &amounts, &ONE], |a, b, _| {
        (a as i64 >> b.min(63)) as u64
    });
    check(
        [64, 32, 32],
        64,
        "shl.b64 d, a, b;",
        [&X, &amounts, &ONE],
        |a, b, _| if b > 63 { 0 } else { a << b },
    );
    for table in [0x80u32, 0xfe, 0x96, 0xe8, 0xca, 0x3c] {
        three(&format!("lop3.b32 d, a, b, c, {table};"), |a, b, c| {
            let bit = |i: u32| (a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1;
            (0..32).fold(0, |all, i| all | (table >> bit(i) & 1) << i)
        });
    }
    let amounts = [0, 1, 31, 32, 33, 40];
    for (code, left, clamp) in [
        ("shf.l.clamp.b32 d, a, b, c;", true, true),
        ("shf.l.wrap.b32 d, a, b, c;", true, false),
        ("shf.r.clamp.b32 d, a, b, c;", false, true),
        ("shf.r.wrap.b32 d, a, b, c;", false, false),
    ] {
        check([32; 3], 32, code, [&W, &W, &amounts], |a, b, c| {
            let n = if clamp { c.min(32) } else { c & 31 };
            // The manual: l: (b << n) | (a >> (32-n)); r: (b << (32-n)) | (a >> n).
            let both = u128::from(b) << 32 | u128::from(a);
            (if left { both << n >> 32 } else { both >> n }) as u64 & 0xffff_ffff
        });
    }
}

#[test]
fn fields_and_counts() {
    let places = [0, 1, 8, 31, 32, 40];
    let lengths = [0, 1, 5, 31, 32, 60];
    check([32; 3], 32, "bfe.u32 d, a, b, c;", [&W, &places, &lengths], |a, p, n| {
        (0..n.min(32)).filter(|i| p + i < 32).fold(0, |all, i| all | (a >> (p + i) & 1) << i)
    });
    check([32; 3], 32, "bfe.s32 d, a, b, c;", [&W, &places, &lengths], |a, p, n| {
        let sign = if n == 0 { 0 } else { a >> (p + n - 1).min(31) & 1 };
        (0..32).fold(0, |all, i| all | (if i < n && p + i <= 31 { a >> (p + i) & 1 } else { sign }) << i)
    });
    // bfi f, a, b, p, n: the low n bits of a go into b.
    for (p, n) in [(0, 8), (8, 8), (28, 8), (31, 1), (5, 0), (32, 4), (0, 32)] {
        words(&format!("bfi.b32 d, a, b, {p}, {n};"), |a, b| {
            (0..n).filter(|i| p + i < 32).fold(b, |all, i| all & !(1 << (p + i)) | (a >> i & 1) << (p + i))
        });
        wides(&format!("bfi.b64 d, a, b, {p}, {n};"), |a, b| {
            (0..n).fold(b, |all, i| all & !(1 << (p + i)) | (a >> i & 1) << (p + i))
        });
    }
    words("popc.b32 d, a;", |a, _| a.count_ones());
    words("clz.b32 d, a;", |a, _| a.leading_zeros());
    check([64; 3], 32, "clz.b64 d, a;", [&X, &ONE, &ONE], |a, _, _| a.leading_zeros().into());
    words("brev.b32 d, a;", |a, _| a.reverse_bits());
    words("bfind.u32 d, a;", |a, _| if a == 0 { u32::MAX } else { 31 - a.leading_zeros() });
    words("bfind.s32 d, a;", |a, _| {
        let a = if (a as i32) < 0 { !a } else { a };
        if a == 0 { u32::MAX } else { 31 - a.leading_zeros() }
    });
    for selector in [0x3210u32, 0x7654, 0x5410, 0x0123, 0xba98, 0x4440] {
        words(&format!("prmt.b32 d, a, b, {selector};"), |a, b| {
            let all = u64::from(b) << 32 | u64::from(a);
            (0..4).fold(0, |out, i| {
                let s = selector >> (4 * i) & 15;
                let byte = (all >> (8 * (s & 7)) & 0xff) as u32;
                let byte = if s < 8 { byte } else { byte >> 7 * 1 & 1 } * if s < 8 { 1 } else { 0xff };
                out | byte << (8 * i)
            })
        });
    }
}

#[test]
fn comparisons_and_selections() {
    words("setp.lt.s32 p, a, b; selp.b32 d, 1, 0, p;", |a, b| ((a as i32) < b as i32).into());
    words("setp.lo.u32 p, a, b; selp.b32 d, 1, 0, p;", |a, b| (a < b).into());
    words("setp.ge.u32 p|q, a, b; selp.b32 d, 1, 0, q;", |a, b| (a < b).into());
    words("setp.eq.s32 q, a, 5; setp.ne.and.u32 p, a, b, q; selp.b32 d, 1, 0, p;", |a, b| {
        (a != b && a == 5).into()
    });
    words("setp.eq.s32 q, a, 5; setp.gt.or.s32 p, a, b, !q; selp.b32 d, 1, 0, p;", |a, b| {
        (a as i32 > b as i32 || a != 5).into()
    });
    words(
        "setp.ne.s32 p, a, 0; setp.ne.s32 q, b, 0; xor.pred p, p, q; not.pred p, p; selp.b32 d, 7, 9, p;",
        |a, b| {
            if (a != 0) == (b != 0) { 7 } else { 9 }
        },
    );
    three("slct.b32.s32 d, a, b, c;", |a, b, c| if c as i32 >= 0 { a } else { b });
    words("set.le.u32.u32 d, a, b;", |a, b| if a <= b { u32::MAX } else { 0 });
    words("setp.gt.u32 p, a, b; mov.b32 d, 3; @p mov.b32 d, 4; @!p add.s32 d, d, 10;", |a, b| {
        if a > b { 4 } else { 13 }
    });
}

#[test]
fn vectors_are_packed_low_first() {
    check([32; 3], 64, "mov.b64 d, {a, b};", [&W, &W, &ONE], |a, b, _| b << 32 | a);
    check([64; 3], 32, "mov.b64 {d, _}, a;", [&X, &ONE, &ONE], |a, _, _| a & 0xffff_ffff);
    check([64; 3], 32, "mov.b64 {%r5, d}, a;", [&X, &ONE, &ONE], |a, _, _| a >> 32);
    check([32; 3], 16, "mov.b32 {%h1, d}, a;", [&W, &ONE, &ONE], |a, _, _| a >> 16);
    check([16; 3], 32, "mov.b32 d, {a, b};", [&H, &H, &ONE], |a, b, _| b << 16 | a);
}

#[test]
fn conversions_between_integers() {
    for (code, bits, out, f) in [
        ("cvt.s64.s32 d, a;", 32, 64, (|a| i64::from(a as i32) as u64) as fn(u64) -> u64),
        ("cvt.u64.u32 d, a;", 32, 64, |a| a),
        ("cvt.u32.u64 d, a;", 64, 32, |a| a & 0xffff_ffff),
        ("cvt.s32.s8 d, a;", 32, 32, |a| u64::from(i32::from(a as i8) as u32)),
        ("cvt.u16.u32 d, a;", 32, 16, |a| a & 0xffff),
        ("cvt.s32.s16 d, a;", 16, 32, |a| u64::from(i32::from(a as u16 as i16) as u32)),
        ("cvt.sat.u8.s32 d, a;", 32, 32, |a| (a as i32).clamp(0, 255) as u64),
        ("cvt.sat.s16.s32 d, a;", 32, 32, |a| u64::from((a as i32).clamp(-32768, 32767) as u32)),
        ("cvt.u8.u32 d, a;", 32, 32, |a| a & 0xff),
    ] {
        let operands: &[u64] = if bits == 64 {
            &X
        } else if bits == 16 {
            &H
        } else {
            &W
        };
        check([bits; 3], out, code, [operands, &ONE, &ONE], |a, _, _| f(a));
    }
}

#[test]
fn special_registers() {
    let rows = [[0; 3]; 70];
    let tid = apply([32; 3], 32, "mov.u32 d, %tid.x;", &rows);
    assert!(tid.iter().enumerate().all(|(i, &v)| v == i as u64));
    let lane = apply([32; 3], 32, "mov.u32 d, %laneid;", &rows);
    assert!(lane.iter().enumerate().all(|(i, &v)| v == i as u64 % 32));
    let below = apply([32; 3], 32, "mov.u32 d, %lanemask_lt;", &rows);
    assert!(below.iter().enumerate().all(|(i, &v)| v == (1 << (i % 32)) - 1));
    assert_eq!(apply([32; 3], 32, "mov.u32 d, %ntid.x;", &rows)[0], 70);
    assert_eq!(apply([32; 3], 32, "mov.u32 d, %nctaid.y;", &rows)[0], 1);
}
