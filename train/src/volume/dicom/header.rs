//! What a DICOM file says of its image: the few attributes a volume is made of.

use super::element::{Coding, Tag};
use super::text::{clean, numbers};
use super::transfer::TransferSyntax;

/// Where one image lies, as far as one data set tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// ImagePositionPatient: centre of the first voxel, LPS millimetres.
    pub position: Option<[f64; 3]>,
    /// ImageOrientationPatient: direction of the rows, then of the columns.
    pub orientation: Option<[f64; 6]>,
    /// PixelSpacing: distance of the rows, then of the columns, in millimetres.
    pub spacing: Option<[f64; 2]>,
    /// RescaleSlope.
    pub slope: Option<f64>,
    /// RescaleIntercept.
    pub intercept: Option<f64>,
    /// SpacingBetweenSlices in millimetres.
    pub between: Option<f64>,
    /// SliceThickness in millimetres.
    pub thickness: Option<f64>,
}

impl Facts {
    /// These facts, with what they lack taken from `other`.
    pub fn or(&self, other: &Self) -> Self {
        Self {
            position: self.position.or(other.position),
            orientation: self.orientation.or(other.orientation),
            spacing: self.spacing.or(other.spacing),
            slope: self.slope.or(other.slope),
            intercept: self.intercept.or(other.intercept),
            between: self.between.or(other.between),
            thickness: self.thickness.or(other.thickness),
        }
    }
}

/// The number format of the stored pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    Integer,
    Float,
    Double,
}

/// Where the pixels lie in the bytes of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pixels {
    /// As they are, one frame behind the other.
    Native { position: u64, length: u64, words: bool },
    /// In fragments (position, length), with the offsets of the frames if the file tells them.
    Fragments { offsets: Vec<u64>, fragments: Vec<(u64, u32)> },
}

/// The attributes of one file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub transfer: TransferSyntax,
    pub coding: Coding,
    pub sop_class: String,
    /// SeriesInstanceUID.
    pub series: String,
    /// SOPInstanceUID.
    pub instance: String,
    pub modality: String,
    /// SeriesDescription.
    pub description: String,
    pub image_type: String,
    /// PhotometricInterpretation.
    pub photometric: String,
    pub samples: u16,
    pub frames: u32,
    pub rows: u16,
    pub columns: u16,
    pub bits_allocated: u16,
    pub bits_stored: u16,
    pub high_bit: u16,
    /// PixelRepresentation 1.
    pub signed: bool,
    /// PixelPaddingValue, as stored.
    pub padding: Option<u16>,
    /// The values go through a table before they mean something.
    pub modality_table: bool,
    /// Of the whole file, or of its only image.
    pub facts: Facts,
    /// Of all frames.
    pub shared: Facts,
    /// Of each frame.
    pub per_frame: Vec<Facts>,
    pub numbers: Numbers,
    pub pixels: Option<Pixels>,
}

impl Header {
    pub fn new(transfer: TransferSyntax, coding: Coding, sop_class: String) -> Self {
        Self {
            transfer,
            coding,
            sop_class,
            series: String::new(),
            instance: String::new(),
            modality: String::new(),
            description: String::new(),
            image_type: String::new(),
            photometric: String::new(),
            samples: 1,
            frames: 1,
            rows: 0,
            columns: 0,
            bits_allocated: 0,
            bits_stored: 0,
            high_bit: 0,
            signed: false,
            padding: None,
            modality_table: false,
            facts: Facts::default(),
            shared: Facts::default(),
            per_frame: Vec::new(),
            numbers: Numbers::Integer,
            pixels: None,
        }
    }

