//! Mbarrier objects against the manual's definition, and what is found when they are used against their rules.

mod common;
use common::{hopper_kernel, line_of, run_hopper};
use ptx_emulator::{Finding, FindingKind, LoadError, Memory, Module};

/// Threads store their number where `%rd3` points.
const PLACE: &str = ".shared .align 8 .b64 bar; .shared .align 4 .b8 s[1024];\nmov.u32 %r1, %tid.x; mov.u32 %r2, bar;\n\
                     mov.u32 %r3, s; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2; shl.b32 %r4, %r1, 2;\n\
                     add.u32 %r4, %r3, %r4; setp.eq.u32 %p1, %r1, 0;\n";

fn init(count: &str) -> String {
    format!("{PLACE}@%p1 mbarrier.init.shared::cta.b64 [%r2], {count};\nbar.sync 0;\n")
}

fn wait(label: &str, parity: &str) -> String {
    format!(
        "{label}:\nmbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], {parity}; // {label}\n@!%p2 bra {label};\n"
    )
}

fn run(body: &str, threads: u32) -> Result<Vec<u32>, Finding> {
    run_hopper(&hopper_kernel("", body), threads, &vec![0; threads as usize], |_| Vec::new()).map(|r| r.0)
}

/// Must be found at the line with `part`.
fn found(body: &str, threads: u32, kind: FindingKind, part: &str) -> Finding {
    let text = hopper_kernel("", body);
    let finding = run_hopper(&text, threads, &vec![0; threads as usize], |_| Vec::new())
        .map(|_| ())
        .expect_err("a finding");
    assert_eq!((finding.kind, finding.line), (kind, line_of(&text, part)), "{finding}\n{text}");
    finding
}

/// Warps exchange values through shared memory, ordered by the object alone, over several phases.
#[test]
fn arrivals_and_waits_order_accesses() {
    let body = |arrive: &str, wait: &str| {
        format!(
            "{}st.shared.u32 [%r4], %r1;\n{arrive}\n{wait}\n\
             xor.b32 %r5, %r1, 96; shl.b32 %r5, %r5, 2; add.u32 %r5, %r3, %r5;\nld.shared.u32 %r6, [%r5]; // read\n\
             st.global.u32 [%rd3], %r6;\n",
            init("128")
        )
    };
    let arrive = "mbarrier.arrive.shared::cta.b64 _, [%r2];";
    let values = run(&body(arrive, &wait("W", "0")), 128).expect("no finding");
    assert!(values.iter().enumerate().all(|(i, &v)| v == i as u32 ^ 96));
    // Arrived and not waited; waited for the phase before, which is over.
    for wait in [String::new(), wait("W", "1")] {
        let text = hopper_kernel("", &body(arrive, &wait));
        let finding = run_hopper(&text, 128, &[0; 128], |_| Vec::new()).expect_err("a finding");
        assert!(matches!(finding.kind, FindingKind::Race | FindingKind::Uninitialised), "{finding}");
        assert_eq!(finding.line, line_of(&text, "// read"));
    }
}

