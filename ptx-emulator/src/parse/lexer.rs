//! Text to tokens. A word keeps its dots (`add.s32`, `%tid.x`, `.reg`): PTX never needs them apart.

use crate::error::ParseError;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// An identifier, opcode with modifiers, directive or number.
    Word(String),
    /// A quoted string, without its quotes.
    Text(String),
    /// A single character of punctuation.
    Punctuation(char),
}

/// Splits `text` into tokens, each with its line.
///
/// # Errors
/// A character that PTX does not have, an unterminated comment or string.
pub fn tokens(text: &str) -> Result<Vec<(Token, usize)>, ParseError> {
    let bytes = text.as_bytes();
    let (mut i, mut line) = (0, 1);
    let mut out = Vec::with_capacity(bytes.len() / 4);
    let word = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%' | b'.');
    while i < bytes.len() {
        let c = bytes[i];
        match c {
            b'\n' => (line, i) = (line + 1, i + 1),
            b' ' | b'\t' | b'\r' | 0 => i += 1,
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                while i < bytes.len() && bytes[i] != b'\n' {
                    i += 1;
                }
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                let end =
                    text[i..].find("*/").ok_or_else(|| ParseError::new(line, "comment without an end"))?;
                line += text[i..i + end].matches('\n').count();
                i += end + 2;
            }
            b'"' => {
                let end =
                    text[i + 1..].find('"').ok_or_else(|| ParseError::new(line, "string without an end"))?;
                out.push((Token::Text(text[i + 1..i + 1 + end].to_string()), line));
                i += end + 2;
            }
            _ if word(c) => {
                let start = i;
                while i < bytes.len() {
                    if word(bytes[i]) {
                        i += 1;
                    } else if bytes[i..].starts_with(b"::") {
                        i += 2;
                    } else {
                        break;
                    }
                }
                out.push((Token::Word(text[start..i].to_string()), line));
            }
            b'{' | b'}' | b'[' | b']' | b'(' | b')' | b'<' | b'>' | b',' | b';' | b':' | b'=' | b'@'
            | b'!' | b'+' | b'-' | b'|' | b'*' => {
                out.push((Token::Punctuation(c as char), line));
                i += 1;
            }
            _ => {
                let shown = text[i..].chars().next().unwrap_or(' ');
                return Err(ParseError::new(line, format!("unexpected character `{shown}`")));
            }
        }
    }
    Ok(out)
}
