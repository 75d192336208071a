//! The structure of a DICOM file (PS3.10, PS3.5 section 7), walked before dicom-rs reads the values.
//!
//! dicom-rs allocates whatever a length field says, recurses as deep as the file asks it to, and takes a
//! fragment that is cut off for a shorter one. So every length is checked against the bytes here, without
//! allocating, and the pixel data is handed on as slices of the file.

use std::borrow::Cow;
use std::io::Read;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};

use super::{broken, cut_off, unsupported};
use crate::radiograph::DecodeError;

/// Retired, but archives hold it.
pub(super) const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_DELIMITER: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_DELIMITER: Tag = Tag(0xfffe, 0xe0dd);
/// Sequences within sequences; real files have fewer than ten levels.
const DEPTH_MAX: u32 = 32;

/// A file parted into its transfer syntax and its data set.
pub(super) struct File<'a> {
    /// The transfer syntax UID.
    pub transfer_syntax: String,
    /// The data set, inflated if it was deflated.
    pub data_set: Cow<'a, [u8]>,
}

/// Where a data set's pixels are.
pub(super) struct Layout<'a> {
    /// How its elements are written.
    pub encoding: Encoding,
    /// The elements before the pixel data that are looked at, one after another.
    pub header: Vec<u8>,
    /// The pixel data, if there is any.
    pub pixels: Option<PixelData<'a>>,
}

/// How the elements of a data set are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    /// Whether each element names its VR.
    pub explicit: bool,
    pub big_endian: bool,
}

/// Pixel data as it lies in the file.
pub(super) enum PixelData<'a> {
    /// Samples one after another; `swapped` when 8-bit samples stand in big-endian 16-bit words.
    Native { bytes: &'a [u8], swapped: bool },
    /// Fragments of a codestream, without the offset table.
    Encapsulated(Vec<&'a [u8]>),
    /// Floating point samples.
    Float,
}

/// Whether bytes start like a DICOM file: with the preamble and prefix, the prefix alone, the file meta group,
/// or, as old files do, a data set in group 0008.
pub(in crate::radiograph) fn is_dicom(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM") || bytes.starts_with(b"DICM") || starts_with_element(bytes)
}

/// Whether bytes start with a little-endian element of the file meta group or of group 0008.
fn starts_with_element(bytes: &[u8]) -> bool {
    let [group @ (0x02 | 0x08), 0, element @ 0..=0x18, 0, a, b, length_low, length_high, ..] = *bytes else {
        return false;
    };
    let explicit = VR::from_binary([a, b]).is_some();
    let short_implicit = length_low == 0 && length_high == 0 && b == 0;
    explicit || (group == 0x08 && element != 0x02 && short_implicit)
}

/// Parts a file. `inflated_max` bounds what a deflated data set may grow to, in bytes.
pub(super) fn part(bytes: &[u8], inflated_max: u64) -> Result<File<'_>, DecodeError> {
    let (transfer_syntax, data_set) = part_meta(bytes)?;
    let data_set = if transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        Cow::Owned(inflate(data_set, inflated_max)?)
    } else {
        Cow::Borrowed(data_set)
    };
    Ok(File { transfer_syntax, data_set })
}

/// Parts the start of a file: as [`part`], but a deflated data set is inflated only as far as it goes, and to
/// at most `inflated_max` bytes.
pub(super) fn part_start(bytes: &[u8], inflated_max: u64) -> Result<File<'_>, DecodeError> {
    let (transfer_syntax, data_set) = part_meta(bytes)?;
    if transfer_syntax != uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        return Ok(File { transfer_syntax, data_set: Cow::Borrowed(data_set) });
    }
    let mut inflated = Vec::new();
    // A start has no end: what came before the error is what is looked at.
    let _ = flate2::read::DeflateDecoder::new(data_set).take(inflated_max).read_to_end(&mut inflated);
    Ok(File { transfer_syntax, data_set: Cow::Owned(inflated) })
}

/// The transfer syntax, and the data set as it lies in the file.
fn part_meta(bytes: &[u8]) -> Result<(String, &[u8]), DecodeError> {
    let bytes = match bytes {
        _ if bytes.get(128..132) == Some(b"DICM") => &bytes[132..],
        [b'D', b'I', b'C', b'M', rest @ ..] => rest,
        _ => bytes,
    };
    let mut walker = Walker { bytes, at: 0, encoding: Encoding { explicit: true, big_endian: false } };
    let mut transfer_syntax = None;
    while walker.rest().starts_with(&[0x02, 0x00]) {
        let header = walker.element()?;
        let value = walker.take(header.known_length()?)?;
        if header.tag == tags::TRANSFER_SYNTAX_UID {
            transfer_syntax = Some(uid_text(value));
        }
    }
    let data_set = walker.rest();
    Ok((transfer_syntax.unwrap_or_else(|| guess_transfer_syntax(data_set)), data_set))
}

