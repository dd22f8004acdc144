//! Files that PyTorch 2.15.0 wrote (`fixtures/make.py`), read here: containers, element types,
//! views, wrapped dictionaries and optimiser state. Expected values follow from the script's formula.

use std::path::PathBuf;

use genesis_model::checkpoint::{Checkpoint, Format, Integrity, StoredType, describe, read_checkpoint};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(name: &str) -> Checkpoint {
    read_checkpoint(fixture(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// 0/7, 1/7, … as the script computes them: in float64, then rounded.
fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f64 / 7.0) as f32).collect()
}

#[test]
fn every_kind_of_member_from_both_containers() {
    for (file, format) in
        [("members_zip.pt", Format::PytorchZip), ("members_legacy.pt", Format::PytorchLegacy)]
    {
        let checkpoint = read(file);
        assert_eq!(checkpoint.format, format);
        assert!(checkpoint.epoch.is_none() && checkpoint.optimizer.is_none());
        let seventh = |indices: &[usize]| -> Vec<f32> { indices.iter().map(|&i| ramp(12)[i]).collect() };
        let f16 = |count| ramp(count).into_iter().map(|v| half::f16::from_f32(v).to_f32()).collect();
        let bf16 = |count| ramp(count).into_iter().map(|v| half::bf16::from_f32(v).to_f32()).collect();
        let expected: [(&str, StoredType, &[usize], Vec<f32>); 17] = [
            ("z_float32", StoredType::F32, &[2, 3], ramp(6)),
            ("float64", StoredType::F64, &[2, 2], ramp(4)),
            ("float16", StoredType::F16, &[5], f16(5)),
            ("bfloat16", StoredType::BF16, &[5], bf16(5)),
            ("int64", StoredType::I64, &[], vec![-3_000_000_007_i64 as f32]),
            ("int32", StoredType::I32, &[4], vec![-2.0, -1.0, 0.0, 1.0]),
            ("int16", StoredType::I16, &[4], vec![-2.0, -1.0, 0.0, 1.0]),
            ("int8", StoredType::I8, &[4], vec![-2.0, -1.0, 0.0, 1.0]),
            ("uint8", StoredType::U8, &[4], vec![252.0, 253.0, 254.0, 255.0]),
            ("boolean", StoredType::Bool, &[3], vec![1.0, 0.0, 1.0]),
            ("transposed", StoredType::F32, &[4, 3], seventh(&[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])),
            ("shared_front", StoredType::F32, &[2, 4], ramp(8)),
            ("shared_back", StoredType::F32, &[8], ramp(12)[4..].to_vec()),
            ("strided", StoredType::F32, &[4], seventh(&[1, 4, 7, 10])),
            ("parameter", StoredType::F32, &[3], ramp(3)),
            ("empty", StoredType::F32, &[0, 3], vec![]),
            ("a_last", StoredType::F32, &[1, 1, 2], ramp(2)),
        ];
        assert_eq!(checkpoint.state.tensors.len(), expected.len());
        for (tensor, (name, dtype, shape, values)) in checkpoint.state.tensors.iter().zip(expected) {
            assert_eq!((tensor.name.as_str(), tensor.dtype, tensor.shape.as_slice()), (name, dtype, shape));
            assert_eq!(tensor.to_f32(), values, "{file}: {name}");
        }
        assert_eq!(checkpoint.state.get("int64").unwrap().to_i64(), Some(-3_000_000_007));
    }
}

/// Name and shape of every tensor of the script's network, in PyTorch's order.
const NETWORK: [(&str, &[usize]); 9] = [
    ("down_tr64.conv1.weight", &[2, 1, 3, 3, 3]),
    ("down_tr64.conv1.bias", &[2]),
    ("down_tr64.bn1.weight", &[2]),
    ("down_tr64.bn1.bias", &[2]),
    ("down_tr64.bn1.running_mean", &[2]),
    ("down_tr64.bn1.running_var", &[2]),
    ("down_tr64.bn1.num_batches_tracked", &[]),
    ("alpha_out.weight", &[1, 2, 1, 1, 1]),
    ("alpha_out.bias", &[1]),
];

/// The trainable ones, in the order the optimiser numbers them.
const PARAMETERS: [usize; 6] = [0, 1, 2, 3, 7, 8];

