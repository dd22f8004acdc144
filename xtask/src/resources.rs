//! What the assembler says of every kernel, and how many blocks of it fit a multiprocessor: static facts, on paper.

use crate::nvrtc::{Nvrtc, Output};
use crate::sources::Sources;
use crate::table::KERNELS;
use crate::{Result, wheel};

/// A multiprocessor (CUDA programming guide, table of compute capabilities).
struct Architecture {
    name: &'static str,
    warps: u32,
    blocks: u32,
    /// Shared memory, of which each block takes 1 KB more than it asks for.
    shared_bytes: u32,
}

const ARCHITECTURES: [Architecture; 4] = [
    Architecture { name: "sm_80", warps: 64, blocks: 32, shared_bytes: 164 << 10 },
    Architecture { name: "sm_86", warps: 48, blocks: 16, shared_bytes: 100 << 10 },
    Architecture { name: "sm_89", warps: 48, blocks: 24, shared_bytes: 100 << 10 },
    Architecture { name: "sm_90", warps: 64, blocks: 32, shared_bytes: 228 << 10 },
];

const REGISTERS: u32 = 65_536;

impl Architecture {
    /// Blocks that a multiprocessor holds at once.
    fn resident(&self, threads: u32, registers: u32, shared_bytes: u32) -> u32 {
        let warps = threads.div_ceil(32);
        // Registers are dealt to warps in units of 256.
        let of_warp = (registers * 32).next_multiple_of(256).max(256);
        let by_registers = REGISTERS / of_warp / warps;
        let by_shared = self.shared_bytes / (shared_bytes.next_multiple_of(128) + 1024);
        by_registers.min(by_shared).min(self.warps / warps).min(self.blocks)
    }
}

/// One kernel's line of the log.
#[derive(Debug, Default, PartialEq)]
struct Usage {
    name: String,
    registers: u32,
    /// Static shared memory.
    shared_bytes: u32,
    spilled_bytes: u32,
}

/// The number before `unit`.
fn number_before(line: &str, unit: &str) -> u32 {
    let before = line.split(unit).next().filter(|before| before.len() < line.len());
    before.and_then(|text| text.trim().rsplit([' ', ',']).next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn parse(log: &str) -> Vec<Usage> {
    let mut found: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some(name) = line.split("entry function '").nth(1).and_then(|rest| rest.split('\'').next()) {
            found.push(Usage { name: name.to_string(), ..Usage::default() });
        }
        let Some(usage) = found.last_mut() else { continue };
        if line.contains("spill stores") {
            usage.spilled_bytes =
                number_before(line, " bytes spill stores") + number_before(line, " bytes spill loads");
        }
        if line.contains("Used ") {
            usage.registers = number_before(line, " registers");
            usage.shared_bytes = number_before(line, " bytes smem");
        }
    }
    found
}

/// Prints the table as Markdown.
///
/// # Errors
/// When a kernel spills registers or does not fit.
pub fn print() -> Result<()> {
    let sources = Sources::read(&[])?;
    let nvrtc = Nvrtc::open(&wheel::library()?)?;
    println!(
        "| kernel | threads | shared bytes | registers sm_80 / 86 / 89 / 90 | blocks, occupancy sm_80 / 86 / 89 / 90 |"
    );
    println!("| --- | --- | --- | --- | --- |");
    let mut failures = Vec::new();
    for source in &sources.units {
        let mut usages = Vec::new();
        for architecture in &ARCHITECTURES {
            let target = format!("--gpu-architecture={}", architecture.name);
            let options = [target.as_str(), "--std=c++17", "--ptxas-options=-v"];
            let (_, log) =
                nvrtc.compile(&source.name, &source.text, &sources.headers, &options, Output::Cubin)?;
            usages.push(parse(&log));
        }
        for kernel in KERNELS.iter().filter(|kernel| kernel.module == source.name) {
            let (mut registers, mut occupancies, mut shared) = (Vec::new(), Vec::new(), 0);
            for (architecture, usages) in ARCHITECTURES.iter().zip(&usages) {
                let Some(usage) = usages.iter().find(|usage| usage.name == kernel.name) else {
                    return Err(format!("{} is not in {}.cu", kernel.name, source.name));
                };
                shared = usage.shared_bytes + kernel.shared_bytes;
                let blocks = architecture.resident(kernel.threads, usage.registers, shared);
                let percent = 100 * blocks * kernel.threads.div_ceil(32) / architecture.warps;
                registers.push(usage.registers.to_string());
                occupancies.push(format!("{blocks}, {percent} %"));
                if usage.spilled_bytes > 0 || blocks == 0 {
                    failures.push(format!("{} on {}", kernel.name, architecture.name));
                }
            }
            let (registers, occupancies) = (registers.join(" / "), occupancies.join(" / "));
            println!("| `{}` | {} | {shared} | {registers} | {occupancies} |", kernel.name, kernel.threads);
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(format!("kernels that spill registers or do not fit: {}", failures.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_the_assembler_is_understood() {
        let log = "ptxas info    : Compiling entry function 'a' for 'sm_80'\n\
                   ptxas         .     48 bytes stack frame, 44 bytes spill stores, 40 bytes spill loads\n\
                   ptxas info    : Used 128 registers, 512 bytes smem, 576 bytes cmem[0]\n\
                   ptxas info    : Compiling entry function 'b' for 'sm_80'\n\
                   ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
                   ptxas info    : Used 24 registers, 392 bytes cmem[0]";
        let usage = |name: &str, registers, shared_bytes, spilled_bytes| Usage {
            name: name.to_string(),
            registers,
            shared_bytes,
            spilled_bytes,
        };
        assert_eq!(parse(log), [usage("a", 128, 512, 84), usage("b", 24, 0, 0)]);
    }

    #[test]
    fn the_scarcest_resource_limits_the_blocks() {
        let ampere = &ARCHITECTURES[0];
        assert_eq!(ampere.resident(256, 128, 0), 2);
        assert_eq!(ampere.resident(128, 32, 48 << 10), 3);
        assert_eq!(ampere.resident(1024, 32, 0), 2);
        assert_eq!(ampere.resident(32, 16, 0), 32);
        assert_eq!(ampere.resident(128, 32, 200 << 10), 0);
    }
}
