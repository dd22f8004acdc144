//! The order of a state dict's names, which `pytorch-reader` (a hash map) loses.
//!
//! It matters: PyTorch's optimiser state numbers the parameters in this order. A pickle writes a
//! dictionary's keys in order, and a string in full only where it occurs first, so the order of
//! first occurrence in the raw bytes is the order of the dictionary. Nothing but the order comes
//! from here, so the worst that odd bytes can do is a different order.

use std::cmp::Ordering;
use std::collections::HashMap;

/// Longer names are left out: every place of a hostile pickle may claim to hold one, and each is compared.
const LONGEST_NAME: usize = 512;

/// Position of the first occurrence of each of `names` as a string in `pickle`.
pub(super) fn first_occurrences<'a>(
    pickle: &[u8],
    names: impl Iterator<Item = &'a str>,
) -> HashMap<&'a str, usize> {
    let wanted: HashMap<&[u8], &str> =
        names.filter(|name| name.len() <= LONGEST_NAME).map(|name| (name.as_bytes(), name)).collect();
    let mut found = HashMap::new();
    for (position, &opcode) in pickle.iter().enumerate() {
        let rest = &pickle[position + 1..];
        let length_bytes = match opcode {
            b'X' => 4,        // BINUNICODE
            0x8c | b'U' => 1, // SHORT_BINUNICODE; SHORT_BINSTRING of Python 2
            _ => continue,
        };
        let Some((length, text)) = rest.split_at_checked(length_bytes) else { continue };
        let length = length.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte));
        if length > LONGEST_NAME {
            continue;
        }
        if let Some(&name) = text.get(..length).and_then(|text| wanted.get(text)) {
            found.entry(name).or_insert(position);
        }
    }
    found
}

/// Compares names as people do: digits by value, so that `down_tr64` comes before `down_tr128`.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while !rest_a.is_empty() && !rest_b.is_empty() {
        let (part_a, part_b);
        (part_a, rest_a) = split_run(rest_a);
        (part_b, rest_b) = split_run(rest_b);
        let numbers = part_a.starts_with(|c: char| c.is_ascii_digit())
            && part_b.starts_with(|c: char| c.is_ascii_digit());
        let order = if numbers {
            let (number_a, number_b) = (part_a.trim_start_matches('0'), part_b.trim_start_matches('0'));
            (number_a.len(), number_a).cmp(&(number_b.len(), number_b))
        } else {
            part_a.cmp(part_b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b))
}

/// The leading run of digits or of other characters, and the rest.
fn split_run(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_by_value() {
        let mut names = ["up.10.w", "up.9.w", "up.9", "down_tr128", "down_tr64", "up.09.w", "a"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "down_tr64", "down_tr128", "up.9", "up.09.w", "up.9.w", "up.10.w"]);
    }

    #[test]
    fn finds_strings_of_each_opcode_and_survives_cut_ones() {
        let pickle = b"(X\x02\0\0\0bbK\x01\x8c\x01aU\x03cccX\x02\0\0\0bbX\xff\xff\xff\xffaX\x01";
        let found = first_occurrences(pickle, ["a", "bb", "ccc", "absent"].into_iter());
        let mut order: Vec<_> = found.into_iter().collect();
        order.sort_by_key(|&(_, position)| position);
        assert_eq!(order, [("bb", 1), ("a", 10), ("ccc", 13)]);
    }
}
