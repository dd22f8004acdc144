//! cudarc, unchanged, on our `libcuda.so`.
//!
//! A kernel's error breaks the card for the rest of a process, and settings are read once: such tests run themselves
//! again as a process of their own.

use cudarc::driver::{CudaContext, CudaFunction, CudaStream, LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::Ptx;
use std::error::Error;
use std::process::{Command, Output};
use std::sync::Arc;

type Outcome = Result<(), Box<dyn Error>>;

const NETWORK: &str = include_str!("../../tests/fixtures/network.ptx");
const GEMM: &str = include_str!("../../tests/fixtures/gemm.ptx");
const HOPPER: &str = include_str!("../../tests/fixtures/hopper.ptx");

/// Opens our library; cudarc then finds the one that is open, by its name.
fn card() -> Result<Arc<CudaContext>, Box<dyn Error>> {
    let beside = std::env::current_exe()?.with_file_name("libcuda.so");
    // SAFETY: our own library, which runs nothing when loaded.
    std::mem::forget(
        unsafe { libloading::Library::new(&beside) }.map_err(|e| format!("{}: {e}", beside.display()))?,
    );
    Ok(CudaContext::new(0)?)
}

fn again(test: &str, variables: &[(&str, &str)]) -> Result<Output, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    Ok(command.envs(variables.iter().copied()).output()?)
}

fn line(count: u32, threads: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (count.div_ceil(threads), 1, 1),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: 0,
    }
}

fn function(context: &Arc<CudaContext>, text: &str, name: &str) -> Result<CudaFunction, Box<dyn Error>> {
    Ok(context.load_module(Ptx::from_src(text))?.load_function(name)?)
}

/// `y = blur(x)`
fn blur(stream: &Arc<CudaStream>, f: &CudaFunction, x: u64, y: u64, count: i32) -> Outcome {
    let mut launch = stream.launch_builder(f);
    launch.arg(&x).arg(&y).arg(&count);
    // SAFETY: the arguments are the kernel's.
    unsafe { launch.launch(line(count as u32, 64)) }?;
    Ok(())
}

#[test]
fn a_program_runs() -> Outcome {
    let context = card()?;
    assert_eq!(context.name()?, "PTX emulator (no card)");
    let attribute = |a| context.attribute(a);
    assert_eq!(attribute(sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?, 8);
    assert_eq!(attribute(sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_WARP_SIZE)?, 32);
    for stream in [context.default_stream(), context.new_stream()?] {
        let sums = function(&context, NETWORK, "row_sums")?;
        let x: Vec<f32> = (0..300).map(|i| i as f32).collect();
        let (px, mut ps) = (stream.clone_htod(&x)?, stream.alloc_zeros::<f64>(3)?);
        let columns = 100i32;
        let mut launch = stream.launch_builder(&sums);
        launch.arg(&px).arg(&mut ps).arg(&columns);
        // SAFETY: the arguments are the kernel's.
        unsafe { launch.launch(line(3 * 64, 64)) }?;
        assert_eq!(stream.clone_dtoh(&ps)?, [4950.0, 14950.0, 24950.0]);
        stream.synchronize()?;
    }
    let (free, total) = cudarc::driver::result::mem_get_info()?;
    assert!(free <= total && total == 80 << 30);
    Ok(())
}

#[test]
fn dynamic_shared_memory_and_occupancy() -> Outcome {
    let context = card()?;
    let stream = context.new_stream()?;
    let gemm = function(&context, GEMM, "gemm_bf16")?;
    let (a, b) = (vec![0x3f80u16; 64 * 32], vec![0x4000u16; 32 * 64]);
    let (pa, pb, mut pc) =
        (stream.clone_htod(&a)?, stream.clone_htod(&b)?, stream.alloc_zeros::<f32>(64 * 64)?);
    let (m, n, k) = (64i32, 64i32, 32i32);
    let launch = |shared: u32, pc: &mut _| -> Result<(), cudarc::driver::DriverError> {
        let mut launch = stream.launch_builder(&gemm);
        launch.arg(&pa).arg(&pb).arg(pc).arg(&m).arg(&n).arg(&k);
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (128, 1, 1), shared_mem_bytes: shared };
        // SAFETY: the arguments are the kernel's.
        unsafe { launch.launch(config) }.map(|_| ())
    };
    launch(2 * (64 * 40 + 32 * 72) * 2, &mut pc)?;
    assert!(stream.clone_dtoh(&pc)?.iter().all(|&v| v == 64.0));
    let refused = launch(60 << 10, &mut pc).expect_err("more than 48 KiB without permission");
    assert_eq!(refused.0, sys::cudaError_enum::CUDA_ERROR_INVALID_VALUE);
    let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    gemm.set_attribute(most, 100 << 10)?;
    launch(60 << 10, &mut pc)?;
    stream.synchronize()?;
    assert!(gemm.set_attribute(most, 200 << 10).is_err());
    assert_eq!(gemm.occupancy_max_active_blocks_per_multiprocessor(128, 19456, None)?, 8);
    Ok(())
}

