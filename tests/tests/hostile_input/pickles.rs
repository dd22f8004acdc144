//! S7: pickles that do harm or lie (`tests/oracle/record_pickles.py`) are refused by name.

use super::one_line;
use genesis_model::checkpoint::read_checkpoint;
use genesis_tests::trust::Tally;
use std::collections::BTreeMap;
use std::path::Path;

/// The file and what its refusal must say.
const FILES: [(&str, &str); 16] = [
    ("os-system", "posix.system"),
    ("eval", "__builtin__.eval"),
    ("exec-nested", "builtins.exec"),
    ("getattr-chain", "__builtin__.getattr"),
    ("open-file", "open"),
    ("popen", "subprocess.Popen"),
    ("build-setstate", "os.system"),
    ("global-beside-tensor", "__builtin__.compile"),
    ("memo-bomb", "memo bomb"),
    ("nesting-10k", "nesting"),
    ("negative-stride", "stride"),
    ("negative-offset", "offset"),
    ("storage-overrun", "storage"),
    ("storage-larger-than-file", "Tensor with shape"),
    ("overlap-2-60", "Tensor with shape"),
    ("storage-outside", "etc/passwd"),
];

#[test]
fn pickles_that_do_harm_are_refused_by_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pickles");
    let mut expected: BTreeMap<String, &str> =
        FILES.iter().map(|(name, part)| (format!("{name}.pt"), *part)).collect();
    let mut tally = Tally::new("S7", "a pickle that calls, nests, repeats or lies: refused by name");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let part = expected.remove(&name).unwrap_or_else(|| panic!("{name} is not in the list"));
        tally.count(match read_checkpoint(&path) {
            Ok(_) => Err(format!("{name} was read")),
            Err(error) => {
                let message = error.to_string();
                let says =
                    if message.contains(part) { Ok(()) } else { Err(format!("no {part:?} in {message}")) };
                says.and(one_line(&message, &name))
            }
        });
    }
    assert!(expected.is_empty(), "missing: {expected:?}");
    tally.finish();
}
