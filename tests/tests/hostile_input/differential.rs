//! S5: the same bytes through our readers and through those of others give equal arrays, or both refuse.

use genesis_fuzz::mutate::Random;
use genesis_model::checkpoint::read_safetensors;
use genesis_tests::trust::{Tally, amount};
use genesis_train::volume::{Volume, read_npy, read_volume};
use nifti::{NiftiObject, RandomAccessNiftiVolume, ReaderOptions};
use npyz::WriterBuilder;
use std::collections::BTreeMap;
use std::path::Path;

/// How often one reader took what the other refused, by reason.
#[derive(Default)]
struct Differences(BTreeMap<String, u32>);

impl Differences {
    fn add(&mut self, who: &str, reason: &str) {
        let reason: String = reason.chars().filter(|c| !c.is_ascii_digit()).take(70).collect();
        *self.0.entry(format!("{who}: {reason}")).or_default() += 1;
    }

    fn print(&self, what: &str) {
        self.0.iter().for_each(|(reason, count)| println!("{what}: {reason} ({count})"));
    }
}

/// A generated file, and one of its bits or bytes changed in the header half of the time.
fn damaged(random: &mut Random, mut bytes: Vec<u8>, header: usize) -> Vec<u8> {
    if random.below(2) == 1 {
        for _ in 0..=random.below(2) {
            let at = random.below(header.min(bytes.len()));
            bytes[at] ^= 1 << random.below(8);
        }
    }
    bytes
}

fn numbers<T>(random: &mut Random, count: usize, of: impl Fn(u64) -> T) -> Vec<T> {
    (0..count).map(|_| of(random.bits())).collect()
}

fn generated_npy(random: &mut Random) -> Vec<u8> {
    let shape: Vec<u64> = (0..random.below(5)).map(|_| 1 + random.below(4) as u64).collect();
    let count = shape.iter().product::<u64>() as usize;
    let order = if random.below(2) == 0 { npyz::Order::C } else { npyz::Order::Fortran };
    let mut bytes = Vec::new();
    macro_rules! array {
        ($type:ty, $of:expr) => {{
            let values = numbers::<$type>(random, count, $of);
            let options = npyz::WriteOptions::new().default_dtype().shape(&shape).order(order);
            let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
            writer.extend(values).unwrap();
            writer.finish().unwrap();
        }};
    }
    match random.below(6) {
        0 => array!(u8, |bits| bits as u8),
        1 => array!(i16, |bits| bits as i16),
        2 => array!(u32, |bits| bits as u32),
        3 => array!(i64, |bits| bits as i64),
        4 => array!(f32, |bits| (bits >> 40) as f32 * 0.25),
        _ => array!(f64, |bits| (bits >> 20) as f64 * -0.125),
    }
    bytes
}

/// The array in C order by the crate `npyz`.
fn by_npyz(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>), String> {
    let file = npyz::NpyFile::new(bytes).map_err(|error| error.to_string())?;
    let shape: Vec<usize> = file.shape().iter().map(|&extent| extent as usize).collect();
    let fortran = file.order() == npyz::Order::Fortran;
    let npyz::DType::Plain(kind) = file.dtype() else { return Err("records".into()) };
    macro_rules! values {
        ($type:ty) => {
            file.into_vec::<$type>()
                .map_err(|error| error.to_string())?
                .into_iter()
                .map(|v| v as f32)
                .collect::<Vec<f32>>()
        };
    }
    let name = kind.to_string();
    let values = match name.trim_start_matches(['<', '>', '|', '=']) {
        "u1" => values!(u8),
        "i1" => values!(i8),
        "u2" => values!(u16),
        "i2" => values!(i16),
        "u4" => values!(u32),
        "i4" => values!(i32),
        "u8" => values!(u64),
        "i8" => values!(i64),
        "f4" => values!(f32),
        "f8" => values!(f64),
        _ => return Err(format!("type {name}")),
    };
    if !fortran {
        return Ok((shape, values));
    }
    let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[..axis].iter().product()).collect();
    let mut turned = Vec::with_capacity(values.len());
    for place in 0..values.len() {
        let (mut rest, mut from) = (place, 0);
        for axis in (0..shape.len()).rev() {
            from += rest % shape[axis] * strides[axis];
            rest /= shape[axis];
        }
        turned.push(values[from]);
    }
    Ok((shape, turned))
}