#[test]
fn a_graph_runs_as_often_as_it_is_launched() -> Outcome {
    let context = card()?;
    let stream = context.new_stream()?;
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry add(.param .u64 p) {\n\
                .reg .b64 %rd<3>; .reg .b32 %r<3>; ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x;\n\
                mul.wide.u32 %rd2, %r1, 4; add.s64 %rd1, %rd1, %rd2; ld.global.u32 %r2, [%rd1];\n\
                add.u32 %r2, %r2, 1; st.global.u32 [%rd1], %r2; ret; }";
    let add = function(&context, text, "add")?;
    let mut x = stream.clone_htod(&[5u32; 32])?;
    stream.synchronize()?;
    stream.begin_capture(sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED)?;
    for _ in 0..2 {
        let mut launch = stream.launch_builder(&add);
        launch.arg(&mut x);
        // SAFETY: the argument is the kernel's.
        unsafe { launch.launch(line(32, 32)) }?;
    }
    // SAFETY: the value is a set of flags, none of them set.
    let none: sys::CUgraphInstantiate_flags = unsafe { std::mem::transmute(0u32) };
    let graph = stream.end_capture(none)?.ok_or("no graph")?;
    assert_eq!(stream.clone_dtoh(&x)?, [5; 32], "capture runs nothing");
    graph.launch()?;
    graph.launch()?;
    assert_eq!(stream.clone_dtoh(&x)?, [9; 32]);
    Ok(())
}

