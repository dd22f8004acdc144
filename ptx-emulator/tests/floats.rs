//! Floating-point opcodes against their definitions in the PTX manual.

mod common;
use common::{apply, check};

const F: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.1,
    3.0e38,
    -3.0e38,
    1.0e-40,
    f32::MIN_POSITIVE,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    16_777_217.0,
    0.999_999_94,
    2.5,
    -7.25e-12,
];

fn bits(values: &[f32]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits().into()).collect()
}

/// Equal bits, or both NaN: cards give one NaN, hosts several.
fn same(code: &str, found: u64, expected: f32) {
    let value = f32::from_bits(found as u32);
    assert!(
        value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(),
        "{code}: {value:e} ({found:#x}), expected {expected:e} ({:#x})",
        expected.to_bits()
    );
}

fn single(code: &str, f: impl Fn(f32, f32, f32) -> f32) {
    let all = bits(&F);
    for rows in common::combine(&all, &all, &all).chunks(1024) {
        for (row, found) in rows.iter().zip(apply([32; 3], 32, code, rows)) {
            let [a, b, c] = row.map(|v| f32::from_bits(v as u32));
            same(&format!("{code} of {a:e}, {b:e}, {c:e}"), found, f(a, b, c));
        }
    }
}

#[test]
fn nearest() {
    single("add.f32 d, a, b;", |a, b, _| a + b);
    single("sub.rn.f32 d, a, b;", |a, b, _| a - b);
    single("mul.rn.f32 d, a, b;", |a, b, _| a * b);
    single("fma.rn.f32 d, a, b, c;", f32::mul_add);
    single("div.rn.f32 d, a, b;", |a, b, _| a / b);
    single("rcp.rn.f32 d, a;", |a, _, _| 1.0 / a);
    single("sqrt.rn.f32 d, a;", |a, _, _| a.sqrt());
    single("abs.f32 d, a;", |a, _, _| a.abs());
    single("neg.f32 d, a;", |a, _, _| -a);
    single("copysign.f32 d, a, b;", |a, b, _| b.copysign(a));
}

#[test]
fn flushing_and_saturation() {
    let flush = |x: f32| if x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x };
    single("add.ftz.f32 d, a, b;", |a, b, _| flush(flush(a) + flush(b)));
    single("mul.ftz.f32 d, a, b;", |a, b, _| flush(flush(a) * flush(b)));
    single("fma.rn.ftz.f32 d, a, b, c;", |a, b, c| flush(flush(a).mul_add(flush(b), flush(c))));
    single("add.sat.f32 d, a, b;", |a, b, _| if a + b > 0.0 { (a + b).min(1.0) } else { 0.0 });
    single("cvt.sat.f32.f32 d, a;", |a, _, _| if a > 0.0 { a.min(1.0) } else { 0.0 });
}

#[test]
fn extremes() {
    // A number wins against NaN; -0 is below +0.
    let order = |a: f32, b: f32| if a == 0.0 && b == 0.0 { a.is_sign_negative() } else { a < b };
    let pick = move |a: f32, b: f32, first: bool| match (a.is_nan(), b.is_nan()) {
        (true, true) => f32::NAN,
        (true, false) => b,
        (false, true) => a,
        _ => {
            if first {
                a
            } else {
                b
            }
        }
    };
    single("min.f32 d, a, b;", move |a, b, _| pick(a, b, order(a, b)));
    single("max.f32 d, a, b;", move |a, b, _| pick(a, b, !order(a, b)));
    single("max.NaN.f32 d, a, b;", move |a, b, _| {
        if a.is_nan() || b.is_nan() { f32::NAN } else { pick(a, b, !order(a, b)) }
    });
}

