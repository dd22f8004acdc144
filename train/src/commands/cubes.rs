//! `genesis cubes`: cuts training cubes from a folder of volumes.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Common;
use crate::bad_volume::{OnBadVolume, write_report};
use crate::cubes::{self, CubeSettings, Modality};
use crate::error::{Error, Result};

/// Cut training cubes from a folder of volumes
///
/// Reads every .nii, .nii.gz, .hdr/.img, .mha, .mhd, .nrrd and .nhdr file below a folder, clips and scales its
/// intensities to [0, 1], and draws cubes at random places, keeping those that are mostly lung. The
/// axes are brought to the order left, back, head (LPS) first. Writes a NumPy file, float32
/// [N, 64, 64, 32].
///
/// The defaults fit chest CT at full resolution (512x512, 0.7 mm). Coarser volumes need a smaller
/// --border, and since 64 of their voxels span more than a lung, a smaller --cube or a larger
/// --max-tissue; a volume that gives no cube is named with the tissue shares found in it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  genesis cubes --volumes LUNA16/subset0 --out bat_32_64x64x32_0.npy
  genesis cubes --volumes scans-2mm --out cubes.npy --border 45,55,15 --cube 32x32x16
  genesis cubes --volumes brains --out cubes.npy --modality mri --percentiles 0.5,99.5 --min-tissue 0.3")]
pub struct CubesArgs {
    /// Folder of volumes, searched with all folders below
    #[arg(long, value_name = "DIR")]
    pub volumes: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE.npy")]
    pub out: PathBuf,
    /// Voxels of a cube along left, back and head
    #[arg(long, value_name = "XxYxZ", default_value = "64x64x32", value_parser = super::parse_size)]
    pub cube: [usize; 3],
    /// In-plane voxels to cut and resize to the cube's (96x96, 128x128) [default: as the cube]
    #[arg(long, value_name = "XxY", value_parser = super::parse_plane)]
    pub crop: Option<[usize; 2]>,
    /// Cubes wanted from each volume; 50 times as many places are tried
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub per_volume: usize,
    /// Which volume of a file of several (4D) to read, counted from 0
    #[arg(long, value_name = "N")]
    pub frame: Option<usize>,
    /// Kind of scan, which sets the defaults below
    #[arg(long, value_enum, default_value = "ct")]
    pub modality: Modality,
    /// Intensities that become 0 and 1 [default: -1000,1000 for ct, 0,4000 for mri]
    #[arg(long, value_name = "LO,HI", allow_hyphen_values = true, value_parser = super::parse_window)]
    pub window: Option<[f64; 2]>,
    /// Percentiles of each volume that become 0 and 1, such as 0.5,99.5 for MRI of any scanner
    #[arg(long, value_name = "LO,HI", value_parser = super::parse_window, conflicts_with_all = ["window", "tissue_level"])]
    pub percentiles: Option<[f64; 2]>,
    /// Voxels left out at both ends of each axis [default: 100,100,30 for ct, 0,0,0 for mri]
    #[arg(long, value_name = "X,Y,Z", value_parser = super::parse_triple)]
    pub border: Option<[usize; 3]>,
    /// Largest share of dense tissue in a cube [default: 0.15 for ct, 1 for mri]
    #[arg(long, value_name = "SHARE")]
    pub max_tissue: Option<f64>,
    /// Smallest share of dense tissue in a cube; above 0 it leaves out cubes of air
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub min_tissue: f64,
    /// Intensity from which on a voxel is dense tissue [default: -150 for ct, a tenth of the window for mri]
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub tissue_level: Option<f64>,
    /// A volume that cannot be used (damaged, too small, not finite): skip it, or fail. What was skipped is listed in
    /// FILE.skipped.csv
    #[arg(long, value_name = "skip|fail", default_value = "skip")]
    pub on_bad_volume: OnBadVolume,
}

impl CubesArgs {
    /// The settings these flags ask for.
    pub fn settings(&self) -> CubeSettings {
        let defaults = CubeSettings::new(self.modality);
        let window = self.window.unwrap_or(defaults.window);
        let tissue_level = match self.modality {
            Modality::Ct => defaults.tissue_level,
            Modality::Mri => CubeSettings::mri_tissue_level(window),
        };
        CubeSettings {
            cube: self.cube,
            crop: self.crop.unwrap_or([self.cube[0], self.cube[1]]),
            per_volume: self.per_volume,
            frame: self.frame,
            window,
            percentiles: self.percentiles,
            border: self.border.unwrap_or(defaults.border),
            max_tissue: self.max_tissue.unwrap_or(defaults.max_tissue),
            min_tissue: self.min_tissue,
            tissue_level: self.tissue_level.unwrap_or(tissue_level),
        }
    }
}

/// Runs `genesis cubes`. Prints one line per volume and a total, or with `--json` one object
/// `{"cubes", "volumes", "skipped": [{"file", "reason"}], "file"}`.
///
/// # Errors
/// As [`cubes::extract_folder`]; a name that does not end in `.npy` is wrong usage.
pub fn run(args: &CubesArgs, common: &Common) -> Result<()> {
    if args.out.extension().is_none_or(|extension| extension != "npy") {
        return Err(Error::Usage(format!("--out {}: the name must end in .npy", args.out.display())));
    }
    let print = |line: String| {
        // A reader that went away (a closed pipe) is no reason to lose the work.
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    let (settings, seed) = (args.settings(), common.seed());
    let summary = cubes::extract_folder(
        &args.volumes,
        &settings,
        seed,
        args.on_bad_volume,
        &args.out,
        |path, count| {
            if !common.json {
                print(format!("{count:>6}  {}", path.display()));
            }
        },
    )?;
    write_report(&args.out.with_extension("skipped.csv"), &summary.skipped)?;
    if common.json {
        let json = serde_json::to_string(&summary).map_err(|error| Error::Work(error.to_string()))?;
        print(json);
    } else {
        let used = summary.volumes;
        let skipped = summary.skipped.len();
        print(format!(
            "{:>6}  cubes from {used} volumes ({skipped} passed over) in {}",
            summary.cubes,
            summary.file.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: CubesArgs,
    }

    fn settings(flags: &[&str]) -> CubeSettings {
        let required = ["genesis", "--volumes", "in", "--out", "out.npy"];
        Program::try_parse_from(required.iter().chain(flags)).expect("valid flags").args.settings()
    }

    #[test]
    fn defaults_follow_the_modality_and_flags_override_them() {
        assert_eq!(settings(&[]), CubeSettings::new(Modality::Ct));
        assert_eq!(settings(&["--modality", "mri"]), CubeSettings::new(Modality::Mri));
        let given = settings(&[
            "--modality",
            "mri",
            "--window",
            "-10,90",
            "--border",
            "1,2,3",
            "--cube",
            "32x32x16",
            "--max-tissue",
            "0.5",
        ]);
        assert_eq!((given.window, given.tissue_level, given.border), ([-10.0, 90.0], 0.0, [1, 2, 3]));
        assert_eq!((given.cube, given.crop, given.max_tissue), ([32, 32, 16], [32, 32], 0.5));
        assert_eq!(settings(&["--crop", "96x96", "--tissue-level", "-300"]).tissue_level, -300.0);
    }
}
