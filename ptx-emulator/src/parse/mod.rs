//! PTX text to a syntax tree.
//!
//! `lexer` makes tokens, this file reads modules and declarations, `body` reads a function's statements.

mod body;
mod lexer;
pub mod syntax;
pub mod types;

use crate::error::ParseError;
use lexer::Token;
use syntax::{Function, Initialiser, Space, Syntax, Variable};
use types::Type;

type Result<T> = std::result::Result<T, ParseError>;

/// Reads a module.
///
/// # Errors
/// The first thing that is not understood, with its line.
pub fn parse(text: &str) -> Result<Syntax> {
    let mut parser = Parser { tokens: lexer::tokens(text)?, at: 0 };
    let mut syntax = Syntax::default();
    while !parser.done() {
        parser.item(&mut syntax)?;
    }
    if syntax.version == (0, 0) {
        return Err(ParseError::new(1, "no .version directive: not PTX"));
    }
    Ok(syntax)
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
}

impl Parser {
    fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at.min(self.tokens.len().saturating_sub(1))).map_or(1, |t| t.1)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(ParseError::new(self.line(), message))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.0)
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is(&self, c: char) -> bool {
        self.peek() == Some(&Token::Punctuation(c))
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.is(c);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.take(c) {
            return Ok(());
        }
        let found = match self.peek() {
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Punctuation(found)) => format!("`{found}`"),
            Some(Token::Text(_)) => "a string".into(),
            None => "the end".into(),
        };
        self.fail(format!("expected `{c}`, found {found}"))
    }

    fn word(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => self.fail("expected a word"),
        }
    }

    /// An integer, possibly negative; floats give their bits.
    fn number(&mut self) -> Result<i128> {
        let negative = self.take('-');
        let word = self.word()?;
        match number(&word) {
            Some(syntax::Operand::Integer(value)) => Ok(if negative { -value } else { value }),
            Some(syntax::Operand::Single(bits)) => Ok(i128::from(bits ^ (u32::from(negative) << 31))),
            Some(syntax::Operand::Double(bits)) => Ok(i128::from(bits ^ (u64::from(negative) << 63))),
            _ => self.fail(format!("`{word}` is not a number")),
        }
    }

    fn size(&mut self) -> Result<usize> {
        let value = self.number()?;
        usize::try_from(value).or_else(|_| self.fail(format!("{value} is not a size")))
    }

    /// One thing at module level.
    fn item(&mut self, syntax: &mut Syntax) -> Result<()> {
        let word = self.word()?;
        match word.as_str() {
            ".version" => {
                let text = self.word()?;
                let parts: Option<(u32, u32)> =
                    text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                match parts {
                    Some(version) => syntax.version = version,
                    None => return self.fail(format!("`{text}` is not a version")),
                }
            }
            ".target" => {
                syntax.target = self.word()?;
                while self.take(',') {
                    self.word()?;
                }
            }
            ".address_size" => {
                if self.size()? != 64 {
                    return self.fail("only 64-bit addresses are emulated");
                }
            }
            ".visible" | ".weak" | ".extern" | ".common" => {}
            ".file" => {
                while !self.done() && !matches!(self.peek(), Some(Token::Text(_))) {
                    self.at += 1;
                }
                self.at += 1;
                while self.take(',') {
                    self.number()?;
                }
            }
            ".section" => return self.fail("debug sections are not emulated: compile without -G"),
            ".entry" | ".func" => {
                let function = self.function(word == ".entry")?;
                // A declaration comes before its definition.
                if let Some(function) = function {
                    syntax.functions.push(function);
                }
            }
            ".pragma" => {
                self.at += 1;
                self.expect(';')?;
            }
            _ => match space(&word) {
                Some(space) => {
                    self.variables(space, 0, &mut syntax.variables)?;
                    self.expect(';')?;
                }
                None => {
                    self.at -= 1;
                    return self.fail(format!("unknown directive `{word}`"));
                }
            },
        }
        Ok(())
    }

    /// `.align n .type name[count] = {...}, name...`, after the state space.
    fn variables(&mut self, space: Space, scope: usize, out: &mut Vec<Variable>) -> Result<()> {
        let mut align = None;
        let mut vector = 1;
        let ty = loop {
            let word = self.word()?;
            match word.as_str() {
                ".align" => align = Some(self.size()?),
                ".v2" => vector = 2,
                ".v4" => vector = 4,
                ".ptr" => {}
                _ => match word.strip_prefix('.').and_then(Type::of) {
                    Some(ty) => break ty,
                    None => return self.fail(format!("`{word}` is not a type")),
                },
            }
        };
        // Parameters that are pointers: `.param .u64 .ptr .global .align 16 name`.
        while let Some(word) = self.peek_word() {
            match word {
                ".ptr" | ".global" | ".shared" | ".const" | ".local" => self.at += 1,
                ".align" if self.tokens.get(self.at + 2).is_some() => self.at += 2,
                _ => break,
            }
        }
        let element = ty.bytes().max(1) * vector;
        let align = align.unwrap_or(element);
        if !align.is_power_of_two() {
            return self.fail(format!("alignment {align} is no power of two"));
        }
        loop {
            let name = self.word()?;
            let mut count = 1;
            while self.take('[') {
                if self.take(']') {
                    count = 0;
                } else {
                    count *= self.size()?;
                    self.expect(']')?;
                }
            }
            let initialiser = if self.take('=') { self.initialiser()? } else { Initialiser::None };
            out.push(Variable { name, scope, space, align, ty, size: count * element, initialiser });
            // A comma before a directive parts parameters, each with its own type.
            let next = self.tokens.get(self.at + 1).map(|t| &t.0);
            let another = matches!(next, Some(Token::Word(word)) if !word.starts_with('.'));
            if !(another && self.take(',')) {
                return Ok(());
            }
        }
    }

    fn initialiser(&mut self) -> Result<Initialiser> {
        let (mut values, mut addresses) = (Vec::new(), Vec::new());
        let mut depth = 0;
        loop {
            if self.take('{') {
                depth += 1;
                continue;
            }
            if self.take('}') {
                depth -= 1;
            } else {
                match self.peek_word() {
                    Some(word) if number(word).is_none() => {
                        let name = self.word()?;
                        if name == "generic" {
                            self.expect('(')?;
                            let name = self.word()?;
                            self.expect(')')?;
                            let offset = if self.take('+') { self.size()? } else { 0 };
                            addresses.push((name, offset as u64));
                        } else {
                            let offset = if self.take('+') { self.size()? } else { 0 };
                            addresses.push((name, offset as u64));
                        }
                    }
                    _ => values.push(self.number()? as u64),
                }
            }
            if depth == 0 {
                break;
            }
            self.take(',');
        }
        match (values.is_empty(), addresses.is_empty()) {
            (_, true) => Ok(Initialiser::Values(values)),
            (true, false) => Ok(Initialiser::Addresses(addresses)),
            _ => self.fail("an initialiser that mixes numbers and addresses is not emulated"),
        }
    }

    fn parameters(&mut self) -> Result<Vec<Variable>> {
        let mut out = Vec::new();
        if !self.take('(') {
            return Ok(out);
        }
        while !self.take(')') {
            let word = self.word()?;
            if word != ".param" && word != ".reg" {
                return self.fail(format!("expected `.param`, found `{word}`"));
            }
            if word == ".reg" {
                return self.fail("function parameters in registers are not emulated");
            }
            self.variables(Space::Param, 0, &mut out)?;
            self.take(',');
        }
        Ok(out)
    }

    /// A kernel or function; `None` for a declaration without a body.
    fn function(&mut self, entry: bool) -> Result<Option<Function>> {
        let line = self.line();
        let returns = if self.is('(') { self.parameters()? } else { Vec::new() };
        let name = self.word()?;
        let parameters = self.parameters()?;
        let mut function =
            Function { name, line, entry, returns, parameters, scopes: vec![0], ..Default::default() };
        loop {
            if self.take(';') {
                return Ok(None);
            }
            if self.is('{') {
                break;
            }
            let word = self.word()?;
            match word.as_str() {
                ".maxntid" | ".reqntid" | ".minnctapersm" | ".maxnreg" | ".maxnctapersm" => {
                    let mut product = self.size()?;
                    while self.take(',') {
                        product *= self.size()?;
                    }
                    if word.ends_with("ntid") {
                        function.max_threads = Some(product);
                    }
                }
                ".noreturn" => {}
                ".pragma" => {
                    self.at += 1;
                    self.expect(';')?;
                }
                _ => return self.fail(format!("unknown directive `{word}` of a function")),
            }
        }
        self.body(&mut function)?;
        Ok(Some(function))
    }
}

fn space(word: &str) -> Option<Space> {
    Some(match word {
        ".global" => Space::Global,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".const" => Space::Const,
        ".param" => Space::Param,
        _ => return None,
    })
}

/// A literal, if `word` is one.
fn number(word: &str) -> Option<syntax::Operand> {
    use syntax::Operand::{Double, Integer, Single};
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Some(digits) = word.strip_prefix("0f").or(word.strip_prefix("0F")) {
        return u32::from_str_radix(digits, 16).ok().map(Single);
    }
    if let Some(digits) = word.strip_prefix("0d").or(word.strip_prefix("0D")) {
        return u64::from_str_radix(digits, 16).ok().map(Double);
    }
    let digits = word.trim_end_matches('U');
    if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        return i128::from_str_radix(hex, 16).ok().map(Integer);
    }
    if let Some(binary) = digits.strip_prefix("0b") {
        return i128::from_str_radix(binary, 2).ok().map(Integer);
    }
    if digits.contains('.') {
        return digits.parse::<f64>().ok().map(|value| Double(value.to_bits()));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return i128::from_str_radix(&digits[1..], 8).ok().map(Integer);
    }
    digits.parse().ok().map(Integer)
}
