//! The AMX kernels on machines without AMX: the same machine code, its instructions emulated.
//!
//! Where the machine has AMX, `cases.rs` runs these cases on it and this file has nothing to do.

use genesis_kernels::case::Runnable;
use genesis_kernels::{Context, Isa, OPS};
use genesis_tensor::memory;

/// True if AMX is emulated from now on; else says why not.
fn emulated() -> bool {
    if Isa::Amx.is_available() {
        eprintln!("SKIPPED: this machine has AMX");
    } else if !Isa::Avx512Bf16.is_available() || !genesis_amx_emulator::install() {
        eprintln!("SKIPPED: AMX kernels use AVX-512 with BF16, which this machine does not have");
    } else {
        return true;
    }
    false
}

/// Runs `check` over the bf16 cases of every operation.
fn for_bf16_cases(check: impl Fn(&dyn Runnable) -> Option<String>) {
    memory::set_poison(true);
    let (mut failures, mut count) = (Vec::new(), 0);
    for entry in OPS {
        for case in (entry.cases)() {
            if case.label().contains("bf16") {
                count += 1;
                if let Some(failure) = check(case.as_ref()) {
                    failures.push(format!("{} / {}: {failure}", entry.name, case.label()));
                }
            }
        }
    }
    assert!(count > 30, "{count} cases");
    assert!(failures.is_empty(), "{} of {count} cases fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn emulated_amx_matches_the_reference() {
    if !emulated() {
        return;
    }
    let cx = Context::with_isa(2, Isa::Amx);
    for_bf16_cases(|case| match case.parity(&cx) {
        Ok(outcome) if outcome.error <= 4e-3 => None,
        Ok(outcome) => Some(format!("{} is off by {:.3e}", outcome.detail, outcome.error)),
        Err(error) => Some(error.to_string()),
    });
    assert!(!Isa::Amx.is_available(), "emulation makes no AMX machine of this one");
}

#[test]
fn threads_do_not_change_bits_on_emulated_amx() {
    if !emulated() {
        return;
    }
    let contexts = [1, 2, 5].map(|threads| Context::with_isa(threads, Isa::Amx));
    for other in &contexts[1..] {
        for_bf16_cases(|case| match case.determinism(&contexts[0], other) {
            Ok(outcome) if outcome.passed() => None,
            Ok(outcome) => Some(format!("bits differ for {}", outcome.detail)),
            Err(error) => Some(error.to_string()),
        });
    }
}