/// The second write must wait until all have read: two objects, full and empty, as in a pipeline.
#[test]
fn a_pipeline_of_two_objects() {
    let body = |empty: &str| {
        format!(
            ".shared .align 8 .b64 bars[2]; .shared .align 4 .b8 s[4];\nmov.u32 %r1, %tid.x; mov.u32 %r2, bars; mov.u32 %r3, s;\n\
             mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2; setp.eq.u32 %p1, %r1, 0; mov.u32 %r10, 0; mov.u32 %r11, 0;\n\
             @%p1 mbarrier.init.shared.b64 [%r2], 1;\n@%p1 mbarrier.init.shared.b64 [%r2+8], 64;\nbar.sync 0;\n\
             setp.gt.u32 %p3, %r1, 31; @%p3 bra CONSUMER; @!%p1 bra OUT;\nPRODUCER:\n\
             and.b32 %r5, %r10, 1; xor.b32 %r5, %r5, 1;\n\
             E: mbarrier.try_wait.parity.shared.b64 %p2, [%r2+8], %r5;\n@!%p2 bra E;\n\
             add.u32 %r6, %r10, 5;\nst.shared.u32 [%r3], %r6;\nmbarrier.arrive.shared.b64 _, [%r2];\n\
             add.u32 %r10, %r10, 1; setp.lt.u32 %p4, %r10, 4; @%p4 bra PRODUCER; bra OUT;\nCONSUMER:\n\
             and.b32 %r5, %r10, 1;\nF: mbarrier.try_wait.parity.shared.b64 %p2, [%r2], %r5;\n@!%p2 bra F;\n\
             ld.shared.u32 %r6, [%r3];\nadd.u32 %r11, %r11, %r6;\n{empty}\n\
             add.u32 %r10, %r10, 1; setp.lt.u32 %p4, %r10, 4; @%p4 bra CONSUMER;\nst.global.u32 [%rd3], %r11;\nOUT:\n"
        )
    };
    let text = body("mbarrier.arrive.shared.b64 _, [%r2+8];");
    let values = run(&text, 96).expect("no finding");
    assert!(values[32..].iter().all(|&v| v == 5 + 6 + 7 + 8), "{values:?}");
    // Nobody says that the place is empty: the producer waits for ever, and so do the consumers.
    let finding = run(&body(""), 96).expect_err("a finding");
    assert_eq!(finding.kind, FindingKind::Deadlock, "{finding}");
    let all = hopper_kernel("", &body(""));
    for part in ["E: mbarrier", "F: mbarrier"] {
        assert!(finding.message.contains(&format!("PTX line {}", line_of(&all, part))), "{finding}");
    }
    // The producer does not wait for them.
    let finding = run(&text.replace("@!%p2 bra E;", ""), 96).expect_err("a finding");
    assert_eq!(finding.kind, FindingKind::Race, "{finding}");
}

#[test]
fn states_counts_and_parities() {
    // One thread: three arrivals, by two instructions; the state is that of the phase that they end.
    let body = format!(
        "{PLACE}mbarrier.init.shared.b64 [bar], 3;\n\
         mbarrier.test_wait.parity.shared.b64 %p3, [bar], 1; selp.u32 %r10, 1, 0, %p3;\n\
         mbarrier.arrive.shared.b64 %rd5, [bar], 2;\n\
         mbarrier.test_wait.shared.b64 %p3, [bar], %rd5; selp.u32 %r11, 2, 0, %p3; add.u32 %r10, %r10, %r11;\n\
         mbarrier.test_wait.parity.shared.b64 %p3, [bar], 0; selp.u32 %r11, 4, 0, %p3; add.u32 %r10, %r10, %r11;\n\
         mbarrier.arrive.shared.b64 %rd6, [bar];\n\
         mbarrier.test_wait.shared.b64 %p3, [bar], %rd6; selp.u32 %r11, 8, 0, %p3; add.u32 %r10, %r10, %r11;\n\
         mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p3, [bar], 0, 100; selp.u32 %r11, 16, 0, %p3; add.u32 %r10, %r10, %r11;\n\
         mbarrier.test_wait.parity.shared.b64 %p3, [bar], 1; selp.u32 %r11, 32, 0, %p3; add.u32 %r10, %r10, %r11;\n\
         mbarrier.inval.shared.b64 [bar];\nst.shared.u64 [bar], 7;\nld.shared.u32 %r12, [bar]; add.u32 %r10, %r10, %r12;\n\
         st.global.u32 [%rd1], %r10;\n"
    );
    assert_eq!(run(&body, 1).expect("no finding"), [1 + 8 + 16 + 7]);
    // Generic addresses.
    let generic = "mov.u64 %rd4, bar; cvta.shared.u64 %rd4, %rd4;\nmbarrier.init.b64 [%rd4], 1; mbarrier.arrive.b64 _, [%rd4];\n\
                   mbarrier.test_wait.parity.b64 %p3, [%rd4], 0; selp.u32 %r10, 1, 0, %p3; st.global.u32 [%rd1], %r10;\n";
    assert_eq!(run(&format!("{PLACE}{generic}"), 1).expect("no finding"), [1]);
}

