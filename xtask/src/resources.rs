//! What the assembler says of every kernel, and how many blocks of it fit a multiprocessor: static facts, on paper.

use crate::nvrtc::{Nvrtc, Output};
use crate::sources::Sources;
use crate::table::{KERNELS, Kernel, is_hopper};
use crate::{Result, wheel};
use std::collections::BTreeMap;

/// A multiprocessor (CUDA programming guide, table of compute capabilities).
struct Architecture {
    name: &'static str,
    warps: u32,
    blocks: u32,
    /// Shared memory, of which each block takes 1 KB more than it asks for.
    shared_bytes: u32,
    /// What the kernels for compute capability 9.0 alone are compiled for, where it runs them.
    hopper: Option<&'static str>,
}

const ARCHITECTURES: [Architecture; 4] = [
    Architecture { name: "sm_80", warps: 64, blocks: 32, shared_bytes: 164 << 10, hopper: None },
    Architecture { name: "sm_86", warps: 48, blocks: 16, shared_bytes: 100 << 10, hopper: None },
    Architecture { name: "sm_89", warps: 48, blocks: 24, shared_bytes: 100 << 10, hopper: None },
    Architecture { name: "sm_90", warps: 64, blocks: 32, shared_bytes: 228 << 10, hopper: Some("sm_90a") },
];

const REGISTERS: u32 = 65_536;

/// A kernel and a number a line.
const LIMITS: &str = include_str!("../registers.txt");

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
#[derive(Clone, Debug, Default, PartialEq)]
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

/// A kernel, and what it uses on each of [`ARCHITECTURES`] that runs it.
struct Measured {
    kernel: &'static Kernel,
    usages: Vec<Option<Usage>>,
}

impl Measured {
    fn known(&self) -> impl Iterator<Item = &Usage> {
        self.usages.iter().flatten()
    }
}

/// Assembles every kernel for those architectures whose number `is_wanted`.
fn measure(is_wanted: impl Fn(usize) -> bool) -> Result<Vec<Measured>> {
    let sources = Sources::read()?;
    let nvrtc = Nvrtc::open(&wheel::library()?)?;
    let mut all = Vec::new();
    for source in &sources.units {
        let mut logs = Vec::new();
        for (number, architecture) in ARCHITECTURES.iter().enumerate() {
            let name = if is_hopper(&source.name) { architecture.hopper } else { Some(architecture.name) };
            let Some(name) = name.filter(|_| is_wanted(number)) else {
                logs.push(None);
                continue;
            };
            let target = format!("--gpu-architecture={name}");
            let options = [target.as_str(), "--std=c++17", "--ptxas-options=-v"];
            let (_, log) =
                nvrtc.compile(&source.name, &source.text, &sources.headers, &options, Output::Cubin)?;
            // "Potential Performance Loss": products that do not overlap.
            if let Some(line) = log.lines().find(|line| line.contains("wgmma") && line.contains("serialized"))
            {
                return Err(format!("{}: {line}", source.name));
            }
            logs.push(Some(parse(&log)));
        }
        for kernel in KERNELS.iter().filter(|kernel| kernel.module == source.name) {
            let find = |log: &Option<Vec<Usage>>| match log {
                None => Ok(None),
                Some(usages) => match usages.iter().find(|usage| usage.name == kernel.name) {
                    Some(usage) => Ok(Some(usage.clone())),
                    None => Err(format!("{} is not in {}.cu", kernel.name, source.name)),
                },
            };
            let usages = logs.iter().map(find).collect::<Result<_>>()?;
            all.push(Measured { kernel, usages });
        }
    }
    Ok(all)
}

/// The most registers each kernel may use, of [`LIMITS`].
fn limits() -> Result<BTreeMap<String, u32>> {
    let mut limits = BTreeMap::new();
    for line in LIMITS.lines().filter(|line| !line.starts_with('#')) {
        let parsed = line.split_once(' ').and_then(|(name, count)| Some((name, count.trim().parse().ok()?)));
        let (name, count) = parsed.ok_or_else(|| format!("registers.txt: cannot read {line:?}"))?;
        limits.insert(name.to_string(), count);
    }
    Ok(limits)
}

/// What is wrong with a kernel, a line each: spills, no room on a multiprocessor, more registers than recorded.
fn complaints(measured: &[Measured], limits: &BTreeMap<String, u32>) -> Vec<String> {
    let mut all = Vec::new();
    for Measured { kernel, usages } in measured {
        let limit = limits.get(kernel.name);
        if limit.is_none() {
            all.push(format!("{} has no limit in registers.txt", kernel.name));
        }
        for (architecture, usage) in ARCHITECTURES.iter().zip(usages) {
            let Some(usage) = usage else { continue };
            let place = format!("{} on {}", kernel.name, architecture.name);
            let shared = usage.shared_bytes + kernel.shared_bytes;
            if usage.spilled_bytes > 0 {
                all.push(format!("{place} spills {} bytes of registers", usage.spilled_bytes));
            }
            if architecture.resident(kernel.threads, usage.registers, shared) == 0 {
                all.push(format!("{place} does not fit a multiprocessor"));
            }
            if let Some(&limit) = limit.filter(|&&limit| usage.registers > limit) {
                all.push(format!("{place} uses {} registers, recorded are {limit}", usage.registers));
            }
        }
    }
    all
}

