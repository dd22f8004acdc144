//! Memory of a training step. From the third step on nothing is taken from the system, in any number
//! format and whatever is recomputed; and what is recomputed is not kept. (Alone in its file, since the
//! counters belong to the process.)

use genesis_kernels::Context;
use genesis_model::{Initialiser, UNet3d, UNetConfig};
use genesis_tensor::{Tensor, memory};
use genesis_train::Precision;
use genesis_train::training::{Batch, Preset, RunConfig, Trainer};

/// Trains six steps; the peak of tensors in bytes beyond what lived before.
fn peak_of_six_steps(precision: Precision, recompute: u8) -> usize {
    let before = memory::statistics().live;
    memory::reset_peak();
    let mut network = UNet3d::new(UNetConfig { width: 4, ..UNetConfig::default() }).unwrap();
    network.initialise(Initialiser::Pytorch, 1).unwrap();
    let config = RunConfig { precision, recompute, ..RunConfig::preset(Preset::Genesis) };
    let mut trainer = Trainer::new(Context::new(2), network, &config, 10).unwrap();
    let mut counts = Vec::new();
    for step in 0..6 {
        let cube = || Tensor::full([2, 32, 32, 16, 1], 0.25 + 0.1 * step as f32).unwrap();
        let batch = Batch { step, input: cube(), target: cube(), mask: None, identity: (0.0, 32768.0) };
        trainer.train(batch).unwrap();
        counts.push(memory::statistics().system_allocations);
    }
    let steady = counts[2..].iter().all(|&count| count == counts[2]);
    assert!(steady, "{precision}, recompute {recompute}: taken from the system: {counts:?}");
    drop(trainer);
    assert_eq!(memory::statistics().live, before, "a tensor outlives its trainer");
    memory::statistics().peak - before
}

#[test]
fn steady_state_training_allocates_nothing_and_recompute_saves_memory() {
    for precision in [Precision::F32, Precision::Bf16] {
        let [all, cheap, levels] = [0, 1, 2].map(|recompute| peak_of_six_steps(precision, recompute));
        eprintln!("{precision}: {all} bytes, {cheap} with recompute 1, {levels} with recompute 2");
        // By how much depends on the workspace of the instruction set's kernels: 4 % on AVX-512.
        assert!(cheap < all - all / 50 && levels <= cheap, "{precision}: {all}, {cheap}, {levels}");
    }
}
