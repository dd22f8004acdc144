//! What is written is read back equal, through every format and both ways of converting.

use std::fs;
use std::path::Path;

use genesis_model::checkpoint::{
    Integrity, NamedTensor, OptimizerState, ParameterGroup, ParameterState, PtLayout, StateDict, StoredType,
    convert, read_checkpoint, read_safetensors, write_pt, write_safetensors,
};

fn tensor(name: &str, dtype: StoredType, shape: &[usize]) -> NamedTensor {
    let length = shape.iter().product::<usize>() * dtype.size();
    // Booleans must be 0 or 1; for the others any bytes do.
    let modulus = if dtype == StoredType::Bool { 2 } else { 251 };
    let bytes = (0..length).map(|i| ((i * 37 + name.len()) % modulus) as u8).collect();
    NamedTensor::new(name, dtype, shape.to_vec(), bytes).unwrap()
}

/// Tensors by falling element size, the order in which safetensors keeps them.
fn state() -> StateDict {
    use StoredType::*;
    let tensors = vec![
        tensor("bn1.num_batches_tracked", I64, &[]),
        tensor("double", F64, &[3]),
        tensor("conv1.weight", F32, &[2, 1, 3, 3, 3]),
        tensor("conv1.bias", F32, &[2]),
        tensor("integers", I32, &[5, 1]),
        tensor("empty", F32, &[4, 0]),
        tensor("half", F16, &[3]),
        tensor("brain", BF16, &[1, 3]),
        tensor("short", I16, &[3]),
        tensor("bytes", U8, &[7]),
        tensor("signed \"quoted\" ü\n", I8, &[3]),
        tensor("flags", Bool, &[3]),
    ];
    StateDict { tensors, ..StateDict::default() }
}

fn metadata(state: &mut StateDict) {
    for (key, value) in [("epoch", "12"), ("config", "batch_size = 6\nname = \"ü\""), ("a", "")] {
        state.metadata.insert(key.to_string(), value.to_string());
    }
}

/// Adam's memory of the two convolution parameters, and its settings.
fn optimizer() -> OptimizerState {
    let parameter = |name: &str, shape: &[usize]| ParameterState {
        parameter: name.to_string(),
        step: Some(70),
        slots: ["exp_avg", "exp_avg_sq"].map(|slot| tensor(slot, StoredType::F32, shape)).to_vec(),
    };
    let parameters = vec![parameter("conv1.weight", &[2, 1, 3, 3, 3]), parameter("conv1.bias", &[2])];
    let settings = [
        ("lr", serde_json::json!(0.001)),
        ("betas", serde_json::json!([0.9, 0.999])),
        ("amsgrad", serde_json::json!(false)),
        ("fused", serde_json::json!(null)),
        ("big", serde_json::json!(i64::MAX)),
        ("negative", serde_json::json!(-70_000)),
    ];
    let settings = settings.map(|(key, value)| (key.to_string(), value)).into_iter().collect();
    let names = parameters.iter().map(|state| state.parameter.clone()).collect();
    OptimizerState { parameters, groups: vec![ParameterGroup { settings, parameters: names }] }
}

/// A state dict whose only parameters are those of [`optimizer`], so that numbers map to names.
fn small_state() -> StateDict {
    let mut state = state();
    state.tensors.retain(|tensor| tensor.name.starts_with("conv1") || tensor.is_buffer());
    state
}

#[test]
fn safetensors_keeps_everything_and_is_deterministic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.safetensors");
    let mut written = state();
    metadata(&mut written);
    write_safetensors(&path, &written).unwrap();
    let (read, integrity) = read_safetensors(&path).unwrap();
    assert_eq!((read, integrity), (written.clone(), Integrity::Verified));

    let again = directory.path().join("again.safetensors");
    write_safetensors(&again, &written).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());

    // The crate's own reader agrees, and every tensor lies at a multiple of its element size.
    let bytes = fs::read(&path).unwrap();
    let (header, _) = bytes.split_at(8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize);
    assert_eq!(header.len() % 8, 0);
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for tensor in &written.tensors {
        let view = theirs.tensor(&tensor.name).unwrap();
        assert_eq!((view.shape(), view.data()), (tensor.shape.as_slice(), tensor.bytes.as_slice()));
        let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(start % tensor.dtype.size(), 0, "{}", tensor.name);
    }
}

