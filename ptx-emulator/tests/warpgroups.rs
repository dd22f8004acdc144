//! `wgmma` against its definition by brute force, and what is found when fences and waits are missing.

mod common;
use common::{hopper_kernel, line_of, run_hopper, whole_numbers};
use ptx_emulator::{Finding, FindingKind, LoadError, Memory, Module};

/// Bytes of shared memory that a product reads from, and words before the sums in device memory.
const IMAGE: usize = 128 << 10;
const SUMS: usize = IMAGE / 4 + 64;

#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Descriptor's number, bits that change places.
    swizzle: (u64, usize),
    transposed: bool,
    /// Bytes from the first of the image.
    start: usize,
    leading: usize,
    stride: usize,
}

/// Coordinates in a shape, the first fastest, times strides.
fn canonical(mut index: usize, shape: &[usize], strides: &[usize]) -> usize {
    let mut at = 0;
    for (size, stride) in shape.iter().zip(strides) {
        at += index % size * stride;
        index /= size;
    }
    at
}

impl Layout {
    fn descriptor(&self, base: usize) -> u64 {
        let field = |bytes: usize| (bytes as u64 & 0x3ffff) >> 4;
        field(base + self.start) | field(self.leading) << 16 | field(self.stride) << 32 | self.swizzle.0 << 62
    }

    /// Byte of element (row, k), as the manual's table of canonical layouts has it, in elements of 16 bits.
    fn byte(&self, base: usize, row: usize, k: usize) -> usize {
        const T: usize = 8;
        let (leading, stride) = (self.leading / 2, self.stride / 2);
        let w = 1 << self.swizzle.1;
        let many = usize::MAX;
        let element = match (self.transposed, w) {
            (false, 1) => canonical(row, &[8, many], &[T, stride]) + canonical(k, &[T, many], &[1, leading]),
            (false, _) => canonical(row, &[8, many], &[w * T, stride]) + canonical(k, &[T, many], &[1, T]),
            (true, 1) => {
                canonical(row, &[T, 1, many], &[1, T, stride]) + canonical(k, &[8, many], &[T, leading])
            }
            (true, _) => {
                canonical(row, &[T, w, many], &[1, T, leading]) + canonical(k, &[8, many], &[w * T, stride])
            }
        };
        // Swizzle<B, 4, 3>; the image lies at a multiple of 1024.
        let address = base + self.start + 2 * element;
        let mask = (w - 1) << 4;
        address ^ (address >> 3 & mask)
    }
}

struct Product {
    n: usize,
    half: bool,
    left: Layout,
    right: Layout,
    signs: [i32; 2],
    adds: bool,
}

fn bits(value: f32, half: bool) -> u16 {
    if !half {
        return (value.to_bits() >> 16) as u16;
    }
    // Whole numbers below 8 in f16.
    let sign = if value < 0.0 { 0x8000 } else { 0 };
    match value.abs() as u32 {
        0 => 0,
        v => sign | (15 + v.ilog2() as u16) << 10 | ((v << (10 - v.ilog2())) as u16 & 1023),
    }
}