/// A UID without its padding, and without what a UID cannot hold: it is shown in an error.
fn uid_text(value: &[u8]) -> String {
    value.iter().filter(|b| b.is_ascii_digit() || **b == b'.').take(64).map(|&b| char::from(b)).collect()
}

/// Without file meta information a data set is little endian (PS3.5 section 10.1).
fn guess_transfer_syntax(data_set: &[u8]) -> String {
    if names_vr(data_set) { uids::EXPLICIT_VR_LITTLE_ENDIAN } else { uids::IMPLICIT_VR_LITTLE_ENDIAN }
        .to_owned()
}

fn inflate(deflated: &[u8], inflated_max: u64) -> Result<Vec<u8>, DecodeError> {
    let mut data_set = Vec::new();
    flate2::read::DeflateDecoder::new(deflated)
        .take(inflated_max + 1)
        .read_to_end(&mut data_set)
        .map_err(|_| cut_off("its deflated data set does not end"))?;
    if data_set.len() as u64 > inflated_max {
        return Err(broken("its deflated data set grows beyond any radiograph"));
    }
    Ok(data_set)
}

/// Whether an element's value is looked at: the description of the image, and what studies and images are told
/// apart by.
fn is_wanted(tag: Tag) -> bool {
    const OTHERS: [Tag; 4] =
        [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::BODY_PART_EXAMINED, tags::STUDY_INSTANCE_UID];
    tag.group() == 0x0028 || OTHERS.contains(&tag)
}

/// Walks a data set up to and over its pixel data, checking every length on the way.
pub(super) fn walk<'a>(data_set: &'a [u8], transfer_syntax: &str) -> Result<Layout<'a>, DecodeError> {
    let mut head = walk_head(data_set, transfer_syntax)?;
    let pixels = match &head.pixels {
        None => None,
        Some(element) if element.tag == tags::PIXEL_DATA => Some(head.walker.pixel_data(element)?),
        Some(_) => Some(PixelData::Float),
    };
    Ok(Layout { encoding: head.walker.encoding, header: head.header, pixels })
}

/// What comes before the pixel data.
pub(super) struct Head<'a> {
    walker: Walker<'a>,
    /// The elements that are looked at, one after another.
    pub header: Vec<u8>,
    pixels: Option<Header>,
}

impl Head<'_> {
    /// How the elements are written.
    pub(super) fn encoding(&self) -> Encoding {
        self.walker.encoding
    }

    /// Whether pixel data begins here, and whether its samples are floating point numbers.
    pub(super) fn pixels(&self) -> Option<bool> {
        self.pixels.as_ref().map(|element| element.tag != tags::PIXEL_DATA)
    }
}

/// Walks a data set up to where its pixel data begins, checking every length on the way.
pub(super) fn walk_head<'a>(data_set: &'a [u8], transfer_syntax: &str) -> Result<Head<'a>, DecodeError> {
    // Some writers compress the pixels and leave the elements in the implicit VR they had.
    let explicit = transfer_syntax != uids::IMPLICIT_VR_LITTLE_ENDIAN && names_vr(data_set);
    let encoding = Encoding { explicit, big_endian: explicit && transfer_syntax == EXPLICIT_VR_BIG_ENDIAN };
    let mut walker = Walker { bytes: data_set, at: 0, encoding };
    let mut header = Vec::new();
    while !walker.rest().is_empty() {
        let start = walker.at;
        let element = walker.element()?;
        if matches!(element.tag, tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA) {
            return Ok(Head { walker, header, pixels: Some(element) });
        }
        walker.skip_value(&element, 0)?;
        if is_wanted(element.tag) {
            header.extend_from_slice(&data_set[start..walker.at]);
        }
    }
    Ok(Head { walker, header, pixels: None })
}

/// Whether the first element of a data set names its VR.
fn names_vr(data_set: &[u8]) -> bool {
    data_set.get(4..6).is_some_and(|vr| VR::from_binary([vr[0], vr[1]]).is_some())
}

/// An element's or item's header.
struct Header {
    tag: Tag,
    vr: Option<VR>,
    /// `None` when undefined: a delimiter ends the value.
    length: Option<usize>,
}

impl Header {
    fn known_length(&self) -> Result<usize, DecodeError> {
        self.length.ok_or_else(|| broken("an element that must have a length has none"))
    }
}

/// A place in the bytes of a data set or of a part of it.
struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    encoding: Encoding,
}

