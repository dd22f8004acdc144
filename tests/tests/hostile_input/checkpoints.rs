//! S3 for checkpoints as training writes them: 500 flipped bits, and a cut at every 4 KiB.

use super::{one_line, read};
use genesis_fuzz::mutate::Random;
use genesis_model::checkpoint::{NamedTensor, OptimizerState, ParameterState, StateDict, write_safetensors};
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tests::trust::{Tally, amount};

/// A few tensors with metadata.
pub fn small_state() -> StateDict {
    let mut state = StateDict::default();
    state.insert(NamedTensor::from_f32("conv.weight", &[2, 3], &[1.0, -2.0, 0.5, 0.0, 3.0, 8.0]).unwrap());
    state.insert(NamedTensor::from_i64("bn.num_batches_tracked", 7));
    state.metadata.insert("epoch".into(), "3".into());
    state
}

/// A network of width 2 with its optimiser's momentum.
fn training_state() -> StateDict {
    let mut network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    network.initialise(Initialiser::Pytorch, 3).unwrap();
    let mut state = network.state(Statistics::Running).unwrap();
    let momentum = |tensor: &NamedTensor| ParameterState {
        parameter: tensor.name.clone(),
        step: Some(5),
        slots: vec![NamedTensor { name: "momentum_buffer".into(), ..tensor.clone() }],
    };
    let parameters = state.tensors.iter().filter(|tensor| !tensor.is_buffer()).map(momentum).collect();
    OptimizerState { parameters, groups: Vec::new() }.append_to(&mut state).unwrap();
    state
}

#[test]
fn each_flip_and_each_cut_of_a_checkpoint_is_noticed() {
    let folder = genesis_fuzz::folder::temporary();
    let path = folder.path().join("last.safetensors");
    write_safetensors(&path, &training_state()).unwrap();
    let whole = read(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.safetensors");
    let mut noticed = 0;
    let mut check = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        match read(&damaged) {
            Err(message) => {
                noticed += 1;
                one_line(&message, "damaged.safetensors")
            }
            // A blank of the header's padding turned into another one.
            Ok(content) if content == whole => Ok(()),
            Ok(_) => Err("read as something else".to_string()),
        }
    };
    let mut tally = Tally::new("S3", "random bits of a training checkpoint flipped: noticed");
    let mut random = Random::new(500);
    let flips = amount(500, 20_000);
    for _ in 0..flips {
        let bit = random.below(bytes.len() * 8);
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        tally.count(check(&flipped).map_err(|cause| format!("bit {bit}: {cause}")));
    }
    tally.finish();
    let mut tally = Tally::new("S2", "a training checkpoint cut at every 4 KiB: noticed");
    for length in (0..bytes.len()).step_by(4096) {
        tally.count(check(&bytes[..length]).map_err(|cause| format!("cut at {length}: {cause}")));
    }
    tally.finish();
    let cuts = bytes.len().div_ceil(4096) as u64;
    assert!(noticed >= flips * 99 / 100 + cuts, "{noticed} of {flips} flips and {cuts} cuts");
}
