//! The machine code that the assembler makes for sm_80, or sm_90a where that is what a kernel is for: what kinds of
//! instructions it is made of.

use crate::nvrtc::{Nvrtc, Output};
use crate::sources::{Sources, target};
use crate::table::KERNELS;
use crate::{Result, wheel};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// Instructions of a kernel, as they stand in its text: loops are not counted through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    /// All but padding.
    pub all: u32,
    /// Products on tensor cores: `HMMA` of a warp, `HGMMA` of a warpgroup.
    pub hmma: u32,
    /// `LDSM`: fragments from shared memory.
    pub ldsm: u32,
    /// Asynchronous copies from device to shared memory: `LDGSTS`, and `UTMALDG` of whole boxes.
    pub ldgsts: u32,
    /// Other loads and stores of device memory.
    pub global: u32,
    /// Of both, those of 16 bytes a thread.
    pub wide: u32,
    /// Loads and stores of local memory: spills and arrays that are no registers.
    pub local: u32,
    /// Barriers.
    pub barriers: u32,
}

impl Mix {
    /// Share of accesses of device memory that move 16 bytes a thread, percent.
    pub fn wide_percent(&self) -> Option<u32> {
        let all = self.ldgsts + self.global;
        (all > 0).then(|| (100 * self.wide + all / 2) / all)
    }
}

/// Mixes by kernel, of the text of nvdisasm.
fn parse(text: &str) -> BTreeMap<String, Mix> {
    let mut found: BTreeMap<String, Mix> = BTreeMap::new();
    let mut kernel = None;
    for line in text.lines() {
        if line.starts_with("//---") {
            let section = line.trim_matches(['/', '-', ' ']);
            kernel = section.strip_prefix(".text.").map(|name| found.entry(name.to_string()).or_default());
            continue;
        }
        let Some(mix) = kernel.as_mut() else { continue };
        let Some((_, instruction)) = line.split_once("*/") else { continue };
        let mut words = instruction.split_whitespace().skip_while(|word| word.starts_with('@'));
        let opcode = words.next().unwrap_or_default().trim_end_matches(';');
        let (base, modifiers) = opcode.split_once('.').unwrap_or((opcode, ""));
        if base.is_empty() || base == "NOP" {
            continue;
        }
        mix.all += 1;
        match base {
            "HMMA" | "HGMMA" => mix.hmma += 1,
            "LDSM" => mix.ldsm += 1,
            "LDGSTS" | "UTMALDG" => mix.ldgsts += 1,
            "LDG" | "STG" | "LD" | "ST" | "RED" | "ATOM" | "ATOMG" => mix.global += 1,
            "LDL" | "STL" => mix.local += 1,
            "BAR" => mix.barriers += 1,
            _ => {}
        }
        let device = matches!(base, "LDGSTS" | "LDG" | "STG" | "LD" | "ST");
        mix.wide += u32::from(device && modifiers.split('.').any(|modifier| modifier == "128"));
    }
    found
}

/// Disassembles every kernel.
///
/// # Errors
/// The compiler's; the disassembler's, and those of fetching it, which begin with `python3`.
pub fn mixes() -> Result<BTreeMap<String, Mix>> {
    let disassembler = wheel::disassembler()?;
    let sources = Sources::read()?;
    let nvrtc = Nvrtc::open(&wheel::library()?)?;
    let file = wheel::target().join(format!("{}.cubin", std::process::id()));
    let mut found = BTreeMap::new();
    for source in &sources.units {
        let architecture = format!("--gpu-architecture=sm_{}", target(&source.name));
        let options = [architecture.as_str(), "--std=c++17"];
        let (code, _) =
            nvrtc.compile(&source.name, &source.text, &sources.headers, &options, Output::Cubin)?;
        fs::write(&file, code).map_err(|cause| format!("{}: {cause}", file.display()))?;
        let output = Command::new(&disassembler).arg(&file).output();
        // Whatever comes of it, the file is needed no more.
        let _ = fs::remove_file(&file);
        let output = output.map_err(|cause| format!("{}: {cause}", disassembler.display()))?;
        if !output.status.success() {
            return Err(format!("nvdisasm fails: {}", String::from_utf8_lossy(&output.stderr)));
        }
        found.extend(parse(&String::from_utf8_lossy(&output.stdout)));
    }
    match KERNELS.iter().find(|kernel| found.get(kernel.name).is_none_or(|mix| mix.all == 0)) {
        Some(kernel) => Err(format!("nvdisasm shows no {}", kernel.name)),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_counted_by_what_they_are() {
        let text = "//--------------------- .debug_frame --------------------------\n\
                    \t/*0000*/ \t.byte\t0xff, 0xff\n\
                    //--------------------- .text.one       --------------------------\n\
                    \t.align\t128\none:\n.text.one:\n\
                    \t/*0000*/                   MOV R1, c[0x0][0x28] ;\n\
                    \t/*0010*/               @P0 LDG.E.128 R4, [R2.64] ;\n\
                    \t/*0020*/               @!PT LDGSTS.E.BYPASS.128 [R1], [R2.64] ;\n\
                    \t/*0030*/                   STG.E [R4.64], R7 ;\n\
                    \t/*0040*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;\n\
                    \t/*0050*/                   LDSM.16.M88.4 R4, [R2] ;\n\
                    \t/*0060*/                   STL [R1], R2 ;\n\
                    \t/*0070*/                   BAR.SYNC 0x0 ;\n\
                    .L_x_1:\n\t/*0080*/                   BRA `(.L_x_1);\n\t/*0090*/                   NOP;\n\
                    //--------------------- .text.two       --------------------------\n\
                    \t/*0000*/                   EXIT ;\n";
        let found = parse(text);
        let one = Mix { all: 9, hmma: 1, ldsm: 1, ldgsts: 1, global: 2, wide: 2, local: 1, barriers: 1 };
        assert_eq!(found.get("one"), Some(&one));
        assert_eq!(one.wide_percent(), Some(67));
        assert_eq!(found.get("two"), Some(&Mix { all: 1, ..Mix::default() }));
        assert_eq!((found.len(), found["two"].wide_percent()), (2, None));
    }
}