#[test]
fn training_checkpoints_with_their_optimiser() {
    for (file, slots) in [
        ("training_sgd_module_zip.pt", &["momentum_buffer"] as &[_]),
        ("training_sgd_module_legacy.pt", &["momentum_buffer"]),
        ("training_adam_zip.pt", &["exp_avg", "exp_avg_sq"]),
    ] {
        let checkpoint = read(file);
        assert_eq!(checkpoint.epoch, Some(3), "{file}");
        assert_eq!(checkpoint.state.metadata["epoch"], "3");
        assert!(checkpoint.ignored.is_empty());
        assert_eq!(checkpoint.state.tensors.len(), NETWORK.len());
        for (place, (tensor, (name, shape))) in checkpoint.state.tensors.iter().zip(NETWORK).enumerate() {
            assert_eq!((tensor.name.as_str(), tensor.shape.as_slice()), (name, shape), "{file}");
            let counter = tensor.dtype == StoredType::I64;
            let values: Vec<f32> = match counter {
                true => vec![place as f32],
                false => ramp(tensor.elements()).into_iter().map(|value| value + place as f32).collect(),
            };
            assert_eq!(tensor.to_f32(), values, "{file}: {name}");
        }

        let optimizer = checkpoint.optimizer.unwrap();
        let names: Vec<&str> = PARAMETERS.iter().map(|&place| NETWORK[place].0).collect();
        let given: Vec<&str> = optimizer.parameters.iter().map(|state| state.parameter.as_str()).collect();
        assert_eq!(given, names, "{file}");
        assert_eq!(optimizer.groups.len(), 1);
        assert_eq!(optimizer.groups[0].parameters, names);
        let learning_rate = if slots.len() == 1 { 1.0 } else { 0.001 };
        assert_eq!(optimizer.groups[0].settings["lr"], learning_rate);
        for (place, state) in optimizer.parameters.iter().enumerate() {
            let found: Vec<&str> = state.slots.iter().map(|slot| slot.name.as_str()).collect();
            assert_eq!(found, slots);
            assert_eq!(state.step, if slots.len() == 1 { None } else { Some(1) });
            let gradient = place as f32 + 1.0;
            for slot in &state.slots {
                assert_eq!(slot.shape, NETWORK[PARAMETERS[place]].1);
                // After one step from zero (Kingma & Ba 2015, betas 0.9 and 0.999).
                let wanted = match slot.name.as_str() {
                    "momentum_buffer" => gradient,
                    "exp_avg" => 0.1 * gradient,
                    _ => 0.001 * gradient * gradient,
                };
                for value in slot.to_f32() {
                    assert!((value - wanted).abs() <= 1e-6 * wanted, "{file}: {value} for {wanted}");
                }
            }
        }
    }
}

#[test]
fn a_whole_saved_module_gives_its_state_dict() {
    let state = read("whole_module.pt").state;
    assert_eq!(state.tensors.len(), 7);
    assert_eq!(state.get("first.weight").unwrap().to_f32(), ramp(2));
    assert_eq!(state.get("second.running_var").unwrap().to_f32(), [1.0]);
}

#[test]
fn integrity_is_claimed_only_where_checksums_cover_all_values() {
    for (file, integrity) in [
        ("training_sgd_module_zip.pt", Integrity::Verified),
        ("training_sgd_module_legacy.pt", Integrity::Unchecked),
        ("members_zip.pt", Integrity::Unchecked), // views
        ("no_checksums.pt", Integrity::Unchecked),
    ] {
        assert_eq!(read(file).integrity, integrity, "{file}");
    }
    assert_eq!(read("no_checksums.pt").state.get("w").unwrap().to_f32(), ramp(3));
}

#[test]
fn description_counts_and_serialises() {
    let description = describe(fixture("training_adam_zip.pt")).unwrap();
    assert_eq!(description.tensor_count, 9);
    assert_eq!(description.parameters, 54 + 2 + 2 + 2 + 2 + 1);
    assert_eq!(description.tensor_bytes, (63 + 4) * 4 + 8);
    let optimizer = description.optimizer.as_ref().unwrap();
    assert_eq!((optimizer.parameters, optimizer.steps), (6, Some(1)));
    assert_eq!(optimizer.tensor_bytes, 2 * 63 * 4);
    let json = serde_json::to_value(&description).unwrap();
    assert_eq!(json["format"], "pytorch-zip");
    assert_eq!(json["tensors"][6]["dtype"], "I64");
    assert_eq!(json["tensors"][0]["shape"], serde_json::json!([2, 1, 3, 3, 3]));
}
