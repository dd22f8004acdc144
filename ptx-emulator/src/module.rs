//! A loaded module: its kernels and its variables in device memory.

use crate::capability::Target;
use crate::counters::Counters;
use crate::error::{LaunchError, ParseError};
use crate::launch::{Grid, Options, launch};
use crate::memory::{Memory, MemoryError};
use crate::parse::parse;
use crate::parse::syntax::{Initialiser, Space, Variable};
use crate::program::{Program, link};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Argument<'a> {
    U8(u8),
    U16(u16),
    U32(u32),
    I32(i32),
    F32(f32),
    U64(u64),
    I64(i64),
    F64(f64),
    /// A structure, as its bytes.
    Bytes(&'a [u8]),
}

impl Argument<'_> {
    fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::U8(v) => vec![v],
            Self::U16(v) => v.to_le_bytes().into(),
            Self::U32(v) => v.to_le_bytes().into(),
            Self::I32(v) => v.to_le_bytes().into(),
            Self::F32(v) => v.to_le_bytes().into(),
            Self::U64(v) => v.to_le_bytes().into(),
            Self::I64(v) => v.to_le_bytes().into(),
            Self::F64(v) => v.to_le_bytes().into(),
            Self::Bytes(v) => v.into(),
        }
    }
}

/// Why a module could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// The text is not understood.
    Parse(ParseError),
    /// No memory for its variables.
    Memory(MemoryError),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

/// A kernel; cheap to clone, independent of its module's life.
#[derive(Clone)]
pub struct Kernel {
    program: Arc<Program>,
}

impl Kernel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// What its PTX was made for.
    pub fn target(&self) -> Target {
        self.program.target
    }

    /// (offset, bytes) of each parameter.
    pub fn parameters(&self) -> &[(usize, usize)] {
        &self.program.parameters
    }

    /// Static shared memory in bytes.
    pub fn static_shared(&self) -> usize {
        self.program.shared.natural
    }

    /// Local memory of a thread in bytes.
    pub fn local(&self) -> usize {
        self.program.local.natural
    }

    /// Most threads a block may have.
    pub fn max_threads(&self) -> usize {
        self.program.max_threads
    }

    /// Runs it with `parameters` laid out as [`Kernel::parameters`] says.
    ///
    /// # Errors
    /// Limits of the card, or what the kernel did wrong.
    pub fn launch(
        &self,
        grid: Grid,
        memory: &mut Memory,
        parameters: &[u8],
        options: &Options,
    ) -> Result<Counters, LaunchError> {
        if parameters.len() != self.program.parameter_bytes {
            let (given, expected) = (parameters.len(), self.program.parameter_bytes);
            let message = format!("kernel {}: {given} bytes of parameters, expected {expected}", self.name());
            return Err(LaunchError::Invalid(message));
        }
        launch(&self.program, grid, memory, parameters, options)
    }
}

/// A loaded module.
pub struct Module {
    kernels: BTreeMap<String, Kernel>,
    /// Address and bytes of each variable.
    variables: BTreeMap<String, (u64, usize)>,
}

impl Module {
    /// Reads PTX, makes its kernels, and puts its variables into device memory.
    ///
    /// # Errors
    /// The first line that is not understood, with its opcode; too little memory.
    pub fn load(text: &str, memory: &mut Memory) -> Result<Self, LoadError> {
        let syntax = parse(text).map_err(LoadError::Parse)?;
        let target = Target::read(&syntax.target).ok_or_else(|| {
            LoadError::Parse(ParseError::new(1, format!("`{}` is not a target", syntax.target)))
        })?;
        let mut globals = HashMap::new();
        let mut variables = BTreeMap::new();
        let mut shared = Vec::new();
        for variable in &syntax.variables {
            match variable.space {
                Space::Shared => shared.push(variable),
                Space::Global | Space::Const => {
                    let place = memory.allocate_at(variable.size.max(1), variable.align, true);
                    let address = place.map_err(LoadError::Memory)?;
                    globals.insert(variable.name.clone(), (address, variable.space));
                    variables.insert(variable.name.clone(), (address, variable.size));
                }
                _ => {
                    let message = format!("variable {} in a space of functions", variable.name);
                    return Err(LoadError::Parse(ParseError::new(1, message)));
                }
            }
        }
        for variable in &syntax.variables {
            if let Some(&(address, _)) = globals.get(&variable.name) {
                let data = initial(variable, &globals).map_err(LoadError::Parse)?;
                memory.write(address, &data).map_err(LoadError::Memory)?;
                if let Some((allocation, _)) = memory.find(address, 1) {
                    allocation.read_only = variable.space == Space::Const;
                }
            }
        }
        let mut kernels = BTreeMap::new();
        for function in syntax.functions.iter().filter(|f| f.entry) {
            let program =
                link(target, &syntax.functions, function, &globals, &shared).map_err(LoadError::Parse)?;
            kernels.insert(function.name.clone(), Kernel { program: Arc::new(program) });
        }
        Ok(Self { kernels, variables })
    }

