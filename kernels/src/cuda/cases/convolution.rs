//! A convolution and all its gradients against the f64 reference.

use super::{Machine, Part, download, noise, tolerance, upload};
use crate::cuda::tensor_map::LINE;
use crate::cuda::{Address, Format, Launch, NULL, Workspace};
use crate::op::Operation;
use crate::ops::conv_transpose3d::{self, ConvTranspose3d};
use crate::ops::conv3d::{self, Conv3d};
use crate::{Array, Result};
use genesis_tensor::Shape;

/// Which convolution.
#[derive(Clone, Copy, Debug)]
pub enum Operator {
    /// [`Conv3d`].
    Plain(Conv3d),
    /// [`ConvTranspose3d`].
    Transposed(ConvTranspose3d),
}

/// A convolution of inputs of certain shapes in a format.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Which.
    pub operator: Operator,
    /// `[N, D, H, W]`.
    pub image: [usize; 4],
    /// Channels of each activation.
    pub channels: Vec<usize>,
    /// Output channels.
    pub outputs: usize,
    /// Storage and arithmetic.
    pub format: Format,
}

enum Plan {
    Plain(conv3d::cuda::Plan),
    Transposed(conv_transpose3d::cuda::Plan),
}

impl Plan {
    fn forward(
        &self,
        activations: &[Address],
        [weight, bias, y]: [Address; 3],
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        match self {
            Self::Plain(plan) => plan.forward(activations, weight, bias, y, NULL, workspace),
            Self::Transposed(plan) => plan.forward(activations[0], weight, bias, y, workspace),
        }
    }

    fn input_gradient(
        &self,
        input: usize,
        [dy, weight, dx]: [Address; 3],
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        match self {
            Self::Plain(plan) => plan.input_gradient(input, dy, weight, dx, workspace),
            Self::Transposed(plan) => plan.input_gradient(dy, weight, dx, workspace),
        }
    }

    fn weight_gradient(
        &self,
        activations: &[Address],
        [dy, dw]: [Address; 2],
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        match self {
            Self::Plain(plan) => plan.weight_gradient(activations, dy, dw, workspace),
            Self::Transposed(plan) => plan.weight_gradient(activations[0], dy, dw, workspace),
        }
    }

    fn bias_gradient(&self, [dy, db]: [Address; 2], workspace: &mut Workspace) -> Result<Vec<Launch>> {
        match self {
            Self::Plain(plan) => plan.bias_gradient(dy, db, workspace),
            Self::Transposed(plan) => plan.bias_gradient(dy, db, workspace),
        }
    }
}

impl Convolution {
    /// What it is about.
    pub fn label(&self) -> String {
        let Self { operator, image, channels, outputs, format } = self;
        let ([n, d, h, w], format) = (image, format!("{format:?}").to_lowercase());
        let channels: Vec<String> = channels.iter().map(usize::to_string).collect();
        let (kernel, stride, dilation) = match operator {
            Operator::Plain(op) => (op.kernel, op.stride, op.dilation),
            Operator::Transposed(op) => (op.kernel, op.stride, op.dilation),
        };
        let mut label = format!("{n}x{d}x{h}x{w} {}->{outputs} kernel {kernel:?}", channels.join("+"));
        for (name, steps) in [("stride", stride), ("dilation", dilation)] {
            if steps != [1; 3] {
                label += &format!(" {name} {steps:?}");
            }
        }
        format!("{label} {format}")
    }

    /// Shapes of the activations, the weight, and the bias if there is one.
    pub fn shapes(&self) -> Vec<Shape> {
        let [batch, d, h, w] = self.image;
        let mut shapes: Vec<Shape> =
            self.channels.iter().map(|&channels| Shape::from([batch, d, h, w, channels])).collect();
        let channels = self.channels.iter().sum();
        let ([kd, kh, kw], bias, ends) = match &self.operator {
            Operator::Plain(op) => (op.kernel, op.bias, [self.outputs, channels]),
            Operator::Transposed(op) => (op.kernel, op.bias, [channels, self.outputs]),
        };
        shapes.push(Shape::from([ends[0], ends[1], kd, kh, kw]));
        if bias {
            shapes.push(Shape::from([self.outputs]));
        }
        shapes
    }

    fn plan(&self, shapes: &[Shape]) -> Result<Plan> {
        Ok(match &self.operator {
            Operator::Plain(op) => Plan::Plain(conv3d::cuda::Plan::new(op, shapes, self.format)?),
            Operator::Transposed(op) => {
                Plan::Transposed(conv_transpose3d::cuda::Plan::new(op, shapes, self.format)?)
            }
        })
    }

