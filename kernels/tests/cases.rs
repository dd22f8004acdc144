//! Every case of every operation in `OPS`, in every mode, on every instruction set of this machine.

use genesis_kernels::{Context, Isa, OPS};
use genesis_tensor::memory;

fn isas() -> Vec<Isa> {
    let (have, lack): (Vec<_>, Vec<_>) = Isa::ALL.into_iter().partition(|isa| isa.is_available());
    for isa in lack {
        eprintln!("SKIPPED: this machine has no {isa}");
    }
    have
}

/// Runs `check` over all cases and reports every failure, not only the first.
fn for_all_cases(check: impl Fn(&dyn genesis_kernels::case::Runnable) -> Option<String>) {
    memory::set_poison(true);
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in OPS {
        for case in (entry.cases)() {
            count += 1;
            if let Some(failure) = check(case.as_ref()) {
                failures.push(format!("{} / {}: {failure}", entry.name, case.label()));
            }
        }
    }
    assert!(count > 0);
    assert!(failures.is_empty(), "{} of {count} cases fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn outputs_and_gradients_match_the_reference() {
    for isa in isas() {
        let cx = Context::with_isa(2, isa);
        for_all_cases(|case| match case.parity(&cx) {
            Ok(outcome) if outcome.passed() => None,
            Ok(outcome) => Some(format!("{isa}: {} is off by {:.3e}", outcome.detail, outcome.error)),
            Err(error) => Some(format!("{isa}: {error}")),
        });
    }
}

#[test]
fn references_match_central_differences() {
    for_all_cases(|case| {
        if case.forward_only() {
            return None;
        }
        match case.gradient() {
            Ok(outcome) if outcome.passed() => None,
            Ok(outcome) => Some(format!("{} is off by {:.3e}", outcome.detail, outcome.error)),
            Err(error) => Some(error.to_string()),
        }
    });
}

#[test]
fn threads_do_not_change_bits() {
    for isa in isas() {
        let contexts = [1, 2, 5].map(|threads| Context::with_isa(threads, isa));
        for other in &contexts[1..] {
            for_all_cases(|case| match case.determinism(&contexts[0], other) {
                Ok(outcome) if outcome.passed() => None,
                Ok(outcome) => Some(format!("{isa}: bits differ for {}", outcome.detail)),
                Err(error) => Some(error.to_string()),
            });
        }
    }
}

#[test]
fn every_folder_is_listed_and_complete() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut found: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let mut listed: Vec<&str> = OPS.iter().map(|entry| entry.name).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed, "folders under ops/ and lines in OPS");
    for entry in OPS {
        let cases = (entry.cases)();
        let has_backward = cases.iter().any(|case| !case.forward_only());
        let optimizer = entry.name == "optimizer";
        assert!(has_backward || optimizer, "{} has no backward case", entry.name);
        assert!(entry.notes.len() > 80, "{} has no notes", entry.name);
        for case in &cases {
            let cost = case.cost();
            assert!(cost.forward.bytes > 0, "{} / {} has no cost", entry.name, case.label());
            assert!(case.forward_only() || cost.backward.bytes > 0, "{} / {}", entry.name, case.label());
        }
        for file in ["mod.rs", "reference.rs", "cases.rs", "NOTES.md"] {
            assert!(folder.join(entry.name).join(file).exists(), "{}/{file} is missing", entry.name);
        }
        let cpu = folder.join(entry.name);
        assert!(cpu.join("cpu.rs").exists() || cpu.join("cpu").is_dir(), "{} has no CPU path", entry.name);
    }
}
