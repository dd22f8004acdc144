//! Values written as text (PS3.5, 6.2): trimmed, bounded, never trusted.

/// Text as one line for the eye: no control characters, whatever the character set.
pub(super) fn clean(value: &[u8]) -> String {
    let text = match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        // Latin-1 maps bytes to the characters of the same numbers.
        Err(_) => value.iter().copied().map(char::from).collect(),
    };
    let text: String = text.chars().filter(|letter| !letter.is_control()).take(64).collect();
    text.trim().to_owned()
}

/// Exactly `N` numbers of a decimal or integer string; `None` for an empty value.
///
/// # Errors
/// Another number of them, or none at all.
pub(super) fn numbers<const N: usize>(value: &[u8], name: &str) -> Result<Option<[f64; N]>, String> {
    let text = clean_numbers(value);
    if text.is_empty() {
        return Ok(None);
    }
    let parsed: Option<Vec<f64>> = text
        .split('\\')
        .map(|part| part.trim().parse().ok().filter(|number: &f64| number.is_finite()))
        .collect();
    let array = parsed.and_then(|list| <[f64; N]>::try_from(list).ok());
    let wanted = if N == 1 { "a number".to_owned() } else { format!("{N} numbers") };
    array.map(Some).ok_or_else(|| format!("is damaged: {name} is {text:?}, which is not {wanted}"))
}

fn clean_numbers(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.trim_matches(|letter: char| letter == '\0' || letter.is_whitespace()).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_or_refused_by_name() {
        assert_eq!(numbers::<2>(b"0.5\\ -1e1 ", "PixelSpacing"), Ok(Some([0.5, -10.0])));
        assert_eq!(numbers::<1>(b"\0", "RescaleSlope"), Ok(None));
        for broken in [&b"1\\2\\3"[..], b"1\\x", b"nan\\1", b"1,5\\2", b"1\\"] {
            let cause = numbers::<2>(broken, "PixelSpacing").expect_err("refused");
            assert!(cause.contains("PixelSpacing") && cause.contains("2 numbers"), "{cause}");
        }
    }

    #[test]
    fn text_loses_what_would_move_a_terminal() {
        assert_eq!(clean(b" THORAX\x1b[31m\n5mm \0"), "THORAX[31m5mm");
        assert_eq!(clean(b"Sch\xe4del"), "Sch\u{e4}del");
        assert_eq!(clean("頭部".as_bytes()), "頭部");
    }
}