impl Product {
    /// One product; `// begin` stands before it.
    fn text(&self) -> String {
        let n = self.n;
        let sums: Vec<String> = (0..n / 2).map(|i| format!("%f{i}")).collect();
        let sums = sums.join(", ");
        let kind = if self.half { "f16.f16" } else { "bf16.bf16" };
        let each = |line: &str| -> String {
            (0..n / 2)
                .map(|i| line.replace("REG", &format!("%f{i}")).replace("AT", &(4 * i).to_string()) + "\n")
                .collect()
        };
        let [ta, tb] = [self.left, self.right].map(|l| u32::from(l.transposed));
        let [sa, sb] = self.signs;
        hopper_kernel(
            &format!(".shared .align 1024 .b8 s[{IMAGE}];"),
            &format!(
                "mov.u32 %r1, %tid.x; mov.u32 %r3, s; shl.b32 %r4, %r1, 4;\n\
                 COPY: cvt.u64.u32 %rd2, %r4; add.s64 %rd2, %rd1, %rd2; ld.global.v4.u32 {{%r5, %r6, %r7, %r8}}, [%rd2];\n\
                 add.u32 %r9, %r3, %r4; st.shared.v4.u32 [%r9], {{%r5, %r6, %r7, %r8}}; // fill\n\
                 mov.u32 %r10, %ntid.x; shl.b32 %r10, %r10, 4; add.u32 %r4, %r4, %r10; setp.lt.u32 %p1, %r4, {IMAGE}; @%p1 bra COPY;\n\
                 fence.proxy.async;\nbar.sync 0;\n\
                 ld.global.u64 %rd3, [%rd1+{IMAGE}]; ld.global.u64 %rd4, [%rd1+{}]; ld.global.u32 %r11, [%rd1+{}];\n\
                 cvt.u64.u32 %rd7, %r3; shr.u64 %rd7, %rd7, 4; add.u64 %rd3, %rd3, %rd7; add.u64 %rd4, %rd4, %rd7;\n\
                 setp.ne.u32 %p2, %r11, 0; mul.wide.u32 %rd5, %r1, {}; add.s64 %rd5, %rd1, %rd5; add.s64 %rd5, %rd5, {};\n\
                 {}// begin\n\
                 wgmma.fence.sync.aligned;\n\
                 wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{kind} {{{sums}}}, %rd3, %rd4, %p2, {sa}, {sb}, {ta}, {tb}; // product\n\
                 wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n\
                 {}",
                IMAGE + 8,
                IMAGE + 16,
                2 * n,
                4 * SUMS,
                each("ld.global.f32 REG, [%rd5+AT];"),
                each("st.global.f32 [%rd5+AT], REG;"),
            ),
        )
    }

    /// Image, descriptors (counted from the image's start), sums.
    fn words(&self) -> Vec<u32> {
        let values = whole_numbers(IMAGE / 2, 7);
        let pair = |p: &[f32]| u32::from(bits(p[0], self.half)) | u32::from(bits(p[1], self.half)) << 16;
        let mut words: Vec<u32> = values.chunks(2).map(pair).collect();
        for layout in [self.left, self.right] {
            let descriptor = layout.descriptor(0);
            words.extend([descriptor as u32, (descriptor >> 32) as u32]);
        }
        words.push(u32::from(self.adds));
        words.resize(SUMS, 0);
        words.extend(whole_numbers(64 * self.n, 9).iter().map(|v| v.to_bits()));
        words
    }

    fn run_text(&self, text: &str, threads: u32) -> Result<Vec<u32>, Finding> {
        run_hopper(text, threads, &self.words(), |_| Vec::new()).map(|result| result.0)
    }

    fn check(&self) {
        let words = self.run_text(&self.text(), 128).unwrap_or_else(|e| panic!("{e}"));
        let values = whole_numbers(IMAGE / 2, 7);
        let sums = whole_numbers(64 * self.n, 9);
        let read = |layout: &Layout, row: usize, k: usize| values[layout.byte(0, row, k) / 2];
        let sign = (self.signs[0] * self.signs[1]) as f32;
        for thread in 0..128 {
            for i in 0..self.n / 2 {
                let (warp, lane) = (thread / 32, thread % 32);
                let row = 16 * warp + lane / 4 + i / 2 % 2 * 8;
                let column = i / 4 * 8 + lane % 4 * 2 + i % 2;
                let at = thread * self.n / 2 + i;
                let before = if self.adds { sums[at] } else { 0.0 };
                let product: f32 =
                    (0..16).map(|k| read(&self.left, row, k) * read(&self.right, column, k)).sum();
                let found = f32::from_bits(words[SUMS + at]);
                assert_eq!(found, before + sign * product, "{:?} {:?} n {}", self.left, self.right, self.n);
            }
        }
    }
}

