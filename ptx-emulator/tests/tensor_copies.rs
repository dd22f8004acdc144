//! Bulk copies against their definition by brute force, and what is found when they are used wrongly.

mod common;
use common::{hopper_kernel, line_of, run_hopper};
use ptx_emulator::{
    Counters, Finding, FindingKind, LoadError, Memory, Module, Swizzle, TensorMap, TensorType,
};

/// 16-bit elements of the tensors.
const ELEMENTS: usize = 4096;
/// Words behind them: what a kernel writes.
const WRITTEN: usize = 4096;

/// Element `i` of the tensor.
fn element(i: usize) -> u16 {
    (i as u16).wrapping_mul(40_503) ^ 0x5a5a
}

fn words() -> Vec<u32> {
    let pair = |i: usize| u32::from(element(2 * i)) | u32::from(element(2 * i + 1)) << 16;
    (0..ELEMENTS / 2).map(pair).chain(std::iter::repeat_n(0, WRITTEN)).collect()
}

/// Copies a box to shared memory and from there, word by word, behind the tensor.
struct Case {
    map: TensorMap,
    coordinates: Vec<i32>,
    /// Bytes before the box in shared memory, a multiple of 128.
    offset: usize,
}

impl Case {
    fn text(&self) -> String {
        let rank = self.coordinates.len();
        let coordinates: Vec<String> = self.coordinates.iter().map(i32::to_string).collect();
        let bytes = self.map.box_bytes();
        hopper_kernel(
            "",
            &format!(
                ".shared .align 1024 .b8 s[17408]; .shared .align 8 .b64 bar;\nmov.u32 %r1, %tid.x; setp.ne.u32 %p1, %r1, 0;\n\
                 mov.u32 %r2, bar; mov.u32 %r3, s; add.u32 %r3, %r3, {}; mov.b64 %rd2, maps; cvta.param.u64 %rd3, %rd2;\n\
                 @%p1 bra WAIT;\nmbarrier.init.shared::cta.b64 [%r2], 1;\nfence.mbarrier_init.release.cluster;\n\
                 prefetch.tensormap [%rd3];\nmbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], {bytes};\n\
                 cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r3], [%rd3, {{{}}}], [%r2]; // copy\n\
                 WAIT: bar.sync 0;\nLAB: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;\n@!%p2 bra LAB;\n\
                 shl.b32 %r4, %r1, 2;\nNEXT: setp.ge.u32 %p3, %r4, {bytes}; @%p3 bra OUT;\n\
                 add.u32 %r5, %r3, %r4; ld.shared.u32 %r6, [%r5]; cvt.u64.u32 %rd4, %r4; add.s64 %rd4, %rd1, %rd4;\n\
                 st.global.u32 [%rd4+{}], %r6; add.u32 %r4, %r4, 256; bra NEXT;\nOUT:\n",
                self.offset,
                coordinates.join(", "),
                ELEMENTS * 2,
            ),
        )
    }

    fn run_text(&self, text: &str) -> Result<(Vec<u32>, Counters), Finding> {
        run_hopper(text, 64, &words(), |address| {
            let map = TensorMap { address: self.map.address + address, ..self.map.clone() };
            map.encode().expect("a map").to_vec()
        })
    }

    /// Bytes of the box in shared memory, by the definition.
    fn expected(&self) -> Vec<u16> {
        let map = &self.map;
        let rank = map.dimensions.len();
        let count = |i: usize| {
            if i == 0 {
                map.box_dimensions[0]
            } else {
                map.box_dimensions[i].div_ceil(map.element_strides[i])
            }
        };
        let mut out = vec![0xdead; map.box_bytes() / 2];
        for number in 0..out.len() {
            let (mut rest, mut inside, mut at) = (number, true, map.address as usize / 2);
            for i in 0..rank {
                let index = rest % count(i) as usize;
                rest /= count(i) as usize;
                let step = if i == 0 { 1 } else { map.element_strides[i] as i64 };
                let coordinate = i64::from(self.coordinates[i]) + index as i64 * step;
                inside &= coordinate >= 0 && coordinate < map.dimensions[i] as i64;
                if inside {
                    let stride = if i == 0 { 2 } else { map.strides[i - 1] };
                    at += coordinate as usize * stride as usize / 2;
                }
            }
            // Bits 4.. of the address are changed by as many bits from 7 on; the array lies at a multiple of 1024.
            let bits = map.swizzle.span().trailing_zeros() - 4;
            let address = self.offset + 2 * number;
            let mut swizzled = address;
            for bit in 0..bits {
                swizzled ^= (address >> (7 + bit) & 1) << (4 + bit);
            }
            out[(swizzled - self.offset) / 2] = if inside { element(at) } else { 0 };
        }
        out
    }

