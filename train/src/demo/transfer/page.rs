//! The comparison's part of `report.html`.

use super::outcome::{SIGNIFICANT, ShareOutcome, p_text, phantoms};
use super::runs::Detail;
use super::{Comparison, Start, StartOutcome};
use crate::Result;
use crate::evaluation::statistics::mean;
use crate::finetune::{LabelledRow, labelled_montage};
use crate::report::axis::Axis;
use crate::report::chart::{Chart, Series, SeriesColour, SeriesShape};
use crate::report::curves::smoothed;
use crate::report::html::{Report, Table, Tile};

const fn colour(start: Start) -> SeriesColour {
    match start {
        Start::Scratch => SeriesColour::Orange,
        Start::Pretrained => SeriesColour::Blue,
    }
}

fn of(share: &ShareOutcome, start: Start) -> &StartOutcome {
    match start {
        Start::Scratch => &share.scratch,
        Start::Pretrained => &share.pretrained,
    }
}

/// Adds the Dice with the fewest and with all labels to the page's head.
pub fn add_tiles(report: &mut Report, comparison: &Comparison) {
    let shares = &comparison.outcome.shares;
    let ends = [shares.first(), shares.last().filter(|_| shares.len() > 1)];
    for share in ends.into_iter().flatten() {
        let note = format!("{:.3} from scratch, {}", share.scratch.dice.mean, p_text(share.dice_p_value));
        let label = format!("Nodule Dice, {} labelled", phantoms(share.labelled));
        report.add_tile(Tile::new(label, format!("{:.3}", share.pretrained.dice.mean)).note(note));
    }
}

/// Adds curve, table, pictures and training curves.
///
/// # Errors
/// A chart or picture that cannot be drawn.
pub fn add_section(report: &mut Report, comparison: &Comparison) -> Result<()> {
    let outcome = &comparison.outcome;
    let [x, y, z] = outcome.crop;
    let section = report.add_section(
        "Transfer: nodules with few labels",
        format!(
            "The same network is fine-tuned to segment nodules, once from random weights and once from the \
             pre-trained ones, with everything else equal: {} steps of {} crops of {x}×{y}×{z} voxels, from {} to all \
             {} of the labelled phantoms, {} seeds each. None of these phantoms was used in pre-training. Tested on \
             {} nodule crops of {} more phantoms with the state that did best on {} validation crops.",
            outcome.steps,
            outcome.batch_size,
            outcome.shares.first().map_or(0, |share| share.labelled),
            outcome.train_phantoms,
            outcome.seeds,
            outcome.test_crops,
            phantoms(outcome.test_phantoms),
            outcome.valid_crops
        ),
    );
    section.add_chart(
        &dice_chart(&outcome.shares),
        "Dice of the nodules against the share of labelled phantoms, from scratch and pre-trained",
    )?;
    let verdicts: Vec<String> = outcome.shares.iter().map(ShareOutcome::verdict).collect();
    section.add_text(format!(
        "Mean over the seeds, bars one standard deviation to each side. By Welch's t-test at {SIGNIFICANT}: {}.",
        verdicts.join("; ")
    ));
    section.add_table(&table(comparison));
    section.add_picture(
        &overlays(comparison)?,
        "Reference and predicted nodule voxels over a test crop",
        "The test crop whose Dice, averaged over both starts, is the median with all labels; first seed. Axial and \
         coronal plane with the largest nodule area.",
    )?;
    let chart =
        curves(comparison, "training loss (Dice + cross-entropy)", |detail| smoothed(&detail.training));
    section.add_chart(&chart, "Training loss over the steps, from scratch and pre-trained")?;
    let chart = curves(comparison, "Dice of the validation crops", |detail| detail.validation.clone());
    section.add_chart(&chart, "Validation Dice over the steps, from scratch and pre-trained")?;
    section.add_text(
        "Training loss (smoothed) and validation Dice, mean over the seeds: thick with all labelled phantoms, thin \
         with the fewest.",
    );
    Ok(())
}

fn dice_chart(shares: &[ShareOutcome]) -> Chart {
    let mut series = Vec::new();
    let mut ends: Vec<f64> = Vec::new();
    for (start, side) in Start::ALL.into_iter().zip([-1.0, 1.0]) {
        // A little apart, so that bars do not hide each other.
        let at = |share: &ShareOutcome| 100.0 * share.share + 0.3 * side;
        let mut bars = Vec::new();
        for share in shares {
            let dice = &of(share, start).dice;
            ends.push(dice.mean);
            let Some(deviation) = dice.standard_deviation else { continue };
            let (low, high) = (dice.mean - deviation, dice.mean + deviation);
            ends.extend([low, high]);
            for end in [low, high] {
                bars.extend([(at(share) - 0.6, end), (at(share) + 0.6, end), (f64::NAN, f64::NAN)]);
            }
            bars.extend([(at(share), low), (at(share), high), (f64::NAN, f64::NAN)]);
        }
        if !bars.is_empty() {
            // Without a name, so that the legend has one entry a start.
            let (colour, shape) = (colour(start), SeriesShape::Thin);
            series.push(Series { name: String::new(), points: bars, colour, shape });
        }
        series.push(Series {
            name: start.name().into(),
            points: shares.iter().map(|share| (at(share), of(share, start).dice.mean)).collect(),
            colour: colour(start),
            shape: SeriesShape::Dots,
        });
    }
    let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let margin = (0.1 * (high - low)).max(0.01);
    Chart {
        horizontal_label: "share of the labelled phantoms, %".into(),
        vertical_label: "Dice of held-out nodules".into(),
        horizontal: Axis::linear(0.0, 102.0, 10),
        vertical: Axis::linear((low - margin).max(0.0), (high + margin).min(1.0), 7),
        series,
    }
}