/// A layout that fits, starting somewhere.
fn layout(number: u64, transposed: bool, start: usize) -> Layout {
    let bits = [0, 3, 2, 1][number as usize];
    let span = 16 << bits;
    let (leading, stride) = match (transposed, bits) {
        // Far enough apart that nothing overlaps.
        (false, 0) => (32 << 10, 128 + 16),
        (false, _) => (16, 8 * span + 1024),
        (true, 0) => (32 << 10, 128),
        (true, _) => (16 * span + 1024, 8 * span),
    };
    Layout { swizzle: (number, bits), transposed, start, leading, stride }
}

fn simple(n: usize) -> Product {
    let (left, right) = (layout(1, false, 0), layout(1, false, 32 << 10));
    Product { n, half: false, left, right, signs: [1, 1], adds: true }
}

#[test]
fn every_layout() {
    for number in 0..4 {
        for transposed in [false, true] {
            let (left, right) = (layout(number, transposed, 0), layout(3 - number, !transposed, 64 << 10));
            Product { left, right, ..simple(64) }.check();
            Product {
                left: layout(3 - number, transposed, 0),
                right: layout(number, transposed, 64 << 10),
                half: true,
                ..simple(16)
            }
            .check();
        }
    }
    // Further columns of the same atom: 32 bytes on in a row, 16 rows on.
    let mut on = simple(24);
    on.left.start += 96;
    on.right =
        Layout { transposed: true, leading: 4096, stride: 1024, start: on.right.start + 2048, ..on.right };
    on.check();
}

#[test]
fn every_number_of_columns() {
    for n in (8..=256).step_by(8) {
        let mut product = simple(n);
        product.right = layout(2, n % 16 == 0, 64 << 10);
        product.right.stride = 8 * 64;
        product.right.leading = 16 * 64;
        product.check();
    }
}

#[test]
fn signs_and_sums() {
    for signs in [[1, -1], [-1, 1], [-1, -1]] {
        Product { signs, ..simple(8) }.check();
    }
    for half in [false, true] {
        Product { adds: false, half, ..simple(32) }.check();
    }
}

fn found(text: &str, threads: u32, kind: FindingKind, part: &str, words: &str) {
    let finding = simple(8).run_text(text, threads).map(|_| ()).expect_err(words);
    assert_eq!((finding.kind, finding.line), (kind, line_of(text, part)), "{finding}\n{text}");
    assert!(finding.message.contains(words), "{finding}");
}

#[test]
fn missing_fences_and_waits_are_found() {
    let text = simple(8).text();
    let (fence, wait) = ("wgmma.fence.sync.aligned;\n", "wgmma.wait_group.sync.aligned 0;\n");
    let commit = "wgmma.commit_group.sync.aligned;\n";
    assert!(simple(8).run_text(&text, 128).is_ok());
    found(&text.replace(fence, ""), 128, FindingKind::MissingFence, "// product", "no wgmma.fence");
    let early = text.replace(fence, "").replace("// begin\n", &format!("{fence}mov.f32 %f3, 0f00000000;\n"));
    found(&early, 128, FindingKind::MissingFence, "// product", "no wgmma.fence");
    // Sums are used before the wait: read, written, waited for one group too few, or never committed.
    let store = "st.global.f32 [%rd5+0]";
    found(&text.replace(wait, ""), 128, FindingKind::InFlight, store, "under way");
    found(
        &text.replace("group.sync.aligned 0", "group.sync.aligned 1"),
        128,
        FindingKind::InFlight,
        store,
        "under way",
    );
    found(&text.replace(commit, ""), 128, FindingKind::InFlight, store, "under way");
    let write = text.replace(commit, &format!("{commit}mov.f32 %f2, 0f00000000; // write\n"));
    found(&write, 128, FindingKind::InFlight, "// write", "under way");
    let unread: String = text.replace(wait, "bra OUT;\n").replace("ret;", "OUT: ret;");
    found(&unread, 128, FindingKind::InFlight, "// product", "nobody waits");
    // Operands: written without a proxy fence, without a barrier, while they are read.
    found(
        &text.replace("fence.proxy.async;\n", ""),
        128,
        FindingKind::MissingFence,
        "// product",
        "without fence.proxy.async",
    );
    found(&text.replace("bar.sync 0;\n", ""), 128, FindingKind::Race, "// product", "no barrier");
    let over = text.replace(wait, &format!("st.shared.u32 [%r3], 0; // over\n{wait}"));
    found(&over, 128, FindingKind::Race, "// over", "a product of warpgroup 0");
    let after = text.replace(wait, &format!("{wait}st.shared.u32 [%r3], 0; // over\n"));
    assert!(simple(8).run_text(&after, 128).is_ok());
}

