//! Planted bugs: each must be found, at its line; and what is allowed must pass.

mod common;
use common::{finding, kernel, run};
use ptx_emulator::{
    Argument, Finding, FindingKind, Grid, LaunchError, LoadError, Memory, Module, Options, SHARED_MOST,
};

const SHARED: &str = ".shared .align 4 .b8 s[512]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s;\n\
                      add.u32 %r4, %r3, %r2; cvt.u64.u32 %rd2, %r2; add.s64 %rd2, %rd1, %rd2;\n";

/// The line in `text` that contains `part`.
fn line(text: &str, part: &str) -> usize {
    text.lines().position(|l| l.contains(part)).expect("the line") + 1
}

fn expect(text: &str, grid: Grid, bytes: usize, kind: FindingKind, part: &str) -> Finding {
    let found = finding(text, grid, bytes);
    assert_eq!((found.kind, found.line, found.kernel.as_str()), (kind, line(text, part), "k"), "{found}");
    found
}

/// A race between two lines, whichever came second.
fn named(found: &Finding, one: usize, other: usize) {
    let says = |first: usize, second: usize| {
        found.line == first && found.message.contains(&format!("at PTX line {second},"))
    };
    assert!(found.kind == FindingKind::Race && (says(one, other) || says(other, one)), "{found}");
}

#[test]
fn a_missing_barrier() {
    let body = |barrier: &str| {
        kernel(
            "",
            &format!(
                "{SHARED}st.shared.u32 [%r4], %r1;\n{barrier}\nxor.b32 %r5, %r2, 252; add.u32 %r5, %r3, %r5;\n\
             ld.shared.u32 %r6, [%r5];\nst.global.u32 [%rd2], %r6;"
            ),
        )
    };
    // The read of the first warp comes before the write of the second: not even the bytes are there.
    let found = finding(&body(""), Grid::line(1, 64), 256);
    assert!(matches!(found.kind, FindingKind::Race | FindingKind::Uninitialised), "{found}");
    run(&body("bar.sync 0;"), Grid::line(1, 64), &[0; 64]);
    // Within a warp a barrier of the warp is enough, and none is a race.
    let near = |barrier: &str| body(barrier).replace("252", "124");
    expect(&near(""), Grid::line(1, 32), 128, FindingKind::Race, "ld.shared");
    run(&near("bar.warp.sync 0xffffffff;"), Grid::line(1, 32), &[0; 32]);
}

/// The classical bug: the second barrier of a loop, before the tile is overwritten.
#[test]
fn a_missing_second_barrier() {
    let body = |barrier: &str| {
        kernel(
            "",
            &format!(
                "{SHARED}mov.u32 %r9, 0; mov.u32 %r8, 0;\nLOOP:\nadd.u32 %r7, %r1, %r9;\nst.shared.u32 [%r4], %r7;\nbar.sync 0;\n\
             xor.b32 %r5, %r2, 252; add.u32 %r5, %r3, %r5;\nld.shared.u32 %r6, [%r5];\nadd.u32 %r8, %r8, %r6;\n\
             {barrier}\nadd.u32 %r9, %r9, 1; setp.lt.u32 %p1, %r9, 3; @%p1 bra LOOP;\nst.global.u32 [%rd2], %r8;"
            ),
        )
    };
    // Which of the two comes second depends on the order of the warps; the finding names both.
    let (text, found) = (body(""), finding(&body(""), Grid::line(1, 64), 256));
    named(&found, line(&text, "st.shared"), line(&text, "ld.shared"));
    let (words, _) = run(&body("bar.sync 0;"), Grid::line(1, 64), &[0; 64]);
    assert!(words.iter().enumerate().all(|(i, &v)| v == 3 * (63 - i as u32) + 3));
}

/// The word has the value already: a barrier is missing all the same.
#[test]
fn a_missing_barrier_behind_a_write_that_changes_nothing() {
    let body = |barrier: &str| {
        kernel(
            "",
            &format!(
                "{SHARED}st.shared.u32 [%r4], 0;\nbar.sync 0;\nst.shared.u32 [%r4], 0; // again\n{barrier}\n\
                 xor.b32 %r5, %r2, 252; add.u32 %r5, %r3, %r5;\nld.shared.u32 %r6, [%r5];\nst.global.u32 [%rd2], %r6;"
            ),
        )
    };
    let (text, found) = (body(""), finding(&body(""), Grid::line(1, 64), 256));
    named(&found, line(&text, "// again"), line(&text, "ld.shared"));
    run(&body("bar.sync 0;"), Grid::line(1, 64), &[0; 64]);
}