/// Lanes that wait must not keep the lane of their own warp from running that they wait for.
#[test]
fn a_warp_may_wait_for_itself() {
    let body = format!(
        "{}@%p1 bra LATER;\n{}bra OUT;\nLATER: mbarrier.arrive.shared.b64 _, [%r2];\nOUT:\nst.global.u32 [%rd3], 1;\n",
        init("1"),
        wait("W", "0")
    );
    assert_eq!(run(&body, 32).expect("no finding"), [1; 32]);
}

#[test]
fn barriers_are_passed_while_others_wait() {
    // Warps 1 and 2 meet at a barrier before they arrive; warp 0 waits for them.
    let body = format!(
        "{}setp.lt.u32 %p3, %r1, 32; @%p3 bra WAITS;\nbar.sync 1, 64;\nmbarrier.arrive.shared.b64 _, [%r2];\nbra OUT;\nWAITS:\n{}\
         OUT:\nst.global.u32 [%rd3], 1;\n",
        init("64"),
        wait("W", "0")
    );
    assert_eq!(run(&body, 96).expect("no finding"), [1; 96]);
}

#[test]
fn misuse_is_found() {
    let arrive = "mbarrier.arrive.shared::cta.b64 _, [%r2]; // here\n";
    found(&format!("{PLACE}{arrive}"), 1, FindingKind::Barrier, "// here");
    let twice = "mbarrier.init.shared.b64 [%r2], 1;\nmbarrier.init.shared.b64 [%r2], 1; // here\n";
    found(&format!("{PLACE}{twice}"), 1, FindingKind::Barrier, "// here");
    let none = "mbarrier.init.shared.b64 [%r2], 0; // here\n";
    found(&format!("{PLACE}{none}"), 1, FindingKind::Barrier, "// here");
    let odd = "mbarrier.init.shared.b64 [%r3], 1; // here\n";
    found(&format!("{PLACE}{odd}"), 1, FindingKind::Misaligned, "// here");
    let outside = "mbarrier.init.shared.b64 [%r2+8], 1; // here\n";
    found(&format!("{PLACE}{outside}"), 1, FindingKind::OutOfBounds, "// here");
    let ended = format!("{}mbarrier.inval.shared.b64 [%r2];\n{arrive}", init("1"));
    found(&ended, 1, FindingKind::Barrier, "// here");
    // More arrivals than the phase expects: they cannot belong to the next one while bytes are missing.
    let many = format!("{}mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 16;\n{arrive}", init("1"));
    let finding = found(&many, 1, FindingKind::Barrier, "// here");
    assert!(finding.message.contains("0 of 1 are missing"), "{finding}");
    for access in [
        "st.shared.u32 [%r2+4], 0; // here\n",
        "ld.shared.u8 %r5, [%r2+7]; // here\n",
        "atom.shared.add.u32 %r5, [%r2], 1; // here\n",
    ] {
        found(&format!("{}{access}", init("1")), 1, FindingKind::Barrier, "// here");
    }
    // Others use it before they can know of it.
    let race = format!("{PLACE}@%p1 mbarrier.init.shared.b64 [%r2], 64;\n{arrive}");
    found(&race, 64, FindingKind::Race, "// here");
}