impl<'a> Walker<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let value =
            self.rest().get(..length).ok_or_else(|| cut_off("a value is longer than what is left"))?;
        self.at += length;
        Ok(value)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        let bytes = self.take(2)?;
        let bytes = [bytes[0], bytes[1]];
        Ok(if self.encoding.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn length32(&mut self) -> Result<Option<usize>, DecodeError> {
        let bytes = self.take(4)?;
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let length =
            if self.encoding.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        Ok((length != u32::MAX).then_some(length as usize))
    }

    /// Reads the header of an element, or of an item or delimiter, which have no VR.
    fn element(&mut self) -> Result<Header, DecodeError> {
        let tag = Tag(self.u16()?, self.u16()?);
        if !self.encoding.explicit || tag.group() == 0xfffe {
            let length = self.length32()?;
            let entry = StandardDataDictionary.by_tag(tag);
            return Ok(Header { tag, vr: entry.map(|entry| entry.vr().relaxed()), length });
        }
        let vr = self.take(2)?;
        let vr = VR::from_binary([vr[0], vr[1]]).ok_or_else(|| broken("an element has no known VR"))?;
        let long = matches!(
            vr,
            VR::OB
                | VR::OD
                | VR::OF
                | VR::OL
                | VR::OV
                | VR::OW
                | VR::SQ
                | VR::SV
                | VR::UC
                | VR::UN
                | VR::UR
                | VR::UT
                | VR::UV
        );
        let length = if long {
            self.u16()?;
            self.length32()?
        } else {
            Some(usize::from(self.u16()?))
        };
        Ok(Header { tag, vr: Some(vr), length })
    }

    fn skip_value(&mut self, header: &Header, depth: u32) -> Result<(), DecodeError> {
        let is_sequence = header.vr == Some(VR::SQ);
        match header.length {
            Some(length) if is_sequence => {
                let mut inner = Walker { bytes: self.take(length)?, at: 0, ..*self };
                while !inner.rest().is_empty() {
                    inner.skip_item(depth)?;
                }
                Ok(())
            }
            Some(length) => self.take(length).map(|_| ()),
            None if matches!(header.vr, Some(VR::OB | VR::OW)) => self.fragments().map(|_| ()),
            None => {
                // A sequence of unknown VR is encoded as implicit little endian (PS3.5 section 6.2.2).
                let explicit = self.encoding.explicit && header.vr != Some(VR::UN);
                let encoding = Encoding { explicit, ..self.encoding };
                let mut inner = Walker { bytes: self.bytes, at: self.at, encoding };
                while inner.skip_item(depth)? {}
                self.at = inner.at;
                Ok(())
            }
        }
    }

    /// Skips an item; false when it was the delimiter at the end of the sequence.
    fn skip_item(&mut self, depth: u32) -> Result<bool, DecodeError> {
        if depth >= DEPTH_MAX {
            return Err(broken("its sequences are nested too deeply"));
        }
        let header = self.element()?;
        match (header.tag, header.length) {
            (SEQUENCE_DELIMITER, _) => return Ok(false),
            (ITEM, Some(length)) => {
                let mut inner = Walker { bytes: self.take(length)?, at: 0, ..*self };
                while !inner.rest().is_empty() {
                    let element = inner.element()?;
                    inner.skip_value(&element, depth + 1)?;
                }
            }
            (ITEM, None) => loop {
                let element = self.element()?;
                if element.tag == ITEM_DELIMITER {
                    break;
                }
                self.skip_value(&element, depth + 1)?;
            },
            _ => return Err(broken("a sequence holds something that is not an item")),
        }
        Ok(true)
    }

    fn pixel_data(&mut self, header: &Header) -> Result<PixelData<'a>, DecodeError> {
        let Some(length) = header.length else {
            let fragments = self.fragments()?;
            let Some((_offset_table, fragments)) = fragments.split_first() else {
                return Err(broken("its pixel data has no offset table"));
            };
            return Ok(PixelData::Encapsulated(fragments.to_vec()));
        };
        let bytes = self.take(length).map_err(|_| cut_off("its pixel data is incomplete"))?;
        Ok(PixelData::Native { bytes, swapped: self.encoding.big_endian && header.vr == Some(VR::OW) })
    }

    /// The items of encapsulated data (PS3.5 annex A.4), the offset table first.
    fn fragments(&mut self) -> Result<Vec<&'a [u8]>, DecodeError> {
        let mut fragments = Vec::new();
        loop {
            let header = self.element().map_err(|_| cut_off("its pixel data does not end"))?;
            match header.tag {
                ITEM => fragments.push(self.take(header.known_length()?)?),
                SEQUENCE_DELIMITER => return Ok(fragments),
                _ => return Err(unsupported("its compressed pixel data is not in fragments")),
            }
        }
    }
}
