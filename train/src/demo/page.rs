//! `report.html` of the demo.

use super::transfer::{Comparison, add_section, add_tiles};
use super::{Demo, Restored, speed};
use crate::Result;
use crate::deform::{Deformer, Operation, Recipe};
use crate::report::curves::LossCurves;
use crate::report::html::{Bar, Command, Figure, Report, Table, Tile};
use crate::report::metrics::read_metrics;
use crate::report::montage::{CubeView, RestorationSample, restoration_montage, volume_plane};
use crate::report::picture::Picture;
use crate::report::slice::{Enlargement, Orientation, Plane};
use crate::training::{RunConfig, Summary, mean_squared_error};
use crate::volume::read_volume;
use std::path::{Path, PathBuf};

/// Restored cubes shown.
const SHOWN: usize = 6;

/// What each deformation does, for people.
const DEFORMATIONS: [(&str, &str); 8] = [
    ("flip", "Mirrors cube and target together along a random axis: the only step that changes both."),
    ("nonlinear", "A random Bézier curve remaps intensities; the network must learn what HU a tissue has."),
    ("local-shuffling", "Ten thousand tiny blocks have their voxels shuffled; texture must be recovered."),
    ("inner-cutout", "Up to five holes filled with noise; the inside must be inferred from around it."),
    ("outer-cutout", "Noise everywhere but a few windows; the outside must be inferred from within."),
    ("denoising", "Rival task: Gaussian noise."),
    ("patch-shuffling", "Rival task: ten pairs of patches swapped."),
    ("in-painting", "Rival task: holes whose inside alone counts in the loss."),
];

/// What the page tells.
pub struct Story<'a> {
    pub demo: &'a Demo,
    pub volumes: &'a [PathBuf],
    pub run: &'a Path,
    pub config: &'a RunConfig,
    pub summary: &'a Summary,
    pub restored: &'a Restored,
    pub comparison: Option<&'a Comparison>,
    pub seconds: f64,
}

impl Story<'_> {
    /// Writes the page.
    pub fn write(&self, path: &Path) -> Result<()> {
        page(self)?.write(path)
    }
}

fn page(story: &Story<'_>) -> Result<Report> {
    let &Story { demo, volumes, run, config, summary, restored, comparison, seconds } = story;
    let (identity, error) = restored.errors();
    let mut report = Report::new(
        "Genesis: a network that learned anatomy without a label",
        "A 3D U-Net was shown deformed cubes of chest CT and trained to restore them. Below: how well it restores \
         cubes of a scan it has never seen, what that is worth where labels are few, how it got there, and what it was \
         asked to undo.",
    );
    report
        .add_tile(
            Tile::new("Restoration error", format!("{error:.4}"))
                .note(format!(
                    "{identity:.4} if left deformed: {:.0} % less",
                    100.0 * (1.0 - error / identity)
                ))
                .highlighted(),
        )
        .add_tile(Tile::new("Wall time", format!("{seconds:.0} s")).note(format!("{} threads", demo.threads)))
        .add_tile(
            Tile::new("Training", format!("{} steps", summary.steps))
                .note(format!("batch {}", config.batch_size)),
        )
        .add_tile(
            Tile::new("Parameters", thousands(summary.parameters)).note(format!("width {}", demo.width)),
        )
        .add_tile(Tile::new("Throughput", speed(summary)).note(format!("f32, {}", demo.hardware)));

    if let Some(comparison) = comparison {
        add_tiles(&mut report, comparison);
    }
    restorations(&mut report, restored)?;
    if let Some(comparison) = comparison {
        add_section(&mut report, comparison)?;
    }
    curves(&mut report, run, summary)?;
    deformations(&mut report, restored, demo.seed)?;
    scans(&mut report, volumes)?;
    settings(&mut report, demo, config, summary);
    report.add_section("How to go on", "The same on your own scans:").add_commands(&[
        Command::new(
            "Cut cubes (NIfTI or MetaImage; --border suits the margins to the field of view)",
            "genesis cubes --volumes scans/ --out cubes.npy --border 10,10,4",
        ),
        Command::new("Pre-train the full network", "genesis pretrain --cubes cubes.npy --out runs/a"),
        Command::new("Go on after any interruption, to the bit", "genesis pretrain --resume --out runs/a"),
        Command::new(
            "Fine-tune on your own labels",
            "genesis finetune segment --data labelled/ --weights runs/a/checkpoints/best.safetensors --out runs/b",
        ),
        Command::new(
            "Take the weights to PyTorch",
            "genesis convert runs/a/checkpoints/best.safetensors genesis.pt",
        ),
    ]);
    Ok(report)
}

