//! S2: truncated files. S3: flipped bits, every third in a short run and every one in a long one.

use super::{Content, one_line, read};
use genesis_fuzz::mutate::Random;
use genesis_fuzz::{corpus, target};
use genesis_tests::trust::{Tally, amount};
use std::path::Path;

/// Files that say "the voxels are the last bytes" (`HeaderSize = -1`): a cut shifts them, which nothing can notice.
/// They are left out of S2.
const CUTS_UNNOTICED: [&str; 1] = ["valid-end.mhd"];

/// Cuts of text that are themselves whole files (a table without its last rows) say nothing; JSON must be closed.
const PARSERS: [&str; 7] = ["nifti", "metaimage", "npy", "safetensors", "pt", "dataset", "splits"];

fn valid(parser: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
    let files = corpus::files(parser).expect("a corpus").into_iter();
    files.filter(|(name, _)| name.starts_with("valid-") && !CUTS_UNNOTICED.contains(&name.as_str()))
}

#[test]
fn every_truncation_is_refused() {
    let mut tally = Tally::new("S2", "a valid file of each format cut at every byte: refused");
    for parser in PARSERS {
        let run = target(parser).expect("a target of the list").run;
        for (name, bytes) in valid(parser) {
            assert!(run(&bytes).is_ok(), "{name}");
            for length in 0..bytes.len() {
                tally.count(match run(&bytes[..length]) {
                    Err(_) => Ok(()),
                    Ok(outcome) => Err(format!("{parser}/{name} cut at {length}: {outcome}")),
                });
            }
        }
    }
    tally.finish();
}

/// The bytes of a corpus file under a name that readers know.
fn with_name(folder: &Path, parser: &str, bytes: &[u8]) -> std::path::PathBuf {
    let name = match parser {
        "nifti" => "damaged.nii",
        "metaimage" => "damaged.mha",
        "npy" => "damaged.npy",
        _ => "damaged.pt",
    };
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn flipped_bits_of_files_without_a_checksum_do_no_harm() {
    let mut tally =
        Tally::new("S3", "bits of a header and random ones of a body flipped, no checksum: read or refused");
    let mut random = Random::new(3);
    let step = amount(3, 1) as usize;
    for parser in ["nifti", "metaimage", "npy"] {
        let run = target(parser).expect("a target of the list").run;
        for (name, bytes) in valid(parser) {
            let header = bytes.len().min(600) * 8;
            let body = (0..amount(100, 100_000)).map(|_| random.below(bytes.len() * 8));
            for bit in (0..header).step_by(step).chain(body.collect::<Vec<_>>()) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                // `run` compares what is read with itself: voxels with size, message with one line.
                let outcome = std::panic::catch_unwind(|| run(&flipped));
                tally.count(outcome.map_err(|_| format!("{parser}/{name}: bit {bit}")));
            }
        }
    }
    tally.finish();
}

#[test]
fn flipped_bits_of_packed_files_are_noticed() {
    let folder = genesis_fuzz::folder::temporary();
    let step = amount(3, 1) as usize;
    let mut tally =
        Tally::new("S3", "bits of gzip, zlib, zip and safetensors flipped: refused, or read as before");
    let mut refused = 0u64;
    let files = [
        ("nifti", "valid-int16.nii.gz"),
        ("metaimage", "valid-zlib.mha"),
        ("pt", "valid-zip.pt"),
        ("pt", "valid-training.pt"),
    ];
    let mut all = Vec::new();
    for (parser, wanted) in files {
        let (_, bytes) =
            corpus::files(parser).expect("a corpus").into_iter().find(|(name, _)| name == wanted).unwrap();
        // The text of a MetaImage header has no checksum; its voxels have.
        let from =
            if parser == "metaimage" { genesis_fuzz::need::metaimage_header(&bytes).unwrap() } else { 0 };
        all.push((parser, wanted, bytes, from));
    }
    let ours = folder.path().join("ours.safetensors");
    genesis_model::checkpoint::write_safetensors(&ours, &super::checkpoints::small_state()).unwrap();
    all.push(("safetensors", "ours.safetensors", std::fs::read(&ours).unwrap(), 0));
    for (parser, name, bytes, from) in all {
        let whole = read(&with_name(folder.path(), parser, &bytes)).unwrap();
        for bit in (from * 8..bytes.len() * 8).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let path = with_name(folder.path(), parser, &flipped);
            let outcome = match read(&path) {
                Err(message) => {
                    refused += 1;
                    one_line(&message, "damaged")
                }
                Ok(content) if same(&content, &whole) => Ok(()),
                Ok(_) => Err("was read as something else".to_string()),
            };
            tally.count(outcome.map_err(|cause| format!("{parser}/{name}, bit {bit}: {cause}")));
        }
    }
    assert!(refused > 3_000, "only {refused} flips were refused");
    tally.finish();
}

/// Equal, but for the order of tensors, which time stamps and padding of an archive do not decide.
fn same(a: &Content, b: &Content) -> bool {
    a == b
}
