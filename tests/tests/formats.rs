//! NRRD and files of several volumes through the commands, end to end on small data.

use genesis_tests::{cubes, fail, json, succeed};
use genesis_train::volume::read_volume;
use std::fs;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_frame_of_a_film_is_chosen_by_every_command_that_reads_volumes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Three volumes of 20 x 20 x 24 voxels, each 100 HU above the one before.
    let size = [20, 20, 24];
    let frame = |number: usize| -> Vec<f32> {
        let texture = |i: usize| (i * 7919 % 300) as f32 - 700.0;
        (0..size.iter().product()).map(|i| texture(i) + 100.0 * number as f32).collect()
    };
    let header = "NRRD0004\ntype: float\ndimension: 4\nsizes: 20 20 24 3\nspace: LPS\n\
                  space directions: (2,0,0) (0,2,0) (0,0,3) none\nkinds: domain domain domain list\n\
                  endian: little\nencoding: raw\n\n";
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend((0..3).flat_map(frame).flat_map(f32::to_le_bytes));
    let scans = at("scans");
    fs::create_dir(&scans).unwrap();
    let film = scans.join("film.nrrd");
    fs::write(&film, bytes).unwrap();

    let refused = fail(1, &["inspect", text(&film)]);
    assert!(refused.contains("holds 3 volumes") && refused.contains("--frame, 0 to 2"), "{refused}");
    let refused = fail(1, &["inspect", text(&film), "--frame", "3"]);
    assert!(refused.contains("no frame 3"), "{refused}");
    let described = json(&succeed(&["inspect", text(&film), "--frame", "2", "--json"]));
    assert_eq!((&described["frames"], &described["frame"]), (&3.into(), &2.into()));
    assert_eq!(described["format"], "NRRD");
    assert!(succeed(&["inspect", text(&film), "--frame", "2"]).contains("2 (of 3, counted from 0)"));

    let second = at("second.nii.gz");
    let refused = fail(1, &["convert", text(&film), text(&second)]);
    assert!(refused.contains("--frame") && !second.exists(), "{refused}");
    succeed(&["convert", text(&film), text(&second), "--frame", "1"]);
    let converted = read_volume(&second).unwrap();
    assert_eq!((converted.size, converted.spacing), (size, [2.0, 2.0, 3.0]));
    assert_eq!(converted.voxels[0], frame(1)[0]);
    let back = at("back.nrrd");
    succeed(&["convert", text(&second), text(&back)]);
    assert_eq!(read_volume(&back).unwrap().voxels, converted.voxels);

    let cut = ["--cube", "16x16x8", "--border", "0,0,0", "--max-tissue", "1", "--per-volume", "4"];
    let (all, one) = (at("film.npy"), at("one.npy"));
    let with = |name: &'static str, first: &[&str]| -> String {
        let arguments: Vec<&str> = [&[name], first, &cut].concat();
        succeed(&arguments)
    };
    let arguments: Vec<&str> =
        [&["cubes", "--volumes", text(&scans), "--out", text(&all)], &cut[..]].concat();
    assert!(fail(1, &arguments).contains("--frame"));
    with("cubes", &["--volumes", text(&scans), "--frame", "1", "--out", text(&all)]);
    let alone = at("alone");
    fs::create_dir(&alone).unwrap();
    fs::copy(&second, alone.join("second.nii.gz")).unwrap();
    with("cubes", &["--volumes", text(&alone), "--out", text(&one)]);
    assert_eq!(cubes(&all), cubes(&one), "the frame and the volume made of it give the same cubes");

    let run = at("run");
    succeed(&[
        "pretrain",
        "--volumes",
        text(&scans),
        "--frame",
        "1",
        "--out",
        text(&run),
        "--width",
        "2",
        "--batch-size",
        "2",
        "--steps",
        "1",
        "--cube",
        "16x16x16",
        "--border",
        "0,0,0",
        "--per-volume",
        "6",
        "--quiet",
    ]);
    assert!(fs::read_to_string(run.join("config.toml")).unwrap().contains("frame = 1"));
    let best = run.join("checkpoints/best.safetensors");
    let restore = |input: &Path, more: &[&str], out: &str| {
        let out = at(out);
        let fixed = ["restore", "--weights", text(&best), "--input", text(input), "--out", text(&out)];
        succeed(&[&fixed[..], &["--cube", "16x16x16"], more].concat());
        read_volume(&out).unwrap()
    };
    let (a, b) = (restore(&film, &["--frame", "1"], "a.nrrd"), restore(&second, &[], "b.nhdr"));
    assert_eq!((a.voxels, a.affine), (b.voxels, b.affine));
}

