use super::*;
use std::fs;

fn touch(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
}

fn names(dataset: &Dataset) -> Vec<&str> {
    dataset.cases.iter().map(|case| case.name.as_str()).collect()
}

fn refused(root: &Path, parts: &[&str]) {
    let line = Dataset::open(root).unwrap_err().to_string();
    for part in parts {
        assert!(line.contains(part) && !line.contains('\n'), "\"{part}\" is missing in: {line}");
    }
}

#[test]
fn paired_folders_and_channels_by_suffix() {
    for (images, labels) in [("images", "labels"), ("imagesTr", "labelsTr"), ("images", "masks")] {
        let folder = tempfile::tempdir().unwrap();
        let file = |folder: &str, name: &str| format!("{folder}/{name}");
        let all = [
            file(images, "b_0000.nii.gz"),
            file(images, "b_0001.nii.gz"),
            file(images, "a_0001.nii.gz"),
            file(images, "a_0000.nii.gz"),
            file(images, "._a_0000.nii.gz"),
            file(labels, "a.nii.gz"),
            file(labels, "b.nii"),
        ];
        touch(folder.path(), &all.each_ref().map(String::as_str));
        let dataset = Dataset::open(folder.path()).unwrap();
        assert_eq!(names(&dataset), ["a", "b"]);
        assert!(dataset.cases[0].images[0].ends_with("a_0000.nii.gz"));
        assert!(dataset.cases[0].images[1].ends_with("a_0001.nii.gz"));
        assert!(dataset.cases[1].label.ends_with("b.nii"));
        fs::remove_file(folder.path().join(images).join("b_0000.nii.gz")).unwrap();
        refused(folder.path(), &["b", "0 is missing"]);
        fs::remove_file(folder.path().join(labels).join("a.nii.gz")).unwrap();
        refused(folder.path(), &["a_0000.nii.gz", "no label map"]);
    }
    // Digits that belong to the name.
    let folder = tempfile::tempdir().unwrap();
    touch(folder.path(), &["images/hip_0017.nii.gz", "labels/hip_0017.nii.gz"]);
    assert_eq!(names(&Dataset::open(folder.path()).unwrap()), ["hip_0017"]);
}

#[test]
fn dataset_json_of_the_decathlon_and_of_nnunet() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, &["imagesTr/x.nii.gz", "labelsTr/x.nii.gz", "imagesTr/y_0000.nii.gz", "labelsTr/y.nii.gz"]);
    let json = |text: &str| fs::write(root.join("dataset.json"), text).unwrap();
    json(
        r#"{"labels": {"0": "background", "2": "posterior", "1": "anterior"}, "modality": {"0": "MRI"},
            "training": [{"image": "./imagesTr/x.nii.gz", "label": "./labelsTr/x.nii.gz"}]}"#,
    );
    let dataset = Dataset::open(root).unwrap();
    assert_eq!((names(&dataset), &dataset.channels[..]), (vec!["x"], &["MRI".to_string()][..]));
    let labels: Vec<(u8, String)> = dataset.labels.unwrap().into_iter().map(|l| (l.value, l.name)).collect();
    assert_eq!(labels[2], (2, "posterior".to_string()));
    // nnU-Net: labels turned around, files not listed.
    json(r#"{"labels": {"background": 0, "tumour": 1}, "channel_names": {"0": "CT"}, "numTraining": 2}"#);
    let dataset = Dataset::open(root).unwrap();
    assert_eq!((names(&dataset), dataset.labels.as_ref().unwrap().len()), (vec!["x", "y"], 2));
    for (text, parts) in [
        ("{", &["dataset.json"] as &[&str]),
        (r#"{"training": []}"#, &["dataset.json", "no labels"]),
        (r#"{"labels": {"0": "background"}}"#, &["dataset.json", "at least one other"]),
        (r#"{"labels": {"a": 0, "b": 300}}"#, &["dataset.json", "\"b\"", "300"]),
        (
            r#"{"labels": {"a": 0, "b": 1}, "training": [{"image": "imagesTr/x.nii.gz", "label": "../x.nii"}]}"#,
            &["dataset.json", "leads out"],
        ),
        (
            r#"{"labels": {"a": 0, "b": 1}, "training": [{"image": "imagesTr/z.nii.gz", "label": "labelsTr/x.nii.gz"}]}"#,
            &["z.nii.gz", "missing"],
        ),
        (
            r#"{"labels": {"a": 0, "b": 1}, "training": [{"image": "imagesTr/x.nii.gz", "label": "labelsTr/z.nii.gz"}]}"#,
            &["z.nii.gz", "missing"],
        ),
    ] {
        json(text);
        refused(root, parts);
    }
}

#[test]
fn brats_and_lits_as_they_are_distributed() {
    let folder = tempfile::tempdir().unwrap();
    for case in ["BraTS20_Training_002", "BraTS20_Training_001"] {
        for part in ["flair", "t1", "t1ce", "t2", "seg"] {
            touch(folder.path(), &[&format!("{case}/{case}_{part}.nii.gz")]);
        }
    }
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(names(&dataset), ["BraTS20_Training_001", "BraTS20_Training_002"]);
    assert_eq!(dataset.channels, ["FLAIR", "T1", "T1ce", "T2"]);
    assert!(dataset.cases[0].images[2].ends_with("BraTS20_Training_001_t1ce.nii.gz"));
    fs::remove_file(folder.path().join("BraTS20_Training_002/BraTS20_Training_002_t1.nii.gz")).unwrap();
    refused(folder.path(), &["BraTS20_Training_002", "T1ce"]);

    let folder = tempfile::tempdir().unwrap();
    touch(folder.path(), &["batch 1/volume-0.nii", "batch 2/volume-10.nii", "batch 1/segmentation-0.nii"]);
    refused(folder.path(), &["volume-10.nii", "segmentation-10"]);
    touch(folder.path(), &["batch 2/segmentation-10.nii"]);
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(names(&dataset), ["volume-0", "volume-10"]);
    assert_eq!(dataset.labels.unwrap()[2].name, "tumour");
}

#[test]
fn folders_without_a_case() {
    let folder = tempfile::tempdir().unwrap();
    refused(&folder.path().join("nowhere"), &["nowhere"]);
    refused(folder.path(), &["holds no data set"]);
    fs::create_dir_all(folder.path().join("images")).unwrap();
    fs::create_dir_all(folder.path().join("labels")).unwrap();
    refused(folder.path(), &["images", "holds no volume"]);
}
