//! burn: channels first, `[N, C, D, H, W]`.

use crate::{Problem, Rival};
use burn_backend::ops::ConvOptions;
use burn_backend::{Backend, BackendTypes, TensorData};
use std::time::Instant;

pub type Flex = Burn<burn_flex::Flex>;
// Deprecated in favour of flex, but what most programs on burn still run on.
#[allow(deprecated)]
pub type NdArray = Burn<burn_ndarray::NdArray>;

pub struct Burn<B: Backend> {
    x: B::FloatTensorPrimitive,
    weight: B::FloatTensorPrimitive,
    bias: B::FloatTensorPrimitive,
    options: ConvOptions<3>,
    output: Option<B::FloatTensorPrimitive>,
    /// Samples, channels and voxels of a sample of the output.
    extents: [usize; 3],
}

impl<B: Backend> Burn<B> {
    pub fn new(problem: &Problem) -> Self {
        let device = <B as BackendTypes>::Device::default();
        let (kernel, [d, h, w]) = (problem.kernel(), problem.layer.extents);
        let (inputs, outputs) = (problem.inputs(), problem.layer.outputs);
        let x = swap(&problem.x, [problem.batch, d * h * w, inputs]);
        let tensor =
            |values: Vec<f32>, shape: Vec<usize>| B::float_from_data(TensorData::new(values, shape), &device);
        Self {
            x: tensor(x, vec![problem.batch, inputs, d, h, w]),
            weight: tensor(problem.weight.clone(), vec![outputs, inputs, kernel, kernel, kernel]),
            bias: tensor(problem.bias.clone(), vec![outputs]),
            options: ConvOptions::new([1; 3], [kernel / 2; 3], [1; 3], 1),
            output: None,
            extents: [problem.batch, outputs, d * h * w],
        }
    }
}

impl<B: Backend> Rival for Burn<B> {
    fn run(&mut self) -> f64 {
        self.output = None;
        let (x, weight, bias) = (self.x.clone(), self.weight.clone(), self.bias.clone());
        let start = Instant::now();
        let output = B::conv3d(x, weight, Some(bias), self.options.clone());
        let seconds = start.elapsed().as_secs_f64();
        self.output = Some(output);
        seconds
    }

    fn result(&self) -> Vec<f32> {
        let Some(output) = self.output.clone() else { return Vec::new() };
        let data = futures_lite::future::block_on(B::float_into_data(output));
        let values = data.ok().and_then(|data| data.try_into_vec::<f32>().ok()).unwrap_or_default();
        swap(&values, self.extents)
    }
}

/// `[n][a][b]` as `[n][b][a]`.
fn swap(values: &[f32], [n, a, b]: [usize; 3]) -> Vec<f32> {
    let mut swapped = Vec::with_capacity(values.len());
    for sample in values.chunks_exact(a * b).take(n) {
        for j in 0..b {
            swapped.extend((0..a).map(|i| sample[i * b + j]));
        }
    }
    swapped
}