#[test]
fn products_of_one_shape_need_no_fence_between() {
    let product = simple(8);
    let text = product.text();
    let line = text.lines().find(|l| l.contains("// product")).expect("a product").to_string();
    let second = line.replace("// product", "// second");
    let twice = text.replace(&line, &format!("{line}\nwgmma.commit_group.sync.aligned;\n{second}"));
    let (once, both) = (product.run_text(&text, 128), product.run_text(&twice, 128));
    let (once, both) = (once.expect("no finding"), both.expect("no finding"));
    let start = product.words();
    for i in SUMS..SUMS + 512 {
        let [start, once, both] = [start[i], once[i], both[i]].map(f32::from_bits);
        assert_eq!(both - start, 2.0 * (once - start));
    }
    let wider = second.replace("m64n8k16", "m64n16k16").replace("%f3}", "%f3, %f4, %f5, %f6, %f7}");
    let other = text.replace(&line, &format!("{line}\n{wider}"));
    found(&other, 128, FindingKind::MissingFence, "// second", "different shapes");
}

/// Two groups of products under way, each with its own sums: those of the first may be used when one group is left.
#[test]
fn products_in_two_groups() {
    let product = simple(8);
    let text = product.text();
    let line = text.lines().find(|l| l.contains("// product")).expect("a product").to_string();
    let second =
        line.replace("%f0, %f1, %f2, %f3", "%f10, %f11, %f12, %f13").replace("// product", "// second");
    let (commit, wait) = ("wgmma.commit_group.sync.aligned;\n", "wgmma.wait_group.sync.aligned 0;\n");
    let left = |n: usize| {
        let wait = wait.replace('0', &n.to_string());
        text.replace(&line, &format!("{line}\n{commit}{second}"))
            .replace("wgmma.wait_group.sync.aligned 0;\n", &wait)
            .replace("ret;", &format!("{}ret;", wait.replace(&n.to_string(), "0")))
    };
    let plain = product.run_text(&text, 128).expect("no finding");
    assert_eq!(product.run_text(&left(1), 128).expect("no finding"), plain);
    found(&left(2), 128, FindingKind::InFlight, "st.global.f32 [%rd5+0]", "under way");
    let early =
        left(1).replace("st.global.f32 [%rd5+0]", "mov.f32 %f20, %f11; // early\nst.global.f32 [%rd5+0]");
    found(&early, 128, FindingKind::InFlight, "// early", &line_of(&early, "// second").to_string());
}