#[test]
fn bad_text_is_refused() -> Outcome {
    let context = card()?;
    let text = NETWORK.replace("sqrt.rn.f32", "sqrt.rounded.f32");
    let Err(error) = context.load_module(Ptx::from_src(&text)) else { return Err("accepted".into()) };
    assert_eq!(error.0, sys::cudaError_enum::CUDA_ERROR_INVALID_PTX);
    let newer = NETWORK.replace(".version 8.0", ".version 8.4");
    let Err(error) = context.load_module(Ptx::from_src(&newer)) else { return Err("accepted".into()) };
    assert_eq!(error.0, sys::cudaError_enum::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    let newer = NETWORK.replace(".target sm_80", ".target sm_90");
    let Err(error) = context.load_module(Ptx::from_src(&newer)) else { return Err("accepted".into()) };
    assert_eq!(error.0, sys::cudaError_enum::CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert!(context.load_module(Ptx::from_src(NETWORK))?.load_function("nothing").is_err());
    Ok(())
}

#[test]
fn findings_break_the_card() -> Outcome {
    let output = again("child_with_a_finding", &[])?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
    assert!(text.contains("kernel blur, PTX line") && text.contains("out of bounds"), "{text}");
    Ok(())
}

#[test]
#[ignore = "run by findings_break_the_card"]
fn child_with_a_finding() -> Outcome {
    let context = card()?;
    let stream = context.new_stream()?;
    let f = function(&context, NETWORK, "blur")?;
    let x = cudarc::driver::DevicePtr::device_ptr(&stream.clone_htod(&[1.0f32; 64])?, &stream).0;
    let y = {
        // SAFETY: the memory is not read.
        let y = unsafe { stream.alloc::<f32>(60) }?;
        let place = cudarc::driver::DevicePtr::device_ptr(&y, &stream).0;
        std::mem::forget(y);
        place
    };
    let failed = blur(&stream, &f, x, y, 64).is_err() || stream.synchronize().is_err();
    assert!(failed, "a store past the end went unseen");
    let after = stream.clone_htod(&[1u8]).expect_err("a broken card goes on");
    assert_eq!(after.0, sys::cudaError_enum::CUDA_ERROR_ILLEGAL_ADDRESS);
    Ok(())
}

#[test]
fn a_missing_wait_between_streams_is_seen_with_lag() -> Outcome {
    for (wait, lag, expected) in [("yes", "1", "right"), ("no", "1", "wrong"), ("no", "0", "right")] {
        let variables = [("PTX_EMULATOR_LAG", lag), ("WAIT", wait)];
        let output = again("child_with_two_streams", &variables)?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(&format!("result {expected}")), "wait {wait}, lag {lag}: {text}");
    }
    Ok(())
}

#[test]
#[ignore = "run by a_missing_wait_between_streams_is_seen_with_lag"]
fn child_with_two_streams() -> Outcome {
    let context = card()?;
    // SAFETY: cudarc's own waits between streams are what is to be missing.
    unsafe { context.disable_event_tracking() };
    let (first, second) = (context.new_stream()?, context.new_stream()?);
    let f = function(&context, NETWORK, "blur")?;
    let (x, mut y) = (first.clone_htod(&[1.0f32; 64])?, first.alloc_zeros::<f32>(64)?);
    let z = first.alloc_zeros::<f32>(64)?;
    context.synchronize()?;
    let place = |slice| cudarc::driver::DevicePtr::<f32>::device_ptr(slice, &first).0;
    let (px, py, pz) = (place(&x), place(&y), place(&z));
    blur(&first, &f, px, py, 64)?;
    if std::env::var("WAIT").as_deref() == Ok("yes") {
        second.join(&first)?;
    }
    blur(&second, &f, py, pz, 64)?;
    let result = second.clone_dtoh(&z)?;
    println!("result {}", if result.iter().all(|&v| v == 1.0) { "right" } else { "wrong" });
    first.synchronize()?;
    first.memset_zeros(&mut y)?;
    Ok(())
}

#[test]
fn events_and_page_locked_memory() -> Outcome {
    let context = card()?;
    let stream = context.new_stream()?;
    let timing = Some(sys::CUevent_flags_enum::CU_EVENT_DEFAULT);
    let start = stream.record_event(timing)?;
    // SAFETY: written before it is read.
    let mut host = unsafe { context.alloc_pinned::<u32>(256) }?;
    host.as_mut_slice()?.fill(3);
    let device = stream.clone_htod(&host)?;
    let end = stream.record_event(timing)?;
    end.synchronize()?;
    assert!(start.elapsed_ms(&end)? >= 0.0);
    let other = context.new_stream()?;
    other.wait(&end)?;
    assert_eq!(other.clone_dtoh(&device)?, [3; 256]);
    Ok(())
}

/// The kernel's one parameter: two maps, the result, three sizes.
#[repr(C, align(64))]
struct Parameters {
    a: sys::CUtensorMap,
    b: sys::CUtensorMap,
    c: u64,
    sizes: [i32; 3],
}

/// What `cuTensorMapEncodeTiled` gives for a matrix in bf16, `[rows, 64]`, with boxes of 64 columns.
fn map(
    address: u64,
    rows: u64,
    box_rows: u32,
    stride: u64,
) -> Result<sys::CUtensorMap, cudarc::driver::DriverError> {
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    let (sizes, box_sizes, steps) = ([64, rows], [64, box_rows], [1, 1]);
    // SAFETY: the pointers are those of arrays with as many elements as the driver's manual demands for two dimensions.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut map,
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            2,
            address as *mut std::ffi::c_void,
            sizes.as_ptr(),
            [stride].as_ptr(),
            box_sizes.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()?;
    Ok(map)
}

#[test]
fn a_card_of_another_capability() -> Outcome {
    let output = again("child_on_hopper", &[("PTX_EMULATOR_CAPABILITY", "9.0")])?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
    assert!(text.contains("stride 24 of dimension 1 is no multiple of 16"), "{text}");
    // The card without it: refuses the code and makes no maps.
    let context = card()?;
    let Err(error) = context.load_module(Ptx::from_src(HOPPER)) else { return Err("accepted".into()) };
    assert_eq!(error.0, sys::cudaError_enum::CUDA_ERROR_NO_BINARY_FOR_GPU);
    let refused = map(0x7000_0000_0000, 64, 64, 128).expect_err("a map for a card of 8.0");
    assert_eq!(refused.0, sys::cudaError_enum::CUDA_ERROR_NOT_SUPPORTED);
    // No such card.
    let output = again("child_on_hopper", &[("PTX_EMULATOR_CAPABILITY", "9.1")])?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("`9.1` is no compute capability of the emulator"),
        "{text}"
    );
    Ok(())
}

