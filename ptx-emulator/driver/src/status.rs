//! Error codes of the driver.

use ptx_emulator::{FindingKind, LaunchError, LoadError, MemoryError};
use std::ffi::CStr;

macro_rules! statuses {
    ($($name:ident = $code:literal, $symbol:literal, $text:literal;)*) => {
        /// An error of the driver.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Status {
            $(#[doc = $text] $name = $code,)*
        }

        /// Symbol and description of a code.
        pub fn describe(code: u32) -> Option<(&'static CStr, &'static CStr)> {
            Some(match code {
                0 => (c"CUDA_SUCCESS", c"no error"),
                $($code => {
                    const SYMBOL: &CStr = match CStr::from_bytes_with_nul(concat!($symbol, "\0").as_bytes()) {
                        Ok(text) => text,
                        Err(_) => c"",
                    };
                    const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!($text, "\0").as_bytes()) {
                        Ok(text) => text,
                        Err(_) => c"",
                    };
                    (SYMBOL, TEXT)
                })*
                _ => return None,
            })
        }
    };
}

statuses! {
    InvalidValue = 1, "CUDA_ERROR_INVALID_VALUE", "invalid argument";
    OutOfMemory = 2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory";
    NotInitialised = 3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error";
    InvalidDevice = 101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal";
    InvalidImage = 200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid";
    InvalidContext = 201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context";
    NoBinary = 209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device";
    InvalidPtx = 218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed";
    UnsupportedPtx = 222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain.";
    FileNotFound = 301, "CUDA_ERROR_FILE_NOT_FOUND", "file not found";
    InvalidHandle = 400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle";
    IllegalState = 401, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state";
    NotFound = 500, "CUDA_ERROR_NOT_FOUND", "named symbol not found";
    NotReady = 600, "CUDA_ERROR_NOT_READY", "device not ready";
    IllegalAddress = 700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered";
    OutOfResources = 701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch";
    Timeout = 702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated";
    IllegalInstruction = 715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered";
    Misaligned = 716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address";
    LaunchFailed = 719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure";
    NotSupported = 801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported";
    CaptureUnsupported = 900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing";
    CaptureUnmatched = 903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "the capture was not initiated in this stream";
    CapturedEvent = 907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream";
    Unknown = 999, "CUDA_ERROR_UNKNOWN", "unknown error";
}

impl From<MemoryError> for Status {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Full => Self::OutOfMemory,
            MemoryError::Invalid(_) => Self::InvalidValue,
        }
    }
}

impl From<&LoadError> for Status {
    fn from(error: &LoadError) -> Self {
        match error {
            LoadError::Parse(_) => Self::InvalidPtx,
            LoadError::Memory(_) => Self::OutOfMemory,
        }
    }
}

impl From<&LaunchError> for Status {
    fn from(error: &LaunchError) -> Self {
        let LaunchError::Finding(finding) = error else { return Self::InvalidValue };
        match finding.kind {
            FindingKind::OutOfBounds | FindingKind::ReadOnly => Self::IllegalAddress,
            FindingKind::Misaligned => Self::Misaligned,
            FindingKind::Deadlock | FindingKind::TooLong => Self::Timeout,
            FindingKind::MissingLanes | FindingKind::Operand => Self::IllegalInstruction,
            FindingKind::Uninitialised
            | FindingKind::Race
            | FindingKind::Trap
            | FindingKind::Barrier
            | FindingKind::MissingFence
            | FindingKind::InFlight => Self::LaunchFailed,
        }
    }
}
