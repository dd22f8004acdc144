//! One case, every mode: parity with the f64 reference, gradients by central differences,
//! determinism over threads, cost and memory. Tests, `genesis selftest` and benches all run these.

use crate::op::{Cost, Operation, Saved};
use crate::{Array, Context, Error, Result};
use genesis_tensor::random::{Purpose, Stream};
use genesis_tensor::{DType, Shape, Tensor};

/// How the values of an input are drawn.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Normal with mean 0 and standard deviation 1.
    Normal,
    /// Uniform in `[low, high)`.
    Uniform(f32, f32),
    /// Whole numbers `0..classes`, as f32.
    Labels(usize),
    /// Mean and sum of squared deviations of each channel of the first input.
    Moments,
}

/// One input of a case.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its shape.
    pub shape: Shape,
    /// How its values are drawn.
    pub values: Values,
    /// Whether its gradient is wanted and checked.
    pub gradient: bool,
    /// Its number format.
    pub dtype: DType,
}

impl Input {
    /// A normal input whose gradient is checked.
    pub fn normal(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), values: Values::Normal, gradient: true, dtype: DType::F32 }
    }

    /// A uniform input in `[low, high)` whose gradient is checked.
    pub fn uniform(shape: impl Into<Shape>, low: f32, high: f32) -> Self {
        Self { shape: shape.into(), values: Values::Uniform(low, high), gradient: true, dtype: DType::F32 }
    }

    /// Class labels `0..classes`; they have no gradient.
    pub fn labels(shape: impl Into<Shape>, classes: usize) -> Self {
        Self { shape: shape.into(), values: Values::Labels(classes), gradient: false, dtype: DType::F32 }
    }

    /// Moments `[2, C]` of the first input `[.., C]`: its channels' means, and their sums of squared
    /// deviations; they have no gradient.
    pub fn moments(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), values: Values::Moments, gradient: false, dtype: DType::F32 }
    }

    /// The same input without a gradient.
    pub fn fixed(self) -> Self {
        Self { gradient: false, ..self }
    }

    /// The same input in bf16: an activation of mixed precision.
    pub fn bf16(self) -> Self {
        Self { dtype: DType::Bf16, ..self }
    }

    fn draw(&self, stream: &mut Stream, first: Option<&Tensor>) -> Result<Tensor> {
        let moments = match (self.values, first) {
            (Values::Moments, Some(first)) => moments(&Array::from_tensor(first)),
            _ => Vec::new(),
        };
        let values: Vec<f32> = (0..self.shape.elements())
            .map(|i| match self.values {
                Values::Normal => stream.normal() as f32,
                Values::Uniform(low, high) => low + (high - low) * stream.uniform(),
                Values::Labels(classes) => stream.below(classes as u32) as f32,
                Values::Moments => moments.get(i).copied().unwrap_or(f32::NAN),
            })
            .collect();
        let tensor = Tensor::from_slice(self.shape, &values)?;
        Ok(if self.dtype == DType::F32 { tensor } else { tensor.cast(self.dtype)? })
    }
}