/// Two warpgroups read one operand; whoever overwrites it must have heard of both.
#[test]
fn operands_of_two_warpgroups() {
    let body = |count: u32, arrives: &str| {
        hopper_kernel(
            ".shared .align 1024 .b8 s[4096]; .shared .align 8 .b64 bar;",
            &format!(
                "mov.u32 %r1, %tid.x; mov.u32 %r2, bar; mov.u32 %r3, s; shl.b32 %r4, %r1, 4; add.u32 %r4, %r3, %r4;\n\
                 setp.lt.u32 %p1, %r1, 256; @%p1 st.shared.v4.u32 [%r4], {{%r9, %r9, %r9, %r9}};\n\
                 setp.eq.u32 %p2, %r1, 0; @%p2 mbarrier.init.shared.b64 [%r2], {count};\nfence.proxy.async;\nbar.sync 0;\n\
                 @!%p1 bra WRITER;\nshr.u32 %r5, %r3, 4; cvt.u64.u32 %rd2, %r5; mov.u64 %rd3, {}; or.b64 %rd2, %rd2, %rd3;\n\
                 wgmma.fence.sync.aligned;\n\
                 wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%f0, %f1, %f2, %f3}}, %rd2, %rd2, %p1, 1, 1, 0, 0;\n\
                 wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nand.b32 %r6, %r1, 127; {arrives}\n\
                 @%p3 mbarrier.arrive.shared.b64 _, [%r2];\nbra OUT;\n\
                 WRITER: mbarrier.try_wait.parity.shared.b64 %p4, [%r2], 0;\n@!%p4 bra WRITER;\n\
                 st.shared.u32 [%r3], %r1; // over\nOUT:\n",
                // Rows of 32 bytes, swizzled; eight rows are 256.
                3u64 << 62 | 16 << 32 | 1 << 16
            ),
        )
    };
    let run = |text: &str| run_hopper(text, 257, &[0], |_| Vec::new()).map(|_| ());
    run(&body(2, "setp.eq.u32 %p3, %r6, 0;")).expect("no finding");
    for own in [0, 128] {
        let text = body(1, &format!("setp.eq.u32 %p3, %r1, {own};"));
        let finding = run(&text).expect_err("a finding");
        assert_eq!((finding.kind, finding.line), (FindingKind::Race, line_of(&text, "// over")), "{finding}");
        assert!(finding.message.contains(&format!("a product of warpgroup {}", 1 - own / 128)), "{finding}");
    }
}

#[test]
fn warpgroups_must_be_whole() {
    let text = simple(8).text();
    found(&text, 96, FindingKind::MissingLanes, "wgmma.fence", "never come");
    let part =
        text.replace("// begin\n", "setp.lt.u32 %p3, %r1, 96; @!%p3 bra OUT;\n").replace("ret;", "OUT: ret;");
    found(&part, 128, FindingKind::MissingLanes, "wgmma.fence", "never come");
    let lane =
        text.replace("// begin\n", "setp.ne.u32 %p3, %r1, 40; @!%p3 bra OUT;\n").replace("ret;", "OUT: ret;");
    found(&lane, 128, FindingKind::MissingLanes, "wgmma.fence", "never come");
    let apart = text
        .replace("// begin\n", "setp.lt.u32 %p3, %r1, 32; @%p3 bra OTHER;\n")
        .replace("ret;", "ret;\nOTHER: wgmma.fence.sync.aligned; // other\nret;");
    let finding = simple(8).run_text(&apart, 128).map(|_| ()).expect_err("a finding");
    let lines = [line_of(&apart, "wgmma.fence"), line_of(&apart, "// other")];
    assert!(
        finding.kind == FindingKind::MissingLanes
            && lines.iter().all(|l| finding.message.contains(&l.to_string())),
        "{finding}"
    );
    let differ = text.replace("// begin\n", "setp.eq.u32 %p3, %r1, 77; @%p3 add.u64 %rd4, %rd4, 1;\n");
    found(&differ, 128, FindingKind::Operand, "// product", "descriptor of B differs");
}

#[test]
fn descriptors_that_cannot_be() {
    let text = simple(8).text();
    let with = |bit: u32| {
        text.replace(
            "// begin\n",
            &format!("mov.u64 %rd9, 1; shl.b64 %rd9, %rd9, {bit}; or.b64 %rd4, %rd4, %rd9;\n"),
        )
    };
    found(&with(49), 128, FindingKind::Operand, "// product", "base offset");
    found(&with(53), 128, FindingKind::Operand, "// product", "must be zero");
    let far = text.replace("// begin\n", "or.b64 %rd4, %rd4, 16383;\n");
    found(&far, 128, FindingKind::OutOfBounds, "// product", "out of bounds");
    let empty = text.replace("st.shared.v4", "@%p39 st.shared.v4");
    found(&empty, 128, FindingKind::Uninitialised, "// product", "nobody has written");
}

