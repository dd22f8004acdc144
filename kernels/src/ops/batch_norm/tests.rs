//! What the cases cannot say: edges, statistics handed in, recomputation.

use super::*;
use crate::Isa;
use genesis_tensor::random::{Purpose, Stream};

fn relu(statistics: Statistics) -> BatchNorm {
    BatchNorm { epsilon: 1e-5, statistics, activation: Fused::Relu }
}

#[test]
fn one_value_per_channel_is_an_error_in_training_only() {
    let cx = Context::new(1);
    let x = Tensor::full([1, 1, 1, 1, 3], 2.0).unwrap();
    let [one, zero] = [1.0, 0.0].map(|v| Tensor::full([3], v).unwrap());
    let error = relu(Statistics::Batch).forward(&cx, &[&x, &one, &zero]).unwrap_err();
    assert!(error.to_string().contains("more than one value per channel"), "{error}");
    let inputs = [&x, &one, &zero, &zero, &one];
    let (y, _) = relu(Statistics::Running).forward(&cx, &inputs).unwrap();
    assert!((y.as_slice()[0] - 2.0).abs() < 1e-4);
}

#[test]
fn constant_data_has_variance_zero_and_output_beta() {
    let cx = Context::new(2);
    let x = Tensor::full([2, 3, 3, 3, 5], 1e4 / 3.0).unwrap();
    let gamma = Tensor::full([5], 2.0).unwrap();
    let beta = Tensor::full([5], 0.25).unwrap();
    let (y, saved) = relu(Statistics::Batch).forward(&cx, &[&x, &gamma, &beta]).unwrap();
    assert!(y.as_slice().iter().all(|&y| y == 0.25));
    assert!(saved.variance.as_slice().iter().all(|&v| v == 0.0));
    assert_eq!(saved.count, 54);
    let dy = Tensor::full(x.shape(), 1.0).unwrap();
    let gradients = relu(Statistics::Batch).backward(&cx, saved, dy, &[true; 3]).unwrap();
    assert!(gradients[0].as_ref().unwrap().as_slice().iter().all(|&d| d == 0.0));
    assert_eq!(gradients[2].as_ref().unwrap().as_slice(), [54.0; 5]);
}

#[test]
fn variance_survives_a_large_mean_and_an_odd_first_voxel() {
    // Mean 1000, deviations ±1 exactly: variance 1. The first voxel, at 0, must not spoil it.
    let cx = Context::new(2);
    let count = 100_000;
    let mut values: Vec<f32> = (0..count).map(|i| if i % 2 == 0 { 999.0 } else { 1001.0 }).collect();
    let x = Tensor::from_slice([count, 1], &values).unwrap();
    let [one, zero] = [1.0, 0.0].map(|v| Tensor::full([1], v).unwrap());
    let (_, saved) = relu(Statistics::Batch).forward(&cx, &[&x, &one, &zero]).unwrap();
    assert_eq!(saved.mean.as_slice(), [1000.0]);
    assert!((saved.variance.as_slice()[0] - 1.0).abs() < 1e-6);
    let unbiased = saved.unbiased_variance().unwrap().as_slice()[0];
    assert!((f64::from(unbiased) - 100_000.0 / 99_999.0).abs() < 2e-7);

    values[0] = 0.0;
    let x = Tensor::from_slice([count, 1], &values).unwrap();
    let (_, saved) = relu(Statistics::Batch).forward(&cx, &[&x, &one, &zero]).unwrap();
    let n = count as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let wanted = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let error = (f64::from(saved.variance.as_slice()[0]) / wanted - 1.0).abs();
    assert!(error < 5e-6, "variance is off by {error:e}");
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let op = relu(Statistics::Batch);
    let shape = |s: &[usize]| Shape::new(s);
    assert!(op.infer(&[shape(&[2, 3]), shape(&[3]), shape(&[3])]).is_ok());
    assert!(op.infer(&[shape(&[2, 3]), shape(&[2]), shape(&[3])]).is_err());
    assert!(op.infer(&[shape(&[2, 3]), shape(&[3])]).is_err());
    assert!(op.infer(&[]).is_err());
    let five = [shape(&[1, 3]), shape(&[3]), shape(&[3]), shape(&[3]), shape(&[3])];
    assert!(op.infer(&five).is_err());
    assert!(relu(Statistics::Running).infer(&five).is_ok());
}

