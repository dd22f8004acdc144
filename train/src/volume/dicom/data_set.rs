//! Walking through a data set (PS3.5, 7): every declared length is held to the bytes that are there, sequences to a
//! depth, elements to a number; only what is wanted is read, the rest is passed over.

use std::path::Path;

use super::bytes::Bytes;
use super::element::{
    self, Coding, EXPLICIT_LITTLE, Element, IMPLICIT_LITTLE, ITEM, ITEM_END, SEQUENCE_END, Tag, UNDEFINED,
    is_vr,
};
use super::header::{Header, MAX_FRAMES, Numbers, Pixels, is_fact, is_wanted, take_fact};
use super::recognise::PREAMBLE;
use super::text::clean;
use super::transfer::{TransferSyntax, no_image};

/// Sequences within sequences; the standard's own reach about 8.
const MAX_DEPTH: usize = 32;
/// Elements of one file; 65,536 frames of 60 elements each.
const MAX_ELEMENTS: u32 = 1 << 22;
/// Bytes of a value that is wanted: 20 numbers of 16 characters, or a description.
const MAX_VALUE: u32 = 1 << 10;
/// Fragments of one file.
const MAX_FRAGMENTS: usize = 1 << 17;

/// What a file turned out to be.
#[derive(Debug)]
pub(super) enum Scanned {
    /// With a header of an image, complete as far as its pixels, which were not read.
    Image(Box<Header>),
    /// Without a slice in it, and why.
    Other(String),
}

/// A file that cannot be read, and the series it belongs to if that much was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Damage {
    pub cause: String,
    pub series: Option<String>,
}

/// Reads what a file says of its image.
///
/// # Errors
/// Damage of any kind.
pub(super) fn scan(path: &Path) -> Result<Scanned, Damage> {
    let unknown = |cause| Damage { cause, series: None };
    let mut bytes = Bytes::open(path).map_err(|error| unknown(format!("cannot be read: {error}")))?;
    let (transfer, sop_class) = file_meta(&mut bytes).map_err(unknown)?;
    if let Some(words) = no_image(&sop_class) {
        return Ok(Scanned::Other(words.to_owned()));
    }
    if transfer.is_deflated() {
        bytes = bytes.inflate().map_err(|error| unknown(format!("cannot be read: {error}")))?;
    }
    let coding = coding(&mut bytes, &transfer).map_err(unknown)?;
    let mut walk = Walk { bytes, header: Box::new(Header::new(transfer, coding, sop_class)), elements: 0 };
    match walk.whole(coding) {
        Ok(()) => Ok(match no_image(&walk.header.sop_class) {
            Some(words) => Scanned::Other(words.to_owned()),
            None => Scanned::Image(walk.header),
        }),
        Err(cause) => {
            let series = (!walk.header.series.is_empty()).then(|| walk.header.series.clone());
            Err(Damage { cause, series })
        }
    }
}

/// Reads preamble and first group, if they are there: transfer syntax and SOP class.
fn file_meta(bytes: &mut Bytes) -> Result<(TransferSyntax, String), String> {
    let mut start = [0u8; PREAMBLE];
    let filled = bytes.fill_some(&mut start)?;
    if !start.ends_with(b"DICM") {
        bytes.give_back(&start[..filled]);
    }
    let (mut transfer, mut sop_class) = (None, String::new());
    loop {
        let mut group = [0u8; 2];
        let filled = bytes.fill_some(&mut group)?;
        bytes.give_back(&group[..filled]);
        if filled < 2 || group != [2, 0] {
            return Ok((TransferSyntax::new(transfer), sop_class));
        }
        let Some(Element { tag, length, .. }) = element::next(bytes, EXPLICIT_LITTLE)? else { continue };
        bytes.check(length.into(), &tag)?;
        match tag.1 {
            0x0002 | 0x0010 if length <= MAX_VALUE => {
                let mut value = vec![0u8; length as usize];
                bytes.fill(&mut value, &tag)?;
                match tag.1 {
                    0x0002 => sop_class = clean(&value),
                    _ => transfer = Some(clean(&value)),
                }
            }
            _ => bytes.skip(length.into(), &tag)?,
        }
    }
}

/// Passes over preamble and first group.
pub(super) fn pass_file_meta(bytes: &mut Bytes) -> Result<(), String> {
    file_meta(bytes).map(drop)
}