/// The exact result lies between neighbours: rounding in a direction gives the neighbour on that side.
#[test]
fn directions() {
    let values = [1.0f32, 3.0, -7.0, 0.1, 1e-3, 123_456.79, -1.0e-20, 3.0e20];
    let all = bits(&values);
    let rows = common::combine(&all, &all, &all[..2]);
    type Exact = fn(f64, f64) -> f64;
    let cases: [(&str, Exact); 4] =
        [("add", |a, b| a + b), ("mul", |a, b| a * b), ("div", |a, b| a / b), ("fma", |a, b| a * b + 1.0)];
    for (name, exact) in cases {
        for (mode, side) in [("rz", 0), ("rm", -1), ("rp", 1)] {
            let code = match name {
                "fma" => format!("fma.{mode}.f32 d, a, b, 0f3F800000;"),
                _ => format!("{name}.{mode}.f32 d, a, b;"),
            };
            for (row, found) in rows.iter().zip(apply([32; 3], 32, &code, &rows)) {
                let [a, b, _] = row.map(|v| f64::from(f32::from_bits(v as u32)));
                let (exact, found) = (exact(a, b), f64::from(f32::from_bits(found as u32)));
                let wide = if side == 0 { -exact.signum() as i32 } else { side };
                let near = exact as f32;
                let step =
                    if found == exact { 0.0 } else { f64::from((near.next_up() - near.next_down()).abs()) };
                assert!((found - exact).abs() <= step, "{code} of {a}, {b}: {found}");
                assert!(
                    if wide < 0 { found <= exact } else { found >= exact },
                    "{code} of {a}, {b}: {found} {exact}"
                );
            }
        }
    }
    // Small terms vanish when rounding to zero, but count when rounding up.
    let (one, tiny) = (1f32.to_bits().into(), 1e-30f32.to_bits().into());
    assert_eq!(apply([32; 3], 32, "add.rz.f32 d, a, b;", &[[one, tiny, 0]])[0], one);
    assert_eq!(apply([32; 3], 32, "add.rp.f32 d, a, b;", &[[one, tiny, 0]])[0], one + 1);
    assert_eq!(apply([32; 3], 32, "fma.rm.f32 d, a, a, b;", &[[one, tiny | 0x8000_0000, 0]])[0], one - 1);
}

#[test]
fn approximate_functions() {
    for (code, f) in [
        ("ex2.approx.ftz.f32", (|x| x.exp2()) as fn(f64) -> f64),
        ("lg2.approx.f32", |x| x.log2()),
        ("sin.approx.f32", |x| x.sin()),
        ("cos.approx.f32", |x| x.cos()),
        ("tanh.approx.f32", |x| x.tanh()),
        ("rcp.approx.ftz.f32", |x| 1.0 / x),
        ("sqrt.approx.f32", |x| x.sqrt()),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt()),
    ] {
        let rows: Vec<[u64; 3]> = (1..60).map(|i| [(i as f32 * 0.11).to_bits().into(), 0, 0]).collect();
        for (row, found) in rows.iter().zip(apply([32; 3], 32, &format!("{code} d, a;"), &rows)) {
            let x = f64::from(f32::from_bits(row[0] as u32));
            let (found, expected) = (f64::from(f32::from_bits(found as u32)), f(x));
            assert!((found - expected).abs() <= 1e-6 * expected.abs().max(0.1), "{code}({x}) = {found}");
        }
    }
    let (big, one) = (2f32.powi(127).to_bits().into(), 1f32.to_bits().into());
    assert_eq!(apply([32; 3], 32, "div.approx.f32 d, a, b;", &[[one, big, 0]])[0], 0);
}