    fn infer(&self, shapes: &[Shape]) -> Result<Shape> {
        match &self.operator {
            Operator::Plain(op) => op.infer(shapes),
            Operator::Transposed(op) => op.infer(shapes),
        }
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        match &self.operator {
            Operator::Plain(op) => op.reference(inputs),
            Operator::Transposed(op) => op.reference(inputs),
        }
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        match &self.operator {
            Operator::Plain(op) => op.reference_backward(inputs, dy),
            Operator::Transposed(op) => op.reference_backward(inputs, dy),
        }
    }

    /// Runs forward and backward: y, then the gradients. Sums for a bias exist in no f16, so there its gradient is
    /// left out.
    ///
    /// # Errors
    /// Shapes that do not fit; memory; a card that failed.
    pub fn run(&self, machine: &mut dyn Machine) -> Result<Vec<Part>> {
        let (shapes, format) = (self.shapes(), self.format);
        let activations = self.channels.len();
        let (mut inputs, mut addresses) = (Vec::new(), Vec::new());
        for (index, &shape) in shapes.iter().enumerate() {
            let format = if index < activations { format } else { Format::F32 };
            let (address, array) = upload(machine, &noise(shape, index as u64 + 1), format)?;
            addresses.push(address);
            inputs.push(array);
        }
        let plan = self.plan(&shapes)?;
        let (given, weight) = (&addresses[..activations], addresses[activations]);
        let bias = addresses.get(activations + 1).copied();
        let y_shape = self.infer(&shapes)?;
        let y = machine.room(y_shape.elements() * format.size())?;
        let ends = [weight, bias.unwrap_or(NULL), y];
        machine.run_with(&|workspace| plan.forward(given, ends, workspace))?;
        let part =
            |name: &str, found, wanted, tolerance| Part { name: name.into(), found, wanted, tolerance };
        let found = download(machine, y, y_shape, format)?;
        let mut parts = vec![part("y", found, self.reference(&inputs), tolerance(format))];

        let (dy, dy_array) = upload(machine, &noise(y_shape, 99), format)?;
        let mut gradients = self.reference_backward(&inputs, &dy_array).into_iter();
        let mut wanted = || gradients.next().flatten().unwrap_or_else(|| Array::zeros([0]));
        for (input, &shape) in shapes[..activations].iter().enumerate() {
            let dx = machine.room(shape.elements() * format.size())?;
            machine.run_with(&|workspace| plan.input_gradient(input, [dy, weight, dx], workspace))?;
            let found = download(machine, dx, shape, format)?;
            parts.push(part(&format!("dx {input}"), found, wanted(), tolerance(format)));
        }
        let dw = machine.room(shapes[activations].elements() * 4)?;
        machine.run_with(&|workspace| plan.weight_gradient(given, [dy, dw], workspace))?;
        let found = download(machine, dw, shapes[activations], Format::F32)?;
        parts.push(part("dw", found, wanted(), tolerance(format)));
        if bias.is_some() && format != Format::F16 {
            let db = machine.room(self.outputs * 4)?;
            machine.run_with(&|workspace| plan.bias_gradient([dy, db], workspace))?;
            let found = download(machine, db, [self.outputs], Format::F32)?;
            parts.push(part("db", found, wanted(), tolerance(Format::F32)));
        }
        Ok(parts)
    }
}

/// Cases whose channels and outputs are counted in a unit, which kernels take whole.
struct Units {
    format: Format,
    unit: usize,
}

impl Units {
    fn plain(&self, op: Conv3d, image: [usize; 4], channels: &[usize], outputs: usize) -> Convolution {
        self.of(Operator::Plain(op), image, channels, outputs)
    }

    fn transposed(
        &self,
        op: ConvTranspose3d,
        image: [usize; 4],
        channels: usize,
        outputs: usize,
    ) -> Convolution {
        self.of(Operator::Transposed(op), image, &[channels], outputs)
    }

    fn of(&self, operator: Operator, image: [usize; 4], channels: &[usize], outputs: usize) -> Convolution {
        let channels = channels.iter().map(|n| n * self.unit).collect();
        Convolution { operator, image, channels, outputs: outputs * self.unit, format: self.format }
    }
}