    fn check(&self) -> Counters {
        let (words, counters) =
            self.run_text(&self.text()).unwrap_or_else(|e| panic!("{e}\n{}", self.text()));
        let expected = self.expected();
        let found: Vec<u16> =
            words[ELEMENTS / 2..].iter().flat_map(|&w| [w as u16, (w >> 16) as u16]).collect();
        assert!(found[..expected.len()] == expected, "{:?} at {:?}", self.map, self.coordinates);
        counters
    }
}

fn case(swizzle: Swizzle, dimensions: &[u64], box_dimensions: &[u32], coordinates: &[i32]) -> Case {
    let mut strides = Vec::new();
    let mut stride = 2;
    for &size in &dimensions[..dimensions.len() - 1] {
        stride *= size;
        strides.push(stride);
    }
    let map = TensorMap {
        data_type: TensorType::Bf16,
        address: 0,
        dimensions: dimensions.into(),
        strides,
        box_dimensions: box_dimensions.into(),
        element_strides: vec![1; dimensions.len()],
        swizzle,
    };
    Case { map, coordinates: coordinates.into(), offset: 0 }
}

#[test]
fn boxes_inside_and_partly_outside() {
    let swizzles =
        [(Swizzle::None, 40), (Swizzle::Bytes32, 16), (Swizzle::Bytes64, 32), (Swizzle::Bytes128, 64)];
    for (swizzle, row) in swizzles {
        for coordinates in [[0, 0], [8, 3], [-8, -2], [41, 11], [-100, 0], [0, 1000], [i32::MIN, i32::MAX]] {
            case(swizzle, &[64, 20], &[row, 16], &coordinates).check();
            let mut moved = case(swizzle, &[64, 20], &[row, 16], &coordinates);
            moved.offset = 384;
            moved.check();
        }
        case(swizzle, &[64, 4, 5], &[row, 3, 2], &[5, -1, 4]).check();
        case(swizzle, &[32, 4, 4, 3], &[row, 3, 2, 2], &[-3, 2, -1, 2]).check();
        case(swizzle, &[32, 4, 4, 3, 2], &[row, 2, 3, 2, 2], &[-3, -1, 2, -1, 1]).check();
    }
    case(Swizzle::None, &[4096], &[256], &[-4]).check();
    // Half of what a box spans is fetched.
    let mut steps = case(Swizzle::Bytes64, &[32, 11, 5], &[32, 9, 5], &[0, -3, 1]);
    steps.map.element_strides = vec![3, 2, 3];
    assert_eq!(steps.map.box_bytes(), 64 * 5 * 2);
    steps.check();
    // Another address, and strides that leave something out.
    let mut part = case(Swizzle::Bytes32, &[16, 10], &[16, 12], &[0, -1]);
    part.map.address = 96;
    part.map.strides = vec![64];
    part.check();
}

#[test]
fn what_is_counted() {
    // 8 rows of 64 bytes, one after the other; 2 of them outside.
    let counters = case(Swizzle::Bytes64, &[32, 20], &[32, 8], &[0, 14]).check();
    assert_eq!((counters.loads.sectors, counters.loads.bytes, counters.loads.requests), (12, 6 * 64, 1));
    // Rows of 48 bytes: neighbours share sectors.
    let counters = case(Swizzle::None, &[24, 20], &[24, 8], &[0, 0]).check();
    assert_eq!((counters.loads.sectors, counters.loads.bytes), (12, 8 * 48));
}

/// Must be found at the line with `part`, with words in its message.
fn found(case: &Case, text: &str, kind: FindingKind, part: &str, words: &str) {
    let finding = case.run_text(text).map(|_| ()).expect_err(words);
    assert_eq!((finding.kind, finding.line), (kind, line_of(text, part)), "{finding}\n{text}");
    assert!(finding.message.contains(words), "{finding}");
}