#[test]
fn races_in_global_memory() {
    let body = "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r1, %r2, 64, %r1;\nst.global.u32 [%rd1], %r1;";
    let within = expect(&kernel("", body), Grid::line(1, 64), 4, FindingKind::Race, "st.global");
    assert_eq!(within.thread, [1, 0, 0]);
    let between = expect(&kernel("", body), Grid::line(2, 1), 4, FindingKind::Race, "st.global");
    assert!(between.block == [1, 0, 0] && between.message.contains("of block 0"), "{between}");
    // All the same value, or atomically: allowed.
    run(&kernel("", "st.global.u32 [%rd1], 7;"), Grid::line(4, 64), &[0]);
    run(&kernel("", "red.global.add.u32 [%rd1], 1;"), Grid::line(4, 64), &[0]);
    // Neighbouring bytes are different places.
    let bytes =
        "mov.u32 %r1, %tid.x; cvt.u64.u32 %rd2, %r1; add.s64 %rd2, %rd1, %rd2; st.global.u8 [%rd2], %r1;";
    run(&kernel("", bytes), Grid::line(1, 64), &[0; 16]);
}

/// The last block sums what all blocks published: ordered by fence and counter.
#[test]
fn the_last_block_may_read_what_others_published() {
    let body = |fence: &str, order: &str| {
        kernel(
            "",
            &format!(
                "mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd2, %rd1, %rd2; add.u32 %r2, %r1, 10;\n\
             st.global.u32 [%rd2+8], %r2;\n{fence}\n{order}\nsetp.ne.u32 %p1, %r3, 3; @%p1 bra OUT;\n\
             ld.global.v2.u32 {{%r4, %r5}}, [%rd1+8]; ld.global.v2.u32 {{%r6, %r7}}, [%rd1+16];\n\
             add.u32 %r4, %r4, %r5; add.u32 %r4, %r4, %r6; add.u32 %r4, %r4, %r7;\nst.global.u32 [%rd1+4], %r4;\nOUT:"
            ),
        )
    };
    let counter = "atom.global.add.u32 %r3, [%rd1], 1;";
    assert_eq!(run(&body("membar.gl;", counter), Grid::line(4, 1), &[0; 6]).0[1], 46);
    let mut memory = Memory::default();
    let module = Module::load(&body("", counter), &mut memory).expect("module");
    let place = memory.upload(&[0u32; 6]).expect("memory");
    let result = module.launch("k", Grid::line(4, 1), &mut memory, &[Argument::U64(place)]);
    let Err(LaunchError::Finding(found)) = result else {
        panic!("the missing fence went unseen: {result:?}")
    };
    assert_eq!(found.kind, FindingKind::Race);
}

#[test]
fn accesses_outside() {
    let text = kernel(
        "",
        "mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd2, %rd1, %rd2;\nst.global.u32 [%rd2], %r1;",
    );
    let found = expect(&text, Grid::line(1, 9), 32, FindingKind::OutOfBounds, "st.global");
    assert_eq!(found.thread, [8, 0, 0]);
    assert!(found.message.contains("behind the end of an allocation of 32 bytes"), "{found}");
    let before = kernel("", "ld.global.u32 %r1, [%rd1+-4];");
    expect(&before, Grid::line(1, 1), 32, FindingKind::OutOfBounds, "ld.global");
    let null = kernel("", "mov.u64 %rd2, 0;\nld.global.u32 %r1, [%rd2];");
    expect(&null, Grid::line(1, 1), 32, FindingKind::OutOfBounds, "ld.global");
    let beyond = kernel(
        "",
        ".shared .align 4 .b8 s[16]; .shared .align 4 .b8 t[16]; mov.u32 %r1, s;\nst.shared.u32 [%r1+16], 1;",
    );
    let found = expect(&beyond, Grid::line(1, 1), 4, FindingKind::OutOfBounds, "st.shared");
    assert!(found.message.contains("array s of 16 bytes"), "{found}");
    let local = kernel("", ".local .align 4 .b8 l[8]; mov.u64 %rd2, l;\nst.local.u32 [%rd2+8], 1;");
    expect(&local, Grid::line(1, 1), 4, FindingKind::OutOfBounds, "st.local");
    let constant = kernel(".const .align 4 .u32 c = 5;", "mov.u64 %rd2, c;\nst.global.u32 [%rd2], 1;");
    expect(&constant, Grid::line(1, 1), 4, FindingKind::ReadOnly, "st.global");
    // Freed memory is never given out again.
    let mut memory = Memory::default();
    let module = Module::load(&before.replace("+-4", "+0"), &mut memory).expect("module");
    let place = memory.upload(&[1u32]).expect("memory");
    memory.free(place).expect("free");
    let other = memory.upload(&[1u32]).expect("memory");
    assert_ne!(place, other);
    let result = module.launch("k", Grid::line(1, 1), &mut memory, &[Argument::U64(place)]);
    assert!(matches!(result, Err(LaunchError::Finding(f)) if f.kind == FindingKind::OutOfBounds));
}

