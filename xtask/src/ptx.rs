//! PTX with a header that says where it comes from.

use crate::nvrtc::{Nvrtc, Output};
use crate::sources::{Source, Sources, options, ptx_path};
use crate::{Result, wheel};
use std::collections::HashMap;
use std::fs;

fn header(source: &Source) -> String {
    format!(
        "// Made by `cargo xtask ptx` from {}.cu; do not edit.\n\
         // Compiler: NVRTC 12.0.140 {}\n\
         // Sources: sha256 {}\n",
        source.name,
        options(&source.name).join(" "),
        source.hash,
    )
}

/// The PTX as it stands in the repository.
fn compile(nvrtc: &Nvrtc, sources: &Sources, source: &Source) -> Result<String> {
    let options = options(&source.name);
    let options = options.each_ref().map(String::as_str);
    let (text, log) = nvrtc.compile(&source.name, &source.text, &sources.headers, &options, Output::Ptx)?;
    if !log.is_empty() {
        return Err(format!("{}.cu: warnings are errors:\n{log}", source.name));
    }
    let text = String::from_utf8(text).map_err(|_| format!("{}: PTX is not text", source.name))?;
    Ok(header(source) + &without_unused(text.trim_end_matches('\0')))
}

/// The text without module variables that nothing reads: those of NVRTC's own headers, and constants that the
/// compiler has folded.
fn without_unused(text: &str) -> String {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$') {
        *uses.entry(word).or_default() += 1;
    }
    let unused = |line: &str| {
        let declared = line.strip_prefix(".weak ").unwrap_or(line).strip_prefix(".global ")?;
        let declared = declared.split([';', '=']).next()?;
        // Arrays have their length behind the name.
        let name = declared.split_whitespace().last()?.split('[').next()?;
        (uses.get(name) == Some(&1)).then_some(())
    };
    let kept = text.lines().filter(|line| unused(line).is_none());
    kept.map(|line| format!("{line}\n")).collect()
}

fn stored(source: &Source) -> Option<String> {
    fs::read_to_string(ptx_path(&source.name)).ok()
}

/// Compiles what has changed.
///
/// # Errors
/// When a source does not compile or a file cannot be written.
pub fn write() -> Result<()> {
    let sources = Sources::read()?;
    let mut nvrtc = None;
    for source in &sources.units {
        if stored(source).is_some_and(|text| text.starts_with(&header(source))) {
            continue;
        }
        let nvrtc = match &nvrtc {
            Some(nvrtc) => nvrtc,
            None => nvrtc.insert(Nvrtc::open(&wheel::library()?)?),
        };
        let path = ptx_path(&source.name);
        fs::write(&path, compile(nvrtc, &sources, source)?)
            .map_err(|cause| format!("{}: {cause}", path.display()))?;
        println!("wrote {}", source.name);
    }
    Ok(())
}

/// Compiles everything and compares.
///
/// # Errors
/// When a file differs from what its sources give.
pub fn check() -> Result<()> {
    let sources = Sources::read()?;
    let nvrtc = Nvrtc::open(&wheel::library()?)?;
    for source in &sources.units {
        if stored(source).as_ref() != Some(&compile(&nvrtc, &sources, source)?) {
            let path = ptx_path(&source.name);
            return Err(format!("{} is not what its sources give; run cargo xtask ptx", path.display()));
        }
    }
    println!("{} PTX files are what their sources give", sources.units.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{KERNELS, MODULES};
    use std::collections::BTreeSet;

    /// No compiler is needed for this: the header holds the hash of everything the PTX was made from.
    #[test]
    fn ptx_is_that_of_the_sources() {
        let sources = Sources::read().unwrap();
        for source in &sources.units {
            let text = stored(source).unwrap_or_default();
            assert!(text.starts_with(&header(source)), "{} is stale; run cargo xtask ptx", source.name);
        }
    }

    /// Wants the compiler, which pip fetches.
    #[test]
    fn the_compiler_makes_the_same_bytes_again() {
        if wheel::is_within_reach() {
            check().unwrap();
        }
    }

    /// A changed source, and a changed file, are both found.
    #[test]
    fn stale_ptx_is_found() {
        let sources = Sources::read().unwrap();
        let source = &sources.units[0];
        let text = stored(source).unwrap();
        let other = &sources.units[1];
        assert!(text.starts_with(&header(source)) && !text.starts_with(&header(other)));
        assert_ne!(header(source), header(other));
    }

    #[test]
    fn only_variables_that_are_read_stay() {
        let text = ".global .align 4 .u32 unused = 1;\n.global .b8 bytes[8] = {1, 0};\n.global .align 4 .u32 used = 2;\nld.global.u32 %r1, [used];\n";
        assert_eq!(without_unused(text), ".global .align 4 .u32 used = 2;\nld.global.u32 %r1, [used];\n");
    }

    #[test]
    fn the_table_names_every_kernel_with_its_threads() {
        let sources = Sources::read().unwrap();
        let names: Vec<&str> = sources.units.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, MODULES);
        let mut found = BTreeSet::new();
        for source in &sources.units {
            let text = stored(source).unwrap_or_default();
            for entry in text.split(".entry ").skip(1) {
                let name = entry.split('(').next().unwrap_or_default().to_string();
                let threads = entry.split(".maxntid ").nth(1).and_then(|rest| rest.split(',').next());
                let threads = threads.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
                found.insert((source.name.clone(), name, threads));
            }
        }
        let table = KERNELS.iter().map(|k| (k.module.to_string(), k.name.to_string(), k.threads)).collect();
        assert_eq!(found, table);
    }
}