/// The moments `[2, C]` of `x`.
fn moments(x: &Array) -> Vec<f32> {
    let channels = x.shape.channels();
    let values = |c: usize| x.values.iter().skip(c).step_by(channels);
    let mean: Vec<f64> = (0..channels).map(|c| values(c).sum::<f64>() / values(c).count() as f64).collect();
    let squares = |c: usize| values(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() as f32;
    mean.iter().map(|&mean| mean as f32).chain((0..channels).map(squares)).collect()
}

/// An operation with inputs to run it on.
#[derive(Clone)]
pub struct Case<O: Operation> {
    /// What this case is about, unique within the operation.
    pub label: String,
    /// The operation with its parameters.
    pub operation: O,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// Largest relative error allowed against the reference (1e-5 for f32).
    pub tolerance: f64,
    /// True where the operation replaces its state instead of having a gradient (optimisers).
    pub forward_only: bool,
}

impl<O: Operation> Case<O> {
    /// A case with the f32 tolerance, 1e-5.
    pub fn new(label: impl ToString, operation: O, inputs: Vec<Input>) -> Self {
        Self { label: label.to_string(), operation, inputs, tolerance: 1e-5, forward_only: false }
    }

    /// The same with the first `activations` inputs in bf16 and bf16's tolerance, 1e-2.
    pub fn mixed(self, activations: usize) -> Self {
        let inputs = self.inputs.into_iter().enumerate();
        let inputs = inputs.map(|(i, input)| if i < activations { input.bf16() } else { input }).collect();
        Self { label: format!("{} bf16", self.label), inputs, tolerance: 1e-2, ..self }
    }

    /// The same, boxed for a list of cases.
    pub fn boxed(label: impl ToString, operation: O, inputs: Vec<Input>) -> Box<dyn Runnable> {
        Box::new(Self::new(label, operation, inputs))
    }

    fn draw(&self) -> Result<Vec<Tensor>> {
        let mut stream = Stream::new(0, 0, 0, Purpose::Cases);
        let mut drawn: Vec<Tensor> = Vec::new();
        for input in &self.inputs {
            drawn.push(input.draw(&mut stream, drawn.first())?);
        }
        Ok(drawn)
    }

    /// Comes in the number format of the output.
    fn draw_output_gradient(&self, dtype: DType) -> Result<Tensor> {
        let shapes: Vec<Shape> = self.inputs.iter().map(|input| input.shape).collect();
        let input = Input { dtype, ..Input::normal(self.operation.infer(&shapes)?) };
        input.draw(&mut Stream::new(1, 0, 0, Purpose::Cases), None)
    }

    fn need(&self) -> Vec<bool> {
        self.inputs.iter().map(|input| input.gradient).collect()
    }

    /// Runs forward and backward; the output first, then the gradients.
    fn run(&self, cx: &Context) -> Result<Vec<Option<Tensor>>> {
        let inputs = self.draw()?.iter().map(|input| cx.place(input)).collect::<Result<Vec<_>>>()?;
        let (output, saved) = self.operation.forward(cx, &inputs.iter().collect::<Vec<_>>())?;
        let dtype = output.dtype();
        let mut results = vec![Some(output)];
        if !self.forward_only {
            let dy = cx.place(&self.draw_output_gradient(dtype)?)?;
            results.extend(self.operation.backward(cx, saved, dy, &self.need())?);
        }
        let host = |tensor: Option<Tensor>| Ok(tensor.map(|tensor| tensor.to_host()).transpose()?);
        results.into_iter().map(host).collect()
    }
}

/// Results of one mode of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The largest error seen, relative.
    pub error: f64,
    /// The largest error allowed.
    pub tolerance: f64,
    /// Which part had it, and anything else worth saying.
    pub detail: String,
}

impl Outcome {
    /// True if the error is within the tolerance (a NaN is not).
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance
    }

    fn worst(parts: Vec<(String, f64)>, tolerance: f64) -> Self {
        let mut worst = Self { error: 0.0, tolerance, detail: String::new() };
        for (part, error) in parts {
            if error >= worst.error || error.is_nan() {
                worst.error = if error.is_nan() { f64::INFINITY } else { error };
                worst.detail = part;
            }
        }
        worst
    }
}

/// A case with its operation's type hidden.
pub trait Runnable: Send + Sync {
    /// What the case is about.
    fn label(&self) -> &str;
    /// True if the operation has no backward pass.
    fn forward_only(&self) -> bool;
    /// Arithmetic and memory traffic.
    fn cost(&self) -> Cost;
    /// Output and every gradient against the f64 reference.
    fn parity(&self, cx: &Context) -> Result<Outcome>;
    /// The reference's backward pass against central differences of its forward pass, in f64.
    fn gradient(&self) -> Result<Outcome>;
    /// The same bits from two contexts that differ in threads.
    fn determinism(&self, one: &Context, other: &Context) -> Result<Outcome>;
    /// One forward and (unless forward only) one backward pass; returns bytes kept in between.
    fn step(&self, cx: &Context) -> Result<usize>;
}

impl<O: Operation> Runnable for Case<O> {
    fn label(&self) -> &str {
        &self.label
    }

    fn forward_only(&self) -> bool {
        self.forward_only
    }

    fn cost(&self) -> Cost {
        self.operation.cost(&self.inputs.iter().map(|input| input.shape).collect::<Vec<_>>())
    }

