//! `genesis deform`: original and deformed cubes side by side, as arrays and as a picture.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use genesis_tensor::random::{Purpose, Stream};
use npyz::WriterBuilder;

use crate::deform::{Deformer, Recipe, write_montage};
use crate::error::{Error, Result};

/// The size of the cubes cut from a volume.
const CUBE: [usize; 3] = [64, 64, 32];
/// The most cubes in the picture.
const PICTURED: usize = 16;

/// Write original/deformed pairs of cubes as .npy files and a PNG picture
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  genesis deform --input cubes.npy --out pairs
  genesis deform --input cubes.npy --out pairs --only nonlinear,outer-cutout --count 4
  genesis deform --input bat_32_s_64x64x32_0.npy --out pairs --preset original --seed 7

Deformations: flip, local-shuffling, nonlinear, inner-cutout, outer-cutout, autoencoder (none),
denoising, patch-shuffling, in-painting. Those named are applied to every cube; without --only, the
preset's probabilities hold. Flips turn original and deformed cube alike.

DIR receives original.npy and deformed.npy (float32 [N, rows, cols, deps]) and montage.png: one line
per cube, the three central planes of the original, then of the deformed cube.")]
pub struct DeformArgs {
    /// Cubes [N, rows, cols, deps], or one volume [x, y, z] from which cubes are cut; .npy in [0, 1]
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Directory for the results
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only these deformations, each applied to every cube
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// The most cubes to deform
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Constants and probabilities of the deformations
    #[arg(long, value_name = "NAME", default_value = "genesis", value_parser = ["genesis", "original", "paper"])]
    pub preset: String,
}

/// Cubes `[N, rows, cols, deps]`.
struct Cubes {
    size: [usize; 3],
    voxels: Vec<f32>,
}

/// Runs `genesis deform`.
///
/// # Errors
/// [`Error::Usage`] for an unknown deformation or cubes too small for it, others for files that
/// cannot be read or written.
pub fn run(args: &DeformArgs, common: &super::Common) -> Result<()> {
    let preset = match args.preset.as_str() {
        "original" => Recipe::original(),
        "paper" => Recipe::paper(),
        _ => Recipe::genesis(),
    };
    let recipe = if args.only.is_empty() { preset } else { preset.restricted_to(&args.only)? };
    let cubes = read_cubes(&args.input, args.count as usize, common.seed())?;
    let mut deformer = Deformer::new(recipe, cubes.size)?;

    let voxels: usize = cubes.size.iter().product();
    let count = cubes.voxels.len() / voxels;
    let mut targets = vec![0.0f32; cubes.voxels.len()];
    let mut inputs = targets.clone();
    for index in 0..count {
        let range = index * voxels..(index + 1) * voxels;
        let (target, input) = (&mut targets[range.clone()], &mut inputs[range.clone()]);
        deformer.pair_for_sample(common.seed(), 0, index as u64, &cubes.voxels[range], target, input, None);
    }
    let changed = inputs.iter().zip(&targets).filter(|(a, b)| a != b).count() as f64 / inputs.len() as f64;
    let squares: f64 = inputs.iter().zip(&targets).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let mean_square = squares / inputs.len() as f64;

    fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    let [original, deformed, montage] =
        ["original.npy", "deformed.npy", "montage.png"].map(|name| args.out.join(name));
    write_cubes(&original, cubes.size, &targets)?;
    write_cubes(&deformed, cubes.size, &inputs)?;
    let pictured = count.min(PICTURED) * voxels;
    write_montage(&montage, cubes.size, &targets[..pictured], &inputs[..pictured])?;

    if common.json {
        let result = serde_json::json!({
            "cubes": count,
            "size": cubes.size,
            "fraction_changed": changed,
            "mean_squared_difference": mean_square,
            "original": original,
            "deformed": deformed,
            "montage": montage,
        });
        println!("{result}");
    } else {
        println!(
            "{count} cubes of {}: {:.1} % of the voxels changed, mean squared difference {mean_square:.5}",
            cubes.size.map(|extent| extent.to_string()).join("x"),
            changed * 100.0
        );
        println!("{}\n{}\n{}", original.display(), deformed.display(), montage.display());
    }
    Ok(())
}