/// How the data set is written: as it looks, where that differs from what the file says of itself, which devices
/// that convert files have been seen to get wrong.
fn coding(bytes: &mut Bytes, transfer: &TransferSyntax) -> Result<Coding, String> {
    let mut head = [0u8; 6];
    let filled = bytes.fill_some(&mut head)?;
    bytes.give_back(&head[..filled]);
    if filled < 6 {
        return Err("is truncated before its data set".to_owned());
    }
    let [g0, g1, _, _, a, b] = head;
    let big_endian = transfer.is_big_endian().unwrap_or(g0 == 0);
    let coding = Coding { big_endian, explicit: is_vr([a, b]) };
    // Data sets begin with group 0008; retired and private ones with a lower or slightly higher one.
    match coding.u16([g0, g1]) {
        1..=0x0028 => Ok(coding),
        group => Err(format!("is no DICOM file, or damaged: its data set begins with group {group:04X}")),
    }
}

/// Which data set the elements belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The file's own.
    File,
    /// SharedFunctionalGroupsSequence, or PerFrameFunctionalGroupsSequence: each item one frame.
    Shared,
    PerFrame,
    /// A functional group of all frames, or of the frame last begun.
    SharedGroup,
    FrameGroup,
    /// ModalityLUTSequence.
    ModalityTable,
    /// Any other.
    Elsewhere,
}

impl Place {
    /// The place a sequence of this tag leads to.
    fn enter(self, tag: Tag) -> Self {
        let group = matches!(tag, Tag(0x0020, 0x9113 | 0x9116) | Tag(0x0028, 0x9110 | 0x9145));
        match (self, tag) {
            (Self::File, Tag(0x5200, 0x9229)) => Self::Shared,
            (Self::File, Tag(0x5200, 0x9230)) => Self::PerFrame,
            (Self::File, Tag(0x0028, 0x3000)) => Self::ModalityTable,
            (Self::Shared, _) if group => Self::SharedGroup,
            (Self::PerFrame, _) if group => Self::FrameGroup,
            _ => Self::Elsewhere,
        }
    }
}

struct Walk {
    bytes: Bytes,
    header: Box<Header>,
    elements: u32,
}

impl Walk {
    /// The file's own data set, as far as the pixels.
    fn whole(&mut self, coding: Coding) -> Result<(), String> {
        while let Some(element) = self.next(coding)? {
            // Retired: where the data set would be deflated or padded.
            if element.tag.0 == 0x7FE0 && self.pixels(element, coding)? {
                return Ok(());
            }
            if no_image(&self.header.sop_class).is_some() {
                return Ok(());
            }
            self.value(element, coding, None, 0, Place::File)?;
        }
        Err("is truncated or damaged: it has no pixels (PixelData)".to_owned())
    }