#[test]
fn doubles() {
    let values = [0.0, 1.0, -2.5, 1e300, 1e-300, f64::INFINITY, 0.1];
    let all: Vec<u64> = values.iter().map(|v: &f64| v.to_bits()).collect();
    for (code, f) in [
        ("add.f64 d, a, b;", (|a, b, _| a + b) as fn(f64, f64, f64) -> f64),
        ("mul.rn.f64 d, a, b;", |a, b, _| a * b),
        ("fma.rn.f64 d, a, b, c;", f64::mul_add),
        ("div.rn.f64 d, a, b;", |a, b, _| a / b),
        ("sqrt.rn.f64 d, a;", |a, _, _| a.sqrt()),
        ("neg.f64 d, a;", |a, _, _| -a),
    ] {
        check([64; 3], 64, code, [&all, &all, &all], |a, b, c| {
            let value = f(f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
            if value.is_nan() { apply([64; 3], 64, code, &[[a, b, c]])[0] } else { value.to_bits() }
        });
    }
    let third = apply([64; 3], 64, "div.rm.f64 d, a, b;", &[[1f64.to_bits(), 3f64.to_bits(), 0]])[0];
    let up = apply([64; 3], 64, "div.rp.f64 d, a, b;", &[[1f64.to_bits(), 3f64.to_bits(), 0]])[0];
    assert_eq!(up, third + 1);
}

#[test]
fn conversions() {
    let table: [(&str, f32, i64); 14] = [
        ("rni.s32", 2.5, 2),
        ("rni.s32", 3.5, 4),
        ("rzi.s32", -2.9, -2),
        ("rmi.s32", -2.1, -3),
        ("rpi.s32", 2.1, 3),
        ("rzi.s32", 1e20, i32::MAX as i64),
        ("rzi.s32", -1e20, i32::MIN as i64),
        ("rzi.s32", f32::NAN, 0),
        ("rzi.u32", -5.0, 0),
        ("rzi.u32", 4e9, 4_000_000_000),
        ("rni.u32", 1.5, 2),
        ("rzi.s32", 0.99, 0),
        ("rmi.s32", 0.99, 0),
        ("rpi.s32", -0.99, 0),
    ];
    for (kind, x, expected) in table {
        let found = apply([32; 3], 32, &format!("cvt.{kind}.f32 d, a;"), &[[x.to_bits().into(), 0, 0]])[0];
        assert_eq!(found as u32, expected as u32, "cvt.{kind} of {x}");
    }
    let whole = |code: &str, x: f32| {
        f32::from_bits(apply([32; 3], 32, code, &[[x.to_bits().into(), 0, 0]])[0] as u32)
    };
    assert_eq!(whole("cvt.rmi.f32.f32 d, a;", -1.5), -2.0);
    assert_eq!(whole("cvt.rpi.f32.f32 d, a;", 1.2), 2.0);
    assert_eq!(whole("cvt.rni.f32.f32 d, a;", 0.5), 0.0);
    for x in [0u32, 1, 16_777_217, 0x7fff_ffff, u32::MAX] {
        let found = apply([32; 3], 32, "cvt.rn.f32.u32 d, a;", &[[x.into(), 0, 0]])[0];
        assert_eq!(found as u32, (x as f32).to_bits());
        let down = apply([32; 3], 32, "cvt.rz.f32.u32 d, a;", &[[x.into(), 0, 0]])[0];
        assert!(f64::from(f32::from_bits(down as u32)) <= f64::from(x));
    }
    let big = 0x0123_4567_89ab_cdefu64;
    assert_eq!(apply([64; 3], 64, "cvt.rn.f64.u64 d, a;", &[[big, 0, 0]])[0], (big as f64).to_bits());
    assert_eq!(apply([64; 3], 32, "cvt.rn.f32.s64 d, a;", &[[big, 0, 0]])[0] as u32, (big as f32).to_bits());
    let x = 0.1f64;
    assert_eq!(
        apply([64; 3], 32, "cvt.rn.f32.f64 d, a;", &[[x.to_bits(), 0, 0]])[0] as u32,
        0.1f32.to_bits()
    );
    let down = apply([64; 3], 32, "cvt.rm.f32.f64 d, a;", &[[x.to_bits(), 0, 0]])[0] as u32;
    assert!(f64::from(f32::from_bits(down)) < x);
    assert_eq!(
        apply([32; 3], 64, "cvt.f64.f32 d, a;", &[[0.5f32.to_bits().into(), 0, 0]])[0],
        0.5f64.to_bits()
    );
}

fn f16(x: f32) -> u64 {
    apply([32; 3], 16, "cvt.rn.f16.f32 d, a;", &[[x.to_bits().into(), 0, 0]])[0]
}

#[test]
fn sixteen_bits() {
    // Values by the definition of the format.
    for (x, expected) in [
        (1.0, 0x3c00),
        (-2.0, 0xc000),
        (65504.0, 0x7bff),
        (65520.0, 0x7c00),
        (5.960_464_5e-8, 0x0001),
        (0.1, 0x2e66),
        (1.000_488_3, 0x3c00),
        (1.001_464_8, 0x3c02),
    ] {
        assert_eq!(f16(x), expected, "{x}");
    }
    assert_eq!(apply([32; 3], 16, "cvt.rz.f16.f32 d, a;", &[[1e9f32.to_bits().into(), 0, 0]])[0], 0x7bff);
    for bits in 0..=0xffffu64 {
        if bits % 251 == 0 {
            let wide = apply([16; 3], 32, "cvt.f32.f16 d, a;", &[[bits, 0, 0]])[0];
            let value = f32::from_bits(wide as u32);
            assert!(value.is_nan() || f16(value) == bits, "{bits:#x} {value}");
        }
    }
    // bf16: the upper half of f32, rounded to even.
    for x in [1.0f32, 0.1, 3.0e38, f32::from_bits(0x3f80_8000), f32::from_bits(0x3f81_8000)] {
        let bits = x.to_bits();
        let expected = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        assert_eq!(apply([32; 3], 16, "cvt.rn.bf16.f32 d, a;", &[[bits.into(), 0, 0]])[0], expected.into());
    }
    let one_two = [1f32.to_bits().into(), 2f32.to_bits().into(), 0];
    assert_eq!(apply([32; 3], 32, "cvt.rn.bf16x2.f32 d, a, b;", &[one_two])[0], 0x3f80_4000);
    assert_eq!(apply([32; 3], 32, "cvt.rn.f16x2.f32 d, a, b;", &[one_two])[0], 0x3c00_4000);
    let negative = [(-1f32).to_bits().into(), 2f32.to_bits().into(), 0];
    assert_eq!(apply([32; 3], 32, "cvt.rn.relu.bf16x2.f32 d, a, b;", &[negative])[0], 0x0000_4000);
    let tf32 = apply([32; 3], 32, "cvt.rna.tf32.f32 d, a;", &[[0x3f80_1000, 0, 0], [0x3f80_0fff, 0, 0]]);
    assert_eq!(tf32, [0x3f80_2000, 0x3f80_0000]);
}

#[test]
fn arithmetic_of_sixteen_bits() {
    let h = |x: f32| f16(x);
    let pair = |high: f32, low: f32| h(high) << 16 | h(low);
    assert_eq!(apply([16; 3], 16, "add.f16 d, a, b;", &[[h(1.5), h(2.25), 0]])[0], h(3.75));
    assert_eq!(apply([16; 3], 16, "mul.rn.f16 d, a, b;", &[[h(1.5), h(-2.0), 0]])[0], h(-3.0));
    assert_eq!(apply([16; 3], 16, "fma.rn.f16 d, a, b, c;", &[[h(1.5), h(2.0), h(0.5)]])[0], h(3.5));
    let rows = [[pair(1.0, 2.0), pair(3.0, 4.0), pair(0.5, -8.0)]];
    assert_eq!(apply([32; 3], 32, "fma.rn.f16x2 d, a, b, c;", &rows)[0], pair(3.5, 0.0));
    assert_eq!(apply([32; 3], 32, "fma.rn.relu.f16x2 d, a, b, c;", &rows)[0], pair(3.5, 0.0));
    assert_eq!(apply([32; 3], 32, "sub.f16x2 d, a, b;", &rows)[0], pair(-2.0, -2.0));
    assert_eq!(apply([32; 3], 32, "max.f16x2 d, a, c;", &rows)[0], pair(1.0, 2.0));
    assert_eq!(apply([32; 3], 32, "neg.f16x2 d, a;", &rows)[0], pair(-1.0, -2.0));
    let code = "setp.gt.f16x2 p|q, a, b; selp.b32 d, 1, 0, p; @q add.s32 d, d, 2;";
    assert_eq!(apply([32; 3], 32, code, &[[pair(5.0, 0.0), pair(1.0, 1.0), 0]])[0], 2);
    let b = |high: f32, low: f32| u64::from(high.to_bits() & 0xffff_0000 | low.to_bits() >> 16);
    let rows = [[b(1.0, 2.0), b(3.0, 4.0), b(0.5, -1.0)]];
    assert_eq!(apply([32; 3], 32, "fma.rn.bf16x2 d, a, b, c;", &rows)[0], b(3.5, 7.0));
    assert_eq!(apply([32; 3], 32, "min.bf16x2 d, a, c;", &rows)[0], b(0.5, -1.0));
    assert_eq!(apply([32; 3], 32, "neg.bf16x2 d, a;", &rows)[0], b(-1.0, -2.0));
    assert_eq!(apply([32; 3], 32, "abs.bf16x2 d, c;", &rows)[0], b(0.5, 1.0));
}

#[test]
fn comparisons() {
    let (one, nan) = (1f32.to_bits().into(), f32::NAN.to_bits().into());
    let test = |comparison: &str, a: u64, b: u64| {
        apply([32; 3], 32, &format!("setp.{comparison}.f32 p, a, b; selp.b32 d, 1, 0, p;"), &[[a, b, 0]])[0]
            == 1
    };
    assert!(test("eq", one, one) && !test("ne", one, one) && test("le", one, one));
    for ordered in ["eq", "ne", "lt", "le", "gt", "ge", "num"] {
        assert!(!test(ordered, one, nan), "{ordered}");
    }
    for unordered in ["equ", "neu", "ltu", "leu", "gtu", "geu", "nan"] {
        assert!(test(unordered, one, nan), "{unordered}");
    }
    assert!(test("neu", one, 0) && !test("equ", one, 0) && test("gtu", one, 0));
    let code = "testp.subnormal.f32 p, a; selp.b32 d, 1, 0, p;";
    assert_eq!(apply([32; 3], 32, code, &[[1, 0, 0], [one, 0, 0]]), [1, 0]);
}