/// Reads the first `count` cubes of a `.npy` file, or cuts as many from a volume at random places.
/// (A small reader of its own, to be replaced by the crate's volume readers.)
fn read_cubes(path: &Path, count: usize, seed: u64) -> Result<Cubes> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    let array = npyz::NpyFile::new(BufReader::new(file))
        .map_err(|cause| Error::file(path, format!("not a readable .npy file: {cause}")))?;
    let shape = array.shape().to_vec();
    let values = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    // At least two bytes a value: a longer array cannot be in the file.
    if !values.is_some_and(|values| (1..=length / 2).contains(&values)) {
        return Err(Error::file(path, format!("shape {shape:?} does not fit a file of {length} bytes")));
    }
    if array.order() != npyz::Order::C {
        return Err(Error::file(path, "the array is in Fortran order; save it with numpy.ascontiguousarray"));
    }
    let extents: Vec<usize> = shape.iter().map(|&extent| extent as usize).collect();
    let cubes = match extents[..] {
        [cubes, rows, cols, deps] => {
            let size = [rows, cols, deps];
            Cubes { size, voxels: read_values(path, array, cubes.min(count) * rows * cols * deps)? }
        }
        [x, y, z] => cut([x, y, z], &read_values(path, array, x * y * z)?, count, seed).ok_or_else(|| {
            Error::file(path, format!("the volume {x}x{y}x{z} is smaller than a cube, 64x64x32"))
        })?,
        _ => {
            return Err(Error::file(
                path,
                format!("shape {shape:?} is neither [N, rows, cols, deps] nor [x, y, z]"),
            ));
        }
    };
    if let Some(value) = cubes.voxels.iter().find(|value| !(-1e-3..=1.001).contains(*value)) {
        return Err(Error::file(
            path,
            format!("value {value} is not in [0, 1]; `genesis cubes` makes cubes that are"),
        ));
    }
    Ok(cubes)
}

/// The first `count` values, float32 or float64.
fn read_values(path: &Path, array: npyz::NpyFile<BufReader<File>>, count: usize) -> Result<Vec<f32>> {
    let failed = |cause: std::io::Error| Error::file(path, format!("cannot read the array: {cause}"));
    let array = match array.try_data::<f32>() {
        Ok(values) => return values.take(count).collect::<std::io::Result<_>>().map_err(failed),
        Err(array) => array,
    };
    let kind = array.dtype().descr();
    let values = array
        .data::<f64>()
        .map_err(|_| Error::file(path, format!("numbers of type {kind}; float32 or float64 expected")))?;
    values.take(count).map(|value| value.map(|v| v as f32)).collect::<std::io::Result<_>>().map_err(failed)
}

/// Cuts cubes at uniform places; `None` if the volume is smaller than a cube.
fn cut(size: [usize; 3], volume: &[f32], count: usize, seed: u64) -> Option<Cubes> {
    if (0..3).any(|axis| size[axis] < CUBE[axis]) {
        return None;
    }
    let count = if size == CUBE { 1 } else { count };
    let mut voxels = Vec::with_capacity(count * CUBE.iter().product::<usize>());
    let mut stream = Stream::new(seed, 0, 0, Purpose::Cubes);
    for _ in 0..count {
        let corner = [0, 1, 2].map(|axis| stream.between(0, size[axis] - CUBE[axis]));
        for x in corner[0]..corner[0] + CUBE[0] {
            for y in corner[1]..corner[1] + CUBE[1] {
                let start = (x * size[1] + y) * size[2] + corner[2];
                voxels.extend_from_slice(&volume[start..start + CUBE[2]]);
            }
        }
    }
    Some(Cubes { size: CUBE, voxels })
}

