//! A pipeline of tensor copies, mbarriers and warpgroup products as NVRTC compiles it, against a plain product; and what
//! is found when something is missing.

mod common;
use common::{hopper, line_of, whole_numbers};
use ptx_emulator::{
    Argument, Counters, Finding, FindingKind, Grid, LaunchError, Memory, Module, Options, Swizzle, TensorMap,
    TensorType,
};

const TEXT: &str = include_str!("fixtures/hopper.ptx");
const ROWS: usize = 64;
const COLUMNS: usize = 128;
const DEPTH: usize = 64;

fn bf16(values: &[f32]) -> Vec<u16> {
    values.iter().map(|v| (v.to_bits() >> 16) as u16).collect()
}

struct Product {
    m: usize,
    n: usize,
    k: usize,
    transposed: bool,
}

impl Product {
    /// The kernel's result, the right one, counts.
    fn run(&self, text: &str, options: &Options) -> Result<(Vec<f32>, Vec<f32>, Counters), LaunchError> {
        let &Self { m, n, k, transposed } = self;
        let (a, b) = (whole_numbers(m * k, 1), whole_numbers(n * k, 2));
        let mut memory = Memory::default();
        let module = Module::load(text, &mut memory).unwrap_or_else(|e| panic!("{e}"));
        let (pa, pb) = (memory.upload(&bf16(&a)).expect("memory"), memory.upload(&bf16(&b)).expect("memory"));
        let pc = memory.allocate(4 * m * n).expect("memory");
        let map = |address, size: usize, box_size: u32| {
            let (dimensions, box_dimensions, stride) = match transposed {
                true => (vec![size as u64, k as u64], vec![64, DEPTH as u32], size as u64 * 2),
                false => (vec![k as u64, size as u64], vec![DEPTH as u32, box_size], k as u64 * 2),
            };
            let map = TensorMap {
                data_type: TensorType::Bf16,
                address,
                dimensions,
                strides: vec![stride],
                box_dimensions,
                element_strides: vec![1, 1],
                swizzle: Swizzle::Bytes128,
            };
            map.encode().unwrap_or_else(|e| panic!("{e}"))
        };
        let mut parameters = map(pa, m, ROWS as u32).to_vec();
        parameters.extend(map(pb, n, COLUMNS as u32));
        parameters.extend(pc.to_le_bytes());
        [m, n, k].iter().for_each(|&size| parameters.extend((size as u32).to_le_bytes()));
        parameters.resize(320, 0);
        let grid = Grid {
            blocks: [n.div_ceil(COLUMNS) as u32, m.div_ceil(ROWS) as u32, 1],
            threads: [256, 1, 1],
            shared: 3 * (ROWS + COLUMNS) * DEPTH * 2,
        };
        let name = if transposed { "gemm_mn_major" } else { "gemm_k_major" };
        let counters =
            module.launch_with(name, grid, &mut memory, &[Argument::Bytes(&parameters)], options)?;
        let element = |x: &[f32], i: usize, j: usize, size: usize| {
            if transposed { x[j * size + i] } else { x[i * k + j] }
        };
        let right = (0..m * n)
            .map(|i| (0..k).map(|j| element(&a, i / n, j, m) * element(&b, i % n, j, n)).sum())
            .collect();
        Ok((memory.download(pc, m * n).expect("memory"), right, counters))
    }
}

#[test]
fn products_are_right() {
    for transposed in [false, true] {
        for (m, n, k) in [(64, 128, 64), (64, 128, 448), (128, 256, 128), (72, 136, 200)] {
            let product = Product { m, n, k: k / 64 * 64, transposed };
            let (found, right, counters) =
                product.run(TEXT, &hopper()).unwrap_or_else(|e| panic!("{transposed} {m} {n} {k}: {e}"));
            assert!(found == right, "{transposed} {m} {n} {k}");
            let tiles = m.div_ceil(ROWS) * n.div_ceil(COLUMNS);
            assert_eq!(counters.matrix_flops as usize, 2 * tiles * ROWS * COLUMNS * (k / 64 * 64));
            assert_eq!(counters.shared.wavefronts, counters.shared.ideal, "{counters}");
        }
    }
}

#[test]
fn another_card_does_not_run_it() {
    let product = Product { m: 64, n: 128, k: 64, transposed: false };
    let result = product.run(TEXT, &Options { most_dynamic_shared: 163 << 10, ..Options::default() });
    assert!(result.is_err_and(|e| e.to_string().contains("sm_90a does not run on compute capability 8.0")));
    // Code for 8.0 runs on both, code for 9.0 as well where it is not of the kind that only one has.
    let run = |target: &str, options: &Options| {
        let text = common::kernel("", "st.global.u32 [%rd1], 1;").replace("sm_80", target);
        let mut memory = Memory::default();
        let module = Module::load(&text, &mut memory).expect("module");
        let place = memory.allocate(4).expect("memory");
        module.launch_with("k", Grid::line(1, 1), &mut memory, &[Argument::U64(place)], options).is_ok()
    };
    let cards = [Options::default(), hopper()];
    assert_eq!(cards.each_ref().map(|card| run("sm_80", card)), [true, true]);
    assert_eq!(cards.each_ref().map(|card| run("sm_90", card)), [false, true]);
    assert_eq!(cards.each_ref().map(|card| run("sm_90a", card)), [false, true]);
    assert_eq!(cards.each_ref().map(|card| run("sm_80a", card)), [true, false]);
}

/// Changes those lines of a range, counted from 1, for which `change` says so.
fn planted(lines: std::ops::Range<usize>, change: impl Fn(&str) -> Option<String>) -> String {
    let mut count = 0;
    let changed = TEXT.lines().enumerate().map(|(number, line)| {
        let changed = if lines.contains(&(number + 1)) { change(line) } else { None };
        count += usize::from(changed.is_some());
        changed.unwrap_or_else(|| line.to_string())
    });
    let text = changed.collect::<Vec<_>>().join("\n");
    assert!(count > 0, "nothing was changed");
    text
}