#[test]
fn a_foreign_safetensors_file_is_read_without_checksum() {
    let data = 0.5_f32.to_le_bytes();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &data).unwrap();
    let bytes = safetensors::serialize([("module.w", view)], None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file with any name");
    fs::write(&path, bytes).unwrap();
    let checkpoint = read_checkpoint(&path).unwrap();
    assert_eq!(checkpoint.integrity, Integrity::Unchecked);
    assert_eq!(checkpoint.state.get("w").unwrap().to_f32(), [0.5]);
}

#[test]
fn pt_keeps_everything_and_is_deterministic() {
    let directory = tempfile::tempdir().unwrap();
    let (path, again) = (directory.path().join("weights.pt"), directory.path().join("again.pth"));
    write_pt(&path, &state(), PtLayout::StateDict).unwrap();
    write_pt(&again, &state(), PtLayout::StateDict).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
    assert_eq!(read_checkpoint(&path).unwrap().state, state());

    let mut training = small_state();
    metadata(&mut training);
    let optimizer = optimizer();
    let layout = PtLayout::Training { epoch: Some(12), optimizer: Some(&optimizer) };
    write_pt(&path, &training, layout).unwrap();
    let read = read_checkpoint(&path).unwrap();
    assert_eq!(read.state, training);
    assert_eq!(read.epoch, Some(12));
    assert_eq!(read.optimizer, Some(optimizer));
}

#[test]
fn converting_there_and_back_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut native = small_state();
    metadata(&mut native);
    optimizer().append_to(&mut native).unwrap();
    write_safetensors(at("a.safetensors"), &native).unwrap();
    assert_eq!(convert(at("a.safetensors"), at("b.pt")).unwrap(), [""; 0]);
    assert_eq!(convert(at("b.pt"), at("c.safetensors")).unwrap(), [""; 0]);
    assert_eq!(fs::read(at("a.safetensors")).unwrap(), fs::read(at("c.safetensors")).unwrap());

    // Weights alone become a bare state dict, which has no key "state_dict".
    write_safetensors(at("bare.safetensors"), &state()).unwrap();
    convert(at("bare.safetensors"), at("bare.pt")).unwrap();
    assert!(!contains(&at("bare.pt"), b"state_dict") && contains(&at("b.pt"), b"state_dict"));

    let error = convert(at("a.safetensors"), at("weights.h5")).unwrap_err().to_string();
    assert!(error.contains("weights.h5: a checkpoint is written as"), "{error}");
}

fn contains(path: &Path, text: &[u8]) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|window| window == text)
}

#[test]
fn state_dict_helpers() {
    let mut state = small_state();
    assert!(!state.strip_prefix("module."));
    for tensor in &mut state.tensors {
        tensor.name.insert_str(0, "module.");
    }
    assert!(state.strip_prefix("module."));
    assert_eq!(state, small_state());
    assert_eq!(state.parameters(), 56);

    let error = state.require("conv1.bias", &[3]).unwrap_err().to_string();
    assert_eq!(error, "tensor conv1.bias: wanted shape [3], given [2]");
    let error = state.require("conv2.bias", &[3]).unwrap_err().to_string();
    assert_eq!(error, "tensor conv2.bias is missing");

    state.insert(NamedTensor::from_f32("conv1.bias", &[1], &[2.0]).unwrap());
    state.insert(NamedTensor::from_f32("new", &[1], &[3.0]).unwrap());
    assert_eq!(state.tensors.len(), small_state().tensors.len() + 1);
    assert_eq!(state.get("conv1.bias").unwrap().to_f32(), [2.0]);
    assert_eq!(state.split_off_prefix("conv1.").len(), 2);
    assert!(state.get("conv1.bias").is_none());
}

#[test]
fn writers_refuse_what_no_reader_would_take() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let one = |tensors: Vec<NamedTensor>| StateDict { tensors, ..StateDict::default() };
    let twice = one(vec![tensor("w", StoredType::F32, &[1]), tensor("w", StoredType::F32, &[1])]);
    let mut short = one(vec![tensor("w", StoredType::F32, &[2, 2])]);
    short.tensors[0].bytes.pop();
    let unsigned = one(vec![tensor("w", StoredType::U32, &[1])]);
    for (state, wanted) in [(&twice, "used twice"), (&short, "F32 [2, 2] wants 16 bytes, given 15")] {
        for error in [write_safetensors(&path, state), write_pt(&path, state, PtLayout::StateDict)] {
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("tensor w: ") && error.contains(wanted), "{error}");
        }
    }
    let error = write_pt(&path, &unsigned, PtLayout::StateDict).unwrap_err().to_string();
    assert!(error.contains("U32 has no place"), "{error}");
    write_safetensors(&path, &unsigned).unwrap();
    assert_eq!(read_checkpoint(&path).unwrap().state, unsigned);
}
