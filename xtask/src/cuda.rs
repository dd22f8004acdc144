//! `cargo xtask cuda`: what can be said of the kernels' performance without a card, into `docs/cuda.md`.

use crate::Result;
use crate::resources;
use crate::roofline::{self, Counts};
use crate::sass::{self, Mix};
use crate::sources::{Sources, hex, root};
use crate::table::KERNELS;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

const PAGE: &str = "docs/cuda.md";

/// The sections that are made, by the names of their marks.
const SECTIONS: [&str; 5] = ["sources", "resources", "machine code", "counts", "bounds"];

/// Renews the page.
///
/// # Errors
/// The compiler's; a kernel that spills; an emulator that finds something; a page without the marks.
pub fn run() -> Result<()> {
    let path = root().join(PAGE);
    let mut page = fs::read_to_string(&path).map_err(|cause| format!("{PAGE}: {cause}"))?;
    let counts = counted()?;
    let made =
        [sources()?, resources::table()?, machine_code()?, counts_table(&counts), roofline::table(&counts)];
    for (name, text) in SECTIONS.iter().zip(made) {
        page = renewed(&page, name, &text)?;
    }
    fs::write(&path, page).map_err(|cause| format!("{PAGE}: {cause}"))?;
    println!("wrote {PAGE}");
    Ok(())
}

fn marks(name: &str) -> [String; 2] {
    ["begins", "ends"].map(|end| format!("<!-- {name} {end} -->"))
}

/// The text between the marks of a section.
fn section<'a>(page: &'a str, name: &str) -> Result<&'a str> {
    let [begin, end] = marks(name);
    let inner = page.split_once(&begin).and_then(|(_, rest)| Some(rest.split_once(&end)?.0));
    inner.ok_or_else(|| format!("{PAGE}: has no {begin} … {end}"))
}

fn renewed(page: &str, name: &str, text: &str) -> Result<String> {
    let [begin, end] = marks(name);
    let old = section(page, name)?;
    let (old, new) = (format!("{begin}{old}{end}"), format!("{begin}\n{}\n{end}", text.trim_end()));
    Ok(page.replacen(&old, &new, 1))
}

/// One hash for all that the kernels are made from.
fn fingerprint() -> Result<String> {
    let mut hash = Sha256::new();
    for source in Sources::read()?.units {
        hash.update(source.name.as_bytes());
        hash.update(source.hash.as_bytes());
    }
    Ok(hex(&hash.finalize()))
}

fn sources() -> Result<String> {
    Ok(format!("{} kernels; sources: sha256 {}.", KERNELS.len(), fingerprint()?))
}

/// Counts of every kernel, by the emulator.
fn counted() -> Result<Vec<(&'static str, Counts)>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(["run", "--locked", "--quiet", "-p", "genesis-kernels"]);
    let output = command.args(["--example", "cuda_counts"]).output();
    let output = output.map_err(|cause| format!("cargo: {cause}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("cuda_counts fails: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut found: BTreeMap<&str, Counts> =
        text.lines().map(Counts::parse).collect::<Result<BTreeMap<_, _>>>()?;
    let take = |name| {
        let counts = found.remove(name).ok_or_else(|| format!("cuda_counts does not run {name}"))?;
        Ok((name, counts))
    };
    KERNELS.iter().map(|kernel| kernel.name).map(take).collect()
}

fn machine_code() -> Result<String> {
    let mixes = match sass::mixes() {
        Err(cause) if cause.starts_with("python3") => {
            eprintln!("SKIPPED: the machine code: {cause}");
            return Ok("Left out: the disassembler was not to be had when this page was made.".into());
        }
        mixes => mixes?,
    };
    Ok(mix_table(&mixes))
}

fn mix_table(mixes: &BTreeMap<String, Mix>) -> String {
    let mut text = "| kernel | instructions | HMMA | LDSM | LDGSTS | other global | 16-byte share | local | barriers |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_string();
    for kernel in KERNELS {
        let mix = mixes.get(kernel.name).copied().unwrap_or_default();
        let wide = mix.wide_percent().map_or("-".to_string(), |percent| format!("{percent} %"));
        let Mix { all, hmma, ldsm, ldgsts, global, local, barriers, .. } = mix;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {all} | {hmma} | {ldsm} | {ldgsts} | {global} | {wide} | {local} | {barriers} |",
            kernel.name
        );
    }
    text
}

fn counts_table(counts: &[(&str, Counts)]) -> String {
    let mut text =
        "| kernel | shape | sectors a load | bytes used | sectors a store | bytes used | shared, of ideal | \
                    barriers | divergent | operations | on tensor cores |\n\
                    | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
            .to_string();
    for (name, counts) in counts {
        let [loads, stores] = [counts.loads, counts.stores].map(|traffic| match traffic.requests {
            0 => "- | -".to_string(),
            requests => format!(
                "{:.1} | {:.0} %",
                traffic.sectors as f64 / requests as f64,
                100.0 * traffic.bytes as f64 / (32 * traffic.sectors.max(1)) as f64
            ),
        });
        let shared = match counts.ideal {
            0 => "-".to_string(),
            ideal => format!("{:.2}", counts.wavefronts as f64 / ideal as f64),
        };
        let all = counts.flops + counts.matrix_flops;
        let share = match all {
            0 => "-".to_string(),
            all => format!("{:.0} %", 100.0 * counts.matrix_flops as f64 / all as f64),
        };
        let _ = writeln!(
            text,
            "| `{name}` | {} | {loads} | {stores} | {shared} | {} | {} | {all} | {share} |",
            counts.shape, counts.barriers, counts.divergences
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn page() -> String {
        fs::read_to_string(root().join(PAGE)).unwrap()
    }

    /// Each table has a row for every kernel, and for no other.
    #[test]
    fn the_page_names_every_kernel() {
        let page = page();
        let all: BTreeSet<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        for name in &SECTIONS[1..] {
            let section = section(&page, name).unwrap();
            if *name == "machine code" && section.trim().starts_with("Left out") {
                continue;
            }
            let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
            assert_eq!(rows.collect::<BTreeSet<&str>>(), all, "{name}: run cargo xtask cuda");
        }
    }

    #[test]
    fn the_page_is_that_of_the_sources() {
        let page = page();
        assert_eq!(section(&page, "sources").unwrap().trim(), sources().unwrap(), "run cargo xtask cuda");
    }

    /// What limits each family is said by hand.
    #[test]
    fn every_module_has_its_sentence() {
        let page = page();
        for module in crate::table::MODULES {
            assert!(page.contains(&format!("\n- `{module}`: ")), "{module}");
        }
    }

    #[test]
    fn sections_are_renewed_and_nothing_else() {
        let page = "# Page\n<!-- counts begins -->\nold\n<!-- counts ends -->\nrest\n";
        let new = renewed(page, "counts", "| a |\n").unwrap();
        assert_eq!(new, "# Page\n<!-- counts begins -->\n| a |\n<!-- counts ends -->\nrest\n");
        assert!(renewed(page, "bounds", "").is_err());
    }
}
