#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| _ = genesis_fuzz::nrrd(data));
