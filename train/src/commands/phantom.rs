//! `genesis phantom`: synthetic chest CT volumes with label maps.

use super::Common;
use crate::error::{Error, Result};
use crate::phantom::{FIELD_OF_VIEW, PhantomConfig, generate, label, write_dataset, write_volume};
use std::io::Write as _;
use std::path::PathBuf;

/// Write synthetic chest CT volumes (HU) and their label maps
///
/// Images go to DIR/imagesTr, label maps of the same names to DIR/labelsTr, beside a dataset.json in
/// the Medical Segmentation Decathlon's layout and nodules.json with every nodule's centre, diameter
/// and kind. Labels: 1 lung, 2 nodule, 3 heart, 4 liver, 5 bone, 6 vessel, 7 airway. The same seed
/// always gives the same volumes, whatever the number of threads.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  genesis phantom --out phantoms --count 8
  genesis phantom --out phantoms --count 2 --size 512x512x120 --spacing 0.7,0.7,2.5
  genesis cubes --volumes phantoms/imagesTr --out cubes.npy")]
pub struct PhantomArgs {
    /// Directory to write; must be new or empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number of volumes, each another patient
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub count: u64,
    /// Voxels to the patient's right, front and head
    #[arg(long, value_name = "XxYxZ", default_value = "256x256x150", value_parser = parse_size)]
    pub size: [usize; 3],
    /// Voxel edges in millimetres [default: 360 x 360 x 300 mm over the size]
    #[arg(long, value_name = "X,Y,Z", value_parser = parse_spacing)]
    pub spacing: Option<[f64; 3]>,
    /// Nodules in each volume [default: 1 to 5, drawn at random]
    #[arg(long, value_name = "N")]
    pub nodules: Option<usize>,
}

fn three<T: std::str::FromStr>(text: &str, separator: char) -> Option<[T; 3]> {
    let parts: Vec<T> = text.split(separator).map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

fn parse_size(text: &str) -> Result<[usize; 3], String> {
    let size: [usize; 3] =
        three(&text.to_lowercase(), 'x').ok_or("three numbers of voxels such as 256x256x150 are needed")?;
    if size.contains(&0) { Err("every side must be at least 1 voxel".into()) } else { Ok(size) }
}

fn parse_spacing(text: &str) -> Result<[f64; 3], String> {
    let spacing: [f64; 3] =
        three(text, ',').ok_or("three lengths in millimetres such as 0.7,0.7,2.5 are needed")?;
    if spacing.iter().all(|s| s.is_finite() && *s > 0.0) {
        Ok(spacing)
    } else {
        Err("every length must be above 0".into())
    }
}

/// Runs the command.
///
/// # Errors
/// When the directory is not empty or cannot be written, or the size or spacing cannot be used.
pub fn run(args: &PhantomArgs, common: &Common) -> Result<()> {
    let spacing = args
        .spacing
        .unwrap_or_else(|| std::array::from_fn(|k| FIELD_OF_VIEW[k] / args.size[k].max(1) as f64));
    let phantoms = (0..args.count).map(|index| {
        let config = PhantomConfig {
            spacing,
            nodules: args.nodules,
            ..PhantomConfig::new(args.size, common.seed(), index)
        };
        let phantom = generate(&config, common.thread_count())?;
        tracing::info!("phantom {} of {}: {} nodules", index + 1, args.count, phantom.nodules.len());
        Ok(phantom)
    });
    let images = write_dataset(&args.out, phantoms, &mut write_volume)?;
    let folder = args.out.join("imagesTr");
    let text = if common.json {
        let labels: serde_json::Map<String, serde_json::Value> =
            label::NAMES.iter().enumerate().map(|(i, name)| (i.to_string(), (*name).into())).collect();
        serde_json::json!({
            "dataset": args.out.join("dataset.json"),
            "images": images,
            "labels": labels,
            "size": args.size,
            "spacing": spacing,
        })
        .to_string()
    } else {
        format!(
            "{} volumes in {}\nlabel maps in {}\nnext: genesis cubes --volumes {} --out cubes.npy",
            images.len(),
            folder.display(),
            args.out.join("labelsTr").display(),
            folder.display(),
        )
    };
    writeln!(std::io::stdout(), "{text}").map_err(Error::io("write", "standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spacings_are_read_or_refused() {
        assert_eq!(parse_size("512x512x120"), Ok([512, 512, 120]));
        assert_eq!(parse_size("64X64X32"), Ok([64, 64, 32]));
        for bad in ["512x512", "1x2x3x4", "0x5x5", "-1x5x5", "axbxc", "", "1.5x2x2"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_spacing("0.7, 0.7,2.5"), Ok([0.7, 0.7, 2.5]));
        for bad in ["1,1", "0,1,1", "nan,1,1", "inf,1,1", "-1,1,1", "1,1,1,1"] {
            assert!(parse_spacing(bad).is_err(), "{bad}");
        }
    }
}