/// Lanes of one request may go to two allocations, forwards and backwards; a fault is told of the lane that has it.
#[test]
fn a_request_to_two_allocations() {
    // The first eight bytes hold the other's address; odd lanes go there, downwards.
    let text = kernel(
        "",
        "ld.global.u64 %rd2, [%rd1]; mov.u32 %r1, %laneid; and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 1;\n\
         mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd1, %rd3; sub.s64 %rd5, %rd2, %rd3; selp.b64 %rd6, %rd5, %rd4, %p1;\n\
         ld.global.u32 %r3, [%rd6+128];\nadd.u32 %r3, %r3, %r1; st.global.u32 [%rd6+128], %r3;",
    );
    let launch = |words: usize| {
        let mut memory = Memory::default();
        let module = Module::load(&text, &mut memory).expect("module");
        let own = memory.upload(&[100u32; 64]).expect("memory");
        let other = memory.upload(&vec![1000u32; words]).expect("memory");
        memory.write(own, &other.to_le_bytes()).expect("memory");
        let result = module.launch("k", Grid::line(1, 32), &mut memory, &[Argument::U64(own)]);
        result.map(|_| [memory.download::<u32>(own, 64), memory.download(other, words)].map(Result::unwrap))
    };
    let [own, other] = launch(64).expect("no fault");
    for lane in 0..32 {
        assert_eq!(own[32 + lane], 100 + if lane % 2 == 0 { lane as u32 } else { 0 });
        assert_eq!(other[32 - lane], 1000 + if lane % 2 == 1 { lane as u32 } else { 0 });
    }
    // Lane 1 reads word 31.
    let Err(LaunchError::Finding(found)) = launch(31) else { panic!("a read past the end went unseen") };
    assert_eq!(
        (found.kind, found.thread, found.line),
        (FindingKind::OutOfBounds, [1, 0, 0], line(&text, "ld.global.u32 %r3"))
    );
}

#[test]
fn reads_of_nothing() {
    let shared = kernel("", &format!("{SHARED}ld.shared.u32 %r5, [%r4];"));
    expect(&shared, Grid::line(1, 32), 4, FindingKind::Uninitialised, "ld.shared");
    let global = kernel("", "\nld.global.u32 %r1, [%rd1];");
    expect(&global, Grid::line(1, 1), 4, FindingKind::Uninitialised, "ld.global");
    let local = kernel("", ".local .align 4 .b8 l[8];\nld.local.u32 %r1, [l];");
    expect(&local, Grid::line(1, 1), 4, FindingKind::Uninitialised, "ld.local");
    // Shared memory does not survive its block.
    let once = kernel(
        "",
        ".shared .align 4 .b8 s[4]; mov.u32 %r1, %ctaid.x; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [s], 1;\nld.shared.u32 %r2, [s];",
    );
    let found = expect(&once, Grid::line(2, 1), 4, FindingKind::Uninitialised, "ld.shared");
    assert_eq!(found.block, [1, 0, 0]);
}

#[test]
fn misaligned_vectors() {
    // Declared for 4 bytes, read as 16: it must not work by luck.
    let text = kernel(
        "",
        ".shared .align 4 .b8 s[64]; mov.u32 %r1, s;\nld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1];",
    );
    expect(&text, Grid::line(1, 1), 4, FindingKind::Misaligned, "ld.shared");
    let dynamic =
        kernel(".extern .shared .align 8 .b8 s[];", "\nst.shared.v4.u32 [s], {%r2, %r3, %r4, %r5};");
    let grid = Grid { shared: 64, ..Grid::line(1, 1) };
    expect(&dynamic, grid, 4, FindingKind::Misaligned, "st.shared");
    run(&dynamic.replace(".align 8", ".align 16"), grid, &[0]);
    let global = kernel("", "\nst.global.u64 [%rd1+4], %rd1;");
    expect(&global, Grid::line(1, 1), 16, FindingKind::Misaligned, "st.global");
}