    /// Takes the value of an attribute of the file itself, if it is one that is wanted.
    ///
    /// # Errors
    /// A value of the wrong form.
    pub fn take(&mut self, tag: Tag, value: &[u8]) -> Result<(), String> {
        let short = |name: &str| match value {
            [a, b, ..] => Ok(self.coding.u16([*a, *b])),
            _ => Err(format!("is damaged: {name} has no value")),
        };
        match tag {
            Tag(0x0008, 0x0008) => self.image_type = clean(value),
            Tag(0x0008, 0x0016) => self.sop_class = clean(value),
            Tag(0x0008, 0x0018) => self.instance = clean(value),
            Tag(0x0008, 0x0060) => self.modality = clean(value),
            Tag(0x0008, 0x103E) => self.description = clean(value),
            Tag(0x0020, 0x000E) => self.series = clean(value),
            Tag(0x0028, 0x0002) => self.samples = short("SamplesPerPixel")?,
            Tag(0x0028, 0x0004) => self.photometric = clean(value),
            Tag(0x0028, 0x0008) => {
                let count = numbers::<1>(value, "NumberOfFrames")?.map_or(1.0, |[count]| count);
                if !(1.0..=f64::from(MAX_FRAMES)).contains(&count) || count.fract() != 0.0 {
                    return Err(format!("NumberOfFrames is {count}, 1 to {MAX_FRAMES} are read"));
                }
                self.frames = count as u32;
            }
            Tag(0x0028, 0x0010) => self.rows = short("Rows")?,
            Tag(0x0028, 0x0011) => self.columns = short("Columns")?,
            Tag(0x0028, 0x0100) => self.bits_allocated = short("BitsAllocated")?,
            Tag(0x0028, 0x0101) => self.bits_stored = short("BitsStored")?,
            Tag(0x0028, 0x0102) => self.high_bit = short("HighBit")?,
            Tag(0x0028, 0x0103) => self.signed = short("PixelRepresentation")? == 1,
            // An empty one says nothing.
            Tag(0x0028, 0x0120) => self.padding = short("PixelPaddingValue").ok(),
            _ => take_fact(&mut self.facts, tag, value)?,
        }
        Ok(())
    }
}

/// The most frames of one file: each has an entry in memory before its pixels are seen.
pub(super) const MAX_FRAMES: u32 = 1 << 16;

/// Takes what tells where an image lies and how its values are scaled.
///
/// # Errors
/// A value of the wrong form.
pub(super) fn take_fact(facts: &mut Facts, tag: Tag, value: &[u8]) -> Result<(), String> {
    let one = |name| Ok::<_, String>(numbers::<1>(value, name)?.map(|[number]| number));
    match tag {
        Tag(0x0018, 0x0050) => facts.thickness = one("SliceThickness").unwrap_or(None),
        Tag(0x0018, 0x0088) => facts.between = one("SpacingBetweenSlices").unwrap_or(None),
        Tag(0x0020, 0x0032) => facts.position = numbers(value, "ImagePositionPatient")?,
        Tag(0x0020, 0x0037) => facts.orientation = numbers(value, "ImageOrientationPatient")?,
        Tag(0x0028, 0x0030) => facts.spacing = numbers(value, "PixelSpacing")?,
        Tag(0x0028, 0x1052) => facts.intercept = one("RescaleIntercept")?,
        Tag(0x0028, 0x1053) => facts.slope = one("RescaleSlope")?,
        _ => {}
    }
    Ok(())
}

/// Whether an attribute of the file itself is one that [`Header::take`] wants.
pub(super) fn is_wanted(tag: Tag) -> bool {
    matches!(
        tag,
        Tag(0x0008, 0x0008 | 0x0016 | 0x0018 | 0x0060 | 0x103E)
            | Tag(0x0020, 0x000E)
            | Tag(0x0028, 0x0002 | 0x0004 | 0x0008 | 0x0010 | 0x0011 | 0x0100..=0x0103 | 0x0120)
    ) || is_fact(tag)
}

/// Whether an attribute is one that [`take_fact`] wants.
pub(super) fn is_fact(tag: Tag) -> bool {
    matches!(
        tag,
        Tag(0x0018, 0x0050 | 0x0088) | Tag(0x0020, 0x0032 | 0x0037) | Tag(0x0028, 0x0030 | 0x1052 | 0x1053)
    )
}