    fn parity(&self, cx: &Context) -> Result<Outcome> {
        let inputs: Vec<Array> = self.draw()?.iter().map(Array::from_tensor).collect();
        let given = self.run(cx)?;
        let mut wanted = vec![Some(self.operation.reference(&inputs))];
        if !self.forward_only {
            let dtype = given[0].as_ref().map_or(DType::F32, Tensor::dtype);
            let dy = Array::from_tensor(&self.draw_output_gradient(dtype)?);
            wanted.extend(self.operation.reference_backward(&inputs, &dy));
        }
        if given.len() != wanted.len() {
            return Err(Error::operation(
                O::NAME,
                format!("{} results for {} wanted", given.len(), wanted.len()),
            ));
        }
        let mut parts = Vec::new();
        for (index, (given, wanted)) in given.iter().zip(&wanted).enumerate() {
            let part =
                if index == 0 { "output".to_string() } else { format!("gradient of input {}", index - 1) };
            let expected = index == 0 || self.inputs[index - 1].gradient;
            match (given, wanted) {
                (Some(given), Some(wanted)) => {
                    parts.push((part, Array::from_tensor(given).relative_error(wanted)));
                }
                (None, _) if !expected => {}
                (None, None) => {}
                (Some(_), None) | (None, Some(_)) => {
                    parts.push((format!("{part} is missing"), f64::INFINITY))
                }
            }
        }
        Ok(Outcome::worst(parts, self.tolerance))
    }

    fn gradient(&self) -> Result<Outcome> {
        const COORDINATES: usize = 24;
        // In f32 whatever the case: the reference knows no formats, and values rounded to bf16 tie, where
        // a maximum has no derivative.
        let wide = self.inputs.iter().map(|input| Input { dtype: DType::F32, ..input.clone() }).collect();
        let wide = Self { inputs: wide, ..self.clone() };
        let inputs: Vec<Array> = wide.draw()?.iter().map(Array::from_tensor).collect();
        let dy = Array::from_tensor(&self.draw_output_gradient(DType::F32)?);
        let gradients = self.operation.reference_backward(&inputs, &dy);
        let value = |inputs: &[Array]| -> f64 {
            let output = self.operation.reference(inputs);
            output.values.iter().zip(&dy.values).map(|(y, dy)| y * dy).sum()
        };
        let mut stream = Stream::new(2, 0, 0, Purpose::Cases);
        let mut parts = Vec::new();
        for (index, input) in self.inputs.iter().enumerate() {
            if !input.gradient || input.shape.elements() == 0 {
                continue;
            }
            let Some(gradient) = &gradients[index] else {
                parts.push((format!("gradient of input {index} is missing"), f64::INFINITY));
                continue;
            };
            let norm = gradient.values.iter().map(|g| g * g).sum::<f64>().sqrt();
            let scale = (norm / (gradient.values.len() as f64).sqrt()).max(1e-12);
            for _ in 0..COORDINATES {
                let position = stream.below(gradient.values.len() as u32) as usize;
                let step = 1e-5 * inputs[index].values[position].abs().max(1.0);
                let mut moved = inputs.clone();
                moved[index].values[position] += step;
                let above = value(&moved);
                moved[index].values[position] -= 2.0 * step;
                let below = value(&moved);
                let estimate = (above - below) / (2.0 * step);
                let error =
                    (estimate - gradient.values[position]).abs() / scale.max(gradient.values[position].abs());
                parts.push((format!("input {index} at {position}"), error));
            }
        }
        Ok(Outcome::worst(parts, 1e-5))
    }

    fn determinism(&self, one: &Context, other: &Context) -> Result<Outcome> {
        let (first, second) = (self.run(one)?, self.run(other)?);
        let same = first.len() == second.len()
            && first.iter().zip(&second).all(|(a, b)| match (a, b) {
                (Some(a), Some(b)) => a.dtype() == b.dtype() && a.bytes() == b.bytes(),
                (None, None) => true,
                _ => false,
            });
        let error = if same { 0.0 } else { f64::INFINITY };
        let detail = format!("{} and {} threads", one.pool.threads(), other.pool.threads());
        Ok(Outcome { error, tolerance: 0.0, detail })
    }

    fn step(&self, cx: &Context) -> Result<usize> {
        let inputs = self.draw()?.iter().map(|input| cx.place(input)).collect::<Result<Vec<_>>>()?;
        let (output, saved) = self.operation.forward(cx, &inputs.iter().collect::<Vec<_>>())?;
        let kept = saved.tensors().iter().map(|tensor| tensor.size_in_bytes()).sum();
        let dtype = output.dtype();
        drop(output);
        if !self.forward_only {
            let dy = cx.place(&self.draw_output_gradient(dtype)?)?;
            self.operation.backward(cx, saved, dy, &self.need())?;
        }
        cx.synchronize()?;
        Ok(kept)
    }
}