#[test]
fn wrong_uses_are_found() {
    let good = case(Swizzle::Bytes128, &[64, 20], &[64, 8], &[0, 0]);
    let text = good.text();
    let mut misaligned = case(Swizzle::Bytes128, &[64, 20], &[64, 8], &[0, 0]);
    misaligned.offset = 64;
    found(&misaligned, &misaligned.text(), FindingKind::Misaligned, "// copy", "multiple of 128");
    let mut outside = case(Swizzle::Bytes128, &[64, 20], &[64, 8], &[0, 0]);
    outside.offset = 16 << 10;
    outside.offset += 128;
    found(&outside, &outside.text(), FindingKind::OutOfBounds, "// copy", "array s");
    // The tensor ends behind the allocation.
    let beyond = case(Swizzle::Bytes128, &[64, 2000], &[64, 8], &[0, 1990]);
    found(&beyond, &beyond.text(), FindingKind::OutOfBounds, "// copy", "behind the end");
    let narrow = case(Swizzle::Bytes128, &[64, 20], &[32, 8], &[0, 0]);
    found(&narrow, &narrow.text(), FindingKind::Operand, "// copy", "not emulated");
    // Not a map: half of it, the words of the tensor, another rank.
    let prefetch = "prefetch.tensormap [%rd3];\n";
    let elsewhere =
        text.replace("cvta.param.u64 %rd3, %rd2;", "cvta.param.u64 %rd3, %rd2; add.u64 %rd3, %rd3, 64;");
    found(&good, &elsewhere, FindingKind::Operand, "prefetch", "no tensor map");
    let odd = text.replace("cvta.param.u64 %rd3, %rd2;", "cvta.param.u64 %rd3, %rd2; add.u64 %rd3, %rd3, 8;");
    found(&good, &odd, FindingKind::Misaligned, "prefetch", "multiple of 64");
    found(&good, &text.replace("[%rd3, {", "[%rd1, {"), FindingKind::Operand, "// copy", "no tensor map");
    let rank = text.replace("tensor.2d", "tensor.3d").replace("{0, 0}", "{0, 0, 0}");
    found(&good, &rank, FindingKind::Operand, "// copy", "2 dimensions");
    found(
        &good,
        &text.replace(prefetch, "mbarrier.inval.shared.b64 [%r2];"),
        FindingKind::Barrier,
        "arrive",
        "no mbarrier",
    );
    // The object is not known to the asynchronous proxy.
    let fence = "fence.mbarrier_init.release.cluster;\n";
    found(&good, &text.replace(fence, ""), FindingKind::MissingFence, "// copy", "fence.mbarrier_init");
    assert!(good.run_text(&text.replace(fence, "fence.proxy.async.shared::cta;\n")).is_ok());
    // Nobody waits.
    let unawaited = text.replace("@!%p2 bra LAB;\n", "").replace("LAB: mbarrier.try_wait", "LAB: //");
    found(&good, &unawaited, FindingKind::Uninitialised, "ld.shared", "has not arrived");
    let unread = unawaited.replace("NEXT:", "bra OUT;\nNEXT:");
    found(&good, &unread, FindingKind::InFlight, "// copy", "nobody waits");
    // One warp waits, both read.
    let half = text
        .replace("@!%p2 bra LAB;", "@!%p2 bra LAB;\nBOTH: bar.sync 0;")
        .replace("LAB:", "setp.gt.u32 %p4, %r1, 31; @%p4 bra BOTH;\nLAB:");
    assert!(good.run_text(&half).is_ok());
    let one = half.replace("BOTH: bar.sync 0;", "BOTH:");
    let finding = good.run_text(&one).map(|_| ()).expect_err("a finding");
    assert!(matches!(finding.kind, FindingKind::Race | FindingKind::Uninitialised), "{finding}");
    let late = half.replace("BOTH: bar.sync 0;", "bar.sync 1, 32;\nBOTH:").replace("@%p4 bra BOTH;", "@%p4 bra WASTE;\nbra LAB;\nWASTE: add.u32 %r7, %r7, 1; setp.lt.u32 %p5, %r7, 100000; @%p5 bra WASTE; bra BOTH;\n");
    let finding = good.run_text(&late).map(|_| ()).expect_err("a finding");
    assert!(matches!(finding.kind, FindingKind::Race | FindingKind::Uninitialised), "{finding}");
    // Too few and too many bytes announced.
    let announced = format!("_, [%r2], {};", good.map.box_bytes());
    found(
        &good,
        &text.replace(&announced, "_, [%r2], 512;"),
        FindingKind::Barrier,
        "LAB:",
        "512 bytes more arrive",
    );
    found(
        &good,
        &text.replace(&announced, "_, [%r2], 2048;"),
        FindingKind::Deadlock,
        "LAB:",
        "2048 bytes missing",
    );
    // Two copies to one place.
    let copy = text.lines().find(|l| l.contains("// copy")).expect("the copy").to_string();
    let again = copy.replace("// copy", "// again");
    found(
        &good,
        &text.replace(&copy, &format!("{copy}\n{again}")),
        FindingKind::InFlight,
        "// again",
        "not waited for",
    );
}

