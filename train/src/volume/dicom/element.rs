//! Data elements (PS3.5, 7.1): tags, value representations, lengths.

use std::fmt;

use super::bytes::Bytes;

/// A length that is told by a delimiter instead.
pub(super) const UNDEFINED: u32 = u32::MAX;

/// Group and element number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(pub u16, pub u16);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "element ({:04X},{:04X})", self.0, self.1)
    }
}

pub(super) const ITEM: Tag = Tag(0xFFFE, 0xE000);
pub(super) const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
pub(super) const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    /// Most significant byte first.
    pub big_endian: bool,
    /// The value representation is written out.
    pub explicit: bool,
}

/// What private and unknown elements of undefined length are written in, whatever the file is (PS3.5, 6.2.2).
pub(super) const IMPLICIT_LITTLE: Coding = Coding { big_endian: false, explicit: false };
/// What the first group of a file is written in (PS3.10, 7.1).
pub(super) const EXPLICIT_LITTLE: Coding = Coding { big_endian: false, explicit: true };

impl Coding {
    pub fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// The head of a data element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub tag: Tag,
    /// Two letters; `None` where they are not written.
    pub vr: Option<[u8; 2]>,
    /// Length of the value in bytes, or [`UNDEFINED`].
    pub length: u32,
}

/// The value representations whose length has four bytes, behind two that are reserved.
const LONG: [&[u8; 2]; 13] =
    [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
    b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
];

/// Whether two bytes are the letters of a value representation.
pub(super) fn is_vr(letters: [u8; 2]) -> bool {
    LONG.contains(&&letters) || SHORT.contains(&&letters)
}

/// Reads the head of the next element; `None` at the end of the bytes.
///
/// # Errors
/// The bytes end within it; letters that are no value representation.
pub(super) fn next(bytes: &mut Bytes, coding: Coding) -> Result<Option<Element>, String> {
    let mut head = [0u8; 8];
    match bytes.fill_some(&mut head)? {
        0 => return Ok(None),
        8 => {}
        _ => return Err("is truncated within the head of an element".to_owned()),
    }
    let [g0, g1, e0, e1, a, b, c, d] = head;
    let tag = Tag(coding.u16([g0, g1]), coding.u16([e0, e1]));
    if !coding.explicit || tag.0 == 0xFFFE {
        return Ok(Some(Element { tag, vr: None, length: coding.u32([a, b, c, d]) }));
    }
    let letters = [a, b];
    if LONG.contains(&&letters) {
        let mut length = [0u8; 4];
        bytes.fill(&mut length, &tag)?;
        return Ok(Some(Element { tag, vr: Some(letters), length: coding.u32(length) }));
    }
    if SHORT.contains(&&letters) {
        return Ok(Some(Element { tag, vr: Some(letters), length: coding.u16([c, d]).into() }));
    }
    Err(format!("is damaged: {tag} has no value representation (its bytes are {a:02X} {b:02X})"))
}
