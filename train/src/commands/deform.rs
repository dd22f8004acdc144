//! `genesis deform`: original and deformed cubes side by side, as arrays and as a picture.

use std::fs;
use std::path::{Path, PathBuf};

use genesis_tensor::random::{Purpose, Stream};

use crate::cubes::{CubeSettings, Modality, ScaledVolume};
use crate::deform::{Deformer, Recipe};
use crate::error::{Error, Result};
use crate::report::montage::{DeformationSample, deformation_montage};
use crate::training::{CubeFiles, CubeSource};
use crate::volume::{CubeWriter, read_volume_with};

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
    /// Cubes (.npy, [N, rows, cols, deps] in [0, 1]), or a CT volume from which cubes are cut
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Which volume of a file of several (4D) to read, counted from 0
    #[arg(long, value_name = "N")]
    pub frame: Option<usize>,
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
    let cubes = read_cubes(&args.input, args.count as usize, args.frame, common.seed())?;
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
fn read_cubes(path: &Path, count: usize, frame: Option<usize>, seed: u64) -> Result<Cubes> {
    if path.extension().is_none_or(|extension| extension != "npy") {
        // Anywhere in the volume: this command shows deformations, it does not choose data.
        let settings = CubeSettings {
            per_volume: count,
            frame,
            border: [0; 3],
            max_tissue: 1.0,
            ..CubeSettings::new(Modality::Ct)
        };
        let volume = ScaledVolume::new(read_volume_with(path, &settings.read_options())?, &settings)
            .map_err(|error| Error::file(path, error))?;
        let mut voxels = Vec::new();
        volume.draw(&settings, &mut Stream::new(seed, 0, 0, Purpose::Cubes), |_, cube| {
            voxels.extend_from_slice(cube);
            Ok(())
        })?;
        return Ok(Cubes { size: settings.cube, voxels });
    }
    let file = CubeFiles::open(&[path.to_path_buf()])?;
    let size = file.size();
    let length: usize = size.iter().product();
    let mut voxels = vec![0.0; file.count().min(count) * length];
    for (index, cube) in voxels.chunks_exact_mut(length).enumerate() {
        file.read(index, cube)?;
    }
    Ok(Cubes { size, voxels })
}

fn write_cubes(path: &Path, size: [usize; 3], voxels: &[f32]) -> Result<()> {
    let mut writer = CubeWriter::create(path, size)?;
    voxels.chunks_exact(size.iter().product()).try_for_each(|cube| writer.push(cube))?;
    writer.finish().map(drop)
}

/// The picture: a row for each cube, original and deformed in three planes.
fn write_montage(path: &Path, size: [usize; 3], originals: &[f32], deformed: &[f32]) -> Result<()> {
    let length = size.iter().product();
    let pairs = originals.chunks_exact(length).zip(deformed.chunks_exact(length));
    let samples: Vec<DeformationSample> = pairs
        .enumerate()
        .map(|(index, (original, deformed))| DeformationSample {
            name: format!("cube {index}"),
            original,
            deformed,
        })
        .collect();
    deformation_montage(&samples, size, 2)?.write_png(path)
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
        let read = |name: &str| read_cubes(&directory.path().join("out").join(name), 9, None, 1).unwrap();
        let (original, deformed) = (read("original.npy"), read("deformed.npy"));
        assert_eq!(original.size, size);
        assert_eq!(original.voxels, cubes[..2 * 16 * 20 * 14]);
        assert_eq!(deformed.voxels.len(), original.voxels.len());
        assert_ne!(deformed.voxels, original.voxels);
        assert!(directory.path().join("out/montage.png").is_file());
    }

    #[test]
    fn cubes_are_cut_from_a_volume() {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("scan.nii.gz");
        let (size, affine) = (
            [70, 66, 40],
            [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        );
        let voxels = uniform(70 * 66 * 40).iter().map(|value| 2000.0 * value - 1000.0).collect();
        let volume = crate::volume::Volume::new(voxels, size, affine).unwrap();
        crate::volume::write_nifti(&input, &volume, crate::volume::ElementType::Float32).unwrap();
        let cubes = read_cubes(&input, 3, None, 1).unwrap();
        assert_eq!((cubes.size, cubes.voxels.len()), ([64, 64, 32], 3 * 64 * 64 * 32));
        assert!(cubes.voxels.iter().all(|value| (0.0..=1.0).contains(value)));
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("cubes.npy");
        let message = |more: &[&str]| deform(directory.path(), &input, more).unwrap_err().to_string();
        assert!(message(&[]).contains("cubes.npy"));
        std::fs::write(&input, b"\x93NUMPY garbage").unwrap();
        assert!(message(&[]).contains("cubes.npy"));
        write_cubes(&input, [16, 16, 8], &uniform(2 * 16 * 16 * 8)).unwrap();
        assert!(message(&[]).contains("local shuffling needs at least 10"));
        assert!(message(&["--only", "blur"]).contains("unknown deformation"));
        let mut bytes = std::fs::read(&input).unwrap();
        bytes.truncate(9_000);
        std::fs::write(&input, bytes).unwrap();
        assert!(message(&["--only", "flip"]).contains("cubes.npy"));
        write_cubes(&input, [16, 16, 16], &[700.0; 16 * 16 * 16]).unwrap();
        assert!(message(&[]).contains("700"));
    }
}