/// Cases of every kernel on tensor cores in a format: odd extents, channels that fill no chunk or tile, batches of 1
/// to 3, two inputs, padding of one side, dilation. Those of the transposed convolution come second.
pub fn on_tensor_cores(format: Format) -> [Vec<Convolution>; 2] {
    // Channels come in 16 bytes: in f16 and bf16 twice as many as in tf32.
    let wide = format.wide();
    let same = Conv3d { padding: [[1; 2]; 3], ..Conv3d::same(3) };
    let bare = Conv3d { padding: [[0; 2]; 3], ..same };
    let two = Conv3d { inputs: 2, ..same };
    let units = Units { format, unit: wide };
    let plain = |op, image, channels: &[usize], outputs| units.plain(op, image, channels, outputs);
    let plain = vec![
        plain(same, [1, 3, 4, 5], &[2], 1),
        plain(same, [3, 1, 2, 3], &[1], 3),
        plain(same, [1, 5, 1, 7], &[5], 2),
        plain(same, [1, 2, 3, 4], &[64 / wide], 64 / wide),
        plain(same, [1, 1, 3, 3], &[72 / wide], 128 / wide),
        plain(bare, [1, 3, 3, 6], &[128 / wide], 128 / wide),
        plain(two, [3, 3, 1, 3], &[2, 1], 3),
        plain(two, [1, 2, 3, 3], &[9, 5], 9),
        plain(Conv3d::same(1), [3, 3, 5, 3], &[8], 1),
        plain(Conv3d { bias: false, padding: [[4, 0], [0, 5], [3, 3]], ..same }, [1, 3, 4, 3], &[1], 1),
        plain(Conv3d { dilation: [2; 3], padding: [[2; 2]; 3], ..same }, [1, 5, 3, 5], &[1], 2),
        plain(Conv3d { kernel: [3, 1, 2], padding: [[1, 1], [0, 0], [1, 0]], ..same }, [3, 4, 3, 5], &[2], 4),
        plain(Conv3d::same(5), [1, 3, 5, 3], &[1], 1),
    ];
    let double = ConvTranspose3d::double();
    let transposed = |op, image, channels, outputs| units.transposed(op, image, channels, outputs);
    let transposed = vec![
        transposed(double, [1, 1, 1, 1], 1, 1),
        transposed(double, [1, 3, 2, 5], 2, 1),
        transposed(double, [3, 3, 1, 5], 2, 3),
        transposed(double, [3, 1, 2, 3], 5, 2),
        transposed(double, [1, 1, 2, 3], 5, 3),
        transposed(double, [1, 5, 5, 7], 1, 1),
        transposed(double, [1, 1, 1, 3], 9, 8),
        transposed(double, [1, 3, 3, 3], 8, 64 / wide),
        transposed(double, [3, 1, 3, 1], 64 / wide, 8),
        transposed(ConvTranspose3d { bias: false, ..double }, [1, 2, 3, 5], 3, 7),
        transposed(ConvTranspose3d { bias: false, ..double }, [2, 7, 1, 3], 7, 1),
        transposed(double, [1, 1, 3, 3], 128 / wide, 128 / wide),
    ];
    [plain, transposed]
}

/// Cases of every kernel for compute capability 9.0 in bf16 or f16: channels in whole lines, the rest as in
/// [`on_tensor_cores`].
pub fn on_hopper(format: Format) -> [Vec<Convolution>; 2] {
    let same = Conv3d { padding: [[1; 2]; 3], ..Conv3d::same(3) };
    let bare = Conv3d { padding: [[0; 2]; 3], ..same };
    let two = Conv3d { inputs: 2, ..same };
    let units = Units { format, unit: LINE };
    let plain = |op, image, lines: &[usize], outputs| units.plain(op, image, lines, outputs);
    let plain = vec![
        plain(same, [1, 3, 4, 5], &[1], 1),
        plain(same, [3, 1, 2, 3], &[1], 2),
        plain(same, [1, 5, 1, 7], &[2], 1),
        plain(same, [1, 4, 4, 8], &[1], 1),
        plain(bare, [1, 3, 3, 6], &[2], 2),
        plain(two, [3, 3, 1, 3], &[2, 1], 1),
        plain(two, [1, 2, 3, 3], &[1, 2], 3),
        plain(two, [1, 1, 3, 3], &[2, 2], 2),
        plain(Conv3d::same(1), [3, 3, 5, 3], &[3], 1),
        plain(Conv3d { bias: false, padding: [[4, 0], [0, 5], [3, 3]], ..same }, [1, 3, 4, 3], &[1], 1),
        plain(Conv3d { dilation: [2; 3], padding: [[2; 2]; 3], ..same }, [1, 5, 3, 5], &[1], 1),
        plain(Conv3d { kernel: [3, 1, 2], padding: [[1, 1], [0, 0], [1, 0]], ..same }, [3, 4, 3, 5], &[1], 2),
        plain(Conv3d { kernel: [1, 5, 5], padding: [[0; 2], [2; 2], [2; 2]], ..same }, [1, 3, 5, 3], &[1], 1),
    ];
    let double = ConvTranspose3d::double();
    let transposed = |op, image, lines, outputs| units.transposed(op, image, lines, outputs);
    let transposed = vec![
        transposed(double, [1, 1, 1, 1], 1, 1),
        transposed(double, [1, 3, 2, 5], 1, 1),
        transposed(double, [3, 3, 1, 5], 1, 1),
        transposed(double, [3, 1, 2, 3], 2, 1),
        transposed(double, [1, 1, 2, 3], 1, 2),
        transposed(double, [1, 5, 5, 7], 1, 1),
        transposed(double, [1, 1, 1, 3], 2, 2),
        transposed(double, [1, 3, 3, 3], 3, 1),
        transposed(double, [3, 1, 3, 1], 1, 3),
        transposed(ConvTranspose3d { bias: false, ..double }, [1, 2, 3, 5], 1, 1),
        transposed(ConvTranspose3d { bias: false, ..double }, [2, 7, 1, 3], 1, 1),
        transposed(double, [1, 2, 4, 16], 1, 1),
    ];
    [plain, transposed]
}