#[test]
fn numbers_of_registers() {
    let text = simple(8).text();
    let with = |line: &str| text.replace("// begin\n", line);
    assert!(
        simple(8)
            .run_text(
                &with("setmaxnreg.inc.sync.aligned.u32 240;\nsetmaxnreg.dec.sync.aligned.u32 24;\n"),
                128
            )
            .is_ok()
    );
    let part = with("setp.lt.u32 %p3, %r1, 64;\n@%p3 setmaxnreg.dec.sync.aligned.u32 40; // part\n");
    let finding = simple(8).run_text(&part, 128).map(|_| ()).expect_err("a finding");
    assert_eq!(finding.kind, FindingKind::MissingLanes, "{finding}");
    // Three groups of 240 are more than there are.
    let many = hopper_kernel("", "setmaxnreg.inc.sync.aligned.u32 240;\n");
    let finding = run_hopper(&many, 384, &[0], |_| Vec::new()).map(|_| ()).expect_err("a finding");
    assert!(
        finding.kind == FindingKind::Deadlock && finding.message.contains("92160 registers"),
        "{finding}"
    );
    assert!(run_hopper(&many, 256, &[0], |_| Vec::new()).is_ok());
}

#[test]
fn forms_that_are_not_emulated() {
    let sums = "{%f0, %f1, %f2, %f3}";
    let product = |kind: &str, rest: &str| format!("wgmma.mma_async.sync.aligned.{kind} {rest};");
    for (instruction, part) in [
        (
            product("m64n12k16.f32.bf16.bf16", &format!("{sums}, %rd1, %rd1, %p1, 1, 1, 0, 0")),
            "unknown shape",
        ),
        (
            product("m64n264k16.f32.bf16.bf16", &format!("{sums}, %rd1, %rd1, %p1, 1, 1, 0, 0")),
            "unknown shape",
        ),
        (product("m64n8k8.f32.tf32.tf32", &format!("{sums}, %rd1, %rd1, %p1, 1, 1")), "only sums in f32"),
        (
            product("m64n8k16.f16.f16.f16", &format!("{sums}, %rd1, %rd1, %p1, 1, 1, 0, 0")),
            "only sums in f32",
        ),
        (
            product("m64n16k16.f32.bf16.bf16", &format!("{sums}, %rd1, %rd1, %p1, 1, 1, 0, 0")),
            "4 registers of sums, expected 8",
        ),
        (
            product("m64n8k16.f32.bf16.bf16", "{%f0, %f1, %f1, %f3}, %rd1, %rd1, %p1, 1, 1, 0, 0"),
            "different ones",
        ),
        (
            product("m64n8k16.f32.bf16.bf16", &format!("{sums}, {{%r1, %r2, %r3, %r4}}, %rd1, %p1, 1, 1, 0")),
            "A in registers",
        ),
        (product("m64n8k16.f32.bf16.bf16", &format!("{sums}, %rd1, %rd1, %p1, 2, 1, 0, 0")), "imm-scale"),
        (product("m64n8k16.f32.bf16.bf16", &format!("{sums}, %rd1, %rd1, %p1, 1, 1, 0, 2")), "imm-trans"),
        ("wgmma.fence.aligned;".into(), "expected .sync.aligned"),
        ("wgmma.wait_group.sync.aligned %r1;".into(), "must be a number"),
        ("setmaxnreg.inc.sync.aligned.u32 28;".into(), "28 registers"),
        ("setmaxnreg.inc.sync.aligned.u32 264;".into(), "264 registers"),
        ("setmaxnreg.dec.sync.aligned.u32 16;".into(), "16 registers"),
    ] {
        let load = |text: &str| match Module::load(text, &mut Memory::default()) {
            Err(LoadError::Parse(error)) => error.to_string(),
            _ => panic!("accepted: {instruction}"),
        };
        let text = hopper_kernel("", &format!("\n{instruction} // here\n"));
        let error = load(&text);
        let opcode = instruction.split([' ', ';']).next().expect("an opcode");
        assert!(error.contains(part) && error.contains(opcode), "{instruction}: {error}");
        assert!(error.contains(&format!("line {}:", line_of(&text, "// here"))), "{error}");
        assert!(load(&text.replace("sm_90a", "sm_90")).contains("needs .target sm_90a"));
    }
}
