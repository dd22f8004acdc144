//! S1: every parser against bytes made from its corpus: no panic, no hang, no more memory than twice the honest
//! need. Short here; ten minutes each with `GENESIS_TRUST=long`.

use std::path::Path;
use std::time::Duration;

use genesis_fuzz::allocation::Counting;
use genesis_fuzz::campaign::{Limit, run};
use genesis_fuzz::{TARGETS, corpus, target};
use genesis_tests::trust::{Tally, is_long};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Executions of a short run.
const SHORT: u64 = 1500;
/// Length of a long one.
const LONG: Duration = Duration::from_secs(600);

fn attack(name: &'static str, what: &'static str) {
    let target = target(name).expect("a target of the list");
    let limit = if is_long() { Limit::Time(LONG) } else { Limit::Executions(SHORT) };
    let artifacts = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    let report = run(target, 1, limit, &artifacts).expect("a corpus");
    println!(
        "fuzz | {name} | {} | {} | {} | {} | {} | {:.2} | {:.1}",
        report.executions,
        report.accepted,
        report.outcomes,
        report.largest,
        report.peak,
        report.ratio,
        report.slowest.as_secs_f64() * 1e3
    );
    let mut tally = Tally::new("S1", what);
    tally.count_many(report.executions, report.failures);
    tally.finish();
}

macro_rules! parsers {
    ($($name:ident: $what:literal,)*) => {
        $(#[test]
        fn $name() {
            attack(stringify!($name), $what);
        })*

        #[test]
        fn every_target_is_attacked() {
            let attacked = [$(stringify!($name)),*];
            assert_eq!(attacked.to_vec(), TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
        }
    };
}

parsers! {
    nifti: "hostile bytes read as NIfTI-1 and -2",
    metaimage: "hostile bytes read as MetaImage",
    nrrd: "hostile bytes read as NRRD",
    dicom: "hostile bytes read as DICOM",
    npy: "hostile bytes read as .npy",
    safetensors: "hostile bytes read as safetensors",
    pt: "hostile bytes read as .pt (zip, legacy, tar)",
    config: "hostile bytes read as a configuration of pre-training",
    finetune_config: "hostile bytes read as a configuration of fine-tuning",
    candidates: "hostile bytes read as a table of candidates",
    annotations: "hostile bytes read as a table of annotations",
    predictions: "hostile bytes read as a table of probabilities",
    dataset: "hostile bytes read as dataset.json",
    splits: "hostile bytes read as a file of splits",
}

#[test]
fn the_corpus_is_small_and_each_valid_file_of_it_is_read() {
    let mut bytes = 0;
    for target in TARGETS {
        let files = corpus::files(target.name).expect("a corpus");
        for (name, data) in &files {
            bytes += data.len();
            let outcome = (target.run)(data);
            if name.starts_with("valid-") {
                assert!(outcome.is_ok(), "{}/{name}: {outcome:?}", target.name);
            } else if name.starts_with("refused-") {
                assert!(outcome.is_err(), "{}/{name}: {outcome:?}", target.name);
            }
        }
        assert!(files.iter().any(|(name, _)| name.starts_with("valid-")), "{}: no valid file", target.name);
    }
    assert!(bytes < 300_000, "the corpus has {bytes} bytes");
}

#[test]
fn the_allocator_counts_what_a_call_takes() {
    use genesis_fuzz::allocation::{Taken, measured, take};
    take();
    let kept = measured(|| {
        drop(vec![1u8; 3 << 20]);
        vec![1u8; 1 << 20]
    });
    assert_eq!(take(), Taken { peak: 3 << 20, largest: 3 << 20 });
    drop(kept);
    assert_eq!(take(), Taken::default());
}
