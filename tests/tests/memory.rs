//! From the third step on, training takes no memory from the system: every block it asks for lies in
//! a free list. (Alone in its file, since the counters belong to the process.)

use genesis_kernels::Context;
use genesis_model::{Initialiser, UNet3d, UNetConfig};
use genesis_tensor::{Tensor, memory};
use genesis_train::training::{Batch, Preset, RunConfig, Trainer};

#[test]
fn steady_state_training_allocates_nothing() {
    let mut network = UNet3d::new(UNetConfig { width: 4, ..UNetConfig::default() }).unwrap();
    network.initialise(Initialiser::Pytorch, 1).unwrap();
    let config = RunConfig::preset(Preset::Genesis);
    let mut trainer = Trainer::new(Context::new(2), network, &config, 10).unwrap();
    let mut counts = Vec::new();
    for step in 0..6 {
        let cube = || Tensor::full([2, 16, 16, 16, 1], 0.25 + 0.1 * step as f32).unwrap();
        let batch = Batch { step, input: cube(), target: cube(), mask: None, identity: (0.0, 8192.0) };
        trainer.train(batch).unwrap();
        counts.push(memory::statistics().system_allocations);
    }
    assert!(counts[2..].iter().all(|&count| count == counts[2]), "blocks from the system: {counts:?}");
}