    fn next(&mut self, coding: Coding) -> Result<Option<Element>, String> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(format!("has more than {MAX_ELEMENTS} elements"));
        }
        element::next(&mut self.bytes, coding)
    }

    /// The next element of a data set or sequence, which must be there.
    fn needed(&mut self, coding: Coding) -> Result<Element, String> {
        self.next(coding)?.ok_or_else(|| "is truncated within a sequence".to_owned())
    }

    /// Takes or passes over the value of an element whose head was just read, within a data set that ends at `end`.
    fn value(
        &mut self,
        Element { tag, vr, length }: Element,
        coding: Coding,
        end: Option<u64>,
        depth: usize,
        place: Place,
    ) -> Result<(), String> {
        let inner = place.enter(tag);
        if length == UNDEFINED {
            return match vr {
                None | Some([b'S', b'Q']) => self.sequence(tag, length, coding, depth, inner),
                Some([b'U', b'N']) => self.sequence(tag, length, IMPLICIT_LITTLE, depth, inner),
                Some([b'O', _]) => self.fragments(tag, coding).map(drop),
                Some(_) => Err(format!("is damaged: {tag} has no length")),
            };
        }
        self.bytes.check(length.into(), &tag)?;
        if end.is_some_and(|end| self.bytes.position() + u64::from(length) > end) {
            return Err(format!("is damaged: {tag} runs over the end of its sequence"));
        }
        if inner == Place::ModalityTable {
            self.header.modality_table = length > 0;
        } else if inner != Place::Elsewhere {
            let coding = if vr == Some(*b"UN") { IMPLICIT_LITTLE } else { coding };
            return self.sequence(tag, length, coding, depth, inner);
        }
        let wanted = match place {
            Place::File => is_wanted(tag),
            Place::SharedGroup | Place::FrameGroup => is_fact(tag),
            _ => false,
        };
        if !wanted {
            return self.bytes.skip(length.into(), &tag);
        }
        let mut value = [0u8; MAX_VALUE as usize];
        let kept = &mut value[..length.min(MAX_VALUE) as usize];
        self.bytes.fill(kept, &tag)?;
        self.bytes.skip(length.saturating_sub(MAX_VALUE).into(), &tag)?;
        match place {
            Place::SharedGroup => take_fact(&mut self.header.shared, tag, kept),
            Place::FrameGroup => match self.header.per_frame.last_mut() {
                Some(frame) => take_fact(frame, tag, kept),
                None => Ok(()),
            },
            _ => self.header.take(tag, kept),
        }
    }

    /// Whether a sequence or item that ends at `end` is over.
    fn reached(&self, end: Option<u64>) -> Result<bool, String> {
        match end {
            Some(end) if self.bytes.position() > end => {
                Err("is damaged: an item runs over its end".to_owned())
            }
            end => Ok(end == Some(self.bytes.position())),
        }
    }

    /// The items of a sequence.
    fn sequence(
        &mut self,
        tag: Tag,
        length: u32,
        coding: Coding,
        depth: usize,
        place: Place,
    ) -> Result<(), String> {
        if depth >= MAX_DEPTH {
            return Err(format!("has sequences nested more than {MAX_DEPTH} deep"));
        }
        if place == Place::ModalityTable {
            self.header.modality_table = true;
        }
        let end = (length != UNDEFINED).then(|| self.bytes.position() + u64::from(length));
        loop {
            if self.reached(end)? {
                return Ok(());
            }
            let item = self.needed(coding)?;
            match item.tag {
                ITEM => {
                    if place == Place::PerFrame {
                        if self.header.per_frame.len() >= MAX_FRAMES as usize {
                            return Err(format!("has more than {MAX_FRAMES} frames"));
                        }
                        self.header.per_frame.push(super::header::Facts::default());
                    }
                    self.item(item.length, coding, end, depth + 1, place)?;
                }
                SEQUENCE_END if end.is_none() => return Ok(()),
                other => return Err(format!("is damaged: {other} stands where an item of {tag} should")),
            }
        }
    }

    /// The elements of an item.
    fn item(
        &mut self,
        length: u32,
        coding: Coding,
        outer: Option<u64>,
        depth: usize,
        place: Place,
    ) -> Result<(), String> {
        let mut end = outer;
        if length != UNDEFINED {
            self.bytes.check(length.into(), &ITEM)?;
            let own = self.bytes.position() + u64::from(length);
            if outer.is_some_and(|outer| own > outer) {
                return Err("is damaged: an item runs over the end of its sequence".to_owned());
            }
            end = Some(own);
        }
        loop {
            if length != UNDEFINED && self.reached(end)? {
                return Ok(());
            }
            let element = self.needed(coding)?;
            if element.tag == ITEM_END {
                return Ok(());
            }
            self.value(element, coding, end, depth, place)?;
        }
    }

    /// Notes where the pixels lie; true where the search is over.
    fn pixels(&mut self, Element { tag, vr, length }: Element, coding: Coding) -> Result<bool, String> {
        self.header.numbers = match tag.1 {
            0x0008 => Numbers::Float,
            0x0009 => Numbers::Double,
            0x0010 => Numbers::Integer,
            _ => return Ok(false),
        };
        if length == UNDEFINED {
            let (offsets, fragments) = self.fragments(tag, coding)?;
            self.header.pixels = Some(Pixels::Fragments { offsets, fragments });
            return Ok(true);
        }
        self.bytes.check(length.into(), &"PixelData")?;
        let position = self.bytes.position();
        if self.header.transfer.is_deflated() {
            // Only inflating tells whether they are there.
            self.bytes.skip(length.into(), &"PixelData")?;
        }
        let words = vr.is_none_or(|letters| letters == *b"OW");
        self.header.pixels = Some(Pixels::Native { position, length: length.into(), words });
        Ok(true)
    }

    /// The fragments of encapsulated pixels (PS3.5, A.4): the offsets of the frames, then (position, length) each.
    #[expect(clippy::type_complexity, reason = "two lists, named above")]
    fn fragments(&mut self, tag: Tag, coding: Coding) -> Result<(Vec<u64>, Vec<(u64, u32)>), String> {
        let (mut offsets, mut fragments) = (Vec::new(), Vec::new());
        let mut first = true;
        loop {
            let item = self.needed(coding)?;
            match item.tag {
                ITEM => {}
                SEQUENCE_END => return Ok((offsets, fragments)),
                other => return Err(format!("is damaged: {other} stands where a fragment of {tag} should")),
            }
            self.bytes.check(item.length.into(), &"a fragment of PixelData")?;
            if first && item.length <= 4 * MAX_FRAMES {
                let mut table = vec![0u8; item.length as usize];
                self.bytes.fill(&mut table, &"the table of frames")?;
                offsets = table.as_chunks::<4>().0.iter().map(|&word| coding.u32(word).into()).collect();
            } else if first {
                return Err("is damaged: its table of frames is too long".to_owned());
            } else {
                if fragments.len() >= MAX_FRAGMENTS {
                    return Err(format!("has more than {MAX_FRAGMENTS} fragments of pixels"));
                }
                fragments.push((self.bytes.position(), item.length));
                self.bytes.skip(item.length.into(), &"a fragment of PixelData")?;
            }
            first = false;
        }
    }
}