fn table(comparison: &Comparison) -> Table {
    let outcome = &comparison.outcome;
    let mut table = Table::new([
        "labelled phantoms",
        "crops",
        "Dice from scratch",
        "Dice pre-trained",
        "p",
        "IoU from scratch",
        "IoU pre-trained",
        "p",
    ]);
    for share in &outcome.shares {
        let runs = outcome.runs.iter().filter(|run| run.labelled == share.labelled);
        let crops: Vec<usize> = runs.map(|run| run.train_crops).collect();
        let (low, high) = (crops.iter().min().copied(), crops.iter().max().copied());
        let crops = match (low, high) {
            (Some(low), Some(high)) if low < high => format!("{low} to {high}"),
            (low, _) => low.unwrap_or(0).to_string(),
        };
        let p = |p: Option<f64>| p.map_or("undefined".into(), |p| format!("{p:.3}"));
        table = table.row([
            format!("{} ({:.0} %)", share.labelled, 100.0 * share.share),
            crops,
            share.scratch.dice.text(),
            share.pretrained.dice.text(),
            p(share.dice_p_value),
            share.scratch.iou.text(),
            share.pretrained.iou.text(),
            p(share.iou_p_value),
        ]);
    }
    table
}

/// The first seed's run.
fn first_run(comparison: &Comparison, labelled: usize, start: Start) -> Option<&Detail> {
    let runs = comparison.outcome.runs.iter();
    let at = runs.clone().position(|run| run.labelled == labelled && run.start == start)?;
    comparison.details.get(at)
}

fn overlays(comparison: &Comparison) -> Result<crate::report::picture::Picture> {
    let shares = &comparison.outcome.shares;
    let last = shares.last().map_or(0, |share| share.labelled);
    let both = Start::ALL.map(|start| first_run(comparison, last, start));
    let score = |case: usize| -> f64 { both.iter().flatten().map(|detail| detail.dice[case]).sum() };
    let mut order: Vec<usize> = (0..comparison.cases.len()).collect();
    order.sort_by(|&a, &b| score(a).total_cmp(&score(b)));
    let median = order[order.len().saturating_sub(1) / 2];
    let case = &comparison.cases[median];
    let first = shares.first().map_or(0, |share| share.labelled);
    let mut rows = Vec::new();
    for labelled in if first == last { vec![last] } else { vec![first, last] } {
        let details = Start::ALL.map(|start| first_run(comparison, labelled, start));
        let [Some(scratch), Some(pretrained)] = details else { continue };
        rows.push(LabelledRow {
            caption: format!(
                "{}\nDice {:.3} from scratch, {:.3} pre-trained",
                phantoms(labelled),
                scratch.dice[median],
                pretrained.dice[median]
            ),
            image: &case.image,
            labels: vec![&case.labels, &scratch.predictions[median], &pretrained.predictions[median]],
            size: case.size,
        });
    }
    labelled_montage(["reference", "from scratch", "pre-trained"], &rows)
}

/// One line for each start with all and with the fewest labels, the mean over the seeds.
fn curves(comparison: &Comparison, name: &str, points: impl Fn(&Detail) -> Vec<(f64, f64)>) -> Chart {
    let shares = &comparison.outcome.shares;
    let mut wanted: Vec<(usize, SeriesShape)> =
        shares.first().map(|share| (share.labelled, SeriesShape::Thin)).into_iter().collect();
    if shares.len() > 1 {
        wanted.extend(shares.last().map(|share| (share.labelled, SeriesShape::Thick)));
    }
    let mut series = Vec::new();
    for (labelled, shape) in wanted {
        for start in Start::ALL {
            let runs = comparison.outcome.runs.iter().zip(&comparison.details);
            let lines: Vec<Vec<(f64, f64)>> = runs
                .filter(|(run, _)| run.labelled == labelled && run.start == start)
                .map(|(_, detail)| points(detail))
                .collect();
            series.push(Series {
                name: format!("{}, {}", start.name(), phantoms(labelled)),
                points: mean_line(&lines),
                colour: colour(start),
                shape,
            });
        }
    }
    let all = || series.iter().flat_map(|series| &series.points);
    let low = all().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = all().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let last = all().map(|point| point.0).fold(1.0, f64::max);
    let margin = 0.05 * (high - low);
    Chart {
        horizontal_label: "optimiser step".into(),
        vertical_label: name.into(),
        horizontal: Axis::linear(0.0, last, 10),
        vertical: Axis::linear((low - margin).max(0.0), high + margin, 7),
        series,
    }
}

/// The mean of several lines at the steps they share; fewer crops in one seed's phantoms shift its
/// validations.
fn mean_line(lines: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, f64)> = lines.concat();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let groups = all.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() == lines.len());
    groups
        .filter_map(|group| Some((group[0].0, mean(&group.iter().map(|p| p.1).collect::<Vec<_>>())?)))
        .collect()
}
