//! The protocol-2 pickle opcodes that a `.pt` file needs, as `pickletools` names them.

use serde_json::Value;

use crate::{Error, Result};

/// Builds one pickle.
pub(super) struct PickleWriter {
    bytes: Vec<u8>,
}

impl PickleWriter {
    /// PROTO 2.
    pub fn new() -> Self {
        Self { bytes: vec![0x80, 2] }
    }

    /// STOP; the finished pickle.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'.');
        self.bytes
    }

    /// GLOBAL: a class or function by module and name.
    pub fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").bytes());
    }

    /// BINUNICODE. Longer than 4 GiB cannot be: names and metadata are bounded by the caller.
    pub fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.bytes());
    }

    /// BININT1, BININT or LONG1, the shortest that holds the value.
    pub fn integer(&mut self, value: i128) {
        if let Ok(byte) = u8::try_from(value) {
            self.bytes.extend([b'K', byte]);
        } else if let Ok(value) = i32::try_from(value) {
            self.bytes.push(b'J');
            self.bytes.extend(value.to_le_bytes());
        } else {
            // Nine bytes hold every i64 and u64.
            self.bytes.extend([0x8a, 9]);
            self.bytes.extend(&value.to_le_bytes()[..9]);
        }
    }

    /// BINFLOAT.
    pub fn float(&mut self, value: f64) {
        self.bytes.push(b'G');
        self.bytes.extend(value.to_be_bytes());
    }

    /// NEWTRUE or NEWFALSE.
    pub fn boolean(&mut self, value: bool) {
        self.bytes.push(if value { 0x88 } else { 0x89 });
    }

    /// A tuple of what `items` writes: MARK … TUPLE.
    pub fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.bytes.push(b'(');
        items(self);
        self.bytes.push(b't');
    }

    /// A tuple of lengths.
    pub fn lengths(&mut self, values: &[usize]) {
        self.tuple(|pickle| values.iter().for_each(|&value| pickle.integer(value as i128)));
    }

    /// A list of what `items` writes: EMPTY_LIST MARK … APPENDS.
    pub fn list(&mut self, items: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.bytes.extend(b"](");
        items(self)?;
        self.bytes.push(b'e');
        Ok(())
    }

    /// A dictionary of the keys and values that `items` writes in turn: EMPTY_DICT MARK … SETITEMS.
    pub fn dictionary(&mut self, items: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.bytes.extend(b"}(");
        items(self)?;
        self.bytes.push(b'u');
        Ok(())
    }

    /// A `collections.OrderedDict` of the keys and values that `items` writes in turn.
    pub fn ordered_dictionary(&mut self, items: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.global("collections", "OrderedDict");
        self.bytes.extend(b")R("); // EMPTY_TUPLE REDUCE MARK
        items(self)?;
        self.bytes.push(b'u');
        Ok(())
    }

    /// A call: GLOBAL, the tuple of what `arguments` writes, REDUCE.
    pub fn call(
        &mut self,
        module: &str,
        function: &str,
        arguments: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.global(module, function);
        self.bytes.push(b'(');
        arguments(self)?;
        self.bytes.extend(b"tR");
        Ok(())
    }

    /// BINPERSID with the tuple that `items` writes.
    pub fn persistent(&mut self, items: impl FnOnce(&mut Self)) {
        self.tuple(items);
        self.bytes.push(b'Q');
    }

    /// A JSON value as the Python value `json.loads` would give.
    ///
    /// # Errors
    /// A number that is neither a 64-bit integer nor a float64.
    pub fn json(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Null => self.bytes.push(b'N'),
            Value::Bool(value) => self.boolean(*value),
            Value::Number(number) => {
                let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                match (integer, number.as_f64()) {
                    (Some(value), _) => self.integer(value),
                    (None, Some(value)) => self.float(value),
                    (None, None) => return Err(Error::Invalid(format!("number {number} is too wide"))),
                }
            }
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                return self.list(|pickle| items.iter().try_for_each(|item| pickle.json(item)));
            }
            Value::Object(entries) => {
                return self.dictionary(|pickle| {
                    entries.iter().try_for_each(|(key, value)| {
                        pickle.text(key);
                        pickle.json(value)
                    })
                });
            }
        }
        Ok(())
    }
}