/// The first kernel: what its producer does, what its consumers do (from their first wait on), all.
fn parts() -> [std::ops::Range<usize>; 3] {
    let (consumers, end) = (line_of(TEXT, "wgmma.fence") - 12, line_of(TEXT, ".entry gemm_mn_major"));
    [1..consumers, consumers..end, 1..end]
}

/// Four rounds and a half of the pipeline.
const LONG: Product = Product { m: 64, n: 128, k: 9 * 64, transposed: false };

fn finding(text: &str) -> Finding {
    match LONG.run(text, &hopper()) {
        Err(LaunchError::Finding(finding)) => *finding,
        Err(error) => panic!("{error}"),
        Ok((found, right, _)) => panic!("no finding; the result is right: {}", found == right),
    }
}

fn without(part: &str) -> String {
    planted(parts()[2].clone(), |line| line.contains(part).then(|| format!("// {part}")))
}

#[test]
fn planted_faults_are_found() {
    let expect = |text: &str, kinds: &[FindingKind], part: &str| {
        let found = finding(text);
        assert!(kinds.contains(&found.kind), "{found}");
        assert!(text.lines().nth(found.line - 1).is_some_and(|line| line.contains(part)), "{found}");
        found
    };
    use FindingKind::{Barrier, Deadlock, InFlight, MissingFence, Operand, Race, Uninitialised};
    let [producer, consumers, all] = parts();
    let unwaited = |line: &str| (line == "@!p bra LAB;").then(String::new);
    // Nobody waits for the copies; only the first warp does.
    expect(&planted(consumers.clone(), unwaited), &[Uninitialised, Race], "wgmma.mma_async");
    let first = planted(consumers, |line| {
        let skip = ".reg .pred q;\nsetp.ge.u32 q, %r1, 32;\n@q setp.eq.u32 p, 0, 0;\n";
        (line == "@!p bra LAB;").then(|| format!("{skip}{line}"))
    });
    expect(&first, &[Race, Uninitialised], "wgmma.mma_async");
    expect(&without("wgmma.fence"), &[MissingFence], "wgmma.mma_async");
    let found = expect(&without("mbarrier.arrive.expect_tx"), &[Deadlock], "mbarrier.try_wait");
    assert!(found.message.contains("1 of 1 arrivals"), "{found}");
    // Arrived without announcing bytes: the phase ends before they come.
    let silent = planted(all.clone(), |line| {
        let address =
            line.split_once("mbarrier.arrive.expect_tx.shared::cta.b64 _, ")?.1.split(',').next()?;
        Some(format!("mbarrier.arrive.shared::cta.b64 _, {address};"))
    });
    expect(&silent, &[Uninitialised], "wgmma.mma_async");
    let twice = planted(all.clone(), |line| {
        line.contains("mov.u32")
            .then(|| line.replace(", 24576;", ", 24560;"))
            .filter(|changed| changed != line)
    });
    expect(&twice, &[Barrier], "mbarrier.try_wait");
    let found = expect(&without("mbarrier.arrive.shared::cta.b64 _"), &[Deadlock], "mbarrier.try_wait");
    let lines: Vec<usize> =
        found.message.split("PTX line ").skip(1).filter_map(|t| t.split(' ').next()?.parse().ok()).collect();
    assert!(
        lines.len() >= 2 && lines[0] != lines[lines.len() - 1],
        "producer and consumers are named: {found}"
    );
    // The producer does not wait until a stage is empty: it writes too early, or arrives before the phase is over.
    expect(&planted(producer, unwaited), &[Barrier, Race, InFlight], "");
    // Stages are given back before the products that read them were waited for.
    let late = planted(all.clone(), |line| {
        line.contains("wgmma.wait_group").then(|| "wgmma.wait_group.sync.aligned 1;".into())
    });
    expect(&late, &[Race, InFlight], "");
    expect(&without("wgmma.wait_group"), &[Race, InFlight], "");
    expect(&without("wgmma.commit_group"), &[Race, InFlight], "");
    expect(&without("fence.mbarrier_init"), &[MissingFence], "cp.async.bulk");
    expect(&without("bar.sync"), &[Race, Barrier], "mbarrier");
    let map = planted(all.clone(), |line| {
        line.contains("cp.async.bulk").then(|| line.replace("[%rd1, ", "[%rd1+64, "))
    });
    expect(&map, &[Operand], "cp.async.bulk");
}

/// Leading and stride offsets that change places give a wrong product, or touch what is not there.
#[test]
fn swapped_offsets_of_descriptors_are_noticed() {
    let product = Product { m: 64, n: 128, k: 64, transposed: true };
    // B_BYTES / 2 >> 4 in bits 16 on, 1024 >> 4 in bits 32 on.
    let (right, swapped) = ((1u64 << 62) + (64 << 32) + (512 << 16), (1u64 << 62) + (512 << 32) + (64 << 16));
    let second = line_of(TEXT, ".entry gemm_mn_major")..usize::MAX;
    let text = planted(second, |line| {
        line.contains(&right.to_string()).then(|| line.replace(&right.to_string(), &swapped.to_string()))
    });
    match product.run(&text, &hopper()) {
        Ok((found, right, _)) => assert!(found != right, "swapped offsets went unseen"),
        Err(LaunchError::Finding(finding)) => assert!(matches!(
            finding.kind,
            FindingKind::Race | FindingKind::Uninitialised | FindingKind::OutOfBounds
        )),
        Err(error) => panic!("{error}"),
    }
}