/// Fails on a spill, and on registers above those recorded.
///
/// # Errors
/// Those, all of them; the compiler's.
pub fn check() -> Result<()> {
    check_those(|_| true)
}

fn check_those(is_wanted: impl Fn(usize) -> bool) -> Result<()> {
    let measured = measure(is_wanted)?;
    let complaints = complaints(&measured, &limits()?);
    if !complaints.is_empty() {
        return Err(complaints.join("\n"));
    }
    println!("{} kernels: no spills, no more registers than recorded", measured.len());
    Ok(())
}

/// Prints what [`LIMITS`] is to hold: the most registers over all architectures.
///
/// # Errors
/// The compiler's.
pub fn record() -> Result<()> {
    println!("# The most registers a thread of each kernel may use: `cargo xtask ptx --registers`.");
    for measured in measure(|_| true)? {
        let most = measured.known().map(|usage| usage.registers).max().unwrap_or(0);
        println!("{} {most}", measured.kernel.name);
    }
    Ok(())
}

/// The table as Markdown.
///
/// # Errors
/// As [`check`].
pub fn table() -> Result<String> {
    let measured = measure(|_| true)?;
    let complaints = complaints(&measured, &limits()?);
    if !complaints.is_empty() {
        return Err(complaints.join("\n"));
    }
    let names = ARCHITECTURES.map(|architecture| architecture.name.trim_start_matches("sm_")).join(" / ");
    let mut lines = vec![
        format!(
            "| kernel | threads | static + dynamic shared bytes | registers sm_{names} | spilled bytes | \
             blocks, occupancy sm_{names} |"
        ),
        "| --- | ---: | ---: | --- | ---: | --- |".to_string(),
    ];
    for measured in &measured {
        let Measured { kernel, usages } = measured;
        let (mut registers, mut occupancies) = (Vec::new(), Vec::new());
        for (architecture, usage) in ARCHITECTURES.iter().zip(usages) {
            let Some(usage) = usage else {
                registers.push("-".to_string());
                occupancies.push("-".to_string());
                continue;
            };
            let shared = usage.shared_bytes + kernel.shared_bytes;
            let blocks = architecture.resident(kernel.threads, usage.registers, shared);
            let percent = 100 * blocks * kernel.threads.div_ceil(32) / architecture.warps;
            registers.push(usage.registers.to_string());
            occupancies.push(format!("{blocks}, {percent} %"));
        }
        let fixed = measured.known().map(|usage| usage.shared_bytes).max().unwrap_or(0);
        let spilled: u32 = measured.known().map(|usage| usage.spilled_bytes).sum();
        let (registers, occupancies) = (registers.join(" / "), occupancies.join(" / "));
        lines.push(format!(
            "| `{}` | {} | {fixed} + {} | {registers} | {spilled} | {occupancies} |",
            kernel.name, kernel.threads, kernel.shared_bytes
        ));
    }
    Ok(lines.join("\n"))
}

/// Prints the table.
///
/// # Errors
/// As [`check`].
pub fn print() -> Result<()> {
    println!("{}", table()?);
    Ok(())
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

    fn measured(change: impl Fn(&mut Usage)) -> Vec<Measured> {
        let kernel = &KERNELS[0];
        let usage = |registers| Usage { name: kernel.name.into(), registers, ..Usage::default() };
        let mut usages = vec![usage(30), usage(32), usage(32), usage(31)];
        change(&mut usages[2]);
        let usages = usages.into_iter().map(Some).collect();
        vec![Measured { kernel, usages }]
    }

    #[test]
    fn spills_more_registers_and_kernels_without_a_limit_are_told_by_name() {
        let limits: BTreeMap<String, u32> = [(KERNELS[0].name.to_string(), 32)].into();
        assert!(complaints(&measured(|_| ()), &limits).is_empty());
        let spilled = complaints(&measured(|usage| usage.spilled_bytes = 8), &limits);
        assert!(spilled.len() == 1 && spilled[0].contains("sm_89 spills 8 bytes"), "{spilled:?}");
        let grown = complaints(&measured(|usage| usage.registers = 33), &limits);
        assert!(grown.len() == 1 && grown[0].contains("33 registers, recorded are 32"), "{grown:?}");
        let unknown = complaints(&measured(|_| ()), &BTreeMap::new());
        assert!(unknown.len() == 1 && unknown[0].contains("no limit"), "{unknown:?}");
    }

    /// Assembles everything: wants the compiler, which pip fetches. It compiles one program at a time in a process, so that
    /// another process takes every second architecture.
    #[test]
    fn no_kernel_spills_or_grows() {
        if !wheel::is_within_reach() {
            return;
        }
        let mut other = std::process::Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "resources::tests::child_checks_every_second", "--ignored"]);
        let other = other.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let own = check_those(|number| number % 2 == 0);
        let output = other.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        own.unwrap();
    }

    #[test]
    #[ignore = "run by no_kernel_spills_or_grows"]
    fn child_checks_every_second() {
        check_those(|number| number % 2 == 1).unwrap();
    }
}