#[test]
fn asynchronous_copies_in_use() {
    let body = |wait: &str| {
        kernel(
            "",
            &format!(
                ".shared .align 16 .b8 s[1024]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 4; mov.u32 %r3, s; add.u32 %r3, %r3, %r2;\n\
             cvt.u64.u32 %rd2, %r2; add.s64 %rd2, %rd1, %rd2;\n\
             cp.async.cg.shared.global [%r3], [%rd2], 16; cp.async.commit_group;\n{wait}\nld.shared.u32 %r4, [%r3];\nst.global.u32 [%rd2], %r4;"
            ),
        )
    };
    let words: Vec<u32> = (0..256).collect();
    let load = |text: &str| {
        let mut memory = Memory::default();
        let module = Module::load(text, &mut memory).expect("module");
        let place = memory.upload(&words).expect("memory");
        module.launch("k", Grid::line(1, 64), &mut memory, &[Argument::U64(place)]).map(|_| ())
    };
    load(&body("cp.async.wait_group 0;")).expect("a wait");
    for wait in ["", "cp.async.wait_group 1;"] {
        let Err(LaunchError::Finding(found)) = load(&body(wait)) else {
            panic!("a missing wait went unseen")
        };
        assert_eq!(found.kind, FindingKind::Uninitialised, "{found}");
    }
    // The buffer is read by the other warp while a copy into it begins.
    let overwrite = kernel(
        "",
        ".shared .align 16 .b8 s[1024]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 4; mov.u32 %r3, s; add.u32 %r4, %r3, %r2;\n\
         cvt.u64.u32 %rd2, %r2; add.s64 %rd2, %rd1, %rd2; cp.async.cg.shared.global [%r4], [%rd2], 16;\n\
         cp.async.wait_all; bar.sync 0; xor.b32 %r5, %r2, 1008; add.u32 %r5, %r3, %r5; ld.shared.u32 %r6, [%r5];\n\
         cp.async.ca.shared.global [%r4], [%rd2], 16;\ncp.async.wait_all; bar.sync 0; st.global.u32 [%rd2], %r6;",
    );
    let Err(LaunchError::Finding(found)) = load(&overwrite) else { panic!("overwriting went unseen") };
    named(&found, line(&overwrite, "cp.async.ca"), line(&overwrite, "ld.shared"));
    load(&overwrite.replace("ld.shared.u32 %r6, [%r5];\n", "ld.shared.u32 %r6, [%r5]; bar.sync 0;\n"))
        .expect("a barrier");
}

#[test]
fn lanes_that_are_missing() {
    let half = kernel(
        "",
        "mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 16; @%p1 bra OUT;\n\
         shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0xffffffff;\nOUT: bar.sync 0;",
    );
    expect(&half, Grid::line(1, 32), 4, FindingKind::MissingLanes, "shfl");
    // An exited lane cannot be read either.
    let exited =
        half.replace("OUT: bar.sync 0;", "OUT:").replace("bfly.b32 %r2, %r1, 1", "bfly.b32 %r2, %r1, 16");
    expect(&exited, Grid::line(1, 32), 4, FindingKind::MissingLanes, "shfl");
    run(&half.replace("0xffffffff", "0xffff"), Grid::line(1, 32), &[0]);
    let outside = kernel("", "mov.u32 %r1, %tid.x;\nshfl.sync.idx.b32 %r2, %r1, 0, 31, 0xffff;");
    expect(&outside, Grid::line(1, 32), 4, FindingKind::MissingLanes, "shfl");
    let waits = kernel(
        "",
        "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 16; @%p1 bra A;\nbar.sync 0;\nbra OUT;\nA: bar.sync 1;\nOUT:",
    );
    assert_eq!(finding(&waits, Grid::line(1, 32), 4).kind, FindingKind::Deadlock);
    let never = kernel(
        "",
        "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 32; @%p1 bra A;\nbar.sync 0;\nbra OUT;\nA: bar.sync 1;\nOUT:",
    );
    assert_eq!(finding(&never, Grid::line(1, 64), 4).kind, FindingKind::Deadlock);
    // One warp waits, the other has exited: hardware lets go.
    let leaves =
        kernel("", "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 32; @%p1 bra OUT;\nbar.sync 0;\nOUT:");
    run(&leaves, Grid::line(1, 64), &[0]);
}

#[test]
fn traps_and_endless_loops() {
    expect(&kernel("", "\ntrap;"), Grid::line(1, 1), 4, FindingKind::Trap, "trap");
    let mut memory = Memory::default();
    let module = Module::load(&kernel("", "A: bra A;"), &mut memory).expect("module");
    let place = memory.allocate(4).expect("memory");
    let options = Options { most_instructions: 100_000, ..Options::default() };
    let result = module.launch_with("k", Grid::line(1, 1), &mut memory, &[Argument::U64(place)], &options);
    assert!(matches!(result, Err(LaunchError::Finding(f)) if f.kind == FindingKind::TooLong));
}

