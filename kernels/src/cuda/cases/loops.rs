//! Kernels that belong to no operation's cases: elementwise loops, the norm of gradients, the ceilings.

use super::{Machine, Part, download, noise, tolerance, upload};
use crate::cuda::device::PeakArguments;
use crate::cuda::{Format, Launch, Operand, elementwise};
use crate::ops::optimizer;
use crate::{Array, Result};
use genesis_tensor::{DType, Shape};

/// A check.
pub struct Loop {
    /// What it is about.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&mut dyn Machine) -> Result<Vec<Part>>,
}

/// All of them.
pub const LOOPS: &[Loop] = &[
    Loop { name: "casts", run: casts },
    Loop { name: "fills and scaled sums", run: sums },
    Loop { name: "slices of channels", run: slices },
    Loop { name: "broadcasts", run: broadcasts },
    Loop { name: "norm of gradients", run: norm },
    Loop { name: "ceilings", run: ceilings },
];

fn part(name: String, found: Array, wanted: Array, tolerance: f64) -> Part {
    Part { name, found, wanted, tolerance }
}

fn one(values: Vec<f64>) -> Array {
    Array { shape: Shape::from([values.len()]), values }
}

fn casts(machine: &mut dyn Machine) -> Result<Vec<Part>> {
    let count = 1003;
    let (x, x_array) = upload(machine, &noise([count], 1), Format::F32)?;
    let mut parts = Vec::new();
    for format in [Format::Bf16, Format::F16] {
        let (narrow, wide) = (machine.room(count * 2)?, machine.room(count * 4)?);
        machine.run_with(&|_| {
            Ok(vec![
                elementwise::cast(Format::F32, format, x, narrow, count)?,
                elementwise::cast(format, Format::F32, narrow, wide, count)?,
            ])
        })?;
        let (_, rounded) = upload(machine, &x_array, format)?;
        let found = download(machine, narrow, [count], format)?;
        parts.push(part(format!("to {format:?}"), found, rounded.clone(), 0.0));
        let found = download(machine, wide, [count], Format::F32)?;
        parts.push(part(format!("from {format:?}"), found, rounded, 0.0));
    }
    Ok(parts)
}

fn sums(machine: &mut dyn Machine) -> Result<Vec<Part>> {
    let (count, mut parts) = (1003, Vec::new());
    for (dtype, format) in [(DType::F32, Format::F32), (DType::Bf16, Format::Bf16)] {
        let (a, a_array) = upload(machine, &noise([count], 2), format)?;
        let (b, b_array) = upload(machine, &noise([count], 3), format)?;
        machine.run_with(&|_| Ok(vec![elementwise::add(dtype, -0.5, a, b, count)?]))?;
        let wanted = b_array.zip(&a_array, |b, a| b - 0.5 * a);
        let found = download(machine, b, [count], format)?;
        parts.push(part(format!("add {format:?}"), found, wanted, tolerance(format)));
        machine.run_with(&|_| Ok(vec![elementwise::fill(dtype, a, count, 0.25)?]))?;
        let found = download(machine, a, [count], format)?;
        parts.push(part(format!("fill {format:?}"), found, a_array.map(|_| 0.25), 0.0));
    }
    let (x, x_array) = upload(machine, &noise([count], 1), Format::F32)?;
    let (factor, _) = upload(machine, &one(vec![0.5]), Format::F32)?;
    machine.run_with(&|_| Ok(vec![elementwise::scale(factor, x, count)?]))?;
    let found = download(machine, x, [count], Format::F32)?;
    parts.push(part("scale".into(), found, x_array.map(|v| v * 0.5), 0.0));
    Ok(parts)
}

/// Two halves of a concatenation of 5 rows.
fn slices(machine: &mut dyn Machine) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (format, [first, second]) in [(Format::Bf16, [16, 8]), (Format::F32, [3, 2]), (Format::Bf16, [3, 2])]
    {
        let all = first + second;
        let (a, a_array) = upload(machine, &noise([5, first], 4), format)?;
        let (b, b_array) = upload(machine, &noise([5, second], 5), format)?;
        let joined = machine.room(5 * all * format.size())?;
        let to = |offset: usize, channels| Operand {
            address: joined + (offset * format.size()) as u64,
            channels,
            pitch: all,
        };
        machine.run_with(&|_| {
            Ok(vec![
                elementwise::copy_slices(format, 5, Operand::dense(a, first), to(0, first))?,
                elementwise::copy_slices(format, 5, Operand::dense(b, second), to(first, second))?,
            ])
        })?;
        let rows = (0..5).flat_map(|row| {
            a_array.values[row * first..][..first].iter().chain(&b_array.values[row * second..][..second])
        });
        let wanted = Array { shape: Shape::from([5, all]), values: rows.copied().collect() };
        let found = download(machine, joined, [5, all], format)?;
        parts.push(part(format!("{first} and {second} {format:?}"), found, wanted, 0.0));
    }
    Ok(parts)
}

fn broadcasts(machine: &mut dyn Machine) -> Result<Vec<Part>> {
    let ([batch, voxels, channels], mut parts) = ([3, 7, 5], Vec::new());
    for (dtype, format) in [(DType::F32, Format::F32), (DType::Bf16, Format::Bf16)] {
        let (values, array) = upload(machine, &noise([batch, channels], 6), format)?;
        let shape = Shape::from([batch, voxels, channels]);
        let out = machine.room(shape.elements() * format.size())?;
        machine.run_with(&|_| {
            Ok(vec![elementwise::broadcast(dtype, [batch, voxels, channels], 0.5, values, out)?])
        })?;
        let entry = |i: usize| array.values[i / (voxels * channels) * channels + i % channels] * 0.5;
        let wanted = Array { shape, values: (0..shape.elements()).map(entry).collect() };
        let found = download(machine, out, shape, format)?;
        parts.push(part(format!("{format:?}"), found, wanted, 0.0));
    }
    Ok(parts)
}

fn norm(machine: &mut dyn Machine) -> Result<Vec<Part>> {
    let (count, mut parts) = (40_000, Vec::new());
    let (gradients, array) = upload(machine, &noise([count], 1), Format::F32)?;
    let norm = array.values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let out = machine.room(8)?;
    for (limit, factor) in [(0.0, 1.0), (1.0, 1.0 / (norm + 1e-6)), (1e6, 1.0)] {
        machine.run_with(&|workspace| optimizer::cuda::norm(gradients, count, limit, out, workspace))?;
        let found = download(machine, out, [2], Format::F32)?;
        // Apart: the norm is large beside the factor.
        for (name, index, wanted) in [("norm", 0, norm), ("factor", 1, factor)] {
            let name = format!("{name}, limit {limit}");
            parts.push(part(name, one(vec![found.values[index]]), one(vec![wanted]), 1e-6));
        }
    }
    Ok(parts)
}

/// Loops whose results nobody needs: they must end, and leave their sink alone.
fn ceilings(machine: &mut dyn Machine) -> Result<Vec<Part>> {
    let kept = one(vec![7.0]);
    let mut parts = Vec::new();
    for name in ["peak_f32", "peak_bf16", "peak_tf32"] {
        let (sink, _) = upload(machine, &kept, Format::F32)?;
        let arguments = PeakArguments { sink, iterations: 3, factor: 0.5 };
        machine.run_with(&|_| Ok(vec![Launch::new(name, [2, 1, 1], &arguments)?]))?;
        let found = download(machine, sink, [1], Format::F32)?;
        parts.push(part(name.into(), found, kept.clone(), 0.0));
    }
    Ok(parts)
}
