//! What the system says of this process's memory.

/// The largest resident memory so far in bytes (`VmHWM`), where the system tells.
pub fn peak_resident() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_from_the_status() {
        assert_eq!(resident_in("Name:\tgenesis\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        assert_eq!(resident_in("Name:\tgenesis\n"), None);
        if cfg!(target_os = "linux") {
            assert!(peak_resident().is_some_and(|bytes| bytes > 1 << 16));
        }
    }
}