fn restorations(report: &mut Report, restored: &Restored) -> Result<()> {
    let samples: Vec<RestorationSample> = (0..restored.input.len().min(SHOWN))
        .map(|index| RestorationSample {
            caption: format!(
                "MSE {:.4} to {:.4}",
                mean_squared_error(&restored.input[index], &restored.target[index]),
                mean_squared_error(&restored.output[index], &restored.target[index])
            ),
            input: &restored.input[index],
            restored: &restored.output[index],
            original: &restored.target[index],
        })
        .collect();
    let picture = restoration_montage(&samples, restored.size, 2, true)?;
    let (identity, error) = restored.errors();
    let section = report.add_section(
        "Restored cubes of an unseen scan",
        "Each row is one cube of 64×64×32 voxels in three planes. Left what the network was given, then what it made \
         of it, then the truth, then where it is wrong.",
    );
    section.add_picture(
        &picture,
        "Restored cubes",
        "Axial, coronal and sagittal planes through each cube's middle.",
    )?;
    section.add_bars(&[
        Bar::new("left deformed", 1.0, format!("{identity:.4}")),
        Bar::new("restored", error / identity, format!("{error:.4}")).highlighted(),
    ]);
    Ok(())
}

fn curves(report: &mut Report, run: &Path, summary: &Summary) -> Result<()> {
    let records = read_metrics(&run.join("metrics.jsonl"))?;
    let curves = LossCurves::from_records(&records, "mean squared error", Some(summary.identity_loss));
    let section = report.add_section(
        "Pre-training",
        "Mean squared error over the steps. Validation pairs come from a scan of their own and are the same each time.",
    );
    section.add_chart(&curves.chart()?, "Training and validation loss over the steps")?;
    Ok(())
}

fn deformations(report: &mut Report, restored: &Restored, seed: u64) -> Result<()> {
    let cube = &restored.target[0];
    let size = restored.size;
    let view = |voxels: &[f32]| CubeView::new(voxels, size).three_planes(2, Enlargement::Nearest);
    let mut pictures: Vec<(String, String, Picture)> =
        vec![("original".into(), "The cube before anything is done to it.".into(), view(cube)?)];
    for (name, explanation) in DEFORMATIONS {
        debug_assert!(Operation::NAMES.contains(&name));
        let mut recipe = Recipe::only(&[name])?;
        if name == "flip" {
            // For the picture, a flip that happens.
            recipe.flip.probability = 1.0;
        }
        let mut deformer = Deformer::new(recipe, size)?;
        let (mut target, mut input) = (vec![0.0; cube.len()], vec![0.0; cube.len()]);
        deformer.pair_for_sample(seed, 0, 3, cube, &mut target, &mut input, None);
        pictures.push((name.into(), explanation.into(), view(&input)?));
    }
    let mut deformer = Deformer::new(Recipe::genesis(), size)?;
    for sample in 0..3 {
        let (mut target, mut input) = (vec![0.0; cube.len()], vec![0.0; cube.len()]);
        deformer.pair_for_sample(seed, 1, sample, cube, &mut target, &mut input, None);
        pictures.push((
            format!("all together, draw {}", sample + 1),
            "What the network is shown, drawn anew for every cube in every epoch.".into(),
            view(&input)?,
        ));
    }
    let figures: Vec<Figure> = pictures
        .iter()
        .map(|(name, explanation, picture)| Figure::new(picture, name.as_str(), explanation.as_str()))
        .collect();
    report.add_section("The deformations, one by one", "").add_gallery(&figures)?;
    Ok(())
}

fn scans(report: &mut Report, volumes: &[PathBuf]) -> Result<()> {
    let mut pictures = Vec::new();
    for path in volumes.iter().rev().take(2) {
        let volume = read_volume(path)?;
        let (volume, _) = volume.to_canonical();
        let orientation = Orientation::from_affine(&volume.affine);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for (plane, axis, label) in
            [(Plane::Axial, 2, "axial"), (Plane::Coronal, 1, "coronal"), (Plane::Sagittal, 0, "sagittal")]
        {
            // The sagittal plane through a lung says more than the one through the spine.
            let middle = if axis == 0 { volume.size[0] * 3 / 10 } else { volume.size[axis] / 2 };
            let picture = volume_plane(
                &volume.voxels,
                volume.size,
                volume.spacing,
                (-1100.0, 300.0),
                plane,
                middle,
                orientation,
                340,
            )?;
            pictures.push((format!("{name}, {label}"), picture));
        }
    }
    let figures: Vec<Figure> =
        pictures.iter().map(|(name, picture)| Figure::new(picture, name.as_str(), "")).collect();
    report
        .add_section(
            "The scans",
            "The last two volumes: the one tested on and the one validated on, window -1100 to 300 HU.",
        )
        .add_gallery(&figures)?;
    Ok(())
}

fn settings(report: &mut Report, demo: &Demo, config: &RunConfig, summary: &Summary) {
    let table = Table::new(["", "value"])
        .row(["optimizer", &format!("{}, rate {}", config.optimizer.name, config.optimizer.learning_rate)])
        .row(["batch", &format!("{} cubes", config.batch_size)])
        .row(["seed", &config.seed.to_string()])
        .row(["best validation loss", &format!("{:.5}", summary.best_valid_loss)])
        .row(["validation loss if left deformed", &format!("{:.5}", summary.identity_loss)])
        .row(["peak memory of tensors", &format!("{:.2} GB", summary.peak_memory_bytes as f64 / 1e9)])
        .row(["compute threads", &demo.threads.to_string()])
        .row(["hardware", &demo.hardware.to_string()]);
    report
        .add_section("Settings and machine", "run/config.toml holds everything and reruns the training.")
        .add_table(&table);
}

fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