#[test]
#[ignore = "run by a_card_of_another_capability"]
fn child_on_hopper() -> Outcome {
    use sys::CUdevice_attribute_enum as Attribute;
    let context = card()?;
    for (attribute, expected) in [
        (Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9),
        (Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0),
        (Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 227 << 10),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 228 << 10),
    ] {
        assert_eq!(context.attribute(attribute)?, expected, "{attribute:?}");
    }
    // Code for 8.0 still runs.
    assert!(function(&context, NETWORK, "blur").is_ok());
    let stream = context.new_stream()?;
    let (a, b) = (stream.clone_htod(&[0x3f80u16; 64 * 64])?, stream.clone_htod(&[0x4000u16; 128 * 64])?);
    let c = stream.alloc_zeros::<f32>(64 * 128)?;
    let place = |slice: &_| cudarc::driver::DevicePtr::<u16>::device_ptr(slice, &stream).0;
    for (address, rows, box_rows, stride) in [
        (place(&a) + 8, 64, 64, 128),
        (place(&a), 0, 64, 128),
        (place(&a), 64, 257, 128),
        (place(&a), 64, 64, 24),
    ] {
        let refused = map(address, rows, box_rows, stride).expect_err("rules of the manual");
        assert_eq!(refused.0, sys::cudaError_enum::CUDA_ERROR_INVALID_VALUE);
    }
    let parameters = Parameters {
        a: map(place(&a), 64, 64, 128)?,
        b: map(place(&b), 128, 128, 128)?,
        c: cudarc::driver::DevicePtr::<f32>::device_ptr(&c, &stream).0,
        sizes: [64, 128, 64],
    };
    let gemm = function(&context, HOPPER, "gemm_k_major")?;
    let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert!(gemm.set_attribute(most, 228 << 10).is_err());
    gemm.set_attribute(most, 200 << 10)?;
    let config =
        LaunchConfig { grid_dim: (1, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 3 * 192 * 128 };
    let mut arguments = [(&raw const parameters).cast_mut().cast::<std::ffi::c_void>()];
    // SAFETY: the kernel's one parameter is this structure.
    unsafe {
        cudarc::driver::result::launch_kernel(
            gemm.cu_function(),
            config.grid_dim,
            config.block_dim,
            config.shared_mem_bytes,
            stream.cu_stream(),
            &mut arguments,
        )
    }?;
    assert!(stream.clone_dtoh(&c)?.iter().all(|&v| v == 128.0));
    Ok(())
}
