//! Faults planted in the kernels that we ship: one line of their PTX is changed, and the ordinary launches must end in
//! a finding that names the kernel and a line, or, where the fault is one of arithmetic, miss the bound of their case.
//! Unchanged, everything passes.

use crate::card::Card;
use crate::scenes::{self, Scene};
use genesis_kernels::cuda::cases::{Convolution, Part, on_tensor_cores};
use genesis_kernels::cuda::{Format, KERNELS, Kernel, ptx};
use ptx_emulator::{Finding, FindingKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Numbers of the scenes that launch each kernel; all of them pass as shipped.
fn scenes_by_kernel() -> &'static BTreeMap<&'static str, Vec<usize>> {
    static SCENES: OnceLock<BTreeMap<&'static str, Vec<usize>>> = OnceLock::new();
    SCENES.get_or_init(|| {
        let next = AtomicUsize::new(0);
        let mut found: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let part = || {
            let (scenes, mut launched) = (scenes::all(), Vec::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(Scene { run, .. }) = scenes.get(number) else { return launched };
                let mut card = Card::default();
                run(&mut card);
                launched.extend(card.counters.iter().map(|&(kernel, _)| (kernel, number)));
            }
        };
        let halves = std::thread::scope(|scope| {
            let other = scope.spawn(part);
            [part(), other.join().unwrap()]
        });
        for (kernel, number) in halves.into_iter().flatten() {
            found.entry(kernel).or_default().push(number);
        }
        for numbers in found.values_mut() {
            numbers.sort_unstable();
            numbers.dedup();
        }
        found
    })
}

#[test]
fn every_kernel_of_the_table_runs_in_a_scene() {
    let known = scenes_by_kernel();
    let missing: Vec<&str> =
        KERNELS.iter().map(|kernel| kernel.name).filter(|name| !known.contains_key(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let shapes: BTreeSet<String> = scenes::all().into_iter().map(|scene| scene.shape).collect();
    assert_eq!(shapes.len(), scenes::all().len(), "two scenes of one name");
}

pub fn kernel(name: &str) -> &'static Kernel {
    KERNELS.iter().find(|kernel| kernel.name == name).unwrap()
}

/// The lines of a kernel within its module, counted from 0.
fn body(kernel: &Kernel) -> Range<usize> {
    let text = ptx(kernel.module).unwrap();
    let entry = format!(".entry {}(", kernel.name);
    let first = text.lines().position(|line| line.contains(&entry)).unwrap();
    first..first + text.lines().skip(first).position(|line| line == "}").unwrap()
}

/// Lines of the kernel that hold `pattern`, counted from 0.
pub fn lines(kernel: &Kernel, pattern: &str) -> Vec<usize> {
    let (text, body) = (ptx(kernel.module).unwrap(), body(kernel));
    let numbered = text.lines().enumerate().skip(body.start).take(body.len());
    numbered.filter(|(_, line)| line.contains(pattern)).map(|(number, _)| number).collect()
}

pub fn line(kernel: &Kernel, number: usize) -> &'static str {
    ptx(kernel.module).unwrap().lines().nth(number).unwrap()
}

/// The kernel with one line changed: that, and nothing else. Of its module only what it needs stays, each line at its
/// number.
pub fn plant(kernel: &Kernel, number: usize, change: impl Fn(&str) -> String) -> String {
    let (text, own) = (ptx(kernel.module).unwrap(), body(kernel));
    assert!(own.contains(&number));
    let mut inside = false;
    let mut new = Vec::new();
    for (at, line) in text.lines().enumerate() {
        inside |= line.contains(".entry ");
        let elsewhere = inside && !(own.start..=own.end).contains(&at);
        new.push(if elsewhere { String::new() } else { line.to_string() });
        inside &= line != "}";
    }
    new[number] = change(&new[number]);
    assert!(new[number] != line(kernel, number) && !new[number].contains('\n'));
    new.join("\n")
}

/// What the kernel's scenes find.
pub fn finding(kernel: &'static Kernel, text: &str) -> Option<Finding> {
    let scenes = scenes::all();
    scenes_by_kernel()[kernel.name].iter().find_map(|&number| {
        let mut card = Card::with_planted(kernel, text);
        (scenes[number].run)(&mut card);
        card.finding
    })
}

/// What they find must be of this kernel.
pub fn find(kernel: &'static Kernel, number: usize, change: impl Fn(&str) -> String) -> Finding {
    let place = || format!("{}, PTX line {}: {}", kernel.name, number + 1, line(kernel, number));
    let found = finding(kernel, &plant(kernel, number, change));
    let found = found.unwrap_or_else(|| panic!("nobody noticed the change of {}", place()));
    assert_eq!(found.kernel, kernel.name, "{}: {found}", place());
    assert!(body(kernel).contains(&(found.line - 1)), "{}: {found}", place());
    found
}

/// The finding is at the changed line itself.
fn find_there(name: &str, number: usize, kind: FindingKind, change: impl Fn(&str) -> String) {
    let found = find(kernel(name), number, change);
    assert_eq!((found.kind, found.line), (kind, number + 1), "{found}");
}

pub fn removed(_: &str) -> String {
    String::new()
}

/// The line with `bytes` more in its address number `which`.
pub fn moved(line: &str, which: usize, bytes: usize) -> String {
    let (open, _) = line.match_indices('[').nth(which).unwrap();
    let close = open + line[open..].find(']').unwrap();
    let (base, offset) = line[open + 1..close].split_once('+').unwrap_or((&line[open + 1..close], "0"));
    let offset = offset.parse::<usize>().unwrap() + bytes;
    format!("{}[{base}+{offset}{}", &line[..open], &line[close..])
}

/// The line's instruction for the lower half of each warp alone.
fn halved(line: &str) -> String {
    let instruction = line.trim();
    assert!(!instruction.starts_with('@') && instruction.ends_with(';'), "{line}");
    format!(
        "{{ .reg .pred planted; .reg .b32 planted_lane; mov.u32 planted_lane, %laneid; \
         setp.lt.u32 planted, planted_lane, 16; @planted {instruction} }}"
    )
}

/// Whether a line touches the memory that the kernel's barriers order: shared memory, or, without any, the device's.
fn touches(kernel: &Kernel, line: &str) -> bool {
    let shared = |line: &str| line.contains("shared") && !line.contains("cvta");
    let text = ptx(kernel.module).unwrap();
    match text.lines().skip(body(kernel).start).take(body(kernel).len()).any(shared) {
        true => shared(line),
        false => line.contains("ld.global") || line.contains("st.global"),
    }
}

/// Whether that memory is touched no more after a line: not further down, and there is no way back up.
fn nothing_follows(kernel: &Kernel, number: usize) -> bool {
    let (text, body) = (ptx(kernel.module).unwrap(), body(kernel));
    let part = |range: Range<usize>| text.lines().skip(range.start).take(range.len());
    let above: Vec<&str> =
        part(body.start..number).filter_map(|line| line.trim().strip_suffix(':')).collect();
    let goes_up = |line: &str| {
        let target = line.trim().trim_end_matches(';').rsplit(['\t', ' ']).next();
        line.contains("bra") && target.is_some_and(|target| above.contains(&target))
    };
    part(number + 1..body.end).all(|line| !touches(kernel, line) && !goes_up(line))
}

/// Whether a barrier stands in code that kernels share, and this one does not need it. The windows of an image are
/// filled behind a barrier of their own, before which nothing is read of what stands before the first. Channels of bf16
/// that are read 16 bytes at a time are whole sectors in the gradient, which then takes no way through shared memory.
fn is_spare(kernel: &Kernel, number: usize) -> bool {
    let all = lines(kernel, "bar.sync");
    match kernel.name {
        "conv3d_direct_windows_f32_128x32" | "conv3d_direct_windows_bf16_128x32" => {
            all.first() == Some(&number)
        }
        "conv3d_direct_weight_bf16" => all.last() == Some(&number),
        _ => false,
    }
}

/// Every barrier of some modules, one at a time. Only a spare one and one after which nothing comes may go unnoticed:
/// the last of a sum over the block, which stands there for the sum that is not made.
fn barriers(modules: &[&str]) {
    barriers_of(KERNELS.iter().filter(|kernel| modules.contains(&kernel.module)));
}

/// The same of some kernels.
pub fn barriers_of(kernels: impl Iterator<Item = &'static Kernel>) {
    let (mut count, mut unnoticed) = (0, Vec::new());
    for kernel in kernels {
        for number in lines(kernel, "bar.sync") {
            let found = finding(kernel, &plant(kernel, number, removed));
            if nothing_follows(kernel, number) || is_spare(kernel, number) {
                assert_eq!(found, None);
                continue;
            }
            let Some(found) = found else {
                unnoticed.push(format!("{} at PTX line {}", kernel.name, number + 1));
                continue;
            };
            assert_eq!(found.kernel, kernel.name, "{found}");
            let early =
                matches!(found.kind, FindingKind::Race | FindingKind::Uninitialised | FindingKind::Barrier);
            assert!(early && touches(kernel, line(kernel, found.line - 1)), "{found}");
            count += 1;
        }
    }
    assert!(unnoticed.is_empty(), "nobody noticed that a barrier is missing in {unnoticed:#?}");
    assert!(count > 0);
}

#[test]
fn a_barrier_less_in_the_convolutions() {
    barriers(&["conv3d", "conv3d_weight_gradient", "conv3d_weights", "conv_transpose3d"]);
}

#[test]
fn a_barrier_less_in_the_direct_convolutions() {
    barriers(&["conv3d_direct"]);
}

#[test]
fn a_barrier_less_in_sums_of_channels() {
    barriers(&["activation", "batch_norm", "channel_sums", "optimizer"]);
}

#[test]
fn a_barrier_less_in_the_losses() {
    barriers(&["loss", "softmax_loss"]);
}

/// Where copies are awaited while others are under way: no wait, or one for a group less.
#[test]
fn copies_that_are_awaited_too_late() {
    let mut count = 0;
    for kernel in KERNELS {
        for number in lines(kernel, "cp.async.wait_group") {
            let pending =
                |line: &str| line.trim().trim_end_matches(';').rsplit(' ').next()?.parse::<u32>().ok();
            let groups = pending(line(kernel, number)).unwrap_or_else(|| panic!("{}", kernel.name));
            if groups == 0 {
                // Behind the loop only empty groups are left: the iterations have awaited every other.
                assert_eq!(finding(kernel, &plant(kernel, number, removed)), None);
                continue;
            }
            let weaker = |line: &str| {
                line.replace(&format!("wait_group {groups}"), &format!("wait_group {}", groups + 1))
            };
            for found in [find(kernel, number, removed), find(kernel, number, weaker)] {
                let early = matches!(found.kind, FindingKind::Race | FindingKind::Uninitialised);
                assert!(early && touches(kernel, line(kernel, found.line - 1)), "{found}");
                count += 1;
            }
        }
    }
    assert!(count >= 2 * 20, "{count}");
}

/// The last store of a kernel, an element further: outside of the buffer, or on what another thread has stored.
#[test]
fn a_store_past_the_end() {
    let mut outside = 0;
    for (name, store, bytes) in [
        ("conv3d_bf16_128x64", "st.global.v4.u32", 16),
        ("conv3d_weight_reduce", "st.global.f32", 4),
        ("conv3d_weight_bf16_64x64", "st.global", 8),
        ("conv_transpose3d_bf16_128x64", "st.global.v4.u32", 16),
        ("batch_norm_apply_f32", "st.global.v4", 16),
        ("batch_norm_finish", "st.global.f32", 4),
        ("loss_gradient_f32", "st.global.f32", 4),
        ("max_pool3d_f32", "st.global.v4", 16),
        ("adam", "st.global.f32", 4),
        ("fill_f32", "st.global.f32", 4),
    ] {
        let number = *lines(kernel(name), store).last().unwrap_or_else(|| panic!("{name}: no {store}"));
        let found = find(kernel(name), number, |line| moved(line, 0, bytes));
        let here = found.line == number + 1;
        outside += usize::from(found.kind == FindingKind::OutOfBounds && here);
        let beside = here || found.message.contains(&format!("at PTX line {},", number + 1));
        assert!(
            here && found.kind == FindingKind::OutOfBounds || found.kind == FindingKind::Race && beside,
            "{found}"
        );
    }
    assert!(outside >= 5, "{outside}");
}

/// A word of shared memory that is read and no longer written: by a store, or by an asynchronous copy.
#[test]
fn a_write_that_is_left_out() {
    for (name, write) in [
        ("conv3d_bf16_128x64", "cp.async.cg.shared"),
        ("conv3d_weight_tf32_64x64", "cp.async.cg.shared"),
        ("conv_transpose3d_f16_128x64", "cp.async.cg.shared"),
        ("conv3d_direct_f32_128x64", "st.shared"),
        ("conv3d_pack_bf16", "st.shared"),
        ("conv3d_weight_reduce", "st.shared"),
        ("batch_norm_moments_bf16", "st.shared"),
        ("batch_norm_finish", "st.shared"),
        ("channel_sums_finish_f32", "st.shared"),
        ("loss_sums_f32", "st.shared"),
        ("softmax_loss_sums_bf16", "st.shared"),
    ] {
        let kernel = kernel(name);
        let number = lines(kernel, write).first().copied().unwrap_or_else(|| panic!("{name}: no {write}"));
        let found = find(kernel, number, removed);
        let read = line(kernel, found.line - 1);
        assert_eq!(found.kind, FindingKind::Uninitialised, "{found}");
        assert!(read.contains("ld.shared") || read.contains("ldmatrix"), "{found}");
    }
}

/// 16 bytes at 4 bytes more than a multiple of 16.
#[test]
fn a_wide_access_at_an_odd_address() {
    for (name, access, which) in [
        ("conv3d_bf16_128x64", "cp.async.cg.shared", 0),
        ("conv3d_bf16_128x64", "cp.async.cg.shared", 1),
        ("conv3d_bf16_128x64", "ldmatrix", 0),
        ("conv3d_bf16_128x64", "ld.shared.v4", 0),
        ("conv3d_bf16_128x64", "st.global.v4", 0),
        ("conv3d_direct_f32_128x64", "ld.shared.v4", 0),
        ("batch_norm_apply_f32", "ld.global.v4", 0),
        ("batch_norm_moments_bf16", "ld.global.v4", 0),
        ("max_pool3d_gradient_f32", "ld.global.v4", 0),
        ("copy_slices_16", "ld.global.v4", 0),
    ] {
        let found = lines(kernel(name), access);
        let number = *found.first().unwrap_or_else(|| panic!("{name}: no {access}"));
        find_there(name, number, FindingKind::Misaligned, |line| moved(line, which, 4));
    }
}

/// Instructions of whole warps in half of one; a shuffle of all lanes behind an early exit of some.
#[test]
fn a_warp_that_is_not_whole() {
    for name in ["conv3d_bf16_128x64", "conv3d_weight_bf16_128x128", "conv_transpose3d_tf32_128x64"] {
        for collective in ["ldmatrix", "mma.sync"] {
            let number = lines(kernel(name), collective).first().copied();
            let number = number.unwrap_or_else(|| panic!("{name}: no {collective}"));
            find_there(name, number, FindingKind::MissingLanes, halved);
        }
    }
    for kernel in KERNELS {
        for number in lines(kernel, "shfl.sync") {
            find_there(kernel.name, number, FindingKind::MissingLanes, halved);
        }
    }
    // 33 channels: the lanes beyond them have left.
    for name in ["batch_norm_apply_f32_odd", "batch_norm_input_gradient_bf16_odd"] {
        let number = lines(kernel(name), "ld.global")[0];
        find_there(name, number, FindingKind::MissingLanes, |line| {
            let shuffle = "shfl.sync.bfly.b32 planted, planted, 1, 31, 0xffffffff;";
            format!("{{ .reg .b32 planted; mov.u32 planted, %laneid; {shuffle} }} {line}")
        });
    }
}

/// No rule is broken by a product of the wrong fragments: the results tell, by the bounds of their cases.
#[test]
fn swapped_fragments_of_a_product() {
    for (format, name, transposed) in [
        (Format::Bf16, "conv3d_bf16_128x64", false),
        (Format::F16, "conv3d_f16_128x64", false),
        (Format::Tf32, "conv3d_tf32_128x64", false),
        (Format::Bf16, "conv3d_weight_bf16_64x64", false),
        (Format::Tf32, "conv3d_weight_tf32_64x64", false),
        (Format::F16, "conv_transpose3d_f16_128x64", true),
        (Format::Bf16, "conv_transpose3d_bf16_128x64", true),
    ] {
        let kernel = kernel(name);
        // The second operand of the first product: its registers 1 and 2.
        let number = lines(kernel, "mma.sync")[0];
        let swapped = |line: &str| {
            let operands: Vec<&str> = line.split(['{', '}']).collect();
            let left: Vec<&str> = operands[3].split(", ").collect();
            let mut other = left.clone();
            other.swap(0, 1);
            line.replacen(&left.join(", "), &other.join(", "), 1)
        };
        let text = plant(kernel, number, swapped);
        let [plain, doubled] = on_tensor_cores(format);
        // The first case that launches it.
        let cases = if transposed { doubled } else { plain };
        let launched = |case: &Convolution| {
            let mut card = Card::default();
            let parts = case.run(&mut card).unwrap();
            assert!(parts.iter().all(Part::passed), "{}", case.label());
            card.counters.iter().any(|(other, _)| *other == name)
        };
        let case = cases.iter().find(|case| launched(case)).unwrap_or_else(|| panic!("no case runs {name}"));
        let mut card = Card::with_planted(kernel, &text);
        let parts = case.run(&mut card).unwrap();
        assert!(
            card.finding.is_none() && parts.iter().any(|part| !part.passed()),
            "{name}: {}",
            case.label()
        );
    }
}
