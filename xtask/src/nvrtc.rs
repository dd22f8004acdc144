//! NVRTC by its C interface: text in, PTX or machine code out. Headers come from memory, so that no path of this
//! machine can reach the result.

use crate::Result;
use libloading::{Library, Symbol};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

type Program = *mut c_void;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Text = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;

/// The compiler.
pub struct Nvrtc {
    library: Library,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// PTX text.
    Ptx,
    /// Machine code, and the assembler's log.
    Cubin,
}

impl Nvrtc {
    /// Loads the library.
    ///
    /// # Errors
    /// When it cannot be loaded or is not version 12.0.
    pub fn open(path: &Path) -> Result<Self> {
        // SAFETY: loading NVRTC runs its initialisers only, which have no preconditions.
        let library =
            unsafe { Library::new(path) }.map_err(|cause| format!("{}: {cause}", path.display()))?;
        let nvrtc = Self { library };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the signature is nvrtcVersion's; both pointers are valid for writes.
        let status = unsafe { nvrtc.symbol::<Version>("nvrtcVersion")?(&mut major, &mut minor) };
        match (status, major, minor) {
            (0, 12, 0) => Ok(nvrtc),
            _ => Err(format!("{} is NVRTC {major}.{minor}, wanted 12.0", path.display())),
        }
    }

    fn symbol<T>(&self, name: &str) -> Result<Symbol<'_, T>> {
        // SAFETY: callers pair each name with its signature in nvrtc.h.
        unsafe { self.library.get(name.as_bytes()) }.map_err(|cause| format!("{name}: {cause}"))
    }

    /// Compiles one file; the output and the log.
    ///
    /// # Errors
    /// When the source does not compile: the log.
    pub fn compile(
        &self,
        name: &str,
        text: &str,
        headers: &[(String, String)],
        options: &[&str],
        output: Output,
    ) -> Result<(Vec<u8>, String)> {
        let c_string = |text: &str| CString::new(text).map_err(|_| format!("{name}: holds a 0 byte"));
        let source = c_string(text)?;
        let file = c_string(&format!("{name}.cu"))?;
        let texts = headers.iter().map(|(_, text)| c_string(text)).collect::<Result<Vec<_>>>()?;
        let names = headers.iter().map(|(name, _)| c_string(name)).collect::<Result<Vec<_>>>()?;
        let options = options.iter().map(|option| c_string(option)).collect::<Result<Vec<_>>>()?;
        let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
        let (texts, names, options) = (pointers(&texts), pointers(&names), pointers(&options));
        let mut program: Program = ptr::null_mut();
        // SAFETY: all pointers are to strings that end in 0 and outlive the call, counts are those of the arrays.
        let status = unsafe {
            self.symbol::<Create>("nvrtcCreateProgram")?(
                &mut program,
                source.as_ptr(),
                file.as_ptr(),
                texts.len() as c_int,
                texts.as_ptr(),
                names.as_ptr(),
            )
        };
        if status != 0 {
            return Err(format!("{name}: NVRTC makes no program of it ({status})"));
        }
        // SAFETY: the program is alive; the options end in 0 and outlive the call.
        let status = unsafe {
            self.symbol::<Compile>("nvrtcCompileProgram")?(program, options.len() as c_int, options.as_ptr())
        };
        let log = self.read(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_string();
        let result = match (status, output) {
            (0, Output::Ptx) => self.read(program, "nvrtcGetPTXSize", "nvrtcGetPTX").map(|text| (text, log)),
            (0, Output::Cubin) => {
                self.read(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN").map(|code| (code, log))
            }
            _ => Err(format!("{name}.cu does not compile:\n{log}")),
        };
        // SAFETY: the program was made above and is not used again.
        unsafe { self.symbol::<Destroy>("nvrtcDestroyProgram")?(&mut program) };
        result
    }

    fn read(&self, program: Program, size: &str, text: &str) -> Result<Vec<u8>> {
        let mut bytes = 0;
        // SAFETY: the program is alive, the size is valid for writes.
        let status = unsafe { self.symbol::<Size>(size)?(program, &mut bytes) };
        let mut buffer = vec![0u8; bytes];
        // SAFETY: the buffer has the size that was asked for.
        let second = unsafe { self.symbol::<Text>(text)?(program, buffer.as_mut_ptr().cast()) };
        match (status, second) {
            (0, 0) => Ok(buffer),
            _ => Err(format!("{text} fails ({status}, {second})")),
        }
    }
}