/// Writes `[N, rows, cols, deps]` as float32 `.npy`.
fn write_cubes(path: &Path, size: [usize; 3], voxels: &[f32]) -> Result<()> {
    let [rows, cols, deps] = size.map(|extent| extent as u64);
    let count = voxels.len() as u64 / (rows * cols * deps);
    let file = File::create(path).map_err(Error::io("create", path))?;
    let mut file = BufWriter::new(file);
    let written = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&[count, rows, cols, deps])
        .writer(&mut file)
        .begin_nd()
        .and_then(|mut writer| {
            writer.extend(voxels.iter().copied())?;
            writer.finish()
        })
        .and_then(|()| file.flush());
    written.map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        deform: DeformArgs,
        #[command(flatten)]
        common: crate::commands::Common,
    }

    fn deform(directory: &Path, input: &Path, more: &[&str]) -> Result<()> {
        let mut line = vec!["deform".to_owned(), "--input".into(), input.display().to_string()];
        line.extend(["--out".into(), directory.join("out").display().to_string()]);
        line.extend(more.iter().map(|&flag| flag.to_owned()));
        let line = Line::parse_from(line);
        run(&line.deform, &line.common)
    }

    fn uniform(count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        Stream::new(1, 0, 0, Purpose::Other).fill_uniform(&mut values);
        values
    }

    #[test]
    fn pairs_are_written_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("cubes.npy");
        let (size, cubes) = ([16, 20, 14], uniform(3 * 16 * 20 * 14));
        write_cubes(&input, size, &cubes).unwrap();
        deform(directory.path(), &input, &["--only", "local-shuffling,outer-cutout", "--count", "2"])
            .unwrap();
        let read = |name: &str| read_cubes(&directory.path().join("out").join(name), 9, 1).unwrap();
        let (original, deformed) = (read("original.npy"), read("deformed.npy"));
        assert_eq!(original.size, size);
        assert_eq!(original.voxels, cubes[..2 * 16 * 20 * 14]);
        assert_eq!(deformed.voxels.len(), original.voxels.len());
        assert_ne!(deformed.voxels, original.voxels);
        assert!(directory.path().join("out/montage.png").is_file());
    }

    #[test]
    fn cubes_are_cut_from_a_volume() {
        let size = [70, 66, 40];
        let volume: Vec<f32> = (0..70 * 66 * 40).map(|v| v as f32).collect();
        let cubes = cut(size, &volume, 3, 1).unwrap();
        assert_eq!((cubes.size, cubes.voxels.len()), (CUBE, 3 * 64 * 64 * 32));
        for cube in cubes.voxels.chunks_exact(64 * 64 * 32) {
            for (index, value) in cube.iter().enumerate() {
                let offset = (index / 2048 * 66 + index / 32 % 64) * 40 + index % 32;
                assert_eq!(value - cube[0], offset as f32);
            }
        }
        assert!(cut([64, 64, 31], &volume, 1, 1).is_none());
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("cubes.npy");
        let message = |more: &[&str]| deform(directory.path(), &input, more).unwrap_err().to_string();
        assert!(message(&[]).contains("cannot open"));
        std::fs::write(&input, b"\x93NUMPY garbage").unwrap();
        assert!(message(&[]).contains("not a readable .npy"));
        write_cubes(&input, [16, 16, 8], &uniform(2 * 16 * 16 * 8)).unwrap();
        assert!(message(&[]).contains("local shuffling needs at least 10"));
        assert!(message(&["--only", "blur"]).contains("unknown deformation"));
        let mut bytes = std::fs::read(&input).unwrap();
        bytes.truncate(9_000);
        std::fs::write(&input, bytes).unwrap();
        assert!(message(&["--only", "flip"]).contains("cannot read the array"));
        write_cubes(&input, [16, 16, 16], &[700.0; 16 * 16 * 16]).unwrap();
        assert!(message(&[]).contains("value 700 is not in [0, 1]"));
    }
}
