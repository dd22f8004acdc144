//! Genesis: channels last, two inputs read in place.

use crate::{Problem, Result, Rival};
use genesis_kernels::Context;
use genesis_kernels::op::Operation;
use genesis_kernels::ops::conv3d::Conv3d;
use genesis_kernels::ops::conv3d::shapes::Kind;
use genesis_tensor::Tensor;
use std::time::Instant;

pub struct Ours {
    cx: Context,
    conv: Conv3d,
    inputs: Vec<Tensor>,
    output: Option<Tensor>,
}

impl Ours {
    pub fn new(problem: &Problem, threads: usize) -> Result<Self> {
        let Kind::Conv(conv) = problem.layer.operation else { return Err("not a convolution".into()) };
        let shapes = problem.layer.inputs(problem.batch);
        let mut inputs = Vec::new();
        let mut first = 0;
        for (&channels, &shape) in problem.layer.channels.iter().zip(&shapes) {
            let part: Vec<f32> = problem
                .x
                .chunks_exact(problem.inputs())
                .flat_map(|voxel| voxel[first..first + channels].iter().copied())
                .collect();
            inputs.push(Tensor::from_slice(shape, &part)?);
            first += channels;
        }
        let count = inputs.len();
        inputs.push(Tensor::from_slice(shapes[count], &problem.weight)?);
        inputs.push(Tensor::from_slice(shapes[count + 1], &problem.bias)?);
        Ok(Self { cx: Context::new(threads), conv, inputs, output: None })
    }
}

impl Rival for Ours {
    fn run(&mut self) -> f64 {
        self.output = None;
        let inputs: Vec<&Tensor> = self.inputs.iter().collect();
        let start = Instant::now();
        let output = self.conv.forward(&self.cx, &inputs);
        let seconds = start.elapsed().as_secs_f64();
        self.output = Some(output.expect("shapes of the layer list fit").0);
        seconds
    }

    fn result(&self) -> Vec<f32> {
        self.output.as_ref().map_or(Vec::new(), |output| output.as_slice().to_vec())
    }
}