#[test]
fn waits_that_nothing_ends() {
    let alone =
        format!("{}{}", init("2"), wait("W", "0").replace("W:", "mbarrier.arrive.shared.b64 _, [%r2];\nW:"));
    let finding = found(&alone, 1, FindingKind::Deadlock, "// W");
    assert!(finding.message.contains("1 of 2 arrivals"), "{finding}");
    // Bytes that nobody copies.
    let bytes =
        format!("{}mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 64;\n{}", init("1"), wait("W", "0"));
    let finding = found(&bytes, 1, FindingKind::Deadlock, "// W");
    assert!(finding.message.contains("64 bytes missing"), "{finding}");
    let apart = format!(
        "{}mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r2], 64; mbarrier.arrive.shared.b64 _, [%r2];\n{}",
        init("1"),
        wait("W", "0")
    );
    found(&apart, 1, FindingKind::Deadlock, "// W");
    // One warp waits for bytes, another at a barrier for the first.
    let both = format!(
        "{}setp.lt.u32 %p3, %r1, 32; @%p3 bra WAITS;\nbar.sync 0; // barrier\nbra OUT;\nWAITS:\n{}OUT:\n",
        init("1"),
        wait("W", "0")
    );
    let finding = found(&both, 64, FindingKind::Deadlock, "// W");
    let at = line_of(&hopper_kernel("", &both), "// barrier");
    assert!(finding.message.contains(&format!("PTX line {at} for a barrier")), "{finding}");
}

#[test]
fn what_a_target_does_not_have() {
    let load = |text: &str| match Module::load(text, &mut Memory::default()) {
        Err(LoadError::Parse(error)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => String::new(),
    };
    let with = |instruction: &str| hopper_kernel(".shared .align 8 .b64 bar;", instruction);
    let old = |instruction: &str| load(&with(instruction).replace("sm_90a", "sm_80"));
    assert_eq!(old("mbarrier.init.shared.b64 [bar], 1;"), "");
    assert_eq!(old("mbarrier.test_wait.parity.shared.b64 %p1, [bar], 1;"), "");
    for instruction in [
        "mbarrier.try_wait.parity.shared.b64 %p1, [bar], 1;",
        "mbarrier.arrive.expect_tx.shared.b64 _, [bar], 16;",
        "mbarrier.expect_tx.shared.b64 [bar], 16;",
        "fence.proxy.async;",
        "fence.mbarrier_init.release.cluster;",
        "elect.sync %r1|%p1, -1;",
    ] {
        assert!(old(instruction).contains("needs .target sm_90"), "{}", old(instruction));
        assert_eq!(load(&with(instruction)), "");
    }
    for instruction in [
        "mbarrier.arrive.shared::cluster.b64 _, [bar];",
        "mbarrier.arrive_drop.shared.b64 _, [bar];",
        "mbarrier.arrive.noComplete.shared.b64 %rd2, [bar], 1;",
        "fence.proxy.alias;",
        "mbarrier.try_wait.parity.shared.b32 %p1, [bar], 1;",
    ] {
        let error = load(&with(instruction));
        let opcode = instruction.split([' ', ';']).next().expect("an opcode");
        assert!(error.contains(opcode) && error.contains("PTX line"), "{instruction}: {error}");
    }
}

#[test]
fn one_lane_is_elected() {
    let body = format!(
        "{PLACE}elect.sync %r5|%p3, 0xffffffff;\nselp.u32 %r6, 100, 0, %p3; add.u32 %r6, %r6, %r5;\nst.global.u32 [%rd3], %r6;\n"
    );
    let mut expected = vec![0; 64];
    (expected[0], expected[32]) = (100, 100);
    assert_eq!(run(&body, 64).expect("no finding"), expected);
    // Of the lanes that take part the lowest.
    let part = body
        .replace("elect.sync", "setp.gt.u32 %p4, %r1, 3; mov.u32 %r5, 0; @%p4 elect.sync")
        .replace("0xffffffff", "0xfffffff0");
    let values = run(&part, 32).expect("no finding");
    assert!(values[4] == 104 && values[5..].iter().all(|&v| v == 4), "{values:?}");
}