#[test]
fn limits_of_the_card() {
    let text = kernel(
        ".extern .shared .align 16 .b8 s[];",
        ".shared .align 4 .b8 t[1024]; st.shared.u32 [s], 1; st.shared.u32 [t], 1;",
    );
    let mut memory = Memory::new(1 << 20);
    let module = Module::load(&text, &mut memory).expect("module");
    let place = memory.allocate(64).expect("memory");
    let mut launch = |blocks: [u32; 3], threads: [u32; 3], shared: usize, most: usize| {
        let options = Options { most_dynamic_shared: most, ..Options::default() };
        let grid = Grid { blocks, threads, shared };
        module.launch_with("k", grid, &mut memory, &[Argument::U64(place)], &options).map(|_| ())
    };
    let (one, default) = ([1, 1, 1], 47 << 10);
    launch(one, [1, 1, 1], 47 << 10, default).expect("48 KiB");
    launch(one, [1, 1, 1], 100 << 10, 100 << 10).expect("with permission");
    for (blocks, threads, shared, most) in [
        (one, [1025, 1, 1], 16, default),
        (one, [32, 33, 1], 16, default),
        (one, [1, 1, 65], 16, default),
        (one, [0, 1, 1], 16, default),
        ([1, 65536, 1], one, 16, default),
        ([1, 0, 1], one, 16, default),
        (one, one, 48 << 10, default),
        (one, one, SHARED_MOST, SHARED_MOST),
    ] {
        let result = launch(blocks, threads, shared, most);
        assert!(
            matches!(result, Err(LaunchError::Invalid(_))),
            "{blocks:?} {threads:?} {shared}: {result:?}"
        );
    }
    let result = module.launch("k", Grid::line(1, 1), &mut memory, &[]);
    assert!(result.is_err_and(|e| e.to_string().contains("0 arguments, expected 1")));
    assert!(memory.allocate(2 << 20).is_err() && memory.allocate(0).is_err());
}

#[test]
fn text_that_is_not_understood() {
    let load = |text: &str| match Module::load(text, &mut Memory::default()) {
        Err(LoadError::Parse(error)) => error.to_string(),
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted: {text}"),
    };
    let bad = |instruction: &str| load(&kernel("", &format!("\n{instruction}\n")));
    let at = line(&kernel("", "\nHERE\n"), "HERE");
    for (instruction, part) in [
        ("bmsk.clamp.b32 %r1, %r2, %r3;", "unknown opcode"),
        ("add.rn.funny.f32 %f1, %f2, %f3;", "unknown modifier `.funny`"),
        ("add.f32 %f1, %f2;", "2 operands"),
        ("add.f32 %f1, %f2, %d3;", "`%d3` has 64 bits"),
        ("add.f32 %f1, %f2, %f99;", "`%f99` is not known"),
        (
            "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r1,%r2,%r3,%r4}, {%r1,%r2,%r3,%r4}, {%r1,%r2}, {%r1,%r2,%r3,%r4};",
            "mma",
        ),
        ("bra NOWHERE;", "label `NOWHERE` is not known"),
        ("div.f32 %f1, %f2, %f3;", "expected a rounding"),
        ("cvt.f32.f64 %f1, %d1;", "expected a rounding"),
        ("wgmma.fence.sync.aligned;", "needs .target sm_90a"),
        ("mapa.u64 %rd2, %rd1, 0;", "unknown opcode"),
    ] {
        let error = bad(instruction);
        let opcode = instruction.split([' ', ';']).next().expect("an opcode");
        assert!(error.contains(part) && error.contains(&format!("line {at}:")), "{instruction}: {error}");
        assert!(error.contains(opcode), "{error} does not name {opcode}");
    }
    assert!(load("hello").contains("line 1"));
    assert!(load(&kernel("", "").replace("sm_80", "compute_80")).contains("`compute_80` is not a target"));
    let large = kernel("", "").replace(".param .u64 base", ".param .u64 base, .param .b8 more[4345]");
    assert!(load(&large).contains("4353 bytes of parameters, 4352 are possible"));
    assert!(load(&kernel("", "").replace(".address_size 64", ".address_size 32")).contains("64-bit"));
    assert!(load(&kernel("", "{")).contains("without an end"));
    assert!(load(&kernel("", "add.s32 %r1, %r2 %r3;")).contains("expected `;`"));
}
