//! How much a pickle unfolds to, before it is interpreted.
//!
//! `pytorch-reader` makes a value of some 90 bytes of every object, and copies what the memo repeats. One byte of a
//! pickle is enough for an object, so a file of a few megabytes could take hundreds. This walks over the opcodes,
//! keeping of every object only how many it consists of. What it does not understand it leaves to the interpreter.

use std::collections::HashMap;

/// The most objects a checkpoint's pickle may unfold to. The original's has 3 000, nnU-Net's some 50 000.
const MOST_OBJECTS: u64 = 500_000;

/// A legacy file starts with this many pickles; values follow.
const LEADING_PICKLES: usize = 5;

/// Refuses bytes that start with pickles which unfold to more than [`MOST_OBJECTS`]; `whole`: they are all there are.
///
/// # Errors
/// The cause in words.
pub(super) fn check(bytes: &[u8], whole: bool) -> Result<(), String> {
    let mut walk = Walk::over(bytes, 0);
    for _ in 0..LEADING_PICKLES {
        if !walk.pickle()? && walk.cut && !whole {
            return Err(format!("refused: {} bytes do not end its pickles", bytes.len()));
        }
    }
    Ok(())
}

#[derive(Default)]
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    /// Objects within each object on the stack.
    stack: Vec<u64>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, u64>,
    /// Objects of all pickles so far.
    pub total: u64,
    /// Names of the classes that the last pickle names.
    pub classes: Vec<&'a [u8]>,
    /// The bytes ended within an opcode.
    cut: bool,
}

impl<'a> Walk<'a> {
    /// Over pickles in `bytes`, after others of `total` objects.
    pub fn over(bytes: &'a [u8], total: u64) -> Self {
        Self { bytes, total, ..Self::default() }
    }

    /// Goes over one pickle; false if it does not end as one, which the interpreter finds, too.
    ///
    /// # Errors
    /// More than [`MOST_OBJECTS`] so far.
    pub fn pickle(&mut self) -> Result<bool, String> {
        (self.stack, self.marks, self.classes) = (Vec::new(), Vec::new(), Vec::new());
        self.memo.clear();
        loop {
            match self.step() {
                Some(true) if self.total > MOST_OBJECTS => {
                    return Err(format!(
                        "refused: its pickle unfolds to more than {MOST_OBJECTS} objects (a memo bomb?)"
                    ));
                }
                Some(true) => {}
                end => return Ok(end.is_some()),
            }
        }
    }

    /// Goes over one opcode; false at the end of a pickle, `None` where the bytes end or are none.
    fn step(&mut self) -> Option<bool> {
        let opcode = *self.take(1)?.first()?;
        match opcode {
            b'.' => return Some(false),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => _ = self.pop(1),
            b'1' => _ = self.pop_mark(),
            b'2' => {
                let top = self.stack.last().copied().unwrap_or(1);
                self.push(top);
            }
            b'N' | 0x88 | 0x89 | b'}' | b']' | b')' | 0x8f | 0x97 => self.push(1),
            0x80 => _ = self.take(1)?,
            0x95 => _ = self.take(8)?,
            b'K' => self.with(1)?,
            b'M' => self.with(2)?,
            b'J' => self.with(4)?,
            b'G' => self.with(8)?,
            b'I' | b'L' | b'F' | b'S' | b'V' | b'P' => {
                self.line()?;
                self.push(1);
            }
            b'c' => {
                self.line()?;
                let name = self.line()?;
                self.classes.push(name.trim_ascii_end());
                self.push(1);
            }
            b'U' | 0x8c | b'C' | 0x8a => self.long(1)?,
            b'T' | b'X' | b'B' | 0x8b => self.long(4)?,
            0x8d | 0x8e | 0x96 => self.long(8)?,
            0x82 => self.with(1)?,
            0x83 => self.with(2)?,
            0x84 => self.with(4)?,
            b'g' => {
                let key = std::str::from_utf8(self.line()?).ok()?.trim().parse().ok()?;
                self.recall(key);
            }
            b'h' => self.number(1).map(|key| self.recall(key))?,
            b'j' => self.number(4).map(|key| self.recall(key))?,
            b'p' => {
                let key = std::str::from_utf8(self.line()?).ok()?.trim().parse().ok()?;
                self.remember(key);
            }
            b'q' => self.number(1).map(|key| self.remember(key))?,
            b'r' => self.number(4).map(|key| self.remember(key))?,
            0x94 => self.remember(self.memo.len() as u64),
            b'a' | b'b' => self.join(1, false),
            b's' => self.join(2, false),
            b'e' | b'u' | 0x90 => {
                let part = self.pop_mark();
                self.grow(part);
            }
            b't' | b'l' | b'd' | 0x91 | b'o' => {
                let part = self.pop_mark();
                self.stack.push(part.saturating_add(1));
            }
            b'i' => {
                self.line()?;
                self.line()?;
                let part = self.pop_mark();
                self.stack.push(part.saturating_add(1));
            }
            0x85 | b'Q' => self.join(1, true),
            0x86 | b'R' | 0x81 => self.join(2, true),
            0x93 => {
                // Its name is some text below.
                self.classes.push(b"");
                self.join(2, true);
            }
            0x87 | 0x92 => self.join(3, true),
            0x98 => {}
            _ => return None,
        }
        Some(true)
    }

