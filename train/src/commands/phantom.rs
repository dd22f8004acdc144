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
    #[arg(long, value_name = "XxYxZ", default_value = "256x256x150", value_parser = super::parse_size)]
    pub size: [usize; 3],
    /// Voxel edges in millimetres [default: 360 x 360 x 300 mm over the size]
    #[arg(long, value_name = "X,Y,Z", value_parser = super::parse_spacing)]
    pub spacing: Option<[f64; 3]>,
    /// Nodules in each volume [default: 1 to 5, drawn at random]
    #[arg(long, value_name = "N")]
    pub nodules: Option<usize>,
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
