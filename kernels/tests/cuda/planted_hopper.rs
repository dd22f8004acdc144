//! Faults planted in the kernels for compute capability 9.0 alone, as in `planted`: what orders copies, products and the
//! results that take the stages' place.

use crate::card::Card;
use crate::planted::{barriers_of, find, finding, kernel, line, lines, moved, plant, removed};
use genesis_kernels::cuda::cases::{Part, on_hopper};
use genesis_kernels::cuda::{Format, KERNELS, Kernel, Target};
use ptx_emulator::FindingKind::{self, Barrier, Deadlock, InFlight, MissingFence, MissingLanes};
use ptx_emulator::FindingKind::{Misaligned, Operand, Race, Uninitialised};

/// Those in f16 are the same text but for the products' format.
fn kernels() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| kernel.is_hopper() && kernel.name.contains("_bf16_"))
}

/// Every line that holds `pattern`, changed, one at a time: each change is noticed, as one of some kinds.
fn noticed(pattern: &str, change: impl Fn(&str) -> String, kinds: &[FindingKind]) {
    for kernel in kernels() {
        let all = lines(kernel, pattern);
        assert!(!all.is_empty(), "{}: no {pattern}", kernel.name);
        for number in all {
            let found = find(kernel, number, &change);
            assert!(kinds.contains(&found.kind), "{}: {found}", line(kernel, number));
        }
    }
}

#[test]
fn a_barrier_less() {
    barriers_of(kernels());
}

/// Full and empty stages alike.
#[test]
fn a_wait_for_a_phase_less() {
    let at_once = |line: &str| {
        let (wait, rest) = line.split_once("selp.u32 ").unwrap();
        let register = rest.split(',').next().unwrap();
        format!("{wait}mov.u32 {register}, 1; }}")
    };
    noticed("mbarrier.try_wait", at_once, &[Race, Uninitialised, InFlight]);
}

#[test]
fn a_barrier_that_is_not_made() {
    noticed("mbarrier.init", removed, &[Barrier, Uninitialised]);
}

/// Nobody gives a stage back, nobody says how many bytes come, or they do not come.
#[test]
fn an_arrival_or_a_copy_less() {
    noticed("mbarrier.arrive.shared", removed, &[Deadlock]);
    noticed("mbarrier.arrive.expect_tx", removed, &[Deadlock, Barrier]);
    noticed("cp.async.bulk.tensor", removed, &[Deadlock]);
}

/// Products: begun without a fence, in no group, awaited too late or not.
#[test]
fn products_out_of_order() {
    noticed("wgmma.fence", removed, &[MissingFence]);
    noticed("wgmma.commit_group", removed, &[InFlight, Race]);
    noticed("wgmma.wait_group.sync.aligned 0", removed, &[InFlight]);
    let weaker = |line: &str| line.replace("aligned 1", "aligned 2");
    noticed("wgmma.wait_group.sync.aligned 1", weaker, &[InFlight, Race]);
    let halved = |line: &str| {
        let lower = "{ .reg .pred planted; .reg .b32 planted_lane; mov.u32 planted_lane, %laneid; \
                     setp.lt.u32 planted, planted_lane, 16; ";
        line.replacen("{ ", lower, 1).replacen("wgmma.", "@planted wgmma.", 1)
    };
    noticed("wgmma.mma_async", halved, &[MissingLanes]);
}

#[test]
fn a_copy_to_an_odd_address() {
    noticed("cp.async.bulk.tensor", |line| moved(line, 0, 16), &[Misaligned, Operand]);
}

/// Of the two fences behind new barriers either does for the emulator, which cannot tell threads of one block apart by
/// the scope of a fence: the manual asks for both.
#[test]
fn one_fence_of_two() {
    for kernel in kernels() {
        for fence in ["fence.mbarrier_init", "fence.proxy.async"] {
            let [number] = lines(kernel, fence)[..] else { panic!("{}: {fence}", kernel.name) };
            assert_eq!(finding(kernel, &plant(kernel, number, removed)), None);
        }
    }
}

/// No rule is broken by wrong operands: the results tell.
#[test]
fn swapped_operands() {
    let swapped = |line: &str, [first, second]: [usize; 2], open: &str, close: &str| {
        let (head, rest) = line.split_once(open).unwrap();
        let (list, tail) = rest.split_once(close).unwrap();
        let mut operands: Vec<&str> = list.split(", ").collect();
        operands.swap(first, second);
        format!("{head}{open}{}{close}{tail}", operands.join(", "))
    };
    for (name, pattern, which, open, close, transposed) in [
        // Width and height of a box of voxels; column and tap of the weight; left and right of a product.
        ("conv3d_hopper_bf16_128x64", "bulk.tensor.5d", [1, 2], "{", "}", false),
        ("conv3d_hopper_bf16_128x128", "bulk.tensor.3d", [1, 2], "{", "}", false),
        ("conv3d_hopper_bf16_128x64", "wgmma.mma_async", [0, 1], "}, ", ", add", false),
        ("conv3d_hopper_weight_bf16_64x64", "bulk.tensor.5d", [1, 3], "{", "}", false),
        ("conv3d_hopper_weight_bf16_64x64", "wgmma.mma_async", [0, 1], "}, ", ", add", false),
        ("conv_transpose3d_hopper_bf16_128x128", "bulk.tensor.3d", [1, 2], "{", "}", true),
    ] {
        let kernel = kernel(name);
        let number = lines(kernel, pattern)[0];
        let text = plant(kernel, number, |line| swapped(line, which, open, close));
        let [plain, doubled] = on_hopper(Format::Bf16);
        let case = if transposed { doubled } else { plain }.into_iter().find(|case| {
            let mut card = Card::on(Target::Sm90a);
            let parts = case.run(&mut card).unwrap();
            assert!(parts.iter().all(Part::passed), "{}", case.label());
            card.counters.iter().any(|(other, _)| *other == name)
        });
        let case = case.unwrap_or_else(|| panic!("no case runs {name}"));
        let mut card = Card::with_planted(kernel, &text);
        card.target = Target::Sm90a;
        let parts = case.run(&mut card).unwrap();
        let wrong = parts.iter().any(|part| !part.passed());
        assert!(card.finding.is_none() && wrong, "{name}, {pattern}: {}", case.label());
    }
}