/// An NRRD film of `frames`, each [x, y, z] with x fastest; `place` says whether values of a voxel lie together.
fn film(size: [usize; 3], frames: &[Vec<i16>], together: bool) -> Vec<u8> {
    let [x, y, z] = size;
    let count = frames.len();
    let (sizes, directions) = if together {
        (format!("{count} {x} {y} {z}"), "none (-0.8,0,0) (0,0.8,0) (0,0,2)")
    } else {
        (format!("{x} {y} {z} {count}"), "(-0.8,0,0) (0,0.8,0) (0,0,2) none")
    };
    let mut bytes = format!(
        "NRRD0004\ntype: short\ndimension: 4\nsizes: {sizes}\nspace: RAS\nspace directions: {directions}\n\
         space origin: (7,8,9)\nendian: little\nencoding: raw\n\n"
    )
    .into_bytes();
    let voxels = x * y * z;
    let values: Vec<i16> = if together {
        (0..voxels * count).map(|i| frames[i % count][i / count]).collect()
    } else {
        frames.concat()
    };
    bytes.extend(values.into_iter().flat_map(i16::to_le_bytes));
    bytes
}

#[test]
fn channels_and_label_maps_may_be_nrrd() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for part in ["data/images", "data/labels"] {
        fs::create_dir_all(at(part)).unwrap();
    }
    let size = [20, 18, 16];
    let voxels = size.iter().product::<usize>();
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        let bright = |i: usize| (i % 20 + number) % 10 < 5;
        let frame = |channel: usize| -> Vec<i16> {
            (0..voxels).map(|i| if channel == 1 && bright(i) { 400 } else { (i * 31 % 90) as i16 }).collect()
        };
        let frames = [frame(0), frame(1)];
        fs::write(at(&format!("data/images/{name}.nrrd")), film(size, &frames, number == 1)).unwrap();
        // 3D Slicer's name for the segmentation of `name`.
        let mut label = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 20 18 16\nspace: RAS\n".to_vec();
        label.extend(
            b"space directions: (-0.8,0,0) (0,0.8,0) (0,0,2)\nspace origin: (7,8,9)\nencoding: raw\n\n",
        );
        label.extend((0..voxels).map(|i| u8::from(bright(i))));
        fs::write(at(&format!("data/labels/{name}.seg.nrrd")), label).unwrap();
    }
    let (run, data) = (at("run"), at("data"));
    let small = "--modality mri --width 2 --patch 16x16x16 --steps 3 --batch-size 2 --validate-every 100 \
                 --channels 1 --augment none --loss ce --quiet --threads 2";
    let mut arguments = vec!["finetune", "segment", "--data", text(&data), "--out", text(&run)];
    arguments.extend(small.split(' ').filter(|part| !part.is_empty()));
    succeed(&arguments);
    let weights = run.join("checkpoints/last.safetensors");
    let predict = |input: &Path, out: &Path, more: &[&str]| {
        let fixed =
            ["predict", "--weights", text(&weights), "--input", text(input), "--out", text(out), "--quiet"];
        [&fixed[..], more].concat().iter().map(|part| part.to_string()).collect::<Vec<_>>()
    };
    let run = |arguments: Vec<String>| succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    run(predict(&data.join("images"), &at("out"), &[]));
    for name in ["a.nrrd", "b.nrrd", "c.nrrd"] {
        let (scan, labels) = (data.join("images").join(name), read_volume(&at("out").join(name)).unwrap());
        let options = genesis_train::volume::ReadOptions::frame(Some(0));
        let scan = genesis_train::volume::read_volume_with(&scan, &options).unwrap();
        assert_eq!((labels.size, labels.affine), (scan.size, scan.affine));
        assert!(labels.voxels.iter().all(|value| [0.0, 1.0].contains(value)));
    }
    // The network was trained on channel 1, which is frame 1 of the film.
    run(predict(&data.join("images/a.nrrd"), &at("x.nhdr"), &["--frame", "1"]));
    let (chosen, all) = (read_volume(&at("x.nhdr")).unwrap(), read_volume(&at("out/a.nrrd")).unwrap());
    assert_eq!((chosen.voxels, chosen.affine), (all.voxels, all.affine));
    let arguments = predict(&data.join("images/a.nrrd"), &at("y.nrrd"), &["--frame", "2"]);
    let refused = fail(1, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(refused.contains("a.nrrd") && refused.contains("no frame 2"), "{refused}");
}