fn equal(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
}

#[test]
fn npy_files_agree_with_npyz() {
    let folder = genesis_fuzz::folder::temporary();
    let path = folder.path().join("a.npy");
    let mut tally = Tally::new("S5", ".npy by us and by the crate npyz: equal arrays, or refused");
    let (mut random, mut differences, mut both) = (Random::new(5), Differences::default(), 0);
    for number in 0..amount(200, 10_000) {
        let file = generated_npy(&mut random);
        let bytes = damaged(&mut random, file, 80);
        std::fs::write(&path, &bytes).unwrap();
        let ours = read_npy(&path).map_err(|error| error.to_string());
        tally.count(match (ours, by_npyz(&bytes)) {
            (Ok(ours), Ok((shape, values))) => {
                both += 1;
                let agree = ours.shape == shape && equal(&ours.values, &values);
                if agree { Ok(()) } else { Err(format!("file {number}: {:?} or {shape:?}", ours.shape)) }
            }
            (Ok(_), Err(reason)) => {
                differences.add("npyz refuses, we read", &reason);
                // Laxer: what follows or surrounds the three entries of the header is not looked at, and a byte order
                // of one-byte numbers does not matter.
                Ok(())
            }
            (Err(reason), Ok(_)) => {
                // Stricter: nothing that NumPy itself would read.
                differences.add("we refuse, npyz reads", reason.split(": ").nth(1).unwrap_or_default());
                Ok(())
            }
            (Err(_), Err(_)) => Ok(()),
        });
    }
    differences.print(".npy");
    assert!(both >= 80, "only {both} files were read by both");
    tally.finish();
}

