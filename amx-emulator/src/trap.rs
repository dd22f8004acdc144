//! The handler of SIGILL.

use crate::{Tiles, decode};
use std::cell::UnsafeCell;
use std::io::Write;
use std::sync::OnceLock;

thread_local! {
    // Constant and without a destructor: reading it in a signal handler allocates and registers nothing.
    static TILES: UnsafeCell<Tiles> = const { UnsafeCell::new(Tiles::new()) };
}

/// The longest instruction of the architecture.
const LONGEST: usize = 15;

/// Where the general registers, by their number, lie in a signal's context.
const REGISTERS: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Installs the handler, once.
pub fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        if !is_x86_feature_detected!("fma") || !is_x86_feature_detected!("avx2") {
            return false;
        }
        // SAFETY: an all-zero action is a valid one; its handler has the signature SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_illegal_instruction as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) == 0
        }
    })
}

extern "C" fn on_illegal_instruction(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the third argument is the interrupted thread's context, ours until we return.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as u64;
    let mut bytes = [0u8; LONGEST];
    // Byte by byte up to the end of the instruction: what follows it may not be mapped.
    let mut found = Err("nothing");
    for length in 1..=LONGEST {
        // SAFETY: the processor has read these bytes, or the instruction before them is not whole.
        bytes[length - 1] = unsafe { *((at as *const u8).add(length - 1)) };
        found = decode(&bytes[..length]);
        if found.is_ok() {
            break;
        }
    }
    let (instruction, length) = match found {
        Ok(found) => found,
        Err(cause) => refuse(cause, &bytes, at),
    };
    let general = REGISTERS.map(|register| registers[register as usize] as u64);
    let outcome = TILES.with(|tiles| {
        // SAFETY: only this handler touches the thread's tiles, and SIGILL is blocked while it runs; the
        // instruction may touch what the interrupted code may.
        unsafe { (*tiles.get()).execute(instruction, &general, at + length as u64) }
    });
    if let Err(cause) = outcome {
        refuse(cause, &bytes, at);
    }
    registers[libc::REG_RIP as usize] += length as i64;
}

/// Says what was wrong and ends the program, by calls that a signal handler may make alone.
fn refuse(cause: &str, bytes: &[u8; LONGEST], at: u64) -> ! {
    let mut line = [0u8; 256];
    let mut rest = &mut line[..];
    // Writing to a slice neither allocates nor locks; what does not fit is cut.
    let _ = write!(rest, "AMX emulator: illegal instruction at {at:#x}: {cause}; bytes");
    for byte in bytes {
        let _ = write!(rest, " {byte:02x}");
    }
    let _ = writeln!(rest);
    let left = rest.len();
    // SAFETY: the line has that many bytes; write and abort may be called from a handler.
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len() - left);
        libc::abort()
    }
}

#[cfg(test)]
mod tests {
    use std::arch::asm;

    #[test]
    fn instructions_of_a_running_program_are_emulated() {
        assert!(super::install());
        let mut configuration = [0u8; 64];
        configuration[0] = 1;
        for tile in 0..8 {
            configuration[16 + 2 * tile] = 64;
            configuration[48 + tile] = 16;
        }
        // Identity: pairs (1, 0) on the diagonal of b pick the even values of a.
        let one = 0x3f80u16;
        let a: Vec<u16> = (0..512).map(|i| ((i as f32).to_bits() >> 16) as u16).collect();
        let mut b = vec![0u16; 512];
        for k in 0..16 {
            b[k * 32 + 2 * k] = one;
        }
        let mut sums = [f32::NAN; 256];
        // SAFETY: installed or real, the instructions touch the buffers given, 16 rows of 64 bytes each.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                "tilezero tmm0",
                "tileloadd tmm1, [{a} + {pitch}*1]",
                "tileloaddt1 tmm2, [{b} + {pitch}*1]",
                "tdpbf16ps tmm0, tmm1, tmm2",
                "tilestored [{sums} + {pitch}*1], tmm0",
                "tilerelease",
                configuration = in(reg) configuration.as_ptr(),
                a = in(reg) a.as_ptr(),
                b = in(reg) b.as_ptr(),
                sums = in(reg) sums.as_mut_ptr(),
                pitch = in(reg) 64usize,
                options(nostack)
            );
        }
        for (m, row) in sums.chunks(16).enumerate() {
            for (n, sum) in row.iter().enumerate() {
                assert_eq!(*sum, f32::from_bits(u32::from(a[m * 32 + 2 * n]) << 16));
            }
        }
    }

    #[test]
    fn other_illegal_instructions_end_the_program() {
        // In a child process, because it is to be aborted.
        const CHILD: &str = "GENESIS_AMX_EMULATOR_CHILD";
        if std::env::var_os(CHILD).is_some() {
            super::install();
            // SAFETY: none: the program ends here.
            unsafe { asm!("ud2") };
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["other_illegal_instructions", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("AMX emulator: illegal instruction") && text.contains("0f 0b"), "{text}");
    }
}
