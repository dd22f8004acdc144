//! Text: configurations, tables of candidates, descriptions of data sets.

use std::path::Path;

use genesis_train::augment::Augmenter;
use genesis_train::candidates::{CandidateTable, TableSource};
use genesis_train::deform::Deformer;
use genesis_train::evaluate::classification::{read_findings, read_predictions};
use genesis_train::finetune::{ClassificationConfig, Dataset, SegmentationConfig, Split, TargetConfig};
use genesis_train::training::RunConfig;

use crate::allocation::measured;
use crate::{Outcome, folder, message};

/// The cubes that configurations are tried on.
const CUBE: [usize; 3] = [16, 16, 16];

/// A configuration of pre-training, and one cube deformed by its recipe.
pub fn config(data: &[u8]) -> Outcome {
    folder::with(|place| {
        let path = folder::write(place, "config.toml", data);
        let read = measured(|| RunConfig::from_file(&path, None));
        let config = read.map_err(|error| message(&error))?;
        config.check().map_err(|error| message(&error))?;
        config.to_toml().map_err(|error| message(&error))?;
        let mut deformer =
            Deformer::new(config.deformation.clone(), CUBE).map_err(|error| message(&error))?;
        let original = vec![0.5; CUBE.iter().product()];
        let (mut target, mut input) = (original.clone(), original.clone());
        deformer.pair_for_sample(1, 1, 1, &original, &mut target, &mut input, None);
        assert!(input.iter().chain(&target).all(|value| value.is_finite()));
        Ok("configuration".into())
    })
}

/// A configuration of fine-tuning, read as one of segmentation and as one of classification.
pub fn finetune_config(data: &[u8]) -> Outcome {
    folder::with(|place| {
        let path = folder::write(place, "config.toml", data);
        let segment = measured(|| SegmentationConfig::from_file(&path)).and_then(|config| {
            config.check()?;
            Augmenter::new(config.augmentation.clone(), CUBE).map(drop)
        });
        let classify = measured(|| ClassificationConfig::from_file(&path)).and_then(|config| {
            config.check()?;
            Augmenter::new(config.settings().augmentation.clone(), CUBE).map(drop)
        });
        match (segment, classify) {
            (Err(first), Err(second)) => Err(format!("{}; {}", message(&first), message(&second))),
            (first, second) => {
                Ok(format!("segmentation {} classification {}", first.is_ok(), second.is_ok()))
            }
        }
    })
}

/// A table of candidates; the volumes `a.nii` and `b.npy` are there.
pub fn candidates(data: &[u8]) -> Outcome {
    folder::with(|place| {
        folder::write(place, "a.nii", b"");
        folder::write(place, "b.npy", b"");
        let path = folder::write(place, "table.csv", data);
        let read = |source: &TableSource| measured(|| CandidateTable::read(source, None));
        let alone = read(&TableSource::new(&path));
        let lenient = read(&TableSource {
            volumes: Some(place.to_path_buf()),
            skip_missing: true,
            ..TableSource::new(&path)
        });
        if let Ok(table) = &lenient {
            check(table);
        }
        match alone {
            Ok(table) => {
                check(&table);
                assert!(lenient.is_ok(), "skipping nothing changes nothing");
                Ok(format!("{} classes", table.classes.len()))
            }
            Err(error) => Err(message(&error)),
        }
    })
}

/// LUNA16's annotations: the findings of one scan.
pub fn annotations(data: &[u8]) -> Outcome {
    folder::with(|place| {
        let path = folder::write(place, "annotations.csv", data);
        let scans = std::collections::HashMap::from([("1.2.3", 0)]);
        let findings = measured(|| read_findings(&path, &scans, true)).map_err(|error| message(&error))?;
        assert!(findings.iter().all(|finding| finding.centre_mm.iter().all(|place| place.is_finite())));
        Ok("findings".into())
    })
}

/// A table of probabilities.
pub fn predictions(data: &[u8]) -> Outcome {
    folder::with(|place| {
        let path = folder::write(place, "cases.csv", data);
        let (scored, _) = measured(|| read_predictions(&path)).map_err(|error| message(&error))?;
        check(&scored.table);
        assert_eq!(scored.probabilities.len(), scored.table.rows.len() * scored.classes());
        Ok(format!("{} classes", scored.classes()))
    })
}

fn check(table: &CandidateTable) {
    assert!(!table.rows.is_empty());
    for row in &table.rows {
        assert!(row.label.is_none_or(|label| label < table.classes.len()), "{row:?}");
        assert!(row.position_mm.iter().flatten().all(|place| place.is_finite()), "{row:?}");
    }
}

/// `dataset.json` beside the folders `imagesTr` and `labelsTr` with one case.
pub fn dataset(data: &[u8]) -> Outcome {
    folder::with(|place| {
        let root = place.join("data");
        for part in ["imagesTr", "labelsTr"] {
            std::fs::create_dir_all(root.join(part)).expect("the temporary folder takes folders");
            folder::write(&root.join(part), "case.nii.gz", b"");
        }
        folder::write(&root, "dataset.json", data);
        let dataset = measured(|| Dataset::open(&root)).map_err(|error| message(&error))?;
        assert!(!dataset.cases.is_empty());
        for case in &dataset.cases {
            for path in case.images.iter().chain([&case.label]) {
                assert!(inside(path, &root), "{} leads out of the folder", path.display());
            }
        }
        Ok(format!("{} channels", dataset.channels.len()))
    })
}

fn inside(path: &Path, root: &Path) -> bool {
    let below = path.strip_prefix(root);
    below.is_ok_and(|rest| rest.components().all(|part| matches!(part, std::path::Component::Normal(_))))
}

/// A file of splits, plain and of several.
pub fn splits(data: &[u8]) -> Outcome {
    folder::with(|place| {
        let path = folder::write(place, "splits.json", data);
        let mut outcomes = Vec::new();
        for key in [None, Some("0"), Some("ct")] {
            match measured(|| Split::read(&path, key)) {
                Ok(split) => {
                    assert!(!split.train.is_empty() && !split.valid.is_empty());
                    return Ok(format!("split by {key:?}"));
                }
                Err(error) => outcomes.push(message(&error)),
            }
        }
        Err(outcomes.swap_remove(0))
    })
}