fn generated_safetensors(random: &mut Random) -> Vec<u8> {
    use safetensors::tensor::{Dtype, TensorView};
    let types =
        [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16, Dtype::I64, Dtype::U8, Dtype::BOOL, Dtype::I32];
    let tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = (0..random.below(5))
        .map(|number| {
            let dtype = types[random.below(types.len())];
            let shape: Vec<usize> = (0..random.below(4)).map(|_| random.below(4)).collect();
            let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (format!("layer.{number}"), dtype, shape, numbers(random, length, |bits| bits as u8 & 1))
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn safetensors_agree_with_the_crate() {
    let folder = genesis_fuzz::folder::temporary();
    let path = folder.path().join("a.safetensors");
    let mut tally = Tally::new("S5", "safetensors by us and by the crate: equal tensors, or both refuse");
    let (mut random, mut differences, mut both) = (Random::new(6), Differences::default(), 0);
    for number in 0..amount(200, 10_000) {
        let file = generated_safetensors(&mut random);
        let bytes = damaged(&mut random, file, 200);
        std::fs::write(&path, &bytes).unwrap();
        let ours = read_safetensors(&path).map_err(|error| error.to_string());
        let theirs = safetensors::SafeTensors::deserialize(&bytes).map_err(|error| error.to_string());
        tally.count(match (ours, theirs) {
            (Ok((ours, _)), Ok(theirs)) => {
                both += 1;
                let equal = ours.tensors.len() == theirs.len()
                    && ours.tensors.iter().all(|tensor| {
                        theirs.tensor(&tensor.name).is_ok_and(|view| {
                            view.shape() == tensor.shape
                                && view.data() == tensor.bytes
                                && view.dtype().to_string() == tensor.dtype.name()
                        })
                    });
                if equal { Ok(()) } else { Err(format!("file {number} differs")) }
            }
            (Ok(_), Err(reason)) => Err(format!("file {number}: read, but the crate says {reason}")),
            (Err(reason), Ok(_)) => {
                // Stricter: types of 4, 6 or 8 bits and complex numbers; our own keys in the metadata.
                differences.add("we refuse, the crate reads", reason.split(": ").nth(1).unwrap_or_default());
                let named = reason.contains("is not supported") || reason.contains("genesis.");
                if named { Ok(()) } else { Err(format!("file {number}: {reason}")) }
            }
            (Err(_), Err(_)) => Ok(()),
        });
    }
    differences.print("safetensors");
    assert!(both >= 80, "only {both} files were read by both");
    tally.finish();
}

fn generated_nifti(random: &mut Random, folder: &Path) -> Vec<u8> {
    use genesis_train::volume::{ElementType, write_nifti};
    let size: [usize; 3] = std::array::from_fn(|_| 1 + random.below(5));
    let voxels = numbers(random, size.iter().product(), |bits| (bits % 200) as f32 - 100.0);
    let mut affine = genesis_train::volume::affine::IDENTITY;
    (0..3).for_each(|axis| affine[axis][axis] = 0.5 + random.below(4) as f64);
    let elements = [
        ElementType::Int8,
        ElementType::Int16,
        ElementType::Int32,
        ElementType::Float32,
        ElementType::Float64,
    ];
    let path = folder.join("made.nii");
    let element = elements[random.below(elements.len())];
    write_nifti(&path, &Volume::new(voxels, size, affine).unwrap(), element).unwrap();
    std::fs::read(&path).unwrap()
}

/// Size, voxels (z fastest) and number of bytes by the crate `nifti`.
fn by_nifti(path: &Path) -> Result<([usize; 3], Vec<f32>), String> {
    let object = ReaderOptions::new().read_file(path).map_err(|error| error.to_string())?;
    let dimensions = object.header().dim().map_err(|error| error.to_string())?.to_vec();
    let size: [usize; 3] = std::array::from_fn(|axis| dimensions.get(axis).map_or(1, |&n| usize::from(n)));
    let mut voxels = Vec::new();
    for x in 0..size[0] {
        for y in 0..size[1] {
            for z in 0..size[2] {
                let place: Vec<u16> = [x, y, z]
                    .iter()
                    .map(|&n| n as u16)
                    .chain(std::iter::repeat(0))
                    .take(dimensions.len())
                    .collect();
                voxels.push(object.volume().get_f32(&place).map_err(|error| error.to_string())?);
            }
        }
    }
    Ok((size, voxels))
}

#[test]
fn nifti_files_agree_with_the_crate() {
    let folder = genesis_fuzz::folder::temporary();
    let path = folder.path().join("a.nii");
    let mut tally = Tally::new("S5", "NIfTI-1 by us and by the crate nifti: equal voxels, or refused");
    let (mut random, mut differences, mut both) = (Random::new(7), Differences::default(), 0);
    for number in 0..amount(200, 10_000) {
        let file = generated_nifti(&mut random, folder.path());
        let bytes = damaged(&mut random, file, 348);
        std::fs::write(&path, &bytes).unwrap();
        let ours = read_volume(&path).map_err(|error| error.to_string());
        let theirs = std::panic::catch_unwind(|| by_nifti(&path)).unwrap_or_else(|_| Err("panics".into()));
        tally.count(match (ours, theirs) {
            (Ok(ours), Ok((size, voxels))) => {
                both += 1;
                // The crate takes a slope that is no number literally; NIfTI and nibabel take it as none.
                let close =
                    |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 1e-5 * b.abs() || !b.is_finite();
                let equal = ours.size == size && ours.voxels.iter().zip(&voxels).all(close);
                if equal { Ok(()) } else { Err(format!("file {number}: {:?} or {size:?}", ours.size)) }
            }
            (Ok(_), Err(reason)) => {
                differences.add("the crate refuses, we read", &reason);
                Ok(())
            }
            (Err(reason), Ok(_)) => {
                differences.add("we refuse, the crate reads", reason.split(": ").nth(1).unwrap_or_default());
                Ok(())
            }
            (Err(_), Err(_)) => Ok(()),
        });
    }
    differences.print("NIfTI");
    assert!(both >= 80, "only {both} files were read by both");
    tally.finish();
}
