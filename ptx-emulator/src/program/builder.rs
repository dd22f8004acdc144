//! Looks up what an instruction's operands name, and numbers registers.

use super::modifiers::Modifiers;
use super::names::special;
use super::{Access, Class, Instruction, Special, Step};
use crate::capability::Target;
use crate::error::ParseError;
use crate::instructions::lanes::Compute;
use crate::memory::arrays::Layout;
use crate::memory::{LOCAL_BASE, PARAM_BASE, SHARED_BASE};
use crate::parse::syntax::{Function, Operand, Space, Statement};
use crate::parse::types::Type;
use std::collections::HashMap;

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

/// A register: which bank, which number, how many bits were declared (1 for a predicate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Register {
    pub bits: usize,
    pub index: usize,
}

/// An address: a register and a number to add.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub wide: bool,
    pub index: usize,
    pub offset: i64,
}

/// State while the instructions of one kernel are made.
pub(crate) struct Builder<'a> {
    pub target: Target,
    /// Module variables: address and space.
    pub globals: &'a HashMap<String, (u64, Space)>,
    pub function: &'a Function,
    /// Number of the function within the kernel.
    pub number: usize,
    pub statement: &'a Statement,
    pub modifiers: Modifiers,
    registers: HashMap<(usize, usize, String), Register>,
    /// Registers of at most 32 bits that the statement names.
    pub named: Vec<usize>,
    pub words: usize,
    pub wides: usize,
    pub predicates: usize,
    pub specials: HashMap<Special, usize>,
    pub wide_constants: HashMap<u64, usize>,
    /// Addresses of variables inside functions: (function, scope, name) to window base and offset.
    pub variables: HashMap<(usize, usize, String), (u64, usize)>,
    pub local: Layout,
    pub shared: Layout,
    pub dynamic: Option<(String, usize)>,
    pub out: Vec<Instruction>,
}

impl<'a> Builder<'a> {
    pub fn new(
        target: Target,
        globals: &'a HashMap<String, (u64, Space)>,
        function: &'a Function,
        statement: &'a Statement,
    ) -> Self {
        Self {
            target,
            globals,
            function,
            number: 0,
            statement,
            modifiers: Modifiers::new(""),
            registers: HashMap::new(),
            named: Vec::new(),
            words: 1,
            wides: 1,
            predicates: 1,
            specials: HashMap::new(),
            wide_constants: HashMap::new(),
            variables: HashMap::new(),
            local: Layout::default(),
            shared: Layout::default(),
            dynamic: None,
            out: Vec::new(),
        }
    }

    /// An error that names line and opcode.
    pub fn error(&self, message: impl std::fmt::Display) -> ParseError {
        ParseError::new(self.statement.line, format!("{}: {message}", self.statement.opcode))
    }