/// Cases of the kernels that take any shape, in f32 or bf16: the network's first and last layers, channels in 16 bytes
/// and not, strides.
pub fn directly(format: Format) -> Vec<Convolution> {
    let same = Conv3d::same(3);
    let strided = Conv3d { stride: [2; 3], ..same };
    let case = |op: Conv3d, [channels, outputs]: [usize; 2]| Convolution {
        operator: Operator::Plain(op),
        image: if channels > outputs { [3, 3, 2, 3] } else { [1, 5, 4, 7] },
        channels: vec![channels],
        outputs,
        format,
    };
    let whole =
        [[1, 32], [32, 1], [3, 3], [31, 63], [63, 31], [32, 64], [64, 32], [32, 33], [32, 17], [40, 3]];
    let halved = [[8, 64], [64, 8], [32, 64], [31, 33], [3, 1]];
    whole.map(|ends| case(same, ends)).into_iter().chain(halved.map(|ends| case(strided, ends))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::{KERNELS, Target};
    use std::collections::BTreeSet;

    /// Names of all launches of a case: forward, gradients of the inputs, of the weight.
    fn launched(case: &Convolution, target: Target) -> Vec<&'static str> {
        let (shapes, mut workspace) = (case.shapes(), Workspace::default().on(target));
        let plan = case.plan(&shapes).unwrap();
        let given: Vec<Address> = case.channels.iter().map(|_| 0x1000).collect();
        let mut launches = plan.forward(&given, [0x1000, NULL, 0x1000], &mut workspace).unwrap();
        for input in 0..given.len() {
            launches.extend(plan.input_gradient(input, [0x1000; 3], &mut workspace).unwrap());
        }
        launches.extend(plan.weight_gradient(&given, [0x1000; 2], &mut workspace).unwrap());
        launches.iter().map(|launch| launch.kernel.name).collect()
    }

    /// On tensor cores in every direction: f16 runs nowhere else, and tf32 must not fall back to f32 unseen.
    #[test]
    fn every_case_runs_on_tensor_cores_in_every_direction() {
        for format in [Format::F16, Format::Tf32] {
            for cases in on_tensor_cores(format) {
                assert!(cases.len() >= 12);
                for case in cases {
                    let names = launched(&case, Target::Sm80);
                    let named = |part: &str| names.iter().filter(|name| name.contains(part)).count();
                    assert_eq!(named("direct"), 0, "{}", case.label());
                    assert!(named("x") >= 2 + case.channels.len(), "{}", case.label());
                }
            }
        }
    }

    /// The same on warpgroups, and every kernel of theirs in some case.
    #[test]
    fn every_case_runs_on_warpgroups_in_every_direction() {
        let mut reached = BTreeSet::new();
        for format in [Format::Bf16, Format::F16] {
            for cases in on_hopper(format) {
                assert!(cases.len() >= 12);
                for case in cases {
                    let names = launched(&case, Target::Sm90a);
                    let products = names.iter().filter(|name| name.contains("_hopper_"));
                    assert_eq!(products.count(), 2 + case.channels.len(), "{}: {names:?}", case.label());
                    assert!(launched(&case, Target::Sm80).iter().all(|name| !name.contains("_hopper_")));
                    reached.extend(names);
                }
            }
        }
        let all = KERNELS.iter().filter(|kernel| kernel.is_hopper()).map(|kernel| kernel.name);
        assert_eq!(all.filter(|name| !reached.contains(name)).collect::<Vec<_>>(), [""; 0]);
    }
}