/// Whoever uses the target must have been heard of before it is overwritten.
#[test]
fn targets_in_use_are_found() {
    let good = case(Swizzle::Bytes128, &[64, 20], &[64, 8], &[0, 0]);
    let text = good.text();
    // Other threads wrote before: they must fence, and be ordered before.
    let with = |fence: &str, barrier: &str| {
        text.replace(
            "@%p1 bra WAIT;",
            &format!("shl.b32 %r8, %r1, 2; add.u32 %r9, %r3, %r8; st.shared.u32 [%r9], %r1; // write\n{fence}\n{barrier}\n@%p1 bra WAIT;"),
        )
    };
    let (fence, barrier) = ("fence.proxy.async.shared::cta;", "bar.sync 0;");
    assert!(good.run_text(&with(fence, barrier)).is_ok());
    assert!(good.run_text(&with("fence.proxy.async;", barrier)).is_ok());
    found(&good, &with("", barrier), FindingKind::MissingFence, "// copy", "without fence.proxy.async");
    found(&good, &with("fence.proxy.async.global;", barrier), FindingKind::MissingFence, "// copy", "fence");
    // The other warp's write and the copy.
    let finding = good.run_text(&with(fence, "")).map(|_| ()).expect_err("a finding");
    assert_eq!(finding.kind, FindingKind::Race, "{finding}");
}

#[test]
fn stretches_of_memory() {
    let case = case(Swizzle::None, &[4096], &[256], &[0]);
    let line = case.text().lines().find(|l| l.contains("// copy")).expect("the copy").to_string();
    let with = |operands: &str| {
        let copy = format!(
            "mov.u32 %r20, 512; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes {operands}; // copy"
        );
        case.text().replace(&line, &copy)
    };
    let (words, _) = case.run_text(&with("[%r3], [%rd1+32], %r20, [%r2]")).expect("no finding");
    let found_words: Vec<u16> =
        words[ELEMENTS / 2..].iter().flat_map(|&w| [w as u16, (w >> 16) as u16]).collect();
    assert!((0..256).all(|i| found_words[i] == element(i + 16)));
    found(&case, &with("[%r3], [%rd1+8], %r20, [%r2]"), FindingKind::Misaligned, "// copy", "multiple of 16");
    found(&case, &with("[%r3+8], [%rd1], %r20, [%r2]"), FindingKind::Misaligned, "// copy", "multiple of 16");
    found(&case, &with("[%r3], [%rd1], 24, [%r2]"), FindingKind::Operand, "// copy", "multiples of 16");
    found(
        &case,
        &with("[%r3], [%rd1+1048576], %r20, [%r2]"),
        FindingKind::OutOfBounds,
        "// copy",
        "behind the end",
    );
}

#[test]
fn forms_that_are_not_emulated() {
    let copy = "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes";
    for (instruction, part) in [
        (format!("{copy} [%r1], [%rd1, {{%r1}}], [%r2];"), "1 coordinates"),
        (format!("{copy} [%r1], [%rd1], [%r2];"), "expected an address with coordinates"),
        (format!("{copy}.multicast::cluster [%r1], [%rd1, {{%r1, %r1}}], [%r2], %r3;"), "operands"),
        (copy.replace("2d", "6d") + " [%r1], [%rd1, {%r1}], [%r2];", "number of dimensions"),
        (
            "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd1, {%r1, %r1}], [%r2];".into(),
            "expected",
        ),
        ("cp.async.bulk.commit_group;".into(), "expected"),
    ] {
        let text = hopper_kernel("", &format!("\n{instruction} // here\n"));
        let error = match Module::load(&text, &mut Memory::default()) {
            Err(LoadError::Parse(error)) => error.to_string(),
            _ => panic!("accepted: {instruction}"),
        };
        assert!(error.contains(part) && error.contains("cp.async.bulk"), "{instruction}: {error}");
        assert!(error.contains(&format!("line {}:", line_of(&text, "// here"))), "{error}");
    }
}