    pub fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(self.error(message))
    }

    /// An error unless the PTX is for this compute capability or a later one.
    pub fn needs(&self, number: u32) -> Result<()> {
        match self.target.number >= number {
            true => Ok(()),
            false => self.fail(format!("needs .target sm_{number}, the module is for {}", self.target)),
        }
    }

    /// An error unless the PTX is for `sm_90a`.
    pub fn needs_warpgroups(&self) -> Result<()> {
        match self.target.has_warpgroups() {
            true => Ok(()),
            false => self.fail(format!("needs .target sm_90a, the module is for {}", self.target)),
        }
    }

    /// Appends an instruction with the statement's guard.
    pub fn push(&mut self, step: Step, class: Class, flops: u32) -> Result<()> {
        let guard = match &self.statement.guard {
            Some((name, negated)) => Some((self.predicate_named(name)?, *negated)),
            None => None,
        };
        let sums = self.named.as_slice().into();
        self.out.push(Instruction { guard, step, line: self.statement.line, class, flops, sums });
        Ok(())
    }

    pub fn compute(&mut self, compute: Compute, class: Class, flops: u32) -> Result<()> {
        self.push(Step::Compute(compute), class, flops)
    }

    pub fn access(&mut self, access: Access, class: Class) -> Result<()> {
        self.push(Step::Access(access), class, 0)
    }

    /// The only type at the opcode's end.
    pub fn ty(&mut self) -> Result<Type> {
        match self.modifiers.types()[..] {
            [ty] => Ok(ty),
            _ => self.fail("expected one type"),
        }
    }

    /// The operand at `index`.
    pub fn operand(&self, index: usize) -> Result<&'a Operand> {
        self.statement
            .operands
            .get(index)
            .ok_or_else(|| self.error(format!("operand {} is missing", index + 1)))
    }

    /// As many operands as expected.
    pub fn count(&self, allowed: std::ops::RangeInclusive<usize>) -> Result<usize> {
        let count = self.statement.operands.len();
        if allowed.contains(&count) { Ok(count) } else { self.fail(format!("{count} operands")) }
    }

    /// Scopes from the statement's outwards.
    fn scopes(&self) -> Vec<usize> {
        let mut scope = self.statement.scope;
        let mut out = vec![scope];
        while scope != 0 {
            scope = self.function.scopes[scope];
            out.push(scope);
        }
        out
    }

    /// What a map keyed by scope says about a name.
    pub fn scoped<'m, T>(&self, map: &'m HashMap<(usize, String), T>, name: &str) -> Option<&'m T> {
        self.scopes().into_iter().find_map(|scope| map.get(&(scope, name.to_string())))
    }

    pub fn register(&mut self, name: &str) -> Result<Register> {
        match self.find_register(name) {
            Some(register) => Ok(register),
            None => self.fail(format!("`{name}` is not a register")),
        }
    }

    fn find_register(&mut self, name: &str) -> Option<Register> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number: Option<usize> = name[prefix.len()..].parse().ok();
        for scope in self.scopes() {
            let declared = match self.function.registers.get(&(scope, name.to_string())) {
                Some(&(ty, None)) => Some(ty),
                _ => match self.function.registers.get(&(scope, prefix.to_string())) {
                    Some(&(ty, Some(count))) if number.is_some_and(|n| n < count) => Some(ty),
                    _ => None,
                },
            };
            let Some(ty) = declared else { continue };
            let key = (self.number, scope, name.to_string());
            if let Some(&found) = self.registers.get(&key) {
                self.named.extend((found.bits == 32).then_some(found.index));
                return Some(found);
            }
            let (bank, bits) = match ty {
                Type::Pred => (&mut self.predicates, 1),
                _ if ty.bytes() == 8 => (&mut self.wides, 64),
                _ => (&mut self.words, ty.bytes() * 8),
            };
            let register = Register { bits, index: *bank };
            *bank += 1;
            self.named.extend((register.bits == 32).then_some(register.index));
            self.registers.insert(key, register);
            return Some(register);
        }
        None
    }

    /// A register that always holds `value`.
    pub fn constant32(&mut self, value: u32) -> usize {
        self.special(Special::Word(value))
    }

    fn special(&mut self, special: Special) -> usize {
        let next = self.words;
        let index = *self.specials.entry(special).or_insert(next);
        self.words += usize::from(index == next);
        index
    }

    /// A register that always holds `value`.
    pub fn constant64(&mut self, value: u64) -> usize {
        let next = self.wides;
        let index = *self.wide_constants.entry(value).or_insert(next);
        self.wides += usize::from(index == next);
        index
    }

    fn predicate_named(&mut self, name: &str) -> Result<usize> {
        match self.register(name)? {
            Register { bits: 1, index } => Ok(index),
            _ => self.fail(format!("`{name}` is not a predicate")),
        }
    }

    /// A predicate operand: register, and whether it is negated.
    pub fn predicate(&mut self, operand: &Operand) -> Result<(usize, bool)> {
        match operand {
            Operand::Name(name) => Ok((self.predicate_named(name)?, false)),
            Operand::Not(name) => Ok((self.predicate_named(name)?, true)),
            _ => self.fail("expected a predicate"),
        }
    }

    /// A predicate to write; `_` is a sink.
    pub fn predicate_destination(&mut self, operand: &Operand) -> Result<usize> {
        match operand {
            Operand::Name(name) if name == "_" => Ok(0),
            Operand::Name(name) => self.predicate_named(name),
            _ => self.fail("expected a predicate"),
        }
    }

    /// The address that a name stands for, in generic addressing.
    pub fn variable(&self, name: &str) -> Option<(u64, Space)> {
        for scope in self.scopes() {
            if let Some(&(base, offset)) = self.variables.get(&(self.number, scope, name.to_string())) {
                let space = match base {
                    SHARED_BASE => Space::Shared,
                    PARAM_BASE => Space::Param,
                    _ => Space::Local,
                };
                return Some((base + offset as u64, space));
            }
        }
        self.globals.get(name).copied()
    }

    /// A variable's address as `mov` gives it: within its window, without the window's base.
    fn variable_value(&self, name: &str) -> Option<u64> {
        self.variable(name).map(|(address, space)| match space {
            Space::Shared => address - SHARED_BASE,
            Space::Local => address - LOCAL_BASE,
            Space::Param => address - PARAM_BASE,
            _ => address,
        })
    }

    /// A source operand of exactly this type's width: the register that holds it.
    pub fn source(&mut self, operand: &Operand, ty: Type) -> Result<usize> {
        let bits = ty.bytes() * 8;
        match *operand {
            Operand::Name(ref name) => {
                if let Some(register) = self.find_register(name) {
                    if register.bits == bits || bits == 8 && register.bits == 16 {
                        return Ok(register.index);
                    }
                    return self.fail(format!("`{name}` has {} bits, expected {bits}", register.bits));
                }
                if let Some(found) = special(name) {
                    if bits == 64 {
                        return self.fail(format!("`{name}` has 32 bits"));
                    }
                    return Ok(self.special(found));
                }
                match self.variable_value(name) {
                    Some(value) if bits == 64 => Ok(self.constant64(value)),
                    Some(value) => Ok(self.constant32(value as u32)),
                    None => self.fail(format!("`{name}` is not known")),
                }
            }
            Operand::Integer(value) if ty.integer() || ty.bytes() <= 4 && ty != Type::F32 => Ok(match bits {
                64 => self.constant64(value as u64),
                8 => self.constant32(value as u8 as u32),
                16 => self.constant32(value as u16 as u32),
                _ => self.constant32(value as u32),
            }),
            Operand::Integer(value) if ty == Type::F32 => Ok(self.constant32((value as f32).to_bits())),
            Operand::Single(value) if bits == 32 => Ok(self.constant32(value)),
            Operand::Double(value) if bits == 64 => Ok(self.constant64(value)),
            Operand::Single(value) if bits == 64 => {
                Ok(self.constant64(f64::from(f32::from_bits(value)).to_bits()))
            }
            Operand::Double(value) if bits == 32 => {
                Ok(self.constant32((f64::from_bits(value) as f32).to_bits()))
            }
            _ => self.fail("an operand has the wrong form"),
        }
    }

    /// Source operand number `index`.
    pub fn src(&mut self, index: usize, ty: Type) -> Result<usize> {
        let operand = self.operand(index)?;
        self.source(operand, ty)
    }

    /// A register to write, of exactly this type's width; `_` is a sink.
    pub fn destination(&mut self, operand: &Operand, ty: Type) -> Result<usize> {
        let register = self.any_destination(operand, ty)?;
        if register.bits == ty.bytes() * 8 || ty.bytes() == 1 && register.bits == 16 {
            return Ok(register.index);
        }
        self.fail(format!("the destination has {} bits, expected {}", register.bits, ty.bytes() * 8))
    }

    /// Destination operand number 0.
    pub fn dst(&mut self, ty: Type) -> Result<usize> {
        let operand = self.operand(0)?;
        self.destination(operand, ty)
    }

    /// A register to write, of this type's width or wider.
    pub fn any_destination(&mut self, operand: &Operand, ty: Type) -> Result<Register> {
        let register = match operand {
            Operand::Name(name) if name == "_" => Register { bits: (ty.bytes() * 8).max(16), index: 0 },
            Operand::Name(name) => self.register(name)?,
            _ => return self.fail("the destination is not a register"),
        };
        if register.bits < ty.bytes() * 8 || register.bits == 1 {
            return self.fail(format!("the destination has {} bits only", register.bits));
        }
        Ok(register)
    }

    /// A source register of this type's width or wider, or a constant.
    pub fn any_source(&mut self, operand: &Operand, ty: Type) -> Result<Register> {
        if let Operand::Name(name) = operand
            && let Some(register) = self.find_register(name)
        {
            if register.bits < ty.bytes() * 8 || register.bits == 1 {
                return self.fail(format!("`{name}` has {} bits only", register.bits));
            }
            return Ok(register);
        }
        let index = self.source(operand, ty)?;
        Ok(Register { bits: (ty.bytes() * 8).max(16), index })
    }

    /// The registers of a vector operand, or the operand alone.
    pub fn elements(&self, index: usize) -> Result<&'a [Operand]> {
        Ok(match self.operand(index)? {
            Operand::List(list) => list,
            other => std::slice::from_ref(other),
        })
    }

    /// An address operand, and the space it must be in if a variable's name says so.
    pub fn address(&mut self, index: usize) -> Result<(Address, Option<Space>)> {
        let Operand::Address { base, offset, coordinates: None } = self.operand(index)? else {
            return self.fail("expected an address in brackets");
        };
        self.resolve(base, offset)
    }

    /// An address with coordinates: `[map, {x, y}]`.
    pub fn tensor_address(&mut self, index: usize) -> Result<(Address, Option<Space>, &'a [Operand])> {
        let Operand::Address { base, offset, coordinates: Some(list) } = self.operand(index)? else {
            return self.fail("expected an address with coordinates in brackets");
        };
        let (address, space) = self.resolve(base, offset)?;
        Ok((address, space, list))
    }

    fn resolve(&mut self, base: &Option<String>, offset: &i64) -> Result<(Address, Option<Space>)> {
        let Some(name) = base else {
            let index = self.constant64(*offset as u64);
            return Ok((Address { wide: true, index, offset: 0 }, None));
        };
        if let Some(register) = self.find_register(name) {
            let wide = match register.bits {
                64 => true,
                32 => false,
                _ => return self.fail(format!("`{name}` is no address")),
            };
            return Ok((Address { wide, index: register.index, offset: *offset }, None));
        }
        let (Some(value), Some((_, space))) = (self.variable_value(name), self.variable(name)) else {
            return self.fail(format!("`{name}` is not known"));
        };
        let index = self.constant64(value.wrapping_add_signed(*offset));
        Ok((Address { wide: true, index, offset: 0 }, Some(space)))
    }
}