    /// Frees its variables.
    ///
    /// # Errors
    /// Never, unless somebody else freed them.
    pub fn unload(&self, memory: &mut Memory) -> Result<(), MemoryError> {
        self.variables.values().try_for_each(|&(address, _)| memory.free(address))
    }

    /// Names of its kernels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kernels.keys().map(String::as_str)
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.get(name)
    }

    /// Address and bytes of a variable.
    pub fn variable(&self, name: &str) -> Option<(u64, usize)> {
        self.variables.get(name).copied()
    }

    /// Runs a kernel with every check.
    ///
    /// # Errors
    /// An unknown kernel, arguments that do not fit, limits of the card, or what the kernel did wrong.
    pub fn launch(
        &self,
        name: &str,
        grid: Grid,
        memory: &mut Memory,
        arguments: &[Argument<'_>],
    ) -> Result<Counters, LaunchError> {
        self.launch_with(name, grid, memory, arguments, &Options::default())
    }

    /// Runs a kernel with chosen checks.
    ///
    /// # Errors
    /// See [`Module::launch`].
    pub fn launch_with(
        &self,
        name: &str,
        grid: Grid,
        memory: &mut Memory,
        arguments: &[Argument<'_>],
        options: &Options,
    ) -> Result<Counters, LaunchError> {
        let invalid = |message: String| LaunchError::Invalid(format!("kernel {name}: {message}"));
        let kernel = self.kernel(name).ok_or_else(|| invalid("not in the module".into()))?;
        let expected = kernel.parameters();
        if expected.len() != arguments.len() {
            return Err(invalid(format!("{} arguments, expected {}", arguments.len(), expected.len())));
        }
        let mut parameters = vec![0; kernel.program.parameter_bytes];
        for (number, (argument, &(offset, size))) in arguments.iter().zip(expected).enumerate() {
            let bytes = argument.bytes();
            if bytes.len() != size {
                return Err(invalid(format!("argument {number} has {} bytes, expected {size}", bytes.len())));
            }
            parameters[offset..offset + size].copy_from_slice(&bytes);
        }
        kernel.launch(grid, memory, &parameters, options)
    }
}

/// A variable's first bytes; what is not given is zero.
fn initial(variable: &Variable, globals: &HashMap<String, (u64, Space)>) -> Result<Vec<u8>, ParseError> {
    let mut data = vec![0; variable.size.max(1)];
    let element = variable.ty.bytes().max(1);
    let values: Vec<u64> = match &variable.initialiser {
        Initialiser::None => Vec::new(),
        Initialiser::Values(values) => values.clone(),
        Initialiser::Addresses(names) => names
            .iter()
            .map(|(name, offset)| match globals.get(name) {
                Some((address, _)) => Ok(address + offset),
                None => Err(ParseError::new(1, format!("variable {}: `{name}` is not known", variable.name))),
            })
            .collect::<Result<_, _>>()?,
    };
    if values.len() * element > data.len() {
        return Err(ParseError::new(1, format!("variable {}: too many initial values", variable.name)));
    }
    for (value, place) in values.iter().zip(data.chunks_exact_mut(element)) {
        place.copy_from_slice(&value.to_le_bytes()[..element]);
    }
    Ok(data)
}
