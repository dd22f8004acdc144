//! An opcode's parts. What no decoder asked for is an error: nothing is ignored silently.

use crate::parse::types::Type;

/// `mad.lo.s32` taken apart.
pub struct Modifiers {
    /// `mad`
    pub name: String,
    rest: Vec<String>,
}

impl Modifiers {
    /// Splits an opcode at its dots.
    pub fn new(opcode: &str) -> Self {
        let mut parts = opcode.split('.').map(str::to_string);
        Self { name: parts.next().unwrap_or_default(), rest: parts.collect() }
    }

    /// Whether a modifier is there; takes it.
    pub fn flag(&mut self, word: &str) -> bool {
        let found = self.rest.iter().position(|m| m == word);
        if let Some(index) = found {
            self.rest.remove(index);
        }
        found.is_some()
    }

    /// The first of `words` that is there; takes it.
    pub fn one_of(&mut self, words: &[&'static str]) -> Option<&'static str> {
        words.iter().find(|word| self.flag(word)).copied()
    }

    /// The first modifier that begins with `prefix`, without it; takes it.
    pub fn strip(&mut self, prefix: &str) -> Option<String> {
        let index = self.rest.iter().position(|m| m.starts_with(prefix))?;
        Some(self.rest.remove(index)[prefix.len()..].to_string())
    }

    /// The types at its end, in order; takes them.
    pub fn types(&mut self) -> Vec<Type> {
        let mut types = Vec::new();
        while let Some(ty) = self.rest.last().and_then(|word| Type::of(word)) {
            types.insert(0, ty);
            self.rest.pop();
        }
        types
    }

    /// Takes every modifier that `accept` names.
    pub fn drop_all(&mut self, accept: &[&str]) {
        self.rest.retain(|m| !accept.contains(&m.as_str()));
    }

    /// A modifier that nobody asked for.
    pub fn left(&self) -> Option<&str> {
        self.rest.first().map(String::as_str)
    }
}
