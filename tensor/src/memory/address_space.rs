//! The limit of a process's address space (`ulimit -v`), which some clusters set.

/// The soft limit of this process's address space in bytes; none where it is unlimited or the system does not tell.
pub fn address_space_bytes() -> Option<usize> {
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// The limit in the text of `/proc/self/limits`.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Where the address space is limited, lets threads share what small allocations come from; to be called before the
/// first thread starts. GNU's allocator otherwise reserves 64 MiB for each thread, as long as there are any, and the
/// first allocation after that ends the process.
pub fn share_limited_address_space() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
    if address_space_bytes().is_some() {
        // SAFETY: changes a number of the allocator's, under its own lock. A refusal changes nothing.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

#[cfg(test)]
mod tests {
    use super::soft_limit;

    #[test]
    fn the_limit_is_read_where_there_is_one() {
        let limits = |soft: &str| {
            format!("Max cpu time   7   7   seconds\nMax address space   {soft}   unlimited   bytes\n")
        };
        assert_eq!(soft_limit(&limits("125829120")), Some(125_829_120));
        assert_eq!(soft_limit(&limits("unlimited")), None);
        assert_eq!(soft_limit(""), None);
    }
}