    /// The next bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        self.cut = count > self.bytes.len();
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n');
        self.cut = end.is_none();
        self.take(end? + 1)
    }

    /// The next bytes as a number, the lowest first.
    pub fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// An object with an argument of fixed length.
    fn with(&mut self, bytes: usize) -> Option<()> {
        self.take(bytes)?;
        self.push(1);
        Some(())
    }

    /// An object of given length.
    fn long(&mut self, bytes: usize) -> Option<()> {
        let length = usize::try_from(self.number(bytes)?).ok()?;
        self.with(length)
    }

    fn push(&mut self, objects: u64) {
        self.total = self.total.saturating_add(objects);
        self.stack.push(objects);
    }

    fn pop(&mut self, count: usize) -> u64 {
        let kept = self.stack.len().saturating_sub(count);
        self.stack.drain(kept..).fold(0, u64::saturating_add)
    }

    fn pop_mark(&mut self) -> u64 {
        let kept = self.marks.pop().unwrap_or(0).min(self.stack.len());
        self.stack.drain(kept..).fold(0, u64::saturating_add)
    }

    /// The object on top gets these within it.
    fn grow(&mut self, objects: u64) {
        if let Some(top) = self.stack.last_mut() {
            *top = top.saturating_add(objects);
        }
    }

    /// The topmost `count` go into a new object, or into the one below them.
    fn join(&mut self, count: usize, new: bool) {
        let part = self.pop(count);
        if new { self.stack.push(part.max(1)) } else { self.grow(part) }
    }

    fn recall(&mut self, key: u64) {
        self.push(self.memo.get(&key).copied().unwrap_or(1));
    }

    /// The memo holds a copy.
    fn remember(&mut self, key: u64) {
        let objects = self.stack.last().copied().unwrap_or(1);
        self.total = self.total.saturating_add(objects);
        self.memo.insert(key, objects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_are_refused_and_long_lists_are_not() {
        let mut bomb = b"\x80\x02](K\x01eq\0".to_vec();
        for round in 0..20 {
            bomb.extend(b"0](");
            bomb.extend([b'h', round, b'h', round, b'e', b'q', round + 1]);
        }
        bomb.push(b'.');
        assert!(check(&bomb, true).unwrap_err().contains("memo bomb"));
        assert!(check(&b"]".repeat(600_000), true).is_err());
        // A second pickle counts too.
        assert!(check(&[b"\x80\x02K\x01.", &bomb[..]].concat(), true).is_err());
        let list = [b"\x80\x02](", &b"K\x01".repeat(100_000)[..], b"e."].concat();
        assert!(check(&list, true).is_ok());
        // Text that looks like opcodes is none.
        let text = [&b"X\xff\xff\x0f\0"[..], &b"]".repeat(0xf_ffff), b"."].concat();
        assert!(check(&text, true).is_ok());
        // What follows the part that was looked at might be one.
        assert!(check(&text[..50], false).unwrap_err().contains("do not end"));
        assert!(check(&b"K\x01.".repeat(5), false).is_ok());
        for length in 0..bomb.len() {
            let _ = check(&bomb[..length], true);
        }
    }
}
