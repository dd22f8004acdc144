//! Launches of `elementwise.cu`.

use super::geometry::Divisor;
use super::launch::{Address, Format, Launch, NULL, Operand, int};
use crate::{Error, Result};
use bytemuck::{Pod, Zeroable};
use genesis_tensor::DType;

/// Threads of a block.
const THREADS: usize = 256;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ElementwiseArguments {
    input: Address,
    output: Address,
    factor: Address,
    elements: u64,
    value: f32,
    reserved: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SlicesArguments {
    input: Address,
    output: Address,
    width: Divisor,
    input_pitch: i32,
    output_pitch: i32,
    words: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct BroadcastArguments {
    input: Address,
    output: Address,
    channels: Divisor,
    voxels: Divisor,
    elements: u32,
    scale: f32,
}

fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::Bf16 => "bf16",
    }
}

/// A grid of `elements`, `each` of them a thread.
pub(crate) fn grid(elements: usize, each: usize) -> [usize; 3] {
    [elements.div_ceil(each * THREADS), 1, 1]
}

/// output = value, everywhere.
///
/// # Errors
/// When there are no elements.
pub fn fill(dtype: DType, output: Address, elements: usize, value: f32) -> Result<Launch> {
    let arguments = ElementwiseArguments {
        input: NULL,
        output,
        factor: NULL,
        elements: elements as u64,
        value,
        reserved: 0,
    };
    Launch::new(&format!("fill_{}", suffix(dtype)), grid(elements, 1), &arguments)
}

/// output = input in another format, rounded to the nearest, ties to even.
///
/// # Errors
/// When neither format is f32, or both are.
pub fn cast(from: Format, to: Format, input: Address, output: Address, elements: usize) -> Result<Launch> {
    let name = match (from, to) {
        (Format::F32, Format::Bf16) => "cast_f32_to_bf16",
        (Format::F32, Format::F16) => "cast_f32_to_f16",
        (Format::Bf16, Format::F32) => "cast_bf16_to_f32",
        (Format::F16, Format::F32) => "cast_f16_to_f32",
        _ => return Err(Error::operation("cuda", format!("no cast from {from:?} to {to:?}"))),
    };
    let arguments = ElementwiseArguments {
        input,
        output,
        factor: NULL,
        elements: elements as u64,
        value: 0.0,
        reserved: 0,
    };
    Launch::new(name, grid(elements, 8), &arguments)
}

/// output += value · input: a gradient that arrives second.
///
/// # Errors
/// When there are no elements.
pub fn add(dtype: DType, value: f32, input: Address, output: Address, elements: usize) -> Result<Launch> {
    let arguments =
        ElementwiseArguments { input, output, factor: NULL, elements: elements as u64, value, reserved: 0 };
    let each = Format::from(dtype).wide();
    Launch::new(&format!("add_{}", suffix(dtype)), grid(elements, each), &arguments)
}

/// output \*= the number at `factor`, f32: gradients by the factor of clipping.
///
/// # Errors
/// When there are no elements.
pub fn scale(factor: Address, output: Address, elements: usize) -> Result<Launch> {
    let arguments = ElementwiseArguments {
        input: NULL,
        output,
        factor,
        elements: elements as u64,
        value: 0.0,
        reserved: 0,
    };
    Launch::new("scale_f32", grid(elements, 1), &arguments)
}

/// Copies the channels of `from` into those of `to`, row by row: a half of a concatenation, or of its gradient.
/// Addresses are those of the first channel that counts.
///
/// # Errors
/// When the channels differ or there are more than 2³¹ words.
pub fn copy_slices(format: Format, rows: usize, from: Operand, to: Operand) -> Result<Launch> {
    if from.channels != to.channels {
        let cause = format!("{} channels copied to {}", from.channels, to.channels);
        return Err(Error::operation("cuda", cause));
    }
    let size = format.size();
    let bytes = [from.channels, from.pitch, to.pitch].map(|n| n * size);
    let whole = |word: usize| {
        bytes.iter().all(|n| n % word == 0) && [from.address, to.address].iter().all(|a| a % word as u64 == 0)
    };
    let word = [16, 4].into_iter().find(|&word| whole(word)).unwrap_or(size);
    let [width, input_pitch, output_pitch] = bytes.map(|n| n / word);
    let arguments = SlicesArguments {
        input: from.address,
        output: to.address,
        width: Divisor::new(width)?,
        input_pitch: int(input_pitch)?,
        output_pitch: int(output_pitch)?,
        words: int(rows * width)? as u32,
    };
    Launch::new(&format!("copy_slices_{word}"), grid(rows * width, 1), &arguments)
}

/// output\[batch, voxel, channel\] = scale · input\[batch, channel\]: the gradient of a mean over voxels.
///
/// # Errors
/// When there are more than 2³¹ elements.
pub fn broadcast(
    dtype: DType,
    [batch, voxels, channels]: [usize; 3],
    scale: f32,
    input: Address,
    output: Address,
) -> Result<Launch> {
    let elements = batch * voxels * channels;
    let arguments = BroadcastArguments {
        input,
        output,
        channels: Divisor::new(channels)?,
        voxels: Divisor::new(voxels)?,
        elements: int(elements)? as u32,
        scale,
    };
    Launch::new(&format!("broadcast_{}", suffix(dtype)), grid(elements, 1), &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_move_in_the_widest_words_that_fit() {
        let name = |format, channels, pitch, address| {
            let from = Operand { address, channels, pitch };
            copy_slices(format, 10, from, Operand::dense(0x1000, channels)).unwrap().kernel.name
        };
        assert_eq!(name(Format::Bf16, 64, 192, 0x1000), "copy_slices_16");
        assert_eq!(name(Format::Bf16, 64, 192, 0x1004), "copy_slices_4");
        assert_eq!(name(Format::F32, 3, 5, 0x1000), "copy_slices_4");
        assert_eq!(name(Format::Bf16, 3, 6, 0x1000), "copy_slices_2");
        let two = [2, 3].map(|channels| Operand::dense(0x1000, channels));
        assert!(copy_slices(Format::F32, 1, two[0], two[1]).is_err());
    }
}
