//! Transfer syntaxes (PS3.6, A): how the data set and its pixels are written.

use std::fmt;

/// A way of writing, by its UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TransferSyntax {
    uid: String,
}

/// How pixels are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not, or with the whole data set (deflated).
    None,
    /// In fragments, but not compressed.
    Encapsulated,
    /// Run lengths (PS3.5, G).
    RunLength,
    /// JPEG, one-component baseline (8 bits) or lossless.
    Jpeg,
    /// JPEG 2000.
    Jpeg2000,
}

const NAMES: [(&str, &str); 24] = [
    ("1.2.840.10008.1.2", "Implicit VR Little Endian"),
    ("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
    ("1.2.840.10008.1.2.1.98", "Encapsulated Uncompressed Explicit VR Little Endian"),
    ("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian"),
    ("1.2.840.10008.1.2.2", "Explicit VR Big Endian"),
    ("1.2.840.10008.1.2.5", "RLE Lossless"),
    ("1.2.840.10008.1.2.4.50", "JPEG Baseline"),
    ("1.2.840.10008.1.2.4.51", "JPEG Extended"),
    ("1.2.840.10008.1.2.4.57", "JPEG Lossless"),
    ("1.2.840.10008.1.2.4.70", "JPEG Lossless, Selection Value 1"),
    ("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
    ("1.2.840.10008.1.2.4.81", "JPEG-LS Near-Lossless"),
    ("1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless"),
    ("1.2.840.10008.1.2.4.91", "JPEG 2000"),
    ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile"),
    ("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile"),
    ("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile"),
    ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
    ("1.2.840.10008.1.2.4.112", "JPEG XL"),
    ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 Lossless"),
    ("1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000 with RPCL Lossless"),
    ("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000"),
    ("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression"),
    ("1.2.840.113619.5.2", "GE Private Implicit VR Big Endian"),
];

impl TransferSyntax {
    /// The one a file names; `None` for a file without that group, which is taken for what it looks like.
    pub fn new(uid: Option<String>) -> Self {
        Self { uid: uid.unwrap_or_default() }
    }

    /// Whether all elements but the first group are written most significant byte first; `None` if unsaid.
    pub fn is_big_endian(&self) -> Option<bool> {
        (!self.uid.is_empty()).then(|| self.uid == "1.2.840.10008.1.2.2")
    }

    /// Whether the data set is deflated.
    pub fn is_deflated(&self) -> bool {
        self.uid == "1.2.840.10008.1.2.1.99"
    }

    /// How pixels are compressed.
    ///
    /// # Errors
    /// Where no decoder is at hand, in words.
    pub fn compression(&self) -> Result<Compression, String> {
        Ok(match self.uid.strip_prefix("1.2.840.10008.1.2") {
            None if self.uid.is_empty() => Compression::None,
            Some("" | ".1" | ".1.99" | ".2") => Compression::None,
            Some(".1.98") => Compression::Encapsulated,
            Some(".5") => Compression::RunLength,
            Some(".4.50" | ".4.51" | ".4.57" | ".4.70") => Compression::Jpeg,
            Some(".4.90" | ".4.91") => Compression::Jpeg2000,
            _ => return Err(format!("its transfer syntax, {self}, is not read (re-encode it uncompressed)")),
        })
    }
}

impl fmt::Display for TransferSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(uid, _)| *uid == self.uid) {
            Some((uid, name)) => write!(f, "{name} ({uid})"),
            None if self.uid.is_empty() => f.write_str("unnamed"),
            None => write!(f, "{}", self.uid),
        }
    }
}

/// What a file is by its SOP class (PS3.4, B.5), if it can hold no slice.
pub(super) fn no_image(sop_class: &str) -> Option<&'static str> {
    let class = sop_class.strip_prefix("1.2.840.10008.")?;
    if class == "1.3.10" {
        return Some("is a DICOMDIR, a list of files");
    }
    let class = class.strip_prefix("5.1.4.1.1.")?;
    let within = |family: &str| {
        class == family || class.strip_prefix(family).is_some_and(|rest| rest.starts_with('.'))
    };
    let kinds = [
        ("4.2", "is a spectrum"),
        ("9", "is a waveform"),
        ("11", "is a presentation state"),
        ("66", "is a segmentation, registration or raw-data object"),
        ("67", "is a value mapping"),
        ("88", "is a structured report"),
        ("104", "is a document"),
        ("481.2", "is a radiotherapy dose"),
        ("481.3", "is an RTSTRUCT, a set of contours"),
        ("481.4", "is a treatment record"),
        ("481.5", "is a radiotherapy plan"),
        ("481.8", "is a radiotherapy plan"),
    ];
    kinds.iter().find(|(family, _)| within(family)).map(|(_, words)| *words)
}