#[test]
fn an_output_is_recomputed_to_the_bit() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let cx = Context::with_isa(2, isa);
        for dtype in [DType::F32, DType::Bf16] {
            let (x, gamma, beta) = inputs(dtype);
            for activation in [Fused::None, Fused::Relu, Fused::Elu] {
                let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation };
                let (y, saved) = op.forward(&cx, &[&x, &gamma, &beta]).unwrap();
                let again = saved.clone().recompute(&cx, activation).unwrap();
                assert_eq!((again.dtype(), again.shape()), (dtype, x.shape()));
                assert_eq!(again.bytes(), y.bytes(), "{isa} {dtype:?} {activation:?}");
            }
        }
    }
}

#[test]
fn moments_handed_in_give_what_the_batch_gives() {
    let cx = Context::new(2);
    for dtype in [DType::F32, DType::Bf16] {
        let (x, gamma, beta) = inputs(dtype);
        let channels = x.shape().channels();
        let (wanted, _) = relu(Statistics::Batch).forward(&cx, &[&x, &gamma, &beta]).unwrap();
        let whole = moments(&cx, &x).unwrap();
        // The same from two pieces of unequal length, each by itself.
        let all = x.cast(DType::F32).unwrap();
        let cut = 70 * channels;
        let mut pieces = Vec::new();
        for part in [&all.as_slice()[..cut], &all.as_slice()[cut..]] {
            let part = Tensor::from_slice([part.len() / channels, channels], part).unwrap();
            pieces.extend(moments(&cx, &part).unwrap().as_slice().iter().map(|&v| f64::from(v)));
        }
        let joined = join_moments(&[70, all.elements() / channels - 70], &pieces, channels).unwrap();
        for given in [&whole, &joined] {
            let (y, saved) = relu(Statistics::Sums).forward(&cx, &[&x, &gamma, &beta, given]).unwrap();
            let error = Array::from_tensor(&y).relative_error(&Array::from_tensor(&wanted));
            let limit = if dtype == DType::F32 { 2e-6 } else { 2e-3 };
            assert!(error < limit, "{dtype:?}: {error:e}");
            let dy = x.cast(dtype).unwrap();
            let gradients = relu(Statistics::Sums).backward(&cx, saved, dy, &[true; 4]).unwrap();
            assert!(gradients.len() == 4 && gradients[3].is_none());
        }
        assert!(join_moments(&[70], &pieces, channels).is_err());
    }
}

#[test]
fn what_is_stored_past_the_caches_is_the_same() {
    let cx = Context::new(2);
    let rows = 70_001;
    let mut stream = Stream::new(0, 0, 0, Purpose::Cases);
    let values: Vec<f32> = (0..rows * 64).map(|_| stream.uniform()).collect();
    let [one, zero] = [1.0, 0.25].map(|v| Tensor::full([64], v).unwrap());
    let forward = |values: &[f32]| {
        let x = Tensor::from_slice([values.len() / 64, 64], values).unwrap();
        let (y, _) = relu(Statistics::Running).forward(&cx, &[&x, &one, &zero, &zero, &one]).unwrap();
        y.as_slice().to_vec()
    };
    let (upper, lower) = values.split_at(rows / 2 * 64);
    assert_eq!(forward(&values), [forward(upper), forward(lower)].concat());
}

#[test]
fn formats_that_differ_are_errors() {
    let cx = Context::new(1);
    let (x, gamma, beta) = inputs(DType::Bf16);
    let op = relu(Statistics::Batch);
    assert!(op.forward(&cx, &[&x, &gamma.cast(DType::Bf16).unwrap(), &beta]).is_err());
    let (y, saved) = op.forward(&cx, &[&x, &gamma, &beta]).unwrap();
    assert!(op.backward(&cx, saved, y.cast(DType::F32).unwrap(), &[true; 3]).is_err());
}

/// x `[2, 5, 7, 9, 6]` about 3, γ and β.
fn inputs(dtype: DType) -> (Tensor, Tensor, Tensor) {
    let mut stream = Stream::new(0, 0, 0, Purpose::Cases);
    let mut normal =
        |count: usize, mean: f32| -> Vec<f32> { (0..count).map(|_| mean + stream.normal() as f32).collect() };
    let x = Tensor::from_slice([2, 5, 7, 9, 6], &normal(3_780, 3.0)).unwrap().cast(dtype).unwrap();
    let gamma = Tensor::from_slice([6], &normal(6, 1.0)).unwrap();
    let beta = Tensor::from_slice([6], &normal(6, 0.0)).unwrap();
    (x, gamma, beta)
}
