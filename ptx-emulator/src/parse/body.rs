//! Statements of a function: registers, variables, labels, nested scopes, instructions.

use super::syntax::{Function, Operand, Statement};
use super::types::Type;
use super::{Parser, Result, number, space};
use crate::parse::lexer::Token;

impl Parser {
    /// The body, from its opening to its closing brace.
    pub(super) fn body(&mut self, function: &mut Function) -> Result<()> {
        self.expect('{')?;
        let mut open = vec![0];
        while let Some(&scope) = open.last() {
            if self.take('{') {
                function.scopes.push(scope);
                open.push(function.scopes.len() - 1);
                continue;
            }
            if self.take('}') {
                open.pop();
                continue;
            }
            if self.take(';') {
                continue;
            }
            if self.done() {
                return self.fail(format!("function {} without an end", function.name));
            }
            self.statement(function, scope)?;
        }
        Ok(())
    }

    fn statement(&mut self, function: &mut Function, scope: usize) -> Result<()> {
        let line = self.line();
        let guard = if self.take('@') {
            let negated = self.take('!');
            Some((self.word()?, negated))
        } else {
            None
        };
        let word = self.word()?;
        if guard.is_none() && self.take(':') {
            if self.peek_word() == Some(".branchtargets") {
                self.at += 1;
                let mut targets = vec![self.word()?];
                while self.take(',') {
                    targets.push(self.word()?);
                }
                function.tables.insert((scope, word), targets);
                return self.expect(';');
            }
            let index = function.statements.len();
            if function.labels.insert((scope, word.clone()), index).is_some() {
                return self.fail(format!("label `{word}` twice"));
            }
            return Ok(());
        }
        if word == ".reg" {
            return self.registers(function, scope);
        }
        if word == ".pragma" {
            self.at += 1;
            return self.expect(';');
        }
        if word == ".loc" {
            while self.line() == line && !self.done() {
                self.at += 1;
            }
            return Ok(());
        }
        if let Some(space) = space(&word) {
            self.variables(space, scope, &mut function.variables)?;
            return self.expect(';');
        }
        if word.starts_with('.') {
            self.at -= 1;
            return self.fail(format!("unknown directive `{word}`"));
        }
        let mut operands = Vec::new();
        while !self.take(';') {
            operands.push(self.operand()?);
            if !self.take(',') {
                self.expect(';')?;
                break;
            }
        }
        function.statements.push(Statement { line, scope, guard, opcode: word, operands });
        Ok(())
    }

    fn registers(&mut self, function: &mut Function, scope: usize) -> Result<()> {
        let word = self.word()?;
        let Some(ty) = word.strip_prefix('.').and_then(Type::of) else {
            return self.fail(format!("`{word}` is not a register's type"));
        };
        loop {
            let name = self.word()?;
            let count = if self.take('<') {
                let count = self.size()?;
                self.expect('>')?;
                Some(count)
            } else {
                None
            };
            function.registers.insert((scope, name), (ty, count));
            if !self.take(',') {
                return self.expect(';');
            }
        }
    }

    fn operand(&mut self) -> Result<Operand> {
        let first = self.simple_operand()?;
        if self.take('|') {
            return Ok(Operand::Pair(Box::new(first), Box::new(self.simple_operand()?)));
        }
        Ok(first)
    }

    fn simple_operand(&mut self) -> Result<Operand> {
        if self.take('!') {
            return Ok(Operand::Not(self.word()?));
        }
        if self.take('[') {
            let base = match self.peek_word() {
                Some(word) if number(word).is_none() => Some(self.word()?),
                _ => None,
            };
            let more = self.take('+') || self.is('-') || base.is_none();
            let offset = if more { self.number()? } else { 0 } as i64;
            let coordinates = if self.take(',') {
                let Operand::List(list) = self.simple_operand()? else {
                    return self.fail("expected coordinates in braces");
                };
                Some(list)
            } else {
                None
            };
            self.expect(']')?;
            return Ok(Operand::Address { base, offset, coordinates });
        }
        for (open, close) in [('{', '}'), ('(', ')')] {
            if self.take(open) {
                let mut list = Vec::new();
                while !self.take(close) {
                    list.push(self.operand()?);
                    if !self.take(',') && !self.is(close) {
                        return self.expect(close).map(|()| Operand::List(list));
                    }
                }
                return Ok(Operand::List(list));
            }
        }
        if let Some(Token::Word(word)) = self.peek() {
            if number(word).is_none() {
                return Ok(Operand::Name(self.word()?));
            }
        } else if !self.is('-') {
            return self.fail("expected an operand");
        }
        let negative = self.take('-');
        let word = self.word()?;
        match number(&word) {
            Some(Operand::Integer(value)) => Ok(Operand::Integer(if negative { -value } else { value })),
            Some(Operand::Single(bits)) => Ok(Operand::Single(bits ^ (u32::from(negative) << 31))),
            Some(Operand::Double(bits)) => Ok(Operand::Double(bits ^ (u64::from(negative) << 63))),
            _ => self.fail(format!("`{word}` is not a number")),
        }
    }
}
